"""Validation on whole volumes while a network trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from miscnn._keras import keras
from miscnn.neural_network.callbacks.weights import averaged

VOLUME_DICE = "val_volume_dice"
"""Name of the mean Dice over foreground classes and subjects in logs and histories."""


class VolumeValidation(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Predicts and scores whole subjects every so many epochs, and after the last one.

    What it logs is the score of the finished label maps on the grids of the files, window by
    window predicted and put together as in ``NeuralNetwork.predict``: ``val_volume_dice``, and
    for each foreground class ``val_volume_dice_class_<k>`` (each region
    ``val_volume_dice_<name>``). The score of patches can lie far from
    it: patches hold a class more often than volumes do.

    Parameters
    ----------
    score : callable
        Takes an index, returns the Dice of each foreground class in this subject; NaN, which is
        left out of the means, for a class that is neither in the truth nor in the prediction.
        Or that of each region.
    indices : sequence of str
        Subjects.
    every : int
        Number of epochs from one validation to the next.
    ends_after : callable
        Tells whether an epoch is the last one, after which there is always a validation.
    names : sequence of str, optional
        Names of the regions.
    """

    def __init__(
        self,
        score: Callable[[str], Sequence[float]],
        indices: Sequence[str],
        every: int,
        ends_after: Callable[[int], bool],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._score = score
        self._indices = list(indices)
        self._every = every
        self._ends_after = ends_after
        self._names = names

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is None or not ((epoch + 1) % self._every == 0 or self._ends_after(epoch)):
            return
        with averaged(self.model):
            scores = [self._score(index) for index in self._indices]
        per_class = [_mean(values) for values in zip(*scores, strict=True)]
        logs[VOLUME_DICE] = _mean(per_class)
        names = self._names or [f"class_{label}" for label in range(1, len(per_class) + 1)]
        for name, value in zip(names, per_class, strict=True):
            logs[f"{VOLUME_DICE}_{name}"] = value


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
