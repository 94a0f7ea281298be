"""Distances between the surfaces of two masks.

The one place that knows what a surface is: the surfels of :mod:`miscnn.evaluation._surfels`.
What lies outside of the image is outside of the mask, so that a surface is closed where an object
touches the border of the image. Distances are measured between surfels, in mm, and each counts
with the area of its surfel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._nearest import Spread, margin_of, nearest
from miscnn.evaluation._surfels import surfels

# A share of the area that rounding takes for another.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How much of each surface lies how far from the other.

    Attributes
    ----------
    from_truth, from_prediction : Spread
        Distances in mm to the nearest surfel of the other mask, and the areas at each. Infinite if
        there is none; empty if the mask itself is.
    """

    from_truth: Spread
    from_prediction: Spread

    def hausdorff(self, percentile: float) -> float:
        """Return the larger of the two directed percentiles.

        That is the smallest distance within which so many percent of the area of a surface lie.
        NaN if both masks are empty, infinite if one is.
        """
        return self._unless_empty(lambda: max(_within(each, percentile) for each in self._both()))

    def mean(self) -> float:
        """Return the mean over the area of both surfaces; NaN and infinite as above."""
        return self._unless_empty(lambda: self._mean_of(lambda distances: distances))

    def root_mean_square(self) -> float:
        """Return the root of the mean square over the area of both surfaces."""
        return self._unless_empty(lambda: math.sqrt(self._mean_of(np.square)))

    def share_within(self, tolerance: float) -> float:
        """Return the share of the area of both surfaces that is not farther than a tolerance.

        NaN if both masks are empty, 0 if one is.
        """
        if not self._areas():
            return math.nan
        near = (float(s.areas[s.distances <= tolerance].sum()) for s in self._both())
        return min(1.0, sum(near) / self._areas())

    def _both(self) -> tuple[Spread, Spread]:
        return self.from_truth, self.from_prediction

    def _areas(self) -> float:
        return sum(float(each.areas.sum()) for each in self._both())

    def _mean_of(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
        total = sum(float(each.areas @ function(each.distances)) for each in self._both())
        return total / self._areas()

    def _unless_empty(self, value: Callable[[], float]) -> float:
        empty = [not len(each.areas) for each in self._both()]
        return math.nan if all(empty) else math.inf if any(empty) else value()


def surface_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks on one grid.

    Parameters
    ----------
    truth, prediction : ndarray of bool
        Same shape, 2 or 3 axes. Cutting both to a box that holds both does not change the
        result and is the caller's business.
    spacing : sequence of float
        Voxel size per axis in mm.
    """
    margin = margin_of(spacing)
    first, second = (surfels(mask, spacing, margin) for mask in (truth, prediction))
    return SurfaceDistances(nearest(first, second, spacing), nearest(second, first, spacing))


def _within(spread: Spread, percentile: float) -> float:
    if percentile >= 100:  # however small the last area is
        return float(spread.distances[-1])
    shares = np.cumsum(spread.areas)
    position = np.searchsorted(shares, (percentile / 100.0 - _ROUNDING) * shares[-1])
    return float(spread.distances[position])
