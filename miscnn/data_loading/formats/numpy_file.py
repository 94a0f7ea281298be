"""One NumPy file: ``.npy``, or one array of a ``.npz`` archive."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._scratch import Scratch
from miscnn.data_loading.formats.image_file import readable, refuse

_GRID = ("affine", "spacing")
# deflate cannot shrink anything by more than this factor
_DEFLATE_BEST = 1032
_BEST = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_BEST}
_LARGEST_GRID = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class NumpyFile:
    """The header of one array, and the way to its values.

    Attributes
    ----------
    path : Path
    index : str
        The subject, for error messages.
    shape : tuple of int
    affine : ndarray
        Shape (4, 4), float64.
    key : str or None
        Name of the array in an archive.
    placed : bool
        Whether the file itself tells an affine or voxel sizes.
    """

    path: Path
    index: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    key: str | None
    placed: bool

    def read(self) -> NDArray[Any]:
        """Read the values in native byte order, Fortran order as it stands in the file."""
        with readable(self.path, self.index, "NumPy", (Exception,)):
            if self.key is None:
                array = np.load(self.path, allow_pickle=False)
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
            if not array.dtype.isnative:
                array = array.astype(array.dtype.newbyteorder("="))
            values: NDArray[Any] = array
            return values.astype(np.float64) if values.dtype.itemsize > 8 else values

    def map(self, scratch: Scratch) -> NDArray[Any]:
        """Return the values as :meth:`read` does; of a ``.npy`` a read-only map of the file."""
        if self.key is None:
            with readable(self.path, self.index, "NumPy", (Exception,)):
                array: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
                if array.dtype.isnative and array.dtype.itemsize <= 8:
                    return array
        return self.read()

    def details(self) -> dict[str, Any]:
        """Return the name of the array."""
        return {"key": self.key}


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in an archive."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def is_spacing(sizes: Sequence[float] | NDArray[np.float64], axes: int) -> bool:
    """Tell whether these are so many voxel sizes in mm, finite and above 0."""
    return np.shape(sizes) == (axes,) and all(np.isfinite(size) and size > 0 for size in sizes)


def open_numpy(
    path: Path,
    index: str,
    keys: Sequence[str],
    spacing: Sequence[float] | None,
    axes: int,
    others: Sequence[str] = (),
) -> NumpyFile:
    """Read and check the header of an array.

    Parameters
    ----------
    path : Path
    index : str
    keys : sequence of str
        Names of the array in an archive, the first one that is there counts. An archive of one
        array (besides ``affine`` and ``spacing``) may give it any name but ``others``.
    spacing : sequence of float, optional
        Voxel sizes in mm for files that tell none.
    axes : int
        Number of spatial axes, and of voxel sizes in a file.
    others : sequence of str
        Names of arrays that are something else.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableFileError
        If it is no NumPy file, holds no such array, or objects or text, or is shorter than its
        header says.
    """
    with readable(path, index, "NumPy", (Exception,)):  # zipfile raises many kinds
        if path.is_dir():
            refuse(path, index, "it is a folder, not a file")
        size = path.stat().st_size
        with path.open("rb") as start:
            magic = start.read(6)
        if magic == b"\x93NUMPY":
            with path.open("rb") as file:
                shape = _header(file, size, path, index)
            affine = _affine({}, spacing, axes, path, index)
            return NumpyFile(path, index, shape, affine, None, False)
        if not magic.startswith(b"PK"):
            refuse(path, index, f"not a .npy or .npz file; it begins with {magic!r}")
        names = array_names(path)
        arrays = [name for name in names if name not in _GRID]
        key = next((key for key in keys if key in names), None)
        if key is None and len(arrays) == 1 and arrays[0] not in others:
            key = arrays[0]
        if key is None:
            refuse(path, index, f"it holds {', '.join(names) or 'nothing'}; expected {keys[0]!r}")
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{key}.npy")
            possible = min(info.file_size, size * _BEST.get(info.compress_type, 0))
            with archive.open(info) as member:
                shape = _header(member, possible, path, index)
            grid = {n: _small(archive, n, path, index) for n in _GRID if n in names}
        affine = _affine(grid, spacing, axes, path, index)
        return NumpyFile(path, index, shape, affine, key, bool(grid))


def _header(file: IO[bytes], size: int, path: Path, index: str) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        refuse(path, index, f"version {version} of the format is not read")
    shape, _, dtype = reader(file)
    if dtype.kind not in "biuf" or dtype.names:
        refuse(path, index, f"it holds values of type {dtype}; save real numbers")
    shape = tuple(int(n) for n in shape)
    if not 2 <= len(shape) <= 7 or min(shape) < 1:
        refuse(path, index, f"it has the impossible shape {shape}")
    promised = math.prod(shape) * dtype.itemsize
    size = max(size - file.tell(), 0)
    if promised > size:
        refuse(
            path,
            index,
            f"its header promises shape {shape} of {dtype}, {promised:,} bytes, but it can hold "
            f"{size:,}: truncated, or a wrong header",
        )
    return shape


def _small(archive: zipfile.ZipFile, name: str, path: Path, index: str) -> NDArray[np.float64]:
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > _LARGEST_GRID:
        refuse(path, index, f"its {name} is no spacing or matrix")
    with archive.open(info) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False), dtype=np.float64)


def _affine(
    grid: dict[str, NDArray[np.float64]],
    spacing: Sequence[float] | None,
    axes: int,
    path: Path,
    index: str,
) -> NDArray[np.float64]:
    """Return the affine (4, 4) of what a file tells; the constructor's spacing if nothing."""
    affine = np.eye(4)
    if "affine" in grid:
        matrix = grid["affine"]
        if matrix.shape not in ((3, 3), (4, 4)):
            refuse(path, index, f"its affine has shape {matrix.shape}, expected (4, 4) or (3, 3)")
        n = len(matrix) - 1
        affine[:n, :n], affine[:n, 3] = matrix[:n, :n], matrix[:n, n]
        return affine
    if "spacing" in grid and not is_spacing(grid["spacing"], axes):
        found = np.array2string(grid["spacing"], threshold=9)
        refuse(path, index, f"its spacing is {found}, expected {axes} sizes in mm above 0")
    sizes = grid.get("spacing", np.asarray(spacing if spacing is not None else (), np.float64))
    affine[range(len(sizes)), range(len(sizes))] = sizes
    return affine


def write_numpy(path: Path, key: str, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write an array as ``.npy``, or with its affine as ``.npz`` (deflate), atomically.

    The same input gives the same bytes.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
            return
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, value in ((key, array), ("affine", affine)):
                info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)
