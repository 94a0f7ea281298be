"""Slices of volumes: choosing some at random, stacking them, and covering all of them.

A position along the slice axis is a number of slices; one between two slices stands for their
linear interpolation (of labels: for the nearer one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError

Positions = NDArray[np.float64]
Indices = NDArray[np.intp]


def foreground_slices(
    labels: NDArray[Any], slice_axis: int, ignore_label: int | None = None
) -> NDArray[np.intp]:
    """Return the indices of the slices that hold any class other than 0, ascending.

    Voxels of ``ignore_label`` are none.
    """
    within = tuple(axis for axis in range(labels.ndim) if axis != slice_axis)
    if ignore_label is not None:
        labels = (labels != 0) & (labels != ignore_label)
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
        What is not a whole number of slices is rounded up or down at random.
    """
    others = min(int(share * number + rng.random()), number) if len(background) else 0
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


def take_slices(
    array: Any, slice_axis: int, positions: Positions | Indices, blend: bool
) -> NDArray[Any]:
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


def slice_groups(n_slices: int, size: int, gap: int = 1) -> list[NDArray[np.intp]]:
    """Divide all slices of a volume into stacks whose slices lie ``gap`` apart.

    A block of ``size · gap`` slices makes ``gap`` stacks; the last block ends with the volume
    and overlaps the one before. In a shorter volume the slices lie closer; one with fewer
    slices than a stack repeats some, evenly.

    Parameters
    ----------
    n_slices : int
        Slices of the volume.
    size : int
        Slices in a stack.
    gap : int
        Distance of neighbours in a stack, in slices.

    Returns
    -------
    list of ndarray
        Ascending indices; every slice occurs in at least one stack.
    """
    if n_slices <= size:
        return [np.floor(np.linspace(0, n_slices, size, endpoint=False)).astype(np.intp)]
    gap = max(1, min(gap, n_slices // size))
    block = size * gap
    starts = [*range(0, n_slices - block, block), n_slices - block]
    within = gap * np.arange(size)
    return [start + offset + within for start in starts for offset in range(gap)]


def mean_gap(
    labels: NDArray[Any], slice_axis: int, size: int, ignore_label: int | None = None
) -> float:
    """Return how far apart random foreground slices of a volume lie on average, in slices."""
    foreground = foreground_slices(labels, slice_axis, ignore_label)
    if not len(foreground):
        return 1.0
    # The expected range of n of N numbers drawn without repetition is (N + 1)(n - 1)/(n + 1).
    extent = foreground[-1] - foreground[0] + 1
    return float(max(1.0, (extent + 1) / (size + 1)))


def plane_axes(ndim: int, slice_axis: int) -> Sequence[int]:
    """Return the axes within the slices."""
    return [axis for axis in range(ndim) if axis != slice_axis]


def check_slices(
    analysis: str, slices_per_volume: int | None, patch_shape: Sequence[int] | None
) -> None:
    """Raise ConfigurationError if slices are asked for where there are none."""
    if analysis == "slice-stack" and patch_shape is not None:
        raise ConfigurationError(
            f'analysis="slice-stack" takes whole slices, got patch_shape={tuple(patch_shape)}; '
            "leave it out and make the slices smaller with Resize((128, 128))"
        )
    if slices_per_volume is None:
        return
    if analysis not in ("slicewise", "slice-stack"):
        raise ConfigurationError(
            f'slices_per_volume is for analysis="slicewise" or "slice-stack", not "{analysis}"'
        )
    if slices_per_volume < 1:
        raise ConfigurationError(f"slices_per_volume must be at least 1, got {slices_per_volume}")
