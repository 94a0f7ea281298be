"""How the learning rate changes in the course of a training.

A schedule says by what the initial learning rate is multiplied at a *progress* between 0 and 1.
Progress is the share of the steps that are done, or, with a budget of minutes, of the time: one
schedule serves both, and a training with ``max_minutes`` comes to the same end as one
with ``epochs``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError

__all__ = [
    "ConstantSchedule",
    "CosineSchedule",
    "PlateauSchedule",
    "PolynomialSchedule",
    "Schedule",
    "as_schedule",
]


class Schedule(Configurable, ABC):
    """A factor of the learning rate over the course of a training.

    Parameters
    ----------
    warmup : float
        Share of the training, 0 to below 1, in which the factor rises linearly from 0 to 1. The
        schedule proper takes the rest.

    Notes
    -----
    A schedule of your own overrides :meth:`decay`. It must be a function of the progress alone,
    or return all it remembers in ``get_state``: a training that was interrupted goes on from it.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        if not 0.0 <= warmup < 1.0:
            raise ConfigurationError(
                f"warmup is {warmup!r}; expected the share of the training that it takes, from 0 "
                "to below 1"
            )
        self.warmup = warmup

    def factor(self, progress: float) -> float:
        """Return what to multiply the initial learning rate by; ``progress`` is 0 to 1."""
        progress = min(max(progress, 0.0), 1.0)
        if progress < self.warmup:
            return progress / self.warmup
        return self.decay((progress - self.warmup) / (1.0 - self.warmup))

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Return the factor at a progress, 0 to 1, that is counted from the end of the warm-up."""

    def after_epoch(self, logs: Mapping[str, float]) -> None:  # most do not look
        """Look at what an epoch logged."""


class ConstantSchedule(Schedule):
    """The learning rate stays (after the warm-up)."""

    def decay(self, progress: float) -> float:
        """Return 1."""
        return 1.0


class PolynomialSchedule(Schedule):
    """``(1 - progress) ** power``: nnU-Net's, with power 0.9 (Isensee et al. 2021).

    Parameters
    ----------
    power : float
    warmup : float
        As in :class:`Schedule`.

    Examples
    --------
    >>> round(PolynomialSchedule().factor(0.5), 4)
    0.5359
    """

    def __init__(self, power: float = 0.9, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        if not power > 0:
            raise ConfigurationError(f"power is {power!r}; expected a positive number")
        self.power = power

    def decay(self, progress: float) -> float:
        """Return ``(1 - progress) ** power``."""
        return float((1.0 - progress) ** self.power)


class CosineSchedule(Schedule):
    """Half a period of the cosine, from 1 to ``minimum`` (Loshchilov & Hutter, arXiv 1608.03983).

    Parameters
    ----------
    minimum : float
        Factor at the end.
    warmup : float
        As in :class:`Schedule`.
    """

    def __init__(self, minimum: float = 0.0, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        if not 0.0 <= minimum <= 1.0:
            raise ConfigurationError(f"minimum is {minimum!r}; expected a factor from 0 to 1")
        self.minimum = minimum

    def decay(self, progress: float) -> float:
        """Return ``minimum + (1 - minimum) · (1 + cos(π · progress)) / 2``."""
        return self.minimum + (1.0 - self.minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))


class PlateauSchedule(Schedule):
    """Multiply by ``reduction`` whenever a value has not improved for ``patience`` epochs.

    Parameters
    ----------
    reduction : float
    patience : int
        Number of epochs.
    monitor : str, optional
        Name of what is logged. Default: ``val_loss`` where there is a validation, else ``loss``.
    minimum : float
        The factor does not fall below it.
    minimum_change : float
        What counts as an improvement. Losses (names that contain "loss") improve by falling, all
        else by rising.
    warmup : float
        As in :class:`Schedule`.
    """

    def __init__(
        self,
        reduction: float = 0.2,
        patience: int = 20,
        monitor: str | None = None,
        minimum: float = 1e-4,
        minimum_change: float = 1e-4,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(warmup)
        if not 0.0 < reduction < 1.0:
            raise ConfigurationError(f"reduction is {reduction!r}; expected between 0 and 1")
        if patience < 1:
            raise ConfigurationError(f"patience is {patience!r}; expected 1 epoch or more")
        self.reduction = reduction
        self.patience = patience
        self.monitor = monitor
        self.minimum = minimum
        self.minimum_change = minimum_change
        self._factor = 1.0
        self._best: float | None = None
        self._waited = 0

    def decay(self, progress: float) -> float:
        """Return the factor that was reached."""
        return self._factor

    def after_epoch(self, logs: Mapping[str, float]) -> None:
        """Count epochs without an improvement."""
        monitor = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if monitor not in logs and monitor.startswith("val_volume"):
            return  # whole volumes are not validated in every epoch
        if monitor not in logs:
            raise ConfigurationError(
                f"PlateauSchedule watches {monitor!r}, which is not logged; there are "
                f"{', '.join(sorted(logs))}"
            )
        value = logs[monitor] if improves_by_falling(monitor) else -logs[monitor]
        if self._best is None or value < self._best - self.minimum_change:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._factor = max(self._factor * self.reduction, self.minimum)
            self._waited = 0

    def get_state(self) -> dict[str, Any]:
        """Return factor, best value and epochs waited."""
        return {"factor": self._factor, "best": self._best, "waited": self._waited}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        self._factor, self._best, self._waited = state["factor"], state["best"], state["waited"]


_NAMES: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "cosine": CosineSchedule,
    "plateau": PlateauSchedule,
    "polynomial": PolynomialSchedule,
}


def as_schedule(schedule: Schedule | str | None) -> Schedule:
    """Return the schedule of a name; None stands for "constant".

    Parameters
    ----------
    schedule : Schedule, str or None

    Raises
    ------
    ConfigurationError
        If there is no schedule of this name, or it is none.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule is None:
        return ConstantSchedule()
    if isinstance(schedule, str) and schedule in _NAMES:
        return _NAMES[schedule]()
    raise ConfigurationError(
        f"schedule is {schedule!r}; expected one of {', '.join(sorted(_NAMES))}, or a Schedule "
        "such as PolynomialSchedule(power=0.9, warmup=0.05). (A Keras schedule is handed in as "
        "learning_rate.)"
    )


def improves_by_falling(monitor: str) -> bool:
    """Tell whether a logged value is the better the smaller it is."""
    return "loss" in monitor
