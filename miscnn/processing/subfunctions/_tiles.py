"""Applying a grid map tile by tile: all on the way stays in the processor's cache.

Every voxel of the target is a sum over the same voxels in the same order as if the whole array were
mapped, so that tiles, whatever their shape, give the same values bit by bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions._interpolate import GridMap, matrix_spans

Box = tuple[slice, ...]

VOXELS = 400_000
"""Most voxels of a tile: some arrays of so many float32 fit into a processor's cache."""

# Fewer voxels than this are not worth a tile.
_FEWEST_VOXELS = 30_000
# Lines shorter than this are not worth their own call in a sparse product.
_SHORT = 16


class Tiling:
    """A grid map that is applied to parts of its target.

    Parameters
    ----------
    grid_map : GridMap
    """

    def __init__(self, grid_map: GridMap) -> None:
        self.grid_map = grid_map
        self._axes = grid_map.order
        others = [k for k in range(len(grid_map.target)) if k not in self._axes]
        self._layout = [*self._axes, *others]
        self._spans = [
            (np.arange(n), np.arange(n) + 1) if matrix is None else matrix_spans(matrix)
            for matrix, n in zip(grid_map.matrices, grid_map.target, strict=True)
        ]
        self._parts: dict[tuple[int, int, int, int], Any] = {}

    def tiles(self, box: Box, most: int = VOXELS) -> Iterator[Box]:
        """Yield tiles of a box of the target, each of ``most`` voxels or less."""
        shape = [part.stop - part.start for part in box]
        if 0 in shape:
            return
        ratio = [s / t for s, t in zip(self.grid_map.source, self.grid_map.target, strict=True)]

        def voxels() -> float:
            of_source = math.prod(n * max(r, 1.0) for n, r in zip(shape, ratio, strict=True))
            return float(max(of_source, math.prod(shape)))

        while voxels() > most and max(shape) > 1:
            longest = max(range(len(shape)), key=lambda k: shape[k])
            shape[longest] = -(-shape[longest] // 2)
        ranges = [
            [slice(a, min(a + n, part.stop)) for a in range(part.start, part.stop, n)]
            for part, n in zip(box, shape, strict=True)
        ]
        yield from itertools.product(*ranges)

    def source(self, tile: Box) -> Box:
        """Return the box of the source that a tile is made of."""
        return tuple(
            slice(int(low[part.start : part.stop].min()), int(high[part.start : part.stop].max()))
            for part, (low, high) in zip(tile, self._spans, strict=True)
        )

    def reached(self, box: Box) -> Box:
        """Return the box of the target that a box of the source has a share in."""
        found = []
        for part, (low, high) in zip(box, self._spans, strict=True):
            rows = np.flatnonzero((low < part.stop) & (high > part.start))
            found.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
        return tuple(found)

    def needed(self, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return for each row of the target from which row of the source on, and up to which,
        it and those after it, or those before it, need them."""
        low, high = self._spans[axis]
        return np.minimum.accumulate(low[::-1])[::-1], np.maximum.accumulate(high)

    def apply(self, tile: Box, array: NDArray[Any]) -> NDArray[np.float32]:
        """Map the contents of the box :meth:`source` of a tile; axes stay where they are."""
        layout = list(self._layout)
        current = np.ascontiguousarray(array.transpose(layout), dtype=np.float32)
        shape = list(current.shape)
        n_axes = len(self._axes)
        for number, axis in enumerate(self._axes):
            # The axis comes first, or after those that are done, if the lines behind are long.
            done = layout.index(axis)
            matrix = self._matrix(axis, tile[axis], math.prod(shape[:done]))
            current = matrix @ current.reshape(matrix.shape[1], -1)
            shape[done] = tile[axis].stop - tile[axis].start
            if number == 0 and n_axes > 1 and math.prod(shape[n_axes:]) < _SHORT:
                current = np.ascontiguousarray(current.reshape(shape[0], -1).T)
                layout = [*layout[1:], axis]
                shape = [*shape[1:], shape[0]]
        result: NDArray[np.float32] = current.reshape(shape).transpose(np.argsort(layout))
        return result

    def _matrix(self, axis: int, rows: slice, lead: int) -> Any:
        """Return the rows of an axis' matrix for the columns they need, ``lead`` times."""
        key = (axis, rows.start, rows.stop, lead)
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = self._make_matrix(axis, rows, lead)
        return found

    def _make_matrix(self, axis: int, rows: slice, lead: int) -> Any:
        part = self.grid_map.matrices[axis][rows.start : rows.stop]
        low, high = self._spans[axis]
        first, last = int(low[rows].min()), int(high[rows].max())
        m, n, entries = part.shape[0], last - first, len(part.indices)
        copies = np.arange(lead)[:, np.newaxis]
        indices = (part.indices - first + copies * n).ravel()
        starts = np.append((part.indptr[:-1] + copies * entries).ravel(), lead * entries)
        data = np.tile(part.data, lead)
        return sparse.csr_array(
            (data, indices.astype(np.int32), starts.astype(np.int32)), shape=(lead * m, lead * n)
        )


def resample_probabilities(probabilities: NDArray[Any], grid_map: GridMap) -> NDArray[np.float32]:
    """Map an array ``(…, c)`` channel by channel."""
    tiling, channels = Tiling(grid_map), probabilities.shape[-1]
    result = np.empty((*grid_map.target, channels), dtype=np.float32)
    for tile in tiling.tiles(whole(grid_map.target), joined_voxels(channels)):
        result[tile] = joined(_shares(tiling, probabilities, tile), channels)
    return result


def resample_argmax(
    probabilities: NDArray[Any], grid_map: GridMap, regions: Regions | None = None
) -> NDArray[Any]:
    """Map probabilities ``(…, c)`` and return the label map that they make.

    As :func:`resample_probabilities` and the argmax (or the decoding of regions), without ever
    holding the probabilities of all channels on the target. Ties go to the lower class.
    """
    tiling = Tiling(grid_map)
    as_labels, dtype = painter(regions, probabilities.shape[-1])
    result = np.empty(grid_map.target, dtype)
    for tile in tiling.tiles(whole(grid_map.target)):
        result[tile] = as_labels(_shares(tiling, probabilities, tile))
    return result


def whole(shape: Sequence[int]) -> Box:
    """Return the box of a whole grid."""
    return tuple(slice(0, n) for n in shape)


def _shares(
    tiling: Tiling, probabilities: NDArray[Any], tile: Box
) -> Iterator[NDArray[np.float32]]:
    source = probabilities[tiling.source(tile)]
    return (tiling.apply(tile, source[..., channel]) for channel in range(source.shape[-1]))


def largest(shares: Iterable[NDArray[np.float32]], classes: int) -> NDArray[Any]:
    """Return the number of the largest of several arrays, the first among equals."""
    dtype = np.min_scalar_type(max(classes - 1, 1))
    labels: NDArray[Any] | None = None
    for label, share in enumerate(shares):
        if labels is None:
            best, labels = share, np.zeros_like(share, dtype=dtype)
            continue
        # Labels ascend: the last one that was larger than all before it is the largest.
        larger = (share > best).view(np.uint8)
        np.maximum(labels, larger * dtype.type(label), out=labels)
        if label < classes - 1:
            best = np.maximum(best, share)
    assert labels is not None  # there is at least one class
    return labels


def joined(shares: Iterable[NDArray[np.float32]], channels: int) -> NDArray[np.float32]:
    """Return several arrays as the channels of one."""
    values: NDArray[np.float32] | None = None
    for channel, share in enumerate(shares):
        if values is None:
            values = np.empty((*share.shape, channels), np.float32)
        values[..., channel] = share
    assert values is not None  # there is at least one channel
    return values


def joined_voxels(channels: int) -> int:
    """Return how many voxels a tile has of which all channels are kept."""
    return max(VOXELS // channels, _FEWEST_VOXELS)


def painter(
    regions: Regions | None, channels: int
) -> tuple[Callable[[Iterable[NDArray[Any]]], NDArray[Any]], np.dtype[Any]]:
    """Return what makes a label map of probabilities channel by channel, and the map's type."""
    if regions is None:
        dtype = np.min_scalar_type(max(channels - 1, 1))
        return lambda shares: largest(shares, channels), dtype
    return regions.paint, np.min_scalar_type(max(regions.class_order))
