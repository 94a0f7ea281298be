"""TIFF means the same values whatever the compression, or is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from miscnn.data_loading.interfaces.image import ImageInterface
from miscnn.exceptions import UnreadableFileError

PLAIN, LZW, PACKBITS = 1, 5, 32773
FORMATS = {"u": 1, "b": 1, "i": 2, "f": 3}
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def lzw(data: bytes) -> bytes:
    """Encode in codes of 9 bits, cleared before they grow."""
    codes = [
        code for i, byte in enumerate(data) for code in ([256] if i % 200 == 0 else []) + [byte]
    ]
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def packed(rows: NDArray, bits: int) -> bytes:
    if bits >= 8:
        return rows.tobytes()
    bools = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return np.packbits(bools.reshape(len(rows), -1), axis=1).tobytes()


def write(
    path: Path,
    pages: list[NDArray],
    compression: int,
    photometric: int = 1,
    bits: int | None = None,
    planar: bool = False,
    extra: int | None = None,
    further: dict[int, int] | None = None,
) -> None:
    """Write ``(rows, columns[, samples])`` pages from scratch, one strip for each page or band."""
    order = ">" if pages[0].dtype.str[0] == ">" else "<"
    out = bytearray((b"MM\0*" if order == ">" else b"II*\0") + bytes(4))
    link = 4

    def placed(data: bytes) -> int:
        position = len(out)
        out.extend(data + bytes(len(data) % 2))
        return position

    for page in pages:
        samples = 1 if page.ndim == 2 else page.shape[2]
        size = bits or 8 * page.dtype.itemsize
        parts = [page[..., k] for k in range(samples)] if planar else [page]
        strips = [packed(part, size) for part in parts]
        if compression == LZW:
            strips = [lzw(strip) for strip in strips]
        elif compression == PACKBITS:
            strips = [b"".join(bytes([0, byte]) for byte in strip) for strip in strips]
        if (further or {}).get(266) == 2:
            strips = [strip.translate(REVERSED) for strip in strips]
        tags: dict[int, tuple[str, list[int]]] = {
            256: ("I", [page.shape[1]]),
            257: ("I", [page.shape[0]]),
            258: ("H", [size] * samples),
            259: ("H", [compression]),
            262: ("H", [photometric]),
            273: ("I", [placed(strip) for strip in strips]),
            277: ("H", [samples]),
            278: ("I", [page.shape[0]]),
            279: ("I", [len(strip) for strip in strips]),
            284: ("H", [2 if planar else 1]),
            339: ("H", [FORMATS[page.dtype.kind]] * samples),
            **({} if extra is None else {338: ("H", [extra])}),
            **{tag: ("H", [value]) for tag, value in (further or {}).items()},
        }
        if photometric == 3:
            tags[320] = ("H", [k % 256 * 256 for k in range(3 * 2**size)])
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            data = struct.pack(f"{order}{len(values)}{kind}", *values)
            if len(data) > 4:
                data = struct.pack(f"{order}I", placed(data))
            head = struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values))
            entries += head + data.ljust(4, b"\0")
        position = placed(struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
        out[link : link + 4] = struct.pack(f"{order}I", position)
        link = position + 2 + len(entries)
    path.write_bytes(bytes(out))


def values(shape: tuple[int, ...], dtype: str, bits: int | None = None) -> NDArray:
    rng = np.random.default_rng(5)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if bits is None else (0, 2**bits - 1)
    return rng.integers(low, high, shape, endpoint=True).astype(kind)


def read(path: Path, mask: bool = False, **options: Any) -> NDArray:
    options = {"img_type": "multichannel", "classes": 16, **options}
    interface = ImageInterface(image="*.tif", segmentation="*.tif", **options)
    interface.initialize(path.parent)
    load = interface.load_segmentation if mask else lambda index: interface.load_image(index)[0]
    found: NDArray = load(path.stem)
    return found


@pytest.mark.parametrize("compression", [PLAIN, LZW, PACKBITS])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("u1", 1), ("u1", 2), ("u1", 4), ("u1", None), ("<u2", None)],
)
def test_one_band_without_sign(
    compression: int, photometric: int, dtype: str, bits: int | None, tmp_path: Path
) -> None:
    rows = values((7, 11), dtype, bits)
    write(tmp_path / "a.tif", [rows], compression, photometric, bits)
    for mask in (False, True):
        found = read(tmp_path / "a.tif", mask)
        np.testing.assert_array_equal(found, rows.T)
        assert found.dtype == rows.dtype.newbyteorder("=")


@pytest.mark.parametrize("compression", [PLAIN, LZW])
@pytest.mark.parametrize("dtype", [">u2", "<i2", "<i4", "<f4"])
def test_one_band_of_longer_numbers(compression: int, dtype: str, tmp_path: Path) -> None:
    rows = values((7, 11), dtype)
    write(tmp_path / "a.tif", [rows], compression)
    found = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, rows.T)
    assert found.dtype == rows.dtype.newbyteorder("=")


@pytest.mark.parametrize("compression", [PLAIN, LZW])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_masks_in_a_palette_hold_its_indices(compression: int, bits: int, tmp_path: Path) -> None:
    rows = values((7, 11), "u1", bits)
    write(tmp_path / "a.tif", [rows], compression, photometric=3, bits=bits)
    np.testing.assert_array_equal(read(tmp_path / "a.tif", mask=True), rows.T)


@pytest.mark.parametrize("compression", [PLAIN, LZW])
def test_colours_and_their_own_transparency(compression: int, tmp_path: Path) -> None:
    colours = values((7, 11, 4), "u1")
    write(tmp_path / "a.tif", [colours[..., :3]], compression, photometric=2)
    write(tmp_path / "b.tif", [colours], compression, photometric=2, extra=2)
    for name in ("a.tif", "b.tif"):
        found = read(tmp_path / name, channels=3)
        np.testing.assert_array_equal(found, colours[..., :3].transpose(1, 0, 2))


@pytest.mark.parametrize("compression", [PLAIN, LZW])
def test_pages(compression: int, tmp_path: Path) -> None:
    pages = values((4, 7, 11), "<u2")
    write(tmp_path / "a.tif", list(pages), compression)
    found = read(tmp_path / "a.tif", three_dim=True)
    np.testing.assert_array_equal(found, pages.transpose(2, 1, 0))


@pytest.mark.parametrize("bits", [1, 8])
def test_bits_from_the_other_end(bits: int, tmp_path: Path) -> None:
    rows = values((7, 11), "u1", bits)
    write(tmp_path / "a.tif", [rows], LZW, bits=bits, further={266: 2})
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), rows.T)


REFUSED: dict[str, tuple[NDArray, dict[str, Any]]] = {
    "bands one by one": (values((7, 11, 3), "u1"), {"photometric": 2, "planar": True}),
    "colours of 16 bits": (values((7, 11, 3), "<u2"), {"photometric": 2}),
    "signed bytes": (values((7, 11), "i1"), {}),
    "32 bits without sign": (values((7, 11), "<u4"), {}),
    "float64": (values((7, 11), "<f8"), {}),
    "colours times transparency": (values((7, 11, 4), "u1"), {"photometric": 2, "extra": 1}),
    "a fourth band": (values((7, 11, 4), "u1"), {"photometric": 2, "extra": 0}),
    "two bands": (values((7, 11, 2), "u1"), {"extra": 0}),
    "signed, zero is white": (values((7, 11), "<i2"), {"photometric": 0}),
    "big-endian, 16 bits with a sign": (values((7, 11), ">i2"), {}),
    "big-endian, 32 bits": (values((7, 11), ">i4"), {}),
    "big-endian, float32": (values((7, 11), ">f4"), {}),
    "big-endian, zero is white": (values((7, 11), ">u2"), {"photometric": 0}),
    "turned": (values((7, 7), "u1"), {"further": {274: 3}}),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_would_come_out_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    rows, options = REFUSED[name]
    write(tmp_path / "a.tif", [rows], LZW, **options)
    with pytest.raises(UnreadableFileError, match="save it with deflate, or install imagecodecs"):
        read(tmp_path / "a.tif")
    write(tmp_path / "a.tif", [rows], PLAIN, **options)
    stored = rows[..., :3] if options.get("extra") == 1 else rows
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), np.swapaxes(stored, 0, 1))


@pytest.mark.parametrize("compression", ["raw", "tiff_deflate", "tiff_lzw", "packbits"])
def test_zero_is_white_of_another_maker(compression: str, tmp_path: Path) -> None:
    shown = values((7, 11), "u1")  # Pillow stores the inverse
    Image.fromarray(shown).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 0})
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), 255 - shown.T)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_differences_of_neighbours(compression: str, dtype: str, tmp_path: Path) -> None:
    rows = values((64, 48), dtype)
    tags = {317: 2}
    Image.fromarray(rows).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), rows.T)


def test_jpeg_in_tiff(tmp_path: Path) -> None:
    rows = np.add.outer(np.arange(40), 2 * np.arange(32)).astype(np.uint8)
    colours = np.stack([rows, rows // 2, 200 - rows // 2], axis=-1)
    for name, picture in (("a", rows), ("b", colours)):
        Image.fromarray(picture).save(tmp_path / f"{name}.tif", compression="jpeg", quality=95)
        found = read(tmp_path / f"{name}.tif").astype(int)
        assert np.abs(found - np.swapaxes(picture, 0, 1)).max() < 8
