"""What scores are called, and which of their values are good."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """What a score is called and which values of it are good.

    Parameters
    ----------
    name : str
        Name in tables and files.
    title : str
        Name in figures, with the unit.
    best : {"high", "low", "zero", "none"}
        Which values are good; ``"none"`` for quantities that are no judgement.
    bounded : bool
        Whether it lies in [0, 1].
    """

    name: str
    title: str
    best: Literal["high", "low", "zero", "none"]
    bounded: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("dice", "Dice", "high", bounded=True),
            Metric("dice_roi", "Dice in slices with truth", "high", bounded=True),
            Metric("jaccard", "Jaccard", "high", bounded=True),
            Metric("sensitivity", "Sensitivity", "high", bounded=True),
            Metric("specificity", "Specificity", "high", bounded=True),
            Metric("precision", "Precision", "high", bounded=True),
            Metric("volume_error", "Relative volume error", "zero"),
            Metric("volume_similarity", "Volume similarity", "high", bounded=True),
            Metric("hd_mm", "Hausdorff distance (mm)", "low"),
            Metric("hd95_mm", "95 % Hausdorff distance (mm)", "low"),
            Metric("assd_mm", "Average symmetric surface distance (mm)", "low"),
            Metric("rmsd_mm", "Root mean square surface distance (mm)", "low"),
            Metric("nsd_2mm", "Surface Dice at 2 mm", "high", bounded=True),
            Metric("centroid_distance_mm", "Distance of the centroids (mm)", "low"),
            Metric("boundary_iou", "Boundary IoU", "high", bounded=True),
            Metric("cldice", "Centerline Dice", "high", bounded=True),
            Metric("volume_truth_ml", "True volume (ml)", "none"),
            Metric("volume_prediction_ml", "Predicted volume (ml)", "none"),
            Metric("area_truth_mm2", "True area (mm²)", "none"),
            Metric("area_prediction_mm2", "Predicted area (mm²)", "none"),
            Metric("n_lesions_truth", "True lesions", "none"),
            Metric("n_lesions_prediction", "Predicted lesions", "none"),
            Metric("lesion_tp", "Lesions found", "none"),
            Metric("lesion_fp", "False lesions", "low"),
            Metric("lesion_fn", "Lesions missed", "low"),
            Metric("lesion_sensitivity", "Share of lesions found", "high", bounded=True),
            Metric(
                "lesion_precision", "Share of predicted lesions that exist", "high", bounded=True
            ),
            Metric("lesion_f1", "F1 of lesions", "high", bounded=True),
            Metric("panoptic_quality", "Panoptic quality of lesions", "high", bounded=True),
            Metric("ece", "Expected calibration error", "low", bounded=True),
            Metric("brier", "Brier score", "low", bounded=True),
        )
    }
)
"""Scores with fixed names, in the order of tables; :func:`metric_of` knows the others, too."""

SCORED = tuple(
    name for name in METRICS if not re.match("area|n_lesions|lesion|pan|ece|brier", name)
)
"""Scores that can be asked for; those of lesions and calibration have switches of their own."""

VOLUMES = ("volume_truth_ml", "volume_prediction_ml")
"""Computed whatever is asked for: groups by size and the figures of volumes need them."""

STANDARD_METRICS = tuple(name for name in SCORED if name not in ("boundary_iou", "cldice"))
"""What is computed unless something else is asked for."""

_NSD = re.compile(r"nsd_(\d+(?:\.\d+)?(?:e[+-]?\d+)?)mm")


def metric_of(name: str) -> Metric:
    """Return what is known of a score.

    Parameters
    ----------
    name : str
        One of :data:`METRICS`; ``nsd_<tolerance>mm`` at any tolerance; or something else, of
        which no value is good or bad.

    Examples
    --------
    >>> metric_of("nsd_1.5mm").title
    'Surface Dice at 1.5 mm'
    >>> metric_of("minutes").best
    'none'
    """
    if name in METRICS:
        return METRICS[name]
    if (tolerance := tolerance_of(name)) is not None:
        return Metric(name, f"Surface Dice at {tolerance:g} mm", "high", bounded=True)
    return Metric(name, name, "none")


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of scores in the order of tables, each once; unknown ones last, as they came.

    Surface Dice at all tolerances stands where ``nsd_2mm`` does, ascending.
    """
    known = {name: place for place, name in enumerate(METRICS)}

    def place(name: str) -> tuple[int, float]:
        tolerance = tolerance_of(name)
        if tolerance is not None:
            return known["nsd_2mm"], tolerance
        return known.get(name, len(known)), 0.0

    return sorted(dict.fromkeys(names), key=place)


def nsd_name(tolerance_mm: float) -> str:
    """Return what the surface Dice at a tolerance is called."""
    return f"nsd_{float(tolerance_mm)!r}mm".replace(".0mm", "mm")


def tolerance_of(name: str) -> float | None:
    """Return the tolerance in mm of ``nsd_<tolerance>mm``; None for all other names."""
    found = _NSD.fullmatch(name)
    return float(found.group(1)) if found else None
