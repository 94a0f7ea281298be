"""The variants of the U-Net: weights by formula, blocks by their values, any size of image."""

from __future__ import annotations

import doctest
import importlib
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
from miscnn.neural_network.architecture import Architecture, unet
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
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
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


# ------------------------------------------------------------------ weights


class Formula:
    """Count the weights of a variant, level by level.

    ``after`` is what follows a convolution, per map: a bias or the weights of a normalisation;
    ``norm`` is a normalisation that stands alone. Kernels and pools are numbers of voxels.
    """

    def __init__(self, variant: type[UNet], after: int, norm: int, gate_finest: bool) -> None:
        self.variant, self.after, self.norm, self.gate_finest = variant, after, norm, gate_finest

    def convolution(self, kernel: int, before: int, after: int) -> int:
        return kernel * before * after + self.after * after

    def block(self, kernel: int, before: int, width: int) -> tuple[int, int]:
        """Return weights of a block, and how many maps leave it."""
        convolution = self.convolution
        pair = convolution(kernel, before, width) + convolution(kernel, width, width)
        if self.variant in (UNetResidual, UNetAttentionResidual):
            return pair + (before != width) * convolution(1, before, width), width
        if self.variant is UNetCompact:
            return pair, before + width
        if self.variant is UNetDense:
            first = convolution(kernel, before, width)
            return first + convolution(kernel, before + width, width), before + 2 * width
        if self.variant is UNetMultiRes:
            sixth, third, half = (max(int(1.67 * width * s), 1) for s in (0.167, 0.333, 0.5))
            maps = sixth + third + half
            chain = convolution(kernel, before, sixth) + convolution(kernel, sixth, third)
            chain += convolution(kernel, third, half)
            return chain + convolution(1, before, maps) + 2 * maps * self.norm, maps
        return pair, width

    def skip(
        self, kernel: int, pool: int, encoder: int, below: int, width: int, level: int, depth: int
    ) -> tuple[int, int]:
        if self.variant in GATED and (level or self.gate_finest):
            between = max(width // 2, 1)
            signal = below * between + between
            return pool * encoder * between + signal + between + 1, encoder
        if self.variant is UNetMultiRes:
            total = 0
            for _ in range(depth - level):
                total += self.convolution(kernel, encoder, width)
                total += self.convolution(1, encoder, width) + self.norm * width
                encoder = width
            return total, width
        return 0, encoder

    def network(
        self,
        widths: list[int],
        kernels: list[int],
        pools: list[int],
        channels: int,
        labels: int,
        supervised: bool = False,
        nearest: bool = False,
    ) -> int:
        depth = len(widths) - 1
        total, before, encoder = 0, channels, []
        for width, kernel in zip(widths, kernels, strict=True):
            weights, before = self.block(kernel, before, width)
            total += weights
            encoder.append(before)
        for level in reversed(range(depth)):
            width, kernel, pool = widths[level], kernels[level], pools[level]
            weights, across = self.skip(kernel, pool, encoder[level], before, width, level, depth)
            total += weights + (1 if nearest else pool) * before * width + width
            weights, before = self.block(kernel, width + across, width)
            total += weights
            if level == 0 or (supervised and level < depth - 1):
                total += before * labels + labels
        return total


WEIGHTS = {None: (1, 0), "instance": (2, 2), "group": (2, 2), "batch": (4, 4)}


@pytest.mark.parametrize(("dimensions", "normalization"), [(2, "batch"), (3, None)])
@by_variant
def test_parameters_are_as_many_as_the_formula_says(
    variant: type[UNet], dimensions: int, normalization: str | None
) -> None:
    even = dimensions == 2
    sizes: dict[str, Any] = {}
    if not even:
        sizes = {
            "kernel_size": ((3, 3, 1), (3, 3, 3), (1, 3, 3), (3, 3, 3)),
            "pool_size": ((2, 2, 1), (2, 2, 2), (3, 1, 1)),
        }
    network = tiny(
        variant,
        n_filters=3,
        depth=3,
        max_filters=10,
        normalization=normalization,
        deep_supervision=even,
        upsampling="transposed" if even else "nearest",
        **sizes,
    )
    expected = Formula(variant, *WEIGHTS[normalization], gate_finest=True).network(
        [3, 6, 10, 10],
        [9] * 4 if even else [9, 27, 9, 27],
        [4] * 3 if even else [4, 8, 3],
        channels=2,
        labels=3,
        supervised=even,
        nearest=not even,
    )
    assert build(network, dimensions, channels=2).count_params() == expected


@pytest.mark.parametrize(
    ("variant", "flat", "solid"),
    [
        (UNetStandard, 7_762_498, 22_578_306),
        (UNetPlain, 10_191_542, 29_682_882),
        (UNetResidual, 8_113_634, 22_929_442),
        (UNetDense, 25_848_100, 74_350_500),
        (UNetAttention, 8_020_997, 23_008_837),
        (UNetAttentionResidual, 8_372_133, 23_359_973),
        (UNetMultiRes, 7_244_580, 18_638_964),
        (UNetCompact, 10_691_812, 30_385_124),
    ],
)
def test_pinned_parameters_of_the_defaults(variant: type[UNet], flat: int, solid: int) -> None:
    """One channel, two classes; the 3D number by the formula, which small networks confirm."""
    plain = variant is UNetPlain
    widths = [30, 60, 120, 240, 320, 320] if plain else [32, 64, 128, 256, 512]
    depth = len(widths) - 1
    formula = Formula(variant, *WEIGHTS["instance"], gate_finest=False)
    assert formula.network(widths, [9] * (depth + 1), [4] * depth, 1, 2) == flat
    pools = [4 if plain else 8] + [8] * (depth - 1)
    assert formula.network(widths, [27] * (depth + 1), pools, 1, 2) == solid
    network = variant()
    assert [level.filters for level in network.levels(3)] == widths
    assert [int(np.prod(level.pool)) for level in network.levels(3)] == [*pools, 1]
    if variant not in (UNetStandard, UNetMultiRes):  # built in full elsewhere
        assert build(network, 2, labels=2).count_params() == flat


def test_the_published_size_of_multiresunet() -> None:
    """7,262,750 in table 3 of the paper (7.26 M), for three channels and one output.

    The authors' normalisation after a convolution has no scale (3 weights per map in place of
    4), and the output has such a normalisation in place of a bias.
    """
    widths, kernels, pools = [32, 64, 128, 256, 512], [9] * 5, [4] * 4
    theirs = Formula(UNetMultiRes, after=3, norm=4, gate_finest=False)
    assert theirs.network(widths, kernels, pools, 3, 1) - 1 + 3 == 7_262_750
    ours = Formula(UNetMultiRes, after=4, norm=4, gate_finest=False)
    model = build(UNetMultiRes(normalization="batch"), 2, channels=3, labels=1)
    assert model.count_params() == ours.network(widths, kernels, pools, 3, 1)


def test_the_layers_of_the_standard_network_keep_their_names() -> None:
    """Saved weights are found by them."""
    model = build(UNetStandard(n_filters=4, depth=1, dropout=0.1), 2)

    def level(name: str) -> list[str]:
        parts = [f"{name}_{n}_{part}" for n in (0, 1) for part in ("conv", "norm", "act")]
        return [*parts, f"{name}_dropout"]

    expected = [*level("encoder_0"), "encoder_0_pool", *level("bottleneck")]
    expected += ["decoder_0_up", "decoder_0_join", *level("decoder_0")]
    assert [layer.name for layer in model.layers[1:]] == [*expected, "logits", "probabilities"]
    assert model.name == "unet_standard_2d"


@by_variant
def test_a_fixed_name_for_every_layer(variant: type[UNet]) -> None:
    first, second = (build(tiny(variant, depth=2), 2) for _ in range(2))
    names = [[layer.name for layer in model.layers[1:]] for model in (first, second)]
    assert names[0] == names[1]
    assert first.name == second.name
    assert first.name.startswith("unet_")


# ------------------------------------------------------------------ the contract


@by_variant
def test_the_contract_2d(variant: type[UNet]) -> None:
    check_architecture(tiny(variant), (2,))


@pytest.mark.slow
@by_variant
def test_the_contract_3d(variant: type[UNet]) -> None:
    check_architecture(tiny(variant), (3,))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [UNetDense, UNetAttentionResidual, UNetMultiRes])
def test_the_contract_with_all_options(variant: type[UNet]) -> None:
    network = tiny(
        variant,
        depth=3,
        max_filters=9,
        normalization="group",
        conv_activation="leaky_relu",
        dropout=0.1,
        kernel_size=(3, 3, 1),
        pool_size=((2, 2, 1), (1, 2, 2), (2, 1, 1)),
        upsampling="nearest",
        deep_supervision=True,
    )
    check_architecture(network, (3,))


@by_variant
def test_configuration_survives(variant: type[UNet]) -> None:
    network = tiny(variant, pool_size=[[2, 1]], normalization=None, dropout=0.25)
    again = deserialize(serialize(network))
    assert type(again) is variant
    assert again == network
    assert again != tiny(variant)


def test_a_configuration_without_the_newer_arguments_makes_the_same_network() -> None:
    old = {"n_filters": 4, "depth": 2, "activation": "softmax", "batch_normalization": None}
    document = {
        "class": "miscnn.neural_network.architecture.unet.standard:UNetStandard",
        "config": {**old, "pool_size": 2},
    }
    assert deserialize(document) == UNetStandard(4, 2)


@by_variant
def test_softmax_is_the_default(variant: type[UNet]) -> None:
    assert variant().activation == "softmax"


@by_variant
def test_dropout_drops_in_training_only(variant: type[UNet], rng: np.random.Generator) -> None:
    model = build(tiny(variant, dropout=0.5), 2)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("SpatialDropout2D") == 3  # encoder, bottom, decoder
    images = rng.normal(size=(1, 8, 8, 1)).astype("float32")
    still, again = (ops.convert_to_numpy(model(images, training=False)) for _ in range(2))
    moved = ops.convert_to_numpy(model(images, training=True))
    assert np.array_equal(still, again)
    assert not np.allclose(still, moved)


@by_variant
def test_deep_supervision(variant: type[UNet]) -> None:
    model = build(tiny(variant, depth=3, deep_supervision=True), 2)
    assert isinstance(model, DeepSupervisionModel)
    images = np.ones((1, 16, 24, 1), dtype="float32")
    assert [tuple(y.shape) for y in model(images, training=True)] == [
        (1, 16, 24, 3),
        (1, 8, 12, 3),
    ]
    assert model(images).shape == (1, 16, 24, 3)
    assert model.get_layer("probabilities_1").dtype_policy.name == "float32"


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
    preprocessor = miscnn.Preprocessor(miscnn.DataIO(interface), 1, data_aug=None, **options)
    sample = preprocessor.data_io.sample_loader("a", load_seg=False)
    assert isinstance(sample, Sample)
    prepared, steps, measures = preprocessor.prepare_prediction(sample)
    multiple = architecture.multiple_per_axis(len(shape))
    probabilities = predict_probabilities(network, preprocessor, prepared, measures, multiple)
    assert probabilities.shape == (*shape, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-4)
    assert preprocessor.postprocessing(sample, steps, probabilities).shape == shape


@pytest.mark.parametrize("variant", [*VARIANTS, Custom, CustomBlock], ids=lambda v: v.__name__)
@settings(max_examples=5, derandomize=True)
@given(data=st.data())
def test_images_of_any_size_2d(variant: Any, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 21), min_size=2, max_size=2)))
    options: dict[str, Any] = {"analysis": "fullimage"}
    if data.draw(st.booleans()):
        patch = tuple(data.draw(st.lists(st.integers(1, 19), min_size=2, max_size=2)))
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


@pytest.mark.parametrize(
    ("level", "units"), [(0, 3), (1, 2), (2, 1)], ids=["finest", "middle", "coarsest"]
)
def test_paths_of_multiresunet_are_longer_the_finer_the_level(level: int, units: int) -> None:
    model = build(UNetMultiRes(n_filters=4, depth=3), 2)
    found = [x.name for x in model.layers if x.name.startswith(f"skip_{level}_")]
    assert sum(name.endswith("_add") for name in found) == units


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


# ------------------------------------------------------------------ arguments, names


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


@pytest.mark.parametrize(
    ("module", "name", "cls"),
    [
        ("standard", "UNet_standard", UNetStandard),
        ("plain", "UNet_plain", UNetPlain),
        ("residual", "UNet_residual", UNetResidual),
        ("dense", "UNet_dense", UNetDense),
        ("attention", "UNet_attention", UNetAttention),
        ("attention_residual", "UNet_attention_residual", UNetAttentionResidual),
        ("multiRes", "UNet_multiRes", UNetMultiRes),
        ("multi_res", "UNet_multiRes", UNetMultiRes),
        ("compact", "UNet_compact", UNetCompact),
    ],
)
def test_names_and_arguments_of_miscnn_1(module: str, name: str, cls: type[UNet]) -> None:
    found = importlib.import_module(f"{unet.__name__}.{module}")
    assert getattr(unet, name) is getattr(found, name) is found.Architecture is cls
    assert getattr(miscnn.neural_network.architecture, cls.__name__) is cls
    if cls in (UNetPlain, UNetMultiRes):
        assert cls("sigmoid").activation == "sigmoid"
    else:
        network = cls(8, 3, "sigmoid", True)
        assert (network.n_filters, network.depth, network.activation) == (8, 3, "sigmoid")
        assert network.style(3).normalization == "batch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 2, "deep_supervision": True}, r"deep_supervision is True and depth is 2"),
        ({"max_filters": 0}, "max_filters is 0"),
        ({"conv_activation": "rellu"}, "conv_activation is 'rellu'.*leaky_relu"),
        ({"activation": "softmin"}, "activation is 'softmin'"),
    ],
)
@by_variant
def test_wrong_arguments_are_named(
    variant: type[UNet], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        variant(**options)
    if variant is UNetMultiRes:
        with pytest.raises(ConfigurationError, match="alpha is 0"):
            UNetMultiRes(alpha=0)


def test_models_are_named_after_their_classes() -> None:
    assert build(tiny(UNetMultiRes), 2).name == "unet_multi_res_2d"
    assert build(tiny(UNetAttentionResidual), 3).name == "unet_attention_residual_3d"
    assert build(CustomBlock(2, 1), 2).name == "custom_block_2d"


@pytest.mark.parametrize(
    "module",
    ["plain", "residual", "dense", "attention", "attention_residual", "multi_res", "compact"],
)
def test_examples_in_the_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"{unet.__name__}.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
