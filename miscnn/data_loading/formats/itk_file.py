"""One NRRD, MetaImage or GIPL file: its header first, its voxels when they are asked for.

SimpleITK interprets header and voxels; what the header claims is held against the size of the
file before SimpleITK allocates anything.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._optional import optional
from miscnn.data_loading.formats.image_file import readable, refuse
from miscnn.data_loading.formats.itk_text import (
    DEFLATE_BEST,
    read_meta_header,
    read_nrrd_header,
)

_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".gipl": "GiplImageIO",
    ".gipl.gz": "GiplImageIO",
}
_GIPL_HEADER = 256
_GIPL_MAGICS = (719555000, 4026526128, 3096044074)
_GIPL_TYPES = (7, 8, 15, 16, 31, 32, 64, 65)
# What of an NRRD header says where voxels lie.
_NRRD_GRID = (
    "space",
    "space dimension",
    "space directions",
    "space origin",
    "spacings",
    "axis mins",
    "axis maxs",
    "centers",
    "centerings",
    "kinds",
    "dimension",
)


@dataclass(frozen=True)
class ItkFile:
    """The header of one file that SimpleITK reads, and the way to its voxels.

    Attributes
    ----------
    path : Path
    index : str
        The subject, for error messages.
    shape : tuple of int
        Axes of the file without the components of a voxel.
    affine : ndarray
        Shape (4, 4), float64, voxel index to mm (RAS+); SimpleITK's directions, spacing and
        origin are LPS.
    grid : dict
        ``size``, ``spacing``, ``origin``, ``direction`` as SimpleITK gives them (of up to three
        axes), ``ending``, and ``header``: the lines of an NRRD header on the grid. JSON values.
    """

    path: Path
    index: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    grid: dict[str, Any]
    _reader: Any = field(repr=False)

    def read(self) -> NDArray[Any]:
        """Read the voxels ``(x, y[, z][, c])`` in the file's own type, without a copy."""
        with _readable(self.path, self.index):
            image = self._reader.Execute()
            voxels: NDArray[Any] = np.asarray(_Owner(image))
        axes = tuple(reversed(range(len(self.shape))))
        return voxels.transpose(*axes, *range(len(axes), voxels.ndim))

    def details(self) -> dict[str, Any]:
        """Return the grid as it stands in the file, for a prediction on it."""
        return {"itk": self.grid}


class _Owner:
    """Keeps an image of SimpleITK alive for as long as NumPy looks at its voxels."""

    def __init__(self, image: Any) -> None:
        sitk = optional("SimpleITK", "itk", "Reading NRRD, MetaImage and GIPL")
        self.image = image
        interface = sitk.GetArrayViewFromImage(image).__array_interface__
        # nobody else holds the image: its voxels may be written to
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def itk_ending(path: Path) -> str:
    """Return the ending of a file in lower case; the last two for ``.gipl.gz``."""
    name = path.name.lower()
    return ".gipl.gz" if name.endswith(".gipl.gz") else path.suffix.lower()


def open_itk(path: Path, index: str) -> ItkFile:
    """Read and check the header of an NRRD, MetaImage or GIPL file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableFileError
        If it is no file of this format, or shorter than its header says.
    ConfigurationError
        If SimpleITK is not installed.
    """
    sitk = optional("SimpleITK", "itk", "Reading NRRD, MetaImage and GIPL")
    ending = itk_ending(path)
    with _readable(path, index):
        if path.is_dir():
            refuse(path, index, "it is a folder, not a file")
        if path.stat().st_size == 0:
            refuse(path, index, "the file is empty; copy or download it again")
        kept: dict[str, str] = {}
        text_values = False
        if ending in (".nrrd", ".nhdr"):
            header = read_nrrd_header(path, index)
            available, text_values = header.available, header.text_values
            kept = {name: header.fields[name] for name in _NRRD_GRID if name in header.fields}
        elif ending in (".mha", ".mhd"):
            header = read_meta_header(path, index)
            available, text_values = header.available, header.text_values
        else:
            available = _gipl_available(path, index)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(_READERS[ending])
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())
        kind = reader.GetPixelID()
        words = sitk.GetPixelIDValueAsString(kind)
        if "complex" in words or kind < 0:
            refuse(path, index, "voxels of this type are not supported; save them as real numbers")
        components = int(reader.GetNumberOfComponents())
        itemsize = 1 if text_values else _itemsize(words)
        promised = math.prod(size) * components * itemsize
        if min(size) < 1 or promised > available:
            refuse(
                path,
                index,
                f"its header promises shape {size}, {promised:,} bytes of voxels, but the file can "
                f"hold {available:,} at most: truncated, or a wrong header",
            )
        grid = _grid(reader, size, path, index)
        return ItkFile(
            path, index, size, lps_affine(grid), {"ending": ending, "header": kept, **grid}, reader
        )


@contextmanager
def _readable(path: Path, index: str) -> Iterator[None]:
    """Name the file in whatever reading it raises; of ITK's many lines, the last one."""
    kind = itk_ending(path).lstrip(".")
    with readable(path, index, kind, (Exception,)):  # the library's own errors are many
        try:
            yield
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1:] or ["unknown error"]
            refuse(path, index, f"not a valid {kind} file ({last[0].strip()[:200]})", error)


def lps_affine(grid: dict[str, Any]) -> NDArray[np.float64]:
    """Return the affine (RAS+) of SimpleITK's spacing, origin and direction (LPS)."""
    n = len(grid["size"])
    affine = np.eye(4)
    affine[:n, :n] = np.reshape(grid["direction"], (n, n)) * np.asarray(grid["spacing"])
    affine[:n, 3] = grid["origin"]
    affine[:2] *= -1
    return affine + 0.0  # no negative zeros


def _grid(reader: Any, size: tuple[int, ...], path: Path, index: str) -> dict[str, Any]:
    direction = np.reshape(reader.GetDirection(), (len(size), len(size)))
    n = min(len(size), 3)
    if np.any(direction[:n, n:]) or np.any(direction[n:, :n]):
        refuse(path, index, "its fourth axis is turned into space; save each volume on its own")
    return {
        "size": list(size[:n]),
        "spacing": [float(s) for s in reader.GetSpacing()[:n]],
        "origin": [float(o) for o in reader.GetOrigin()[:n]],
        "direction": [float(d) for d in direction[:n, :n].ravel()],
    }


def _itemsize(kind: str) -> int:
    """Return the bytes of one component of SimpleITK's ``"vector of 16-bit signed integer"``."""
    bits = next((int(part.split("-")[0]) for part in kind.split() if "-bit" in part), 64)
    return bits // 8


def _gipl_available(path: Path, index: str) -> int:
    """Check the binary header of a GIPL file; return how many bytes of voxels it can hold."""
    size = path.stat().st_size
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else path.open("rb") as file:
        header = file.read(_GIPL_HEADER)
    if len(header) < _GIPL_HEADER:
        refuse(path, index, "it ends within its header; copy it again")
    magic = int.from_bytes(header[252:256], "big")
    if magic not in _GIPL_MAGICS:
        refuse(path, index, f"not a GIPL file; it begins with {header[:12]!r}")
    if int.from_bytes(header[8:10], "big") not in _GIPL_TYPES:
        refuse(path, index, "voxels of this type are not supported; save them as real numbers")
    if compressed != path.name.lower().endswith(".gz"):  # SimpleITK goes by the name
        right = "is gzip-compressed; name it .gipl.gz" if compressed else "is not; name it .gipl"
        refuse(path, index, f"the file {right}")
    return size * (DEFLATE_BEST if compressed else 1) - _GIPL_HEADER
