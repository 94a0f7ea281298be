"""Surfels: areas of analytic shapes, reference values, symmetries; far surfaces."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.evaluation import _nearest
from miscnn.evaluation._surface import surface_distances
from miscnn.evaluation._surfels import surfel_sizes, surfels
from miscnn.evaluation.scores import score_subject
from miscnn.evaluation.scoring import Scoring

from .brute_surface import brute_distances, brute_surfels

MILLIMETRES = Scoring(
    metrics=("dice", "hd_mm", "hd95_mm", "assd_mm", "rmsd_mm", "nsd", "centroid_distance_mm",
             "boundary_iou"),
    nsd_tolerances_mm=(1.0, 3.3),
)  # fmt: skip

# Contours or surfaces, HD, HD95, mean over both surfaces and surface Dice at 1 mm of the shapes
# that shapes() makes, by the package surface-distance 0.1.
REFERENCE = [
    ((9, 11), (1.0, 1.0), False,
     (20.485281374238568, 22.72792206135785, 2.0, 2.0, 0.7968635996603509, 0.8064489469487192)),
    ((9, 11), (0.7, 2.5), False,
     (38.3769059828966, 39.365358974344915, 2.596150997149434, 2.596150997149434,
      0.7863529208483351, 0.7146885931616906)),
    ((10, 9, 7), (1.0, 1.0, 1.0), False,
     (91.5363823417782, 117.87807017656777, 2.23606797749979, 1.4142135623730951,
      0.5577791818618231, 0.8954399512743625)),
    ((10, 9, 7), (0.8, 1.1, 3.0), False,
     (192.8619927703275, 255.25487841685884, 3.4, 3.0, 0.651731812795205, 0.728758828368782)),
    ((10, 9, 7), (2.0, 0.5, 1.25), True,
     (183.7982262267126, 180.1282992249275, 10.062305898749054, 8.558621384311845,
      0.8297712028685577, 0.8647971328746618)),
    ((8, 12), (1.5, 0.6), True,
     (22.177747210701753, 30.924395537122813, 6.579513659838392, 5.762811813689563,
      1.161224466997149, 0.712295089799787)),
]  # fmt: skip


def shapes(shape: tuple[int, ...], at_border: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    grid = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")

    def ellipsoid(centre: list[float], radius: list[float]) -> NDArray[Any]:
        parts = zip(grid, centre, radius, strict=True)
        return np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in parts)) <= 1

    def share(factor: float) -> list[float]:
        return [n * factor for n in shape]

    if not at_border:
        return ellipsoid(share(0.45), share(0.3)), ellipsoid(share(0.55), share(0.35))
    n = len(shape)
    corner = ellipsoid([s - 1 for s in shape], [2] * n)
    return ellipsoid([0] * n, share(0.6)), ellipsoid([1] * n, share(0.4)) | corner


@pytest.mark.parametrize(("shape", "spacing", "at_border", "expected"), REFERENCE)
def test_values_of_the_reference_package(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    at_border: bool,
    expected: tuple[float, ...],
) -> None:
    truth, prediction = shapes(shape, at_border)
    found = surface_distances(truth, prediction, spacing)
    assert (
        found.from_truth.areas.sum(),
        found.from_prediction.areas.sum(),
        found.hausdorff(100),
        found.hausdorff(95),
        found.mean(),
        found.share_within(1.0),
    ) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.1, 5.0)])
def test_area_of_every_code_equals_brute_force(spacing: tuple[float, ...]) -> None:
    sizes = surfel_sizes(spacing)
    for code in range(256):
        mask = np.array([code >> (7 - k) & 1 for k in range(8)], dtype=bool).reshape(2, 2, 2)
        # The middle point of the lattice is that of the code, the others are at the border.
        places, areas = brute_surfels(mask, spacing)
        middle = np.all(np.isclose(places, [s / 2 for s in spacing]), axis=1)
        assert sizes[code] == pytest.approx(areas[middle].sum(), abs=1e-8), code


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(2, 9), min_size=2, max_size=3),
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3),
)
def test_area_of_a_box(sides: list[int], sizes: list[float]) -> None:
    n, spacing = len(sides), tuple(sizes[: len(sides)])
    mask = np.ones(sides, dtype=bool)
    if n == 2:
        edges = 2 * sum((k - 1) * s for k, s in zip(sides, spacing, strict=True))
        expected = edges + 4 * math.hypot(*spacing) / 2
    else:
        expected = 0.0
        for a, b, c in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
            face = (sides[a] - 1) * (sides[b] - 1) * spacing[a] * spacing[b]
            # Edges along c are cut off at an angle.
            edge = (sides[c] - 1) * spacing[c] * math.hypot(spacing[a], spacing[b]) / 2
            expected += 2 * face + 4 * edge
        products = (x * y for x, y in itertools.combinations(spacing, 2))
        expected += 8 * math.hypot(*products) / 8  # and the corners
    assert surfels(mask, spacing).areas.sum() == pytest.approx(expected, rel=1e-12)


def test_area_of_a_sphere() -> None:
    spacing = (0.5, 0.8, 1.0)
    grid = np.meshgrid(*[np.arange(-25.0, 25.0, s) for s in spacing], indexing="ij")
    mask = np.asarray(sum(g**2 for g in grid)) <= 20.0**2
    # Of yes and no, marching cubes makes steps, whose area is too large by about a tenth.
    assert surfels(mask, spacing).areas.sum() == pytest.approx(4 * math.pi * 400 * 1.1, rel=0.03)


def both(seed: int, ndim: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 9, ndim)
    first, second = (rng.random(shape) < rng.uniform(0.1, 0.6) for _ in range(2))
    first.flat[0] = second.flat[-1] = True
    return first, second, tuple(rng.uniform(0.4, 4.0, ndim).tolist())


def values(truth: NDArray[Any], prediction: NDArray[Any], spacing: Any) -> list[float]:
    rows = score_subject(truth, prediction, 2, spacing, scoring=MILLIMETRES)
    # Volumes come with everything, and are those of one map.
    return [row.value for row in rows if not row.metric.startswith(("volume_", "area_"))]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.data())
def test_place_order_of_axes_and_mirrors_do_not_matter(
    seed: int, ndim: int, data: st.DataObject
) -> None:
    truth, prediction, spacing = both(seed, ndim)
    expected = values(truth, prediction, spacing)
    order = data.draw(st.permutations(range(ndim)))
    mirrored = data.draw(st.sets(st.integers(0, ndim - 1)))
    margin = data.draw(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=ndim, max_size=ndim))

    def moved(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # Nor does it matter whether the object touches the border.
        return np.flip(np.pad(mask, margin), tuple(mirrored)).transpose(order)

    turned = tuple(spacing[axis] for axis in order)
    assert values(moved(truth), moved(prediction), turned) == pytest.approx(expected, abs=1e-9)
    assert values(prediction, truth, spacing) == pytest.approx(expected, abs=1e-9)
    one, *_ = perfect = values(truth, truth, spacing)
    assert (one, *perfect) == (1, 1, 0, 0, 0, 0, 1, 1, 0, 1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.8, 5.0), (3.0, 0.5, 0.5)])
def test_far_surfaces_equal_brute_force(spacing: tuple[float, ...]) -> None:
    truth, prediction = np.zeros((2, 14, 14, 14), dtype=bool)
    truth[1:3, 1:4, 1:3] = True
    prediction[11:13, 10:13, 12:14] = True
    prediction[2:4, 2:4, 2:4] = True  # some near, some far
    slow = brute_distances(truth, prediction, spacing)
    found = surface_distances(truth, prediction, spacing)
    reach = max(length for length, _ in _nearest._shells(spacing))
    assert slow.back.max() > 2 * reach
    assert found.hausdorff(100) == pytest.approx(slow.hausdorff(100), abs=1e-9)
    assert found.hausdorff(60) == pytest.approx(slow.hausdorff(60), abs=1e-9)
    assert found.mean() == pytest.approx(slow.mean(), abs=1e-9)
    for spread in (found.from_truth, found.from_prediction):
        assert np.all(np.diff(spread.distances) >= 0)


FAR = {
    "concentric": (4, 12, (0, 0, 0)),
    "apart": (6, 9, (40, 0, 15)),
    "one inside, at the side": (3, 12, (0, 5, 2)),
}


@pytest.mark.parametrize("few", [(16, 1 << 15), (1, 1)])  # as it is; halved to single points
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0)])
@pytest.mark.parametrize("case", FAR)
def test_boxes_lose_no_nearest_point(
    case: str, spacing: tuple[float, ...], few: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nearest, "_FEW_POINTS", few[0])
    monkeypatch.setattr(_nearest, "_FEW_PAIRS", few[1])
    monkeypatch.setattr(_nearest, "_MANY_PAIRS", 1000)
    inner, outer, offset = FAR[case]
    points, targets = sphere(inner), sphere(outer) + np.array(offset)
    apart = (points[:, None] - targets[None]) * np.array(spacing)
    expected = np.sqrt((apart**2).sum(axis=-1)).min(axis=1)
    np.testing.assert_allclose(_nearest._far(points, targets, spacing), expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.integers(1, 200), st.integers(1, 200))
def test_boxes_of_random_points(seed: int, ndim: int, n_points: int, n_targets: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.3, 5.0, ndim).tolist()
    size = rng.integers(1, 60, (2, ndim))
    points, targets = (
        rng.integers(0, size[k], (n, ndim)) + k * rng.integers(0, 50, ndim)
        for k, n in enumerate((n_points, n_targets))
    )
    table = np.sqrt((((points[:, None] - targets[None]) * spacing) ** 2).sum(axis=-1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_nearest, "_FEW_POINTS", 2)
        patch.setattr(_nearest, "_FEW_PAIRS", 8)
        found = _nearest._far(points, targets, spacing)
    assert found == pytest.approx(table.min(axis=1), rel=1e-12)


def sphere(radius: int) -> NDArray[np.intp]:
    grid = np.indices((2 * radius + 1,) * 3) - radius
    shell = np.abs(np.sqrt((grid**2).sum(axis=0)) - radius) < 0.8
    return np.argwhere(shell) - radius


@pytest.mark.parametrize("start", range(12))
def test_far_plane_at_just_the_tolerance_is_within_it(start: int) -> None:
    # Wherever it lies: 10 steps of 0.1 mm are 1 mm, differences of positions are beside of it.
    truth, prediction = np.zeros((2, 30, 40), dtype=bool)
    truth[start] = True
    prediction[start + 10] = True
    spacing = (0.1, 0.1)
    assert max(length for length, _ in _nearest._shells(spacing)) < 0.95
    found = surface_distances(truth, prediction, spacing)
    # The planes are two lines each; one of each is 1 mm from the nearer one of the other,
    # and the other a pixel less.
    distances = np.concatenate([found.from_truth.distances, found.from_prediction.distances])
    assert set(distances[distances > 0.95]) <= {1.0}
    assert found.share_within(1.0) == 1


def test_small_last_piece_counts_for_the_maximum() -> None:
    truth = np.zeros((300, 300), dtype=bool)
    truth[:, :150] = True
    prediction = truth.copy()
    prediction[150, 250] = True
    found = surface_distances(truth, prediction, (1.0, 1.0))
    assert found.hausdorff(100) == 101
    assert found.hausdorff(95) == 0
