"""Outlines of masks: the even-odd fill of the polygons is the mask, whatever the mask is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from miscnn.data_loading.dicom._contours import trace

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def fill(polygons: list[NDArray], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Even-odd fill by brute force, without any code of the library's."""
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
    inside = np.zeros(len(centres), dtype=np.int64)
    for polygon in polygons:
        inside += Polygon(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centres)
    return (inside % 2 == 1).reshape(shape)


def winding(polygons: list[NDArray], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Winding number of each pixel centre: signed crossings of a ray along the second axis."""
    number = np.zeros(shape, dtype=np.int64)
    for polygon in polygons:
        for (i0, j0), (i1, j1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if j0 == j1:  # an edge across the rays of the pixel rows between i0 and i1
                rows = slice(int(min(i0, i1) + 0.5), int(max(i0, i1) + 0.5))
                number[rows, int(j0 + 0.5) :] += 1 if i1 > i0 else -1
    return number


def area(polygon: NDArray) -> float:
    i, j = polygon.T
    return float(0.5 * np.sum(i * np.roll(j, -1) - np.roll(i, -1) * j))


def test_a_pixel_is_its_four_corners() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 3] = True
    (polygon,) = trace(mask)
    assert {tuple(p) for p in polygon} == {(0.5, 2.5), (0.5, 3.5), (1.5, 2.5), (1.5, 3.5)}
    assert abs(area(polygon)) == 1


def test_a_ring_is_an_outer_boundary_and_a_hole_in_opposite_directions() -> None:
    mask = np.ones((5, 6), dtype=bool)
    mask[1:4, 2:4] = False
    areas = sorted((area(polygon) for polygon in trace(mask)), key=abs)
    assert [abs(a) for a in areas] == [6, 30]
    assert areas[0] * areas[1] < 0


def test_collinear_points_are_left_out() -> None:
    mask = np.ones((300, 200), dtype=bool)
    mask[0, 0] = False
    (polygon,) = trace(mask)
    assert len(polygon) == 6


@pytest.mark.parametrize("mask", [[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
def test_pixels_that_touch_at_a_corner_are_two_polygons(mask: list[list[int]]) -> None:
    assert [abs(area(p)) for p in trace(np.array(mask, dtype=bool))] == [1, 1]


def test_a_loop_that_touches_itself_is_cut_there() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
    assert sorted(abs(area(p)) for p in trace(mask)) == [1, 8]


def test_an_empty_mask_has_no_outline() -> None:
    assert trace(np.zeros((3, 4), dtype=bool)) == []


@given(MASKS)
def test_even_odd_and_winding_give_back_the_mask(mask: NDArray[np.bool_]) -> None:
    polygons = trace(mask)
    np.testing.assert_array_equal(fill(polygons, mask.shape), mask)
    numbers = winding(polygons, mask.shape)
    np.testing.assert_array_equal(abs(numbers), mask)
    assert len(np.unique(numbers[mask])) <= 1  # one direction for all outer boundaries


@given(MASKS)
def test_polygons_are_simple_and_of_corners_only(mask: NDArray[np.bool_]) -> None:
    for polygon in trace(mask):
        assert len({tuple(p) for p in polygon}) == len(polygon) >= 4
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert np.all((steps == 0).sum(axis=1) == 1)  # along one axis, and somewhere
        along = steps[:, 0] != 0
        assert np.all(along != np.roll(along, 1))  # every point is a turn


def test_a_fine_chequerboard() -> None:
    mask = np.indices((64, 64)).sum(axis=0) % 2 == 0
    polygons = trace(mask)
    assert len(polygons) == 64 * 32
    np.testing.assert_array_equal(abs(winding(polygons, mask.shape)), mask)
