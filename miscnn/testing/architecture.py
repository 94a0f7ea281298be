"""The contract of architectures, put to the test."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras, ops
from miscnn.exceptions import ContractError, MiscnnError
from miscnn.neural_network.architecture.base import Architecture

_SUM_TOLERANCE = 1e-5
# Of probabilities; batches of other sizes are summed in other orders.
_ALONE_TOLERANCE = 1e-4
_STRONG = 10.0
_ODD = (5, 7, 9)  # times a small multiple: a size that is no multiple of anything larger


def check_architecture(
    architecture: Architecture,
    dimensions: Sequence[int] = (2, 3),
    *,
    channels: int = 2,
    n_labels: int = 3,
    seed: int = 0,
) -> None:
    """Put an architecture through the contract of its base class.

    Checked are, in 2D and in 3D: it survives JSON and builds the same network then; the network
    takes any size that is a multiple of ``required_multiple``, odd times it too, and returns
    probabilities of that size, float32, that sum to one, also under the dtype policy
    "mixed_float16"; a sample's result does not depend on the others of its batch; all weights
    can be trained; the saved network can be loaded in Keras' safe mode and predicts the same.

    Parameters
    ----------
    architecture : Architecture
    dimensions : sequence of int
        Leave 2 or 3 out if the architecture is made (or configured) for the other only.
    channels, n_labels : int
        Of the networks that are built.
    seed : int
        Of weights and images. The global seeds of Keras are set with it.

    Raises
    ------
    ContractError
        Names the promise that is broken. It is an AssertionError.

    Examples
    --------
    >>> from miscnn.neural_network.architecture import UNetStandard
    >>> check_architecture(UNetStandard(n_filters=4, depth=1), dimensions=(2,))
    """
    for number in dimensions:
        _Check(architecture, number, channels, n_labels, seed).run()


class _Check:
    def __init__(
        self, architecture: Architecture, dimensions: int, channels: int, n_labels: int, seed: int
    ) -> None:
        self.architecture = architecture
        self.dimensions = dimensions
        self.channels = channels
        self.n_labels = n_labels
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def run(self) -> None:
        model = self.build(self.architecture)
        self.check_configuration(model)
        self.check_precision()
        equal, unequal = self.sizes((1,) * self.dimensions), self.sizes(self.unequal)
        for sizes in dict.fromkeys((equal, self.odd_sizes, unequal)):
            images = self.images(sizes)
            self.check_output(model, images)
        self.check_saved(model, images)
        self.check_trainable(model, images)

    @property
    def unequal(self) -> tuple[int, ...]:
        return (3, *(2,) * (self.dimensions - 1))

    def require(self, kept: bool, promise: str) -> None:
        if not kept:
            name = type(self.architecture).__name__
            raise ContractError(f"{name} in {self.dimensions}D: {promise}")

    def build(self, architecture: Architecture) -> Any:
        keras.utils.set_random_seed(self.seed)
        create = (
            architecture.create_model_3D if self.dimensions == 3 else architecture.create_model_2D
        )
        return create((None,) * self.dimensions + (self.channels,), self.n_labels)

    @property
    def multiples(self) -> tuple[int, ...]:
        return self.architecture.multiple_per_axis(self.dimensions)

    def sizes(self, times: tuple[int, ...]) -> tuple[int, ...]:
        # At least four voxels, so that layers see more than their own padding.
        return tuple(m * t * -(-4 // m) for m, t in zip(self.multiples, times, strict=True))

    @property
    def odd_sizes(self) -> tuple[int, ...]:
        # From four voxels on the other sizes are odd times the multiple already.
        return tuple(m * odd if m < 4 else m for m, odd in zip(self.multiples, _ODD, strict=False))

    def images(self, sizes: tuple[int, ...]) -> NDArray[np.float32]:
        return self.rng.normal(size=(2, *sizes, self.channels)).astype(np.float32)

    def check_configuration(self, model: Any) -> None:
        cls = type(self.architecture)
        try:
            document = json.loads(json.dumps(serialize(self.architecture)))
            remade = deserialize(document, {document["class"]: cls})
        except (AttributeError, TypeError, MiscnnError) as error:
            raise ContractError(
                f"{cls.__name__} cannot be made again from its configuration as JSON ({error}); "
                "store each argument of the constructor unchanged under its own name"
            ) from error
        self.require(
            remade == self.architecture, "made again from its JSON, it has another configuration"
        )
        twin = self.build(remade)
        self.require(
            [w.shape for w in twin.weights] == [w.shape for w in model.weights]
            and all(map(np.array_equal, twin.get_weights(), model.get_weights())),
            "made again from its JSON, it builds other weights from the same seed",
        )

    def check_precision(self) -> None:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            dtype = self.build(self.architecture).output.dtype
        finally:
            keras.config.set_dtype_policy(policy)
        self.require(
            dtype == "float32",
            f'under "mixed_float16" the output is {dtype}; give the last activation '
            'dtype="float32"',
        )

    def check_output(self, model: Any, images: NDArray[np.float32]) -> None:
        question = f"is required_multiple ({self.architecture.required_multiple}) right?"
        try:
            output = ops.convert_to_numpy(model(images, training=False))
        except Exception as error:  # each backend has an exception of its own for shapes
            raise ContractError(
                f"{type(self.architecture).__name__} in {self.dimensions}D: the network fails for "
                f"images {images.shape}; {question} ({str(error).strip().splitlines()[0]})"
            ) from error
        expected = (*images.shape[:-1], self.n_labels)
        self.require(
            output.shape == expected,
            f"for images {images.shape} the output is {output.shape}, expected {expected}; "
            f"{question}",
        )
        self.require(output.dtype == np.float32, f"the output is {output.dtype}, not float32")
        self.require(bool(np.isfinite(output).all()), "the output holds NaN or infinity")
        off = float(np.abs(output.sum(axis=-1, dtype=np.float64) - 1.0).max())
        self.require(
            float(output.min()) >= 0.0 and off <= _SUM_TOLERANCE,
            f"the output is no probabilities: minimum {output.min():.3g}, sums off by {off:.3g}; "
            "end with a softmax",
        )
        self.check_alone(model, images, output)

    def check_alone(self, model: Any, images: NDArray[np.float32], output: NDArray[Any]) -> None:
        # Far from the first in mean and contrast: what is taken over the batch moves with them.
        other = images[1:] * np.float32(_STRONG) + np.float32(_STRONG)
        among = np.concatenate([images[:1], other])
        # Keras hands training=False down to every layer. Without it, as an exported or loaded
        # network may be called, a layer keeps what it was called with when the network was built.
        for batch, options in itertools.product((images[:1], among), ({"training": False}, {})):
            result = ops.convert_to_numpy(model(batch, **options))[:1]
            off = float(np.abs(result - output[:1]).max())
            self.require(
                off <= _ALONE_TOLERANCE,
                "a sample's result depends on the others of its batch (probabilities change by "
                f"{off:.2g} with others{'' if options else ', called without training=False'}); "
                "take no mean over the batch in inference, and call no layer with training=True, "
                "such as BatchNormalization()(x, training=True)",
            )

    def check_saved(self, model: Any, images: NDArray[np.float32]) -> None:
        before = ops.convert_to_numpy(model(images, training=False))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            try:
                loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
            except (TypeError, ValueError) as error:
                raise ContractError(
                    f"the network of {type(self.architecture).__name__} cannot be loaded in safe "
                    f"mode ({error}); use no Lambda layers and register own layers with "
                    "keras.saving.register_keras_serializable"
                ) from error
        self.require(
            np.array_equal(ops.convert_to_numpy(loaded(images, training=False)), before),
            "saved and loaded, the network predicts something else; does get_config() of the own "
            "layers return all arguments?",
        )

    def check_trainable(self, model: Any, images: NDArray[np.float32]) -> None:
        # Arbitrary targets: no class may be right already, or its weights would stand still.
        labels = self.rng.integers(self.n_labels, size=images.shape[:-1])
        targets = np.eye(self.n_labels, dtype=np.float32)[labels]
        model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy", run_eagerly=True)
        before = [(w.path, ops.convert_to_numpy(w).copy()) for w in model.trainable_weights]
        for _ in range(2):  # behind an output that begins with zeros nothing moves in the first
            model.train_on_batch(images, targets)
        after = [ops.convert_to_numpy(w) for w in model.trainable_weights]
        still = [
            path for (path, old), new in zip(before, after, strict=True) if np.array_equal(old, new)
        ]
        self.require(not still, f"two training steps do not change the weights {still}")
        self.require(
            all(bool(np.isfinite(new).all()) for new in after),
            "training makes weights NaN or infinite",
        )
