"""Detection of lesions by their size, with intervals that know whose the lesions are."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from miscnn._text import aligned, html_table, number, shortened, write_tsv

_NAN = float("nan")


class _Row(Protocol):
    @property
    def fold(self) -> int: ...
    @property
    def sample(self) -> str: ...
    @property
    def label(self) -> int: ...
    @property
    def class_name(self) -> str: ...
    @property
    def side(self) -> str: ...
    @property
    def volume_ml(self) -> float: ...
    @property
    def diameter_mm(self) -> float: ...
    @property
    def matched(self) -> bool: ...
    @property
    def iou(self) -> float: ...


@dataclass(frozen=True, slots=True)
class SizeBin:
    """Detection of the lesions of one class and of a range of sizes.

    Attributes
    ----------
    label : int
    class_name : str
    low_mm, high_mm : float
        Equivalent diameters: from ``low_mm`` to below ``high_mm``.
    n : int
        Number of true lesions of such a size.
    n_found : int
        How many of them have a partner.
    n_subjects : int
        Number of subjects with such a lesion.
    sensitivity : float
        n_found / n; NaN without a lesion.
    ci_low, ci_high : float
        Its confidence interval (:meth:`LesionTable.by_size`); NaN for fewer than two subjects.
    mean_iou : float
        Of those found, with their partners; NaN if there is none.
    n_predicted : int
        Number of *predicted* lesions of such a size.
    n_false : int
        How many of them have no partner.
    """

    label: int
    class_name: str
    low_mm: float
    high_mm: float
    n: int
    n_found: int
    n_subjects: int
    sensitivity: float
    ci_low: float
    ci_high: float
    mean_iou: float
    n_predicted: int
    n_false: int


@dataclass(frozen=True)
class Detection:
    """Detection by size, class by class.

    Attributes
    ----------
    rows : tuple of SizeBin
        By class and size, both ascending.
    totals : tuple of SizeBin
        One for each class, lesions of all sizes, those outside of the edges included.
    edges_ml : tuple of float or None
        The edges if they were given in ml.
    confidence : float
    """

    rows: tuple[SizeBin, ...] = ()
    totals: tuple[SizeBin, ...] = ()
    edges_ml: tuple[float, ...] | None = None
    confidence: float = 0.95

    def select(self, label: int) -> tuple[SizeBin, ...]:
        """Return the bins of one class."""
        return tuple(row for row in self.rows if row.label == label)

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write the bins, then the totals; columns: the attributes of :class:`SizeBin`."""
        header = ["class", *[field.name for field in fields(SizeBin)][1:]]
        write_tsv(path, header, map(astuple, (*self.rows, *self.totals)))

    def table(self) -> list[tuple[str, ...]]:
        """Return the cells of the printed table, its header first."""
        unit = "size (ml)" if self.edges_ml else "diameter (mm)"
        interval = f"{100 * self.confidence:g} % CI"
        lines: list[tuple[str, ...]] = [
            ("class", unit, "n", "found", "sensitivity", interval, "IoU", "predicted", "false")
        ]
        for total in self.totals:
            name = shortened(total.class_name, 16)
            bins = self.select(total.label)
            for position, row in enumerate(bins):
                edges = (row.low_mm, row.high_mm)
                if self.edges_ml:
                    edges = self.edges_ml[position], self.edges_ml[position + 1]
                lines.append((name, _span(*edges), *_cells(row)))
                name = ""
            lines.append((name, "all", *_cells(total)))
        return lines

    def notes(self) -> list[str]:
        """Return what has to be said below the printed table."""
        both = (*self.rows, *self.totals)
        empty = sum(not row.n for row in both)
        single = sum(row.n_subjects == 1 for row in both)
        outside = sum(t.n - sum(row.n for row in self.select(t.label)) for t in self.totals)
        told = [
            (empty, f"—: undefined; {empty} line(s) without a true lesion"),
            (single, f"{single} line(s) with lesions of one subject only, so without an interval"),
            (outside, f"{outside} true lesion(s) lie outside of the edges, and in 'all' only"),
        ]
        return [text for count, text in told if count]

    def __str__(self) -> str:
        if not self.totals:
            return "no lesions"
        notes = self.notes()
        return "\n".join([*aligned(self.table(), left=2), *([""] if notes else []), *notes])

    def _repr_html_(self) -> str:
        header, *body = self.table()
        return html_table(header, body, "Detection by size", left=2, notes=self.notes())


def detection_by_diameter(
    rows: Sequence[_Row],
    edges: Sequence[float],
    edges_ml: tuple[float, ...] | None,
    confidence: float,
) -> Detection:
    """Count the lesions of each class by bins of the equivalent diameter in mm."""
    bins: list[SizeBin] = []
    totals: list[SizeBin] = []
    for label in sorted({row.label for row in rows}):
        of_class = [row for row in rows if row.label == label]
        if edges_ml is None:
            sizes = np.array([row.diameter_mm for row in of_class])
            places = np.digitize(sizes, edges)
        else:
            # as they were given: no rounding of cube roots moves a lesion over an edge
            places = np.digitize(np.array([row.volume_ml for row in of_class]), edges_ml)
        for position, (low, high) in enumerate(itertools.pairwise(edges), 1):
            inside = [row for row, place in zip(of_class, places, strict=True) if place == position]
            bins.append(_bin(label, of_class[0].class_name, low, high, inside, confidence))
        totals.append(_bin(label, of_class[0].class_name, 0.0, math.inf, of_class, confidence))
    return Detection(tuple(bins), tuple(totals), edges_ml, confidence)


def _bin(
    label: int, class_name: str, low: float, high: float, rows: Sequence[_Row], confidence: float
) -> SizeBin:
    true = [row for row in rows if row.side == "truth"]
    predicted = [row for row in rows if row.side == "prediction"]
    found = [row.iou for row in true if row.matched]
    subjects, member = np.unique([row.sample for row in true], return_inverse=True)
    hits = np.bincount(member, [float(row.matched) for row in true], subjects.size)
    interval = proportion_interval(hits, np.bincount(member, minlength=subjects.size), confidence)
    return SizeBin(
        label=label,
        class_name=class_name,
        low_mm=float(low),
        high_mm=float(high),
        n=len(true),
        n_found=len(found),
        n_subjects=subjects.size,
        sensitivity=len(found) / len(true) if true else _NAN,
        ci_low=interval[0],
        ci_high=interval[1],
        mean_iou=math.fsum(found) / len(found) if found else _NAN,
        n_predicted=len(predicted),
        n_false=sum(not row.matched for row in predicted),
    )


def proportion_interval(
    hits: NDArray[Any], sizes: NDArray[Any], confidence: float = 0.95
) -> tuple[float, float]:
    """Return a confidence interval of a proportion whose trials belong to subjects.

    Parameters
    ----------
    hits, sizes : ndarray
        Number of successes and of trials (at least 1) of each subject, shape (m,).
    confidence : float
        Between 0 and 1.

    Returns
    -------
    low, high : float
        Wilson's interval for the effective number of trials, see
        :meth:`~miscnn.evaluation.lesion_table.LesionTable.by_size`; NaN for fewer than two
        subjects.
    """
    m, n = int(sizes.size), int(sizes.sum())
    if m < 2:
        return _NAN, _NAN
    p = float(hits.sum()) / n
    effective = float(m)
    if 0 < p < 1:
        variance = m / (m - 1) * float(np.sum((hits - p * sizes) ** 2)) / n**2
        # at least 1, at most n: few subjects may look steadier than independent lesions are
        effective = max(1.0, min(n, p * (1 - p) / variance)) if variance > 0 else float(n)
    z = float(special.stdtrit(m - 1, 0.5 + confidence / 2))
    share = z * z / effective
    centre = (p + share / 2) / (1 + share)
    reach = z / (1 + share) * math.sqrt(p * (1 - p) / effective + share / (4 * effective))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _cells(row: SizeBin) -> tuple[str, ...]:
    interval = "—" if math.isnan(row.ci_low) else f"{number(row.ci_low)} … {number(row.ci_high)}"
    return (
        str(row.n),
        str(row.n_found),
        number(row.sensitivity),
        interval,
        number(row.mean_iou),
        str(row.n_predicted),
        str(row.n_false),
    )


def _span(low: float, high: float) -> str:
    return f"≥ {low:g}" if math.isinf(high) else f"{low:g} … {high:g}"
