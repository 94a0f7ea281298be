"""Kidneys and their tumours, in the anatomy's frame (see `_anatomy`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from miscnn.datasets._fields import FloatArray, Matrix, Waves, draw_waves
from miscnn.datasets._shapes import (
    Distance,
    Points,
    Solid,
    Tissue,
    Vector,
    ellipsoid_distance,
    local_frame,
    overlap,
    rotation,
)

Contrast = dict[Tissue, float]
_KIDNEY: Vector = (27.0, 23.0, 54.0)
_CURVE = 8.0 / 54.0**2  # the poles of a kidney lie 8 mm nearer to the midline than its middle


@dataclass(frozen=True)
class Tumour:
    """A renal tumour: centre, half axes (mm) and its unevenness (surface mm, texture HU)."""

    centre: Vector
    semi: Vector
    turn: Matrix
    lumps: Waves
    texture: Waves
    core: float


@dataclass(frozen=True)
class Kidney:
    """A kidney: centre, own axes (columns: lateral, sagittal, long), half axes, tumours."""

    centre: Vector
    turn: Matrix
    semi: Vector
    tumours: tuple[Tumour, ...]


def draw_kidneys(rng: np.random.Generator) -> list[Kidney]:
    """Two kidneys with one to three tumours between them."""
    kidneys = []
    count = 1 + int(rng.uniform() < 0.25) + int(rng.uniform() < 0.1)
    sides = rng.permutation(2)
    for number, side in enumerate((-1, 1)):
        jitter = rng.normal(0, (3, 3, 6))
        x, y, z = np.add((side * 63, -36, -4 - side * 7), jitter).tolist()
        a, b, c = (np.array(_KIDNEY) * rng.uniform(0.9, 1.12, 3)).tolist()
        tilt = np.deg2rad(rng.normal((12, 10, 30), (3, 3, 6)))
        # Upper pole towards the midline and the back; the hilum looks forwards and inwards.
        long = np.array([-side * np.sin(tilt[0]), -np.sin(tilt[1]), 1.0])
        long /= np.linalg.norm(long)
        lateral = np.array([side * np.cos(tilt[2]), -np.sin(tilt[2]), 0.0])
        lateral -= long * (long @ lateral)
        lateral /= np.linalg.norm(lateral)
        turn = np.stack([lateral, np.cross(long, lateral), long], axis=1)
        tumours = tuple(
            _draw_tumour(rng, np.array([x, y, z]), turn, (a, b, c), side, main=n == 0)
            for n in range(count)
            if sides[n % 2] == number
        )
        kidneys.append(Kidney((x, y, z), turn, (a, b, c), tumours))
    return kidneys


def _draw_tumour(
    rng: np.random.Generator, centre: Matrix, turn: Matrix, semi: Vector, side: int, *, main: bool
) -> Tumour:
    """A tumour on the surface of a kidney: the main one 17 to 30 mm, others 8 to 14 mm."""
    radius = float(rng.uniform(17, 30) if main else rng.uniform(8, 14))
    # Away from the hilum and the muscles of the back: at the side, in front, or at a pole.
    angle, height = side * rng.uniform(-0.15, 0.5) * np.pi, rng.uniform(-0.85, 0.85)
    flat = np.sqrt(1 - height**2)
    direction = np.array([flat * np.cos(angle), flat * np.sin(angle), height])
    surface = direction / np.linalg.norm(direction / np.array(semi))
    surface[0] -= _CURVE * surface[2] ** 2
    surface -= direction * radius * rng.uniform(-0.15, 0.55)
    x, y, z = (centre + turn @ surface).tolist()
    a, b, c = (radius * rng.uniform(0.88, 1.14, 3)).tolist()
    spin = rotation(2, rng.uniform(0, 180)) @ rotation(0, rng.uniform(0, 180))
    lumps = draw_waves(rng, 10, (0.9 * radius, 2.5 * radius), 0.06 * radius)
    texture = draw_waves(rng, 16, (8, max(12.0, radius)), rng.uniform(4, 9))
    core = rng.uniform(0.35, 0.6) if radius > 17 and rng.uniform() < 0.4 else 0.0
    return Tumour((x, y, z), (a, b, c), spin, lumps, texture, core)


def _bean(kidney: Kidney) -> Distance:
    """The outline of a kidney without its sinus."""

    def distance(points: Points) -> FloatArray:
        x, y, z = local_frame(points, kidney.centre, kidney.turn)
        return ellipsoid_distance(x + np.float32(_CURVE) * z * z, y, z, kidney.semi)

    return distance


def _parenchyma(kidney: Kidney) -> Distance:
    """A kidney with the sinus cut out of its inner side."""
    bean = _bean(kidney)

    def distance(points: Points) -> FloatArray:
        x, y, z = local_frame(points, kidney.centre, kidney.turn)
        sinus = ellipsoid_distance(x + np.float32(0.8 * kidney.semi[0]), y, z, (18, 9, 20))
        return overlap(bean(points), -sinus, points.wall + np.float32(2))

    return distance


def _growth(tumour: Tumour, share: float = 1.0) -> Distance:
    """A tumour, or the core that takes ``share`` of its radius."""

    def distance(points: Points) -> FloatArray:
        local = local_frame(points, tumour.centre, tumour.turn)
        semi = (tumour.semi[0] * share, tumour.semi[1] * share, tumour.semi[2] * share)
        value = ellipsoid_distance(*local, semi) + points.field(tumour.lumps)
        return overlap(value, points.wall + np.float32(1.5))

    return distance


def renal_solids(
    rng: np.random.Generator, contrast: Contrast, kidneys: Sequence[Kidney]
) -> tuple[Solid, list[Solid]]:
    """The fat round the kidneys, and what lies in it: parenchyma, medulla, tumours."""
    beans = [_bean(kidney) for kidney in kidneys]
    growths = [_growth(tumour) for kidney in kidneys for tumour in kidney.tumours]
    # Where the field is below -5 mm (a tenth of the surface), a kidney touches its neighbours.
    thickness = draw_waves(rng, 12, (40, 120), 4)

    def rim(points: Points) -> FloatArray:
        value = np.minimum(beans[0](points), beans[1](points))
        for growth in growths:
            value = np.minimum(value, growth(points))
        value = value - np.maximum(points.field(thickness) + np.float32(5), 0)
        return overlap(value, points.wall + 1)

    ahead = rng.uniform(18, 36)  # by how much the cortex is brighter than the medulla, HU
    solids, growing = [], []
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for kidney in kidneys:
        reach = np.array([45.0, 45.0, 70.0])
        corner, opposite = kidney.centre - reach, kidney.centre + reach
        low, high = np.minimum(low, corner), np.maximum(high, opposite)
        whole = _parenchyma(kidney)
        box = (_vector(corner), _vector(opposite))
        hu = contrast[Tissue.KIDNEY]
        solids.append(Solid(Tissue.KIDNEY, hu + ahead / 3, *box, whole))
        pyramids = draw_waves(rng, 16, (16, 26), 6)
        solids.append(Solid(Tissue.KIDNEY, hu - ahead * 2 / 3, *box, _medulla(kidney, pyramids)))
        for tumour in kidney.tumours:
            # The lumps may reach half a radius beyond the half axes.
            corner = np.array(tumour.centre) - 1.5 * max(tumour.semi)
            opposite = np.array(tumour.centre) + 1.5 * max(tumour.semi)
            low, high = np.minimum(low, corner), np.maximum(high, opposite)
            box = (_vector(corner), _vector(opposite))
            mass = contrast[Tissue.TUMOUR]
            growing.append(Solid(Tissue.TUMOUR, mass, *box, _growth(tumour), tumour.texture))
            if tumour.core:
                core = _growth(tumour, tumour.core)
                growing.append(Solid(Tissue.TUMOUR, max(mass - 30, 25), *box, core, tumour.texture))
    fat = Solid(Tissue.FAT, contrast[Tissue.FAT] + 3, _vector(low - 12), _vector(high + 12), rim)
    return fat, solids + growing


def _medulla(kidney: Kidney, pyramids: Waves) -> Distance:
    """The inner part of a kidney, 7 mm below its surface, parted by columns of cortex."""
    bean, whole = _bean(kidney), _parenchyma(kidney)

    def distance(points: Points) -> FloatArray:
        columns = points.field(pyramids) - np.float32(2)
        return overlap(bean(points) + np.float32(7), whole(points), columns)

    return distance


def _vector(values: Matrix) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
