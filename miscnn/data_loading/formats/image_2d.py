"""One PNG, BMP, JPEG or GIF picture: its header first, its pixels when they are asked for.

Pillow decodes. The format is chosen by the first bytes, and how large a picture may be by what
the file can hold, before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.formats.image_file import BoundedFile, readable, refuse

# What a byte can become at most: deflate; a code of 12 bits in GIF; a block of 8 x 8 in JPEG.
_FACTORS = {"PNG": 1032, "BMP": 1032, "GIF": 2800, "JPEG": 2048}
# Values of a pixel by PNG's number of the kind of colours.
_PNG_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# A header may promise this much beyond, for tiny pictures.
_SLACK = 1 << 16
# Larger pictures do not fit into a network's input anyway: 16384 x 16384 pixels.
MOST_VALUES = 1 << 28
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
)
_HINTS = (
    (b"version https://git-lfs", "it is a Git LFS pointer; fetch the data with 'git lfs pull'"),
    (b"<", "it is a web page or XML; download the file again"),
    (b"RIFF", "it is WebP or another RIFF file; convert it to PNG"),
    (b"\0\0\0\x0cjP", "it is JPEG 2000; convert it to PNG or TIFF"),
)
# Bands of a pixel, the last of which is the transparency where it is named so.
_BANDS = {"1": 1, "L": 1, "P": 1, "I;16": 1, "I": 1, "F": 1, "LA": 2, "PA": 2, "RGB": 3, "RGBA": 4}


@dataclass(frozen=True)
class Pixels:
    """Stored values of a picture, rows first.

    Attributes
    ----------
    values : ndarray
        ``(rows, columns[, bands])``, or with pages in front; 1-bit values are 0 and 1.
    palette : ndarray or None
        Shape ``(n, 3)``, uint8: what colours the values stand for.
    alpha : bool
        Whether the last band is transparency.
    lossy : bool
        Whether the values come from a lossy compression (JPEG).
    spatial : int
        Number of axes before that of bands.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None = None
    alpha: bool = False
    lossy: bool = False
    spatial: int = 2


@dataclass(frozen=True)
class Picture:
    """The header of one picture, or of a stack of them, and the way to its pixels.

    Attributes
    ----------
    path : Path
    index : str
        The subject, for error messages.
    shape : tuple of int
        ``(columns, rows)`` or ``(columns, rows, pages)``.
    affine : ndarray
        Shape (4, 4), float64; voxel sizes only.
    mode : str
        How pixels are stored, in Pillow's words.
    decode : callable
        Returns :class:`Pixels`.
    view : callable
        Makes values for an image or for a mask of :class:`Pixels`.
    """

    path: Path
    index: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    mode: str
    decode: Callable[[], Pixels]
    view: Callable[[Pixels, str, str], NDArray[Any]]

    def read(self) -> NDArray[Any]:
        """Read ``(columns, rows[, pages][, bands])``."""
        with readable(self.path, self.index, "picture", (Exception,)):  # decoders raise anything
            pixels = self.decode()
        array = self.view(pixels, self.path.name, self.index)
        n = len(self.shape)
        return array.transpose(*reversed(range(n)), *range(n, array.ndim))

    def details(self) -> dict[str, Any]:
        """Return how pixels are stored."""
        return {"mode": self.mode}


def pixel_affine(spacing: tuple[float, ...] | None) -> NDArray[np.float64]:
    """Return the affine of pixels of these sizes in mm; 1 mm where they are not known."""
    sizes = [*(spacing or ()), 1.0, 1.0, 1.0][:3]
    return np.diag([*sizes, 1.0])


def open_picture(
    path: Path,
    index: str,
    spacing: tuple[float, ...] | None,
    view: Callable[[Pixels, str, str], NDArray[Any]],
) -> Picture:
    """Read and check the header of a picture.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableFileError
        If it is no picture, holds several, or cannot hold the size that its header claims.
    """
    with readable(path, index, "picture", (Exception,)):  # Pillow raises SyntaxError and others
        kind = _kind(path, index)
        with _opened(path, kind) as image:
            columns, rows = image.size
            mode = image.mode
            if mode not in _BANDS and not mode.startswith("I;16"):
                refuse(path, index, f"its pixels are stored as {mode}; convert it to RGB")
            if getattr(image, "is_animated", False):
                refuse(path, index, "it holds several pictures; save each as a file, or as TIFF")
        bands = _BANDS.get(mode, 1)
        depth, bits = 8, 8 * bands
        if kind == "PNG":
            depth, bits = _png_bits(path, index)
        elif kind == "BMP":
            bits = 1 if mode == "1" else 4 * bands
        _check_size(path, index, (columns, rows), bands, columns * rows * bits // 8, kind)

    def decode() -> Pixels:
        with _opened(path, kind) as opened:
            return _pixels(opened, depth, kind == "JPEG")

    return Picture(path, index, (columns, rows), pixel_affine(spacing), mode, decode, view)


def _check_size(
    path: Path, index: str, shape: tuple[int, int], bands: int, promised: int, kind: str
) -> None:
    """Compare the size that a header claims with what the file can hold."""
    size = path.stat().st_size
    columns, rows = shape
    values = columns * rows * bands
    if min(columns, rows) < 1 or promised > size * _FACTORS[kind] + _SLACK:
        refuse(
            path,
            index,
            f"its header promises {columns} x {rows} pixels, but the file has {size:,} bytes: "
            "truncated, or a wrong header",
        )
    if values > MOST_VALUES:
        refuse(
            path,
            index,
            f"{columns} x {rows} pixels with {bands} values are too many for memory (at most "
            f"{MOST_VALUES:,} values); cut it into parts",
        )


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    """Open a picture by the reader of its format.

    ``PIL.Image.open`` would try every format there is, and judge sizes by a setting and a
    warning that belong to the whole process.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin

    readers = {
        "PNG": PngImagePlugin.PngImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "GIF": GifImagePlugin.GifImageFile,
    }
    with BoundedFile(path) as file, readers[kind](file) as image:
        yield image


def _kind(path: Path, index: str) -> str:
    if path.is_dir():
        refuse(path, index, "it is a folder, not a file")
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        refuse(path, index, "the file is empty; copy or download it again")
    kind = next((kind for magic, kind in _SIGNATURES if start.startswith(magic)), None)
    if kind is None:
        hint = next((text for magic, text in _HINTS if start.startswith(magic)), None)
        hint = hint or f"it begins with {start!r}"
        refuse(path, index, f"not a PNG, BMP, JPEG, GIF or TIFF; {hint}")
    return kind


def _png_bits(path: Path, index: str) -> tuple[int, int]:
    """Return the bits of a grey value and of a pixel; refuse what Pillow would cut to 8 bits."""
    with path.open("rb") as file:
        header = file.read(26)
    depth, colour = header[24], header[25]
    if depth == 16 and colour != 0:
        refuse(path, index, "it holds colours of 16 bits, which PNG readers cut; save it as TIFF")
    return depth if colour == 0 else 8, depth * _PNG_VALUES.get(colour, 1)


def _pixels(image: Any, depth: int, lossy: bool) -> Pixels:
    image.load()
    mode = image.mode
    palette = None
    if mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    values = np.array(image)
    if mode == "1":
        values = values.astype(np.uint8)
    elif mode == "L" and depth < 8:  # Pillow stretches to 0 … 255
        values = values // np.uint8(255 // (2**depth - 1))
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return Pixels(values, palette, mode in ("LA", "PA", "RGBA"), lossy)


def write_picture(path: Path, labels: NDArray[Any], palette: NDArray[np.uint8] | None) -> None:
    """Write a label map ``(columns, rows)`` of 8 or 16 bits as PNG, atomically."""
    from PIL import Image

    from miscnn._files import atomic_path

    image = Image.fromarray(np.ascontiguousarray(labels.T))
    if palette is not None:
        image = image.convert("L")
        image.putpalette(palette.ravel().tolist())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
