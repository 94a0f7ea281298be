"""The standard U-Net."""

from __future__ import annotations

import math
from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import base
from miscnn.neural_network.architecture.blocks import (
    NORMALIZATIONS,
    UPSAMPLINGS,
    Blocks,
    Sizes,
    per_level,
)

__all__ = ["Architecture", "UNetStandard", "UNet_standard"]


class UNetStandard(base.BothDimensions):
    """U-Net: an encoder and a decoder of two convolutions per level, joined by skips.

    Parameters
    ----------
    n_filters : int
        Feature maps of the first level; each further level has twice as many.
    depth : int
        How many times the image is reduced; there are ``depth + 1`` levels.
    activation : str
        Activation of the output.
    batch_normalization : bool, optional
        As in MIScnn 1.x: True stands for ``normalization="batch"``, False for
        ``normalization=None``. Left out, ``normalization`` decides.
    normalization : {"instance", "batch", "group"} or None
        Normalisation after each convolution. Instance, not batch as in MIScnn 1.x, is the
        default: the usual batch of two patches has no statistics to speak of.
    conv_activation : str
        Activation after each normalisation: "relu", "leaky_relu" (slope 0.01), or another
        of Keras' names.
    dropout : float
        Share of the feature maps that is dropped after each level's convolutions in training.
    max_filters : int, optional
        Upper bound of the feature maps of a level.
    kernel_size, pool_size : int, sequence, or sequence of sequences
        One size, one per axis, or one per axis for each level (``depth + 1`` kernels, ``depth``
        poolings). ``pool_size=((2, 2, 1), (2, 2, 2))`` leaves the third axis alone at first, as
        fits voxels twice as long along it.
    upsampling : {"transposed", "nearest"}
        Transposed convolution, or repetition after a 1-voxel convolution.

    References
    ----------
    Ronneberger et al. 2015, arXiv 1505.04597; in 3D Çiçek et al. 2016, arXiv 1606.06650. Unlike
    there the convolutions are padded.

    Examples
    --------
    >>> model = UNetStandard(n_filters=8, depth=2).create_model_2D((None, None, 1), n_labels=3)
    >>> model.output_shape
    (None, None, None, 3)
    """

    def __init__(
        self,
        n_filters: int = 32,
        depth: int = 4,
        activation: str = "softmax",
        batch_normalization: bool | None = None,
        *,
        normalization: str | None = "instance",
        conv_activation: str = "relu",
        dropout: float = 0.0,
        max_filters: int | None = None,
        kernel_size: Sizes = 3,
        pool_size: Sizes = 2,
        upsampling: str = "transposed",
    ) -> None:
        if n_filters < 1 or depth < 1:
            raise ConfigurationError(
                f"n_filters is {n_filters}, depth is {depth}; expected 1 or more of each"
            )
        if normalization not in NORMALIZATIONS:
            raise ConfigurationError(
                f"normalization is {normalization!r}; expected one of {NORMALIZATIONS}"
            )
        if upsampling not in UPSAMPLINGS:
            raise ConfigurationError(f"upsampling is {upsampling!r}; expected one of {UPSAMPLINGS}")
        if not 0 <= dropout < 1:
            raise ConfigurationError(f"dropout is {dropout}; expected at least 0 and below 1")
        self.n_filters = n_filters
        self.depth = depth
        self.activation = activation
        self.batch_normalization = batch_normalization
        self.normalization = normalization
        self.conv_activation = conv_activation
        self.dropout = dropout
        self.max_filters = max_filters
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.upsampling = upsampling

    @property
    def required_multiple(self) -> int | tuple[int, ...]:
        """Product of the poolings: one number, or one per axis if they are given per axis."""
        if isinstance(self.pool_size, int):
            return int(self.pool_size**self.depth)
        first = self.pool_size[0]
        dimensions = len(self.pool_size) if isinstance(first, int) else len(first)
        pools = per_level("pool_size", self.pool_size, self.depth, dimensions)
        return tuple(math.prod(sizes) for sizes in zip(*pools, strict=True))

    def _create(self, input_shape: tuple[int | None, ...], n_labels: int, dimensions: int) -> Any:
        kernels = per_level("kernel_size", self.kernel_size, self.depth + 1, dimensions)
        pools = per_level("pool_size", self.pool_size, self.depth, dimensions)
        normalization = self.normalization
        if self.batch_normalization is not None:
            normalization = "batch" if self.batch_normalization else None
        blocks = Blocks(dimensions, normalization, self.conv_activation, self.dropout)

        inputs = keras.Input(input_shape)
        x = inputs
        skips = []
        for level in range(self.depth):
            x = blocks.block(x, self.filters(level), kernels[level], f"encoder_{level}")
            skips.append(x)
            x = blocks.down(x, pools[level], f"encoder_{level}")
        x = blocks.block(x, self.filters(self.depth), kernels[-1], "bottleneck")
        for level in reversed(range(self.depth)):
            name = f"decoder_{level}"
            x = blocks.up(x, self.filters(level), pools[level], self.upsampling, name)
            x = keras.layers.Concatenate(name=f"{name}_join")([x, skips[level]])
            x = blocks.block(x, self.filters(level), kernels[level], name)
        outputs = blocks.head(x, n_labels, self.activation)
        return keras.Model(inputs, outputs, name=f"unet_standard_{dimensions}d")

    def filters(self, level: int) -> int:
        """Return the number of feature maps of a level; the first is level 0."""
        filters = int(self.n_filters * 2**level)
        return filters if self.max_filters is None else min(filters, self.max_filters)


Architecture = UNet_standard = UNetStandard
