"""Probability algebra over label sets, and the learned combiner, against brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _combining
from miscnn.neural_network._combining import (
    NestedMean,
    SoftmaxCombiner,
    columns_in,
    common_label_set,
    composed,
    draw_voxels,
    one_by_one,
)
from miscnn.neural_network._volume_dice import mean_foreground_dice

BINARY = ((0,), (1, 2))
KIDNEY = one_by_one(3)


def softmax(values: np.ndarray) -> np.ndarray:
    values = np.exp(values - values.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def test_kidney_and_tumour_by_hand() -> None:
    binary = np.array([[0.2, 0.8]])
    fine = [np.array([[0.4, 0.3, 0.3]]), np.array([[0.6, 0.1, 0.3]])]
    found = NestedMean([BINARY, KIDNEY, KIDNEY], KIDNEY)([binary, *fine])
    foreground = (0.8 + 0.6 + 0.4) / 3
    tumour = (0.5 + 0.75) / 2
    expected = [[1 - foreground, foreground * (1 - tumour), foreground * tumour]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def by_definition(label_sets, probabilities, classes: int) -> np.ndarray:
    """The recursion as it is written in the paper's reading, voxel by voxel, for chains."""
    chain = sorted({frozenset(map(frozenset, s)) for s in label_sets}, key=len)
    result = np.zeros((len(probabilities[0]), classes))
    for voxel in range(len(result)):
        mass = {frozenset(range(classes)): 1.0}
        for level in chain:
            following = {}
            for block in level:
                parent = next(node for node in mass if block <= node)
                if parent == block:
                    following[block] = mass[parent]
                    continue
                shares = []
                for label_set, given_ in zip(label_sets, probabilities, strict=True):
                    groups = [frozenset(g) for g in label_set]
                    if not any(g < parent for g in groups):
                        continue
                    inside = sum(given_[voxel, k] for k, g in enumerate(groups) if g <= parent)
                    own = sum(given_[voxel, k] for k, g in enumerate(groups) if g <= block)
                    shares.append(own / inside if inside > 0 else len(block) / len(parent))
                following[block] = mass[parent] * np.mean(shares)
            mass = following
        for block, value in mass.items():
            (label,) = block
            result[voxel, label] = value
    return result


def test_a_chain_of_three_label_sets_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    sets = [
        ((0,), (1, 2, 3, 4)),
        ((0,), (1, 2), (3, 4)),
        one_by_one(5),
        ((0,), (3, 4), (1, 2)),  # in another order
        ((0,), (1, 2, 3, 4)),
    ]
    given_ = [softmax(rng.normal(scale=3, size=(50, len(s)))) for s in sets]
    found = NestedMean(sets, one_by_one(5))(given_)
    np.testing.assert_allclose(found, by_definition(sets, given_, 5), atol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    members=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    zeros=st.booleans(),
)
def test_nested_means_are_probabilities_and_equal_brute_force(
    seed: int, members: list[int], zeros: bool
) -> None:
    levels = [((0,), (1, 2, 3)), ((0,), (1,), (2, 3)), one_by_one(4)]
    sets = [levels[m] for m in [*members, 2]]
    rng = np.random.default_rng(seed)
    given_ = []
    for label_set in sets:
        values = softmax(rng.normal(scale=2, size=(7, len(label_set))))
        if zeros:  # hard predictions: whole groups without any probability
            values = np.eye(len(label_set))[values.argmax(-1)]
        given_.append(values)
    found = NestedMean(sets, one_by_one(4))(given_)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert found.min() >= 0
    np.testing.assert_allclose(found, by_definition(sets, given_, 4), atol=1e-6)


@given(seed=st.integers(0, 10_000), members=st.integers(1, 4), classes=st.integers(2, 5))
def test_members_with_all_classes_are_averaged(seed: int, members: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = [softmax(rng.normal(size=(3, 2, classes))) for _ in range(members)]
    found = NestedMean([one_by_one(classes)] * members, one_by_one(classes))(given_)
    np.testing.assert_allclose(found, np.mean(given_, axis=0), atol=1e-6)


def test_a_group_without_probability_is_shared_evenly() -> None:
    sure_background = np.array([[1.0, 0.0, 0.0]])
    found = NestedMean([BINARY, KIDNEY], KIDNEY)([np.array([[0.0, 1.0]]), sure_background])
    np.testing.assert_allclose(found, [[0.5, 0.25, 0.25]], atol=1e-7)


def test_label_sets_may_look_into_different_groups() -> None:
    """Nested, though neither refines the other: {01}{2}{3} and {0}{1}{23}."""
    sets = [((0, 1), (2,), (3,)), ((0,), (1,), (2, 3))]
    target = common_label_set(sets)
    assert target == one_by_one(4)
    one, other = np.array([[0.4, 0.15, 0.45]]), np.array([[0.1, 0.1, 0.8]])
    found = NestedMean(sets, target)([one, other])
    left = (0.4 + 0.2) / 2
    expected = [[left / 2, left / 2, (1 - left) / 4, (1 - left) * 3 / 4]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_label_sets_that_cross_are_refused() -> None:
    sets = [((0,), (1, 2)), ((0, 1), (2,))]
    with pytest.raises(ConfigurationError, match=r"not nested.*learned"):
        NestedMean(sets, common_label_set(sets))


def test_common_label_sets() -> None:
    assert common_label_set([BINARY, KIDNEY]) == KIDNEY
    assert common_label_set([BINARY, BINARY]) == BINARY
    assert common_label_set([BINARY, ((0,), (2,), (1,))]) == ((0,), (2,), (1,))
    with pytest.raises(ConfigurationError, match="different numbers of classes: 3, 2"):
        common_label_set([KIDNEY, one_by_one(2)])
    with pytest.raises(ConfigurationError, match=r"\(0,\), \(1,\), \(2,\), \(3, 4\); add a member"):
        common_label_set([((0,), (1, 2), (3, 4)), ((0, 1), (2,), (3, 4))])
    assert composed(((0,), (1, 2)), ((0,), (3,), (2, 1))) == ((0,), (1, 2, 3))
    assert columns_in(BINARY, ((0,), (2,), (1,))) == (frozenset({0}), frozenset({1, 2}))


def test_volumes_are_combined_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    given_ = [softmax(rng.normal(size=(3, 4, 5, c))) for c in (2, 3)]
    combine = NestedMean([BINARY, KIDNEY], KIDNEY)
    whole = combine(given_)
    assert whole.shape == (3, 4, 5, 3)
    np.testing.assert_array_equal(combine([p[0, 0, 0] for p in given_]), whole[0, 0, 0])
    most = []
    own = combine._combine
    monkeypatch.setattr(combine, "_combine", lambda p: most.append(len(p[0])) or own(p))
    monkeypatch.setattr(_combining, "_CHUNK", 7)
    np.testing.assert_array_equal(combine(given_), whole)
    assert max(most) == 7
    monkeypatch.setattr(_combining, "_CHUNK", 1 << 18)
    for values, rows in ((75, 20), (9, 3)):  # of three classes; one row has 20 voxels
        most.clear()
        monkeypatch.setattr(_combining, "_CHUNK_VALUES", values)
        np.testing.assert_array_equal(combine(given_), whole)
        assert max(most) == rows
    apart = [np.moveaxis(np.ascontiguousarray(np.moveaxis(p, -1, 0)), 0, -1) for p in given_]
    np.testing.assert_array_equal(combine(apart), whole)


def noisy(truth: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of a calibrated observer of a noisy signal."""
    means = skill * np.eye(3)
    seen = means[truth] + rng.normal(size=(len(truth), 3))
    return softmax(seen @ means.T - (means**2).sum(1) / 2)


def test_the_learned_combiner_believes_the_better_member() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 4000)
    good, bad = noisy(truth, 2.0, rng), softmax(rng.normal(scale=3, size=(4000, 3)))
    ones = np.ones(4000)
    fitted = SoftmaxCombiner.fitted([bad, good], truth, ones, 3)
    test = rng.integers(0, 3, 4000)
    given_ = [softmax(rng.normal(scale=3, size=(4000, 3))), noisy(test, 2.0, rng)]
    found = fitted(given_)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    accuracy = np.mean(found.argmax(-1) == test)
    alone = np.mean(given_[1].argmax(-1) == test)
    plain = np.mean(np.mean(given_, axis=0).argmax(-1) == test)
    assert accuracy > alone - 0.01
    assert accuracy > plain + 0.1
    # the member that knows nothing is not listened to
    weights = np.abs(fitted.coefficients).sum(0)
    assert weights[:2].max() < 0.1 * weights[2:].min()


def test_one_calibrated_member_comes_back() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 20_000)
    member = noisy(truth, 1.5, rng)
    found = SoftmaxCombiner.fitted([member], truth, np.ones(len(truth)), 3)([member])
    np.testing.assert_allclose(found, member, atol=0.05)


def test_weights_undo_the_sampling() -> None:
    """A combiner that knows nothing gives the frequencies of the classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [9000, 900, 100]).reshape(100, 100)
    positions, weights = draw_voxels(labels, 50, rng)
    blind = np.full((len(positions), 2), 0.5)
    fitted = SoftmaxCombiner.fitted([blind], labels.ravel()[positions], weights, 3)
    np.testing.assert_allclose(fitted([blind[:1]]), [[0.9, 0.09, 0.01]], atol=5e-3)


def test_two_classes_and_files() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    member = np.stack([1 - (0.1 + 0.8 * truth), 0.1 + 0.8 * truth], axis=-1)
    fitted = SoftmaxCombiner.fitted([member], truth, np.ones(500), 2)
    np.testing.assert_array_equal(fitted([member]).argmax(-1), truth)
    again = deserialize(json.loads(json.dumps(serialize(fitted))))
    np.testing.assert_array_equal(again([member]), fitted([member]))
    with pytest.raises(ConfigurationError, match="fitted to 1 features, the members give 2"):
        fitted([member, member])


def test_a_class_that_is_nowhere_is_named() -> None:
    with pytest.raises(ConfigurationError, match="class 1 occurs in none"):
        SoftmaxCombiner.fitted([np.full((4, 3), 1 / 3)], np.array([0, 2, 0, 2]), np.ones(4), 3)


@given(seed=st.integers(0, 1000), per_class=st.integers(1, 30), chunk=st.sampled_from([5, 1000]))
def test_drawn_voxels_are_different_ones_of_each_class(
    seed: int, per_class: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3], p=[0.8, 0.15, 0.05], size=(5, 6, 4)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_combining, "_CHUNK", chunk)
        positions, weights = draw_voxels(labels, per_class, np.random.default_rng(seed))
    assert len(set(positions.tolist())) == len(positions) == len(weights)
    drawn = labels.ravel()[positions]
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert np.count_nonzero(drawn == label) == min(per_class, count)
        np.testing.assert_allclose(weights[drawn == label].sum(), count)


def test_every_voxel_of_a_class_can_be_drawn() -> None:
    labels = np.array([0, 1, 1, 0, 1, 1])
    rng = np.random.default_rng(0)
    found = [draw_voxels(labels, 1, rng)[0][1] for _ in range(200)]
    assert set(found) == {1, 2, 4, 5}


def test_dice() -> None:
    truth = np.array([0, 1, 1, 2, 2, 2])
    assert mean_foreground_dice(truth, truth, 4) == 1  # nobody has class 3
    assert mean_foreground_dice(truth, np.array([0, 1, 0, 2, 2, 1]), 3) == pytest.approx(
        (2 / 4 + 4 / 5) / 2
    )
    assert mean_foreground_dice(truth, 0 * truth, 3) == 0
    assert np.isnan(mean_foreground_dice(0 * truth, 0 * truth, 3))
