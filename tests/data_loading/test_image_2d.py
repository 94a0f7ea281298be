"""Pictures: what is stored, what is made of it, and what is written."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.image import ImageInterface
from miscnn.data_loading.interfaces.image_io import Image_interface
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    LabelError,
    MissingFileError,
    SampleError,
    UnreadableFileError,
)


def save(path: Path, array: NDArray, **options: Any) -> Path:
    """Save rows x columns by Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def opened(folder: Path, **options: Any) -> ImageInterface:
    interface = ImageInterface(**{"image": "images/*", "segmentation": "masks/*", **options})
    interface.initialize(folder)
    return interface


def test_the_first_axis_runs_along_a_row(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save(tmp_path / "a" / "imaging.png", rows)
    save(tmp_path / "a" / "segmentation.png", rows % 2)
    data_io = DataIO(Image_interface(2, "grayscale", "png", None), tmp_path, tmp_path / "out")
    assert data_io.indices_list == ["a"]
    sample = data_io.sample_loader("a")
    assert sample.shape == (4, 3, 1)
    np.testing.assert_array_equal(sample.image[..., 0], rows.T)
    np.testing.assert_array_equal(sample.segmentation[..., 0], rows.T % 2)
    sample.add_prediction(sample.segmentation[..., 0])
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out" / "a.png"
    np.testing.assert_array_equal(np.array(Image.open(written)), rows % 2)
    np.testing.assert_array_equal(data_io.load_prediction("a"), rows.T % 2)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "gif"])
def test_grey_values_are_kept(ending: str, tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    save(tmp_path / "images" / f"a.{ending}", rows)
    image, _ = opened(tmp_path).load_image("a")
    np.testing.assert_array_equal(image, rows.T)
    assert image.dtype == np.uint8


def test_more_than_8_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 65536, (5, 7)).astype(np.uint16)
    save(tmp_path / "images" / "a.png", rows)
    tifffile.imwrite(tmp_path / "images" / "b.tif", rows.astype(np.float32) / 7, metadata=None)
    tifffile.imwrite(tmp_path / "images" / "c.tif", rows.astype(">i4") - 9, metadata=None)
    interface = opened(tmp_path)
    for index, expected in (("a", rows), ("b", rows.astype(np.float32) / 7), ("c", rows - 9.0)):
        image, _ = interface.load_image(index)
        np.testing.assert_array_equal(image, expected.T)
        assert image.dtype.isnative


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_not_stretched(bits: int, tmp_path: Path) -> None:
    rows = (np.arange(35).reshape(5, 7) % 2**bits).astype(np.uint8)
    if bits == 1:
        Image.fromarray(rows.astype(bool)).save(_made(tmp_path / "images" / "a.png"))
    else:
        lines = [[int(v) for v in row] + [0] * (8 // bits - 1) for row in rows]
        packed = b"".join(
            b"\0"
            + bytes(
                sum(v << (8 - bits * (k + 1)) for k, v in enumerate(line[i : i + 8 // bits]))
                for i in range(0, 7, 8 // bits)
            )
            for line in lines
        )
        _png(_made(tmp_path / "images" / "a.png"), 7, 5, bits, 0, packed)
    interface = opened(tmp_path, segmentation="images/*")
    np.testing.assert_array_equal(interface.load_segmentation("a"), rows.T)
    np.testing.assert_array_equal(interface.load_image("a")[0], rows.T)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _png(path: Path, width: int, height: int, bits: int, colour: int, raw: bytes) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_colours_as_channels_or_luminance(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save(tmp_path / "images" / "a.png", rows)
    image, _ = opened(tmp_path, img_type="rgb").load_image("a")
    np.testing.assert_array_equal(image, rows.transpose(1, 0, 2))
    interface = opened(tmp_path)
    grey, details = interface.load_image("a")
    np.testing.assert_array_equal(grey, np.array(Image.fromarray(rows).convert("L")).T)
    assert any("luminance" in remark[2] for remark in interface.remarks("a", details))
    save(tmp_path / "images" / "a.png", np.repeat(rows[..., :1], 3, axis=2))
    np.testing.assert_array_equal(interface.load_image("a")[0], rows[..., 0].T)


def test_transparency_is_not_read_and_told(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    save(tmp_path / "images" / "a.png", rows)
    save(tmp_path / "masks" / "a.png", rows)
    interface = opened(tmp_path, img_type="rgb")
    image, details = interface.load_image("a")
    np.testing.assert_array_equal(image, rows[..., :3].transpose(1, 0, 2))
    assert any("transparency" in remark[2] for remark in interface.remarks("a", details))
    with pytest.raises(SampleError, match="partly transparent"):
        interface.load_segmentation("a")


def _palette(path: Path, indices: NDArray, colours: list[int]) -> None:
    image = Image.fromarray(indices)
    image.putpalette(colours)
    image.save(_made(path))


def test_a_palette_is_colours_in_images_and_classes_in_masks(tmp_path: Path) -> None:
    indices = (np.arange(35).reshape(5, 7) % 3).astype(np.uint8)
    colours = [0, 0, 0, 200, 10, 20, 30, 40, 250]
    for folder in ("images", "masks"):
        _palette(tmp_path / folder / "a.png", indices, colours)
    interface = opened(tmp_path, classes=3, img_type="rgb")
    expected = np.reshape(colours, (3, 3))[indices].transpose(1, 0, 2)
    np.testing.assert_array_equal(interface.load_image("a")[0], expected)
    np.testing.assert_array_equal(interface.load_segmentation("a"), indices.T)
    declared = opened(
        tmp_path,
        classes=3,
        label_colours={(0, 0, 0): 0, (30, 40, 250): 1, (200, 10, 20): 2},
    )
    np.testing.assert_array_equal(declared.load_segmentation("a"), np.array([0, 2, 1])[indices].T)


def test_coloured_masks_need_a_declaration_that_is_proposed(tmp_path: Path) -> None:
    classes = (np.arange(35).reshape(5, 7) % 3).astype(np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    save(tmp_path / "images" / "a.png", classes)
    save(tmp_path / "masks" / "a.png", colours[classes])
    with pytest.raises(LabelError) as caught:
        opened(tmp_path).load_segmentation("a")
    proposed = str(caught.value).rpartition("for example ")[2]
    options = eval(f"dict({proposed})")
    assert options["classes"] == 3
    data_io = DataIO(opened(tmp_path, **options), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    found = sample.segmentation[..., 0].T
    declared = {label: colour for colour, label in options["label_colours"].items()}
    np.testing.assert_array_equal(
        np.array([declared[k] for k in range(3)])[found], colours[classes]
    )
    sample.add_prediction(sample.segmentation[..., 0])
    written = data_io.save_prediction(sample)
    np.testing.assert_array_equal(np.array(Image.open(written).convert("RGB")), colours[classes])
    np.testing.assert_array_equal(data_io.load_prediction("a"), found.T)
    one = opened(tmp_path, label_colours=["#000000", "#ff0000"])
    with pytest.raises(LabelError, match=r"\(0, 255, 0\), which label_colours does not declare"):
        one.load_segmentation("a")


def test_the_declaration_is_configuration() -> None:
    interface = ImageInterface(label_colours={(0, 0, 0): 0, (255, 0, 0): 1}, spacing=(0.5, 0.5))
    config = json.loads(json.dumps(interface.get_config()))
    again = ImageInterface.from_config(config)
    assert again.get_config() == config
    colours = np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)
    assert again._colours is not None
    np.testing.assert_array_equal(again._colours.to_classes(colours, "m", "a"), [[1, 0]])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"label_colours": [(0, 0, 0)]}, "no colour means 1"),
        ({"label_colours": {(0, 0, 0): 0, (1, 2, 300): 1}}, "cannot use"),
        ({"label_colours": {(0, 0, 0): 0, (1, 2, 3): 2}}, "no class 2"),
        ({"label_colours": [(0, 0, 0), (1, 1, 1)], "label_values": [0, 1]}, "leave one out"),
        ({"img_type": "cmyk"}, "img_type"),
        ({"img_format": "webp"}, "img_format"),
        ({"img_type": "rgb", "channels": 1}, "3 channels"),
        ({"spacing": (1, 1, 1)}, "2 sizes"),
        ({"spacing": (1, 0)}, "above 0"),
    ],
)
def test_contradicting_arguments(options: dict, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        ImageInterface(**options)


def test_grey_masks_saved_in_colour_and_by_values(tmp_path: Path) -> None:
    mask = (np.arange(35).reshape(5, 7) % 2 * 255).astype(np.uint8)
    save(tmp_path / "images" / "a.png", mask)
    save(tmp_path / "masks" / "a.png", np.stack([mask] * 3, -1))
    plain = DataIO(opened(tmp_path), tmp_path, tmp_path / "out")
    with pytest.raises(LabelError, match=r"label_values=\[0, 255\]"):
        plain.sample_loader("a")
    data_io = DataIO(opened(tmp_path, label_values=[0, 255]), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.segmentation[..., 0], mask.T // 255)
    sample.add_prediction(sample.segmentation[..., 0])
    np.testing.assert_array_equal(np.array(Image.open(data_io.save_prediction(sample))), mask)


def test_masks_from_jpeg_are_refused_where_values_have_changed(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    save(tmp_path / "images" / "a.png", mask)
    save(tmp_path / "masks" / "a.jpg", mask)
    interface = opened(tmp_path, label_values=[0, 255])
    np.testing.assert_array_equal(interface.load_segmentation("a"), mask)
    mask[5:20, 9:25] = 255
    save(tmp_path / "masks" / "a.jpg", mask)
    with pytest.raises(LabelError, match="compressed with loss"):
        interface.load_segmentation("a")
    image, _ = opened(tmp_path, image="masks/*").load_image("a")  # an image it may be
    assert np.abs(image.astype(int) - mask.T).max() < 60


def test_a_rotation_noted_by_a_camera_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = np.zeros((16, 24), np.uint8)
    rows[:8] = 200
    save(tmp_path / "images" / "a.jpg", rows, exif=exif)
    image, _ = opened(tmp_path).load_image("a")
    assert image.shape == (24, 16)
    assert image[:, :6].min() > 150


def test_stacks(tmp_path: Path, rng: np.random.Generator) -> None:
    pages = rng.integers(0, 60000, (5, 6, 7)).astype(np.uint16)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", pages, compression="zlib")
    tifffile.imwrite(tmp_path / "masks" / "a.tiff", (pages > 30000).astype(np.uint8))
    interface = opened(tmp_path, three_dim=True, spacing=(0.5, 0.25, 2))
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.image[..., 0], pages.transpose(2, 1, 0))
    np.testing.assert_array_equal(sample.segmentation[..., 0], pages.transpose(2, 1, 0) > 30000)
    assert sample.spacing == (0.5, 0.25, 2)
    sample.add_prediction(sample.segmentation[..., 0])
    written = data_io.save_prediction(sample)
    np.testing.assert_array_equal(tifffile.imread(written), pages > 30000)
    np.testing.assert_array_equal(data_io.load_prediction("a"), sample.segmentation[..., 0])
    probabilities = rng.random((7, 6, 5, 3)).astype(np.float32)
    sample.add_prediction(probabilities, activation_output=True)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), probabilities)


def test_labels_and_probabilities_in_turns(tmp_path: Path, rng: np.random.Generator) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((5, 7), np.uint8))
    data_io = DataIO(opened(tmp_path), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    labels = rng.integers(0, 2, (7, 5)).astype(np.uint8)
    probabilities = rng.random((7, 5, 2)).astype(np.float32)
    for _ in range(2):  # what was written last counts
        sample.add_prediction(probabilities, activation_output=True)
        assert data_io.save_prediction(sample).suffix == ".tif"
        np.testing.assert_array_equal(data_io.load_prediction("a"), probabilities)
        sample.add_prediction(labels)
        assert data_io.save_prediction(sample).suffix == ".png"
        np.testing.assert_array_equal(data_io.load_prediction("a"), labels)


def test_many_classes_take_16_bits_and_more(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((5, 7), np.uint8))
    for top, ending in ((65535, ".png"), (65536, ".tif")):
        data_io = DataIO(opened(tmp_path, classes=70000), tmp_path, tmp_path / f"out{top}")
        sample = data_io.sample_loader("a", load_seg=False)
        labels = np.zeros((7, 5), np.uint32)
        labels[3, 2] = top
        sample.classes = top + 1
        sample.add_prediction(labels)
        assert data_io.save_prediction(sample).suffix == ending
        np.testing.assert_array_equal(data_io.load_prediction("a"), labels)


def test_tiff_of_other_makers(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 256, (64, 48), dtype=np.uint8)
    save(tmp_path / "images" / "lzw.tif", rows, compression="tiff_lzw")
    colours = rng.integers(0, 256, (6, 7, 5)).astype(np.float32)
    tifffile.imwrite(
        tmp_path / "images" / "bands.tif", colours, photometric="minisblack", planarconfig="contig"
    )
    np.testing.assert_array_equal(opened(tmp_path).load_image("lzw")[0], rows.T)
    many = opened(tmp_path, img_type="multichannel", channels=5)
    np.testing.assert_array_equal(many.load_image("bands")[0], colours.transpose(1, 0, 2))


def test_channels_from_several_files(tmp_path: Path, rng: np.random.Generator) -> None:
    one, two = rng.integers(0, 256, (2, 5, 7), dtype=np.uint8)
    save(tmp_path / "a_red.png", one)
    save(tmp_path / "a_green.png", two)
    interface = ImageInterface(image=["*_red.png", "*_green.png"])
    assert interface.channels == 2
    assert interface.initialize(tmp_path) == ["a"]
    np.testing.assert_array_equal(interface.load_image("a")[0], np.stack([one.T, two.T], -1))
    save(tmp_path / "a_green.png", two[:4])
    with pytest.raises(GridMismatchError, match="channel 2"):
        interface.load_image("a")


def test_what_is_no_single_picture_is_refused(tmp_path: Path) -> None:
    rows = np.zeros((5, 7), np.uint8)
    folder = tmp_path / "images"
    save(folder / "frames.gif", rows)
    pages = [Image.fromarray(rows + k) for k in range(3)]
    pages[0].save(folder / "frames.gif", save_all=True, append_images=pages[1:])
    Image.fromarray(np.zeros((5, 7, 4), np.uint8), "CMYK").save(folder / "cmyk.jpg")
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.png").write_bytes(b"<html></html>")
    (folder / "folder.png").mkdir()
    (folder / "cut.png").write_bytes(save(folder / "b.png", rows + 7).read_bytes()[:46])
    _png(folder / "bomb.png", 30000, 30000, 8, 0, bytes(1000))
    _png(folder / "deep.png", 2, 1, 16, 2, bytes(13))
    interface = opened(tmp_path)
    for index, reason in (
        ("frames", "several pictures"),
        ("cmyk", "CMYK"),
        ("empty", "empty"),
        ("page", "web page"),
        ("folder", "folder"),
        ("cut", "cannot be read"),
        ("bomb", "30000 x 30000 pixels, but the file has"),
        ("deep", "16 bits"),
    ):
        with pytest.raises(UnreadableFileError, match=reason):
            interface.load_image(index)
    with pytest.raises(MissingFileError):
        interface.load_image("none")


def test_a_stack_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(30000)
        file.pages[0].tags["ImageLength"].overwrite(30000)
    with pytest.raises(UnreadableFileError, match=r"promises shape \(30000, 30000\)"):
        opened(tmp_path).load_image("a")


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif", "jpg"])
def test_mutated_headers_are_read_or_refused(
    ending: str, tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "images" / f"a.{ending}", rng.integers(0, 9, (20, 30), dtype=np.uint8))
    content = path.read_bytes()
    interface = opened(tmp_path, segmentation="images/*")
    refused = 0
    for _ in range(250):
        broken = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            broken[int(rng.integers(0, min(len(broken), 120)))] = int(rng.integers(256))
        path.write_bytes(bytes(broken))
        for load in (interface.load_image, interface.load_segmentation):
            try:
                load("a")
            except UnreadableFileError:
                refused += 1
            except SampleError:  # labels that are none, axes of another kind
                continue
    assert refused > 20


@pytest.mark.realdata
def test_electron_microscopy(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "isbi_em"
    interface = ImageInterface(
        image="images/*.png", segmentation="labels/*.png", label_values=[0, 255]
    )
    data_io = DataIO(interface, folder, tmp_path)
    assert len(data_io.indices_list) == 30
    index = data_io.indices_list[3]
    sample = data_io.sample_loader(index)
    rows = np.array(Image.open(interface.source_files(index)[1]))
    np.testing.assert_array_equal(sample.segmentation[..., 0], rows.T // 255)
    sample.add_prediction(sample.segmentation[..., 0])
    np.testing.assert_array_equal(np.array(Image.open(data_io.save_prediction(sample))), rows)
