"""What the networks of nnU-Net have in common: fitting, decoder, deep supervision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture._nnunet_topology import (
    DEFAULT_PATCH,
    Topology,
    plain_topology,
    topology,
)
from miscnn.neural_network.architecture.base import BothDimensions
from miscnn.neural_network.architecture.blocks import (
    Blocks,
    Sizes,
    finished,
    multiple_of,
    per_level,
)
from miscnn.neural_network.architecture.unet._base import check_activation

__all__ = ["CURRENT", "FittedUNet", "Form"]

# He et al. 2015 for LeakyReLU with slope 0.01.
_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {
        "scale": 2.0 / (1.0 + 0.01**2),
        "mode": "fan_in",
        "distribution": "untruncated_normal",
    },
}


@dataclass(frozen=True)
class Form:
    """What a generation of nnU-Net fixes."""

    base_features: int
    max_features: tuple[int, int]  # in 2D, in 3D
    strided: bool  # reduce by strided convolution, else by pooling
    deep_supervision: bool
    bias: bool  # of transposed convolutions and heads
    decoder_convolutions: int  # per stage


CURRENT = Form(
    base_features=32,
    max_features=(512, 320),
    strided=True,
    deep_supervision=True,
    bias=True,
    decoder_convolutions=2,
)
"""That of nnU-Net 2.x."""


class FittedUNet(BothDimensions):
    """A U-Net whose strides and kernels are fitted to patch and voxels.

    A subclass says its :attr:`form` and writes :meth:`_encode`; its constructor documents the
    arguments and hands them on.
    """

    output_argument = "activation"

    def __init__(
        self,
        *,
        patch_shape: Sequence[int] | None,
        spacing: Sequence[float] | None,
        strides: Sequence[Sequence[int]] | None,
        kernels: Sizes | None,
        base_features: int | None,
        max_features: int | None,
        deep_supervision: bool | None,
        activation: str,
    ) -> None:
        for name, number in (("base_features", base_features), ("max_features", max_features)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} is {number}; expected 1 or more")
        check_activation("activation", activation)
        self.patch_shape = patch_shape
        self.spacing = spacing
        self.strides = strides
        self.kernels = kernels
        self.base_features = base_features
        self.max_features = max_features
        self.deep_supervision = deep_supervision
        self.activation = activation
        axes = self._fitted_axes()
        if axes is not None:
            self.topology(axes)  # raises if the arguments do not go together

    @property
    @abstractmethod
    def form(self) -> Form:
        """What the generation of nnU-Net fixes."""

    @abstractmethod
    def _encode(
        self, blocks: Blocks, x: Any, stages: Topology, features: Sequence[int]
    ) -> list[Any]:
        """Return the output of each stage of the encoder, the finest first."""

    # ------------------------------------------------------------------ stages

    def topology(self, dimensions: int) -> Topology:
        """Return strides and kernels: one integer per axis for each stage, the finest first."""
        if self.strides is not None:
            strides = per_level("strides", self.strides, len(self.strides), dimensions)
            if max(strides[0]) > 1:
                raise ConfigurationError(
                    f"strides is {self.strides!r}; those of the first stage must be 1, since the "
                    "output is as fine as the input"
                )
            found = Topology(tuple(strides), ((3,) * dimensions,) * len(strides))
        elif self._fitted_axes() is None:
            found = plain_topology(dimensions)
        else:
            found = _by_rule(self.patch_shape, self.spacing)
        if self.kernels is None:
            return found
        kernels = per_level("kernels", self.kernels, len(found.strides), dimensions)
        return Topology(found.strides, tuple(kernels))

    def features(self, dimensions: int) -> tuple[int, ...]:
        """Return the number of feature maps of each stage."""
        form = self.form
        first = form.base_features if self.base_features is None else self.base_features
        most = form.max_features[dimensions - 2] if self.max_features is None else self.max_features
        stages = len(self.topology(dimensions).strides)
        return tuple(min(first * 2**stage, most) for stage in range(stages))

    @property
    def required_multiple(self) -> int | tuple[int, ...]:
        """Product of the strides per axis; one number as long as nothing fixes them."""
        axes = self._fitted_axes()
        if axes is None:
            return multiple_of(plain_topology(2).strides)[0]
        return multiple_of(self.topology(axes).strides)

    @property
    def adapts(self) -> bool:
        """Whether patch shape or voxel size are still to be taken from the recipe."""
        return self.strides is None and (self.patch_shape is None or self.spacing is None)

    def adapted_to(
        self, patch_shape: Sequence[int] | None, spacing: Sequence[float] | None
    ) -> Self:
        """Return a copy with strides and kernels filled in by the rule.

        A patch or spacing of the network's own goes before the recipe's. Where the strides are
        given, or nothing is known of the patch and the voxels, the network returns itself.
        """
        if self.strides is not None:
            return self
        patch_shape = patch_shape if self.patch_shape is None else self.patch_shape
        spacing = spacing if self.spacing is None else self.spacing
        if patch_shape is None and spacing is None:
            return self
        strides, kernels = _by_rule(patch_shape, spacing)
        config = self.get_config()
        if config["kernels"] is None:
            config["kernels"] = kernels
        # Strides and kernels say all that patch and spacing decide: equal networks stay equal.
        return self.from_config({**config, "strides": strides})

    def _fitted_axes(self) -> int | None:
        """Return the number of axes that the arguments speak of; None if they do not."""
        if self.strides is not None:
            if not self.strides or not isinstance(self.strides[0], Sequence):
                raise ConfigurationError(
                    f"strides is {self.strides!r}; expected one integer per axis for each stage, "
                    "such as ((1, 1, 1), (1, 2, 2), (2, 2, 2))"
                )
            return len(self.strides[0])
        for given in (self.patch_shape, self.spacing):
            if given is not None:
                return len(given)
        return None

    # ------------------------------------------------------------------ models

    def _create(self, input_shape: tuple[int | None, ...], n_labels: int, dimensions: int) -> Any:
        form = self.form
        stages, features = self.topology(dimensions), self.features(dimensions)
        blocks = Blocks(dimensions, "instance", "leaky_relu", bias=True, initializer=_INITIALIZER)

        inputs = keras.Input(input_shape)
        *skips, x = self._encode(blocks, inputs, stages, features)
        levels = len(skips)
        supervised = self._supervised(levels)
        outputs: list[Any] = []
        for level in reversed(range(levels)):
            name = f"decoder_{level}"
            pool = stages.strides[level + 1]
            x = blocks.up(x, features[level], pool, "transposed", name, form.bias)
            x = keras.layers.Concatenate(name=f"{name}_join")([x, skips[level]])
            for number in range(form.decoder_convolutions):
                kernel = stages.kernels[level]
                x = blocks.convolution(x, features[level], kernel, f"{name}_{number}")
            if 0 < level < supervised:
                outputs.append(blocks.head(x, n_labels, self.activation, form.bias, f"_{level}"))
        outputs.append(blocks.head(x, n_labels, self.activation, form.bias))
        return finished(inputs, outputs, f"{type(self).__name__.lower()}_{dimensions}d")

    def _supervised(self, levels: int) -> int:
        """Return how many of the decoder's levels have a head: all but the coarsest, or one."""
        wanted = self.deep_supervision
        if wanted is None:
            wanted = self.form.deep_supervision
        return max(levels - 1, 1) if wanted else 1


def _by_rule(patch_shape: Sequence[int] | None, spacing: Sequence[float] | None) -> Topology:
    if patch_shape is None:
        patch_shape = (DEFAULT_PATCH,) * (0 if spacing is None else len(spacing))
    return topology(patch_shape, spacing)
