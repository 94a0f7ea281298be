"""When a step is worth it, and which are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._choice_scores import Bench, Chain

# Differences of means that are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Figures:
    """What is said of one class over some subjects; more is better.

    Undefined scores are left out: there was nothing to find, and nothing was found. If all are
    undefined, the figures are infinite. The lower quartile is the score of a subject.
    """

    mean: float
    quartile: float
    worst: float
    n_infinite: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Figures:
        """Summarise scores."""
        defined = values[~np.isnan(values)]
        finite = defined[np.isfinite(defined)]
        if not defined.size:
            return cls(np.inf, np.inf, np.inf, 0)
        return cls(
            mean=float(finite.mean()) if finite.size else -np.inf,
            quartile=float(np.percentile(defined, 25, method="lower")),
            worst=float(defined.min()),
            n_infinite=int(defined.size - finite.size),
        )

    def rises_to(self, after: Figures, minimum_gain: float) -> bool:
        """Tell whether the mean is higher, or as high with fewer infinite values."""
        if after.n_infinite != self.n_infinite:
            return after.n_infinite < self.n_infinite and after.mean >= self.mean - _ROUNDING
        return after.mean > self.mean + max(minimum_gain, _ROUNDING)

    def falls_to(self, after: Figures) -> bool:
        """Tell whether anything is lower, or more values are infinite."""
        return after.n_infinite > self.n_infinite or any(
            new < old - _ROUNDING
            for old, new in (
                (self.mean, after.mean),
                (self.quartile, after.quartile),
                (self.worst, after.worst),
            )
        )


@dataclass(frozen=True)
class Trial:
    """What a candidate did to one class when it was tried last."""

    before: Figures
    after: Figures
    better: int
    worse: int

    @classmethod
    def of(cls, before: NDArray[np.float64], after: NDArray[np.float64]) -> Trial:
        """Compare the scores of the same subjects."""
        old, new = (np.where(np.isnan(values), np.inf, values) for values in (before, after))
        better = (new > old) & ~np.isclose(new, old, rtol=0, atol=_ROUNDING)
        worse = (new < old) & ~np.isclose(new, old, rtol=0, atol=_ROUNDING)
        return cls(Figures.of(before), Figures.of(after), int(better.sum()), int(worse.sum()))


@dataclass(frozen=True)
class Stage:
    """Candidates that compete, and the classes that have a say."""

    candidates: Sequence[int]
    labels: Sequence[int]
    shared: bool
    """Whether what is chosen here is done before the later stages."""


@dataclass(frozen=True)
class Selection:
    """The steps that were chosen, and what was seen of all, by candidate and class."""

    chain: Chain
    trials: dict[tuple[int, int], Trial]


def select(
    bench: Bench,
    who: NDArray[np.intp],
    stages: Sequence[Stage],
    minimum_gain: float,
    tick: Callable[[], object] = lambda: None,
) -> Selection:
    """Choose steps by some subjects, greedily, stage after stage.

    Of the candidates that raise the mean of a class and let nothing of any class fall, the one
    with the largest gain is taken; then the others are tried after it, until none is left.
    """
    chosen: list[int] = []
    shared: Chain = ()
    trials: dict[tuple[int, int], Trial] = {}
    for stage in stages:
        chain, left = shared, list(stage.candidates)
        while left:
            for position in who.tolist():
                bench.try_out(position, chain, left, stage.labels)
            best, gain = None, 0.0
            for candidate in left:
                seen = {
                    label: Trial.of(
                        bench.values(chain, label, who),
                        bench.values((*chain, candidate), label, who),
                    )
                    for label in stage.labels
                }
                trials.update({(candidate, label): trial for label, trial in seen.items()})
                if _helps(list(seen.values()), minimum_gain):
                    candidate_gain = sum(map(_gain, seen.values()))
                    if best is None or candidate_gain > gain + _ROUNDING:
                        best, gain = candidate, candidate_gain
            if best is None:
                break
            chain = (*chain, best)
            left.remove(best)
        chosen.extend(chain[len(shared) :])
        shared = chain if stage.shared else shared
        tick()
    return Selection(tuple(chosen), trials)


def _helps(trials: Sequence[Trial], minimum_gain: float) -> bool:
    return any(t.before.rises_to(t.after, minimum_gain) for t in trials) and not any(
        t.before.falls_to(t.after) for t in trials
    )


def _gain(trial: Trial) -> float:
    """Return how much the mean rises; that a class is undefined everywhere is worth 1."""
    if trial.after.mean == trial.before.mean:
        return 0.0
    return float(np.clip(trial.after.mean - trial.before.mean, -1e6, 1e6))
