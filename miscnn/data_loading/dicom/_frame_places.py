"""Where the frames of a segmentation lie on the grid of a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._enhanced import FunctionalGroups
from miscnn.data_loading.dicom._items import items, uid
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
        Slices of the volume that the frame names as its source.
    distance : float or None
        Between the slices of the segmentation, mm.
    """

    affine: NDArray[np.float64] | None
    sources: tuple[int, ...]
    distance: float | None


@dataclass(frozen=True)
class Place:
    """Voxels of a volume that the pixels of a frame are.

    Attributes
    ----------
    axes : tuple of int
        Array axes of the volume along the columns' index, the rows' index, and across.
    flip : tuple of bool
        Whether the two indices of the frame run the other way.
    start : tuple of int
        Lowest voxel along the three ``axes``; may lie outside the volume.
    """

    axes: tuple[int, int, int]
    flip: tuple[bool, bool]
    start: tuple[int, int, int]

    def put(
        self, frame: NDArray[Any], shape: tuple[int, int, int]
    ) -> tuple[tuple[int | slice, ...], NDArray[Any], NDArray[Any] | None]:
        """Turn a frame to the axes of the volume and cut it to it.

        Returns
        -------
        box : tuple
            Index into an array of the volume.
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
    if len(volume.frames) == volume.shape[2]:
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


def place(
    plane: Plane, frame: int, stored: PixelFormat, volume: DicomVolume, file: str, index: str
) -> Place:
    """Find the voxels that the pixels of a frame are.

    Raises
    ------
    GridMismatchError
        If there are none: other spacing or directions, or centres that differ by more than 1 % of
        a voxel.
    """
    size = (stored.columns, stored.rows)
    if plane.affine is None:
        if size != volume.shape[:2]:
            raise GridMismatchError(
                index,
                f"{file}, frame {frame + 1} has {stored.rows} x {stored.columns} pixels, but the "
                f"slice that it names as its source {volume.shape[1]} x {volume.shape[0]}",
            )
        return Place((0, 1, 2), (False, False), (0, 0, plane.sources[0]))
    inverse = np.linalg.inv(volume.affine)
    exact = inverse[:3, :3] @ plane.affine
    exact[:, 2] += inverse[:3, 3]
    near = np.rint(exact)
    steps = np.abs(near[:, :2])
    if not (np.all(steps.sum(axis=0) == 1) and np.all(steps.sum(axis=1) <= 1)):
        raise _other_grid(plane.affine, volume, exact, file, frame, index)
    axes = (int(np.argmax(steps[:, 0])), int(np.argmax(steps[:, 1])))
    across = 3 - sum(axes)
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * (size[0] - 1, size[1] - 1, 1)
    apart = np.abs((exact - near) @ corners.T).max(axis=1)
    allowed = np.full(3, _SAME)
    if across == 2 and int(near[2, 2]) in plane.sources:
        allowed[2] = _SAME_SLICE
    if np.any(apart > allowed):
        raise _other_grid(plane.affine, volume, exact, file, frame, index, apart)
    flip = (near[axes[0], 0] < 0, near[axes[1], 1] < 0)
    start = [int(near[axis, 2]) for axis in (*axes, across)]
    for i in range(2):
        start[i] -= size[i] - 1 if flip[i] else 0
    return Place((*axes, across), (bool(flip[0]), bool(flip[1])), (start[0], start[1], start[2]))


def check_distance(
    planes: list[Plane], places: list[Place], volume: DicomVolume, file: str, index: str
) -> None:
    """Refuse frames on every second slice (or third ...) of a grid that is itself as coarse.

    Frames without voxels may be left out, so that distances between frames alone prove nothing.
    """
    claimed = [plane.distance for plane in planes if plane.distance]
    across = {place.axes[2] for place in places}
    if not claimed or len(across) > 1:
        return
    distance, spacing = abs(claimed[0]), float(np.linalg.norm(volume.affine[:3, across.pop()]))
    slices = sorted({place.start[2] for place in places})
    if len(slices) > 1 and min(np.diff(slices)) * spacing > distance * (1 - _SAME) > spacing * 1.01:
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
    volume: DicomVolume,
    exact: NDArray[np.float64],
    file: str,
    frame: int,
    index: str,
    apart: NDArray[np.float64] | None = None,
) -> GridMismatchError:
    pixel = np.linalg.norm(affine[:, :2], axis=0)
    voxel = np.linalg.norm(volume.affine[:3, :3], axis=0)
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
