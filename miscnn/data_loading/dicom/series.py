"""Image series: found in folders, opened as regular volumes, read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._headers import FileHeader, read_headers
from miscnn.data_loading.dicom._pet import suv_factor
from miscnn.data_loading.dicom._pixels import common_type, read_codings, read_frames, scaled
from miscnn.data_loading.dicom._resample import usual
from miscnn.data_loading.dicom._slice import Slice
from miscnn.data_loading.dicom._source import dicom_files, dicom_readable, read_dataset, text
from miscnn.data_loading.dicom._split import split_stacks
from miscnn.data_loading.dicom._stack import along_normal, file_name, regular_grid
from miscnn.data_loading.dicom.volume import DicomVolume, SourceFrame
from miscnn.data_loading.formats.image_file import refuse
from miscnn.exceptions import ConfigurationError, MissingFileError, UnreadableFileError

_LOG = logging.getLogger("miscnn.data_loading.dicom")

IRREGULAR = ("error", "resample")
_PLANES = ("sagittal", "coronal", "axial")
_ANYWHERE = Path()
_SHOWN = 4
_TIMES = ("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime")


@dataclass(frozen=True)
class Series:
    """One stack of slices: a series, or a time point (echo, direction) of a series.

    Attributes
    ----------
    modality : str
        Such as ``"CT"``.
    number : int or None
        Series number.
    stack, stacks : int
        Which one it is, from 1 on, of those that the series mixes.
    slices : tuple of Slice
        In the order in which they were found.
    description, study_uid, series_uid, frame_of_reference_uid, patient : str
        Not shown: some hold a name, or a date.
    remarks : tuple of str
        What was left out that a user should know; nothing of the patient.
    broken, unreadable : tuple of str
        What is wrong with files of this series, and with others found beside it, that cannot be
        read.
    """

    modality: str
    number: int | None
    stack: int
    stacks: int
    slices: tuple[Slice, ...] = field(repr=False)
    description: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    patient: str = field(repr=False)
    remarks: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files, each once."""
        return list(dict.fromkeys(item.path for item in self.slices))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(columns, rows, slices)``; of the first slice if they differ."""
        return self.slices[0].columns, self.slices[0].rows, len(self.slices)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Of columns, rows and slices (the usual distance) in mm; None if a header lacks it."""
        first = self.slices[0]
        if first.pixel_spacing is None:
            return None
        places = along_normal(self.slices)
        depth = first.distance or first.thickness or 1.0
        if places is not None and len(places) > 1:
            depth = usual(np.diff(np.sort(places)))
        return first.pixel_spacing[1], first.pixel_spacing[0], abs(depth)

    @property
    def plane(self) -> str:
        """The main plane that slices lie nearest to: axial, coronal or sagittal."""
        orientation = self.slices[0].orientation
        if orientation is None:
            return "unknown"
        normal = np.cross(*np.reshape(np.asarray(orientation), (2, 3)))
        return _PLANES[int(np.argmax(np.abs(normal)))]

    @property
    def image_type(self) -> str:
        """The parts of ImageType, joined by a backslash."""
        return self.slices[0].marks.image_type

    @property
    def echo_time(self) -> float | None:
        """In milliseconds."""
        return self.slices[0].marks.echo_time

    @property
    def is_scout(self) -> bool:
        """Whether it is a localizer."""
        return "LOCALIZER" in self.image_type

    @property
    def is_picture(self) -> bool:
        """Whether it is no slice of the patient: in colours, or without a place."""
        first = self.slices[0]
        return not first.is_gray or first.position is None or first.orientation is None

    def describe(self) -> str:
        """Tell what it is without what could name the patient (descriptions are free text)."""
        parts = [
            f"number {'none' if self.number is None else self.number}",
            *([f"stack {self.stack} of {self.stacks}"] if self.stacks > 1 else []),
            self.modality or "no modality",
            f"{len(self.slices)} {'scout' if self.is_scout else self.plane} slices in "
            f"{len(self.files)} {'file' if len(self.files) == 1 else 'files'}",
            "shape " + " x ".join(map(str, self.shape)),
        ]
        if self.spacing is not None:
            parts.append("spacing " + " x ".join(f"{s:.4g}" for s in self.spacing) + " mm")
        if self.echo_time is not None:
            parts.append(f"echo time {self.echo_time:g} ms")
        return ", ".join(parts)

    def open(self, irregular: str = "error", index: str = "") -> DicomVolume:
        """Find the grid that the slices form.

        Slices are sorted by their position along the normal ``row x column``, never by name or
        number. Distances may differ from the mean one by 1 %, or 0.01 mm if that is more, and no
        slice may lie farther than that from its place on the regular grid; direction cosines by
        2e-4, pixel spacings by 1e-4 of their size. A constant tilt below 0.06°, as rounded headers
        give, becomes part of the affine; voxels may lie 1 % of a pixel, or 0.01 mm, beside that.

        Parameters
        ----------
        irregular : str
            What to do with slices that are missing, unevenly spaced or shifted against each
            other: ``"error"``, or ``"resample"`` to a regular grid of the usual distance
            (linear between slices; tilted ones are first shifted in their plane, on a grid that
            holds all of them; padding takes no part). Different slices at one position are
            refused either way.
        index : str
            The subject, for messages. Default: the folder's name.

        Raises
        ------
        GridMismatchError
            With positions and files, if the slices form no regular grid.
        UnreadableFileError
            Also if any file that belongs to the series cannot be read.
        """
        if irregular not in IRREGULAR:
            raise ConfigurationError(f"irregular is {irregular!r}; expected one of {IRREGULAR}")
        index = index or self.slices[0].path.parent.name
        if self.broken:
            more = f" (and {len(self.broken) - 1} more files)" if len(self.broken) > 1 else ""
            raise UnreadableFileError(index, self.broken[0] + more)
        grid = regular_grid(self.slices, self.modality, irregular, index)
        beside = [f"left out: {text}" for text in self.unreadable[:_SHOWN]]
        if len(self.unreadable) > _SHOWN:
            beside.append(f"left out: {len(self.unreadable) - _SHOWN} more files cannot be read")
        remarks = (*self.remarks, *beside, *grid.remarks)
        for remark in remarks:
            _LOG.warning("sample %r: %s", index, remark)
        frames = tuple(
            SourceFrame(item.path, item.frame, item.sop_instance_uid, item.sop_class_uid)
            for item in grid.slices
        )
        header = read_dataset(frames[0].path, index)
        return DicomVolume(
            grid.shape, grid.affine, frames, self.modality, header, grid.resampling, remarks
        )


def find_series(folder: str | Path | Sequence[Path], index: str = "") -> list[Series]:
    """Find all image series below a folder.

    Files are told by what they hold, not by their names. Series are told apart by study, series
    and frame of reference UID; a series that mixes several stacks is divided by
    :func:`~miscnn.data_loading.dicom._split.split_stacks`. Only headers are read.

    Parameters
    ----------
    folder : path or sequence of path
        Folder, or the files themselves.
    index : str
        The subject, for messages. Default: the folder's name.

    Returns
    -------
    list of Series
        Sorted by number.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    UnreadableFileError
        If a file says that it is DICOM, but is broken, and there is no image besides; else the
        series it belongs to cannot be opened.
    """
    if isinstance(folder, str | Path):
        if not Path(folder).is_dir():
            raise MissingFileError(f"folder: there is no folder {str(folder)!r}")
        index = index or Path(folder).name
        files: Sequence[Path] = list(dicom_files(Path(folder)))
    else:
        files = list(folder)
    return group_series(read_headers(files, index))


def group_series(headers: Sequence[FileHeader]) -> list[Series]:
    """Put the headers of images together to series.

    Files that are the same object (SOP instance) and say the same of where it lies are copies, of
    which the first counts. Files that cannot be read belong to the series that they name or, if
    that cannot be read either, to those that lie in the same folder.
    """
    groups: dict[tuple[Any, ...], list[FileHeader]] = {}
    for header in headers:
        if header.is_image:
            key = (header.study_uid, header.series_uid, header.frame_of_reference_uid)
            # without a series UID the number has to do
            more = () if header.series_uid else (header.number, header.description)
            groups.setdefault((*key, header.modality, *more), []).append(header)
    problems = [header for header in headers if header.problem]
    found = []
    for members in groups.values():
        first = members[0]
        folders = {header.path.parent for header in members}
        broken = [h.problem for h in problems if _may_belong(h, first.series_uid, folders)]
        others = [h.problem for h in problems if not _may_belong(h, first.series_uid, folders)]
        slices, remarks = _without_copies([s for header in members for s in header.slices])
        stacks = split_stacks(slices)
        for number, stack in enumerate(stacks, start=1):
            found.append(
                Series(
                    first.modality,
                    first.number,
                    number,
                    len(stacks),
                    tuple(stack),
                    first.description,
                    first.study_uid,
                    first.series_uid,
                    first.frame_of_reference_uid,
                    first.patient,
                    remarks,
                    tuple(broken),
                    tuple(others),
                )
            )
    return sorted(found, key=_order)


def _may_belong(broken: FileHeader, series_uid: str, folders: Collection[Path]) -> bool:
    if broken.series_uid:
        return broken.series_uid == series_uid
    return broken.path.parent in folders


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    known: dict[Slice, Slice] = {}
    kept, copies = [], []
    for item in slices:
        first = known.setdefault(replace(item, path=_ANYWHERE), item)
        if first is item or not item.sop_instance_uid:
            kept.append(item)
        else:
            copies.append(f"{file_name(item)} of {file_name(first)}")
    if not copies:
        return kept, ()
    more = f" and {len(copies) - _SHOWN} more" if len(copies) > _SHOWN else ""
    told = f"{len(copies)} copies of slices are left out: {', '.join(copies[:_SHOWN])}{more}"
    return kept, (told,)


def _order(series: Series) -> tuple[bool, int, str, int]:
    return series.number is None, series.number or 0, str(series.files[0]), series.stack


def read(volume: DicomVolume, suv: bool = False, index: str = "") -> NDArray[Any]:
    """Read the voxels of a volume.

    Parameters
    ----------
    volume : DicomVolume
    suv : bool
        Whether to return PET as SUV by body weight, float32.
    index : str
        The subject, for messages. Default: the folder's name.

    Returns
    -------
    ndarray
        ``volume.shape``; slope and intercept of each slice are applied. Integers stay integers,
        in the smallest type, if these are whole numbers for all slices; else float32 if that
        tells neighbouring stored values apart, else float64. Resampled volumes are float32.

    Raises
    ------
    UnreadableFileError
        If voxels are missing, compressed in a way that no installed library undoes, or no
        gray values; for SUV also if a field is missing, with its name.

    Notes
    -----
    ``MONOCHROME1`` (low values are shown bright) is read as stored, like ``MONOCHROME2``, and
    padding (``PixelPaddingValue``) is left as it is: -2000 or so, in HU, outside of some CTs.
    Where a series is resampled, padding is not interpolated, and the least value stands where
    nothing was measured.
    """
    index = index or volume.frames[0].path.parent.name
    codings = read_codings(volume.frames, index)
    factor = None
    if suv:
        with dicom_readable(volume.frames[0].path, index):
            factor = suv_factor(volume.header, _acquisitions(volume, index), index)
    dtype = np.dtype(np.float32) if factor is not None else common_type(codings)
    first = volume.frames[0].path
    rows, columns = int(volume.header.Rows), int(volume.header.Columns)
    measured = None
    try:
        voxels = np.empty((columns, rows, len(volume.frames)), dtype=dtype, order="F")
        if volume.resampling is not None and any(coding.padding for coding in codings):
            measured = np.empty(voxels.shape, dtype=bool, order="F")
    except MemoryError as error:
        refuse(first, index, "its voxels do not fit into memory", error)
    working = np.dtype(np.float64) if factor is not None else dtype
    planes = read_frames(volume.frames, codings, index)
    for k, (plane, coding) in enumerate(zip(planes, codings, strict=True)):
        if plane.shape != (columns, rows):
            refuse(volume.frames[k].path, index, f"it is {plane.shape}, others {columns, rows}")
        values = scaled(plane, coding, working)
        voxels[:, :, k] = values if factor is None else values * factor
        if measured is not None:
            measured[:, :, k] = ~coding.is_padding(plane)
    if volume.resampling is None:
        return voxels
    return volume.resampling.resample(
        lambda k: voxels[:, :, k],
        float(voxels.min()),
        None if measured is None else lambda k: measured[:, :, k],
    )


def _acquisitions(volume: DicomVolume, index: str) -> set[tuple[str, str, str]]:
    """Return date and time, or both in one, of when slices were acquired, as the files have it."""
    found = set()
    for path in dict.fromkeys(frame.path for frame in volume.frames):
        dataset = read_dataset(path, index, _TIMES)
        date, time, both = (text(dataset, name) for name in _TIMES)
        found.add((date, time, both))
    return found
