"""RTSTRUCT files read onto the grid of an image."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from miscnn.data_loading.dicom._references import RTSTRUCT, referenced
from miscnn.data_loading.dicom._regions import Regions
from miscnn.data_loading.dicom.combinations import combination_classes, combination_label
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.dicom.structures import read_structures, roi_names
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    LabelError,
    MissingFileError,
    UnreadableFileError,
)

PATIENT = "Mustermann^Erika"
FRAME, SERIES = "1.2.3.4.5", "1.2.3.4.6"


def volume(affine: NDArray[np.float64] | None = None, shape: Any = (12, 10, 6)) -> DicomVolume:
    header = Dataset()
    header.FrameOfReferenceUID, header.SeriesInstanceUID = FRAME, SERIES
    if affine is None:
        affine = np.array([[-2.0, 0, 0, 30], [0, -1.5, 0, 20], [0, 0, 4, -100], [0, 0, 0, 1]])
    return DicomVolume(shape, affine, (), "CT", header)


def box(
    i: tuple[float, float], j: tuple[float, float], k: float, grid: DicomVolume
) -> NDArray[np.float64]:
    """A rectangle given in voxel indices, as points in mm, LPS."""
    index = [[i[0], j[0], k, 1], [i[1], j[0], k, 1], [i[1], j[1], k, 1], [i[0], j[1], k, 1]]
    return (np.array(index) @ grid.affine.T)[:, :3] * (-1, -1, 1)


def write(
    path: Path,
    rois: dict[str, Sequence[Any]],
    numbers: Sequence[int] | None = None,
    kind: str = "CLOSED_PLANAR",
    frame: str = FRAME,
    series: str = SERIES,
    implicit: bool = False,
) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTSTRUCT, "1.2.3.9", "RTSTRUCT"
    dataset.PatientName, dataset.PatientID = PATIENT, "PID-4711"
    one, study, image = Dataset(), Dataset(), Dataset()
    one.SeriesInstanceUID = series
    image.ReferencedSOPInstanceUID = "1.2.3.7"
    one.ContourImageSequence = [image]
    study.RTReferencedSeriesSequence = [one]
    reference = Dataset()
    reference.FrameOfReferenceUID = frame
    reference.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [reference]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for position, (name, contours) in enumerate(rois.items()):
        number = numbers[position] if numbers else position + 1
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber = number, name, number
        drawn.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            flat = np.asarray(points).ravel()
            with warnings.catch_warnings():  # of NaN
                warnings.simplefilter("ignore")
                contour.ContourData = (
                    [f"{v:.6f}" for v in flat] if flat.dtype.kind == "f" else points
                )
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    dataset.file_meta = FileMetaDataset()
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def filled(*boxes: tuple[slice, slice, int], shape: Any = (12, 10, 6)) -> NDArray[np.bool_]:
    result = np.zeros(shape, dtype=bool)
    for one in boxes:
        result[one] ^= True
    return result


def oblique() -> NDArray[np.float64]:
    angles = np.radians([20, -35, 50])
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    affine = np.eye(4)
    affine[:3, :3] = matrix * (0.7, 1.1, 3.0)
    affine[:3, 3] = 11, -7, 300
    return affine


@pytest.mark.parametrize("affine", [None, oblique(), np.diag([1.0, 1, -2, 1])])
@pytest.mark.parametrize("implicit", [False, True])
def test_voxels_whose_centre_is_inside(
    tmp_path: Path, affine: NDArray[np.float64] | None, implicit: bool
) -> None:
    grid = volume(affine)
    contours = [
        box((1.5, 8.5), (1.5, 7.5), 2, grid),
        box((3.5, 6.5), (3.5, 5.5), 2, grid)[::-1],  # a hole
        box((4.5, 5.5), (3.5, 4.5), 2, grid),  # an island in it
        box((1.6, 4.4), (0.7, 2.2), 3, grid),
        box((8.5, 10.5), (0.5, 3.5), 3, grid),
    ]
    path = write(tmp_path / "rs.dcm", {"GTV": contours}, implicit=implicit)
    labels = read_structures(path, grid, {"GTV": 3}, "a")
    expected = filled(
        (slice(2, 9), slice(2, 8), 2),
        (slice(4, 7), slice(4, 6), 2),
        (slice(5, 6), slice(4, 5), 2),
        (slice(2, 5), slice(1, 3), 3),
        (slice(9, 11), slice(1, 4), 3),
    )
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected * 3)


def test_names_are_taken_exactly_then_in_any_capitals_then_as_patterns(tmp_path: Path) -> None:
    grid = volume()
    rois = {
        name: [box((i - 0.5, i + 0.5), (0.5, 2.5), 1, grid)]
        for i, name in enumerate(["GTV", "gtv", "GTV 2", "Heart", "PTV [50]", "couch"])
    }
    path = write(tmp_path / "rs.dcm", rois, numbers=[9, 4, 7, 2, 1, 5])
    assert roi_names(path) == ["PTV [50]", "Heart", "gtv", "couch", "GTV 2", "GTV"]

    def of(structures: dict[str, int] | None) -> list[int]:
        labels = read_structures(path, grid, structures, "a")
        assert not np.any(labels[:, [0, 3], :])
        assert not np.any(labels[..., [0, 2, 3, 4, 5]])
        return labels[:6, 1, 1].tolist()

    assert of(None) == [6, 3, 5, 2, 1, 4]
    assert of({"GTV": 1}) == [1, 0, 0, 0, 0, 0]
    assert of({"HEART": 7}) == [0, 0, 0, 7, 0, 0]
    assert of({"GTV*": 2}) == [2, 2, 2, 0, 0, 0]
    assert of({"*": 1, "gtv*": 2, "GTV": 3, "couch": 0}) == [3, 1, 1, 1, 1, 0]
    assert of({"PTV [50]": 4, "7": 5}) == [0, 0, 5, 0, 4, 0]
    with pytest.raises(LabelError, match=r"'Liver', 'CTV\*', but the file has the ROIs 'PTV \[50"):
        of({"Liver": 1, "Heart": 2, "CTV*": 3})
    with pytest.raises(ConfigurationError, match="-1"):
        of({"GTV": -1})


def overlapping(tmp_path: Path) -> tuple[DicomVolume, Path]:
    grid = volume()
    rois = {
        "A": [box((0.5, 6.5), (0.5, 4.5), 1, grid)],
        "B": [box((4.5, 9.5), (0.5, 4.5), 1, grid)],
        "C": [box((5.5, 7.5), (0.5, 2.5), 1, grid)],
    }
    return grid, write(tmp_path / "rs.dcm", rois)


def test_overlaps_are_refused_by_names_and_numbers(tmp_path: Path) -> None:
    grid, path = overlapping(tmp_path)
    with pytest.raises(LabelError, match=r"'A' \(class 1\) and 'B' \(class 2\) share 8 voxels"):
        read_structures(path, grid, {"A": 1, "B": 2}, "a")
    with pytest.raises(LabelError, match=r"2 other pairs overlap too.*'combinations'"):
        read_structures(path, grid, None, "a")
    one = read_structures(path, grid, {"A": 4, "B": 4}, "a")  # of one class: no conflict
    assert np.array_equal(one, filled((slice(1, 10), slice(1, 5), 1)) * 4)
    with pytest.raises(ConfigurationError, match="'union'; expected one of 'error', 'last'"):
        read_structures(path, grid, None, "a", "union")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overlap", "order", "row"),
    [
        ("last", "ABC", [0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 0, 0]),
        ("first", "ABC", [0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0]),
        ("last", "CBA", [0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0]),
        ("first", "CBA", [0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 0, 0]),
        ("first", "BAC", [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]),
        # 4 is {1, 2}, 6 is {2, 3}, 7 is {1, 2, 3}
        ("combinations", "CAB", [0, 1, 1, 1, 1, 4, 7, 6, 2, 2, 0, 0]),
    ],
)
def test_overlaps(tmp_path: Path, overlap: Any, order: str, row: list[int]) -> None:
    grid, path = overlapping(tmp_path)
    classes = {"A": 1, "B": 2, "C": 3}
    labels = read_structures(path, grid, {name: classes[name] for name in order}, "a", overlap)
    assert labels[:, 1, 1].tolist() == row
    if overlap == "combinations":  # regions are unions of labels
        for name in "ABC":
            alone = read_structures(path, grid, {name: 1}, "a") == 1
            members = [v for v in range(8) if classes[name] in combination_classes(v, [1, 2, 3])]
            np.testing.assert_array_equal(np.isin(labels, members), alone)


@pytest.mark.parametrize("among", [[1], [1, 2], [1, 2, 3, 4, 5], [2, 3, 7, 9], [4, 11]])
def test_labels_of_combinations_are_in_order_and_undone(among: list[int]) -> None:
    sets = [c for n in range(2, len(among) + 1) for c in combinations(among, n)]
    for label, members in enumerate(sets, start=max(among) + 1):
        assert combination_label(members[::-1], among) == label
        assert combination_classes(label, among) == members
    for single in among:
        assert combination_label([single], among) == single
        assert combination_classes(single, among) == (single,)
    assert combination_classes(combination_label([], among), among) == ()
    with pytest.raises(ConfigurationError, match="stands for no set"):
        combination_classes(max(among) + 1 + len(sets), among)
    with pytest.raises(ConfigurationError, match="not among"):
        combination_label([99], among)


@pytest.mark.parametrize("classes", [list(range(1, 10)), [1, 1, 2, 3, 2, 4, 4, 5, 1]])
def test_more_sets_of_regions_than_fit_into_a_byte(
    rng: np.random.Generator, classes: list[int]
) -> None:
    shape = (11, 13, 7)
    masks = rng.random((9, *shape)) < 0.5
    regions = Regions(shape, list("abcdefghi"), classes)
    for region in rng.permutation(9).tolist():  # their order, not that of the calls, counts
        regions.add((slice(None),) * 3, masks[region], region)
    combined = regions.labels("combinations", "a")
    first, last = regions.labels("first", "a"), regions.labels("last", "a")
    assert len({tuple(column) for column in masks.reshape(9, -1).T}) > 256
    for place in np.ndindex(*shape):
        here = [c for c, inside in zip(classes, masks[:, *place], strict=True) if inside]
        assert combined[place] == combination_label(here, classes)
        assert (first[place], last[place]) == ((here[0], here[-1]) if here else (0, 0))
    assert [regions.voxels(region) for region in range(9)] == masks.sum(axis=(1, 2, 3)).tolist()


def test_contours_outside_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = volume()
    contours = [box((1.5, 3.5), (1.5, 3.5), k, grid) for k in (-3, -1, 0, 1)]
    contours.append(box((-4, 2.5), (1.5, 3.5), 2, grid))
    path = write(tmp_path / "rs.dcm", {"GTV": contours})
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, grid, None, "a")
    assert np.count_nonzero(labels) == 4 + 4 + 6
    assert "2 of 5 contours lie on slices that the image does not have" in caplog.text
    assert "1 contours reach beyond" in caplog.text
    path = write(tmp_path / "far.dcm", {"GTV": [box((1, 3), (1, 3), -3, grid)]})
    with pytest.raises(GridMismatchError, match=r"all 1 contours lie outside.* 12 mm"):
        read_structures(path, grid, None, "a")


def test_empty_slices_between_are_told_and_stay_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = volume()
    contours = [box((1.5, 3.5), (1.5, 3.5), k, grid) for k in (0, 1, 3, 5)]
    path = write(tmp_path / "rs.dcm", {"GTV": contours, "none": []})
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, grid, None, "a")
    assert labels.any(axis=(0, 1)).tolist() == [True, True, False, True, False, True]
    assert "no contours on 2 slices between slices 0 and 5 that have some (2, 4)" in caplog.text
    assert "ROI 'none': has no closed contours; the structure is empty" in caplog.text
    assert PATIENT not in caplog.text


def test_contours_go_to_the_nearest_slice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = volume()  # 4 mm between slices
    path = write(tmp_path / "rs.dcm", {"A": [box((1.5, 3.5), (1.5, 3.5), 2.05, grid)]})
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, grid, None, "a")
    assert labels.any(axis=(0, 1)).tolist() == [False, False, True, False, False, False]
    assert not caplog.text
    path = write(tmp_path / "off.dcm", {"A": [box((1.5, 3.5), (1.5, 3.5), 2.3, grid)]})
    with caplog.at_level(logging.WARNING):
        assert read_structures(path, grid, None, "a")[..., 2].any()
    assert "up to 1.2 mm from the slice" in caplog.text
    path = write(tmp_path / "middle.dcm", {"A": [box((1.5, 3.5), (1.5, 3.5), 2.5, grid)]})
    with pytest.raises(GridMismatchError, match=r"lie 2 mm from the nearest slice.*spacing 4 mm"):
        read_structures(path, grid, None, "a")


def test_planes_closer_than_slices_do_not_cancel_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = volume()
    contours = [box((1.5, 3.5), (1.5, 3.5 + k), k, grid) for k in np.arange(0, 3.1, 0.25)]
    contours.append(contours[0])
    path = write(tmp_path / "rs.dcm", {"A": contours})
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, grid, None, "a")
    assert np.count_nonzero(labels, axis=(0, 1)).tolist() == [4, 6, 8, 10, 0, 0]
    assert "9 of 14 that are not in the plane nearest to a slice are left out" in caplog.text
    assert "1 contours of slice 0 are listed twice" in caplog.text


def test_tilted_contours_are_refused_with_the_angle(tmp_path: Path) -> None:
    grid = volume()
    tilted = box((1.5, 8.5), (1.5, 8.5), 2, grid)
    tilted[:, 2] += np.tan(np.radians(15)) * (tilted[:, 0] - tilted[0, 0])
    path = write(tmp_path / "rs.dcm", {"GTV": [tilted]})
    with pytest.raises(GridMismatchError, match="stands at 15 degrees to the slices"):
        read_structures(path, grid, None, "a")
    bent = box((1.5, 8.5), (1.5, 8.5), 2, grid)
    bent[::2, 2] += 6
    path = write(tmp_path / "bent.dcm", {"GTV": [bent]})
    with pytest.raises(GridMismatchError, match="lies in no plane"):
        read_structures(path, grid, None, "a")


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR"])
def test_what_encloses_nothing_is_left_out_and_told(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    grid = volume()
    path = write(tmp_path / "rs.dcm", {"iso": [box((1, 3), (1, 3), 2, grid)]}, kind=kind)
    with caplog.at_level(logging.WARNING):
        assert not read_structures(path, grid, None, "a").any()
    assert f"1 contours of type {kind} enclose nothing" in caplog.text


def test_another_frame_of_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = volume()
    rois = {"A": [box((1.5, 3.5), (1.5, 3.5), 2, grid)]}
    path = write(tmp_path / "other.dcm", rois, frame="1.9.9", series="1.9.8")
    with pytest.raises(GridMismatchError, match="another frame of reference") as caught:
        read_structures(path, grid, None, "a")
    assert "1.9" not in str(caught.value)
    path = write(tmp_path / "same.dcm", rois, frame="1.9.9")
    with caplog.at_level(logging.WARNING):
        assert np.count_nonzero(read_structures(path, grid, None, "a")) == 4
    assert "names the series, but another frame of reference" in caplog.text


def test_what_a_file_refers_to(tmp_path: Path) -> None:
    found = referenced(write(tmp_path / "rs.dcm", {"A": []}))
    assert (found.kind, found.series_instance_uid, found.frame_of_reference_uid) == (
        *("RTSTRUCT", SERIES),
        FRAME,
    )
    assert found.sop_instance_uids == {"1.2.3.7"}
    assert "1.2.3" not in repr(found)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (["1", "2", "3", "4"], "ContourData has 4 values, no multiple of three"),
        (["nan", "2", "3"] * 3, "not finite"),
        (["inf", "2", "3"] * 3, "not finite"),
        (["1e9", "2", "3"] * 3, "farther than a kilometre"),
    ],
)
def test_broken_contours_are_refused(tmp_path: Path, points: list[str], reason: str) -> None:
    path = write(tmp_path / "rs.dcm", {"A": [points]})
    with pytest.raises(UnreadableFileError, match=reason):
        read_structures(path, volume(), None, "a")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("StructureSetROISequence", "StructureSetROISequence is missing"),
        ("ROIContourSequence", "ROIContourSequence is missing"),
        ("SOPClassUID", "expected an RTSTRUCT"),
        ("ROINumber", "ROINumber is missing"),
        ("ContourData", "ContourData is missing"),
        ("ContourGeometricType", "ContourGeometricType is missing"),
    ],
)
def test_missing_attributes_are_named(tmp_path: Path, name: str, reason: str) -> None:
    import pydicom

    grid = volume()
    path = write(tmp_path / "rs.dcm", {"A": [box((1.5, 3.5), (1.5, 3.5), 2, grid)]})
    dataset = pydicom.dcmread(path)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    for place in (dataset, dataset.StructureSetROISequence[0], contour):
        if name in place:
            del place[name]
    dataset.file_meta.MediaStorageSOPClassUID = ""
    dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=reason) as caught:
        read_structures(path, grid, None, "a")
    assert PATIENT not in str(caught.value)


def test_truncated_and_changed_files_are_refused_or_read(tmp_path: Path) -> None:
    grid = volume()
    path = write(tmp_path / "rs.dcm", {"A": [box((1.5, 3.5), (1.5, 3.5), 2, grid)]})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    begin = content.rindex(RTSTRUCT.encode())
    outcomes, messages = set(), []
    for turn in range(300):
        broken = bytearray(content)
        if turn % 3 == 0:
            broken = broken[: int(rng.integers(begin + 1, len(broken)))]
        for place in rng.integers(begin, len(broken), 4):
            broken[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(broken))
        try:
            read_structures(path, grid, None, "a")
            outcomes.add("read")
        except (UnreadableFileError, GridMismatchError) as error:
            messages.append(str(error))
            outcomes.add(type(error).__name__)
    assert PATIENT not in " ".join(messages)
    assert {"read", "UnreadableFileError"} <= outcomes


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="none"):
        roi_names(tmp_path / "none.dcm")


@pytest.mark.realdata
@pytest.mark.parametrize("subject", ["STS_001", "STS_003"])
def test_contours_on_ct_are_the_published_mask(real_data: Path, subject: str) -> None:
    folder = real_data / "sarcoma_dicom" / subject / "CT"
    path = folder / "mask" / "RS.dcm"
    series = find_series(folder / "image")
    grid = series[0].open()
    reference = referenced(path)
    assert reference.series_instance_uid == str(grid.header.SeriesInstanceUID)
    assert roi_names(path) == ["GTV_Mass_CT"]
    labels = read_structures(path, grid, {"gtv_mass*": 1}, subject)
    image = nib.load(real_data / "sarcoma_ct" / "labels" / f"{subject}.nii.gz")
    np.testing.assert_allclose(image.affine, grid.affine, atol=1e-3)  # float32 in the header
    truth = np.asarray(image.dataobj)
    assert np.count_nonzero(truth) > 20_000
    np.testing.assert_array_equal(labels, truth)  # Dice 1
