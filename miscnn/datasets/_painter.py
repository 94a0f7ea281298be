"""Painting an anatomy on a voxel grid, with partial volume.

Each slice is cut into thin sheets. On a sheet every solid covers a voxel by the share that
its signed distance implies; later solids cover earlier ones by that share, as in image
composition. The mean over a slice's sheets is what the slice shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miscnn.datasets._anatomy import Anatomy
from miscnn.datasets._ct import AIR_HU
from miscnn.datasets._fields import Box, FloatArray, Matrix
from miscnn.datasets._shapes import Points, Solid, Tissue

_SHEET_MM = 2.0  # thickest sheet
_POINTS = 3_000_000  # points that are worked on at once
_STRIDE = (4, 4, 2)  # grid on which the reach of a solid is looked up


@dataclass(frozen=True)
class Painting:
    """What lies in the voxels of a grid.

    Attributes
    ----------
    hu : array (x, y, z), float32
        True intensity, HU.
    organs : array (x, y, z), uint8
        The tissue in the middle of each voxel (`Tissue`), without the kidneys.
    kidney, tumour : array (x, y, z), float32
        The share of each voxel that is kidney or tumour.
    """

    hu: FloatArray
    organs: NDArray[np.uint8]
    kidney: FloatArray
    tumour: FloatArray


def paint(anatomy: Anatomy, affine: Matrix, shape: Sequence[int]) -> Painting:
    """Paint an anatomy on the grid of ``shape`` whose indices ``affine`` takes to mm (RAS+).

    The last axis is that of the slices: they are as thick as they are apart.
    """
    rows, columns, slices = shape
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    edge = float(max(spacing[0], spacing[1], 0.8))
    # An odd number, so that one sheet is the middle of the slice. What is coarse in the plane
    # need not be finer across it: the edges are as soft in all directions.
    sheets = int(np.ceil(spacing[2] / max(_SHEET_MM, 0.85 * edge))) // 2 * 2 + 1
    fine = affine.copy()
    fine[:3, 2] /= sheets
    # The sheets lie symmetrically about the slice's middle.
    fine[:3, 3] -= fine[:3, 2] * (sheets - 1) / 2
    result = Painting(
        np.empty((rows, columns, slices), dtype=np.float32),
        np.empty((rows, columns, slices), dtype=np.uint8),
        np.zeros((rows, columns, slices), dtype=np.float32),
        np.zeros((rows, columns, slices), dtype=np.float32),
    )
    step = max(1, _POINTS // (rows * columns * sheets))
    for start in range(0, slices, step):
        stop = min(start + step, slices)
        box = (slice(0, rows), slice(0, columns), slice(start * sheets, stop * sheets))
        slab = _Slab(anatomy, fine, box, edge=edge)
        for solid in anatomy.surroundings:
            slab.cover(solid)
        result.organs[..., start:stop] = slab.organs[..., sheets // 2 :: sheets]
        for solid in anatomy.kidneys:
            slab.cover(solid)
        pairs = [(result.hu, slab.hu)]
        if anatomy.kidneys:
            pairs += [(result.kidney, slab.kidney), (result.tumour, slab.tumour)]
        for whole, part in pairs:
            mean = part[..., ::sheets].copy()
            for sheet in range(1, sheets):
                mean += part[..., sheet::sheets]
            whole[..., start:stop] = mean / np.float32(sheets)
    return result


class _Slab:
    """Some neighbouring sheets while they are painted."""

    def __init__(self, anatomy: Anatomy, affine: Matrix, box: Box, *, edge: float) -> None:
        shape = tuple(part.stop - part.start for part in box)
        self._affine, self._box, self._edge = affine, box, np.float32(edge)
        self._position = _anatomical(anatomy, affine, box)
        self._wall = anatomy.wall(*self._position[:2])
        # The middles of blocks; a block's other points lie within the margin of its middle.
        middles = tuple(
            slice(min(stride // 2, length - 1), None, stride)
            for stride, length in zip(_STRIDE, shape, strict=True)
        )
        self._coarse = [np.ascontiguousarray(part[middles]) for part in self._position]
        self._margin = 0.75 * np.abs(affine[:3, :3]) @ _STRIDE / anatomy.scale + edge
        self.hu: FloatArray = np.full(shape, AIR_HU, dtype=np.float32)
        self.organs = np.zeros(shape, dtype=np.uint8)
        self.kidney: FloatArray = np.zeros(shape, dtype=np.float32)
        self.tumour: FloatArray = np.zeros(shape, dtype=np.float32)

    def cover(self, solid: Solid) -> None:
        """Paint a solid over what is there."""
        here = self._reach(solid)
        if here is None:
            return
        rows, columns, sheets = (
            slice(part.start + whole.start, part.stop + whole.start)
            for part, whole in zip(here, self._box, strict=True)
        )
        x, y, z = (part[here] for part in self._position)
        points = Points(x, y, z, self._wall[here], self._affine, (rows, columns, sheets))
        distance = solid.distance(points)
        value: FloatArray | np.float32 = np.float32(solid.hu)
        if solid.texture is not None:
            value = value + points.field(solid.texture)
        self._blend(here, distance, solid.tissue, value)
        if solid.core is not None:
            tissue, hu, crust = solid.core
            self._blend(here, distance + np.float32(crust), tissue, np.float32(hu))

    def _blend(
        self, here: Box, distance: FloatArray, tissue: Tissue, value: FloatArray | np.float32
    ) -> None:
        share = distance * (-1 / self._edge)
        share += np.float32(0.5)
        np.clip(share, 0, 1, out=share)
        if tissue in (Tissue.KIDNEY, Tissue.TUMOUR):
            for part, other in ((self.kidney, Tissue.KIDNEY), (self.tumour, Tissue.TUMOUR)):
                part[here] += share * (np.float32(tissue == other) - part[here])
        else:
            self.organs[here][share >= 0.5] = tissue
        share *= value - self.hu[here]
        self.hu[here] += share

    def _reach(self, solid: Solid) -> Box | None:
        """The part of the slab in which the solid may lie."""
        near: NDArray[np.bool_] | None = None
        for part, low, high, margin in zip(
            self._coarse, solid.low, solid.high, self._margin, strict=True
        ):
            if high - low > 1e3:
                continue
            within = (part > np.float32(low - margin)) & (part < np.float32(high + margin))
            near = within if near is None else near & within
        if near is None:
            return slice(None), slice(None), slice(None)
        ranges = []
        for axis, stride in enumerate(_STRIDE):
            others = tuple(other for other in range(3) if other != axis)
            hit = np.flatnonzero(near.any(axis=others))
            if not hit.size:
                return None
            # The last block may be followed by points too few for a block of their own.
            last = hit[-1] == near.shape[axis] - 1
            stop = self.hu.shape[axis] if last else (int(hit[-1]) + 1) * stride
            ranges.append(slice(int(hit[0]) * stride, stop))
        return ranges[0], ranges[1], ranges[2]


def _anatomical(
    anatomy: Anatomy, affine: Matrix, box: Box
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positions of grid points in the anatomy's frame."""
    i, j, k = np.ogrid[box]
    x, y, z = (
        (
            (affine[axis, 0] * i + affine[axis, 1] * j).astype(np.float32)
            + (affine[axis, 2] * k + affine[axis, 3]).astype(np.float32)
            + anatomy.bend[axis].sample(affine, box)
        )
        / np.float32(anatomy.scale[axis])
        for axis in range(3)
    )
    return x, y, z
