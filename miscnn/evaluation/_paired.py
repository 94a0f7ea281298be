"""What the paired scores of one class say: differences, ratios, tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._bootstrap import Resamples, accelerated_interval, bootstrap_interval
from miscnn.evaluation._significance import equal_spreads_p, signed_rank_p
from miscnn.evaluation.summary import worst_position, worst_sample

_NAN = float("nan")
_UNBOUNDED = 1e6
"""A ratio of spreads beyond this (or below its inverse) is one with a spread of 0."""
_LOG_CAP = 2 * float(np.log(_UNBOUNDED))


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
        Whose they are; empty where several scores are all as bad.
    n_ranked : int
        Number of subjects with two defined scores, infinite ones included: the pairs of
        ``p_wilcoxon``.
    p_wilcoxon : float
        Two-sided p value of Wilcoxon's signed-rank test: that neither model is better.
    p_spread : float
        Two-sided p value of a permutation test of equal spreads; of the ``n`` finite pairs.
    p_wilcoxon_adjusted, p_spread_adjusted : float
        The same, corrected for the number of tests of their kind in the whole comparison.
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
    n_ranked: int
    p_wilcoxon: float
    p_spread: float
    p_wilcoxon_adjusted: float
    p_spread_adjusted: float


def compare_class(
    label: int,
    class_name: str,
    metric: str,
    samples: Sequence[str],
    values: NDArray[np.float64],
    confidence: float,
    resamples: Resamples,
) -> ClassComparison:
    """Compare the scores of one class, shape (2, subjects); p values are not yet adjusted."""
    a, b = pairs = values[:, np.isfinite(values).all(axis=0)]
    n = pairs.shape[1]
    differences = a - b
    low, high = (
        bootstrap_interval(differences, confidence=confidence, resamples=resamples)
        if n > 2
        else (_NAN, _NAN)
    )
    worst = [worst_position(each, metric) for each in values]
    sd_a, sd_b = (float(s) for s in _sd(pairs)) if n > 1 else (_NAN, _NAN)
    sd_difference, sd_ratio = _spreads(pairs, confidence, resamples)
    p_wilcoxon, n_ranked = signed_rank_p(*values)
    p_spread = equal_spreads_p(pairs, resamples.seed)
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
        worst_sample_a=worst_sample(values[0], metric, samples),
        worst_b=_NAN if worst[1] is None else float(values[1, worst[1]]),
        worst_sample_b=worst_sample(values[1], metric, samples),
        n_ranked=n_ranked,
        p_wilcoxon=p_wilcoxon,
        p_spread=p_spread,
        p_wilcoxon_adjusted=p_wilcoxon,
        p_spread_adjusted=p_spread,
    )


def _spreads(
    pairs: NDArray[np.float64], confidence: float, resamples: Resamples
) -> tuple[Estimate, Estimate]:
    """Return difference and ratio of the standard deviations of ``(2, n)`` values."""
    n = pairs.shape[1]
    if n < 2:
        return Estimate(_NAN, _NAN, _NAN), Estimate(_NAN, _NAN, _NAN)
    spread = _sd(pairs)
    difference, log_ratio = float(spread[0] - spread[1]), float(_log_ratio(spread))
    if n < 3:
        return Estimate(difference, _NAN, _NAN), Estimate(_ratio(log_ratio), _NAN, _NAN)
    drawn = resamples.of(n)
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
