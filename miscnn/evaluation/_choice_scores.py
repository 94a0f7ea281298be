"""Scores of predictions after any chain of steps, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._choice_subjects import Subject
from miscnn.evaluation.detailed_validation import without_ignored
from miscnn.evaluation.scores import (
    average_symmetric_surface_distance,
    dice,
    hausdorff_distance_95,
    jaccard,
)
from miscnn.processing.postprocessing import PostProcessing, PostProcessingStep

_Mask = NDArray[np.bool_]
Chain = tuple[int, ...]
"""Positions of candidates, in the order in which they are done."""

# Those that judge what is missing and what is too much. Of these an undefined value means that
# there was nothing to find, and nothing was found.
SCORES: Mapping[str, Callable[[_Mask, _Mask, Sequence[float]], float]] = {
    "dice": lambda truth, prediction, spacing: dice(truth, prediction),
    "jaccard": lambda truth, prediction, spacing: jaccard(truth, prediction),
    "hd95_mm": hausdorff_distance_95,
    "assd_mm": average_symmetric_surface_distance,
}


class Bench:
    """What chains of candidates make of the scores.

    Values are such that more is better: distances are negative.

    Parameters
    ----------
    subjects : sequence of Subject
    steps : sequence of PostProcessingStep
        The candidates.
    score : str
    """

    def __init__(
        self, subjects: Sequence[Subject], steps: Sequence[PostProcessingStep], score: str
    ) -> None:
        self.subjects = subjects
        self.steps = steps
        self.sign = -1.0 if score.endswith("_mm") else 1.0
        self._score = SCORES[score]
        self._known: dict[tuple[int, Chain, int], float] = {}

    def values(
        self, chain: Chain, label: int, who: NDArray[np.intp], labels: Iterable[int] | None = None
    ) -> NDArray[np.float64]:
        """Return the scores of one class of some subjects, by their positions.

        ``labels``: those that are scored at once, where the chain has not been tried yet.
        """
        wanted = [label] if labels is None else list(labels)
        for position in who.tolist():
            if (position, chain, label) not in self._known:
                self.try_out(position, chain, (), wanted)
        return np.array([self._known[position, chain, label] for position in who.tolist()])

    def try_out(
        self, position: int, chain: Chain, candidates: Sequence[int], labels: Sequence[int]
    ) -> None:
        """Score a subject after a chain, and after this and each of the candidates."""
        chains = [chain, *((*chain, candidate) for candidate in candidates)]
        missing = [c for c in chains if any((position, c, n) not in self._known for n in labels)]
        if not missing:
            return
        subject = self.subjects[position]
        truth = subject.truth()
        steps = PostProcessing([self.steps[step] for step in chain])
        before = steps.apply(subject.prediction(), subject.geometry, subject.ignore_label)
        for tried in missing:
            after = before
            if tried != chain:
                step = self.steps[tried[-1]]
                after = step.apply(before, subject.geometry, subject.ignore_label)
            same = tried != chain and np.array_equal(before, after)
            for label in labels:
                known = self._known.get((position, chain, label)) if same else None
                self._known[position, tried, label] = (
                    self._value(subject, truth, after, label) if known is None else known
                )

    def _value(
        self, subject: Subject, truth: NDArray[Any], labels: NDArray[Any], label: int
    ) -> float:
        truth, labels = without_ignored(truth, labels, subject.ignore_label)
        value = self._score(truth == label, labels == label, subject.geometry.spacing)
        return self.sign * value
