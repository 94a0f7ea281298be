"""Stacks of slices: which form a regular grid, where it lies, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from scipy.spatial.transform import Rotation

from miscnn.data_loading.dicom.series import Series, find_series, read
from miscnn.exceptions import ConfigurationError, GridMismatchError, UnreadableFileError

from .dicom_series import write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def ramp(shape: tuple[int, int, int], affine: NDArray, direction: tuple[int, int, int]) -> NDArray:
    """A linear function of the place in the patient, which linear interpolation keeps."""
    i = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = i @ affine[:3, :3].T + affine[:3, 3]
    return np.rint(places @ np.asarray(direction)).astype(np.int16)


def oblique(seed: int) -> NDArray:
    affine = LPS.copy()
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (-101.3, 55.7, 12.1)
    return affine


def sitk_affine(files: list[Path]) -> tuple[NDArray, NDArray]:
    """Affine (RAS+) and voxels as SimpleITK's series reader finds them."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent))
    image = SimpleITK.ReadImage(names)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_RAS @ affine, SimpleITK.GetArrayFromImage(image).T


@pytest.mark.parametrize("seed", range(6))
def test_oblique_grids_lie_where_simpleitk_puts_them(
    tmp_path: Path, seed: int, rng: np.random.Generator
) -> None:
    array = rng.integers(-1000, 1000, (9, 7, 5)).astype(np.int16)
    files = write_series(tmp_path, array, oblique(seed), RescaleIntercept=-5)
    volume = only(tmp_path).open()
    affine, voxels = sitk_affine(files)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(read(volume), voxels)
    np.testing.assert_allclose(volume.affine, oblique(seed), atol=1e-5)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        *(f"sarcoma_dicom/{s}/{m}/image" for s in ("STS_001", "STS_003") for m in ("CT", "MR_T1")),
        "sarcoma_dicom/STS_001/PET/image",
        "torso_dicom_example",
        "dicom_seg/ct-3slice",
        "dicom_seg/23x38x3/image",
        "dicom_seg/24x38x3/image",
    ],
)
def test_real_series_lie_where_simpleitk_puts_them(real_data: Path, name: str) -> None:
    volume = only(real_data / name).open()
    affine, voxels = sitk_affine([volume.frames[0].path])
    corner = np.array([*(n - 1 for n in volume.shape), 1.0])
    np.testing.assert_allclose(volume.affine @ corner, affine @ corner, atol=1e-4)
    np.testing.assert_allclose(volume.affine[:3, 3], affine[:3, 3], atol=1e-4)
    np.testing.assert_allclose(read(volume), voxels, rtol=1e-6)


def test_missing_slices_are_refused_with_numbers(tmp_path: Path) -> None:
    files = write_series(tmp_path, np.zeros((3, 4, 8), np.int16), LPS)
    files[3].unlink()
    files[4].unlink()
    wanted = r"2 slices are missing: 2\.5 mm is usual.*5\.00 and 12\.50 mm.*after \S+/0002\.dcm"
    with pytest.raises(GridMismatchError, match=wanted):
        only(tmp_path).open()


def test_missing_slices_are_interpolated_when_asked(tmp_path: Path) -> None:
    array = ramp((3, 4, 8), LPS, (10, 20, 40))
    files = write_series(tmp_path, array, LPS)
    files[3].unlink()
    files[4].unlink()
    volume = only(tmp_path).open(irregular="resample")
    assert volume.shape == (3, 4, 8)
    assert len(volume.frames) == 6
    np.testing.assert_allclose(volume.affine, LPS, atol=1e-9)
    np.testing.assert_allclose(read(volume), array, atol=1e-3)
    assert "resampled" in volume.remarks[0]


def test_uneven_slices(tmp_path: Path) -> None:
    heights = np.array([0.0, 2.5, 5.0, 6.2, 10.0])
    array = np.zeros((2, 3, 5), np.int16) + np.rint(heights * 100).astype(np.int16)
    write_series(
        tmp_path,
        array,
        LPS,
        ImagePositionPatient=lambda k: [0, 0, heights[k]],
    )
    with pytest.raises(GridMismatchError, match=r"unevenly spaced.*5\.00 and 6\.20 mm \(1\.20"):
        only(tmp_path).open()
    volume = only(tmp_path).open("resample")
    assert volume.shape == (2, 3, 5)
    np.testing.assert_allclose(read(volume)[0, 0], [0, 250, 500, 750, 1000], atol=1e-3)


@pytest.mark.parametrize(("noise", "allowed"), [(0.02, True), (0.04, False)])
def test_rounded_positions_are_regular(tmp_path: Path, noise: float, allowed: bool) -> None:
    heights = np.arange(6) * 2.5 + np.array([0, 0, noise, 0, 0, 0])
    write_series(
        tmp_path,
        np.zeros((2, 3, 6), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [0, 0, heights[k]],
    )
    if allowed:
        assert only(tmp_path).open().affine[2, 2] == pytest.approx(2.5)
    else:
        with pytest.raises(GridMismatchError, match="unevenly"):
            only(tmp_path).open()


def test_slices_at_one_position_are_refused(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        np.zeros((2, 3, 5), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [0, 0, (0, 1, 2, 2, 3)[k] * 2.5],
    )
    wanted = r"1 slices lie where.*5\.00 mm \(\S+/0002\.dcm and \S+/0003\.dcm\)"
    with pytest.raises(GridMismatchError, match=wanted):
        only(tmp_path).open()
    with pytest.raises(GridMismatchError, match="different slices at one position"):
        only(tmp_path).open("resample")


@pytest.mark.parametrize("sign", [1, -1])
def test_gantry_tilt(tmp_path: Path, sign: int) -> None:
    shape = (8, 30, 6)
    tilted = np.diag([-1.0, -1.0, 3.0, 1.0])
    tilted[1, 2] = -sign * 3 * np.tan(np.radians(20))
    array = ramp(shape, tilted, (50, 30, 70))
    write_series(tmp_path, array, tilted)
    with pytest.raises(GridMismatchError, match=r"gantry was tilted.*20° off the normal"):
        only(tmp_path).open()
    volume = only(tmp_path).open("resample")
    voxels = read(volume)
    step = volume.affine[:3, :3]
    np.testing.assert_allclose(step.T @ step, np.diag([1.0, 1.0, 9.0]), atol=1e-9)
    expected = ramp(volume.shape, volume.affine, (50, 30, 70))
    shift = 5 * 3 * np.tan(np.radians(20))  # of the last slice, in voxels
    assert volume.shape == (8, 30 + int(np.ceil(shift)), 6)
    inside = np.zeros(volume.shape, bool)
    for k in range(6):  # what was measured
        first = sign * shift * k / 5 + (0 if sign > 0 else np.ceil(shift))
        inside[:, int(np.ceil(first)) : int(np.floor(first)) + 30, k] = True
    inside[:, 0] &= False
    inside[:, -1] &= False
    assert np.abs(voxels - expected)[inside].max() <= 1.01  # the ramp's rounding
    assert voxels[:, -1, 0].max() == array.min() if sign > 0 else True


def test_a_slice_that_is_shifted_sideways(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        np.zeros((4, 4, 5), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [3.0 * (k == 2), 0, 2.5 * k],
    )
    with pytest.raises(GridMismatchError, match=r"shifted sideways by up to 3 mm.*0002\.dcm"):
        only(tmp_path).open()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"PixelSpacing": lambda k: [0.9, 0.8 + 0.1 * (k == 3)]}, "pixel spacings.*0003"),
        (
            {
                "ImageOrientationPatient": lambda k: [
                    1,
                    0.003 * (k == 3),
                    0,
                    -0.003 * (k == 3),
                    1,
                    0,
                ]
            },
            "orientations.*0003",
        ),
    ],
)
def test_slices_that_differ(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    write_series(tmp_path, np.zeros((4, 5, 6), np.int16), LPS, **values)
    with pytest.raises(GridMismatchError, match=message):
        only(tmp_path).open()
    with pytest.raises(GridMismatchError, match=message):
        only(tmp_path).open("resample")


def test_slices_of_another_size(tmp_path: Path) -> None:
    (file,) = write_series(tmp_path / "odd", np.zeros((6, 5, 1), np.int16), LPS)
    uid = pydicom.dcmread(file).SeriesInstanceUID
    study = pydicom.dcmread(file).StudyInstanceUID
    frame = pydicom.dcmread(file).FrameOfReferenceUID
    moved = LPS.copy()
    moved[2, 3] = 2.5
    write_series(
        tmp_path / "rest",
        np.zeros((4, 5, 3), np.int16),
        moved,
        SeriesInstanceUID=uid,
        StudyInstanceUID=study,
        FrameOfReferenceUID=frame,
    )
    with pytest.raises(GridMismatchError, match=r"sizes: 4 5 \(3 of 4.*6 5 \(1 of 4"):
        only(tmp_path).open()


@pytest.mark.parametrize(
    ("values", "spacing"),
    [
        ({"SliceThickness": 4}, 4),
        ({"SliceThickness": 4, "SpacingBetweenSlices": 5}, 5),
        ({"SliceThickness": None}, 1),
    ],
)
def test_one_slice(tmp_path: Path, values: dict[str, Any], spacing: float) -> None:
    write_series(tmp_path, np.zeros((4, 5, 1), np.int16), LPS, **values)
    volume = only(tmp_path).open()
    np.testing.assert_allclose(volume.affine, np.diag([-0.8, -0.9, spacing, 1]))
    assert bool(volume.remarks) == (spacing == 1)


def test_positions_that_would_make_a_huge_grid(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        np.zeros((4, 4, 4), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [0, 0, (0, 0.1, 0.2, 9e5)[k]],
    )
    with pytest.raises(GridMismatchError, match="positions in the headers must be wrong"):
        only(tmp_path).open("resample")


def test_an_unknown_way_out(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((4, 4, 4), np.int16), LPS)
    with pytest.raises(ConfigurationError, match="irregular"):
        only(tmp_path).open("guess")


@pytest.mark.parametrize("name", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime"])
def test_stacks_in_one_series_are_told_apart(tmp_path: Path, name: str) -> None:
    array = np.arange(2 * 3 * 8, dtype=np.int16).reshape(2, 3, 8)
    values: dict[str, Any] = {
        "AcquisitionNumber": 1,
        "ImagePositionPatient": lambda k: [0, 0, 2.5 * (k % 4)],
        # each slice has a number and a time of its own, which does not count
        "InstanceNumber": lambda k: k,
        "AcquisitionTime": lambda k: f"1000{(k * 5) % 8:02d}",
    }
    values[name] = lambda k: 10 + k // 4
    write_series(tmp_path, array, LPS, modality="MR", **values)
    stacks = find_series(tmp_path)
    assert [(s.stack, s.stacks) for s in stacks] == [(1, 2), (2, 2)]
    np.testing.assert_array_equal(read(stacks[0].open()), array[:, :, :4])
    np.testing.assert_array_equal(read(stacks[1].open()), array[:, :, 4:])


@pytest.mark.parametrize("name", ["TriggerTime", "AcquisitionTime"])
def test_time_points_are_told_apart_by_their_order(tmp_path: Path, name: str) -> None:
    array = np.arange(2 * 3 * 12, dtype=np.int16).reshape(2, 3, 12)
    # interleaved, every slice at a moment of its own
    place, phase = (lambda k: k % 4), (lambda k: k // 4)
    moment = {"AcquisitionTime": lambda k: f"10{phase(k):02d}{place(k):02d}"}
    if name == "TriggerTime":
        moment = {"TriggerTime": lambda k: 100.0 * phase(k) + place(k)}
    write_series(
        tmp_path,
        array,
        LPS,
        modality="MR",
        ImagePositionPatient=lambda k: [0, 0, 2.5 * place(k)],
        **moment,
    )
    stacks = find_series(tmp_path)
    assert [s.stack for s in stacks] == [1, 2, 3]
    for number, stack in enumerate(stacks):
        np.testing.assert_array_equal(read(stack.open()), array[:, :, 4 * number :][:, :, :4])


def test_two_marks_at_once(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 12, dtype=np.int16).reshape(2, 3, 12)
    write_series(
        tmp_path,
        array,
        LPS,
        modality="MR",
        ImagePositionPatient=lambda k: [0, 0, 2.5 * (k % 3)],
        AcquisitionNumber=lambda k: k // 6,
        EchoTime=lambda k: 30 + 10 * (k // 3 % 2),
    )
    stacks = find_series(tmp_path)
    assert [s.echo_time for s in stacks] == [30, 40, 30, 40]
    for number, stack in enumerate(stacks):
        np.testing.assert_array_equal(read(stack.open()), array[:, :, 3 * number :][:, :, :3])


def test_a_regular_stack_is_never_divided(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        np.zeros((2, 3, 6), np.int16),
        LPS,
        AcquisitionNumber=lambda k: k % 2,
        EchoTime=lambda k: k,
    )
    assert only(tmp_path).open().shape == (2, 3, 6)


def test_directions_and_scouts_are_told_apart(tmp_path: Path) -> None:
    turned = {4: [0, 1, 0, 0, 0, -1], 5: [1, 0, 0, 0, 0, -1]}
    write_series(
        tmp_path,
        np.zeros((3, 3, 6), np.int16),
        np.diag([-1.0, -1.0, 2.0, 1.0]),
        ImageOrientationPatient=lambda k: turned.get(k, [1, 0, 0, 0, 1, 0]),
        ImageType=lambda k: ["ORIGINAL", "PRIMARY", "LOCALIZER" if k == 0 else "AXIAL"],
    )
    stacks = find_series(tmp_path)
    assert sorted((s.plane, len(s.slices), s.is_scout) for s in stacks) == [
        ("axial", 1, True),
        ("axial", 3, False),
        ("coronal", 1, False),
        ("sagittal", 1, False),
    ]


def enhanced(folder: Path, array: NDArray, shared: bool, **values: Any) -> None:
    """Write an enhanced multi-frame object: frames in reverse, two time points."""
    (path,) = write_series(folder, array[:, :, :1], LPS, modality="MR")
    dataset = pydicom.dcmread(path)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(dataset, name)

    def item(**fields: Any) -> Dataset:
        found = Dataset()
        for name, value in fields.items():
            setattr(found, name, value)
        return found

    plane = {
        "PlaneOrientationSequence": [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        "PixelMeasuresSequence": [item(PixelSpacing=[0.9, 0.8], SliceThickness=2.5)],
    }
    count = array.shape[2]
    frames = []
    for k in range(count):
        frame = item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.5 * (count - 1 - k)])],
            PixelValueTransformationSequence=[
                item(RescaleSlope=k + 1, RescaleIntercept=-k, RescaleType="US")
            ],
            **({} if shared else plane),
        )
        frames.append(frame)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames = count
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.SharedFunctionalGroupsSequence = [item(**(plane if shared else {}))]
    dataset.PixelData = np.ascontiguousarray(array.T).astype("<i2").tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize("shared", [True, False])
def test_enhanced_multiframe(tmp_path: Path, shared: bool) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    enhanced(tmp_path, array, shared)
    volume = only(tmp_path).open()
    scaled = array.astype(int) * [1, 2, 3, 4] - [0, 1, 2, 3]
    np.testing.assert_array_equal(read(volume), scaled[:, :, ::-1])
    np.testing.assert_allclose(volume.affine, LPS, atol=1e-12)
    assert [frame.frame for frame in volume.frames] == [3, 2, 1, 0]


def test_multiframe_with_a_wrong_count_is_refused(tmp_path: Path) -> None:
    enhanced(tmp_path, np.zeros((2, 3, 4), np.int16), True, NumberOfFrames=5)
    with pytest.raises(UnreadableFileError, match=r"NumberOfFrames is 5.*tell of 4"):
        find_series(tmp_path)
