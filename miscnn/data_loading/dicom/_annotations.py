"""Which RTSTRUCT or DICOM-SEG belongs to a series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._headers import FileHeader
from miscnn.data_loading.dicom._names import Named, choose
from miscnn.data_loading.dicom._source import dicom_readable, read_dataset, text
from miscnn.data_loading.dicom.segments import segment_names
from miscnn.data_loading.dicom.series import Series
from miscnn.data_loading.dicom.structures import roi_names
from miscnn.exceptions import LabelError, MiscnnError, SampleError

_TAGS = (
    *("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"),
    *("StructureSetROISequence", "FrameOfReferenceUID"),
)


def fitting_annotations(
    annotations: Sequence[FileHeader],
    series: Series,
    folder: Path,
    tag: str | None,
    structures: Mapping[str, int] | None,
    index: str,
) -> list[FileHeader]:
    """Return the annotations that can be meant, by what they refer to.

    Parameters
    ----------
    annotations : sequence of FileHeader
    series : Series
    folder : Path
        The subject's.
    tag : str, optional
        Part of the path inside of the folder, in any capitals.
    structures : mapping of str to int, optional
        Names that are wanted. Of several annotations those are taken that hold all of them.
    index : str

    Raises
    ------
    UnreadableFileError
    """
    if tag is not None:
        annotations = [a for a in annotations if tag.lower() in _inside(a.path, folder).lower()]
    references = [_references(header, index) for header in annotations]
    own = [
        header
        for header, (uids, _) in zip(annotations, references, strict=True)
        if series.series_uid and series.series_uid in uids
    ]
    if not own:  # those that name no series, or not by its UID
        own = [
            header
            for header, (uids, frames) in zip(annotations, references, strict=True)
            if not uids
            and (
                not frames
                or not series.frame_of_reference_uid
                or series.frame_of_reference_uid in frames
            )
        ]
    if len(own) > 1 and structures:
        own = [header for header in own if _holds(header, structures, index)] or own
    return own


def choose_annotation(
    fitting: Sequence[FileHeader], folder: Path, tag: str | None, index: str
) -> FileHeader | None:
    """Return the one annotation, or None if there is none.

    Raises
    ------
    SampleError
        With the list, if there are several.
    """
    if len(fitting) < 2:
        return fitting[0] if fitting else None
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


def _holds(header: FileHeader, structures: Mapping[str, int], index: str) -> bool:
    try:
        choose(structures, annotation_names(header, index), index, "structure")
    except LabelError:
        return False
    except MiscnnError:
        return True  # reading it tells what is wrong
    return True


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _references(header: FileHeader, index: str) -> tuple[set[str], set[str]]:
    """Return the series and the frames of reference that an annotation names."""
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
    return uids - {""}, frames - {""}


def _items(dataset: Any, name: str) -> Iterator[Any]:
    yield from dataset.get(name) or []
