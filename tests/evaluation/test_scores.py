"""Scores against brute force, analytic shapes and the table of special values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.evaluation import scores
from miscnn.evaluation.scores import (
    METRICS,
    average_symmetric_surface_distance,
    dice,
    hausdorff_distance_95,
    jaccard,
    precision,
    score_subject,
    sensitivity,
    squared_dice,
    volume_error,
    volume_ml,
)
from miscnn.exceptions import ConfigurationError


def brute_surface(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Positions in mm of the voxels with a face neighbour that is no object, voxel by voxel."""
    found = []
    for voxel in itertools.product(*map(range, mask.shape)):
        if not mask[voxel]:
            continue
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            outside = not 0 <= neighbour[axis] < mask.shape[axis]
            if outside or not mask[tuple(neighbour)]:
                found.append([i * s for i, s in zip(voxel, spacing, strict=True)])
                break
    return np.array(found, dtype=float).reshape(-1, mask.ndim)


def brute_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = brute_surface(truth, spacing), brute_surface(prediction, spacing)
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return table.min(axis=1), table.min(axis=0)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=ndim, max_size=ndim)))
    spacing = tuple(draw(st.lists(st.floats(0.25, 10.0), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = draw(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
    truth, prediction = (rng.random(shape) < share for share in shares)
    truth.flat[rng.integers(truth.size)] = True
    prediction.flat[rng.integers(truth.size)] = True
    return truth, prediction, spacing


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_surface_scores_equal_brute_force(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]],
) -> None:
    truth, prediction, spacing = pair
    there, back = brute_distances(truth, prediction, spacing)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    assd = np.concatenate([there, back]).mean()
    assert hausdorff_distance_95(truth, prediction, spacing) == pytest.approx(hd95, rel=1e-5)
    assert average_symmetric_surface_distance(truth, prediction, spacing) == pytest.approx(
        assd, rel=1e-5
    )
    by_name = {row.metric: row.value for row in score_subject(truth, prediction, 2, spacing)}
    assert by_name["hd95_mm"] == pytest.approx(hd95, rel=1e-5)
    assert by_name["assd_mm"] == pytest.approx(assd, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_overlap_scores_equal_set_arithmetic(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]],
) -> None:
    truth, prediction, _ = pair
    t = set(map(tuple, np.argwhere(truth)))
    p = set(map(tuple, np.argwhere(prediction)))
    assert dice(truth, prediction) == 2 * len(t & p) / (len(t) + len(p))
    assert jaccard(truth, prediction) == len(t & p) / len(t | p)
    assert sensitivity(truth, prediction) == len(t & p) / len(t)
    assert precision(truth, prediction) == len(t & p) / len(p)
    assert volume_error(truth, prediction) == (len(p) - len(t)) / len(t)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float64, ">i2"])
def test_scores_of_a_subject_equal_those_of_its_masks(
    rng: np.random.Generator, order: str, dtype: str
) -> None:
    spacing = (0.7, 1.3, 5.0)
    maps = [np.zeros((14, 11, 9), dtype=dtype, order=order) for _ in range(2)]  # type: ignore[call-overload]
    for array in maps:
        array[3:12, 2:9, 1:7] = rng.integers(0, 4, (9, 7, 6))
    rows = score_subject(maps[0], maps[1], 4, spacing, slice_axis=2)
    assert [row.label for row in rows] == [1] * 10 + [2] * 10 + [3] * 10
    inside = (maps[0] > 0).any(axis=(0, 1))
    functions = {
        "dice": dice,
        "dice_roi": lambda t, p: dice(t[..., inside], p[..., inside]),
        "jaccard": jaccard,
        "sensitivity": sensitivity,
        "precision": precision,
        "volume_error": volume_error,
        "hd95_mm": lambda t, p: hausdorff_distance_95(t, p, spacing),
        "assd_mm": lambda t, p: average_symmetric_surface_distance(t, p, spacing),
        "volume_truth_ml": lambda t, p: volume_ml(t, spacing),
        "volume_prediction_ml": lambda t, p: volume_ml(p, spacing),
    }
    for label, metric, value in rows:
        expected = functions[metric](maps[0] == label, maps[1] == label)
        assert value == pytest.approx(expected, rel=1e-6), (label, metric)


def test_shifted_box_has_analytic_distances() -> None:
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[4:10, 4:10, 4:10] = True
    prediction = np.roll(truth, 3, axis=2)
    spacing = (1.0, 1.0, 2.5)
    # The face that looks along z is 7.5 mm from its image; a shift by 3 of 6 voxels.
    assert dice(truth, prediction) == 0.5
    assert hausdorff_distance_95(truth, prediction, spacing) == pytest.approx(7.5)
    # The sides overlap in three of six layers; the far face (6 x 6 voxels) is 3 layers away,
    # inner parts of the near face are nearer to a side. Brute force gives the exact mean.
    there, back = brute_distances(truth, prediction, spacing)
    expected = np.concatenate([there, back]).mean()
    measured = average_symmetric_surface_distance(truth, prediction, spacing)
    assert measured == pytest.approx(expected, rel=1e-6)


def test_concentric_spheres_are_their_difference_of_radii_apart() -> None:
    spacing = (0.5, 1.0, 0.8)
    grid = np.meshgrid(
        *[(np.arange(round(40 / s)) - round(20 / s)) * s for s in spacing], indexing="ij"
    )
    radius = np.sqrt(sum(g**2 for g in grid))
    small, large = radius <= 10.0, radius <= 15.0
    assert hausdorff_distance_95(small, large, spacing) == pytest.approx(5.0, abs=0.6)
    assert average_symmetric_surface_distance(small, large, spacing) == pytest.approx(5.0, abs=0.3)
    assert volume_error(large, small) == pytest.approx((10 / 15) ** 3 - 1, abs=0.01)
    assert volume_ml(small, spacing) == pytest.approx(4 / 3 * math.pi, rel=0.01)


def test_hd95_is_the_larger_direction_not_the_pooled_percentile() -> None:
    truth = np.zeros((200, 3), dtype=bool)
    truth[0, 1] = True
    prediction = truth.copy()
    prediction[0:100, 1] = True
    # truth to prediction: 0; prediction to truth: 0 … 99 mm, whose 95th percentile is 94.05.
    assert hausdorff_distance_95(truth, prediction, (1.0, 1.0)) == pytest.approx(94.05, rel=1e-6)
    assert hausdorff_distance_95(prediction, truth, (1.0, 1.0)) == pytest.approx(94.05, rel=1e-6)


def test_spacing_decides_which_voxel_is_nearest() -> None:
    truth, prediction = np.zeros((2, 12, 12), dtype=bool)
    truth[5, 5] = True
    prediction[5, 8] = True  # 3 voxels of 1 mm
    prediction[6, 5] = True  # 1 voxel of 10 mm
    scored = {r.metric: r.value for r in score_subject(truth, prediction, 2, (10.0, 1.0))}
    assert scored["assd_mm"] == pytest.approx((3 + 3 + 10) / 3)
    assert scored["hd95_mm"] == pytest.approx(3 + 0.95 * 7)
    assert scored["area_truth_mm2"] == 10.0
    assert scored["area_prediction_mm2"] == 20.0


EMPTY = np.zeros((6, 5, 4), dtype=np.uint8)
VOXEL = EMPTY.copy()
VOXEL[2, 2, 2] = 1
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (EMPTY, EMPTY, (NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0.0, 0.0)),
        (EMPTY, VOXEL, (0.0, 0.0, NAN, 0.0, INF, INF, INF, 0.0, 0.006)),
        (VOXEL, EMPTY, (0.0, 0.0, 0.0, NAN, -1.0, INF, INF, 0.006, 0.0)),
        (VOXEL, VOXEL, (1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.006, 0.006)),
    ],
)
def test_special_values_are_those_of_the_table(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], expected: tuple[float, ...]
) -> None:
    rows = score_subject(truth, prediction, 2, (1.0, 2.0, 3.0))
    metrics = [m for m in METRICS if not m.startswith("area")]
    assert [row.metric for row in rows] == [m for m in metrics if m != "dice_roi"]
    np.testing.assert_array_equal([row.value for row in rows], np.array(expected))
    hd95 = hausdorff_distance_95(truth, prediction, (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(hd95, expected[5])
    rows = score_subject(truth, prediction, 2, (1.0, 2.0, 3.0), slice_axis=0)
    assert [row.metric for row in rows] == metrics
    roi = expected[0] if truth.any() else NAN  # without truth there are no slices to look at
    np.testing.assert_array_equal(rows[1].value, roi)
    np.testing.assert_array_equal(squared_dice(truth, prediction), expected[0])


def test_surface_is_closed_at_the_border_of_the_image() -> None:
    full = np.ones((5, 5), dtype=bool)
    centre = np.zeros((5, 5), dtype=bool)
    centre[2, 2] = True
    # The frame of the full image is its surface: the centre is 2 mm from it, corners √8 away.
    there, back = brute_distances(full, centre, (1.0, 1.0))
    assert len(there) == 16
    assert back[0] == 2.0
    expected = np.concatenate([there, back]).mean()
    assert average_symmetric_surface_distance(full, centre, (1.0, 1.0)) == pytest.approx(expected)


def test_background_is_scored_only_when_asked_for() -> None:
    truth = np.array([[0, 0, 1, 2]])
    prediction = np.array([[0, 1, 1, 2]])
    assert {row.label for row in score_subject(truth, prediction, 3, (1.0, 1.0))} == {1, 2}
    rows = score_subject(truth, prediction, [0, 2], (1.0, 1.0))
    found = {(row.label, row.metric): row.value for row in rows}
    assert found[0, "dice"] == pytest.approx(2 / 3)
    assert found[2, "dice"] == 1.0


def test_label_that_is_nowhere_is_undefined_not_missing() -> None:
    labels = np.array([[0, 1], [1, 0]])
    rows = score_subject(labels, labels, 4, (1.0, 1.0))
    absent = [row.value for row in rows if row.label == 3 and row.metric == "dice"]
    assert len(absent) == 1
    assert math.isnan(absent[0])


def test_inputs_are_left_alone() -> None:
    truth, prediction = EMPTY.copy(order="F"), VOXEL.copy(order="F")
    truth.setflags(write=False)
    prediction.setflags(write=False)
    score_subject(truth, prediction, 2, (1.0, 1.0, 1.0))
    hausdorff_distance_95(truth, prediction, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY, VOXEL[:3], 2, (1, 1, 1)), r"one grid.*\(6, 5, 4\) and \(3, 5, 4\)"),
        ((EMPTY, VOXEL, 2, (1, 1)), "3 positive numbers"),
        ((EMPTY, VOXEL, 2, (1, 0, 1)), "3 positive numbers"),
        ((EMPTY, VOXEL, 2, (1, 1, 1), 3), r"slice_axis must be one of 0 … 2, got 3"),
        ((EMPTY, VOXEL, 2, (1, 1, 1), -1), "got -1"),
        ((EMPTY, VOXEL, 2, (1, INF, 1)), "3 positive numbers"),
        ((EMPTY, VOXEL, 1, (1, 1, 1)), "at least 2, got 1"),
        ((EMPTY, VOXEL, [1, 1], (1, 1, 1)), "different labels"),
        ((EMPTY, VOXEL * 0.5, 2, (1, 1, 1)), "whole numbers"),
        ((EMPTY, VOXEL.astype(int) * -3, 2, (1, 1, 1)), "negative label -3"),
        ((EMPTY[0, 0], VOXEL[0, 0], 2, (1,)), "2 or 3 axes"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        score_subject(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dice_of_the_slices_with_truth(axis: int, order: str) -> None:
    truth, prediction = np.zeros((2, 6, 5, 8), dtype=np.uint8)
    truth[1:3, 1:3, 2:5] = 1  # 12 voxels in slices 2, 3, 4
    truth[4, 4, 5] = 2  # slice 5 holds another class
    prediction[1:3, 1:3, 3:8] = 1  # 20: 8 hit, 4 wrong in slice 5, 8 in slices without truth
    prediction[0, 0, 0] = 2  # in a slice without truth
    prediction[5, 0, 6] = 3
    maps = [np.asarray(np.moveaxis(a, 2, axis), order=order) for a in (truth, prediction)]  # type: ignore[call-overload]
    found = {
        (row.label, row.metric): row.value
        for row in score_subject(*maps, 5, (1.0, 1.0, 1.0), slice_axis=axis)
    }
    assert found[1, "dice"] == 2 * 8 / (12 + 20)
    assert found[1, "dice_roi"] == 2 * 8 / (12 + 12)
    assert found[2, "dice"] == found[2, "dice_roi"] == 0
    # Class 3 is predicted where there is no truth at all: no error within the slices.
    assert found[3, "dice"] == 0
    assert math.isnan(found[3, "dice_roi"])
    assert math.isnan(found[4, "dice"])
    assert math.isnan(found[4, "dice_roi"])
    background = score_subject(*maps, [0], (1.0, 1.0, 1.0), slice_axis=axis)
    inside = [dice(truth[..., 2:6] == 0, prediction[..., 2:6] == 0)]
    assert [row.value for row in background if row.metric == "dice_roi"] == inside


@settings(max_examples=60)
@given(pairs(), st.integers(0, 2))
def test_dice_of_the_slices_with_truth_is_never_lower(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]], axis: int
) -> None:
    truth, prediction, spacing = pair
    found = {
        row.metric: row.value
        for row in score_subject(truth, prediction, 2, spacing, min(axis, truth.ndim - 1))
    }
    if truth.ndim == 2:
        assert "dice_roi" not in found
    else:
        assert found["dice"] <= found["dice_roi"] <= 1


@settings(max_examples=60)
@given(pairs(), st.sampled_from(["?", "u1", "i8", "f2", "f4", "f8"]))
def test_squared_dice_of_masks_is_dice(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]], dtype: str
) -> None:
    truth, prediction, _ = pair
    assert squared_dice(truth, prediction.astype(dtype)) == dice(truth, prediction)
    assert squared_dice(truth.astype(dtype) * 1, prediction) == dice(truth, prediction)


@settings(max_examples=60)
@given(pairs(), st.integers(0, 2**32 - 1))
def test_squared_dice_of_probabilities_is_its_formula(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]], seed: int
) -> None:
    truth = pair[0]
    p = np.random.default_rng(seed).random(truth.shape)
    expected = 2 * (p * truth).sum() / ((p**2).sum() + truth.sum())
    assert squared_dice(truth, p) == pytest.approx(expected, rel=1e-12)
    assert squared_dice(p, truth) == pytest.approx(expected, rel=1e-12)
    assert squared_dice(p, p) == pytest.approx(1.0, rel=1e-12)
    half = p.astype("float16")
    exact = half.astype("float64")
    assert squared_dice(truth, half) == pytest.approx(
        2 * exact[truth].sum() / ((exact**2).sum() + truth.sum()), rel=1e-12
    )


def test_squared_dice_counts_large_volumes_exactly() -> None:
    # In float32 a sum of ones stops at 2²⁴.
    truth = np.ones((257, 256, 257), dtype="float32")
    prediction = truth.copy()
    prediction[0] = 0
    assert squared_dice(truth, prediction) == 2 * 256 / (257 + 256)


def test_squared_dice_takes_probabilities_that_rounding_has_moved() -> None:
    prediction = np.array([1.0000002, -1e-7, 0.5], dtype="float32")
    given = prediction.copy()
    assert squared_dice([1, 0, 1], prediction) == 2 * 1.5 / (1.25 + 2)
    np.testing.assert_array_equal(prediction, given)
    with pytest.raises(ConfigurationError, match="probabilities in"):
        squared_dice([1, 0, 1], [1.001, 0.0, 0.5])


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0.5, 1.5], r"\[0.5, 1.5\]"), ([-0.1, 1.0], r"\[-0.1, 1.0\]"), ([0.5, NAN], "nan"),
     (["a", "b"], "U1")],
)  # fmt: skip
def test_what_is_no_probability_is_named(values: list[object], shown: str) -> None:
    with pytest.raises(ConfigurationError, match=f"prediction must be a mask.*{shown}"):
        squared_dice([0, 1], values)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one grid"):
        squared_dice([0, 1], [0.5])


def test_volume_needs_three_axes() -> None:
    with pytest.raises(ConfigurationError, match="3 axes"):
        volume_ml(EMPTY[0], (1.0, 1.0, 1.0))


def test_docstring_examples_run() -> None:
    import doctest

    assert doctest.testmod(scores).failed == 0
