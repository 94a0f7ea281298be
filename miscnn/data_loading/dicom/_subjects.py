"""Which files below a data folder belong to which subject."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from miscnn.data_loading._patterns import check_index, natural_key, visible_names
from miscnn.data_loading.dicom._headers import ANNOTATIONS, FileHeader, read_header, read_headers
from miscnn.data_loading.dicom._source import dicom_files
from miscnn.data_loading.dicom.series import Series, group_series
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import (
    GridMismatchError,
    MiscnnError,
    MissingFileError,
    SampleError,
    UnreadableFileError,
)

# Where DataIO writes by default.
_OWN_FOLDERS = ("batches", "predictions")

State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Subject:
    """What was found of a subject.

    Attributes
    ----------
    folder : Path
    state : tuple
        Path, size and time of each file, by which changes are seen.
    series : tuple of Series
    annotations : tuple of FileHeader
    """

    folder: Path
    state: State = field(repr=False)
    series: tuple[Series, ...]
    annotations: tuple[FileHeader, ...]


def find_subjects(folder: Path) -> list[str]:
    """Return the indices of the subjects: folders below which there is an image.

    Files that lie in the data folder itself are one subject that is called like the folder. If
    they are of several patients or studies, each is a subject: ``folder-1a2b3c4d``, with a
    number that is made from the study's UID and stays as it is.
    """
    names = [name for name in visible_names(folder) if _has_image(folder / name)]
    return sorted([*names, *loose_files(folder)], key=natural_key)


def possible_files(folder: Path, index: str) -> tuple[Path, list[Path]]:
    """Return a subject's folder and files; for one without a folder, all that lie in the data's.

    No header is read.

    Raises
    ------
    MissingFileError
        If there is a folder without files.
    """
    own = folder / check_index(index)
    if not own.is_dir():
        return folder, list(dicom_files(folder, recursive=False))
    files = list(dicom_files(own))
    if not files:
        raise MissingFileError(f"sample {index!r}: there are no DICOM files below {own}")
    return own, files


def own_files(folder: Path, index: str) -> list[Path]:
    """Return the files of a subject without a folder, which are told from others by their headers.

    Raises
    ------
    MissingFileError
        If there are none.
    """
    loose = loose_files(folder)
    if index in loose:
        return loose[index]
    if any(name.startswith(index + "-") for name in loose):
        raise SampleError(
            index,
            f"the files of {len(loose)} patients or studies lie in one folder; they are the "
            f"subjects {', '.join(loose)}",
        )
    raise MissingFileError(f"sample {index!r}: there is no folder {index} in {folder}")


def read_subject(folder: Path, files: Sequence[Path], state: State, index: str) -> Subject:
    """Read the headers of a subject's files."""
    headers = read_headers(files, index)
    annotations = tuple(header for header in headers if header.modality in ANNOTATIONS)
    return Subject(folder, state, tuple(group_series(headers)), annotations)


def open_on_one_grid(series: Sequence[Series], irregular: str, index: str) -> list[DicomVolume]:
    """Open the series of all channels.

    Raises
    ------
    GridMismatchError
        If slices form no regular grid, or channels do not share one.
    """
    volumes = [one.open(irregular, index) for one in series]
    first = Geometry(volumes[0].shape, volumes[0].affine)
    for number, volume in enumerate(volumes[1:], start=2):
        grid = Geometry(volume.shape, volume.affine)
        if not first.matches(grid):
            raise GridMismatchError(
                index,
                f"channel {number} ({volume.modality}) lies on another grid than channel 1 "
                f"({volumes[0].modality}): {grid.describe_difference(first)}; resample them to "
                "one grid",
            )
    return volumes


def state_of(files: Sequence[Path], index: str) -> State:
    """Return what changes when a file does."""
    found = []
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise UnreadableFileError(index, f"{path.name} cannot be read") from error
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def loose_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files that lie in the data folder itself, by subject."""
    files = list(dicom_files(folder, recursive=False))
    name = folder.resolve().name or "data"
    headers = read_headers(files, name)
    images: dict[tuple[str, str], list[Path]] = {}
    for header in headers:
        if header.is_image:
            images.setdefault((header.study_uid, header.patient), []).append(header.path)
    taken = (folder / name).is_dir()
    if len(images) == 1 and not taken:
        return {name: files}
    for header in headers:
        if not header.is_image:
            for (study, patient), members in images.items():
                if study == header.study_uid and patient == header.patient:
                    members.append(header.path)
    return {
        f"{name}-{hashlib.sha256(chr(0).join(key).encode()).hexdigest()[:8]}": members
        for key, members in images.items()
    }


def _has_image(path: Path) -> bool:
    """Tell whether there is an image below a folder; a broken file counts, to be told of."""
    if not path.is_dir():
        return False
    for file in dicom_files(path):
        try:
            if read_header(file, path.name).is_image:
                return True
        except MiscnnError:
            return True
    return False


def overlooked_folders(folder: Path, ignored: Collection[Path]) -> Iterator[tuple[str, str]]:
    """Yield the names of folders that are no subjects although they hold DICOM, and what to do."""
    for name in visible_names(folder):
        path = folder / name
        if not path.is_dir() or name in _OWN_FOLDERS or path.resolve() in ignored:
            continue
        if next(dicom_files(path), None) is not None and not _has_image(path):
            yield (
                name,
                "the folder holds DICOM files, but no image; put the segmentation below the folder "
                "of its image",
            )
