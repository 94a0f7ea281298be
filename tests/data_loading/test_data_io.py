from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.data_io import Data_IO, DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    LabelError,
    MissingFileError,
    SampleError,
)

Subject = Callable[..., Path]


def open_data(tmp_path: Path, **arguments: object) -> DataIO:
    return DataIO(NIfTIInterface(**arguments), tmp_path / "data", tmp_path / "out")


def test_a_subject_with_its_segmentation(tmp_path: Path, subject: Subject) -> None:
    image = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    subject("b", image, (image > 100).astype(np.uint8))
    subject("a")
    data_io = open_data(tmp_path)
    assert data_io.get_indiceslist() == ["a", "b"]
    data_io.get_indiceslist().clear()
    assert data_io.indices_list == ["a", "b"]
    sample = data_io.sample_loader("b")
    assert sample.image.dtype == np.int16
    np.testing.assert_array_equal(sample.image[..., 0], image)
    np.testing.assert_array_equal(sample.segmentation[..., 0], image > 100)
    assert sample.segmentation.dtype == np.uint8
    assert sample.spacing == pytest.approx((0.9, 0.9, 3))
    assert sample.details["header"].get_data_shape() == (7, 6, 5)
    assert [s.index for s in data_io.get_samples(load_seg=True)] == ["a", "b"]


def test_a_missing_segmentation(tmp_path: Path, subject: Subject) -> None:
    (subject("a") / "segmentation.nii.gz").unlink()
    data_io = open_data(tmp_path)
    assert not data_io.has_segmentation("a")
    assert data_io.sample_loader("a", load_seg=False).segmentation is None
    assert data_io.sample_loader("a", load_seg="if available").segmentation is None
    with pytest.raises(MissingFileError, match="load_seg=False or 'if available'"):
        data_io.sample_loader("a")
    with pytest.raises(ConfigurationError, match="'maybe'"):
        data_io.sample_loader("a", load_seg="maybe")
    subject("a")
    assert data_io.sample_loader("a", load_seg="if available").segmentation is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 3, 12.5), r"12.5 mm \(13.9 voxels\) apart"),
        ((2, 3, 0.02), r"0.02 mm"),
        ((0, 0, 0.9), "orientation RAS against LAS"),
    ],
)
def test_a_segmentation_on_another_grid_is_refused(
    change: tuple[int, int, float], message: str, tmp_path: Path, subject: Subject
) -> None:
    affine = np.diag([-0.9, 0.9, 3, 1.0])
    other = affine.copy()
    other[change[:2]] = change[2]
    subject("a", affine=affine, label_affine=other)
    with pytest.raises(GridMismatchError, match=message):
        open_data(tmp_path).sample_loader("a")


def test_float_noise_of_the_grid_is_forgiven(tmp_path: Path, subject: Subject) -> None:
    affine = np.diag([-0.9, 0.9, 3, 1.0])
    noisy = affine.copy()
    noisy[:3, 3] += 1e-6
    subject("a", affine=affine, label_affine=noisy)
    sample = open_data(tmp_path).sample_loader("a")
    np.testing.assert_array_equal(sample.geometry.affine[:3, 3], 0)


def test_labels_are_checked(tmp_path: Path, subject: Subject) -> None:
    image = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    subject("a", image, (image > 5) * np.uint8(255))
    subject("b", image, (image > 5).astype(np.float32))
    subject("c", image, np.zeros((7, 6, 4), np.uint8))
    data_io = open_data(tmp_path)
    with pytest.raises(LabelError, match="found 0, 255"):
        data_io.sample_loader("a")
    assert data_io.sample_loader("b").segmentation.dtype == np.uint8
    with pytest.raises(GridMismatchError, match=r"\(7, 6, 4\)"):
        data_io.sample_loader("c")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_non_finite_images_are_refused_with_count_and_place(
    value: float, dtype: type, tmp_path: Path, subject: Subject
) -> None:
    image = np.ones((7, 6, 5), dtype)
    image[3, 2, 1] = image[6, 5, 4] = value
    subject("a", image, np.ones((7, 6, 5), np.uint8))
    with pytest.raises(SampleError, match=r"2 of 210 .* first at \(3, 2, 1\)"):
        open_data(tmp_path).sample_loader("a")


def test_huge_finite_values_pass() -> None:
    image = np.full((2, 3, 4), np.finfo(np.float32).max, np.float32)
    assert DataIO(DictionaryInterface({"a": image})).sample_loader("a", False).image.max() > 1e38


def test_channels_and_axes_are_checked(tmp_path: Path, subject: Subject) -> None:
    subject("a", np.zeros((7, 6, 5, 2), np.int16), np.zeros((7, 6, 5), np.uint8))
    with pytest.raises(
        SampleError, match=r"1 channel.*\(7, 6, 5, 2\).*Set channels.*: channels=2$"
    ):
        open_data(tmp_path).sample_loader("a")
    assert open_data(tmp_path, channels=2).sample_loader("a").shape == (7, 6, 5, 2)
    with pytest.raises(SampleError, match="three_dim=True"):
        open_data(tmp_path, three_dim=False).sample_loader("a")
    line = DataIO(DictionaryInterface({"a": np.zeros(7)}))
    with pytest.raises(SampleError, match=r"2 or 3 axes.*\(7,\)"):
        line.sample_loader("a", load_seg=False)


def test_an_affine_that_cannot_be_used_is_refused(
    tmp_path: Path, subject: Subject, patch: Callable[..., None]
) -> None:
    patch(subject("a") / "imaging.nii.gz", 280 + 32, "4f", 0, 0, 0, 0)
    patch(subject("b") / "imaging.nii.gz", 280, "f", float("nan"))
    data_io = open_data(tmp_path)
    for load in (data_io.sample_loader, data_io.geometry):
        with pytest.raises(SampleError, match=r"'a'.*singular.*0.9 x 0.9 x 0 mm"):
            load("a")
        with pytest.raises(SampleError, match=r"'b'.*not finite"):
            load("b")


def test_the_geometry_needs_the_header_only(tmp_path: Path, subject: Subject) -> None:
    path = subject("a") / "imaging.nii.gz"
    data_io = open_data(tmp_path)
    expected = data_io.sample_loader("a").geometry
    path.write_bytes(path.read_bytes()[:-30])  # the voxels cannot be read any more
    assert data_io.geometry("a") == expected


def test_names_of_miscnn_1_and_no_shared_state(tmp_path: Path, subject: Subject) -> None:
    subject("a")
    data_io = Data_IO(
        NIfTIInterface(), str(tmp_path / "data"), "o", batch_path="b", delete_batchDir=False
    )
    assert Data_IO is DataIO is miscnn.Data_IO is miscnn.DataIO
    assert (data_io.output_path, data_io.batch_path, data_io.delete_batchDir) == ("o", "b", False)
    assert not hasattr(DataIO, "seed")
    assert "1 subjects" in repr(data_io)
    with pytest.raises(MissingFileError, match="nowhere"):
        Data_IO(NIfTIInterface(), tmp_path / "nowhere")


@pytest.mark.realdata
def test_real_subjects(real_data: Path) -> None:
    folders = {"image": "images/*.nii.gz", "segmentation": "labels/*.nii.gz"}
    hippocampus = DataIO(NIfTIInterface(classes=3, **folders), real_data / "hippocampus")
    assert len(hippocampus.indices_list) == 130
    sample = hippocampus.sample_loader("hippocampus_001")
    assert sample.geometry.orientation == "RAS"
    assert sorted(np.unique(sample.segmentation)) == [0, 1, 2]
    sarcoma = DataIO(NIfTIInterface(**folders), real_data / "sarcoma_ct")
    sample = sarcoma.sample_loader("STS_001")
    assert sample.geometry.orientation == "LPS"
    assert sample.spacing == pytest.approx((0.976562, 0.976562, 3.27))


def test_labels_beyond_the_classes_can_be_loaded_for_a_subfunction_to_map() -> None:
    labels = np.arange(8).reshape(2, 2, 2) % 2 * 255
    data_io = DataIO(DictionaryInterface({"a": (np.zeros((2, 2, 2)), labels)}))
    with pytest.raises(LabelError, match="found 0, 255"):
        data_io.sample_loader("a")
    sample = data_io.sample_loader("a", check_classes=False)
    np.testing.assert_array_equal(sample.segmentation[..., 0], labels)
