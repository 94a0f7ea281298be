"""One TIFF file: a picture, or a stack of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.data_loading.formats.image_2d import Picture, Pixels, pixel_affine
from miscnn.data_loading.formats.image_file import readable, refuse

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What a byte can become at most, by TIFF's number of the compression: none, LZW, deflate,
# PackBits.
_FACTORS = {1: 1, 5: 2800, 8: 1032, 32946: 1032, 32773: 128}
_UNKNOWN_FACTOR = 4096
_PALETTE = 3
_LOSSY = (6, 7, 33003, 33004, 33005, 34712, 34892)  # JPEG and JPEG 2000


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
    axis of a stack.

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
        array = _decoded(path, axes, shape)
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


def _decoded(path: Path, axes: str, shape: tuple[int, ...]) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        try:
            return np.asarray(file.series[0].asarray(maxworkers=1))
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
    # LZW and JPEG: tifffile decodes them with a library of their own, Pillow by itself
    from PIL import TiffImagePlugin

    with TiffImagePlugin.TiffImageFile(path) as image:
        pages = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            pages.append(np.array(image))
    return np.stack(pages).reshape(shape)


def write_tiff(path: Path, array: NDArray[Any], samples: bool) -> None:
    """Write ``([pages, ]rows, columns[, samples])`` as TIFF with deflate, atomically."""
    import tifffile

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
