"""The regular grid that a stack of slices forms, or why it forms none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._resample import Resampling, plan_resampling, usual
from miscnn.data_loading.dicom._slice import Slice
from miscnn.data_loading.formats.image_file import short
from miscnn.exceptions import GridMismatchError, UnreadableFileError

# Distances that count as equal: a hundredth of the spacing, or what headers are rounded to.
_SHARE = 0.01
_ROUNDED = 0.01
_FLOAT_NOISE = 1e-6
# Direction cosines: at 25 cm from the corner this moves a voxel by 0.05 mm.
_SAME_COSINE = 2e-4
_UNIT_COSINE = 1e-3
_SAME_PIXEL_SPACING = 1e-4
# Tilt (tangent) below which the columns of the affine are simply taken as they are: 0.06°.
_NO_TILT = 1e-3
_SHOWN = 4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Modalities whose slices always say where they lie.
_TOMOGRAPHIC = ("CT", "MR", "PT")


@dataclass(frozen=True)
class Grid:
    """What a stack of slices was found to be.

    Attributes
    ----------
    shape : tuple of int
        ``(columns, rows, slices)``.
    affine : ndarray
        Voxel index to mm, RAS+.
    slices : tuple of Slice
        In the order of their positions along the normal.
    resampling : Resampling or None
        How the regular grid is made from slices that form none.
    remarks : tuple of str
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    slices: tuple[Slice, ...]
    resampling: Resampling | None
    remarks: tuple[str, ...]


def tolerance(steps: NDArray[np.float64]) -> float:
    """Return by how much distances in mm may differ: 1 % of the usual one, at least 0.01."""
    positive = steps[steps > _ROUNDED]
    return max(_ROUNDED, _SHARE * usual(positive) if len(positive) else 0.0)


def along_normal(slices: Sequence[Slice]) -> NDArray[np.float64] | None:
    """Return the positions of slices along the normal in mm; None if any does not say."""
    if any(item.position is None or item.orientation is None for item in slices):
        return None
    normal = np.cross(*np.reshape(np.asarray(slices[0].orientation, dtype=np.float64), (2, 3)))
    length = float(np.linalg.norm(normal))
    if length < _UNIT_COSINE:
        return None
    positions = np.array([item.position for item in slices], dtype=np.float64)
    return np.asarray(positions @ (normal / length), dtype=np.float64)


def evenly_spaced(places: NDArray[np.float64]) -> bool:
    """Tell whether positions are distinct and at equal distances.

    Neither distances nor, as small errors add up, positions may differ by more than
    :func:`tolerance` from those of a regular grid between the first and the last one.
    """
    places = np.sort(places)
    steps = np.diff(places)
    if not len(steps):
        return True
    allowed = tolerance(steps)
    return bool(
        steps.min() > allowed
        and np.all(np.abs(steps - steps.mean()) <= allowed)
        and np.all(_beside_grid(places) <= allowed + _FLOAT_NOISE)
    )


def _beside_grid(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far sorted positions lie beside those of a regular grid, in mm."""
    return np.abs(places - np.linspace(places[0], places[-1], len(places)))


def regular_grid(slices: Sequence[Slice], modality: str, irregular: str, index: str) -> Grid:
    """Find the grid on which slices lie.

    Parameters
    ----------
    slices : sequence of Slice
        In any order.
    modality : str
    irregular : str
        ``"error"``, or ``"resample"`` to plan a regular grid where there is none.
    index : str
        The subject, for messages.

    Raises
    ------
    GridMismatchError
        If slices are missing, at one position, unevenly spaced, shifted against each other
        (gantry tilt), or differ in size, direction or pixel spacing.
    UnreadableFileError
        If a header does not say where a slice lies, or says nonsense.
    """
    _check_alike(slices, index)
    rows, columns = slices[0].rows, slices[0].columns
    axes, spacing, remarks = _plane(slices, modality, index)
    if len(slices) == 1 and slices[0].position is None:
        thickness, told = _thickness(slices[0])
        affine = np.diag([spacing[1], spacing[0], thickness, 1.0])
        return Grid((columns, rows, 1), affine, tuple(slices), None, (*remarks, *told))
    _check_positions(slices, index)
    normal = np.cross(axes[0], axes[1])
    normal /= np.linalg.norm(normal)
    points = np.array([item.position for item in slices], dtype=np.float64)
    places = points @ normal
    order = np.argsort(places, kind="stable")
    ordered = [slices[int(i)] for i in order]
    points, places = points[order], places[order]
    step, told = _step(ordered, places, normal)
    remarks = (*remarks, *told)
    resampling = None
    count = len(ordered)
    trouble = _irregularity(ordered, places) or _shift(ordered, points, places, axes, spacing)
    if trouble:
        if irregular != "resample":
            raise GridMismatchError(
                index,
                f"{trouble}; add or remove files, or set irregular='resample' to have the series "
                "resampled to a regular grid",
            )
        _check_distinct(ordered, places, index)
        sideways = _shift(ordered, points, places, axes, spacing) != ""
        resampling = plan_resampling(
            points, places, axes, spacing, (columns, rows), sideways, index
        )
        columns, rows, count = resampling.shape
        step = normal * resampling.step
        if not sideways and len(points) > 1:
            step = (points[-1] - points[0]) / (count - 1)
        remarks = (*remarks, f"{trouble}; resampled to a regular grid of {count} slices")
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = axes[0] * spacing[1], axes[1] * spacing[0], step
    lps[:3, 3] = points[0]
    if resampling is not None:
        lps[:3, 3] += lps[:3, :2] @ np.asarray(resampling.offset, dtype=np.float64)
    affine = _LPS_TO_RAS @ lps
    return Grid((columns, rows, count), affine, tuple(ordered), resampling, remarks)


def _check_alike(slices: Sequence[Slice], index: str) -> None:
    sizes = Counter((item.columns, item.rows) for item in slices)
    if len(sizes) > 1:
        _refuse_mixture(slices, sizes, lambda s: (s.columns, s.rows), "sizes", index)
    spacings = Counter(item.pixel_spacing for item in slices)
    known = [s for s in spacings if s is not None]
    equal = len(known) == len(spacings) and np.allclose(
        known, known[:1] or 1.0, rtol=_SAME_PIXEL_SPACING, atol=0
    )
    if len(spacings) > 1 and not equal:
        _refuse_mixture(slices, spacings, lambda s: s.pixel_spacing, "pixel spacings", index)
    directions = Counter(item.orientation for item in slices)
    if len(directions) > 1:
        turned = [d for d in directions if d is not None]
        same = len(turned) == len(directions) and np.allclose(
            turned, turned[:1], rtol=0, atol=_SAME_COSINE
        )
        if not same:
            _refuse_mixture(slices, directions, lambda s: s.orientation, "orientations", index)


def _refuse_mixture(
    slices: Sequence[Slice],
    kinds: Counter[Any],
    of: Callable[[Slice], Any],
    what: str,
    index: str,
) -> NoReturn:
    parts = []
    for value, count in kinds.most_common(_SHOWN):
        first = next(item for item in slices if of(item) == value)
        shown = "none" if value is None else " ".join(f"{part:g}" for part in value)
        parts.append(f"{shown} ({count} of {len(slices)}, such as {file_name(first)})")
    raise GridMismatchError(
        index,
        f"the slices of one series have different {what}: {', '.join(parts)}; remove those that "
        "do not belong",
    )


def _plane(
    slices: Sequence[Slice], modality: str, index: str
) -> tuple[NDArray[np.float64], tuple[float, float], tuple[str, ...]]:
    """Return the directions of row and column, the distances of rows and columns, and remarks."""
    first, remarks = slices[0], []
    alone = len(slices) == 1 and modality not in _TOMOGRAPHIC
    spacing = first.pixel_spacing
    if spacing is None or min(spacing) <= 0:
        if not alone or spacing is not None:
            found = "is missing" if spacing is None else f"is {spacing}"
            raise UnreadableFileError(
                index, f"{file_name(first)}: PixelSpacing {found}, it must be positive lengths"
            )
        spacing = (1.0, 1.0)
        remarks.append("the header gives no pixel spacing; 1 mm is assumed")
    axes = np.eye(3)[:2]
    if first.orientation is None or first.position is None:
        if not alone:
            _check_positions(slices, index)
        remarks.append("the header does not say where the image lies; it is put at the origin")
    else:
        axes = np.reshape(np.asarray(first.orientation, dtype=np.float64), (2, 3))
        norms = np.linalg.norm(axes, axis=1)
        if np.any(np.abs(norms - 1) > _UNIT_COSINE) or abs(axes[0] @ axes[1]) > _UNIT_COSINE:
            raise UnreadableFileError(
                index,
                f"{file_name(first)}: ImageOrientationPatient is {first.orientation}, which are "
                "no two directions at a right angle",
            )
    return axes, (spacing[0], spacing[1]), tuple(remarks)


def _check_positions(slices: Sequence[Slice], index: str) -> None:
    for item in slices:
        for name, value in (
            ("ImagePositionPatient", item.position),
            ("ImageOrientationPatient", item.orientation),
        ):
            if value is None:
                raise UnreadableFileError(
                    index,
                    f"{file_name(item)}: {name} is missing, so that nobody knows where the slice "
                    "lies; export the series anew",
                )


def _thickness(item: Slice) -> tuple[float, tuple[str, ...]]:
    for value in (item.distance, item.thickness):
        if value is not None and 0 < abs(value) <= 1e6:
            return abs(value), ()
    return 1.0, ("the only slice has no thickness; 1 mm is assumed",)


def _step(
    slices: Sequence[Slice], places: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return what leads from a slice to the next one."""
    if len(slices) == 1:
        thickness, remarks = _thickness(slices[0])
        return normal * thickness, remarks
    first, last = (np.asarray(slices[i].position, dtype=np.float64) for i in (0, -1))
    return (last - first) / (len(slices) - 1), ()


def _irregularity(slices: Sequence[Slice], places: NDArray[np.float64]) -> str:
    """Say what is wrong with the distances of slices; empty if nothing is."""
    if evenly_spaced(places):
        return ""
    steps = np.diff(places)
    allowed = tolerance(steps)
    copies = np.flatnonzero(steps <= allowed)
    if len(copies):
        pairs = [
            f"{places[k]:.2f} mm ({file_name(slices[k])} and {file_name(slices[k + 1])})"
            for k in copies[:_SHOWN]
        ]
        return f"{len(copies)} slices lie where another one lies: at {', '.join(pairs)}" + _more(
            len(copies)
        )
    distance = usual(steps)
    odd = np.flatnonzero(np.abs(steps - distance) > allowed)
    whole = np.rint(steps[odd] / distance)
    gaps = bool(np.all((whole >= 2) & (np.abs(steps[odd] - whole * distance) <= allowed * whole)))
    shown = [
        f"{places[k]:.2f} and {places[k + 1]:.2f} mm ({steps[k]:.2f} mm; after "
        f"{file_name(slices[k])})"
        for k in odd[:_SHOWN]
    ]
    missing = int(np.sum(whole - 1))
    lost = "1 slice is missing" if missing == 1 else f"{missing} slices are missing"
    what = lost if gaps else "slices are unevenly spaced"
    if not len(odd):  # many small errors that add up
        off = _beside_grid(places)
        return (
            f"slices are unevenly spaced: {steps.min():.4g} to {steps.max():.4g} mm, which adds "
            f"up to {off.max():.3g} mm at {places[off.argmax()]:.2f} mm"
        )
    return f"{what}: {distance:.4g} mm is usual, but not between {', '.join(shown)}" + _more(
        len(odd)
    )


def _shift(
    slices: Sequence[Slice],
    points: NDArray[np.float64],
    places: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing: tuple[float, float],
) -> str:
    """Say how slices are shifted sideways against each other; empty if they are not."""
    if len(slices) < 2 or places[-1] - places[0] <= 0:
        return ""
    sideways = (points - points[0]) @ axes.T  # along the row, along the column
    height = (places - places[0])[:, None]
    slope = sideways[-1] / height[-1]
    # an accidental shift counts by what it moves voxels, a constant tilt by its angle
    allowed = max(_ROUNDED, _SHARE * min(spacing))
    rest = np.abs(sideways - height * slope).max(axis=1)
    if float(rest.max()) > allowed:
        k = int(rest.argmax())
        return (
            f"slices are shifted sideways by up to {rest[k]:.3g} mm, most at {places[k]:.2f} mm "
            f"({file_name(slices[k])})"
        )
    tilt = float(np.linalg.norm(slope))
    if tilt <= _NO_TILT or float(np.abs(sideways).max()) <= allowed:
        return ""
    return (
        f"the gantry was tilted: each slice is shifted against the one before, along rows and "
        f"columns by {slope[0] * (height[1, 0]):.4g} and {slope[1] * (height[1, 0]):.4g} mm, "
        f"{np.degrees(np.arctan(tilt)):.3g}° off the normal"
    )


def _check_distinct(slices: Sequence[Slice], places: NDArray[np.float64], index: str) -> None:
    """Refuse different slices at one position, of which nobody knows which one counts."""
    steps = np.diff(places)
    for k in map(int, np.flatnonzero(steps <= tolerance(steps))):
        raise GridMismatchError(
            index,
            f"{file_name(slices[k])} and {file_name(slices[k + 1])} are different slices at one "
            f"position, {places[k]:.2f} mm, also for resampling; remove one of them, or choose "
            "the series more closely",
        )


def file_name(item: Slice) -> str:
    """Name a slice's file, and its frame, for messages."""
    name = short(item.path)
    return name if item.frame is None else f"{name} frame {item.frame + 1}"


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""
