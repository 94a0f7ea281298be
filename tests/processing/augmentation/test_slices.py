"""Slice skipping, slice interpolation and rotation in the slice, as one map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, map_coordinates, rotate

from miscnn.processing.augmentation._slices import (
    farthest_reach,
    plane_matrix,
    plane_reach,
    stack_of,
    stack_reach,
    warp,
)


def _random(rng, *shape, channels=2):
    image = (rng.standard_normal((*shape, channels)) * 300).astype(np.float32)
    return image, rng.integers(0, 5, shape).astype(np.uint8)


def _rotation(angle, plane=(0, 1), spacing=(1.0, 1.0)):
    return {"angle": angle, "plane": list(plane), "spacing": list(spacing)}


def _slices(axis=2, skip=1, interpolate=1):
    return {"axis": axis, "skip": skip, "interpolate": interpolate}


def _thin(size, factor):
    """Positions of thin slices, none of them midway between two slices."""
    center = (size - 1) / 2
    return center + (np.arange(size) - center + (size % 2 and not factor % 2) / 2) / factor


def _reference(image, labels, shape, rotation, slices):
    """One coordinate for every voxel, interpolated by SciPy."""
    matrix, offset = np.eye(3), np.zeros(3)
    half = (np.asarray(shape) - 1) / 2
    start = (np.asarray(labels.shape) - np.asarray(shape)) // 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    if rotation:
        plane = rotation["plane"]
        matrix[np.ix_(plane, plane)] = plane_matrix(rotation["angle"], rotation["spacing"])
        offset = half - matrix @ half
    coordinates = np.tensordot(matrix, grid, 1) + offset[:, None, None, None]
    if slices:
        axis = slices["axis"]
        size, across = shape[axis], [-1 if a == axis else 1 for a in range(3)]
        position = _thin(size, slices["interpolate"])
        position = size // 2 + slices["skip"] * (position - size // 2)
        coordinates[axis] = position.reshape(across)
    coordinates += start[:, None, None, None]
    channels = [
        map_coordinates(image[..., c], coordinates, order=1, mode="nearest")
        for c in range(image.shape[-1])
    ]
    return np.stack(channels, -1), coordinates


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("margin", [0, 5])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.1)])
@pytest.mark.parametrize("angle", [11.0, -16.0, 90.0])
def test_rotation_is_scipys_affine_transform(rng, axis, margin, spacing, angle):
    shape = (14, 17, 12)
    plane = [a for a in range(3) if a != axis]
    whole = [n + 2 * margin * (a != axis) for a, n in enumerate(shape)]
    image, labels = _random(rng, *whole)
    moved, mapped = warp(image, labels, shape, _rotation(angle, plane, spacing), None)

    matrix = np.eye(3)
    matrix[np.ix_(plane, plane)] = plane_matrix(angle, spacing)
    half = (np.asarray(shape) - 1) / 2
    offset = half - matrix @ half + (np.asarray(whole) - shape) // 2
    for channel in range(2):
        expected = affine_transform(
            image[..., channel], matrix, offset, shape, order=1, mode="nearest"
        )
        np.testing.assert_allclose(moved[..., channel], expected, rtol=0, atol=2e-3)
    expected = affine_transform(labels, matrix, offset, shape, order=0, mode="nearest")
    np.testing.assert_array_equal(mapped, expected)
    assert moved.flags.c_contiguous
    assert mapped.dtype == labels.dtype


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_is_scipys_rotate_inside(rng, axis):
    shape = (24, 24, 24)
    plane = [a for a in range(3) if a != axis]
    image, labels = _random(rng, *shape, channels=1)
    moved, mapped = warp(image, labels, shape, _rotation(13.0, plane), None)
    expected = rotate(image[..., 0], 13.0, plane, reshape=False, order=1, mode="nearest")
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(moved[..., 0][inner], expected[inner], rtol=0, atol=2e-3)
    expected = rotate(labels, 13.0, plane, reshape=False, order=0, mode="nearest")
    np.testing.assert_array_equal(mapped[inner], expected[inner])


@pytest.mark.parametrize("size", [16, 17])
def test_a_quarter_turn_is_rot90(rng, size):
    image, labels = _random(rng, size, size)
    moved, mapped = warp(image, labels, (size, size), _rotation(90.0), None)
    np.testing.assert_array_equal(moved, np.rot90(image))
    np.testing.assert_array_equal(mapped, np.rot90(labels))


def test_rotation_of_anisotropic_pixels_keeps_lengths_in_mm():
    # A bar of 40 mm along the first axis (2 mm), turned by 90°, is one of 40 mm along the second.
    labels = np.zeros((41, 81), np.uint8)
    labels[10:31, 38:43] = 1  # 42 mm × 5 mm
    image = labels[..., None].astype(np.float32)
    _, mapped = warp(image, labels, labels.shape, _rotation(90.0, spacing=(2.0, 1.0)), None)
    rows, columns = np.nonzero(mapped)
    assert (rows.max() - rows.min() + 1) * 2 == pytest.approx(5, abs=2)
    assert columns.max() - columns.min() + 1 == pytest.approx(42, abs=2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("skip", [2, 3])
def test_skipping_is_every_kth_slice_about_the_middle_one(rng, axis, size, skip):
    shape = [10, 11, 12]
    shape[axis] = size
    margin = stack_reach(size, skip)
    whole = [n + 2 * margin * (a == axis) for a, n in enumerate(shape)]
    image, labels = _random(rng, *whole)
    moved, mapped = warp(image, labels, shape, None, _slices(axis, skip))
    middle = margin + size // 2
    kept = slice(middle % skip, None, skip)
    every = (slice(None),) * axis + (kept,)
    first = middle // skip - size // 2
    taken = (slice(None),) * axis + (slice(first, first + size),)
    np.testing.assert_array_equal(moved, image[every][taken])
    np.testing.assert_array_equal(mapped, labels[every][taken])
    np.testing.assert_array_equal(
        np.take(mapped, size // 2, axis), np.take(labels, middle, axis)
    )  # the middle slice stays


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_interpolation_is_linear_along_the_axis(rng, axis, factor):
    shape = [7, 8, 9]
    image, labels = _random(rng, *shape)
    moved, mapped = warp(image, labels, shape, None, _slices(axis, interpolate=factor))
    size = shape[axis]
    position = _thin(size, factor)
    assert np.abs(position % 1 - 0.5).min() > 0.01

    def line(values):
        return np.interp(position, np.arange(size), values)

    expected = np.apply_along_axis(line, axis, image.astype(np.float64))
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-3)
    nearest = np.floor(position + 0.5).astype(int)
    np.testing.assert_array_equal(mapped, np.take(labels, nearest, axis))
    # slices that fall on one are it, bit by bit
    whole = position == np.round(position)
    np.testing.assert_array_equal(
        np.compress(whole, moved, axis), np.take(image, position[whole].astype(int), axis)
    )


def test_both_are_a_coarse_scan_that_was_interpolated(rng):
    image, labels = _random(rng, 6, 6, 23)
    coarse, thick = image[:, :, 2::3], labels[:, :, 2::3]  # holds slice 11, the middle, as its 3
    moved, mapped = warp(image, labels, (6, 6, 7), None, _slices(2, 3, 2))
    expected, nearest = warp(coarse, thick, (6, 6, 7), None, _slices(2, 1, 2))
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(mapped, nearest)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    margin=st.tuples(*[st.integers(0, 5)] * 3),
    axis=st.integers(0, 2),
    angle=st.floats(-180, 180),
    spacing=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
    factors=st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]),
    seed=st.integers(0, 2**32),
)
def test_the_whole_map_is_one_interpolation_for_image_and_labels(
    shape, margin, axis, angle, spacing, factors, seed
):
    whole = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    image, labels = _random(np.random.default_rng(seed), *whole, channels=1)
    plane = [a for a in range(3) if a != axis]
    rotation, slices = _rotation(angle, plane, spacing), _slices(axis, *factors)
    # labels as an image, at order 0, are the labels
    numbers = np.arange(np.prod(whole), dtype=np.int64).reshape(whole)
    moved, mapped = warp(image, numbers, shape, rotation, slices)
    expected, coordinates = _reference(image, numbers, shape, rotation, slices)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=5e-3)
    found = np.stack(np.unravel_index(mapped, whole))
    wanted = np.clip(coordinates, 0, (np.asarray(whole) - 1)[:, None, None, None])
    assert np.abs(found - wanted).max() <= 0.5 + 1e-6
    _, labelled = warp(image, labels, shape, rotation, slices)
    np.testing.assert_array_equal(labelled, labels.ravel()[mapped])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2)])
def test_a_large_patch_is_made_of_several_blocks(rng, axis, factors):
    shape = [70, 64, 60]
    shape[axis] = 12
    image, labels = _random(rng, *shape)
    rotation, slices = _rotation(9.0, [a for a in range(3) if a != axis]), _slices(axis, *factors)
    moved, mapped = warp(image, labels, shape, rotation, slices)
    expected, coordinates = _reference(image, labels, shape, rotation, slices)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=2e-3)
    nearest = map_coordinates(labels, coordinates, order=0, mode="nearest")
    assert (mapped != nearest).mean() < 1e-3  # the two may differ where pixels are equally near
    assert moved.flags.c_contiguous
    assert mapped.flags.c_contiguous


@pytest.mark.parametrize(("skip", "interpolate"), [(2, 1), (3, 1), (1, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("size", [1, 6, 7])
def test_the_reach_is_the_farthest_slice(size, skip, interpolate):
    margin = stack_reach(size, skip, interpolate)
    stack = stack_of(size, skip, interpolate)
    assert max(-stack.used[0], stack.used[-1] - size + 1, 0) == margin
    inside = stack.within(margin, size + 2 * margin)
    np.testing.assert_array_equal(inside.used, stack.used + margin)  # nothing was clipped
    assert stack_reach(8, 2) == 4
    assert stack_reach(9, 3) == 8
    assert stack_reach(8, 1, 2) == 0


def test_the_farthest_reach_bounds_that_of_every_angle():
    for shape in ((96, 96), (20, 128), (7, 3)):
        for largest in (5.0, 16.0, 60.0, 90.0):
            bound = farthest_reach(shape, largest)
            angles = np.linspace(-largest, largest, 721)
            reaches = np.max([plane_reach(shape, angle, (1, 1)) for angle in angles], axis=0)
            assert np.all(reaches <= bound + 1e-9)
            np.testing.assert_allclose(reaches, bound, atol=0.01)
