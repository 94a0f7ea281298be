"""All scores of one pair of masks; what several of them need is computed once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._boundary import boundary_overlap
from miscnn.evaluation._counts import Counts, counts_of
from miscnn.evaluation._metrics import tolerance_of
from miscnn.evaluation._skeleton import centerline_overlap
from miscnn.evaluation._surface import SurfaceDistances, surface_distances


class Roi(NamedTuple):
    """Which slices hold any foreground of the truth."""

    axis: int
    slices: NDArray[np.bool_]

    def dice(
        self, truth: NDArray[np.bool_], prediction: NDArray[np.bool_], counts: Counts
    ) -> float:
        if not self.slices.all():
            truth, prediction = (
                np.compress(self.slices, mask, self.axis) for mask in (truth, prediction)
            )
            counts = counts_of(truth, prediction)
        return counts.dice()


class Pair:
    """A class in the truth and in the prediction, cut to a box that holds both.

    Parameters
    ----------
    truth, prediction : ndarray of bool
    spacing : sequence of float
        Voxel size per axis in mm.
    everything : int
        Number of voxels of the image.
    roi : Roi, optional
        For ``dice_roi``.
    boundary_width : float, optional
        In mm.
    turned : bool
        Whether the axes stand in reverse order.
    """

    def __init__(
        self,
        truth: NDArray[np.bool_],
        prediction: NDArray[np.bool_],
        spacing: Sequence[float],
        everything: int,
        roi: Roi | None = None,
        boundary_width: float | None = None,
        turned: bool = False,
    ) -> None:
        self.truth = truth
        self.prediction = prediction
        self.spacing = tuple(spacing)
        self.everything = everything
        self.roi = roi
        self.boundary_width = boundary_width
        self.turned = turned

    @functools.cached_property
    def counts(self) -> Counts:
        return counts_of(self.truth, self.prediction, self.everything)

    @functools.cached_property
    def distances(self) -> SurfaceDistances:
        return surface_distances(self.truth, self.prediction, self.spacing)

    def values(self, names: Sequence[str]) -> dict[str, float]:
        """Return the scores of those names that there are for such masks."""
        found = {}
        for name in names:
            if name in _SCORES:
                found[name] = _SCORES[name](self)
            elif (tolerance := tolerance_of(name)) is not None:
                found[name] = self.distances.share_within(tolerance)
            elif name == "dice_roi":
                if self.roi is not None:
                    found[name] = self.roi.dice(self.truth, self.prediction, self.counts)
            else:  # volume_truth_ml, volume_prediction_ml
                which = name.split("_")[1]
                found[self._size_name(which)] = getattr(self.counts, which) * self._voxel()
        return found

    def centroid_distance(self) -> float:
        if not (self.counts.truth and self.counts.prediction):
            return math.inf if self.counts.truth or self.counts.prediction else math.nan
        first, second = (_centroid(mask) for mask in (self.truth, self.prediction))
        return float(np.linalg.norm((first - second) * np.asarray(self.spacing)))

    def centerline_dice(self) -> float:
        # Thinning takes the axes one after the other: in the order in which they were given.
        masks = self.truth, self.prediction
        return centerline_overlap(*(mask.T if self.turned else mask for mask in masks))

    def boundary_iou(self) -> float:
        return boundary_overlap(self.truth, self.prediction, self.spacing, self.boundary_width)

    def _voxel(self) -> float:
        size = float(np.prod(self.spacing))
        return size / 1000.0 if self.truth.ndim == 3 else size

    def _size_name(self, which: str) -> str:
        return f"volume_{which}_ml" if self.truth.ndim == 3 else f"area_{which}_mm2"


def _centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean position of the voxels of a mask, in voxels."""
    along_first = np.array([np.count_nonzero(part) for part in mask], dtype=np.float64)
    profiles = [along_first]
    if mask.ndim == 3:
        rest = np.add.reduce(mask, axis=0, dtype=np.int32)
        profiles.extend([rest.sum(axis=1), rest.sum(axis=0)])
    else:
        profiles.append(np.add.reduce(mask, axis=0, dtype=np.int32))
    total = along_first.sum()
    return np.array([np.arange(len(each)) @ each / total for each in profiles])


_SCORES: Mapping[str, Callable[[Pair], float]] = MappingProxyType(
    {
        "dice": lambda pair: pair.counts.dice(),
        "jaccard": lambda pair: pair.counts.jaccard(),
        "sensitivity": lambda pair: pair.counts.sensitivity(),
        "specificity": lambda pair: pair.counts.specificity(),
        "precision": lambda pair: pair.counts.precision(),
        "volume_error": lambda pair: pair.counts.volume_error(),
        "volume_similarity": lambda pair: pair.counts.volume_similarity(),
        "hd_mm": lambda pair: pair.distances.hausdorff(100.0),
        "hd95_mm": lambda pair: pair.distances.hausdorff(95.0),
        "assd_mm": lambda pair: pair.distances.mean(),
        "rmsd_mm": lambda pair: pair.distances.root_mean_square(),
        "centroid_distance_mm": Pair.centroid_distance,
        "boundary_iou": Pair.boundary_iou,
        "cldice": Pair.centerline_dice,
    }
)
