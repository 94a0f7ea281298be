"""Slice skipping, slice interpolation and rotation within the slices, as one map.

Positions are voxel indices. The map is separable: across the slices every voxel of the output
looks at the same one or two slices, and within them at the same four pixels in every slice. So
the coordinates of one slice are enough: the pixels' weights are the rows of a sparse matrix, and
one product with it turns all slices. That is the same linear interpolation that
``scipy.ndimage.affine_transform`` makes from three coordinates of every voxel, in less time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from miscnn.processing.augmentation._spatial import reach, rotation_matrix

Array = NDArray[Any]
Index = NDArray[np.intp]

# Voxels written at once.
_BLOCK = 32768


@dataclass(frozen=True)
class Stack:
    """Which slices of the input the slices of the output show.

    Attributes
    ----------
    lower, upper : ndarray
        The two neighbours, counted from the patch's first slice; negative in front of it.
    weight : ndarray
        Weight of the upper one, float32.
    nearest : ndarray
        The one that labels are taken from.
    """

    lower: Index
    upper: Index
    weight: NDArray[np.float32]
    nearest: Index

    @property
    def used(self) -> Index:
        """The slices that are looked at, ascending."""
        return np.unique(np.concatenate([self.lower, self.upper[self.weight > 0]]))

    def within(self, start: int, size: int) -> Stack:
        """Count from the input's first slice; what lies outside is the slice at the border."""
        lower, upper, nearest = (
            np.clip(part + start, 0, size - 1) for part in (self.lower, self.upper, self.nearest)
        )
        return Stack(lower, upper, self.weight, nearest)


def stack_of(size: int, skip: int = 1, interpolate: int = 1) -> Stack:
    """Return the slices of a patch of ``size`` slices.

    Every ``skip``-th slice is kept, the middle one, ``m = size // 2``, among them: slice ``j`` of
    those kept is slice ``m + skip · (j - m)`` of the input. Of these, each is then divided into
    ``interpolate`` thinner ones: slice ``o`` of the output shows position
    ``c + (o - c) / interpolate`` of those kept, with ``c = (size - 1) / 2``.

    Where a position would be midway between two slices (an even factor in a patch of odd size),
    all are moved on by half a thin slice: midway, image and label could not agree, and labels,
    always taken from the same side, would be half a slice off.
    """
    # Positions in units of 1 / (2 · interpolate) are whole numbers: none is off by rounding.
    units = 2 * interpolate
    midway = size % 2 == 1 and interpolate % 2 == 0
    position = (size - 1) * (interpolate - 1) + 2 * np.arange(size) + int(midway)
    below, rest = np.divmod(position, units)
    middle = size // 2
    lower = middle + skip * (below - middle)
    upper = lower + skip
    nearest = np.where(rest > interpolate, upper, lower)
    return Stack(lower, upper, (rest / units).astype(np.float32), nearest)


def stack_reach(size: int, skip: int = 1, interpolate: int = 1) -> int:
    """Return how many slices beyond the patch are looked at, at the farther end."""
    used = stack_of(size, skip, interpolate).used
    return int(max(0, -used[0], used[-1] - (size - 1)))


def plane_matrix(angle: float, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the matrix from the output's to the input's pixels of a rotation in mm.

    A positive angle, in degrees, turns objects from the first towards the second axis.
    """
    scale = np.asarray(spacing, dtype=float)
    return np.asarray(rotation_matrix([angle]).T * scale[np.newaxis, :] / scale[:, np.newaxis])


def plane_reach(
    plane_shape: Sequence[int], angle: float, spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Return how far beyond the patch's faces a rotation looks, in pixels."""
    return reach(plane_shape, plane_matrix(angle, spacing), np.zeros(2), np.zeros(2))


def farthest_reach(plane_shape: Sequence[int], angle: float) -> NDArray[np.float64]:
    """Return the farthest that any angle up to this one looks, with square pixels."""
    half = (np.asarray(plane_shape, dtype=float) - 1) / 2
    looks = []
    for along, across in (half, half[::-1]):
        # along · cos + across · sin grows up to the angle at which the corner lies on the axis
        turn = min(math.radians(angle), math.atan2(across, along))
        looks.append(along * math.cos(turn) + across * math.sin(turn) - along)
    return np.asarray(looks)


def warp(
    image: NDArray[np.float32],
    segmentation: Array,
    patch_shape: Sequence[int],
    rotation: Mapping[str, Any] | None,
    slices: Mapping[str, Any] | None,
) -> tuple[NDArray[np.float32], Array]:
    """Interpolate image (linearly) and labels (nearest) once, at the same positions.

    Parameters
    ----------
    image, segmentation : ndarray
        The patch with its margin, ``(…, c)`` and ``(…)``.
    patch_shape : sequence of int
        2 or 3 axes.
    rotation : mapping, optional
        ``angle`` in degrees, ``plane``: the two axes, ``spacing`` in mm along them.
    slices : mapping, optional
        ``axis`` across the slices, ``skip`` and ``interpolate``; see :func:`stack_of`.
    """
    if len(patch_shape) == 2:
        whole = (*patch_shape, 1)
        moved, mapped = warp(image[:, :, None], segmentation[:, :, None], whole, rotation, None)
        return moved[:, :, 0], mapped[:, :, 0]
    axis = int(slices["axis"]) if slices else 3 - sum(rotation["plane"] if rotation else (0, 1))
    image, segmentation = np.moveaxis(image, axis, 2), np.moveaxis(segmentation, axis, 2)
    shape = [n for a, n in enumerate(patch_shape) if a != axis] + [patch_shape[axis]]

    skip, interpolate = (slices["skip"], slices["interpolate"]) if slices else (1, 1)
    depth = segmentation.shape[2]
    stack = stack_of(shape[2], skip, interpolate).within((depth - shape[2]) // 2, depth)
    used, shown = stack.used, np.unique(stack.nearest)
    image, segmentation = _take(image, used), _take(segmentation, shown)
    if rotation:
        matrix = plane_matrix(float(rotation["angle"]), rotation["spacing"])
        coordinates = _coordinates(segmentation.shape, shape, matrix)
        image = _linear(image, coordinates).reshape(*shape[:2], *image.shape[2:])
        segmentation = _nearest(segmentation, coordinates, shape[:2])
    else:
        image, segmentation = _center(image, shape), _center(segmentation, shape)
    segmentation = _take(segmentation, np.searchsorted(shown, stack.nearest))
    image = _blend(image, stack, used, axis)
    return image, np.ascontiguousarray(np.moveaxis(segmentation, 2, axis))


def _take(array: Array, index: Index) -> Array:
    """Take slices, as a view where they lie at equal distances."""
    steps = np.diff(index)
    if len(index) and (len(index) == 1 or (steps[0] > 0 and np.all(steps == steps[0]))):
        step = int(steps[0]) if len(steps) else 1
        return array[:, :, int(index[0]) : int(index[-1]) + 1 : step]
    if _slice_by_slice(array):
        return np.moveaxis(np.moveaxis(array, 2, 0).take(index, axis=0), 0, 2)
    return array.take(index, axis=2)


def _slice_by_slice(array: Array) -> bool:
    """Tell whether slices lie one after the other in memory, not pixel by pixel."""
    return array.strides[2] > max(array.strides[:2])


def _center(array: Array, shape: Sequence[int]) -> Array:
    first, second = ((array.shape[axis] - shape[axis]) // 2 for axis in (0, 1))
    return array[first : first + shape[0], second : second + shape[1]]


def _coordinates(
    input_shape: Sequence[int], shape: Sequence[int], matrix: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return where the pixels of a slice look, for both axes; beyond the input its border."""
    half = (np.asarray(shape[:2], dtype=float) - 1) / 2
    row, column = np.ogrid[: shape[0], : shape[1]]
    row, column = row - half[0], column - half[1]
    found = []
    for axis in (0, 1):
        start = (input_shape[axis] - shape[axis]) // 2
        position = matrix[axis, 0] * row + matrix[axis, 1] * column + (start + half[axis])
        found.append(np.clip(position, 0, input_shape[axis] - 1).ravel())
    return found


def _linear(image: NDArray[np.float32], coordinates: Sequence[Array]) -> NDArray[np.float32]:
    """Return pixels × (slices · channels)."""
    size = image.shape[:2]
    lower, fraction = [], []
    for position, length in zip(coordinates, size, strict=True):
        below = np.minimum(position.astype(np.int32), max(length - 2, 0))
        lower.append(below)
        fraction.append((position - below).astype(np.float32))
    pixels = size[0] * size[1]
    steps = [size[1] if size[0] > 1 else 0, 1 if size[1] > 1 else 0]
    cell = lower[0] * np.int32(size[1]) + lower[1]
    weights = np.empty((len(cell), 4), dtype=np.float32)
    indices = np.empty((len(cell), 4), dtype=np.int32)
    for corner, (row, column) in enumerate(itertools.product((0, 1), repeat=2)):
        up = fraction[0] if row else 1 - fraction[0]
        np.multiply(up, fraction[1] if column else 1 - fraction[1], out=weights[:, corner])
        np.add(cell, row * steps[0] + column * steps[1], out=indices[:, corner])
    ends = np.arange(0, indices.size + 1, 4, dtype=np.int32)
    entries = (weights.ravel(), indices.ravel(), ends)
    matrix: Any = csr_array(entries, shape=(len(cell), pixels))
    turned: NDArray[np.float32] = matrix @ image.reshape(pixels, -1)
    return turned


def _nearest(labels: Array, coordinates: Sequence[Array], shape: Sequence[int]) -> Array:
    row, column = (np.floor(position + 0.5).astype(np.intp) for position in coordinates)
    pixels = row * labels.shape[1] + column
    found: Array
    if _slice_by_slice(labels):
        planes = np.moveaxis(labels, 2, 0).reshape(labels.shape[2], -1)
        found = planes.take(pixels, axis=1, mode="clip")
        return np.moveaxis(found.reshape(-1, *shape), 0, 2)
    found = labels.reshape(-1, labels.shape[2]).take(pixels, axis=0, mode="clip")
    return found.reshape(*shape, -1)


def _blend(image: NDArray[np.float32], stack: Stack, used: Index, axis: int) -> NDArray[np.float32]:
    """Make the slices of the output from those that were used; their axis becomes ``axis``."""
    rows, columns, _, channels = image.shape
    shape = [rows, columns, channels]
    shape.insert(axis, len(stack.lower))
    result = np.empty(shape, dtype=np.float32)
    target = np.moveaxis(result, axis, 2)
    lower = np.searchsorted(used, stack.lower)
    blends = bool(stack.weight.any())
    if not blends:
        image = _take(image, lower)
    # Where the weight is 0, the upper one was perhaps not read: any will do.
    upper = np.minimum(np.searchsorted(used, stack.upper), len(used) - 1)
    weight = stack.weight[:, np.newaxis, np.newaxis, np.newaxis]
    # A few rows at once: in the cache, axes are exchanged in half the time.
    step = max(1, _BLOCK // max(1, columns * len(lower) * channels))
    for first in range(0, rows, step):
        block, out = image[first : first + step], target[first : first + step]
        if not blends:
            out[...] = block
            continue
        planes = np.ascontiguousarray(np.moveaxis(block, 2, 0))
        below, blended = planes.take(lower, axis=0), planes.take(upper, axis=0)
        blended -= below
        blended *= weight
        blended += below
        out[...] = np.moveaxis(blended, 0, 2)
    return result
