"""Label maps as RT Structure Sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from miscnn._files import atomic_path
from miscnn._optional import optional
from miscnn.data_loading.dicom._contours import trace
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

_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_CONTOUR_DATA = 0x30060050
_CONTOUR_IMAGES = 0x30060016
_LONGEST_DECIMAL = 16
# Rounding moves a point by less than this share of a pixel, and by less than 0.00001 mm.
_PRECISION = 1e-4


def write_structures(
    path: str | Path,
    labels: NDArray[Any],
    volume: DicomVolume,
    names: Sequence[str] | None = None,
    *,
    colours: Sequence[Colour] | None = None,
) -> None:
    """Write a label map as RT Structure Set that refers to the series it was made from.

    Each class but the background is one region of interest, whose number is the class; a class
    without voxels has no contours. What identifies the patient is copied from the series, as
    objects of one study must have it in common.

    Parameters
    ----------
    path : str or Path
    labels : ndarray
        Shape ``volume.shape``, whole numbers: the classes.
    volume : DicomVolume
    names : sequence of str, optional
        One for each class, that of the background first. Default: ``"class 1"`` and so on up to
        the highest label.
    colours : sequence of (int, int, int), optional
        Red, green and blue, 0 … 255, in the order of ``names``. Default: seven colours that all
        colour vision tells apart, in turn.

    Raises
    ------
    ConfigurationError
        If the labels do not lie on the series' grid, if there are labels without a name, or if the
        series lacks the UIDs that a reference needs.

    Notes
    -----
    The outlines run along the edges of the pixels (see
    :func:`~miscnn.data_loading.dicom._contours.trace`), one set of closed planar contours on each
    slice. A hole is a contour of its own inside the outer one, to be filled by the even-odd rule:
    that is how common software reads, and writes, several contours of one slice. Of the
    alternatives that DICOM knows, the "keyhole" draws a line through the structure that was never
    there, and software that knows the type ``CLOSED_PLANAR`` only leaves out contours of
    the type ``CLOSEDPLANAR_XOR``. A reader that fills contours one over the other fills holes.

    A structure set holds outlines, not voxels, and readers decide on their own whether a voxel that
    an outline crosses or touches belongs to it: what they fill may differ along the boundary. Here
    outlines pass midway between the centres of voxels, and rounding moves them by less than a
    ten-thousandth of a pixel. Filled by voxel centres, as this library does, they give back exactly
    the voxels that were written.

    References
    ----------
    DICOM PS3.3, C.8.8.5 (structure set), C.8.8.6 (ROI contour), C.8.8.8 (observations).
    """
    pydicom = optional("pydicom", "dicom", "Writing RT structure sets")
    labels = checked_labels(labels, volume)
    classes = structures(labels, names, colours)
    grid = grid_of(volume)
    frames = source_of_slices(volume)
    boxes = ndimage.find_objects(labels, max_label=len(classes))
    with unquoted(), atomic_path(path) as temporary:
        dataset = _frame(pydicom, volume, classes)
        dataset.ROIContourSequence = [
            _roi_contours(pydicom, structure, labels, box, grid, frames)
            for structure, box in zip(classes, boxes, strict=True)
        ]
        dataset.save_as(temporary, enforce_file_format=True)


def _frame(pydicom: Any, volume: DicomVolume, classes: Sequence[Structure]) -> Any:
    """Make the structure set without its contours."""
    item = pydicom.Dataset
    dataset = item()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    frame_of_reference = required(volume, "FrameOfReferenceUID")
    study, series = (required(volume, f"{level}InstanceUID") for level in ("Study", "Series"))
    copy_patient_and_study(volume.header, dataset)
    set_equipment(dataset)
    dataset.SOPClassUID = _STRUCTURE_SET_STORAGE
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(prefix=None)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid(prefix=None)
    dataset.SeriesDescription = "miscnn segmentation"
    dataset.SeriesNumber, dataset.InstanceNumber = 301, 1
    dataset.OperatorsName = ""
    now = datetime.now()
    dataset.InstanceCreationDate = dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.StructureSetLabel = "miscnn"
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.FrameOfReferenceUID = frame_of_reference
    dataset.PositionReferenceIndicator = ""

    of_series = item()
    of_series.SeriesInstanceUID = series
    of_series.ContourImageSequence = references(volume)
    of_study = item()
    of_study.ReferencedSOPClassUID = _DETACHED_STUDY
    of_study.ReferencedSOPInstanceUID = study
    of_study.RTReferencedSeriesSequence = [of_series]
    of_frame = item()
    of_frame.FrameOfReferenceUID = frame_of_reference
    of_frame.RTReferencedStudySequence = [of_study]
    dataset.ReferencedFrameOfReferenceSequence = [of_frame]

    rois, observations = [], []
    for structure in classes:
        roi = item()
        roi.ROINumber = structure.number
        roi.ReferencedFrameOfReferenceUID = frame_of_reference
        roi.ROIName = structure.name
        roi.ROIGenerationAlgorithm = "AUTOMATIC"
        roi.ROIGenerationDescription = "miscnn"
        rois.append(roi)
        observation = item()
        observation.ObservationNumber = structure.number
        observation.ReferencedROINumber = structure.number
        observation.RTROIInterpretedType = ""  # whether organ, target ... only its reader knows
        observation.ROIInterpreter = ""
        observations.append(observation)
    dataset.StructureSetROISequence = rois
    dataset.RTROIObservationsSequence = observations

    meta = pydicom.dataset.FileMetaDataset()
    # An explicit VR leaves 64 KiB to a list of decimals, which a long outline exceeds.
    meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def _roi_contours(
    pydicom: Any,
    structure: Structure,
    labels: NDArray[Any],
    box: tuple[slice, slice, slice] | None,
    grid: Grid,
    frames: Sequence[SourceFrame | None],
) -> Any:
    roi = pydicom.Dataset()
    roi.ROIDisplayColor = list(structure.colour)
    roi.ReferencedROINumber = structure.number
    if box is None:
        return roi
    images = [_image(pydicom, frame) for frame in frames]
    contours: list[Any] = []
    for k, text, points in _outlines(structure.number, labels, box, grid):
        contour = pydicom.Dataset()
        if images[k] is not None:
            contour.add(images[k])
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = points
        contour.ContourNumber = len(contours) + 1
        # Bytes are written as they are, where decimals would be looked at one by one, a million of
        # them; an implicit VR is not written.
        contour.add_new(_CONTOUR_DATA, "OB", text)
        contours.append(contour)
    roi.ContourSequence = contours
    return roi


def _image(pydicom: Any, frame: SourceFrame | None) -> Any:
    """Return the element that names the image which a contour lies on."""
    if frame is None:
        return None
    image = pydicom.Dataset()
    image.ReferencedSOPClassUID = frame.sop_class_uid
    image.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame is not None:
        image.ReferencedFrameNumber = frame.frame + 1
    return pydicom.DataElement(_CONTOUR_IMAGES, "SQ", [image])


def _outlines(
    number: int, labels: NDArray[Any], box: tuple[slice, slice, slice], grid: Grid
) -> Iterator[tuple[int, bytes, int]]:
    """Yield slice, coordinates as decimal strings, and number of points of each contour."""
    step, origin = grid.index_to_patient[:3, :3], grid.index_to_patient[:3, 3]
    start = np.array([box[0].start, box[1].start], dtype=np.float64)
    places = max(5, math.ceil(-math.log10(min(grid.pixel_spacing) * _PRECISION)))
    for k in range(box[2].start, box[2].stop):
        for polygon in trace(labels[box[0], box[1], k] == number):
            points = (polygon + start) @ step[:, :2].T + (origin + k * step[:, 2])
            yield k, decimals(points, places), len(points)


def decimals(values: NDArray[np.float64], places: int) -> bytes:
    """Write numbers as DICOM's decimal strings, of at most 16 characters and even length.

    Parameters
    ----------
    values : ndarray
    places : int
        Digits behind the point, fewer where 16 characters do not hold them.
    """
    flat = values.ravel() + 0.0
    whole = len(f"{-np.abs(flat).max(initial=1.0):.0f}")
    places = max(0, min(places, _LONGEST_DECIMAL - 1 - whole))
    text = "\\".join([f"%.{places}f"] * len(flat)) % tuple(flat.tolist())
    return (text + " " * (len(text) % 2)).encode("ascii")
