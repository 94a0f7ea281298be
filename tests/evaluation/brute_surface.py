"""Surfels and their distances, slowly: one lattice point, one triangle, one pair at a time.

Nothing is shared with the library: the pieces of the surface are found by walking around the faces
of each cube of voxels, in mm.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, ...]


@dataclass(frozen=True)
class BruteDistances:
    """All distances and areas of two surfaces."""

    there: NDArray[np.float64]
    back: NDArray[np.float64]
    areas_truth: NDArray[np.float64]
    areas_prediction: NDArray[np.float64]

    def hausdorff(self, percent: float) -> float:
        """The distance that is reached when the areas are added up, nearest first."""
        found = []
        for distances, areas in (
            (self.there, self.areas_truth),
            (self.back, self.areas_prediction),
        ):
            needed = percent / 100 * math.fsum(areas) * (1 - 1e-9)
            total = 0.0
            for distance, area in sorted(zip(distances, areas, strict=True)):
                total += area
                if total >= needed:
                    found.append(distance)
                    break
        return max(found)

    def mean(self, power: int = 1) -> float:
        distances = np.concatenate([self.there, self.back])
        areas = np.concatenate([self.areas_truth, self.areas_prediction])
        return float(np.average(distances**power, weights=areas) ** (1 / power))

    def within(self, tolerance: float) -> float:
        distances = np.concatenate([self.there, self.back])
        areas = np.concatenate([self.areas_truth, self.areas_prediction])
        return math.fsum(areas[distances <= tolerance]) / math.fsum(areas)


def brute_surfels(
    mask: NDArray[np.bool_], spacing: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in mm and areas of the surfels of a mask."""
    places, areas = [], []
    for corner in itertools.product(*(range(-1, n) for n in mask.shape)):
        inside = {}
        for step in itertools.product((0, 1), repeat=mask.ndim):
            voxel = tuple(a + b for a, b in zip(corner, step, strict=True))
            within = all(0 <= v < n for v, n in zip(voxel, mask.shape, strict=True))
            inside[step] = within and bool(mask[voxel])
        if 0 < sum(inside.values()) < len(inside):
            places.append([(a + 0.5) * s for a, s in zip(corner, spacing, strict=True)])
            areas.append((_length if mask.ndim == 2 else _area)(inside, spacing))
    return np.array(places).reshape(-1, mask.ndim), np.array(areas)


def brute_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: tuple[float, ...]
) -> BruteDistances:
    """Every surfel against every other."""
    (a, areas_a), (b, areas_b) = (brute_surfels(mask, spacing) for mask in (truth, prediction))
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return BruteDistances(table.min(axis=1), table.min(axis=0), areas_a, areas_b)


def _length(inside: dict[tuple[int, ...], bool], spacing: tuple[float, ...]) -> float:
    return math.fsum(math.dist(*segment) for segment in _segments(inside, spacing))


def _area(inside: dict[tuple[int, ...], bool], spacing: tuple[float, ...]) -> float:
    """Area of the triangles through the midpoints of a cube's edges."""
    if sum(inside.values()) > 4:  # the surface looks the same from the other side
        inside = {corner: not value for corner, value in inside.items()}
    segments = []
    for axis, side in itertools.product(range(3), (0, 1)):
        rest = [a for a in range(3) if a != axis]
        face = {
            (corner[rest[0]], corner[rest[1]]): value
            for corner, value in inside.items()
            if corner[axis] == side
        }
        for segment in _segments(face, (1.0, 1.0)):  # in voxels
            segments.append([(*p[:axis], float(side), *p[axis:]) for p in segment])
    return math.fsum(_polygon_area(polygon, spacing) for polygon in _polygons(segments))


def _segments(inside: dict[tuple[int, ...], bool], spacing: tuple[float, ...]) -> list[list[Point]]:
    """Lines through the midpoints of the sides of a square, which cut off what is inside."""
    x, y = spacing
    middles = {
        ((0, 0), (0, 1)): (0.0, y / 2),
        ((1, 0), (1, 1)): (x, y / 2),
        ((0, 0), (1, 0)): (x / 2, 0.0),
        ((0, 1), (1, 1)): (x / 2, y),
    }
    cut = [sides for sides in middles if inside[sides[0]] != inside[sides[1]]]
    if len(cut) == 4:  # opposite corners, each cut off by itself
        return [
            [middles[sides] for sides in cut if corner in sides]
            for corner in inside
            if inside[corner]
        ]
    return [[middles[sides] for sides in cut]] if cut else []


def _polygons(segments: list[list[Point]]) -> list[list[Point]]:
    left = [tuple(segment) for segment in segments]
    polygons = []
    while left:
        first, last = left.pop()
        polygon = [first, last]
        while polygon[0] != polygon[-1]:
            (following,) = (s for s in left if polygon[-1] in s)
            left.remove(following)
            polygon.append(following[1] if following[0] == polygon[-1] else following[0])
        polygons.append(polygon[:-1])
    return polygons


def _polygon_area(polygon: list[Point], spacing: tuple[float, ...]) -> float:
    """Area in mm² of the fan of triangles that is the largest for cubic voxels."""
    fans = []
    for first in range(len(polygon)):
        turned = polygon[first:] + polygon[:first]
        fans.append([(turned[0], *pair) for pair in itertools.pairwise(turned[1:])])
    cubic = [round(math.fsum(_triangle(t, (1.0, 1.0, 1.0)) for t in fan), 9) for fan in fans]
    equal = [fan for fan, area in zip(fans, cubic, strict=True) if area == max(cubic)]
    areas = {round(math.fsum(_triangle(t, spacing) for t in fan), 9) for fan in equal}
    assert len(areas) == 1, "which of the fans is taken would matter"
    return areas.pop()


def _triangle(corners: tuple[Point, ...], spacing: tuple[float, ...]) -> float:
    """Heron's formula."""
    points = [[c * s for c, s in zip(corner, spacing, strict=True)] for corner in corners]
    a, b, c = sorted(math.dist(*pair) for pair in itertools.combinations(points, 2))
    product = (a + (b + c)) * (c - (b - a)) * (c + (b - a)) * (a + (b - c))
    return math.sqrt(max(product, 0.0)) / 4
