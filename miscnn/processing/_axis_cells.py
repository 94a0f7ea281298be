"""How overlapping windows share an axis: weights, and where it is cut into sides of cells."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError

# Width of the Gaussian window weight as a share of the window (nnU-Net's choice).
_GAUSSIAN_SIGMA = 1.0 / 8.0

# So many stretches of an axis a window meets at most where windows overlap by more than half.
_MOST_STRETCHES = 3

# So many windows lie over a voxel at most where windows overlap by half.
_HALF = 3


def axis_weight(window: int, kind: str) -> NDArray[np.float64]:
    """Return the weight of each voxel of a window along one axis; all are positive."""
    if kind == "constant":
        return np.ones(window)
    if kind != "gaussian":
        raise ConfigurationError(f"window weight {kind!r} is unknown; use 'gaussian' or 'constant'")
    position = np.arange(window) - (window - 1) / 2.0
    return np.asarray(np.exp(-0.5 * (position / (window * _GAUSSIAN_SIGMA)) ** 2))


@dataclass(frozen=True)
class Stretch:
    """One side of a cell."""

    first: int  # voxel of the axis
    length: int
    windows: int  # how many windows of the axis meet it


@dataclass(frozen=True)
class Piece:
    """What a window, or a chunk of it, shares with a stretch. Slices count floats, not voxels."""

    number: int  # of the stretch
    rows: slice  # of what the window covers, or of the chunk
    inside: slice  # of the stretch
    is_whole: bool  # is that all of the stretch


@dataclass(frozen=True)
class Chunk:
    """Rows of a window that are weighted at a time."""

    rows: slice  # of what the window covers
    length: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class AxisPart:
    """What a window covers of an axis. Slices count floats, not voxels."""

    covered: slice  # of the window
    is_all: bool  # is that all of the window
    length: int
    kind: int  # the same for windows with equal weights
    weights: NDArray[np.float64]
    pieces: tuple[Piece, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class AxisCells:
    """All stretches of an axis, and per start of a window what it covers."""

    stretches: tuple[Stretch, ...]
    parts: dict[int, AxisPart]


@lru_cache(maxsize=64)
def axis_cells(
    length: int, window: int, starts: tuple[int, ...], kind: str, least: int, most: int, unit: int
) -> AxisCells:
    """Cut an axis for windows that overlap; kept, as many images have the same size.

    Parameters
    ----------
    length, window : int
        Voxels of the axis and of a window.
    starts : tuple of int
        Where windows begin; they may reach beyond the axis.
    kind : str
        Of the weights, see :func:`axis_weight`.
    least : int
        Least voxels of a stretch where windows overlap.
    most : int
        Most voxels of a chunk.
    unit : int
        Floats per voxel.
    """
    weight = axis_weight(window, kind)
    ranges = {s: (max(s, 0), min(s + window, length)) for s in starts}
    total = np.zeros(length)
    for s, (a, b) in ranges.items():
        total[a:b] += weight[a - s : b - s]
    borders = _borders(list(ranges.values()), least)
    met = {s: _met(borders, a, b) for s, (a, b) in ranges.items()}
    windows = np.zeros(len(borders), int)
    for numbers in met.values():
        windows[numbers.start] += 1
        windows[numbers.stop] -= 1
    windows = np.cumsum(windows)
    stretches = tuple(
        Stretch(first, last - first, int(count))
        for (first, last), count in zip(itertools.pairwise(borders), windows, strict=False)
    )
    kinds: dict[bytes, int] = {}
    known: list[NDArray[np.float64]] = []
    parts = {}
    for s, (a, b) in ranges.items():
        share = np.repeat(weight[a - s : b - s] / total[a:b], unit)
        number = kinds.setdefault(share.tobytes(), len(kinds))
        if number == len(known):
            share.setflags(write=False)
            known.append(share)
        parts[s] = AxisPart(
            slice((a - s) * unit, (b - s) * unit),
            b - a == window,
            (b - a) * unit,
            number,
            known[number],
            tuple(_pieces(a, b, stretches, met[s], unit)),
            tuple(_chunks(a, b, most, stretches, met[s], unit)),
        )
    return AxisCells(stretches, parts)


def most_windows(starts: Sequence[int], window: int) -> int:
    """Return how many windows of an axis lie over one voxel at most."""
    return max(n + 1 - bisect_right(starts, s - window) for n, s in enumerate(starts))


def _borders(ranges: Sequence[tuple[int, int]], least: int) -> list[int]:
    """Choose where to cut an axis.

    At all borders of windows, if those overlap by half or less and a small ``least`` allows it;
    then the least memory is held. Else some are left out that lie close to the one before: the
    stretches are an eighth of a window at least, or more if a window would meet many.
    """
    every = sorted({border for both in ranges for border in both})
    if all(a[1] <= b[0] for a, b in itertools.pairwise(ranges)):
        return every
    # With steps of half a window, rounded, a third window may lie over the end of the first.
    if least <= 1 and all(a[1] <= b[0] for a, b in zip(ranges, ranges[_HALF:], strict=False)):
        return every
    window = max(b - a for a, b in ranges)
    borders = every
    for share in (8, 4, 2):
        borders = _apart(every, max(least, -(-window // share)))
        if max(len(_met(borders, a, b)) for a, b in ranges) <= _MOST_STRETCHES:
            break
    return borders


def _apart(borders: Sequence[int], least: int) -> list[int]:
    kept = [borders[0]]
    for border in borders:
        if border - kept[-1] >= least:
            kept.append(border)
    if len(kept) == 1:
        kept.append(borders[-1])
    kept[-1] = borders[-1]
    return kept


def _met(borders: Sequence[int], start: int, stop: int) -> range:
    """Return the numbers of the stretches between borders that a range meets."""
    return range(bisect_right(borders, start) - 1, bisect_left(borders, stop))


def _pieces(
    start: int, stop: int, stretches: Sequence[Stretch], met: range, unit: int
) -> Iterator[Piece]:
    """Divide ``start`` … ``stop`` of an axis at the ends of stretches."""
    for number in met:
        stretch = stretches[number]
        first, end = stretch.first, stretch.first + stretch.length
        low, high = max(start, first), min(stop, end)
        if low < high:
            yield Piece(
                number,
                slice((low - start) * unit, (high - start) * unit),
                slice((low - first) * unit, (high - first) * unit),
                (low, high) == (first, end),
            )


def _chunks(
    start: int, stop: int, most: int, stretches: Sequence[Stretch], met: range, unit: int
) -> Iterator[Chunk]:
    """Divide an axis of a window into chunks of about the same length."""
    length = stop - start
    count = -(-length // most)
    for n in range(count):
        low, high = length * n // count, length * (n + 1) // count
        pieces = tuple(_pieces(start + low, start + high, stretches, met, unit))
        yield Chunk(slice(low * unit, high * unit), (high - low) * unit, pieces)


# Along the axes that images of fewer than three axes lack.
_ONE = Piece(0, slice(0, 1), slice(0, 1), True)
LACKING = AxisCells(
    (Stretch(0, 1, 1),),
    {0: AxisPart(slice(0, 1), True, 1, 0, np.ones(1), (_ONE,), (Chunk(slice(0, 1), 1, (_ONE,)),))},
)
