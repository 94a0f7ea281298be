"""A prediction that comes part by part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn._scratch import boxes_of, release
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.blocks import Block

# Planes that are kept, and let go of, together.
_TOGETHER = 16
# Bytes of planes that are handed out together; one plane may be larger.
_SLAB = 64 << 20


@dataclass(frozen=True)
class Parts:
    """A prediction on one grid, in blocks.

    Attributes
    ----------
    blocks : iterator of Block
        In any order. Together they hold each voxel of :attr:`covered` once, and none else.
    covered : tuple of slice
        A box of the grid. What lies outside is background.
    background : ndarray or None
        Probabilities ``(channels,)`` float32 of the background; None where the blocks are label
        maps, whose background is 0.
    axis : int
        Axis along which the blocks come more or less in order.
    """

    blocks: Iterator[Block]
    covered: tuple[slice, ...]
    background: NDArray[np.float32] | None
    axis: int

    def moved(self, offset: Sequence[int], shape: Sequence[int]) -> Parts:
        """Return the prediction on a grid of ``shape`` whose first voxel lies at ``-offset``.

        What lies outside of that grid is cut off.
        """
        covered = tuple(
            slice(min(max(part.start + by, 0), n), max(min(part.stop + by, n), 0))
            for part, by, n in zip(self.covered, offset, shape, strict=True)
        )
        moved = (_moved(block, offset, shape) for block in self.blocks)
        return Parts((b for b in moved if b is not None), covered, self.background, self.axis)

    def gathered(self, sample: Sample, shape: Sequence[int]) -> NDArray[Any]:
        """Return the whole prediction in one array, in a scratch file if it is large."""
        dtype, blocks = _with_type(self)
        channels = () if self.background is None else (len(self.background),)
        result = sample.empty((*shape, *channels), dtype)
        background = 0 if self.background is None else self.background
        if any(part != slice(0, n) for part, n in zip(self.covered, shape, strict=True)):
            spatial = result if self.background is None else result[..., 0]
            for box in boxes_of(spatial):
                result[box] = background
                release(result[box])
        for block in blocks:
            result[block.box] = block.values
            release(result[block.box])
        return result

    def slabs(self, sample: Sample, shape: Sequence[int]) -> Iterator[Block]:
        """Yield full planes across the last axis, ascending, the whole grid together."""
        axis = len(shape) - 1
        dtype, blocks = _with_type(self)
        planes = Planes(sample, self, shape, axis, dtype)
        done = 0
        for block in itertools.chain(blocks, [None]):
            if block is not None:
                planes.put(block)
            while done < planes.complete:
                slab = planes.slab(done)
                yield slab
                done += slab.extent[axis]
                planes.free(done)
        planes.check_complete(shape[axis])


class Planes:
    """The planes of a prediction across one axis: gathered, and let go of when they are done.

    Parameters
    ----------
    sample : Sample
        Says where large arrays go.
    parts : Parts
        What the prediction is; its blocks are handed in one by one.
    shape : sequence of int
        Spatial shape of the grid.
    axis : int
        Axis across the planes.
    dtype : data type

    Attributes
    ----------
    complete : int
        All planes before this one are complete.
    """

    def __init__(
        self,
        sample: Sample,
        parts: Parts,
        shape: Sequence[int],
        axis: int,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.axis = axis
        self._dtype = dtype
        self._sample = sample
        self._background = parts.background
        self._shape = tuple(shape)
        self._plane = tuple(n for k, n in enumerate(shape) if k != self.axis)
        self._groups: dict[int, NDArray[Any]] = {}
        within = [part for k, part in enumerate(parts.covered) if k != self.axis]
        sides = [max(part.stop - part.start, 0) for part in within]
        self._partial = tuple(sides) != self._plane
        self._rows = parts.covered[self.axis]
        self._missing = np.zeros(shape[self.axis], dtype=np.int64)
        self._missing[self._rows] = int(np.prod(sides, dtype=np.int64))
        self.complete = 0
        self._advance()

    def put(self, block: Block) -> None:
        """Take in a block."""
        values = np.moveaxis(block.values, self.axis, 0)
        if self._background is not None:  # channel by channel, as they are read
            values = np.moveaxis(values, -1, 1)
        rows, within = self._split(block.box)
        for number in range(rows.start // _TOGETHER, -(-rows.stop // _TOGETHER)):
            first = number * _TOGETHER
            start, stop = max(rows.start, first), min(rows.stop, first + _TOGETHER)
            target = self._group(number)[start - first : stop - first]
            target = target[self._index(within)]
            target[...] = values[start - rows.start : stop - rows.start]
            release(target)
        self._missing[rows] -= math.prod(part.stop - part.start for part in within)
        self._advance()

    def read(self, box: tuple[slice, ...], channel: int) -> NDArray[Any]:
        """Return one channel of a box of probabilities."""
        rows, within = self._split(box)
        pieces = []
        for number in range(rows.start // _TOGETHER, -(-rows.stop // _TOGETHER)):
            first = number * _TOGETHER
            inside = slice(max(rows.start - first, 0), min(rows.stop - first, _TOGETHER))
            group = self._group(number)[:, channel]
            pieces.append(group[(inside, *within)])
        found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return np.moveaxis(found, 0, self.axis)

    def slab(self, start: int) -> Block:
        """Return some complete planes from ``start`` on, that lie together and are not large."""
        number, within = divmod(start, _TOGETHER)
        group = self._group(number)
        stop = min(self.complete - number * _TOGETHER, _TOGETHER)
        stop = min(stop, within + max(1, _SLAB // max(1, group[0].nbytes)))
        values = group[within:stop]
        if self._background is not None:
            values = np.moveaxis(values, 1, -1)
        begin = tuple(start if k == self.axis else 0 for k in range(len(self._shape)))
        return Block(begin, np.moveaxis(values, 0, self.axis))

    def free(self, before: int) -> None:
        """Let go of the planes before one that is still needed."""
        for number in [n for n in self._groups if (n + 1) * _TOGETHER <= before]:
            del self._groups[number]
        for group in self._groups.values():
            release(group)

    def check_complete(self, end: int) -> None:
        """Raise ConfigurationError if planes before ``end`` are not complete."""
        if self.complete < end:
            raise ConfigurationError(
                f"sample {self._sample.index!r}: parts of the prediction are missing, from plane "
                f"{self.complete} of axis {self.axis} on; the blocks must hold every voxel of the "
                "box that they cover once"
            )

    def _advance(self) -> None:
        rest = np.flatnonzero(self._missing[self.complete :])
        self.complete += int(rest[0]) if len(rest) else len(self._missing) - self.complete

    def _split(self, box: tuple[slice, ...]) -> tuple[slice, list[slice]]:
        return box[self.axis], [part for k, part in enumerate(box) if k != self.axis]

    def _index(self, within: list[slice]) -> tuple[slice, ...]:
        every = slice(None)
        return (every, *within) if self._background is None else (every, every, *within)

    def _group(self, number: int) -> NDArray[Any]:
        found = self._groups.get(number)
        if found is None:
            found = self._groups[number] = self._new_group(number)
        return found

    def _new_group(self, number: int) -> NDArray[Any]:
        first = number * _TOGETHER
        stop = min(first + _TOGETHER, self._shape[self.axis])
        if self._background is None:
            group = self._empty((stop - first, *self._plane))
            fill: Any = 0
        else:
            channels = len(self._background)
            group = self._empty((stop - first, channels, *self._plane))
            fill = self._background.reshape(-1, *(1,) * len(self._plane))
        if self._partial or first < self._rows.start or stop > self._rows.stop:
            for plane in group:
                plane[...] = fill
                release(plane)
        return group

    def _empty(self, shape: tuple[int, ...]) -> NDArray[Any]:
        # Where planes come in descending order, all groups are kept until the first plane is
        # there: each is small, but together they are the whole prediction.
        scratch = self._sample.scratch
        held = sum(group.nbytes for group in self._groups.values())
        if scratch is not None and held > scratch.limit:
            return scratch.mapped(shape, self._dtype)
        return self._sample.empty(shape, self._dtype)


def _with_type(parts: Parts) -> tuple[DTypeLike, Iterator[Block]]:
    """Return how the values are stored, and the blocks, of which one was looked at."""
    first = next(parts.blocks, None)
    if first is None:
        return np.uint8 if parts.background is None else np.float32, iter(())
    return first.values.dtype, itertools.chain([first], parts.blocks)


def _moved(block: Block, offset: Sequence[int], shape: Sequence[int]) -> Block | None:
    start, inside = [], []
    for first, extent, by, n in zip(block.start, block.extent, offset, shape, strict=True):
        low, high = max(first + by, 0), min(first + extent + by, n)
        if low >= high:
            return None
        start.append(low)
        inside.append(slice(low - first - by, high - first - by))
    return Block(tuple(start), block.values[tuple(inside)])
