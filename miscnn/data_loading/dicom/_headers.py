"""What is needed of the header of each slice to put series together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._enhanced import enhanced_slices
from miscnn.data_loading.dicom._slice import Marks, Slice, is_gray, matrix, sop_uids, whole
from miscnn.data_loading.dicom._source import (
    InvalidValueError,
    dicom_readable,
    is_dicom,
    lengths,
    number,
    numbers,
    read_dataset,
    text,
)
from miscnn.exceptions import UnreadableFileError

ANNOTATIONS = ("RTSTRUCT", "SEG")
# No images of the patient, although some have pixels.
_OTHERS = frozenset(
    ("RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "RWV", "DOC", "PLAN", "ECG")
)

# CT, MR and PET, also enhanced and legacy converted: these have pixels.
_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{kind}"
    for kind in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130")
)

_SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
_SLICE = (
    *("SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet", "SeriesNumber", "PatientID"),
    *("SeriesDescription", "Rows", "Columns", "NumberOfFrames", "PixelSpacing"),
    *("ImagerPixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"),
    *("SpacingBetweenSlices", "ImageType", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("EchoTime", "DiffusionBValue", "TriggerTime", "FrameReferenceTime", "AcquisitionDate"),
    *("AcquisitionTime", "AcquisitionDateTime", "ContentTime", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "PhotometricInterpretation"),
)
TAGS = (*_SERIES, *_SLICE)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """One file of a series. What identifies the patient is not shown.

    A file that cannot be read has no slices, but a :attr:`problem`: what is wrong with it.
    """

    path: Path
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    patient: str = field(repr=False)
    modality: str
    number: int | None
    description: str = field(repr=False)
    slices: tuple[Slice, ...] = field(repr=False)
    problem: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it holds slices of the patient (or is an annotation or something else)."""
        return bool(self.slices)


def read_headers(files: Sequence[Path], index: str) -> list[FileHeader]:
    """Read the headers of DICOM files; leave out what turns out to be none.

    Files that say that they are DICOM, but cannot be read, are kept with their
    :attr:`~FileHeader.problem` beside images, to which they need not belong.

    Raises
    ------
    UnreadableFileError
        If there is such a file, and no image that can be read.
    """
    headers, first = [], None
    for path in files:
        try:
            headers.append(read_header(path, index))
        except UnreadableFileError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
            with path.open("rb") as stream:
                stream.seek(128)
                if stream.read(4) == b"DICM":
                    first = first or error
                    headers.append(_unreadable(path, error.reason, index))
    if first is not None and not any(header.is_image for header in headers):
        raise first
    return headers


def _unreadable(path: Path, problem: str, index: str) -> FileHeader:
    """Keep of a broken file what says which series it belongs to."""
    try:
        dataset = read_dataset(path, index, (*_SERIES, "PatientID"))
        with dicom_readable(path, index):
            study, series, frame, modality = (text(dataset, name) for name in _SERIES)
            patient = text(dataset, "PatientID")
    except UnreadableFileError:
        study = series = frame = modality = patient = ""
    return FileHeader(path, study, series, frame, patient, modality.upper(), None, "", (), problem)


def read_header(path: Path, index: str) -> FileHeader:
    """Read the header of one file."""
    if not is_dicom(path) and path.is_file():
        raise UnreadableFileError(index, f"{path.name} is no DICOM file")
    dataset = read_dataset(path, index, TAGS)
    with dicom_readable(path, index):
        modality = text(dataset, "Modality").upper()
        is_image = modality not in ANNOTATIONS and modality not in _OTHERS
        sop_class = sop_uids(dataset)[1]
        if not (modality or sop_class) or ("Rows" not in dataset and sop_class in _IMAGES):
            raise InvalidValueError("its header ends early; the file was cut off")
        return FileHeader(
            path,
            text(dataset, "StudyInstanceUID"),
            text(dataset, "SeriesInstanceUID"),
            text(dataset, "FrameOfReferenceUID"),
            text(dataset, "PatientID"),
            modality,
            whole(dataset, "SeriesNumber"),
            text(dataset, "SeriesDescription"),
            _slices(path, dataset) if is_image and "Rows" in dataset else (),
        )


def _slices(path: Path, dataset: Any) -> tuple[Slice, ...]:
    if "PerFrameFunctionalGroupsSequence" in dataset or "SharedFunctionalGroupsSequence" in dataset:
        return enhanced_slices(path, dataset)
    frames = whole(dataset, "NumberOfFrames")
    if frames is not None and frames != 1:
        raise InvalidValueError(
            f"it holds {frames} frames without functional groups, which say where each one lies; "
            "only enhanced multi-frame objects are read"
        )
    rows, columns = matrix(dataset)
    spacing = lengths(dataset, "PixelSpacing", 2)
    marks = Marks(
        number(dataset, "AcquisitionNumber"),
        number(dataset, "TemporalPositionIdentifier"),
        number(dataset, "EchoTime"),
        number(dataset, "DiffusionBValue"),
        text(dataset, "ImageType").upper(),
        "",
        _either(number(dataset, "TriggerTime"), number(dataset, "FrameReferenceTime")),
        text(dataset, "AcquisitionDateTime")
        or text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime")
        or text(dataset, "ContentTime"),
    )
    uid, sop_class = sop_uids(dataset)
    return (
        Slice(
            path,
            None,
            uid,
            sop_class,
            rows,
            columns,
            lengths(dataset, "ImagePositionPatient", 3),
            numbers(dataset, "ImageOrientationPatient", 6),
            spacing if spacing is not None else lengths(dataset, "ImagerPixelSpacing", 2),
            number(dataset, "SpacingBetweenSlices"),
            number(dataset, "SliceThickness"),
            marks,
            is_gray(dataset),
        ),
    )


def _either(first: float | None, second: float | None) -> float | None:
    return second if first is None else first
