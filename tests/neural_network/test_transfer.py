"""Weights of one network in another: which, with which values, and what is said of the rest."""

from __future__ import annotations

import doctest
import json
import logging
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network import transfer
from miscnn.neural_network.architecture import NNUNet, UNetStandard
from miscnn.neural_network.transfer import Weight, transfer_weights

layers = keras.layers


def make_unet(
    seed: int, channels: int = 1, classes: int = 2, dimensions: int = 2, **options: Any
) -> Any:
    """A small U-Net all of whose weights, batch statistics included, are random."""
    keras.utils.set_random_seed(seed)
    options = {"n_filters": 4, "depth": 1, "normalization": "batch"} | options
    unet = UNetStandard(**options)
    create = unet.create_model_3D if dimensions == 3 else unet.create_model_2D
    return randomised(create((*(None,) * dimensions, channels), classes), seed)


def randomised(model: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def values(model: Any) -> dict[str, Any]:
    return {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}


def features(model: Any, layer: str, images: Any) -> Any:
    """What the layer gives, in use (not in training)."""
    part = keras.Model(model.input, model.get_layer(layer).output)
    return ops.convert_to_numpy(part(images, training=False))


def check_taken_over(target: Any, source: Any, before: dict[str, Any], but: set[str]) -> None:
    """All values are the source's; those in ``but`` are what they were."""
    after, given = values(target), values(source)
    for path, value in after.items():
        np.testing.assert_array_equal(value, before[path] if path in but else given[path])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_other_classes(dimensions: int, rng: np.random.Generator) -> None:
    source = make_unet(1, dimensions=dimensions)
    target = make_unet(2, classes=5, dimensions=dimensions)
    before = values(target)
    report = transfer_weights(target, source)
    check_taken_over(target, source, before, {"logits/kernel", "logits/bias"})
    ones = (1,) * dimensions
    assert report.not_loaded == (
        Weight("logits/kernel", (*ones, 4, 5), (*ones, 4, 2), report.not_loaded[0].remark),
        Weight("logits/bias", (5,), (2,), "the source has 2"),
    )
    assert report.unused == ()
    assert not report.complete
    total = sum(value.size for value in before.values())
    assert (report.parameters, report.loaded_parameters) == (total, total - 25)
    images = rng.normal(size=(2, *(8,) * dimensions, 1)).astype("float32")
    last = "decoder_0_1_act"
    np.testing.assert_array_equal(features(target, last, images), features(source, last, images))


def test_other_channels() -> None:
    source, target = make_unet(1, channels=1), make_unet(2, channels=3)
    before = values(target)
    report = transfer_weights(target, source)
    check_taken_over(target, source, before, {"encoder_0_0_conv/kernel"})
    (missed,) = report.not_loaded
    assert (missed.shape, missed.source_shape) == ((3, 3, 3, 4), (3, 3, 1, 4))


@pytest.mark.parametrize(("theirs", "mine", "dimensions"), [(1, 3, 2), (4, 2, 3), (3, 1, 2)])
def test_mean_of_channels_computes_the_same_on_equal_channels(
    theirs: int, mine: int, dimensions: int, rng: np.random.Generator
) -> None:
    source = make_unet(1, channels=theirs, dimensions=dimensions)
    target = make_unet(2, channels=mine, dimensions=dimensions)
    report = transfer_weights(target, source, channels="mean")
    assert report.complete
    kernel = values(source)["encoder_0_0_conv/kernel"]
    np.testing.assert_allclose(
        values(target)["encoder_0_0_conv/kernel"],
        np.repeat(kernel.sum(axis=-2, keepdims=True) / mine, mine, axis=-2),
        rtol=1e-6,
    )
    assert [w.path for w in report.loaded if w.remark] == ["encoder_0_0_conv/kernel"]
    assert f"mean of the source's channels: {theirs} to {mine}" in str(report)
    image = rng.normal(size=(1, *(8,) * dimensions, 1)).astype("float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(target(np.repeat(image, mine, axis=-1))),
        ops.convert_to_numpy(source(np.repeat(image, theirs, axis=-1))),
        atol=1e-5,
    )


def test_mean_of_channels_is_for_convolutions_of_the_input_alone() -> None:
    # A later layer with the input's number of channels on both sides looks the same by shape.
    def make(channels: int, seed: int) -> Any:
        inputs = keras.Input((None, None, channels))
        x = layers.Dropout(0.1)(layers.ZeroPadding2D(1)(inputs))
        x = layers.Conv2D(channels, 3, name="first")(x)
        return randomised(keras.Model(inputs, layers.Conv2D(5, 1, name="second")(x)), seed)

    source, target = make(4, 1), make(2, 2)
    with pytest.raises(ConfigurationError, match="channels must be None or"):
        transfer_weights(target, source, channels="sum")  # type: ignore[arg-type]
    report = transfer_weights(target, source, channels="mean")
    assert [w.path for w in report.not_loaded] == ["first/kernel", "first/bias", "second/kernel"]
    # Depthwise kernels (…, channels, 1) are no sums over channels.
    inputs = keras.Input((None, None, 2)), keras.Input((None, None, 4))
    depthwise = layers.DepthwiseConv2D(3, name="first"), layers.DepthwiseConv2D(3, name="first")
    pair = [
        keras.Model(i, layers.Conv2D(1, 1, name=f"{n}", use_bias=False)(d(i)))
        for n, (i, d) in enumerate(zip(inputs, depthwise, strict=True))
    ]
    with pytest.raises(ConfigurationError, match="agrees in name and shape"):
        transfer_weights(*pair, channels="mean")


def test_other_depth() -> None:
    source, target = make_unet(1, depth=1), make_unet(2, depth=2)
    before, given = values(target), values(source)
    report = transfer_weights(target, source)
    same = {path for path in before if path in given and before[path].shape == given[path].shape}
    assert {w.path for w in report.loaded} == same
    assert {"encoder_0_1_conv/kernel", "logits/kernel"} <= same
    check_taken_over(target, source, before, set(before) - same)
    not_loaded = {w.path: w for w in report.not_loaded}
    assert set(not_loaded) == set(before) - same
    assert {w.path for w in report.unused} == set(given) - set(before)
    fresh = not_loaded["decoder_1_0_conv/kernel"]
    assert (fresh.source_shape, fresh.remark) == (None, "not in the source")
    back = transfer_weights(make_unet(3, depth=1), target, log=False)
    assert {w.path for w in back.unused} == set(before) - set(given)
    assert back.unused_parameters == sum(before[w.path].size for w in back.unused) > 0
    assert f"in the source only ({back.unused_parameters:,} values)" in str(back)


def test_batch_statistics_are_taken_over(rng: np.random.Generator) -> None:
    source = make_unet(1)
    target = make_unet(2)
    transfer_weights(target, source)
    statistics = {w.path for w in source.weights if not w.trainable}
    assert {"encoder_0_0_norm/moving_mean", "encoder_0_0_norm/moving_variance"} <= statistics
    images = rng.normal(size=(1, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(target(images, training=False)),
        ops.convert_to_numpy(source(images, training=False)),
    )


def test_deep_supervision_from_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    nets = NNUNet(
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)), base_features=2, max_features=4
    )
    source = randomised(nets.create_model_3D((None, None, None, 2), 2), 1)
    source.save(tmp_path / "net.keras")
    target = randomised(nets.create_model_3D((None, None, None, 2), 3), 2)
    before = values(target)
    report = transfer_weights(target, tmp_path / "net.keras")
    heads = {w.path for w in report.not_loaded}
    assert heads == {f"logits{s}/{v}" for s in ("", "_1") for v in ("kernel", "bias")}
    check_taken_over(target, source, before, heads)


@pytest.mark.slow  # it imports everything anew
def test_a_program_that_has_made_no_network_yet(tmp_path: Path) -> None:
    net = NNUNet(strides=((1, 1), (2, 2), (2, 2), (2, 2)), base_features=2, max_features=4)
    net.create_model_2D((None, None, 2), 2).save(tmp_path / "net.keras")
    program = (
        "import sys\n"
        "from miscnn._keras import keras\n"
        "from miscnn.neural_network.transfer import transfer_weights\n"
        "inputs = keras.Input((None, None, 2))\n"
        "layer = keras.layers.Conv2D(2, 3, padding='same', name='encoder_0_0_conv')\n"
        "try:\n"
        "    transfer_weights(keras.Model(inputs, layer(inputs)), sys.argv[1])\n"
        "except Exception as error:\n"
        "    sys.exit(f'{error!r}'[:500])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "net.keras")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


def make_nested(seed: int, channels: int = 1) -> Any:
    def part(name: str) -> Any:
        inputs = keras.Input((None, None, channels if name == "left" else 4))
        x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
        return keras.Model(inputs, layers.BatchNormalization(name="norm")(x), name=name)

    inputs = keras.Input((None, None, channels))
    return randomised(keras.Model(inputs, part("right")(part("left")(inputs))), seed)


def test_nested_models_with_layers_of_one_name() -> None:
    source, target = make_nested(1), make_nested(2)
    report = transfer_weights(target, source)
    assert report.complete
    for mine, theirs in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # One of two: which one it is cannot be told.
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    single = randomised(keras.Model(inputs, layers.Conv2D(2, 1, name="other")(x)), 3)
    with pytest.raises(ConfigurationError, match="agrees in name and shape"):
        transfer_weights(single, source)
    # With one convolution each, that of the input is found inside the nested model.
    inner = keras.Input((None, None, 3))
    nested = keras.Model(inner, layers.Conv2D(4, 3, padding="same", name="conv")(inner))
    inputs = keras.Input((None, None, 3))
    target = keras.Model(inputs, layers.Conv2D(2, 1, name="other")(nested(inputs)))
    assert transfer_weights(target, single, channels="mean").complete


@keras.saving.register_keras_serializable(package="test_transfer")
class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.one = layers.Conv2D(3, 3, name="one")
        self.two = layers.Conv2D(2, 1, name="two")

    def call(self, x: Any) -> Any:
        return self.two(self.one(x))


def test_the_name_of_the_model_does_not_count(tmp_path: Path) -> None:
    source, target = Subclassed(name="pretrained"), Subclassed(name="mine")
    with pytest.raises(ConfigurationError, match=r"to load into .'mine'. has no weights yet"):
        transfer_weights(target, source)
    for model in (source, target):
        model(np.ones((1, 8, 8, 1), "float32"))
    assert transfer_weights(target, source).complete
    np.testing.assert_array_equal(target.get_weights()[0], source.get_weights()[0])
    randomised(source, 1).save(tmp_path / "s.keras")
    with pytest.raises(ConfigurationError, match="registered with Keras, but was not handed in"):
        transfer_weights(target, str(tmp_path / "s.keras"))
    objects = {"Subclassed": Subclassed}
    report = transfer_weights(target, str(tmp_path / "s.keras"), custom_objects=objects)
    assert report.complete
    np.testing.assert_array_equal(target.get_weights()[0], source.get_weights()[0])


def test_a_layer_of_the_models_name_keeps_its_name() -> None:
    inputs = keras.Input((None, None, 1))
    models = [
        keras.Model(inputs, layers.Conv2D(2, 1, name="net")(inputs), name=name)
        for name in ("net", "else")
    ]
    assert transfer_weights(*models).complete


def make_network(tmp_path: Path, classes: int) -> miscnn.NeuralNetwork:
    rng = np.random.default_rng(0)
    subjects = {
        f"s{n}": (rng.normal(size=(16, 16)).astype("float32"), np.eye(16, dtype="uint8"), None, {})
        for n in range(2)
    }
    data_io = miscnn.DataIO(DictionaryInterface(subjects, 1, classes, False), None, tmp_path / "o")
    recipe = miscnn.Preprocessor(data_io, 1, analysis="fullimage", cache="memory", seed=classes)
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=4, depth=1))


def test_bundle_folder(tmp_path: Path) -> None:
    source, network = make_network(tmp_path, 2), make_network(tmp_path, 4)
    source.save(tmp_path / "bundle")
    before = values(network.model)
    report = transfer_weights(network.model, tmp_path / "bundle")
    check_taken_over(network.model, source.model, before, {"logits/kernel", "logits/bias"})
    assert report.source == str(tmp_path / "bundle" / "model.keras")
    (tmp_path / "bundle" / "model.keras").unlink()
    with pytest.raises(MissingFileError, match=r"holds no model\.keras"):
        transfer_weights(network.model, tmp_path / "bundle")
    (tmp_path / "bundle" / "ensemble.json").write_text(json.dumps({}))
    with pytest.raises(ConfigurationError, match="holds an ensemble"):
        transfer_weights(network.model, tmp_path / "bundle")


def test_nothing_in_common() -> None:
    target = make_unet(1)
    inputs = keras.Input((None, None, 1))
    other = keras.Model(inputs, layers.Conv2D(2, 1, name="elsewhere")(inputs))
    before = values(target)
    with pytest.raises(ConfigurationError) as caught:
        transfer_weights(target, other)
    message = str(caught.value)
    assert "encoder_0_0_conv/kernel (3x3x1x4)" in message
    assert "elsewhere/kernel (1x1x1x2), elsewhere/bias (2)" in message
    check_taken_over(target, target, before, set(before))


@keras.saving.register_keras_serializable(package="test_transfer")
class Known(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


class Unknown(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


def with_layer(layer: Any) -> Any:
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, layers.Conv2D(2, 1, name="conv")(layer(inputs)))


def test_classes_in_files(tmp_path: Path) -> None:
    target = with_layer(layers.Identity())
    with_layer(Unknown()).save(tmp_path / "unknown.keras")
    # As in another program, where the class is not to be found.
    rename(tmp_path / "unknown.keras", __name__, "no.such.module")
    with pytest.raises(ConfigurationError, match=r"custom_objects") as caught:
        transfer_weights(target, tmp_path / "unknown.keras")
    assert "Unknown" in str(caught.value)
    objects = {"Unknown": Unknown}
    assert transfer_weights(target, tmp_path / "unknown.keras", custom_objects=objects).complete


def rename(path: Path, old: str, new: str) -> None:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = files["config.json"].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_no_code_is_run_from_files(tmp_path: Path) -> None:
    with_layer(layers.Lambda(lambda x: x)).save(tmp_path / "code.keras")
    target = with_layer(Known())
    with pytest.raises(ConfigurationError, match=r"cannot be read as a Keras model.*Lambda"):
        transfer_weights(target, tmp_path / "code.keras")


def test_what_is_no_model(tmp_path: Path) -> None:
    target = with_layer(Known())
    with pytest.raises(MissingFileError, match="does not exist"):
        transfer_weights(target, tmp_path / "missing.keras")
    (tmp_path / "text.keras").write_text("weights")
    with pytest.raises(ConfigurationError, match="is no Keras model"):
        transfer_weights(target, tmp_path / "text.keras")
    with pytest.raises(ConfigurationError, match=r"source must be a Keras model.*got ndarray"):
        transfer_weights(target, np.ones(3))


def test_report_is_readable_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    source, target = make_unet(1), make_unet(2, classes=3)
    with caplog.at_level(logging.INFO, "miscnn.neural_network.transfer"):
        report = transfer_weights(target, source)
        same = make_unet(3)
        transfer_weights(same, source)
        transfer_weights(same, source, log=False)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.records[0].getMessage() == str(report)
    assert str(report) == (
        f"weights from the model 'unet_standard_2d': 32 of 34 variables loaded "
        f"({report.parameters - 15:,} of {report.parameters:,} parameters, "
        f"{100 - 1500 / report.parameters:.1f} %)\n"
        "  not loaded:\n"
        "    logits/kernel  1x1x4x3  the source has 1x1x4x2\n"
        "    logits/bias          3  the source has 2"
    )
    many = transfer_weights(make_unet(3, depth=2), source, log=False)
    assert len(str(many).splitlines()) == 2 + 12 + 1
    assert str(many).endswith(f"and {len(many.not_loaded) - 12} more")


def test_dropout_keeps_its_own_state() -> None:
    source, target = make_unet(1, dropout=0.5), make_unet(2, dropout=0.5)
    report = transfer_weights(target, source)
    assert not any("seed" in w.path for w in (*report.loaded, *report.not_loaded, *report.unused))


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(transfer).failed == 0
