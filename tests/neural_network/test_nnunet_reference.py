"""nnU-Net against its own code: parameters, and outputs with the same weights.

The reference is the package ``dynamic_network_architectures``. Numbers of parameters are also
written down here, so that they are tested where the package is not installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from miscnn._keras import keras, ops
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.architecture.nnunet_resenc import NNUNetResEnc

CHANNELS, LABELS = 2, 3
STRIDES_2D = ((1, 1), (2, 2), (2, 1), (2, 2))
KERNELS_2D = ((3, 3), (3, 1), (3, 3), (3, 3))
STRIDES_3D = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
KERNELS_3D = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
# The features stop growing: a strided block whose shortcut needs no convolution.
CAPPED = {"base_features": 4, "max_features": 16}

Network = NNUNet | NNUNetResEnc

# What is built, in how many dimensions, and its parameters, the coarsest head left out.
PARAMETERS: list[tuple[type[Network], dict[str, Any], int, int]] = [
    (NNUNet, {}, 2, 20_618_828),
    (NNUNet, {}, 3, 31_196_300),
    (NNUNet, {"patch_shape": (64, 64, 64)}, 3, 16_548_169),
    (NNUNet, {"patch_shape": (80, 160, 160), "spacing": (3.0, 0.78, 0.78)}, 3, 31_113_228),
    (
        NNUNet,
        {"patch_shape": (16, 512, 512), "spacing": (5, 0.78, 0.78), "base_features": 8},
        3,
        30_355_810,
    ),
    (NNUNet, {"strides": STRIDES_2D, "kernels": KERNELS_2D, **CAPPED}, 2, 18_398),
    (NNUNetResEnc, {"max_features": 128}, 2, 7_882_508),
    (NNUNetResEnc, {}, 3, 102_350_476),
    (NNUNetResEnc, {"patch_shape": (16, 128, 128), "spacing": (5, 3.1, 3.1), **CAPPED}, 3, 364_284),
    (
        NNUNetResEnc,
        {"strides": STRIDES_3D, "kernels": KERNELS_3D, "base_features": 8},
        3,
        1_581_830,
    ),
    (NNUNetResEnc, {"strides": STRIDES_2D, "kernels": KERNELS_2D, **CAPPED}, 2, 54_534),
]


@pytest.fixture
def torch() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("torch")


def create(network: Network, dimensions: int) -> Any:
    make = network.create_model_2D if dimensions == 2 else network.create_model_3D
    return make((None,) * dimensions + (CHANNELS,), LABELS)


def reference(network: Network, dimensions: int, torch: Any) -> Any:
    """Build the reference with the stages of our network and nnU-Net's settings."""
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    strides, kernels = network.topology(dimensions)
    residual = isinstance(network, NNUNetResEnc)
    common = {
        "input_channels": CHANNELS,
        "n_stages": len(strides),
        "features_per_stage": network.features(dimensions),
        "conv_op": getattr(torch.nn, f"Conv{dimensions}d"),
        "kernel_sizes": kernels,
        "strides": strides,
        "num_classes": LABELS,
        "n_conv_per_stage_decoder": 1 if residual else 2,
        "conv_bias": True,
        "norm_op": getattr(torch.nn, f"InstanceNorm{dimensions}d"),
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": torch.nn.LeakyReLU,
        "deep_supervision": True,
    }
    if residual:
        # Written down, not asked of the network: nnU-Net's numbers of blocks.
        return unet.ResidualEncoderUNet(
            n_blocks_per_stage=(1, 3, 4, 6, 6, 6, 6, 6)[: len(strides)], **common
        )
    return unet.PlainConvUNet(n_conv_per_stage=2, **common)


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize(("cls", "options", "dimensions", "parameters"), PARAMETERS)
def test_parameters_are_those_of_the_reference(
    cls: type[Network], options: dict[str, Any], dimensions: int, parameters: int, torch: Any
) -> None:
    network = cls(**options)
    with torch.device("meta"):  # shapes without memory
        twin = reference(network, dimensions, torch)
    # The reference always makes the head of the coarsest stage, whose loss nnU-Net weights with
    # 0. We do not make it.
    idle = sum(p.numel() for p in twin.decoder.seg_layers[0].parameters())
    assert idle == LABELS * network.features(dimensions)[-2] + LABELS
    assert sum(p.numel() for p in twin.parameters()) - idle == parameters


@pytest.mark.parametrize(("cls", "options", "dimensions", "parameters"), PARAMETERS)
def test_parameters_are_as_many_as_written_down(
    cls: type[Network],
    options: dict[str, Any],
    dimensions: int,
    parameters: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Most of the time would be spent on drawing a hundred million random numbers.
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: ops.zeros(shape, dtype),
    )
    assert create(cls(**options), dimensions).count_params() == parameters


# ------------------------------------------------------------------ outputs


class Weights:
    """Hands the weights of a reference network over to ours, each exactly once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.left = {layer.name for layer in model.layers if layer.weights}

    def _set(self, name: str, values: Sequence[Any]) -> None:
        self.left.remove(name)
        self.model.get_layer(name).set_weights([v for v in values if v is not None])

    def convolution(self, name: str, module: Any) -> None:
        # (out, in, …) to (…, in, out); transposed ones: (in, out, …) to (…, out, in).
        kernel = np.moveaxis(module.weight.detach().numpy(), (0, 1), (-1, -2))
        bias = None if module.bias is None else module.bias.detach().numpy()
        self._set(name, (kernel, bias))

    def normalised(self, name: str, module: Any) -> None:
        self.convolution(f"{name}_conv", module.conv)
        values = (module.norm.weight, module.norm.bias)
        self._set(f"{name}_norm", [value.detach().numpy() for value in values])

    def plain_encoder(self, encoder: Any) -> None:
        for stage, modules in enumerate(encoder.stages):
            for number, module in enumerate(modules[0].convs):
                self.normalised(f"encoder_{stage}_{number}", module)

    def residual_encoder(self, encoder: Any) -> None:
        self.normalised("stem", encoder.stem.convs[0])
        for stage, modules in enumerate(encoder.stages):
            for number, block in enumerate(modules.blocks):
                name = f"encoder_{stage}_{number}"
                self.normalised(f"{name}_0", block.conv1)
                self.normalised(f"{name}_1", block.conv2)
                for module in getattr(block.skip, "children", tuple)():
                    if hasattr(module, "conv"):
                        self.normalised(f"{name}_skip", module)

    def decoder(self, decoder: Any) -> None:
        levels = len(decoder.stages)
        for number in range(levels):
            level = levels - 1 - number
            self.convolution(f"decoder_{level}_up", decoder.transpconvs[number])
            for index, module in enumerate(decoder.stages[number].convs):
                self.normalised(f"decoder_{level}_{index}", module)
            if number > 0:  # the coarsest head is not made
                suffix = f"_{level}" if level else ""
                self.convolution(f"logits{suffix}", decoder.seg_layers[number])


@pytest.mark.parametrize("cls", [NNUNet, NNUNetResEnc])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_outputs_with_the_weights_of_the_reference(
    cls: type[Network], dimensions: int, torch: Any, rng: np.random.Generator
) -> None:
    strides, kernels = (STRIDES_2D, KERNELS_2D) if dimensions == 2 else (STRIDES_3D, KERNELS_3D)
    network = cls(strides=strides, kernels=kernels, activation="linear", **CAPPED)
    twin = reference(network, dimensions, torch).eval()
    for parameter in twin.parameters():
        values = rng.normal(0.1, 0.4, size=tuple(parameter.shape))
        parameter.data = torch.from_numpy(values.astype(np.float32))
    model = create(network, dimensions)
    weights = Weights(model)
    if isinstance(network, NNUNetResEnc):
        weights.residual_encoder(twin.encoder)
    else:
        weights.plain_encoder(twin.encoder)
    weights.decoder(twin.decoder)
    assert not weights.left

    images = rng.normal(size=(2, *(16, 24, 16)[:dimensions], CHANNELS)).astype(np.float32)
    with torch.no_grad():
        outputs = twin(torch.from_numpy(np.moveaxis(images, -1, 1).copy()))
    found = model(images, training=True)
    assert len(found) == len(outputs) - 1 == 2
    for ours, theirs in zip(found, outputs, strict=False):
        expected = np.moveaxis(theirs.numpy(), 1, -1)
        assert expected.std() > 0.1
        np.testing.assert_allclose(ops.convert_to_numpy(ours), expected, rtol=0, atol=1e-4)
