"""Headers of NRRD, MetaImage and GIPL that are broken or mean harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from miscnn.data_loading.interfaces.itk import ITKInterface
from miscnn.exceptions import SampleError, UnreadableFileError

sitk = pytest.importorskip("SimpleITK")


def write_nhdr(folder: Path, data_file: str) -> ITKInterface:
    text = (
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n"
        f"data file: {data_file}\n"
    )
    (folder / "a.nhdr").write_text(text)
    interface = ITKInterface(image="*.nhdr")
    interface.initialize(folder)
    return interface


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.raw", "sub/../../x.raw", "-", "LIST", "x%d.raw 1 2 1", "C:\\x"]
)
def test_voxels_of_other_places_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "x.raw").write_bytes(bytes(24))
    with pytest.raises(UnreadableFileError, match=r"a\.nhdr cannot be read"):
        write_nhdr(tmp_path / "data", name).load_image("a")
    meta = f"NDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    (tmp_path / "data" / "a.mhd").write_text(meta)
    interface = ITKInterface(image="*.mhd")
    interface.initialize(tmp_path / "data")
    with pytest.raises(UnreadableFileError, match=r"a\.mhd cannot be read"):
        interface.load_image("a")


def test_detached_voxels_belong_to_the_subject(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(bytes(range(24)))
    interface = write_nhdr(tmp_path, "x.raw")
    image, _ = interface.load_image("a")
    np.testing.assert_array_equal(image.ravel(order="F"), range(24))
    assert interface.source_files("a") == [tmp_path / "a.nhdr", tmp_path / "x.raw"]
    (tmp_path / "x.raw").unlink()
    with pytest.raises(UnreadableFileError, match="is missing"):
        interface.load_image("a")


BASE = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nendian: little\n\n"
META = "NDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"


@pytest.mark.parametrize(
    ("ending", "header", "reason"),
    [
        (".nrrd", BASE.replace("2 3 4", "30000 30000 30000"), "54,000,000,000,000 bytes"),
        (".nrrd", BASE.replace("2 3 4", "2 3 5"), "at most"),
        (".nrrd", BASE.replace("raw", "gzip").replace("2 3 4", "3000 3000 3000"), "at most"),
        (".nrrd", BASE.replace("raw", "hex").replace("2 3 4", "2 3 400"), "at most"),
        (".nrrd", BASE.replace("raw", "ascii").replace("2 3 4", "2 3 400"), "at most"),
        (".nrrd", BASE.replace("raw", "zrle"), "zrle"),
        (".nrrd", BASE.replace("dimension: 3", "dimension: 16"), "16 axes"),
        (".nrrd", BASE.replace("endian", "byte skip: 999999999\nendian"), "skips"),
        (".nrrd", BASE.replace("endian", "type: uchar\nendian"), "twice"),
        (".nrrd", BASE.replace("endian", "content: " + "x" * 70000 + "\nendian"), "absurdly long"),
        (".nrrd", "NRRD0004\ntype: short\n" + "#\n" * 600000, "no end"),
        (".nrrd", BASE.replace("type: short", "type: block\nblock size: 9"), "cannot be read"),
        (".nrrd", BASE.strip() + "\n", "does not end"),
        (".nrrd", "<html>", "not an NRRD file"),
        (".mha", META.replace("2 3 4", "30000 30000 30000"), "54,000,000,000,000 bytes"),
        (".mha", META.replace("NDims = 3", "NDims = 900"), "900 axes"),
        (".mha", META.replace("2 3 4", "2 3"), "DimSize"),
        (".mha", META.replace("NDims", "ElementNumberOfChannels = 99999\nNDims"), "at most"),
        (".mha", META.replace("NDims", "Comment = " + "x" * 9000 + "\nNDims"), "absurdly long"),
        (".mha", META.replace("NDims", "NDims = 3\nNDims"), "twice"),
        (".mha", "\x00\x01", "not a MetaImage"),
        (".gipl", "\0" * 256, "not a GIPL"),
        (".gipl", "\0" * 20, "ends within its header"),
        (".nrrd", "", "empty"),
    ],
)
def test_hostile_headers(ending: str, header: str, reason: str, tmp_path: Path) -> None:
    body = np.arange(24, dtype="<i2").tobytes() if header else b""
    (tmp_path / f"a{ending}").write_bytes(header.encode("latin-1") + body)
    interface = ITKInterface(image=f"*{ending}")
    interface.initialize(tmp_path)
    with pytest.raises(UnreadableFileError, match=reason):
        interface.load_image("a")


def test_the_hostile_headers_were_sound_before(tmp_path: Path) -> None:
    body = np.arange(24, dtype="<i2").tobytes()
    (tmp_path / "a.nrrd").write_bytes(BASE.encode() + body)
    (tmp_path / "b.mha").write_bytes(META.encode() + body)
    interface = ITKInterface(image="*")
    interface.initialize(tmp_path)
    for index in ("a", "b"):
        image, _ = interface.load_image(index)
        np.testing.assert_array_equal(image.ravel(order="F"), range(24))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".gipl", ".gipl.gz"])
def test_mutated_headers_are_read_or_refused(
    ending: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(7)
    path = tmp_path / f"a{ending}"
    array = rng.integers(0, 5, (6, 7, 8)).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.9, 3.3))
    sitk.WriteImage(image, str(path), True)
    content = path.read_bytes()
    interface = ITKInterface(image=f"*{ending}")
    interface.initialize(tmp_path)
    refused = 0
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            place = int(rng.integers(0, min(len(broken), 500)))
            broken[place] = int(rng.choice([0, 10, 32, 45, 48, 57, 255, rng.integers(256)]))
        if rng.random() < 0.2:
            del broken[int(rng.integers(len(broken))) :]
        path.write_bytes(bytes(broken))
        try:
            image, details = interface.load_image("a")
        except UnreadableFileError:
            refused += 1
        except SampleError:  # axes that are none of an image
            continue
        else:
            assert image.size < 10_000_000
            assert details["affine"].shape == (4, 4)
    assert 20 < refused <= 300
    capfd.readouterr()


def test_no_name_gets_into_messages(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(BASE.replace("endian", "Doe^Jane\nendian").encode())
    (tmp_path / "b.mha").write_bytes(META.replace("NDims", "Doe^Jane\nNDims").encode())
    interface = ITKInterface(image="*")
    interface.initialize(tmp_path)
    for index in ("a", "b"):
        with pytest.raises(UnreadableFileError, match="a line that is no 'name") as caught:
            interface.load_image(index)
        assert "Doe" not in str(caught.value)
