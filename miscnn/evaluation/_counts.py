"""Numbers of voxels, and the scores that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNDEFINED = float("nan")


@dataclass(frozen=True)
class Counts:
    """How many voxels two masks have.

    Attributes
    ----------
    truth, prediction, both : int
        In each mask, and in both.
    everything : int
        All voxels of the image, also beyond a box that the masks were cut to.
    """

    truth: int
    prediction: int
    both: int
    everything: int

    def dice(self) -> float:
        return ratio(2 * self.both, self.truth + self.prediction)

    def jaccard(self) -> float:
        return ratio(self.both, self.truth + self.prediction - self.both)

    def sensitivity(self) -> float:
        return ratio(self.both, self.truth)

    def specificity(self) -> float:
        neither = self.everything - self.truth - self.prediction + self.both
        return ratio(neither, self.everything - self.truth)

    def precision(self) -> float:
        return ratio(self.both, self.prediction)

    def volume_error(self) -> float:
        if self.truth == 0 and self.prediction > 0:
            return float("inf")
        return ratio(self.prediction - self.truth, self.truth)

    def volume_similarity(self) -> float:
        total = self.truth + self.prediction
        return ratio(total - abs(self.prediction - self.truth), total)


def ratio(numerator: int, denominator: int) -> float:
    """Divide; nothing by nothing is undefined."""
    return numerator / denominator if denominator else UNDEFINED


def counts_of(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], everything: int | None = None
) -> Counts:
    """Count the voxels of two masks; ``everything``: default as many as they have elements."""
    return Counts(
        truth=int(np.count_nonzero(truth)),
        prediction=int(np.count_nonzero(prediction)),
        both=int(np.count_nonzero(truth & prediction)),
        everything=truth.size if everything is None else everything,
    )
