"""The frames of a DICOM segmentation, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._optional import optional
from miscnn.data_loading.dicom._items import required_whole
from miscnn.data_loading.dicom._source import InvalidValueError

# Of one frame, decompressed: what is compressed does not show how large it will be.
_LARGEST_FRAME = 1 << 28
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class PixelFormat:
    """How the frames of a segmentation are stored, held against the bytes that are there.

    Attributes
    ----------
    frames, rows, columns : int
    bits : int
        Of a pixel: 1, 8 or 16.
    compressed : bool
    """

    frames: int
    rows: int
    columns: int
    bits: int
    compressed: bool


def pixel_format(dataset: Any) -> PixelFormat:
    """Read and check how frames are stored; to be called within ``dicom_readable``.

    Raises
    ------
    InvalidValueError
        If the header claims more or fewer pixels than the file holds.
    """
    frames = required_whole(dataset, "NumberOfFrames", 1)
    rows = required_whole(dataset, "Rows", 1)
    columns = required_whole(dataset, "Columns", 1)
    bits = required_whole(dataset, "BitsAllocated", 1)
    size = f"{frames} frames of {rows} x {columns} pixels"
    if bits not in (1, 8, 16):
        raise InvalidValueError(f"BitsAllocated is {bits}, expected 1, 8 or 16")
    if required_whole(dataset, "SamplesPerPixel", 1) != 1:
        raise InvalidValueError("it has colours; expected one sample per pixel")
    pixels = dataset.get("PixelData")
    if not isinstance(pixels, bytes):
        raise InvalidValueError("PixelData is missing")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    compressed = syntax is not None and bool(syntax.is_compressed) and bool(syntax.is_encapsulated)
    if compressed:
        if rows * columns * max(bits // 8, 1) > _LARGEST_FRAME:
            raise InvalidValueError(f"{size} are claimed; expected frames below 256 MiB each")
        fragments = sum(
            1
            for _ in optional("pydicom.encaps", "dicom", "Reading DICOM").generate_fragments(pixels)
        )
        if fragments < frames:
            raise InvalidValueError(f"{size} are claimed, but PixelData has {fragments} fragments")
    else:
        expected = (frames * rows * columns * bits + 7) // 8
        if len(pixels) not in (expected, expected + expected % 2):  # padded to an even length
            raise InvalidValueError(
                f"{size} with {bits} bits take {expected} bytes, but PixelData has {len(pixels)}"
            )
    return PixelFormat(frames, rows, columns, bits, compressed)


def frames(dataset: Any, stored: PixelFormat) -> Iterator[NDArray[Any]]:
    """Yield the frames in the order of the file, ``(rows, columns)`` each, unsigned.

    Pixels of one bit are 0 and 1; frames do not begin at whole bytes.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")
    if stored.compressed:
        pixels = optional("pydicom.pixels", "dicom", "Reading DICOM")
        for frame in pixels.iter_pixels(dataset, raw=True):
            if frame.shape != (stored.rows, stored.columns) or frame.dtype.kind != "u":
                raise InvalidValueError("a frame does not have the size that the header tells")
            yield frame
        return
    count = stored.rows * stored.columns
    data = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    big = syntax == _BIG_ENDIAN
    if stored.bits == 1 and big:
        raise InvalidValueError("single bits in big endian order are not read; convert the file")
    for i in range(stored.frames):
        if stored.bits == 1:
            first = i * count
            packed = data[first // 8 : (first + count + 7) // 8]
            bits = np.unpackbits(packed, bitorder="little")
            frame = bits[first % 8 : first % 8 + count]
        else:
            wide = stored.bits // 8
            part = data[i * count * wide : (i + 1) * count * wide]
            frame = part.view(np.dtype(">u2" if big else "<u2")) if wide == 2 else part
        yield frame.reshape(stored.rows, stored.columns)
