"""Taking parts of a prediction back to the grid of the image, as they become final."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from miscnn.data_loading.sample import Sample
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.blocks import Block
from miscnn.processing.chain import (
    Step,
    check_taken_back,
    undo_stages,
    view_before,
    ways_back,
)
from miscnn.processing.parts import Parts
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions.base import Subfunction, speaks_for
from miscnn.processing.subfunctions.orientation import Orientation

_Stage = tuple[Subfunction, Step]


def way_back(
    sample: Sample,
    subfunctions: Sequence[Subfunction],
    steps: Sequence[Step],
    finished: Iterable[Block],
    covered: Sequence[slice],
    channels: int,
    *,
    probabilities: bool,
    regions: Regions | None = None,
    slabs: bool = False,
) -> Iterator[Block]:
    """Take the parts of a prediction that are final through the subfunctions, in reverse order.

    The same, bit by bit, as :func:`~miscnn.processing.chain.undo_chain` of the whole prediction,
    without holding more than a few layers of it; where a subfunction knows of whole predictions
    only, it lies in a scratch file from there on.

    Parameters
    ----------
    sample : Sample
        On the grid of the image; its arrays are not looked at. Its ``scratch`` takes what is large.
    subfunctions, steps : sequence
        The chain, and what :func:`~miscnn.processing.chain.run_chain` returned of it.
    finished : iterable of Block
        Probabilities ``(*extent, channels)`` float32 on the prepared grid, in any order. Memory is
        small if they come along :func:`moving_axis`.
    covered : sequence of slice
        The box of the prepared grid that they hold, each voxel once. Outside is background.
    channels : int
        Number of classes, or of regions.
    probabilities : bool
        Return probabilities, not labels.
    regions : Regions, optional
        What makes label maps of the probabilities; default: the argmax.
    slabs : bool
        Return full planes across the image's last axis, ascending, the whole image together.

    Yields
    ------
    Block
        On the grid of the image. Where there is none, is background: label 0, probability 1 for
        class 0, or 0 for every region. Blocks are the receiver's until the next one is asked for.

    Raises
    ------
    ConfigurationError
        If the blocks do not hold all of ``covered``, or a subfunction that changes the shape has
        no way back.
    """
    for subfunction, step in zip(subfunctions, steps, strict=True):
        if type(subfunction).postprocessing is Subfunction.postprocessing:
            check_taken_back(sample, step.shape_after, step.geometry.shape)
    background = np.zeros(channels, np.float32)
    if regions is None:
        background[0] = 1
    axis = moving_axis(sample, subfunctions, steps)
    parts = Parts(iter(finished), tuple(covered), background, axis)
    stages = ways_back(subfunctions, steps)
    while stages:
        following = _taken_back(sample, stages, parts, probabilities, regions)
        if following is None:
            parts = _as_a_whole(sample, stages, parts, probabilities, regions)
            break
        parts = following
        stages.pop()
    if not probabilities:
        parts = _labelled(parts, regions)
    yield from parts.slabs(sample, sample.geometry.shape) if slabs else parts.blocks


def moving_axis(sample: Sample, subfunctions: Sequence[Subfunction], steps: Sequence[Step]) -> int:
    """Return the axis of the prepared grid that lies along the image's last axis.

    If windows move along it (outermost), parts come back in the order of the image's slices.
    """
    axis = sample.geometry.ndim - 1
    for subfunction, step in zip(subfunctions, steps, strict=True):
        if isinstance(subfunction, Orientation):
            axis = subfunction.axis_after(step.geometry, axis, sample.index)
    return axis


def _taken_back(
    sample: Sample,
    stages: Sequence[_Stage],
    parts: Parts,
    probabilities: bool,
    regions: Regions | None,
) -> Parts | None:
    """Take parts through the last stage; None if it knows of whole predictions only."""
    *before, (subfunction, step) = stages
    view = view_before(sample, step)
    if not probabilities:
        if not subfunction.restores_probabilities or _only_move(stages):
            parts = _labelled(parts, regions)
        fused = _block_form(subfunction, "postprocessing_argmax_blocks")
        if fused is not None and parts.background is not None and _only_move(before):
            found: Parts | None = fused(view, parts, regions)
            if found is not None:
                return found
    way = _block_form(subfunction, "postprocessing_blocks")
    return None if way is None else way(view, parts)


def _as_a_whole(
    sample: Sample,
    stages: Sequence[_Stage],
    parts: Parts,
    probabilities: bool,
    regions: Regions | None,
) -> Parts:
    _, step = stages[-1]
    if not probabilities and not stages[-1][0].restores_probabilities:
        parts = _labelled(parts, regions)
    keep = parts.background is not None
    prediction = parts.gathered(sample, step.shape_after)
    result = undo_stages(sample, stages, prediction, keep, probabilities, regions)
    shape = sample.geometry.shape
    background = parts.background if probabilities else None
    expected = shape if background is None else (*shape, len(background))
    check_taken_back(sample, result.shape, expected)
    start = (0,) * len(shape)
    whole = tuple(slice(0, n) for n in shape)
    return Parts(iter([Block(start, result)]), whole, background, len(shape) - 1)


def _labelled(parts: Parts, regions: Regions | None) -> Parts:
    """Make label maps of probabilities."""
    if parts.background is None:
        return parts
    as_labels = argmax_labels if regions is None else regions.decode
    blocks = (Block(block.start, as_labels(block.values)) for block in parts.blocks)
    return Parts(blocks, parts.covered, None, parts.axis)


def _only_move(stages: Sequence[_Stage]) -> bool:
    """Tell whether the argmax may be taken before these stages as well as after them."""
    return all(
        speaks_for(subfunction, "moves_voxels", "postprocessing", "postprocessing_blocks")
        for subfunction, _ in stages
    )


def _block_form(subfunction: Subfunction, name: str) -> Any:
    """Return a method that works block by block, unless the whole way was changed without it."""
    if not speaks_for(subfunction, name, "postprocessing", "postprocessing_argmax"):
        return None
    return getattr(subfunction, name)
