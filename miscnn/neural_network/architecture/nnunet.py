"""The networks of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture._nnunet_topology import (
    DEFAULT_PATCH,
    Topology,
    multiple_of,
    plain_topology,
    topology,
)
from miscnn.neural_network.architecture.base import BothDimensions
from miscnn.neural_network.architecture.blocks import Blocks, Sizes, per_level
from miscnn.neural_network.deep_supervision import DeepSupervisionModel

__all__ = ["NNUNet"]


@dataclass(frozen=True)
class _Form:
    """What a generation of nnU-Net fixes."""

    base_features: int
    max_features: tuple[int, int]  # in 2D, in 3D
    strided: bool  # reduce by strided convolution, else by pooling
    deep_supervision: bool
    bias: bool  # of transposed convolutions and heads


_FORMS = {
    "2018": _Form(30, (480, 320), strided=False, deep_supervision=False, bias=False),
    "current": _Form(32, (512, 320), strided=True, deep_supervision=True, bias=True),
}
# He et al. 2015 for LeakyReLU with slope 0.01.
_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {
        "scale": 2.0 / (1.0 + 0.01**2),
        "mode": "fan_in",
        "distribution": "untruncated_normal",
    },
}


class NNUNet(BothDimensions):
    """U-Net as nnU-Net configures it: kernels and strides per axis from patch and spacing.

    Each stage is twice convolution (with bias), instance normalisation, LeakyReLU of slope
    0.01; the decoder enlarges by transposed convolutions whose kernel is their stride.

    Parameters
    ----------
    version : {"current", "2018"}
        "current": nnU-Net 2.x (Isensee et al. 2021). Reduced by the strided first convolution
        of a stage, 32 feature maps at first, 512 (2D) or 320 (3D) at most, deep supervision.
        "2018": arXiv 1809.10486, which the CT paper took. Reduced by maximum pooling, 30 feature
        maps at first, 480 or 320 at most, no deep supervision. See the notes for what is ours.
    patch_shape : sequence of int, optional
        What the network sees, in voxels per axis, and
    spacing : sequence of float, optional
        the size of a voxel per axis in mm, to which strides and kernels are fitted. Left out,
        they are the recipe's (:meth:`adapted_to`); where neither says, 128 voxels per axis and
        isotropic voxels: five poolings.
    strides : sequence of sequence of int, optional
        Instead of the rule: one integer per axis for each stage, the first of them 1. Nothing
        is adapted then.
    kernels : int, sequence, or sequence of sequences, optional
        Instead of the rule: one size, one per axis, or one per axis for each stage. With
        ``strides`` alone they are 3.
    base_features : int, optional
        Feature maps of the first stage; each further stage has twice as many,
    max_features : int, optional
        and not more than this.
    deep_supervision : bool, optional
        Train the coarser stages of the decoder by outputs of their own
        (:class:`~miscnn.neural_network.deep_supervision.DeepSupervisionModel`).
    activation : str
        Activation of the outputs.

    Notes
    -----
    *Deep supervision.* nnU-Net also has a head on the coarsest stage of the decoder, whose loss
    it weights with 0. It would never be trained, so it is not made. Networks with fewer than
    two heads left are ordinary models.

    *2018.* The rule of strides and kernels, transposed convolutions for enlarging, and no bias in
    these and in the output are taken from the later code of nnU-Net 1.x; what the first
    paper's own code did is not documented. They are choices of this library.

    *Alignment.* Strided convolutions are padded symmetrically as in PyTorch, so that the grids of
    the stages lie as published and weights can be carried over.

    References
    ----------
    Isensee et al. 2018, arXiv 1809.10486; Isensee et al. 2021, Nature Methods 18:203, and
    its code (MIC-DKFZ/nnUNet, 2.x).

    Examples
    --------
    >>> network = NNUNet("2018", patch_shape=(16, 128, 128), spacing=(5.0, 3.1, 3.1))
    >>> network.required_multiple
    (4, 32, 32)
    >>> network.features(3)
    (30, 60, 120, 240, 320, 320)
    """

    def __init__(
        self,
        version: Literal["current", "2018"] = "current",
        *,
        patch_shape: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        kernels: Sizes | None = None,
        base_features: int | None = None,
        max_features: int | None = None,
        deep_supervision: bool | None = None,
        activation: str = "softmax",
    ) -> None:
        if version not in _FORMS:
            raise ConfigurationError(f"version is {version!r}; expected one of {sorted(_FORMS)}")
        for name, number in (("base_features", base_features), ("max_features", max_features)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} is {number}; expected 1 or more")
        self.version = version
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
        form = _FORMS[self.version]
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
        form = _FORMS[self.version]
        strides, kernels = self.topology(dimensions)
        features = self.features(dimensions)
        blocks = Blocks(dimensions, "instance", "leaky_relu", bias=True, initializer=_INITIALIZER)

        inputs = keras.Input(input_shape)
        x = inputs
        skips = []
        for stage, stride in enumerate(strides):
            name = f"encoder_{stage}"
            if stage and not form.strided:
                x = blocks.down(x, stride, name)
            by_convolution = stride if form.strided else None
            x = blocks.block(x, features[stage], kernels[stage], name, by_convolution)
            skips.append(x)

        levels = len(strides) - 1
        supervised = self._supervised(levels)
        outputs: list[Any] = []
        for level in reversed(range(levels)):
            name = f"decoder_{level}"
            x = blocks.up(x, features[level], strides[level + 1], "transposed", name, form.bias)
            x = keras.layers.Concatenate(name=f"{name}_join")([x, skips[level]])
            x = blocks.block(x, features[level], kernels[level], name)
            if 0 < level < supervised:
                outputs.append(blocks.head(x, n_labels, self.activation, form.bias, f"_{level}"))
        outputs.append(blocks.head(x, n_labels, self.activation, form.bias))
        name = f"nnunet_{dimensions}d"
        if len(outputs) == 1:
            return keras.Model(inputs, outputs[0], name=name)
        return DeepSupervisionModel(inputs, outputs[::-1], name=name)

    def _supervised(self, levels: int) -> int:
        """Return how many of the decoder's levels have a head: all but the coarsest, or one."""
        wanted = self.deep_supervision
        if wanted is None:
            wanted = _FORMS[self.version].deep_supervision
        return max(levels - 1, 1) if wanted else 1


def _by_rule(patch_shape: Sequence[int] | None, spacing: Sequence[float] | None) -> Topology:
    if patch_shape is None:
        patch_shape = (DEFAULT_PATCH,) * (0 if spacing is None else len(spacing))
    return topology(patch_shape, spacing)
