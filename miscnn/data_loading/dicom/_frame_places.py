"""Where the frames of a segmentation lie on the grid of a volume."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._enhanced import FunctionalGroups
from miscnn.data_loading.dicom._items import items, uid
from miscnn.data_loading.dicom._measured import Slices, measured, on_the_grid
from miscnn.data_loading.dicom._seg_pixels import PixelFormat
from miscnn.data_loading.dicom._source import InvalidValueError, lengths, number, numbers
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.exceptions import GridMismatchError

# Parts of a voxel by which the centres of the two grids may differ.
_SAME = 0.01
# The same across slices, where the frame itself names the slice as its source: a series counts as
# regular although its slices are not placed that exactly.
_SAME_SLICE = 0.1
_TO_RAS = np.array([-1.0, -1.0, 1.0])
_UNIT = 1e-3


@dataclass(frozen=True)
class Plane:
    """What the header says of the place of a frame.

    Attributes
    ----------
    affine : ndarray or None
        Shape (3, 3), mm, RAS+: one column of pixels further, one row further, first pixel.
    sources : tuple of int
        Slices that were measured and that the frame names as its source.
    distance : float or None
        Between the slices of the segmentation, mm.
    """

    affine: NDArray[np.float64] | None
    sources: tuple[int, ...]
    distance: float | None


@dataclass(frozen=True)
class Place:
    """Voxels of a stack of slices that the pixels of a frame are.

    Attributes
    ----------
    axes : tuple of int
        Array axes of the stack along the columns' index, the rows' index, and across.
    flip : tuple of bool
        Whether the two indices of the frame run the other way.
    start : tuple of int
        Lowest voxel along the three ``axes``; may lie outside the stack.
    """

    axes: tuple[int, int, int]
    flip: tuple[bool, bool]
    start: tuple[int, int, int]

    def put(
        self, frame: NDArray[Any], shape: tuple[int, int, int]
    ) -> tuple[tuple[int | slice, ...], NDArray[Any], NDArray[Any] | None]:
        """Turn a frame to the axes of the stack and cut it to it.

        Returns
        -------
        box : tuple
            Index into an array of the stack.
        part : ndarray
            What stands there.
        rest : ndarray or None
            The whole frame if some of it lies outside.
        """
        turned = frame.T
        turned = turned[:: -1 if self.flip[0] else 1, :: -1 if self.flip[1] else 1]
        box: list[int | slice] = [0, 0, 0]
        cut = []
        for length, axis, start in zip(turned.shape, self.axes[:2], self.start[:2], strict=True):
            low, high = max(start, 0), max(min(start + length, shape[axis]), 0)
            high = max(low, high)
            box[axis] = slice(low, high)
            cut.append(slice(low - start, high - start))
        across = self.start[2]
        inside = 0 <= across < shape[self.axes[2]]
        box[self.axes[2]] = across if inside else slice(0, 0)
        part = turned[tuple(cut)] if inside else turned[:0]
        whole = inside and part.shape == turned.shape
        if self.axes[0] > self.axes[1]:
            part = part.T
        return tuple(box), part, None if whole else frame


def read_planes(dataset: Any, stored: PixelFormat, volume: DicomVolume) -> list[Plane]:
    """Read what the header says of all frames; to be called within ``dicom_readable``."""
    groups = FunctionalGroups(dataset)
    if groups.count != stored.frames:
        raise InvalidValueError(
            f"NumberOfFrames is {stored.frames}, but the functional groups tell of {groups.count}"
        )
    slices: dict[tuple[str, int | None], int] = {}
    if len(volume.frames) == measured(volume).shape[2]:
        slices = {(f.sop_instance_uid, f.frame): k for k, f in enumerate(volume.frames)}
    planes = []
    for i in range(stored.frames):
        measures = groups.macro("PixelMeasuresSequence", i)
        position = lengths(groups.macro("PlanePositionSequence", i), "ImagePositionPatient", 3)
        orientation = numbers(
            groups.macro("PlaneOrientationSequence", i), "ImageOrientationPatient", 6
        )
        spacing = lengths(measures, "PixelSpacing", 2)
        affine = None
        if position is not None and orientation is not None and spacing is not None:
            affine = _affine(position, orientation, spacing)
        named = sorted(set(_sources(groups.macro("DerivationImageSequence", i), slices)))
        if affine is None and len(named) != 1:
            raise InvalidValueError(
                f"frame {i + 1} does not say where it lies: it has no plane position, and names "
                f"{len(named)} slices of this image as its source"
            )
        planes.append(Plane(affine, tuple(named), number(measures, "SpacingBetweenSlices")))
    return planes


def find_places(
    planes: list[Plane], stored: PixelFormat, volume: DicomVolume, file: str, index: str
) -> tuple[Slices, list[Place]]:
    """Find the voxels that the pixels of all frames are, and on which slices.

    These are the slices that were measured. Of a series that was resampled, they may also be those
    of the regular grid; which of them, all frames together tell.

    Raises
    ------
    GridMismatchError
        If there are none: other spacing or directions, or centres that differ by more than 1 % of
        a voxel.
    """
    slices = measured(volume)
    try:
        return slices, _all_places(planes, stored, slices, file, index)
    except GridMismatchError:
        if volume.resampling is not None and all(plane.affine is not None for plane in planes):
            slices = on_the_grid(volume)
            loose = [replace(plane, sources=()) for plane in planes]
            with suppress(GridMismatchError):
                return slices, _all_places(loose, stored, slices, file, index)
        raise


def _all_places(
    planes: list[Plane], stored: PixelFormat, slices: Slices, file: str, index: str
) -> list[Place]:
    places = [_place(plane, i, stored, slices, file, index) for i, plane in enumerate(planes)]
    _check_distance(planes, places, slices, file, index)
    return places


def _place(
    plane: Plane, frame: int, stored: PixelFormat, slices: Slices, file: str, index: str
) -> Place:
    size = (stored.columns, stored.rows)
    if plane.affine is None:
        if size != slices.shape[:2]:
            raise GridMismatchError(
                index,
                f"{file}, frame {frame + 1} has {stored.rows} x {stored.columns} pixels, but the "
                f"slice that it names as its source {slices.shape[1]} x {slices.shape[0]}",
            )
        return Place((0, 1, 2), (False, False), (0, 0, plane.sources[0]))
    inverse = np.linalg.inv(slices.affine)
    exact = inverse[:3, :3] @ plane.affine
    exact[:, 2] += inverse[:3, 3]
    steps = np.abs(np.rint(exact[:, :2]))
    if not (np.all(steps.sum(axis=0) == 1) and np.all(steps.sum(axis=1) <= 1)):
        raise _other_grid(plane.affine, slices, exact, file, frame, index)
    axes = (int(np.argmax(steps[:, 0])), int(np.argmax(steps[:, 1])))
    across = 3 - sum(axes)
    if across == 2:
        exact[:, 2] = _on_slices(exact[:, 2], slices)
    elif slices.resampling is not None:  # cuts through slices that form no grid
        raise _other_grid(plane.affine, slices, exact, file, frame, index)
    near = np.rint(exact)
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * (size[0] - 1, size[1] - 1, 1)
    apart = np.abs((exact - near) @ corners.T).max(axis=1)
    allowed = np.full(3, _SAME)
    if across == 2 and int(near[2, 2]) in plane.sources:
        allowed[2] = _SAME_SLICE
    if np.any(apart > allowed):
        raise _other_grid(plane.affine, slices, exact, file, frame, index, apart)
    flip = (near[axes[0], 0] < 0, near[axes[1], 1] < 0)
    start = [int(near[axis, 2]) for axis in (*axes, across)]
    for i in range(2):
        start[i] -= size[i] - 1 if flip[i] else 0
    return Place((*axes, across), (bool(flip[0]), bool(flip[1])), (start[0], start[1], start[2]))


def _on_slices(point: NDArray[np.float64], slices: Slices) -> NDArray[np.float64]:
    """Bring a point of the volume's grid to the pixels and the numbers of the slices.

    Beyond the outermost slices numbers go on, one for each voxel of the grid; what lies between two
    never comes near to another number than theirs.
    """
    k = int(slices.nearest(point[2:])[0][0])
    away = point[2] - slices.heights[k]
    if slices.heights[0] <= point[2] <= slices.heights[-1]:
        away = np.clip(away, -0.5, 0.5)
    return np.array([*(point[:2] - slices.shifts[k]), k + away])


def _check_distance(
    planes: list[Plane], places: list[Place], slices: Slices, file: str, index: str
) -> None:
    """Refuse frames on every second slice (or third ...) of a grid that is itself as coarse.

    Frames without voxels may be left out, so that distances between frames alone prove nothing.
    """
    claimed = [plane.distance for plane in planes if plane.distance]
    across = {place.axes[2] for place in places}
    if not claimed or len(across) > 1 or slices.resampling is not None:
        return
    distance, spacing = abs(claimed[0]), float(np.linalg.norm(slices.affine[:3, across.pop()]))
    numbers = sorted({place.start[2] for place in places})
    least = min(np.diff(numbers), default=0) * spacing
    if least > distance * (1 - _SAME) > spacing * 1.01:
        raise GridMismatchError(
            index,
            f"{file}: slices {distance:.6g} mm apart, but those of the image {spacing:.6g} mm; "
            "resample the segmentation to the image's grid first",
        )


def _affine(
    position: tuple[float, ...], orientation: tuple[float, ...], spacing: tuple[float, ...]
) -> NDArray[np.float64]:
    row, column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    odd = np.abs([row @ row - 1, column @ column - 1, row @ column])
    if odd.max() > _UNIT:
        raise InvalidValueError("ImageOrientationPatient holds no two perpendicular directions")
    if min(spacing) <= 0:
        raise InvalidValueError(f"PixelSpacing is {spacing}, expected lengths above 0 mm")
    columns = np.stack([row * spacing[1], column * spacing[0], np.asarray(position)], axis=1)
    return np.asarray(columns * _TO_RAS[:, None], dtype=np.float64)


def _sources(derivation: Any, slices: dict[tuple[str, int | None], int]) -> list[int]:
    found = []
    for source in items(derivation, "SourceImageSequence"):
        name = uid(source, "ReferencedSOPInstanceUID") or ""
        listed = number(source, "ReferencedFrameNumber")
        for key in ((name, None), (name, None if listed is None else int(listed) - 1)):
            if key in slices:
                found.append(slices[key])
    return found


def _other_grid(
    affine: NDArray[np.float64],
    slices: Slices,
    exact: NDArray[np.float64],
    file: str,
    frame: int,
    index: str,
    apart: NDArray[np.float64] | None = None,
) -> GridMismatchError:
    pixel = np.linalg.norm(affine[:, :2], axis=0)
    voxel = np.linalg.norm(slices.affine[:3, :3], axis=0)
    if apart is None:
        steps = [" ".join(f"{x:.4g}" for x in exact[:, i]) for i in range(2)]
        how = f"one pixel along a row is ({steps[0]}) voxels, down a column ({steps[1]})"
    else:
        how = f"centres differ by up to {apart.max():.4g} voxels; expected at most {_SAME:g}"
    return GridMismatchError(
        index,
        f"{file}, frame {frame + 1} lies on another grid than the image: pixels of "
        f"{pixel[0]:.6g} x {pixel[1]:.6g} mm, voxels of "
        f"{' x '.join(f'{x:.6g}' for x in voxel)} mm; {how}. Resample the segmentation to the "
        "image's grid first, or name the series that it was made on",
    )
