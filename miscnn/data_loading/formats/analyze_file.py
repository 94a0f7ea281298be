"""Analyze 7.5: a header of 348 bytes (``.hdr``) beside the voxels (``.img``).

Read here and not by SimpleITK, which writes a warning to standard error for every file; the
grid is the one SimpleITK gives.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.data_loading.formats.image_file import readable, refuse
from miscnn.data_loading.formats.itk_file import lps_affine

_SIZE = 348
# The last four are SPM's additions. 128 is RGB.
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4"}
_RGB = 128
_CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64}


@dataclass(frozen=True)
class AnalyzeFile:
    """The header of one Analyze file; attributes as those of ``ItkFile``."""

    path: Path
    index: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    grid: dict[str, Any]
    dtype: np.dtype[Any]
    offset: int
    components: int

    def read(self) -> NDArray[Any]:
        """Read the voxels in native byte order."""
        data = data_file(self.path)
        with readable(data, self.index, "Analyze", (Exception,)):
            count = math.prod(self.shape) * self.components
            flat = np.fromfile(data, self.dtype, count, offset=self.offset)
            flat = flat.astype(self.dtype.newbyteorder("="), copy=False)
            if self.components == 1:
                return flat.reshape(self.shape, order="F")
            return np.moveaxis(flat.reshape((self.components, *self.shape), order="F"), 0, -1)

    def details(self) -> dict[str, Any]:
        """Return the grid as it stands in the file, for a prediction on it."""
        return {"itk": self.grid}


def data_file(path: Path) -> Path:
    """Return the file with the voxels of a header."""
    return path.with_suffix(".IMG" if path.suffix == ".HDR" else ".img")


def open_analyze(path: Path, index: str) -> AnalyzeFile:
    """Read and check an Analyze header.

    Raises
    ------
    MissingFileError
        If the header or the file with the voxels is not there.
    UnreadableFileError
        If it is no Analyze file, or the voxels are fewer than its header says.
    """
    with readable(path, index, "Analyze", (struct.error,)), path.open("rb") as file:
        header = file.read(_SIZE)
        if len(header) < _SIZE:
            refuse(path, index, f"it has {len(header)} bytes, an Analyze header {_SIZE}")
        order = next((o for o in "<>" if struct.unpack_from(f"{o}i", header)[0] == _SIZE), None)
        if order is None:
            refuse(path, index, f"not an Analyze file; it begins with {header[:8]!r}")
        if header[344:347] in (b"ni1", b"n+1"):
            refuse(path, index, "it is NIfTI in two files; convert it to one .nii.gz")
        n, *dims = struct.unpack_from(f"{order}8h", header, 40)
        code, bits = struct.unpack_from(f"{order}2h", header, 70)
        sizes = struct.unpack_from(f"{order}8f", header, 76)[1:4]
        (start,) = struct.unpack_from(f"{order}f", header, 108)
        shape = tuple(dims[: max(n, 0)])
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if not 2 <= n <= 7 or min(shape) < 1:
            refuse(path, index, f"the header gives the impossible shape {shape}")
        if code not in _TYPES:
            refuse(path, index, f"its header names the unsupported voxel type {code} ({bits} bits)")
        if not 0 <= start < 2**31:
            refuse(path, index, f"the header lets the voxels begin at byte {start}")
    dtype = np.dtype(order + _TYPES[code])
    components = 3 if code == _RGB else 1
    data = data_file(path)
    with readable(data, index, "Analyze"):
        promised = int(start) + math.prod(shape) * dtype.itemsize * components
        if promised > data.stat().st_size:
            refuse(
                data,
                index,
                f"its header promises shape {shape}, {promised:,} bytes, but the file has "
                f"{data.stat().st_size:,}: truncated, or a wrong header",
            )
    axes = min(len(shape), 3)
    grid = {
        "size": list(shape[:axes]),
        "spacing": [abs(float(s)) for s in sizes[:axes]],
        "origin": [0.0] * axes,
        "direction": np.eye(axes).ravel().tolist(),
    }
    affine = lps_affine(grid)
    return AnalyzeFile(
        path,
        index,
        shape,
        affine,
        {"ending": ".hdr", "header": {}, **grid},
        dtype,
        int(start),
        components,
    )


def write_analyze(path: Path, array: NDArray[Any], spacing: tuple[float, ...]) -> None:
    """Write a label map as ``path`` (``.hdr``) and the ``.img`` beside it, that one first."""
    if array.dtype.name not in _CODES:  # Analyze knows few types
        array = array.astype(np.int16 if array.max(initial=0) <= 32767 else np.int32)
    header = bytearray(_SIZE)
    struct.pack_into("<i", header, 0, _SIZE)
    struct.pack_into("<i", header, 32, 16384)
    header[38:39] = b"r"
    struct.pack_into("<8h", header, 40, 3, *array.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _CODES[array.dtype.name], array.dtype.itemsize * 8)
    struct.pack_into("<4f", header, 76, 0, *(*spacing, 1.0, 1.0, 1.0)[:3])
    with atomic_path(data_file(path)) as temporary:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        temporary.write_bytes(little.tobytes(order="F"))
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(header))
