"""What a table of scores says about a model: middle, spread, worst case, interval.

``summary.tsv`` holds it as one tidy table, a line for each group of subjects, class and score:

``fold, class, class_name, metric, n, n_undefined, n_infinite, mean, sd, median, q25, q75, worst,
worst_sample, ci95_low, ci95_high, by, group``

``by`` and ``group`` tell whose scores they are: ``all`` and ``all``, ``fold`` and ``fold 2``,
``slice_thickness`` and ``(3, 5] mm``. The column ``fold`` is ``all`` only where all subjects are
in, the number of the fold in the rows of a fold, and empty in those of other groups.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miscnn._text import aligned, html_table, number, shortened, write_tsv
from miscnn.evaluation._bootstrap import Resamples, bootstrap_interval
from miscnn.evaluation._grouping import GROUPINGS, Group, groups_by
from miscnn.evaluation._metrics import in_order, metric_of
from miscnn.evaluation.score_table import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError

__all__ = [
    "GROUPINGS",
    "ScoreRow",
    "ScoreTable",
    "Summary",
    "SummaryRow",
    "summarise",
    "worst_position",
]

_SUMMARY_HEADER = (
    *("fold", "class", "class_name", "metric", "n", "n_undefined", "n_infinite"),
    *("mean", "sd", "median", "q25", "q75", "worst", "worst_sample", "ci95_low", "ci95_high"),
    *("by", "group"),
)
_FIGURES = ("n", "mean", "sd", "median", "IQR", "worst", "95 % CI", "nan", "inf")
_WIDTH = 100
_MOST_FOLDS_PRINTED = 8
_FEWEST_VALUES = 5
"""The fewest whose intervals have been measured: docs/explanation/statistics.md."""
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One score of one class, over a group of subjects or all of them.

    Attributes
    ----------
    fold : int or None
        ``None``: not of one fold.
    label : int
    class_name, metric : str
    n : int
        Number of values, the undefined and infinite ones included.
    n_undefined, n_infinite : int
        How many of them are undefined, and infinite.
    mean, sd : float
        Over the finite values; the standard deviation with n − 1 in the denominator.
    median, q25, q75, worst : float
        Over all defined values, so that infinite ones count. The quartiles, between which the
        interquartile range lies, by linear interpolation. Worst: the lowest if high values
        are good, the highest if low ones are, the largest magnitude if zero is best; NaN for
        quantities that are no judgement.
    worst_sample : str
        Index of the subject with the worst value; empty where several values are all as bad.
    ci_low, ci_high : float
        95 % confidence interval of the mean over the finite values (:func:`bootstrap_interval`).
    by, group : str
        By what the subjects are grouped, and the name of the group; empty for all subjects.
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
    q25: float
    q75: float
    worst: float
    worst_sample: str
    ci_low: float
    ci_high: float
    by: str = ""
    group: str = ""


@dataclass(frozen=True)
class Summary:
    """Mean, spread, worst case and confidence interval per class and score.

    ``str()`` gives a table of at most 100 columns (IQR: from the lower to the upper quartile;
    the interval is that of the mean); :meth:`to_tsv` writes everything.

    Attributes
    ----------
    rows : tuple of SummaryRow
        Those of all subjects first, then grouping by grouping; ascending by label.
    """

    rows: tuple[SummaryRow, ...] = ()

    def row(
        self, metric: str, label: int, fold: int | None = None, *, by: str = "", group: str = ""
    ) -> SummaryRow:
        """Return one row: that of all subjects, or of a fold, or of a group.

        Parameters
        ----------
        metric : str
        label : int
        fold : int, optional
            Default: all folds.
        by, group : str
            As in the row. ``by`` is needed only where several groupings have such a group.

        Raises
        ------
        KeyError
            If there is no such row.
        """
        for row in self.rows:
            found = row.fold == fold if fold is not None else row.group == group
            if (row.metric, row.label) == (metric, label) and found and by in ("", row.by):
                return row
        where = f"group {group!r}" if group else f"fold {'all' if fold is None else fold}"
        raise KeyError(f"no {metric!r} of class {label} in {where}")

    def mean_over_classes(self, metric: str = "dice") -> float:
        """Return the mean over the classes of the means over the subjects of all folds.

        A class without a finite value is left out (its row tells so); NaN if there is none.
        """
        means = [r.mean for r in self.rows if not r.group and r.metric == metric]
        finite = [mean for mean in means if np.isfinite(mean)]
        return float(np.mean(finite)) if finite else float("nan")

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write all rows (columns: see :mod:`miscnn.evaluation.summary`)."""
        lines = []
        for row in self.rows:
            fold = "all" if not row.group else "" if row.fold is None else row.fold
            lines.append((fold, *astuple(row)[1:-2], row.by or "all", row.group or "all"))
        write_tsv(path, _SUMMARY_HEADER, lines)

    def __str__(self) -> str:
        if not self.rows:
            return "no scores"
        if any(row.group and row.by != "fold" for row in self.rows):
            lines = self._by_group()
        else:
            lines = self._overall()
        return "\n".join([*lines, *self._notes()])

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self, caption: str = "") -> str:
        """Return the printed table as HTML; single folds are left out of it."""
        if not self.rows:
            return html_table((), (), "no scores")
        grouped = any(row.group and row.by != "fold" for row in self.rows)
        shown = [row for row in self.rows if grouped or not row.group]
        names = ["class", "metric", *(["group"] if grouped else [])]
        body = [
            (row.class_name, row.metric, *([row.group or "all"] if grouped else []), *_cells(row))
            for row in (sorted(shown, key=_class_and_metric(shown)) if grouped else shown)
        ]
        notes = [line for line in self._notes() if line]
        return html_table((*names, *_FIGURES), body, caption, left=len(names), notes=notes)

    def _overall(self) -> list[str]:
        body = [
            (shortened(row.class_name, 12), shortened(row.metric, 20), *_cells(row))
            for row in self.rows
            if not row.group
        ]
        lines = aligned([("class", "metric", *_FIGURES), *body], 2, _WIDTH)
        folds = sorted({row.fold for row in self.rows if row.fold is not None})
        if 2 <= len(folds) <= _MOST_FOLDS_PRINTED:
            lines += ["", "mean per fold", *aligned(self._by_fold(folds), left=2)]
        return lines

    def _by_fold(self, folds: Sequence[int]) -> list[tuple[str, ...]]:
        cells = {(r.fold, r.label, r.metric): number(r.mean) for r in self.rows}
        judged = [r for r in self.rows if not r.group and metric_of(r.metric).best != "none"]
        body = [
            (
                shortened(r.class_name, 12),
                shortened(r.metric, 20),
                *(cells.get((fold, r.label, r.metric), "") for fold in folds),
            )
            for r in judged
        ]
        return [("class", "metric", *map(str, folds)), *body]

    def _by_group(self) -> list[str]:
        """Return a part for each class and score, in which all subjects come first."""
        parts: dict[tuple[int, str], list[SummaryRow]] = {}
        for row in sorted(self.rows, key=_class_and_metric(self.rows)):
            parts.setdefault((row.label, row.metric), []).append(row)
        body: list[tuple[str, ...]] = []
        titles: list[str] = []
        for part in parts.values():
            titles.append(f"{part[0].class_name}: {part[0].metric}")
            body += [(f"  {shortened(r.group or 'all', 20)}", *_cells(r)) for r in part]
        head, *lines = aligned([("group", *_FIGURES), *body], 1, _WIDTH)
        text = [head]
        for title, part in zip(titles, parts.values(), strict=True):
            text += [shortened(title, _WIDTH), *lines[: len(part)]]
            del lines[: len(part)]
        return text

    def _notes(self) -> list[str]:
        notes = []
        if any(row.n_undefined for row in self.rows):
            notes.append("nan: how many values are undefined (0/0) and in none of the figures.")
        if any(row.n_infinite for row in self.rows):
            notes.append(
                "inf: how many are infinite (one side empty): in median, IQR and worst only."
            )
        grouped = any(row.group and row.by != "fold" for row in self.rows)
        shown = (r for r in self.rows if (grouped or not r.group) and not np.isnan(r.ci_low))
        notes += rough_intervals([r.n - r.n_undefined - r.n_infinite for r in shown])
        return ["", *notes] if notes else []


class _Key(NamedTuple):
    """Where the row of a group stands in a summary."""

    by: int
    position: float
    label: int
    metric: int


def summarise(
    rows: Sequence[ScoreRow],
    by: Sequence[str] = (),
    seed: int = 0,
    edges: Sequence[float] | None = None,
    metrics: Sequence[str] | None = None,
) -> Summary:
    """Summarise scores over all subjects and by groups (see :meth:`ScoreTable.summary_by`)."""
    if edges is not None and len(by) != 1:
        raise ConfigurationError(f"edges belong to one grouping, got {len(by)}: {', '.join(by)}")
    held = in_order(row.metric for row in rows)
    order = {name: position for position, name in enumerate(held)}
    wanted = held if metrics is None else [metrics] if isinstance(metrics, str) else metrics
    if missing := [name for name in wanted if name not in order]:
        raise ConfigurationError(
            f"the table holds no {', '.join(map(repr, missing))}; it holds "
            f"{', '.join(held) or 'nothing'}"
        )
    chosen = [row for row in rows if row.metric in wanted]
    members: dict[_Key, list[ScoreRow]] = {}
    names: dict[_Key, tuple[str, Group]] = {}
    for number_of, name in enumerate(("", *dict.fromkeys(by))):
        group_of = groups_by(name, rows, edges) if name else lambda _: Group(0, "")
        for row in chosen:
            group = group_of(row)
            key = _Key(number_of, group.position, row.label, order[row.metric])
            members.setdefault(key, []).append(row)
            names[key] = name, group
    resamples = Resamples(seed)
    # By number of values, so that the draws are made once for each.
    found = {
        key: _summarise(members[key], *names[key], resamples)
        for key in sorted(members, key=lambda key: _n_finite(members[key]))
    }
    return Summary(tuple(found[key] for key in sorted(found)))


def _n_finite(rows: Sequence[ScoreRow]) -> int:
    return int(np.isfinite([row.value for row in rows]).sum())


def _summarise(rows: Sequence[ScoreRow], by: str, group: Group, resamples: Resamples) -> SummaryRow:
    values = np.array([row.value for row in rows], dtype=np.float64)
    finite = np.isfinite(values)
    used = values[finite]
    defined = values[~np.isnan(values)]
    worst = worst_position(values, rows[0].metric)
    samples = [row.sample for row, ok in zip(rows, finite, strict=True) if ok]
    interval = bootstrap_interval(used, samples, resamples=resamples) if samples else (_NAN, _NAN)
    return SummaryRow(
        fold=rows[0].fold if by == "fold" else None,
        label=rows[0].label,
        class_name=rows[0].class_name,
        metric=rows[0].metric,
        n=len(rows),
        n_undefined=int(np.isnan(values).sum()),
        n_infinite=int(np.isinf(values).sum()),
        mean=float(used.mean()) if used.size else _NAN,
        sd=float(used.std(ddof=1)) if used.size > 1 else _NAN,
        median=_quantile(defined, 0.5),
        q25=_quantile(defined, 0.25),
        q75=_quantile(defined, 0.75),
        worst=_NAN if worst is None else float(values[worst]),
        worst_sample=worst_sample(values, rows[0].metric, [row.sample for row in rows]),
        ci_low=interval[0],
        ci_high=interval[1],
        by=by,
        group=group.name,
    )


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """Return a quantile as NumPy does, but inf, not NaN, between two infinite values."""
    if not values.size:
        return _NAN
    ordered = np.sort(values)
    place = share * (values.size - 1)
    low, high = float(ordered[int(np.floor(place))]), float(ordered[int(np.ceil(place))])
    weight = place - np.floor(place)
    if low == high or weight == 0:
        return low
    return float((1 - weight) * low + weight * high)


def worst_position(values: NDArray[np.float64], metric: str) -> int | None:
    """Return where the worst value stands; None if there is none, or the score judges nothing."""
    badness = _badness(values, metric)
    return None if badness is None else int(np.nanargmax(badness))


def worst_sample(values: NDArray[np.float64], metric: str, samples: Sequence[str]) -> str:
    """Return whose value is the worst; empty if nobody's is, or several are all equally bad."""
    badness = _badness(values, metric)
    if badness is None:
        return ""
    defined = badness[~np.isnan(badness)]
    tied = defined.size > 1 and bool((defined == defined[0]).all())
    return "" if tied else samples[int(np.nanargmax(badness))]


def _badness(values: NDArray[np.float64], metric: str) -> NDArray[np.float64] | None:
    best = metric_of(metric).best
    if best == "none" or bool(np.isnan(values).all()):
        return None
    return {"high": -values, "low": values, "zero": np.abs(values)}[best]


def rough_intervals(sizes: Sequence[int]) -> list[str]:
    """Return a note on intervals of very few values, given how many values each is of."""
    few = [size for size in sizes if size < _FEWEST_VALUES]
    if not few:
        return []
    least = "" if min(few) == max(few) else f"{min(few)} to "
    told = f"{len(few)} interval(s) of fewer than {_FEWEST_VALUES} values"
    return [f"CI: {told} ({least}{max(few)}): rough."]


def _class_and_metric(rows: Sequence[SummaryRow]) -> Callable[[SummaryRow], tuple[int, int]]:
    """Return a key that sorts rows by class, and leaves the order of scores and groups."""
    order = {metric: place for place, metric in enumerate(dict.fromkeys(r.metric for r in rows))}
    return lambda row: (row.label, order[row.metric])


def _cells(row: SummaryRow) -> tuple[str, ...]:
    def text(value: float) -> str:
        return number(value, short=True)

    def span(low: float, high: float) -> str:
        return "—" if np.isnan([low, high]).all() else f"{text(low)}…{text(high)}"

    return (
        str(row.n),
        *map(text, (row.mean, row.sd, row.median)),
        span(row.q25, row.q75),
        text(row.worst),
        span(row.ci_low, row.ci_high),
        str(row.n_undefined or ""),
        str(row.n_infinite or ""),
    )
