"""Windows: where they lie, cutting and merging."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.exceptions import ConfigurationError
from miscnn.processing.patches import (
    WindowGrid,
    cut,
    draw_start,
    round_up,
    window_starts,
)

axes = st.tuples(st.integers(1, 40), st.integers(1, 16)).flatmap(
    lambda nw: st.tuples(st.just(nw[0]), st.just(nw[1]), st.integers(0, nw[1] - 1))
)


@given(axes)
def test_windows_cover_the_axis_with_the_overlap_asked_for(axis: tuple[int, int, int]) -> None:
    length, window, overlap = axis
    starts = window_starts(length, window, overlap)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        covered[max(start, 0) : start + window] += 1
    assert covered.min() >= 1
    if length > window:
        assert starts[0] == 0
        assert starts[-1] + window == length
        assert all(b - a <= window - overlap for a, b in itertools.pairwise(starts))
        # one window fewer could not keep the overlap
        assert (len(starts) - 1) * (window - overlap) + overlap < length
    else:
        assert len(starts) == 1


def test_known_starts() -> None:
    assert window_starts(10, 4, 0) == (0, 3, 6)
    assert window_starts(8, 4, 0) == (0, 4)
    assert window_starts(8, 4, 2) == (0, 2, 4)
    assert window_starts(4, 4, 2) == (0,)
    assert window_starts(3, 6, 0) == (-1,)


def test_overlap_must_be_smaller_than_the_window() -> None:
    with pytest.raises(ConfigurationError, match="0 … 3"):
        window_starts(10, 4, 4)


@st.composite
def grids(draw: st.DrawFn) -> WindowGrid:
    chosen = [draw(axes) for _ in range(draw(st.integers(2, 3)))]
    origin = tuple(draw(st.integers(-5, 50)) for _ in chosen)
    return WindowGrid(*(tuple(a[i] for a in chosen) for i in range(3)), origin)


@given(grids())
def test_an_origin_moves_all_windows(grid: WindowGrid) -> None:
    at_zero = WindowGrid(grid.shape, grid.window, grid.overlap)
    assert at_zero.origin == (0,) * len(grid.shape)
    moved = [tuple(np.add(start, grid.origin)) for start in at_zero]
    assert list(grid) == moved
    assert [grid.start(n) for n in range(len(grid))] == moved


@given(grids(), st.data())
def test_along_an_axis_goes_layer_by_layer(grid: WindowGrid, data: st.DataObject) -> None:
    n = len(grid.shape)
    axis = data.draw(st.integers(-n, n - 1))
    starts = list(grid.along(axis))
    assert sorted(starts) == list(grid)
    assert [s[axis] for s in starts] == sorted(s[axis] for s in grid)
    for _, layer in itertools.groupby(starts, key=lambda start: start[axis]):
        layer = list(layer)
        assert layer == sorted(layer)
    assert list(grid.along(0)) == list(grid)


def test_all_parts_of_a_grid_have_as_many_axes() -> None:
    with pytest.raises(ConfigurationError, match=r"origin \(0,\)"):
        WindowGrid((4, 4), (2, 2), (0, 0), (0,))


def test_cut_fills_what_lies_outside() -> None:
    array = np.arange(12, dtype=np.int16).reshape(4, 3, 1)
    box = cut(array, (-1, 1), (3, 4), fill=-5)
    assert box.dtype == np.int16
    expected = [[-5, -5, -5, -5], [1, 2, -5, -5], [4, 5, -5, -5]]
    np.testing.assert_array_equal(box[..., 0], expected)


def test_cut_fills_channels_with_their_own_value() -> None:
    box = cut(np.zeros((2, 2, 2)), (1, 1), (2, 2), fill=np.array([7.0, 9.0]))
    np.testing.assert_array_equal(box[1, 1], [7.0, 9.0])
    np.testing.assert_array_equal(box[0, 0], [0.0, 0.0])


def test_cut_returns_an_array_of_its_own() -> None:
    array = np.zeros((4, 4))
    box = cut(array, (0, 0), (2, 2))
    box += 1
    whole = cut(array, (0, 0), (4, 4))
    whole += 1
    assert array.sum() == 0


def test_cut_outside_of_the_array_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="misses"):
        cut(np.zeros((4, 4)), (4, 0), (2, 2))


@given(st.integers(0, 500), st.integers(1, 12), st.integers(1, 12), st.integers(0, 11))
def test_drawn_windows_contain_the_focus(seed: int, size: int, window: int, focus: int) -> None:
    focus = min(focus, size - 1)
    rng = np.random.default_rng(seed)
    (start,) = draw_start(rng, (size,), (window,), (focus,))
    assert start <= focus < start + window
    if size > window:
        assert 0 <= start <= size - window


def test_every_window_around_the_focus_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_start(rng, (20,), (4,), (10,))[0] for _ in range(200)}
    assert drawn == {7, 8, 9, 10}


def test_round_up() -> None:
    assert round_up((40, 41, 8), (8, 8, 1)) == (40, 48, 8)
