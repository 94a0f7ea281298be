"""Attention gates on the skips of a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miscnn._keras import keras, ops
from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level

__all__ = ["LinearUpsampling", "attention_gate"]


@keras.saving.register_keras_serializable(package="miscnn")
class LinearUpsampling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Enlarge spatial axes by whole factors with linear interpolation between voxels.

    Bilinear in 2D, trilinear in 3D; voxels are aligned by their borders, and beyond the
    outermost centres the outermost value holds. (As ``torch.nn.functional.interpolate`` without
    ``align_corners``. Keras has an interpolating layer for 2D only.)

    Parameters
    ----------
    factors : sequence of int
        One per spatial axis.
    """

    def __init__(self, factors: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factors = tuple(factors)

    def call(self, inputs: Any) -> Any:
        """Enlarge ``(batch, …, channels)``."""
        for axis, factor in enumerate(self.factors, start=1):
            if factor > 1:
                inputs = _along(inputs, axis, factor)
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the result."""
        batch, *spatial, channels = input_shape
        enlarged = (
            None if size is None else size * factor
            for size, factor in zip(spatial, self.factors, strict=True)
        )
        return (batch, *enlarged, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "factors": list(self.factors)}


def _along(x: Any, axis: int, factor: int) -> Any:
    def part(*bounds: int | None) -> Any:
        return x[(*(slice(None),) * axis, slice(*bounds))]

    before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis)
    after = ops.concatenate([part(1, None), part(-1, None)], axis=axis)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5  # from the centre of the coarse voxel, in voxels
        neighbour = before if offset < 0 else after
        phases.append((1.0 - abs(offset)) * x + abs(offset) * neighbour)
    shape = ops.shape(x)
    enlarged = (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :])
    return ops.reshape(ops.stack(phases, axis=axis + 1), enlarged)


def attention_gate(blocks: Blocks, x: Any, signal: Any, level: Level, name: str) -> Any:
    """Weight the maps of a skip, voxel by voxel, by how much the coarser level wants of them.

    ``x · up(sigmoid(ψ · relu(W_x x + W_g g + b_g) + b_ψ))``, equations 1 and 2 of the paper:
    additive attention on the grid of the coarser level, whose coefficients, one per voxel,
    are interpolated linearly. From the authors' code (the paper leaves them open): the kernel
    and stride of ``W_x`` are the pooling and it has no bias; it and ``W_g`` make half as many
    maps as the level has. Its last convolution and normalisation of the weighted maps, which
    are not in the equations, are left out.

    Parameters
    ----------
    blocks : Blocks
        Makes layers of the network's style.
    x : Keras tensor
        Maps of the encoder.
    signal : Keras tensor
        Maps of the decoder on the next coarser level: the gating signal.
    level : Level
        Of ``x``.
    name : str
        With what the names of the layers begin.

    Returns
    -------
    Keras tensor
        Of the shape of ``x``.

    References
    ----------
    Oktay et al. 2018, arXiv 1804.03999; their code: ozan-oktay/Attention-Gated-Networks.
    """
    convolution = keras.layers.Conv3D if blocks.dimensions == 3 else keras.layers.Conv2D
    between = max(level.filters // 2, 1)
    initializer = blocks.initializer or "he_normal"
    own = convolution(
        between,
        level.pool,
        strides=level.pool,
        use_bias=False,
        kernel_initializer=initializer,
        name=f"{name}_own",
    )(x)
    wanted = convolution(between, 1, kernel_initializer=initializer, name=f"{name}_signal")(signal)
    both = keras.layers.Add(name=f"{name}_add")([own, wanted])
    both = keras.layers.Activation("relu", name=f"{name}_act")(both)
    share = convolution(1, 1, activation="sigmoid", name=f"{name}_share")(both)
    share = LinearUpsampling(level.pool, name=f"{name}_up")(share)
    return keras.layers.Multiply(name=f"{name}_weighted")([x, share])
