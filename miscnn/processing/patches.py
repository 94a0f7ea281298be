"""Where windows lie on a grid, cutting them out, and merging what a network made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError

WindowWeight = Literal["gaussian", "constant"]

# Width of the Gaussian window weight as a share of the window (nnU-Net's choice).
_GAUSSIAN_SIGMA = 1.0 / 8.0


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
    """All windows that cover an image.

    Parameters
    ----------
    shape, window, overlap : tuple of int
        Spatial shape of the image, of a window, and the least overlap of neighbours.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    overlap: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.window) == len(self.overlap):
            raise ConfigurationError(
                f"image {self.shape}, window {self.window} and overlap {self.overlap} must have "
                "the same number of axes"
            )

    @cached_property
    def axis_starts(self) -> tuple[tuple[int, ...], ...]:
        """Where windows begin, per axis."""
        axes = zip(self.shape, self.window, self.overlap, strict=True)
        return tuple(window_starts(n, w, o) for n, w, o in axes)

    def __len__(self) -> int:
        return math.prod(len(starts) for starts in self.axis_starts)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*self.axis_starts)

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


def axis_weight(window: int, kind: WindowWeight) -> NDArray[np.float64]:
    """Return the weight of each voxel of a window along one axis; all are positive."""
    if kind == "constant":
        return np.ones(window)
    if kind != "gaussian":
        raise ConfigurationError(f"window weight {kind!r} is unknown; use 'gaussian' or 'constant'")
    position = np.arange(window) - (window - 1) / 2.0
    return np.asarray(np.exp(-0.5 * (position / (window * _GAUSSIAN_SIGMA)) ** 2))


class WindowMerger:
    """The weighted mean of overlapping windows.

    Windows are all combinations of the starts of each axis and their weight is a product
    over the axes, so that the sum of weights at a voxel is a product of sums along the axes.
    The weights are therefore normalised along each axis beforehand, and merging is one
    multiplication and one addition; no matter how many windows overlap, weights sum to one.

    Parameters
    ----------
    grid : WindowGrid
    channels : int
        Number of channels (classes) that the windows carry.
    weight : {"gaussian", "constant"}
        Gaussian: standard deviation of one eighth of the window, as in nnU-Net.
    """

    def __init__(self, grid: WindowGrid, channels: int, weight: WindowWeight = "gaussian") -> None:
        self.grid = grid
        self._sum = np.zeros((*grid.shape, channels), dtype=np.float32)
        self._weights = [
            _normalised_weights(n, starts, axis_weight(window, weight))
            for n, starts, window in zip(grid.shape, grid.axis_starts, grid.window, strict=True)
        ]

    def add(self, start: Sequence[int], values: NDArray[Any]) -> None:
        """Add the values ``(*window, channels)`` of the window that begins at ``start``."""
        inside, weights = [], []
        part = values
        for axis, begin in enumerate(start):
            low, high, vector = self._weights[axis][begin]
            inside.append(slice(low, high))
            weights.append(vector)
            part = part[(slice(None),) * axis + (slice(low - begin, high - begin),)]
        # The last axis and the channels are one contiguous axis, over which NumPy is fast.
        channels = self._sum.shape[-1]
        flat = self._sum.reshape(*self._sum.shape[:-2], -1)
        last = inside[-1]
        box = (*inside[:-1], slice(last.start * channels, last.stop * channels))
        weighted = np.asarray(part, dtype=np.float32).reshape(*part.shape[:-2], -1)
        weighted = weighted * np.repeat(weights[-1], channels).astype(np.float32)
        n = len(weights)
        outer: Any = np.ones(1)
        for axis, vector in enumerate(weights[:-1]):
            outer = outer * vector.reshape(-1, *(1,) * (n - 1 - axis))
        weighted *= outer.astype(np.float32)
        flat[box] += weighted

    def result(self) -> NDArray[np.float32]:
        """Return the merged image ``(*shape, channels)``; right once every window was added."""
        return self._sum


def _normalised_weights(
    length: int, starts: Sequence[int], weight: NDArray[np.float64]
) -> dict[int, tuple[int, int, NDArray[np.float64]]]:
    """Per start: the range of the axis that its window covers, and the weights on it."""
    total = np.zeros(length)
    ranges = {s: (max(s, 0), min(s + len(weight), length)) for s in starts}
    for start, (low, high) in ranges.items():
        total[low:high] += weight[low - start : high - start]
    return {
        start: (low, high, weight[low - start : high - start] / total[low:high])
        for start, (low, high) in ranges.items()
    }


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
