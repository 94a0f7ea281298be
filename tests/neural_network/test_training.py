"""Options of a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.neural_network._training import TrainingPlan
from miscnn.neural_network.architecture import NNUNet, UNetStandard
from miscnn.neural_network.losses import TverskyCrossEntropy, UnifiedFocal
from miscnn.neural_network.schedules import CosineSchedule, PolynomialSchedule

MakeNetwork = Callable[..., miscnn.NeuralNetwork]


class Rates(keras.callbacks.Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.rates.append(float(self.model.optimizer.learning_rate))


def test_the_schedule_follows_the_steps(new_network: MakeNetwork) -> None:
    network = new_network(schedule=PolynomialSchedule(1.0), ema=None)
    for _ in range(2):  # every training has the whole schedule
        seen = Rates()
        history = network.train(["s0"], 2, 2, [seen], verbose=0)
        assert seen.rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
        assert history.history["learning_rate"] == pytest.approx([0.0075, 0.0025])
        assert float(network.model.optimizer.learning_rate) == pytest.approx(0.01)


def test_the_schedule_follows_the_clock(new_network: MakeNetwork) -> None:
    network = new_network(schedule=PolynomialSchedule(1.0), ema=None)
    network.train(["s0"], 1, 1, verbose=0)  # compiles: a slow machine does nothing else in seconds
    seen = Rates()
    history = network.train(["s0"], iterations=2, callbacks=[seen], max_minutes=0.05, verbose=0)
    assert history.epochs > 1
    assert seen.rates[0] == pytest.approx(0.01)
    assert seen.rates == sorted(seen.rates, reverse=True)
    assert seen.rates[-1] < 0.005
    # Whichever comes first.
    assert network.train(["s0"], 1, 1, max_minutes=10, verbose=0).epochs == 1


def test_schedules_of_keras_are_left_to_keras(new_network: MakeNetwork) -> None:
    decay = keras.optimizers.schedules.PolynomialDecay(0.01, 4, 0.0)
    network = new_network(learning_rate=decay, schedule=None, ema=None)
    history = network.train(["s0"], 2, 2, verbose=0)
    assert history.history["learning_rate"] == pytest.approx([0.005, 0.0])
    with pytest.raises(ConfigurationError, match="learning_rate is a schedule of Keras"):
        new_network(learning_rate=decay, schedule="cosine")


def test_whole_volumes_are_validated_every_few_epochs(new_network: MakeNetwork) -> None:
    network = new_network(ema=None)
    history = network.evaluate(["s0", "s1"], ["s2", "s3"], 5, 2, validate_volumes=2, verbose=0)
    values = history.history["val_volume_dice"]
    assert np.isnan(values).tolist() == [True, False, True, False, False]  # and after the last
    dice = []
    for index in ("s2", "s3"):
        truth = network.preprocessor.data.sample_loader(index).segmentation[..., 0]
        (labels,) = network.predict([index], True, verbose=0)
        dice.append(2 * np.sum(labels * truth) / (np.sum(labels) + np.sum(truth)))
    assert values[-1] == pytest.approx(np.mean(dice), abs=1e-6)
    assert history.history["val_volume_dice_class_1"][-1] == pytest.approx(np.mean(dice), abs=1e-6)
    assert len(history.history["val_loss"]) == 5


def test_averages_are_validated_and_the_training_goes_on(new_network: MakeNetwork) -> None:
    """Looking at whole volumes changes nothing in a training that averages."""
    networks = [new_network(ema=0.9) for _ in range(2)]
    for network, every in zip(networks, (None, 1), strict=True):
        network.evaluate(["s0"], ["s1"], 3, 2, validate_volumes=every, verbose=0)
    for one, other in zip(networks[0].model.get_weights(), networks[1].model.get_weights(),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_early_stopping(new_network: MakeNetwork) -> None:
    class Says(keras.callbacks.Callback):
        """Instead of the validation."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_loss"] = (3.0, 2.0, 2.5, 2.2, 1.0, 1.5, 1.4, 1.3, 0.5)[epoch]

    network = new_network(ema=None)
    history = network.evaluate(["s0"], ["s1"], 9, 1, [Says()], verbose=0, early_stopping=3)
    assert history.epochs == 8


def test_gradients_are_accumulated_and_clipped(new_network: MakeNetwork) -> None:
    network = new_network(ema=None, gradient_clipping=None, gradient_accumulation=2)
    start = network.model.get_weights()
    network.train(["s0"], 1, 1, verbose=0)
    trainable = {v.path for v in network.model.trainable_variables}
    for variable, before in zip(network.model.weights, start, strict=True):
        if variable.path in trainable:  # one batch alone makes no update
            np.testing.assert_array_equal(np.asarray(variable), before)
    network.train(["s0"], 1, 1, verbose=0)
    assert any(
        not np.array_equal(np.asarray(v), before)
        for v, before in zip(network.model.weights, start, strict=True)
        if v.path in trainable
    )
    # The step of plain descent is as long as the clipped gradient.
    clipped = new_network(
        optimizer="sgd", learning_rate=1.0, gradient_clipping=1e-3, ema=None,
        schedule=None,
    )  # fmt: skip
    clipped.optimizer_recipe.make(1.0)
    before = [np.asarray(v) for v in clipped.model.trainable_variables]
    clipped.train(["s0"], 1, 1, verbose=0)
    after = [np.asarray(v) for v in clipped.model.trainable_variables]
    length = np.sqrt(sum(np.sum((a - b) ** 2.0) for a, b in zip(after, before, strict=True)))
    assert length == pytest.approx(1e-3 * (1 + 0.99), rel=1e-3)  # Nesterov's first step


def test_mixed_precision_keeps_float32_weights(tmp_path: Path, new_network: MakeNetwork) -> None:
    before = keras.config.dtype_policy().name
    network = new_network(precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == before
    history = network.train(["s0", "s1"], 4, 4, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert {v.dtype for v in network.model.trainable_variables} == {"float32"}
    computed = {layer.compute_dtype for layer in network.model.layers if "conv" in layer.name}
    assert computed == {"bfloat16"}
    (probabilities,) = network.predict(["s2"], True, True, verbose=0)
    assert probabilities.dtype == np.float32
    network.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert loaded.precision == "mixed_bfloat16"
    np.testing.assert_array_equal(
        loaded.predict(network.preprocessor.data.sample_loader("s2").image, True, True)[0],
        probabilities,
    )
    with pytest.raises(ConfigurationError, match="precision is 'half'; expected one of float32"):
        new_network(precision="half")


def test_a_bundle_keeps_how_it_was_trained(tmp_path: Path, new_network: MakeNetwork) -> None:
    network = new_network(schedule=CosineSchedule(0.1, 0.05), ema=0.95)
    network.train(["s0"], 1, 1, verbose=0)
    network.save(tmp_path / "bundle")
    json.loads((tmp_path / "bundle" / "pipeline.json").read_text())
    loaded = miscnn.load(tmp_path / "bundle")
    assert loaded.schedule == network.schedule
    assert loaded.optimizer_recipe == network.optimizer_recipe
    assert loaded.model.optimizer.use_ema


def test_loaded_weights_are_the_initial_ones(tmp_path: Path, new_network: MakeNetwork) -> None:
    source, network = new_network(), new_network(seed=6)
    source.train(["s0", "s1"], 1, 2, verbose=0)
    network.train(["s0"], 1, 1, verbose=0)
    report = network.load_weights(source)
    assert report.complete
    for _ in range(2):  # reset, as the folds of a cross-validation do
        for one, other in zip(source.model.get_weights(), network.model.get_weights(),
                              strict=True):  # fmt: skip
            np.testing.assert_array_equal(one, other)
        network.train(["s2", "s3"], 1, 1, verbose=0)
        assert network._statistics != source._statistics
        network.reset()


def test_networks_that_adapt_keep_what_was_loaded() -> None:
    """Though the training subjects alone would ask for another network than all do."""
    image = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    labels = (image > 0).astype(np.uint8)
    subjects = {
        f"s{number}": (image, labels, None, {"spacing": (1.0, 1.0, thickness)})
        for number, thickness in enumerate((1.0, 9.0, 9.0))
    }
    recipe = miscnn.Preprocessor(
        miscnn.DataIO(DictionaryInterface(subjects, 1, 2)),
        1, patch_shape=(16, 16, 16), data_aug=None, cache="memory",
    )  # fmt: skip
    network, source, fitted = (
        miscnn.NeuralNetwork(
            recipe, NNUNet("2018", base_features=2), optimizer="sgd", learning_rate=0.0, seed=seed
        )
        for seed in (0, 1, 2)
    )
    network.load_weights(source)
    network.train(["s0"], 1, 1, verbose=0)
    for one, other in zip(source.model.get_weights(), network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fitted.train(["s0"], 1, 1, verbose=0)
    assert fitted.architecture != network.architecture


def test_what_is_wrong_with_a_sample_is_told(new_network: MakeNetwork) -> None:
    """Not as a failed operation of a graph, in whose threads batches are asked for."""
    network = new_network()

    def fail(*_: Any) -> Any:
        raise SampleError("s0", "the file has gone")

    network.preprocessor.data_augmentation.sample_parameters = fail
    with pytest.raises(SampleError, match="the file has gone"):
        network.train(["s0"], 1, 2, verbose=0)


def test_losses_by_name(new_network: MakeNetwork) -> None:
    recipe = new_network().preprocessor
    architecture = UNetStandard(n_filters=2, depth=1)
    assert isinstance(miscnn.NeuralNetwork(recipe, architecture).loss, TverskyCrossEntropy)
    for given_one in ("UnifiedFocal", UnifiedFocal):
        loss = miscnn.NeuralNetwork(recipe, architecture, given_one).loss
        assert isinstance(loss, UnifiedFocal)
    network = miscnn.NeuralNetwork(recipe, architecture, "categorical_crossentropy")
    network.train(["s0"], 1, 1, verbose=0)
    with pytest.raises(ConfigurationError, match="loss is 'DiceCE'; expected one of Boundary"):
        miscnn.NeuralNetwork(recipe, architecture, "DiceCE")


def test_mistakes_are_named(new_network: MakeNetwork) -> None:
    network = new_network()
    for options, told in (
        ({"epochs": 0}, "epochs is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"max_minutes": 0.0}, "max_minutes is 0.0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            network.train(["s0"], **options, verbose=0)
    with pytest.raises(ConfigurationError, match="no samples to validate on"):
        network.evaluate(["s0"], [], verbose=0)
    with pytest.raises(ConfigurationError, match="validate_volumes is 0"):
        network.evaluate(["s0"], ["s1"], validate_volumes=0, verbose=0)


def test_slices_of_one_volume_do_not_stand_on_both_sides() -> None:
    arguments = dict.fromkeys(TrainingPlan.__dataclass_fields__)
    arguments |= {"training": ["a:#:0", "b:#:1"], "validation": ["a:#:1"]}
    with pytest.raises(ConfigurationError, match=r"both in training and in validation: a$"):
        TrainingPlan(**arguments).check()
