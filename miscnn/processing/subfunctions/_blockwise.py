"""Working through images that are larger than the memory they may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn._scratch import BLOCK, boxes_of, release
from miscnn.data_loading.sample import Sample

Box = tuple[slice, ...]

# Bytes of the planes that are brought together at once.
_SLAB = 32 << 20


def spatial_boxes(image: NDArray[Any], limit: int = BLOCK) -> Iterator[Box]:
    """Yield boxes that cover the spatial axes of an image ``(…, c)``, all channels together."""
    return boxes_of(image[..., 0], limit=max(1, limit // image.shape[-1]))


def empty_like(
    sample: Sample, image: NDArray[Any], shape: Sequence[int], dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Return an array whose values are not set, its axes in memory as those of an image.

    Without a scratch: in the order of the axes.
    """
    if sample.scratch is None:
        return np.empty(tuple(shape), dtype)
    order = sorted(range(len(shape)), key=lambda k: abs(image.strides[k]), reverse=True)
    array = sample.empty([shape[k] for k in order], dtype)
    return array.transpose(np.argsort(order))


def as_float(sample: Sample) -> NDArray[Any]:
    """Return the image of a sample as float32.

    With a scratch, an image of a smaller type stays as it is stored: its values become float32
    where a part of them is looked at.
    """
    image = sample.image
    if sample.scratch is None:
        return image.astype(np.float32, copy=False)
    if np.can_cast(image.dtype, np.float32, "safe"):
        return image
    return float_copy(sample)


def float_copy(sample: Sample) -> NDArray[np.float32]:
    """Return the image of a sample as float32, in a scratch file if it is large."""
    if sample.image.dtype == np.float32:
        return sample.image
    return transformed(sample, lambda part: part)


def own_copy(sample: Sample) -> NDArray[Any]:
    """Return the image of a sample as it is stored in an array that may be written to."""
    image = sample.image
    if sample.scratch is None:
        return image.copy(order="K")
    result = empty_like(sample, image, image.shape, image.dtype)
    for box in boxes_of(image):
        result[box] = image[box]
        release(image[box])
        release(result[box])
    return result


def transformed(
    sample: Sample, function: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.float32]:
    """Return what a function of each voxel by itself makes of the image, as float32."""
    if sample.scratch is None:
        return function(sample.image)
    image = sample.image
    result = empty_like(sample, image, image.shape)
    for box in spatial_boxes(image):
        result[box] = function(image[box])
        release(image[box])
        release(result[box])
    return result


def minimum(image: NDArray[Any]) -> NDArray[Any]:
    """Return the minimum of each channel of an image ``(…, c)``; NaN if it holds one."""
    axes = tuple(range(image.ndim - 1))
    found: NDArray[Any] | None = None
    for box in spatial_boxes(image):
        of_part = image[box].min(axis=axes)
        found = of_part if found is None else np.minimum(found, of_part)
        release(image[box])
    assert found is not None  # an image has voxels
    return found


def value_range(channel: NDArray[Any]) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest value of an array; NaN does not count."""
    low, high = np.float32(np.nan), np.float32(np.nan)
    for box in boxes_of(channel):
        part = channel[box]
        low = np.fmin(low, np.float32(np.fmin.reduce(part, axis=None)))
        high = np.fmax(high, np.float32(np.fmax.reduce(part, axis=None)))
        release(part)
    return low, high


def foreground_box(image: NDArray[Any], limits: NDArray[Any] | float) -> list[tuple[int, int]]:
    """Return first and last + 1 voxel above the limits per axis; everything if there is none."""
    shape = image.shape[:-1]
    seen = [np.zeros(n, dtype=bool) for n in shape]
    for box in spatial_boxes(image):
        mask = np.any(image[box] > limits, axis=-1)
        release(image[box])
        for axis, part in enumerate(box):
            others = tuple(k for k in range(mask.ndim) if k != axis)
            seen[axis][part] |= np.any(mask, axis=others)
    found = []
    for where, size in zip(map(np.flatnonzero, seen), shape, strict=True):
        found.append((int(where[0]), int(where[-1]) + 1) if len(where) else (0, size))
    return found


def plane_slabs(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the planes of the first axis, several at a time.

    Where they are spread all over the memory (the first axis of a NIfTI file), they are brought
    together.
    """
    planes = max(1, _SLAB // max(image[0].nbytes, 1))
    apart = abs(image.strides[0]) < max(map(abs, image.strides[1:]))
    for first in range(0, len(image), planes):
        part = image[first : first + planes]
        if not apart:
            yield part
            release(part)
            continue
        slab = np.empty(part.shape, image.dtype)
        for box in boxes_of(image):
            across = (slice(None), *box[1:])
            slab[across] = part[across]
            release(image[box])
        yield slab
