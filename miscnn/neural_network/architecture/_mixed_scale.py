"""The mixed-scale dense part of MS-D Net as one layer.

A chain of Keras layers keeps a copy of all earlier maps for each layer. Here the maps lie
channels first, ``(maps, batch · voxels)``, so that each is one contiguous image, and a dilated
convolution over all earlier maps is a matrix product (maps to 3 × 3 [× 3] products), whose rows
are then shifted and added: reflection at the border commutes with the product. The products
of a block of layers with all maps before the block are one large matrix product, in the
gradient as well, which is written down by hand: it needs the maps and the normalised values,
nothing else, where automatic differentiation would keep each intermediate result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from miscnn._keras import keras, ops
from miscnn.neural_network.architecture._mixed_scale_pass import Run, Stage

__all__ = ["MixedScaleDense"]

_PRODUCTS = 140  # of one block, each as large as a map: more is faster and takes more memory
_STAGES = 2  # loops: more calculate less with maps that are not there yet, but take longer to build


@keras.saving.register_keras_serializable(package="miscnn")
class MixedScaleDense(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """All hidden layers of an MS-D Net and its output layer, without the softmax.

    ``(batch, x, y[, z], channels)`` to ``(batch, x, y[, z], labels)``.

    Parameters
    ----------
    labels : int
        Channels of the output.
    width, depth : int
        New maps per hidden layer, number of hidden layers.
    dilations : sequence of int
        Distance between the taps of each new map, cycled over all maps of all layers.
    max_dilation : int, sequence of int or None
        Upper bound, for all axes or for each. A dilation is also bounded by what one
        reflection reaches in the image at hand.
    normalized : bool
        Instance normalisation (scale and offset per map) instead of a bias.
    negative_slope : float
        Of the activation below zero; 0 is ReLU.
    boundary : {"reflect", "symmetric"}
        Mirror at the centre of the outermost voxel, or at its border.
    epsilon : float
        Added to the variance.
    head_initializer : str
        Of the weights of the output layer.

    Notes
    -----
    The kernels are one flat weight, layer after layer, each ``(3, 3[, 3], earlier maps,
    width)`` as Keras orders them; :meth:`kernel` takes them apart.
    """

    def __init__(
        self,
        labels: int,
        width: int,
        depth: int,
        dilations: Sequence[int],
        max_dilation: int | Sequence[int] | None = None,
        normalized: bool = True,
        negative_slope: float = 0.01,
        boundary: str = "reflect",
        epsilon: float = 1e-5,
        head_initializer: str = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.labels = labels
        self.width = width
        self.depth = depth
        self.dilations = list(dilations)
        self.max_dilation = max_dilation
        self.normalized = normalized
        self.negative_slope = negative_slope
        self.boundary = boundary
        self.epsilon = epsilon
        self.head_initializer = head_initializer
        # XLA needs minutes to compile what TensorFlow runs at once; JAX cannot do without.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights: kernels, scale and offset or bias, and the output layer's."""
        self.channels = int(input_shape[-1] or 0)
        self.dimensions = len(input_shape) - 2
        maps = self.width * self.depth
        taps = 3**self.dimensions
        fan = taps * (self.channels + self.width * (self.depth - 1)) + self.labels
        normal = keras.initializers.RandomNormal(stddev=(2 / fan) ** 0.5)
        self.kernels = self.add_weight(
            shape=(self._starts[-1],), initializer=normal, name="kernels"
        )
        if self.normalized:
            self.gamma = self.add_weight(
                shape=(maps,), initializer="ones", name="gamma", autocast=False
            )
        self.offset = self.add_weight(
            shape=(maps,),
            initializer="zeros",
            name="beta" if self.normalized else "bias",
            autocast=False,
        )
        self.head_kernel = self.add_weight(
            shape=(self.channels + maps, self.labels),
            initializer=self.head_initializer,
            name="head_kernel",
        )
        self.head_bias = self.add_weight(
            shape=(self.labels,), initializer="zeros", name="head_bias"
        )

    def kernel(self, layer: int) -> Any:
        """Return the kernel of a hidden layer, ``(3, 3[, 3], earlier maps, width)``."""
        flat = ops.convert_to_tensor(self.kernels)[self._starts[layer] : self._starts[layer + 1]]
        return ops.reshape(flat, (3,) * self.dimensions + (self.before(layer), self.width))

    def call(self, inputs: Any) -> Any:
        """Return the logits."""
        shape = ops.shape(inputs)
        first = (len(inputs.shape) - 1, *range(len(inputs.shape) - 1))
        maps = ops.reshape(ops.transpose(inputs, first), (self.channels, -1))
        run = Run(self, shape[:-1], keras.backend.standardize_dtype(inputs.dtype))
        # Casts also make tensors of TensorFlow's variables, which custom gradients want.
        weights = [
            ops.cast(ops.convert_to_tensor(weight), run.dtype)
            for weight in (self.kernels, self.head_kernel, self.head_bias)
        ]
        weights += [
            ops.cast(ops.convert_to_tensor(weight), run.exact)
            for weight in ((self.offset, self.gamma) if self.normalized else (self.offset,))
        ]
        logits = run(maps, *weights)
        last = (*range(1, len(inputs.shape)), 0)
        return ops.transpose(ops.reshape(logits, (self.labels, *shape[:-1])), last)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the logits."""
        return (*input_shape[:-1], self.labels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        names = "labels width depth dilations max_dilation normalized negative_slope boundary"
        own = {name: getattr(self, name) for name in names.split()}
        own |= {"epsilon": self.epsilon, "head_initializer": self.head_initializer}
        return {**super().get_config(), **own}

    def dilation(self, layer: int, channel: int) -> tuple[int, ...]:
        """Return the dilation of a map for each axis."""
        number = layer * self.width + channel
        dilation = self.dilations[number % len(self.dilations)]
        bounds = self.max_dilation
        if bounds is None or isinstance(bounds, int):
            bounds = (bounds or dilation,) * self.dimensions
        return tuple(min(dilation, bound) for bound in bounds)

    @cached_property
    def stages(self) -> list[Stage]:
        """The layers in stages; those of a stage are run in a loop."""
        taps = 3**self.dimensions
        step = max(1, _PRODUCTS // (taps * self.width))
        period = math.lcm(len(self.dilations), self.width) // self.width
        group = period * max(1, step // period)
        rounds, rest = divmod(self.depth, group)
        stages, first = [], 0
        for number in range(min(_STAGES, rounds)):
            own = len(range(number, rounds, min(_STAGES, rounds)))
            stages.append(Stage(first, group, own, min(step, group)))
            first += own * group
        if rest:
            stages.append(Stage(first, rest, 1, min(step, rest)))
        return stages

    def before(self, layer: int) -> int:
        """Return the number of maps that a layer sees."""
        return int(self.channels + layer * self.width)

    @cached_property
    def _starts(self) -> list[int]:
        sizes = [3**self.dimensions * self.width * self.before(i) for i in range(self.depth)]
        return [0, *np.cumsum(sizes).tolist()]

    @cached_property
    def matrices(self) -> list[tuple[Any, Any, Any]]:
        """Where the elements of three matrices per stage stand in the flat weight.

        The rows are the products by layer, map and tap; what does not exist points behind
        the end. The columns of the first are the maps before the block, the last of them in
        the last column; of the second all maps before the block, each in its place; of the
        third the maps of the block.
        """
        taps = 3**self.dimensions
        found = []
        for stage in self.stages:
            total = self.before(stage.end)
            shape = (stage.end - stage.first, self.width, taps)
            shifted, placed, inner = (
                np.full((*shape, columns), self._starts[-1], "int32")
                for columns in (total, total, stage.step * self.width)
            )
            for row, layer in enumerate(range(stage.first, stage.end)):
                flat = np.arange(self._starts[layer], self._starts[layer + 1])
                numbers = flat.reshape(taps, -1, self.width).transpose(2, 0, 1)
                outer = self.before(layer - row % stage.layers % stage.step)
                placed[row, ..., :outer] = shifted[row, ..., total - outer :] = numbers[..., :outer]
                inner[row, ..., : numbers.shape[-1] - outer] = numbers[..., outer:]
            rows = shape[0] * self.width * taps
            found.append(
                (shifted.reshape(rows, -1), placed.reshape(rows, -1), inner.reshape(rows, -1))
            )
        return found

    @cached_property
    def positions(self) -> Any:
        """Where the elements of the flat weight stand in the stages' matrices, all in a row."""
        taps = 3**self.dimensions
        parts: list[Any] = []
        start = 0
        for stage in self.stages:
            total = self.before(stage.end)
            for row, layer in enumerate(range(stage.first, stage.end)):
                rows = (row * self.width + np.arange(self.width)) * taps
                per_tap = rows + np.arange(taps)[:, None, None]
                part = start + per_tap * total + np.arange(self.before(layer))[:, None]
                parts.append(part.ravel())
            start += (stage.end - stage.first) * self.width * taps * total
        return np.concatenate(parts).astype("int32")
