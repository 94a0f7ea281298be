"""Scores shown during training, and the losses and scores of MIScnn 1.x as functions.

The scores here are those of the *batches* of an epoch: they tell how training goes. How good a
model is on whole volumes, in mm and with its spread, is told by :mod:`miscnn.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network._functional import (
    dice_coefficient,
    dice_coefficient_loss,
    dice_crossentropy,
    dice_soft,
    dice_soft_loss,
    tversky_crossentropy,
    tversky_loss,
)

__all__ = [
    "DiceScore",
    "MeanDice",
    "class_wise_dice",
    "dice_coefficient",
    "dice_coefficient_loss",
    "dice_crossentropy",
    "dice_soft",
    "dice_soft_loss",
    "tversky_crossentropy",
    "tversky_loss",
]

_CARRY = float(2**20)


class _PooledDice(keras.metrics.Metric):  # type: ignore[misc]  # Keras has no types
    """Dice of the label maps (argmax), from counts pooled over all batches of an epoch.

    Counts stand in two float32 numbers each, as ``high · 2^20 + low``, since one alone stops
    counting single voxels at 2^24.
    """

    def __init__(self, classes: Sequence[int], name: str, absent_value: float) -> None:
        super().__init__(name=name, dtype="float32")
        self.absent_value = float(absent_value)
        self._classes = tuple(classes)
        shape = (2, len(self._classes))  # twice the overlap; voxels of truth plus prediction
        self._low = self.add_variable(shape, initializer="zeros", name="low")
        self._high = self.add_variable(shape, initializer="zeros", name="high")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred : tensor
            One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
        """
        if sample_weight is not None:
            raise ConfigurationError(
                f"{self.name} counts voxels and takes no sample weights; hand it to "
                "compile(metrics=…), not to weighted_metrics"
            )
        y_true, y_pred = reductions.checked(y_true, y_pred)
        if max(self._classes) >= y_pred.shape[-1]:
            raise ConfigurationError(
                f"{self.name} scores class {max(self._classes)}, but the network predicts the "
                f"classes 0 to {y_pred.shape[-1] - 1}"
            )
        counts = _counts(y_true, y_pred, self._classes)
        carried = ops.floor(counts / _CARRY)
        low = self._low + ops.sum(counts - carried * _CARRY, axis=0)
        overflow = ops.floor(low / _CARRY)
        self._low.assign(low - overflow * _CARRY)
        self._high.assign(self._high + ops.sum(carried, axis=0) + overflow)

    def result(self) -> Any:
        """Return the mean of the Dice of the classes, a scalar."""
        overlap, voxels = ops.unstack(self._high * _CARRY + self._low, axis=0)
        found = ops.maximum(voxels, 1.0)
        return ops.mean(ops.where(voxels > 0, overlap / found, self.absent_value))


def _counts(y_true: Any, y_pred: Any, classes: Sequence[int]) -> Any:
    """Return twice the overlap, and voxels of truth plus prediction: ``(batch, 2, classes)``.

    A class wins a voxel if it beats all before it and none after it beats it, which is argmax.
    Comparing whole channels takes a quarter of the time that argmax over a short last axis
    takes on the CPU, and what several scores have in common is computed once.
    """
    channels = [y_pred[..., label] for label in range(y_pred.shape[-1])]
    space = tuple(range(1, len(channels[0].shape)))
    before = list(accumulate(channels, ops.maximum))
    after = list(accumulate(reversed(channels), ops.maximum))[::-1]
    overlaps, voxels = [], []
    for label in classes:
        wins = ops.ones_like(channels[label], dtype="bool")
        if label > 0:
            wins = ops.logical_and(wins, channels[label] > before[label - 1])
        if label + 1 < len(channels):
            wins = ops.logical_and(wins, channels[label] >= after[label + 1])
        predicted = ops.cast(wins, "float32")
        true = ops.cast(y_true[..., label] > 0.5, "float32")
        overlaps.append(2.0 * ops.sum(true * predicted, axis=space))
        voxels.append(ops.sum(true + predicted, axis=space))
    return ops.stack([ops.stack(overlaps, axis=-1), ops.stack(voxels, axis=-1)], axis=1)


@keras.saving.register_keras_serializable(package="miscnn")
class DiceScore(_PooledDice):
    """Dice of one class: 2 TP / (2 TP + FP + FN) of all voxels of an epoch's batches.

    Parameters
    ----------
    class_index : int
        The class; 0 is the background.
    absent_value : float
        The score as long as the class occurs neither in the truth nor in the prediction
        of any batch. 1 by default: truth and prediction agree.
    """

    def __init__(
        self, class_index: int, name: str | None = None, absent_value: float = 1.0
    ) -> None:
        if class_index < 0:
            raise ConfigurationError(f"class_index is {class_index}; expected 0 or more")
        super().__init__((class_index,), name or f"dice_class_{class_index}", absent_value)
        self.class_index = class_index

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {
            "class_index": self.class_index,
            "name": self.name,
            "absent_value": self.absent_value,
        }


@keras.saving.register_keras_serializable(package="miscnn")
class MeanDice(_PooledDice):
    """Mean of the :class:`DiceScore` of all classes, without the background by default.

    Parameters
    ----------
    n_classes : int
        Number of classes, background included.
    include_background : bool
        Whether class 0 counts.
    absent_value : float
        What a class counts that occurs neither in the truth nor in the prediction.
    """

    def __init__(
        self,
        n_classes: int,
        include_background: bool = False,
        name: str = "mean_dice",
        absent_value: float = 1.0,
    ) -> None:
        classes = range(0 if include_background else 1, n_classes)
        if not classes:
            raise ConfigurationError(
                f"n_classes is {n_classes}, which leaves no class to score; count the "
                "background as a class"
            )
        super().__init__(classes, name, absent_value)
        self.n_classes = n_classes
        self.include_background = include_background

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {
            "n_classes": self.n_classes,
            "include_background": self.include_background,
            "name": self.name,
            "absent_value": self.absent_value,
        }


def class_wise_dice(
    n_classes: int, names: Sequence[str] | None = None, include_background: bool = False
) -> list[DiceScore]:
    """Return a :class:`DiceScore` for each class.

    Parameters
    ----------
    n_classes : int
        Number of classes, background included.
    names : sequence of str, optional
        Names of all classes, background first; the scores are called ``dice_<name>``.
    include_background : bool
        Whether class 0 is scored too.

    Examples
    --------
    >>> [score.name for score in class_wise_dice(3, ("background", "kidney", "tumour"))]
    ['dice_kidney', 'dice_tumour']
    """
    if names is not None and len(names) != n_classes:
        raise ConfigurationError(
            f"{len(names)} names for {n_classes} classes: {tuple(names)}; name each class, the "
            "background first"
        )
    first = 0 if include_background else 1
    return [
        DiceScore(index, name=None if names is None else f"dice_{names[index]}")
        for index in range(first, n_classes)
    ]
