"""MS-D Net: published parameters, a chain of plain layers as the reference, contracts."""

from __future__ import annotations

import doctest
import json
from typing import Any

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import _mixed_scale, msdnet
from miscnn.neural_network.architecture._shifts import Shifts
from miscnn.neural_network.architecture.msdnet import MSDNet
from miscnn.testing.architecture import check_architecture


def create(net: MSDNet, dimensions: int, channels: int = 1, labels: int = 2) -> Any:
    make = net.create_model_2D if dimensions == 2 else net.create_model_3D
    return make((None,) * dimensions + (channels,), labels)


@pytest.mark.parametrize(
    ("depth", "dimensions", "channels", "labels", "expected"),
    [
        (100, 2, 1, 1, 45_652),
        (100, 2, 1, 2, 45_754),
        (100, 2, 3, 11, 48_494),
        (200, 2, 3, 11, 186_944),
        (100, 3, 1, 2, 136_654),
        (50, 3, 1, 2, 34_579),
    ],
)
def test_published_parameters(
    depth: int, dimensions: int, channels: int, labels: int, expected: int
) -> None:
    model = create(MSDNet.original(depth=depth), dimensions, channels, labels)
    assert model.count_params() == expected


@pytest.mark.parametrize("dimensions", [2, 3])
def test_parameters_by_formula(dimensions: int) -> None:
    width, depth, channels, labels, taps = 3, 7, 2, 4, 3**dimensions
    maps = width * depth
    kernels = taps * sum(width * (i * width + channels) for i in range(depth))
    head = (maps + channels) * labels + labels
    model = create(MSDNet.original(width, depth), dimensions, channels, labels)
    assert model.count_params() == kernels + maps + head
    model = create(MSDNet(width, depth), dimensions, channels, labels)
    assert model.count_params() == kernels + 2 * maps + head


def test_initial_weights_are_as_published() -> None:
    keras.utils.set_random_seed(0)
    layer = create(MSDNet.original(), 2, 1, 2).get_layer("mixed_scale")
    kernels = ops.convert_to_numpy(layer.kernels)
    expected = np.sqrt(2 / (9 * (1 + 99) + 2))
    assert kernels.std() == pytest.approx(expected, rel=0.02)
    assert abs(kernels.mean()) < expected / 50
    for weight in (layer.offset, layer.head_kernel, layer.head_bias):
        assert not ops.convert_to_numpy(weight).any()


def test_dilations_are_cycled_over_maps() -> None:
    layer = create(MSDNet(2, 7), 2).get_layer("mixed_scale")
    assert [layer.dilation(i, j)[0] for i in range(7) for j in range(2)] == [
        *range(1, 11),
        *range(1, 5),
    ]
    layer = create(MSDNet(3, 2, (1, 2, 4, 8, 16)), 2).get_layer("mixed_scale")
    assert [layer.dilation(i, j)[0] for i in range(2) for j in range(3)] == [1, 2, 4, 8, 16, 1]
    layer = create(MSDNet(1, 10, max_dilation=(10, 4, 1)), 3).get_layer("mixed_scale")
    assert layer.dilation(9, 0) == (10, 4, 1)
    assert layer.dilation(2, 0) == (3, 3, 1)
    layer = create(MSDNet(1, 10, max_dilation=5), 3).get_layer("mixed_scale")
    assert layer.dilation(9, 0) == (5, 5, 5)


# ------------------------------------------------------ the chain of plain layers


@keras.saving.register_keras_serializable(package="tests")
class MirrorPad(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, by: tuple[int, ...], mode: str) -> None:
        super().__init__()
        self.by = by
        self.mode = mode

    def call(self, inputs: Any) -> Any:
        for axis, n in enumerate(self.by, start=1):  # by hand: PyTorch pads few axes only
            size = inputs.shape[axis]
            index = np.pad(np.arange(size), (n, n), mode=self.mode)
            inputs = ops.take(inputs, index, axis=axis)
        return inputs


def chain(net: MSDNet, model: Any, shape: tuple[int, ...]) -> Any:
    """Build the network from Keras' own layers, with the weights of ``model``."""
    layer = model.get_layer("mixed_scale")
    dimensions, normalized = len(shape) - 1, net.normalization is not None
    conv = getattr(keras.layers, f"Conv{dimensions}D")
    # Not "reflect", which NumPy repeats, but the bound the network has.
    reach = [n - 1 if net.boundary == "reflect" else n for n in shape[:-1]]
    inputs = keras.Input(shape)
    x, pending = inputs, []
    for i in range(net.depth):
        new = []
        kernel = ops.convert_to_numpy(layer.kernel(i))
        for j in range(net.width):
            at = i * net.width + j
            by = tuple(map(min, layer.dilation(i, j), reach))
            y = MirrorPad(by, net.boundary)(x)
            # A tap of distance 0 is added up in the centre.
            own = kernel[..., j : j + 1]
            for axis, distance in enumerate(by):
                if distance == 0:
                    own = own.sum(axis=axis, keepdims=True)
            rate = tuple(max(1, n) for n in by)
            convolution = conv(
                1, own.shape[:dimensions], dilation_rate=rate, use_bias=not normalized
            )
            y = convolution(y)
            weights = [own]
            if normalized:
                norm = keras.layers.GroupNormalization(-1, epsilon=1e-5)
                y = norm(y)
                pending.append(
                    (
                        norm,
                        [
                            w[at : at + 1]
                            for w in map(ops.convert_to_numpy, (layer.gamma, layer.offset))
                        ],
                    )
                )
            else:
                weights.append(ops.convert_to_numpy(layer.offset)[at : at + 1])
            pending.append((convolution, weights))
            slope = 0.01 if net.activation == "leaky_relu" else 0.0
            new.append(keras.layers.LeakyReLU(negative_slope=slope)(y))
        x = keras.layers.Concatenate()([x, *new])
    head = conv(layer.labels, 1, activation="softmax")
    outputs = head(x)
    head_kernel = ops.convert_to_numpy(layer.head_kernel)
    weights = [head_kernel.reshape((1,) * dimensions + head_kernel.shape)]
    pending.append((head, [*weights, ops.convert_to_numpy(layer.head_bias)]))
    for part, values in pending:
        part.set_weights(values)
    return keras.Model(inputs, outputs)


def randomised(net: MSDNet, dimensions: int, rng: np.random.Generator) -> Any:
    """Build a model all of whose weights matter."""
    keras.utils.set_random_seed(1)
    model = create(net, dimensions, 2, 3)
    layer = model.get_layer("mixed_scale")
    for weight in layer.weights:
        values = rng.normal(0, 0.3, weight.shape)
        weight.assign(1 + values if weight.name == "gamma" else values)
    return model


def gradients(
    model: Any, images: Any, target: Any, graph: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the output, the gradient of the images and those of the weights.

    ``graph``: by a traced function where TensorFlow is the backend.
    """
    by_backend = {"tensorflow": _by_tensorflow, "torch": _by_torch, "jax": _by_jax}
    found = by_backend[keras.backend.backend()](model, images, target, graph)
    output, to_images, *others = map(ops.convert_to_numpy, found)
    paths = [w.path for w in model.trainable_weights]
    return output, to_images, dict(zip(paths, others, strict=True))


def _by_tensorflow(model: Any, images: Any, target: Any, graph: bool) -> list[Any]:
    import tensorflow as tf

    def step(images: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = model(images, training=True)
            loss = tf.reduce_sum(output * target)
        return output, *tape.gradient(loss, [images, *[w.value for w in model.trainable_weights]])

    run = tf.function(step) if graph else step
    return list(run(tf.constant(images)))


def _by_torch(model: Any, images: Any, target: Any, _: bool) -> list[Any]:
    import torch

    given = ops.convert_to_tensor(images).requires_grad_()
    output = model(given, training=True)
    loss = (output * ops.convert_to_tensor(target)).sum()
    weights = [weight.value for weight in model.trainable_weights]
    return [output.detach(), *torch.autograd.grad(loss, [given, *weights])]


def _by_jax(model: Any, images: Any, target: Any, _: bool) -> list[Any]:
    import jax

    def total(images: Any, weights: Any) -> Any:
        output, _ = model.stateless_call(weights, fixed, images, training=True)
        return (output * target).sum(), output

    fixed = [weight.value for weight in model.non_trainable_variables]
    weights = [weight.value for weight in model.trainable_variables]
    step = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, output), (to_images, to_weights) = step(ops.convert_to_tensor(images), weights)
    return [output, to_images, *to_weights]


CASES = [
    (MSDNet(1, 12, (1, 2, 3)), (9, 11)),
    (MSDNet.original(1, 12, dilations=(1, 2, 3)), (9, 11)),
    (MSDNet(2, 5), (12, 13)),
    (MSDNet.original(2, 5, boundary="symmetric"), (12, 13)),
    (MSDNet(1, 6, (1, 2), max_dilation=(2, 2, 1)), (5, 6, 4)),
    (MSDNet.original(2, 3, dilations=(1, 2, 3)), (5, 6, 4)),
    (MSDNet(1, 3, (1, 3), activation="relu"), (6, 2, 1)),
    (MSDNet(2, 2, (4,), boundary="symmetric"), (3, 1)),
]


@pytest.mark.parametrize(("net", "shape"), CASES)
def test_same_outputs_and_gradients_as_a_chain_of_plain_layers(
    net: MSDNet, shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several blocks in a group, several rounds, several stages, and a rest.
    monkeypatch.setattr(_mixed_scale, "_PRODUCTS", 40)
    monkeypatch.setattr(_mixed_scale, "_STAGES", 2)
    model = randomised(net, len(shape), rng)
    plain = chain(net, model, (*shape, 2))
    images = rng.normal(size=(2, *shape, 2)).astype("float32")
    target = rng.normal(size=(2, *shape, 3)).astype("float32")
    output, to_images, own = gradients(model, images, target, graph=net is CASES[0][0])
    expected, expected_to_images, others = gradients(plain, images, target)
    np.testing.assert_allclose(output, expected, atol=2e-5)
    scale = np.abs(expected_to_images).max()
    np.testing.assert_allclose(to_images / scale, expected_to_images / scale, atol=1e-4)
    if 1 in shape:  # the chain adds up the taps, so its kernels are others
        return
    layer = model.get_layer("mixed_scale")
    got = {path.split("/")[-1]: values for path, values in own.items()}
    kernels = [v for path, v in others.items() if path.endswith("/kernel")]
    *hidden, head = kernels
    joined = [
        np.concatenate(hidden[i * net.width : (i + 1) * net.width], axis=-1).ravel()
        for i in range(net.depth)
    ]
    vector = "beta" if net.normalization else "bias"
    offsets = [v for path, v in others.items() if path.endswith("/" + vector)]
    pairs = [
        (got["kernels"], np.concatenate(joined)),
        (got["head_kernel"], head.reshape(-1, 3)),
        (got[vector], np.concatenate(offsets[: net.width * net.depth])),
    ]
    if net.normalization:
        gammas = [v for path, v in others.items() if path.endswith("/gamma")]
        pairs.append((got["gamma"], np.concatenate(gammas)))
    assert got["kernels"].shape == layer.kernels.shape
    for values, expected in pairs:
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(values / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize("boundary", ["reflect", "symmetric"])
@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_shifts_against_numpy(size: int, boundary: str, rng: np.random.Generator) -> None:
    shifts = Shifts((size, 3), boundary)
    most = size - 1 if boundary == "reflect" else size
    for distance in (1, 3, 10):
        images = rng.normal(size=(3, 3, 2, size, 3)).astype("float32")
        by = min(distance, most), min(distance, 2 if boundary == "reflect" else 3)
        padded = np.pad(images, ((0, 0),) * 3 + tuple((n, n) for n in by), mode=boundary)
        expected = sum(
            padded[s, t, :, s * by[0] : s * by[0] + size, t * by[1] : t * by[1] + 3]
            for s in range(3)
            for t in range(3)
        )
        got = ops.convert_to_numpy(shifts.add(ops.convert_to_tensor(images), (distance,) * 2))
        np.testing.assert_allclose(got, expected, atol=1e-5)
        # The transpose: <add(u), v> = <u, spread(v)>.
        other = rng.normal(size=(2, size, 3)).astype("float32")
        spread = shifts.spread(ops.convert_to_tensor(other), (distance,) * 2)
        left, right = (got * other).sum(), (images * ops.convert_to_numpy(spread)).sum()
        assert left == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (1, 3, 2)])
def test_images_smaller_than_the_dilations(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    # One traced model for all sizes: the bound is found when the size is known.
    model = create(MSDNet(1, 20, output_initializer="glorot_uniform"), len(shape), 1, 2)
    images = rng.normal(size=(2, *shape, 1)).astype("float32")
    output = model.predict(images, verbose=0)
    assert output.shape == (2, *shape, 2)
    np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)
    eager = ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(output, eager, atol=1e-5)


# ------------------------------------------------------ configuration and contract


@pytest.mark.parametrize(
    "net",
    [
        MSDNet(1, 12),
        MSDNet.original(2, 3, dilations=(1, 2, 4), output_initializer="glorot_uniform"),
    ],
)
def test_the_contract(net: MSDNet) -> None:
    check_architecture(net)


def test_zero_output_layer_still_trains(rng: np.random.Generator) -> None:
    keras.utils.set_random_seed(0)
    model = create(MSDNet(1, 3), 2)
    model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy")
    images = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    targets = np.eye(2, dtype="float32")[(images[..., 0] > 0).astype(int)]
    before = [ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    for _ in range(2):  # the first step moves the output layer, the second all
        model.train_on_batch(images, targets)
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert not np.array_equal(old, ops.convert_to_numpy(weight)), weight.path


def test_half_precision_is_close(rng: np.random.Generator) -> None:
    net = MSDNet(1, 6, (1, 2), output_initializer="glorot_uniform")
    images = rng.normal(size=(1, 16, 16, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    full = create(net, 2)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = create(net, 2)
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(full.get_weights())
    found, expected = (
        ops.convert_to_numpy(model(images, training=False)) for model in (half, full)
    )
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_json_round_trip_and_arguments() -> None:
    net = MSDNet(2, 30, (1, 2, 4, 8, 16), (8, 8, 1), normalization=None, activation="relu")
    again = deserialize(json.loads(json.dumps(serialize(net))))
    assert again == net
    assert net.required_multiple == 1
    with pytest.raises(ConfigurationError, match=r"\(8, 8, 1\).*2D"):
        create(net, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"dilations": ()}, r"dilations is \(\)"),
        ({"dilations": (1, 0)}, "positive"),
        ({"max_dilation": 0}, "max_dilation is 0"),
        ({"max_dilation": (1, -1)}, "max_dilation"),
        ({"normalization": "batch"}, "'batch'.*'instance'"),
        ({"activation": "elu"}, "'elu'.*'leaky_relu'"),
        ({"boundary": "zero"}, "'zero'.*'reflect'"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MSDNet(**options)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(msdnet)
    assert result.attempted > 0
    assert result.failed == 0
