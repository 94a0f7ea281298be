"""Image -> prediction -> file -> read again: every format, every orientation, by two readers.

A DICOM series knows no left-handed order of its voxels: its slices are counted along row x column.
Where the array is left-handed, the same files are therefore a volume whose third axis runs the
other way, and the prediction lies on that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.data_loading.interfaces.itk import ITKInterface

from .dicom_series import write_series

SHAPE = (7, 6, 5)
CLASSES = 4
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TOLERANCE = 1e-4  # mm
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
TURNS = {
    "straight": Rotation.identity(),
    "oblique": Rotation.from_euler("xy", (20, 30), degrees=True),
}
SPACINGS = {"isotropic": (1.1, 1.1, 1.1), "anisotropic": (0.7, 0.9, 3.3)}
# One that is left-handed and one that is not, both not those of any common scan.
FEW = [((1, 2, 0), (-1, 1, 1)), ((0, 2, 1), (1, 1, 1)), ((0, 1, 2), (-1, -1, 1))]


def grids(order: tuple[int, ...], signs: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Return affines (RAS+): straight and oblique, isotropic and anisotropic."""
    result = []
    for turn, spacing in itertools.product(TURNS.values(), SPACINGS.values()):
        affine = np.eye(4)
        axes = np.eye(3)[:, list(order)] * signs
        affine[:3, :3] = turn.as_matrix() @ axes @ np.diag(spacing)
        affine[:3, 3] = (-101.3, 55.7, 12.1)
        result.append(affine)
    return result


def letters(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    return "".join(nib.aff2axcodes(grids(order, signs)[0]))


def some_voxels(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """All corners, and some between them."""
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in shape])))
    return np.vstack([corners, np.random.default_rng(5).integers(0, shape, (6, 3))])


def check_points(image: sitk.Image, affine: NDArray) -> None:
    """Compare where SimpleITK and an affine (RAS+) put voxels."""
    for voxel in some_voxels(image.GetSize()):
        theirs = image.TransformIndexToPhysicalPoint([int(n) for n in voxel])
        ours = (LPS @ affine @ [*voxel, 1.0])[:3]
        assert np.linalg.norm(np.asarray(theirs) - ours) < TOLERANCE


def predict(
    interface: DataInterface, folder: Path, image: NDArray, affine: NDArray
) -> tuple[Path, NDArray[np.uint8], NDArray[np.float64]]:
    """Load the subject, predict noise, save it, and read it back; return file, labels, affine."""
    data_io = DataIO(interface, folder / "in", output_path=folder / "out")
    (index,) = data_io.indices_list
    sample = data_io.sample_loader(index, load_seg=False)
    np.testing.assert_array_equal(sample.image[..., 0], image)
    np.testing.assert_allclose(sample.geometry.affine, affine, rtol=0, atol=TOLERANCE / 10)
    labels = np.random.default_rng(3).integers(0, CLASSES, image.shape).astype(np.uint8)
    sample.add_prediction(labels)
    path = data_io.save_prediction(sample)
    assert path is not None
    np.testing.assert_array_equal(data_io.load_prediction(index), labels)
    return path, labels, sample.geometry.affine


def some_image() -> NDArray[np.int16]:
    return np.random.default_rng(2).integers(-1000, 1000, SHAPE).astype(np.int16)


def nifti(folder: Path, affine: NDArray) -> None:
    image = some_image()
    source = nib.Nifti1Image(image, affine)
    source.set_qform(affine, 1)
    source.set_sform(affine, 1)
    (folder / "in").mkdir(parents=True)
    nib.save(source, folder / "in" / "a.nii.gz")
    interface = NIfTIInterface(classes=CLASSES, image="*.nii.gz")
    path, labels, _ = predict(interface, folder, image, affine)
    before, after = nib.load(folder / "in" / "a.nii.gz"), nib.load(path)
    assert before.affine.tobytes() == after.affine.tobytes()
    for name in ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "pixdim"):
        assert before.header[name].tobytes() == after.header[name].tobytes(), name
    independent = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(independent).T, labels)
    check_points(independent, after.affine)


def itk(folder: Path, affine: NDArray, ending: str) -> None:
    image = some_image()
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    source = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    source.SetSpacing(spacing.tolist())
    source.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    source.SetOrigin(lps[:3, 3].tolist())
    (folder / "in").mkdir(parents=True)
    sitk.WriteImage(source, str(folder / "in" / f"a{ending}"))
    interface = ITKInterface(classes=CLASSES, image=f"*{ending}")
    path, labels, ours = predict(interface, folder, image, affine)
    before = sitk.ReadImage(str(folder / "in" / f"a{ending}"))
    after = sitk.ReadImage(str(path))
    for name in ("GetDirection", "GetSpacing", "GetOrigin", "GetSize"):
        assert getattr(before, name)() == getattr(after, name)(), name
    lines = grid_lines(folder / "in" / f"a{ending}")
    assert lines == grid_lines(path)
    assert len(lines) == (2 if ending == ".nrrd" else 3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after).T, labels)
    check_points(after, ours)
    sitk.WriteImage(after, str(folder / "copy.nii"))
    copy = nib.load(folder / "copy.nii")
    np.testing.assert_array_equal(np.asarray(copy.dataobj), labels)
    check_points(after, copy.affine)


def grid_lines(path: Path) -> list[bytes]:
    """Return what the text of an NRRD or MetaImage header says of the grid, as it stands there."""
    named = (b"space directions:", b"space origin:", b"TransformMatrix", b"Offset", b"ElementSpac")
    return sorted(x for x in path.read_bytes()[:2000].split(b"\n") if x.startswith(named))


def dicom(folder: Path, affine: NDArray, output: str) -> None:
    image = some_image()
    files = write_series(folder / "in" / "a" / "series", image, affine)
    if np.linalg.det(affine[:3, :3]) < 0:
        files.reverse()
        image = image[:, :, ::-1]
        turned = np.diag([1.0, 1.0, -1.0, 1.0])
        turned[2, 3] = image.shape[2] - 1
        affine = affine @ turned
    interface = DICOMInterface(classes=CLASSES, output=output)
    path, labels, ours = predict(interface, folder, image, affine)
    independent = sitk.ReadImage([str(file) for file in files])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(independent).T, image)
    check_points(independent, ours)
    if output == "dicom-seg":
        np.testing.assert_array_equal(by_highdicom(path, affine), labels)
    else:
        filled = by_matplotlib(path, affine)
        for label in range(CLASSES):
            ours_, theirs = labels == label, filled == label
            assert 2 * (ours_ & theirs).sum() / (ours_.sum() + theirs.sum()) >= 0.99
    header = nib.Nifti1Image(labels, affine)  # the grid as nibabel counts it
    check_points(independent, header.affine)


def by_highdicom(path: Path, affine: NDArray) -> NDArray[np.int64]:
    """Read a segmentation as a volume of highdicom's, and put it by its own affine."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    to_index = np.linalg.inv(LPS @ affine) @ volume.affine
    np.testing.assert_allclose(to_index, np.rint(to_index), atol=1e-5)
    theirs = np.argwhere(np.ones(volume.spatial_shape))
    index = np.rint(theirs @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.int64)
    result = np.zeros(SHAPE, dtype=np.int64)
    result[tuple(index.T)] = volume.array.reshape(-1)
    return result


def by_matplotlib(path: Path, affine: NDArray) -> NDArray[np.int64]:
    """Fill contours by the even-odd rule with code that shares nothing with the library's."""
    result = np.zeros(SHAPE, dtype=np.int64)
    to_index = np.linalg.inv(LPS @ affine)
    centres = np.argwhere(np.ones(SHAPE[:2]))
    for roi in pydicom.dcmread(path).ROIContourSequence:
        crossed = np.zeros(SHAPE, dtype=np.int64)
        for contour in roi.ContourSequence:
            points = np.array([float(p) for p in contour.ContourData]).reshape(-1, 3)
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            k = round(float(index[0, 2]))
            np.testing.assert_allclose(index[:, 2], k, atol=1e-3)
            outline = Polygon(np.vstack([index[:, :2], index[:1, :2]]), closed=True)
            crossed[:, :, k] += outline.contains_points(centres).reshape(SHAPE[:2])
        result[crossed % 2 == 1] = roi.ReferencedROINumber
    return result


FORMATS: dict[str, Callable[[Path, NDArray], None]] = {
    "NIfTI": nifti,
    "NRRD": lambda folder, affine: itk(folder, affine, ".nrrd"),
    "MHA": lambda folder, affine: itk(folder, affine, ".mha"),
    "DICOM-SEG": lambda folder, affine: dicom(folder, affine, "dicom-seg"),
    "RTSTRUCT": lambda folder, affine: dicom(folder, affine, "rtstruct"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("order", "signs"), FEW, ids=[letters(*o) for o in FEW])
def test_some_grids(
    name: str, order: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    for number in (0, 3):  # straight and isotropic, oblique and anisotropic
        FORMATS[name](tmp_path / str(number), grids(order, signs)[number])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS, ids=[letters(*o) for o in ORIENTATIONS])
def test_all_48_orientations(
    name: str, order: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    for number, affine in enumerate(grids(order, signs)):
        FORMATS[name](tmp_path / str(number), affine)


def test_the_grids_are_all_there_are() -> None:
    """48 orientations, half of them left-handed, and four grids each."""
    directions = {letters(*orientation) for orientation in ORIENTATIONS}
    assert len(directions) == 48
    signs = [np.sign(np.linalg.det(grids(*o)[3][:3, :3])) for o in ORIENTATIONS]
    assert sum(signs) == 0
