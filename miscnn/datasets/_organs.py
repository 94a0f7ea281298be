"""The organs of the schematic abdomen, in the anatomy's frame (see `_anatomy`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from miscnn.datasets._fields import FloatArray, draw_waves
from miscnn.datasets._shapes import (
    Distance,
    Points,
    Solid,
    Tissue,
    Vector,
    capsule,
    ellipsoid,
    overlap,
    rotation,
)

Contrast = dict[Tissue, float]


def roof(points: Points) -> FloatArray:
    """Height above the two domes of the diaphragm, mm."""
    domes = []
    for x, peak in ((58, 112), (-58, 102)):
        fall = ((points.x - x) / np.float32(75)) ** 2 + ((points.y - 5) / np.float32(70)) ** 2
        domes.append(peak - np.float32(50) * fall)
    height: FloatArray = points.z - np.maximum(domes[0], domes[1])
    return height


def _inside(distance: Distance, *, gap: float = 2.5, below_roof: bool = False) -> Distance:
    """Keep a solid within the cavity's wall and, on request, below the diaphragm."""

    def kept(points: Points) -> FloatArray:
        value = overlap(distance(points), points.wall + np.float32(gap))
        return overlap(value, roof(points) + np.float32(3)) if below_roof else value

    return kept


def _jitter(rng: np.random.Generator, centre: Vector, semi: Vector) -> tuple[Vector, Vector]:
    """Vary position (sd 4 mm) and size (±12 %) of an organ."""
    x, y, z = np.add(centre, rng.normal(0, 4, 3)).tolist()
    a, b, c = np.multiply(semi, rng.uniform(0.88, 1.12, 3)).tolist()
    return (x, y, z), (a, b, c)


def _pipe(tissue: Tissue, hu: float, path: Sequence[Vector], radii: Sequence[float]) -> list[Solid]:
    pieces = zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True)
    return [
        Solid(tissue, hu, low, high, distance)
        for start, stop, first, last in pieces
        for distance, low, high in [capsule(start, stop, (first, last))]
    ]


def chest(rng: np.random.Generator, contrast: Contrast) -> list[Solid]:
    """Lungs above the diaphragm, and the heart between them."""

    def lungs(points: Points) -> FloatArray:
        front: FloatArray = np.maximum(points.y, 0)
        middle: FloatArray = np.float32(24) - np.abs(points.x) - np.float32(0.3) * front
        return overlap(points.wall + 3, points.z - 280, -roof(points), middle)

    texture = draw_waves(rng, 24, (7, 25), 25)
    heart, low, high = ellipsoid(*_jitter(rng, (-18, 30, 150), (62, 42, 44)))

    def above(points: Points) -> FloatArray:
        return overlap(heart(points), 2 - roof(points))

    return [
        Solid(
            Tissue.LUNG,
            contrast[Tissue.LUNG],
            (-126, -80, 10),
            (126, 80, 290),
            lungs,
            texture,
        ),
        Solid(Tissue.HEART, contrast[Tissue.HEART], low, high, above),
    ]


def solid_organs(rng: np.random.Generator, contrast: Contrast) -> list[Solid]:
    """Liver with its vessels, gallbladder, spleen, pancreas, bladder."""
    right, low, high = ellipsoid(*_jitter(rng, (66, 20, 52), (60, 66, 70)), rotation(1, 8))
    left, _, _ = ellipsoid(*_jitter(rng, (5, 40, 66), (66, 34, 36)), rotation(1, -12))

    def lobes(points: Points) -> FloatArray:
        one, other = right(points), left(points)
        # A smooth union, so that the lobes flow into one another over some 15 mm.
        blend = np.maximum(15 - np.abs(one - other), 0)
        joined: FloatArray = np.minimum(one, other) - blend * blend * np.float32(1 / 60)
        return joined

    vein = contrast[Tissue.VEIN]
    gate: Vector = (38, 14, 45)
    solids = [
        Solid(
            Tissue.LIVER,
            contrast[Tissue.LIVER],
            (-75, low[1] - 5, low[2] - 5),
            (126, 80, high[2] + 5),
            _inside(lobes, below_roof=True),
            draw_waves(rng, 16, (12, 40), 4),
        ),
        *_pipe(Tissue.VEIN, vein, [gate, (66, 20, 55), (85, 5, 62)], [5, 4, 2.5]),
        *_pipe(Tissue.VEIN, vein, [gate, (20, 38, 62), (-10, 48, 68)], [5, 4, 2.5]),
        *_pipe(Tissue.VEIN, vein, [(20, -14, 88), (55, 5, 82), (80, 15, 72)], [5, 4, 2]),
        *_pipe(Tissue.VEIN, vein, [(20, -14, 88), (35, 25, 82), (40, 45, 70)], [4, 3.5, 2]),
    ]
    for tissue, centre, semi, turn, rms in (
        (Tissue.GALLBLADDER, (62, 46, 2), (13, 14, 25), rotation(0, 25), 0.0),
        (Tissue.SPLEEN, (-96, -26, 52), (25, 46, 50), rotation(2, -20), 3.0),
        (Tissue.BLADDER, (0, 22, -235), (45, 35, 32), rotation(0, 0), 0.0),
    ):
        distance, low, high = ellipsoid(*_jitter(rng, centre, semi), turn)
        texture = draw_waves(rng, 12, (10, 30), rms)
        kept = _inside(distance, below_roof=True)
        solids.append(Solid(tissue, contrast[tissue], low, high, kept, texture if rms else None))
    path: list[Vector] = [(32, 16, -8), (8, 16, 12), (-35, 4, 22), (-72, -8, 32)]
    radii = (rng.uniform(0.85, 1.15) * np.array([14, 11, 10, 8])).tolist()
    solids += _pipe(Tissue.PANCREAS, contrast[Tissue.PANCREAS], path, radii)
    return solids


def vessels(rng: np.random.Generator, contrast: Contrast) -> list[Solid]:
    """Aorta, inferior vena cava, renal, mesenteric, portal and iliac vessels."""
    artery, vein = contrast[Tissue.ARTERY], contrast[Tissue.VEIN]
    wide = rng.uniform(8.5, 12)
    fork: Vector = (-6, -14, -72)
    solids = _pipe(
        Tissue.ARTERY, artery, [(-14, -22, 300), (-10, -14, 60), fork], [wide * 1.1, wide, wide]
    )
    join: Vector = (16, -16, -78)
    solids += _pipe(
        Tissue.VEIN, vein, [(26, 0, 130), (20, -14, 88), (19, -16, 0), join], [13, 12, 11, 10]
    )
    for side in (-1, 1):
        legs: list[Vector] = [(side * 32, -28, -140), (side * 62, 18, -230)]
        solids += _pipe(Tissue.ARTERY, artery, [fork, *legs], [7, 6, 6])
        below: list[Vector] = [(side * 30 + 4, -38, -142), (side * 56, 8, -230)]
        solids += _pipe(Tissue.VEIN, vein, [join, *below], [8, 7, 7])
        height = 4.0 - 8 * side
        hilum: Vector = (side * 50, -28, height - 4)
        solids += _pipe(Tissue.ARTERY, artery, [(-8, -16, height + 6), hilum], [4, 4])
        front: Vector = (side * 48, -22, height - 6)
        path: list[Vector] = (
            [(18, -12, height), front] if side > 0 else [(14, -8, height), (-12, 0, height), front]
        )  # the left vein crosses before the aorta
        solids += _pipe(Tissue.VEIN, vein, path, [6, 5, 5][: len(path)])
    solids += _pipe(Tissue.ARTERY, artery, [(-9, -6, 14), (-6, 12, -10), (2, 18, -80)], [4, 4, 3])
    solids += _pipe(
        Tissue.VEIN, vein, [(10, 20, -80), (8, 12, -8), (12, 4, 16), (38, 14, 45)], [4, 5.5, 6, 5.5]
    )
    solids += _pipe(Tissue.VEIN, vein, [(12, 4, 16), (-35, -6, 24), (-76, -18, 42)], [5, 4, 3.5])
    return solids


def bowel(rng: np.random.Generator, contrast: Contrast) -> list[Solid]:
    """Stomach, colon and loops of small bowel, filled with fluid, stool, contrast or gas."""
    positive = rng.uniform() < 0.25  # the patient drank contrast agent
    fluid = contrast[Tissue.BOWEL_CONTENT]
    stool = draw_waves(rng, 32, (7, 22), 55)
    outer: list[Solid] = []
    inner: list[Solid] = []

    def add(
        make: list[tuple[Distance, Vector, Vector]], hu: float, gas: float | None, texture: bool
    ) -> None:
        """Add a piece of gut; gas fills it in front of the level y = ``gas``."""
        for distance, low, high in make:
            outer.append(
                Solid(Tissue.BOWEL_WALL, contrast[Tissue.BOWEL_WALL], low, high, _inside(distance))
            )
            inner.append(
                Solid(
                    Tissue.BOWEL_CONTENT,
                    hu,
                    low,
                    high,
                    _hollow(distance, None),
                    stool if texture else None,
                )
            )
            if gas is not None:
                inner.append(
                    Solid(
                        Tissue.BOWEL_GAS,
                        contrast[Tissue.BOWEL_GAS],
                        low,
                        high,
                        _hollow(distance, gas),
                    )
                )

    hu = rng.uniform(260, 400) if positive else fluid
    centre, semi = _jitter(rng, (-52, 34, 58), (38, 32, 44))
    add([ellipsoid(centre, semi, rotation(1, -25))], hu, centre[1] + rng.uniform(-5, 15), False)
    # Small bowel: short loops on a jittered lattice.
    for x in np.arange(-72, 73, 29.0):
        for y in (18.0, 50.0):
            for z in np.arange(-175, -8, 27.0):
                middle = np.add((x, y, z), rng.uniform(-7, 7, 3))
                half = rng.standard_normal(3)
                half *= rng.uniform(10, 19) / np.linalg.norm(half)
                radius, kind = rng.uniform(9, 14.5), rng.uniform()
                if abs(middle[0]) < 45 and middle[1] < 22:  # room for the great vessels
                    middle[1] = 22
                hu = fluid + rng.uniform(-8, 25)
                if positive and rng.uniform() < 0.6:
                    hu = rng.uniform(240, 400)
                gas = middle[1] + rng.uniform(-8, 8) if kind < 0.2 else None
                add([capsule(middle - half, middle + half, (radius, radius))], hu, gas, False)
    # Colon: up on the right, across in front, down on the left.
    path: list[Vector] = [
        (88, 6, -150), (98, 0, -100), (100, -4, -50), (96, 12, -12), (66, 50, -20),
        (20, 60, -32), (-30, 58, -18), (-76, 44, 10), (-100, 10, 22), (-106, -14, -30),
        (-104, -12, -90), (-92, 2, -140), (-60, 8, -175), (-15, -5, -190),
    ]  # fmt: skip
    points = np.array(path) + rng.normal(0, 4, (len(path), 3))
    for n in range(len(points) - 1):
        radius = rng.uniform(13, 21)
        level = points[n : n + 2, 1].mean() + rng.uniform(-10, 16)
        gas = float(level) if rng.uniform() < 0.6 else None
        piece = capsule(points[n], points[n + 1], (radius, radius * rng.uniform(0.75, 1.1)))
        add([piece], fluid + rng.uniform(-10, 20), gas, True)
    return outer + inner


def _hollow(distance: Distance, gas: float | None) -> Distance:
    """The inside of a gut with walls of 2.5 mm; with ``gas``, its part in front of that level."""
    kept = _inside(distance)

    def lumen(points: Points) -> FloatArray:
        value = kept(points) + np.float32(2.5)
        return value if gas is None else overlap(value, np.float32(gas) - points.y)

    return lumen
