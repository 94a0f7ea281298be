"""Slices of volumes: choosing some at random, stacking them, and covering all of them.

A position along the slice axis is a number of slices; one between two slices stands for their
linear interpolation (of labels: for the nearer one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.float64]


def foreground_slices(labels: NDArray[Any], slice_axis: int) -> NDArray[np.intp]:
    """Return the indices of the slices that hold any label other than 0, ascending."""
    within = tuple(axis for axis in range(labels.ndim) if axis != slice_axis)
    return np.flatnonzero(labels.any(axis=within))


def choose_slices(
    rng: np.random.Generator, available: Positions, number: int, background: Positions, share: float
) -> Positions:
    """Draw slices at random and return their positions in ascending order.

    Parameters
    ----------
    rng : numpy.random.Generator
    available : ndarray
        Positions to choose from; each is chosen once, if there are enough of them.
    number : int
    background : ndarray
        Positions to choose the given share of the slices from.
    share : float
    """
    others = min(round(share * number), number) if len(background) else 0
    if not len(available):
        others = number
    parts = [_draw(rng, available, number - others), _draw(rng, background, others)]
    return np.sort(np.concatenate(parts))


def _draw(rng: np.random.Generator, positions: Positions, number: int) -> Positions:
    """Draw without repetition; only what goes beyond all positions is drawn again."""
    if not number:
        return np.empty(0)
    whole, rest = divmod(number, len(positions))
    drawn = rng.choice(positions, rest, replace=False)
    return np.concatenate([np.repeat(positions, whole), drawn]).astype(np.float64)


def take_slices(array: Any, slice_axis: int, positions: Positions, blend: bool) -> NDArray[Any]:
    """Return slices of a volume as a stack whose last spatial axis is across them.

    Parameters
    ----------
    array : array_like
        ``(x, y, z)`` or ``(x, y, z, c)``, or an array on disk that is sliced like one; only
        the slices asked for are read.
    slice_axis : int
        0, 1 or 2.
    positions : ndarray
    blend : bool
        Interpolate linearly between two slices, as float32; otherwise take the nearer one, of
        two equally near ones the lower.

    Returns
    -------
    ndarray
        ``(…, n)`` or ``(…, n, c)``: the two other axes in their order, then the slices.
    """

    def slice_at(index: int) -> NDArray[Any]:
        box = (slice(None),) * slice_axis + (int(index),)
        return np.asarray(array[box])

    stack = []
    for position in positions:
        below = int(np.floor(position))
        weight = np.float32(position - below)
        if not blend:
            stack.append(slice_at(below if weight <= 0.5 else below + 1))
        elif weight == 0:
            stack.append(slice_at(below).astype(np.float32, copy=False))
        else:
            lower, upper = slice_at(below), slice_at(below + 1)
            stack.append(lower + weight * (upper.astype(np.float32) - lower))
    return np.stack(stack, axis=2)


def slice_groups(n_slices: int, size: int) -> list[NDArray[np.intp]]:
    """Divide all slices of a volume into stacks of equal size, each spread over the volume.

    Stack ``k`` holds every g-th slice from ``k`` on, as random slices of a training stack are
    spread; in the last stacks the last slice is repeated to fill them.

    Returns
    -------
    list of ndarray
        Ascending indices; every slice occurs in at least one stack.
    """
    groups = -(-n_slices // size)
    steps = groups * np.arange(size)
    return [np.minimum(k + steps, n_slices - 1) for k in range(groups)]


def plane_axes(ndim: int, slice_axis: int) -> Sequence[int]:
    """Return the axes within the slices."""
    return [axis for axis in range(ndim) if axis != slice_axis]
