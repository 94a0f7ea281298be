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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.linalg import solve_banded

# Entries of the spline's matrix below this are left out; they fall by 0.27 per voxel.
_NEGLIGIBLE = 1e-7
# Number of lines that are worked on at once: a block fits into the processor's cache.
_BLOCK = 2048
# A downsampling factor this close to a whole number counts as one.
_WHOLE = 1e-9


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

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Map one array of shape ``source``."""
        # What shrinks most comes first: the later axes have less to do.
        axes = [axis for axis, matrix in enumerate(self.matrices) if matrix is not None]
        for axis in sorted(axes, key=lambda k: self.target[k] / self.source[k]):
            array = _apply_along(array, self.matrices[axis], axis)
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
    array: NDArray[Any], grid_map: GridMap, clip: bool = False
) -> NDArray[np.float32]:
    """Map an array ``(…, c)`` channel by channel.

    Parameters
    ----------
    clip : bool
        Cut each channel to the range it had before.
    """
    result = np.empty((*grid_map.target, array.shape[-1]), dtype=np.float32)
    for channel in range(array.shape[-1]):
        before = array[..., channel]
        after = grid_map.apply(before)
        if clip:
            # fmin and fmax pass over NaN, which would otherwise spread over the whole image.
            low = np.float32(np.fmin.reduce(before, axis=None))
            high = np.float32(np.fmax.reduce(before, axis=None))
            after = np.clip(after, low, high)
        result[..., channel] = after
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
        result[reached][share > best[reached]] = label
        np.maximum(best[reached], share, out=best[reached])
    return result


def resample_argmax(probabilities: NDArray[Any], grid_map: GridMap) -> NDArray[Any]:
    """Map probabilities ``(…, classes)`` and return the most probable class of each voxel.

    The classes are mapped one by one, so that the memory does not grow with their number.
    Ties go to the lower class.
    """
    classes = probabilities.shape[-1]
    result = np.zeros(grid_map.target, dtype=np.min_scalar_type(max(classes - 1, 1)))
    best = grid_map.apply(probabilities[..., 0])
    if np.shares_memory(best, probabilities):
        best = best.copy()
    for label in range(1, classes):
        share = grid_map.apply(probabilities[..., label])
        result[share > best] = label
        np.maximum(best, share, out=best)
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


def _apply_along(array: NDArray[Any], matrix: Any, axis: int) -> NDArray[np.float32]:
    shape = list(array.shape)
    shape[axis] = matrix.shape[0]
    result = np.empty(shape, dtype=np.float32)
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)
    inner = math.prod(source.shape[2:])
    step = max(1, _BLOCK // inner)
    for start in range(0, source.shape[1], step):
        part = slice(start, start + step)
        block = np.ascontiguousarray(source[:, part], dtype=np.float32)
        mapped = matrix @ block.reshape(len(block), -1)
        target[:, part] = mapped.reshape(len(mapped), *block.shape[1:])
    return result
