"""The variants of the U-Net: weights by formula, the contract, arguments and names."""

from __future__ import annotations

import doctest
import importlib
from functools import cache
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import Architecture, unet
from miscnn.neural_network.architecture.unet import (
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
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
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


@cache
def model_with_everything(variant: type[UNet]) -> Any:
    """What tests only look at: all options in 2D."""
    return build(
        tiny(
            variant,
            n_filters=3,
            depth=3,
            max_filters=10,
            normalization="batch",
            dropout=0.5,
            deep_supervision=True,
        ),
        2,
        channels=2,
    )


@by_variant
def test_parameters_in_2d_are_as_many_as_the_formula_says(variant: type[UNet]) -> None:
    expected = Formula(variant, *WEIGHTS["batch"], gate_finest=True).network(
        [3, 6, 10, 10], [9] * 4, [4] * 3, channels=2, labels=3, supervised=True
    )
    assert model_with_everything(variant).count_params() == expected


@by_variant
def test_parameters_in_3d_are_as_many_as_the_formula_says(variant: type[UNet]) -> None:
    network = tiny(
        variant,
        n_filters=3,
        depth=2,
        normalization=None,
        upsampling="nearest",
        kernel_size=((3, 3, 1), (3, 3, 3), (1, 3, 3)),
        pool_size=((2, 2, 1), (3, 2, 1)),
    )
    expected = Formula(variant, *WEIGHTS[None], gate_finest=True).network(
        [3, 6, 12], [9, 27, 9], [4, 6], channels=2, labels=3, nearest=True
    )
    assert build(network, 3, channels=2).count_params() == expected


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
def test_pinned_parameters_of_the_defaults(
    variant: type[UNet], flat: int, solid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: ops.zeros(shape, dtype),  # quicker than random numbers
    )
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
    model = build(UNetMultiRes("sigmoid", normalization="batch"), 2, channels=3, labels=1)
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
    first, second = (build(tiny(variant), 2) for _ in range(2))
    names = [[layer.name for layer in model.layers[1:]] for model in (first, second)]
    assert names[0] == names[1]
    assert first.name == second.name
    assert first.name.startswith("unet_")


# ------------------------------------------------------------------ the contract


@by_variant
def test_the_contract_2d(variant: type[UNet]) -> None:
    check_architecture(tiny(variant), (2,))


OPTIONS: dict[str, Any] = {
    "max_filters": 5,
    "normalization": "group",
    "conv_activation": "leaky_relu",
    "dropout": 0.1,
    "kernel_size": (3, 3, 1),
    "pool_size": (2, 2, 1),
    "upsampling": "nearest",
}
"""What is not asked for in 2D."""


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        (UNetStandard, {}),
        (UNetPlain, {}),
        (UNetResidual, {}),
        (UNetAttention, {}),
        (UNetCompact, {}),
        (UNetMultiRes, OPTIONS),
        (UNetAttentionResidual, OPTIONS),
        (UNetDense, {**OPTIONS, "depth": 3, "pool_size": 2, "deep_supervision": True}),
    ],
)
def test_the_contract_3d(variant: type[UNet], options: dict[str, Any]) -> None:
    check_architecture(tiny(variant, **options), (3,))


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


def test_softmax_is_the_default() -> None:
    assert {variant().activation for variant in VARIANTS} == {"softmax"}


@by_variant
def test_dropout_drops_in_training_only(variant: type[UNet], rng: np.random.Generator) -> None:
    model = model_with_everything(variant)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("SpatialDropout2D") == 7  # encoder, bottom, decoder
    images = rng.normal(size=(8, 16, 16, 2)).astype("float32")
    still, again = (ops.convert_to_numpy(model(images, training=False)) for _ in range(2))
    assert np.array_equal(still, again)
    one, other = (ops.convert_to_numpy(model(images, training=True)[0]) for _ in range(2))
    assert not np.allclose(one, other)


@by_variant
def test_deep_supervision(variant: type[UNet]) -> None:
    model = model_with_everything(variant)
    assert isinstance(model, DeepSupervisionModel)
    images = np.ones((1, 16, 24, 2), dtype="float32")
    assert [tuple(y.shape) for y in model(images, training=True)] == [
        (1, 16, 24, 3),
        (1, 8, 12, 3),
    ]
    assert model(images).shape == (1, 16, 24, 3)
    assert model.get_layer("probabilities_1").dtype_policy.name == "float32"


# ------------------------------------------------------------------ arguments, names


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
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    for variant in VARIANTS:
        with pytest.raises(ConfigurationError, match=message):
            variant(**options)
    with pytest.raises(ConfigurationError, match="alpha is 0"):
        UNetMultiRes(alpha=0)


def test_models_are_named_after_their_classes() -> None:
    assert build(tiny(UNetMultiRes), 2).name == "unet_multi_res_2d"
    assert build(tiny(UNetAttentionResidual), 3).name == "unet_attention_residual_3d"


def test_examples_in_the_docstrings() -> None:
    for variant in VARIANTS[1:]:
        result = doctest.testmod(importlib.import_module(variant.__module__))
        assert result.attempted > 0
        assert result.failed == 0
