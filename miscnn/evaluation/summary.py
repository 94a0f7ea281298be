"""The table of all scores, and what it says about a model.

``scores.tsv`` is the one record of an evaluation: UTF-8, tab-separated, one line per fold,
subject, class and score, with the columns

``fold, sample, class, class_name, metric, value, n_slices, slice_thickness_mm``

Numbers are written so that they are read back exactly; undefined values as ``nan``, infinite
ones as ``inf``. Every report is made from this table alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miscnn._text import aligned, number, read_tsv, shortened, write_tsv
from miscnn.evaluation._bootstrap import bootstrap_interval
from miscnn.evaluation.scores import METRICS
from miscnn.exceptions import ConfigurationError, MissingFileError

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
_SUMMARY_HEADER = (
    "fold",
    "class",
    "class_name",
    "metric",
    "n",
    "n_undefined",
    "n_infinite",
    "mean",
    "sd",
    "median",
    "worst",
    "worst_sample",
    "ci95_low",
    "ci95_high",
)
_MOST_FOLDS_PRINTED = 8


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
class ScoreTable:
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
        object.__setattr__(self, "rows", tuple(rows))
        seen: set[tuple[int, str, int, str]] = set()
        for row in self.rows:
            key = (row.fold, row.sample, row.label, row.metric)
            if key in seen:
                raise ConfigurationError(
                    f"{row.metric} of class {row.label} of sample {row.sample!r} is twice in "
                    f"fold {row.fold}; a table holds each score once"
                )
            seen.add(key)

    def __repr__(self) -> str:
        counts = f"{len(self.folds)} folds, {len(self.classes)} classes"
        return f"ScoreTable({len(self)} rows: {len(self.samples)} subjects, {counts})"

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ScoreRow]:
        return iter(self.rows)

    def __add__(self, other: ScoreTable) -> ScoreTable:
        return ScoreTable(self.rows + other.rows)

    @property
    def samples(self) -> list[str]:
        """Indices of the subjects, in the order of the table."""
        return list(dict.fromkeys(row.sample for row in self.rows))

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds, ascending."""
        return sorted({row.fold for row in self.rows})

    @property
    def metrics(self) -> list[str]:
        """Names of the scores, in the order of the table."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    @property
    def classes(self) -> dict[int, str]:
        """Names of the classes by label, ascending."""
        return dict(sorted({row.label: row.class_name for row in self.rows}.items()))

    def select(
        self,
        metric: str | None = None,
        label: int | None = None,
        fold: int | None = None,
        sample: str | None = None,
    ) -> ScoreTable:
        """Return the rows that agree with all that is given."""
        wanted = {"metric": metric, "label": label, "fold": fold, "sample": sample}
        given = {name: value for name, value in wanted.items() if value is not None}
        return ScoreTable(
            row for row in self.rows if all(getattr(row, n) == v for n, v in given.items())
        )

    def values(
        self, metric: str, label: int | None = None, fold: int | None = None
    ) -> NDArray[np.float64]:
        """Return the values of one score, float64, NaN and infinity included."""
        return np.array([row.value for row in self.select(metric, label, fold)], dtype=np.float64)

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write the table (columns: see :mod:`miscnn.evaluation.summary`)."""
        write_tsv(path, _TABLE_HEADER, map(astuple, self.rows))

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
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist; it is written by cross_validation")
        lines = read_tsv(path)
        if not lines or tuple(lines[0]) != _TABLE_HEADER:
            raise ConfigurationError(
                f"{path} is no table of scores: its first line must name the columns "
                f"{', '.join(_TABLE_HEADER)}"
            )
        return cls(_parse_row(line, path, number) for number, line in enumerate(lines[1:], 2))

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

    def summary(self, seed: int = 0) -> Summary:
        """Summarise every score of every class, over all subjects and per fold.

        Parameters
        ----------
        seed : int
            Of the bootstrap.
        """
        groups: dict[tuple[int | None, int, str], list[ScoreRow]] = {}
        order = {name: position for position, name in enumerate([*METRICS, *self.metrics])}
        for row in self.rows:
            groups.setdefault((None, row.label, row.metric), []).append(row)
        for row in self.rows:
            groups.setdefault((row.fold, row.label, row.metric), []).append(row)
        keys = sorted(groups, key=lambda k: (k[0] is not None, k[0] or 0, k[1], order[k[2]]))
        return Summary(tuple(_summarise(key[0], groups[key], seed) for key in keys))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One score of one class, over the subjects of a fold or of all folds.

    Attributes
    ----------
    fold : int or None
        ``None``: all folds.
    label : int
    class_name, metric : str
    n : int
        Number of values, the undefined and infinite ones included.
    n_undefined, n_infinite : int
        How many of them are undefined, and infinite.
    mean, sd : float
        Over the finite values; the standard deviation with n − 1 in the denominator.
    median, worst : float
        Over all defined values, so that infinite ones count. Worst: the lowest if high values
        are good, the highest if low ones are, the largest magnitude if zero is best; NaN for
        quantities that are no judgement.
    worst_sample : str
        Index of the subject with the worst value.
    ci_low, ci_high : float
        95 % confidence interval of the mean over the finite values (:func:`bootstrap_interval`).
    """

    fold: int | None
    label: int
    class_name: str
    metric: str
    n: int
    n_undefined: int
    n_infinite: int
    mean: float
    sd: float
    median: float
    worst: float
    worst_sample: str
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Summary:
    """Mean, spread, worst case and confidence interval per class and score.

    ``str()`` gives a table of at most 100 columns (the interval is that of the mean);
    :meth:`to_tsv` writes everything, the single folds included.
    """

    rows: tuple[SummaryRow, ...] = ()

    def row(self, metric: str, label: int, fold: int | None = None) -> SummaryRow:
        """Return one row; ``fold=None`` means all folds.

        Raises
        ------
        KeyError
            If there is no such row.
        """
        for row in self.rows:
            if (row.metric, row.label, row.fold) == (metric, label, fold):
                return row
        raise KeyError(f"no {metric!r} of class {label} in fold {fold}")

    def mean_over_classes(self, metric: str = "dice") -> float:
        """Return the mean over the classes of the means over the subjects of all folds.

        A class without a finite value is left out (its row tells so); NaN if there is none.
        """
        means = [r.mean for r in self.rows if r.fold is None and r.metric == metric]
        finite = [mean for mean in means if np.isfinite(mean)]
        return float(np.mean(finite)) if finite else float("nan")

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write all rows: fold (``all`` for all folds), then as in :class:`SummaryRow`."""
        lines = (("all" if row.fold is None else row.fold, *astuple(row)[1:]) for row in self.rows)
        write_tsv(path, _SUMMARY_HEADER, lines)

    def __str__(self) -> str:
        overall = [row for row in self.rows if row.fold is None]
        if not overall:
            return "no scores"
        header = ("class", "metric", "n", "mean", "sd", "median", "worst", "95 % CI")
        body = [
            (
                shortened(row.class_name, 12),
                shortened(row.metric, 20),
                str(row.n),
                *map(number, (row.mean, row.sd, row.median, row.worst)),
                f"{number(row.ci_low)} … {number(row.ci_high)}",
                str(row.n_undefined or ""),
                str(row.n_infinite or ""),
            )
            for row in overall
        ]
        lines = aligned([(*header, "nan", "inf"), *body], left=2)
        folds = sorted({row.fold for row in self.rows if row.fold is not None})
        if 2 <= len(folds) <= _MOST_FOLDS_PRINTED:
            lines += ["", "mean per fold", *aligned(self._by_fold(folds), left=2)]
        if any(row.n_undefined or row.n_infinite for row in overall):
            lines += [
                "",
                "nan: how many values are undefined (0/0) and in none of the figures.",
                "inf: how many are infinite (one side empty): in median and worst only.",
            ]
        return "\n".join(lines)

    def _by_fold(self, folds: Sequence[int]) -> list[tuple[str, ...]]:
        cells = {(r.fold, r.label, r.metric): number(r.mean) for r in self.rows}
        judged = [r for r in self.rows if r.fold is None and _best(r.metric) != "none"]
        body = [
            (
                shortened(r.class_name, 12),
                shortened(r.metric, 20),
                *(cells.get((fold, r.label, r.metric), "") for fold in folds),
            )
            for r in judged
        ]
        return [("class", "metric", *map(str, folds)), *body]


def _summarise(fold: int | None, rows: Sequence[ScoreRow], seed: int) -> SummaryRow:
    values = np.array([row.value for row in rows], dtype=np.float64)
    finite = np.isfinite(values)
    used = values[finite]
    defined = values[~np.isnan(values)]
    worst = worst_position(values, rows[0].metric)
    low, high = (
        bootstrap_interval(used, [r.sample for r, ok in zip(rows, finite, strict=True) if ok], seed)
        if used.size
        else (float("nan"), float("nan"))
    )
    return SummaryRow(
        fold=fold,
        label=rows[0].label,
        class_name=rows[0].class_name,
        metric=rows[0].metric,
        n=len(rows),
        n_undefined=int(np.isnan(values).sum()),
        n_infinite=int(np.isinf(values).sum()),
        mean=float(used.mean()) if used.size else float("nan"),
        sd=float(used.std(ddof=1)) if used.size > 1 else float("nan"),
        median=float(np.median(defined)) if defined.size else float("nan"),
        worst=float("nan") if worst is None else float(values[worst]),
        worst_sample="" if worst is None else rows[worst].sample,
        ci_low=low,
        ci_high=high,
    )


def _best(metric: str) -> str:
    return METRICS[metric].best if metric in METRICS else "none"


def worst_position(values: NDArray[np.float64], metric: str) -> int | None:
    """Return where the worst value stands; None if there is none, or the score judges nothing."""
    best = _best(metric)
    if best == "none" or bool(np.isnan(values).all()):
        return None
    badness = {"high": -values, "low": values, "zero": np.abs(values)}[best]
    return int(np.nanargmax(badness))


def _parse_row(line: Sequence[str], path: Path, line_number: int) -> ScoreRow:
    kinds: Mapping[str, type] = {"int": int, "float": float, "str": str}
    types = [kinds[str(field.type)] for field in fields(ScoreRow)]
    try:
        return ScoreRow(*(kind(cell) for kind, cell in zip(types, line, strict=True)))
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {line_number} cannot be read: {error}") from error
