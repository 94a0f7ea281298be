"""Which RTSTRUCT or DICOM-SEG belongs to a series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._headers import FileHeader
from miscnn.data_loading.dicom._names import Missing, Named, holds
from miscnn.data_loading.dicom._source import dicom_readable, read_dataset, text
from miscnn.data_loading.dicom.segments import segment_names
from miscnn.data_loading.dicom.series import Series
from miscnn.data_loading.dicom.structures import roi_names
from miscnn.exceptions import MiscnnError, MissingFileError, SampleError

_TAGS = (
    *("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"),
    *("StructureSetROISequence", "FrameOfReferenceUID", "Manufacturer", "ManufacturerModelName"),
)
_OWN = "miscnn"


@dataclass(frozen=True)
class _Origin:
    """What an annotation says of where it comes from.

    Attributes
    ----------
    series, frames : set of str
        UIDs of the series and of the frames of reference that it names.
    own : bool
        Whether this library wrote it.
    """

    series: set[str]
    frames: set[str]
    own: bool


def fitting_annotations(
    annotations: Sequence[FileHeader],
    series: Series,
    folder: Path,
    tag: str | None,
    structures: Mapping[str, int] | None,
    index: str,
    missing: Missing = "error",
) -> list[FileHeader]:
    """Return the annotations that can be meant, by what they refer to.

    These are the ones that name the series, else those that name none and have its frame of
    reference. Results that this library wrote are no annotations, although they refer to the series
    too. A ``tag`` says more: it may name such a result, or an annotation that was drawn on
    another series of the same frame of reference.

    Parameters
    ----------
    annotations : sequence of FileHeader
    series : Series
    folder : Path
        The subject's.
    tag : str, optional
        Part of the path inside of the folder, in any capitals.
    structures : mapping of str to int, optional
        Names that are wanted. Of several annotations those are taken that hold all of them, else,
        where names may be missing, those that hold one.
    index : str
    missing : {"error", "background"}

    Raises
    ------
    UnreadableFileError
    """
    if tag is not None:
        annotations = [a for a in annotations if tag.lower() in _inside(a.path, folder).lower()]
    origins = [(header, _origin(header, index)) for header in annotations]
    if tag is None:
        origins = [(header, origin) for header, origin in origins if not origin.own]
    own = [h for h, origin in origins if series.series_uid and series.series_uid in origin.series]
    if not own:
        frame = series.frame_of_reference_uid
        own = [
            header
            for header, origin in origins
            if (not origin.series and not (origin.frames and frame))
            or (frame in origin.frames and (tag is not None or not origin.series))
        ]
    if len(own) > 1 and structures:
        strict: tuple[Missing, ...] = ("error",) if missing == "error" else ("error", missing)
        for rule in strict:
            holding = [header for header in own if _holds(header, structures, index, rule)]
            if holding:
                return holding
    return own


def choose_annotation(
    fitting: Sequence[FileHeader],
    annotations: Sequence[FileHeader],
    folder: Path,
    tag: str | None,
    index: str,
) -> FileHeader:
    """Return the one annotation of those that fit.

    Raises
    ------
    MissingFileError
        If none fits; telling of those that there are.
    SampleError
        With the list, if there are several.
    """
    if not fitting:
        tagged = "" if tag is None else f" with {tag!r} in its path"
        raise MissingFileError(
            f"sample {index!r}: no RTSTRUCT or DICOM-SEG{tagged} refers to the image; there are "
            f"{len(annotations)} in the subject's folder, {_count_results(annotations, index)} of "
            "them predictions of this library"
        )
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{_inside(a.path, folder)} ({a.modality})" for a in fitting[:8])
    more = f" and {len(fitting) - 8} more" if len(fitting) > 8 else ""
    raise SampleError(
        index,
        f"{len(fitting)} segmentations refer to the series: {listed}{more}; set annotation_tag to "
        f"a part of the path of the one that is meant{'' if tag is None else f', not {tag!r}'}, or "
        "structure_dict to names that only one of them holds",
    )


def annotation_names(header: FileHeader, index: str) -> list[Named]:
    """Return numbers and names of the structures or segments."""
    if header.modality == "SEG":
        return [Named(item.number, item.label) for item in segment_names(header.path, index)]
    names = roi_names(header.path, index)
    return [Named(number, name) for number, name in enumerate(names, start=1)]


def remark_on_results(annotations: Sequence[FileHeader], index: str) -> str:
    """Tell how many annotations are left out because they are predictions; empty if none are."""
    count = _count_results(annotations, index)
    if not count:
        return ""
    return (
        f"{count} RTSTRUCT or DICOM-SEG files are predictions that this library wrote, and not "
        "taken for a segmentation; set annotation_tag to read one of them"
    )


def _count_results(annotations: Sequence[FileHeader], index: str) -> int:
    return sum(_origin(header, index).own for header in annotations)


def _holds(header: FileHeader, structures: Mapping[str, int], index: str, missing: Missing) -> bool:
    try:
        return holds(structures, annotation_names(header, index), missing)
    except MiscnnError:
        return True  # reading it tells what is wrong


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _origin(header: FileHeader, index: str) -> _Origin:
    dataset = read_dataset(header.path, index, _TAGS)
    uids: set[str] = set()
    frames: set[str] = {header.frame_of_reference_uid}
    with dicom_readable(header.path, index):
        for item in _items(dataset, "ReferencedSeriesSequence"):
            uids.add(text(item, "SeriesInstanceUID"))
        for frame in _items(dataset, "ReferencedFrameOfReferenceSequence"):
            frames.add(text(frame, "FrameOfReferenceUID"))
            for study in _items(frame, "RTReferencedStudySequence"):
                for item in _items(study, "RTReferencedSeriesSequence"):
                    uids.add(text(item, "SeriesInstanceUID"))
        for roi in _items(dataset, "StructureSetROISequence"):
            frames.add(text(roi, "ReferencedFrameOfReferenceUID"))
        names = {text(dataset, name) for name in ("Manufacturer", "ManufacturerModelName")}
    return _Origin(uids - {""}, frames - {""}, names == {_OWN})


def _items(dataset: Any, name: str) -> Iterator[Any]:
    yield from dataset.get(name) or []
