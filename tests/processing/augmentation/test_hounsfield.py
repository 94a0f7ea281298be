"""The cluster-wise shift of intensity ranges: which maps are drawn, and what they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation._hounsfield import (
    LIMITS,
    SMALLEST_SLOPE,
    WINDOWS,
    change_ranges,
    draw_knots,
    read_windows,
)

_ONE = [(-150.0, -30.0)]


def _slopes(knots):
    return np.diff(knots["target"]) / np.diff(knots["source"])


@st.composite
def _windows(draw):
    edges = sorted(draw(st.sets(st.integers(-999, 2999), min_size=2, max_size=12)))
    pairs = []
    place = 0
    while place + 1 < len(edges):
        pairs.append((float(edges[place]), float(edges[place + 1])))
        place += draw(st.sampled_from([1, 2]))  # 1: the next window shares this one's edge
    return pairs


@settings(max_examples=200, deadline=None)
@given(
    windows=_windows(),
    shift=st.floats(0, 3),
    scale=st.tuples(st.floats(0.05, 1), st.floats(1, 8)),
    seed=st.integers(0, 2**32),
)
def test_every_map_is_continuous_strictly_monotone_and_far_off_the_identity(
    windows, shift, scale, seed
):
    knots = draw_knots(np.random.default_rng(seed), windows, LIMITS, (-shift, shift), scale)
    source, target = np.asarray(knots["source"]), np.asarray(knots["target"])
    assert source[0] == target[0] == LIMITS[0]
    assert source[-1] == target[-1] == LIMITS[1]
    assert np.all(np.diff(source) >= 1)  # no two knots above each other: no jump
    assert np.all(_slopes(knots) >= SMALLEST_SLOPE - 1e-9)

    axis = np.linspace(-1500, 4000, 22001, dtype=np.float32)
    mapped = change_ranges(axis, **knots)
    assert np.all(np.diff(mapped) > 0)
    steepest = max(1.0, float(_slopes(knots).max()))
    assert np.diff(mapped).max() <= steepest * 0.251  # a jump would be larger
    outside = (axis < LIMITS[0]) | (axis > LIMITS[1])
    np.testing.assert_array_equal(mapped[outside], axis[outside])
    inside = np.interp(axis, source, target)
    exact = inside[~outside]
    np.testing.assert_allclose(mapped[~outside], exact, rtol=0, atol=5e-4 * steepest)


def test_a_window_goes_where_it_was_drawn(rng):
    shifted = draw_knots(rng, _ONE, LIMITS, (0.1, 0.1), None)
    np.testing.assert_allclose(shifted["source"], [-1000, -150, -30, 3000])
    np.testing.assert_allclose(shifted["target"], [-1000, -138, -18, 3000])
    narrow = draw_knots(rng, _ONE, LIMITS, None, (0.5, 0.5))
    np.testing.assert_allclose(narrow["target"], [-1000, -120, -60, 3000])
    wide = draw_knots(rng, _ONE, LIMITS, (-0.25, -0.25), (1.5, 1.5))
    np.testing.assert_allclose(wide["target"], [-1000, -210, -30, 3000])


def test_values_are_rescaled_within_their_window():
    image = np.array([-150, -90, -30, -1000, -575, 3000], np.float32)
    mapped = change_ranges(image, [-1000, -150, -30, 3000], [-1000, -210, -30, 3000])
    np.testing.assert_allclose(mapped, [-210, -120, -30, -1000, -605, 3000], atol=1e-3)
    assert mapped.dtype == np.float32
    np.testing.assert_array_equal(image, [-150, -90, -30, -1000, -575, 3000])


def test_a_shared_edge_goes_to_the_middle(rng):
    knots = draw_knots(rng, [(0.0, 100.0), (100.0, 300.0)], LIMITS, (0.1, 0.1), None)
    np.testing.assert_allclose(knots["target"], [-1000, 10, 115, 320, 3000])


def test_windows_that_would_cross_stay_as_near_as_they_may(rng):
    # Widened to (-50, 150) and (60, 260): the two edges in between meet, 10 HU · 0.2 apart.
    knots = draw_knots(rng, [(0.0, 100.0), (110.0, 210.0)], LIMITS, None, (2.0, 2.0))
    np.testing.assert_allclose(knots["target"], [-1000, -50, 104, 106, 260, 3000])


def test_default_maps_leave_air_and_metal_and_move_tissue_slightly(rng):
    windows = read_windows(None, LIMITS)
    assert len(windows) == len(WINDOWS)
    moved = []
    for _ in range(300):
        knots = draw_knots(rng, windows, LIMITS, (-0.1, 0.1), (0.8, 1.25))
        hu = np.array([-1024, -1000, -90, 45, 4000], np.float32)
        moved.append(change_ranges(hu, **knots) - hu)
    moved = np.asarray(moved)
    assert np.abs(moved[:, [0, 1, 4]]).max() <= 1e-3
    assert 6 < np.abs(moved[:, 2]).max() <= 12.01  # fat: a tenth of 120 HU
    assert 4.5 < np.abs(moved[:, 3]).max() <= 30  # its edge is shared with the contrast window
    assert np.abs(moved[:, 2].mean()) < 1.5


def test_a_map_is_that_of_every_shape_and_layout(rng):
    image = (rng.standard_normal((41, 31, 30, 2)) * 500).astype(np.float32)  # several blocks
    knots = draw_knots(rng, read_windows(None, LIMITS), LIMITS, (-0.1, 0.1), (0.8, 1.25))
    straight = change_ranges(image, **knots)
    view = change_ranges(image[::-1].transpose(2, 0, 1, 3), **knots)
    np.testing.assert_array_equal(view, straight[::-1].transpose(2, 0, 1, 3))


@pytest.mark.parametrize(
    ("windows", "limits", "words"),
    [
        ({"fat": (-30, -150)}, LIMITS, r"window 'fat' must be two whole numbers.*\(-30, -150\)"),
        ({"fat": (-150.5, -30)}, LIMITS, "whole numbers"),
        ({"fat": (-150, -30), "water": (-40, 20)}, LIMITS, "'fat' and 'water' overlap between -40"),
        ({"lung": (-1000, -500)}, LIMITS, "'lung' .* must lie within range_limits"),
        ({"fat": (-150, -30)}, (0, -1), "range_limits must be two whole"),
        ({"fat": (-150, -30)}, (-1e9, 3000), "range_limits must be two whole"),
        ({}, LIMITS, "at least one"),
        ([(-150, -30)], LIMITS, "at least one"),
    ],
)
def test_what_is_wrong_with_windows_is_named(windows, limits, words):
    with pytest.raises(ConfigurationError, match=words):
        read_windows(windows, limits)
