"""nnU-Net: parameters by formula, outputs against another implementation, end to end."""

from __future__ import annotations

import doctest
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import UNetStandard, nnunet
from miscnn.neural_network.architecture._nnunet_topology import topology
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.subfunctions import Normalization
from miscnn.testing.architecture import check_architecture

STRIDES_2D = ((1, 1), (2, 2), (2, 1), (2, 2))
STRIDES_3D = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
KERNELS_3D = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))


def count(
    widths: list[int],
    kernels: list[int],
    strides: list[int],
    channels: int,
    labels: int,
    heads: int,
    bias: int,
) -> int:
    """Count the weights stage by stage; kernels and strides as their numbers of voxels."""
    total, before = 0, channels
    for width, kernel in zip(widths, kernels, strict=True):
        for narrow in (before, width):
            total += kernel * narrow * width + 3 * width  # bias; scale and offset
        before = width
    for level in reversed(range(len(widths) - 1)):
        width = widths[level]
        total += strides[level + 1] * widths[level + 1] * width + bias * width
        for narrow in (2 * width, width):
            total += kernels[level] * narrow * width + 3 * width
        if level < heads:
            total += width * labels + bias * labels
    return total


@pytest.mark.parametrize(
    ("version", "dimensions", "widths", "heads"),
    [
        ("current", 2, [32, 64, 128, 256, 512, 512], 4),
        ("current", 3, [32, 64, 128, 256, 320, 320], 4),
        ("2018", 2, [30, 60, 120, 240, 480, 480], 1),
        ("2018", 3, [30, 60, 120, 240, 320, 320], 1),
    ],
)
def test_parameters_are_as_many_as_the_formula_says(
    version: Any, dimensions: int, widths: list[int], heads: int
) -> None:
    network = NNUNet(version)
    assert network.features(dimensions) == tuple(widths)
    create = network.create_model_2D if dimensions == 2 else network.create_model_3D
    model = create((None,) * dimensions + (2,), 3)
    strides = [1] + [2**dimensions] * 5
    kernels = [3**dimensions] * 6
    expected = count(widths, kernels, strides, 2, 3, heads, bias=int(version == "current"))
    assert model.count_params() == expected


def test_parameters_of_an_anisotropic_network() -> None:
    network = NNUNet(patch_shape=(80, 160, 160), spacing=(3, 0.78, 0.78))
    model = network.create_model_3D((None, None, None, 1), 3)
    kernels, strides = [9, 27, 27, 27, 27, 27], [1, 4, 8, 8, 8, 8]
    assert model.count_params() == count([32, 64, 128, 256, 320, 320], kernels, strides, 1, 3, 4, 1)
    assert network.required_multiple == (16, 32, 32)


def test_the_reported_size_of_the_whole_network() -> None:
    # nnU-Net's own heads: also one on the coarsest level, with weight 0. With it, a network
    # for one channel and two classes of 128^3 has this many parameters.
    widths = [32, 64, 128, 256, 320, 320]
    own = count(widths, [27] * 6, [1] + [8] * 5, 1, 2, 4, 1)
    published = count(widths, [27] * 6, [1] + [8] * 5, 1, 2, 5, 1)
    assert published - own == 320 * 2 + 2
    model = NNUNet().create_model_3D((None, None, None, 1), 2)
    assert model.count_params() == own


# ------------------------------------------------------------------ alignment


def test_strided_convolutions_are_centred_on_every_other_voxel(rng: np.random.Generator) -> None:
    model = NNUNet(strides=((1, 1), (2, 2)), base_features=2).create_model_2D((8, 8, 1))
    reduce = [model.get_layer("encoder_1_0_pad"), model.get_layer("encoder_1_0_conv")]
    kernel = np.zeros((3, 3, 2, 4), dtype="float32")
    kernel[1, 1] = 1.0
    reduce[1].set_weights([kernel, np.zeros(4, dtype="float32")])
    images = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    found = ops.convert_to_numpy(reduce[1](reduce[0](images)))
    expected = images.sum(axis=-1, keepdims=True)[:, ::2, ::2].repeat(4, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def monai_twin(network: NNUNet, dimensions: int, channels: int, labels: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch")
        nets = pytest.importorskip("monai.networks.nets")
    strides, kernels = network.topology(dimensions)
    return nets.DynUNet(
        dimensions,
        channels,
        labels,
        kernels,
        strides,
        strides[1:],
        filters=network.features(dimensions),
        trans_bias=True,
    ).eval()


def hand_over(model: Any, twin: Any, levels: int) -> None:
    """Put the weights of our network into MONAI's, which has no bias before normalisation."""
    import torch

    def convolution(layer: Any) -> Any:  # (…, in, out) to (out, in, …), transposed: (in, out, …)
        return torch.from_numpy(np.moveaxis(layer.kernel.numpy(), (-1, -2), (0, 1)).copy())

    def block(name: str, target: Any) -> None:
        for number, (conv, norm) in enumerate(
            ((target.conv1, target.norm1), (target.conv2, target.norm2))
        ):
            layer = model.get_layer(f"{name}_{number}_conv")
            layer.bias.assign(np.zeros(layer.bias.shape))
            conv.conv.weight.data = convolution(layer)
            gamma, beta = model.get_layer(f"{name}_{number}_norm").get_weights()
            norm.weight.data, norm.bias.data = torch.from_numpy(gamma), torch.from_numpy(beta)

    for stage, target in enumerate([twin.input_block, *twin.downsamples, twin.bottleneck]):
        block(f"encoder_{stage}", target)
    for level, target in zip(reversed(range(levels)), twin.upsamples, strict=True):
        block(f"decoder_{level}", target.conv_block)
        up = model.get_layer(f"decoder_{level}_up")
        target.transp_conv.conv.weight.data = convolution(up)
        target.transp_conv.conv.bias.data = torch.from_numpy(up.bias.numpy())
    head = model.get_layer("logits")
    twin.output_block.conv.conv.weight.data = convolution(head)
    twin.output_block.conv.conv.bias.data = torch.from_numpy(head.bias.numpy())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_output_with_the_weights_of_another_implementation(
    dimensions: int, rng: np.random.Generator
) -> None:
    strides = STRIDES_2D if dimensions == 2 else STRIDES_3D
    # The same kernels everywhere: MONAI's decoder takes those of the stage below, nnU-Net's not.
    network = NNUNet(strides=strides, base_features=4, deep_supervision=False)
    create = network.create_model_2D if dimensions == 2 else network.create_model_3D
    model = create((None,) * dimensions + (2,), 3)
    twin = monai_twin(network, dimensions, 2, 3)
    import torch

    model.set_weights([rng.normal(0, 0.4, size=w.shape) for w in model.get_weights()])
    hand_over(model, twin, len(strides) - 1)
    biases = sum(
        layer.bias.shape[0] for layer in model.layers if layer.name.endswith(("_0_conv", "_1_conv"))
    )
    parameters = sum(p.numel() for p in twin.parameters())
    assert model.count_params() == parameters + biases

    images = rng.normal(size=(2, *(16, 24, 16)[:dimensions], 2)).astype("float32")
    with torch.no_grad():
        logits = twin(torch.from_numpy(np.moveaxis(images, -1, 1).copy())).numpy()
    found = keras.Model(model.input, model.get_layer("logits").output)(images)
    expected = np.moveaxis(logits, 1, -1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=2e-4)


# ------------------------------------------------------------------ layers


def test_the_forms_differ_as_published() -> None:
    def kinds(model: Any) -> dict[str, int]:
        names = [type(layer).__name__ for layer in model.layers]
        return {name: names.count(name) for name in names}

    current = NNUNet(strides=STRIDES_3D).create_model_3D((None, None, None, 1))
    assert isinstance(current, DeepSupervisionModel)
    assert [tuple(o.shape) for o in current.outputs] == [(None,) * 4 + (2,)] * 2
    assert "MaxPooling3D" not in kinds(current)
    assert current.get_layer("encoder_2_0_conv").strides == (2, 2, 2)
    assert current.get_layer("encoder_1_0_conv").strides == (1, 2, 2)
    first = NNUNet("2018", strides=STRIDES_3D).create_model_3D((None, None, None, 1))
    assert not isinstance(first, DeepSupervisionModel)
    assert kinds(first)["MaxPooling3D"] == 3
    assert first.get_layer("encoder_1_pool").pool_size == (1, 2, 2)
    assert first.get_layer("encoder_2_0_conv").strides == (1, 1, 1)
    assert not first.get_layer("decoder_0_up").use_bias
    assert not first.get_layer("logits").use_bias
    for model in (current, first):
        assert kinds(model)["InstanceNormalization"] == kinds(model)["LeakyReLU"] == 14
        assert model.get_layer("encoder_0_0_conv").use_bias
        assert model.get_layer("encoder_0_0_norm").epsilon == 1e-5
        assert model.get_layer("encoder_0_0_act").negative_slope == pytest.approx(0.01)
        assert model.get_layer("decoder_0_up").kernel.shape[:3] == (1, 2, 2)
    assert not isinstance(
        NNUNet(deep_supervision=False).create_model_2D((None, None, 1)), DeepSupervisionModel
    )
    supervised = NNUNet("2018", deep_supervision=True, base_features=2)
    assert len(supervised.create_model_2D((None, None, 1)).outputs) == 4
    shallow = NNUNet(strides=((1, 1), (2, 2), (2, 2))).create_model_2D((None, None, 1))
    assert not isinstance(shallow, DeepSupervisionModel)  # the second head would have weight 0


def test_initial_weights_have_the_spread_of_he() -> None:
    model = NNUNet(strides=STRIDES_2D).create_model_2D((None, None, 1))
    for name, voxels_in in (("encoder_2_1_conv", 9 * 128), ("logits", 32)):
        kernel = model.get_layer(name).kernel.numpy()
        expected = np.sqrt(2 / (1 + 0.01**2) / voxels_in)
        assert kernel.std() == pytest.approx(expected, rel=0.03 if kernel.size > 1e5 else 0.3)
    assert not model.get_layer("encoder_0_0_conv").bias.numpy().any()


@pytest.mark.parametrize("version", ["current", "2018"])
def test_the_contract(version: Any) -> None:
    check_architecture(NNUNet(version, strides=STRIDES_2D, base_features=3), dimensions=(2,))
    check_architecture(
        NNUNet(version, strides=STRIDES_3D, kernels=KERNELS_3D, base_features=3), dimensions=(3,)
    )


def test_the_contract_with_the_depth_of_the_default() -> None:
    check_architecture(NNUNet(base_features=2, max_features=4), dimensions=(2,))


# ------------------------------------------------------------------ adaptation


def test_it_adapts_to_the_recipe() -> None:
    network = NNUNet("2018", base_features=8)
    adapted = network.adapted_to((16, 128, 128), np.array((5, 3.1, 3.1)))
    assert adapted is not network
    assert network.strides is None
    assert adapted.version == "2018"
    assert adapted.required_multiple == (4, 32, 32)
    assert adapted.adapted_to((64, 64, 64), (1, 1, 1)) is adapted
    remade = deserialize(serialize(adapted))
    assert remade == adapted
    assert remade.topology(3) == adapted.topology(3)
    with pytest.raises(ConfigurationError, match="3 spatial axes"):
        adapted.create_model_2D((None, None, 1))
    unet = UNetStandard()
    assert unet.adapted_to((16, 128, 128), (5, 3.1, 3.1)) is unet


def test_what_the_user_has_decided_stays() -> None:
    given = NNUNet(strides=STRIDES_3D)
    assert given.adapted_to((16, 128, 128), (5, 3.1, 3.1)) is given
    assert given.topology(3).kernels == ((3, 3, 3),) * 4
    own = NNUNet(patch_shape=(32, 32, 32)).adapted_to((128, 128, 128), (1.0, 1.0, 1.0))
    assert own.required_multiple == (8, 8, 8)
    kernels = NNUNet(kernels=5).adapted_to((64, 64), (3.0, 1.0))
    assert kernels.topology(2).kernels == ((5, 5),) * 5
    assert kernels.required_multiple == (8, 16)


def test_without_a_patch_or_spacing() -> None:
    network = NNUNet()
    assert network.adapted_to(None, None) is network
    assert network.required_multiple == 32
    assert network.multiple_per_axis(3) == (32, 32, 32)
    # A patch alone: isotropic voxels. A spacing alone: 128 voxels per axis.
    assert network.adapted_to((64, 32), None).required_multiple == (8, 8)
    adapted = network.adapted_to(None, (1.0, 1.0, 4.0))
    assert adapted.strides[:3] == ((1, 1, 1), (2, 2, 1), (2, 2, 1))
    assert NNUNet(spacing=(1.0, 1.0, 4.0)).topology(3) == adapted.topology(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "2021"}, "'2021'.*2018"),
        ({"base_features": 0}, "base_features is 0"),
        ({"strides": ()}, r"strides is \(\)"),
        ({"strides": (1, 2, 2)}, "for each stage"),
        ({"strides": ((2, 2), (2, 2))}, "first stage must be 1"),
        ({"strides": ((1, 1), (2, 2, 2))}, "strides is"),
        ({"strides": STRIDES_2D, "kernels": ((3, 3),)}, "1 levels; expected 4"),
        ({"patch_shape": (64, 64), "spacing": (1.0,)}, "has 2 axes"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NNUNet(**options)


# ------------------------------------------------------------------ end to end


def make_preprocessor(tmp_path: Path, dimensions: int) -> miscnn.Preprocessor:
    rng = np.random.default_rng(1)
    shape = (18, 17, 14)[:dimensions]
    subjects = {}
    for number in range(3):
        label = np.zeros(shape, dtype=np.uint8)
        label[(slice(4, 11),) * dimensions] = 1
        image = (rng.normal(size=shape) + 2 * label).astype(np.float32)
        details = {"spacing": (1.0, 1.0, 2.0)[:dimensions]}
        subjects[f"s{number}"] = (image, label, None, details)
    data_io = miscnn.DataIO(
        DictionaryInterface(subjects, 1, 2, dimensions == 3), None, tmp_path / "out"
    )
    return miscnn.Preprocessor(
        data_io,
        2,
        [Normalization()],
        None,
        analysis="patchwise-crop",
        patch_shape=(16, 16, 8)[:dimensions],
        cache="memory",
        seed=3,
    )


@pytest.mark.parametrize(
    ("version", "dimensions", "stages"), [("current", 2, 4), ("current", 3, 4), ("2018", 2, 2)]
)
def test_it_trains_predicts_and_is_saved(
    tmp_path: Path, version: Any, dimensions: int, stages: int
) -> None:
    strides = [s[:dimensions] for s in ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2))][:stages]
    network = NNUNet(version, strides=strides, base_features=3)
    recipe = make_preprocessor(tmp_path, dimensions)
    model = miscnn.NeuralNetwork(recipe, network, loss=TanimotoCrossEntropy())
    before = model.model.get_weights()
    history = model.evaluate(["s0", "s1"], ["s2"], epochs=1, iterations=2, verbose=0)
    assert {"loss", "val_loss", "val_mean_dice"} <= set(history.history)
    assert all(
        np.isfinite(new).all() and not np.array_equal(old, new)
        for old, new in zip(before, model.model.get_weights(), strict=True)
    )
    (labels,) = model.predict(["s2"], return_output=True, verbose=0)
    assert labels.shape == (18, 17, 14)[:dimensions]
    (expected,) = model.predict(["s2"], True, activation_output=True, verbose=0)
    model.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert type(loaded.model) is type(model.model)
    image = recipe.data_io.sample_loader("s2").image
    (found,) = loaded.predict(image, activation_output=True, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    model.reset()
    for old, new in zip(before, model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(nnunet)
    assert result.attempted > 0
    assert result.failed == 0


def test_strides_come_from_the_training_subjects() -> None:
    """Thick slices among the subjects that are held out change nothing."""
    rng = np.random.default_rng(0)

    def subject(thickness: float) -> tuple[Any, ...]:
        image = rng.normal(size=(16, 16, 16)).astype(np.float32)
        return image, (image > 0).astype(np.uint8), None, {"spacing": (1.0, 1.0, thickness)}

    thin, thick = ({f"{k}{i}": subject(t) for i in range(n)} for k, t, n in
                   (("thin", 1.0, 2), ("thick", 9.0, 5)))  # fmt: skip
    data_io = miscnn.DataIO(DictionaryInterface({**thin, **thick}, 1, 2))
    recipe = miscnn.Preprocessor(
        data_io, 1, patch_shape=(16, 16, 16), data_aug=None, cache="memory"
    )
    network = miscnn.NeuralNetwork(recipe, NNUNet("2018", base_features=2))
    of_all = network.architecture
    network.train(list(thin), epochs=1, iterations=1, verbose=0)
    isotropic = topology((16, 16, 16), (1.0, 1.0, 1.0))
    assert tuple(map(tuple, network.architecture.strides)) == isotropic.strides
    assert network.architecture != of_all
    network.reset()
    network.train(list(thick), epochs=1, iterations=1, verbose=0)
    assert network.architecture == of_all  # the median of all is that of these
