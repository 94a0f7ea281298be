"""Comparisons as tables: printed, in notebooks, in files."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np

from miscnn._text import aligned, html_table, number, shortened, write_tsv
from miscnn.evaluation._paired import ClassComparison, Estimate
from miscnn.evaluation._significance import adjusted_p
from miscnn.evaluation.summary import rough_intervals

_NAN = float("nan")
_WIDTH = 100
_HEADER = (
    *("class", "class_name", "metric", "n", "n_left_out"),
    *("n_undefined_a", "n_undefined_b", "n_infinite_a", "n_infinite_b"),
    *("mean_a", "mean_b", "mean_difference", "mean_difference_low", "mean_difference_high"),
    *("sd_a", "sd_b", "sd_difference", "sd_difference_low", "sd_difference_high"),
    *("sd_ratio", "sd_ratio_low", "sd_ratio_high"),
    *("worst_a", "worst_sample_a", "worst_b", "worst_sample_b"),
    *("n_ranked", "p_wilcoxon", "p_spread", "p_wilcoxon_adjusted", "p_spread_adjusted"),
)


@dataclass(frozen=True)
class Comparison:
    """Two models class by class.

    ``str()`` gives a table of three lines a class, at most 100 columns wide; ``p`` in it is
    adjusted, that of the signed-rank test in the line of the means and that of the test of
    spreads in the line of the standard deviations. :meth:`to_tsv` writes everything.

    Attributes
    ----------
    rows : tuple of ClassComparison
        Ascending by label.
    names : tuple of str
        What the two models are called.
    confidence : float
    correction : str
        How the p values are adjusted.
    n_tests : pair of int
        For how many signed-rank tests, and tests of spreads: those of this comparison, or of all
        it was made with. What could not be tested does not count.
    """

    rows: tuple[ClassComparison, ...]
    names: tuple[str, str] = ("a", "b")
    confidence: float = 0.95
    correction: str = "none"
    n_tests: tuple[int, int] = (0, 0)

    @property
    def metric(self) -> str:
        """Name of the score that is compared."""
        return self.rows[0].metric

    def row(self, label: int) -> ClassComparison:
        """Return the comparison of one class.

        Raises
        ------
        KeyError
            If there is no such class.
        """
        for row in self.rows:
            if row.label == label:
                return row
        raise KeyError(f"no class {label}; there are {[row.label for row in self.rows]}")

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per class: the attributes of :class:`ClassComparison` in their order.

        Intervals stand in the columns ``…_low`` and ``…_high`` beside their figure; ``…_a`` and
        ``…_b`` belong to the first and the second table.
        """
        write_tsv(path, _HEADER, map(_flat, self.rows))

    def __str__(self) -> str:
        first, second = (shortened(name, 10) for name in self.names)
        header, *body = self._lines()
        header = ("class", "", "n", first, second, *header[5:])
        body = [(shortened(line[0], 12), *line[1:]) for line in body]
        table = aligned([header, *body], 2, _WIDTH)
        return "\n".join([self._title(), "", *table, "", *_wrapped(self._notes())])

    def _repr_html_(self) -> str:
        header, *body = self._lines()
        return html_table(header, body, self._title(), left=2, notes=self._notes())

    def _title(self) -> str:
        first, second = (shortened(name, 30) for name in self.names)
        return f"{shortened(self.metric, 20)}: {first} against {second}, paired by subject"

    def _lines(self) -> list[tuple[str, ...]]:
        ci, p = _ci(self.confidence), _p_heading(self.correction)
        header = ("class", "", "n", *self.names, "difference", ci, "ratio", ci, p)
        lines: list[tuple[str, ...]] = [header]
        for row in self.rows:
            mean, sd, ratio = row.mean_difference, row.sd_difference, row.sd_ratio
            worst = row.worst_a - row.worst_b if np.isfinite(row.worst_a - row.worst_b) else _NAN
            lines += [
                (row.class_name, "mean", str(row.n), _short(row.mean_a), _short(row.mean_b),
                 _short(mean.value), _interval(mean), "", "", _p(row.p_wilcoxon_adjusted)),
                ("", "sd", "", _short(row.sd_a), _short(row.sd_b), _short(sd.value),
                 _interval(sd), _short(ratio.value), _interval(ratio), _p(row.p_spread_adjusted)),
                ("", "worst", "", _short(row.worst_a), _short(row.worst_b), _short(worst),
                 "", "", "", ""),
            ]  # fmt: skip
        return lines

    def _notes(self) -> list[str]:
        return [
            *_corrected(self.correction, self.n_tests),
            *_rough(self.rows),
            *map(_left_out, _incomplete(self.rows)),
        ]


@dataclass(frozen=True)
class Comparisons:
    """Each of several models against each other, class by class and score by score.

    The p values are adjusted for the whole family, one family for each of the two tests.
    ``str()`` gives two lines per pair and class, of the means with their difference and of the
    standard deviations with their ratio, at most 100 columns wide; :meth:`to_tsv` writes
    everything.

    Attributes
    ----------
    comparisons : tuple of Comparison
    correction : str
        How the p values are adjusted.
    """

    comparisons: tuple[Comparison, ...]
    correction: str = "none"

    def __len__(self) -> int:
        return len(self.comparisons)

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.comparisons)

    def pair(self, first: str, second: str, metric: str | None = None) -> Comparison:
        """Return the comparison of two models, in the order in which they were given.

        Raises
        ------
        KeyError
            If there is none.
        """
        for found in self.comparisons:
            if found.names == (first, second) and metric in (None, found.metric):
                return found
        pairs = ", ".join(dict.fromkeys(" against ".join(c.names) for c in self.comparisons))
        raise KeyError(f"no comparison of {first!r} against {second!r}; there are: {pairs}")

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per pair of models, score and class.

        Columns: ``model_a``, ``model_b``, then as in :meth:`Comparison.to_tsv`.
        """
        lines = ((*pair.names, *_flat(row)) for pair in self for row in pair.rows)
        write_tsv(path, ("model_a", "model_b", *_HEADER), lines)

    def __str__(self) -> str:
        if not self.comparisons:
            return "no comparisons"
        header, body = self._lines()
        cut = [(*(shortened(cell, 12) for cell in line[:3]), *line[3:]) for _, line in body]
        head, *lines = aligned([header, *cut], 4, _WIDTH)
        text = [head]
        metric = ""
        for (of, _), line in zip(body, lines, strict=True):
            if of != metric:
                text += ["", of] if metric else [of]
                metric = of
            text.append(line)
        return "\n".join([*text, "", *_wrapped(self._notes())])

    def _repr_html_(self) -> str:
        if not self.comparisons:
            return html_table((), (), "no comparisons")
        header, body = self._lines()
        rows = [(metric, *line) for metric, line in body]
        return html_table(("metric", *header), rows, left=5, notes=self._notes())

    def _lines(self) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
        ci, p = _ci(self.comparisons[0].confidence), _p_heading(self.correction)
        header = ("class", "a", "b", "", "n", "of a", "of b", "a-b, a/b", ci, p)
        body: list[tuple[str, tuple[str, ...]]] = []
        for pair in self:
            for row in pair.rows:
                mean, ratio = row.mean_difference, row.sd_ratio
                body += [
                    (pair.metric, (row.class_name, *pair.names, "mean", str(row.n),
                     _short(row.mean_a), _short(row.mean_b), _short(mean.value), _interval(mean),
                     _p(row.p_wilcoxon_adjusted))),
                    (pair.metric, ("", "", "", "sd", "", _short(row.sd_a), _short(row.sd_b),
                     _short(ratio.value), _interval(ratio), _p(row.p_spread_adjusted))),
                ]  # fmt: skip
        return header, body

    def _notes(self) -> list[str]:
        n_tests = self.comparisons[0].n_tests
        notes = [
            "mean: with the difference a-b; sd, standard deviation: with the ratio a/b.",
            *_corrected(self.correction, n_tests),
            *_rough(row for pair in self for row in pair.rows),
        ]
        notes += [
            f"{pair.names[0]} against {pair.names[1]}, {pair.metric}, {_left_out(row)}"
            for pair in self
            for row in _incomplete(pair.rows)
        ]
        return notes


def adjusted(comparisons: Sequence[Comparison], correction: str) -> tuple[Comparison, ...]:
    """Return the comparisons with p values that are adjusted for all of them together."""
    rows = [row for comparison in comparisons for row in comparison.rows]
    ranks = adjusted_p([row.p_wilcoxon for row in rows], correction)
    spreads = adjusted_p([row.p_spread for row in rows], correction)
    n_tests = (int(np.sum(~np.isnan(ranks))), int(np.sum(~np.isnan(spreads))))
    done = iter(
        replace(row, p_wilcoxon_adjusted=rank, p_spread_adjusted=spread)
        for row, rank, spread in zip(rows, ranks, spreads, strict=True)
    )
    return tuple(
        replace(
            comparison,
            rows=tuple(next(done) for _ in comparison.rows),
            correction=correction,
            n_tests=n_tests,
        )
        for comparison in comparisons
    )


def _wrapped(notes: Iterable[str]) -> list[str]:
    return [line for note in notes for line in textwrap.wrap(note, _WIDTH, subsequent_indent="  ")]


def _rough(rows: Iterable[ClassComparison]) -> list[str]:
    return rough_intervals([row.n for row in rows if not np.isnan(row.mean_difference.low)])


def _incomplete(rows: Iterable[ClassComparison]) -> list[ClassComparison]:
    return [row for row in rows if row.n_left_out]


def _left_out(row: ClassComparison) -> str:
    ranked = row.n_ranked - row.n
    return (
        f"{row.class_name}: {row.n_left_out} subject(s) are in worst only, without a finite "
        f"score of both (undefined {row.n_undefined_a} and {row.n_undefined_b}, infinite "
        f"{row.n_infinite_a} and {row.n_infinite_b})"
        f"{f'; {ranked} of them are in p of the means, as ranks' if ranked else ''}"
    )


def _corrected(correction: str, n_tests: tuple[int, int]) -> list[str]:
    if correction == "none":
        return ["p: not corrected for the number of tests."]
    ranks, spreads = n_tests
    if ranks == spreads:
        return [f"p: {correction}, for {ranks} test(s) of each kind."]
    return [f"p: {correction}, for {ranks} test(s) of the means and {spreads} of the spreads."]


def _ci(confidence: float) -> str:
    return f"{100 * confidence:g} % CI"


def _p_heading(correction: str) -> str:
    short = {"holm": "Holm", "benjamini-hochberg": "BH"}.get(correction)
    return "p" if short is None else f"p ({short})"


def _short(value: float) -> str:
    return number(value, short=True)


def _p(value: float) -> str:
    if np.isnan(value):
        return "—"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return "—"
    return f"{_short(estimate.low)}…{_short(estimate.high)}"


def _flat(row: ClassComparison) -> list[object]:
    flat: list[object] = []
    for cell in astuple(row):
        flat.extend(cell if isinstance(cell, tuple) else (cell,))
    return flat
