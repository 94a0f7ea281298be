"""The table of all scores.

``scores.tsv`` is the one record of an evaluation: UTF-8, tab-separated, one line per fold,
subject, class and score, with the columns

``fold, sample, class, class_name, metric, value, n_slices, slice_thickness_mm``

Numbers are written so that they are read back exactly; undefined values as ``nan``, infinite
ones as ``inf``. Every report is made from this table alone.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from miscnn._text import write_tsv
from miscnn.evaluation._tidy import TidyTable, read_rows, write_rows
from miscnn.exceptions import ConfigurationError

if TYPE_CHECKING:
    from miscnn.evaluation.summary import Summary

_TABLE_HEADER = (
    "fold",
    "sample",
    "class",
    "class_name",
    "metric",
    "value",
    "n_slices",
    "slice_thickness_mm",
)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One score of one class of one subject.

    Attributes
    ----------
    fold : int
    sample : str
        Index of the subject.
    label : int
        Class.
    class_name, metric : str
    value : float
        NaN if undefined, infinite if there is nothing to measure the distance to.
    n_slices : int
    slice_thickness : float
        In mm; NaN for 2D images.
    """

    fold: int
    sample: str
    label: int
    class_name: str
    metric: str
    value: float
    n_slices: int
    slice_thickness: float


@dataclass(frozen=True)
class ScoreTable(TidyTable[ScoreRow]):
    """Scores as a tidy table.

    Parameters
    ----------
    rows : iterable of ScoreRow

    Raises
    ------
    ConfigurationError
        If a score of one fold, subject and class is there twice.
    """

    rows: tuple[ScoreRow, ...] = ()

    def __init__(self, rows: Iterable[ScoreRow] = ()) -> None:
        super().__init__(rows)

    @staticmethod
    def _identity(row: ScoreRow) -> Hashable:
        return row.fold, row.sample, row.label, row.metric

    @staticmethod
    def _told(row: ScoreRow) -> str:
        return f"{row.metric} of class {row.label}"

    def __repr__(self) -> str:
        counts = f"{len(self.folds)} folds, {len(self.classes)} classes"
        return f"ScoreTable({len(self)} rows: {len(self.samples)} subjects, {counts})"

    @property
    def metrics(self) -> list[str]:
        """Names of the scores, in the order of the table."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    def select(
        self,
        metric: str | None = None,
        label: int | None = None,
        fold: int | None = None,
        sample: str | None = None,
        *,
        samples: Iterable[str] | None = None,
    ) -> ScoreTable:
        """Return the rows that agree with all that is given.

        Parameters
        ----------
        metric : str, optional
        label, fold : int, optional
        sample : str, optional
            Index of a subject.
        samples : iterable of str, optional
            Indices of several.

        Raises
        ------
        ConfigurationError
            If ``samples`` is a single text.
        """
        if isinstance(samples, str):
            raise ConfigurationError(
                f"samples must hold indices of subjects, got {samples!r}; one subject: sample="
            )
        found = self._with(metric=metric, label=label, fold=fold, sample=sample)
        if samples is None:
            return found
        chosen = set(samples)
        return ScoreTable(row for row in found if row.sample in chosen)

    def values(
        self, metric: str, label: int | None = None, fold: int | None = None
    ) -> NDArray[np.float64]:
        """Return the values of one score, float64, NaN and infinity included."""
        return np.array([row.value for row in self.select(metric, label, fold)], dtype=np.float64)

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write the table (columns: see :mod:`miscnn.evaluation.score_table`)."""
        write_rows(path, ScoreRow, _TABLE_HEADER, self.rows)

    @classmethod
    def from_tsv(cls, path: str | os.PathLike[str]) -> ScoreTable:
        """Read what :meth:`to_tsv` wrote.

        Raises
        ------
        MissingFileError
            If the file does not exist.
        ConfigurationError
            If it holds something else.
        """
        return cls(read_rows(Path(path), ScoreRow, _TABLE_HEADER, "scores", asked_for=False))

    def to_wide_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per subject (``detailed_validation.tsv``).

        Columns: ``sample_id``, then ``<metric>_class-<label>`` for each score and class, such as
        ``dice_class-1``. A subject that is in several folds has one line per fold, in order.
        """
        columns = list(dict.fromkeys((row.metric, row.label) for row in self.rows))
        subjects: dict[tuple[int, str], dict[tuple[str, int], float]] = {}
        for row in self.rows:
            subjects.setdefault((row.fold, row.sample), {})[row.metric, row.label] = row.value
        header = ("sample_id", *(f"{metric}_class-{label}" for metric, label in columns))
        lines = (
            (sample, *(values.get(column, float("nan")) for column in columns))
            for (_, sample), values in subjects.items()
        )
        write_tsv(path, header, lines)

    # The summary is made of this table's rows, so that its module needs this one.

    def summary(self, seed: int = 0, *, metrics: Sequence[str] | None = None) -> Summary:
        """Summarise every score of every class, over all subjects and per fold.

        Parameters
        ----------
        seed : int
            Of the bootstrap.
        metrics : sequence of str, optional
            Names of the scores to summarise. Default: all.

        Raises
        ------
        ConfigurationError
            If the table lacks one of ``metrics``.
        """
        from miscnn.evaluation.summary import summarise

        return summarise(self.rows, ("fold",), seed, metrics=metrics)

    def summary_by(
        self,
        by: str | Sequence[str],
        seed: int = 0,
        edges: Sequence[float] | None = None,
        *,
        metrics: Sequence[str] | None = None,
    ) -> Summary:
        """Summarise every score of every class over all subjects, and by groups of subjects.

        Parameters
        ----------
        by : str, or sequence of str
            ``"fold"``; ``"slice_thickness"`` (mm; or ``"slice_thickness_mm"``, as the column is
            called); ``"n_slices"``; or ``"size"``: the true
            volume of the class in the subject, in ml (area in mm² for images), from the score
            ``volume_truth_ml`` of this table. Several: one grouping after the other.
        seed : int
            Of the bootstrap.
        edges : sequence of float, optional
            Where the groups end, ascending; for a single ``by`` that is not ``"fold"``. A
            value on an edge belongs to the group *below* it: ``[3, 5]`` makes the groups
            ``≤ 3``, ``(3, 5]`` and ``> 5``; a thickness does so up to 0.01 % above the edge,
            since headers hold 3.0000002 for 3 mm. Default: 1.5, 3 and 5 mm of slice thickness (thin
            sections, and the usual thicker ones; our choice), and for the others the values
            that divide the subjects into thirds. Sizes are divided class by class.
        metrics : sequence of str, optional
            Names of the scores to summarise. Default: all. The groups stay those of all.

        Returns
        -------
        Summary
            The rows over all subjects (``group`` is ``""``), then those of the groups. Every
            subject is in one group of each grouping: ``thickness unknown`` for images, and for
            sizes ``absent`` where the truth lacks the class, ``size unknown`` where it has
            no volume. Groups without subjects are not listed.

        Raises
        ------
        ConfigurationError
            If there is no such grouping, the edges are not ascending or not asked for, the table
            lacks one of ``metrics``, or has no volumes to group by size.
        """
        from miscnn.evaluation._grouping import check_sizes, groupings
        from miscnn.evaluation.summary import summarise

        names = groupings(by)
        if "size" in names:
            check_sizes(self.metrics)
        return summarise(self.rows, names, seed, edges, metrics)

    def _repr_html_(self) -> str:
        """Return the summary for notebooks, and how many scores it is made from."""
        return self.summary().to_html(f"{self!r}, in short")
