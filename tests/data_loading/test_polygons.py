"""Filling of polygons, against brute force and against traced outlines."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.data_loading.dicom import _polygons
from miscnn.data_loading.dicom._contours import trace
from miscnn.data_loading.dicom._polygons import rasterise

Polygon = NDArray[np.float64]


def fill(polygons: list[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    result = np.zeros(shape, dtype=bool)
    box, mask = rasterise(polygons, shape)
    result[box] = mask
    return result


def brute_force(
    polygons: list[Polygon], shape: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.bool_]:
    """Count crossings of a ray along the *other* axis, point for point."""
    result = np.zeros(shape, dtype=bool)
    for i, j in np.ndindex(*shape):
        x, y = i + shift[0], j + shift[1]
        for polygon in polygons:
            for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (ax > x) != (bx > x) and y < ay + (x - ax) / (bx - ax) * (by - ay):
                    result[i, j] ^= True
    return result


def star(rng: np.random.Generator, centre: float, low: float, high: float) -> Polygon:
    n = int(rng.integers(3, 40))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    if rng.random() < 0.5:
        angles = angles[::-1]
    radii = rng.uniform(low, high, n)[:, None]
    return centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_stars_with_holes_agree_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [star(rng, 8.3, 3, 11), star(rng, 8.3, 1, 3), star(rng, 5.1, 1, 6)]
    shape = (int(rng.integers(3, 19)), int(rng.integers(3, 19)))
    np.testing.assert_array_equal(fill(polygons, shape), brute_force(polygons, shape))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_centres_on_edges_belong_to_the_side_of_the_rising_index(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # corners on a grid of quarters, self-intersecting: many edges run through centres
    polygons = [rng.integers(-4, 44, (int(rng.integers(3, 8)), 2)) / 4 for _ in range(3)]
    expected = brute_force(polygons, (10, 9), shift=(1e-4, 1e-7))
    np.testing.assert_array_equal(fill(polygons, (10, 9)), expected)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_neighbours_share_their_edge_without_gap_or_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outline = star(rng, 7.0, 3, 9)
    inner = rng.integers(4, 11, (3, 2)).astype(np.float64)  # a common border through centres
    cut = int(rng.integers(1, len(outline) - 1))
    one = np.concatenate([outline[: cut + 1], inner])
    other = np.concatenate([outline[cut:], outline[:1], inner[::-1]])
    shape = (15, 15)
    parity = fill([one], shape) ^ fill([other], shape)
    np.testing.assert_array_equal(parity, fill([outline], shape))
    # halves of a rectangle: exactly one of them has the centres on the line between them
    left = np.array([[0.0, 0], [3, 0], [5, 6], [0, 6]])
    right = np.array([[3.0, 0], [9, 0], [9, 6], [5, 6]])
    counts = fill([left], (10, 7)).astype(int) + fill([right], (10, 7))
    assert counts[:9, :6].tolist() == np.ones((9, 6), dtype=int).tolist()
    assert counts.sum() == 54


@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0, 1))
@settings(max_examples=60)
def test_traced_outlines_give_back_the_mask(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(1, 20, 2))) < density
    np.testing.assert_array_equal(fill(trace(mask), mask.shape), mask)


def test_a_key_hole_is_a_hole() -> None:
    key_hole = np.array(
        [
            *([0.5, 0.5], [8.5, 0.5], [8.5, 8.5], [0.5, 8.5], [0.5, 3], [3.5, 3]),
            *([3.5, 5.5], [5.5, 5.5], [5.5, 2.5], [3.5, 2.5], [3.5, 3], [0.5, 3]),
        ]
    )
    expected = np.zeros((10, 10), dtype=bool)
    expected[1:9, 1:9] = True
    expected[4:6, 3:6] = False
    np.testing.assert_array_equal(fill([key_hole], (10, 10)), expected)


def test_rounded_coordinates_on_a_centre_count_as_on_it() -> None:
    exact = np.array([[1.0, 1], [4, 1], [4, 5], [1, 5]])
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = exact + rng.uniform(-1e-9, 1e-9, exact.shape)
        np.testing.assert_array_equal(fill([noisy], (8, 8)), fill([exact], (8, 8)))
    assert fill([exact], (8, 8)).sum() == 12


@pytest.mark.parametrize(
    "polygons",
    [
        [],
        [np.zeros((0, 2))],
        [np.array([[2.0, 2], [2, 2], [2, 2]])],
        [np.array([[0.0, 3], [9, 3], [4, 3]])],
        [np.array([[20.0, 20], [30, 20], [30, 30]])],
        [np.array([[-20.0, -20], [-3, -20], [-3, -3]])],
    ],
)
def test_what_encloses_no_centre_fills_nothing(polygons: list[Polygon]) -> None:
    assert not fill(polygons, (10, 10)).any()


def test_parts_beyond_the_grid_are_cut_off() -> None:
    huge = np.array([[-1e12, -1e12], [1e12, -1e12], [1e12, 4.5], [-1e12, 4.5]])
    expected = np.zeros((7, 9), dtype=bool)
    expected[:, :5] = True
    np.testing.assert_array_equal(fill([huge], (7, 9)), expected)
    empty = np.zeros((0, 2))
    np.testing.assert_array_equal(fill([empty, huge, empty], (7, 9)), expected)


def test_many_crossings_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    polygons = [rng.uniform(-2, 42, (300, 2))]
    whole = fill(polygons, (40, 40))
    monkeypatch.setattr(_polygons, "_CROSSINGS", 100)
    np.testing.assert_array_equal(fill(polygons, (40, 40)), whole)
    assert 0.1 < whole.mean() < 0.9


def test_sixty_slices_take_well_below_a_second() -> None:
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    radii = 150 + 40 * np.sin(7 * angles)
    polygon = 256 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    start = time.process_time()
    for _ in range(60):
        box, mask = rasterise([polygon], (512, 512))
    assert time.process_time() - start < 1
    assert mask.shape == tuple(s.stop - s.start for s in box)
    # the area of the curve: the integral of r^2 / 2
    assert mask.sum() == pytest.approx(np.pi * (150**2 + 40**2 / 2), rel=1e-3)
