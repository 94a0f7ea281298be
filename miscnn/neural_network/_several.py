"""Several networks, or networks that are none of this library's, in place of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.neural_network._ahead import closing
from miscnn.neural_network._engine import Engine, Shared, WholeEngine, decoder
from miscnn.neural_network._mirroring import Mean
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network.prediction_settings import Combine, PredictionSettings
from miscnn.processing.blocks import Block
from miscnn.processing.regions import Regions

# Bytes of each member that are combined at a time.
_PIECE = 16 << 20


class CombinedEngine:
    """Several networks, combined voxel by voxel on the grid of the image.

    Parameters
    ----------
    members : sequence of Engine
    combine : callable
        Makes one array ``(…, channels)`` of one array per member.
    channels : int
    regions : Regions, optional
    """

    labels_follow = True

    def __init__(
        self,
        members: Sequence[Engine],
        combine: Callable[[Sequence[NDArray[Any]]], NDArray[Any]],
        channels: int,
        regions: Regions | None = None,
    ) -> None:
        self.members = members
        self.combine = combine
        self.channels = channels
        self.regions = regions

    def prepare(self, sample: Sample, shared: Shared | None = None) -> list[Any]:
        """Prepare the subject for each member."""
        shared = {} if shared is None else shared
        return [member.prepare(sample, shared) for member in self.members]

    def blocks(
        self, prepared: Sequence[Any], *, probabilities: bool, slabs: bool = False
    ) -> Iterator[Block]:
        """Yield all members combined: whole planes, or without ``slabs`` parts of them."""
        decode = decoder(self.regions)
        with contextlib.ExitStack() as open_streams:
            streams = [
                open_streams.enter_context(
                    closing(member.blocks(own, probabilities=True, slabs=True))
                )
                for member, own in zip(self.members, prepared, strict=True)
            ]
            whole: NDArray[Any] | None = None
            for start, parts, rows in aligned(streams):
                values = self.combine(parts)
                block = Block(start, values if probabilities else decode(values))
                del parts, values
                if not slabs or block.extent[0] == rows:
                    yield block
                    continue
                if whole is None:
                    whole = np.empty((rows, *block.values.shape[1:]), block.values.dtype)
                whole[block.box[0]] = block.values
                if block.box[0].stop == rows:
                    yield Block((0, *start[1:]), whole)
                    whole = None


class Averaging:
    """The mean of what several networks say, by :class:`~miscnn.neural_network._mirroring.Mean`."""

    def __init__(self, combine: Combine, exclusive: bool = True) -> None:
        self._how = combine, exclusive

    def __call__(self, probabilities: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the mean of arrays ``(…, channels)``, float32."""
        mean = Mean(*self._how)
        for values in probabilities:
            mean.add(values)
        return mean.result()


def engine_of(
    network: Any,
    channels: int,
    name: str,
    settings: PredictionSettings | None = None,
    roi: RegionOfInterest | None = None,
) -> Engine:
    """Return what predicts with a member of an ensemble.

    One that is none of this library's predicts whole samples by its ``predict_sample``.
    """
    make = getattr(network, "_engine", None)
    if make is None:
        return WholeEngine(network.predict_sample, channels, name, channels)
    engine: Engine = make(settings, roi)
    return engine


def aligned(
    streams: Sequence[Iterator[Block]], limit: int = _PIECE
) -> Iterator[tuple[tuple[int, ...], list[NDArray[Any]], int]]:
    """Cut streams of whole planes at the same places.

    Parameters
    ----------
    streams : sequence of iterator of Block
        Each yields whole planes, ascending along the last spatial axis, without gaps.
    limit : int
        Bytes of a part; it has one row of the first axis at least.

    Yields
    ------
    start : tuple of int
    parts : list of ndarray
        Per stream the values of the same rows of the same planes: of all rows, or ascending of
        some.
    rows : int
        How many rows the planes have.
    """
    held: list[Block | None] = [None] * len(streams)
    place = 0
    while True:
        for k, iterator in enumerate(streams):
            if held[k] is None:
                held[k] = next(iterator, None)
        blocks = [block for block in held if block is not None]
        if not blocks:
            return
        assert len(blocks) == len(held)  # all streams are of the same grid
        axis = len(blocks[0].start) - 1
        ends = [block.start[axis] + block.extent[axis] for block in blocks]
        end = min(ends)
        parts = []
        for k, block in enumerate(blocks):
            first = block.start[axis]
            assert first <= place < ends[k]  # planes ascend without gaps
            parts.append(block.values[(slice(None),) * axis + (slice(place - first, end - first),)])
            if ends[k] == end:
                held[k] = None
        del blocks, block
        rows = len(parts[0])
        step = max(1, limit // max(part[:1].nbytes for part in parts))
        for row in range(0, rows, step):
            yield (row, *(0,) * (axis - 1), place), [p[row : row + step] for p in parts], rows
        del parts
        place = end
