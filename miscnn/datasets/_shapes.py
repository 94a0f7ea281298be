"""Solids given by their signed distance, in mm, negative inside.

The distances are first-order approximations: right at the surface, where the painter turns
them into the share of a voxel that the solid fills, and only of the right sign far away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn.datasets._fields import Box, FloatArray, Matrix, Waves

Vector = tuple[float, float, float]


class Tissue(IntEnum):
    """What a voxel of the phantom consists of; the values of ``PhantomSubject.organs``."""

    AIR = 0
    KIDNEY = 1
    TUMOUR = 2
    FAT = 3
    MUSCLE = 4
    CORTICAL_BONE = 5
    MARROW = 6
    DISC = 7
    SPINAL_CANAL = 8
    LIVER = 9
    SPLEEN = 10
    PANCREAS = 11
    GALLBLADDER = 12
    ARTERY = 13
    VEIN = 14
    BOWEL_WALL = 15
    BOWEL_CONTENT = 16
    BOWEL_GAS = 17
    LUNG = 18
    HEART = 19
    BLADDER = 20
    SKIN = 21
    TABLE = 22


@dataclass(frozen=True)
class Points:
    """Positions in the anatomy's own frame (mm; x right, y anterior, z superior).

    ``wall`` is the distance to the inner surface of the trunk's muscular wall, negative
    within; ``affine`` and ``box`` tell where the points lie in the patient, for textures.
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray
    wall: FloatArray
    affine: Matrix
    box: Box

    def field(self, waves: Waves) -> FloatArray:
        """A random field at the points."""
        return waves.sample(self.affine, self.box)


Distance = Callable[[Points], FloatArray]


@dataclass(frozen=True)
class Solid:
    """A piece of tissue.

    Attributes
    ----------
    tissue : Tissue
        What it consists of.
    hu : float
        Its mean intensity, HU.
    low, high : (float, float, float)
        Corners of a box that holds it, mm, in the anatomy's frame.
    distance : callable
        Signed distance of points to its surface, mm.
    texture : Waves, optional
        Added to ``hu``.
    core : (Tissue, float, float), optional
        What it consists of below a crust: tissue, HU, thickness of the crust in mm.
    """

    tissue: Tissue
    hu: float
    low: Vector
    high: Vector
    distance: Distance
    texture: Waves | None = None
    core: tuple[Tissue, float, float] | None = None


def rotation(axis: int, degrees: float) -> Matrix:
    """Rotation (3, 3) about one of the coordinate axes, by the right-hand rule."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def local_frame(
    points: Points, centre: Vector, turn: NDArray[np.float64] | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coordinates along the axes (columns of ``turn``) of a solid centred at ``centre``."""
    x = points.x - np.float32(centre[0])
    y = points.y - np.float32(centre[1])
    z = points.z - np.float32(centre[2])
    if turn is None:
        return x, y, z
    t = turn.astype(np.float32)
    return (
        t[0, 0] * x + t[1, 0] * y + t[2, 0] * z,
        t[0, 1] * x + t[1, 1] * y + t[2, 1] * z,
        t[0, 2] * x + t[1, 2] * y + t[2, 2] * z,
    )


def ellipsoid_distance(x: FloatArray, y: FloatArray, z: FloatArray, semi: Vector) -> FloatArray:
    """Distance of local coordinates to an ellipsoid, first order in the distance."""
    a, b, c = (np.float32(s) for s in semi)
    x, y, z = x / a, y / b, z / c
    radius = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / a, y / b, z / c
    slope = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
    distance: FloatArray = radius * (radius - 1) / slope
    return distance


def ellipsoid(
    centre: Vector, semi: Vector, turn: NDArray[np.float64] | None = None
) -> tuple[Distance, Vector, Vector]:
    """An ellipsoid: its distance and the corners of its box."""

    def distance(points: Points) -> FloatArray:
        return ellipsoid_distance(*local_frame(points, centre, turn), semi)

    matrix = np.eye(3) if turn is None else turn
    reach = np.sqrt((matrix**2) @ np.square(semi))
    return distance, _vector(centre - reach), _vector(centre + reach)


def capsule(
    start: ArrayLike, stop: ArrayLike, radii: tuple[float, float]
) -> tuple[Distance, Vector, Vector]:
    """A round rod whose radius changes evenly from start to stop."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(stop, dtype=np.float64)
    along = last - first
    square = float(along @ along) or 1.0
    direction = (along / square).astype(np.float32)

    def distance(points: Points) -> FloatArray:
        x, y, z = local_frame(points, _vector(first), None)
        share = np.clip(x * direction[0] + y * direction[1] + z * direction[2], 0, 1)
        x = x - share * np.float32(along[0])
        y = y - share * np.float32(along[1])
        z = z - share * np.float32(along[2])
        radius = np.float32(radii[0]) + share * np.float32(radii[1] - radii[0])
        gap: FloatArray = np.sqrt(x * x + y * y + z * z) - radius
        return gap

    reach = max(radii)
    return (
        distance,
        _vector(np.minimum(first, last) - reach),
        _vector(np.maximum(first, last) + reach),
    )


def oval_distance(
    x: FloatArray, y: FloatArray, centre: tuple[float, float], semi: tuple[float, float]
) -> FloatArray:
    """Distance, along the ray from the centre, to a superellipse of exponent 2.5 (a trunk)."""
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    u: FloatArray = np.abs(x) * np.float32(1 / semi[0])
    v: FloatArray = np.abs(y) * np.float32(1 / semi[1])
    level: FloatArray = (u * u * np.sqrt(u) + v * v * np.sqrt(v)) ** np.float32(0.4)
    distance: FloatArray = np.sqrt(x * x + y * y)
    distance -= distance / (level + np.float32(1e-3))
    return distance


def overlap(*distances: FloatArray) -> FloatArray:
    """Distance to what several solids have in common."""
    distance = distances[0]
    for other in distances[1:]:
        distance = np.maximum(distance, other)
    return distance


def _vector(values: Matrix) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
