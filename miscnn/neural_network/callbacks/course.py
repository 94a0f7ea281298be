"""How long a training lasts, and its learning rate on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from miscnn._keras import keras
from miscnn.neural_network.callbacks.logs import learning_rate_of
from miscnn.neural_network.schedules import ConstantSchedule, Schedule

_SECONDS = 60.0


class Course(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Counts steps and time, sets the learning rate by them, and ends a training in time.

    Parameters
    ----------
    schedule : Schedule
        Of this training alone; a constant one without warm-up leaves the learning rate to others.
    epochs : int, optional
        Number of epochs; None if only the time counts.
    minutes : float, optional
        Duration of the training, counted from the end of the first batch, so that building the
        graph does not count. The training ends with an epoch: the one whose end lies nearest.
    steps : int
        Number of batches in an epoch.
    done : int
        Number of epochs that were done before (of a training that was interrupted).
    """

    def __init__(
        self,
        schedule: Schedule,
        epochs: int | None,
        minutes: float | None,
        steps: int,
        done: int = 0,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self._epochs = epochs
        self._seconds = None if minutes is None else _SECONDS * minutes
        self._steps = steps
        self._step = done * steps
        self._before = 0.0  # seconds of the runs that were interrupted
        self._start: float | None = None
        self._epoch_start = 0.0
        self._initial: float | None = None
        self._decided = -1, False  # of which epoch, and whether it is the last

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1."""
        shares = [0.0]
        if self._epochs is not None:
            shares.append(self._step / (self._epochs * self._steps))
        if self._seconds is not None:
            shares.append(self.elapsed / self._seconds)
        return min(1.0, max(shares))

    @property
    def _leaves_rate(self) -> bool:
        return isinstance(self.schedule, ConstantSchedule) and not self.schedule.warmup

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if not self._leaves_rate:
            self._initial = learning_rate_of(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_start = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._initial is not None:
            self.model.optimizer.learning_rate = self._initial * self.schedule.factor(self.progress)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._step += 1
        if self._start is None:
            self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.schedule.after_epoch(logs or {})
        if self._seconds is not None and self.ends_after(epoch):
            self.model.stop_training = True

    def ends_after(self, epoch: int) -> bool:
        """Tell, at the end of an epoch, whether it is the last one."""
        if self._decided[0] != epoch:  # the clock must not give two answers
            self._decided = epoch, self._is_last(epoch)
        return self._decided[1]

    def _is_last(self, epoch: int) -> bool:
        if self._epochs is not None and epoch + 1 >= self._epochs:
            return True
        if self._seconds is None:
            return False
        # An epoch that is broken off leaves its loader behind, so whole epochs are made.
        half = (time.monotonic() - self._epoch_start) / 2.0 if epoch else 0.0
        return self.elapsed + half >= self._seconds

    def close(self, model: Any) -> None:
        """Give the optimizer its initial learning rate back, however the training ended."""
        if self._initial is not None:
            model.optimizer.learning_rate = self._initial

    def get_state(self) -> dict[str, Any]:
        """Return what a training that goes on needs."""
        return {
            "elapsed": self.elapsed,
            "initial": self._initial,
            "schedule": self.schedule.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        self._before = float(state["elapsed"])
        self._initial = state["initial"]
        self.schedule.set_state(state["schedule"])
