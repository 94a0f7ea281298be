"""The interface that the examples have for CHAOS, on a folder laid out like it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.exceptions import GridMismatchError, MissingFileError

pytest.importorskip("pydicom")


def load_example():
    path = Path(__file__).parents[1] / "examples" / "chaos.py"
    spec = importlib.util.spec_from_file_location("example_chaos", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chaos = load_example()


@pytest.fixture
def folder(real_data: Path, tmp_path: Path) -> Path:
    """Slices of a real CT, named from the top down, with the slice's number in its mask."""
    import pydicom

    source = sorted((real_data / "sarcoma_dicom" / "STS_001" / "CT" / "image").glob("*.dcm"))
    patient = tmp_path / "data" / "Train_Sets" / "CT" / "7"
    (patient / "DICOM_anon").mkdir(parents=True)
    (patient / "Ground").mkdir()
    slices = [(float(pydicom.dcmread(p).ImagePositionPatient[2]), p) for p in source]
    (cropped,) = (real_data / "sarcoma_ct" / "images").glob("STS_001*")
    crop = nib.load(cropped)
    middle = (crop.affine @ [0, 0, crop.shape[2] / 2, 1])[2]
    nearest = sorted(slices, key=lambda item: abs(item[0] - middle))[:8]
    for number, (_, path) in enumerate(sorted(nearest, reverse=True)):
        shutil.copy(path, patient / "DICOM_anon" / f"i{number:04d},0000b.dcm")
        mask = np.zeros(pydicom.dcmread(path).pixel_array.shape, np.uint8)
        mask[number, 3] = 255  # row, column
        iio.imwrite(patient / "Ground" / f"liver_GT_{number:03d}.png", mask)
    other = tmp_path / "data" / "Train_Sets" / "MR" / "7" / "T2SPIR" / "DICOM_anon"
    other.mkdir(parents=True)
    mr = next((real_data / "sarcoma_dicom" / "STS_001" / "MR_T1" / "image").glob("*.dcm"))
    shutil.copy(mr, other / "IMG-0001.dcm")
    return tmp_path / "data"


@pytest.mark.realdata
def test_a_patient_lies_where_the_nifti_of_the_same_scan_lies(
    folder: Path, real_data: Path
) -> None:
    assert chaos.is_chaos(folder)
    assert not chaos.is_chaos(folder / "Train_Sets" / "MR")
    data_io = miscnn.DataIO(chaos.CHAOSInterface(), folder)
    assert data_io.get_indiceslist() == ["7"]
    sample = data_io.sample_loader("7", load_seg=True)
    (path,) = (real_data / "sarcoma_ct" / "images").glob("STS_001*")
    whole = nib.load(path)
    values = np.asarray(whole.dataobj)
    # The NIfTI file is a crop on the same grid: compare voxel by voxel at points in mm.
    corner = np.linalg.inv(whole.affine) @ sample.geometry.affine
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(500):
        inside = [int(rng.integers(n)) for n in values.shape]
        there = np.linalg.inv(corner) @ [*inside, 1]
        place = tuple(round(c) for c in there[:3])
        np.testing.assert_allclose(there[:3], place, atol=0.02)
        if all(0 <= p < n for p, n in zip(place, sample.geometry.shape, strict=True)):
            assert sample.image[(*place, 0)] == values[tuple(inside)]
            compared += 1
    assert compared > 20
    assert data_io.geometry("7") == sample.geometry
    marked = np.argwhere(sample.segmentation[..., 0])
    # The first mask belongs to the first name, which is the highest slice.
    np.testing.assert_array_equal(
        marked[np.argsort(-marked[:, 2])], [[3, k, 7 - k] for k in range(8)]
    )


@pytest.mark.realdata
def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "Train_Sets" / "CT" / "7" / "Ground" / "liver_GT_003.png").unlink()
    data_io = miscnn.DataIO(chaos.CHAOSInterface(), folder)
    with pytest.raises(GridMismatchError, match="8 slices and 7 masks"):
        data_io.sample_loader("7", load_seg=True)
    (folder / "Train_Sets" / "CT" / "7" / "DICOM_anon" / "i0004,0000b.dcm").unlink()
    with pytest.raises(GridMismatchError, match="evenly"):
        data_io.geometry("7")
    with pytest.raises(MissingFileError):
        chaos.CHAOSInterface().initialize(tmp_path / "data" / "nothing")


@pytest.mark.realdata
def test_predictions_are_written_onto_the_grid_of_the_slices(folder: Path, tmp_path: Path) -> None:
    data_io = miscnn.DataIO(chaos.CHAOSInterface(), folder)
    sample = data_io.sample_loader("7", load_seg=True)
    sample.add_prediction(sample.segmentation[..., 0])
    path = data_io.interface.save_prediction(sample, tmp_path / "out")
    np.testing.assert_allclose(nib.load(path).affine, sample.geometry.affine, atol=1e-4)
    back = data_io.interface.load_prediction("7", tmp_path / "out")
    np.testing.assert_array_equal(back, sample.segmentation[..., 0])
