"""Predictions lie on the input's grid, whatever the grid is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import GridMismatchError, LabelError, SampleError

KEPT = [
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
    *("descrip", "dim", "dim_info", "slice_code", "aux_file"),
]
AXES = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
CODES = [(1, 1), (1, 0), (0, 2), (2, 1), (0, 0)]


def grid(order: tuple[int, ...], signs: tuple[int, ...], turn: tuple[float, ...]) -> NDArray:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, list(order)] @ np.diag([0.7, 0.9, 3.3])
    affine[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (-101.3, 55.7, 12.1)
    return affine


def check_round_trip(
    tmp_path: Path, save: Callable[..., Path], affine: NDArray, qform: int, sform: int
) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    labels = (image > 0).astype(np.uint8)
    path = save(tmp_path / "images" / "a.nii.gz", image, affine, qform, sform)
    interface = NIfTIInterface(image="images/*.nii.gz")
    data_io = DataIO(interface, tmp_path, output_path=tmp_path / "out" / "deep")
    sample = data_io.sample_loader("a", load_seg=False)
    before = nib.load(path)
    np.testing.assert_array_equal(sample.geometry.affine, before.affine)
    np.testing.assert_array_equal(sample.image[..., 0], image)
    assert data_io.geometry("a") == sample.geometry
    sample.add_prediction(labels)
    written = data_io.save_prediction(sample)
    assert written == tmp_path / "out" / "deep" / "a.nii.gz"
    after = nib.load(written)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
    assert after.get_data_dtype() == np.uint8
    for name in KEPT:
        assert before.header[name].tobytes() == after.header[name].tobytes(), name
    np.testing.assert_array_equal(interface.load_prediction("a", tmp_path / "out/deep"), labels)


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_all_48_orientations(
    order: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path, save: Callable[..., Path]
) -> None:
    for qform, sform in CODES:
        check_round_trip(tmp_path, save, grid(order, signs, (0, 0, 0)), qform, sform)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3), axes=st.sampled_from(AXES), code=st.sampled_from(CODES)
)
def test_oblique_grids(
    turn: tuple[float, ...],
    axes: tuple[tuple[int, ...], tuple[int, ...]],
    code: tuple[int, int],
    tmp_path: Path,
    save: Callable[..., Path],
) -> None:
    check_round_trip(tmp_path, save, grid(*axes, turn), *code)


def test_contradicting_matrices_are_both_kept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_qform(np.diag([2, 2, 2, 1.0]), 1)
    image.set_sform(np.diag([-3, 3, 3, 1.0]), 4)
    image.header["descrip"] = b"scanner 7"
    image.header["qform_code"] = 3
    nib.save(image, tmp_path / "a.nii")
    interface = NIfTIInterface(image="*")
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    assert sample.spacing == (3, 3, 3)  # the sform
    sample.add_prediction(np.zeros((4, 5, 6), np.uint8))
    after = nib.load(data_io.save_prediction(sample))
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (3, 4)
    np.testing.assert_array_equal(after.get_qform(), np.diag([2, 2, 2, 1.0]))
    np.testing.assert_array_equal(after.get_sform(), np.diag([-3, 3, 3, 1.0]))
    assert after.header["descrip"].item() == b"scanner 7"


def test_what_belongs_to_the_intensities_is_reset(
    tmp_path: Path, save: Callable[..., Path], patch: Callable[..., None]
) -> None:
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16))
    patch(path, 112, "ff", 2.5, -7.0)  # scl_slope, scl_inter
    patch(path, 124, "ff", 400.0, -100.0)  # cal_max, cal_min
    patch(path, 68, "h", 1001)  # intent_code
    patch(path, 56, "fff", 1, 2, 3)  # intent_p1..3
    patch(path, 328, "4s", b"what")  # intent_name
    data_io = DataIO(NIfTIInterface(image="*"), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    assert sample.image.flat[0] == -7
    sample.add_prediction(np.ones((4, 5, 6), np.uint8))
    raw = nib.Nifti1Header.from_fileobj(
        nib.openers.ImageOpener(data_io.save_prediction(sample)), check=False
    )
    fields = "scl_slope scl_inter cal_max cal_min intent_code intent_p1 intent_p2 intent_p3"
    assert [float(raw[name]) for name in fields.split()] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert raw["intent_name"].item() == b""


def test_sizes_beyond_space_are_kept_in_3d_and_reset_otherwise(
    tmp_path: Path, save: Callable[..., Path], patch: Callable[..., None]
) -> None:
    patch(save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16)), 76 + 16, "4f", 0, 0, 0, 0)
    patch(save(tmp_path / "b.nii", np.zeros((4, 5, 6, 2), np.int16)), 76 + 16, "f", 2000)
    sizes = {}
    for index, channels in (("a", 1), ("b", 2)):
        interface = NIfTIInterface(channels, image="*")
        data_io = DataIO(interface, tmp_path, tmp_path / "out")
        sample = data_io.sample_loader(index, load_seg=False)
        for result in (np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6, 2), np.float32)):
            sample.add_prediction(result, activation_output=result.ndim == 4)
            after = nib.load(data_io.save_prediction(sample))
            assert after.shape == result.shape
            sizes[index, result.ndim] = after.header["pixdim"][4:].tolist()
            np.testing.assert_allclose(after.header["pixdim"][1:4], (0.9, 0.9, 3))
    assert sizes["a", 3] == [0, 0, 0, 0]
    assert sizes["b", 3] == sizes["a", 4] == [1, 1, 1, 1]


def test_extensions_stay_behind(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe, Jane" * 20))
    nib.save(image, tmp_path / "a.nii.gz")
    data_io = DataIO(NIfTIInterface(image="*"), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    sample.add_prediction(np.ones((4, 5, 6), np.uint8))
    after = nib.load(data_io.save_prediction(sample))
    assert list(after.header.extensions) == []
    assert np.asarray(after.dataobj).min() == 1


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_header_kind_and_byte_order_survive(tmp_path: Path, kind: type, endian: str) -> None:
    values = np.arange(120).reshape(4, 5, 6).astype(endian + "i2")
    header = (nib.Nifti1Header if kind is nib.Nifti1Image else nib.Nifti2Header)(endianness=endian)
    header.set_data_dtype(values.dtype)
    nib.save(kind(values, grid((1, 2, 0), (1, -1, 1), (0.1, 0, 0)), header), tmp_path / "a.nii")
    data_io = DataIO(NIfTIInterface(image="*", classes=200), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    assert sample.image.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(sample.image[..., 0], values)
    sample.add_prediction(sample.image[..., 0])
    after = nib.load(data_io.save_prediction(sample))
    assert type(after) is kind
    assert after.header.endianness == endian
    np.testing.assert_array_equal(np.asarray(after.dataobj), values)
    np.testing.assert_array_equal(after.affine, nib.load(tmp_path / "a.nii").affine)


def test_probabilities_are_stored_as_float32_with_the_classes_last(
    tmp_path: Path, save: Callable[..., Path], rng: np.random.Generator
) -> None:
    save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.int16))
    interface = NIfTIInterface(image="*", classes=3)
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    probabilities = rng.random((4, 5, 6, 3)).astype(np.float32)
    sample.add_prediction(probabilities, activation_output=True)
    after = nib.load(data_io.save_prediction(sample))
    assert after.shape == (4, 5, 6, 3)
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(after.dataobj), probabilities)
    back = data_io.sample_loader("a", load_seg=False, load_pred=True).prediction
    np.testing.assert_array_equal(back, probabilities)


@pytest.mark.parametrize(
    ("highest", "classes", "dtype"),
    [(1, 2, np.uint8), (255, 256, np.uint8), (0, 300, np.uint16), (70000, 2, np.uint32)],
)
def test_labels_take_the_smallest_unsigned_type(
    highest: int, classes: int, dtype: type, tmp_path: Path
) -> None:
    sample = Sample("a", np.zeros((2, 3, 4)), classes=classes)
    sample.add_prediction(np.full((2, 3, 4), highest, np.int64))
    interface = NIfTIInterface(classes=classes)
    after = nib.load(interface.save_prediction(sample, tmp_path))
    assert after.get_data_dtype() == dtype
    back = interface.load_prediction("a", tmp_path)
    assert back.dtype == dtype
    assert (back == highest).all()


def test_whole_floats_are_labels_and_others_are_refused(tmp_path: Path) -> None:
    sample = Sample("a", np.zeros((2, 3, 4)))
    sample.add_prediction(np.ones((2, 3, 4), np.float32))
    assert nib.load(NIfTIInterface().save_prediction(sample, tmp_path)).get_data_dtype() == np.uint8
    for bad in (0.5, -1, np.nan):
        sample.add_prediction(np.full((2, 3, 4), bad))
        with pytest.raises(LabelError, match="whole numbers from 0"):
            NIfTIInterface().save_prediction(sample, tmp_path)


def test_a_prediction_on_another_grid_is_refused(tmp_path: Path, save: Callable[..., Path]) -> None:
    save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.int16))
    data_io = DataIO(NIfTIInterface(image="*"), tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    with pytest.raises(SampleError, match="no prediction"):
        data_io.save_prediction(sample)
    sample.add_prediction(np.zeros((4, 5, 7), np.uint8))
    with pytest.raises(GridMismatchError, match=r"\(4, 5, 7\).*\(4, 5, 6\)"):
        data_io.save_prediction(sample)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, -0.2, 0.9)])
def test_without_a_header_the_geometry_is_written(turn: tuple, tmp_path: Path) -> None:
    geometry = Geometry((2, 3, 4), grid((2, 0, 1), (1, -1, 1), turn))
    sample = Sample("a", np.zeros((2, 3, 4)), geometry=geometry)
    sample.add_prediction(np.ones((2, 3, 4), np.uint8))
    after = nib.load(NIfTIInterface().save_prediction(sample, tmp_path))
    np.testing.assert_allclose(after.get_sform(), geometry.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(after.get_qform(), geometry.affine, rtol=1e-5, atol=1e-5)
    assert after.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_geometry_gets_no_qform(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.5  # gantry tilt
    sample = Sample("a", np.zeros((2, 3, 4)), geometry=Geometry((2, 3, 4), affine))
    sample.add_prediction(np.ones((2, 3, 4), np.uint8))
    after = nib.load(NIfTIInterface().save_prediction(sample, tmp_path))
    assert int(after.header["qform_code"]) == 0
    np.testing.assert_array_equal(after.affine, affine)


def test_flat_images_keep_their_number_of_axes(tmp_path: Path) -> None:
    for index, shape in {"a": (4, 5), "b": (4, 5, 1)}.items():
        image = nib.Nifti1Image(np.arange(20, dtype=np.uint8).reshape(shape), np.diag([2, 3, 1, 1]))
        nib.save(image, tmp_path / f"{index}.nii.gz")
        data_io = DataIO(NIfTIInterface(three_dim=False, image="*"), tmp_path, tmp_path / "out")
        sample = data_io.sample_loader(index, load_seg=False)
        assert sample.shape == (4, 5, 1)
        assert sample.spacing == (2, 3)
        sample.add_prediction(sample.image[..., 0] > 3)
        after = nib.load(data_io.save_prediction(sample))
        assert after.shape == shape
        np.testing.assert_array_equal(
            data_io.interface.load_prediction(index, tmp_path / "out"), sample.prediction
        )


def test_the_same_prediction_gives_the_same_bytes(tmp_path: Path) -> None:
    sample = Sample("a", np.zeros((20, 30, 40)))
    sample.add_prediction(np.ones((20, 30, 40), np.uint8))
    first = NIfTIInterface().save_prediction(sample, tmp_path / "1").read_bytes()
    second = NIfTIInterface().save_prediction(sample, tmp_path / "2").read_bytes()
    assert first == second
    assert first[3:8] == bytes(5)  # gzip's flags (no name) and date


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "bigendian_int16_LAS.nii",
        "ct_int32_3mm.nii.gz",
        "permuted_LSP_float32.nii.gz",
        "prostate_uint16_oblique.nii.gz",
        "uninformative_empty_mask.nii.gz",
    ],
)
def test_real_odd_files(real_data: Path, name: str, tmp_path: Path) -> None:
    interface = NIfTIInterface(image="*", classes=2)
    data_io = DataIO(interface, real_data / "quirks", tmp_path)
    sample = data_io.sample_loader(name.split(".")[0], load_seg=False)
    before = nib.load(real_data / "quirks" / name)
    np.testing.assert_array_equal(sample.image[..., 0], np.asarray(before.dataobj))
    assert sample.image.dtype == before.get_data_dtype().newbyteorder("=")
    sample.add_prediction((sample.image[..., 0] > 0).astype(np.uint8))
    after = nib.load(data_io.save_prediction(sample))
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in KEPT:
        assert before.header[field].tobytes() == after.header[field].tobytes(), field
