"""Which weights a training ends with."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights that had the lowest validation loss, and ends with them.

    The weights are taken right after the validation, as it saw them: averaged ones if the
    optimizer averages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.best = float("inf")
        self.best_epoch: int | None = None
        self._epoch = 0
        self._weights: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        value = (logs or {})["loss"]
        if value < self.best:
            self.best, self.best_epoch = value, self._epoch
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._weights is not None:
            self.model.set_weights(self._weights)
