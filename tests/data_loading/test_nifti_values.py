"""The numbers of a file, their types, and files that are damaged."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miscnn.data_loading.formats.nifti_file import open_nifti
from miscnn.data_loading.formats.scaling import apply_scaling, scaled_type
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.exceptions import GridMismatchError, MissingFileError, SampleError, UnreadableFileError

Save = Callable[..., Path]
Patch = Callable[..., None]

STORED = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def read(path: Path) -> np.ndarray:
    return open_nifti(path, "a").read()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("name", STORED)
def test_stored_types_are_kept_exactly(
    name: str, endian: str, ending: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    dtype = np.dtype(name)
    if dtype.kind == "f":
        values = rng.normal(0, 1e5, (3, 4, 5)).astype(dtype)
    else:  # both ends of the range, where float64 would round
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, (3, 4, 5), dtype=dtype, endpoint=True)
        values.flat[:2] = info.min, info.max
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / f"a{ending}")
    found = read(tmp_path / f"a{ending}")
    assert found.dtype == dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "expected"),
    [
        ("i2", 1, 0, "i2"),
        ("u2", 1, -1024, "i4"),
        ("i2", 1, -1024, "i4"),
        ("u1", 2, 0, "u2"),
        ("u1", 1, -100, "i2"),
        ("i4", 3, 0, "i8"),
        ("i8", 3, 0, "f8"),
        ("i2", 0.5, 0, "f4"),
        ("u2", 0.003, 0, "f4"),
        ("u2", 0.003, 1e5, "f8"),
        ("i4", 0.5, 0, "f8"),
        ("f4", 2.5, 1, "f4"),
        ("f8", 2.5, 1, "f8"),
        ("i2", 1e36, 0.5, "f8"),
    ],
)
def test_type_of_scaled_values(stored: str, slope: float, inter: float, expected: str) -> None:
    assert scaled_type(np.dtype(stored), float(slope), float(inter)) == np.dtype(expected)


@given(
    slope=st.floats(2**-20, 2**20, width=32),
    inter=st.floats(-(2**24), 2**24, width=32),
    stored=st.sampled_from(["u1", "i1", "u2", "i2"]),
)
def test_scaling_keeps_neighbours_apart_and_is_right(
    slope: float, inter: float, stored: str
) -> None:
    info = np.iinfo(stored)
    values = np.arange(info.min, info.max + 1, dtype=stored).reshape(-1, 1)
    scaled = apply_scaling(values, slope, inter)
    exact = values.astype(np.longdouble) * np.longdouble(slope) + np.longdouble(inter)
    assert np.abs(scaled - exact).max() <= slope / 32
    assert np.all(np.diff(scaled[:, 0]) > 0)


@pytest.mark.parametrize(
    ("slope", "inter"), [(np.nan, np.nan), (np.nan, 3.0), (0.0, 7.0), (1.0, 0.0), (np.inf, 0.0)]
)
def test_a_scaling_that_is_none_changes_nothing(
    slope: float, inter: float, tmp_path: Path, save: Save, patch: Patch
) -> None:
    path = save(tmp_path / "a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    patch(path, 112, "ff", slope, inter)
    found = read(path)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found.ravel(), np.arange(60))


def test_hounsfield_units_stored_with_an_offset_stay_integers(
    tmp_path: Path, save: Save, patch: Patch
) -> None:
    path = save(tmp_path / "a.nii.gz", np.full((3, 4, 5), 65535, np.uint16))
    patch(path, 112, "ff", 1.0, -1024.0)
    assert read(path).dtype == np.int32
    assert (read(path) == 64511).all()


def test_a_slope_without_a_valid_intercept_is_refused(
    tmp_path: Path, save: Save, patch: Patch
) -> None:
    path = save(tmp_path / "a.nii", np.zeros((3, 4, 5), np.int16))
    patch(path, 112, "ff", 2.0, np.nan)
    with pytest.raises(UnreadableFileError, match="intercept"):
        open_nifti(path, "a")


def test_scaled_labels_are_the_whole_numbers_they_mean(
    tmp_path: Path, save: Save, patch: Patch
) -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1], labels[2] = 85, 170
    path = save(tmp_path / "a" / "segmentation.nii.gz", labels)
    patch(path, 112, "ff", 0.011765, 0.0)  # 1 / 85, rounded: 170 becomes 2.00005
    interface = NIfTIInterface(classes=3)
    interface.initialize(tmp_path)
    np.testing.assert_array_equal(interface.load_segmentation("a"), labels / 85)
    patch(path, 112, "ff", 1 / 100, 0.0)  # 0.85 is no label
    assert interface.load_segmentation("a").max() == pytest.approx(1.7)


def test_rgb_voxels_are_three_channels(tmp_path: Path) -> None:
    rgb = np.zeros((3, 4, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["B"] = 7, 9
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii.gz")
    for three_dim, shape in ((False, (3, 4, 3)), (True, (3, 4, 1, 3))):
        interface = NIfTIInterface(3, three_dim=three_dim, image="*")
        interface.initialize(tmp_path)
        image, _ = interface.load_image("a")
        assert image.shape == shape
        assert image.reshape(-1, 3)[0].tolist() == [7, 0, 9]


def test_several_gzip_members_and_padding(tmp_path: Path, save: Save) -> None:
    values = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    content = save(tmp_path / "a.nii", values).read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]) + bytes(512))
    np.testing.assert_array_equal(read(packed), values)


def test_a_large_file_crosses_all_block_borders(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 9, (301, 211, 53)).astype(np.uint8)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz"), values)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize(
    ("ending", "damage", "message"),
    [
        (".nii.gz", cut, "ends too early"),
        (".nii.gz", lambda c: c[:-4], "ends too early"),
        (".nii.gz", lambda c: c[:20], "not a NIfTI file"),
        (".nii.gz", flip, "damaged"),
        (".nii.gz", lambda c: gzip.compress(cut(gzip.decompress(c))), "truncated"),
        (".nii", cut, "truncated"),
        (".nii.gz", lambda c: b"", "empty"),
        (".nii", lambda c: b"", "empty"),
        (".nii.gz", lambda c: b"patient notes\n" * 99, "begins with b'patient note"),
        (".nii.gz", lambda c: gzip.compress(b"patient notes\n" * 99), "begins with"),
        (".nii.gz", lambda c: b"<html>404</html>" * 99, "web page"),
        (".nii.gz", lambda c: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (".nii", lambda c: bytes(128) + b"DICM" + bytes(999), "DICOM"),
        (".nii", lambda c: c[:344] + b"ni1\0" + c[348:], r"\.img"),
    ],
)
def test_damaged_files_are_named_with_the_cause(
    ending: str, damage: Callable[[bytes], bytes], message: str, tmp_path: Path, save: Save
) -> None:
    rng = np.random.default_rng(3)
    path = save(tmp_path / f"a{ending}", rng.integers(-999, 999, (30, 20, 10)).astype(np.int16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableFileError, match=message) as caught:
        read(path)
    assert f"a{ending}" in str(caught.value)
    assert caught.value.index == "a"


@pytest.mark.parametrize(
    ("offset", "form", "values", "message"),
    [
        (40, "4h", (3, 30000, 30000, 30000), "54,000,000,000,352 bytes"),
        (40, "4h", (3, -3, 4, 5), "impossible shape"),
        (40, "4h", (3, 0, 4, 5), "impossible shape"),
        (70, "h", (77,), "unknown voxel type 77"),
        (70, "h", (32,), "complex64"),
        (108, "f", (100.0,), "byte 100"),
        (108, "f", (float("nan"),), "NaN"),
        (108, "f", (1e30,), "truncated"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_headers_that_lie_are_refused_before_anything_is_allocated(
    offset: int, form: str, values: tuple, message: str, ending: str, tmp_path: Path, save: Save,
    patch: Patch,
) -> None:  # fmt: skip
    path = save(tmp_path / f"a{ending}", np.zeros((3, 4, 5), np.int16))
    patch(path, offset, form, *values)
    with pytest.raises(UnreadableFileError, match=message):
        open_nifti(path, "a")


def test_a_folder_and_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(UnreadableFileError, match="folder"):
        open_nifti(tmp_path / "a.nii.gz", "a")
    with pytest.raises(MissingFileError, match="'b'"):
        open_nifti(tmp_path / "b.nii.gz", "b")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_any_change_of_the_header_is_read_or_refused(
    changes: list[tuple[int, int]], tmp_path: Path, save: Save
) -> None:
    path = save(tmp_path / "a.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    content = bytearray(path.read_bytes())
    for position, byte in changes:
        content[position] = byte
    path.write_bytes(bytes(content))
    interface = NIfTIInterface(image="*")
    interface.initialize(tmp_path)
    try:
        image, details = interface.load_image("a")
    except SampleError:  # UnreadableFileError among them
        return
    assert image.nbytes <= 8 * 60
    assert details["affine"].shape == (4, 4)


def test_a_voxel_size_of_zero_is_not_taken_for_one(
    tmp_path: Path, save: Save, patch: Patch
) -> None:
    path = save(tmp_path / "a.nii", np.zeros((3, 4, 5), np.int16), sform=0)
    patch(path, 76 + 12, "f", 0.0)
    assert np.linalg.norm(open_nifti(path, "a").affine[:3, 2]) == 0
    flat = save(tmp_path / "b.nii", np.zeros((3, 4, 1), np.int16), sform=0)
    patch(flat, 76 + 12, "f", 0.0)
    assert np.linalg.norm(open_nifti(flat, "a").affine[:3, 2]) == 1


def test_channels_from_the_fourth_or_fifth_axis(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 9, (3, 4, 5, 2)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(values[:, :, :, None], np.eye(4)), tmp_path / "b.nii.gz")
    nib.save(nib.Nifti1Image(values[..., :1], np.eye(4)), tmp_path / "c.nii.gz")
    nib.save(nib.Nifti1Image(values[..., None].repeat(2, -1), np.eye(4)), tmp_path / "d.nii.gz")
    interface = NIfTIInterface(2, image="*")
    interface.initialize(tmp_path)
    np.testing.assert_array_equal(interface.load_image("a")[0], values)
    np.testing.assert_array_equal(interface.load_image("b")[0], values)
    np.testing.assert_array_equal(interface.load_image("c")[0], values[..., 0])
    with pytest.raises(SampleError, match="one axis only"):
        interface.load_image("d")


def test_channels_from_several_files(tmp_path: Path, save: Save, rng: np.random.Generator) -> None:
    first = rng.integers(0, 9, (3, 4, 5)).astype(np.int16)
    second = rng.random((3, 4, 5)).astype(np.float32)
    save(tmp_path / "a" / "a_t1.nii.gz", first)
    path = save(tmp_path / "a" / "a_flair.nii", second)
    interface = NIfTIInterface(2, image=["*/*_t1.nii.gz", "{index}/{index}_flair.nii.gz"])
    assert interface.initialize(tmp_path) == ["a"]
    image, details = interface.load_image("a")
    np.testing.assert_array_equal(image, np.stack([first, second], axis=-1))
    assert image.dtype == np.float32
    assert [Path(name).name for name in details["files"]] == ["a_t1.nii.gz", "a_flair.nii"]
    assert interface.source_files("a") == [tmp_path / "a" / "a_t1.nii.gz", path]

    moved = np.diag([1.0, 1, 1, 1])
    save(path, second, moved)
    with pytest.raises(GridMismatchError, match=r"channel 2 \(a/a_flair.nii\).* mm \("):
        interface.load_image("a")
    save(path, second[:2])
    with pytest.raises(GridMismatchError, match=r"shape \(2, 4, 5\) against \(3, 4, 5\)"):
        interface.load_image("a")
    path.unlink()
    with pytest.raises(MissingFileError, match="a_flair"):
        interface.load_image("a")


def test_flat_images_with_channels_and_volumes_in_2d(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 3), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.uint8), np.eye(4)), tmp_path / "b.nii.gz")
    interface = NIfTIInterface(3, three_dim=False, image="*")
    interface.initialize(tmp_path)
    assert interface.load_image("a")[0].shape == (4, 5, 3)
    with pytest.raises(SampleError, match="three_dim=True"):
        interface.load_image("b")
