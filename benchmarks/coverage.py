"""How often intervals hold the truth, and how often tests find what is not there.

Scores are drawn from known distributions that look like Dice scores; the interval of the mean
(nominal 95 %) and the two paired tests (nominal 5 %) are computed as the library does, again and
again. Beside them stand the textbook intervals, from the same draws.

    python benchmarks/coverage.py [--trials 4000] [--resamples 2000] [--output coverage.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from miscnn.evaluation._bootstrap import Resamples, bootstrap_interval
from miscnn.evaluation._significance import equal_spreads_p, signed_rank_p

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

SIZES = (5, 8, 12, 20, 50)
SHAPES: dict[str, tuple[float, Draw]] = {
    "normal, mean 0.80, sd 0.10": (0.8, lambda rng, size: rng.normal(0.8, 0.1, size)),
    "beta(18, 2), mean 0.90": (0.9, lambda rng, size: rng.beta(18, 2, size)),
    "beta(9, 1), mean 0.90": (0.9, lambda rng, size: rng.beta(9, 1, size)),
    "beta(5, 1), mean 0.83": (5 / 6, lambda rng, size: rng.beta(5, 1, size)),
    "beta(30, 3), one in ten failed": (
        0.9 * 30 / 33 + 0.1 * 2 / 6,
        lambda rng, size: np.where(
            rng.random(size) < 0.9, rng.beta(30, 3, size), rng.beta(2, 4, size)
        ),
    ),
}
METHODS = ("ours", "percentile", "Student t", "bootstrap-t")
_SHARED = 50
"""Trials that share their draws, for speed."""


def coverage(
    shape: str, n: int, trials: int, resamples: int, seed: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """Return for each method how often the interval holds the mean, and leaves [0, 1]."""
    truth, draw = SHAPES[shape]
    values = draw(np.random.default_rng([seed, n]), (trials, n))
    hits = dict.fromkeys(METHODS, 0)
    outside = dict.fromkeys(METHODS, 0)
    for trial, each in enumerate(values):
        if trial % _SHARED == 0:
            draws = Resamples(seed + trial, resamples)
        intervals = {
            "ours": bootstrap_interval(each, resamples=draws),
            **textbook(each, draws.of(n)),
        }
        for method, (low, high) in intervals.items():
            hits[method] += bool(low <= truth <= high)
            outside[method] += bool(low < 0 or high > 1)
    return (
        {method: count / trials for method, count in hits.items()},
        {method: count / trials for method, count in outside.items()},
    )


def textbook(values: Array, drawn: NDArray[np.int64]) -> dict[str, tuple[float, float]]:
    """Return the percentile, Student and bootstrap-t intervals of the mean."""
    n = values.size
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
    resampled = values[drawn]
    means = resampled.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (means - mean) / (resampled.std(axis=1, ddof=1) / np.sqrt(n))
    low, high = np.quantile(means, (0.025, 0.975))
    t_low, t_high = np.quantile(ratios[~np.isnan(ratios)], (0.025, 0.975), method="nearest")
    reach = float(special.stdtrit(n - 1, 0.975)) * error
    return {
        "percentile": (float(low), float(high)),
        "Student t": (mean - reach, mean + reach),
        "bootstrap-t": (mean - float(t_high) * error, mean - float(t_low) * error),
    }


def pairs_without_difference(shape: str, n: int, rng: np.random.Generator) -> Array:
    """Return scores of two equal models, (2, n), which share half of what makes a subject hard."""
    _, draw = SHAPES[shape]
    first, second = draw(rng, (2, n))
    return np.stack([first, np.where(rng.random(n) < 0.5, first, second)])


def false_findings(shape: str, n: int, trials: int, seed: int = 0) -> tuple[float, float, float]:
    """Return how often p <= 0.05 for equal models.

    Of the signed-rank test, and of the test of spreads for related and for unrelated scores.
    """
    rng = np.random.default_rng([seed, n])
    _, draw = SHAPES[shape]
    found = np.zeros(3)
    for trial in range(trials):
        pairs = pairs_without_difference(shape, n, rng)
        apart = draw(rng, (2, n))
        found += [
            signed_rank_p(*pairs)[0] <= 0.05,
            equal_spreads_p(pairs, trial) <= 0.05,
            equal_spreads_p(apart, trial) <= 0.05,
        ]
    return tuple(float(share) for share in found / trials)  # type: ignore[return-value]


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    """Return a table in Markdown."""
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    error = 100 * np.sqrt(0.95 * 0.05 / given.trials)
    rows: list[tuple[object, ...]] = []
    for shape in SHAPES:
        for n in SIZES:
            hits, outside = coverage(shape, n, given.trials, given.resamples)
            shares = (f"{100 * hits[method]:.1f}" for method in METHODS)
            rows.append((shape, n, *shares, f"{100 * outside['bootstrap-t']:.1f}"))
            print(*rows[-1], sep="\t", flush=True)
    lines = [
        f"{given.trials} trials, {given.resamples} resamples; standard error {error:.2f} %.",
        "",
        *table(("scores", "n", *METHODS, "bootstrap-t leaves [0, 1]"), rows),
    ]
    rows = []
    trials = max(1, given.trials // 4)
    for shape in SHAPES:
        for n in SIZES:
            shares = (f"{100 * share:.1f}" for share in false_findings(shape, n, trials))
            rows.append((shape, n, *shares))
            print(*rows[-1], sep="\t", flush=True)
    lines += [
        "",
        f"{trials} trials.",
        "",
        *table(("equal models", "n", "signed ranks", "spreads, related", "unrelated"), rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
