"""The parts of U-Nets by their values; users' own variants; images of any size."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miscnn
from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import Architecture
from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet import (
    Level,
    UNet,
    UNetAttention,
    UNetAttentionResidual,
    UNetCompact,
    UNetDense,
    UNetMultiRes,
    UNetPlain,
    UNetResidual,
    UNetStandard,
)
from miscnn.neural_network.architecture.unet._gates import LinearUpsampling, attention_gate
from miscnn.neural_network.inference import predict_probabilities
from miscnn.testing.architecture import check_architecture

VARIANTS: tuple[type[UNet], ...] = (
    UNetStandard,
    UNetPlain,
    UNetResidual,
    UNetDense,
    UNetAttention,
    UNetAttentionResidual,
    UNetMultiRes,
    UNetCompact,
)
GATED = (UNetAttention, UNetAttentionResidual)
by_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)


def tiny(variant: type[UNet], **options: Any) -> UNet:
    """Make as small a network as the variant allows."""
    gates = {"gate_finest": True} if variant in GATED else {}
    return variant(**{"n_filters": 4, "depth": 1, **gates, **options})


def build(architecture: Architecture, dimensions: int, channels: int = 1, labels: int = 3) -> Any:
    keras.utils.set_random_seed(1)
    shape = (None,) * dimensions + (channels,)
    if dimensions == 2:
        return architecture.create_model_2D(shape, labels)
    return architecture.create_model_3D(shape, labels)


# ------------------------------------------------------------------ any size of image


class Custom(Architecture):
    """A user's: halves the first axis, takes a third of the last."""

    def __init__(self, filters: int = 2) -> None:
        self.filters = filters

    required_multiple = (2, 3)

    def create_model_2D(  # noqa: N802
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        self.check_input_shape(input_shape, 2)
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(self.filters, 3, padding="same")(inputs)
        y = keras.layers.UpSampling2D((2, 3))(keras.layers.MaxPooling2D((2, 3))(x))
        logits = keras.layers.Conv2D(n_labels, 1)(keras.layers.Concatenate()([x, y]))
        return keras.Model(inputs, keras.layers.Softmax(dtype="float32")(logits))

    def create_model_3D(  # noqa: N802
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        raise NotImplementedError


class CustomBlock(UNet):
    """A user's variant by two hooks."""

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        return blocks.convolution(x, level.filters, level.kernel, name)

    def join(self, blocks: Blocks, x: Any, skip: Any, level: Level, name: str) -> Any:
        return keras.layers.Add(name=f"{name}_join")([x, skip])


@cache
def network_of(variant: Any, dimensions: int) -> tuple[Architecture, Callable[..., Any]]:
    architecture: Architecture
    if variant is Custom:
        architecture = Custom()
    elif dimensions == 2:
        architecture = tiny(variant, n_filters=2, depth=2)
    else:
        pools = ((2, 2, 1), (2, 1, 3))
        architecture = tiny(variant, n_filters=2, depth=2, kernel_size=(3, 3, 1), pool_size=pools)
        assert architecture.required_multiple == (4, 2, 3)
    model = build(architecture, dimensions)
    return architecture, lambda batch: ops.convert_to_numpy(model(batch, training=False))


def check_any_size(
    variant: Any, shape: tuple[int, ...], options: dict[str, Any], seed: int
) -> None:
    """Predict an image the way the library does."""
    architecture, network = network_of(variant, len(shape))
    image = np.random.default_rng(seed).normal(size=(*shape, 1)).astype(np.float32)
    interface = DictionaryInterface({"a": (image, None)}, 1, 3, three_dim=len(shape) == 3)
    preprocessor = miscnn.Preprocessor(miscnn.DataIO(interface), 8, data_aug=None, **options)
    sample = preprocessor.data_io.sample_loader("a", load_seg=False)
    assert isinstance(sample, Sample)
    prepared, steps, measures = preprocessor.prepare_prediction(sample)
    multiple = architecture.multiple_per_axis(len(shape))
    probabilities = predict_probabilities(network, preprocessor, prepared, measures, multiple)
    assert probabilities.shape == (*shape, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-4)
    assert preprocessor.postprocessing(sample, steps, probabilities).shape == shape


@pytest.mark.parametrize("variant", [*VARIANTS, Custom, CustomBlock], ids=lambda v: v.__name__)
@settings(max_examples=4, derandomize=True)
@given(data=st.data())
def test_images_of_any_size_2d(variant: Any, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 21), min_size=2, max_size=2)))
    options: dict[str, Any] = {"analysis": "fullimage"}
    if data.draw(st.booleans()):
        patch = tuple(data.draw(st.lists(st.integers(5, 19), min_size=2, max_size=2)))
        options = {"analysis": "patchwise-crop", "patch_shape": patch, "patchwise_overlap": (0, 0)}
    check_any_size(variant, shape, options, seed=0)


@by_variant
@settings(max_examples=3, derandomize=True)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3))
def test_images_of_any_size_3d(variant: type[UNet], shape: tuple[int, ...]) -> None:
    check_any_size(variant, shape, {"analysis": "fullimage"}, seed=0)


def test_a_users_networks_keep_the_contract() -> None:
    check_architecture(Custom(3), (2,))
    check_architecture(CustomBlock(4, 1), (2,))
    assert build(CustomBlock(2, 1), 2).name == "custom_block_2d"


@pytest.mark.parametrize("architecture", [Custom(), CustomBlock(2, 2), tiny(UNetAttention)])
def test_a_users_network_predicts_images_of_odd_size(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    images = {
        name: (rng.normal(size=shape).astype("float32"), None)
        for name, shape in (("a", (7, 11)), ("b", (10, 5)))
    }
    data_io = miscnn.DataIO(DictionaryInterface(images, 1, 2, three_dim=False))
    recipe = miscnn.Preprocessor(data_io, 1, data_aug=None, analysis="fullimage", cache="memory")
    network = miscnn.NeuralNetwork(recipe, architecture)
    found = network.predict(["a", "b"], return_output=True, verbose=0)
    assert [label.shape for label in found] == [(7, 11), (10, 5)]


# ------------------------------------------------------------------ blocks by their values


def value(model: Any, *inputs: Any) -> Any:
    return ops.convert_to_numpy(model(list(inputs) if len(inputs) > 1 else inputs[0]))


@pytest.mark.parametrize("normalization", [None, "instance"])
def test_a_residual_block_that_does_nothing_returns_its_input(
    normalization: str | None, rng: np.random.Generator
) -> None:
    inputs = keras.Input((None, None, 3))
    outputs = Blocks(2, normalization).residual(inputs, 3, (3, 3), "b")
    model = keras.Model(inputs, outputs)
    assert not [layer for layer in model.layers if "shortcut" in layer.name]
    last = model.get_layer("b_1_conv" if normalization is None else "b_1_norm")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    images = rng.random((2, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(value(model, images), images, atol=1e-6)
    np.testing.assert_allclose(value(model, -images), 0)  # the last activation is behind the sum


def test_a_residual_block_projects_where_the_number_of_maps_changes(
    rng: np.random.Generator,
) -> None:
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, Blocks(2, None).residual(inputs, 3, (3, 3), "b"))
    last, shortcut = model.get_layer("b_1_conv"), model.get_layer("b_shortcut_conv")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    kernel, bias = rng.normal(size=(1, 1, 2, 3)), rng.normal(size=3)
    shortcut.set_weights([kernel, bias])
    images = rng.normal(size=(1, 4, 5, 2)).astype("float32")
    expected = np.maximum(images @ kernel[0, 0] + bias, 0)
    np.testing.assert_allclose(value(model, images), expected, atol=1e-5)


def test_what_dense_and_compact_blocks_concatenate(rng: np.random.Generator) -> None:
    images = rng.normal(size=(1, 6, 5, 2)).astype("float32")

    def inside(variant: type[UNet], *names: str) -> list[Any]:
        model = build(variant(n_filters=3, depth=1), 2, channels=2)
        wanted = [model.get_layer(name).output for name in names]
        return [ops.convert_to_numpy(x) for x in keras.Model(model.inputs[0], wanted)(images)]

    first, second, both = inside(
        UNetDense, "encoder_0_0_act", "encoder_0_1_act", "encoder_0_1_concat"
    )
    np.testing.assert_array_equal(both, np.concatenate([images, first, second], axis=-1))
    second, both = inside(UNetCompact, "encoder_0_1_act", "encoder_0_concat")
    np.testing.assert_array_equal(both, np.concatenate([images, second], axis=-1))


def test_a_multires_block_sums_before_activation_and_normalisation(
    rng: np.random.Generator,
) -> None:
    model = build(UNetMultiRes(n_filters=4, depth=1), 2, channels=2)
    names = ["encoder_0_shortcut_norm", "encoder_0_concat_norm", "encoder_0_norm"]
    inside = keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])
    images = rng.normal(size=(1, 8, 6, 2)).astype("float32")
    shortcut, chain, result = (ops.convert_to_numpy(x) for x in inside(images))
    summed = np.maximum(shortcut + chain, 0)
    mean, variance = (f(summed, axis=(1, 2), keepdims=True) for f in (np.mean, np.var))
    np.testing.assert_allclose(result, (summed - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    assert chain.shape[-1] == sum(UNetMultiRes().shares(4)) == 1 + 2 + 3


def test_paths_of_multiresunet_are_longer_the_finer_the_level() -> None:
    model = build(UNetMultiRes(n_filters=4, depth=3), 2)
    names = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    units = [sum(name.startswith(f"skip_{level}_") for name in names) for level in range(3)]
    assert units == [3, 2, 1]


# ------------------------------------------------------------------ attention gates


def linear(x: Any, axis: int, factor: int) -> Any:
    """Interpolate one axis, the outermost values beyond the outermost centres."""
    size = x.shape[axis]
    places = (np.arange(size * factor) + 0.5) / factor - 0.5
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(size), line), axis, x)


@pytest.mark.parametrize(
    ("shape", "factors"),
    [((2, 5, 4, 3), (2, 3)), ((1, 1, 6, 2), (4, 1)), ((1, 3, 2, 4, 1), (1, 2, 5))],
)
def test_linear_upsampling(
    shape: tuple[int, ...], factors: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = rng.normal(size=shape).astype("float32")
    expected = x
    for axis, factor in enumerate(factors, start=1):
        expected = linear(expected, axis, factor)
    layer = LinearUpsampling(factors)
    found = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert layer.compute_output_shape(shape) == found.shape
    inputs = keras.Input((*(None,) * len(factors), shape[-1]))
    np.testing.assert_allclose(value(keras.Model(inputs, layer(inputs)), x), expected, atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.factors == factors


def gate_model() -> Any:
    """A gate on 4 maps, asked by 6 maps of half and a third of the size."""
    keras.utils.set_random_seed(0)
    x, signal = keras.Input((None, None, 4)), keras.Input((None, None, 6))
    level = Level(1, 4, (3, 3), (2, 3))
    return keras.Model([x, signal], attention_gate(Blocks(2), x, signal, level, "g"))


def test_a_gate_is_what_its_equations_say(rng: np.random.Generator) -> None:
    model = gate_model()
    for layer in model.layers:
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    x = rng.normal(size=(2, 4, 9, 4)).astype("float32")
    signal = rng.normal(size=(2, 2, 3, 6)).astype("float32")
    (own,) = model.get_layer("g_own").get_weights()
    wanted, wanted_bias = model.get_layer("g_signal").get_weights()
    share, share_bias = model.get_layer("g_share").get_weights()
    assert own.shape == (2, 3, 4, 2)
    cells = x.reshape(2, 2, 2, 3, 3, 4)  # (batch, x, within x, y, within y, maps)
    added = np.einsum("bxiyjc,ijcd->bxyd", cells, own)
    added = added + signal @ wanted[0, 0] + wanted_bias
    weight = 1 / (1 + np.exp(-(np.maximum(added, 0) @ share[0, 0] + share_bias)))
    expected = x * linear(linear(weight, 1, 2), 2, 3)
    np.testing.assert_allclose(value(model, x, signal), expected, atol=1e-4)


def test_a_gate_of_zero_closes_the_skip_and_one_of_one_opens_it(rng: np.random.Generator) -> None:
    model = gate_model()
    x = rng.normal(size=(1, 4, 6, 4)).astype("float32")
    signal = rng.normal(size=(1, 2, 2, 6)).astype("float32")
    kernel, _ = model.get_layer("g_share").get_weights()
    for bias, expected in ((-1e4, 0 * x), (1e4, x)):
        model.get_layer("g_share").set_weights([0 * kernel, np.full(1, bias)])
        np.testing.assert_array_equal(value(model, x, signal), expected)


@pytest.mark.parametrize("variant", GATED)
def test_gates_stand_on_all_skips_but_the_finest(
    variant: type[UNet], rng: np.random.Generator
) -> None:
    def gates(**options: Any) -> list[int]:
        model = build(variant(n_filters=2, depth=3, **options), 2)
        return [n for n in range(3) if f"skip_{n}_gate_share" in {x.name for x in model.layers}]

    assert gates() == [1, 2]
    assert gates(gate_finest=True) == [0, 1, 2]
    with pytest.raises(ConfigurationError, match=r"depth is 1.*gate_finest=True"):
        variant(depth=1)


def test_open_gates_make_the_standard_network(rng: np.random.Generator) -> None:
    """With the same weights elsewhere: a gate does nothing but weight its skip."""
    gated = build(UNetAttention(n_filters=3, depth=2), 2)
    plain = build(UNetStandard(n_filters=3, depth=2), 2)
    kernel, _ = gated.get_layer("skip_1_gate_share").get_weights()
    for layer in plain.layers:
        gated.get_layer(layer.name).set_weights(layer.get_weights()) if layer.weights else None
    images = rng.normal(size=(1, 8, 12, 1)).astype("float32")
    for bias, same in ((1e4, True), (-1e4, False)):
        gated.get_layer("skip_1_gate_share").set_weights([0 * kernel, np.full(1, bias)])
        assert np.allclose(value(gated, images), value(plain, images), atol=1e-5) is same


# ------------------------------------------------------------------ the plain network


def test_the_plain_network() -> None:
    network = UNetPlain()
    assert (network.required_multiple, network.multiple_per_axis(2)) == (32, (32, 32))
    assert network.multiple_per_axis(3) == (16, 32, 32)
    assert UNetPlain(pooling=(1, 3, 1), depth=2).required_multiple == 12
    assert UNetPlain(pooling=(1, 3, 1), depth=2).multiple_per_axis(3) == (2, 6, 2)
    assert UNetPlain(pool_size=(2, 2, 1)).required_multiple == (32, 32, 1)
    assert UNetPlain(pool_size=(2, 2, 1)).multiple_per_axis(3) == (32, 32, 1)
    assert UNetPlain(pool_size=3, depth=1).pools(3) == [(1, 2, 2)]
    model = build(UNetPlain(n_filters=2, depth=2), 3)
    assert model(np.ones((1, 2, 4, 4, 1), dtype="float32")).shape == (1, 2, 4, 4, 3)
    assert model.get_layer("decoder_0_up").kernel.shape[:3] == (1, 2, 2)
    assert model.get_layer("encoder_0_0_act").negative_slope == pytest.approx(0.01)
    assert type(model.get_layer("encoder_0_0_norm")).__name__ == "InstanceNormalization"


def test_arguments_of_the_plain_network_of_miscnn_1() -> None:
    old = UNetPlain("softmax", "lrelu", True, {"epsilon": 1e-3}, 0, (1, 2, 2), n_filters=2, depth=1)
    model = build(old, 2)
    assert model.get_layer("encoder_0_0_norm").epsilon == pytest.approx(1e-3)
    assert type(model.get_layer("encoder_0_0_act")).__name__ == "LeakyReLU"
    assert deserialize(serialize(old)) == old
    bare = build(UNetPlain("softmax", "relu", False, n_filters=2, depth=1), 2)
    assert not [layer for layer in bare.layers if "norm" in layer.name]
    assert bare.get_layer("encoder_0_0_act").activation is keras.activations.relu
    with pytest.raises(ConfigurationError, match=r"'momentum'.*'epsilon'"):
        UNetPlain(instance_normalization_params={"momentum": 0.1})
    with pytest.raises(ConfigurationError, match=r"pooling is .*\(2, 2\).* 3 "):
        UNetPlain(pooling=(2, 2))
