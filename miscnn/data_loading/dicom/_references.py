"""What image series a segmentation belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._items import items, uid
from miscnn.data_loading.dicom._quiet import quiet
from miscnn.data_loading.dicom._source import InvalidValueError, dicom_readable, read_dataset
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.formats.image_file import short
from miscnn.exceptions import GridMismatchError

_LOG = logging.getLogger("miscnn.data_loading.dicom")

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, Label Map Segmentation Storage."""


@dataclass(frozen=True)
class Reference:
    """The images that an RTSTRUCT or DICOM-SEG file was made on.

    Attributes
    ----------
    kind : str
        ``"RTSTRUCT"`` or ``"SEG"``.
    series_instance_uid : str or None
        The series; None if the file names none, or several.
    frame_of_reference_uid : str or None
        The coordinate system; None if the file names none, or several.
    sop_instance_uids : frozenset of str
        The single images that the file names; may be empty.
    """

    kind: str
    series_instance_uid: str | None = field(repr=False)
    frame_of_reference_uid: str | None = field(repr=False)
    sop_instance_uids: frozenset[str] = field(repr=False)


def referenced(path: str | Path, index: str | None = None) -> Reference:
    """Tell which images an RTSTRUCT or DICOM-SEG file belongs to, without reading its voxels.

    Parameters
    ----------
    path : str or Path
    index : str, optional
        The subject, for messages. Default: the name of the file.

    Raises
    ------
    MissingFileError
    UnreadableFileError
        If it is neither of the two kinds.
    """
    path = Path(path)
    index = path.name if index is None else index
    dataset = read_dataset(path, index)
    with dicom_readable(path, index):
        return reference_of(dataset)


def reference_of(dataset: Any) -> Reference:
    """Tell which images a data set belongs to; to be called within ``dicom_readable``."""
    kind = kind_of(dataset)
    if kind is None:
        raise InvalidValueError("expected an RTSTRUCT or a segmentation, got another DICOM object")
    series: set[str | None] = set()
    frames: set[str | None] = {uid(dataset, "FrameOfReferenceUID")}
    images: set[str | None] = set()
    for one in _structure_series(dataset, frames) if kind == "RTSTRUCT" else _series(dataset):
        series.add(uid(one, "SeriesInstanceUID"))
        for keyword in ("ContourImageSequence", "ReferencedInstanceSequence"):
            images |= {uid(image, "ReferencedSOPInstanceUID") for image in items(one, keyword)}
    if kind == "SEG":
        images |= set(_sources(dataset))
    return Reference(kind, _only(series), _only(frames), frozenset(i for i in images if i))


def kind_of(dataset: Any) -> str | None:
    """Tell by the class of a data set whether it is a segmentation, and of which kind."""
    sop_class = uid(dataset, "SOPClassUID")
    if sop_class == RTSTRUCT:
        return "RTSTRUCT"
    return "SEG" if sop_class in SEGMENTATIONS else None


def check_reference(reference: Reference, volume: DicomVolume, path: Path, index: str) -> None:
    """Refuse a segmentation whose coordinates do not count in those of the volume.

    Raises
    ------
    GridMismatchError
        If the frames of reference differ and the file does not name the series either.
    """
    with quiet():  # pydicom quotes UIDs that are none
        ours = uid(volume.header, "FrameOfReferenceUID")
        series = uid(volume.header, "SeriesInstanceUID")
    theirs = reference.frame_of_reference_uid
    if theirs is None or ours is None or theirs == ours:
        return
    same = reference.series_instance_uid is not None and reference.series_instance_uid == series
    if same or not reference.sop_instance_uids.isdisjoint(
        frame.sop_instance_uid for frame in volume.frames
    ):
        _LOG.warning(
            "sample %r: %s names the series, but another frame of reference than the series has; "
            "its coordinates are taken for those of the series",
            index,
            short(path),
        )
        return
    raise GridMismatchError(
        index,
        f"{short(path)} has another frame of reference than the image and does not refer to its "
        "series: the coordinates of the two cannot be compared; name the series that it was drawn "
        "on, or register the two first",
    )


def _structure_series(dataset: Any, frames: set[str | None]) -> Iterator[Any]:
    for frame in items(dataset, "ReferencedFrameOfReferenceSequence"):
        frames.add(uid(frame, "FrameOfReferenceUID"))
        for study in items(frame, "RTReferencedStudySequence"):
            yield from items(study, "RTReferencedSeriesSequence")


def _series(dataset: Any) -> Iterator[Any]:
    yield from items(dataset, "ReferencedSeriesSequence")
    for study in items(dataset, "StudiesContainingOtherReferencedInstancesSequence"):
        yield from items(study, "ReferencedSeriesSequence")


def _sources(dataset: Any) -> Iterator[str | None]:
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    for group in (*items(dataset, "SharedFunctionalGroupsSequence"), *groups):
        for derivation in items(group, "DerivationImageSequence"):
            for source in items(derivation, "SourceImageSequence"):
                yield uid(source, "ReferencedSOPInstanceUID")


def _only(found: set[str | None]) -> str | None:
    known = [one for one in found if one]
    return known[0] if len(known) == 1 else None
