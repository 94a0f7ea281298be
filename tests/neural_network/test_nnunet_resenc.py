"""nnU-Net with a residual encoder; against the reference: ``test_nnunet_reference.py``."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import nnunet_resenc
from miscnn.neural_network.architecture._residual import residual_block
from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.architecture.nnunet_resenc import NNUNetResEnc
from miscnn.neural_network.architecture.normalization import InstanceNormalization
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
from miscnn.testing.architecture import check_architecture

STRIDES_2D = ((1, 1), (2, 1), (2, 2))
STRIDES_3D = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
KERNELS_3D = ((1, 3, 3), (3, 3, 3), (3, 3, 3))


def leaky(values: Any) -> Any:
    return np.where(values > 0, values, 0.01 * values)


def block_model(channels: int, filters: int, strides: tuple[int, ...] | None) -> Any:
    inputs = keras.Input((None, None, channels))
    blocks = Blocks(2, "instance", "leaky_relu", bias=True)
    return keras.Model(inputs, residual_block(blocks, inputs, filters, (3, 3), "b", strides))


# ------------------------------------------------------------------ blocks


def test_a_fresh_block_is_its_shortcut(rng: np.random.Generator) -> None:
    images = rng.normal(size=(2, 8, 6, 3)).astype(np.float32)
    found = ops.convert_to_numpy(block_model(3, 3, None)(images))
    np.testing.assert_allclose(found, leaky(images), atol=1e-6)
    means = images.reshape(2, 4, 2, 6, 3).mean(axis=2)
    found = ops.convert_to_numpy(block_model(3, 3, (2, 1))(images))
    np.testing.assert_allclose(found, leaky(means), atol=1e-6)


def test_where_the_feature_maps_change_the_shortcut_is_convolved_and_normalised(
    rng: np.random.Generator,
) -> None:
    images = rng.normal(size=(2, 8, 6, 3)).astype(np.float32)
    model = block_model(3, 5, (2, 2))
    layer = model.get_layer("b_skip_conv")
    assert not layer.use_bias
    means = images.reshape(2, 4, 2, 3, 2, 3).mean(axis=(2, 4))
    maps = means @ ops.convert_to_numpy(layer.kernel)[0, 0]
    variance = maps.var(axis=(1, 2), keepdims=True)
    expected = leaky((maps - maps.mean(axis=(1, 2), keepdims=True)) / np.sqrt(variance + 1e-5))
    found = ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_both_convolutions_are_added_to_the_shortcut(rng: np.random.Generator) -> None:
    images = rng.normal(size=(1, 6, 6, 2)).astype(np.float32)
    model = block_model(2, 2, None)
    model.get_layer("b_1_norm").gamma.assign([1.0, 1.0])
    names = ["b_0_conv", "b_0_norm", "b_0_act", "b_1_conv", "b_1_norm"]
    path: Any = images
    for name in names:
        path = model.get_layer(name)(path)
    expected = leaky(ops.convert_to_numpy(path) + images)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), expected, atol=1e-5)


def test_the_initial_scale_is_kept_in_the_configuration() -> None:
    layer = InstanceNormalization(gamma_initializer="zeros")
    for remade in (layer, InstanceNormalization.from_config(layer.get_config())):
        remade.build((None, 4, 3))
        np.testing.assert_array_equal(remade.gamma, np.zeros(3))
    plain = InstanceNormalization.from_config({"epsilon": 1e-3})  # as written by older versions
    plain.build((None, 4, 3))
    np.testing.assert_array_equal(plain.gamma, np.ones(3))


# ------------------------------------------------------------------ networks


def test_the_stages() -> None:
    network = NNUNetResEnc()
    assert network.blocks(3) == (1, 3, 4, 6, 6, 6)
    assert NNUNetResEnc(strides=STRIDES_2D[:2]).blocks(2) == (1, 3)
    options: dict[str, Any] = {"patch_shape": (16, 512, 512), "spacing": (5.0, 0.78, 0.78)}
    network, plain = NNUNetResEnc(**options), NNUNet(**options)
    assert network.blocks(3) == (1, 3, 4, 6, 6, 6, 6, 6)
    assert network.topology(3) == plain.topology(3)
    assert network.features(3) == plain.features(3)

    model = NNUNetResEnc(strides=STRIDES_3D, base_features=2).create_model_3D((None,) * 3 + (1,))
    names = [layer.name for layer in model.layers]
    for stage, blocks in enumerate((1, 3, 4)):
        sums = [n for n in names if n.startswith(f"encoder_{stage}_") and n.endswith("_add")]
        assert len(sums) == blocks
    decoder = {n for n in names if n.startswith("decoder_") and n.endswith("_conv")}
    assert decoder == {"decoder_0_0_conv", "decoder_1_0_conv"}


def test_deep_supervision() -> None:
    strides = ((1, 1), (2, 2), (2, 2), (2, 2))
    model = NNUNetResEnc(strides=strides, base_features=2).create_model_2D((16, 16, 1))
    assert isinstance(model, DeepSupervisionModel)
    assert [tuple(o.shape) for o in model.outputs] == [(None, 16, 16, 2), (None, 8, 8, 2)]
    plain = NNUNetResEnc(strides=strides, base_features=2, deep_supervision=False)
    assert not isinstance(plain.create_model_2D((None, None, 1)), DeepSupervisionModel)


@pytest.mark.parametrize("preset", ["M", "L"])
def test_presets_change_the_memory_and_not_the_network(preset: Any) -> None:
    network = NNUNetResEnc(preset, strides=STRIDES_2D, base_features=2)
    assert network.memory_gb == {"M": 9.1, "L": 22.7}[preset]
    other = NNUNetResEnc(strides=STRIDES_2D, base_features=2)
    assert (network == other) == (preset == "M")
    counts = {n.create_model_2D((None, None, 1)).count_params() for n in (network, other)}
    assert len(counts) == 1


def test_it_adapts_to_the_recipe() -> None:
    network = NNUNetResEnc("L", base_features=4)
    adapted = network.adapted_to((16, 128, 128), (5, 3.1, 3.1))
    assert network.adapts
    assert not adapted.adapts
    assert (adapted.preset, adapted.base_features) == ("L", 4)
    assert adapted.required_multiple == (4, 32, 32)
    assert deserialize(serialize(adapted)) == adapted


def test_the_contract() -> None:
    check_architecture(NNUNetResEnc(strides=STRIDES_2D[:2], base_features=3), dimensions=(2,))
    options = {"strides": STRIDES_3D, "kernels": KERNELS_3D, "base_features": 3, "max_features": 6}
    check_architecture(NNUNetResEnc("L", **options), dimensions=(3,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "XL"}, r"'XL'.*\['L', 'M'\]"),
        ({"max_features": 0}, "max_features is 0"),
        ({"strides": ((2, 2), (2, 2))}, "first stage must be 1"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NNUNetResEnc(**options)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(nnunet_resenc)
    assert result.attempted > 0
    assert result.failed == 0
