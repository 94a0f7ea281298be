"""Scores against brute force, analytic shapes and the table of special values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.evaluation import _metrics, scores, scoring
from miscnn.evaluation.lesions import lesion_scores
from miscnn.evaluation.scores import (
    average_symmetric_surface_distance,
    boundary_iou,
    centerline_dice,
    centroid_distance,
    dice,
    hausdorff_distance,
    hausdorff_distance_95,
    jaccard,
    normalized_surface_dice,
    precision,
    root_mean_square_surface_distance,
    score_subject,
    sensitivity,
    specificity,
    squared_dice,
    volume_error,
    volume_ml,
    volume_similarity,
)
from miscnn.evaluation.scoring import Scoring
from miscnn.exceptions import ConfigurationError

from .brute_surface import brute_distances


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim)))
    spacing = tuple(draw(st.lists(st.floats(0.25, 10.0), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = draw(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
    truth, prediction = (rng.random(shape) < share for share in shares)
    truth.flat[rng.integers(truth.size)] = True
    prediction.flat[rng.integers(truth.size)] = True
    return truth, prediction, spacing


@settings(max_examples=30, deadline=None)
@given(pairs(), st.floats(0.0, 12.0))
def test_surface_scores_equal_brute_force(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]], tolerance: float
) -> None:
    truth, prediction, spacing = pair
    slow = brute_distances(truth, prediction, spacing)
    # Far from a step of the distribution, where rounding decides.
    tolerance = min(slow.there, key=lambda d: abs(d - tolerance)) * (1 + 1e-6) + 1e-6
    expected = {
        "hd_mm": slow.hausdorff(100),
        "hd95_mm": slow.hausdorff(95),
        "assd_mm": slow.mean(),
        "rmsd_mm": slow.mean(2),
    }
    scoring = Scoring(metrics=(*expected, "nsd"), nsd_tolerances_mm=(tolerance,))
    found = score_subject(truth, prediction, 2, spacing, scoring=scoring)
    near = slow.within(tolerance)
    values = [row.value for row in found if "truth" not in row.metric and "pred" not in row.metric]
    assert values == pytest.approx([*expected.values(), near], abs=1e-6)
    assert hausdorff_distance(truth, prediction, spacing) == found[0].value
    assert hausdorff_distance_95(truth, prediction, spacing) == found[1].value
    assert average_symmetric_surface_distance(truth, prediction, spacing) == found[2].value
    assert root_mean_square_surface_distance(truth, prediction, spacing) == found[3].value
    assert normalized_surface_dice(truth, prediction, spacing, tolerance) == found[4].value
    percentile = min(100.0, 7 * tolerance + 1e-3)
    assert hausdorff_distance(truth, prediction, spacing, percentile) == pytest.approx(
        slow.hausdorff(percentile), abs=1e-6
    )


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
    assert volume_similarity(truth, prediction) == pytest.approx(
        1 - abs(len(p) - len(t)) / (len(p) + len(t))
    )
    everything = set(np.ndindex(truth.shape))
    if everything - t:
        expected = len(everything - t - p) / len(everything - t)
        assert specificity(truth, prediction) == expected
    else:
        assert math.isnan(specificity(truth, prediction))


@pytest.mark.parametrize("n_classes", [4, 8])  # labels are found in two ways
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float64, ">i2"])
def test_scores_of_a_subject_equal_those_of_its_masks(
    rng: np.random.Generator, order: str, dtype: str, n_classes: int
) -> None:
    spacing = (0.7, 1.3, 5.0)
    maps = [np.zeros((14, 11, 9), dtype=dtype, order=order) for _ in range(2)]  # type: ignore[call-overload]
    for array in maps:
        array[3:12, 2:9, 1:7] = rng.integers(0, n_classes, (9, 7, 6))
    inside = (maps[0] > 0).any(axis=(0, 1))
    functions = {
        "dice": dice,
        "dice_roi": lambda t, p: dice(t[..., inside], p[..., inside]),
        "jaccard": jaccard,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": precision,
        "volume_error": volume_error,
        "volume_similarity": volume_similarity,
        "hd_mm": lambda t, p: hausdorff_distance(t, p, spacing),
        "hd95_mm": lambda t, p: hausdorff_distance_95(t, p, spacing),
        "assd_mm": lambda t, p: average_symmetric_surface_distance(t, p, spacing),
        "rmsd_mm": lambda t, p: root_mean_square_surface_distance(t, p, spacing),
        "nsd_0.5mm": lambda t, p: normalized_surface_dice(t, p, spacing, 0.5),
        "nsd_3mm": lambda t, p: normalized_surface_dice(t, p, spacing, 3),
        "centroid_distance_mm": lambda t, p: centroid_distance(t, p, spacing),
        "boundary_iou": lambda t, p: boundary_iou(t, p, spacing, 1.5),
        "cldice": centerline_dice,
        "volume_truth_ml": lambda t, p: volume_ml(t, spacing),
        "volume_prediction_ml": lambda t, p: volume_ml(p, spacing),
    }
    scoring = Scoring(metrics="all", nsd_tolerances_mm=(3, 0.5), boundary_width_mm=1.5)  # type: ignore[arg-type]
    rows = score_subject(maps[0], maps[1], n_classes, spacing, slice_axis=2, scoring=scoring)
    assert [row.metric for row in rows] == list(functions) * (n_classes - 1)
    for label, metric, value in rows:
        expected = functions[metric](maps[0] == label, maps[1] == label)
        assert value == pytest.approx(expected, rel=1e-6), (label, metric)


def test_lesions_are_scored_if_asked_for_and_calibration_is_refused() -> None:
    truth = np.zeros((9, 7, 3), np.uint8)
    truth[0:2], truth[5:7], truth[8, 0] = 1, 1, 2
    prediction = np.where(truth == 2, 1, truth)
    prediction[0:2] = 0
    arguments = (truth, prediction, 3, (1.0, 2.0, 3.0), None, {7: (1, 2)})
    plain = score_subject(*arguments, scoring=Scoring(metrics=("dice",)))
    found = score_subject(*arguments, scoring=Scoring(("dice",), lesions=True, lesion_iou=0.2))
    assert found[: len(plain)] == plain
    for label, labels in ((1, [1]), (2, [2]), (7, [1, 2])):
        masks = np.isin(truth, labels), np.isin(prediction, labels)
        expected = lesion_scores(*masks, (1.0, 2.0, 3.0), 0.2)
        mine = {r.metric: r.value for r in found[len(plain) :] if r.label == label}
        assert mine == pytest.approx(expected, nan_ok=True)
    assert [r.value for r in found if r[:2] == (1, "lesion_fn")] == [1.0]
    with pytest.raises(ConfigurationError, match="score_sample"):
        score_subject(*arguments, scoring=Scoring(calibration=True))


def test_large_label_takes_no_list_of_its_length(rng: np.random.Generator) -> None:
    maps = rng.integers(0, 6, (2, 5, 6, 7)).astype(np.uint32)
    expected = score_subject(*maps, 6, (1, 1, 2))
    large = 4_000_000_000  # a list of so many boxes would take 32 GB
    maps[maps == 5] = large
    found = score_subject(*maps, [1, 2, 3, 4, large], (1, 1, 2))
    np.testing.assert_equal([row.value for row in found], [row.value for row in expected])


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
    expected = brute_distances(truth, prediction, spacing).mean()
    measured = average_symmetric_surface_distance(truth, prediction, spacing)
    assert measured == pytest.approx(expected, rel=1e-9)
    assert centroid_distance(truth, prediction, spacing) == 7.5
    # The two ends of each box lie 7.5 mm from the other, 36 of the 180 mm² of its sides likewise.
    assert 0 < normalized_surface_dice(truth, prediction, spacing, 7.4) < 1
    assert normalized_surface_dice(truth, prediction, spacing, 7.5) == 1


def test_concentric_spheres_are_their_difference_of_radii_apart() -> None:
    spacing = (0.5, 1.0, 0.8)
    grid = np.meshgrid(
        *[(np.arange(round(40 / s)) - round(20 / s)) * s for s in spacing], indexing="ij"
    )
    radius = np.sqrt(sum(g**2 for g in grid))
    small, large = radius <= 10.0, radius <= 15.0
    assert hausdorff_distance_95(small, large, spacing) == pytest.approx(5.0, abs=0.6)
    # The nearest surfel is one of those that stick out, by up to half of a voxel's diagonal (0.69).
    mean = average_symmetric_surface_distance(small, large, spacing)
    assert mean == pytest.approx(5.0, abs=0.69)
    assert mean <= root_mean_square_surface_distance(small, large, spacing) < 5.69
    assert hausdorff_distance(small, large, spacing) == pytest.approx(5.0, abs=2 * 0.69)
    assert normalized_surface_dice(small, large, spacing, 3.6) == 0
    assert normalized_surface_dice(small, large, spacing, 6.4) == 1
    assert centroid_distance(small, large, spacing) == pytest.approx(0, abs=1e-9)
    assert volume_similarity(small, large) == pytest.approx(2 * 8 / (8 + 27), abs=0.01)
    assert volume_error(large, small) == pytest.approx((10 / 15) ** 3 - 1, abs=0.01)
    assert volume_ml(small, spacing) == pytest.approx(4 / 3 * math.pi, rel=0.01)


def test_hd95_is_the_larger_direction_not_the_pooled_percentile() -> None:
    truth = np.zeros((60, 22), dtype=bool)
    truth[1:21, 1:21] = True
    prediction = truth.copy()
    prediction[21:51, 10] = True  # an arm of 30 mm
    slow = brute_distances(truth, prediction, (1.0, 1.0))
    pooled = np.sort(np.concatenate([slow.there, slow.back]))
    for masks in ((truth, prediction), (prediction, truth)):
        # Of about 138 mm of contour 6.9 are farther: 3 of the arm on both sides, and its end.
        assert hausdorff_distance_95(*masks, (1.0, 1.0)) == 27.0 == slow.hausdorff(95)
    assert pooled[int(0.95 * len(pooled))] < 26


def test_spacing_decides_which_voxel_is_nearest() -> None:
    truth, prediction = np.zeros((2, 12, 12), dtype=bool)
    truth[5, 5] = True
    prediction[5, 8] = True  # 3 voxels of 1 mm
    prediction[6, 5] = True  # 1 voxel of 10 mm
    scored = {r.metric: r.value for r in score_subject(truth, prediction, 2, (10.0, 1.0))}
    # The contour of a pixel is four equal pieces at its corners. Of the truth's,
    # two touch the pixel below; the others are 2 and 3 mm from the one beside, of which two each
    # are 2 and 3 mm away.
    # Of the pixel below the outer corners are 10 mm away.
    distances = np.array([0, 0, 2, 3, 2, 2, 3, 3, 0, 0, 10, 10])
    assert scored["assd_mm"] == pytest.approx(distances.mean())
    assert scored["rmsd_mm"] == pytest.approx(math.sqrt((distances**2).mean()))
    assert scored["hd95_mm"] == scored["hd_mm"] == 10
    assert scored["nsd_2mm"] == pytest.approx((distances <= 2).mean())
    assert scored["area_truth_mm2"] == 10.0
    assert scored["area_prediction_mm2"] == 20.0


EMPTY = np.zeros((6, 5, 4), dtype=np.uint8)
VOXEL = EMPTY.copy()
VOXEL[2, 2, 2] = 1
NAN, INF = float("nan"), float("inf")


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
    score_subject(truth, prediction, 2, (1.0, 1.0, 1.0), scoring=Scoring(metrics=("all",)))
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
        ((EMPTY, VOXEL.astype(float) * -3, 2, (1, 1, 1)), "negative label -3"),
        ((EMPTY, VOXEL / np.array(0.0 + VOXEL.max() * 0.3), 2, (1, 1, 1)), "whole numbers"),
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


def test_boundary_iou_by_hand() -> None:
    truth = np.zeros((12, 12), dtype=bool)
    truth[2:10, 2:10] = True
    prediction = np.roll(truth, 1, axis=0)
    # One voxel wide: two frames of 28 pixels; they share 2 x 7 of the sides and none of the ends.
    assert boundary_iou(truth, prediction, (1.0, 1.0), 1.0) == pytest.approx(14 / (56 - 14))
    # As wide as the objects: all of them.
    assert boundary_iou(truth, prediction, (1.0, 1.0), 4.0) == jaccard(truth, prediction)
    # 2 mm by default, but never less than a voxel.
    wide = boundary_iou(truth, prediction, (1.0, 1.0), 2.0)
    assert boundary_iou(truth, prediction, (1.0, 1.0)) == wide > 0.4
    assert boundary_iou(truth, prediction, (5.0, 5.0)) == pytest.approx(14 / 42)
    # In mm: three voxels of 0.4 mm, none of 1.3 mm.
    frame = np.zeros_like(truth)
    frame[2:10, 2:5] = frame[2:10, 7:10] = True
    assert boundary_iou(truth, frame, (1.3, 0.4), 1.2) == 1
    # Beyond the border of the image is outside, too.
    assert boundary_iou(np.ones((5, 5)), np.ones((5, 5)), (1.0, 1.0), 1.0) == 1
    inner = np.zeros((5, 5))
    inner[1:4, 1:4] = 1
    assert boundary_iou(np.ones((5, 5)), inner, (1.0, 1.0), 1.0) == 0


def test_centerline_dice_by_hand() -> None:
    truth, prediction = np.zeros((2, 9, 30), dtype=bool)
    truth[3:6, 2:28] = True  # a vessel, and half of it
    prediction[4, 2:15] = True
    assert centerline_dice(truth, truth) == 1
    found = centerline_dice(truth, prediction)
    # All of what was predicted is right; of a centerline of 24 voxels 12 or so were found.
    assert found == pytest.approx(2 * 0.5 / 1.5, abs=0.02)
    assert centerline_dice(prediction, truth) == found
    assert dice(truth, prediction) < 0.3  # which thin lines suffer from
    for array in (truth, prediction):
        array[...] = False
    truth[2:4, 2:4] = prediction[2:4, 3:5] = True
    volume = np.zeros((2, 9, 30, 6), dtype=bool)
    volume[0, ..., 2:4], volume[1, ..., 2:4] = truth[..., None], prediction[..., None]
    # Thinning leaves nothing of 2 x 2 x 2 voxels: then all of them count.
    assert centerline_dice(volume[0], volume[1]) == 0.5
    assert centerline_dice(volume[0], volume[0]) == 1


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_every_object_has_a_centerline(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]],
) -> None:
    truth, prediction, _ = pair
    assert centerline_dice(truth, truth) == 1
    assert 0 <= centerline_dice(truth, prediction) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hausdorff_distance(VOXEL, VOXEL, (1, 1, 1), 0), "percentile must lie above 0"),
        (lambda: normalized_surface_dice(VOXEL, VOXEL, (1, 1, 1), -1.0), "tolerance must be"),
        (lambda: normalized_surface_dice(VOXEL, VOXEL, (1, 1, 1), NAN), "got nan"),
        (lambda: boundary_iou(VOXEL, VOXEL, (1, 1, 1), 0.0), "width must be a length"),
        (lambda: centroid_distance(VOXEL, VOXEL[:3], (1, 1, 1)), "one grid"),
    ],
)
def test_wrong_numbers_are_named(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


def test_docstring_examples_run() -> None:
    import doctest

    assert doctest.testmod(scores).failed == 0
    assert doctest.testmod(scoring).failed == 0
    assert doctest.testmod(_metrics).failed == 0
