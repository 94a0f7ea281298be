"""Results in DICOM: what is in the files, and that it is the labels that were handed in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from pydicom.uid import EnhancedCTImageStorage, ImplicitVRLittleEndian, generate_uid

from miscnn.data_loading.dicom._write_common import grid_of
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.dicom.structures import read_structures
from miscnn.data_loading.dicom.volume import DicomVolume, SourceFrame
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.dicom.write_structures import decimals, write_structures
from miscnn.exceptions import ConfigurationError

from .dicom_series import PATIENT, PATIENT_ID, write_series

AFFINE = np.array(
    [[-0.7, 0.0, 0.0, 90.0], [0.0, -0.8, 0.0, 60.0], [0.0, 0.0, 2.5, -300.0], [0.0, 0.0, 0.0, 1.0]]
)
SHAPE = (9, 7, 5)
NAMES = ["background", "kidney", "tumour", "cyst"]
WRITERS = [write_segments, write_structures]


def volume_of(paths: list[Path], affine: NDArray, shape: tuple[int, int, int]) -> DicomVolume:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    frames = [
        SourceFrame(path, None, header.SOPInstanceUID, header.SOPClassUID)
        for path, header in zip(paths, headers, strict=True)
    ]
    return DicomVolume(shape, affine, tuple(frames), headers[0].Modality, headers[0])


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., DicomVolume]:
    def make(affine: NDArray = AFFINE, shape: Any = SHAPE, **overrides: Any) -> DicomVolume:
        image = np.zeros(shape, dtype=np.int16)
        paths = write_series(tmp_path / "series", image, affine, **overrides)
        return volume_of(paths, affine, shape)

    return make


@pytest.fixture
def labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    labels = rng.integers(0, 3, SHAPE).astype(np.uint8)
    labels[:, :, 3] = 0
    return labels


def segments_as_array(path: Path, volume: DicomVolume) -> NDArray[np.int64]:
    """Put the frames of a segmentation where their positions say, with highdicom and arithmetic."""
    result = np.zeros(volume.shape, dtype=np.int64)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    segmentation = highdicom.seg.segread(path)
    pixels = np.asarray(segmentation.pixel_array).reshape(-1, *volume.shape[1::-1])
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for frame, group in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(p) for p in group.PlanePositionSequence[0].ImagePositionPatient]
        index = to_index @ [*position, 1.0]
        np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-6)
        i, j, k = (int(n) for n in np.rint(index[:3]))
        assert (i, j) == (0, 0)
        holder = group if "SegmentIdentificationSequence" in group else shared
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        result[:, :, k][frame.T == 1] = number
    return result


def structures_as_array(path: Path, volume: DicomVolume) -> NDArray[np.int64]:
    """Fill the contours of a structure set by the even-odd rule, with matplotlib."""
    result = np.zeros(volume.shape, dtype=np.int64)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    places = np.stack(np.meshgrid(*map(np.arange, volume.shape[:2]), indexing="ij"), axis=-1)
    for roi in pydicom.dcmread(path).ROIContourSequence:
        crossed = np.zeros(volume.shape, dtype=np.int64)
        for contour in roi.get("ContourSequence", []):
            points = np.array([float(p) for p in contour.ContourData]).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            k = round(float(index[0, 2]))
            np.testing.assert_allclose(index[:, 2], k, atol=1e-3)
            outline = Polygon(np.vstack([index[:, :2], index[:1, :2]]), closed=True)
            inside = outline.contains_points(places.reshape(-1, 2))
            crossed[:, :, k] += inside.reshape(volume.shape[:2])
        result[crossed % 2 == 1] = roi.ReferencedROINumber
    return result


READERS = {write_segments: segments_as_array, write_structures: structures_as_array}


def texts(dataset: Any) -> str:
    return str(dataset) + str(dataset.file_meta)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_the_labels_come_back(
    write: Any, dtype: Any, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    volume = make()
    write(tmp_path / "deep" / "r.dcm", labels.astype(dtype), volume, NAMES)
    np.testing.assert_array_equal(READERS[write](tmp_path / "deep" / "r.dcm", volume), labels)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["r.dcm"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (1, 5, 2), (3, 5, 1)])
def test_tiny_volumes(write: Any, shape: Any, make: Any, tmp_path: Path) -> None:
    volume = make(shape=shape)
    labels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape) % 4
    for number in range(4):
        write(tmp_path / "r.dcm", (labels + number) % 4, volume, NAMES)
        back = READERS[write](tmp_path / "r.dcm", volume)
        np.testing.assert_array_equal(back, (labels + number) % 4)


@pytest.mark.parametrize("write", WRITERS)
def test_no_foreground_is_a_valid_file(write: Any, make: Any, tmp_path: Path) -> None:
    volume = make()
    write(tmp_path / "r.dcm", np.zeros(SHAPE, np.uint8), volume, NAMES)
    np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), 0)


def test_all_classes_are_described_in_order(make: Any, labels: NDArray, tmp_path: Path) -> None:
    volume = make()
    write_segments(tmp_path / "s.dcm", labels, volume, NAMES)
    written = highdicom.seg.segread(tmp_path / "s.dcm")
    assert written.SegmentationType == "BINARY"
    segments = [(item.SegmentNumber, item.SegmentLabel) for item in written.SegmentSequence]
    assert segments == [(1, "kidney"), (2, "tumour"), (3, "cyst")]
    assert {item.SegmentAlgorithmType for item in written.SegmentSequence} == {"AUTOMATIC"}
    assert {item.SegmentAlgorithmName for item in written.SegmentSequence} == {"miscnn"}
    assert written.NumberOfFrames == 8  # two classes on four of five slices
    write_structures(tmp_path / "r.dcm", labels, volume, NAMES)
    rois = pydicom.dcmread(tmp_path / "r.dcm")
    names = [(item.ROINumber, item.ROIName) for item in rois.StructureSetROISequence]
    assert names == segments
    assert [item.ReferencedROINumber for item in rois.RTROIObservationsSequence] == [1, 2, 3]
    assert "ContourSequence" not in rois.ROIContourSequence[2]
    kinds = {c.ContourGeometricType for c in rois.ROIContourSequence[0].ContourSequence}
    assert kinds == {"CLOSED_PLANAR"}


def test_frames_name_their_source_images(make: Any, labels: NDArray, tmp_path: Path) -> None:
    volume = make()
    write_segments(tmp_path / "s.dcm", labels, volume, NAMES)
    by_uid = {f.sop_instance_uid: pydicom.dcmread(f.path) for f in volume.frames}
    written = pydicom.dcmread(tmp_path / "s.dcm")
    for group in written.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        image = by_uid[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == image.SOPClassUID
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert list(position) == list(image.ImagePositionPatient)
    assert {i.ReferencedSOPInstanceUID for i in written.SourceImageSequence} == set(by_uid)
    (series,) = written.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == volume.header.SeriesInstanceUID
    assert written.FrameOfReferenceUID == volume.header.FrameOfReferenceUID
    write_structures(tmp_path / "r.dcm", labels, volume, NAMES)
    rois = pydicom.dcmread(tmp_path / "r.dcm")
    for roi in rois.ROIContourSequence[:2]:
        for contour in roi.ContourSequence:
            (source,) = contour.ContourImageSequence
            image = by_uid[source.ReferencedSOPInstanceUID]
            assert float(contour.ContourData[2]) == float(image.ImagePositionPatient[2])
    (frame,) = rois.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == volume.header.FrameOfReferenceUID
    study = frame.RTReferencedStudySequence[0]
    assert study.ReferencedSOPInstanceUID == volume.header.StudyInstanceUID
    series = study.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == volume.header.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == set(by_uid)


@pytest.mark.parametrize("write", WRITERS)
def test_a_resampled_volume_lies_on_its_own_grid(
    write: Any, make: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    source = make()
    affine = AFFINE @ np.diag([0.5, 0.5, 0.8, 1.0])
    shape = (18, 14, 6)
    volume = DicomVolume(shape, affine, source.frames, "CT", source.header)
    labels = rng.integers(0, 4, shape).astype(np.uint8)
    write(tmp_path / "r.dcm", labels, volume, NAMES)
    np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)
    written = pydicom.dcmread(tmp_path / "r.dcm")
    assert written.FrameOfReferenceUID == source.header.FrameOfReferenceUID
    assert "SpatialLocationsPreserved" not in texts(written)
    text = texts(written).replace(" ", "")
    assert text.count(source.frames[1].sop_instance_uid) in (1, 2)  # for the series as a whole


@pytest.mark.parametrize("write", WRITERS)
def test_slices_between_those_of_the_source_name_none(
    write: Any, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    """As many slices as files, yet at other places than they."""
    affine = AFFINE @ np.diag([1.0, 1.0, 0.9, 1.0])
    resampling: Any = object()
    volume = replace(make(), affine=affine, resampling=resampling)
    write(tmp_path / "r.dcm", labels, volume, NAMES)
    written = pydicom.dcmread(tmp_path / "r.dcm")
    if write is write_segments:
        groups = written.PerFrameFunctionalGroupsSequence
        assert not any("DerivationImageSequence" in group for group in groups)
    else:
        contours = [c for r in written.ROIContourSequence for c in r.get("ContourSequence", [])]
        assert not any("ContourImageSequence" in contour for contour in contours)
    np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)


def multi_frame(tmp_path: Path) -> DicomVolume:
    """An enhanced file whose frames stand in another order than the slices."""
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, name, generate_uid())
    image.PatientName, image.PatientID, image.Modality = PATIENT, PATIENT_ID, "CT"
    image.Columns, image.Rows, image.NumberOfFrames = *SHAPE[:2], SHAPE[2]
    shared, orientation, measures = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.8, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    groups = []
    order = [2, 0, 1, 4, 3]
    for k in order:
        group, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [-90, -60, -300 + 2.5 * k]
        group.PlanePositionSequence = [position]
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = groups
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    frames = [
        SourceFrame(
            tmp_path / "enhanced.dcm", order.index(k), image.SOPInstanceUID, image.SOPClassUID
        )
        for k in range(SHAPE[2])
    ]
    return DicomVolume(SHAPE, AFFINE, tuple(frames), "CT", image)


def test_frames_of_a_multi_frame_source(tmp_path: Path, labels: NDArray) -> None:
    volume = multi_frame(tmp_path)
    expected = {-300.0: 2, -297.5: 3, -295.0: 1, -292.5: 5, -290.0: 4}
    for write in WRITERS:
        write(tmp_path / "r.dcm", labels, volume, NAMES)
        np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)
        written = pydicom.dcmread(tmp_path / "r.dcm")
        if write is write_segments:
            pairs = [
                (
                    g.PlanePositionSequence[0].ImagePositionPatient[2],
                    g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber,
                )
                for g in written.PerFrameFunctionalGroupsSequence
            ]
        else:
            pairs = [
                (c.ContourData[2], c.ContourImageSequence[0].ReferencedFrameNumber)
                for c in written.ROIContourSequence[0].ContourSequence
            ]
            pairs += list(
                zip(
                    sorted(expected, key=lambda z: expected[z]),
                    written.ReferencedFrameOfReferenceSequence[0]
                    .RTReferencedStudySequence[0]
                    .RTReferencedSeriesSequence[0]
                    .ContourImageSequence[0]
                    .ReferencedFrameNumber,
                    strict=True,
                )
            )
        assert pairs
        for z, number in pairs:
            assert expected[float(z)] == number


@pytest.mark.parametrize("write", WRITERS)
def test_the_patient_is_copied_and_nothing_else(
    write: Any, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    volume = make(
        InstitutionName="St. Elsewhere", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Åsa"
    )
    write(tmp_path / "r.dcm", labels, volume, [*NAMES[:3], "Zyste λ"])
    written = pydicom.dcmread(tmp_path / "r.dcm")
    assert str(written.PatientName) == "Müller^Åsa"
    for name in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyInstanceUID"):
        assert written[name].value == volume.header[name].value, name
    assert "Elsewhere" not in texts(written)
    assert written.Manufacturer == "miscnn"
    assert "Zyste λ" in texts(written)
    for own in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert written[own].value != volume.header[own].value


@pytest.mark.parametrize("write", WRITERS)
def test_odd_headers_are_no_obstacle_and_get_nowhere_else(
    write: Any, make: Any, labels: NDArray, tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    with pydicom.config.disable_value_validation():
        volume = make(
            PatientBirthDate="12.8.1964",
            PatientSex="weiblich und lang",
            PatientName="Mustermann, Erika=x=y=z=k",
            SpecificCharacterSet="ISO_IR 192",
        )
    path = volume.frames[0].path
    path.write_bytes(path.read_bytes().replace(b"Erika", b"Er\xefka"))  # no UTF-8
    volume = replace(volume, header=pydicom.dcmread(path, stop_before_pixels=True))
    for name in ("AccessionNumber", "StudyID", "StudyDate", "PatientID"):
        delattr(volume.header, name)
    with caplog.at_level(logging.DEBUG):
        write(tmp_path / "r.dcm", labels, volume, NAMES)
    out = capsys.readouterr()
    for trace in (caplog.text, out.out, out.err):
        assert not any(secret in trace for secret in ("Mustermann", "1964", "weiblich", PATIENT_ID))
    np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)


@pytest.mark.parametrize("write", WRITERS)
def test_the_source_files_are_needed_no_more(
    write: Any, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    volume = make()
    for frame in volume.frames:
        frame.path.unlink()
    write(tmp_path / "r.dcm", labels, volume, NAMES)
    np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)


def test_colours(make: Any, labels: NDArray, tmp_path: Path) -> None:
    colours = [(0, 0, 0), (255, 0, 0), (0, 128, 255), (10, 20, 30)]
    volume = make()
    write_structures(tmp_path / "r.dcm", labels, volume, NAMES, colours=colours)
    rois = pydicom.dcmread(tmp_path / "r.dcm").ROIContourSequence
    assert [tuple(roi.ROIDisplayColor) for roi in rois] == colours[1:]
    write_segments(tmp_path / "s.dcm", labels, volume, NAMES, colours=colours)
    for item, colour in zip(
        pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence, colours[1:], strict=True
    ):
        stored = highdicom.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue)
        np.testing.assert_allclose(stored.to_rgb(), colour, atol=2)


def test_codes_of_classes(make: Any, labels: NDArray, tmp_path: Path) -> None:
    codes = {
        2: (
            ("49755003", "SCT", "Morphologically Altered Structure"),
            ("108369006", "SCT", "Neoplasm"),
        )
    }
    write_segments(tmp_path / "s.dcm", labels, make(), NAMES, codes=codes)
    kinds = [
        item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning
        for item in pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence
    ]
    assert kinds == ["Tissue", "Neoplasm", "Tissue"]
    with pytest.raises(ConfigurationError, match=r"\[7\]"):
        write_segments(tmp_path / "s.dcm", labels, make(), NAMES, codes={7: codes[2]})


@pytest.mark.parametrize("write", WRITERS)
def test_names_by_default(write: Any, make: Any, labels: NDArray, tmp_path: Path) -> None:
    write(tmp_path / "r.dcm", labels, make())
    text = texts(pydicom.dcmread(tmp_path / "r.dcm"))
    assert "'class 2'" in text
    assert "'class 3'" not in text


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("change", "names", "colours", "message"),
    [
        (lambda a: a.transpose(1, 0, 2), NAMES, None, r"\(7, 9, 5\).*\(9, 7, 5\)"),
        (lambda a: a + 2, NAMES, None, r"up to 4.*4 names"),
        (lambda a: a - 1.0, NAMES, None, "dtype float64"),
        (lambda a: a.astype(int) - 1, NAMES, None, "from -1"),
        (lambda a: a.astype(int) + 70000, None, None, "70002"),
        (lambda a: a, ["background"], None, "at least one class"),
        (lambda a: a, "kidney", None, "one name for each class"),
        (lambda a: a, ["", "a", "b\\c"], None, "backslash"),
        (lambda a: a, ["", "a", "b" * 65], None, "64"),
        (lambda a: a, ["", "a", " "], None, "' '"),
        (lambda a: a, ["", "a", "a"], None, "different"),
        (lambda a: a, NAMES, [(0, 0, 0)], "4 colours"),
        (lambda a: a, NAMES, [(0, 0, 256)] * 4, "0 to 255"),
        (lambda a: a, NAMES, [None] * 4, "red, green, blue"),
    ],
)
def test_what_cannot_be_written_is_refused(
    write: Any,
    change: Any,
    names: Any,
    colours: Any,
    message: str,
    make: Any,
    labels: NDArray,
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write(tmp_path / "r.dcm", change(labels), make(), names, colours=colours)
    assert not (tmp_path / "r.dcm").exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("missing", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_a_series_without_a_frame_of_reference_is_refused(
    write: Any, missing: str, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        write(tmp_path / "r.dcm", labels, make(**{missing: None}), NAMES)


@pytest.mark.realdata
def test_a_tumour_on_its_scan(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "sarcoma_dicom" / "STS_003"
    (scan,) = [series for series in find_series(folder) if series.modality == "CT"]
    volume = scan.open()
    drawn = next(
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and pydicom.dcmread(path, force=True).get("Modality") == "RTSTRUCT"
    )
    labels = read_structures(drawn, volume, None, "a", "last")
    assert labels.any()
    for write in WRITERS:
        write(tmp_path / "r.dcm", labels, volume, ["background", "GTV"])
        np.testing.assert_array_equal(READERS[write](tmp_path / "r.dcm", volume), labels)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2])
def test_outlines_lie_on_the_edges_of_pixels(
    scale: float, make: Any, labels: NDArray, tmp_path: Path
) -> None:
    affine = AFFINE @ np.diag([scale / 0.97, scale / 1.03, scale, 1.0])
    affine[:3, 3] = (np.pi, -np.e, np.sqrt(2))
    volume = make(affine=affine)
    write_structures(tmp_path / "r.dcm", labels, volume, NAMES)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    for contour in pydicom.dcmread(tmp_path / "r.dcm").ROIContourSequence[0].ContourSequence:
        points = np.array([float(p) for p in contour.ContourData]).reshape(-1, 3)
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        off = index - [0.5, 0.5, 0.0]
        off -= np.rint(off)
        assert np.abs(off).max() <= 1e-4
        assert np.abs(off * scale).max() <= 1e-5


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=3, max_size=9), st.integers(0, 12))
def test_decimals_are_valid_and_as_exact_as_they_can_be(values: list[float], places: int) -> None:
    text = decimals(np.array(values), places)
    assert len(text) % 2 == 0
    parts = text.decode().rstrip(" ").split("\\")
    assert len(parts) == len(values)
    assert max(map(len, parts)) <= 16
    worst = max(abs(float(part) - value) for part, value in zip(parts, values, strict=True))
    assert worst <= max(10.0**-places, 1e-4)


def test_the_grid_in_dicoms_words() -> None:
    grid = grid_of(DicomVolume(SHAPE, AFFINE, (), "CT", None))
    np.testing.assert_array_equal(grid.orientation, [1, 0, 0, 0, 1, 0])
    assert grid.pixel_spacing == (0.8, 0.7)
    assert grid.slice_spacing == 2.5
    np.testing.assert_allclose(grid.positions[4], [-90, -60, -290])
