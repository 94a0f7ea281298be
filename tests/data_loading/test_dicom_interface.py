"""DICOM folders as subjects: which image, which segmentation, predictions and back."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from miscnn._configurable import deserialize, json_values, serialize
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.dicom.write_structures import write_structures
from miscnn.data_loading.interfaces.dicom import DICOM_interface, DICOMInterface
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
    UnreadableFileError,
)

from .dicom_annotations import made_elsewhere
from .dicom_series import PATIENT, PATIENT_ID, write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])
NAMES = ["background", "tumour", "organ"]


@pytest.fixture
def array(rng: np.random.Generator) -> NDArray[np.int16]:
    return rng.integers(-1000, 2000, (12, 10, 4)).astype(np.int16)


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    labels = np.zeros((12, 10, 4), np.uint8)
    labels[2:6, 2:7, 1:3] = 1
    labels[7:11, 3:8, 2:4] = 2
    return labels


def make(data: Path, index: str, array: NDArray, labels: NDArray | None = None, **kw: Any) -> None:
    write_series(data / index / "scan", array, LPS, **kw)
    if labels is not None:
        (series,) = find_series(data / index / "scan")
        path = data / index / "marks" / "a.dcm"
        path.parent.mkdir()
        write_segments(path, labels, series.open(), NAMES)
        made_elsewhere(path)


def test_a_folder_a_subject(tmp_path: Path, array: NDArray, labels: NDArray) -> None:
    make(tmp_path, "case_10", array, labels)
    make(tmp_path, "case_2", array + 1)
    (tmp_path / "notes").mkdir()
    interface = DICOMInterface(classes=3)
    assert interface.initialize(tmp_path) == ["case_2", "case_10"]
    image, details = interface.load_image("case_10")
    np.testing.assert_array_equal(image, array)
    np.testing.assert_allclose(details["affine"], LPS, atol=1e-12)
    np.testing.assert_allclose(details["spacing"], (0.8, 0.9, 2.5))
    np.testing.assert_array_equal(interface.load_segmentation("case_10"), labels)
    assert interface.get_ROI_names("case_10") == ["tumour", "organ"]
    assert [interface.has_segmentation(i) for i in ("case_10", "case_2")] == [True, False]
    assert interface.load_geometry("case_2").shape == (12, 10, 4)
    names = [path.name for path in interface.source_files("case_10")]
    assert names == [f"{k:04d}.dcm" for k in range(4)] + ["a.dcm"]
    with pytest.raises(MissingFileError, match="no RTSTRUCT or DICOM-SEG refers"):
        interface.load_segmentation("case_2")
    with pytest.raises(MissingFileError, match="no folder case_3"):
        interface.load_image("case_3")
    assert DICOMInterface(pattern="case_1.*").initialize(tmp_path) == ["case_10"]


def test_changes_of_files_are_seen(tmp_path: Path, array: NDArray) -> None:
    make(tmp_path, "a", array)
    interface = DICOMInterface()
    interface.initialize(tmp_path)
    assert interface.load_geometry("a").shape == (12, 10, 4)
    interface.source_files("a")[3].unlink()
    assert interface.load_geometry("a").shape == (12, 10, 3)


def test_arguments_of_1x(tmp_path: Path, array: NDArray, labels: NDArray) -> None:
    make(tmp_path, "a", array, labels)
    interface = DICOM_interface(1, 8, True, 5, {"TUMOUR": 7}, "marks")
    interface.initialize(tmp_path)
    np.testing.assert_array_equal(interface.load_segmentation("a"), np.where(labels == 1, 7, 5))
    assert DICOM_interface.check_file_termination(".dcm")
    assert not DICOM_interface.check_file_termination(".nii")


def test_configuration_is_json() -> None:
    interface = DICOMInterface(
        channels=2, series=["CT", {"modality": "PT", "number": [3, 4]}], structure_dict={"GTV*": 1}
    )
    document = json.loads(json.dumps(serialize(interface)))
    assert serialize(deserialize(document)) == document


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"series": {"colour": 1}}, "colour cannot be asked for"),
        ({"series": 1.5}, r"series=1\.5"),
        ({"channels": 2}, "series names 1 series"),
        ({"irregular": "x"}, "irregular is 'x'"),
        ({"overlap": "x"}, "overlap is 'x'"),
        ({"output": "x"}, "output is 'x'"),
        ({"pattern": "("}, "no regular expression"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DICOMInterface(**arguments)


@pytest.fixture
def mixed(tmp_path: Path, array: NDArray) -> Path:
    """One patient with a CT, a PET on the same grid, an MR and a scout."""
    folder = tmp_path / "data" / "p"
    write_series(folder / "ct", array, LPS, SeriesNumber=2, SeriesDescription="Thorax C+")
    write_series(folder / "pet", array + 1, LPS, modality="PT", SeriesNumber=3)
    smaller = LPS @ np.diag([1, 1, 2, 1])
    write_series(folder / "mr", array[:, :, :2], smaller, modality="MR", SeriesNumber=4)
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(folder / "scout", array[:, :, :1], LPS, SeriesNumber=1, ImageType=scout)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("series", "plus"),
    [
        ("CT", 0),
        ("ct", 0),
        ("thorax", 0),
        (3, 1),
        ({"modality": "pt"}, 1),
        ({"number": [3, 7]}, 1),
        ({"slices": 4, "folder": "p/ct"}, 0),
        (["PT"], 1),
    ],
)
def test_series_is_chosen(mixed: Path, array: NDArray, series: Any, plus: int) -> None:
    interface = DICOMInterface(series=series)
    interface.initialize(mixed)
    np.testing.assert_array_equal(interface.load_image("p")[0], array + plus)


@pytest.mark.parametrize("series", [None, {"plane": "axial"}, 9, "nothing"])
def test_series_is_refused_with_the_list(mixed: Path, series: Any) -> None:
    interface = DICOMInterface(series=series)
    interface.initialize(mixed)
    with pytest.raises(SampleError) as caught:
        interface.load_image("p")
    text = str(caught.value)
    assert "number 2, CT, 4 axial slices in 4 files, shape 12 x 10 x 4, spacing" in text
    assert "number 4, MR, 2 axial" in text
    assert "number 1, CT, 1 scout" in text
    assert ("3 of 4" if series in (None, {"plane": "axial"}) else "none of 4") in text
    assert "Thorax" not in text


def test_a_scout_beside_the_image_does_not_matter(tmp_path: Path, array: NDArray) -> None:
    make(tmp_path, "a", array)
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(tmp_path / "a" / "s", array[:, :, :1], LPS, ImageType=scout)
    interface = DICOMInterface()
    interface.initialize(tmp_path)
    np.testing.assert_array_equal(interface.load_image("a")[0], array)


def test_channels_from_series_on_one_grid(mixed: Path, array: NDArray) -> None:
    interface = DICOMInterface(channels=2, series=["PT", "CT"])
    interface.initialize(mixed)
    np.testing.assert_array_equal(interface.load_image("p")[0], np.stack([array + 1, array], -1))
    interface = DICOMInterface(channels=2, series=["CT", "MR"])
    interface.initialize(mixed)
    with pytest.raises(GridMismatchError, match=r"channel 2 \(MR\).*channel 1 \(CT\)"):
        interface.load_image("p")


def test_files_in_the_data_folder_itself(tmp_path: Path, array: NDArray) -> None:
    write_series(tmp_path / "inbox", array, LPS)
    interface = DICOMInterface()
    assert interface.initialize(tmp_path / "inbox") == ["inbox"]
    np.testing.assert_array_equal(interface.load_image("inbox")[0], array)


def test_patients_mixed_in_one_folder_are_told_apart(tmp_path: Path, array: NDArray) -> None:
    data = tmp_path / "inbox"
    data.mkdir()
    for n in range(2):
        for path in write_series(tmp_path / str(n), array + n, LPS, PatientID=f"secret{n}"):
            path.rename(data / f"{n}{path.name}")
    interface = DICOMInterface()
    found = interface.initialize(data)
    assert len(found) == 2
    assert all(index.startswith("inbox-") and len(index) == 14 for index in found)
    lows = sorted(int((interface.load_image(i)[0] - array).max()) for i in found)
    assert lows == [0, 1]
    with pytest.raises(SampleError, match="2 patients or studies lie in one folder"):
        interface.load_image("inbox")


def test_several_segmentations_need_a_tag(tmp_path: Path, array: NDArray, labels: NDArray) -> None:
    make(tmp_path, "a", array, labels)
    (series,) = find_series(tmp_path / "a" / "scan")
    (tmp_path / "a" / "other").mkdir()
    other = (labels == 2).astype(np.uint8)
    write_structures(tmp_path / "a" / "other" / "b", other, series.open(), ["background", "liver"])
    made_elsewhere(tmp_path / "a" / "other" / "b")
    interface = DICOMInterface(classes=3)
    interface.initialize(tmp_path)
    with pytest.raises(SampleError, match=r"marks/a\.dcm \(SEG\), other/b|other/b.*marks/a\.dcm"):
        interface.load_segmentation("a")
    for arguments, wanted in (
        ({"annotation_tag": "OTHER"}, other),
        ({"structure_dict": {"Liver": 1}}, other),
        ({"structure_dict": {"organ": 2, "tumour": 1}}, labels),
    ):
        interface = DICOMInterface(classes=3, **arguments)
        interface.initialize(tmp_path)
        np.testing.assert_array_equal(interface.load_segmentation("a"), wanted)


def test_segmentations_of_another_series_are_left_alone(
    tmp_path: Path, array: NDArray, labels: NDArray
) -> None:
    make(tmp_path, "a", array, labels)
    write_series(tmp_path / "a" / "mr", array, LPS, modality="MR")
    interface = DICOMInterface(classes=3, series="MR")
    interface.initialize(tmp_path)
    assert not interface.has_segmentation("a")


@pytest.mark.parametrize("output", ["dicom-seg", "rtstruct", "nifti"])
@pytest.mark.parametrize("values", [None, [0, 100, 200]])
def test_predictions_come_back(
    tmp_path: Path, array: NDArray, labels: NDArray, output: str, values: Any
) -> None:
    make(tmp_path / "data", "a", array)
    interface = DICOMInterface(classes=3, output=output, label_values=values, class_names=NAMES)
    data_io = DataIO(interface, tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    only_last = np.where(labels == 1, 0, labels)  # class 1 was not found
    sample.add_prediction(only_last)
    path = data_io.save_prediction(sample)
    assert path == tmp_path / "out" / ("a.nii.gz" if output == "nifti" else "a.dcm")
    np.testing.assert_array_equal(data_io.load_prediction("a"), only_last)
    sample.details.pop("volume")  # as after preparation
    sample.add_prediction(labels)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels)
    if output == "nifti":
        image = nib.load(path)
        np.testing.assert_allclose(image.affine, LPS, atol=1e-6)
        stored = np.asarray(image.dataobj)
        assert set(np.unique(stored)) == set(values or (0, 1, 2))
        content = image.header.binaryblock
        assert not any(s.encode() in content for s in (PATIENT, PATIENT_ID))
    else:
        dataset = pydicom.dcmread(path)
        found = {
            "SEG": lambda: [s.SegmentLabel for s in dataset.SegmentSequence],
            "RTSTRUCT": lambda: [r.ROIName for r in dataset.StructureSetROISequence],
        }[dataset.Modality]()
        assert found == ["tumour", "organ"]


def test_probabilities_are_nifti(tmp_path: Path, array: NDArray, rng: np.random.Generator) -> None:
    make(tmp_path / "data", "a", array)
    data_io = DataIO(DICOMInterface(), tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    probabilities = rng.random((*array.shape, 2), dtype=np.float32)
    sample.add_prediction(probabilities, activation_output=True)
    assert data_io.save_prediction(sample) == tmp_path / "out" / "a.nii.gz"
    np.testing.assert_array_equal(data_io.load_prediction("a"), probabilities)


def test_prediction_of_another_shape_is_refused(tmp_path: Path, array: NDArray) -> None:
    make(tmp_path / "data", "a", array)
    data_io = DataIO(DICOMInterface(), tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    sample.add_prediction(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(GridMismatchError, match=r"shape \(3, 3, 3\)"):
        data_io.save_prediction(sample)
    with pytest.raises(MissingFileError, match="no prediction"):
        data_io.load_prediction("a")


def test_a_series_that_was_resampled(tmp_path: Path, array: NDArray, caplog: Any) -> None:
    make(tmp_path / "data", "a", array)
    (tmp_path / "data" / "a" / "scan" / "0001.dcm").unlink()
    data_io = DataIO(DICOMInterface(), tmp_path / "data", output_path=tmp_path / "out")
    with pytest.raises(GridMismatchError, match="1 slice is missing"):
        data_io.sample_loader("a", load_seg=False)
    interface = DICOMInterface(irregular="resample")
    data_io = DataIO(interface, tmp_path / "data", output_path=tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        sample = data_io.sample_loader("a", load_seg=False)
    assert "resampled to a regular grid of 4 slices" in caplog.text
    between = (array[:, :, 0].astype(float) + array[:, :, 2]) / 2
    np.testing.assert_allclose(sample.image[:, :, 1, 0], between)
    ((severity, check, text),) = interface.remarks("a", sample.details)
    assert (severity, check) == ("warning", "grid")
    assert "resampled" in text
    labels = (sample.image[..., 0] > 0).astype(np.uint8)
    sample.add_prediction(labels)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels)


def test_two_dimensions(tmp_path: Path, array: NDArray, labels: NDArray) -> None:
    make(tmp_path / "data", "a", array[:, :, 2:3], labels[:, :, 2:3])
    interface = DICOMInterface(classes=3, three_dim=False)
    data_io = DataIO(interface, tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.image[..., 0], array[:, :, 2])
    np.testing.assert_array_equal(sample.segmentation[..., 0], labels[:, :, 2])
    assert sample.geometry.spacing == pytest.approx((0.8, 0.9))
    sample.add_prediction(labels[:, :, 2])
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels[:, :, 2])


def test_a_volume_is_no_2d_image(tmp_path: Path, array: NDArray) -> None:
    make(tmp_path, "a", array)
    interface = DICOMInterface(three_dim=False)
    interface.initialize(tmp_path)
    with pytest.raises(SampleError, match="4 slices; set three_dim=True"):
        interface.load_image("a")


def test_verification_and_prepared_data_hold_no_patient(
    tmp_path: Path, array: NDArray, labels: NDArray, caplog: Any
) -> None:
    make(tmp_path / "data", "a", array, labels)
    make(tmp_path / "data", "broken", array)
    (tmp_path / "data" / "broken" / "scan" / "0002.dcm").unlink()
    (series,) = find_series(tmp_path / "data" / "a" / "scan")
    (tmp_path / "data" / "masks").mkdir()
    write_segments(tmp_path / "data" / "masks" / "m", labels, series.open(), NAMES)
    interface = DICOMInterface(classes=3)
    with caplog.at_level(logging.DEBUG):
        report = DataIO(interface, tmp_path / "data").verify()
        details = interface.load_image("a")[1]
    assert report.good == ("a",)
    assert report.bad == ("broken",)
    assert any(p.index == "masks" and "no image" in p.message for p in report.problems)
    shown = str(report) + report.to_json() + caplog.text + json.dumps(json_values(details))
    uid = pydicom.dcmread(series.files[0]).SeriesInstanceUID
    for secret in (PATIENT, "Mustermann", PATIENT_ID, "19640812", "20200102", uid):
        assert secret not in shown


@pytest.mark.parametrize("length", [140, 500, 900, 1200])
def test_a_broken_file_is_named(tmp_path: Path, array: NDArray, length: int) -> None:
    make(tmp_path, "a", array)
    path = tmp_path / "a" / "scan" / "0001.dcm"
    path.write_bytes(path.read_bytes()[:length])
    interface = DICOMInterface()
    assert interface.initialize(tmp_path) == ["a"]
    with pytest.raises(UnreadableFileError, match=r"0001\.dcm.*cut off"):
        interface.load_image("a")


def test_suv_is_an_argument(mixed: Path) -> None:
    interface = DICOMInterface(series="PT", suv=True)
    interface.initialize(mixed)
    with pytest.raises(UnreadableFileError, match="SUV cannot be computed: Units is missing"):
        interface.load_image("p")


@pytest.mark.realdata
@pytest.mark.parametrize("index", ["STS_001", "STS_003"])
def test_sarcoma_folders(real_data: Path, index: str) -> None:
    interface = DICOMInterface(series="CT", structure_dict={"GTV_Mass*": 1})
    assert interface.initialize(real_data / "sarcoma_dicom") == ["STS_001", "STS_003"]
    assert interface.get_ROI_names(index) == ["GTV_Mass_CT"]
    mask = interface.load_segmentation(index)
    label = np.asarray(nib.load(real_data / "sarcoma_ct" / "labels" / f"{index}.nii.gz").dataobj)
    both = np.count_nonzero(mask & (label > 0))
    assert 2 * both / (np.count_nonzero(mask) + np.count_nonzero(label)) >= 0.995
