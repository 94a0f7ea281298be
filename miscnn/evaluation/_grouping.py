"""Groups of subjects: by fold, slice thickness, number of slices, and size of the class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from miscnn.evaluation.score_table import ScoreRow
from miscnn.exceptions import ConfigurationError

GROUPINGS = ("fold", "slice_thickness", "n_slices", "size")
"""By what subjects can be grouped."""
_ALIASES = {"slice_thickness_mm": "slice_thickness"}
"""What figures and the columns of the table call them."""
THICKNESS_EDGES = (1.5, 3.0, 5.0)
"""In mm: thin sections, and the usual thicker ones."""
_QUANTILES = (1 / 3, 2 / 3)
_VOLUMES = {"volume_truth_ml": "ml", "area_truth_mm2": "mm²"}

_SAME = 1e-4
"""Share by which a thickness may be above an edge: affines in float32 make 3.0000002 of 3 mm."""

Subject = tuple[int, str]
"""Fold and index."""


@dataclass(frozen=True, order=True)
class Group:
    """A group: its place among the others, and what it is called."""

    position: float
    name: str


def groupings(by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of groupings, each once and as :data:`GROUPINGS` has it."""
    names = (by,) if isinstance(by, str) else by
    return tuple(dict.fromkeys(_ALIASES.get(name, name) for name in names))


def check_sizes(metrics: Sequence[str]) -> None:
    """Raise an error if a table with these scores cannot tell the size of anything."""
    if metrics and not set(metrics) & set(_VOLUMES):
        raise ConfigurationError(
            "groups by size need the score volume_truth_ml (2D: area_truth_mm2); the table holds "
            f"{', '.join(metrics)}. Group the whole table, and choose scores by "
            'summary_by("size", metrics=[...]) in place of select(metric=...)'
        )


def groups_by(
    by: str, rows: Sequence[ScoreRow], edges: Sequence[float] | None = None
) -> Callable[[ScoreRow], Group]:
    """Return the function that tells the group of a row of the table."""
    if by == "fold":
        if edges is not None:
            raise ConfigurationError("folds are groups already; edges are for the other groupings")
        return lambda row: Group(row.fold, f"fold {row.fold}")
    if by not in GROUPINGS:
        raise ConfigurationError(
            f"subjects cannot be grouped by {by!r}; it must be one of {', '.join(GROUPINGS)}"
        )
    if edges is not None:
        _check(edges)
    if by == "slice_thickness":
        chosen = THICKNESS_EDGES if edges is None else edges
        return lambda row: _bin(row.slice_thickness, chosen, "mm", "thickness unknown", _SAME)
    if by == "n_slices":
        counts = {(row.fold, row.sample): float(row.n_slices) for row in rows}
        chosen = _thirds(counts.values()) if edges is None else edges
        return lambda row: _bin(float(row.n_slices), chosen, "slices", "slices unknown")
    return _by_size(rows, edges)


def _by_size(
    rows: Sequence[ScoreRow], edges: Sequence[float] | None
) -> Callable[[ScoreRow], Group]:
    sizes: dict[int, dict[Subject, float]] = {}
    units: dict[int, str] = {}
    for metric, unit in _VOLUMES.items():
        for row in rows:
            # Volumes come first: a class that has some is not measured by areas.
            if row.metric == metric and units.setdefault(row.label, unit) == unit:
                sizes.setdefault(row.label, {})[row.fold, row.sample] = row.value
    chosen = {
        label: _thirds(size for size in of_class.values() if size > 0) if edges is None else edges
        for label, of_class in sizes.items()
    }

    def group(row: ScoreRow) -> Group:
        size = sizes.get(row.label, {}).get((row.fold, row.sample), math.nan)
        if size == 0:
            return Group(-1, "absent")
        return _bin(size, chosen.get(row.label, ()), units.get(row.label, ""), "size unknown")

    return group


def _bin(value: float, edges: Sequence[float], unit: str, unknown: str, same: float = 0.0) -> Group:
    """Return the group of a value: above the edge before, up to and with the edge after."""
    if math.isnan(value):
        return Group(math.inf, unknown)
    position = sum(value > edge + same * abs(edge) for edge in edges)
    texts = _texts(edges)
    if not texts:
        name = f"all known ({unit})"
    elif position == 0:
        name = f"≤ {texts[0]} {unit}"
    elif position == len(texts):
        name = f"> {texts[-1]} {unit}"
    else:
        name = f"({texts[position - 1]}, {texts[position]}] {unit}"
    return Group(position, name)


def _texts(edges: Sequence[float]) -> list[str]:
    """Write edges with four digits, or as many as tell them apart: groups are known by name."""
    for digits in range(4, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(texts) and not any("e+" in text for text in texts):
            break
    return texts


def _thirds(values: Iterable[float]) -> list[float]:
    """Return values that divide the finite ones into thirds as well as ties allow."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return []
    edges = np.unique(np.quantile(known, _QUANTILES, method="inverted_cdf"))
    # Above the largest there is nobody; a single group still needs its end for a name.
    return [float(e) for e in edges if e < max(known)] or [max(known)]


def _check(edges: Sequence[float]) -> None:
    values = [float(edge) for edge in edges]
    ascending = all(low < high for low, high in pairwise(values))
    if not values or not ascending or not all(map(math.isfinite, values)):
        raise ConfigurationError(
            f"edges must be finite numbers in ascending order, at least one, got {list(edges)}"
        )
