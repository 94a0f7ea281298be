"""Training on several devices equals training on one: on two virtual CPU devices.

How many devices there are is decided once in a process, so the trainings run in processes of
their own, one for each backend; each prints what it measured as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._distribution import Distribution, as_distribution

_ROOT = Path(__file__).resolve().parents[2]

_COMMON = """
import json, sys, tempfile, warnings
import numpy as np
from miscnn._keras import compile_ahead, keras, ops
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._distribution import as_distribution

def worst(a, b):
    return max(float(np.max(np.abs(np.subtract(x, y)))) for x, y in zip(a, b, strict=True))

def refusal(function):
    try:
        function()
    except ConfigurationError as error:
        return str(error)
    return ""
"""

_KERAS = """
from miscnn.neural_network.architecture.msdnet import MSDNet
from miscnn.neural_network.architecture.normalization import InstanceNormalization
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
from miscnn.neural_network.losses import CrossEntropy, Dice, DiceCrossEntropy, TverskyCrossEntropy
from miscnn.neural_network.metrics import DiceScore, MeanDice

keras_layers, optimizers = keras.layers, keras.optimizers
rng = np.random.default_rng(0)
# the samples differ in what is in them: statistics and sums of half a batch are not the batch's
images = rng.normal(np.linspace(-1, 1, 16)[:, None, None, None], 1, (16, 8, 8, 1)).astype("float32")
truth = np.eye(3, dtype="float32")[np.digitize(images[..., 0], (-0.5, 0.5))]

class Batches(keras.utils.PyDataset):
    def __init__(self, samples, **options):
        super().__init__(**options)
        self.samples = samples

    def __len__(self):
        return -(-self.samples // 4)

    def __getitem__(self, number):
        part = slice(4 * number, min(4 * number + 4, self.samples))
        return images[part], truth[part]

def plain(*normalization):
    inputs = x = keras.Input((None, None, 1))
    x = keras_layers.Conv2D(4, 3, padding="same")(x)
    for layer in normalization:
        x = layer()(x)
    x = keras_layers.ReLU()(x)
    return keras.Model(inputs, keras_layers.Conv2D(3, 1, activation="softmax")(x))

def deep():
    inputs = x = keras.Input((None, None, 1))
    fine = InstanceNormalization()(keras_layers.Conv2D(4, 3, padding="same")(x))
    coarse = keras_layers.Conv2D(4, 3, strides=2, padding="same")(fine)
    joined = keras_layers.Concatenate()([fine, keras_layers.UpSampling2D()(coarse)])
    heads = [keras_layers.Conv2D(3, 1, activation="softmax")(maps) for maps in (joined, coarse)]
    return DeepSupervisionModel(inputs, heads)

def batch_mean(y_true, y_pred):  # one number for a batch, as users write it
    return 1 - 2 * ops.mean(y_true * y_pred)

def nesterov(**options):
    return optimizers.SGD(0.1, 0.9, nesterov=True, **options)

def train(kind, make, optimizer, loss, workers=1, validation=5, callbacks=(), precision=None):
    distribution = as_distribution(kind)
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(precision or "float32")
    with distribution.scope():
        model = make()
        optimizer = optimizer()
        distribution.check(4, optimizer)
        scores = [MeanDice(3), DiceScore(1), "categorical_accuracy"]
        loss = distribution.loss(loss, 3, 2)
        model.compile(optimizer, loss=loss, metrics=scores, jit_compile=compile_ahead())
    keras.config.set_dtype_policy("float32")
    history = distribution.fit(
        model, Batches(16, workers=workers), validation_data=Batches(validation), epochs=2,
        shuffle=False, verbose=0, callbacks=[make() for make in callbacks],
    ).history
    predicted = distribution.predictor(model)(images[:3])
    with tempfile.TemporaryDirectory() as folder:  # saved from the devices, read on one
        model.save(folder + "/model.keras", include_optimizer=False)
        alone = keras.models.load_model(folder + "/model.keras", compile=False)
    rounding = 1e-5 if precision is None else 1e-2
    assert worst([alone(images[:3])], [predicted]) < rounding, "saved and read"
    assert not any(getattr(layer, "synchronized", False) for layer in model.layers)
    return model.get_weights(), history, predicted

def measure(case):
    (weights, history, predicted), other = train(None, *case), train("mirrored", *case)
    assert sorted(history) == sorted(other[1])
    return {
        "weights": worst(weights, other[0]),
        "history": worst(history.values(), [other[1][name] for name in history]),
        "prediction": worst([predicted], [other[2]]),
    }

averaging = dict(use_ema=True, ema_momentum=0.9)
cases = {
    "three loading threads": (plain, nesterov, CrossEntropy(), 3),
    "one validation sample": (plain, nesterov, CrossEntropy(), 1, 1),
    "class weights": (
        plain, lambda: optimizers.AdamW(0.01, weight_decay=0.1),
        DiceCrossEntropy(class_weights=(1, 2, 3))),
    "a loss that sums": (plain, lambda: optimizers.SGD(0.01), CrossEntropy(reduction="sum")),
    "a number for a batch": (plain, nesterov, batch_mean),
    "a name": (plain, nesterov, "categorical_crossentropy"),
    "averaged weights": (
        plain, lambda: optimizers.Adam(0.01, **averaging), TverskyCrossEntropy(), 1, 5,
        (keras.callbacks.SwapEMAWeights,)),
    "clipped global norm": (plain, lambda: nesterov(global_clipnorm=0.05), CrossEntropy()),
    "clipped norm": (plain, lambda: nesterov(clipnorm=0.05), CrossEntropy()),
    "batch normalisation": (
        lambda: plain(keras_layers.BatchNormalization), nesterov, CrossEntropy()),
    "deep supervision": (deep, nesterov, DiceCrossEntropy()),
    "msdnet": (
        lambda: MSDNet(depth=3).create_model_2D((None, None, 1), 3), lambda: optimizers.Adam(0.01),
        CrossEntropy()),
}
"""

_TENSORFLOW = """
cases["a loss scale that clips"] = (
    plain, lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.5, clipvalue=0.01)),
    CrossEntropy(), 1, 5, (), "mixed_bfloat16")
mirrored = as_distribution("mirrored")
accumulating = optimizers.SGD(0.1, gradient_accumulation_steps=2)
def pooled(y_true, y_pred):
    return 1 - ops.sum(y_true * y_pred) / ops.sum(y_true + y_pred * y_pred)
report = {
    "cases": {name: measure(case) for name, case in cases.items()},
    "replicas": mirrored.replicas,
    "one strategy": mirrored.strategy is as_distribution("mirrored").strategy,
    "own strategy": as_distribution(mirrored.strategy).replicas,
    "one device": as_distribution(tf.distribute.MirroredStrategy(["CPU:0"])).replicas,
    "accumulation": refusal(lambda: mirrored.check(4, accumulating)),
    "batch": refusal(lambda: mirrored.loss(Dice(reduction_axes="batch"), 3, 2)),
    "pooled": refusal(lambda: mirrored.loss(pooled, 3, 2)),
    "other": refusal(lambda: as_distribution(tf.distribute.OneDeviceStrategy("CPU:0"))),
}
print(json.dumps(report))
"""

_JAX = """
del cases["averaged weights"]  # on one device, too, Keras loses the averaged arrays on JAX
cases["sums over the batch"] = (plain, nesterov, Dice(reduction_axes="batch"))
cases["accumulated gradients"] = (
    plain, lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2), CrossEntropy())
mirrored = as_distribution("mirrored")
own = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
report = {
    "cases": {name: measure(case) for name, case in cases.items()},
    "replicas": mirrored.replicas,
    "own": as_distribution(own).replicas,
    "other": refusal(lambda: as_distribution("several")),
}
print(json.dumps(report))
"""

_NETWORK = """
import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.losses import DiceCrossEntropy
from miscnn.processing.subfunctions import Normalization

rng = np.random.default_rng(1)
subjects = {}
for number in range(5):
    label = np.zeros((12 + number, 12), dtype=np.uint8)
    label[4:9, 3:8] = 1
    image = rng.normal(100, 20, size=label.shape) + 60 * label
    details = {"spacing": (1.0, 1.0)}
    subjects[f"s{number}"] = (image.astype(np.float32), label, None, details)

def network(distribution, batch_size=2, **options):
    folder = tempfile.mkdtemp()
    data_io = miscnn.DataIO(DictionaryInterface(subjects, 1, 2, False), None, folder, folder)
    recipe = miscnn.Preprocessor(
        data_io, batch_size, analysis="patchwise-crop", patch_shape=(8, 8), cache="memory", seed=3,
        subfunctions=[Normalization("z-score")])
    return miscnn.NeuralNetwork(
        recipe, UNetStandard(n_filters=4, depth=1, normalization="batch"), loss=DiceCrossEntropy(),
        learning_rate=1e-2, optimizer="sgd", workers=2, distribution=distribution, **options)

def results(net):
    options = dict(iterations=4, verbose=0)
    first = net.evaluate(["s0", "s1"], ["s2", "s3", "s4"], epochs=2, restore_best=True, **options)
    net.train(["s0", "s1"], epochs=1, class_weight=[1, 3], **options)
    predicted = net.predict(["s4"], return_output=True, activation_output=True, verbose=0)
    return net.model.get_weights(), first.history, predicted

def compare(one, two):
    (weights, history, predicted), other = results(one), results(two)
    return {
        "weights": worst(weights, other[0]),
        "history": max(worst([history[name]], [other[1][name]]) for name in history
                       if not any(word in name for word in ("time", "seconds"))),
        "prediction": worst(predicted, other[2]),
    }

options = dict(gradient_clipping=0.5, ema=0.9)
one, two = network(None), network("mirrored")
report = {"cases": {"plain": compare(one, two)}, "replicas": two.distribution.replicas}
one.reset(); two.reset()
report["cases"]["after reset"] = compare(one, two)
report["cases"]["copies with clipping and averages"] = compare(
    network(None, **options).copy(), network("mirrored", **options).copy())
report["odd batch"] = refusal(lambda: network("mirrored", 3))

# A training in two calls, by two networks.
options = dict(schedule="polynomial", weight_decay=1e-3)
one = network(None, **options)
one.train(["s0", "s1"], 2, 2, verbose=0)
folder = tempfile.mkdtemp()

class Interruption(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == at:
            raise KeyboardInterrupt

for at in (1, None):
    two = network("mirrored", **options)
    try:
        two.train(["s0", "s1"], 2, 2, [Interruption()], verbose=0, checkpoint_path=folder)
        report["finished at"] = at
    except KeyboardInterrupt:
        pass
report["resumed"] = worst(one.model.get_weights(), two.model.get_weights())
print(json.dumps(report))
"""


_XLA_FLAGS = (
    "--xla_force_host_platform_device_count=2",
    # On a busy machine devices may have to wait long for each other.
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
)


def run(code: str, backend: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _COMMON + code],
        env={
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": " ".join(_XLA_FLAGS),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def equal(report: dict[str, Any]) -> None:
    assert report["replicas"] == 2
    assert report["cases"]
    for name, differences in report["cases"].items():
        loose = 1e-2 if name == "a loss scale that clips" else 1e-5  # 8 bits of a number
        assert differences["weights"] < loose, name
        assert differences["history"] < loose, name
        assert differences["prediction"] < loose, name


@pytest.mark.slow
def test_tensorflow_trains_on_two_devices_as_on_one() -> None:
    report = run(_KERAS + _TENSORFLOW, "tensorflow")
    equal(report)
    assert report["one strategy"]
    assert report["own strategy"] == 2
    assert report["one device"] == 1
    assert "gradients cannot be accumulated" in report["accumulation"]
    assert "Dice" in report["batch"]
    assert "reduction_axes='sample'" in report["batch"]
    assert "pooled" in report["pooled"]
    assert "MirroredStrategy" in report["other"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_trains_on_two_devices_as_on_one() -> None:
    report = run(_KERAS + _JAX, "jax")
    equal(report)
    assert report["own"] == 2
    assert "DataParallel" in report["other"]


@pytest.mark.slow
def test_a_network_trains_on_two_devices_as_on_one() -> None:
    report = run(_NETWORK, "tensorflow")
    equal(report)
    assert "take 2 or 4" in report["odd batch"]
    assert report["finished at"] is None
    assert report["resumed"] < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_other_backends_refuse() -> None:
    code = "print(json.dumps({'error': refusal(lambda: as_distribution('mirrored'))}))"
    assert "Keras runs on torch" in run(code, "torch")["error"]


def test_without_a_distribution_everything_stays() -> None:
    one = as_distribution(None)
    loss = keras.losses.CategoricalCrossentropy()
    assert type(one) is Distribution
    assert one.replicas == 1
    assert one.loss(loss, 3, 2) is loss
    one.check(3, keras.optimizers.SGD(gradient_accumulation_steps=2))
    assert as_distribution(one) is one


def test_the_batch_is_shared_evenly() -> None:
    class Four(Distribution):
        replicas = 4

    Four().check(8)
    with pytest.raises(ConfigurationError, match=r"batch_size is 6, .* take 4 or 8"):
        Four().check(6)
    with pytest.raises(ConfigurationError, match=r"take 4$"):
        Four().check(3)
