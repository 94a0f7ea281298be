"""Boundary IoU: overlap of what lies near the borders of two masks."""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray

from miscnn.evaluation._counts import ratio

# What the distance transform in float32 may be beside of the truth.
_ROUNDING = 1e-5

# As the usual tolerance of the surface Dice.
_WIDTH_MM = 2.0


def boundary_overlap(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing: Sequence[float],
    width: float | None,
) -> float:
    """Return the IoU of the boundaries; NaN if both masks are empty."""
    width = default_width(spacing) if width is None else width
    first, second = (boundary(mask, spacing, width) for mask in (truth, prediction))
    return ratio(int(np.count_nonzero(first & second)), int(np.count_nonzero(first | second)))


def default_width(spacing: Sequence[float]) -> float:
    """Return the width in mm if none is given: every voxel at the border belongs to it."""
    return max(_WIDTH_MM, *map(float, spacing))


def boundary(mask: NDArray[np.bool_], spacing: Sequence[float], width: float) -> NDArray[np.bool_]:
    """Return the voxels of a mask with a voxel outside of it, or of the image, within a width."""
    padded = np.pad(mask, 1)
    distance = edt.edt(padded, anisotropy=tuple(map(float, spacing)), black_border=False)
    inner = (slice(1, -1),) * mask.ndim
    near: NDArray[np.bool_] = distance[inner] <= width * (1 + _ROUNDING)
    return near & mask
