"""Which scores are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from miscnn.evaluation._metrics import (
    SCORED,
    STANDARD_METRICS,
    VOLUMES,
    nsd_name,
    tolerance_of,
)
from miscnn.exceptions import ConfigurationError


@dataclass(frozen=True)
class Scoring:
    """Which scores are computed, and what they depend on.

    Parameters
    ----------
    metrics : sequence of str, optional
        Names of scores (:data:`miscnn.evaluation.scores.METRICS`); ``"nsd"`` stands for the
        surface Dice at all of ``nsd_tolerances_mm``, ``"nsd_1.5mm"`` for that at one tolerance,
        ``"all"`` for everything. Default: all but ``boundary_iou`` and ``cldice``, which take
        longer than all others together. Volumes (the areas of 2D images) are always computed:
        groups by size need them.
    nsd_tolerances_mm : sequence of float
        Tolerances of the surface Dice. 2 mm is a choice of ours: take what two experts differ by.
    boundary_width_mm : float, optional
        Width of the boundary of ``boundary_iou``; None: see
        :func:`miscnn.evaluation.scores.boundary_iou`.
    lesions : bool
        Whether lesions, connected parts of a class, are matched and counted.
    lesion_iou : float
        Overlap (IoU) from which on two of them match.
    calibration : bool
        Whether the model's probabilities are judged.

    Raises
    ------
    ConfigurationError
        If a score is not known, or a number is out of range.

    Examples
    --------
    >>> Scoring(metrics=("dice", "nsd"), nsd_tolerances_mm=(1, 2.5)).names
    ('dice', 'nsd_1mm', 'nsd_2.5mm', 'volume_truth_ml', 'volume_prediction_ml')
    """

    metrics: tuple[str, ...] | None = None
    nsd_tolerances_mm: tuple[float, ...] = (2.0,)
    boundary_width_mm: float | None = None
    lesions: bool = False
    lesion_iou: float = 0.1
    calibration: bool = False

    def __post_init__(self) -> None:
        # What comes from a file may be one value in place of several.
        metrics: Any = self.metrics
        tolerances: Any = self.nsd_tolerances_mm
        if isinstance(metrics, str):
            metrics = (metrics,)
        if isinstance(tolerances, int | float):
            tolerances = (tolerances,)
        tolerances = tuple(dict.fromkeys(_number(t, "nsd_tolerances_mm") for t in tolerances))
        if not all(t >= 0 for t in tolerances):
            raise ConfigurationError(
                f"nsd_tolerances_mm must be tolerances in mm from 0 on, got {tolerances}"
            )
        object.__setattr__(self, "nsd_tolerances_mm", tolerances)
        object.__setattr__(self, "metrics", None if metrics is None else _checked(tuple(metrics)))
        if self.boundary_width_mm is not None:
            width = _number(self.boundary_width_mm, "boundary_width_mm")
            if width <= 0:
                raise ConfigurationError(
                    f"boundary_width_mm must be a width above 0 mm, got {width}"
                )
            object.__setattr__(self, "boundary_width_mm", width)
        iou = _number(self.lesion_iou, "lesion_iou")
        if not 0 < iou <= 1:
            raise ConfigurationError(f"lesion_iou must lie above 0 and up to 1, got {iou}")
        object.__setattr__(self, "lesion_iou", iou)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores in the order of tables, without lesions and calibration."""
        asked = () if self.metrics is None else self.metrics
        everything = "all" in asked
        wanted = SCORED if everything else STANDARD_METRICS if self.metrics is None else asked
        tolerances = {t for name in asked if (t := tolerance_of(name)) is not None}
        if everything or self.metrics is None or "nsd" in asked:
            tolerances |= set(self.nsd_tolerances_mm)
        names: list[str] = []
        for name in SCORED:
            if tolerance_of(name) is not None:  # the place of all of them
                names.extend(nsd_name(tolerance) for tolerance in sorted(tolerances))
            elif name in wanted or name in VOLUMES:
                names.append(name)
        return tuple(names)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Scoring:
        """Build what :meth:`get_config` has described."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ConfigurationError(
                f"scoring has no {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return cls(**config)


def _checked(metrics: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [
        name
        for name in metrics
        if name not in (*SCORED, "nsd", "all") and (tolerance_of(str(name)) is None)
    ]
    if unknown or not metrics:
        switches = "; lesions=True and calibration=True add theirs"
        raise ConfigurationError(
            f"metrics holds {', '.join(map(repr, unknown)) or 'nothing'}; known are all, "
            f"{', '.join(n for n in SCORED if n != 'nsd_2mm')}, nsd (at nsd_tolerances_mm) and "
            f"nsd_<tolerance>mm{switches}"
        )
    return tuple(dict.fromkeys(metrics))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
    return float(value)
