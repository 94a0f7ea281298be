"""Segmentations of series that were resampled to a regular grid: truth and image agree."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.dicom._resample import Resampling
from miscnn.data_loading.dicom.combinations import combination_label
from miscnn.data_loading.dicom.segments import read_segments
from miscnn.data_loading.dicom.series import find_series, read
from miscnn.data_loading.dicom.structures import read_structures
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.exceptions import GridMismatchError, LabelError

from .dicom_annotations import write_masks
from .dicom_series import write_series
from .test_dicom_segments import AFFINE, SHAPE
from .test_dicom_segments import volume as regular_volume
from .test_dicom_segments import write as write_frames
from .test_dicom_structures import write as write_contours

SPACING = (1.25, 0.75)
SIZE = (36, 50)
ORIGIN = np.array([-20.0, -15.0, 7.0])
REGULAR = np.arange(9) * 3.0
GAP = np.delete(REGULAR, 4)
UNEVEN = np.cumsum([0, 3, 3, 4.5, 3, 3, 4.5, 3, 3])
MIDDLE = np.array([23.1, 19.3, 13.2])  # of the solids, mm from the first voxel


@dataclass(frozen=True)
class Scan:
    """Slices at heights, each shifted by the gantry's tilt, in a turned coordinate system."""

    heights: NDArray[np.float64]
    slope: float = 0.0
    turned: bool = False

    @property
    def axes(self) -> NDArray[np.float64]:
        if not self.turned:
            return np.eye(3)
        a, b = np.radians([25, -40])
        about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        return about_z @ about_x

    def centres(self) -> NDArray[np.float64]:
        """Of voxels, mm from the first one along the axes: shape (columns, rows, slices, 3)."""
        i, j, k = np.indices((*SIZE, len(self.heights)))
        z = self.heights[k]
        return np.stack([i * SPACING[0], j * SPACING[1] + self.slope * z, z], axis=-1)

    def to_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return ORIGIN + points @ self.axes.T

    def write(self, folder: Path, array: NDArray[Any]) -> list[Path]:
        starts = self.to_patient(self.centres()[0, 0])
        return write_series(
            folder,
            array.astype(np.int16),
            np.diag([-SPACING[0], -SPACING[1], 3.0, 1.0]),
            ImagePositionPatient=lambda k: [f"{v:.9f}" for v in starts[k]],
            ImageOrientationPatient=[f"{v:.12f}" for v in self.axes[:, :2].T.ravel()],
        )

    def on_grid(self, volume: DicomVolume) -> NDArray[np.float64]:
        """Centres of the volume's voxels, mm from the first measured one along the axes."""
        index = np.indices(volume.shape).transpose(1, 2, 3, 0)
        ras = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        return (ras * (-1, -1, 1) - ORIGIN) @ self.axes


def sphere(points: NDArray[np.float64], radius: float = 9.4) -> NDArray[np.bool_]:
    return np.linalg.norm(points - MIDDLE, axis=-1) <= radius


def cylinder(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.linalg.norm((points - MIDDLE)[..., :2], axis=-1) <= 8.3


def circles(scan: Scan, solid: Any) -> list[NDArray[np.float64]]:
    """Outlines of a solid in the planes of the slices, points in mm, LPS."""
    angles = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    found = []
    for z in scan.heights:
        square = 8.3**2 if solid is cylinder else 9.4**2 - (z - MIDDLE[2]) ** 2
        if square > 0:
            radius = np.sqrt(square)
            outline = [np.cos(angles) * radius, np.sin(angles) * radius, 0 * angles]
            centre = np.array([*MIDDLE[:2], z])
            found.append(scan.to_patient(np.stack(outline, -1) + centre))
    return found


def opened(folder: Path) -> tuple[DicomVolume, NDArray[Any]]:
    (series,) = find_series(folder)
    volume = series.open("resample")
    assert volume.resampling is not None
    return volume, read(volume)


SCANS = [
    Scan(GAP),
    Scan(UNEVEN),
    Scan(REGULAR, slope=float(np.tan(np.radians(20)))),
    Scan(GAP, slope=float(np.tan(np.radians(-15))), turned=True),
    Scan(UNEVEN, slope=0.2),
    Scan(UNEVEN, turned=True),
]


@pytest.mark.parametrize("solid", [sphere, cylinder])
@pytest.mark.parametrize("scan", SCANS)
def test_truth_goes_the_way_of_the_image(tmp_path: Path, scan: Scan, solid: Any) -> None:
    mask = solid(scan.centres())
    paths = scan.write(tmp_path / "scan", 1000 * mask)
    volume, image = opened(tmp_path / "scan")
    header = pydicom.dcmread(paths[0])
    uids = {"frame": header.FrameOfReferenceUID, "series": header.SeriesInstanceUID}
    contours = write_contours(tmp_path / "rs", {"GTV": circles(scan, solid)}, **uids)
    frames = write_masks(tmp_path / "seg", paths, {"GTV": mask})
    exact = solid(scan.on_grid(volume))
    for labels in (
        read_structures(contours, volume, {"GTV": 1}, "a"),
        read_segments(frames, volume, {"GTV": 1}, "a"),
    ):
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, image >= 500 - 1e-3)
        both = np.count_nonzero(labels & exact)
        dice = 2 * both / (np.count_nonzero(labels) + np.count_nonzero(exact))
        assert dice > (0.97 if solid is cylinder else 0.92)
        off = np.argwhere(labels != exact)  # an outline moves by a voxel at most
        if solid is cylinder and len(off):
            points = scan.on_grid(volume)[tuple(off.T)] - MIDDLE
            assert np.abs(np.linalg.norm(points[:, :2], axis=1) - 8.3).max() < max(SPACING)


def test_an_interpolated_slice_is_not_left_empty(tmp_path: Path) -> None:
    scan = Scan(GAP)
    mask = cylinder(scan.centres())
    paths = scan.write(tmp_path / "scan", 0 * mask)
    volume, _ = opened(tmp_path / "scan")
    labels = read_segments(write_masks(tmp_path / "s", paths, {"A": mask}), volume, None, "a")
    np.testing.assert_array_equal(labels, np.repeat(mask[..., :1], 9, axis=2))


@pytest.mark.parametrize("overlap", ["first", "last", "combinations"])
def test_classes_are_interpolated_one_by_one(
    tmp_path: Path, rng: np.random.Generator, overlap: Any
) -> None:
    """No label comes out that lies between two others, as 2 between 1 and 3."""
    scan = Scan(UNEVEN)
    masks = {name: rng.random((*SIZE, len(UNEVEN))) < 0.4 for name in "ABC"}
    paths = scan.write(tmp_path / "scan", 0 * masks["A"])
    volume, _ = opened(tmp_path / "scan")
    path = write_masks(tmp_path / "s", paths, masks)
    classes = {"A": 3, "B": 1, "C": 3}
    with pytest.raises(LabelError, match="share"):
        read_segments(path, volume, classes, "a")
    labels = read_segments(path, volume, classes, "a", overlap)
    a, b, c = masks.values()
    if overlap == "combinations":
        kept = {1: b, 3: a | c}
    else:
        kept = {1: b & ~(a if overlap == "first" else c), 3: a | (c & ~b)}
        if overlap == "last":
            kept[3] = c | (a & ~b)
    heights = np.arange(volume.shape[2]) * (UNEVEN[-1] / (volume.shape[2] - 1))
    inside = {}
    for label, mask in kept.items():
        flat = mask.reshape(-1, len(UNEVEN)).astype(float)
        weights = np.array([np.interp(heights, UNEVEN, row) for row in flat])
        inside[label] = weights.reshape(*SIZE, -1) >= 0.5 - 1e-6
    expected = np.where(inside[3], 3, 0)
    expected[inside[1]] = 1
    if overlap == "combinations":
        expected[inside[1] & inside[3]] = combination_label([1, 3], [1, 3])
    np.testing.assert_array_equal(labels, expected)


def test_contours_of_a_slice_that_was_lost_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = Scan(GAP)
    paths = scan.write(tmp_path / "scan", 0 * cylinder(scan.centres()))
    volume, _ = opened(tmp_path / "scan")
    header = pydicom.dcmread(paths[0])
    path = write_contours(
        tmp_path / "rs",
        {"A": circles(Scan(REGULAR), sphere)},
        frame=header.FrameOfReferenceUID,
        series=header.SeriesInstanceUID,
    )
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, volume, None, "a")
    assert "1 of 6 contours lie on slices that the image does not have" in caplog.text
    around = sphere(scan.centres())[..., [3, 4]]
    np.testing.assert_array_equal(labels[..., 4], around.any(axis=-1))


@pytest.mark.parametrize("output", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("scan", [Scan(GAP), Scan(REGULAR, slope=0.2), Scan(UNEVEN)])
def test_predictions_lie_on_the_regular_grid(
    tmp_path: Path, rng: np.random.Generator, scan: Scan, output: str
) -> None:
    array = rng.integers(0, 9, (*SIZE, len(scan.heights)))
    scan.write(tmp_path / "data" / "a" / "scan", array)
    interface = DICOMInterface(irregular="resample", output=output)
    data_io = DataIO(interface, tmp_path / "data", output_path=tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    labels = rng.integers(0, 2, sample.image.shape[:3]).astype(np.uint8)
    labels[..., 4] = 0  # in the gap, that what lies around would fill
    sample.add_prediction(labels)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels)


@pytest.mark.parametrize("scan", [Scan(GAP), Scan(REGULAR, slope=0.2), Scan(UNEVEN)])
def test_frames_on_the_regular_grid_stay_as_they_are(
    tmp_path: Path, rng: np.random.Generator, scan: Scan
) -> None:
    scan.write(tmp_path / "scan", rng.integers(0, 9, (*SIZE, len(scan.heights))))
    volume, _ = opened(tmp_path / "scan")
    labels = rng.integers(0, 2, volume.shape).astype(np.uint8)
    write_segments(tmp_path / "s", labels, volume)
    np.testing.assert_array_equal(read_segments(tmp_path / "s", volume, None, "a"), labels)


def test_frames_on_neither_are_refused(tmp_path: Path) -> None:
    scan, other = Scan(UNEVEN), Scan(UNEVEN + 0.6 * (np.arange(9) == 3))
    mask = cylinder(scan.centres())
    scan.write(tmp_path / "scan", 0 * mask)
    volume, _ = opened(tmp_path / "scan")
    uids = {
        keyword: volume.header[keyword].value
        for keyword in ("FrameOfReferenceUID", "SeriesInstanceUID", "StudyInstanceUID")
    }
    paths = other.write(tmp_path / "other", 0 * mask)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.update(uids)
        dataset.save_as(path)
    path = write_masks(tmp_path / "s", paths, {"A": mask})
    with pytest.raises(GridMismatchError, match="lies on another grid than the image"):
        read_segments(path, volume, None, "a")


def uneven_volume() -> DicomVolume:
    """Four slices at 0, 3, 4.5 and 9 mm on a grid of 3 mm."""
    found = regular_volume()
    found.header.Columns, found.header.Rows = SHAPE[:2]
    plan = Resampling((0.0, 3.0, 4.5, 9.0), ((0.0, 0.0),) * 4, (0, 0), SHAPE, 3.0)
    return replace(found, resampling=plan)


def test_sources_do_not_stand_for_slices_of_the_grid(tmp_path: Path) -> None:
    """The third slice that was measured is not the third one of the grid."""
    moved = AFFINE.copy()
    moved[2, 3] += 0.05 * 3
    mask = np.ones(SHAPE, np.uint8)
    path = write_frames(tmp_path / "s", {1: mask}, moved, sources=True)
    with pytest.raises(GridMismatchError, match="another grid"):
        read_segments(path, uneven_volume(), None, "a")
    path = write_frames(tmp_path / "t", {1: mask}, sources=True)
    np.testing.assert_array_equal(read_segments(path, uneven_volume(), None, "a"), mask)


def test_distances_of_uneven_slices_prove_nothing(tmp_path: Path) -> None:
    """Frames 4.5 mm apart on the first and the third slice, although the grid has 3 mm."""
    mask = np.ones((*SHAPE[:2], 2), np.uint8)
    path = write_frames(tmp_path / "s", {1: mask}, AFFINE @ np.diag([1, 1, 1.5, 1]))
    labels = read_segments(path, uneven_volume(), None, "a")
    # at 3 mm lies an empty slice, at 6 mm a third of the way from a full one to an empty one
    assert labels.all(axis=(0, 1)).tolist() == [True, False, True, False]
    assert labels.any(axis=(0, 1)).tolist() == [True, False, True, False]
