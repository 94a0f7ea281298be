"""DICOM-SEG files read onto the grid of an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from miscnn.data_loading.dicom._references import SEGMENTATIONS, referenced
from miscnn.data_loading.dicom.combinations import combination_classes
from miscnn.data_loading.dicom.segments import Segment, read_segments, segment_names
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.dicom.volume import DicomVolume, SourceFrame
from miscnn.exceptions import GridMismatchError, LabelError, UnreadableFileError

FRAME = "1.2.3.4.5"
SHAPE = (7, 5, 4)
AFFINE = np.array([[-0.8, 0, 0, 30], [0, -1.25, 0, 20], [0, 0, 3, -100], [0, 0, 0, 1.0]])
PATIENT = "Mustermann^Erika"


def volume(affine: NDArray[np.float64] = AFFINE, shape: Any = SHAPE) -> DicomVolume:
    header = Dataset()
    header.FrameOfReferenceUID, header.SeriesInstanceUID = FRAME, "1.2.3.4.6"
    frames = tuple(
        SourceFrame(Path(f"{k}.dcm"), None, f"1.2.3.5.{k}", "1.2") for k in range(shape[2])
    )
    return DicomVolume(shape, affine, frames, "CT", header)


def orient(array: NDArray[Any], affine: NDArray[np.float64], how: str) -> tuple[Any, Any]:
    """Permute and flip the axes of an array, and its affine with it: ``"-y x -z"``."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    axes, flips = [], []
    for new, name in enumerate(how.split()):
        old = "xyz".index(name[-1])
        axes.append(old)
        if name[0] == "-":
            flips.append(new)
            matrix[old, new], matrix[old, 3] = -1, array.shape[old] - 1
        else:
            matrix[old, new] = 1
    return np.flip(array.transpose(axes), flips), affine @ matrix


def write(
    path: Path,
    masks: dict[int, NDArray[Any]],
    affine: NDArray[np.float64] = AFFINE,
    kind: str = "BINARY",
    positions: bool = True,
    sources: bool = False,
    order: Sequence[int] | None = None,
    names: dict[int, str] | None = None,
    keep_empty: bool = False,
    rle: bool = False,
    **overrides: Any,
) -> Path:
    """Write masks ``(x, y, z)`` (of a label map: one array under 0) plane for plane."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    dataset = Dataset()
    dataset.SOPClassUID = SEGMENTATIONS[kind == "LABELMAP"]
    dataset.SOPInstanceUID, dataset.Modality, dataset.SegmentationType = "1.2.3.9", "SEG", kind
    dataset.PatientName, dataset.FrameOfReferenceUID = PATIENT, FRAME
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [
        f"{v:.12g}" for v in (lps[:3, :2] / spacing[:2]).T.ravel()
    ]
    measures.PixelSpacing = [f"{spacing[1]:.12g}", f"{spacing[0]:.12g}"]
    measures.SpacingBetweenSlices = f"{spacing[2]:.12g}"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.SegmentSequence = []
    names = names or {n: f"structure {n}" for n in masks}
    for number, name in names.items():
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        dataset.SegmentSequence.append(segment)
    listed = []
    for number, mask in masks.items():
        for k in range(mask.shape[2]):
            if not keep_empty and not mask[..., k].any():
                continue
            group, at, segment, derivation, source = (Dataset() for _ in range(5))
            at.ImagePositionPatient = [f"{v:.12g}" for v in lps[:3, 3] + k * lps[:3, 2]]
            segment.ReferencedSegmentNumber = number
            source.ReferencedSOPInstanceUID = f"1.2.3.5.{k}"
            derivation.SourceImageSequence = [source]
            if positions:
                group.PlanePositionSequence = [at]
            if sources:
                group.DerivationImageSequence = [derivation]
            if kind != "LABELMAP":
                group.SegmentIdentificationSequence = [segment]
            listed.append((group, np.ascontiguousarray(mask[..., k].T)))
    listed = [listed[i] for i in order or range(len(listed))]
    dataset.PerFrameFunctionalGroupsSequence = [group for group, _ in listed]
    frames = np.stack([frame for _, frame in listed])
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelRepresentation = 0
    bits = 1 if kind == "BINARY" else 8 * frames.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue = 200
    raw = np.packbits(frames.ravel() != 0, bitorder="little") if bits == 1 else frames
    content = raw.tobytes()
    dataset.PixelData = content + bytes(len(content) % 2)
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if rle:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for name, value in overrides.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def masks(rng: np.random.Generator) -> dict[int, NDArray[np.uint8]]:
    """Two segments without common voxels, with empty slices and a gap between the numbers."""
    values = rng.integers(0, 3, SHAPE)
    result = {2: (values == 1).astype(np.uint8), 7: (values == 2).astype(np.uint8)}
    result[2][..., 1] = 0
    result[7][..., 3] = 0
    return result


def expected(masks: dict[int, NDArray[np.uint8]]) -> NDArray[Any]:
    return sum(number * mask for number, mask in masks.items())  # type: ignore[return-value]


@pytest.mark.parametrize("order", [None, [5, 0, 3, 1, 4, 2]])
@pytest.mark.parametrize(("positions", "sources"), [(True, False), (False, True), (True, True)])
def test_sparse_segments_in_any_order(
    tmp_path: Path, masks: Any, order: list[int] | None, positions: bool, sources: bool
) -> None:
    path = write(tmp_path / "s", masks, order=order, positions=positions, sources=sources)
    labels = read_segments(path, volume(), None, "a")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected(masks))
    names = {"structure 7": 1, 2: 3}
    np.testing.assert_array_equal(
        read_segments(path, volume(), names, "a"), masks[7] + 3 * masks[2]
    )
    for structures in ({"STRUCTURE*": 1}, {"2": 1, "7": 1}):
        np.testing.assert_array_equal(
            read_segments(path, volume(), structures, "a"), masks[7] | masks[2]
        )
    assert segment_names(path) == [
        Segment(2, "structure 2", None, None),
        Segment(7, "structure 7", None, None),
    ]
    with pytest.raises(LabelError, match="names 'liver', 3, but the file has the segments 'struc"):
        read_segments(path, volume(), {"liver": 1, 3: 2}, "a")


@pytest.mark.parametrize(
    "how", ["x y z", "-x y z", "x -y -z", "y x z", "-y x -z", "z y x", "-y -z x", "z -x -y"]
)
def test_turned_and_flipped_grids(tmp_path: Path, masks: Any, how: str) -> None:
    turned = {number: orient(mask, AFFINE, how)[0] for number, mask in masks.items()}
    affine = orient(masks[2], AFFINE, how)[1]
    path = write(tmp_path / "s", turned, affine)
    np.testing.assert_array_equal(read_segments(path, volume(), None, "a"), expected(masks))


@pytest.mark.parametrize("how", ["x y z", "-y x -z", "z -x y"])
def test_another_extent(
    tmp_path: Path, masks: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    larger, affine = np.zeros((10, 9, 8), dtype=np.uint8), AFFINE.copy()
    larger[2:9, 3:8, 1:5] = masks[2]
    affine[:3, 3] -= AFFINE[:3, :3] @ (2, 3, 1)
    larger[:2] = 1
    turned, turned_affine = orient(larger, affine, how)
    path = write(tmp_path / "s", {2: turned}, turned_affine)
    with caplog.at_level(logging.WARNING):
        labels = read_segments(path, volume(), None, "a")
    np.testing.assert_array_equal(labels, 2 * masks[2])
    outside = int(np.count_nonzero(larger) - np.count_nonzero(masks[2]))
    assert f"{outside} voxels of segments lie outside the image" in caplog.text
    cut = masks[7][1:4, 2:, 1:3]
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ (1, 2, 1)
    turned, turned_affine = orient(cut, moved, how)
    path = write(tmp_path / "t", {7: turned}, turned_affine)
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[1:4, 2:, 1:3] = cut
    np.testing.assert_array_equal(read_segments(path, volume(), {7: 1}, "a"), whole)


def test_other_grids_are_refused_with_the_numbers(tmp_path: Path, masks: Any) -> None:
    def refused(affine: NDArray[np.float64], match: str) -> None:
        path = write(tmp_path / "s", masks, affine)
        with pytest.raises(GridMismatchError, match=match):
            read_segments(path, volume(), None, "a")

    refused(AFFINE * [2, 1, 1, 1], r"pixels of 1.6 x 1.25 mm, voxels of 0.8 x 1.25 x 3 mm")
    refused(AFFINE * [1.003, 1, 1, 1], r"centres differ by up to 0.018 voxels")
    refused(AFFINE * [1, 1, 2, 1], "slices 6 mm apart, but those of the image 3 mm")
    refused(AFFINE * [1, 1, 0.5, 1], "centres differ by up to 0.5 voxels")
    shifted = AFFINE.copy()
    shifted[1, 3] += 0.02 * 1.25
    refused(shifted, r"centres differ by up to 0.02 voxels; expected at most 0.01")
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    refused(turn @ AFFINE, "another grid")
    shifted[1, 3] = AFFINE[1, 3] + 0.005 * 1.25
    path = write(tmp_path / "s", masks, shifted)
    np.testing.assert_array_equal(read_segments(path, volume(), None, "a"), expected(masks))


def test_slices_that_wander_a_little_are_known_by_their_sources(tmp_path: Path, masks: Any) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 0.05 * 3
    path = write(tmp_path / "s", masks, moved, sources=True)
    np.testing.assert_array_equal(read_segments(path, volume(), None, "a"), expected(masks))
    path = write(tmp_path / "t", masks, moved)
    with pytest.raises(GridMismatchError, match=r"up to 0.05 voxels"):
        read_segments(path, volume(), None, "a")


@pytest.mark.parametrize("rle", [False, True])
def test_fractions_of_at_least_a_half_belong(tmp_path: Path, rle: bool) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[:6, 0, 2] = [0, 1, 99, 100, 101, 200]  # of 200
    path = write(tmp_path / "s", {1: values}, kind="FRACTIONAL", rle=rle)
    labels = read_segments(path, volume(), None, "a")
    assert labels[:6, 0, 2].tolist() == [0, 0, 0, 1, 1, 1]
    assert labels.sum() == 3


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_maps(tmp_path: Path, rng: np.random.Generator, rle: bool, dtype: Any) -> None:
    top = 9 if dtype == np.uint8 else 3000
    values = rng.choice(np.array([0, 1, 5, top]), SHAPE).astype(dtype)
    names = {0: "Background", 1: "one", 5: "five", top: "top"}
    path = write(tmp_path / "s", {0: values}, kind="LABELMAP", names=names, rle=rle)
    labels = read_segments(path, volume(), None, "a")
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels, values)
    chosen = read_segments(path, volume(), {"Background": 0, "five": 2, "top": 1}, "a")
    np.testing.assert_array_equal(chosen, np.where(values == 5, 2, values == top))
    del names[5]
    path = write(tmp_path / "t", {0: values}, kind="LABELMAP", names=names, rle=rle)
    with pytest.raises(UnreadableFileError, match="holds the value 5, which SegmentSequence does"):
        read_segments(path, volume(), None, "a")
    path = write(
        *(tmp_path / "p", {0: values}), kind="LABELMAP", names=names, rle=rle, PixelPaddingValue=5
    )
    np.testing.assert_array_equal(
        read_segments(path, volume(), None, "a"), np.where(values == 5, 0, values)
    )


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"Rows": 6}, "6 frames of 6 x 7 pixels with 1 bits take 32 bytes, but PixelData has 28"),
        ({"Rows": 65535, "Columns": 65535}, "but PixelData has 28"),
        ({"NumberOfFrames": 2147483647}, "but PixelData has 28"),
        ({"NumberOfFrames": 0}, "NumberOfFrames is 0, expected a whole number from 1"),
        ({"NumberOfFrames": None}, "NumberOfFrames is missing"),
        ({"BitsAllocated": 32}, "BitsAllocated is 32"),
        ({"PixelData": None}, "PixelData is missing"),
        ({"PixelData": b"\0" * 8}, "take 27 bytes, but PixelData has 8"),
        ({"PerFrameFunctionalGroupsSequence": None}, "functional groups tell of 1"),
        ({"SegmentSequence": None}, "SegmentSequence is missing"),
        ({"SegmentationType": "SURFACE"}, "SegmentationType is none of BINARY, FRACTIONAL, LAB"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "expected a DICOM segmentation"),
        ({"SamplesPerPixel": 3}, "it has colours"),
    ],
)
def test_broken_files_are_refused(
    tmp_path: Path, masks: Any, overrides: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "s", masks, **overrides)
    with pytest.raises(UnreadableFileError, match=reason) as caught:
        read_segments(path, volume(), None, "a")
    assert PATIENT not in str(caught.value)


def test_frames_that_say_nothing_or_twice_the_same(tmp_path: Path, masks: Any) -> None:
    path = write(tmp_path / "s", masks, positions=False)
    with pytest.raises(UnreadableFileError, match="frame 1 does not say where it lies"):
        read_segments(path, volume(), None, "a")
    path = write(tmp_path / "t", masks, positions=False, sources=True)
    other = replace(volume(), frames=())
    with pytest.raises(UnreadableFileError, match="names 0 slices of this image as its source"):
        read_segments(path, other, None, "a")
    path = write(tmp_path / "u", masks, order=[0, 1, 1])
    with pytest.raises(UnreadableFileError, match="two frames of one segment"):
        read_segments(path, volume(), None, "a")
    path = write(tmp_path / "v", masks, names={2: "two"})
    with pytest.raises(UnreadableFileError, match="frame 4 belongs to segment 7"):
        read_segments(path, volume(), None, "a")


def test_truncated_and_changed_files_are_refused_or_read(tmp_path: Path, masks: Any) -> None:
    path = write(tmp_path / "s", masks)
    content = path.read_bytes()
    begin = content.rindex(SEGMENTATIONS[0].encode())
    rng = np.random.default_rng(0)
    outcomes, messages = set(), []
    for turn in range(300):
        broken = bytearray(content)
        if turn % 3 == 0:
            broken = broken[: int(rng.integers(begin + 1, len(broken)))]
        for place in rng.integers(begin, len(broken), 4):
            broken[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(broken))
        try:
            read_segments(path, volume(), None, "a", "last")
            outcomes.add("read")
        except (UnreadableFileError, GridMismatchError) as error:
            messages.append(str(error))
            outcomes.add(type(error).__name__)
    assert {"read", "UnreadableFileError"} <= outcomes
    assert PATIENT not in " ".join(messages)


def nrrd(path: Path, grid: DicomVolume) -> NDArray[Any]:
    """Read a truth by SimpleITK; bring it onto the grid by its own header."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    lps = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    lps[:3, :3], lps[:3, 3] = direction * image.GetSpacing(), image.GetOrigin()
    np.testing.assert_allclose(np.diag([-1.0, -1, 1, 1]) @ lps, grid.affine, atol=1e-4)
    return array


def opened(folder: Path) -> DicomVolume:
    return find_series(folder)[0].open()


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["23x38x3", "24x38x3"])
@pytest.mark.parametrize("images", ["image", "multiframe"])
def test_slices_that_do_not_fill_whole_bytes(real_data: Path, case: str, images: str) -> None:
    folder = real_data / "dicom_seg" / case
    grid = opened(folder / images)
    path = folder / "seg" / "label.seg"
    truth = nrrd(folder / "nrrd" / "label.nrrd", grid)
    assert truth.sum() in (315, 322)
    np.testing.assert_array_equal(read_segments(path, grid, {"Liver": 1}, "a"), truth)
    [segment] = segment_names(path)
    assert (segment.number, segment.label, segment.type) == (
        *(1, "Liver"),
        ("T-62000", "SRT", "Liver"),
    )


@pytest.mark.realdata
def test_a_segmentation_of_another_patient_is_refused(real_data: Path) -> None:
    folder = real_data / "dicom_seg"
    grid = opened(folder / "ct-3slice")
    with pytest.raises(GridMismatchError, match="another frame of reference"):
        read_segments(folder / "24x38x3" / "seg" / "label.seg", grid, None, "a")


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "padding"), [("noppv", None), ("ppv5", 5)])
def test_sparse_label_maps(real_data: Path, name: str, padding: int | None) -> None:
    folder = real_data / "dicom_seg"
    grid = opened(folder / "24x38x3" / "image")
    path = folder / f"sparse-labelmap-{name}.dcm"
    labels = read_segments(path, grid, None, "a")
    truth = nrrd(folder / f"sparse_labelmap_{name}_seg.nrrd", grid)
    # In the truth the slice that was left out is filled with the padding value: background here.
    assert np.count_nonzero(truth == 1) == 630
    assert (truth[..., 1] == (padding or 0)).all()
    np.testing.assert_array_equal(labels, np.where(truth == padding, 0, truth))
    assert [s.label for s in segment_names(path)] == ["Background", "Liver"]
    found = referenced(path)
    assert found.series_instance_uid == str(grid.header.SeriesInstanceUID)
    assert len(found.sop_instance_uids) == 2


@pytest.mark.realdata
def test_a_sparse_label_map_is_placed_by_its_sources(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom_seg"
    grid = opened(folder / "24x38x3" / "image")
    dataset = pydicom.dcmread(folder / "sparse-labelmap-noppv.dcm")
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    dataset.save_as(tmp_path / "s.dcm")
    truth = nrrd(folder / "sparse_labelmap_noppv_seg.nrrd", grid)
    np.testing.assert_array_equal(read_segments(tmp_path / "s.dcm", grid, None, "a"), truth)


@pytest.mark.realdata
def test_a_liver(real_data: Path) -> None:
    folder = real_data / "dicom_seg"
    grid = opened(folder / "ct-3slice")
    truth = nrrd(folder / "liver_seg.nrrd", grid)
    assert truth.sum() == 107_098
    np.testing.assert_array_equal(read_segments(folder / "liver.dcm", grid, None, "a"), truth)


@pytest.mark.realdata
def test_partial_overlaps(real_data: Path) -> None:
    folder = real_data / "dicom_seg"
    grid = opened(folder / "ct-3slice")
    path = folder / "partial_overlaps.dcm"
    truth = np.stack([nrrd(folder / f"partial_overlaps-{i}.nrrd", grid) for i in (1, 2, 3)])
    with pytest.raises(LabelError, match=r"'GREEN' .* and 'ORANGE' .* share 3017 voxels"):
        read_segments(path, grid, None, "a")
    labels = read_segments(path, grid, None, "a", "combinations")
    for number in range(1, 6):
        region = np.any(truth == number, axis=0)
        alone = read_segments(path, grid, {number: 1}, "a")
        np.testing.assert_array_equal(alone, region)
        values = [
            v for v in np.unique(labels) if number in combination_classes(int(v), range(1, 6))
        ]
        np.testing.assert_array_equal(np.isin(labels, values), region)
    last = np.select([(truth == n).any(axis=0) for n in (5, 4, 3, 2, 1)], [5, 4, 3, 2, 1])
    np.testing.assert_array_equal(read_segments(path, grid, None, "a", "last"), last)
