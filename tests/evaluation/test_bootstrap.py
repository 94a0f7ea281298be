"""Intervals of the mean by resampling subjects: values, and how often they hold the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from miscnn.evaluation._bootstrap import Resamples, bootstrap_interval

Array = NDArray[np.float64]

TRIALS = 1500
# Two standard errors of a share of 95 % over so many trials: 1.1 %.
ERROR = 2 * math.sqrt(0.95 * 0.05 / TRIALS)
SHAPES: dict[str, tuple[float, Callable[[np.random.Generator, int], Array]]] = {
    "normal": (0.8, lambda rng, n: rng.normal(0.8, 0.1, (TRIALS, n))),
    "skewed": (0.9, lambda rng, n: rng.beta(18, 2, (TRIALS, n))),
    "very skewed": (0.9, lambda rng, n: rng.beta(9, 1, (TRIALS, n))),
}


def test_interval_of_equal_values_is_the_value() -> None:
    assert bootstrap_interval([0.1] * 7) == pytest.approx((0.1, 0.1))
    assert all(map(math.isnan, bootstrap_interval([0.5])))
    assert all(map(math.isnan, bootstrap_interval([0.5, 0.7], subjects=["a", "a"])))


def test_interval_draws_the_values_of_a_subject_together(rng: np.random.Generator) -> None:
    values = rng.normal(size=12)
    low, high = bootstrap_interval(values)
    repeated = bootstrap_interval(np.repeat(values, 5), np.repeat(np.arange(12), 5).astype(str))
    # Five copies of each subject tell nothing new: as wide as without them.
    assert repeated[1] - repeated[0] == pytest.approx(high - low, rel=0.05)
    as_if_independent = bootstrap_interval(np.repeat(values, 5))
    assert as_if_independent[1] - as_if_independent[0] < 0.6 * (high - low)


def test_interval_is_the_t_interval_for_symmetric_values() -> None:
    values = np.linspace(-1.0, 1.0, 21)
    low, high = bootstrap_interval(values, n_resamples=40_000)
    t_reach = 2.0860 * values.std(ddof=1) / math.sqrt(21)
    assert (low, high) == pytest.approx((-t_reach, t_reach), rel=0.03)


def test_interval_of_skewed_values_equals_scipy_at_the_expanded_level(
    rng: np.random.Generator,
) -> None:
    values = rng.exponential(size=15)
    reach = math.sqrt(15 / 14) * stats.t.ppf(0.975, 14)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=2 * stats.norm.cdf(reach) - 1,
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    low, high = bootstrap_interval(values, n_resamples=40_000)
    width = high - low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.015 * width)
    assert high - values.mean() > 1.2 * (values.mean() - low)


def test_shared_draws_change_nothing(rng: np.random.Generator) -> None:
    draws = Resamples(seed=7)
    for n in (9, 9, 4, 9):
        values = rng.beta(9, 1, n)
        assert bootstrap_interval(values, resamples=draws) == bootstrap_interval(values, seed=7)
    assert not np.array_equal(Resamples(7).of(9), Resamples(8).of(9))
    assert Resamples(7, 10).of(9).shape == (10, 9)


def share_held(shape: str, n: int, interval: Callable[[Array, Resamples], tuple[float, float]]
               ) -> float:  # fmt: skip
    """Return how often the interval holds the true mean."""
    truth, draw = SHAPES[shape]
    hits = 0
    for trial, values in enumerate(draw(np.random.default_rng([n, 1]), n)):
        if trial % 50 == 0:
            draws = Resamples(trial, 1000)
        low, high = interval(values, draws)
        hits += low <= truth <= high
    return hits / TRIALS


@pytest.mark.parametrize("n", [12, 20, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_interval_covers_the_true_mean(shape: str, n: int) -> None:
    share = share_held(shape, n, lambda values, d: bootstrap_interval(values, resamples=d))
    assert 0.93 - ERROR <= share <= 0.97 + ERROR


def test_the_simulation_tells_an_interval_that_is_too_narrow() -> None:
    def percentile(values: Array, draws: Resamples) -> tuple[float, float]:
        low, high = np.quantile(values[draws.of(values.size)].mean(axis=1), (0.025, 0.975))
        return float(low), float(high)

    assert share_held("very skewed", 12, percentile) < 0.93 - ERROR


def test_draws_as_counts_are_the_draws() -> None:
    draws = Resamples(seed=4, n_resamples=50)
    times = draws.times(7)
    expected = [[np.count_nonzero(row == k) for k in range(7)] for row in draws.of(7)]
    np.testing.assert_array_equal(times, expected)
    values = np.random.default_rng(0).random(7)
    np.testing.assert_allclose(times @ values, values[draws.of(7)].sum(axis=1))
    assert draws.times(3).shape == (50, 3)  # another number of subjects, other draws
