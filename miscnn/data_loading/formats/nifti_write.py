"""Writing arrays as NIfTI with the header of the image that they belong to."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.data_loading.geometry import Geometry

# Label maps shrink to the same size at every level, and level 1 is several times faster.
_COMPRESSION = 1


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
    complete or not there.
    """
    dtype = header.get_data_dtype()
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        stream: Any = raw
        if path.name.endswith(".gz"):
            stream = gzip.GzipFile("", "wb", compresslevel=_COMPRESSION, fileobj=raw, mtime=0)
        stream.write(header.binaryblock + bytes(4))
        for k in range(array.shape[-1]):
            stream.write(array[..., k].astype(dtype, copy=False).tobytes(order="F"))
        if stream is not raw:
            stream.close()
