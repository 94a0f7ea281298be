"""Boxes that hold what a mask or a label map holds, in little more than the time to read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, ...]

# Up to so many labels are looked for one by one, each in vector instructions.
_FEW = 4

# All boxes at once take a list as long as the largest label.
_LARGEST = 1 << 16


def extent(array: NDArray[Any]) -> Box | None:
    """Return the box of the elements above 0 of a mask or a label map; None if there are none.

    Maxima over whole planes, along the memory, which the processor takes many at a time.
    """
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        turned = extent(array.T)
        return None if turned is None else turned[::-1]
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if not array.size:
        return None
    shadow = array.max(axis=0)
    if not shadow.max():
        return None
    rest: Box = ()
    for axis in range(shadow.ndim):
        others = tuple(a for a in range(shadow.ndim) if a != axis)
        rest = (*rest, _span(shadow.max(axis=others)))
    return (_span(np.array([part.max() for part in array[(slice(None), *rest)]])), *rest)


def boxes_of_labels(arrays: Sequence[NDArray[Any]], groups: Iterable[Sequence[int]]) -> list[Box]:
    """Return for each group of labels from 1 on the box that holds it in all of the arrays."""
    groups = list(groups)
    ndim = arrays[0].ndim
    labels = sorted({label for group in groups for label in group})
    if len(labels) <= _FEW or labels[-1] > _LARGEST:
        found = {label: [extent(array == label) for array in arrays] for label in labels}
    else:
        boxes = [ndimage.find_objects(array, max_label=labels[-1]) for array in arrays]
        found = {label: [each[label - 1] for each in boxes] for label in labels}
    return [joint_box((box for label in group for box in found[label]), ndim) for group in groups]


def joint_box(boxes: Iterable[Box | None], ndim: int) -> Box:
    """Return the box that holds all others; an empty one if there are none."""
    found = [box for box in boxes if box is not None]
    if not found:
        return (slice(0, 0),) * ndim
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*found, strict=True)
    )


def _span(line: NDArray[Any]) -> slice:
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1)
