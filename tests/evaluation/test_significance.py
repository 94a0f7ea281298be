"""Tests of paired scores: by hand, against SciPy, and how often they find what is not there."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from miscnn.evaluation._significance import adjusted_p, equal_spreads_p, signed_rank_p
from miscnn.exceptions import ConfigurationError

NAN, INF = float("nan"), float("inf")


def signed_rank(differences: list[float]) -> tuple[float, int]:
    values = np.array(differences)
    return signed_rank_p(values, np.zeros_like(values))


@pytest.mark.parametrize("n", [5, 6, 13, 50, 120])
def test_signed_ranks_equal_scipy(n: int, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, n))
    expected = stats.wilcoxon(a, b, method="exact").pvalue
    assert signed_rank_p(a, b) == (pytest.approx(expected, rel=1e-9), n)


def test_many_signed_ranks_equal_scipy(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 9, (2, 300)).astype(float)
    expected = stats.wilcoxon(a, b, zero_method="pratt", method="asymptotic").pvalue
    assert signed_rank_p(a, b) == (pytest.approx(expected), 300)
    a[0] = INF
    assert 0 < signed_rank_p(a, b)[0] < 1
    # Where exact ends and normal begins.
    a, b = rng.normal(size=(2, 200))
    normal = stats.wilcoxon(a, b, method="asymptotic").pvalue
    assert signed_rank_p(a, b)[0] == pytest.approx(normal, abs=0.005)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_ties_and_zeros_are_exact(differences: list[int]) -> None:
    values = np.array(differences, dtype=float)
    ranks = stats.rankdata(np.abs(values))[values != 0]
    positive = ranks[values[values != 0] > 0].sum()
    all_signs = np.array(list(itertools.product((0, 1), repeat=ranks.size)))
    sums = all_signs @ ranks if ranks.size else np.zeros(1)
    expected = min(1, 2 * min(np.mean(sums <= positive), np.mean(sums >= positive)))
    assert signed_rank_p(values, np.zeros_like(values))[0] == pytest.approx(expected)


def test_signed_ranks_by_hand() -> None:
    assert signed_rank([1, 2, 3, 4, 5]) == (2 / 32, 5)
    # Of Pratt: the zero has rank 1 and is left out; 2 + 3 + 4 of all 8 signs: one is as high.
    assert signed_rank([0, 2, 3, 4]) == (2 / 8, 4)
    assert signed_rank([INF, 1, 2, 3, NAN]) == (2 / 16, 4)
    assert signed_rank([-INF, 1, 2, 3]) == signed_rank([-9, 1, 2, 3])
    assert signed_rank([0, 0]) == (1.0, 2)
    assert math.isnan(signed_rank([NAN])[0])
    both_infinite = np.array([INF, 1.0, 2.0]), np.array([INF, 0.0, 0.0])
    assert signed_rank_p(*both_infinite) == signed_rank([0, 1, 2])
    # Steps of 0.1 are ties, though floating point says otherwise.
    a, b = np.array([0.9, 0.8, 0.7, 0.1]), np.array([0.8, 0.7, 0.8, 0.2])
    assert signed_rank_p(a, b)[0] == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 25))
def test_signed_ranks_depend_on_order_only(seed: int, n: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    d = a - b
    p, _ = signed_rank_p(a, b)
    assert signed_rank_p(b, a)[0] == pytest.approx(p)
    assert signed_rank_p(a[::-1], b[::-1])[0] == pytest.approx(p)
    assert signed_rank_p(7 * a, 7 * b)[0] == pytest.approx(p)
    stretched = np.sign(d) * np.expm1(np.abs(d))  # monotone, keeps the sign
    assert signed_rank_p(stretched, np.zeros(n))[0] == pytest.approx(p)


def test_spreads_by_hand() -> None:
    # Deviations from the medians 3 and 3: 2 1 0 1 2 and 4 2 0 2 4; terms −2 −1 0 −1 −2.
    pairs = np.array([[1.0, 2, 3, 4, 5], [-1, 1, 3, 5, 7]])
    # Of 2⁵ exchanges those with four equal signs and any of the 0: 4.
    assert equal_spreads_p(pairs, 0) == 4 / 32
    assert equal_spreads_p(pairs[::-1], 0) == 4 / 32
    assert equal_spreads_p(pairs + np.array([[10.0], [-3.0]]), 0) == 4 / 32
    assert equal_spreads_p(10 * pairs, 0) == 4 / 32
    assert equal_spreads_p(pairs[:, ::-1], 0) == 4 / 32
    assert equal_spreads_p(np.ones((2, 6)), 0) == 1.0
    assert equal_spreads_p(np.stack([pairs[0], pairs[0] + 2]), 0) == 1.0
    assert math.isnan(equal_spreads_p(pairs[:, :2], 0))


def test_drawn_exchanges_agree_with_all(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=14), 1.7 * rng.normal(size=14)
    terms = np.abs(first - np.median(first)) - np.abs(second - np.median(second))
    signs = np.array(list(itertools.product((-1, 1), repeat=14)))
    exact = np.mean(np.abs(signs @ terms) >= abs(terms.sum()) - 1e-9)
    found = equal_spreads_p(np.stack([first, second]), seed=1)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9_999))
    assert equal_spreads_p(np.stack([second, first]), seed=1) == pytest.approx(found)


@pytest.mark.parametrize("kind", ["normal", "skewed", "unrelated"])
def test_equal_spreads_are_found_different_in_one_of_twenty(kind: str) -> None:
    rng, trials, n = np.random.default_rng(11), 600, 12
    found = 0
    for trial in range(trials):
        if kind == "normal":
            z = rng.normal(size=(3, n))
            pairs = np.stack([z[0] + z[1], z[0] + z[2] + 5])
        else:
            first, second = rng.beta(9, 1, (2, n))
            shared = rng.random(n) < (0.5 if kind == "skewed" else 0)
            pairs = np.stack([first, np.where(shared, first, second)])
        found += equal_spreads_p(pairs, trial) <= 0.05
    # 5 % and two standard errors; unrelated skewed scores up to 7 % (see statistics.md).
    assert found / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials) + 0.01


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections(p_values: list[float]) -> None:
    scipys = stats.false_discovery_control(p_values, method="bh")
    assert adjusted_p(p_values, "benjamini-hochberg") == pytest.approx(list(scipys))
    assert adjusted_p(p_values, "none") == p_values
    holm = adjusted_p(p_values, "holm")
    m = len(p_values)
    ordered = sorted(p_values)
    for p, adjusted in zip(p_values, holm, strict=True):
        # By definition: the largest of the steps up to this one.
        steps = [(m - k) * q for k, q in enumerate(ordered) if q <= p]
        last = len([q for q in ordered if q < p])  # equal ones share the first of their steps
        assert adjusted == pytest.approx(min(1, max(steps[: last + 1])))


def test_corrections_by_hand() -> None:
    assert adjusted_p([0.01, 0.04, 0.03], "holm") == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted_p([0.01, 0.04, 0.03], "benjamini-hochberg") == pytest.approx([0.03, 0.04, 0.04])
    assert adjusted_p([0.01, NAN, 0.03], "holm") == pytest.approx([0.02, NAN, 0.03], nan_ok=True)
    assert adjusted_p([], "holm") == []
    with pytest.raises(ConfigurationError, match="correction must be one of holm"):
        adjusted_p([0.5], "fdr")
