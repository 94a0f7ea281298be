"""What a DICOM interface is asked for: checked at once, and done as it was said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.dicom.write_structures import write_structures
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.exceptions import ConfigurationError, LabelError, MissingFileError, SampleError

from .dicom_annotations import made_elsewhere
from .dicom_series import write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])
SHAPE = (12, 10, 4)


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:7, 1:3] = 1
    labels[7:11, 3:8, 2:4] = 2
    return labels


def make(
    data: Path, index: str, labels: NDArray[Any] | None = None, names: Any = None, **kw: Any
) -> None:
    write_series(data / index / "scan", np.zeros(SHAPE, np.int16), LPS, **kw)
    if labels is not None:
        (series,) = find_series(data / index / "scan")
        write_segments(data / index / "truth", labels, series.open(), names)
        made_elsewhere(data / index / "truth")


def opened(data: Path, **arguments: Any) -> DICOMInterface:
    interface = DICOMInterface(**arguments)
    interface.initialize(data)
    return interface


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"structure_dict": ["a"]}, r"structure_dict is \['a'\]; expected a mapping"),
        ({"structure_dict": {"a": 1.5}}, "structure_dict has 'a': 1.5"),
        ({"structure_dict": {"a": -1}}, "structure_dict has 'a': -1"),
        ({"structure_dict": {"a": True}}, "structure_dict has 'a': True"),
        ({"structure_dict": {"a": 2}}, r"'a': 2, but with classes=2 labels are 1 … 1"),
        ({"structure_dict": {"a": 1}, "label_values": [0, 7]}, "those of label_values"),
        ({"annotation_tag": ""}, "annotation_tag is ''"),
        ({"annotation_tag": 3}, "annotation_tag is 3"),
        ({"suv": "yes"}, "suv is 'yes'"),
        ({"missing_structures": "no"}, "missing_structures is 'no'"),
        ({"mask_background": 1.5}, "mask_background is 1.5"),
        ({"mask_background": True}, "mask_background is True"),
        ({"mask_background": 2**40}, "mask_background is 1099511627776"),
        ({"mask_background": 1}, "mask_background=1 is the label of a structure"),
        (
            {"mask_background": 7, "structure_dict": {"a": 7}, "label_values": [0, 7]},
            "mask_background=7 is the label of a structure",
        ),
        ({"class_names": ["a", "b\\c"]}, "class_names: the class name .* backslash"),
        ({"class_names": ["a", "x" * 65]}, "class_names: the class name .* 64 characters"),
        ({"class_names": ["a", "b", "b "], "classes": 3}, "class_names: .*not all different"),
        ({"class_names": ["a", " "]}, "class_names: the class name"),
        ({"structure_dict": {"x" * 65: 1}}, "structure_dict: the class name"),
        ({"classes": 1}, "classes=1 leaves nothing to write"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DICOMInterface(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"class_names": ["a", "b\\c"], "output": "nifti"},
        {"classes": 1, "output": "nifti"},
        {"structure_dict": {"a": 7, "b": 0}, "label_values": [0, 7]},
        {"structure_dict": {"a": 1, "b": 255}, "ignore_label": 255},
        {"mask_background": 1, "structure_dict": {"a": 2}, "classes": 3},
    ],
)
def test_right_arguments(arguments: dict[str, Any]) -> None:
    DICOMInterface(**arguments)


@pytest.mark.parametrize(
    ("background", "dtype"), [(-1, np.int16), (300, np.uint16), (9, np.uint8), (-40000, np.int32)]
)
def test_background_of_any_value(
    tmp_path: Path, labels: NDArray[Any], background: int, dtype: Any
) -> None:
    make(tmp_path, "a", labels)
    interface = opened(tmp_path, classes=3, mask_background=background)
    found = interface.load_segmentation("a")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.where(labels == 0, background, labels.astype(int)))


def test_background_is_told_from_structures_of_the_file(
    tmp_path: Path, labels: NDArray[Any]
) -> None:
    make(tmp_path, "a", labels)
    interface = opened(tmp_path, classes=2, mask_background=2)  # the file has a segment 2
    with pytest.raises(LabelError, match="mask_background=2 is the label of a structure"):
        interface.load_segmentation("a")


def test_organs_that_not_everybody_has(
    tmp_path: Path, labels: NDArray[Any], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "both", labels, ["background", "GTV", "Lung left"])
    make(tmp_path, "one", np.where(labels == 1, labels, 0), ["background", "GTV"])
    make(tmp_path, "none", np.where(labels == 1, labels, 0), ["background", "Heart"])
    asked: dict[str, Any] = {"classes": 3, "structure_dict": {"GTV": 1, "Lung*": 2, "Heart": 0}}
    strict = opened(tmp_path, **asked)
    with pytest.raises(LabelError, match=r"structures names 'Lung\*', 'Heart', but"):
        strict.load_segmentation("one")
    mild = opened(tmp_path, **asked, missing_structures="background")
    np.testing.assert_array_equal(mild.load_segmentation("both"), labels)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = mild.load_segmentation("one")
    np.testing.assert_array_equal(found, labels == 1)
    assert "sample 'one': there is no segment 'Lung*', 'Heart'; it counts as back" in caplog.text
    with pytest.raises(LabelError, match=r"sample 'none'.*has the segments 'Heart'"):
        mild.load_segmentation("none")


def test_of_several_annotations_one_that_holds_some(tmp_path: Path, labels: NDArray[Any]) -> None:
    make(tmp_path, "a", labels, ["background", "GTV", "Heart"])
    (series,) = find_series(tmp_path / "a" / "scan")
    write_structures(tmp_path / "a" / "other", labels, series.open(), ["background", "x", "y"])
    made_elsewhere(tmp_path / "a" / "other")
    asked: dict[str, Any] = {"classes": 3, "structure_dict": {"GTV": 1, "Lung": 2}}
    with pytest.raises(SampleError, match="2 segmentations refer to the series"):
        opened(tmp_path, **asked).load_segmentation("a")
    mild = opened(tmp_path, **asked, missing_structures="background")
    np.testing.assert_array_equal(mild.load_segmentation("a"), labels == 1)


@pytest.mark.parametrize("output", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("names", [None, ["nothing", "tumour", "organ"]])
@pytest.mark.parametrize("values", [None, [0, 7, 9]])
def test_predictions_describe_all_classes_and_no_other(
    tmp_path: Path, labels: NDArray[Any], output: str, names: Any, values: Any
) -> None:
    make(tmp_path / "data", "a")
    interface = DICOMInterface(
        classes=3, output=output, class_names=names, ignore_label=255, label_values=values
    )
    data_io = DataIO(interface, tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    unknown = labels.copy()
    unknown[0, 0] = unknown[3, 3] = 255
    known = np.where(unknown == 255, 0, labels)
    for prediction, expected in ((unknown, known), (0 * labels, 0 * labels)):
        sample.add_prediction(prediction)
        dataset = pydicom.dcmread(data_io.save_prediction(sample))
        found = (
            [(s.SegmentNumber, s.SegmentLabel) for s in dataset.SegmentSequence]
            if output == "dicom-seg"
            else [(r.ROINumber, r.ROIName) for r in dataset.StructureSetROISequence]
        )
        assert found == list(enumerate((names or ["", "class 1", "class 2"])[1:], start=1))
        np.testing.assert_array_equal(data_io.load_prediction("a"), expected)


def test_a_prediction_is_no_truth(tmp_path: Path, labels: NDArray[Any]) -> None:
    make(tmp_path, "a")
    data_io = DataIO(DICOMInterface(classes=3), tmp_path, output_path=tmp_path / "a" / "predicted")
    sample = data_io.sample_loader("a", load_seg=False)
    sample.add_prediction(labels)
    data_io.save_prediction(sample)
    interface = opened(tmp_path, classes=3)
    assert not interface.has_segmentation("a")
    with pytest.raises(MissingFileError, match=r"there are 1 in .* 1 of them predictions of this"):
        interface.load_segmentation("a")
    remarks = interface.remarks("a", interface.load_image("a")[1])
    assert [(severity, check) for severity, check, _ in remarks] == [("note", "segmentation")]
    assert remarks[0][2].startswith("1 RTSTRUCT or DICOM-SEG files are predictions that this lib")
    (series,) = find_series(tmp_path / "a" / "scan")
    write_segments(tmp_path / "a" / "truth", labels // 2, series.open())
    made_elsewhere(tmp_path / "a" / "truth")
    np.testing.assert_array_equal(interface.load_segmentation("a"), labels // 2)
    named = opened(tmp_path, classes=3, annotation_tag="predicted/")
    np.testing.assert_array_equal(named.load_segmentation("a"), labels)
    assert not named.remarks("a", named.load_image("a")[1])


def test_drawn_on_another_series_of_the_frame_of_reference(
    tmp_path: Path, labels: NDArray[Any]
) -> None:
    same = {"FrameOfReferenceUID": "1.2.9", "StudyInstanceUID": "1.2.8"}
    make(tmp_path, "a", labels, modality="MR", **same)
    array = np.zeros(SHAPE, np.int16)
    write_series(tmp_path / "a" / "ct", array, LPS, **same)
    write_series(tmp_path / "a" / "pet", array, LPS, modality="PT")
    assert not opened(tmp_path, classes=3, series="CT").has_segmentation("a")
    interface = opened(tmp_path, classes=3, series="CT", annotation_tag="truth")
    np.testing.assert_array_equal(interface.load_segmentation("a"), labels)
    elsewhere = opened(tmp_path, classes=3, series="PT", annotation_tag="truth")
    with pytest.raises(MissingFileError, match="no RTSTRUCT or DICOM-SEG with 'truth' in its path"):
        elsewhere.load_segmentation("a")


def test_uids_that_are_none_are_not_quoted(
    tmp_path: Path, labels: NDArray[Any], caplog: pytest.LogCaptureFixture, recwarn: Any
) -> None:
    make(tmp_path, "a", labels)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():  # as long as before: nothing else moves
            content = path.read_bytes()
            frame = str(pydicom.dcmread(path).FrameOfReferenceUID)
            path.write_bytes(content.replace(frame.encode(), b"Erika".ljust(len(frame), b"x")))
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        found = opened(tmp_path, classes=3).load_segmentation("a")
    np.testing.assert_array_equal(found, labels)
    assert "Erika" not in caplog.text + "".join(str(w.message) for w in recwarn)
