"""How far the points of one surface lie from another, in float64.

Surfaces that are compared mostly lie close to each other. So the neighbourhood of each point is
looked through first, in shells of growing distance, for all points at once. What finds nothing
there, but something not much farther, is looked up in a search tree. The rest is far away, where a
tree is slow; there neighbours have neighbours for their nearest points: boxes of points are halved,
and each half is looked up among those points only of the other surface that are nearest to any
place in the box. All distances are those of whole steps on the lattice, in float64: equal steps are
equally long.

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
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from miscnn.evaluation._surfels import Surfels

# Number of steps on the lattice that are looked at before boxes are.
_STEPS = 256

# So many times the longest of these steps is how far the tree looks.
_REACH = 4.0

# A box is halved no more when it has so few points, or so few pairs of a point and a candidate.
_FEW_POINTS = 16
_FEW_PAIRS = 1 << 15

# Pairs that are measured at a time: 32 MB.
_MANY_PAIRS = 1 << 22


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
        reach = _REACH * length
        far = _beyond(source.indices(here), target.indices(target.places), spacing, reach)
        order = np.argsort(far)
        distances.extend(far[order])
        sums.extend(areas[order])
    return Spread(np.array(distances), np.array(sums))


def margin_of(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the margin around a lattice in which no step leads over its end to the other side."""
    steps = np.concatenate([steps for _, steps in _shells(tuple(float(s) for s in spacing))])
    return tuple(np.abs(steps).max(axis=0).tolist())


def _beyond(
    points: NDArray[np.intp], targets: NDArray[np.intp], spacing: Sequence[float], reach: float
) -> NDArray[np.float64]:
    """Return the distance in mm of each point to the nearest target; both are ``(n, axes)``.

    Up to ``reach`` mm by a search tree.
    """
    sizes = np.asarray(spacing, dtype=np.float64)
    tree = cKDTree(targets * sizes, balanced_tree=False, compact_nodes=False)
    _, found = tree.query(points * sizes, distance_upper_bound=reach)
    near = found < len(targets)
    distances = np.empty(len(points))
    distances[near] = _lengths(points[near] - targets[found[near]], sizes)
    if not near.all():
        distances[~near] = _far(points[~near], targets, spacing)
    return distances


def _far(
    points: NDArray[np.intp], targets: NDArray[np.intp], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Return the distance in mm of each point to the nearest target; both are ``(n, axes)``.

    From the centre c of a box with the half sides h let t be the nearest target. For all q in the
    box |q - u|² - |q - t|² is at least |c - u|² - |c - t|² - 2 Σ hᵢ |uᵢ - tᵢ|: targets u for which
    this is above 0 are nearest to nothing in the box.
    """
    sizes = np.asarray(spacing, dtype=np.float64)
    places, goals = (np.ascontiguousarray((each * sizes).T) for each in (points, targets))
    nearest_one = np.empty(len(points), dtype=np.intp)
    boxes = [(np.arange(len(points)), np.arange(len(targets)))]
    while boxes:
        inside, candidates = boxes.pop()
        here, there = places.take(inside, axis=1), goals.take(candidates, axis=1)
        low, high = here.min(axis=1), here.max(axis=1)
        from_centre = there - ((low + high) / 2.0)[:, np.newaxis]
        squares = np.einsum("an,an->n", from_centre, from_centre)
        best = int(squares.argmin())
        apart = np.abs(there - there[:, best : best + 1])
        kept = np.flatnonzero(squares - squares[best] <= (high - low) @ apart)
        candidates = candidates.take(kept)
        if len(inside) > _FEW_POINTS and len(inside) * len(candidates) > _FEW_PAIRS:
            order = np.argpartition(here[(high - low).argmax()], len(inside) // 2)
            halves = np.split(inside[order], [len(inside) // 2])
            boxes.extend((half, candidates) for half in halves)
            continue
        here, there = here.T, there.take(kept, axis=1).T
        step = max(1, _MANY_PAIRS // len(candidates))
        for start in range(0, len(inside), step):
            part = slice(start, start + step)
            found = cdist(here[part], there, "sqeuclidean").argmin(axis=1)
            nearest_one[inside[part]] = candidates[found]
    return _lengths(points - targets[nearest_one], sizes)


def _lengths(steps: NDArray[np.intp], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths in mm of steps on the lattice."""
    lengths: NDArray[np.float64] = np.sqrt(((steps * sizes) ** 2).sum(axis=1))
    return lengths


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
    lengths = _lengths(steps, sizes)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius]
    lengths, starts = np.unique(lengths[order], return_index=True)
    return tuple(zip(lengths.tolist(), np.split(steps[order], starts[1:]), strict=True))
