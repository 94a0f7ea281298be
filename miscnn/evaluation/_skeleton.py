"""Centerline Dice: does each mask hold the centerline of the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def centerline_overlap(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return clDice; NaN if both masks are empty, 0 if one is."""
    if not truth.any() or not prediction.any():
        return 0.0 if truth.any() or prediction.any() else math.nan
    precision, sensitivity = _share(prediction, truth), _share(truth, prediction)
    both = precision + sensitivity
    return 2 * precision * sensitivity / both if both else 0.0


def skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the centerline of a mask, one voxel thin.

    Of a piece (connected by faces, edges or corners) of which thinning leaves nothing, as happens
    with 2 x 2 x 2 voxels in 3D, it is the whole piece.
    """
    # It takes long to import, and few ask for it.
    from skimage.morphology import skeletonize

    inner = (slice(1, -1),) * mask.ndim
    found: NDArray[np.bool_] = np.asarray(skeletonize(np.pad(mask, 1)), dtype=np.bool_)[inner]
    pieces, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    lost = np.bincount(pieces.reshape(-1), weights=found.reshape(-1)) == 0
    lost[0] = False  # the background
    line: NDArray[np.bool_] = found | lost[pieces]
    return line


def _share(of: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    line = skeleton(of)
    return int(np.count_nonzero(line & inside)) / int(np.count_nonzero(line))
