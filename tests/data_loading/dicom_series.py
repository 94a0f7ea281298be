"""Writes DICOM series for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

PATIENT = "Mustermann^Erika"
"""The name in every file, to be looked for where it must not be."""
PATIENT_ID = "PID-4711"

_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(
    folder: Path,
    array: NDArray[np.int16],
    affine: ArrayLike,
    *,
    modality: str = "CT",
    **overrides: Any,
) -> list[Path]:
    """Write one classic single-frame file a slice; return the files in the order of axis 2.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Files are called ``0000.dcm`` and so on.
    array : ndarray
        Shape (columns, rows, slices), int16, stored as it is (slope 1, intercept 0).
    affine : array_like
        Shape (4, 4), voxel index to mm, RAS+; sheared along axis 2 for gantry tilt. Slices are
        read in this order if the determinant of what it is in DICOM's LPS+ is positive, as for
        an axial CT of orientation ``"LPS"``; else they are read in reverse.
    overrides
        DICOM attributes by keyword, for every slice; a callable is called with the slice's
        number, and None leaves the attribute out.
    """
    array = np.asarray(array, dtype=np.int16)
    lps = _LPS @ np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    }
    paths = []
    for k in range(array.shape[2]):
        dataset = Dataset()
        dataset.SOPClassUID = _CLASSES[modality]
        dataset.SOPInstanceUID = generate_uid()
        dataset.Modality = modality
        dataset.PatientName, dataset.PatientID = PATIENT, PATIENT_ID
        dataset.PatientBirthDate, dataset.PatientSex = "19640812", "F"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101112", "1"
        dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
        dataset.Manufacturer, dataset.PatientPosition = "miscnn", "HFS"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 1, k + 1, 1
        dataset.PositionReferenceIndicator = ""
        dataset.ImagePositionPatient = _decimals(lps[:3, 3] + k * lps[:3, 2])
        directions = (lps[:3, :2] / spacing[:2]).T.ravel()
        dataset.ImageOrientationPatient = _decimals(directions)
        dataset.PixelSpacing = _decimals([spacing[1], spacing[0]])
        dataset.SliceThickness = _decimals([spacing[2]])[0]
        dataset.Columns, dataset.Rows = array.shape[0], array.shape[1]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 1
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        dataset.PixelData = np.ascontiguousarray(array[:, :, k].T).astype("<i2").tobytes()
        for name, value in {**common, **overrides}.items():
            value = value(k) if callable(value) else value
            if value is not None:
                setattr(dataset, name, value)
            elif name in dataset:
                delattr(dataset, name)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths.append(folder / f"{k:04d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _decimals(values: ArrayLike) -> list[str]:
    """Write numbers with the 16 characters that a decimal string may have."""
    return [_decimal(float(value)) for value in np.asarray(values).ravel()]


def _decimal(value: float) -> str:
    return next(t for n in range(16, 0, -1) if len(t := f"{value:.{n}g}") <= 16)
