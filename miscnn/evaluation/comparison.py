"""Two models on the same subjects: is one better, and is one steadier?

The subjects are the unit: every figure is that of their paired scores, and the intervals come
from drawing subjects (both scores of a subject together) with replacement.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from miscnn._text import aligned, number, shortened, write_tsv
from miscnn.evaluation._bootstrap import accelerated_interval, bootstrap_interval
from miscnn.evaluation._scored import Scored, table_of
from miscnn.evaluation.summary import ScoreTable, worst_position
from miscnn.exceptions import ConfigurationError

_NAN = float("nan")
_UNBOUNDED = 1e6
"""A ratio of spreads beyond this (or below its inverse) is one with a spread of 0."""
_LOG_CAP = 2 * float(np.log(_UNBOUNDED))
_HEADER = (
    *("class", "class_name", "metric", "n", "n_left_out"),
    *("n_undefined_a", "n_undefined_b", "n_infinite_a", "n_infinite_b"),
    *("mean_a", "mean_b", "mean_difference", "mean_difference_low", "mean_difference_high"),
    *("sd_a", "sd_b", "sd_difference", "sd_difference_low", "sd_difference_high"),
    *("sd_ratio", "sd_ratio_low", "sd_ratio_high"),
    *("worst_a", "worst_sample_a", "worst_b", "worst_sample_b"),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval; the interval is NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """What the paired scores of one class say.

    Attributes
    ----------
    label : int
    class_name, metric : str
    n : int
        Number of subjects whose score is finite in both tables. Means, spreads and intervals
        are those of these pairs.
    n_left_out : int
        Number of the others.
    n_undefined_a, n_undefined_b, n_infinite_a, n_infinite_b : int
        How many scores of each table are undefined, and infinite.
    mean_a, mean_b : float
    mean_difference : Estimate
        Mean of a − b; :func:`~miscnn.evaluation.bootstrap_interval` of the differences.
    sd_a, sd_b : float
        Standard deviations over the subjects, n − 1 in the denominator.
    sd_difference : Estimate
        sd_a − sd_b.
    sd_ratio : Estimate
        sd_a / sd_b; 0 or infinite if one is 0, NaN if both are. Its interval is that of the
        logarithm.
    worst_a, worst_b : float
        Over all defined scores of a table, the infinite ones and those without a partner
        included; NaN for quantities that are no judgement.
    worst_sample_a, worst_sample_b : str
        Whose they are.
    """

    label: int
    class_name: str
    metric: str
    n: int
    n_left_out: int
    n_undefined_a: int
    n_undefined_b: int
    n_infinite_a: int
    n_infinite_b: int
    mean_a: float
    mean_b: float
    mean_difference: Estimate
    sd_a: float
    sd_b: float
    sd_difference: Estimate
    sd_ratio: Estimate
    worst_a: float
    worst_sample_a: str
    worst_b: float
    worst_sample_b: str


@dataclass(frozen=True)
class Comparison:
    """Two models class by class.

    ``str()`` gives a table of three lines a class; :meth:`to_tsv` writes everything.

    Attributes
    ----------
    rows : tuple of ClassComparison
        Ascending by label.
    names : tuple of str
        What the two models are called.
    confidence : float
    """

    rows: tuple[ClassComparison, ...]
    names: tuple[str, str] = ("a", "b")
    confidence: float = 0.95

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
        write_tsv(path, _HEADER, (_flat(astuple(row)) for row in self.rows))

    def __str__(self) -> str:
        first, second = (shortened(name, 14) for name in self.names)
        interval = f"{100 * self.confidence:g} % CI"
        lines = [("class", "", "n", first, second, "difference", interval, "ratio", interval)]
        for row in self.rows:
            name = shortened(row.class_name, 12)
            mean, sd, ratio = row.mean_difference, row.sd_difference, row.sd_ratio
            worst = row.worst_a - row.worst_b if np.isfinite(row.worst_a - row.worst_b) else _NAN
            lines += [
                (name, "mean", str(row.n), number(row.mean_a), number(row.mean_b),
                 number(mean.value), _interval(mean), "", ""),
                ("", "sd", "", number(row.sd_a), number(row.sd_b),
                 number(sd.value), _interval(sd), number(ratio.value), _interval(ratio)),
                ("", "worst", "", number(row.worst_a), number(row.worst_b),
                 number(worst), "", "", ""),
            ]  # fmt: skip
        title = f"{self.rows[0].metric}: {self.names[0]} against {self.names[1]}, paired by subject"
        return "\n".join([title, "", *aligned(lines, left=2), *self._left_out()])

    def _left_out(self) -> list[str]:
        lines = [
            f"{row.class_name}: {row.n_left_out} subject(s) are in worst only, without a finite "
            f"score of both (undefined {row.n_undefined_a} and {row.n_undefined_b}, infinite "
            f"{row.n_infinite_a} and {row.n_infinite_b})"
            for row in self.rows
            if row.n_left_out
        ]
        return ["", *lines] if lines else []


def compare(
    table_a: ScoreTable | Scored,
    table_b: ScoreTable | Scored,
    metric: str = "dice",
    seed: int = 0,
    *,
    names: Sequence[str] = ("a", "b"),
    confidence: float = 0.95,
    n_resamples: int = 5000,
) -> Comparison:
    """Compare two models that were scored on the same subjects.

    Parameters
    ----------
    table_a, table_b : ScoreTable, or result with one as ``.scores``
        Such as that of ``cross_validation``. Each subject is paired with itself, whatever the
        order and the folds.
    metric : str
        Name of the score.
    seed : int
        Of the bootstrap.
    names : sequence of str
        What the models are called in the printed table.
    confidence : float
        Of the intervals, between 0 and 1.
    n_resamples : int
        Number of bootstrap samples.

    Returns
    -------
    Comparison
        Per class: mean and standard deviation (the spread) of both, their differences a − b
        and the ratio of the standard deviations, with intervals, and both worst cases. With the
        tables exchanged, differences change their sign and the ratio becomes its inverse.

    Raises
    ------
    ConfigurationError
        If something else than a table is given, a table lacks the score, a subject is in it
        twice, or the tables differ in their subjects or classes.

    Notes
    -----
    Intervals are BCa intervals over subjects (Efron, JASA 82:171, 1987), with the expanded
    levels of :func:`~miscnn.evaluation.bootstrap_interval`; none for fewer than 3 pairs. Which
    model is steadier is told by the *ratio*. In simulations of correlated pairs (8 to 30
    subjects, nominal 95 %) its interval held the truth in 94 to 97 % of cases for normal scores
    and in 90 to 98 % for skewed ones; that of the difference of standard deviations in 89 to 93 %
    and 81 to 95 %, that of the difference of means in 94 to 96 % and 86 to 93 %.

    Examples
    --------
    >>> from miscnn.evaluation.summary import ScoreRow
    >>> def table(values):
    ...     return ScoreTable(
    ...         ScoreRow(0, f"case_{k}", 1, "liver", "dice", value, 40, 5.0)
    ...         for k, value in enumerate(values)
    ...     )
    >>> row = compare(table([0.9, 0.92, 0.94, 0.96]), table([0.8, 0.86, 0.92, 0.98])).row(1)
    >>> round(row.mean_difference.value, 3), round(row.sd_ratio.value, 3)
    (0.04, 0.333)
    """
    if len(names) != 2 or isinstance(names, str):
        raise ConfigurationError(f"names must be two, one for each table, got {names!r}")
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence must lie between 0 and 1, got {confidence}")
    tables = [table_of(g, name) for g, name in zip((table_a, table_b), names, strict=True)]
    scores_a, scores_b = (
        _by_class(table, metric, name) for table, name in zip(tables, names, strict=True)
    )
    _check_same("classes", list(map(str, scores_a)), list(map(str, scores_b)), names)
    rows = []
    for label in sorted(scores_a):
        a, b = scores_a[label], scores_b[label]
        _check_same(f"subjects of class {label}", list(a), list(b), names)
        samples = sorted(a)
        values = np.array([[each[s] for s in samples] for each in (a, b)], dtype=np.float64)
        name = tables[0].select(metric, label).classes[label]
        rows.append(
            _compare_class(label, name, metric, samples, values, seed, confidence, n_resamples)
        )
    return Comparison(tuple(rows), (str(names[0]), str(names[1])), confidence)


def _by_class(table: ScoreTable, metric: str, name: str) -> dict[int, dict[str, float]]:
    scores: dict[int, dict[str, float]] = {}
    for row in table:
        if row.metric != metric:
            continue
        of_class = scores.setdefault(row.label, {})
        if row.sample in of_class:
            raise ConfigurationError(
                f"subject {row.sample!r} has several values of {metric} of class {row.label} in "
                f"table {name!r}; compare one fold at a time: table.select(fold=...)"
            )
        of_class[row.sample] = row.value
    if not scores:
        raise ConfigurationError(
            f"table {name!r} holds no {metric!r}; it holds {', '.join(table.metrics) or 'nothing'}"
        )
    return scores


def _check_same(what: str, first: list[str], second: list[str], names: Sequence[str]) -> None:
    only = [sorted(set(first) - set(second)), sorted(set(second) - set(first))]
    if any(only):
        told = "; ".join(
            f"{len(those)} only in {name!r}: {', '.join(those[:5])}{' …' * (len(those) > 5)}"
            for those, name in zip(only, names, strict=True)
            if those
        )
        raise ConfigurationError(
            f"the tables differ in the {what} ({told}); a comparison is paired, so score both "
            "models on the same"
        )


def _compare_class(
    label: int,
    class_name: str,
    metric: str,
    samples: Sequence[str],
    values: NDArray[np.float64],
    seed: int,
    confidence: float,
    n_resamples: int,
) -> ClassComparison:
    a, b = pairs = values[:, np.isfinite(values).all(axis=0)]
    n = pairs.shape[1]
    differences = a - b
    low, high = (
        bootstrap_interval(differences, None, seed, confidence, n_resamples)
        if n > 2
        else (_NAN, _NAN)
    )
    worst = [worst_position(each, metric) for each in values]
    sd_a, sd_b = (float(s) for s in _sd(pairs)) if n > 1 else (_NAN, _NAN)
    sd_difference, sd_ratio = _spreads(pairs, seed, confidence, n_resamples)
    undefined, infinite = np.isnan(values).sum(axis=1), np.isinf(values).sum(axis=1)
    return ClassComparison(
        label=label,
        class_name=class_name,
        metric=metric,
        n=n,
        n_left_out=values.shape[1] - n,
        n_undefined_a=int(undefined[0]),
        n_undefined_b=int(undefined[1]),
        n_infinite_a=int(infinite[0]),
        n_infinite_b=int(infinite[1]),
        mean_a=float(a.mean()) if n else _NAN,
        mean_b=float(b.mean()) if n else _NAN,
        mean_difference=Estimate(float(differences.mean()) if n else _NAN, low, high),
        sd_a=sd_a,
        sd_b=sd_b,
        sd_difference=sd_difference,
        sd_ratio=sd_ratio,
        worst_a=_NAN if worst[0] is None else float(values[0, worst[0]]),
        worst_sample_a="" if worst[0] is None else samples[worst[0]],
        worst_b=_NAN if worst[1] is None else float(values[1, worst[1]]),
        worst_sample_b="" if worst[1] is None else samples[worst[1]],
    )


def _spreads(
    pairs: NDArray[np.float64], seed: int, confidence: float, n_resamples: int
) -> tuple[Estimate, Estimate]:
    """Return difference and ratio of the standard deviations of ``(2, n)`` values."""
    n = pairs.shape[1]
    if n < 2:
        return Estimate(_NAN, _NAN, _NAN), Estimate(_NAN, _NAN, _NAN)
    spread = _sd(pairs)
    difference, log_ratio = float(spread[0] - spread[1]), float(_log_ratio(spread))
    if n < 3:
        return Estimate(difference, _NAN, _NAN), Estimate(_ratio(log_ratio), _NAN, _NAN)
    drawn = np.random.default_rng([seed, n]).integers(n, size=(n_resamples, n))
    resampled = np.stack([_sd(each[drawn]) for each in pairs])
    others = np.array([np.delete(np.arange(n), k) for k in range(n)])
    without_one = np.stack([_sd(each[others]) for each in pairs])
    tolerance = 1e-12 * float(np.abs(pairs).max())
    interval = accelerated_interval(
        difference, resampled[0] - resampled[1], without_one[0] - without_one[1],
        confidence, tolerance,
    )  # fmt: skip
    if np.isnan(log_ratio):
        return Estimate(difference, *interval), Estimate(_NAN, _NAN, _NAN)
    logs = _log_ratio(resampled)
    left = _log_ratio(without_one)
    low, high = accelerated_interval(
        log_ratio, logs[~np.isnan(logs)], np.where(np.isnan(left), log_ratio, left),
        confidence, 1e-12,
    )  # fmt: skip
    ratio = Estimate(_ratio(log_ratio), _ratio(low), _ratio(high))
    return Estimate(difference, *interval), ratio


def _sd(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation along the last axis, exactly 0 if all are equal."""
    sd: NDArray[np.float64] = values.std(axis=-1, ddof=1)
    return np.where(np.ptp(values, axis=-1) == 0, 0.0, sd)


def _log_ratio(spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of first by second, NaN if both are 0; bounded, so that ranks are kept."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: NDArray[np.float64] = np.log(spreads[0]) - np.log(spreads[1])
    return np.clip(logs, -_LOG_CAP, _LOG_CAP)


def _ratio(log_ratio: float) -> float:
    ratio = float(np.exp(log_ratio))
    if ratio > _UNBOUNDED:
        return float("inf")
    return 0.0 if ratio < 1 / _UNBOUNDED else ratio


def _interval(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return "—"
    return f"{number(estimate.low)} … {number(estimate.high)}"


def _flat(cells: Sequence[object]) -> list[object]:
    flat: list[object] = []
    for cell in cells:
        flat.extend(cell if isinstance(cell, tuple) else (cell,))
    return flat
