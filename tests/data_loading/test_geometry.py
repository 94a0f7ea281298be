from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError

SIGNED = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def permuted(order: tuple[int, ...], signs: tuple[int, ...], sizes: tuple[float, ...]) -> NDArray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (row, sign) in enumerate(zip(order, signs, strict=True)):
        affine[row, axis] = sign * sizes[axis]
    affine[:3, 3] = (-12.5, 30.25, 7)
    return affine


rotations = st.builds(
    lambda vector, sizes, offset: _oblique(np.array(vector), sizes, offset),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(0.1, 8)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
)
shapes = st.tuples(*[st.integers(1, 40)] * 3)


def _oblique(vector: NDArray, sizes: tuple[float, ...], offset: tuple[float, ...]) -> NDArray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(vector).as_matrix() @ np.diag(sizes)
    affine[:3, 3] = offset
    return affine


@pytest.mark.parametrize(("order", "signs"), SIGNED)
def test_orientation_is_that_of_nibabel_for_all_48(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    geometry = Geometry((4, 5, 6), permuted(order, signs, (0.5, 0.75, 4.0)))
    assert geometry.orientation == "".join(nib.aff2axcodes(geometry.affine))
    assert geometry.spacing == (0.5, 0.75, 4.0)
    assert geometry.patient_axes == order
    assert geometry.slice_axis == 2
    assert geometry.voxel_volume == pytest.approx(1.5)


@given(vector=st.tuples(*[st.floats(-0.35, 0.35)] * 3), case=st.sampled_from(SIGNED))
def test_orientation_of_mildly_oblique_grids_is_that_of_nibabel(
    vector: tuple[float, ...], case: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    affine = permuted(*case, (1.0, 1.0, 2.0))
    affine[:3, :3] = Rotation.from_rotvec(vector).as_matrix() @ affine[:3, :3]
    assert Geometry((4, 5, 6), affine).orientation == "".join(nib.aff2axcodes(affine))


@given(affine=rotations)
def test_spacing_of_oblique_grids_is_the_column_norm(affine: NDArray) -> None:
    geometry = Geometry((3, 4, 5), affine)
    for axis in range(3):
        step = np.zeros(4)
        step[axis] = 1
        assert geometry.spacing[axis] == pytest.approx(np.sqrt(((affine @ step) ** 2).sum()))
    assert sorted(geometry.patient_axes) == [0, 1, 2]
    assert geometry.voxel_volume == pytest.approx(np.prod(geometry.spacing))


@given(affine=rotations, old=shapes, new=shapes)
def test_resized_keeps_the_outer_faces(
    affine: NDArray, old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    before = Geometry(old, affine)
    after = before.resized(new)
    for corner in itertools.product((0, 1), repeat=3):
        faces = [
            grid.affine @ [*(c * n - 0.5 for c, n in zip(corner, grid.shape, strict=True)), 1]
            for grid in (before, after)
        ]
        np.testing.assert_allclose(faces[0], faces[1], atol=1e-9)
    assert before.resized(old) is before


@given(affine=rotations, start=st.tuples(*[st.integers(-9, 9)] * 3), shape=shapes)
def test_cropped_voxels_stay_where_they_are(
    affine: NDArray, start: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    grid = Geometry((11, 12, 13), affine)
    box = grid.cropped(start, shape)
    assert box.shape == shape
    voxel = np.array([2.0, 1.0, 3.0])
    np.testing.assert_allclose(
        box.affine @ [*voxel, 1], grid.affine @ [*(voxel + start), 1], atol=1e-9
    )
    assert grid.cropped((0, 0, 0), grid.shape) is grid


def test_slice_axis_among_ties_is_nearest_to_the_long_axis() -> None:
    for order, signs in SIGNED:
        geometry = Geometry((4, 5, 6), permuted(order, signs, (1.0, 1.0, 1.0)))
        assert geometry.slice_axis == order.index(2)
        assert geometry.n_slices == (4, 5, 6)[order.index(2)]


def test_slice_axis_forgives_float_noise_but_not_a_real_difference() -> None:
    assert Geometry((4, 4, 4), np.diag([1.0000001, 1, 1, 1])).slice_axis == 2
    assert Geometry((4, 4, 4), np.diag([1.1, 1, 1, 1])).slice_axis == 0


def test_slices_of_sagittal_and_flat_grids() -> None:
    sagittal = Geometry.from_spacing((20, 256, 256), (5, 1, 1))
    assert (sagittal.slice_axis, sagittal.n_slices, sagittal.slice_thickness) == (0, 20, 5.0)
    assert Geometry.from_spacing((6, 8), (2, 1)).slice_axis == 1


def test_difference_is_the_largest_distance() -> None:
    grid = Geometry.from_spacing((11, 5, 3), (1, 2, 3))
    moved = grid.affine.copy()
    moved[:3, 3] = (3, 0, 4)
    assert grid.difference(Geometry(grid.shape, moved)) == pytest.approx(5)
    scaled = np.diag([1.1, 2, 3, 1])  # ten steps of 0.1 mm at the far end
    assert grid.difference(Geometry(grid.shape, scaled)) == pytest.approx(1.0)
    assert grid.difference(Geometry((11, 5, 4))) == np.inf


@pytest.mark.parametrize(("shift", "same"), [(1e-6, True), (0.004, True), (0.006, False)])
def test_matches_forgives_a_hundredth_of_the_smallest_voxel(shift: float, same: bool) -> None:
    grid = Geometry.from_spacing((4, 4, 4), (0.5, 2, 2))
    moved = grid.affine.copy()
    moved[2, 3] += shift
    assert grid.matches(Geometry(grid.shape, moved)) is same


def test_describe_difference_tells_what_differs() -> None:
    grid = Geometry.from_spacing((4, 4, 4), (1, 1, 2))
    assert grid.describe_difference(Geometry((4, 4, 5))) == "shape (4, 4, 4) against (4, 4, 5)"
    text = grid.describe_difference(Geometry((4, 4, 4), np.diag([-1.0, 1, 2, 1])))
    assert "6 mm (6 voxels)" in text
    assert "RAS against LAS" in text
    assert "spacing" not in text
    text = grid.describe_difference(Geometry((4, 4, 4), np.diag([1.0, 1, 3, 1])))
    assert "1 x 1 x 2 mm against 1 x 1 x 3 mm" in text


@pytest.mark.parametrize(
    ("affine", "usable"),
    [
        (np.eye(4), True),
        (np.diag([1e-3, 1e-3, 1e-3, 1]), True),
        (np.diag([1.0, 1, 0, 1]), False),
        (np.diag([1.0, np.nan, 1, 1]), False),
        (np.diag([1.0, np.inf, 1, 1]), False),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), False),
    ],
)
def test_usable(affine: NDArray, usable: bool) -> None:
    assert Geometry((2, 2, 2), affine).usable is usable


def test_equality_and_hash_go_by_value() -> None:
    plus, minus = np.eye(4), np.eye(4)
    minus[0, 1] = -0.0
    assert Geometry((2, 2, 2), plus) == Geometry([2, 2, 2], minus)
    assert hash(Geometry((2, 2, 2), plus)) == hash(Geometry((2, 2, 2), minus))
    assert Geometry((2, 2, 2), plus) != Geometry((2, 2, 3), plus)
    assert Geometry((2, 2, 2)) != "grid"


def test_the_affine_cannot_be_changed_from_outside() -> None:
    affine = np.eye(4)
    geometry = Geometry((2, 2, 2), affine)
    affine[0, 0] = 7
    assert geometry.spacing[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 7


def test_impossible_grids_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one voxel"):
        Geometry((4, 0, 4))
    with pytest.raises(ConfigurationError, match="2 or 3 axes"):
        Geometry((4,))
    with pytest.raises(ConfigurationError, match=r"\(3, 3\)"):
        Geometry((4, 4), np.eye(4))
    with pytest.raises(ConfigurationError, match="differ in length"):
        Geometry.from_spacing((4, 4, 4), (1, 1))


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((0.8, 0.8, 5.0), 2),
        ((5.0, 0.8, 0.8), 0),
        ((0.8, 0.8, 0.5), 2),  # slices thinner than their pixels
        ((1.0, 1.0, 1.0), 2),
    ],
)
def test_the_slice_axis_of_scans(spacing: tuple[float, ...], axis: int) -> None:
    assert Geometry.from_spacing((4, 5, 6), spacing).slice_axis == axis


def test_the_slice_axis_of_thin_slices_whose_axis_comes_first() -> None:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -0.5, -0.78, 0.78, 1.0
    assert Geometry((600, 512, 512), affine).slice_axis == 0


def test_grids_made_from_a_scan_keep_its_slices() -> None:
    scan = Geometry.from_spacing((50, 50, 10), (1.0, 1.0, 5.0))
    assert scan.resized((10, 50, 50)).slice_axis == 2
    assert scan.cropped((1, 1, 1), (4, 4, 4)).resized((8, 2, 8)).slice_axis == 2
    assert scan.with_slice_axis(0).resized((10, 50, 50)).slice_axis == 0
