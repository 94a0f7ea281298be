"""Boxes of an image that are worth predicting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import boxes_of, release
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.processing.chain import Step
from miscnn.processing.subfunctions.base import Subfunction, speaks_for

Box = tuple[slice, ...]
RegionOfInterest = Sequence[tuple[int, int]]

# Where a grid is interpolated, voxels beside the box have a part in those at its border.
_MARGIN = 1
# Positions closer to a border between voxels than this lie on it.
_ROUNDING = 1e-6


def as_box(roi: RegionOfInterest, shape: Sequence[int], index: str) -> Box:
    """Return the part of a region of interest that lies in an image.

    Parameters
    ----------
    roi : sequence of pairs of int
        ``(start, stop)`` per axis in voxels of the image.
    shape : sequence of int
        Spatial shape of the image.
    index : str
        The subject, for messages.

    Raises
    ------
    ConfigurationError
        If it is no box, or misses the image.
    """
    pairs = checked_roi(roi)
    if len(pairs) != len(shape):
        raise ConfigurationError(
            f"roi has {len(pairs)} axes, the image of sample {index!r} has {len(shape)}: give "
            "(start, stop) for each"
        )
    box = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(pairs, shape, strict=True))
    if is_empty(box):
        raise ConfigurationError(
            f"the roi {pairs} misses the image of sample {index!r}, whose shape is {tuple(shape)}"
        )
    return box


def checked_roi(roi: Any) -> tuple[tuple[int, int], ...]:
    """Return a region of interest as pairs of whole numbers; ConfigurationError if it is none."""
    try:
        pairs = tuple((int(a), int(b)) for a, b in roi)
        whole = all(a == p and b == q for (a, b), (p, q) in zip(roi, pairs, strict=True))
    except (TypeError, ValueError):
        pairs, whole = (), False
    if not whole or not pairs or any(a >= b for a, b in pairs):
        raise ConfigurationError(
            f"roi is {roi!r}; expected (start, stop) in voxels for each axis of the image, with "
            "start < stop, such as ((0, 256), (0, 256), (40, 120))"
        )
    return pairs


def is_empty(box: Box) -> bool:
    """Tell whether there is no voxel in a box."""
    return any(s.start >= s.stop for s in box)


def whole(shape: Sequence[int]) -> Box:
    """Return the box of a whole grid."""
    return tuple(slice(0, n) for n in shape)


def intersection(one: Box, other: Box) -> Box:
    """Return what two boxes share; it may be empty."""
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


def needed(
    box: Box, subfunctions: Sequence[Subfunction], steps: Sequence[Step], prepared: Geometry
) -> Box:
    """Return the part of the prepared grid that the prediction of a box of the image is made of.

    Each subfunction on the way has a share in it: where several interpolate, each looks at voxels
    beside the box. Of one with a way back of its own that does not say that it follows the
    geometry nothing is known: all that it may look at is needed.

    Parameters
    ----------
    subfunctions, steps : sequence
        The chain, and what :func:`~miscnn.processing.chain.run_chain` returned of it.
    prepared : Geometry
        The grid at its end.

    Returns
    -------
    tuple of slice
        It may be empty.
    """
    grids = itertools.pairwise([*(step.geometry for step in steps), prepared])
    for subfunction, (before, after) in zip(subfunctions, grids, strict=True):
        if is_empty(box):
            break
        if type(subfunction).postprocessing is Subfunction.postprocessing:
            continue
        if speaks_for(subfunction, "follows_geometry", "preprocessing", "postprocessing"):
            box = mapped(box, before, after)
        else:
            box = whole(after.shape)
    return intersection(box, whole(prepared.shape))


def mapped(box: Box, source: Geometry, target: Geometry) -> Box:
    """Return the smallest box of a grid that holds a box of another grid of the same patient.

    Outer faces of voxels are mapped, and rounded outwards; where the grids have other voxel sizes,
    one more voxel is taken on each side. What lies outside of the target is left out.
    """
    corners = np.array(list(itertools.product(*((s.start - 0.5, s.stop - 0.5) for s in box))))
    step = np.linalg.solve(target.affine, source.affine)
    places = corners @ step[:-1, :-1].T + step[:-1, -1]
    low = np.floor(places.min(axis=0) + 0.5 + _ROUNDING).astype(int)
    high = np.ceil(places.max(axis=0) + 0.5 - _ROUNDING).astype(int)
    # A turn or a shift by whole voxels has ones and zeros only.
    if not np.allclose(np.sort(np.abs(step[:-1, :-1]), axis=None)[-source.ndim :], 1, atol=1e-6):
        low, high = low - _MARGIN, high + _MARGIN
    return intersection(
        tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), whole(target.shape)
    )


def foreground_box(image: NDArray[Any], threshold: float | Literal["auto"]) -> Box:
    """Return the box of all voxels above a threshold, in bounded memory.

    Parameters
    ----------
    image : ndarray
        ``(…, c)``; may be memory-mapped.
    threshold : float or "auto"
        A voxel counts if one of its channels is above; "auto": above the channel's minimum.

    Returns
    -------
    tuple of slice
        Empty along all axes if there is no such voxel.
    """
    ndim = image.ndim - 1
    limits = np.full(image.shape[-1], threshold if threshold != "auto" else np.inf)
    if threshold == "auto":
        for box in boxes_of(image):
            least = np.asarray(image[box]).min(axis=tuple(range(ndim)))
            limits[box[-1]] = np.minimum(limits[box[-1]], least)
            release(image[box])
    seen = [np.zeros(n, dtype=bool) for n in image.shape[:ndim]]
    for box in boxes_of(image):
        above = np.any(np.asarray(image[box]) > limits[box[-1]], axis=-1)
        release(image[box])
        for axis in range(ndim):
            others = tuple(a for a in range(ndim) if a != axis)
            seen[axis][box[axis]] |= np.any(above, axis=others)
    if not seen[0].any():
        return (slice(0, 0),) * ndim
    found = [np.flatnonzero(along) for along in seen]
    return tuple(slice(int(f[0]), int(f[-1]) + 1) for f in found)
