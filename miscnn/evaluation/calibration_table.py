"""Reliability as a tidy table: how sure a network was, and how often it was right.

``calibration.tsv``: UTF-8, tab-separated, one line per fold, subject, class and bin, with the
columns

``fold, sample, class, class_name, bin, low, high, n, mean_confidence, frequency``
"""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from miscnn._text import aligned, html_table, number, shortened
from miscnn.evaluation._tidy import TidyTable, read_rows, write_rows
from miscnn.exceptions import ConfigurationError

PREDICTED_CLASS = -1
"""In place of a label: the class with the greatest probability, whichever it is."""

_HEADER = (
    *("fold", "sample", "class", "class_name", "bin", "low", "high", "n"),
    *("mean_confidence", "frequency"),
)


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """One bin of one class of one subject.

    Attributes
    ----------
    fold : int
    sample : str
        Index of the subject.
    label : int
        Class or region; :data:`PREDICTED_CLASS` for the class with the greatest probability.
    class_name : str
    bin : int
        From 0 on.
    low, high : float
        The bin holds the probabilities above ``low`` and up to ``high``; the first one 0 as well.
    n : int
        Number of voxels.
    mean_confidence : float
        Mean of their probabilities; NaN for an empty bin.
    frequency : float
        Share of them that is of the class; NaN for an empty bin.
    """

    fold: int
    sample: str
    label: int
    class_name: str
    bin: int
    low: float
    high: float
    n: int
    mean_confidence: float
    frequency: float


@dataclass(frozen=True, slots=True)
class PooledBin:
    """One bin of one class over the voxels of all subjects.

    Attributes
    ----------
    label : int
    class_name : str
    bin : int
    low, high : float
    n : int
        Number of voxels.
    n_subjects : int
        Number of subjects with any voxel in this bin.
    mean_confidence, frequency : float
        As in :class:`CalibrationRow`.
    """

    label: int
    class_name: str
    bin: int
    low: float
    high: float
    n: int
    n_subjects: int
    mean_confidence: float
    frequency: float


@dataclass(frozen=True)
class CalibrationTable(TidyTable[CalibrationRow]):
    """Reliability of the probabilities of many subjects.

    ``str()`` gives the pooled bins and the ECE of each class.

    Parameters
    ----------
    rows : iterable of CalibrationRow

    Raises
    ------
    ConfigurationError
        If a bin of one fold, subject and class is there twice.
    """

    rows: tuple[CalibrationRow, ...] = ()

    def __init__(self, rows: Iterable[CalibrationRow] = ()) -> None:
        super().__init__(rows)

    @staticmethod
    def _identity(row: CalibrationRow) -> Hashable:
        return row.fold, row.sample, row.label, row.bin

    @staticmethod
    def _told(row: CalibrationRow) -> str:
        return f"bin {row.bin} of class {row.label}"

    def __repr__(self) -> str:
        return f"CalibrationTable({len(self)} rows: {len(self.samples)} subjects, {self.classes})"

    def select(
        self, label: int | None = None, fold: int | None = None, sample: str | None = None
    ) -> CalibrationTable:
        """Return the rows that agree with all that is given."""
        return self._with(label=label, fold=fold, sample=sample)

    def pooled(self, label: int | None = None) -> tuple[PooledBin, ...]:
        """Return the bins over the voxels of all subjects, class by class, for a diagram.

        Every voxel weighs the same, so that subjects with large organs weigh more; a score that
        does not depend on this is the mean of the subjects' own ECEs (``scores.tsv``).

        Parameters
        ----------
        label : int, optional
            Only this class.

        Raises
        ------
        ConfigurationError
            If the subjects have different bins.
        """
        groups: dict[tuple[int, int], list[CalibrationRow]] = {}
        for row in self.rows:
            if label is None or row.label == label:
                groups.setdefault((row.label, row.bin), []).append(row)
        return tuple(_pool(groups[key]) for key in sorted(groups))

    def ece(self, label: int) -> float:
        """Return the expected calibration error of a class over the voxels of all subjects.

        NaN if there is no voxel. See :mod:`miscnn.evaluation.calibration`.
        """
        filled = [each for each in self.pooled(label) if each.n]
        total = sum(each.n for each in filled)
        if not total:
            return float("nan")
        return (
            math.fsum(each.n * abs(each.frequency - each.mean_confidence) for each in filled)
            / total
        )

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write the table (columns: see :mod:`miscnn.evaluation.calibration_table`)."""
        write_rows(path, CalibrationRow, _HEADER, self.rows)

    @classmethod
    def from_tsv(cls, path: str | os.PathLike[str]) -> CalibrationTable:
        """Read what :meth:`to_tsv` wrote.

        Raises
        ------
        MissingFileError
            If the file does not exist.
        ConfigurationError
            If it holds something else.
        """
        return cls(read_rows(Path(path), CalibrationRow, _HEADER, "calibration"))

    def __str__(self) -> str:
        lines, errors, notes = self._printed()
        if len(lines) == 1:
            return "no calibration"
        return "\n".join([*aligned(lines, left=2), "", *aligned(errors, left=1), *notes])

    def _repr_html_(self) -> str:
        lines, errors, notes = self._printed()
        if len(lines) == 1:
            return "no calibration"
        return html_table(errors[0], errors[1:], "Calibration") + html_table(
            lines[0], lines[1:], "Reliability", left=2, notes=notes
        )

    def _printed(self) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]], list[str]]:
        """Return the cells of the bins and of the errors, heads first, and what is to be said."""
        pooled = self.pooled()
        lines = [("class", "probability", "voxels", "subjects", "confidence", "frequency")]
        last: int | None = None
        for each in pooled:
            name = shortened(each.class_name, 16) if each.label != last else ""
            last = each.label
            span = f"{number(each.low)} … {number(each.high)}"
            figures = number(each.mean_confidence), number(each.frequency)
            lines.append((name, span, str(each.n), str(each.n_subjects), *figures))
        errors = [("class", "ECE")] + [
            (shortened(name, 16), number(self.ece(label))) for label, name in self.classes.items()
        ]
        empty = sum(not each.n for each in pooled)
        notes = [f"—: undefined; {empty} bin(s) hold no voxel"] if empty else []
        return list[tuple[str, ...]](lines), list[tuple[str, ...]](errors), notes


def _pool(rows: list[CalibrationRow]) -> PooledBin:
    first = rows[0]
    if any((row.low, row.high) != (first.low, first.high) for row in rows):
        raise ConfigurationError(
            f"the subjects have different bins of class {first.label}: bin {first.bin} is not "
            f"{first.low:.4g} … {first.high:.4g} for all; pool those measured with one number of "
            "bins"
        )
    filled = [row for row in rows if row.n]
    n = sum(row.n for row in filled)
    return PooledBin(
        label=first.label,
        class_name=first.class_name,
        bin=first.bin,
        low=first.low,
        high=first.high,
        n=n,
        n_subjects=len({row.sample for row in filled}),
        mean_confidence=math.fsum(r.n * r.mean_confidence for r in filled) / n if n else math.nan,
        frequency=math.fsum(r.n * r.frequency for r in filled) / n if n else math.nan,
    )
