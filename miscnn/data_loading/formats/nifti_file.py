"""One NIfTI file: its header first, its voxels when they are asked for.

nibabel interprets the header. The bytes are read here, because a header from a stranger may
claim more voxels than fit into any machine, and because a damaged archive has to be noticed:
the size is checked against the file before anything is allocated, and the checksum of a gzip
file is always read.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from miscnn.data_loading.formats.image_file import readable, refuse

# nibabel tells a logger which header fields it mends; `miscnn verify` tells it in words.
_HEADER_LOG = logging.getLogger("miscnn.data_loading.nifti.header")
_HEADER_LOG.addHandler(logging.NullHandler())

_GZIP_MAGIC = b"\x1f\x8b"
# deflate cannot shrink anything by more than this factor
_GZIP_BEST = 1032
_BLOCK = 1 << 20
# Scaled values may be rounded by this share of the step between two neighbours at most.
_STEP_SHARE = 1 / 32
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
            :func:`scaled_type` chooses. RGB voxels get a last axis of 3 (or 4).
        """
        with _readable(self.path, self.index):
            voxels = _read_voxels(self)
            return apply_scaling(voxels, *self.scaling) if self.scaled else voxels

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
            voxels = _native(np.array(stored[place], order="F"))
            if not self.scaled:
                return voxels
            return apply_scaling(voxels[..., np.newaxis], *self.scaling)[..., 0]

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
        compressed = start.startswith(_GZIP_MAGIC)
        block = zlib.decompressobj(31).decompress(start, 1024) if compressed else start
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
        except zlib.error as error:
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


def _read_voxels(file: NiftiFile) -> NDArray[Any]:
    dtype = file.header.get_data_dtype()
    voxels = np.empty(file.shape, dtype=dtype, order="F")
    flat: Any = voxels.reshape(-1, order="F").view(np.uint8)
    buffer = memoryview(flat)
    with file.path.open("rb") as stream:
        filled = (_inflate if file.compressed else _fill)(stream, file.offset, buffer)
    if filled < len(buffer):
        refuse(
            file.path,
            file.index,
            f"truncated: {len(buffer):,} bytes of voxels expected, {filled:,} found; copy it again",
        )
    return _native(voxels)


def _native(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return voxels that nobody else holds in a type that other libraries know."""
    dtype = voxels.dtype
    if dtype.names:  # RGB and RGBA
        return np.stack([voxels[name] for name in dtype.names], axis=-1)
    if not dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(dtype.newbyteorder("="))
    if voxels.dtype.itemsize > 8:  # long double: no other library knows what to do with it
        return voxels.astype(np.float64)
    return voxels


def _fill(stream: BinaryIO, offset: int, buffer: memoryview) -> int:
    stream.seek(offset, os.SEEK_SET)
    filled = 0
    while filled < len(buffer):
        n = stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not n:
            break
        filled += n
    return filled


def _inflate(stream: BinaryIO, offset: int, buffer: memoryview) -> int:
    """Decompress into ``buffer`` from ``offset`` on, and on to the archive's checksum."""
    position = -offset
    for piece in _inflated(stream):
        begin, position = max(position, 0), position + len(piece)
        if position > 0:
            useful = piece[len(piece) - (position - begin) :][: max(0, len(buffer) - begin)]
            buffer[begin : begin + len(useful)] = useful
        if position > len(buffer) + _BLOCK:  # something long is appended; it is none of ours
            break
    return min(max(position, 0), len(buffer))


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file of one or several members in pieces."""
    pending = stream.read(_BLOCK)
    while pending.startswith(_GZIP_MAGIC):  # else: the end, or padding behind it
        archive = zlib.decompressobj(31)
        while not archive.eof:
            pending = pending or stream.read(_BLOCK)
            piece = archive.decompress(pending, _BLOCK)
            if not (piece or pending or archive.eof):
                raise zlib.error("it ends too early")
            yield piece
            pending = archive.unconsumed_tail
        pending = archive.unused_data or stream.read(_BLOCK)


def scaled_type(dtype: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """Choose the type of ``slope * stored + inter``.

    Integers stay integers if slope and intercept are whole numbers: the smallest integer type
    that holds every value the stored type can take. Otherwise the values are computed in
    float64 and rounded once, to float32 if that keeps neighbouring stored values apart
    (stored integers of 16 bits at most, a rounding unit of at most 1/32 of the slope; stored
    float32), else to float64.
    """
    if dtype.kind in "iub":
        info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        if slope.is_integer() and inter.is_integer():
            ends = sorted(int(slope) * int(end) + int(inter) for end in (info.min, info.max))
            for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
                target = np.iinfo(name)
                if target.min <= ends[0] and ends[1] <= target.max:
                    return np.dtype(name)
            return np.dtype(np.float64)
        largest = max(abs(slope * end + inter) for end in (info.min, info.max))
        if info.bits > 16 or largest >= float(np.finfo(np.float32).max):
            return np.dtype(np.float64)
        unit = float(np.spacing(np.float32(largest)))
        return np.dtype(np.float32 if unit <= abs(slope) * _STEP_SHARE else np.float64)
    return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)


def apply_scaling(voxels: NDArray[Any], slope: float, inter: float) -> NDArray[Any]:
    """Return ``slope * voxels + inter`` in :func:`scaled_type`, slab by slab."""
    target = scaled_type(voxels.dtype, slope, inter)
    scaled = np.empty(voxels.shape, dtype=target, order="F")
    working: Any = np.int64 if target.kind in "iu" else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(voxels.shape[-1]):
            slab = voxels[..., k].astype(working)
            slab *= working(slope)
            slab += working(inter)
            scaled[..., k] = slab
    return scaled
