"""Whether a subfunction takes a prediction back block by block as it does as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.processing.blocks import Block
from miscnn.processing.parts import Parts


def cut_up(whole: NDArray[Any], grid: Sequence[int], rng: np.random.Generator) -> Parts:
    """Make a prediction background outside of a random box, and cut that box into blocks."""
    boxes = [sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in grid]
    covered = tuple(slice(start, stop) for start, stop in boxes)
    background = None
    if whole.ndim > len(grid):
        background = np.eye(whole.shape[-1], dtype=np.float32)[0]
    inside = np.zeros(tuple(grid), dtype=bool)
    inside[covered] = True
    whole[~inside] = 0 if background is None else background
    blocks = []
    halves = [{start, (start + stop) // 2, stop} for start, stop in boxes]
    for edges in itertools.product(*(itertools.pairwise(sorted(half)) for half in halves)):
        box = tuple(slice(start, stop) for start, stop in edges)
        blocks.append(Block(tuple(start for start, _ in edges), whole[box]))
    order = rng.permutation(len(blocks))
    return Parts(iter([blocks[k] for k in order]), covered, background, len(grid) - 1)


def difference(taken: Parts, expected: NDArray[Any], grid: Sequence[int]) -> str | None:
    """Say what promise is broken by blocks that were taken back; None if none is."""
    found = np.zeros_like(expected)
    if taken.background is not None:
        found[...] = taken.background
    count = np.zeros(tuple(grid), dtype=np.int64)
    for block in taken.blocks:
        found[block.box] = block.values
        count[block.box] += 1
    once = np.zeros(tuple(grid), dtype=np.int64)
    once[taken.covered] = 1
    if not np.array_equal(count, once):
        return (
            "postprocessing_blocks() must return blocks that hold each voxel of the box that it "
            f"names, {taken.covered}, once, and none outside of it"
        )
    if not np.array_equal(found, expected):
        return (
            "a prediction came back other by postprocessing_blocks() than by postprocessing(); "
            "both must be equal voxel by voxel, and what is in no block is background"
        )
    return None
