"""Where things lie in a schematic abdomen, and how that varies from patient to patient.

All positions are in the anatomy's own frame: millimetres of a patient of average size,
x to the patient's right, y anterior, z superior; the origin lies in the midline in front of
the spine, half way up the kidneys. `Anatomy` bends and scales that frame into the patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miscnn.datasets._fields import FloatArray, Matrix, Waves, draw_waves, join
from miscnn.datasets._organs import bowel, chest, solid_organs, vessels
from miscnn.datasets._renal import Kidney, draw_kidneys, renal_solids
from miscnn.datasets._shapes import (
    Distance,
    Points,
    Solid,
    Tissue,
    Vector,
    capsule,
    ellipsoid,
    oval_distance,
    overlap,
)

Oval = tuple[tuple[float, float], tuple[float, float]]  # centre and half axes, mm
_FAR = 1e4
_VERTEBRA = 35.0  # from one vertebra to the next, mm
_MUSCLE: Oval = ((0.0, -4.0), (138.0, 96.0))
_CAVITY: Oval = ((0.0, 2.0), (126.0, 78.0))


@dataclass(frozen=True)
class Anatomy:
    """One patient.

    Attributes
    ----------
    scale : array (3,)
        Size of the patient relative to the average, along x, y and z.
    bend : tuple of 3 Waves
        Displacement, mm, that is added to a position in the patient before it is scaled.
    surroundings : tuple of Solid
        All tissues but the kidneys, in the order in which they are painted.
    kidneys : tuple of Solid
        Kidneys and tumours, painted after everything else.
    body : tuple
        Centre and half axes of the skin's outline, anatomy's frame, mm.
    centres : array (n, 3)
        Centres of the kidneys (2) and then of the tumours, anatomy's frame, mm.
    """

    scale: Matrix
    bend: tuple[Waves, Waves, Waves]
    surroundings: tuple[Solid, ...]
    kidneys: tuple[Solid, ...]
    body: Oval
    centres: Matrix

    @property
    def tissues(self) -> tuple[Solid, ...]:
        """Everything in the order in which it is painted."""
        return self.surroundings + self.kidneys

    def wall(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Distance to the inner surface of the muscular wall, mm, negative within."""
        return oval_distance(x, y, *_CAVITY)


def draw_anatomy(
    rng: np.random.Generator, contrast: dict[Tissue, float], *, with_kidneys: bool = True
) -> Anatomy:
    """Draw a patient whose tissues have the given mean HU."""
    scale = rng.normal((1.04, 1.02, 1.0), (0.05, 0.04, 0.05)).clip(0.9, 1.18)
    bend = (_draw_bend(rng), _draw_bend(rng), _draw_bend(rng))
    # Fat under the skin: at the flanks, in front, behind.
    flank, front, back = rng.uniform((10, 8, 8), (30, 30, 22))
    body: Oval = (
        (0.0, _MUSCLE[0][1] + (front - back) / 2),
        (_MUSCLE[1][0] + flank, _MUSCLE[1][1] + (front + back) / 2),
    )
    kidneys = draw_kidneys(rng)
    solids = [
        *_trunk(contrast, body),
        *chest(rng, contrast),
        *_ribs(rng, contrast),
        *solid_organs(rng, contrast),
        *bowel(rng, contrast),
    ]
    renal: list[Solid] = []
    if with_kidneys:
        rim, renal = renal_solids(rng, contrast, kidneys)
        solids.append(rim)
    solids += [*vessels(rng, contrast), *_muscles(rng, contrast), *_spine(rng, contrast)]
    return Anatomy(scale, bend, tuple(solids), tuple(renal), body, _centres(kidneys))


def _draw_bend(rng: np.random.Generator) -> Waves:
    return join(draw_waves(rng, 6, (110, 260), 4.0), draw_waves(rng, 8, (35, 80), 1.1))


def _centres(kidneys: list[Kidney]) -> Matrix:
    points = [kidney.centre for kidney in kidneys]
    points += [tumour.centre for kidney in kidneys for tumour in kidney.tumours]
    return np.array(points)


def _everywhere(tissue: Tissue, hu: float, distance: Distance) -> Solid:
    return Solid(tissue, hu, (-_FAR, -_FAR, -_FAR), (_FAR, _FAR, _FAR), distance)


def _trunk(contrast: dict[Tissue, float], body: Oval) -> list[Solid]:
    """Table, skin, fat under the skin, muscular wall, fat of the cavity."""
    table_top = body[0][1] - body[1][1] - 2

    def table(points: Points) -> FloatArray:
        # A shallow trough, 3 mm thick.
        top = points.y - np.float32(table_top) - points.x * points.x * np.float32(6e-4)
        shell: FloatArray = np.abs(top + 6) - np.float32(3)
        return overlap(shell, np.abs(points.x) - np.float32(190))

    def outline(points: Points) -> FloatArray:
        return oval_distance(points.x, points.y, *body)

    def muscle(points: Points) -> FloatArray:
        return oval_distance(points.x, points.y, *_MUSCLE)

    def cavity(points: Points) -> FloatArray:
        return points.wall

    (_, y), (a, b) = body
    low, high = (-a, y - b, -_FAR), (a, y + b, _FAR)
    return [
        Solid(
            Tissue.TABLE,
            contrast[Tissue.TABLE],
            (-190, table_top - 10, -_FAR),
            (190, table_top + 20, _FAR),
            table,
        ),
        Solid(
            Tissue.SKIN,
            contrast[Tissue.SKIN],
            low,
            high,
            outline,
            core=(Tissue.FAT, contrast[Tissue.FAT], 2.5),
        ),
        Solid(Tissue.MUSCLE, contrast[Tissue.MUSCLE], low, high, muscle),
        Solid(Tissue.FAT, contrast[Tissue.FAT] + 3, low, high, cavity),
    ]


def _ribs(rng: np.random.Generator, contrast: dict[Tissue, float]) -> list[Solid]:
    """Ribs above the costal margin and the wings of the ilium below."""
    start = rng.uniform(0, 27)

    def ribs(points: Points) -> FloatArray:
        # A rib runs down to the front; one every 27 mm.
        level = points.z + np.float32(0.35) * points.y
        step = np.mod(level - np.float32(start), np.float32(27)) - np.float32(13.5)
        across = points.wall - np.float32(6)
        rod = np.sqrt((across / np.float32(3.6)) ** 2 + (step / np.float32(6)) ** 2)
        margin = np.maximum(points.y - 10, 0) * np.float32(1.1) - np.float32(22)
        return overlap((rod - 1) * np.float32(4), margin - points.z)

    def ilium(points: Points) -> FloatArray:
        # The wings lean inwards on their way down, as the pelvis narrows.
        crest = np.float32(-82) - np.float32(0.010) * (points.y + 25) ** 2 - points.z
        plate = np.abs(points.wall - 3 + np.float32(0.22) * crest) - np.float32(5)
        beside = np.float32(45) - np.abs(points.x)
        return overlap(plate, -crest, beside, points.y - 40)

    crust, spongy = Tissue.CORTICAL_BONE, contrast[Tissue.MARROW]
    bone = contrast[crust] * 0.8
    low, high = (-150.0, -100.0, -30.0), (150.0, 90.0, _FAR)
    low_pelvis, high_pelvis = (-150.0, -100.0, -300.0), (150.0, 50.0, -80.0)
    return [
        Solid(crust, bone, low, high, ribs, core=(Tissue.MARROW, spongy, 2)),
        Solid(crust, bone, low_pelvis, high_pelvis, ilium, core=(Tissue.MARROW, spongy, 2.5)),
    ]


def _muscles(rng: np.random.Generator, contrast: dict[Tissue, float]) -> list[Solid]:
    """Psoas, quadratus lumborum, erector spinae, and the fat that parts the back's muscles."""
    hu = contrast[Tissue.MUSCLE]
    size = rng.uniform(0.85, 1.15)
    solids = []
    for side in (-1, 1):
        path: list[Vector] = [
            (side * 30, -48, 35),
            (side * 38, -48, -30),
            (side * 48, -42, -110),
            (side * 62, -10, -200),
        ]
        radii = [6 * size, 14 * size, 20 * size, 19 * size]
        for n in range(3):
            distance, low, high = capsule(path[n], path[n + 1], (radii[n], radii[n + 1]))
            solids.append(Solid(Tissue.MUSCLE, hu, low, high, distance))
        for x, y, z, semi in (
            (66.0, -70.0, -40.0, (20 * size, 10, 70)),
            (33.0, -81.0, -40.0, (27 * size, 19 * size, 400)),
        ):
            distance, low, high = ellipsoid((side * x, y, z), semi)
            solids.append(Solid(Tissue.MUSCLE, hu, low, high, distance))
        for x, y, a, b in ((34, -93, 30, 4), (57, -84, 5, 13)):
            distance, low, high = ellipsoid((side * float(x), y, -40), (a, b, 120))
            solids.append(Solid(Tissue.FAT, contrast[Tissue.FAT] + 15, low, high, distance))
    return solids


def _spine(rng: np.random.Generator, contrast: dict[Tissue, float]) -> list[Solid]:
    """Vertebrae with arch, processes and canal; discs between them."""
    start = rng.uniform(0, _VERTEBRA)
    column: Oval = ((0.0, -42.0), (23.0, 17.0))

    def level(points: Points) -> FloatArray:
        period = np.float32(_VERTEBRA)
        step: FloatArray = np.mod(points.z - np.float32(start), period) - period / 2
        return step

    def disc(points: Points) -> FloatArray:
        return oval_distance(points.x, points.y, *column)

    def vertebra(points: Points) -> FloatArray:
        return overlap(disc(points), np.abs(level(points)) - np.float32(13))

    def canal(points: Points) -> FloatArray:
        distance: FloatArray = np.hypot(points.x, points.y + 69) - np.float32(9)
        return distance

    def arch(points: Points) -> FloatArray:
        step = level(points)
        ring = np.hypot(points.x / np.float32(1.25), points.y + 69) - np.float32(15)
        rods = np.minimum(
            _rod(points, step, (14, -64), (40, -68), 5), _rod(points, step, (0, -80), (0, -99), 4.5)
        )
        joined: FloatArray = np.minimum(overlap(ring, np.abs(step) - 11), rods)
        return joined

    bone, spongy = contrast[Tissue.CORTICAL_BONE], contrast[Tissue.MARROW]
    low, high = (-46.0, -105.0, -_FAR), (46.0, -24.0, _FAR)
    low_body, high_body = (-24.0, -60.0, -_FAR), (24.0, -24.0, _FAR)
    return [
        Solid(Tissue.DISC, contrast[Tissue.DISC], low_body, high_body, disc),
        Solid(Tissue.CORTICAL_BONE, bone * 0.75, low, high, arch),
        Solid(
            Tissue.CORTICAL_BONE,
            bone * 0.8,
            low_body,
            high_body,
            vertebra,
            core=(Tissue.MARROW, spongy, 2.5),
        ),
        Solid(
            Tissue.SPINAL_CANAL,
            contrast[Tissue.SPINAL_CANAL],
            (-9, -78, -_FAR),
            (9, -60, _FAR),
            canal,
        ),
    ]


def _rod(
    points: Points,
    step: FloatArray,
    start: tuple[float, float],
    stop: tuple[float, float],
    radius: float,
) -> FloatArray:
    """A horizontal rod on either side of the midline, once per vertebra."""
    along = np.subtract(stop, start)
    x, y = np.abs(points.x) - np.float32(start[0]), points.y - np.float32(start[1])
    share: FloatArray = x * np.float32(along[0]) + y * np.float32(along[1])
    share = np.clip(share / np.float32(along @ along), 0, 1)
    x, y = x - share * np.float32(along[0]), y - share * np.float32(along[1])
    distance: FloatArray = np.sqrt(x * x + y * y + step * step)
    distance -= np.float32(radius)
    return distance
