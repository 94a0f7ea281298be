"""How long a training lasts."""

from __future__ import annotations

import time

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError


class TimeBudget(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training after a time, and lets the learning rate fall along with the clock.

    Parameters
    ----------
    minutes : float
        Duration of the training; counted from the end of the first batch, so that building
        the graph does not count.
    power : float
        Learning rate at the share ``t`` of the time: ``(1 - t) ** power`` times the initial
        one (the polynomial decay of nnU-Net, power 0.9). 0 leaves it alone.

    Notes
    -----
    The training ends with an epoch, with the one whose end lies nearest to the time.

    How many steps fit into the time depends on the machine and its load: two runs with one
    seed differ. Where results must repeat, give a number of epochs instead.
    """

    def __init__(self, minutes: float, power: float = 0.9) -> None:
        super().__init__()
        if not minutes > 0:
            raise ConfigurationError(f"minutes must be positive, got {minutes}")
        self.minutes = minutes
        self.power = power
        self._start: float | None = None
        self._epoch_start = 0.0
        self._initial = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._start = None
        self._initial = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        if self.power:
            left = max(0.0, 1.0 - (now - self._start) / (60.0 * self.minutes))
            self.model.optimizer.learning_rate = self._initial * left**self.power

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        begin = now if self._start is None else self._start
        # An epoch that is broken off leaves its loader behind, so whole epochs are made.
        half = (now - self._epoch_start) / 2.0 if epoch else 0.0
        if now + half >= begin + 60.0 * self.minutes:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = self._initial
