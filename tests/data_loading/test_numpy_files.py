"""NumPy arrays in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.numpy_files import NumPyInterface
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    SampleError,
    UnreadableFileError,
)

AFFINE = np.array([[0, -0.5, 0, 7.0], [0.25, 0, 0, -8], [0, 0, 2, 9], [0, 0, 0, 1]])


@pytest.fixture
def image(rng: np.random.Generator) -> NDArray:
    return rng.integers(-9, 9, (4, 5, 6)).astype(np.int16)


def test_one_archive_for_image_and_segmentation(image: NDArray, tmp_path: Path) -> None:
    labels = (image > 0).astype(np.uint8)
    np.savez(tmp_path / "a.npz", image=image, segmentation=labels, affine=AFFINE)
    np.savez_compressed(tmp_path / "b.npz", image=image, affine=AFFINE)
    interface = NumPyInterface(image="*.npz", segmentation="*.npz")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    assert data_io.indices_list == ["a", "b"]
    assert [interface.has_segmentation(index) for index in "ab"] == [True, False]
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.image[..., 0], image)
    np.testing.assert_array_equal(sample.segmentation[..., 0], labels)
    np.testing.assert_array_equal(sample.geometry.affine, AFFINE)
    sample.add_prediction(labels)
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out/a.npz"
    with np.load(written) as archive:
        np.testing.assert_array_equal(archive["prediction"], labels)
        np.testing.assert_array_equal(archive["affine"], AFFINE)
    content = written.read_bytes()
    data_io.save_prediction(sample)
    assert written.read_bytes() == content
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels)
    probabilities = np.random.default_rng(0).random((4, 5, 6, 2)).astype(np.float32)
    sample.add_prediction(probabilities, activation_output=True)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), probabilities)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(order: Any, image: NDArray, tmp_path: Path) -> None:
    stored = np.asarray(image.astype(">i4"), order=order)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/imaging.npy", stored)
    np.save(tmp_path / "a/segmentation.npy", image > 0)
    data_io = DataIO(NumPyInterface(spacing=(1, 2, 3)), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.image[..., 0], image)
    assert sample.image.dtype.isnative
    assert sample.spacing == (1, 2, 3)
    np.testing.assert_array_equal(sample.segmentation[..., 0], image > 0)
    sample.add_prediction(sample.segmentation[..., 0])
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out/a.npy"
    np.testing.assert_array_equal(np.load(written, allow_pickle=False), image > 0)


def test_two_dimensions_with_channels(rng: np.random.Generator, tmp_path: Path) -> None:
    image = rng.random((5, 6, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", anything=image, spacing=[0.5, 0.25])
    interface = NumPyInterface(channels=3, three_dim=False, image="*.npz")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image, image)
    assert sample.spacing == (0.5, 0.25)
    sample.add_prediction(np.ones((5, 6), np.uint8))
    with np.load(data_io.save_prediction(sample)) as archive:
        assert archive["prediction"].shape == (5, 6)
    np.testing.assert_array_equal(data_io.load_prediction("a"), np.ones((5, 6)))


def test_channels_share_a_grid(image: NDArray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a_1.npz", image=image, affine=AFFINE)
    np.savez(tmp_path / "a_2.npz", image=image, spacing=[1, 1, 1])
    interface = NumPyInterface(channels=2, image=["*_1.npz", "*_2.npz"])
    interface.initialize(tmp_path)
    with pytest.raises(GridMismatchError):
        interface.load_image("a")


def test_a_segmentation_that_tells_no_grid_lies_on_the_image(
    image: NDArray, tmp_path: Path
) -> None:
    labels = (image > 0).astype(np.uint8)
    np.savez(tmp_path / "a_image.npz", image=image, affine=AFFINE)
    np.save(tmp_path / "a_mask.npy", labels)
    for spacing in (None, (1, 2, 3)):
        interface = NumPyInterface(image="*_image.npz", segmentation="*_mask.npy", spacing=spacing)
        data_io = DataIO(interface, tmp_path)
        assert interface.load_segmentation_geometry("a") is None
        sample = data_io.sample_loader("a")
        np.testing.assert_array_equal(sample.segmentation[..., 0], labels)
        np.testing.assert_array_equal(sample.geometry.affine, AFFINE)
        assert data_io.verify().ok
    archives = NumPyInterface(image="*_image.npz", segmentation="*_mask.npz")
    np.savez(tmp_path / "a_mask.npz", segmentation=labels)
    data_io = DataIO(archives, tmp_path)
    np.testing.assert_array_equal(data_io.sample_loader("a").segmentation[..., 0], labels)
    np.savez(tmp_path / "a_mask.npz", segmentation=labels[:-1])  # the shape is compared
    with pytest.raises(SampleError, match=r"\(3, 5, 6"):
        data_io.sample_loader("a")
    np.savez(tmp_path / "a_mask.npz", segmentation=labels, spacing=[1, 1, 1])
    with pytest.raises(GridMismatchError):
        data_io.sample_loader("a")


@pytest.mark.parametrize("name", ["segmentation", "prediction", "probabilities"])
def test_a_segmentation_is_no_image(name: str, image: NDArray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{name: image, "spacing": np.ones(3)})
    interface = NumPyInterface(image="*.npz", segmentation="*.npz")
    interface.initialize(tmp_path)
    with pytest.raises(UnreadableFileError, match=f"holds {name}, spacing; expected 'image'"):
        interface.load_image("a")
    np.testing.assert_array_equal(interface.load_segmentation("a"), image)


@pytest.mark.parametrize("spacing", [[1, -2, 3], [1, 2], [1, 0, 3], [1, 2, np.nan], [[1, 2, 3]], 2])
def test_voxel_sizes_in_a_file_are_checked(spacing: Any, image: NDArray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=image, spacing=spacing)
    interface = NumPyInterface(image="*.npz", spacing=(1, 1, 1))
    interface.initialize(tmp_path)
    for load in (interface.load_image, interface.load_geometry):
        with pytest.raises(UnreadableFileError, match="expected 3 sizes in mm above 0"):
            load("a")
    np.savez(tmp_path / "a.npz", image=image, spacing=[1, 2, 3])
    assert interface.load_geometry("a").spacing == (1, 2, 3)


class _Evil:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


def test_objects_are_never_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = np.array([_Evil()] * 8, dtype=object).reshape(2, 2, 2)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", image=objects)
    interface = NumPyInterface(image="*")
    interface.initialize(tmp_path)
    for index in "ab":
        with pytest.raises(UnreadableFileError, match="type object"):
            interface.load_image(index)
    assert "code ran" not in capsys.readouterr().out


def test_what_cannot_be_read(image: NDArray, tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", image)
    content = (tmp_path / "big.npy").read_bytes()
    big = content.replace(b"(4, 5, 6), }      ", b"(9999, 9999, 99)}")
    assert big != content
    (tmp_path / "big.npy").write_bytes(big.replace(b"99)}", b"99)} "))
    (tmp_path / "cut.npy").write_bytes(content[:-5])
    (tmp_path / "text.npy").write_bytes(b"hello world")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "complex.npy", image.astype(complex))
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "names.npz", first=image, second=image)
    np.savez(tmp_path / "grid.npz", image=image, affine=np.eye(5))
    interface = NumPyInterface(image="*")
    interface.initialize(tmp_path)
    for index, reason in (
        ("big", "9,999,9|19,796,0"),
        ("cut", "truncated"),
        ("text", "not a .npy"),
        ("empty", "not a .npy"),
        ("complex", "complex"),
        ("one", "shape"),
        ("names", "first, second; expected 'image'"),
        ("grid", "affine"),
    ):
        with pytest.raises(UnreadableFileError, match=reason):
            interface.load_image(index)


def test_configuration() -> None:
    interface = NumPyInterface(image="*.npz", spacing=(1, 2, 3))
    assert NumPyInterface.from_config(interface.get_config()) == interface
    with pytest.raises(ConfigurationError, match="spacing"):
        NumPyInterface(spacing=(1, 2))


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_mutated_files_are_read_or_refused(
    ending: str, image: NDArray, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, image)
    else:
        np.savez_compressed(path, image=image, spacing=[1, 2, 3])
    content = path.read_bytes()
    interface = NumPyInterface(image="*")
    interface.initialize(tmp_path)
    refused = 0
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            broken[int(rng.integers(0, len(broken)))] = int(rng.integers(256))
        path.write_bytes(bytes(broken))
        try:
            interface.load_image("a")
        except UnreadableFileError:
            refused += 1
    assert refused > 20
