"""nnU-Net with a residual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture._nnunet_base import CURRENT, FittedUNet, Form
from miscnn.neural_network.architecture._nnunet_topology import Topology
from miscnn.neural_network.architecture._residual import residual_block
from miscnn.neural_network.architecture.blocks import Blocks, Sizes

__all__ = ["NNUNetResEnc"]

_FORM = replace(CURRENT, decoder_convolutions=1)
_FIRST_BLOCKS = (1, 3, 4)
_FURTHER_BLOCKS = 6
_MEMORY_GB = {"M": 9.1, "L": 22.7}


class NNUNetResEnc(FittedUNet):
    """U-Net of nnU-Net's residual encoder presets.

    A stem (one convolution), then 1, 3, 4, 6, 6, … residual blocks per stage; in the decoder one
    convolution per stage. All else is as in
    :class:`~miscnn.neural_network.architecture.nnunet.NNUNet` of the version "current": kernels
    and strides per axis from patch and spacing, feature maps, instance normalisation, LeakyReLU
    of slope 0.01, transposed convolutions, deep supervision.

    Parameters
    ----------
    preset : {"M", "L"}
        How much memory training is meant to take: see :attr:`memory_gb`. **It changes nothing in
        the network by itself.** In nnU-Net the presets share blocks, feature maps and the rule of
        strides and kernels; they differ in the memory that the planner may fill, so in patch
        and batch. Here, too, these are the recipe's: give L the larger patch, and the network
        is fitted to it.
    patch_shape : sequence of int, optional
        What the network sees, in voxels per axis, and
    spacing : sequence of float, optional
        the size of a voxel per axis in mm, to which strides and kernels are fitted. Left out,
        they are the recipe's (:meth:`adapted_to`); where neither says, 128 voxels per axis and
        isotropic voxels: five reductions.
    strides : sequence of sequence of int, optional
        Instead of the rule: one integer per axis for each stage, the first of them 1. Nothing
        is adapted then.
    kernels : int, sequence, or sequence of sequences, optional
        Instead of the rule: one size, one per axis, or one per axis for each stage. With
        ``strides`` alone they are 3.
    base_features : int, optional
        Feature maps of the first stage (32); each further stage has twice as many,
    max_features : int, optional
        and not more than this (512 in 2D, 320 in 3D).
    deep_supervision : bool, optional
        Train the coarser stages of the decoder by outputs of their own (as by default).
    activation : str
        Activation of the outputs.

    Notes
    -----
    A block is that of ResNet-D: two convolutions, the first one strided; the shortcut is an
    average over the stride, and a convolution of one voxel where the feature maps change. No
    squeeze-and-excitation and no stochastic depth; the reference does not use them either. The
    scale of the last normalisation of a block begins at 0.

    As in NNUNet, the coarsest head of nnU-Net, whose loss has the weight 0, is not made.

    References
    ----------
    Isensee et al. 2024, nnU-Net Revisited; the network is
    ``ResidualEncoderUNet`` of MIC-DKFZ/dynamic-network-architectures.

    Examples
    --------
    >>> network = NNUNetResEnc("L", patch_shape=(80, 160, 160), spacing=(3.0, 0.78, 0.78))
    >>> network.required_multiple
    (16, 32, 32)
    >>> network.blocks(3)
    (1, 3, 4, 6, 6, 6)
    """

    def __init__(
        self,
        preset: Literal["M", "L"] = "M",
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
        if preset not in _MEMORY_GB:
            raise ConfigurationError(f"preset is {preset!r}; expected one of {sorted(_MEMORY_GB)}")
        self.preset = preset
        super().__init__(
            patch_shape=patch_shape,
            spacing=spacing,
            strides=strides,
            kernels=kernels,
            base_features=base_features,
            max_features=max_features,
            deep_supervision=deep_supervision,
            activation=activation,
        )

    @property
    def form(self) -> Form:
        """What both presets fix."""
        return _FORM

    @property
    def memory_gb(self) -> float:
        """Memory that training takes on a graphics card with nnU-Net's preset, as published, GB."""
        return _MEMORY_GB[self.preset]

    def blocks(self, dimensions: int) -> tuple[int, ...]:
        """Return the number of residual blocks of each stage."""
        stages = len(self.topology(dimensions).strides)
        further = (_FURTHER_BLOCKS,) * (stages - len(_FIRST_BLOCKS))
        return (*_FIRST_BLOCKS, *further)[:stages]

    def _encode(
        self, blocks: Blocks, x: Any, stages: Topology, features: Sequence[int]
    ) -> list[Any]:
        x = blocks.convolution(x, features[0], stages.kernels[0], "stem")
        outputs = []
        for stage, repeats in enumerate(self.blocks(blocks.dimensions)):
            for number in range(repeats):
                stride = stages.strides[stage] if number == 0 else None
                name, kernel = f"encoder_{stage}_{number}", stages.kernels[stage]
                x = residual_block(blocks, x, features[stage], kernel, name, stride)
            outputs.append(x)
        return outputs
