"""Distances between the surfaces of two masks.

The one place that knows what a surface is, so that another definition can take its place
without touching a score. Here: the surface of a mask are its border voxels, those with at
least one face neighbour outside the mask. What lies outside the image is outside the mask,
so that a surface is closed where an object touches the border of the image. Distances are
measured between voxel centres, in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances in mm from each surface to the nearest point of the other.

    Attributes
    ----------
    from_truth : ndarray
        One distance per surface voxel of the truth, float64. Infinite where the prediction
        is empty; no element where the truth is empty.
    from_prediction : ndarray
        The same the other way round.
    """

    from_truth: NDArray[np.float64]
    from_prediction: NDArray[np.float64]

    def hausdorff(self, percentile: float) -> float:
        """Return the larger of the two directed percentiles (linear interpolation).

        NaN if both masks are empty, infinite if one is.
        """
        both = (self.from_truth, self.from_prediction)
        if not all(d.size for d in both):
            return self._without_a_surface()
        return float(max(np.percentile(d, percentile) for d in both))

    def mean(self) -> float:
        """Return the mean over the surface voxels of both masks together.

        NaN if both masks are empty, infinite if one is.
        """
        n = self.from_truth.size + self.from_prediction.size
        if not (self.from_truth.size and self.from_prediction.size):
            return self._without_a_surface()
        return float((self.from_truth.sum() + self.from_prediction.sum()) / n)

    def _without_a_surface(self) -> float:
        return float("inf") if self.from_truth.size or self.from_prediction.size else float("nan")


def border_voxels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that have a face neighbour outside it (or the image)."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inside, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[:1] = False
        target[-1:] = False
    return mask & ~inside


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

    Notes
    -----
    One exact Euclidean distance transform per mask (package ``edt``, float32: relative error
    about 1e-7) serves all scores.
    """
    truth_surface, prediction_surface = border_voxels(truth), border_voxels(prediction)
    return SurfaceDistances(
        from_truth=_distances(truth_surface, prediction_surface, spacing),
        from_prediction=_distances(prediction_surface, truth_surface, spacing),
    )


def _distances(
    source: NDArray[np.bool_], target: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    n = int(np.count_nonzero(source))
    if n == 0 or not target.any():
        return np.full(n, np.inf)
    # edt measures the way to the nearest zero; it expects C order for the spacing's order.
    free = np.logical_not(target, order="C")
    distance = edt.edt(free, anisotropy=tuple(map(float, spacing)), black_border=False)
    return np.asarray(distance[source], dtype=np.float64)
