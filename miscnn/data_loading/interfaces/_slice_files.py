"""Predictions of single slices as NIfTI files, each in its place in the volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._indices import PART
from miscnn.data_loading._patterns import check_index
from miscnn.data_loading.formats.image_file import volume_shape
from miscnn.data_loading.formats.nifti_file import NiftiFile, open_nifti
from miscnn.data_loading.formats.nifti_write import result_header, write_nifti
from miscnn.exceptions import MissingFileError, SampleError


def slice_index(volume: str, number: int) -> str:
    """Return the index of one slice."""
    return f"{volume}{PART}{number}"


def split_index(index: str) -> tuple[str, int]:
    """Return the volume and the number of a slice's index.

    Raises
    ------
    SampleError
        If it is none.
    """
    volume, sign, number = index.rpartition(PART)
    if not sign or not volume or not number.isdecimal() or len(number) > 9:
        raise SampleError(
            index, f"expected the index of a slice, such as {slice_index('volume', 12)!r}"
        )
    return check_index(volume), int(number)


def slice_path(folder: Path, volume: str, number: int) -> Path:
    """Return the file of a slice's prediction: colons are not allowed in names everywhere."""
    return folder / check_index(volume) / f"slice_{number:04d}.nii.gz"


def write_slice(path: Path, array: NDArray[Any], header: Any, axis: int, number: int) -> None:
    """Write one slice ``(…[, classes])`` as a volume of one voxel's depth, where it belongs.

    Parameters
    ----------
    path : Path
    array : ndarray
        The slice without ``axis``.
    header : nibabel.Nifti1Header
        That of the volume.
    axis, number : int
        Where the slice lies in the volume.
    """
    volume = np.expand_dims(array, axis)
    result = result_header(header, volume.shape, array.dtype)
    step = np.zeros(4)
    step[axis], step[3] = number, 1
    if int(result["sform_code"]) > 0 or int(result["qform_code"]) > 0:
        places = {"s": result.get_sform() @ step, "q": _qform(result) @ step}
        for k, name in enumerate("xyz"):
            result[f"srow_{name}"][3] = places["s"][k]
            result[f"qoffset_{name}"] = places["q"][k]
    write_nifti(path, volume, result)


def _qform(header: Any) -> NDArray[np.float64]:
    """Return the qform; where its quaternion is broken, no turn."""
    try:
        return np.asarray(header.get_qform(), np.float64)
    except Exception:  # nibabel's own HeaderDataError and others: the sform decides then
        return np.eye(4)


def assemble(
    folder: Path, volume: str, header: Any, axis: int, allow_missing: bool
) -> NDArray[Any]:
    """Stack the predictions of slices to that of their volume.

    Parameters
    ----------
    folder : Path
        Where the predictions lie.
    volume : str
    header : nibabel.Nifti1Header
        That of the volume.
    axis : int
    allow_missing : bool
        Whether slices without a prediction become background (zeros).

    Raises
    ------
    MissingFileError
        If slices are missing.
    """
    shape = volume_shape(tuple(int(n) for n in header.get_data_shape()))
    paths = {n: slice_path(folder, volume, n) for n in range(shape[axis])}
    missing = [n for n, path in paths.items() if not path.exists()]
    if len(missing) == len(paths) or (missing and not allow_missing):
        shown = ", ".join(map(str, missing[:12])) + (", …" if len(missing) > 12 else "")
        raise MissingFileError(
            f"volume {volume!r}: {len(missing)} of {len(paths)} slices have no prediction in "
            f"{folder / volume} ({shown}); predict them, or set allow_missing=True for background"
        )
    slices = {
        n: read_slice(p, slice_index(volume, n), axis) for n, p in paths.items() if n not in missing
    }
    plane = (*shape[:axis], *shape[axis + 1 :])
    axes = {array.shape[2:] for array in slices.values()}
    odd = [n for n, array in slices.items() if array.shape[:2] != plane]
    if odd or len(axes) != 1:
        raise SampleError(
            slice_index(volume, odd[0] if odd else 0),
            f"the predictions of its slices do not fit together (expected {plane}, labels or "
            "probabilities everywhere); predict all slices again",
        )
    dtype = np.result_type(*(array.dtype for array in slices.values()))
    result = np.zeros((*shape, *next(iter(axes))), dtype)
    for n, array in slices.items():
        result[(slice(None),) * axis + (n,)] = array
    return result


def three_axes(file: NiftiFile) -> NDArray[Any]:
    """Read the voxels, with three axes of space at least."""
    array = file.read()
    if len(file.shape) < 3:
        array = array[:, :, np.newaxis]
    return array


def channels_of(array: NDArray[Any], spatial: int, file: NiftiFile) -> NDArray[Any]:
    """Drop further axes of length 1; refuse more than one that is longer."""
    further = tuple(n for n in array.shape[spatial:] if n != 1)
    if len(further) > 1:
        raise SampleError(
            file.index, f"the file has shape {file.shape}; channels take one axis only"
        )
    return array.reshape((*array.shape[:spatial], *further), order="F")


def read_slice(path: Path, index: str, axis: int) -> NDArray[Any]:
    """Read the file of one slice's prediction, without the axis across the slices."""
    file = open_nifti(path, index)
    return channels_of(three_axes(file).take(0, axis), 2, file)
