"""Which pixel centres lie inside polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Crossings of edges with rows that are held at a time; bounds the memory for any contour.
_CROSSINGS = 1 << 20
# Coordinates are rounded to this part of a pixel: 16 digits of a decimal text, taken through an
# affine, come back as 2.9999999999999996, and a centre that lies on an edge must be seen to.
_GRAIN = 2.0**20
# Corners tried as the beginning of a polygon, the nearest first: several lie near where it passes
# one place again, as a key-hole does; more only hold up whoever compares.
_BEGINNINGS = 8


def rasterise(
    polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Fill polygons on a grid of pixels: those whose centre is inside.

    All edges count together by the even-odd rule: a polygon within another is a hole, one within
    the hole an island, and the two sides of a key-hole cut cancel out. A centre exactly on an edge
    belongs to the region on the side of the rising index (``[a, b)`` along both axes). So a region
    has the pixels on its edges of low index and not those on its edges of high index, and of two
    regions with a common edge exactly one has the pixels on it.

    Parameters
    ----------
    polygons : sequence of ndarray
        Shape (n, 2) each: pixel indices of the corners along axis 0 and axis 1; integers are
        centres. The last corner is joined to the first. They may reach beyond the grid.
    shape : tuple of int
        Pixels along both axes.

    Returns
    -------
    box : tuple of slice
        Where the filled pixels lie.
    mask : ndarray of bool
        The pixels of that box.

    Notes
    -----
    Scan-line filling (Foley et al., *Computer Graphics*, section 3.6), all edges at once: every
    edge toggles, in each line of pixels that it crosses, all pixels behind it.

    Examples
    --------
    >>> box, mask = rasterise([np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]])], (4, 4))
    >>> box, mask.tolist()
    ((slice(0, 2, None), slice(0, 1, None)), [[True], [True]])
    """
    columns, rows = shape
    low, high = _edges(polygons)
    # A line j is crossed where low <= j < high: a corner on a line is counted once.
    first = np.clip(np.ceil(low[:, 1]), 0, rows).astype(np.int64)
    count = np.clip(np.ceil(high[:, 1]), 0, rows).astype(np.int64) - first
    crossing = count > 0
    low, high, first, count = low[crossing], high[crossing], first[crossing], count[crossing]
    if not count.size:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), dtype=bool)
    top, bottom = int(first.min()), int((first + count).max())
    left = int(np.clip(np.ceil(min(low[:, 0].min(), high[:, 0].min())), 0, columns))
    right = int(np.clip(np.ceil(max(low[:, 0].max(), high[:, 0].max())), 0, columns))
    width = right - left + 1  # what ends at the border of the box toggles nothing
    run, rise = (high - low).T
    toggles = np.zeros((bottom - top) * width, dtype=np.uint8)
    for part in _parts(count):
        lengths = count[part]
        edge = np.repeat(np.arange(part.start, part.stop), lengths)
        line = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        line += first[edge]
        # From the lower corner on whichever way the contour runs: both owners of an edge agree.
        # Divided last, a crossing at a centre comes out as just that.
        at = low[edge, 0] + (line - low[edge, 1]) * run[edge] / rise[edge]
        column = np.clip(np.ceil(at), left, right).astype(np.int64) - left
        hits = np.bincount((line - top) * width + column, minlength=toggles.size)
        toggles ^= (hits & 1).astype(np.uint8)
    inside = np.bitwise_xor.accumulate(toggles.reshape(-1, width)[:, :-1], axis=1)
    return (slice(left, right), slice(top, bottom)), inside.view(np.bool_).T


def is_same(one: NDArray[np.float64], other: NDArray[np.float64], tolerance: float) -> bool:
    """Tell whether two polygons have the same corners in turn, from wherever, in any direction.

    Parameters
    ----------
    one, other : ndarray
        Shape (n, 2) each, n >= 1. Whether the first corner is repeated at the end does not matter.
    tolerance : float
        How far apart corners may lie along an axis.
    """
    one, other = _without_repeats(one), _without_repeats(other)
    if len(one) != len(other):
        return False
    away = np.abs(other - one[0]).max(axis=1)
    for start in np.argsort(away, kind="stable")[:_BEGINNINGS].tolist():
        turned = np.roll(other, -start, axis=0)
        backwards = np.roll(turned[::-1], 1, axis=0)
        if any(np.abs(one - way).max() <= tolerance for way in (turned, backwards)):
            return True
    return False


def _without_repeats(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out corners that repeat the one before, the first one after the last included."""
    moved = (polygon != np.roll(polygon, 1, axis=0)).any(axis=1)
    return polygon[moved] if moved.any() else polygon[:1]


def _edges(
    polygons: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two ends of all edges, the one with the lower index along axis 1 first."""
    if not polygons:
        return np.zeros((0, 2)), np.zeros((0, 2))
    start = np.rint(np.concatenate(polygons) * _GRAIN) / _GRAIN
    following = np.arange(1, len(start) + 1)
    lengths = np.array([len(polygon) for polygon in polygons])
    ends = np.cumsum(lengths)
    following[ends[lengths > 0] - 1] = (ends - lengths)[lengths > 0]
    stop = start[following]
    down = (start[:, 1] > stop[:, 1])[:, None]
    return np.where(down, stop, start), np.where(down, start, stop)


def _parts(count: NDArray[np.int64]) -> Iterator[slice]:
    """Split the edges so that each part has few crossings; one edge has no more than lines."""
    total = np.cumsum(count)
    start = 0
    while start < len(count):
        done = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, done + _CROSSINGS, side="right")), start + 1)
        yield slice(start, stop)
        start = stop
