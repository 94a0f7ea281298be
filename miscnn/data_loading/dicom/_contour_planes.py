"""Bring contours in millimetres onto slices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._measured import Slices
from miscnn.data_loading.dicom._polygons import is_same
from miscnn.exceptions import GridMismatchError

_LOG = logging.getLogger("miscnn.data_loading.dicom")

# Parts of the spacing of slices. Points of one contour may lie this far apart along the normal;
# files round to 0.01 mm at worst.
_FLAT = 0.1
# Contours this near to each other lie in one plane and make up holes.
_SAME_PLANE = 0.05
# Further from the nearest slice than this, a contour was drawn on other slices: told.
_OFF = 0.1
# Where it lies in the middle between two slices, nothing says to which it belongs.
_MIDDLE = 0.49
# Pixels: contours whose corners lie this near to each other are one contour, listed twice. Files
# round to 0.01 mm at worst.
_SAME_CORNER = 0.02
_SHOWN = 12


@dataclass(frozen=True)
class Where:
    """What messages say: which subject, file and ROI."""

    index: str
    file: str
    roi: str

    def __str__(self) -> str:
        return f"{self.file}, ROI {self.roi!r}"

    def warn(self, text: str, *values: object) -> None:
        """Log what happened to the ROI."""
        _LOG.warning("sample %r: %s: " + text, self.index, self, *values)


def on_slices(
    contours: Sequence[NDArray[np.float64]], slices: Slices, where: Where
) -> dict[int, list[NDArray[np.float64]]]:
    """Find the slice of each contour.

    Parameters
    ----------
    contours : sequence of ndarray
        Shape (n, 3) each, mm, LPS as DICOM counts.
    slices : Slices
    where : Where

    Returns
    -------
    dict of int to list of ndarray
        Slice -> contours, shape (n, 2) each: indices of its pixels along axes 0 and 1.

    Raises
    ------
    GridMismatchError
        If contours are not parallel to the slices, lie in the middle between two, or if none
        lies within the volume.
    """
    if not contours:
        return {}
    lengths = np.array([len(contour) for contour in contours])
    starts = np.cumsum(lengths) - lengths
    inverse = np.linalg.inv(slices.affine)
    ras = np.concatenate(contours) * (-1.0, -1.0, 1.0)
    points = ras @ inverse[:3, :3].T + inverse[:3, 3]
    spacing = slices.spacing
    low = np.minimum.reduceat(points[:, 2], starts)
    high = np.maximum.reduceat(points[:, 2], starts)
    steep = int(np.argmax(high - low))
    if high[steep] - low[steep] > _FLAT:
        _refuse_tilted(contours[steep], inverse[2, :3], (high - low)[steep] * spacing, where)
    planes = np.add.reduceat(points[:, 2], starts) / lengths
    numbers, off = slices.nearest(planes)
    # where slices are missing between others, contours may lie far from all that were measured
    inside = (off <= 0.5) & (planes > slices.heights[0] - 0.5)
    inside &= planes < slices.heights[-1] + 0.5
    if not inside.any():
        away = float(np.abs(planes - slices.heights[numbers]).min()) * spacing
        raise GridMismatchError(
            where.index,
            f"{where}: all {len(contours)} contours lie outside the image's slices, the nearest "
            f"{away:.4g} mm from one; name the series that they were drawn on",
        )
    if not inside.all():
        where.warn(
            "%d of %d contours lie on slices that the image does not have and are left out",
            int(np.count_nonzero(~inside)),
            len(contours),
        )
    chosen = _nearest(planes, numbers, off, np.flatnonzero(inside), spacing, where)
    result: dict[int, list[NDArray[np.float64]]] = {}
    for i in chosen.tolist():
        k = int(numbers[i])
        polygon = points[starts[i] : starts[i] + lengths[i], :2] - slices.shifts[k]
        result.setdefault(k, []).append(polygon)
    _tell(result, slices.shape, where)
    return {k: _distinct(result[k], k, where) for k in sorted(result)}


def _nearest(
    planes: NDArray[np.float64],
    slices: NDArray[np.int64],
    off: NDArray[np.float64],
    inside: NDArray[np.int64],
    spacing: float,
    where: Where,
) -> NDArray[np.int64]:
    """Return the contours of the plane that is nearest to each slice."""
    order = inside[np.lexsort((off[inside], slices[inside]))]
    new = np.concatenate([[True], np.diff(slices[order]) != 0])
    leader = order[np.flatnonzero(new)[np.cumsum(new) - 1]]  # the nearest one of the same slice
    worst = float(off[leader].max())
    if worst > _MIDDLE:
        raise GridMismatchError(
            where.index,
            f"{where}: contours lie {worst * spacing:.4g} mm from the nearest slice, in the middle "
            f"between two (spacing {spacing:.4g} mm); name the series that they were drawn on",
        )
    chosen: NDArray[np.int64] = order[np.abs(planes[order] - planes[leader]) <= _SAME_PLANE]
    if len(chosen) < len(order):
        where.warn(
            "contours lie closer together than the image's slices (%.4g mm); %d of %d that are not "
            "in the plane nearest to a slice are left out",
            spacing,
            len(order) - len(chosen),
            len(order),
        )
    if worst > _OFF:
        where.warn(
            "contours lie up to %.4g mm from the slice that they are taken for (spacing %.4g mm); "
            "were they drawn on another series?",
            worst * spacing,
            spacing,
        )
    return chosen


def _distinct(
    polygons: list[NDArray[np.float64]], k: int, where: Where
) -> list[NDArray[np.float64]]:
    """Leave out contours that are listed twice: by the even-odd rule they would make a hole."""
    kept: list[NDArray[np.float64]] = []
    boxes = np.array([(*p.min(axis=0), *p.max(axis=0)) for p in polygons])
    places: list[int] = []
    for i, polygon in enumerate(polygons):
        near = np.abs(boxes[places] - boxes[i]).max(axis=1) <= _SAME_CORNER if places else []
        if not any(is_same(kept[j], polygon, _SAME_CORNER) for j in np.flatnonzero(near)):
            kept.append(polygon)
            places.append(i)
    if len(kept) < len(polygons):
        where.warn("%d contours of slice %d are listed twice", len(polygons) - len(kept), k)
    return kept


def _tell(
    polygons: dict[int, list[NDArray[np.float64]]], shape: tuple[int, int, int], where: Where
) -> None:
    """Warn of contours that the image cuts off, and of slices without contours between others."""
    # only where voxel centres are lost: outlines along the edges of voxels may graze the border
    cut = sum(
        bool((p.min(axis=0) < -1).any() or (p.max(axis=0) > shape[:2]).any())
        for listed in polygons.values()
        for p in listed
    )
    if cut:
        where.warn("%d contours reach beyond the image's rows or columns and are cut off", cut)
    empty = sorted(set(range(min(polygons), max(polygons))) - set(polygons))
    if empty:
        shown = ", ".join(map(str, empty[:_SHOWN])) + (", …" if len(empty) > _SHOWN else "")
        where.warn(
            "no contours on %d slices between slices %d and %d that have some (%s); they stay "
            "empty",
            len(empty),
            min(polygons),
            max(polygons),
            shown,
        )


def _refuse_tilted(
    contour: NDArray[np.float64], across: NDArray[Any], spread: float, where: Where
) -> None:
    normal = across * (-1.0, -1.0, 1.0)
    normal = normal / np.linalg.norm(normal)
    # the plane of the contour: its normal is the direction in which the points vary least
    scatter = np.cov(contour - contour.mean(axis=0), rowvar=False)
    values, directions = np.linalg.eigh(scatter)
    flat = np.sqrt(max(float(values[0]), 0.0)) < 1e-2 * np.sqrt(float(values[2]))
    angle = np.degrees(np.arccos(min(1.0, abs(float(directions[:, 0] @ normal)))))
    how = f"stands at {angle:.3g} degrees to the slices" if flat else "lies in no plane"
    raise GridMismatchError(
        where.index,
        f"{where}: a contour {how} (its points lie up to {spread:.4g} mm apart along their "
        "normal); expected contours parallel to the slices: name the series that it was drawn on",
    )
