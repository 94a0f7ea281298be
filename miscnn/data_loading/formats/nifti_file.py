"""One NIfTI file: its header first, its voxels when they are asked for.

nibabel interprets the header. The bytes are read here, because a header from a stranger may
claim more voxels than fit into any machine, and because a damaged archive has to be noticed:
the size is checked against the file before anything is allocated, and the checksum of a gzip
file is always read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from miscnn._gzip import ERRORS, MAGIC, beginning
from miscnn._scratch import Scratch
from miscnn.data_loading.formats.image_file import readable, refuse
from miscnn.data_loading.formats.nifti_voxels import (
    Compressed,
    Plain,
    decode,
    decoded_array,
    native_type,
)

# nibabel tells a logger which header fields it mends; `miscnn verify` tells it in words.
_HEADER_LOG = logging.getLogger("miscnn.data_loading.nifti.header")
_HEADER_LOG.addHandler(logging.NullHandler())

# deflate cannot shrink anything by more than this factor
_GZIP_BEST = 1032
_HINTS = (
    (b"version https://git-lfs", "it is a Git LFS pointer; fetch the data with 'git lfs pull'"),
    (b"<", "it is a web page or XML; download the file again"),
    (b"PK", "it is a zip archive; unpack it"),
    (b"NRRD", "it is an NRRD file; convert it to NIfTI"),
)


@dataclass(frozen=True)
class NiftiFile:
    """The header of one NIfTI file, and the way to its voxels.

    Attributes
    ----------
    path : Path
    index : str
        The subject, for error messages.
    header : nibabel.Nifti1Header or nibabel.Nifti2Header
        As it stands in the file.
    shape : tuple of int
        All axes of the file.
    affine : ndarray
        Shape (4, 4), float64, voxel index to mm (RAS+), chosen as nibabel does: the sform if
        it has a code, else the qform, else the voxel sizes. Where it comes from the voxel
        sizes and one of them is 0, its column is 0 (nibabel puts 1 mm), which makes it unusable.
    """

    path: Path
    index: str
    header: Any
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    offset: int
    compressed: bool

    @property
    def scaled(self) -> bool:
        """Whether the header asks for the stored numbers to be scaled."""
        return self.scaling != (1.0, 0.0)

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept; (1, 0) where the header leaves them out (zero or NaN)."""
        slope, inter = self.header.get_slope_inter()
        return (1.0, 0.0) if slope is None else (slope, inter)

    def read(self) -> NDArray[Any]:
        """Read the voxels in native byte order.

        Returns
        -------
        ndarray
            In the file's own type where nothing is scaled. Scaled values have the type that
            :func:`~miscnn.data_loading.formats.scaling.scaled_type` chooses. RGB voxels get a
            last axis of 3 (or 4).
        """
        with _readable(self.path, self.index):
            return self._decoded(None)

    def map(self, scratch: Scratch) -> NDArray[Any]:
        """Return the voxels as :meth:`read` does, without holding them in memory.

        Voxels that the file holds as they are come as a read-only map of the file, which must not
        be overwritten meanwhile; others are decoded piece by piece into ``scratch``.
        """
        with _readable(self.path, self.index):
            stored = self.header.get_data_dtype()
            if self.compressed or self.scaled or native_type(stored) != stored:
                return self._decoded(scratch)
            return np.memmap(self.path, stored, "r", self.offset, self.shape, "F")

    def read_slice(self, axis: int, number: int) -> NDArray[Any]:
        """Read the voxels with one index along an axis; as ``read().take(number, axis)``.

        Of a file that is not compressed, no other voxels are read.
        """
        if self.compressed:
            return np.asarray(self.read().take(number, axis))
        with _readable(self.path, self.index):
            stored = np.memmap(
                self.path, self.header.get_data_dtype(), "r", self.offset, self.shape, "F"
            )
            place = (slice(None),) * axis + (number,)
            return decoded_array(np.asarray(stored[place]), self.scaling)

    def _decoded(self, scratch: Scratch | None) -> NDArray[Any]:
        stored = self.header.get_data_dtype()
        source = Compressed if self.compressed else Plain
        with self.path.open("rb") as stream:
            opened = source(stream, self.offset)
            voxels, found = decode(opened, self.shape, stored, self.scaling, scratch)
        expected = math.prod(self.shape) * stored.itemsize
        if found < expected:
            refuse(
                self.path,
                self.index,
                f"truncated: {expected:,} bytes of voxels expected, {found:,} found; copy it again",
            )
        return voxels

    def details(self) -> dict[str, Any]:
        """Return a copy of the header, and the type of the stored numbers."""
        return {"header": self.header.copy(), "type": self.header.get_data_dtype()}


def open_nifti(path: Path, index: str) -> NiftiFile:
    """Read and check the header of a NIfTI file (``.nii`` or gzip-compressed).

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableFileError
        If it is no NIfTI file, or shorter than its header says.
    """
    with _readable(path, index):
        size = path.stat().st_size
        if path.is_dir():
            refuse(path, index, "it is a folder, not a file")
        if size == 0:
            refuse(path, index, "the file is empty; copy or download it again")
        with path.open("rb") as file:
            start = file.read(16384)
        compressed = start.startswith(MAGIC)
        block = beginning(start, 1024) if compressed else start
        header = _header(block, path, index)
        shape = tuple(int(n) for n in header.get_data_shape())
        if not 1 <= len(shape) <= 7 or min(shape) < 1:
            refuse(path, index, f"the header gives the impossible shape {shape}")
        shape += (1,) * (2 - len(shape))
        offset = int(header["vox_offset"]) or int(header.single_vox_offset)
        _check_size(path, index, shape, header, offset, size, compressed)
        header.get_slope_inter()  # raises for a slope without a valid intercept
        affine = _affine(header)
    return NiftiFile(path, index, header, shape, affine, offset, compressed)


@contextmanager
def _readable(path: Path, index: str) -> Iterator[None]:
    """Name the file in whatever reading it raises; a damaged archive is told apart."""
    with readable(path, index, "NIfTI", (HeaderDataError, HeaderTypeError)):
        try:
            yield
        except ERRORS as error:
            refuse(path, index, f"the gzip archive is damaged ({error}); copy it again", error)


def _header(block: bytes, path: Path, index: str) -> Any:
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(block):
            header = kind(block[: kind.sizeof_hdr], check=False)
            break
    else:
        hint = next((text for magic, text in _HINTS if block.startswith(magic)), None)
        if block[128:132] == b"DICM":
            hint = "it is a DICOM file; convert it to NIfTI"
        refuse(path, index, f"not a NIfTI file; {hint or f'it begins with {block[:12]!r}'}")
    if header["magic"].item() != header.single_magic:
        refuse(path, index, "a header whose voxels lie in an .img file; convert it to one .nii.gz")
    return header


def _check_size(
    path: Path,
    index: str,
    shape: tuple[int, ...],
    header: Any,
    offset: int,
    size: int,
    compressed: bool,
) -> None:
    """Compare what the header promises with what the file can hold."""
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        refuse(path, index, f"its header names the unknown voxel type {int(header['datatype'])}")
    if dtype.itemsize == 0 or dtype.kind == "c":
        refuse(path, index, f"voxels of type {dtype} are not supported; save them as real numbers")
    if offset < header.single_vox_offset - 4:
        refuse(path, index, f"the header lets the voxels begin at byte {offset}, inside itself")
    promised = offset + dtype.itemsize
    for n in shape:  # not numpy.prod, which would overflow
        promised += (promised - offset) * (n - 1)
    possible = size * _GZIP_BEST if compressed else size
    if promised > possible:
        refuse(
            path,
            index,
            f"its header promises shape {shape} of {dtype}, {promised:,} bytes, but the file has "
            f"{'at most ' if compressed else ''}{possible:,}: truncated, or a wrong header",
        )


def _affine(header: Any) -> NDArray[np.float64]:
    mended = header.copy()  # nibabel's own repairs: voxel sizes of 0 or below 0, odd codes
    mended.check_fix(logger=_HEADER_LOG, error_level=45)
    with np.errstate(all="ignore"):
        affine = np.array(mended.get_best_affine(), dtype=np.float64)
    if int(mended["sform_code"]) == 0:  # nibabel puts 1 mm for 0; nobody knows what is true
        shape = (*header.get_data_shape(), 1, 1)
        lost = [k for k in range(3) if header["pixdim"][k + 1] == 0 and shape[k] > 1]
        affine[:3, lost] = 0
    return affine
