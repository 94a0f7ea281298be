"""What is said of files before they are written is what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO
from miscnn.data_loading.formats.analyze_file import write_analyze
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import (
    ImageInterface,
    ITKInterface,
    NIfTIInterface,
    NIfTISliceInterface,
    NumPyInterface,
)
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.new_subjects import find_subjects
from miscnn.exceptions import ConfigurationError

SHAPE = (5, 4, 3)


def nifti(path: Path, shape: tuple[int, ...] = SHAPE, dtype: Any = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def make(kind: str, folder: Path) -> DataIO:
    """Return a data set of one subject, ``a``, in a format."""
    folder.mkdir(parents=True, exist_ok=True)
    plane = np.arange(20, dtype=np.uint8).reshape(5, 4)
    if kind in ("nii", "nii.gz"):
        nifti(folder / f"a.{kind}")
        return DataIO(NIfTIInterface(classes=3, image="*.nii.gz"), folder)
    if kind == "merged":
        nifti(folder / "a.nii")
        inner = NIfTIInterface(classes=3, image="*.nii.gz")
        return DataIO(MergedLabels(inner, ((0,), (1, 2))), folder)
    if kind == "slices":
        nifti(folder / "a.nii")
        return DataIO(NIfTISliceInterface(classes=3, image="*.nii.gz"), folder)
    if kind in ("npy", "npz"):
        save: Any = np.save if kind == "npy" else np.savez
        save(folder / f"a.{kind}", np.arange(60.0).reshape(SHAPE))
        return DataIO(NumPyInterface(classes=3, image=f"*.{kind}"), folder)
    if kind in ("png", "tif"):
        pil = pytest.importorskip("PIL.Image")
        pil.fromarray(plane).save(folder / f"a.{kind}")
        return DataIO(ImageInterface(classes=3, image=f"*.{kind}"), folder)
    if kind == "hdr":
        write_analyze(folder / "a.hdr", np.zeros(SHAPE, np.int16), (1.0, 2.0, 3.0))
        return DataIO(ITKInterface(classes=3, image="*.hdr"), folder)
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(folder / f"a.{kind}")
    )
    return DataIO(ITKInterface(classes=3, image=f"*.{kind}"), folder)


KINDS = ("nii", "nii.gz", "merged", "slices", "npy", "npz", "png", "tif", "nrrd", "mha", "mhd",
         "gipl", "hdr")  # fmt: skip


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_foretold(kind: str, gathered: bool, tmp_path: Path) -> None:
    data_io = make(kind, tmp_path / "in")
    if gathered:
        (file,) = {p for p in (tmp_path / "in").iterdir() if p.suffix not in (".raw", ".img")}
        data_io, _ = find_subjects([file], data_io)
    out, interface = tmp_path / "out", data_io.interface
    foretold: set[Path] = set()
    for index in data_io.indices_list:
        for name, labels in ((None, True), ("entropy", False), ("probabilities", False)):
            sample = data_io.sample_loader(index, load_seg=False)
            shape = sample.geometry.shape
            real = np.zeros(shape if name == "entropy" else (*shape, 3), np.float32)
            sample.prediction = np.ones(shape, np.uint8) if labels else real
            called = index if name is None else interface.named(index, name)
            files = interface.result_files(index, called, out, labels)
            foretold.update(files)
            assert data_io.save_prediction(sample, out, name) == files[0]
    data_io.complete_predictions(data_io.indices_list, out)
    written = {path for path in out.rglob("*") if path.is_file()}
    assert written <= foretold
    if kind != "slices":  # volumes of further results are put together by nobody
        assert written == foretold


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_the_image_are_told_from_its_segmentation(kind: str, tmp_path: Path) -> None:
    data_io = make(kind, tmp_path / "in")
    index = data_io.indices_list[0]
    files = data_io.interface.image_files(index)
    assert {path.name for path in files} == {path.name for path in (tmp_path / "in").iterdir()}


def test_the_own_segmentation_is_never_overwritten(tmp_path: Path) -> None:
    nifti(tmp_path / "images/a.nii.gz")
    expert = nifti(tmp_path / "labels/a.nii.gz", dtype=np.uint8)
    before = expert.read_bytes()
    interface = NIfTIInterface(1, 3, image="images/*.nii.gz", segmentation="labels/*.nii.gz")
    data_io = DataIO(interface, tmp_path)
    assert [p.name for p in interface.image_files("a")] == ["a.nii.gz"]
    for wrapped in (data_io, find_subjects(["a"], data_io)[0]):
        sample = wrapped.sample_loader("a", load_seg=False)
        sample.prediction = np.ones(SHAPE, np.uint8)
        with pytest.raises(ConfigurationError, match="would overwrite the segmentation"):
            wrapped.save_prediction(sample, tmp_path / "labels")
        with pytest.raises(ConfigurationError, match="would overwrite the image"):
            wrapped.save_prediction(sample, tmp_path / "images")
    assert expert.read_bytes() == before
    assert data_io.save_prediction(sample, tmp_path / "labels", "new") is not None


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 1, 3)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_pictures_with_their_channels_on_the_third_axis(
    shape: tuple[int, ...], ending: str, tmp_path: Path
) -> None:
    nifti(tmp_path / "in" / f"a{ending}", shape)
    interface = NIfTIInterface(3, 3, three_dim=False, image="*.nii.gz")
    data_io = DataIO(interface, tmp_path / "in", tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    assert sample.image.shape == (5, 4, 3)
    labels = np.arange(20, dtype=np.uint8).reshape(5, 4) % 3
    sample.prediction = labels
    path = data_io.save_prediction(sample)
    written = nib.load(path)
    assert written.shape == (5, 4, 1)
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], labels)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels)
    likely = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    sample.prediction = likely
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), likely)


def test_pictures_keep_two_axes(tmp_path: Path) -> None:
    nifti(tmp_path / "in/a.nii.gz", (5, 4))
    interface = NIfTIInterface(1, 3, three_dim=False, image="*.nii.gz")
    data_io = DataIO(interface, tmp_path / "in", tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    assert sample.geometry.shape == Geometry((5, 4)).shape
    sample.prediction = np.arange(20, dtype=np.uint8).reshape(5, 4) % 3
    assert nib.load(data_io.save_prediction(sample)).shape == (5, 4)
