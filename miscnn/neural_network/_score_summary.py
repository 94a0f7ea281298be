"""Scores that go into a bundle: a table without names of subjects, and its summary."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn._text import read_tsv, write_tsv
from miscnn.exceptions import ConfigurationError, MissingFileError

__all__ = ["WORST", "BundleScores", "write_bundle_scores"]

_COLUMNS = ("fold", "sample", "class", "class_name", "metric", "value")

WORST = {
    "dice": "low",
    "dice_roi": "low",
    "jaccard": "low",
    "sensitivity": "low",
    "specificity": "low",
    "precision": "low",
    "volume_error": "far from zero",
    "volume_similarity": "low",
    "hd_mm": "high",
    "hd95_mm": "high",
    "assd_mm": "high",
    "rmsd_mm": "high",
    "nsd_2mm": "low",
    "centroid_distance_mm": "high",
    "boundary_iou": "low",
    "cldice": "low",
    "lesion_fp": "high",
    "lesion_fn": "high",
    "lesion_sensitivity": "low",
    "lesion_precision": "low",
    "lesion_f1": "low",
    "panoptic_quality": "low",
    "ece": "high",
    "brier": "high",
}
"""Which values of a score are bad; others judge nothing."""


@dataclass(frozen=True)
class BundleScores:
    """What a bundle says of scores.

    Attributes
    ----------
    summary : list of dict
        Per class and score ``class``, its ``name``, ``metric``, ``n`` (values), ``undefined`` and
        ``infinite`` (how many of them), ``mean`` and ``sd`` (of the finite ones, n − 1), ``median``
        and ``worst`` (of the defined ones). What is undefined is None.
    subjects : frozenset of str
        Whose scores they are; not to be written down.
    folds : int
        How many folds they are from.
    cross_validation : bool
        Whether a cross-validation returned them. Of a table or a file it is not known.
    """

    summary: list[dict[str, Any]]
    subjects: frozenset[str]
    folds: int
    cross_validation: bool

    def origin(self, trained_on: frozenset[str] | None) -> dict[str, Any]:
        """Say as JSON values where they are from.

        Parameters
        ----------
        trained_on : frozenset of str, optional
            All subjects that the network was trained on, if they are known.
        """
        return {
            "from": "cross-validation" if self.cross_validation else "not known",
            "folds": self.folds,
            "subjects": len(self.subjects),
            "trained_on": None if trained_on is None else len(self.subjects & trained_on),
        }


def write_bundle_scores(scores: Any, path: Path) -> BundleScores:
    """Write the scores of an evaluation, subjects numbered in their order.

    Parameters
    ----------
    scores : path, ScoreTable or result of an evaluation
        A path is that of ``scores.tsv``, or of the folder that holds it.
    path : Path
        File to write.

    Returns
    -------
    BundleScores

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigurationError
        If it is no table of scores.
    """
    if isinstance(scores, str | Path):
        source = Path(scores) / "scores.tsv" if Path(scores).is_dir() else Path(scores)
        if not source.is_file():
            raise MissingFileError(f"scores: {source} does not exist; cross_validation writes it")
        rows = read_tsv(source)
    else:
        table = getattr(scores, "scores", scores)
        if not hasattr(table, "to_tsv"):
            raise ConfigurationError(
                "scores must be the path of a scores.tsv, or what an evaluation returned; got "
                f"{type(scores).__name__}"
            )
        table.to_tsv(path)
        rows = read_tsv(path)
    header = rows[0] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing or any(len(row) != len(header) for row in rows):
        raise ConfigurationError(
            f"scores: this is no table of scores; it lacks the column(s) {', '.join(missing)}"
            if missing
            else "scores: the lines of the table are not all of one length"
        )
    at = {name: header.index(name) for name in header}
    numbers: dict[str, str] = {}
    folds = set()
    groups: dict[tuple[str, str, str], list[float]] = {}
    for number, row in enumerate(rows[1:], 2):
        folds.add(row[at["fold"]])
        # An index may be the name of a patient.
        row[at["sample"]] = numbers.setdefault(row[at["sample"]], str(len(numbers) + 1))
        try:
            value = float(row[at["value"]])
        except ValueError as error:
            raise ConfigurationError(f"scores, line {number}: {error}") from error
        key = (row[at["class"]], row[at["class_name"]], row[at["metric"]])
        groups.setdefault(key, []).append(value)
    write_tsv(path, header, rows[1:])
    return BundleScores(
        [_summary(*key, values) for key, values in groups.items()],
        frozenset(numbers),
        len(folds),
        _is_cross_validation(scores),
    )


def _is_cross_validation(scores: Any) -> bool:
    """Tell whether this is what a cross-validation returned: of its folds each has its training."""
    folds = getattr(scores, "folds", None)
    return isinstance(folds, tuple) and all(hasattr(fold, "training") for fold in folds)


def _summary(label: str, name: str, metric: str, values: Sequence[float]) -> dict[str, Any]:
    finite = [value for value in values if math.isfinite(value)]
    defined = [value for value in values if not math.isnan(value)]
    return {
        "class": int(label),
        "name": name,
        "metric": metric,
        "n": len(values),
        "undefined": len(values) - len(defined),
        "infinite": len(defined) - len(finite),
        "mean": statistics.fmean(finite) if finite else None,
        "sd": statistics.stdev(finite) if len(finite) > 1 else None,
        "median": _plain(statistics.median(defined)) if defined else None,
        "worst": _plain(_worst(metric, defined)) if defined else None,
    }


def _worst(metric: str, values: Sequence[float]) -> float:
    # The surface Dice has a tolerance in its name.
    bad = "low" if metric.startswith("nsd_") else WORST.get(metric)
    if bad is None:
        return math.nan
    return min(values) if bad == "low" else max(values, key=abs) if bad != "high" else max(values)


def _plain(value: float) -> float | str | None:
    """Return what JSON can hold: it knows no infinity."""
    return None if math.isnan(value) else str(value) if math.isinf(value) else value
