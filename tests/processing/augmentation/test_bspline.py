"""Displacements between control points, against the sum of kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from miscnn.processing.augmentation._bspline import SplineField, axis_weights, control_shape


def _kernel(x: float) -> float:
    """The centred uniform cubic B-spline, by its textbook definition."""
    x = abs(x)
    if x < 1:
        return 2 / 3 - x**2 + x**3 / 2
    return (2 - x) ** 3 / 6 if x < 2 else 0.0


def _slow(control, shape, spacing, distance):
    """Every voxel the sum over all control points, at their places in mm about the centre."""
    counts = control.shape[1:]
    field = np.zeros((len(control), *shape))
    for voxel in np.ndindex(*shape):
        for point in np.ndindex(*counts):
            weight = 1.0
            for v, n, s, k, count in zip(voxel, shape, spacing, point, counts, strict=True):
                here, there = (v - (n - 1) / 2) * s, (k - (count - 1) / 2) * distance
                weight *= _kernel((here - there) / distance)
            field[(slice(None), *voxel)] += weight * control[(slice(None), *point)]
    return field


@pytest.mark.parametrize(
    ("shape", "spacing", "distance"),
    [
        ((9, 8, 7), (1.0, 1.0, 1.0), 4.0),
        ((4, 9, 10), (5.0, 0.8, 1.1), 6.0),
        ((9, 9), (1.0, 2.0), 4.0),  # the last voxel lies at a control point
        ((11, 6), (1.0, 1.0), 0.7),
        ((1, 7), (1.0, 1.0), 3.0),
    ],
)
def test_the_field_is_the_sum_of_kernels(rng, shape, spacing, distance):
    control = rng.normal(size=(len(shape), *control_shape(shape, spacing, distance)))
    field = SplineField(control, shape, spacing, distance)
    expected = _slow(control, shape, spacing, distance)
    np.testing.assert_allclose(field(0, shape[0]), expected, atol=2e-6)
    rows = [field(row, row + 1) for row in range(shape[0])]
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), field(0, shape[0]))


def test_weights_are_those_of_scipy():
    first, weights = axis_weights(31, 0.13)
    position = (np.arange(31) - 15) * 0.13
    aside = (control_shape((31,), (0.13,), 1.0)[0] - 1) // 2
    for voxel, point in itertools.product(range(31), range(4)):
        centre = first[voxel] + point - aside
        spline = BSpline.basis_element(np.arange(centre - 2, centre + 3, dtype=float), False)
        value = np.nan_to_num(spline(position[voxel]))
        assert weights[voxel, point] == pytest.approx(value, abs=1e-6)


@given(size=st.integers(1, 200), ratio=st.floats(0.003, 3))
def test_every_voxel_has_four_points_whose_weights_sum_to_one(size, ratio):
    first, weights = axis_weights(size, ratio)
    (count,) = control_shape((size,), (ratio,), 1.0)
    assert first.min() >= 0
    assert first.max() + 3 < count
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights.min() >= 0
    # the weighted mean of the points' places is the voxel's: linear maps are kept
    places = (first[:, None] + np.arange(4) - (count - 1) / 2) * weights
    expected = (np.arange(size) - (size - 1) / 2) * ratio
    np.testing.assert_allclose(places.sum(axis=1), expected, atol=1e-5 * max(count, 1))


def test_the_field_stays_within_the_points(rng):
    control = rng.normal(size=(2, *control_shape((40, 30), (1.0, 1.0), 7.0)))
    field = SplineField(control, (40, 30), (1.0, 1.0), 7.0)(0, 40)
    assert np.abs(field).max() < np.abs(control).max()
    constant = SplineField(np.full_like(control, 2.5), (40, 30), (1.0, 1.0), 7.0)(0, 40)
    np.testing.assert_allclose(constant, 2.5, atol=1e-6)
