"""Where windows lie on an image, and cutting them out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError


def window_starts(length: int, window: int, overlap: int) -> tuple[int, ...]:
    """Return where windows begin that cover an axis, spread evenly.

    Parameters
    ----------
    length, window : int
        Number of voxels of the axis and of the window.
    overlap : int
        Least number of voxels that neighbouring windows share; ``0 <= overlap < window``.

    Returns
    -------
    tuple of int
        The fewest windows that satisfy the overlap. The first begins at 0, the last ends at
        the end of the axis. An axis that is shorter than the window has one window that
        reaches beyond it on both sides: its start is negative or 0.
    """
    if not 0 <= overlap < window:
        raise ConfigurationError(
            f"the overlap must lie in 0 … {window - 1} for a window of {window} voxels, "
            f"got {overlap}"
        )
    if length <= window:
        return (-((window - length) // 2),)
    count = math.ceil((length - overlap) / (window - overlap))
    last = length - window
    return tuple(round(i * last / (count - 1)) for i in range(count))


@dataclass(frozen=True)
class WindowGrid:
    """All windows that cover an image, or a box of it.

    Parameters
    ----------
    shape, window, overlap : tuple of int
        Spatial shape of the box, of a window, and the least overlap of neighbours.
    origin : tuple of int, optional
        First voxel of the box in the image. Default: 0 on every axis. Starts of windows are
        voxels of the image.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    overlap: tuple[int, ...]
    origin: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", (0,) * len(self.shape))
        lengths = {len(given) for given in (self.shape, self.window, self.overlap, self.origin)}
        if len(lengths) > 1:
            raise ConfigurationError(
                f"image {self.shape}, window {self.window}, overlap {self.overlap} and origin "
                f"{self.origin} must have the same number of axes"
            )

    @cached_property
    def axis_starts(self) -> tuple[tuple[int, ...], ...]:
        """Where windows begin, per axis."""
        axes = zip(self.origin, self.shape, self.window, self.overlap, strict=True)
        return tuple(
            tuple(first + start for start in window_starts(length, window, overlap))
            for first, length, window, overlap in axes
        )

    def __len__(self) -> int:
        return math.prod(len(starts) for starts in self.axis_starts)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*self.axis_starts)

    def along(self, axis: int) -> Iterator[tuple[int, ...]]:
        """Iterate over the starts of all windows layer by layer along an axis.

        All windows of a layer have the same start on ``axis``; within a layer the order is that
        of ``__iter__``, which goes along axis 0.
        """
        axis = range(len(self.shape))[axis]  # -1 is the last one
        others = self.axis_starts[:axis] + self.axis_starts[axis + 1 :]
        for first, rest in itertools.product(self.axis_starts[axis], itertools.product(*others)):
            yield (*rest[:axis], first, *rest[axis:])

    def start(self, number: int) -> tuple[int, ...]:
        """Return where window ``number`` begins (in the order of iteration)."""
        position = np.unravel_index(number, tuple(len(s) for s in self.axis_starts))
        return tuple(s[int(i)] for s, i in zip(self.axis_starts, position, strict=True))


def cut(
    array: Any,
    start: Sequence[int],
    shape: Sequence[int],
    fill: float | NDArray[Any] = 0,
) -> NDArray[Any]:
    """Cut a box out of an array; what lies outside of the array is filled.

    Parameters
    ----------
    array : array_like
        NumPy array or anything sliced like one (a compressed array on disk); axes beyond
        ``len(start)`` are kept whole.
    start : sequence of int
        First voxel of the box per axis; may be negative.
    shape : sequence of int
        Shape of the box; may reach beyond the array.
    fill : float or ndarray
        Value outside of the array, or one value per channel.

    Returns
    -------
    ndarray
        A new array of shape ``(*shape, ...)`` and the array's type.
    """
    n = len(start)
    inside, target = [], []
    for begin, extent, size in zip(start, shape, array.shape[:n], strict=True):
        low, high = max(begin, 0), min(begin + extent, size)
        if low >= high:
            raise ConfigurationError(
                f"the box from {tuple(start)} of shape {tuple(shape)} misses the array of shape "
                f"{tuple(array.shape[:n])}"
            )
        inside.append(slice(low, high))
        target.append(slice(low - begin, high - begin))
    part = np.asarray(array[tuple(inside)])
    if part.shape[:n] == tuple(shape):
        return part.copy() if part.base is not None else part
    box = np.empty((*shape, *array.shape[n:]), dtype=part.dtype)
    box[...] = fill
    box[tuple(target)] = part
    return box


def round_up(shape: Sequence[int], multiple: Sequence[int]) -> tuple[int, ...]:
    """Round each axis up to a multiple."""
    return tuple(-(-n // m) * m for n, m in zip(shape, multiple, strict=True))


def draw_start(
    rng: np.random.Generator,
    shape: Sequence[int],
    window: Sequence[int],
    focus: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Draw where a window begins.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape, window : sequence of int
        Spatial shapes of image and window. An axis shorter than the window is centred.
    focus : sequence of int, optional
        A voxel that the window must contain; all windows inside of the image that do are
        equally likely.
    """
    start = []
    for axis, (size, extent) in enumerate(zip(shape, window, strict=True)):
        if size <= extent:
            start.append(-((extent - size) // 2))
            continue
        low, high = 0, size - extent
        if focus is not None:
            low, high = max(low, focus[axis] - extent + 1), min(high, focus[axis])
        start.append(int(rng.integers(low, high + 1)))
    return tuple(start)
