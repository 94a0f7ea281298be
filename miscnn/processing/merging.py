"""Merging what a network made of overlapping windows."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.blocks import Block
from miscnn.processing.patches import WindowGrid

WindowWeight = Literal["gaussian", "constant"]

# Width of the Gaussian window weight as a share of the window (nnU-Net's choice).
_GAUSSIAN_SIGMA = 1.0 / 8.0

# Bytes of a window that are weighted at a time: they stay in the cache of one core, and NumPy is
# busy long enough for threads not to wait for each other.
_TILE = 2**20

# More threads would only wait for the memory.
_MOST_THREADS = 4

# A layer of windows that were larger in float32 is summed up in 16 bits.
_LARGE_LAYER = 2**30

# The unit of sums in 16 bits is 1 / 65000; up to 65535 there is room for roundings.
_UNITS = 65000

# More windows over one voxel than that are summed up in float64, or not in 16 bits.
_MANY_WINDOWS = 64
_MOST_WINDOWS = 900


def axis_weight(window: int, kind: WindowWeight) -> NDArray[np.float64]:
    """Return the weight of each voxel of a window along one axis; all are positive."""
    if kind == "constant":
        return np.ones(window)
    if kind != "gaussian":
        raise ConfigurationError(f"window weight {kind!r} is unknown; use 'gaussian' or 'constant'")
    position = np.arange(window) - (window - 1) / 2.0
    return np.asarray(np.exp(-0.5 * (position / (window * _GAUSSIAN_SIGMA)) ** 2))


class WindowMerger:
    """The weighted mean of overlapping windows, handed out as soon as it is final.

    The borders of all windows cut each axis into stretches, and the image into boxes, the
    cells. A cell lies in a window or outside of it, never across its border. It is made when
    its first window comes, and handed out with its last one. With the order of
    :meth:`WindowGrid.along`, no more is held at any time than what two layers of windows share,
    and one strip of windows across it.

    Windows are all combinations of the starts of each axis and their weight is a product
    over the axes, so that the sum of weights at a voxel is a product of sums along the axes.
    The weights are therefore normalised along each axis beforehand: no matter how many
    windows overlap, they sum to one, and what is handed out needs no division.

    A sum is made in the order in which its windows come. Orders that have the same order at every
    cell, and any number of threads, give bit-equal results; others differ by rounding.

    Parameters
    ----------
    grid : WindowGrid
    channels : int
        Number of channels (classes) that the windows carry.
    weight : {"gaussian", "constant"}
        Gaussian: standard deviation of one eighth of the window, as in nnU-Net.
    dtype : dtype, optional
        Of the sums: a floating-point type or uint16; see :func:`sum_dtype` for the default.
    threads : int, optional
        Number of threads that add a window. Default: one for each processor that this
        process may use, 4 at most.
    """

    def __init__(
        self,
        grid: WindowGrid,
        channels: int,
        weight: WindowWeight = "gaussian",
        dtype: DTypeLike | None = None,
        threads: int | None = None,
    ) -> None:
        if len(grid.shape) > 3:
            raise ConfigurationError(
                f"windows of {len(grid.shape)} axes cannot be merged; 3 are the most"
            )
        self.grid = grid
        self.channels = channels
        self.dtype = sum_dtype(grid, channels) if dtype is None else np.dtype(dtype)
        self._units = _UNITS if self.dtype == np.uint16 else 1
        self.threads = _usable_processors() if threads is None else threads
        width, depth = (1, 1, *grid.window)[-2:]
        rows = max(1, _TILE // (4 * depth * channels))
        most = (max(1, rows // width), rows, 1)[-len(grid.window) :]
        axes = zip(grid.origin, grid.shape, grid.window, grid.axis_starts, most, strict=True)
        self._axes = [_axis_parts(a, n, axis_weight(w, weight), s, m) for a, n, w, s, m in axes]
        self._room = rows * depth * channels
        self._cells: dict[tuple[int, ...], _Cell] = {}
        self._missing = set(grid)
        # Where threads weight their tiles; new memory each time would cost more than the work.
        self._rooms: list[NDArray[np.float32]] = []

    @property
    def missing(self) -> int:
        """Number of windows that were not added yet."""
        return len(self._missing)

    @property
    def held(self) -> int:
        """Number of voxels whose sums are held at the moment."""
        return sum(cell.sums.size for cell in self._cells.values()) // self.channels

    def add(self, start: Sequence[int], values: NDArray[Any]) -> list[Block]:
        """Add a window.

        Parameters
        ----------
        start : sequence of int
            Where it begins: one of the starts of the grid.
        values : ndarray
            ``(*window, channels)`` of a floating-point type; not kept.

        Returns
        -------
        list of Block
            The cells that are final now, in float32. All blocks of all windows cover the
            box of the grid once.

        Raises
        ------
        ConfigurationError
            If the grid has no such window, it was added before, or has another shape; or if
            it is to be summed up in 16 bits and holds no probabilities.
        """
        start = tuple(int(s) for s in start)
        expected = (*self.grid.window, self.channels)
        if values.shape != expected:
            raise ConfigurationError(
                f"a window has shape {values.shape}, expected {expected} (window, channels)"
            )
        if start not in self._missing:
            raise ConfigurationError(
                f"the window at {start} is none of the grid, or was added before"
            )
        self._missing.remove(start)
        parts = [axis[s] for axis, s in zip(self._axes, start, strict=True)]
        keys = list(itertools.product(*([s.first for s in part.stretches] for part in parts)))
        for key, stretches in zip(
            keys, itertools.product(*(part.stretches for part in parts)), strict=True
        ):
            if key not in self._cells:
                self._cells[key] = self._new_cell(stretches)
        self._add_up(values, parts, keys)
        final = []
        for key in keys:
            cell = self._cells[key]
            cell.awaited -= 1
            cell.is_empty = False
            if not cell.awaited:
                done = self._cells.pop(key).sums.astype(np.float32, copy=False)
                if self._units > 1:
                    done /= self._units
                final.append(Block(key, done.reshape(*cell.extent, self.channels)))
        return final

    def _new_cell(self, stretches: Sequence[_Stretch]) -> _Cell:
        extent = tuple(s.inside.stop - s.inside.start for s in stretches)
        rows = (1, 1, 1, *extent)[-3:]
        sums = np.empty((*rows[:2], rows[2] * self.channels), dtype=self.dtype)
        return _Cell(extent, sums, math.prod(s.windows for s in stretches))

    def _add_up(
        self, values: NDArray[Any], parts: Sequence[_AxisPart], keys: list[tuple[int, ...]]
    ) -> None:
        """Add a window to its cells, tile by tile."""
        x, y, z = [_WHOLE] * (3 - len(parts)) + list(parts)
        c = self.channels
        # The last axis and the channels are one contiguous axis, over which NumPy is fast.
        window = (1, 1, 1, *self.grid.window)[-3:]
        rows = np.ascontiguousarray(values).reshape(*window[:2], window[2] * c)
        rows = rows[x.covered, y.covered, z.covered.start * c : z.covered.stop * c]
        columns = [slice(s.inside.start * c, s.inside.stop * c) for s in z.stretches]
        weights = (self._units * x.weights[:, np.newaxis, np.newaxis]).astype(np.float32)
        plane = np.multiply.outer(y.weights, np.repeat(z.weights, c)).astype(np.float32)
        found = iter([self._cells[key] for key in keys])
        cells = [[[next(found) for _ in z.stretches] for _ in y.stretches] for _ in x.stretches]
        length = plane.shape[1]

        def work(tiles: Sequence[tuple[_Chunk, _Chunk]], room: NDArray[np.float32]) -> None:
            for over_x, over_y in tiles:
                extent = over_x.length, over_y.length, length
                tile = room[: math.prod(extent)].reshape(extent)
                given = rows[over_x.rows, over_y.rows]
                np.multiply(given, plane[over_y.rows], out=tile)
                np.multiply(tile, weights[over_x.rows], out=tile)
                if self._units > 1:
                    _check_probabilities(given)
                    np.rint(tile, out=tile)
                    tile = tile.astype(np.uint16)
                for (i, x_from, x_to), (j, y_from, y_to) in itertools.product(
                    over_x.pieces, over_y.pieces
                ):
                    for cell, column in zip(cells[i][j], columns, strict=True):
                        sums, part = cell.sums[x_to, y_to], tile[x_from, y_from, column]
                        if cell.is_empty:
                            sums[...] = part
                        else:
                            np.add(sums, part, out=sums, casting="same_kind")

        tiles = list(itertools.product(x.chunks, y.chunks))
        shares = [tiles[n :: self.threads] for n in range(min(self.threads, len(tiles)))]
        while len(self._rooms) < len(shares):
            self._rooms.append(np.empty(self._room, np.float32))
        others = [
            self._executor.submit(work, share, room)
            for share, room in zip(shares[1:], self._rooms[1:], strict=False)
        ]
        work(shares[0], self._rooms[0])
        for other in others:
            other.result()

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads - 1, "miscnn-merging")


def sum_dtype(grid: WindowGrid, channels: int) -> np.dtype[Any]:
    """Return the type in which windows are summed up.

    float32; but uint16, as fixed-point numbers, if one layer of windows, along whatever axis it
    is the largest, took more than 1 GiB in float32; and float64 if more than 64 windows lie
    over one voxel, so that roundings stay below 1e-6. The rule asks for nothing else, so that
    results are the same on any machine. In 16 bits each window over a voxel adds a rounding of
    at most 2^-17 to a probability: 6e-5 for the 8 of half an overlap in 3D. (float16 would round
    by 2^-12, and a processor is several times slower with it.)
    """
    windows = math.prod(
        max(sum(s <= at < s + w for s in starts) for at in starts)
        for starts, w in zip(grid.axis_starts, grid.window, strict=True)
    )
    axes = list(zip(grid.shape, grid.window, strict=True))
    layer = max(min(w, n) * (math.prod(grid.shape) // n) for n, w in axes)
    if 4 * layer * channels > _LARGE_LAYER:
        # Roundings of more windows might add up to more than 16 bits hold.
        return np.dtype(np.uint16 if windows <= _MOST_WINDOWS else np.float32)
    return np.dtype(np.float64 if windows > _MANY_WINDOWS else np.float32)


def _check_probabilities(values: NDArray[Any]) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1.001):  # NaN neither
        raise ConfigurationError(
            f"the network returned values of {low:.4g} … {high:.4g}, but on images as large as "
            "this one only probabilities (0 … 1) can be merged. End the network with a softmax "
            "or a sigmoid, or predict parts of the image (roi)"
        )


@dataclass
class _Cell:
    """The sums of a box ``(x, y, z · channels)`` and how many windows are still awaited."""

    extent: tuple[int, ...]
    sums: NDArray[Any]
    awaited: int
    is_empty: bool = True


@dataclass(frozen=True)
class _Stretch:
    """A range of an axis without a window's border in it: one side of a cell."""

    first: int  # voxel of the image
    inside: slice  # of the part of the window that covers the box
    windows: int  # how many windows of the axis cover it


@dataclass(frozen=True)
class _Chunk:
    """Rows of a window along one axis that are weighted at a time."""

    rows: slice  # of the part of the window that covers the box
    length: int
    # Per stretch that it meets: its number, the rows in the chunk, and in the cell.
    pieces: tuple[tuple[int, slice, slice], ...]


@dataclass(frozen=True)
class _AxisPart:
    """What a window covers of the box along one axis."""

    covered: slice  # of the window
    weights: NDArray[np.float64]
    stretches: tuple[_Stretch, ...]
    chunks: tuple[_Chunk, ...]


# Along the axes that images of fewer than three axes lack.
_WHOLE = _AxisPart(
    slice(0, 1),
    np.ones(1),
    (_Stretch(0, slice(0, 1), 1),),
    (_Chunk(slice(0, 1), 1, ((0, slice(0, 1), slice(0, 1)),)),),
)


def _axis_parts(
    origin: int, length: int, weight: NDArray[np.float64], starts: Sequence[int], most: int
) -> dict[int, _AxisPart]:
    """Per start along an axis: what its window covers, with weights that sum to one."""
    low, high = origin, origin + length
    ranges = {s: (max(s, low), min(s + len(weight), high)) for s in starts}
    borders = sorted({border for both in ranges.values() for border in both})
    total = np.zeros(length)
    for s, (a, b) in ranges.items():
        total[a - low : b - low] += weight[a - s : b - s]
    parts = {}
    for s, (a, b) in ranges.items():
        own = itertools.pairwise(border for border in borders if a <= border <= b)
        stretches = tuple(
            _Stretch(
                first,
                slice(first - a, last - a),
                sum(begin <= first and last <= end for begin, end in ranges.values()),
            )
            for first, last in own
        )
        share = weight[a - s : b - s] / total[a - low : b - low]
        parts[s] = _AxisPart(
            slice(a - s, b - s), share, stretches, tuple(_chunks(b - a, most, stretches))
        )
    return parts


def _chunks(length: int, most: int, stretches: Sequence[_Stretch]) -> Iterator[_Chunk]:
    """Divide an axis of a window into chunks of about the same length."""
    count = -(-length // most)
    for n in range(count):
        start, stop = length * n // count, length * (n + 1) // count
        pieces = []
        for number, stretch in enumerate(stretches):
            low, high = max(start, stretch.inside.start), min(stop, stretch.inside.stop)
            if low < high:
                first = stretch.inside.start
                within = slice(low - start, high - start), slice(low - first, high - first)
                pieces.append((number, *within))
        yield _Chunk(slice(start, stop), stop - start, tuple(pieces))


def _usable_processors() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, _MOST_THREADS)
