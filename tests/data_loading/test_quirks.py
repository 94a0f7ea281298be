"""Real files with odd headers and types: read rightly, or refused with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.inspection import inspect
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.verification import verify
from miscnn.exceptions import LabelError, SampleError

pytestmark = pytest.mark.realdata

# Shape, type and orientation of each file, as it must be read.
FILES: dict[str, tuple[tuple[int, ...], str, str]] = {
    "4d_int16": ((128, 96, 24, 2), "int16", "LAS"),
    "bigendian_int16_LAS": ((33, 41, 25), "int16", "LAS"),
    "ct_int32_3mm": ((122, 101, 112), "int32", "RAS"),
    "label_float64_3mm": ((122, 101, 112), "float64", "RAS"),
    "permuted_LSP_float32": ((80, 128, 44), "float32", "LSP"),
    "permuted_LSP_label_float32": ((80, 128, 44), "float32", "LSP"),
    "prostate_label_uint16_oblique": ((384, 384, 19), "uint16", "LPS"),
    "prostate_uint16_oblique": ((384, 384, 19), "uint16", "LPS"),
    "uninformative_constant_image": ((8, 8, 8), "float64", "LPS"),
    "uninformative_empty_mask": ((8, 8, 8), "uint8", "LPS"),
    "uninformative_one_voxel_mask": ((8, 8, 8), "uint8", "LPS"),
}


@pytest.fixture
def folder(real_data: Path) -> Path:
    return real_data / "quirks"


def as_images(folder: Path, channels: int = 1) -> DataIO:
    return DataIO(NIfTIInterface(channels=channels, image="*.nii.gz"), folder)


def subject(
    folder: Path, tmp_path: Path, image: str, label: str | None, **arguments: Any
) -> DataIO:
    """One subject in MIScnn's layout, of links to the files."""
    (tmp_path / "a").mkdir(exist_ok=True)
    for name, link in ((image, "imaging"), (label, "segmentation")):
        if name is not None:
            source = next(folder.glob(f"{name}.nii*"))
            (tmp_path / "a" / f"{link}{''.join(source.suffixes)}").symlink_to(source)
    return DataIO(NIfTIInterface(**arguments), tmp_path, tmp_path / "out")


def test_all_of_them_are_found(folder: Path) -> None:
    data_io = as_images(folder)
    assert data_io.indices_list == sorted(FILES)
    data_io = miscnn.open_dataset(folder, channels=1, layout="images")  # labels, too
    assert data_io.indices_list == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_is_what_other_readers_read(folder: Path, name: str) -> None:
    """nibabel's values and affine, and SimpleITK's values and positions (LPS)."""
    shape, dtype, orientation = FILES[name]
    data_io = as_images(folder, channels=shape[3] if len(shape) > 3 else 1)
    image = data_io.sample_loader(name, load_seg=False)
    path = next(folder.glob(f"{name}.nii*"))
    file = nib.load(path)
    stored = np.asanyarray(file.dataobj)
    assert image.image.shape == (shape if len(shape) > 3 else (*shape, 1))
    assert image.image.dtype == np.dtype(dtype)
    assert image.image.dtype.isnative
    assert image.geometry.orientation == orientation
    np.testing.assert_array_equal(image.image.reshape(shape), stored)
    assert image.geometry.affine.tobytes() == np.asarray(file.affine, np.float64).tobytes()
    assert image.spacing == pytest.approx(file.header.get_zooms()[:3], rel=1e-5)

    sitk = pytest.importorskip("SimpleITK")
    other = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(other).T
    np.testing.assert_array_equal(values, stored)
    if len(shape) > 3:
        other = other[:, :, :, 0]
    for voxel in ((0, 0, 0), (shape[0] - 1, 2, 3), (1, shape[1] - 1, shape[2] - 1)):
        x, y, z = other.TransformIndexToPhysicalPoint(voxel)
        place = image.geometry.affine @ [*voxel, 1]
        np.testing.assert_allclose(place[:3], (-x, -y, z), atol=1e-4)


def test_verify_names_the_three_that_cannot_be_used(folder: Path) -> None:
    report = verify(as_images(folder), verbose=False)
    assert set(report.bad) == {
        "4d_int16", "uninformative_constant_image", "uninformative_empty_mask"
    }  # fmt: skip
    told = {problem.index: problem.message for problem in report.problems if problem.index}
    assert "got shape (128, 96, 24, 2). Set channels" in told["4d_int16"]
    assert told["uninformative_constant_image"] == "all values of the image are 1; leave it out"
    assert told["uninformative_empty_mask"] == "all values of the image are 0; leave it out"


def test_inspect_describes_all_but_the_one_with_two_channels(folder: Path) -> None:
    found = inspect(as_images(folder), verbose=False)
    assert [facts.index for facts in found.subjects if facts.error] == ["4d_int16"]
    for facts in found.subjects[1:]:
        assert (facts.shape, facts.dtype, facts.orientation) == FILES[facts.index]
    facts = {facts.index: facts for facts in found.subjects}
    assert facts["bigendian_int16_LAS"].intensities[0]["max"] == 30393  # type: ignore[index]
    # The slices of the permuted one are axial: across the second axis of its array.
    assert facts["permuted_LSP_float32"].slice_axis == 1
    assert facts["prostate_uint16_oblique"].slice_axis == 2


def test_two_channels_along_the_fourth_axis(folder: Path) -> None:
    data_io = DataIO(NIfTIInterface(channels=2, image="4d_*.nii.gz"), folder)
    sample = data_io.sample_loader("int16", load_seg=False)
    assert sample.image.shape == (128, 96, 24, 2)
    with pytest.raises(SampleError, match="Set channels and three_dim"):
        as_images(folder).sample_loader("4d_int16", load_seg=False)


@pytest.mark.parametrize(
    ("image", "label", "classes"),
    [
        ("prostate_uint16_oblique", "prostate_label_uint16_oblique", 3),
        ("permuted_LSP_float32", "permuted_LSP_label_float32", 6),
        ("bigendian_int16_LAS", None, 2),
    ],
)
def test_predictions_lie_on_their_grid(
    folder: Path, tmp_path: Path, image: str, label: str | None, classes: int
) -> None:
    data_io = subject(folder, tmp_path, image, label, classes=classes)
    sample = data_io.sample_loader("a", load_seg="if available")
    if label is None:
        sample.prediction = (sample.image[..., 0] > 9000).astype(np.uint8)
    else:
        stored = np.asanyarray(nib.load(next(folder.glob(f"{label}.nii*"))).dataobj)
        assert sample.segmentation is not None
        assert sample.segmentation.dtype == np.uint8
        np.testing.assert_array_equal(sample.segmentation[..., 0], stored)
        sample.prediction = sample.segmentation[..., 0]
    written = nib.load(data_io.save_prediction(sample))
    original = nib.load(next(folder.glob(f"{image}.nii*")))
    assert written.affine.tobytes() == original.affine.tobytes()
    assert written.shape == original.shape
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), sample.prediction)
    np.testing.assert_array_equal(data_io.load_prediction("a"), sample.prediction)


def test_labels_in_float64_with_gaps(folder: Path, tmp_path: Path) -> None:
    """60 values up to 104: refused with the mapping to declare, read with it and written back."""
    data_io = subject(folder, tmp_path, "ct_int32_3mm", "label_float64_3mm")
    with pytest.raises(LabelError, match=r"classes=60, label_values=\[0, .*\]"):
        data_io.sample_loader("a")
    stored = np.asanyarray(nib.load(folder / "label_float64_3mm.nii.gz").dataobj)
    values = [int(v) for v in np.unique(stored)]
    assert len(values) == 60
    interface = NIfTIInterface(classes=60, label_values=values)
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    assert sample.segmentation is not None
    assert int(sample.segmentation.max()) == 59
    np.testing.assert_array_equal(np.array(values)[sample.segmentation[..., 0]], stored)
    sample.prediction = sample.segmentation[..., 0]
    written = np.asanyarray(nib.load(data_io.save_prediction(sample)).dataobj)
    np.testing.assert_array_equal(written, stored)


def test_masks_that_hold_little_or_nothing(folder: Path, tmp_path: Path) -> None:
    image = "uninformative_one_voxel_mask"
    report = verify(subject(folder, tmp_path, image, "uninformative_empty_mask"), verbose=False)
    assert report.ok
    assert "the segmentation holds background only" in [p.message for p in report.problems]
    (tmp_path / "b").mkdir()
    data_io = subject(folder, tmp_path / "b", image, image)
    assert verify(data_io, verbose=False).problems == ()
    assert inspect(data_io, verbose=False).subjects[0].voxels == {0: 511, 1: 1}
