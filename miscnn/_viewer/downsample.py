"""Volumes made smaller: means of intensities, and labels of which none vanishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

# Shares that differ by less are equal: they are sums of 32-bit numbers.
_EQUAL = 1e-5


def reduced_shape(
    shape: Sequence[int], slice_axis: int | None, plane: int, slices: int
) -> tuple[int, ...]:
    """Return the shape of a volume made small: one factor within the slices, one across them.

    Parameters
    ----------
    shape : sequence of int
    slice_axis : int or None
        None: a 2D image.
    plane, slices : int
        Most voxels along the longer edge of a slice, and across the slices.
    """
    inside = max((n for axis, n in enumerate(shape) if axis != slice_axis), default=1)
    factor = max(1.0, inside / plane)
    return tuple(
        min(n, slices) if axis == slice_axis else max(1, round(n / factor))
        for axis, n in enumerate(shape)
    )


def area_mean(image: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
    """Average an image over the voxels of a coarser grid of the same extent.

    Every voxel counts by the share of it that lies in the coarse voxel, so that the mean over
    the whole image is kept.

    Parameters
    ----------
    image : ndarray
        Finite values.
    shape : sequence of int
        At most as many voxels along each axis as the image has.

    Returns
    -------
    ndarray of float32
    """
    return _mean(image, tuple(slice(0, n) for n in image.shape), image.shape, tuple(shape))


def _mean(
    part: NDArray[Any],
    box: tuple[slice, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> NDArray[np.float32]:
    """Average what fills the box of a volume that is 0 elsewhere."""
    result = np.asarray(part, dtype=np.float32)
    # the axis that shrinks most goes first: what is left to do is less
    for axis in sorted(range(result.ndim), key=lambda a: after[a] / before[a]):
        whole = box[axis] == slice(0, before[axis])
        if whole and after[axis] == before[axis]:
            continue
        shares = _shares(before[axis], after[axis])[:, box[axis]]
        moved = np.moveaxis(result, axis, 0)
        flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        result = np.moveaxis((shares @ flat).reshape(after[axis], *moved.shape[1:]), 0, axis)
    return result


def _shares(before: int, after: int) -> Any:
    """Return the matrix of the share that each fine voxel has in each coarse one."""
    step = before / after
    edges = np.arange(after + 1) * step
    rows, columns, values = [], [], []
    for coarse in range(after):
        first, last = int(edges[coarse] + 1e-9), int(np.ceil(edges[coarse + 1] - 1e-9))
        for fine in range(first, min(last, before)):
            inside = min(fine + 1.0, edges[coarse + 1]) - max(float(fine), edges[coarse])
            rows.append(coarse)
            columns.append(fine)
            values.append(inside / step)
    return sparse.csr_matrix(
        (np.array(values, dtype=np.float32), (rows, columns)), shape=(after, before)
    )


def area_labels(labels: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Give each voxel of a coarser grid the label that takes most of it.

    The background is a label too; at equal shares a foreground label wins, the lower one of
    several. A connected object (26 or 8 neighbours) that would lose all its voxels in this way
    keeps one: the coarse voxel that it takes most of. So no lesion vanishes, although a tiny one
    looks larger than it is, and several within one coarse voxel look like one.

    Parameters
    ----------
    labels : ndarray of unsigned integer
    shape : sequence of int

    Returns
    -------
    ndarray of the same type
    """
    shape = tuple(shape)
    if shape == labels.shape:
        return labels.copy()
    result = np.zeros(shape, labels.dtype)
    taken = np.zeros(shape, dtype=np.float32)  # share of the label that the voxel has now
    foreground = np.zeros(shape, dtype=np.float32)
    boxes = {n: box for n, box in enumerate(ndimage.find_objects(labels), 1) if box is not None}
    masks = {value: labels[box] == value for value, box in boxes.items()}
    for value, mask in masks.items():
        share = _mean(mask, boxes[value], labels.shape, shape)
        foreground += share
        better = share > taken + _EQUAL
        result[better], taken[better] = value, share[better]
    result[1.0 - foreground > taken + _EQUAL] = 0
    lost = [
        (size, value, place)
        for value, mask in masks.items()
        for size, place in _lost(mask, boxes[value], labels.shape, result == value)
    ]
    for _, value, place in sorted(lost):  # where two meet, the larger one stays
        result.flat[place] = value
    return result


def _lost(
    mask: NDArray[np.bool_],
    box: tuple[slice, ...],
    before: tuple[int, ...],
    kept: NDArray[np.bool_],
) -> list[tuple[int, int]]:
    """Return size, and flat index of its main coarse voxel, of each object that has none."""
    objects = cc3d.connected_components(mask, connectivity=26 if mask.ndim == 3 else 8)
    coarse = [
        ((np.arange(part.start, part.stop) + 0.5) * m / n).astype(np.intp)
        for part, n, m in zip(box, before, kept.shape, strict=True)
    ]
    found = []
    for number, inner in enumerate(ndimage.find_objects(objects), 1):
        where = np.nonzero(objects[inner] == number)
        at = [places[w + part.start] for places, w, part in zip(coarse, where, inner, strict=True)]
        flat, counts = np.unique(np.ravel_multi_index(at, kept.shape), return_counts=True)
        if not kept.flat[flat].any():
            found.append((int(counts.sum()), int(flat[np.argmax(counts)])))
    return found
