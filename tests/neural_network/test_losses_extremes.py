"""Losses where numbers are extreme: certain mistakes, one class, classes without a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import metrics
from miscnn.neural_network._class_weights import read_class_weights
from miscnn.neural_network._reductions import power
from miscnn.neural_network.losses import (
    BoundaryLoss,
    Combo,
    CompoundLoss,
    CrossEntropy,
    Dice,
    Focal,
    GeneralisedDice,
    SegmentationLoss,
    Tanimoto,
    TopKCrossEntropy,
    TverskyCrossEntropy,
    UnifiedFocal,
)
from miscnn.neural_network.losses.surface import signed_distances
from miscnn.testing.loss import LossGradient

Array = NDArray[Any]


@keras.saving.register_keras_serializable(package="test")
class OfLogits(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss behind a softmax."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.loss.call(y_true, ops.softmax(y_pred, axis=-1))


class Volume(SegmentationLoss):
    """A loss that nobody registered."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        axes = tuple(range(1, len(y_true.shape)))
        return ops.sum(y_pred[..., 1:], axis=axes)


@pytest.fixture
def batch(rng: np.random.Generator) -> tuple[Array, Array]:
    labels = rng.integers(3, size=(2, 5, 4))
    raw = rng.random((2, 5, 4, 3)) + 0.05
    return np.eye(3, dtype="float32")[labels], (raw / raw.sum(-1, keepdims=True)).astype("float32")


# ------------------------------------------------------------------ certain mistakes

LOGS = [
    (CrossEntropy(), 1.0),
    (TopKCrossEntropy(k=1.0), 1.0),
    (Focal(gamma=2), 1.0),  # (1 − p)² is 1
    # fn_weight 0.6 times crossentropy_weight; the region part is switched off.
    (UnifiedFocal(tversky_weight=0, crossentropy_weight=1), 0.6),
]


@pytest.mark.parametrize("gap", [5, 15, 20, 25, 30, 60])
@pytest.mark.parametrize(("loss", "slope"), LOGS, ids=lambda value: getattr(value, "name", ""))
def test_a_certain_mistake_pulls_through_a_softmax(loss: Any, slope: float, gap: float) -> None:
    truth = np.array([[[0, 1]]], dtype="float32")
    logits = np.array([[[gap, 0]]], dtype="float32")
    gradient = LossGradient(OfLogits(loss), logits.shape)(truth, logits)
    # −log p = log(1 + e^gap): its slope is −(1 − p). Focal factors add p's share, e^−gap.
    np.testing.assert_allclose(gradient[0, 0], [slope, -slope], rtol=5 * np.exp(-gap / 2) + 2e-4)


def test_the_costliest_probability_is_zero() -> None:
    truth = np.array([[[0, 1]]], dtype="float32")
    assert float(CrossEntropy()(truth, 1 - truth)) == pytest.approx(30 * np.log(10), rel=1e-6)
    assert float(CrossEntropy()(truth, truth)) == 0
    # Of 1 − p, which is rounded to steps of 6e-8, the floor stays where it was: ½ · 7 · ln 10
    # for the class that is called certain, ½ · 30 · ln 10 for the one that is missed.
    bce = Combo(dice_weight=0, crossentropy_weight=1)
    assert float(bce(truth, 1 - truth)) == pytest.approx(0.5 * 18.5 * np.log(10), rel=1e-6)


# ------------------------------------------------------------------ one class


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(),
        Focal(),
        TopKCrossEntropy(),
        TverskyCrossEntropy(),
        UnifiedFocal(),
        CompoundLoss([(1, Dice()), (1, Focal())]),
        Dice(ignore_unlabelled=True),
        metrics.dice_crossentropy,
        metrics.categorical_focal_loss(0.25),
    ],
)
def test_one_class_is_refused_where_it_has_no_meaning(loss: Any) -> None:
    truth, prediction = np.zeros((1, 3, 3, 1), "float32"), np.ones((1, 3, 3, 1), "float32")
    with pytest.raises(ConfigurationError, match="two classes with softmax"):
        loss(truth, prediction)


def test_one_class_has_a_dice_and_a_combo_but_no_label_map() -> None:
    truth = np.array([[[1], [1], [0], [0]]], dtype="float32")
    half = np.full_like(truth, 0.5)
    assert float(Dice()(truth, half)) == pytest.approx(0.5, abs=1e-5)
    bce = Combo(dice_weight=0, crossentropy_weight=1)
    assert float(bce(truth, half)) == pytest.approx(0.5 * np.log(2), rel=1e-5)
    with pytest.raises(ConfigurationError, match=r"dice_class_0.*two classes with softmax"):
        metrics.DiceScore(0).update_state(truth, half)


# ------------------------------------------------------------------ sums of any losses


def test_options_reach_parts_that_keras_cannot_make_again(batch: tuple[Array, Array]) -> None:
    y, p = batch
    y[:, :2] = 0
    loss = CompoundLoss([(2.0, Volume()), (1.0, Dice())]).with_options(ignore_unlabelled=True)
    expected = 2 * p[:, 2:, :, 1:].sum((1, 2, 3)) + np.array(
        Dice(ignore_unlabelled=True).call(y, p)
    )
    np.testing.assert_allclose(loss.call(y, p), expected, rtol=1e-5)
    weighted = loss.with_class_weights((1, 2, 3))
    assert [part.class_weights for _, part in weighted.losses] == [(1.0, 2.0, 3.0)] * 2
    assert all(part.ignore_unlabelled for _, part in weighted.losses)


def test_losses_of_keras_leave_out_voxels_without_a_label(batch: tuple[Array, Array]) -> None:
    y, p = batch
    y[0, :2] = 0
    y[1] = 0
    parts = [
        (0.5, keras.losses.CategoricalCrossentropy()),
        (2.0, keras.losses.MeanSquaredError()),
    ]
    loss = CompoundLoss([*parts, (1.0, Dice())]).with_options(ignore_unlabelled=True)
    log = -np.log((y[0, 2:] * p[0, 2:]).sum(-1)).mean()
    squares = ((y[0, 2:] - p[0, 2:]) ** 2).mean()
    dice = np.array(Dice(ignore_unlabelled=True).call(y, p))
    found = np.array(loss.call(y, p))
    np.testing.assert_allclose(found, [0.5 * log + 2 * squares + dice[0], 0], rtol=1e-5, atol=1e-7)
    gradient = LossGradient(loss, p.shape)(y, p)
    assert np.isfinite(gradient).all()
    assert not gradient[0, :2].any()
    assert not gradient[1].any()
    assert gradient[0, 2:].any()


def test_losses_that_cannot_leave_voxels_out_are_named(batch: tuple[Array, Array]) -> None:
    loss = CompoundLoss([(1.0, keras.losses.Dice(name="theirs"))], ignore_unlabelled=True)
    with pytest.raises(ConfigurationError, match=r"theirs.*not one per voxel.*SegmentationLoss"):
        loss(*batch)
    with pytest.raises(ConfigurationError, match=r"class_weights cannot be handed on to theirs"):
        loss.with_class_weights((1, 2, 3))


# ------------------------------------------------------------------ class weights


@pytest.mark.parametrize("cls", [GeneralisedDice, Tanimoto])
def test_a_class_without_weight_does_not_scale_the_others(cls: Any) -> None:
    options = {"volume_weighting": True} if cls is Tanimoto else {}
    y = np.zeros((1, 100, 10, 3), "float32")
    y[..., 0] = 1
    y[0, :50, :, :2] = [0, 1]
    p = np.full_like(y, 1 / 3)
    few = y.copy()
    few[0, 99, 9] = [0, 0, 1]  # one voxel of the class that does not count
    found = [
        float(cls(class_weights=(1, 1, 0), smooth=10.0, **options)(truth, p)) for truth in (y, few)
    ]
    # One voxel in 500 less of the background; not the weights of all times (1 / 500)².
    assert found[0] == pytest.approx(found[1], rel=0.01)
    assert found[0] < 0.75


def test_a_mapping_of_class_weights_means_the_same_everywhere() -> None:
    assert Dice().with_class_weights({2: 5.0}).class_weights == (1.0, 1.0, 5.0)
    assert read_class_weights({2: 5.0}, 3) == (1.0, 1.0, 5.0)
    for wrong, message in [({}, "is empty"), ({-1: 2.0, 1: 1.0}, r"class\(es\) \[-1\]")]:
        with pytest.raises(ConfigurationError, match=message):
            Dice().with_class_weights(wrong)
        with pytest.raises(ConfigurationError, match=message):
            read_class_weights(wrong, 2)


@pytest.mark.parametrize("alpha", [0.25, np.float32(0.25), np.array(0.25), [0.25], (0.25,)])
def test_one_alpha_is_that_of_all_classes(alpha: Any, batch: tuple[Array, Array]) -> None:
    y, p = batch
    true = (y * p).sum(-1)
    expected = (-0.25 * (1 - true) ** 2 * np.log(true)).mean()
    found = float(metrics.categorical_focal_loss(alpha)(y, p))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smooth", [0, -1.0, float("inf"), float("nan")])
def test_smooth_is_finite(smooth: float) -> None:
    with pytest.raises(ConfigurationError, match=r"smooth is .*finite"):
        Dice(smooth=smooth)


# ------------------------------------------------------------------ numerics


@pytest.mark.parametrize("exponent", [0.5, 2, 2.0, 0.75, 3])
def test_powers(exponent: float) -> None:
    base = np.array([-1e-7, 0, 1e-6, 1e-3, 0.3, 1], dtype="float32")
    expected = np.maximum(base.astype("float64"), 0) ** exponent
    np.testing.assert_allclose(power(base, exponent), expected, rtol=1e-6)


def test_small_boundary_losses_keep_their_digits() -> None:
    y = np.zeros((1, 8, 8, 1), "float32")
    y[:, :4] = 1
    p = y.copy()
    p[0, 4, 0] = 1e-6  # one voxel beside the surface: distance 1, of 64
    found = float(BoundaryLoss(include_background=True)(y, p))
    assert found == pytest.approx(1e-6 / 64, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 2), (2, 11, 6), (1, 9, 5, 7)])
def test_distances_do_not_depend_on_how_lines_are_parted(
    shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = (rng.random((*shape, 3)) > 0.9).astype("float32")
    found = ops.convert_to_numpy(signed_distances(mask))
    monkeypatch.setattr("miscnn.neural_network.losses.surface._BLOCK", 20)
    np.testing.assert_array_equal(ops.convert_to_numpy(signed_distances(mask)), found)
    monkeypatch.setattr("miscnn.neural_network.losses.surface.compile_ahead", lambda: "auto")
    np.testing.assert_array_equal(ops.convert_to_numpy(signed_distances(mask)), found)
