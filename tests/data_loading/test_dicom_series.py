"""Image series: found whatever files are called, told apart, read as the numbers they mean."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from miscnn.data_loading.dicom.series import Series, find_series, read
from miscnn.exceptions import MissingFileError, UnreadableFileError

from .dicom_series import PATIENT, PATIENT_ID, write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])


@pytest.fixture
def array(rng: np.random.Generator) -> NDArray[np.int16]:
    return rng.integers(-1000, 2000, (5, 6, 4)).astype(np.int16)


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def change(path: Path, **values: Any) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def test_names_and_order_of_files_do_not_matter(tmp_path: Path, array: NDArray) -> None:
    paths = write_series(tmp_path / "flat", array, LPS, InstanceNumber=lambda k: (7 * k) % 4)
    deep = tmp_path / "tree"
    for k, path in enumerate(paths):
        target = deep / f"d{k % 2}" / f"{'zxab'[k]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (deep / "notes.txt").write_text("no image")
    (deep / "DICOMDIR").write_bytes(paths[0].read_bytes())
    (deep / ".hidden").write_bytes(paths[0].read_bytes())
    volume = only(deep).open()
    np.testing.assert_array_equal(read(volume), array)
    np.testing.assert_allclose(volume.affine, LPS, atol=1e-12)
    assert [frame.path.name for frame in volume.frames] == list("zxab")


def test_files_without_preamble_are_read(tmp_path: Path, array: NDArray) -> None:
    for path in write_series(tmp_path, array, LPS):
        dataset = pydicom.dcmread(path)
        bare = Dataset(dataset)
        bare.save_as(path, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read(only(tmp_path).open()), array)


def test_slices_in_reverse_are_sorted_along_the_normal(tmp_path: Path, array: NDArray) -> None:
    affine = LPS.copy()
    affine[:3, 2] *= -1
    affine[2, 3] = 100
    write_series(tmp_path, array, affine)
    volume = only(tmp_path).open()
    np.testing.assert_array_equal(read(volume), array[:, :, ::-1])
    np.testing.assert_allclose(volume.affine[2], [0, 0, 2.5, 100 - 3 * 2.5], atol=1e-9)


def test_rescaling_is_applied_slice_by_slice(tmp_path: Path, array: NDArray) -> None:
    write_series(
        tmp_path, array, LPS, RescaleSlope=lambda k: k + 1, RescaleIntercept=lambda k: -10 * k
    )
    voxels = read(only(tmp_path).open())
    assert voxels.dtype == np.int32  # 4 times an int16
    np.testing.assert_array_equal(voxels, array.astype(int) * [1, 2, 3, 4] - [0, 10, 20, 30])


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "dtype"),
    [
        (1, 0, 16, np.int16),
        (1, -1024, 12, np.int16),
        (1, -1024, 16, np.int32),
        (0.25, 0, 12, np.float32),
        (0.1, 1e6, 12, np.float64),  # float32 would not tell neighbours apart
    ],
)
def test_type_is_the_smallest_exact_one(
    tmp_path: Path, slope: float, intercept: float, bits: int, dtype: Any
) -> None:
    array = np.arange(-60, 60).reshape(5, 6, 4).astype(np.int16)
    write_series(
        tmp_path,
        array,
        LPS,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    voxels = read(only(tmp_path).open())
    assert voxels.dtype == dtype
    np.testing.assert_allclose(voxels, array * slope + intercept, rtol=1e-6)


def test_bits_beside_the_value_are_dropped(tmp_path: Path) -> None:
    array = np.array([0x7001, 0x0FFF, 0x0800, 5, 6, 7], dtype=np.int16).reshape(3, 2, 1)
    write_series(tmp_path, array, LPS, BitsStored=12, HighBit=11)
    voxels = read(only(tmp_path).open())
    np.testing.assert_array_equal(voxels.ravel(), [1, -1, -2048, 5, 6, 7])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_voxels_are_read(tmp_path: Path, array: NDArray, syntax: str) -> None:
    stored = array - array.min()
    for path in write_series(tmp_path, stored, LPS, PixelRepresentation=0):
        dataset = pydicom.dcmread(path)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        else:
            import io

            from PIL import Image

            stream = io.BytesIO()
            Image.fromarray(dataset.pixel_array.astype(np.uint16)).save(
                stream, "JPEG2000", irreversible=False, no_jp2=True
            )
            dataset.PixelData = encapsulate([stream.getvalue()])
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    np.testing.assert_array_equal(read(only(tmp_path).open()), stored)


def test_a_missing_decoder_is_named(
    tmp_path: Path, array: NDArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in write_series(tmp_path, array, LPS):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    kind = type(pydicom.pixels.get_decoder(RLELossless))
    monkeypatch.setattr(kind, "is_available", False)
    monkeypatch.setattr(kind, "missing_dependencies", ["pylibjpeg - requires pylibjpeg-rle"])
    with pytest.raises(UnreadableFileError, match=r"RLE Lossless.*missing: pylibjpeg - requires"):
        read(only(tmp_path).open())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"BitsAllocated": 1}, "BitsAllocated is 1"),
        ({"BitsStored": 17}, "BitsStored is 17"),
        ({"Columns": 30000, "Rows": 30000}, "claims 30000 x 30000"),
        ({"NumberOfFrames": 4}, "4 frames without functional groups"),
        ({"PixelData": None}, "no voxels"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no two directions"),
        ({"ImageOrientationPatient": [0] * 6}, "no two directions"),
        ({"ImagePositionPatient": [0, 0, 1e9]}, "farther than"),
        ({"Rows": 0}, "Rows and Columns are 0"),
    ],
)
def test_nonsense_is_refused_with_the_field(
    tmp_path: Path, array: NDArray, values: dict[str, Any], message: str
) -> None:
    for path in write_series(tmp_path, array, LPS):
        change(path, **values)
    with pytest.raises(UnreadableFileError, match=message) as caught:
        read(only(tmp_path).open())
    assert PATIENT not in str(caught.value)
    assert PATIENT_ID not in str(caught.value)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, array: NDArray) -> None:
    path = write_series(tmp_path, array, LPS)[2]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableFileError, match=r"0002\.dcm"):
        read(only(tmp_path).open())


def test_nothing_to_find(tmp_path: Path) -> None:
    assert find_series(tmp_path) == []
    with pytest.raises(MissingFileError, match="no folder"):
        find_series(tmp_path / "none")


def test_monochrome1_is_read_as_stored(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path, array, LPS, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read(only(tmp_path).open()), array)


def test_nothing_shown_names_the_patient(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path, array, LPS, SeriesDescription=f"for {PATIENT}")
    series = only(tmp_path)
    shown = repr(series) + series.describe() + repr(series.open())
    uid = pydicom.dcmread(series.files[0]).SeriesInstanceUID
    for secret in (PATIENT, PATIENT_ID, "1964", "2020", uid, "Mustermann"):
        assert secret not in shown
    assert series.describe() == (
        "number 1, CT, 4 axial slices in 4 files, shape 5 x 6 x 4, spacing 0.8 x 0.9 x 2.5 mm"
    )


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["STS_001", "STS_003"])
def test_sarcoma_equals_its_nifti(real_data: Path, name: str) -> None:
    volume = only(real_data / "sarcoma_dicom" / name / "CT" / "image").open()
    nifti = nib.load(real_data / "sarcoma_ct" / "images" / f"{name}.nii.gz")
    np.testing.assert_array_equal(read(volume), np.asarray(nifti.dataobj))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1)
    places = [nib.affines.apply_affine(a, corners.T) for a in (volume.affine, nifti.affine)]
    assert np.abs(places[0] - places[1]).max() < 1e-4


@pytest.mark.realdata
def test_torso_without_endings_and_uids(real_data: Path) -> None:
    series = only(real_data / "torso_dicom_example")
    volume = series.open()
    assert (volume.shape, read(volume).dtype) == ((512, 512, 20), np.int16)
    # the UIDs were blanked out in the header, not in the file meta information
    assert all(frame.sop_class_uid == pydicom.uid.CTImageStorage for frame in volume.frames)


@pytest.mark.realdata
def test_multiframe_equals_its_single_frames(real_data: Path) -> None:
    folder = real_data / "dicom_seg" / "23x38x3"
    single, multi = (only(folder / name).open() for name in ("image", "multiframe"))
    assert [frame.frame for frame in multi.frames] == [0, 1, 2]
    np.testing.assert_array_equal(read(single), read(multi))
    np.testing.assert_allclose(single.affine, multi.affine, atol=1e-6)
