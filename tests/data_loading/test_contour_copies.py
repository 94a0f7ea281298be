"""Contours that an RTSTRUCT lists twice: by the even-odd rule they would cancel out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.data_loading.dicom._polygons import is_same
from miscnn.data_loading.dicom.structures import read_structures

from .test_dicom_structures import box, volume, write

Points = NDArray[np.float64]
CHANGES: dict[str, Callable[[Points], Points]] = {
    "as it is": lambda points: points,
    "another start": lambda points: np.roll(points, 2, axis=0),
    "other direction": lambda points: points[::-1],
    "both": lambda points: np.roll(points, 3, axis=0)[::-1],
    "closed": lambda points: np.concatenate([points, points[:1]]),
    "closed elsewhere": lambda points: np.concatenate([points[1:], points[:2]]),
    "last digit": lambda points: points + np.array([0.01, -0.01, 0.0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_does_not_make_a_hole(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    grid = volume()
    outline = box((1.5, 8.5), (1.5, 7.5), 2, grid)
    hole = box((3.5, 6.5), (3.5, 5.5), 2, grid)
    contours = [outline, hole, CHANGES[change](outline), CHANGES[change](hole), outline]
    path = write(tmp_path / "rs", {"GTV": contours})
    with caplog.at_level(logging.WARNING):
        labels = read_structures(path, grid, None, "a")
    expected = np.zeros(grid.shape, np.uint8)
    expected[2:9, 2:8, 2] = 1
    expected[4:7, 4:6, 2] = 0
    np.testing.assert_array_equal(labels, expected)
    assert "3 contours of slice 2 are listed twice" in caplog.text


def test_a_thin_wall_is_none_of_its_sides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two outlines that enclose the same voxels are no copies if they lie apart."""
    grid = volume()
    contours = [box((1.4, 8.6), (1.4, 7.6), 2, grid), box((1.5, 8.5), (1.5, 7.5), 2, grid)]
    with caplog.at_level(logging.WARNING):
        labels = read_structures(write(tmp_path / "rs", {"wall": contours}), grid, None, "a")
    assert not labels.any()
    assert "twice" not in caplog.text


@given(seed=st.integers(0, 2**32 - 1))
def test_same_polygons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygon = rng.uniform(0, 20, (int(rng.integers(3, 30)), 2))
    copy = np.roll(polygon, int(rng.integers(0, 30)), axis=0)
    copy = copy[:: rng.choice([-1, 1])] + rng.uniform(-0.01, 0.01, copy.shape)
    assert is_same(polygon, copy, 0.01)
    copy[rng.integers(len(copy)), rng.integers(2)] += rng.choice([-1, 1]) * 0.05
    assert not is_same(polygon, copy, 0.01)
    assert not is_same(polygon, copy[:-1], 0.01)


def test_a_key_hole_may_begin_where_it_passes_twice() -> None:
    outer, inner = [(0, 0), (9, 0), (9, 9), (0, 9), (0, 0)], [(3, 3), (3, 6), (6, 6), (3, 3)]
    polygon = np.array([*outer, *inner], dtype=float)
    for start in range(len(polygon)):
        assert is_same(polygon, np.roll(polygon, start, axis=0), 0.01)


def test_a_point_is_a_polygon_like_another() -> None:
    assert is_same(np.ones((4, 2)), np.ones((3, 2)), 0.01)
    assert not is_same(np.ones((3, 2)), np.zeros((3, 2)), 0.01)
