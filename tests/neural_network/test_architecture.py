"""Networks: parameters by formula, normalisation by definition, contracts."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError, ContractError
from miscnn.neural_network import architecture as architectures
from miscnn.neural_network.architecture import Architecture, UNetStandard
from miscnn.neural_network.architecture.normalization import InstanceNormalization
from miscnn.neural_network.architecture.unet import standard
from miscnn.testing.architecture import check_architecture


def unet_parameters(
    widths: list[int],
    dimensions: int,
    channels: int,
    labels: int,
    normalization: str | None,
    kernel: int = 3,
    pool: int = 2,
    nearest: bool = False,
) -> int:
    """Count the weights of a U-Net level by level."""

    def convolution(before: int, after: int) -> int:
        extra = {None: 1, "instance": 2, "group": 2, "batch": 4}[normalization]
        return kernel**dimensions * before * after + extra * after

    *levels, bottom = widths
    total, before = 0, channels
    for width in [*levels, bottom]:
        total += convolution(before, width) + convolution(width, width)
        before = width
    for width in reversed(levels):
        up = 1 if nearest else pool**dimensions
        total += up * before * width + width
        total += convolution(2 * width, width) + convolution(width, width)
        before = width
    return total + before * labels + labels


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, [32, 64, 128, 256, 512]),
        ({"n_filters": 8, "depth": 3, "normalization": "batch"}, [8, 16, 32, 64]),
        ({"n_filters": 8, "depth": 3, "max_filters": 24, "normalization": None}, [8, 16, 24, 24]),
        ({"n_filters": 6, "depth": 2, "normalization": "group", "dropout": 0.2}, [6, 12, 24]),
    ],
)
def test_parameters_are_as_many_as_the_formula_says(
    options: dict[str, Any], widths: list[int], dimensions: int
) -> None:
    unet = UNetStandard(**options)
    create = unet.create_model_2D if dimensions == 2 else unet.create_model_3D
    model = create((None,) * dimensions + (2,), n_labels=3)
    expected = unet_parameters(widths, dimensions, 2, 3, unet.normalization)
    assert model.count_params() == expected


def test_pinned_parameters() -> None:
    # The published figure of the U-Net with 32 to 512 feature maps (in the code of UNet++).
    plain = UNetStandard(normalization=None, activation="sigmoid")
    assert plain.create_model_2D((None, None, 1), n_labels=1).count_params() == 7_759_521
    assert UNetStandard().create_model_2D((None, None, 1)).count_params() == 7_762_498
    small = UNetStandard(n_filters=8, depth=3).create_model_3D((None, None, None, 1), 3)
    assert small.count_params() == 350_827
    nearest = UNetStandard(n_filters=8, depth=3, upsampling="nearest")
    model = nearest.create_model_3D((None, None, None, 1), 3)
    assert model.count_params() == unet_parameters(
        [8, 16, 32, 64], 3, 1, 3, "instance", nearest=True
    )


def test_kernels_and_poolings_per_axis() -> None:
    unet = UNetStandard(
        n_filters=4,
        depth=2,
        kernel_size=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
        pool_size=((2, 2, 1), (2, 2, 2)),
    )
    assert unet.required_multiple == (4, 4, 2)
    model = unet.create_model_3D((None, None, None, 1))
    assert model(np.zeros((1, 4, 8, 2, 1), dtype="float32")).shape == (1, 4, 8, 2, 2)
    assert model.get_layer("encoder_0_0_conv").kernel.shape == (3, 3, 1, 1, 4)
    assert model.get_layer("encoder_1_0_conv").kernel.shape == (3, 3, 3, 4, 8)
    assert model.get_layer("decoder_0_up").kernel.shape == (2, 2, 1, 4, 8)
    with pytest.raises(ConfigurationError, match=r"3 spatial axes.*2D"):
        unet.create_model_2D((None, None, 1))


@pytest.mark.parametrize(
    ("options", "multiple"),
    [
        ({}, 16),
        ({"depth": 2, "pool_size": 3}, 9),
        ({"depth": 3, "pool_size": (2, 2, 1)}, (8, 8, 1)),
        ({"depth": 2, "pool_size": [[2, 1], [2, 2]]}, (4, 2)),
    ],
)
def test_required_multiple(options: dict[str, Any], multiple: Any) -> None:
    unet = UNetStandard(**options)
    assert unet.required_multiple == multiple
    axes = 3 if isinstance(multiple, int) else len(multiple)
    expected = (multiple,) * 3 if isinstance(multiple, int) else multiple
    assert unet.multiple_per_axis(axes) == expected


def test_batch_normalization_of_miscnn_1() -> None:
    def kinds(unet: UNetStandard) -> set[str]:
        layers = unet.create_model_2D((None, None, 1)).layers
        return {type(x).__name__ for x in layers if "Normalization" in type(x).__name__}

    assert kinds(UNetStandard(4, 1)) == {"InstanceNormalization"}
    assert kinds(UNetStandard(4, 1, "softmax", True)) == {"BatchNormalization"}
    assert kinds(UNetStandard(4, 1, batch_normalization=False)) == set()
    assert kinds(UNetStandard(4, 1, normalization="group")) == {"GroupNormalization"}


def test_names_of_miscnn_1() -> None:
    from miscnn.neural_network.architecture.abstract_architecture import Abstract_Architecture
    from miscnn.neural_network.architecture.unet import UNet_standard

    assert Abstract_Architecture is Architecture
    assert UNet_standard is standard.Architecture is UNetStandard


def test_normalisation_comes_before_activation_and_leaks_as_told() -> None:
    model = UNetStandard(4, 1, conv_activation="leaky_relu").create_model_2D((None, None, 1))
    assert model.get_layer("encoder_0_0_act").negative_slope == pytest.approx(0.01)
    names = [layer.name for layer in model.layers]
    start = names.index("encoder_0_0_conv")
    assert names[start : start + 3] == ["encoder_0_0_conv", "encoder_0_0_norm", "encoder_0_0_act"]


def test_dropout_drops_in_training_only(rng: np.random.Generator) -> None:
    model = UNetStandard(4, 1, dropout=0.5).create_model_2D((None, None, 1))
    images = rng.normal(size=(1, 8, 8, 1)).astype("float32")
    still, again = (ops.convert_to_numpy(model(images, training=False)) for _ in range(2))
    moved = ops.convert_to_numpy(model(images, training=True))
    assert np.array_equal(still, again)
    assert not np.allclose(still, moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"normalization": "layer"}, "'layer'.*'instance'"),
        ({"upsampling": "cubic"}, "'cubic'.*'transposed'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"depth": 2, "kernel_size": (3, 3)}, r"kernel_size is \(3, 3\).*in 3D"),
        ({"depth": 2, "pool_size": ((2, 2, 2),)}, "1 levels; expected 2"),
        ({"depth": 2, "kernel_size": 0}, "kernel_size is 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        UNetStandard(**options).create_model_3D((None, None, None, 1))


def test_a_size_that_does_not_fit_is_named() -> None:
    unet = UNetStandard(4, 3)
    with pytest.raises(ConfigurationError, match=r"axis 1 must be a multiple of 8.*take 24"):
        unet.create_model_2D((16, 20, 1))
    with pytest.raises(ConfigurationError, match=r"\(None, None, 1\); expected 3 spatial axes"):
        unet.create_model_3D((None, None, 1))


def test_configuration_survives() -> None:
    unet = UNetStandard(4, 2, pool_size=[[2, 2, 1], [2, 2, 2]], normalization=None, max_filters=6)
    document = serialize(unet)
    assert document["class"].endswith("unet.standard:UNetStandard")
    assert deserialize(document) == unet
    assert deserialize(document) != UNetStandard(4, 2)


# ------------------------------------------------------------------ instance normalisation


@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 5, 6, 3), (2, 3, 4, 5, 3)])
def test_instance_normalization_is_what_its_definition_says(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    x = rng.normal(3, 2, size=shape).astype("float32")
    layer = InstanceNormalization(epsilon=1e-3)
    layer.build(shape)
    gamma, beta = rng.normal(size=(2, shape[-1])).astype("float32")
    layer.set_weights([gamma, beta])
    axes = tuple(range(1, len(shape) - 1))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, atol=2e-5)


def test_instance_normalization_trains_like_group_normalization(rng: np.random.Generator) -> None:
    """One step of descent leaves the same weights: the gradient in closed form is right."""
    images = rng.normal(1, 2, size=(3, 4, 5, 6, 2)).astype("float32")
    targets = rng.random(size=(3, 4, 5, 6, 4)).astype("float32")
    start: Any = None
    after = []
    for norm in (InstanceNormalization(), keras.layers.GroupNormalization(-1, epsilon=1e-5)):
        inputs = keras.Input((None, None, None, 2))
        x = norm(keras.layers.Conv3D(4, 3, padding="same")(inputs))
        x = keras.layers.Conv3D(4, 3, padding="same")(keras.ops.tanh(x))
        model = keras.Model(inputs, x)
        if start is None:
            start = [rng.normal(size=w.shape) for w in model.get_weights()]
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
        model.train_on_batch(images, targets)
        after.append(model.get_weights())
    for before, own, other in zip(start, *after, strict=True):
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, atol=2e-5)
        if own.shape != (4,):  # the bias before the normalisation has no gradient
            assert np.abs(own - before).max() > 1e-3


def test_instance_normalization_keeps_digits_where_the_mean_is_large(
    rng: np.random.Generator,
) -> None:
    x = rng.normal(size=(1, 16, 16, 16, 2)).astype("float32")
    layer = InstanceNormalization()
    centred = ops.convert_to_numpy(layer(x))
    # 4096 loses three digits of the input itself, but none of the variance.
    shifted = ops.convert_to_numpy(layer((x + np.float32(4096)).astype("float32")))
    assert np.abs(shifted - centred).max() < 1e-3
    constant = ops.convert_to_numpy(layer(np.full((1, 8, 8, 2), 7.0, dtype="float32")))
    assert np.abs(constant).max() < 1e-3


def test_instance_normalization_measures_in_float32(rng: np.random.Generator) -> None:
    # Squares of 300 over 4096 voxels are far beyond what float16 holds.
    x = rng.normal(0, 300, size=(1, 64, 64, 2)).astype("float16")
    layer = InstanceNormalization(dtype="mixed_float16")
    result = layer(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(result.dtype) == "float16"
    values = ops.convert_to_numpy(ops.cast(result, "float32"))
    assert values.std() == pytest.approx(1, abs=1e-3)
    assert keras.backend.standardize_dtype(layer.gamma.dtype) == "float32"


# ------------------------------------------------------------------ the contract


@pytest.mark.parametrize(
    "unet",
    [
        UNetStandard(4, 2),
        UNetStandard(4, 1, normalization="batch", upsampling="nearest"),
        UNetStandard(4, 1, normalization="group", conv_activation="leaky_relu", dropout=0.1),
        UNetStandard(4, 1, normalization=None, pool_size=3, max_filters=5),
    ],
)
def test_the_contract(unet: UNetStandard) -> None:
    check_architecture(unet)


def test_the_contract_with_anisotropic_poolings() -> None:
    unet = UNetStandard(4, 2, kernel_size=(3, 3, 1), pool_size=((2, 2, 1), (2, 2, 2)))
    check_architecture(unet, dimensions=(3,))


class _Tiny(Architecture):
    """One convolution; subclasses break one promise each."""

    def __init__(self, filters: int = 2) -> None:
        self.filters = filters

    def body(self, x: Any, n_labels: int) -> Any:
        x = keras.layers.Conv2D(self.filters, 1)(x)
        return keras.layers.Conv2D(n_labels, 1, activation="softmax", dtype="float32")(x)

    def create_model_2D(  # noqa: N802
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, self.body(inputs, n_labels))

    create_model_3D = create_model_2D  # noqa: N815


class _HalfOutput(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        return keras.layers.Conv2D(n_labels, 1, activation="softmax")(x)


class _Sigmoid(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        return keras.layers.Conv2D(n_labels, 1, activation="sigmoid", dtype="float32")(x)


class _Shrinks(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        x = keras.layers.UpSampling2D(3)(keras.layers.MaxPooling2D(3)(x))
        return super().body(x, n_labels)


class _Halves(_Tiny):
    """Right for even sizes only, which its multiple does not say."""

    def body(self, x: Any, n_labels: int) -> Any:
        x = keras.layers.UpSampling2D(2)(keras.layers.MaxPooling2D(2)(x))
        return super().body(x, n_labels)


class _HalvesBeside(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        half = keras.layers.UpSampling2D(2)(keras.layers.MaxPooling2D(2)(x))
        return super().body(keras.layers.Concatenate()([x, half]), n_labels)


class _Lambda(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        return super().body(keras.layers.Lambda(lambda y: 2 * y)(x), n_labels)


class _Mixes(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        return super().body(_BatchMean()(x), n_labels)


class _NormalizesBatch(_Tiny):
    """Normalizes by the batch in inference, too, unless it is told training=False."""

    def body(self, x: Any, n_labels: int) -> Any:
        normalized = keras.layers.BatchNormalization()(x, training=True)
        return super().body(normalized, n_labels)


class _NormalizesInside(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        return super().body(_AlwaysTraining()(x), n_labels)


@keras.saving.register_keras_serializable(package="tests")
class _AlwaysTraining(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = keras.layers.BatchNormalization()

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs, training=True)


class _BatchMean(keras.layers.Layer):  # type: ignore[misc]
    def call(self, inputs: Any) -> Any:
        return inputs - ops.mean(inputs, axis=0, keepdims=True)


class _Idle(_Tiny):
    def body(self, x: Any, n_labels: int) -> Any:
        dead = keras.layers.Conv2D(1, 1, activation=_nothing)(x)
        return super().body(keras.layers.Concatenate()([x, dead]), n_labels)


@keras.saving.register_keras_serializable(package="tests")
def _nothing(x: Any) -> Any:
    return 0 * x


class _Forgets(_Tiny):
    def get_config(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_HalfOutput(), 'output is float16.*dtype="float32"'),
        (_Sigmoid(), "no probabilities"),
        (_Shrinks(), "required_multiple"),
        (_Halves(), r"\(2, 5, 7, 2\) the output is \(2, 4, 6, 3\).*required_multiple \(1\)"),
        (_HalvesBeside(), r"fails for images \(2, 5, 7, 2\); is required_multiple \(1\) right"),
        (_Lambda(), "safe mode"),
        (_Mixes(), "depends on the others"),
        (
            _NormalizesBatch(),
            r"without training=False\); .*BatchNormalization\(\)\(x, training=True\)",
        ),
        (_NormalizesInside(), r"depends on the others of its batch \(probabilities"),
        (_Idle(), "do not change the weights"),
        (_Forgets(filters=3), "other weights"),
    ],
)
def test_check_architecture_finds_what_is_wrong(broken: Architecture, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_architecture(broken, dimensions=(2,))


def test_check_architecture_accepts_a_sound_one_of_the_users() -> None:
    check_architecture(_Tiny(filters=3), dimensions=(2,))


def test_check_architecture_leaves_the_dtype_policy_alone() -> None:
    before = keras.config.dtype_policy().name
    check_architecture(_Tiny(), dimensions=(2,))
    assert keras.config.dtype_policy().name == before


def test_examples_in_the_docstrings() -> None:
    for module in (standard, __import__("miscnn.testing.architecture", fromlist=["_"])):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
    assert architectures.UNetStandard is UNetStandard
