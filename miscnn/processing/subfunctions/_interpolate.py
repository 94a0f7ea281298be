"""Resampling of arrays onto another number of voxels over the same extent.

Both grids share their outer faces, so that output voxel ``j`` of ``m`` is centred at
``(j + 1/2) n / m - 1/2`` in units of the ``n`` input voxels. The map is separable: along each
axis it is one sparse matrix, applied to all lines at once. Order 0 takes the nearest voxel,
order 1 interpolates linearly, order 3 is the natural cubic spline through the voxels, which
like the linear one returns straight lines exactly, up to the border.

Fewer voxels than before: with ``antialias``, the output is the mean of ``ceil(n / m)`` points
spread evenly over the input voxels that the output voxel covers, from the first centre
to the last; for whole factors this is the block mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.linalg import solve_banded

from miscnn._scratch import BLOCK, boxes_of, release
from miscnn.processing.subfunctions._blockwise import value_range

MakeEmpty = Callable[[NDArray[Any], Sequence[int]], NDArray[Any]]

# Entries of the spline's matrix below this are left out; they fall by 0.27 per voxel.
_NEGLIGIBLE = 1e-7
# Number of lines that are worked on at once: a block fits into the processor's cache.
_BLOCK = 2048
# Rows of a result that are made at once at least: their neighbours are read as well.
_FEWEST_ROWS = 32
# Shares of two labels this close are equal: which is larger would be a matter of rounding, and of
# the box that a label lies in.
_TIE = 1e-6
# A downsampling factor this close to a whole number counts as one.
_WHOLE = 1e-9


def _empty(array: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
    return np.empty(tuple(shape), np.float32)


@dataclass(frozen=True)
class GridMap:
    """The linear map from arrays of one shape to arrays of another.

    Attributes
    ----------
    source, target : tuple of int
        Spatial shapes.
    matrices : tuple
        Per axis a sparse ``(target, source)`` matrix, or None where the axis stays as it is.
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    matrices: tuple[Any, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The axes that change, in the order in which they are mapped."""
        # What shrinks most comes first: the later axes have less to do.
        axes = [axis for axis, matrix in enumerate(self.matrices) if matrix is not None]
        return tuple(sorted(axes, key=lambda k: self.target[k] / self.source[k]))

    @classmethod
    def between(
        cls, source: Sequence[int], target: Sequence[int], orders: Sequence[int], antialias: bool
    ) -> GridMap:
        """Make the map for one interpolation order per axis."""
        matrices = tuple(
            None if n == m else _matrix(n, m, order, antialias)
            for n, m, order in zip(source, target, orders, strict=True)
        )
        return cls(tuple(source), tuple(target), matrices)

    def apply(
        self,
        array: NDArray[Any],
        empty: MakeEmpty = _empty,
        bounds: tuple[np.float32, np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Map one array of shape ``source``.

        Parameters
        ----------
        empty : callable
            ``empty(array, shape)`` makes the float32 arrays that the results are written into.
        bounds : pair of float32, optional
            The result is cut to this range.
        """
        order = self.order
        for axis in order:
            last = axis == order[-1]
            array = _apply_along(array, self.matrices[axis], axis, empty, bounds if last else None)
        return np.asarray(array, dtype=np.float32)

    def restricted(self, box: Sequence[slice]) -> tuple[GridMap, tuple[slice, ...]]:
        """Return the map for arrays that are zero outside of a box.

        Returns
        -------
        map : GridMap
            Takes the contents of ``box``.
        slices : tuple of slice
            The part of the target that can be other than zero.
        """
        matrices: list[Any] = []
        slices: list[slice] = []
        for matrix, part in zip(self.matrices, box, strict=True):
            if matrix is None:
                matrices.append(None)
                slices.append(part)
                continue
            columns = matrix[:, part.start : part.stop]
            rows = np.flatnonzero(np.diff(columns.indptr))
            reached = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
            matrices.append(columns[reached.start : reached.stop])
            slices.append(reached)
        source = tuple(part.stop - part.start for part in box)
        target = tuple(part.stop - part.start for part in slices)
        return GridMap(source, target, tuple(matrices)), tuple(slices)


def resample_channels(
    array: NDArray[Any], grid_map: GridMap, clip: bool = False, empty: MakeEmpty = _empty
) -> NDArray[np.float32]:
    """Map an array ``(…, c)`` channel by channel.

    Parameters
    ----------
    clip : bool
        Cut each channel to the range it had before.
    empty : callable
        As of :meth:`GridMap.apply`.
    """
    channels = array.shape[-1]
    # NaN does not count: it would otherwise spread over the whole image.
    bounds = [value_range(array[..., c]) if clip else None for c in range(channels)]
    if channels == 1:
        return grid_map.apply(array[..., 0], empty, bounds[0])[..., np.newaxis]
    result = empty(array, (*grid_map.target, channels))
    for channel in range(channels):
        after = grid_map.apply(array[..., channel], empty, bounds[channel])
        part = result[..., channel]
        for box in boxes_of(after):
            part[box] = after[box]
            release(part[box])
            release(after[box])
    return result


def resample_labels(labels: NDArray[Any], grid_map: GridMap) -> NDArray[Any]:
    """Map a label map: each voxel gets the label with the largest share in it.

    The share is the mapped indicator of the label. One label is held at a time, and of that
    only the box it lies in. Ties go to the lower label.
    """
    if labels.dtype == np.bool_:
        return resample_labels(labels.view(np.uint8), grid_map).astype(np.bool_)
    result = np.zeros(grid_map.target, dtype=labels.dtype)
    best = np.zeros(grid_map.target, dtype=np.float32)
    for label, box in _label_boxes(labels):
        partial, reached = grid_map.restricted(box)
        if 0 in partial.target:
            continue
        share = partial.apply(labels[box] == label)
        result[reached][share > best[reached] + _TIE] = label
        np.maximum(best[reached], share, out=best[reached])
    return result


def take_nearest(array: NDArray[Any], target: Sequence[int]) -> NDArray[Any]:
    """Map an array by its nearest voxels; the values stay exactly what they are."""
    indices = [_nearest(n, m) for n, m in zip(array.shape, target, strict=True)]
    return np.asarray(array[np.ix_(*indices)])


def _label_boxes(labels: NDArray[Any]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    if bool((labels == 0).any()):
        yield 0, tuple(slice(0, n) for n in labels.shape)
    for number, box in enumerate(ndimage.find_objects(labels)):
        if box is not None:
            yield number + 1, box


def _nearest(n: int, m: int) -> NDArray[np.intp]:
    # floor(position + 1/2) in whole numbers: no rounding, whatever n and m are.
    return ((2 * np.arange(m) + 1) * n) // (2 * m)


def _matrix(n: int, m: int, order: int, antialias: bool) -> Any:
    factor = n / m
    if antialias and factor > 1.0:
        count = math.ceil(factor - _WHOLE)
        offsets = np.linspace(0.0, factor - 1.0, count)
        starts = np.arange(m, dtype=np.float64) * factor
        positions = np.add.outer(starts, offsets).ravel()
        dense = _point_matrix(n, positions, order).reshape(m, count, n).mean(axis=1)
    elif order == 0:
        dense = np.zeros((m, n))
        dense[np.arange(m), _nearest(n, m)] = 1.0
    else:
        dense = _point_matrix(n, (np.arange(m) + 0.5) * factor - 0.5, order)
    dense[np.abs(dense) < _NEGLIGIBLE] = 0.0
    return sparse.csr_array(dense.astype(np.float32))


def _point_matrix(n: int, positions: NDArray[Any], order: int) -> NDArray[np.float64]:
    """Return the weights of n voxels at positions; beyond the outer centres theirs holds."""
    positions = np.clip(positions, 0.0, n - 1.0)
    rows = np.arange(len(positions))
    weights = np.zeros((len(positions), n))
    if order == 0 or n == 1:
        weights[rows, np.floor(positions + 0.5).astype(np.intp)] = 1.0
        return weights
    left = np.minimum(positions.astype(np.intp), n - 2)
    t = positions - left
    weights[rows, left] = 1.0 - t
    weights[rows, left + 1] = t
    if order == 3 and n > 2:
        bend = np.zeros((len(positions), n))
        bend[rows, left] = ((1.0 - t) ** 3 - (1.0 - t)) / 6.0
        bend[rows, left + 1] = (t**3 - t) / 6.0
        weights += bend @ _second_derivatives(n)
    return weights


def _second_derivatives(n: int) -> NDArray[np.float64]:
    """Return the matrix from values to second derivatives of their natural cubic spline.

    ``M[i-1] + 4 M[i] + M[i+1] = 6 (y[i-1] - 2 y[i] + y[i+1])`` inside, zero at both ends
    (de Boor, A Practical Guide to Splines, chapter IV).
    """
    bands = np.zeros((3, n))
    bands[1] = 4.0
    bands[0, 2:] = 1.0
    bands[2, :-2] = 1.0
    bands[1, [0, -1]] = 1.0
    inside = np.arange(1, n - 1)
    differences = np.zeros((n, n))
    differences[inside, inside - 1] = 6.0
    differences[inside, inside] = -12.0
    differences[inside, inside + 1] = 6.0
    return np.asarray(solve_banded((1, 1), bands, differences))


def _apply_along(
    array: NDArray[Any],
    matrix: Any,
    axis: int,
    empty: MakeEmpty,
    bounds: tuple[np.float32, np.float32] | None,
) -> NDArray[np.float32]:
    shape = list(array.shape)
    shape[axis] = matrix.shape[0]
    result: NDArray[np.float32] = empty(array, shape)
    # One piece of memory after the other, of the result and (if it is ordered alike) the array.
    strides = [abs(stride) for stride in result.strides]
    outer, *_ = order = sorted(range(array.ndim), key=lambda k: strides[k], reverse=True)
    layout = [axis, *(k for k in order if k != axis)]
    source, target = array.transpose(layout), result.transpose(layout)
    bytes_of_one = 4 * max(array.size // array.shape[outer], result.size // result.shape[outer])
    step = max(1, BLOCK // bytes_of_one)
    if outer == axis:
        step = max(step, _FEWEST_ROWS)
        low, high = matrix_spans(matrix)
    for start in range(0, shape[outer], step):
        if outer == axis:
            rows = slice(start, start + step)
            needed = slice(int(low[rows].min()), int(high[rows].max()))
            part, before, after = matrix[rows, needed], source[needed], target[rows]
        else:
            along = slice(start, start + step)
            part, before, after = matrix, source[:, along], target[:, along]
        _multiply(part, before, after, bounds)
        release(before)
        release(after)
    return result


def _multiply(
    matrix: Any,
    source: NDArray[Any],
    target: NDArray[np.float32],
    bounds: tuple[np.float32, np.float32] | None,
) -> None:
    step = max(1, _BLOCK // math.prod(source.shape[2:]))
    for start in range(0, source.shape[1], step):
        part = slice(start, start + step)
        block = np.ascontiguousarray(source[:, part], dtype=np.float32)
        mapped = matrix @ block.reshape(len(block), -1)
        if bounds is not None:
            np.clip(mapped, *bounds, out=mapped)
        target[:, part] = mapped.reshape(len(mapped), *block.shape[1:])


def matrix_spans(matrix: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return for each row of a matrix the first and last + 1 column that it has entries in."""
    # Every row has an entry: its weights sum to one.
    low = np.minimum.reduceat(matrix.indices, matrix.indptr[:-1]).astype(np.intp)
    high = np.maximum.reduceat(matrix.indices, matrix.indptr[:-1]).astype(np.intp) + 1
    return low, high
