"""Scores leave out what nobody has annotated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from miscnn.data_loading.sample import Sample
from miscnn.evaluation.detailed_validation import score_sample, without_ignored
from miscnn.neural_network._combining import draw_voxels

IGNORED = 255


def scored(truth: Any, prediction: Any, ignore_label: int | None = IGNORED) -> list[Any]:
    sample = Sample("a", np.zeros(truth.shape), classes=3, ignore_label=ignore_label)
    sample.add_segmentation(truth)
    sample.add_prediction(prediction)
    return [(row.label, row.metric, row.value) for row in score_sample(sample)]


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_predicted_there_changes_nothing(data: st.DataObject) -> None:
    shape = (4, 3, 3)
    labels = st.sampled_from([0, 1, 2, IGNORED])
    truth = data.draw(hnp.arrays("uint8", shape, elements=labels))
    prediction = data.draw(hnp.arrays("uint8", shape, elements=st.integers(0, 2)))
    elsewhere = data.draw(hnp.arrays("uint8", shape, elements=st.integers(0, 2)))
    before = truth.copy(), prediction.copy()
    ignored = truth == IGNORED
    other = np.where(ignored, elsewhere, prediction)
    np.testing.assert_equal(scored(truth, prediction), scored(truth, other))
    clean = [np.where(ignored, 0, array) for array in (truth, prediction)]
    # Of specificity, the voxels that were looked at are fewer than those of the image.
    rest = [[row for row in rows if row[1] != "specificity"]
            for rows in (scored(truth, prediction), scored(*clean, None))]  # fmt: skip
    np.testing.assert_equal(*rest)
    np.testing.assert_array_equal(truth, before[0])
    np.testing.assert_array_equal(prediction, before[1])


def test_by_hand() -> None:
    truth = np.zeros((6, 1, 1), np.uint8)
    truth[:2], truth[4:] = 1, IGNORED
    prediction = np.ones((6, 1, 1), np.uint8)  # two right, two wrong, two not counted
    found = {(label, name): value for label, name, value in scored(truth, prediction)}
    assert found[1, "dice"] == pytest.approx(2 * 2 / (2 + 4))
    assert found[1, "precision"] == pytest.approx(0.5)
    assert found[1, "volume_prediction_ml"] == pytest.approx(4e-3)
    assert found[1, "specificity"] == 0  # both of the two others that were annotated are wrong
    assert found[2, "specificity"] == 1


def test_nothing_is_copied_without_need() -> None:
    truth, prediction = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    for label in (None, IGNORED):
        found = without_ignored(truth, prediction, label)
        assert found[0] is truth
        assert found[1] is prediction


def test_the_combiner_learns_nothing_from_them() -> None:
    labels = np.array([[0, 0, 1, IGNORED], [IGNORED, 2, 1, IGNORED]], dtype=np.uint8)
    positions, weights = draw_voxels(labels, 10, np.random.default_rng(0), IGNORED)
    assert sorted(positions.tolist()) == [0, 1, 2, 5, 6]
    assert weights.sum() == 5
    nothing = np.full_like(labels, IGNORED)
    positions, weights = draw_voxels(nothing, 10, np.random.default_rng(0), IGNORED)
    assert len(positions) == len(weights) == 0
    # A label beyond all that occur changes nothing.
    seeds = [np.random.default_rng(1), np.random.default_rng(1)]
    plain = np.where(labels == IGNORED, 0, labels)
    for one, other in zip(
        draw_voxels(plain, 2, seeds[0]), draw_voxels(plain, 2, seeds[1], IGNORED), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_stack_draws_no_ignored_voxels() -> None:
    from miscnn import DataIO
    from miscnn.data_loading.interfaces import DictionaryInterface
    from miscnn.neural_network._stacking import draw

    truth = np.zeros((4, 3, 2), np.uint8)
    truth[1], truth[2:] = 1, IGNORED
    interface = DictionaryInterface({"a": (truth * 1.0, truth)}, ignore_label=IGNORED)
    drawn = draw(["a"], DataIO(interface), 4, 0)["a"]
    assert sorted(drawn.labels.tolist()) == [0] * 4 + [1] * 4
    assert drawn.weights.sum() == 12
