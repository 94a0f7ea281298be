"""Several networks, or networks that are none of this library's, in place of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.neural_network._engine import Engine, Shared, WholeEngine, decoder
from miscnn.neural_network._mirroring import Mean
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network.prediction_settings import Combine, PredictionSettings
from miscnn.processing.blocks import Block
from miscnn.processing.regions import Regions


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
        """Yield whole planes of all members combined."""
        decode = decoder(self.regions)
        streams = [
            member.blocks(own, probabilities=True, slabs=True)
            for member, own in zip(self.members, prepared, strict=True)
        ]
        try:
            for start, parts in aligned(streams):
                values = self.combine(parts)
                yield Block(start, values if probabilities else decode(values))
        finally:
            for stream in streams:
                if isinstance(stream, Closeable):
                    stream.close()


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


@runtime_checkable
class Closeable(Protocol):
    """A stream that can be ended early."""

    def close(self) -> None: ...


def aligned(
    streams: Sequence[Iterable[Block]],
) -> Iterator[tuple[tuple[int, ...], list[NDArray[Any]]]]:
    """Cut streams of whole planes at the same places.

    Parameters
    ----------
    streams : sequence of iterable of Block
        Each yields whole planes, ascending along the last spatial axis, without gaps.

    Yields
    ------
    start : tuple of int
    parts : list of ndarray
        Per stream the values of the same planes.
    """
    iterators = [iter(stream) for stream in streams]
    held: list[Block | None] = [None] * len(iterators)
    place = 0
    while True:
        for k, iterator in enumerate(iterators):
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
        del blocks
        yield (*(0,) * axis, place), parts
        place = end
