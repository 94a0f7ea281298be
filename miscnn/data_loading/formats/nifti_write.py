"""Writing arrays as NIfTI with the header of the image that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._gzip import Writer, compressing
from miscnn._scratch import BLOCK, release
from miscnn.data_loading.geometry import Geometry


def header_from_geometry(geometry: Geometry) -> Any:
    """Make a header with the geometry as sform and, unless the grid is sheared, as qform."""
    affine = np.eye(4)
    n = geometry.ndim
    affine[:n, :n] = geometry.affine[:n, :n]
    affine[:n, 3] = geometry.affine[:n, n]
    header = nib.Nifti1Header()
    header.set_data_shape((*geometry.shape, *(1,) * (3 - n)))
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="scanner")
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        header.set_qform(affine, code="scanner")
    return header


def result_header(image_header: Any, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    """Copy an image's header for a result on the same grid.

    Everything that says where the voxels lie is kept bit by bit (both matrices, both codes,
    voxel sizes, units), as is the description; what belongs to the intensities of the image
    (scaling, display range, intent) is reset. Header extensions are left out: they describe
    the image, and may hold the patient's name.
    """
    header = image_header.copy()
    sizes = header["pixdim"].copy()
    if len(shape) != len(header.get_data_shape()):
        sizes[4:] = 1  # what the image had along time or channels
    header.set_data_shape(tuple(shape))
    header["pixdim"] = sizes
    header.set_data_dtype(dtype.newbyteorder("="))
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_max"], header["cal_min"] = 0, 0
    header["intent_code"], header["intent_name"] = 0, b""
    for name in ("intent_p1", "intent_p2", "intent_p3"):
        header[name] = 0
    for name in set(header.keys()) & {"glmax", "glmin"}:
        header[name] = 0
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return header


def write_nifti(path: Path, array: NDArray[Any], header: Any) -> None:
    """Write an array with the given header, gzip-compressed if the name ends in ``.gz``.

    The same input gives the same bytes: the archive holds no name and no date. The file is
    complete or not there. Memory is bounded by a few slices; what is mapped from a file is
    released behind, and read once if it lies in Fortran's order, as the file has it.
    """
    dtype = header.get_data_dtype()
    with ExitStack() as stack:
        raw = stack.enter_context(stack.enter_context(atomic_path(path)).open("wb"))
        stream: Writer = raw
        if path.name.endswith(".gz"):
            stream = stack.enter_context(compressing(raw))
        stream.write(header.binaryblock + bytes(4))
        for piece in _pieces(array):
            values: Any = np.asfortranarray(piece, dtype).reshape(-1, order="F").view(np.uint8)
            stream.write(values)
            release(piece)


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield slices of an array, several at once, in the order of the file."""
    volume = array.reshape((*array.shape, *(1,) * (3 - array.ndim)))
    several = max(1, BLOCK // max(1, array.itemsize * volume.shape[0] * volume.shape[1]))
    for further in np.ndindex(*reversed(volume.shape[3:])):
        place = (slice(None), slice(None), slice(None), *reversed(further))
        for start in range(0, volume.shape[2], several):
            yield volume[place][:, :, start : start + several]
