"""Interpolating a prediction that comes part by part: only the planes still needed are kept."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.processing.blocks import Block
from miscnn.processing.parts import Parts, Planes
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions._interpolate import GridMap
from miscnn.processing.subfunctions._tiles import (
    VOXELS,
    Box,
    Tiling,
    joined,
    joined_voxels,
    painter,
    whole,
)

# Fewer rows than this are not worth being mapped by themselves.
_FEWEST_ROWS = 32

_Join = Callable[[Iterable[NDArray[np.float32]]], NDArray[Any]]


def mapped(sample: Sample, parts: Parts, grid_map: GridMap) -> Parts:
    """Map probabilities, block by block."""
    background = _background(parts)
    channels = len(background)

    tiling = Tiling(grid_map)
    # The weights of a row sum to one but for rounding: background is mapped like all else.
    everywhere = bool(background.any())
    covered = whole(grid_map.target) if everywhere else tiling.reached(parts.covered)
    join = functools.partial(joined, channels=channels)
    blocks = _roll(sample, parts, tiling, covered, join, joined_voxels(channels))
    return Parts(blocks, covered, background, parts.axis)


def mapped_labels(
    sample: Sample, parts: Parts, grid_map: GridMap, regions: Regions | None
) -> Parts:
    """Map probabilities, block by block, and make label maps of them."""
    tiling = Tiling(grid_map)
    as_labels, _ = painter(regions, len(_background(parts)))
    covered = tiling.reached(parts.covered)
    blocks = _roll(sample, parts, tiling, covered, as_labels, VOXELS)
    return Parts(blocks, covered, None, parts.axis)


def _background(parts: Parts) -> NDArray[np.float32]:
    assert parts.background is not None  # label maps take another way
    return parts.background


def _roll(
    sample: Sample, parts: Parts, tiling: Tiling, covered: Box, join: _Join, voxels: int
) -> Iterator[Block]:
    axis, channels = parts.axis, len(_background(parts))
    planes = Planes(sample, parts, tiling.grid_map.source, axis)
    rows = covered[axis]
    first_needed, needed = tiling.needed(axis)
    done = rows.start
    for block in itertools.chain(parts.blocks, [None]):
        if block is not None:
            planes.put(block)
        ready = min(int(np.searchsorted(needed, planes.complete, side="right")), rows.stop)
        if block is not None and ready - done < _FEWEST_ROWS:
            continue
        if block is None and done < rows.stop:
            planes.check_complete(int(needed[rows.stop - 1]))
        box = tuple(slice(done, ready) if k == axis else part for k, part in enumerate(covered))
        for tile in tiling.tiles(box, voxels) if done < ready else ():
            source = tiling.source(tile)
            shares = (tiling.apply(tile, planes.read(source, c)) for c in range(channels))
            yield Block(tuple(part.start for part in tile), join(shares))
        done = max(done, ready)
        if done < rows.stop:
            planes.free(int(first_needed[done]))
