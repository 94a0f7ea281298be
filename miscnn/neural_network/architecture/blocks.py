"""Building blocks that the architectures share, for 2D and 3D alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture.normalization import InstanceNormalization
from miscnn.neural_network.deep_supervision import DeepSupervisionModel

__all__ = ["Blocks", "Sizes", "finished", "multiple_of", "per_level"]

Sizes = int | Sequence[int] | Sequence[Sequence[int]]
"""One size for all axes, one per axis, or one per axis for each level."""

NORMALIZATIONS = ("batch", "instance", "group", None)
UPSAMPLINGS = ("transposed", "nearest")

_LEAKY_SLOPE = 0.01  # nnU-Net's; Keras' default of 0.2 comes from adversarial networks
_MOST_GROUPS = 8


@dataclass(frozen=True)
class Blocks:
    """Makes layers of one style for one number of dimensions.

    Parameters
    ----------
    dimensions : int
        2 or 3 spatial axes.
    normalization : {"batch", "instance", "group"} or None
        What follows each convolution; "group" makes 8 groups, or fewer where 8 does not
        divide the number of filters.
    activation : str
        "leaky_relu" (slope 0.01), or the name of any activation of Keras'.
    dropout : float
        Share of the feature maps that is dropped after each block during training.
    bias : bool, optional
        Whether convolutions have a bias. Default: only where no normalisation follows.
    initializer : str or mapping, optional
        Name of one of Keras' initializers, or its configuration. Default: "he_normal" for the
        hidden layers, Keras' own for the output.
    epsilon : float, optional
        What normalisations add to the variance. Default: 1e-5, batch normalisation Keras' 1e-3.
    scale : str
        Name of the initializer of the scale of normalisations; "zeros" for the last one of a
        residual block that shall begin as its shortcut.
    """

    dimensions: int
    normalization: str | None = "instance"
    activation: str = "relu"
    dropout: float = 0.0
    bias: bool | None = None
    initializer: str | Mapping[str, Any] | None = None
    epsilon: float | None = None
    scale: str = "ones"

    def block(
        self,
        x: Any,
        filters: int,
        kernel: tuple[int, ...],
        name: str,
        strides: tuple[int, ...] | None = None,
    ) -> Any:
        """Two convolutions, each with normalisation and activation; dropout at the end.

        The first one has the strides.
        """
        return self.dropped(self.twice(x, filters, kernel, name, strides), name)

    def twice(
        self,
        x: Any,
        filters: int,
        kernel: tuple[int, ...],
        name: str,
        strides: tuple[int, ...] | None = None,
    ) -> Any:
        """Two convolutions, each with normalisation and activation; the first has the strides."""
        x = self.convolution(x, filters, kernel, f"{name}_0", strides)
        return self.convolution(x, filters, kernel, f"{name}_1")

    def residual(self, x: Any, filters: int, kernel: tuple[int, ...], name: str) -> Any:
        """Two convolutions whose result is added to their input before the last activation.

        The block of He et al. 2016 (CVPR, arXiv 1512.03385, eq. 1 and 2): convolution,
        normalisation, activation, convolution, normalisation, sum, activation. Where the
        number of feature maps changes, a convolution of one voxel with normalisation brings
        the input there; elsewhere the input is added as it is.
        """
        shortcut = x
        if x.shape[-1] != filters:
            shortcut = self.projection(x, filters, f"{name}_shortcut")
        x = self.convolution(x, filters, kernel, f"{name}_0")
        x = self.convolution(x, filters, kernel, f"{name}_1", activate=False)
        return self.added(shortcut, x, name)

    def added(self, x: Any, y: Any, name: str) -> Any:
        """Sum, then activation."""
        x = keras.layers.Add(name=f"{name}_add")([x, y])
        return self.activated(x, f"{name}_act")

    def projection(self, x: Any, filters: int, name: str) -> Any:
        """Convolution of one voxel and normalisation."""
        return self.convolution(x, filters, (1,) * self.dimensions, name, activate=False)

    def convolution(
        self,
        x: Any,
        filters: int,
        kernel: tuple[int, ...],
        name: str,
        strides: tuple[int, ...] | None = None,
        activate: bool = True,
    ) -> Any:
        """Convolution, normalisation, activation (unless told not to).

        With strides, output voxel ``i`` has its centre on input voxel ``i · stride``, as in
        PyTorch. (The padding "same" of TensorFlow shifts it by one for even sizes.)
        """
        strided = strides is not None and max(strides) > 1
        if strided and max(kernel) > 1:
            margins = tuple(((size - 1) // 2, size // 2) for size in kernel)
            x = self._kind("ZeroPadding{}D")(margins, name=f"{name}_pad")(x)
        x = self._kind("Conv{}D")(
            filters,
            kernel,
            strides=strides if strided else 1,
            padding="valid" if strided else "same",
            use_bias=self.normalization is None if self.bias is None else self.bias,
            kernel_initializer=self.initializer or "he_normal",
            name=f"{name}_conv",
        )(x)
        x = self.normalized(x, f"{name}_norm")
        return self.activated(x, f"{name}_act") if activate else x

    def activated(self, x: Any, name: str) -> Any:
        """Activation."""
        if self.activation == "leaky_relu":
            return keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name=name)(x)
        return keras.layers.Activation(self.activation, name=name)(x)

    def normalized(self, x: Any, name: str) -> Any:
        """Normalisation; nothing if there is none."""
        options: dict[str, Any] = {"gamma_initializer": self.scale, "name": name}
        if self.epsilon is not None:
            options["epsilon"] = self.epsilon
        if self.normalization == "batch":
            return keras.layers.BatchNormalization(**options)(x)
        if self.normalization == "instance":
            return InstanceNormalization(**options)(x)
        if self.normalization == "group":
            groups = math.gcd(x.shape[-1], _MOST_GROUPS)
            return keras.layers.GroupNormalization(groups, **{"epsilon": 1e-5, **options})(x)
        return x

    def dropped(self, x: Any, name: str) -> Any:
        """Drop whole feature maps in training; nothing if the share is 0."""
        if not self.dropout:
            return x
        return self._kind("SpatialDropout{}D")(self.dropout, name=f"{name}_dropout")(x)

    def down(self, x: Any, pool: tuple[int, ...], name: str) -> Any:
        """Take the maximum over blocks of ``pool`` voxels."""
        return self._kind("MaxPooling{}D")(pool, name=f"{name}_pool")(x)

    def up(
        self,
        x: Any,
        filters: int,
        pool: tuple[int, ...],
        how: str,
        name: str,
        bias: bool = True,
    ) -> Any:
        """Enlarge by ``pool``.

        "transposed" is a transposed convolution whose kernel is its stride; "nearest" a
        convolution of one voxel, then repetition: fewer parameters, a little faster.
        """
        if how == "transposed":
            return self._kind("Conv{}DTranspose")(
                filters,
                pool,
                strides=pool,
                use_bias=bias,
                kernel_initializer=self.initializer or "he_normal",
                name=f"{name}_up",
            )(x)
        x = self._kind("Conv{}D")(
            filters,
            1,
            use_bias=bias,
            kernel_initializer=self.initializer or "he_normal",
            name=f"{name}_reduce",
        )(x)
        return self._kind("UpSampling{}D")(pool, name=f"{name}_up")(x)

    def head(
        self, x: Any, n_labels: int, activation: str, bias: bool = True, suffix: str = ""
    ) -> Any:
        """Convolution of one voxel to the classes, and their probabilities in float32."""
        if n_labels == 1 and activation == "softmax":
            raise ConfigurationError(
                "n_labels is 1 and activation is 'softmax', which is 1 in every voxel; take "
                "n_labels=2, the background is a class, or activation='sigmoid'"
            )
        x = self._kind("Conv{}D")(
            n_labels,
            1,
            use_bias=bias,
            kernel_initializer=self.initializer or "glorot_uniform",
            name=f"logits{suffix}",
        )(x)
        return keras.layers.Activation(activation, dtype="float32", name=f"probabilities{suffix}")(
            x
        )

    def _kind(self, name: str) -> Any:
        return getattr(keras.layers, name.format(self.dimensions))


def finished(inputs: Any, outputs: Sequence[Any], name: str) -> Any:
    """Return the model from ``inputs`` to ``outputs``, of which the finest comes last.

    With more than one output the coarser ones are trained by deep supervision.

    Parameters
    ----------
    inputs : Keras tensor
    outputs : sequence of Keras tensors
    name : str
        Of the model.
    """
    if len(outputs) == 1:
        return keras.Model(inputs, outputs[0], name=name)
    return DeepSupervisionModel(inputs, outputs[::-1], name=name)


def multiple_of(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return what the size of each axis must be a multiple of, to be reduced by all strides.

    Parameters
    ----------
    strides : sequence of sequences of int
        Of each level, per axis.
    """
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def per_level(name: str, sizes: Sizes, levels: int, dimensions: int) -> list[tuple[int, ...]]:
    """Spell out sizes: one tuple with an entry per axis for each level.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    sizes : int, sequence of int, or sequence of sequences of int
        The same everywhere; per axis; or per axis for each level.
    levels : int
        How many there are.
    dimensions : int
        Spatial axes.

    Raises
    ------
    ConfigurationError
        If there are not ``levels`` levels of ``dimensions`` positive integers.
    """
    if isinstance(sizes, int):
        spelled: list[Any] = [(sizes,) * dimensions] * levels
    elif all(isinstance(size, int) for size in sizes):
        spelled = [sizes] * levels
    else:
        spelled = list(sizes)
    for level in spelled:
        right = isinstance(level, Sequence) and len(level) == dimensions
        if not right or not all(isinstance(size, int) and size > 0 for size in level):
            raise ConfigurationError(
                f"{name} is {sizes!r}; expected a positive integer, {dimensions} of them (one "
                f"per axis, in {dimensions}D), or a sequence of such for each of {levels} levels"
            )
    if len(spelled) != levels:
        raise ConfigurationError(
            f"{name} is {sizes!r}, which is {len(spelled)} levels; expected {levels}"
        )
    return [tuple(level) for level in spelled]
