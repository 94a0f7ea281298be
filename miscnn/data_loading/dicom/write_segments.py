"""Label maps as DICOM Segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._optional import optional
from miscnn._version import __version__
from miscnn.data_loading.dicom._write_common import (
    Colour,
    Grid,
    Structure,
    checked_labels,
    copy_patient_and_study,
    grid_of,
    references,
    required,
    set_equipment,
    source_of_slices,
    structures,
    unquoted,
)
from miscnn.data_loading.dicom.volume import DicomVolume, SourceFrame
from miscnn.exceptions import ConfigurationError

Code = tuple[str, str, str]
"""Value, coding scheme and meaning, such as ``("10200004", "SCT", "Liver")``."""

_TISSUE: Code = ("85756007", "SCT", "Tissue")
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
# Smaller frames highdicom packs one by one, with gaps between them.
_BYTE = 8


def write_segments(
    path: str | Path,
    labels: NDArray[Any],
    volume: DicomVolume,
    names: Sequence[str] | None = None,
    *,
    colours: Sequence[Colour] | None = None,
    codes: Mapping[int, tuple[Code, Code]] | None = None,
) -> None:
    """Write a label map as binary DICOM Segmentation of the series it was made from.

    Each class but the background is one segment, whose number is the class, and is described
    whether it has voxels or not. Frames without voxels are left out; if there are no voxels at
    all, the first slice is written, as there must be one. What identifies the patient is copied
    from the series, as objects of one study must have it in common.

    Parameters
    ----------
    path : str or Path
    labels : ndarray
        Shape ``volume.shape``, whole numbers: the classes.
    volume : DicomVolume
        Where it was resampled, the frames lie on the new grid in the series' frame of reference,
        and name no source image each.
    names : sequence of str, optional
        One for each class, that of the background first. Default: ``"class 1"`` and so on up to
        the highest label.
    colours : sequence of (int, int, int), optional
        Red, green and blue, 0 … 255, in the order of ``names``. Default: seven colours that all
        colour vision tells apart, in turn.
    codes : mapping of int to pair of codes, optional
        What classes are: category and type, as value, coding scheme and meaning:
        ``{1: (("123037004", "SCT", "Body structure"), ("10200004", "SCT", "Liver"))}``.
        Default: tissue, which says nothing wrong of anything.

    Raises
    ------
    ConfigurationError
        If the labels do not lie on the series' grid, if there are labels without a name, or if the
        series lacks the UIDs that a reference needs.

    References
    ----------
    DICOM PS3.3, A.51 (segmentation) and C.8.20.
    """
    highdicom = optional("highdicom", "dicom", "Writing DICOM segmentations")
    labels = checked_labels(labels, volume)
    classes = structures(labels, names, colours)
    with unquoted(), atomic_path(path) as temporary:
        result = _segmentation(highdicom, labels, volume, classes, codes or {})
        result.save_as(temporary, enforce_file_format=True)


def _segmentation(
    highdicom: Any,
    labels: NDArray[Any],
    volume: DicomVolume,
    classes: Sequence[Structure],
    codes: Mapping[int, tuple[Code, Code]],
) -> Any:
    grid = grid_of(volume)
    frames = source_of_slices(volume)
    kept = slice(None) if labels.any() else slice(1)
    orientation = highdicom.PlaneOrientationSequence("PATIENT", grid.orientation.tolist())
    measures = highdicom.PixelMeasuresSequence(
        grid.pixel_spacing, grid.slice_spacing, grid.slice_spacing
    )
    positions = [
        highdicom.PlanePositionSequence("PATIENT", position) for position in grid.positions.tolist()
    ]
    pixels = np.ascontiguousarray(labels[:, :, kept].transpose(2, 1, 0))
    result = highdicom.seg.Segmentation(
        source_images=[_template(volume, grid)],
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(highdicom, classes, codes),
        series_instance_uid=highdicom.UID(),
        series_number=300,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="miscnn",
        manufacturer_model_name="miscnn",
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="miscnn segmentation",
        series_description="miscnn segmentation",
        specific_character_set="ISO_IR 192",
        pixel_measures=measures,
        plane_orientation=orientation,
        plane_positions=positions[kept],
        omit_empty_frames=bool(labels.any()),
    )
    copy_patient_and_study(volume.header, result)
    set_equipment(result)
    _refer(result, volume, grid, frames)
    if pixels[0].size < _BYTE:
        _pack(result, pixels, grid)
    return result


def _template(volume: DicomVolume, grid: Grid) -> Any:
    """Return a source image as highdicom wants it, without anything that it might complain of.

    Its complaints hold values of the header, such as the patient's name, and end up in logs. What
    belongs into the result is copied later on.
    """
    pydicom = optional("pydicom", "dicom", "Writing DICOM segmentations")
    image = pydicom.Dataset()
    image.SOPClassUID = _CT_IMAGE_STORAGE
    image.SOPInstanceUID = volume.frames[0].sop_instance_uid
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, keyword, required(volume, keyword))
    image.PositionReferenceIndicator = ""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(image, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(image, keyword, "")
    image.Modality = volume.modality
    image.Columns, image.Rows = volume.shape[:2]
    decimal = pydicom.valuerep.DSfloat
    for keyword, values in (
        ("ImagePositionPatient", grid.positions[0].tolist()),
        ("ImageOrientationPatient", grid.orientation.tolist()),
        ("PixelSpacing", grid.pixel_spacing),
    ):
        setattr(image, keyword, [decimal(value, auto_format=True) for value in values])
    image.SliceThickness = decimal(grid.slice_spacing, auto_format=True)
    image.SpacingBetweenSlices = decimal(grid.slice_spacing, auto_format=True)
    return image


def _descriptions(
    highdicom: Any, classes: Sequence[Structure], codes: Mapping[int, tuple[Code, Code]]
) -> list[Any]:
    unknown = sorted(set(codes) - {structure.number for structure in classes})
    if unknown:
        raise ConfigurationError(f"codes names the classes {unknown}; there are 1 … {len(classes)}")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="miscnn",
        version=__version__,
        family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
    )
    descriptions = []
    for structure in classes:
        category, kind = codes.get(structure.number, (_TISSUE, _TISSUE))
        descriptions.append(
            highdicom.seg.SegmentDescription(
                segment_number=structure.number,
                segment_label=structure.name,
                segmented_property_category=highdicom.sr.CodedConcept(*category),
                segmented_property_type=highdicom.sr.CodedConcept(*kind),
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm,
                display_color=highdicom.color.CIELabColor.from_rgb(*structure.colour),
            )
        )
    return descriptions


def _refer(
    result: Any, volume: DicomVolume, grid: Grid, frames: Sequence[SourceFrame | None]
) -> None:
    """Name the source images, all of them and that of each frame."""
    dataset = optional("pydicom", "dicom", "Writing DICOM segmentations").Dataset
    result.SourceImageSequence = references(volume)
    series = dataset()
    series.SeriesInstanceUID = volume.header.SeriesInstanceUID
    series.ReferencedInstanceSequence = [_instance(dataset, i) for i in result.SourceImageSequence]
    result.ReferencedSeriesSequence = [series]
    for group in result.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
        source = frames[_slice(group, grid)]
        if source is None:
            continue
        image = dataset()
        image.ReferencedSOPClassUID = source.sop_class_uid
        image.ReferencedSOPInstanceUID = source.sop_instance_uid
        if source.frame is not None:
            image.ReferencedFrameNumber = source.frame + 1
        image.SpatialLocationsPreserved = "YES"
        purpose = "Source image for image processing operation"
        image.PurposeOfReferenceCodeSequence = [_code(dataset, "121322", purpose)]
        derivation = dataset()
        derivation.SourceImageSequence = [image]
        derivation.DerivationCodeSequence = [_code(dataset, "113076", "Segmentation")]
        group.DerivationImageSequence = [derivation]


def _slice(group: Any, grid: Grid) -> int:
    """Return which slice a frame of the result is."""
    position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
    return int(np.argmin(np.linalg.norm(grid.positions - position, axis=1)))


def _instance(dataset: Any, reference: Any) -> Any:
    item = dataset()
    item.ReferencedSOPClassUID = reference.ReferencedSOPClassUID
    item.ReferencedSOPInstanceUID = reference.ReferencedSOPInstanceUID
    return item


def _code(dataset: Any, value: str, meaning: str) -> Any:
    item = dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _pack(result: Any, pixels: NDArray[Any], grid: Grid) -> None:
    """Pack the bits of all frames without gaps between them."""
    shared = result.SharedFunctionalGroupsSequence[0]
    bits = []
    for group in result.PerFrameFunctionalGroupsSequence:
        holder = group if "SegmentIdentificationSequence" in group else shared
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        bits.append((pixels[_slice(group, grid)] == number).ravel())
    packed = np.packbits(np.concatenate(bits), bitorder="little").tobytes()
    result.PixelData = packed + b"\0" * (len(packed) % 2)
