"""Files beside the series that is meant: broken ones, pictures and copies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.dicom._selection import choose
from miscnn.data_loading.dicom.series import Series, find_series, read
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.exceptions import GridMismatchError, SampleError, UnreadableFileError

from .dicom_series import write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def array(rng: np.random.Generator) -> NDArray[np.int16]:
    return rng.integers(-1000, 2000, (5, 6, 4)).astype(np.int16)


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"NumberOfFrames": 2, "PixelData": b"\0" * 120, "Modality": "US"}, "2 frames without"),
        ({"Rows": 0, "Modality": "OT"}, "Rows and Columns are 0"),
    ],
)
def test_other_series_need_not_be_readable(
    tmp_path: Path, array: NDArray, values: dict[str, Any], reason: str
) -> None:
    write_series(tmp_path / "a" / "ct", array, LPS)
    write_series(tmp_path / "a" / "other", array[:, :, :1], LPS, SeriesNumber=9, **values)
    interface = DICOMInterface(series="CT")
    assert interface.initialize(tmp_path) == ["a"]
    image, details = interface.load_image("a")
    np.testing.assert_array_equal(image, array)
    ((severity, _, text),) = interface.remarks("a", details)
    assert severity == "warning"
    assert text.startswith("left out: other/0000.dcm cannot be read: ")
    assert reason in text
    with pytest.raises(SampleError, match=rf"none of 1 series fit for series='US'.*{reason}"):
        DICOMInterface.load_image(_initialized(tmp_path, series="US"), "a")


def _initialized(folder: Path, **options: Any) -> DICOMInterface:
    interface = DICOMInterface(**options)
    interface.initialize(folder)
    return interface


def test_broken_files_of_the_series_are_refused(tmp_path: Path, array: NDArray) -> None:
    paths = write_series(tmp_path / "ct", array, LPS)
    dataset = pydicom.dcmread(paths[3])
    dataset.Rows = 0
    dataset.save_as(paths[3])  # without it there is a regular volume
    series = only(tmp_path)
    assert len(series.slices) == 3
    with pytest.raises(UnreadableFileError, match=r"ct/0003\.dcm.*Rows and Columns are 0"):
        series.open()


@pytest.mark.parametrize(("folder", "refused"), [("ct", True), ("other", False)])
def test_broken_files_of_no_known_series_count_in_their_folder(
    tmp_path: Path, array: NDArray, folder: str, refused: bool
) -> None:
    paths = write_series(tmp_path / "ct", array, LPS)
    data = paths[3].read_bytes()
    paths[3].unlink()
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "cut").write_bytes(data[:600])
    series = only(tmp_path)
    if refused:
        with pytest.raises(UnreadableFileError, match=r"ct/cut.*cut off"):
            series.open()
    else:
        volume = series.open()
        np.testing.assert_array_equal(read(volume), array[:, :, :3])
        assert "other/cut" in volume.remarks[0]


def test_many_broken_files_are_counted(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path / "ct", array, LPS)
    write_series(tmp_path / "us", np.zeros((5, 6, 9), np.int16), LPS, Rows=0, Modality="US")
    remarks = only(tmp_path).open().remarks
    assert len(remarks) == 5
    assert remarks[-1] == "left out: 5 more files cannot be read"


def test_without_any_image_broken_files_are_refused(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path, array, LPS, Rows=0)
    with pytest.raises(UnreadableFileError, match="Rows and Columns are 0"):
        find_series(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PixelData": b"\0" * 90},
        {"ImagePositionPatient": None, "ImageOrientationPatient": None},
    ],
)
def test_pictures_do_not_compete_with_images(
    tmp_path: Path, array: NDArray, values: dict[str, Any]
) -> None:
    write_series(tmp_path / "dose", array[:, :, :1], LPS, SOPClassUID=SECONDARY_CAPTURE, **values)
    picture = only(tmp_path / "dose")
    assert picture.is_picture
    assert choose([picture], None, "a") is picture  # where there is nothing else
    write_series(tmp_path / "ct", array, LPS)
    for criteria in (None, "CT", {"modality": "CT"}):
        chosen = choose(find_series(tmp_path), criteria, "a")
        np.testing.assert_array_equal(read(chosen.open()), array)


@pytest.mark.parametrize("irregular", ["error", "resample"])
@pytest.mark.parametrize("names", [["0001.dcm"], None])
def test_copies_are_left_out(
    tmp_path: Path, array: NDArray, irregular: str, names: list[str] | None
) -> None:
    paths = write_series(tmp_path / "a", array, LPS)
    (tmp_path / "b").mkdir()
    for path in paths:
        if names is None or path.name in names:
            shutil.copy(path, tmp_path / "b" / path.name)
    volume = only(tmp_path).open(irregular)
    voxels = read(volume)
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels, array)
    assert volume.resampling is None
    (remark,) = volume.remarks
    assert f"{1 if names else 4} copies of slices are left out" in remark
    assert "b/0001.dcm of a/0001.dcm" in remark


def test_what_has_one_uid_at_two_places_is_no_copy(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path, array, LPS, SOPInstanceUID="1.2.3")
    volume = only(tmp_path).open()
    np.testing.assert_array_equal(read(volume), array)
    assert volume.remarks == ()


@pytest.mark.parametrize("known", [True, False])
def test_other_slices_at_one_position_are_no_copies(
    tmp_path: Path, array: NDArray, known: bool
) -> None:
    paths = write_series(
        tmp_path / "s", array, LPS, ImagePositionPatient=lambda k: [0, 0, 2.5 * min(k, 2)]
    )
    for path in paths if not known else ():
        dataset = pydicom.dcmread(path)
        del dataset.SOPInstanceUID
        del dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.save_as(path)
    with pytest.raises(GridMismatchError, match=r"s/0002\.dcm and s/0003\.dcm"):
        only(tmp_path).open()


def test_slices_of_one_acquisition_after_the_other_stay_together(tmp_path: Path) -> None:
    places = np.array([0, 1, 2, 3, 5, 6, 7, 8])
    array = np.broadcast_to(places * 10, (3, 4, 8)).astype(np.int16)
    write_series(
        tmp_path,
        array,
        LPS,
        ImagePositionPatient=lambda k: [0, 0, 2.5 * places[k]],
        AcquisitionNumber=lambda k: 1 + k // 4,
    )
    with pytest.raises(GridMismatchError, match=r"1 slice is missing.*7\.50 and 12\.50"):
        only(tmp_path).open()
    voxels = read(only(tmp_path).open("resample"))
    np.testing.assert_allclose(voxels[0, 0], np.arange(9) * 10, atol=1e-4)


def test_interleaved_acquisitions_are_told_apart(tmp_path: Path) -> None:
    places = np.array([0, 1, 2, 3, 0.4, 1.4, 2.4, 3.4])
    array = np.broadcast_to(np.arange(8), (3, 4, 8)).astype(np.int16)
    write_series(
        tmp_path,
        array,
        LPS,
        ImagePositionPatient=lambda k: [0, 0, 2.5 * places[k]],
        AcquisitionNumber=lambda k: 1 + k // 4,
    )
    stacks = find_series(tmp_path)
    assert [stack.stacks for stack in stacks] == [2, 2]
    np.testing.assert_array_equal(read(stacks[1].open())[0, 0], [4, 5, 6, 7])


def test_times_are_not_shown(tmp_path: Path, array: NDArray) -> None:
    write_series(
        tmp_path, array, LPS, AcquisitionDate="20190304", AcquisitionTime="121314", StudyID="x"
    )
    shown = repr(only(tmp_path).slices[0].marks)
    assert "20190304" not in shown
    assert "121314" not in shown


def test_volumes_can_be_compared(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path, array, LPS)
    series = only(tmp_path)
    one, other = series.open(), series.open()
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_headers_of_a_subject_without_a_folder_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miscnn.data_loading.dicom import _subjects

    files = write_series(tmp_path, np.zeros((4, 5, 6), np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    interface = DICOMInterface()
    (index,) = interface.initialize(tmp_path)
    read, original = [], _subjects.read_headers

    def counted(paths: Any, name: str) -> Any:
        read.append(len(paths))
        return original(paths, name)

    monkeypatch.setattr(_subjects, "read_headers", counted)
    assert interface.load_image(index)[0].shape == (4, 5, 6)
    before = sum(read)
    for _ in range(3):
        interface.load_geometry(index)
        interface.has_segmentation(index)
    assert (before, sum(read)) == (12, 12)  # whose they are, and what they say
    files[-1].unlink()  # which is seen
    assert interface.load_geometry(index).shape == (4, 5, 5)
