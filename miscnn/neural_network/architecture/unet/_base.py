"""What all variants of the U-Net share."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture.base import BothDimensions
from miscnn.neural_network.architecture.blocks import (
    NORMALIZATIONS,
    UPSAMPLINGS,
    Blocks,
    Sizes,
    finished,
    multiple_of,
    per_level,
)

__all__ = ["Level", "UNet"]

_LEAST_DEPTH = 3  # for deep supervision: see UNet's parameter of that name


@dataclass(frozen=True)
class Level:
    """One resolution of a U-Net, as the hooks of :class:`UNet` see it.

    Parameters
    ----------
    number : int
        0 is the resolution of the image, ``depth`` the coarsest.
    filters : int
        Feature maps of the level.
    kernel : tuple of int
        Size of its convolutions, per axis.
    pool : tuple of int
        By what the next level is coarser, per axis; ones at the coarsest.
    """

    number: int
    filters: int
    kernel: tuple[int, ...]
    pool: tuple[int, ...]


class UNet(BothDimensions):
    """A U-Net; variants override what happens in a block, on a skip, or where both paths join.

    The encoder makes a :meth:`block` per level and reduces by maximum pooling. The decoder
    enlarges, takes what :meth:`skip` lets through from the encoder, brings both together by
    :meth:`join` and makes another block. Any number of maps may come out of a block.

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
        Share of the feature maps that is dropped after each level's block in training.
    max_filters : int, optional
        Upper bound of the feature maps of a level.
    kernel_size, pool_size : int, sequence, or sequence of sequences
        One size, one per axis, or one per axis for each level (``depth + 1`` kernels, ``depth``
        poolings). ``pool_size=((2, 2, 1), (2, 2, 2))`` leaves the third axis alone at first, as
        fits voxels twice as long along it.
    upsampling : {"transposed", "nearest"}
        Transposed convolution, or repetition after a 1-voxel convolution.
    deep_supervision : bool
        Train the coarser levels of the decoder by outputs of their own
        (:class:`~miscnn.neural_network.deep_supervision.DeepSupervisionModel`). As in nnU-Net
        all have one but the coarsest, so that the depth must be 3 or more.

    Raises
    ------
    ConfigurationError
        If an argument is not one of these, or arguments do not go together.
    """

    output_argument = "activation"

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
        deep_supervision: bool = False,
    ) -> None:
        if n_filters < 1 or depth < 1:
            raise ConfigurationError(
                f"n_filters is {n_filters}, depth is {depth}; expected 1 or more of each"
            )
        if max_filters is not None and max_filters < 1:
            raise ConfigurationError(f"max_filters is {max_filters}; expected 1 or more, or None")
        if normalization not in NORMALIZATIONS:
            raise ConfigurationError(
                f"normalization is {normalization!r}; expected one of {NORMALIZATIONS}"
            )
        if upsampling not in UPSAMPLINGS:
            raise ConfigurationError(f"upsampling is {upsampling!r}; expected one of {UPSAMPLINGS}")
        if not 0 <= dropout < 1:
            raise ConfigurationError(f"dropout is {dropout}; expected at least 0 and below 1")
        if deep_supervision and depth < _LEAST_DEPTH:
            raise ConfigurationError(
                f"deep_supervision is {deep_supervision} and depth is {depth}: no coarser level "
                f"is left to be trained; take a depth of {_LEAST_DEPTH} or more, or False"
            )
        check_sizes("kernel_size", kernel_size, depth + 1)
        check_sizes("pool_size", pool_size, depth)
        check_activation("activation", activation)
        check_activation("conv_activation", conv_activation)
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
        self.deep_supervision = deep_supervision

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Return the feature maps that a level makes of ``x``.

        Parameters
        ----------
        blocks : Blocks
            Makes layers of the network's style.
        x : Keras tensor
            ``(batch, x, y[, z], maps)``; spatial axes must keep their size.
        level : Level
            Its ``filters`` say how many maps are made.
        name : str
            With what the names of the layers begin: "encoder_<level>", "bottleneck" or
            "decoder_<level>".
        """

    def skip(self, blocks: Blocks, x: Any, below: Any, level: Level, name: str) -> Any:
        """Return what goes across from encoder to decoder; all of it by default.

        Parameters
        ----------
        blocks, level
            As for :meth:`block`.
        x : Keras tensor
            The encoder's maps of this level.
        below : Keras tensor
            The decoder's maps of the next coarser level.
        name : str
            "skip_<level>".
        """
        return x

    def join(self, blocks: Blocks, x: Any, skip: Any, level: Level, name: str) -> Any:
        """Return one tensor made of the enlarged maps ``x`` and the skip's, by concatenation."""
        return keras.layers.Concatenate(name=f"{name}_join")([x, skip])

    # ------------------------------------------------------------------ sizes

    def filters(self, level: int) -> int:
        """Return the number of feature maps of a level; the first is level 0."""
        filters = int(self.n_filters * 2**level)
        return filters if self.max_filters is None else min(filters, self.max_filters)

    def pools(self, dimensions: int) -> list[tuple[int, ...]]:
        """Return the sizes of the poolings, one per axis for each of them."""
        return per_level("pool_size", self.pool_size, self.depth, dimensions)

    def levels(self, dimensions: int) -> list[Level]:
        """Return the levels, the finest first."""
        kernels = per_level("kernel_size", self.kernel_size, self.depth + 1, dimensions)
        pools = [*self.pools(dimensions), (1,) * dimensions]
        return [
            Level(number, self.filters(number), kernel, pool)
            for number, (kernel, pool) in enumerate(zip(kernels, pools, strict=True))
        ]

    @property
    def required_multiple(self) -> int | tuple[int, ...]:
        """Product of the poolings: one number, or one per axis if they are given per axis."""
        if isinstance(self.pool_size, int):
            return int(self.pool_size**self.depth)
        first = self.pool_size[0]
        dimensions = len(self.pool_size) if isinstance(first, int) else len(first)
        return multiple_of(self.pools(dimensions))

    # ------------------------------------------------------------------ models

    def style(self, dimensions: int) -> Blocks:
        """Return the maker of layers."""
        normalization = self.normalization
        if self.batch_normalization is not None:
            normalization = "batch" if self.batch_normalization else None
        return Blocks(dimensions, normalization, self.conv_activation, self.dropout)

    def _create(self, input_shape: tuple[int | None, ...], n_labels: int, dimensions: int) -> Any:
        blocks = self.style(dimensions)
        *levels, bottom = self.levels(dimensions)

        inputs = keras.Input(input_shape)
        x = inputs
        skips = []
        for level in levels:
            name = f"encoder_{level.number}"
            x = blocks.dropped(self.block(blocks, x, level, name), name)
            skips.append(x)
            x = blocks.down(x, level.pool, name)
        x = blocks.dropped(self.block(blocks, x, bottom, "bottleneck"), "bottleneck")
        outputs = []
        for level, skip in zip(reversed(levels), reversed(skips), strict=True):
            name = f"decoder_{level.number}"
            skip = self.skip(blocks, skip, x, level, f"skip_{level.number}")
            x = blocks.up(x, level.filters, level.pool, self.upsampling, name)
            x = self.join(blocks, x, skip, level, name)
            x = blocks.dropped(self.block(blocks, x, level, name), name)
            if self.deep_supervision and 0 < level.number < self.depth - 1:
                suffix = f"_{level.number}"
                outputs.append(blocks.head(x, n_labels, self.activation, suffix=suffix))
        outputs.append(blocks.head(x, n_labels, self.activation))
        return finished(inputs, outputs, _model_name(type(self).__name__, dimensions))


def check_sizes(name: str, sizes: Sizes, levels: int) -> None:
    """Raise ConfigurationError if sizes suit neither 2 nor 3 spatial axes."""
    dimensions = 2
    if not isinstance(sizes, int):
        if not isinstance(sizes, Sequence) or not sizes:
            raise ConfigurationError(
                f"{name} is {sizes!r}; expected a positive integer, 2 or 3 of them (one per "
                f"axis), or a sequence of such for each of {levels} levels"
            )
        axes: Any = sizes[0] if isinstance(sizes[0], Sequence) else sizes
        dimensions = 3 if len(axes) == 3 else 2
    per_level(name, sizes, levels, dimensions)  # raises


def check_activation(argument: str, name: str) -> None:
    """Raise ConfigurationError if Keras has no activation of this name."""
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise ConfigurationError(
            f"{argument} is {name!r}; expected one of Keras' activations, such as 'relu', "
            "'leaky_relu', 'softmax'"
        ) from error


def _model_name(name: str, dimensions: int) -> str:
    """Turn UNetMultiRes into unet_multi_res_2d."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("UNet", "Unet").strip("_"))
    return f"{words.lower()}_{dimensions}d"
