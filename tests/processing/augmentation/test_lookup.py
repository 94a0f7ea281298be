"""Monotone changes of intensity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from miscnn.processing.augmentation._lookup import (
    PIECES,
    apply_table,
    dense_table,
    draw_points,
    slopes_fit,
)

_BLACK, _WHITE, _SLOPE = (-0.1, 0.1), (0.9, 1.1), (0.8, 1.2)


@given(seed=st.integers(0, 2**32), insertions=st.integers(0, 4), wide=st.booleans())
@settings(max_examples=60)
def test_points_keep_ends_and_slopes(seed, insertions, wide):
    slope = (0.5, 2.0) if wide else _SLOPE
    points = draw_points(np.random.default_rng(seed), _BLACK, _WHITE, slope, insertions)
    assert len(points) == 2**insertions + 1
    assert _BLACK[0] <= points[0] <= _BLACK[1]
    assert _WHITE[0] <= points[-1] <= _WHITE[1]
    slopes = np.diff(points) * 2**insertions
    assert slope[0] - 1e-9 <= slopes.min()
    assert slopes.max() <= slope[1] + 1e-9


@given(
    seed=st.integers(0, 2**32),
    low=st.floats(-3000, 3000),
    extent=st.floats(1e-3, 1e4),
    slope=st.sampled_from([(0.0, 5.0), (0.5, 2.0), _SLOPE]),
)
@settings(max_examples=60)
def test_larger_intensities_never_become_smaller(seed, low, extent, slope):
    rng = np.random.default_rng(seed)
    points = draw_points(rng, _BLACK, _WHITE, slope, 2)
    values = rng.uniform(low - extent, low + 2 * extent, 2000)
    joints = low + extent * np.arange(4 * PIECES + 1) / (4 * PIECES)
    values = np.concatenate([values, joints, np.nextafter(joints, -np.inf)]).astype(np.float32)
    values = np.sort(np.concatenate([values, np.nextafter(values, np.float32(np.inf))]))
    assert np.all(np.diff(apply_table(values, points, low, low + extent)) >= 0)


def test_the_ends_are_black_and_white():
    values = np.array([-2.0, 3.0], dtype=np.float32)
    changed = apply_table(values, [0.05, 0.3, 0.5, 0.8, 1.08], -2.0, 3.0)
    np.testing.assert_allclose(changed, [-2 + 5 * 0.05, -2 + 5 * 1.08], rtol=1e-6)


def test_beyond_the_range_the_table_goes_straight_on():
    values = np.array([-1.0, -0.5, 0.0, 1.0, 1.5, 2.0], dtype=np.float32)
    points = [0.0, 0.3, 0.5, 0.7, 1.0]
    changed = apply_table(values, points, 0.0, 1.0)
    np.testing.assert_allclose(changed, [-1.2, -0.6, 0, 1, 1.6, 2.2], atol=2e-3)


def test_the_line_is_the_identity(rng):
    values = rng.normal(size=(20, 20)).astype(np.float32)
    before = values.copy()
    changed = apply_table(values, [0, 0.25, 0.5, 0.75, 1], -1.5, 2.0)
    inside = (values >= -1.5) & (values <= 2)
    np.testing.assert_allclose(changed[inside], values[inside], atol=1e-6)
    np.testing.assert_allclose(changed, values, atol=1e-4)
    np.testing.assert_array_equal(values, before)


def test_the_table_is_the_spline_of_its_points():
    points = np.array([-0.05, 0.2, 0.45, 0.75, 1.0])
    control = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    spline = BSpline(np.arange(len(control) + 4) - 3, control, 3)
    expected = spline(np.arange(4 * PIECES + 1) / PIECES)
    np.testing.assert_allclose(dense_table(points), expected, atol=1e-12)


def test_a_constant_channel_stays():
    values = np.full((4, 4), 7.0, dtype=np.float32)
    np.testing.assert_array_equal(apply_table(values, [0.1, 0.5, 1.0], 7.0, 7.0), values)


@pytest.mark.parametrize(
    ("slope", "fit"), [((0.8, 1.2), True), ((0.81, 1.2), False), ((0.8, 1.19), False)]
)
def test_slopes_must_hold_all_slopes_from_black_to_white(slope, fit):
    assert slopes_fit(_BLACK, _WHITE, slope) is fit
