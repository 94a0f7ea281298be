"""Exported networks predict what Keras predicts, at any batch and spatial size."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import miscnn
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import export
from miscnn.neural_network.architecture import MSDNet, NNUNet, UNetStandard
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
from miscnn.neural_network.export import export_network
from miscnn.processing.regions import Regions

pytestmark = [
    pytest.mark.slow,  # a conversion takes some seconds
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="networks are exported from TensorFlow"
    ),
]

CHANNELS, CLASSES = 2, 3


def msdnet(**options: Any) -> MSDNet:
    return MSDNet(**{"depth": 6, "output_initializer": "glorot_uniform", **options})


# Each kind of layer in 2D and in 3D, in as few conversions as that takes; two of 2D are those of
# mixed precision.
CASES: list[tuple[Architecture, int]] = [
    (UNetStandard(2, 1, normalization="batch"), 2),
    (UNetStandard(2, 1, normalization="batch", pool_size=(2, 2, 1), dropout=0.3), 3),
    (UNetStandard(2, 1, normalization="group", upsampling="nearest"), 3),
    (NNUNet(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), base_features=2), 3),
    # Groups of one layer: two rounds of a loop, and one that stands alone.
    (msdnet(depth=3, width=8, dilations=(1, 2)), 2),
    (msdnet(depth=2, width=2, boundary="symmetric", normalization=None, activation="relu"), 3),
]
SAVED: list[tuple[Architecture, int]] = [
    (UNetStandard(2, 1), 2),
    (msdnet(depth=5, dilations=(1, 4), max_dilation=(4, 4, 1)), 3),
]


def build(architecture: Architecture, dimensions: int) -> Any:
    """Make a network all of whose weights matter."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    create = architecture.create_model_2D if dimensions == 2 else architecture.create_model_3D
    model = create((None,) * dimensions + (CHANNELS,), CLASSES)
    for weight in model.weights:
        if len(weight.shape) == 1 and weight.dtype == "float32":
            values = ops.convert_to_numpy(weight)
            weight.assign(values + rng.uniform(0, 0.2, weight.shape))
    return model


def one_layer(shape: tuple[int | None, ...] = (None, None, 1)) -> Any:
    """Make what is quick to convert, where the network does not matter."""
    inputs = keras.Input(shape)
    kind = keras.layers.Conv2D if len(shape) == 3 else keras.layers.Conv3D
    return keras.Model(inputs, kind(CLASSES, 3, padding="same", activation="softmax")(inputs))


def images_for(architecture: Architecture, dimensions: int) -> list[NDArray[np.float32]]:
    """Two batch sizes and two spatial sizes, each axis another one."""
    rng = np.random.default_rng(1)
    multiples = architecture.multiple_per_axis(dimensions)
    found = []
    for batch, start in ((1, 2), (3, 3), (1, 3)):
        sizes = [m * (start + axis) * -(-3 // m) for axis, m in enumerate(multiples)]
        found.append(rng.normal(size=(batch, *sizes, CHANNELS)).astype(np.float32))
    return found


def predict(model: Any, images: NDArray[np.float32]) -> NDArray[Any]:
    found: NDArray[Any] = ops.convert_to_numpy(model(images, training=False))
    return found


def session_of(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("architecture", "dimensions"), CASES, ids=str)
def test_onnxruntime_agrees(architecture: Architecture, dimensions: int, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    model = build(architecture, dimensions)
    path = export_network(model, tmp_path / "network.onnx")
    session = session_of(path)
    for images in images_for(architecture, dimensions):
        (found,) = session.run(None, {"image": images})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, predict(model, images), atol=1e-4)


@pytest.mark.parametrize(("architecture", "dimensions"), SAVED, ids=str)
def test_a_saved_model_agrees(architecture: Architecture, dimensions: int, tmp_path: Path) -> None:
    import tensorflow as tf

    model = build(architecture, dimensions)
    path = export_network(model, tmp_path / "network", "saved_model")
    loaded = tf.saved_model.load(str(path))
    for images in images_for(architecture, dimensions):
        found = loaded.serve(tf.constant(images)).numpy()
        np.testing.assert_allclose(found, predict(model, images), atol=1e-4)


def test_axes_have_names_and_the_file_describes_itself(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    model = one_layer((None, None, None, CHANNELS))
    path = export_network(model, tmp_path / "a" / "network.onnx", required_multiple=(2, 2, 1))
    session = session_of(path)
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", "x", "y", "z", CHANNELS])
    assert (output.name, output.shape) == ("probabilities", ["batch", "x", "y", "z", CLASSES])
    about = json.loads(session.get_modelmeta().custom_metadata_map[export.DESCRIPTION])
    assert about["input"] == {
        "layout": ["batch", "x", "y", "z", "channels"],
        "dtype": "float32",
        "channels": CHANNELS,
    }
    assert about["output"] == {
        "layout": ["batch", "x", "y", "z", "classes"],
        "dtype": "float32",
        "activation": "softmax",
        "classes": CLASSES,
    }
    assert about["required_multiple"] == [2, 2, 1]
    assert about["versions"]["keras"] == keras.__version__
    # The same in a SavedModel; one number stands for all axes.
    folder = export_network(model, tmp_path / "saved", "saved_model", required_multiple=2)
    beside = json.loads((folder / "miscnn.json").read_text(encoding="utf-8"))
    assert beside == {**about, "required_multiple": [2, 2, 2]}


def test_the_pipeline_stands_beside(tmp_path: Path) -> None:
    import hashlib

    interface = DictionaryInterface({}, CHANNELS, CLASSES, False)
    recipe = miscnn.Preprocessor(miscnn.DataIO(interface), 1, analysis="fullimage")
    network = miscnn.NeuralNetwork(recipe, UNetStandard(2, 1))
    network.save(tmp_path / "bundle")
    expected = json.loads((tmp_path / "bundle" / "pipeline.json").read_text())
    del expected["scores"]

    def check(path: Path, format: str) -> dict[str, str]:
        found = json.loads(path.read_text(encoding="utf-8"))
        told = found.pop("network")
        assert found == expected
        assert told["format"] == format
        for name, digest in told["sha256"].items():
            content = (path.parent / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
        return dict(told["sha256"])

    folder = network.export(tmp_path / "saved", "saved_model")
    exported = check(folder / "pipeline.json", "saved_model")
    assert {"saved_model.pb", "miscnn.json", "variables/variables.index"} <= set(exported)
    network.export(folder, "saved_model", pipeline=False)  # in place of the one before
    assert not (folder / "pipeline.json").exists()

    pytest.importorskip("tf2onnx")
    network.export(tmp_path / "network.onnx")
    beside = tmp_path / "network.pipeline.json"
    assert list(check(beside, "onnx")) == ["network.onnx"]
    network.export(tmp_path / "network.onnx", pipeline=False)
    assert not beside.exists()  # it was of the network before


def test_regions_are_described(tmp_path: Path) -> None:
    # With deep supervision: the output that is exported, not the coarsest, is the one described.
    architecture = NNUNet(strides=((1, 1), *((2, 2),) * 3), base_features=2).multilabel()
    model = architecture.create_model_2D((None, None, 1), 2)
    regions = Regions([("whole", (1, 2)), ("core", (2,))])
    folder = export_network(model, tmp_path / "saved", "saved_model", regions=regions)
    about = json.loads((folder / "miscnn.json").read_text(encoding="utf-8"))
    assert about["output"] == {
        "layout": ["batch", "x", "y", "regions"],
        "dtype": "float32",
        "activation": "sigmoid",
        "regions": {
            "names": ["whole", "core"],
            "labels": [[1, 2], [2]],
            "class_order": [1, 2],
            "threshold": 0.5,
        },
    }
    with pytest.raises(ConfigurationError, match="3 outputs, but there are 2 regions: whole, core"):
        export_network(one_layer(), tmp_path / "other", "saved_model", regions=regions)


def test_a_size_that_is_fixed_stays_fixed(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    model = one_layer((8, None, 1))
    session = session_of(export_network(model, tmp_path / "network.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 8, "y", 1]


@pytest.mark.parametrize(
    ("policy", "architecture"),
    [
        ("mixed_float16", NNUNet(strides=((1, 1), *((2, 2),) * 3), base_features=2)),
        ("mixed_bfloat16", UNetStandard(2, 1, normalization="group", upsampling="nearest")),
    ],
    ids=["float16", "bfloat16"],
)
def test_mixed_precision_is_exported_in_float32(
    policy: str, architecture: Architecture, tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = build(architecture, 2)
    finally:
        keras.config.set_dtype_policy(before)
    full = build(architecture, 2)
    full.set_weights(half.get_weights())
    session = session_of(export_network(half, tmp_path / "network.onnx"))
    images = images_for(architecture, 2)[0]
    (found,) = session.run(None, {"image": images})
    np.testing.assert_allclose(found, predict(full, images), atol=1e-4)
    assert half.layers[1].compute_dtype == policy.removeprefix("mixed_")  # left as it was
    # Of deep supervision only the full resolution is exported.
    supervised = isinstance(architecture, NNUNet)
    assert isinstance(half, DeepSupervisionModel) is supervised
    assert (len(half.outputs) > 1) is supervised
    assert [output.name for output in session.get_outputs()] == ["probabilities"]


def test_the_model_goes_on_training_as_before(tmp_path: Path) -> None:
    """Exporting changes nothing: not the weights, the predictions, nor the next step."""
    models = [build(UNetStandard(2, 1), 2) for _ in range(2)]
    images = images_for(UNetStandard(2, 1), 2)[1]
    rng = np.random.default_rng(2)
    truth = np.eye(CLASSES, dtype=np.float32)[rng.integers(CLASSES, size=images.shape[:-1])]
    for model in models:
        model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", jit_compile=False)
        model.train_on_batch(images, truth)
    before = predict(models[0], images)
    export_network(models[0], tmp_path / "network", "saved_model")
    np.testing.assert_array_equal(predict(models[0], images), before)
    losses = [model.train_on_batch(images, truth) for model in models]
    assert losses[0] == losses[1]


def test_nothing_is_said_and_nothing_else_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tf2onnx")
    model = build(UNetStandard(2, 1), 2)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        for network in (model, one_layer()):  # the second replaces the first
            export_network(network, tmp_path / "a.onnx", "onnx")
            export_network(network, tmp_path / "b", "saved_model")
    assert capsys.readouterr().out == ""
    assert caplog.records == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.onnx", "b"]


@pytest.mark.parametrize("format", ["onnx", "saved_model"])
def test_a_failed_export_leaves_what_was_there(
    format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tf2onnx")
    path = tmp_path / "network"
    model = one_layer()
    export_network(model, path, format)
    content = path if format == "onnx" else path / "saved_model.pb"
    before = content.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no space")

    for function in ("_describe", "write_json"):
        monkeypatch.setattr(export, function, fail)
    with pytest.raises(RuntimeError, match="no space"):
        export_network(model, path, format)
    assert content.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["network"]


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    model = one_layer()
    with pytest.raises(ConfigurationError, match=r"'tflite'.*'onnx', 'saved_model'"):
        export_network(model, tmp_path / "a", "tflite")  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_missing_package_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tf2onnx")
    model = one_layer()
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"needs {package}, .*'miscnn\[export\]'"):
        export_network(model, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_beforehand(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    model = one_layer()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo").write_text("mine")
    for name, format, message in (
        ("file/a.onnx", "onnx", "cannot be exported to.*choose a path"),
        ("folder", "onnx", "is a folder"),
        ("folder", "saved_model", "is no SavedModel"),
        ("file", "saved_model", "is no SavedModel"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            export_network(model, tmp_path / name, format)  # type: ignore[arg-type]
    assert (tmp_path / "folder" / "photo").read_text() == (tmp_path / "file").read_text() == "mine"


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    inputs = [keras.Input((4, 1)), keras.Input((4, 1))]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    with pytest.raises(ConfigurationError, match="2 inputs"):
        export_network(model, tmp_path / "a.onnx")
