"""Merging what a network made of overlapping windows."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing._axis_cells import LACKING, AxisPart, Chunk, Piece, axis_cells, most_windows
from miscnn.processing._buffers import Buffers
from miscnn.processing.blocks import Block
from miscnn.processing.patches import WindowGrid

WindowWeight = Literal["gaussian", "constant"]

# Bytes of a window that are weighted at a time: they stay in the cache of one core, and NumPy is
# busy long enough for threads not to wait for each other.
_TILE = 2**20

# Windows of fewer bytes (in float32) are not worth threads; their weights are kept as a whole.
_SMALL_WINDOW = 2**19

# Windows of fewer bytes go to cells of about as many: what NumPy takes for each call counts more
# than memory there.
_SMALL_CELL = 2**19

# Bytes of weights that are kept.
_KEPT_WEIGHTS = 2**23

# More threads would only wait for the memory.
_MOST_THREADS = 4

# A layer of windows that were larger in float32 is summed up in 16 bits.
_LARGE_LAYER = 2**30

# The unit of sums in 16 bits is 1 / 65000; up to 65535 there is room for roundings.
_UNITS = 65000

# More windows than this over a voxel are summed up in float64: in float32 first, and carried over
# after so many (to add up in float64 took twice as long).
_MANY_WINDOWS = 64
_CARRIED_AFTER = 16

# More windows over one voxel are not summed up in 16 bits.
_MOST_WINDOWS = 900

_Key = tuple[int, int, int]
_Pieces = Sequence[Piece]


class WindowMerger:
    """The weighted mean of overlapping windows, handed out as soon as it is final.

    Borders of windows cut each axis into stretches, and the image into boxes, the cells. A cell
    is made when the first window comes that meets it, and handed out with the last one. Where
    windows overlap by half or less, all borders do: a cell lies in a window or outside of it.
    Where they overlap more, some borders are left out, so that a window meets 3 stretches of each
    axis at most, of half a window's length or less where that will do; and windows below 512 KiB
    have cells of about that size.

    With the order of :meth:`WindowGrid.along`, no more is held at any time than what two layers of
    windows share, and one strip of windows across it; where borders are left out, layer and strip
    are thicker by a stretch.

    Windows are all combinations of the starts of each axis and their weight is a product
    over the axes, so that the sum of weights at a voxel is a product of sums along the axes.
    The weights are therefore normalised along each axis beforehand: no matter how many
    windows overlap, they sum to one, and what is handed out needs no division.

    A sum is made in the order in which its windows come. Orders that have the same order at every
    voxel (at every cell, if sums are in float64), and any number of threads, give bit-equal
    results; others differ by rounding.

    Parameters
    ----------
    grid : WindowGrid
    channels : int
        Number of channels (classes) that the windows carry.
    weight : {"gaussian", "constant"}
        Gaussian: standard deviation of one eighth of the window, as in nnU-Net.
    dtype : dtype, optional
        Of the sums: a floating-point type or uint16; see :func:`sum_dtype` for the default.
        With float64 each cell is summed up in float32 and carried over after every 16 windows
        (32, if it is larger than two windows), which is as fast as float32.
    threads : int, optional
        Number of threads that add a window. Default: one for each processor that this
        process may use, 4 at most. Small windows are added by the caller's.
    """

    def __init__(
        self,
        grid: WindowGrid,
        channels: int,
        weight: WindowWeight = "gaussian",
        dtype: DTypeLike | None = None,
        threads: int | None = None,
    ) -> None:
        n = len(grid.shape)
        if n > 3:
            raise ConfigurationError(f"windows of {n} axes cannot be merged; 3 are the most")
        if dtype is not None and np.dtype(dtype) == np.uint16 and _windows(grid) > _MOST_WINDOWS:
            raise ConfigurationError(
                f"up to {_windows(grid)} windows lie over one voxel, but in 16 bits "
                f"{_MOST_WINDOWS} can be summed up at most; use float32 or less overlap"
            )
        self.grid = grid
        self.channels = channels
        self.dtype = sum_dtype(grid, channels) if dtype is None else np.dtype(dtype)
        self._carries = self.dtype == np.float64
        self._units = _UNITS if self.dtype == np.uint16 else 1
        size = 4 * channels * math.prod(grid.window)
        self.threads = 1 if size <= _SMALL_WINDOW else threads or _usable_processors()
        self._is_small = size <= _SMALL_WINDOW
        least = round((_SMALL_CELL / (4 * channels)) ** (1 / n)) if size <= _SMALL_CELL else 1
        width, depth = (1, 1, *grid.window)[-2:]
        rows = max(1, _TILE // (4 * depth * channels))
        self._room = rows * depth * channels
        most = (max(1, rows // width), rows, depth)[-n:]
        units = (1, 1, channels)[-n:]
        self._axes = [LACKING] * (3 - n) + [
            axis_cells(length, window, tuple([s - o for s in starts]), weight, least, m, unit)
            for length, window, starts, o, m, unit in zip(
                grid.shape, grid.window, grid.axis_starts, grid.origin, most, units, strict=True
            )
        ]
        window3 = (1, 1, *grid.window)[-3:]
        self._expected = (*grid.window, channels)
        self._flat = (*window3[:2], window3[2] * channels)
        self._cells: dict[_Key, _Cell] = {}
        self._missing = set(grid)
        self._buffers = Buffers()
        kinds = [1 + max(p.kind for p in axis.parts.values()) for axis in self._axes[3 - n :]]
        self._keeps_all = self._is_small and math.prod(kinds) * size <= _KEPT_WEIGHTS
        rest = math.prod(kinds[1:]) * size // grid.window[0]
        self._keeps_rest = self._keeps_all or rest <= _KEPT_WEIGHTS
        self._kept: dict[tuple[int, ...], NDArray[np.float32]] = {}
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
        start = tuple([int(s) for s in start])
        if values.shape != self._expected:
            raise ConfigurationError(
                f"a window has shape {values.shape}, expected {self._expected} (window, channels)"
            )
        if start not in self._missing:
            raise ConfigurationError(
                f"the window at {start} is none of the grid, or was added before"
            )
        self._missing.remove(start)
        own = [s - o for s, o in zip(start, self.grid.origin, strict=True)]
        x, y, z = (
            axis.parts[s] for axis, s in zip(self._axes, [0] * (3 - len(own)) + own, strict=True)
        )
        # The last axis and the channels are one contiguous axis, over which NumPy is fast.
        rows = np.ascontiguousarray(values).reshape(self._flat)
        if not (x.is_all and y.is_all and z.is_all):
            rows = rows[x.covered, y.covered, z.covered]
        cells = self._cells
        keys = [
            (i.number, j.number, k.number) for i in x.pieces for j in y.pieces for k in z.pieces
        ]
        new = [key for key in keys if key not in cells]
        if new:
            whole = [{p.number for p in part.pieces if p.is_whole} for part in (x, y, z)]
            for key in new:
                cells[key] = self._new_cell(
                    key, all(n in numbers for n, numbers in zip(key, whole, strict=True))
                )
        if self._is_small:
            self._add_small(rows, (x, y, z))
        else:
            self._add_large(rows, (x, y, z))
        final = []
        for key in keys:
            cell = cells[key]
            cell.awaited -= 1
            cell.is_empty = False
            if not cell.awaited:
                del cells[key]
                final.append(self._block(key, cell))
            elif self._carries and not cell.awaited % cell.turn:
                cell.carry()
        return final

    def _new_cell(self, key: _Key, is_whole: bool) -> _Cell:
        x, y, z = [axis.stretches[n] for axis, n in zip(self._axes, key, strict=True)]
        dtype = np.dtype(np.float32) if self._carries else self.dtype
        sums = self._buffers.empty((x.length, y.length, z.length * self.channels), dtype)
        if not is_whole:
            sums.fill(0)
        # A window meets a small part of a cell that is larger.
        share = sums.size // (self.channels * math.prod(self.grid.window))
        turn = _CARRIED_AFTER * min(max(share, 1), 2)
        return _Cell(sums, x.windows * y.windows * z.windows, is_whole, turn)

    def _block(self, key: _Key, cell: _Cell) -> Block:
        n = len(self.grid.shape)
        sides = [axis.stretches[n] for axis, n in zip(self._axes, key, strict=True)][-n:]
        sums = cell.sums
        if sums.dtype != np.float32:
            sums = self._buffers.empty(sums.shape, np.dtype(np.float32))
            sums[...] = cell.sums
        if self._units > 1:
            sums /= self._units
        if cell.carried is not None:
            sums[...] = cell.carried + sums
        start = tuple([o + s.first for o, s in zip(self.grid.origin, sides, strict=True)])
        return Block(start, sums.reshape(*[s.length for s in sides], self.channels))

    def _add_small(self, rows: NDArray[Any], parts: Sequence[AxisPart]) -> None:
        """Add a window to its cells at once."""
        lead, rest = self._weights(parts)
        tile = np.multiply(rows, rest, dtype=np.float32)
        if lead is not None:
            np.multiply(tile, lead, out=tile)
        if self._units > 1:
            _check_probabilities(rows)
            tile = np.rint(tile, out=tile).astype(np.uint16)
        x, y, z = parts
        self._put(tile, x.pieces, y.pieces, z.pieces)

    def _add_large(self, rows: NDArray[Any], parts: Sequence[AxisPart]) -> None:
        """Add a window to its cells, tile by tile."""
        x, y, z = parts
        is_deep = len(self.grid.shape) == 3
        lead, rest = self._weights(parts)
        assert lead is not None

        def work(tiles: Sequence[tuple[Chunk, Chunk]], room: NDArray[np.float32]) -> None:
            for over_x, over_y in tiles:
                extent = over_x.length, over_y.length, z.length
                tile: NDArray[Any] = room[: math.prod(extent)].reshape(extent)
                given = rows[over_x.rows, over_y.rows]
                np.multiply(given, rest[:, over_y.rows] if is_deep else rest, out=tile)
                np.multiply(tile, lead[over_x.rows] if is_deep else lead[:, over_y.rows], out=tile)
                if self._units > 1:
                    _check_probabilities(given)
                    tile = np.rint(tile, out=tile).astype(np.uint16)
                self._put(tile, over_x.pieces, over_y.pieces, z.pieces)

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

    def _put(self, tile: NDArray[Any], x: _Pieces, y: _Pieces, z: _Pieces) -> None:
        """Add weighted values to the cells that they meet."""
        cells = self._cells
        for i in x:
            for j in y:
                for k in z:
                    cell = cells[i.number, j.number, k.number]
                    sums = cell.sums[i.inside, j.inside, k.inside]
                    part = tile[i.rows, j.rows, k.rows]
                    if cell.is_empty:
                        sums[...] = part
                    else:
                        np.add(sums, part, sums)

    def _weights(
        self, parts: Sequence[AxisPart]
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """Return two factors of the weights: of the first axis, and of the others.

        None, and the product of all, for small windows of which there are few kinds.
        """
        first = 3 - len(self.grid.shape) + (not self._keeps_all)
        kinds = tuple([part.kind for part in parts])
        rest = self._kept.get(kinds[first:])
        if rest is None:
            vectors = [part.weights for part in parts[first:]]
            product = np.full((), self._units if self._keeps_all else 1.0)
            for vector in vectors:
                product = np.multiply.outer(product, vector)
            shape = (1,) * (3 - len(vectors)) + tuple(map(len, vectors))
            rest = product.astype(np.float32).reshape(shape)
            if self._keeps_rest:
                self._kept[kinds[first:]] = rest
        if self._keeps_all:
            return None, rest
        lead = (self._units * parts[first - 1].weights).astype(np.float32)
        return lead.reshape([-1 if axis == first - 1 else 1 for axis in range(3)]), rest

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads - 1, "miscnn-merging")


def sum_dtype(grid: WindowGrid, channels: int) -> np.dtype[Any]:
    """Return the type in which windows are summed up.

    float32; but uint16, as fixed-point numbers, if one layer of windows, along whatever axis it
    is the largest, took more than 1 GiB in float32; and float64 if more than 64 windows lie
    over one voxel, so that roundings stay below 1e-6 of the largest value. The rule asks for
    nothing else, so that results are the same on any machine. (float16 would round by 2^-12 for
    each window, and a processor is several times slower with it.)

    Notes
    -----
    In 16 bits each window over a voxel adds a rounding of at most 2^-17 to a probability: 6e-5
    for the 8 of half an overlap in 3D. So the probabilities of a voxel sum to 1 with that error
    times the number of classes at most (they are not normalised again: those of regions sum to
    anything), and where two classes are within 1.2e-4 of each other, the label may be another one
    than that of float32.
    """
    axes = list(zip(grid.shape, grid.window, strict=True))
    layer = max(min(w, n) * (math.prod(grid.shape) // n) for n, w in axes)
    windows = _windows(grid)
    if 4 * layer * channels > _LARGE_LAYER:
        # Roundings of more windows might add up to more than 16 bits hold.
        return np.dtype(np.uint16 if windows <= _MOST_WINDOWS else np.float32)
    return np.dtype(np.float64 if windows > _MANY_WINDOWS else np.float32)


def _windows(grid: WindowGrid) -> int:
    """Return how many windows lie over one voxel at most."""
    axes = zip(grid.axis_starts, grid.window, strict=True)
    return math.prod(most_windows(starts, window) for starts, window in axes)


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

    sums: NDArray[Any]
    awaited: int
    is_empty: bool  # nothing was written to it yet; the first window covers all of it
    turn: int  # sums in float64 take over after so many windows
    carried: NDArray[np.float64] | None = None  # sums of earlier windows

    def carry(self) -> None:
        """Begin a new sum."""
        if self.carried is None:
            self.carried = self.sums.astype(np.float64)
        else:
            self.carried += self.sums
        self.sums.fill(0)


def _usable_processors() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, _MOST_THREADS)
