"""The type of numbers that are stored with a slope and an intercept, and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scaled values may be rounded by this share of the step between two neighbours at most.
_STEP_SHARE = 1 / 32


def scaled_type(dtype: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """Choose the type of ``slope * stored + inter``.

    Integers stay integers if slope and intercept are whole numbers: the smallest integer type
    that holds every value the stored type can take. Otherwise the values are computed in
    float64 and rounded once, to float32 if that keeps neighbouring stored values apart
    (stored integers of 16 bits at most, a rounding unit of at most 1/32 of the slope; stored
    float32), else to float64.
    """
    if dtype.kind in "iub":
        info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        if slope.is_integer() and inter.is_integer():
            ends = sorted(int(slope) * int(end) + int(inter) for end in (info.min, info.max))
            for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
                target = np.iinfo(name)
                if target.min <= ends[0] and ends[1] <= target.max:
                    return np.dtype(name)
            return np.dtype(np.float64)
        largest = max(abs(slope * end + inter) for end in (info.min, info.max))
        if info.bits > 16 or largest >= float(np.finfo(np.float32).max):
            return np.dtype(np.float64)
        unit = float(np.spacing(np.float32(largest)))
        return np.dtype(np.float32 if unit <= abs(slope) * _STEP_SHARE else np.float64)
    return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)


def scaled_values(stored: NDArray[Any], slope: float, inter: float) -> NDArray[Any]:
    """Return ``slope * stored + inter`` in the type in which it is computed.

    It is int64 or float64; the caller casts it to :func:`scaled_type`.
    """
    whole = scaled_type(stored.dtype, slope, inter).kind in "iu"
    working: Any = np.int64 if whole else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[Any] = stored.astype(working)
        values *= working(slope)
        values += working(inter)
    return values


def apply_scaling(voxels: NDArray[Any], slope: float, inter: float) -> NDArray[Any]:
    """Return ``slope * voxels + inter`` in :func:`scaled_type`, slab by slab."""
    target = scaled_type(voxels.dtype, slope, inter)
    scaled = np.empty(voxels.shape, dtype=target, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(voxels.shape[-1]):
            scaled[..., k] = scaled_values(voxels[..., k], slope, inter)
    return scaled
