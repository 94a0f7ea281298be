"""Losses added up, and losses inside of Keras beside those of users."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.neural_network.losses import (
    Combo,
    CompoundLoss,
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    Focal,
    GeneralisedDice,
    Jaccard,
    TopKCrossEntropy,
    Tversky,
    UnifiedFocal,
)

Array = NDArray[Any]


def make_batch(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    labels = rng.integers(3, size=(2, *shape))
    raw = rng.random((2, *shape, 3)) + 0.05
    p = (raw / raw.sum(axis=-1, keepdims=True)).astype("float32")
    return np.eye(3, dtype="float32")[labels], p


def per_sample(loss: Any, y: Array, p: Array) -> Array:
    values: Array = ops.convert_to_numpy(loss.call(y, p))
    return values


# ------------------------------------------------------------------ sums of losses


def test_compounds_add_up_any_losses(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (5, 4, 3))
    parts = [
        (0.5, Dice(reduction_axes="batch", class_weights=(1, 2, 3))),
        (2.0, Focal(reduction="sum")),
        (1.5, keras.losses.MeanSquaredError()),
    ]
    total = per_sample(CompoundLoss(parts), y, p)
    expected = 0.5 * per_sample(parts[0][1], y, p) + 2 * per_sample(parts[1][1], y, p)
    expected += 1.5 * ((y - p) ** 2).reshape(2, -1).mean(-1)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    document = json.loads(json.dumps(keras.losses.serialize(CompoundLoss(parts))))
    remade = keras.losses.deserialize(document)
    assert per_sample(remade, y, p).tolist() == total.tolist()
    assert remade.get_config() == CompoundLoss(parts).get_config()
    # The named compounds are such sums.
    named = DiceCrossEntropy(dice_weight=2, include_background=False)
    pieces = [(2, Dice(include_background=False)), (1, CrossEntropy())]
    np.testing.assert_allclose(
        per_sample(named, y, p), per_sample(CompoundLoss(pieces), y, p), rtol=1e-6
    )


def test_options_of_a_compound_go_to_all_its_parts() -> None:
    loss = CompoundLoss([(1, Dice(smooth=1, class_weights=(1, 1))), (1, Focal())])
    changed = loss.with_options(reduction_axes="batch", ignore_unlabelled=True)
    for _, part in changed.losses:
        assert (part.reduction_axes, part.ignore_unlabelled) == ("batch", True)
    assert changed.losses[0][1].smooth == 1
    assert changed.losses[0][1].class_weights == (1, 1)
    assert changed.losses[1][1].class_weights is None
    weighted = changed.with_class_weights((1, 3))
    assert [part.class_weights for _, part in weighted.losses] == [(1, 3), (1, 3)]
    assert all(part.ignore_unlabelled for _, part in weighted.losses)
    assert not any(part.ignore_unlabelled for _, part in loss.losses)


# ------------------------------------------------------------------ in Keras


class _Users(keras.losses.Loss):  # type: ignore[misc]
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def users_function(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred))


def one_layer() -> Any:
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))


def test_losses_are_losses_and_metrics_of_keras_beside_the_users_own(
    rng: np.random.Generator,
) -> None:
    y, x = make_batch(rng, (4, 4))
    y, x = np.concatenate([y, y[::-1, ::-1], y[:1]]), np.concatenate([x, 1 - x, x[:1]])
    model = one_layer()
    several = [Dice(), TopKCrossEntropy(k=0.3), CompoundLoss([(1.0, Focal())], name="sum")]
    exact = Jaccard(reduction=None, name="exact")
    model.compile(
        keras.optimizers.SGD(0.5),
        loss=GeneralisedDice(),
        metrics=[
            *several,
            exact,
            _Users(name="own"),
            users_function,
            "mse",
            keras.losses.Poisson(),
        ],
    )
    history = model.fit(x, y, batch_size=2, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    logs = model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True)
    p = ops.convert_to_numpy(model(x))
    batches = [slice(0, 2), slice(2, 4), slice(4, 5)]
    for loss in several:  # the mean over the batches
        means = [per_sample(loss, y[part], p[part]).mean() for part in batches]
        assert logs[loss.name] == pytest.approx(np.mean(means), rel=1e-5)
    # As a loss, or with reduction=None, the mean over the samples.
    assert logs["exact"] == pytest.approx(per_sample(exact, y, p).mean(), rel=1e-5)
    assert logs["loss"] == pytest.approx(per_sample(GeneralisedDice(), y, p).mean(), rel=1e-5)
    assert logs["own"] > 0
    assert logs["users_function"] == pytest.approx(
        np.mean([((y[part] - p[part]) ** 2).mean() for part in batches]), rel=1e-4
    )


@pytest.mark.parametrize("cls", [TopKCrossEntropy, Combo, GeneralisedDice, UnifiedFocal, Tversky])
def test_networks_of_any_size_train_with_them(cls: type[Any], rng: np.random.Generator) -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    model.compile("sgd", loss=cls(ignore_unlabelled=True))
    for shape in [(4, 5), (6, 3)]:
        y, x = make_batch(rng, shape)
        y[:, 1] = 0
        before = float(cls(ignore_unlabelled=True)(y, ops.convert_to_numpy(model(x))))
        assert float(model.train_on_batch(x, y)) == pytest.approx(before, rel=1e-5)
