"""Predictions onto the grid of a series: files of several formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._patterns import check_index
from miscnn.data_loading.dicom._headers import read_header
from miscnn.data_loading.dicom._measured import grid_alone
from miscnn.data_loading.dicom.segments import read_segments
from miscnn.data_loading.dicom.structures import read_structures
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.dicom.write_structures import write_structures
from miscnn.data_loading.formats.nifti_file import open_nifti
from miscnn.data_loading.formats.nifti_write import (
    header_from_geometry,
    result_header,
    write_nifti,
)
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import GridMismatchError, LabelError, MissingFileError

OUTPUTS = ("dicom-seg", "rtstruct", "nifti")
_ENDINGS = (".dcm", ".nii.gz")


def on_grid(prediction: NDArray[Any], volume: DicomVolume, ndim: int, index: str) -> NDArray[Any]:
    """Bring a prediction to the shape of the volume: labels, or probabilities with a last axis.

    Raises
    ------
    GridMismatchError
        If it does not lie on the image's grid.
    """
    space = volume.shape[:ndim]
    if prediction.shape == (*space, 1) and prediction.dtype.kind in "biu":
        prediction = prediction[..., 0]
    if prediction.shape[:ndim] != space or prediction.ndim > ndim + 1:
        raise GridMismatchError(
            index,
            f"the prediction has shape {prediction.shape}, the image {space}; it must be brought "
            "back to the image's grid before it is saved",
        )
    return prediction.reshape((*volume.shape, *prediction.shape[ndim:]))


def result_path(folder: Path, index: str, labels: bool, output: str) -> Path:
    """Return the file of a label map, or of probabilities (always as NIfTI)."""
    dicom = labels and output != "nifti"
    return folder / (check_index(index) + _ENDINGS[0 if dicom else 1])


def save_result(
    folder: Path,
    index: str,
    array: NDArray[Any],
    volume: DicomVolume,
    output: str,
    names: list[str] | None,
) -> Path:
    """Write a label map, or probabilities with a last axis (always as NIfTI); return the file."""
    probabilities = array.ndim == 4
    if not probabilities:
        array = _labels(array, index)
    path = result_path(folder, index, not probabilities, output)
    if output == "nifti" or probabilities:
        array = array.astype(np.float32, copy=False) if probabilities else array
        header = header_from_geometry(Geometry(volume.shape, volume.affine))
        write_nifti(path, array, result_header(header, array.shape, array.dtype))
        return path
    if output == "rtstruct":
        write_structures(path, array, volume, names)
    else:
        write_segments(path, array, volume, names)
    return path


def load_result(folder: Path, index: str, volume: DicomVolume) -> tuple[NDArray[Any], bool]:
    """Read what was written last, and tell whether its values are classes.

    Raises
    ------
    MissingFileError
    GridMismatchError
        If it does not lie on the image's grid.
    """
    stem = folder / check_index(index)
    paths = [path for e in _ENDINGS if (path := stem.with_name(stem.name + e)).exists()]
    if not paths:
        raise MissingFileError(
            f"sample {index!r}: there is no prediction {stem.name}{_ENDINGS[0]} or "
            f"{stem.name}{_ENDINGS[1]} in {folder}"
        )
    path = max(paths, key=lambda p: p.stat().st_mtime_ns)
    if path.name.endswith(_ENDINGS[1]):
        file = open_nifti(path, index)
        array = file.read()
        if array.shape[:3] != volume.shape:
            raise GridMismatchError(
                index, f"{path.name} has shape {array.shape}, the image {volume.shape}"
            )
        return array, False
    header = read_header(path, index)
    volume = grid_alone(volume)
    if header.modality == "SEG":
        return read_segments(path, volume, None, index), True
    return read_structures(path, volume, None, index), True


def _labels(array: NDArray[Any], index: str) -> NDArray[Any]:
    """Return labels in the smallest type; refuse what is none."""
    whole = array.dtype.kind in "biu" or (
        array.dtype.kind == "f"
        and bool(np.all(np.isfinite(array)))
        and bool(np.all(array == np.rint(array)))
    )
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not whole:
        raise LabelError(
            index,
            "a prediction without class axis holds labels, whole numbers; got dtype "
            f"{array.dtype} with values from {low} to {high}",
        )
    return array.astype(
        np.result_type(*(np.min_scalar_type(int(n)) for n in (low, high))), copy=False
    )
