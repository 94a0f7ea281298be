"""Lesions: components, matching and counts against brute force, and cases known beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from miscnn.evaluation import _overlaps
from miscnn.evaluation._overlaps import Overlaps, match
from miscnn.evaluation.lesions import (
    LesionMatches,
    equivalent_diameter,
    lesion_scores,
    match_lesions,
)
from miscnn.exceptions import ConfigurationError

NAMES = [
    *("n_lesions_truth", "n_lesions_prediction", "lesion_tp", "lesion_fp", "lesion_fn"),
    *("lesion_sensitivity", "lesion_precision", "lesion_f1", "panoptic_quality"),
]
Voxels = frozenset[tuple[int, ...]]


def flood(mask: np.ndarray) -> list[Voxels]:
    """Components by flood fill over all neighbours that share a face, edge or corner."""
    left = {tuple(int(i) for i in voxel) for voxel in np.argwhere(mask)}
    steps = list(itertools.product((-1, 0, 1), repeat=mask.ndim))
    found = []
    while left:
        todo = [left.pop()]
        component = set(todo)
        while todo:
            at = todo.pop()
            for step in steps:
                other = tuple(a + s for a, s in zip(at, step, strict=True))
                if other in left:
                    left.remove(other)
                    component.add(other)
                    todo.append(other)
        found.append(frozenset(component))
    return found


def iou(a: Voxels, b: Voxels) -> float:
    return len(a & b) / len(a | b)


def matchings(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """All one-to-one assignments of the smaller of two sets (pairs may be void later)."""
    if n <= m:
        for chosen in itertools.permutations(range(m), n):
            yield list(enumerate(chosen))
    else:
        for chosen in itertools.permutations(range(n), m):
            yield [(i, j) for j, i in enumerate(chosen)]


def best_by_permutation(table: np.ndarray, threshold: float) -> tuple[float, int]:
    """Greatest total, and the most pairs that reach it."""
    best = (0.0, 0)
    for pairs in matchings(*table.shape):
        values = [table[p] for p in pairs if table[p] > 0 and table[p] >= threshold]
        total = math.fsum(values)
        if total > best[0] + 1e-12:
            best = (total, len(values))
        elif abs(total - best[0]) <= 1e-12:
            best = (best[0], max(best[1], len(values)))
    return best


MASKS = st.one_of(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.bool_, shape, elements=st.sampled_from([False, False, True])),
        hnp.arrays(np.bool_, shape, elements=st.sampled_from([False, False, True])),
    )
)


@settings(max_examples=250)
@given(MASKS, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 1.0]))
def test_equals_brute_force(masks: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    truth, prediction = masks
    ones, others = flood(truth), flood(prediction)
    table = np.array([[iou(a, b) for b in others] for a in ones]).reshape(len(ones), len(others))
    assume(max(table.shape) <= 7)
    spacing = (2.0, 1.0, 0.5)[: truth.ndim]
    found = match_lesions(truth, prediction, spacing, threshold)
    total, pairs = best_by_permutation(table, threshold)
    assert len(found.truth) == len(ones)
    assert len(found.prediction) == len(others)
    assert math.fsum(lesion.iou for lesion in found.truth) == pytest.approx(total, abs=1e-12)
    assert found.tp == pairs
    assert (found.fp, found.fn) == (len(others) - pairs, len(ones) - pairs)
    check_partners(found)
    check_lesions(found, ones, others, math.prod(spacing) / (1000 if truth.ndim == 3 else 1))
    quality = table[table > 0.5].sum()
    expected = 2 * quality / (len(ones) + len(others)) if ones or others else math.nan
    assert found.panoptic_quality == pytest.approx(expected, nan_ok=True)


def check_partners(found: LesionMatches) -> None:
    for mine, theirs in (
        (found.truth, found.prediction),
        (found.prediction, found.truth),
    ):
        assert [lesion.number for lesion in mine] == list(range(1, len(mine) + 1))
        assert [lesion.voxels for lesion in mine] == sorted(
            (lesion.voxels for lesion in mine), reverse=True
        )
        for lesion in mine:
            if lesion.matched:
                partner = theirs[lesion.partner - 1]
                assert partner.partner == lesion.number
                assert (partner.iou, partner.dice) == (lesion.iou, lesion.dice)
                assert lesion.iou >= found.iou_threshold
                assert lesion.dice == pytest.approx(2 * lesion.iou / (1 + lesion.iou))
            else:
                assert (lesion.partner, lesion.iou, lesion.dice) == (0, 0.0, 0.0)


def check_lesions(
    found: LesionMatches, ones: list[Voxels], others: list[Voxels], voxel: float
) -> None:
    for lesions, mine, theirs in (
        (found.truth, ones, others),
        (found.prediction, others, ones),
    ):
        rest = frozenset().union(*theirs)
        expected = sorted(
            (len(each), len(each & rest) / len(each), sum(bool(each & t) for t in theirs))
            for each in mine
        )
        told = sorted((each.voxels, each.covered, each.n_overlapping) for each in lesions)
        assert told == expected
        for each in lesions:
            assert each.size == pytest.approx(each.voxels * voxel)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.6))
def test_matching_equals_a_dense_solver(seed: int, n: int, m: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    common = rng.integers(1, 1000, (n, m)) * (rng.random((n, m)) < 0.4)
    first, second = np.nonzero(common)
    sizes = common.sum(1) + rng.integers(1, 300, n), common.sum(0) + rng.integers(1, 300, m)
    found = Overlaps(sizes, first, second, common[first, second])
    chosen = match(found, found.iou >= threshold)
    assert len(set(first[chosen])) == len(set(second[chosen])) == len(chosen)
    dense = np.zeros((n, m))
    dense[first, second] = np.where(found.iou >= threshold, found.iou, 0)
    rows, columns = linear_sum_assignment(dense, maximize=True)
    assert found.iou[chosen].sum() == pytest.approx(dense[rows, columns].sum(), abs=1e-12)
    assert (found.iou[chosen] >= threshold).all()


def test_the_best_pair_gives_way_to_a_better_whole() -> None:
    # IoU 30/60 for the first two; 24/56 and 26/60 across: greedy takes 0.5, the best is 0.862.
    sizes = np.array([54, 50]), np.array([36, 26])
    found = Overlaps(sizes, np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([30, 24, 26]))
    assert match(found, found.iou > 0).tolist() == [1, 2]


@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=3)))
def test_of_equal_wholes_the_one_with_more_pairs_wins(turned: tuple[bool, ...]) -> None:
    # 6/12 alone, or 3/12 twice, whatever the numbers of the lesions and the order of the pairs
    first, second, common = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([6, 3, 3])
    sizes = [np.array([9, 6]), np.array([9, 6])]
    if turned[0]:
        first, sizes[0] = 1 - first, sizes[0][::-1]
    if turned[1]:
        second, sizes[1] = 1 - second, sizes[1][::-1]
    order = np.array([2, 1, 0] if turned[2] else [0, 1, 2])
    found = Overlaps((sizes[0], sizes[1]), first[order], second[order], common[order])
    assert sorted(found.iou.tolist()) == [0.25, 0.25, 0.5]
    assert found.iou[match(found, found.iou > 0)].tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ("..", "..", [0, 0, 0, 0, 0, math.nan, math.nan, math.nan, math.nan]),
        ("..", "#.#", [0, 2, 0, 2, 0, math.nan, 0, 0, 0]),
        ("#.#", "..", [2, 0, 0, 0, 2, 0, math.nan, 0, 0]),
        ("#.#", "#..", [2, 1, 1, 0, 1, 0.5, 1, 2 / 3, 2 / 3]),
        ("##..#", "#...#", [2, 2, 2, 0, 0, 1, 1, 1, 1 / 2]),
    ],
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_table_of_empties(truth: str, prediction: str, expected: list[float], ndim: int) -> None:
    width = max(len(truth), len(prediction))
    masks = [
        np.array([c == "#" for c in text.ljust(width, ".")]).reshape((1,) * (ndim - 1) + (-1,))
        for text in (truth, prediction)
    ]
    scores = lesion_scores(*masks, spacing=(1.0,) * ndim)
    assert list(scores) == NAMES
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-15)


def line(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in text]])


def test_a_split_lesion_is_covered_and_has_one_partner_at_most() -> None:
    found = match_lesions(line("##########"), line("######.###"), (1.0, 1.0), 0.5)
    (lesion,) = found.truth
    assert (found.tp, found.fp, found.fn) == (1, 1, 0)
    assert (lesion.iou, lesion.covered, lesion.n_overlapping) == (0.6, 0.9, 2)
    # in pieces none of which is enough: missed, but covered
    found = match_lesions(line("##########"), line("####.#####"), (1.0, 1.0), 0.6)
    assert (found.tp, found.fp, found.fn) == (0, 2, 1)
    assert found.truth[0].covered == 0.9
    assert not found.truth[0].matched


def test_of_merged_lesions_one_is_matched() -> None:
    found = match_lesions(line("#####.###."), line("#########."), (1.0, 1.0), 0.1)
    assert (found.tp, found.fp, found.fn) == (1, 0, 1)
    large, small = found.truth
    assert (large.partner, large.iou) == (1, pytest.approx(5 / 9))
    assert (small.partner, small.covered) == (0, 1.0)
    assert found.prediction[0].n_overlapping == 2


def test_threshold_includes_itself_and_panoptic_quality_does_not() -> None:
    half = line("##"), line("#.")
    assert lesion_scores(*half, (1, 1), 0.5)["lesion_tp"] == 1
    assert lesion_scores(*half, (1, 1), 0.500001)["lesion_tp"] == 0
    assert lesion_scores(*half, (1, 1), 0.5)["panoptic_quality"] == 0
    more = line("###"), line("##.")
    assert lesion_scores(*more, (1, 1), 0.9)["panoptic_quality"] == pytest.approx(2 / 3)


def test_sizes_of_a_ball_and_a_disc() -> None:
    grid = np.indices((60, 40, 25)) - np.array([30, 20, 12])[:, None, None, None]
    spacing = (0.5, 0.75, 1.2)
    ball = (np.array(spacing)[:, None, None, None] * grid).__pow__(2).sum(0) <= 10.0**2
    (lesion,) = match_lesions(ball, ball, spacing).truth
    assert lesion.size == pytest.approx(4 / 3 * math.pi, rel=0.01)  # ml
    assert lesion.diameter_mm == pytest.approx(20, rel=0.005)
    (lesion,) = match_lesions(ball[:, :, 12], ball[:, :, 12], spacing[:2]).truth
    assert lesion.size == pytest.approx(100 * math.pi, rel=0.01)  # mm²
    assert lesion.diameter_mm == pytest.approx(20, rel=0.005)
    assert equivalent_diameter(0.0, 3) == equivalent_diameter(0.0, 2) == 0.0


def test_many_small_lesions() -> None:
    truth = np.zeros((50, 50, 50), dtype=np.uint8)
    truth[::2, ::2, ::2] = 1  # 25³ lesions of one voxel
    prediction = truth.copy()
    prediction[:4] = 0  # 2 planes of 25² missed
    prediction[7, 1, 1] = 1  # joins 8 of them: IoU of each with it is 1/9
    found = match_lesions(truth, prediction, (1, 1, 1), 0.1)
    assert len(found.truth) == 25**3
    assert found.fn == 2 * 25**2 + 7
    assert (found.tp, found.fp) == (25**3 - 2 * 25**2 - 7, 0)
    assert match_lesions(truth, prediction, (1, 1, 1), 0.12).fn == 2 * 25**2 + 8


def test_pieces_and_ways_of_counting_agree(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, 40, 30, 20)), (0, 2, 2, 2))
    truth, prediction = smooth[0] > 0.08, smooth[0] + 0.5 * smooth[1] > 0.08
    whole = match_lesions(truth, prediction, (1, 1, 2))
    assert len(whole.truth) > 5
    for slab, dense in ((1, 0), (2000, 0), (1, 1 << 20), (1 << 22, 0)):
        monkeypatch.setattr(_overlaps, "_SLAB", slab)
        monkeypatch.setattr(_overlaps, "_DENSE", dense)
        assert match_lesions(truth, prediction, (1, 1, 2)) == whole


def test_order_and_direction_of_axes_do_not_matter(rng: np.random.Generator) -> None:
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, 30, 20, 25)), (0, 1.5, 1.5, 1.5))
    truth, prediction = smooth[0] > 0.12, smooth[0] + 0.6 * smooth[1] > 0.12
    scores = lesion_scores(truth, prediction, (1, 2, 3), 0.2)
    assert scores["lesion_tp"] > 2
    assert scores["lesion_fn"] > 0
    others = [
        (np.asfortranarray(truth), prediction, (1, 2, 3)),
        (np.asfortranarray(truth), np.asfortranarray(prediction), (1, 2, 3)),
        (truth.transpose(2, 0, 1), prediction.transpose(2, 0, 1), (3, 1, 2)),
        (truth[::-1, :, ::-1], prediction[::-1, :, ::-1], (1, 2, 3)),
        (truth.astype(np.int16) * 7, prediction.astype(np.float32), (1, 2, 3)),
    ]
    for first, second, spacing in others:
        assert lesion_scores(first, second, spacing, 0.2) == scores
    turned = lesion_scores(prediction, truth, (1, 2, 3), 0.2)
    assert turned["lesion_tp"] == scores["lesion_tp"]
    assert turned["lesion_fp"] == scores["lesion_fn"]
    assert turned["lesion_sensitivity"] == scores["lesion_precision"]
    assert turned["panoptic_quality"] == scores["panoptic_quality"]


def test_inputs_stay_as_they_are(rng: np.random.Generator) -> None:
    truth, prediction = (rng.random((6, 7, 8)) < 0.3 for _ in range(2))
    copies = truth.copy(), prediction.copy()
    match_lesions(truth, prediction, (1, 1, 1))
    np.testing.assert_array_equal(truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_what_cannot_be_matched() -> None:
    mask = np.ones((3, 3))
    with pytest.raises(ConfigurationError, match=r"one grid.*\(3, 3\).*\(3, 4\)"):
        match_lesions(mask, np.ones((3, 4)), (1, 1))
    with pytest.raises(ConfigurationError, match="spacing"):
        match_lesions(mask, mask, (1, 1, 1))
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigurationError, match=r"iou_threshold must lie in \[0, 1\]"):
            match_lesions(mask, mask, (1, 1), threshold)
    with pytest.raises(ConfigurationError, match="2 or 3 axes"):
        match_lesions(np.ones(3), np.ones(3), (1,))


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["case_00010", "case_00061", "case_00205"])
def test_real_tumours(real_data: Path, case: str) -> None:
    image = nib.load(real_data / "kits19_labels" / f"{case}.nii.gz")
    tumour = np.asanyarray(image.dataobj) == 2
    spacing = tuple(float(s) for s in image.header.get_zooms())
    numbers, count = ndimage.label(tumour, structure=np.ones((3, 3, 3)))
    assert count > 0
    sizes = np.sort(np.bincount(numbers.ravel())[1:])[::-1]
    same = match_lesions(tumour, tumour, spacing)
    assert [lesion.voxels for lesion in same.truth] == sizes.tolist()
    assert (same.tp, same.fp, same.fn, same.panoptic_quality) == (count, 0, 0, 1.0)
    # the largest one missed, and a false one far away
    changed = tumour & (numbers != 1 + int(np.argmax(np.bincount(numbers.ravel())[1:])))
    changed[:2, :2, :2] = True
    found = match_lesions(tumour, changed, spacing)
    assert (found.tp, found.fp, found.fn) == (count - 1, 1, 1)
    assert not found.truth[0].matched
    assert found.truth[0].size == pytest.approx(sizes[0] * math.prod(spacing) / 1000)
