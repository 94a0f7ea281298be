"""Tests of paired scores, and what is left of their p values where there are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from miscnn.exceptions import ConfigurationError

CORRECTIONS = ("holm", "benjamini-hochberg", "none")
"""How p values of many comparisons are adjusted."""
_MOST_EXACT_RANKS = 200
_MOST_EXACT_SWAPS = 13
_SWAPS = 9_999
_SAME = 12
"""Decimals, of the largest score, in which differences must agree to be ties."""


def signed_rank_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, int]:
    """Return the two-sided p value of Wilcoxon's signed-rank test, and the number of pairs.

    Parameters
    ----------
    a, b : ndarray
        Paired scores, shape (n,). Pairs with NaN are not ranked; a difference that is infinite
        ranks above all others, and two equal infinities are a difference of 0.

    Notes
    -----
    The hypothesis is that the differences are symmetric about 0 (Wilcoxon, Biometrics Bulletin
    1:80, 1945). Differences of 0 are ranked and then left out (Pratt, JASA 54:655, 1959); ties
    get their mean rank. The p value is exact, given the ranks (all 2ⁿ signs are counted, so ties
    and zeros do no harm), for up to 200 pairs; beyond that it is that of the normal
    approximation of ``scipy.stats.wilcoxon``.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if not a.size:
        return float("nan"), 0
    finite = np.abs(np.concatenate([a, b]))
    scale = float(np.max(finite, initial=0.0, where=np.isfinite(finite)))
    with np.errstate(invalid="ignore"):
        differences = np.where(a == b, 0.0, a - b)
        if scale > 0:
            # 0.9 − 0.8 and 0.8 − 0.7 differ in their last bits only.
            differences = np.round(differences / scale, _SAME)
    ranks = stats.rankdata(np.abs(differences))
    signs = np.sign(differences)
    if not signs.any():
        return 1.0, a.size
    if a.size > _MOST_EXACT_RANKS:
        # Signed ranks in place of differences: the same test, without infinities.
        found = stats.wilcoxon(signs * ranks, zero_method="pratt", method="asymptotic")
        return float(found.pvalue), a.size
    doubled = np.rint(2 * ranks[signs != 0]).astype(np.int64)  # mean ranks are halves
    positive = int(np.rint(2 * ranks[signs > 0].sum()))
    chances = np.zeros(int(doubled.sum()) + 1)
    chances[0] = 1.0
    for rank in doubled:
        chances *= 0.5
        chances[rank:] += chances[:-rank].copy()
    return min(1.0, 2 * float(min(chances[: positive + 1].sum(), chances[positive:].sum()))), a.size


def equal_spreads_p(pairs: NDArray[np.float64], seed: int) -> float:
    """Return the two-sided p value of a permutation test of equal spreads of paired scores.

    Parameters
    ----------
    pairs : ndarray
        Finite scores of two models, shape (2, n).
    seed : int
        Of the swaps that are drawn where there are too many to try all.

    Returns
    -------
    float
        NaN for fewer than 3 pairs.

    Notes
    -----
    The hypothesis is that, but for where they lie, the two scores of a subject can be exchanged;
    then their spreads are equal. Each model's scores are centred on their median, and the
    statistic is the difference of the mean absolute deviations: paired, and by permutation,
    what Brown and Forsythe (JASA 69:364, 1974) made of Levene's test. (Deviations from means,
    squared, as in the test of Pitman and Morgan, reject too often for skewed scores.)
    Exchanging the scores of a subject changes the sign of its term. All 2ⁿ exchanges are tried
    for up to 13 subjects; beyond, 9,999 are drawn, and p = (1 + how many are as large) / 10,000.
    Since the medians are estimated, the level holds nearly, not exactly: see
    ``benchmarks/coverage.py``.
    """
    n = pairs.shape[1]
    if n < 3:
        return float("nan")
    deviations = np.abs(pairs - np.median(pairs, axis=1, keepdims=True))
    change = deviations[0] - deviations[1]
    tolerance = 1e-12 * n * float(np.abs(pairs).max())
    observed = abs(float(change.sum()))
    if n <= _MOST_EXACT_SWAPS:
        patterns = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)  # the last sign stays
        totals = (1.0 - 2.0 * (patterns & 1)) @ change
        return float(np.mean(np.abs(totals) >= observed - tolerance))
    signs = np.random.default_rng([seed, n]).integers(2, size=(_SWAPS, n)) * 2.0 - 1.0
    as_large = int(np.sum(np.abs(signs @ change) >= observed - tolerance))
    return (1 + as_large) / (1 + _SWAPS)


def adjusted_p(p_values: Sequence[float], correction: str) -> list[float]:
    """Return p values that hold for a whole family of tests.

    Parameters
    ----------
    p_values : sequence of float
        NaN is no test: it stays, and does not count.
    correction : str
        ``"holm"`` keeps the chance of *any* false finding in the family (Holm, Scandinavian
        Journal of Statistics 6:65, 1979), ``"benjamini-hochberg"`` the expected share of false
        ones among the findings (JRSS B 57:289, 1995); ``"none"``.

    Raises
    ------
    ConfigurationError
        If there is no such correction.
    """
    if correction not in CORRECTIONS:
        raise ConfigurationError(
            f"correction must be one of {', '.join(CORRECTIONS)}, got {correction!r}"
        )
    adjusted = np.array(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(adjusted))
    if correction == "none" or not tested.size:
        return [float(p) for p in adjusted]
    order = tested[np.argsort(adjusted[tested], kind="stable")]
    m = order.size
    if correction == "holm":
        steps = np.maximum.accumulate(adjusted[order] * (m - np.arange(m)))
    else:
        raised = adjusted[order] * m / np.arange(1, m + 1)
        steps = np.minimum.accumulate(raised[::-1])[::-1]
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(p) for p in adjusted]
