"""Scores of an epoch's batches against brute force."""

from __future__ import annotations

import doctest
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import metrics
from miscnn.neural_network.metrics import (
    DiceScore,
    JaccardScore,
    MeanDice,
    PrecisionScore,
    SensitivityScore,
    class_wise,
    class_wise_dice,
    dice_soft,
)

Array = NDArray[Any]


def one_hot(labels: Any, classes: int = 3) -> Array:
    return np.eye(classes, dtype="float32")[np.asarray(labels)]


def dice(truth: Array, prediction: Array, label: int) -> float:
    overlap = np.count_nonzero((truth == label) & (prediction == label))
    return float(
        2 * overlap / (np.count_nonzero(truth == label) + np.count_nonzero(prediction == label))
    )


def score(metric: Any, *batches: tuple[Array, Array]) -> float:
    for y_true, y_pred in batches:
        metric.update_state(y_true, y_pred)
    return float(metric.result())


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
def test_the_score_of_an_epoch_is_the_dice_of_all_its_voxels(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    truths = [rng.choice(3, p=p, size=(2, *shape)) for p in ([0.9, 0.05, 0.05], [0.1, 0.3, 0.6])]
    predictions = [rng.random((2, *shape, 3)).astype("float32") for _ in truths]
    batches = [(one_hot(t), p) for t, p in zip(truths, predictions, strict=True)]
    truth, labels = np.stack(truths), np.argmax(np.stack(predictions), axis=-1)
    pooled = [dice(truth, labels, c) for c in range(3)]
    for label in range(3):
        assert score(DiceScore(label), *batches) == pytest.approx(pooled[label], rel=1e-6)
    assert score(MeanDice(3), *batches) == pytest.approx(np.mean(pooled[1:]), rel=1e-6)
    everything = MeanDice(3, include_background=True)
    assert score(everything, *batches) == pytest.approx(np.mean(pooled), rel=1e-6)
    # It is not the mean of the batches' scores.
    each = [dice(t, np.argmax(p, axis=-1), 2) for t, p in zip(truths, predictions, strict=True)]
    assert abs(np.mean(each) - pooled[2]) > 0.01


def test_hand_counted() -> None:
    truth, prediction = one_hot([[0, 1, 1, 1, 2]]), one_hot([[0, 1, 1, 0, 1]])
    # Class 1: two voxels shared, three in the truth, three in the prediction.
    assert score(DiceScore(1), (truth, prediction)) == pytest.approx(4 / 6)
    assert score(DiceScore(2), (truth, prediction)) == 0
    assert score(DiceScore(0), (truth, prediction)) == pytest.approx(2 / 3)


def test_a_voxel_belongs_to_its_most_probable_class() -> None:
    truth = one_hot([[1, 1]])
    prediction = np.array([[[0.3, 0.4, 0.3], [0.5, 0.49, 0.01]]], dtype="float32")
    assert score(DiceScore(1), (truth, prediction)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_ties_go_to_the_first_class_as_in_argmax(rng: np.random.Generator, classes: int) -> None:
    prediction = rng.integers(3, size=(2, 9, 9, classes)).astype("float32")  # full of ties
    truth = rng.integers(classes, size=(2, 9, 9))
    for label in range(classes):
        expected = dice(truth, prediction.argmax(-1), label)
        assert score(DiceScore(label), (one_hot(truth, classes), prediction)) == (
            pytest.approx(expected, rel=1e-6)
        )


def test_a_class_that_is_nowhere_scores_one_or_what_was_asked_for() -> None:
    nothing = one_hot(np.zeros((1, 4, 4), dtype=int))
    lone = nothing.copy()
    lone[0, 0, 0] = [0, 1, 0]
    assert score(DiceScore(1), (nothing, nothing)) == 1
    assert np.isnan(score(DiceScore(1, absent_value=float("nan")), (nothing, nothing)))
    assert score(DiceScore(1), (nothing, lone)) == 0
    assert score(MeanDice(3), (nothing, lone)) == 0.5
    assert score(MeanDice(3, absent_value=0), (nothing, lone)) == 0
    # Empty batches beside others change nothing.
    assert score(DiceScore(1), (nothing, nothing), (lone, lone), (lone, nothing)) == (
        pytest.approx(2 / 3)
    )


SCORES = [DiceScore, JaccardScore, SensitivityScore, PrecisionScore]


def ratio(cls: type[Any], tp: float, truth: float, predicted: float) -> float:
    return {
        DiceScore: 2 * tp / (truth + predicted),
        JaccardScore: tp / (truth + predicted - tp),
        SensitivityScore: tp / truth,
        PrecisionScore: tp / predicted,
    }[cls]


@pytest.mark.parametrize("cls", SCORES)
def test_scores_of_a_class_are_ratios_of_the_counts_of_an_epoch(
    rng: np.random.Generator, cls: type[Any]
) -> None:
    truths = [rng.choice(3, p=p, size=(2, 5, 6)) for p in ([0.9, 0.05, 0.05], [0.1, 0.3, 0.6])]
    predictions = [rng.random((2, 5, 6, 3)).astype("float32") for _ in truths]
    truth, labels = np.stack(truths), np.argmax(np.stack(predictions), axis=-1)
    batches = [(one_hot(t), p) for t, p in zip(truths, predictions, strict=True)]
    for label in range(3):
        true, predicted = truth == label, labels == label
        expected = ratio(cls, (true & predicted).sum(), true.sum(), predicted.sum())
        assert score(cls(label), *batches) == pytest.approx(expected, rel=1e-6)


def test_scores_of_a_class_that_is_in_truth_or_prediction_only() -> None:
    nothing, lone = one_hot(np.zeros((1, 4, 4), dtype=int)), one_hot(np.zeros((1, 4, 4), dtype=int))
    lone[0, 0, 0] = [0, 1, 0]
    for cls in SCORES:
        assert score(cls(1), (nothing, nothing)) == 1
        assert score(cls(1, absent_value=0.25), (nothing, nothing)) == 0.25
        assert score(cls(1), (nothing, lone)) == 0
        assert score(cls(1), (lone, nothing)) == 0


def test_unlabelled_voxels_count_if_they_are_not_ignored(rng: np.random.Generator) -> None:
    truth = rng.integers(3, size=(2, 6, 8))
    prediction = rng.random((2, 6, 8, 3)).astype("float32")
    cut = one_hot(truth)
    cut[:, :, 4:] = 0
    left = (one_hot(truth)[:, :, :4], prediction[:, :, :4])
    for cls in SCORES:
        ignoring = cls(1, ignore_unlabelled=True)
        assert score(ignoring, (cut, prediction)) == score(cls(1), left)
    assert score(MeanDice(3, ignore_unlabelled=True), (cut, prediction)) == score(MeanDice(3), left)
    labels = prediction.argmax(-1)
    truth[:, :, 4:] = -1
    assert score(DiceScore(1), (cut, prediction)) == pytest.approx(dice(truth, labels, 1))
    assert score(DiceScore(1, ignore_unlabelled=True), (0 * cut, prediction)) == 1


def state(metric: Any) -> Array:
    """The counts that a score stands for, in float64."""
    high, low = (
        ops.convert_to_numpy(part).astype("float64") for part in (metric._high, metric._low)
    )
    return high * 2**20 + low


@pytest.mark.parametrize("cls", SCORES)
def test_single_voxels_still_count_after_milliards(cls: type[Any]) -> None:
    metric = cls(1)
    many = 2.0**34
    metric._high.assign(ops.full((3, 1), many / 2**20))  # a perfect epoch so far
    metric._low.assign(ops.full((3, 1), 2.0**20 - 5000))
    missed = (one_hot(np.ones((1, 25, 40), dtype=int)), one_hot(np.zeros((1, 25, 40), dtype=int)))
    for _ in range(60):  # 1000 voxels are less than half a float32 step there
        metric.update_state(*missed)
    counted = many + 2**20 - 5000
    assert state(metric)[:, 0].tolist() == [counted, counted + 60_000, counted]
    assert ops.convert_to_numpy(metric._low).max() < 2**20
    expected = ratio(cls, counted, counted + 60_000, counted)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("cls", SCORES)
def test_states_of_replicas_add_up(rng: np.random.Generator, cls: type[Any]) -> None:
    """Keras adds up the variables of all replicas: low words then exceed what they carry at."""
    replicas = [cls(1) for _ in range(8)]
    counts = np.zeros(3)
    for metric in replicas:
        assert {v.aggregation for v in metric.variables} == {"sum"}
        tp, truth, predicted = rng.integers(2**33, size=3) + np.array([0, 2**33, 2**33])
        words = np.array([tp, truth, predicted], dtype="int64")[:, None]
        metric._high.assign((words // 2**20).astype("float32"))
        metric._low.assign((words % 2**20).astype("float32"))
        counts += words[:, 0]
    together = cls(1)
    for name in ("_high", "_low"):
        parts = [ops.convert_to_numpy(getattr(metric, name)) for metric in replicas]
        getattr(together, name).assign(np.sum(parts, axis=0))
    assert state(together)[:, 0].tolist() == counts.tolist()
    assert ops.convert_to_numpy(together._low).max() > 2**20
    assert float(together.result()) == pytest.approx(ratio(cls, *counts), rel=2e-7)
    # And they may go on counting from there.
    one = one_hot(np.ones((1, 4, 4), dtype=int))
    together.update_state(one, one)
    assert state(together)[:, 0].tolist() == (counts + 16).tolist()


def test_reset_forgets() -> None:
    metric = MeanDice(3)
    right, wrong = one_hot([[1, 2]]), one_hot([[2, 1]])
    assert score(metric, (right, wrong)) == 0
    metric.reset_state()
    assert score(metric, (right, right)) == 1


def test_in_keras_the_logged_score_is_that_of_the_whole_epoch(rng: np.random.Generator) -> None:
    images = rng.normal(size=(6, 4, 4, 3)).astype("float32")
    truth = np.where(
        rng.random((6, 4, 4)) < 0.6, images.argmax(-1), rng.integers(3, size=(6, 4, 4))
    )
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Softmax()(inputs))
    model.compile(loss="mse", metrics=[*class_wise_dice(3), MeanDice(3), dice_soft])
    logs = model.evaluate(images, one_hot(truth), batch_size=2, return_dict=True, verbose=0)
    scores = [dice(truth, images.argmax(-1), c) for c in (1, 2)]
    assert logs["dice_class_1"] == pytest.approx(scores[0], rel=1e-6)
    assert logs["dice_class_2"] == pytest.approx(scores[1], rel=1e-6)
    assert logs["mean_dice"] == pytest.approx(np.mean(scores), rel=1e-6)
    assert 0 < logs["dice_soft"] < 1


def test_names() -> None:
    sensitivities = class_wise(SensitivityScore, 3, ("", "a", "b"), ignore_unlabelled=True)
    assert [m.name for m in sensitivities] == ["sensitivity_a", "sensitivity_b"]
    assert all(m.ignore_unlabelled for m in sensitivities)
    assert [m.name for m in class_wise(PrecisionScore, 2)] == ["precision_class_1"]
    assert [m.name for m in class_wise_dice(3)] == ["dice_class_1", "dice_class_2"]
    named = class_wise_dice(2, ["background", "liver"], include_background=True)
    assert [(m.name, m.class_index) for m in named] == [("dice_background", 0), ("dice_liver", 1)]
    with pytest.raises(ConfigurationError, match=r"2 names for 3 classes.*background first"):
        class_wise_dice(3, ["kidney", "tumour"])


@pytest.mark.parametrize(
    "metric",
    [
        DiceScore(2, name="dice_tumour", absent_value=0.0),
        MeanDice(4, include_background=True, name="all", absent_value=0.5),
        JaccardScore(1, ignore_unlabelled=True),
        SensitivityScore(0),
        PrecisionScore(1, absent_value=0.0),
    ],
)
def test_metrics_survive_json(metric: Any) -> None:
    document = json.loads(json.dumps(keras.metrics.serialize(metric)))
    assert document["registered_name"] == f"miscnn>{type(metric).__name__}"
    remade = keras.metrics.deserialize(document)
    assert type(remade) is type(metric)
    assert remade.get_config() == metric.get_config()
    batch = (one_hot([[0, 1]], 4), one_hot([[1, 1]], 4))
    assert score(remade, batch) == score(metric, batch)


def test_wrong_arguments_are_named() -> None:
    arrays = one_hot([[0, 1]])
    with pytest.raises(ConfigurationError, match=r"dice_class_3.*classes 0 to 2"):
        DiceScore(3).update_state(arrays, arrays)
    with pytest.raises(ConfigurationError, match="weighted_metrics"):
        DiceScore(1).update_state(arrays, arrays, sample_weight=[1.0])
    with pytest.raises(ConfigurationError, match="expected 0 or more"):
        DiceScore(-1)
    with pytest.raises(ConfigurationError, match="n_classes is 1"):
        MeanDice(1)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted > 0
    assert result.failed == 0
