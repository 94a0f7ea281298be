"""Deep supervision: the loss by hand, one output outside of training, files."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import deep_supervision
from miscnn.neural_network.deep_supervision import (
    DeepSupervisionModel,
    downsampled,
    supervision_weights,
)
from miscnn.neural_network.losses import DiceCrossEntropy, TanimotoCrossEntropy
from miscnn.neural_network.metrics import MeanDice, class_wise_dice


def make_model(regularizer: Any = None) -> DeepSupervisionModel:
    """Three outputs, the coarser ones reduced by (2, 2, 1) and (4, 4, 2)."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, None, 1))
    outputs, x = [], inputs
    for level in range(3):
        if level:
            x = keras.layers.MaxPooling3D(((2, 2, 1), (2, 2, 2))[level - 1])(x)
        x = keras.layers.Conv3D(3, 3, padding="same", kernel_regularizer=regularizer)(x)
        x = keras.layers.Dropout(0.0)(x)
        outputs.append(keras.layers.Softmax(dtype="float32", name=f"p{level}")(x))
    return DeepSupervisionModel(inputs, outputs)


def make_batch(rng: np.random.Generator, samples: int = 2) -> tuple[Any, Any]:
    images = rng.normal(size=(samples, 8, 12, 4, 1)).astype("float32")
    labels = rng.integers(3, size=images.shape[:-1])
    return images, np.eye(3, dtype="float32")[labels]


def by_hand(model: Any, images: Any, truth: Any, loss: Any) -> float:
    full, half, quarter = map(ops.stop_gradient, model(images, training=True))
    return (
        4 * float(loss(truth, full))
        + 2 * float(loss(truth[:, 1::2, 1::2], half))
        + 1 * float(loss(truth[:, 2::4, 2::4, 1::2], quarter))
    ) / 7


def test_weights_are_halved_and_sum_to_one() -> None:
    # nnU-Net: 1, 1/2, 1/4, 1/8, the last set to 0, normalised; without the last it is this.
    published = np.array([1, 0.5, 0.25, 0.0])
    assert supervision_weights(3) == pytest.approx(published[:-1] / published.sum())
    assert supervision_weights(1) == (1.0,)


def test_which_voxel_stands_for_a_block() -> None:
    values = np.arange(12 * 9 * 4, dtype="float32").reshape(1, 12, 9, 4, 1)
    output = np.zeros((1, 3, 3, 4, 1))
    found = ops.convert_to_numpy(downsampled(values, values, output))
    np.testing.assert_array_equal(found, values[:, [2, 6, 10]][:, :, [1, 4, 7]])
    weights = values[..., 0]
    found = ops.convert_to_numpy(downsampled(weights, values, output))
    np.testing.assert_array_equal(found, weights[:, [2, 6, 10]][:, :, [1, 4, 7]])
    per_sample = np.ones(1)
    assert downsampled(per_sample, values, output) is per_sample


def test_the_voxel_is_the_one_that_nnunet_takes(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    values = rng.integers(5, size=(1, 24, 16, 6, 1)).astype("float32")
    output = np.zeros((1, 3, 4, 3, 1))
    channels_first = torch.from_numpy(np.moveaxis(values, -1, 1).copy())
    expected = torch.nn.functional.interpolate(channels_first, (3, 4, 3), mode="nearest-exact")
    found = ops.convert_to_numpy(downsampled(values, values, output))
    np.testing.assert_array_equal(found, np.moveaxis(expected.numpy(), 1, -1))


@pytest.mark.parametrize("loss", [TanimotoCrossEntropy(), DiceCrossEntropy()])
@pytest.mark.parametrize("eagerly", [True, False])
def test_the_loss_of_a_step_is_the_weighted_sum(
    rng: np.random.Generator, loss: Any, eagerly: bool
) -> None:
    model = make_model()
    images, truth = make_batch(rng)
    model.compile("sgd", loss, run_eagerly=eagerly, jit_compile=False)
    expected = by_hand(model, images, truth, loss)
    alone = float(loss(truth, ops.stop_gradient(model(images, training=True)[0])))
    assert model.train_on_batch(images, truth) == pytest.approx(expected, rel=1e-5)
    assert abs(expected - alone) > 1e-4  # the coarse outputs do count


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="torch.compile raises a DeprecationWarning of its own",
)
def test_the_loss_of_a_compiled_step(rng: np.random.Generator) -> None:
    model = make_model()
    images, truth = make_batch(rng)
    loss = TanimotoCrossEntropy()
    model.compile("sgd", loss, jit_compile=True)
    expected = by_hand(model, images, truth, loss)
    assert model.train_on_batch(images, truth) == pytest.approx(expected, rel=1e-5)


def test_penalties_count_once(rng: np.random.Generator) -> None:
    model = make_model(regularizer=keras.regularizers.L2(0.1))
    images, truth = make_batch(rng)
    loss = TanimotoCrossEntropy()
    model.compile("sgd", loss, run_eagerly=True)
    penalty = 0.1 * sum(float((w**2).sum()) for w in model.get_weights() if w.ndim == 5)
    expected = by_hand(model, images, truth, loss) + penalty
    assert model.train_on_batch(images, truth) == pytest.approx(expected, rel=1e-5)


def test_weights_of_samples_and_of_voxels(rng: np.random.Generator) -> None:
    model = make_model()
    images, truth = make_batch(rng)
    full, half, quarter = map(ops.stop_gradient, model(images, training=True))
    per_sample = np.array([0.25, 2.0], dtype="float32")
    spread = per_sample[:, None, None, None]
    voxels = rng.random(size=truth.shape[:-1]).astype("float32")
    crossentropy = keras.losses.CategoricalCrossentropy()
    for loss, weights in (
        (TanimotoCrossEntropy(), (per_sample,) * 3),
        (crossentropy, (spread,) * 3),
        (crossentropy, (voxels, voxels[:, 1::2, 1::2], voxels[:, 2::4, 2::4, 1::2])),
    ):
        model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
        expected = (
            4 * float(loss(truth, full, weights[0]))
            + 2 * float(loss(truth[:, 1::2, 1::2], half, weights[1]))
            + 1 * float(loss(truth[:, 2::4, 2::4, 1::2], quarter, weights[2]))
        ) / 7
        found = model.train_on_batch(images, truth, sample_weight=weights[0])
        assert found == pytest.approx(expected, rel=1e-5)


def test_outside_of_training_there_is_one_output(rng: np.random.Generator) -> None:
    model = make_model()
    images, _ = make_batch(rng)
    full = ops.convert_to_numpy(model(images, training=True)[0])
    model.compile("sgd", TanimotoCrossEntropy(), jit_compile=False)
    for found in (
        model(images),
        model(images, training=False),
        model.predict_on_batch(images),
        model.predict(images, verbose=0),
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(found), full, atol=1e-6)
    assert model.output_shape == (None, None, None, None, 3)
    assert model.output is model.outputs[0]
    assert model.compute_output_shape((2, 8, 8, 4, 1)) == (2, 8, 8, 4, 3)
    inputs = keras.Input((8, 8, 4, 1))
    nested = keras.Model(inputs, model(inputs))
    np.testing.assert_allclose(
        ops.convert_to_numpy(nested(images[:, :, :8])),
        ops.convert_to_numpy(model(images[:, :, :8])),
        atol=1e-6,
    )


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    def __init__(self, images: Any, truth: Any) -> None:
        super().__init__()
        self.images, self.truth = images, truth

    def __len__(self) -> int:
        return len(self.images) // 2

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        chosen = slice(2 * index, 2 * index + 2)
        return self.images[chosen], self.truth[chosen]


def test_validation_and_metrics_see_the_full_resolution(rng: np.random.Generator) -> None:
    model = make_model()
    images, truth = make_batch(rng, samples=4)
    loss, metrics = TanimotoCrossEntropy(), [*class_wise_dice(3), MeanDice(3)]
    # The weights stand still, so that training and validation score the same network.
    still = keras.optimizers.SGD(0.0)
    model.compile(still, loss, metrics=metrics, jit_compile=False)
    batches = _Batches(images, truth)
    logged = model.fit(batches, validation_data=batches, epochs=1, verbose=0).history
    plain = keras.Model(model.inputs, model.output)
    metrics = [*class_wise_dice(3), MeanDice(3)]
    plain.compile("sgd", loss, metrics=metrics, jit_compile=False)
    expected = plain.evaluate(batches, verbose=0, return_dict=True)
    assert {f"val_{name}" for name in expected} | set(expected) == set(logged)
    for name, value in expected.items():
        assert logged[f"val_{name}"] == pytest.approx([value], rel=1e-5)
        if name != "loss":
            assert logged[name] == pytest.approx([value], rel=1e-5)
    halves = [by_hand(model, *batches[number], loss) for number in range(2)]
    assert logged["loss"] == pytest.approx([np.mean(halves)], rel=1e-5)


def test_all_outputs_are_trained(rng: np.random.Generator) -> None:
    model = make_model()
    images, truth = make_batch(rng)
    model.compile(keras.optimizers.Adam(0.01), TanimotoCrossEntropy(), jit_compile=False)
    first = model.train_on_batch(images, truth)
    for _ in range(20):
        last = model.train_on_batch(images, truth)
    assert last < first - 0.01


def test_saved_and_loaded_it_goes_on(tmp_path: Path, rng: np.random.Generator) -> None:
    model = make_model()
    images, truth = make_batch(rng)
    model.compile(keras.optimizers.Adam(0.01), TanimotoCrossEntropy(), jit_compile=False)
    model.train_on_batch(images, truth)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert isinstance(loaded, DeepSupervisionModel)
    for old, new in zip(model(images, training=True), loaded(images, training=True), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(old), ops.convert_to_numpy(new))
    # Optimizer and loss came along: the next step is the same.
    assert model.train_on_batch(images, truth) == loaded.train_on_batch(images, truth)
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    twin = make_model()
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        twin.predict_on_batch(images), ops.convert_to_numpy(model(images))
    )
    copied = keras.models.clone_model(model)
    assert isinstance(copied, DeepSupervisionModel)


def test_one_output_is_refused() -> None:
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(2, 1)(inputs)
    for outputs in (x, [x]):
        with pytest.raises(ConfigurationError, match=r"1 tensor.*keras\.Model"):
            DeepSupervisionModel(inputs, outputs)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(deep_supervision)
    assert result.attempted > 0
    assert result.failed == 0
