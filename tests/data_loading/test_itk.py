"""NRRD, MetaImage, GIPL and Analyze: voxels, grids, predictions, and hostile headers."""

from __future__ import annotations

import bz2
import gc
import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.itk import ITKInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    GridMismatchError,
    MissingFileError,
    UnreadableFileError,
)

sitk = pytest.importorskip("SimpleITK")

AXES = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def image_of(
    array: NDArray,
    spacing: tuple = (0.7, 0.9, 3.3),
    origin: tuple = (-101.3, 55.7, 12.1),
    direction: NDArray | None = None,
    vector: bool = False,
) -> sitk.Image:
    """Make SimpleITK's image of an array (x, y, z[, c])."""
    n = len(spacing)
    image = sitk.GetImageFromArray(
        array.transpose(*reversed(range(n)), *range(n, array.ndim)), isVector=vector
    )
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(tuple(np.ravel(direction)))
    return image


def array_of(image: sitk.Image) -> NDArray:
    array = sitk.GetArrayFromImage(image)
    n = image.GetDimension()
    return array.transpose(*reversed(range(n)), *range(n, array.ndim))


def grid_of(path: Path) -> tuple:
    image = sitk.ReadImage(str(path))
    n = image.GetDimension()
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), n


def round_trip(tmp_path: Path, ending: str, direction: NDArray) -> None:
    rng = np.random.default_rng(3)
    array = rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    labels = (array > 0).astype(np.uint8)
    image = image_of(array, direction=direction)
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(path))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    interface = ITKInterface(image=f"*{ending}")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image[..., 0], array)
    assert sample.image.dtype == np.int16
    corners = np.array([*itertools.product((0, 3), (0, 4), (0, 5))], float)
    points = nib.affines.apply_affine(sample.geometry.affine, corners)
    independent = nib.affines.apply_affine(nib.load(tmp_path / "a.nii").affine, corners)
    np.testing.assert_allclose(points, independent, atol=1e-4)
    assert data_io.geometry("a") == sample.geometry
    sample.add_prediction(labels)
    written = data_io.save_prediction(sample)
    assert written is not None
    assert grid_of(written) == grid_of(path)  # bit by bit
    np.testing.assert_array_equal(array_of(sitk.ReadImage(str(written))), labels)
    back = interface.load_prediction("a", tmp_path / "out")
    np.testing.assert_array_equal(back, labels)
    assert back.dtype == np.uint8


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_all_48_orientations(ending: str, tmp_path: Path) -> None:
    for order, signs in AXES:
        round_trip(tmp_path, ending, np.diag(signs)[:, list(order)].astype(float))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    axes=st.sampled_from(AXES),
    ending=st.sampled_from([".nrrd", ".mha"]),
)
def test_oblique_grids(turn: tuple, axes: tuple, ending: str, tmp_path: Path) -> None:
    direction = Rotation.from_rotvec(turn).as_matrix() @ np.diag(axes[1])[:, list(axes[0])]
    round_trip(tmp_path, ending, direction)


@pytest.mark.parametrize("ending", [".gipl", ".gipl.gz"])
def test_gipl(ending: str, tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    sitk.WriteImage(image_of(array, (0.75, 1.5, 3.0)), str(tmp_path / f"a{ending}"))
    interface = ITKInterface(image=f"*{ending}")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image[..., 0], array)
    assert sample.spacing == (0.75, 1.5, 3.0)
    np.testing.assert_allclose(sample.geometry.affine[:3, 3], (101.3, -55.7, 12.1))
    sample.add_prediction(array % 3)
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out" / "a.gipl.gz"
    assert grid_of(written) == grid_of(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(data_io.load_prediction("a"), array % 3)
    assert any(remark[1] == "orientation" for remark in interface.remarks("a", sample.details))
    sample.add_prediction(np.full((4, 5, 6, 2), 0.5, np.float32), activation_output=True)
    assert data_io.save_prediction(sample) == tmp_path / "out" / "a.nrrd"
    assert data_io.load_prediction("a").shape == (4, 5, 6, 2)


def test_analyze(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.AnalyzeImage(array, np.diag([1.5, 2, 3, 1.0])), tmp_path / "a.hdr")
    interface = ITKInterface(classes=300, image="*.hdr")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image[..., 0], array)
    assert sample.geometry.orientation == "LPS"
    assert sample.spacing == (1.5, 2, 3)
    (remark,) = interface.remarks("a", sample.details)
    assert "left and right" in remark[2]
    sample.add_prediction(array % 300)
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out" / "a.hdr"
    independent = nib.load(written)
    np.testing.assert_array_equal(np.asarray(independent.dataobj), array % 300)
    assert independent.header.get_zooms() == (1.5, 2, 3)
    np.testing.assert_array_equal(data_io.load_prediction("a"), array % 300)
    assert interface.source_files("a") == [tmp_path / "a.hdr", tmp_path / "a.img"]
    (tmp_path / "a.img").write_bytes(b"\0" * 100)
    with pytest.raises(UnreadableFileError, match="240 bytes, but the file has 100"):
        interface.load_image("a")
    (tmp_path / "a.img").unlink()
    with pytest.raises(MissingFileError):
        interface.load_image("a")


def test_analyze_of_the_other_byte_order_and_in_colour(tmp_path: Path) -> None:
    array = np.arange(120, dtype=">f4").reshape(4, 5, 6)
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(array.dtype)
    nib.save(nib.AnalyzeImage(array, np.eye(4), header), tmp_path / "a.hdr")
    assert int.from_bytes((tmp_path / "a.hdr").read_bytes()[:4], "big") == 348
    interface = ITKInterface(image="*.hdr")
    interface.initialize(tmp_path)
    image, _ = interface.load_image("a")
    np.testing.assert_array_equal(image, array)
    assert image.dtype == np.float32
    assert image.dtype.isnative


def test_two_files_of_nifti_are_told_apart(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.hdr")
    interface = ITKInterface(image="*.hdr")
    interface.initialize(tmp_path)
    with pytest.raises(UnreadableFileError, match=r"convert it to one \.nii\.gz"):
        interface.load_image("a")


def test_voxels_are_not_copied_and_outlive_the_image(tmp_path: Path) -> None:
    array = np.arange(60 * 50 * 40, dtype=np.int32).reshape(60, 50, 40)
    sitk.WriteImage(image_of(array), str(tmp_path / "a.nrrd"))
    interface = ITKInterface(image="*")
    interface.initialize(tmp_path)
    image, _ = interface.load_image("a")
    assert not image.flags.owndata
    gc.collect()
    junk = [np.full(array.shape, 7, np.int32) for _ in range(20)]
    np.testing.assert_array_equal(image, array)
    image[0, 0, 0] = 5  # belongs to the caller
    assert len(junk) == 20


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_vectors_are_channels_and_probabilities(ending: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(4, 5, 6, 3)).astype(np.float32)
    sitk.WriteImage(image_of(array, vector=True), str(tmp_path / f"a{ending}"))
    interface = ITKInterface(channels=3, image=f"*{ending}")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image, array)
    sample.add_prediction(array[..., :2], activation_output=True)
    written = data_io.save_prediction(sample)
    np.testing.assert_array_equal(array_of(sitk.ReadImage(str(written))), array[..., :2])
    assert grid_of(written)[1:] == grid_of(tmp_path / f"a{ending}")[1:]
    back = data_io.load_prediction("a")
    np.testing.assert_array_equal(back, array[..., :2])
    assert back.dtype == np.float32


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_two_dimensions(ending: str, tmp_path: Path) -> None:
    array = np.arange(30, dtype=np.uint16).reshape(5, 6)
    image = image_of(array, (0.5, 0.25), (3.0, 4.0))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    interface = ITKInterface(three_dim=False, image=f"*{ending}")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image[..., 0], array)
    assert sample.spacing == (0.5, 0.25)
    sample.add_prediction(array % 2)
    written = data_io.save_prediction(sample)
    assert grid_of(written) == grid_of(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(data_io.load_prediction("a"), array % 2)


def test_a_fourth_axis_is_channels(tmp_path: Path) -> None:
    array = np.arange(4 * 5 * 6 * 2, dtype=np.int16).reshape((4, 5, 6, 2), order="F")
    header = (
        "NRRD0004\ntype: short\ndimension: 4\nsizes: 4 5 6 2\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + array.tobytes(order="F"))
    interface = ITKInterface(channels=2, image="*")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image, array)
    sample.add_prediction(array[..., 0] % 2)
    written = data_io.save_prediction(sample)
    assert grid_of(written)[1:4] == ((1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


NRRD = (
    "NRRD0005\n# comment\ntype: short\ndimension: 3\n{space}sizes: 2 3 4\nendian: little\n"
    "encoding: raw\nspace directions: (0.1,0.2,0) (-0.3,0.1,0) (0,0,3)\nspace origin: (1,2,3)\n"
    "patient:=Doe^Jane\n\n"
)


@pytest.mark.parametrize(
    ("space", "flip", "told"),
    [
        ("space: left-posterior-superior\n", (-1, -1), False),
        ("space: RAS\n", (1, 1), False),
        ("space: left-anterior-superior\n", (-1, 1), False),
        ("space: scanner-xyz\n", (-1, -1), True),
        ("space dimension: 3\n", (-1, -1), True),
    ],
)
def test_spaces_of_nrrd(space: str, flip: tuple, told: bool, tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape((2, 3, 4), order="F")
    content = NRRD.format(space=space).encode() + array.tobytes(order="F")
    (tmp_path / "a.nrrd").write_bytes(content)
    interface = ITKInterface(image="*")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    expected = np.array([[0.1, -0.3, 0, 1], [0.2, 0.1, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
    expected[:2] *= np.array(flip)[:, np.newaxis]
    np.testing.assert_allclose(sample.geometry.affine, expected, atol=1e-12)
    assert bool(interface.remarks("a", sample.details)) == told
    sample.add_prediction(np.zeros((2, 3, 4), np.uint8))
    written = data_io.save_prediction(sample)
    assert grid_of(written) == grid_of(tmp_path / "a.nrrd")
    assert b"Doe" not in written.read_bytes()
    assert b"(0.1,0.2,0) (-0.3,0.1,0) (0,0,3)" in written.read_bytes()


@pytest.mark.parametrize(
    "lines",
    [
        "sizes: 2 3 4\nspacings: 1 2 3\n",
        "sizes: 2 3 4\nspacings: 1 2 3\naxis mins: 5 6 7\n",
        "sizes: 2 3 4\nspacings: 1 2 3\naxis mins: 5 6 7\ncenterings: node node node\n",
        'sizes: 2 3 4\ncontent: J\xf6rg\nunits: "mm" "mm" "mm"\n',
        "space: RAS\nsizes: 2 3 4 1\nkinds: domain domain domain list\n"
        "space directions: (0.1,0.2,0) (-0.3,0.1,0) (0,0,3) none\nspace origin: (1,2,3)\n",
    ],
)
def test_other_ways_to_tell_the_grid(lines: str, tmp_path: Path) -> None:
    n = 4 if "list" in lines else 3
    head = f"NRRD0004\ntype: short\ndimension: {n}\n{lines}endian: little\nencoding: raw\n\n"
    body = np.arange(24, dtype="<i2").tobytes()
    (tmp_path / "a.nrrd").write_bytes(head.encode("latin-1") + body)
    data_io = DataIO(ITKInterface(image="*"), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    np.testing.assert_array_equal(sample.image.ravel(order="F"), range(24))
    sample.add_prediction(np.zeros((2, 3, 4), np.uint8))
    assert grid_of(data_io.save_prediction(sample)) == grid_of(tmp_path / "a.nrrd")
    sample.add_prediction(np.zeros((2, 3, 4, 2), np.float32), activation_output=True)
    assert grid_of(data_io.save_prediction(sample)) == grid_of(tmp_path / "a.nrrd")


def test_no_name_gets_into_a_prediction(tmp_path: Path) -> None:
    image = image_of(np.zeros((4, 5, 6), np.int16))
    image.SetMetaData("PatientName", "Doe^Jane")
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert b"Doe" in (tmp_path / "a.mha").read_bytes()
    data_io = DataIO(ITKInterface(image="*.mha"), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    sample.add_prediction(np.zeros((4, 5, 6), np.uint8))
    assert b"Doe" not in data_io.save_prediction(sample).read_bytes()


def test_a_sample_made_from_an_array_is_written_where_it_lies(tmp_path: Path) -> None:
    from miscnn.data_loading.geometry import Geometry

    affine = np.array([[0, -0.5, 0, 7.0], [0.25, 0, 0, -8], [0, 0, 2, 9], [0, 0, 0, 1]])
    sample = Sample("a", np.zeros((4, 5, 6, 1)), geometry=Geometry((4, 5, 6), affine))
    sample.add_prediction(np.ones((4, 5, 6), np.uint8))
    interface = ITKInterface()
    path = interface.save_prediction(sample, tmp_path)
    assert path == tmp_path / "a.nrrd"
    np.testing.assert_array_equal(interface.open_file(path, "a").affine, affine)


def test_channels_from_several_files_share_a_grid(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    sitk.WriteImage(image_of(array), str(tmp_path / "a_T1.nrrd"))
    sitk.WriteImage(image_of(array + 1), str(tmp_path / "a_FLAIR.nrrd"))
    interface = ITKInterface(channels=2, image=["*_T1.nrrd", "*_FLAIR.nrrd"])
    assert interface.initialize(tmp_path) == ["a"]
    image, _ = interface.load_image("a")
    np.testing.assert_array_equal(image, np.stack([array, array + 1], -1))
    sitk.WriteImage(image_of(array, origin=(-101.3, 55.7, 12.6)), str(tmp_path / "a_FLAIR.nrrd"))
    with pytest.raises(GridMismatchError, match="channel 2"):
        interface.load_image("a")


@pytest.mark.realdata
def test_a_real_brain_with_a_flipped_axis(real_data: Path, tmp_path: Path) -> None:
    interface = ITKInterface(image="*_image.nrrd", segmentation="*_label.nrrd")
    data_io = DataIO(interface, real_data / "nrrd", tmp_path)
    assert data_io.indices_list == ["brain1"]
    sample = data_io.sample_loader("brain1")
    assert sample.geometry.orientation == "LAS"
    assert sample.shape == (256, 256, 25, 1)
    path = real_data / "nrrd" / "brain1_image.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "brain.nii"))
    nifti = nib.load(tmp_path / "brain.nii")
    np.testing.assert_allclose(sample.geometry.affine, nifti.affine, atol=1e-4)
    np.testing.assert_array_equal(sample.image[..., 0], np.asarray(nifti.dataobj))
    labels = array_of(sitk.ReadImage(str(real_data / "nrrd" / "brain1_label.nrrd")))
    np.testing.assert_array_equal(sample.segmentation[..., 0], labels)
    sample.add_prediction(sample.segmentation[..., 0])
    written = data_io.save_prediction(sample)
    assert grid_of(written) == grid_of(path)
    np.testing.assert_array_equal(array_of(sitk.ReadImage(str(written))), labels)


def test_nrrd_with_bzip2_is_refused_before_simpleitk(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: {}\n\n"
    interface = ITKInterface(image="*.nrrd")
    interface.initialize(tmp_path)
    for name in ("bzip2", "bz2"):
        content = bz2.compress(values.tobytes("F"))
        (tmp_path / "a.nrrd").write_bytes(head.format(name).encode() + content)
        with pytest.raises(UnreadableFileError, match=f"encoded as '{name}'; save it with gzip"):
            interface.load_geometry("a")
    content = gzip.compress(values.tobytes("F"))
    (tmp_path / "a.nrrd").write_bytes(head.format("gzip").encode() + content)
    np.testing.assert_array_equal(interface.load_image("a")[0], values)
