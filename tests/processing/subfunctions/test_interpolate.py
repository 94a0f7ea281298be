"""The kernel below Resampling and Resize, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from miscnn.processing.subfunctions._interpolate import (
    GridMap,
    resample_channels,
    resample_labels,
    take_nearest,
)
from miscnn.processing.subfunctions._tiles import resample_argmax

SIZES = st.integers(1, 40)


def centres(n: int, m: int) -> NDArray[np.float64]:
    """Where the m output voxels are centred, in input voxels."""
    return (np.arange(m) + 0.5) * n / m - 0.5


def mapped(array: NDArray, target: tuple[int, ...], order: int, antialias: bool) -> NDArray:
    if array.ndim == 1:
        return mapped(array[:, np.newaxis], (*target, 1), order, antialias)[:, 0]
    orders = (order,) * array.ndim
    return GridMap.between(array.shape, target, orders, antialias).apply(array)


@given(n=SIZES, m=SIZES, order=st.sampled_from([1, 3]), antialias=st.booleans())
@settings(deadline=None, max_examples=150)
def test_straight_lines_stay_straight_up_to_the_border(n, m, order, antialias):
    line = 3.0 * np.arange(n) - 7.0
    expected = 3.0 * np.clip(centres(n, m), 0, n - 1) - 7.0
    found = mapped(line, (m,), order, antialias)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(n=SIZES, m=SIZES, order=st.sampled_from([0, 1, 3]), antialias=st.booleans())
@settings(deadline=None)
def test_constants_stay(n, m, order, antialias):
    found = mapped(np.full(n, -1024.0), (m,), order, antialias)
    np.testing.assert_allclose(found, -1024.0, rtol=1e-6)


@given(n=st.integers(2, 40), m=SIZES, seed=st.integers(0, 99))
@settings(deadline=None)
def test_order_1_and_3_are_the_linear_and_the_natural_cubic_spline(n, m, seed):
    values = np.random.default_rng(seed).normal(0, 100, n)
    at = np.clip(centres(n, m), 0, n - 1)
    np.testing.assert_allclose(
        mapped(values, (m,), 1, False), np.interp(at, np.arange(n), values), atol=1e-4
    )
    spline = CubicSpline(np.arange(n), values, bc_type="natural")
    np.testing.assert_allclose(mapped(values, (m,), 3, False), spline(at), atol=3e-4)


def test_inside_it_agrees_with_the_spline_zoom_of_scipy(rng):
    volume = ndimage.gaussian_filter(rng.normal(0, 100, (48, 40, 44)), 1.0)
    target = (31, 52, 44)
    zoom = np.array(target) / np.array(volume.shape)
    expected = ndimage.zoom(volume, zoom, order=3, mode="nearest", grid_mode=True)
    found = mapped(volume, target, 3, False)
    inside = (slice(9, -9),) * 3
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)
    assert np.abs(expected[inside]).max() > 10


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_antialias_with_whole_factors_is_the_block_mean(rng, order, factor):
    image = rng.normal(0, 100, (4 * factor, 7 * factor))
    blocks = image.reshape(4, factor, 7, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(mapped(image, (4, 7), order, True), blocks, atol=1e-4)


def test_antialias_lowers_noise_and_leaves_upsampling_alone(rng):
    noise = rng.normal(0, 1, (64, 64, 64))
    assert mapped(noise, (23, 23, 23), 3, False).std() > 0.5
    assert mapped(noise, (23, 23, 23), 3, True).std() < 0.3
    small = noise[:9, :8, :7]
    np.testing.assert_array_equal(
        mapped(small, (12, 8, 11), 3, True), mapped(small, (12, 8, 11), 3, False)
    )


@given(
    shape=st.tuples(SIZES, st.integers(1, 12)),
    target=st.tuples(SIZES, st.integers(1, 12)),
    order=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_mirrored_images_give_mirrored_results(shape, target, order, seed):
    image = np.random.default_rng(seed).normal(0, 100, shape)
    found = mapped(image[::-1], target, order, True)
    np.testing.assert_allclose(found[::-1], mapped(image, target, order, True), atol=1e-3)


def test_memory_order_and_type_of_the_input_do_not_matter(rng):
    image = rng.integers(-1000, 1000, (30, 21, 17)).astype(np.int16)
    expected = mapped(image.astype(np.float64), (13, 25, 17), 3, True)
    for same in (image, np.asfortranarray(image), image.astype(np.int32)[::1]):
        np.testing.assert_array_equal(mapped(same, (13, 25, 17), 3, True), expected)


def test_clip_keeps_the_range_and_only_where_asked():
    step = np.repeat([-1000.0, 1500.0], 10).reshape(20, 1, 1).astype(np.float32)
    grid_map = GridMap.between((20, 1), (47, 1), (3, 3), True)
    assert resample_channels(step, grid_map).max() > 1550
    clipped = resample_channels(step, grid_map, clip=True)
    assert (clipped.min(), clipped.max()) == (-1000.0, 1500.0)


def test_a_voxel_that_is_no_number_does_not_spread_through_clip():
    image = np.arange(100.0, dtype=np.float32).reshape(100, 1, 1)
    image[49] = np.nan
    grid_map = GridMap.between((100, 1), (33, 1), (1, 1), False)
    found = resample_channels(image, grid_map, clip=True)
    assert np.isnan(found).sum() == 1


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
    target=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
    antialias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_labels_are_the_largest_share(shape, target, antialias, seed):
    labels = np.random.default_rng(seed).choice([0, 1, 2, 7], size=shape).astype(np.uint8)
    grid_map = GridMap.between(shape, target, (1, 1, 0), antialias)
    present = np.unique(labels)
    shares = np.stack([grid_map.apply((labels == label).astype(np.float64)) for label in present])
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-5)
    found = resample_labels(labels, grid_map)
    assert found.dtype == labels.dtype
    position = np.searchsorted(present, found)
    assert np.isin(found, present).all()
    chosen = np.take_along_axis(shares, position[np.newaxis], axis=0)[0]
    np.testing.assert_allclose(chosen, shares.max(axis=0), atol=1e-6)


def test_ties_go_to_the_lower_label():
    grid_map = GridMap.between((4, 1), (2, 1), (1, 1), True)
    found = resample_labels(np.array([[3], [1], [0], [2]], np.uint8), grid_map)
    np.testing.assert_array_equal(found, [[1], [0]])


def test_boolean_masks_stay_boolean():
    mask = np.array([[True], [True], [False]])
    found = resample_labels(mask, GridMap.between((3, 1), (6, 1), (1, 1), True))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found[:, 0], [1, 1, 1, 1, 0, 0])


@pytest.mark.parametrize("target", [(11, 5, 9), (6, 8, 7)])
def test_argmax_class_by_class_is_the_argmax(rng, target):
    chances = rng.dirichlet(np.ones(4), size=(6, 8, 7)).astype(np.float32)
    before = chances.copy()
    grid_map = GridMap.between((6, 8, 7), target, (1, 1, 1), True)
    expected = resample_channels(chances, grid_map).argmax(axis=-1)
    found = resample_argmax(chances, grid_map)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(chances, before)


@given(n=SIZES, m=SIZES)
def test_nearest_takes_the_voxel_that_holds_the_centre(n, m):
    found = take_nearest(np.arange(n), (m,))
    exact = [((2 * j + 1) * n) // (2 * m) for j in range(m)]
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(mapped(np.arange(n), (m,), 0, False), exact)
    if m > n:  # nothing is lost on the way to more voxels and back
        np.testing.assert_array_equal(take_nearest(found, (n,)), np.arange(n))
