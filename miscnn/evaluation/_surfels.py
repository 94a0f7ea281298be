"""The surface of a mask as small pieces with an area: surfels.

Between every 2 x 2 x 2 voxels (2 x 2 pixels) lies a point of a lattice. Which of the eight belong
to the mask is its *code*; where some do and some do not, the surface passes through, as marching
cubes draw it through the midpoints of the edges between the voxels (Lorensen and Cline, SIGGRAPH
1987, 163). The area of what is drawn there is the area of the surfel, which lies at the point.
This is the surface of the package surface-distance (Nikolov et al., JMIR 23:e26151, 2021), with
the same areas and places; the table of areas is derived here, not copied:

- Which side a piece faces does not matter: codes that are complements of each other have the same
  pieces, those of the one with the fewer voxels inside.
- On a face with two opposite corners inside these are kept apart.
- A polygon with more than three corners is cut into triangles from one of its corners: from the
  one that gives the largest area for cubic voxels.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Surfels:
    """Where the surface of a mask passes between voxels, and how much of it.

    Attributes
    ----------
    shape : tuple of int
        Shape of the lattice: two more than the mask along each axis (the last ones are always
        free), and a margin on both sides.
    occupied : ndarray of bool
        Flat: whether a surfel lies at the point.
    places : ndarray
        Flat indices of these points, ascending.
    areas : ndarray of float64
        Of each surfel in mm² (2D: length in mm).
    """

    shape: tuple[int, ...]
    occupied: NDArray[np.bool_]
    places: NDArray[np.intp]
    areas: NDArray[np.float64]

    def indices(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return where points of the lattice lie in steps along each axis, ``(n, axes)``."""
        return np.stack(np.unravel_index(places, self.shape), axis=-1)


def surfels(
    mask: NDArray[np.bool_], spacing: Sequence[float], margin: Sequence[int] | None = None
) -> Surfels:
    """Find the surfels of a mask; what lies outside of the array is outside of the mask.

    Parameters
    ----------
    mask : ndarray of bool
        2 or 3 axes.
    spacing : sequence of float
        Voxel size per axis in mm.
    margin : sequence of int, optional
        Empty points of the lattice around it, on both sides of each axis.
    """
    margin = (0,) * mask.ndim if margin is None else tuple(margin)
    shape = tuple(n + 2 + 2 * m for n, m in zip(mask.shape, margin, strict=True))
    n_points = math.prod(shape)
    # Up to a whole number of words, which are shifted at once: no bit gets into the next byte.
    codes = np.zeros(-(-n_points // 8) * 8, np.uint8)
    inner = tuple(slice(m + 1, m + 1 + n) for n, m in zip(mask.shape, margin, strict=True))
    codes[:n_points].reshape(shape)[inner] = mask
    # Bit by bit: neighbours along the last axis first, then pairs of pairs. In one long row: the
    # ends of its lines are empty on both sides, so that none runs on into the next.
    for axis in reversed(range(mask.ndim)):
        stride = math.prod(shape[axis + 1 :])
        shifted = (codes.view(np.uint64) << np.uint64(1 << (mask.ndim - 1 - axis))).view(np.uint8)
        shifted[:-stride] |= codes[stride:]
        codes = shifted
    full = (1 << (1 << mask.ndim)) - 1
    # 0 - 1 is 255: one comparison finds what is neither empty nor full.
    codes = codes[:n_points]
    occupied = (codes - np.uint8(1)) < full - 1
    places = np.flatnonzero(occupied)
    areas = surfel_sizes(tuple(float(s) for s in spacing)).take(codes.take(places))
    return Surfels(shape, occupied, places, areas)


@functools.lru_cache(maxsize=64)
def surfel_sizes(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the area in mm² (length in mm for two axes) of each code; not to be written to."""
    if len(spacing) == 2:
        sizes = _lengths(spacing)
    else:
        codes, triangles = _triangles()
        corners = triangles * (np.asarray(spacing, dtype=np.float64) / 2.0)
        sides = corners[:, 1:] - corners[:, :1]
        areas = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2.0
        sizes = np.bincount(codes, weights=areas, minlength=256).astype(np.float64)
    sizes.setflags(write=False)
    return sizes


def _lengths(spacing: Sequence[float]) -> NDArray[np.float64]:
    first, second = map(float, spacing)
    diagonal = float(np.hypot(first, second)) / 2.0
    # Codes of neighbours (0,0) (0,1) (1,0) (1,1), the first in the highest bit.
    sizes = np.zeros(16)
    for code in range(1, 15):
        inside = [bool(code & 8), bool(code & 4), bool(code & 2), bool(code & 1)]
        if sum(inside) in (1, 3):
            sizes[code] = diagonal
        elif inside[0] == inside[3]:  # opposite corners: two pieces
            sizes[code] = 2.0 * diagonal
        else:  # a straight line along the axis in which the two are neighbours
            sizes[code] = second if inside[0] == inside[1] else first
    return sizes


@functools.cache
def _triangles() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the triangles of all codes ``(n, 3, 3)``, in half voxels, and whose they are."""
    codes, triangles = [], []
    for code in range(256):
        seen = code if code.bit_count() <= 4 else 255 - code
        for polygon in _polygons(seen):
            for triangle in _fan(polygon):
                codes.append(code)
                triangles.append(triangle)
    return np.array(codes, dtype=np.intp), np.array(triangles, dtype=np.float64)


def _polygons(code: int) -> list[list[Corner]]:
    """Return the closed lines in which the surface leaves the cube, by midpoints of edges."""
    # The first corner has the highest bit.
    inside = {
        corner: bool(code >> (7 - number) & 1)
        for number, corner in enumerate(itertools.product((0, 1), repeat=3))
    }
    neighbours: dict[Corner, list[Corner]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        ring = []
        for u, v in ((0, 0), (0, 1), (1, 1), (1, 0)):
            corner = [u, v]
            corner.insert(axis, side)
            ring.append(tuple(corner))
        edges = [
            tuple(a + b for a, b in zip(ring[k], ring[(k + 1) % 4], strict=True)) for k in range(4)
        ]
        cut = [k for k in range(4) if inside[ring[k]] != inside[ring[(k + 1) % 4]]]
        if len(cut) == 2:
            pairs = [(edges[cut[0]], edges[cut[1]])]
        else:  # none, or four: around each of the two corners inside
            pairs = [(edges[k - 1], edges[k]) for k in cut if inside[ring[k]]]
        for one, other in pairs:
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    return _closed_lines(neighbours)


def _closed_lines(neighbours: dict[Corner, list[Corner]]) -> list[list[Corner]]:
    lines: list[list[Corner]] = []
    left = dict.fromkeys(neighbours)
    while left:
        line = [next(iter(left))]
        while line[-1] in left:
            del left[line[-1]]
            line.extend([n for n in neighbours[line[-1]] if n in left][:1])
        lines.append(line)
    return lines


def _fan(polygon: list[Corner]) -> list[list[Corner]]:
    """Cut a polygon into triangles from the corner that gives the largest area."""
    fans = []
    for first in range(len(polygon)):
        turned = polygon[first:] + polygon[:first]
        fans.append([[turned[0], *pair] for pair in itertools.pairwise(turned[1:])])
    return max(fans, key=_twice_the_area)


def _twice_the_area(triangles: list[list[Corner]]) -> float:
    corners = np.array(triangles, dtype=np.float64)
    sides = corners[:, 1:] - corners[:, :1]
    # Rounded, so that equal areas are equal and the first one wins.
    return round(float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum()), 9)
