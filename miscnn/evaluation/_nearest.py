"""How far the points of one surface lie from another, in float64.

Surfaces that are compared mostly lie close to each other. So the neighbourhood of each point is
looked through first, in shells of growing distance, for all points at once; only what finds
nothing there is looked up in a search tree. This takes less than a distance transform of the
volume between them, and the distances are those of whole steps on the lattice, without the
rounding of one in float32.

What is wanted is never the distance of one point, but how much of the surface lies at which
distance. So only the areas of what a shell finds are added up, and nothing is sorted later.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from miscnn.evaluation._surfels import Surfels

# Number of steps on the lattice that are looked at before the tree takes over.
_STEPS = 256


class Spread(NamedTuple):
    """How much of a surface lies at which distance.

    Attributes
    ----------
    distances : ndarray of float64
        In mm, ascending. Infinite if there is nothing to measure to.
    areas : ndarray of float64
        In mm² (2D: mm), one for each distance.
    """

    distances: NDArray[np.float64]
    areas: NDArray[np.float64]


def nearest(source: Surfels, target: Surfels, spacing: Sequence[float]) -> Spread:
    """Measure from each surfel of one surface to the nearest of another.

    Parameters
    ----------
    source, target : Surfels
        On one lattice, with the margin of :func:`margin_of`.
    spacing : sequence of float
        Distance of neighbours along each axis in mm.
    """
    if not (len(source.places) and len(target.places)):
        infinite = np.full(1 if len(source.places) else 0, np.inf)
        return Spread(infinite, np.full(len(infinite), source.areas.sum()))
    strides = np.array([math.prod(source.shape[axis + 1 :]) for axis in range(len(source.shape))])
    here, areas = source.places, source.areas
    distances, sums = [], []
    for length, steps in _shells(tuple(float(s) for s in spacing)):
        found = target.occupied.take(here + steps[0] @ strides)
        for step in (steps[1:] @ strides).tolist():
            found |= target.occupied.take(here + step)
        distances.append(length)
        sums.append(areas @ found)
        missing = np.flatnonzero(~found)
        here, areas = here.take(missing), areas.take(missing)
        if not len(here):
            break
    if len(here):
        tree = KDTree(
            target.positions(target.places, spacing), balanced_tree=False, compact_nodes=False
        )
        far, _ = tree.query(source.positions(here, spacing))
        order = np.argsort(far)
        distances.extend(far[order])
        sums.extend(areas[order])
    return Spread(np.array(distances), np.array(sums))


def margin_of(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the margin around a lattice in which no step leads over its end to the other side."""
    steps = np.concatenate([steps for _, steps in _shells(tuple(float(s) for s in spacing))])
    return tuple(np.abs(steps).max(axis=0).tolist())


@functools.lru_cache(maxsize=64)
def _shells(spacing: tuple[float, ...]) -> tuple[tuple[float, NDArray[np.intp]], ...]:
    """Return the shortest steps on the lattice by their lengths in mm, ascending.

    All steps up to a length are there: a target beyond it is never taken for the nearest.
    """
    sizes = np.asarray(spacing, dtype=np.float64)
    ball = {2: math.pi, 3: 4.0 / 3.0 * math.pi}[len(sizes)]
    radius = (_STEPS * float(sizes.prod()) / ball) ** (1.0 / len(sizes))
    ranges = [np.arange(-reach, reach + 1) for reach in (radius // sizes).astype(int)]
    steps = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(sizes))
    lengths = np.sqrt(((steps * sizes) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius]
    lengths, starts = np.unique(lengths[order], return_index=True)
    return tuple(zip(lengths.tolist(), np.split(steps[order], starts[1:]), strict=True))
