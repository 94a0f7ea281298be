"""One TIFF file: a picture, or a stack of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.data_loading.formats.image_2d import Picture, Pixels, pixel_affine
from miscnn.data_loading.formats.image_file import BoundedFile, readable, refuse

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What a byte can become at most, by TIFF's number of the compression: none, LZW, deflate,
# PackBits.
_FACTORS = {1: 1, 5: 2800, 8: 1032, 32946: 1032, 32773: 128}
_UNKNOWN_FACTOR = 4096
_PALETTE = 3
_LOSSY = (6, 7, 33003, 33004, 33005, 34712, 34892)  # JPEG and JPEG 2000
_JPEG = (6, 7)
# What Pillow decodes without loss, and JPEG: none, fax, LZW, deflate, LZMA, Zstandard, PackBits.
_BY_PILLOW = (1, 2, 3, 4, 5, *_JPEG, 8, 32773, 32946, 34925, 50000)
_MINISWHITE, _MINISBLACK, _RGB, _YCBCR = 0, 1, 2, 6
_UNSIGNED, _SIGNED, _REAL = 1, 2, 3
# Bits of one value of one band by what its numbers are: Pillow hands these out as they are stored,
# or stretched and inverted in a way that can be undone.
_GREY_BITS = {_UNSIGNED: (1, 2, 4, 8, 16), _SIGNED: (16, 32), _REAL: (32,)}
_INVERTED_BITS = 8  # up to these, Pillow inverts where zero is white
_ORIENTATION = 0x0112


def is_tiff(path: Path) -> bool:
    """Tell by its first bytes whether a file is TIFF."""
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGICS
    except OSError:  # reading it will tell
        return False


def open_tiff(
    path: Path,
    index: str,
    spacing: tuple[float, ...] | None,
    view: Callable[[Pixels, str, str], NDArray[Any]],
) -> Picture:
    """Read and check the header of a TIFF file.

    Pages (and tifffile's other axes but rows, columns, samples and channels) are the third
    axis of a stack. Values are those stored, whatever the compression: they are not inverted where
    zero is white.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableFileError
        If it is no TIFF, holds pages that do not fit each other, or cannot hold the size that
        its header claims.
    """
    import tifffile

    with readable(path, index, "TIFF", (Exception,)), tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            refuse(path, index, f"it holds {len(file.series)} series of different pictures")
        series = file.series[0]
        axes, shape = series.axes, tuple(int(n) for n in series.shape)
        dtype = np.dtype(series.dtype)
        if dtype.kind not in "biuf":
            refuse(path, index, f"voxels of type {dtype} are not supported; save real numbers")
        lengths = dict(zip(axes, shape, strict=True))
        if not {"X", "Y"} <= set(axes) or len(lengths) != len(axes):
            refuse(path, index, f"its axes {axes} are not those of a picture or a stack")
        pages = [axis for axis in axes if axis not in "YXSC" and lengths[axis] > 1]
        bands = [axis for axis in axes if axis in "SC" and lengths[axis] > 1]
        if len(pages) > 1 or len(bands) > 1:
            refuse(path, index, f"its axes {axes} of shape {shape} are more than a stack has")
        first = series.keyframe
        bits = int(first.bitspersample)
        promised = math.prod(shape) * bits // 8
        size = path.stat().st_size
        if series.dataoffset is None:  # in strips or tiles, or on several pages
            stored = sum(sum(page.databytecounts) for page in series.pages if page is not None)
            size = min(size, int(stored))
        possible = size * _FACTORS.get(int(first.compression), _UNKNOWN_FACTOR)
        if min(shape) < 1 or promised > possible:
            refuse(
                path,
                index,
                f"its header promises shape {shape}, {promised:,} bytes, but the file can hold "
                f"{possible:,}: truncated, or a wrong header",
            )
        palette = None
        if int(first.photometric) == _PALETTE and first.colormap is not None:
            colours = np.asarray(first.colormap)
            if colours.ndim != 2 or len(colours) != 3 or bands or dtype.kind != "u":
                refuse(path, index, "its palette does not fit its pixels")
            palette = (colours.T >> 8).astype(np.uint8)
        extra = tuple(int(sample) for sample in first.extrasamples or ())
        alpha = bool(bands) and bands[0] == "S" and extra in ((1,), (2,))
        lossy = int(first.compression) in _LOSSY
    order = [*pages, "Y", "X", *bands]

    def decode() -> Pixels:
        array = _decoded(path, index, shape)
        squeezed = tuple(k for k, axis in enumerate(axes) if axis not in order)
        left = [axis for axis in axes if axis in order]
        array = array.squeeze(squeezed).transpose([left.index(axis) for axis in order])
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return Pixels(array, palette, alpha, lossy, 2 + len(pages))

    space = (lengths["X"], lengths["Y"], *(lengths[axis] for axis in pages))
    mode = f"{axes} {dtype} {bits} bits"
    return Picture(path, index, space, pixel_affine(spacing), mode, decode, view)


def _decoded(path: Path, index: str, shape: tuple[int, ...]) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        try:
            return np.asarray(series.asarray(maxworkers=1))
        except (ValueError, NotImplementedError) as error:
            if "imagecodecs" not in str(error):
                raise
        # LZW, JPEG, 2 and 4 bits: tifffile needs a library of their own, Pillow does not
        first, pages = series.keyframe, [page.index for page in series.pages if page is not None]
        if not _is_exact(first) or len(pages) * math.prod(first.shape) != math.prod(shape):
            _refuse_pixels(path, index, first)
        return _decoded_by_pillow(path, index, first, pages).reshape(shape)


def _is_exact(page: Any) -> bool:
    """Tell whether Pillow decodes a page to what is stored.

    It cuts colours of 16 bits to 8, turns signed bytes and 32 bits without sign into others,
    divides colours by their transparency, swaps the bytes of most big-endian numbers, and mixes
    up bands that are stored one by one.
    """
    photometric, bits, samples = (
        int(n) for n in (page.photometric, page.bitspersample, page.samplesperpixel)
    )
    kind, extra = int(page.sampleformat), tuple(map(int, page.extrasamples or ()))
    if int(page.compression) not in _BY_PILLOW:
        return False
    if samples == 1:
        if bits > 8 and page.parent.byteorder == ">":
            return (photometric, kind, bits) == (_MINISBLACK, _UNSIGNED, 16)
        if photometric == _MINISBLACK:
            return bits in _GREY_BITS.get(kind, ())
        if photometric == _MINISWHITE:
            return kind == _UNSIGNED and bits in _GREY_BITS[_UNSIGNED]
        return photometric == _PALETTE and kind == _UNSIGNED and bits in (2, 4, 8)
    if int(page.planarconfig) != 1 or bits != 8 or kind != _UNSIGNED:
        return False
    if samples == 3:
        jpeg = int(page.compression) in _JPEG
        return not extra and (photometric == _RGB or (photometric == _YCBCR and jpeg))
    return samples == 4 and photometric == _RGB and extra == (2,)  # transparency of its own


def _decoded_by_pillow(path: Path, index: str, first: Any, pages: list[Any]) -> NDArray[Any]:
    """Decode pages that fit each other and :func:`_is_exact` to ``(pages, rows, columns[, c])``."""
    from PIL import TiffImagePlugin

    bits, dtype = int(first.bitspersample), np.dtype(first.dtype).newbyteorder("=")
    photometric = int(first.photometric)
    decoded = []
    with BoundedFile(path) as file, TiffImagePlugin.TiffImageFile(file) as image:
        for number in pages:
            image.seek(number)
            # Pillow would turn the picture as the tag says, before it hands out its pixels
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            if turned or image.size != (first.imagewidth, first.imagelength):
                _refuse_pixels(path, index, first)
            values = np.array(image)
            if photometric == _MINISWHITE and bits <= _INVERTED_BITS:
                values = np.invert(values)
            if bits in (2, 4) and photometric != _PALETTE:  # stretched to 0 … 255
                values = values // np.uint8(255 // (2**bits - 1))
            stored = values.astype(dtype, copy=False)
            if stored.shape != first.shape or not np.array_equal(stored, values):
                _refuse_pixels(path, index, first)
            decoded.append(stored)
    return np.stack(decoded)


def _refuse_pixels(path: Path, index: str, page: Any) -> NoReturn:
    compression = getattr(page.compression, "name", page.compression)
    refuse(
        path,
        index,
        f"its pixels ({page.samplesperpixel} x {page.bitspersample} bits, compression "
        f"{compression}) cannot be decoded without loss here; save it with deflate, or install "
        "imagecodecs",
    )


def write_tiff(path: Path, array: NDArray[Any], samples: bool) -> None:
    """Write ``([pages, ]rows, columns[, samples])`` as TIFF with deflate, atomically.

    TIFF knows no axis of one sample: it is left out.
    """
    import tifffile

    if samples and array.shape[-1] == 1:
        array, samples = array[..., 0], False
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            np.ascontiguousarray(array),
            photometric="minisblack",
            planarconfig="contig" if samples else None,
            compression="zlib",
            metadata=None,
            software=False,
        )
