"""Residual blocks as in ResNet-D."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from miscnn._keras import keras
from miscnn.neural_network.architecture.blocks import Blocks

__all__ = ["residual_block"]


def residual_block(
    blocks: Blocks,
    x: Any,
    filters: int,
    kernel: tuple[int, ...],
    name: str,
    strides: tuple[int, ...] | None = None,
) -> Any:
    """Two convolutions with normalisation, a shortcut past them, activation of the sum.

    The first convolution has the strides. The shortcut averages over blocks of ``strides``
    voxels, and where the number of feature maps changes, it is then convolved by one voxel (no
    bias) and normalised. The scale of the last normalisation begins at 0: at first the block is
    its shortcut.

    Parameters
    ----------
    blocks : Blocks
        Makes the layers; with instance normalisation and LeakyReLU they are nnU-Net's.
    x : tensor
        ``(batch, …, channels)``; sizes that are multiples of ``strides``.
    filters : int
        Feature maps of the output.
    kernel, strides : tuple of int
        One per axis.
    name : str
        With which the names of the layers begin.

    References
    ----------
    He, T. et al. 2019, Bag of Tricks for Image Classification (ResNet-D), as in the code of
    ``dynamic_network_architectures`` (``BasicBlockD``), whose initial scale of 0 is taken, too.
    """
    shortcut = x
    if strides is not None and max(strides) > 1:
        average = getattr(keras.layers, f"AveragePooling{blocks.dimensions}D")
        shortcut = average(strides, name=f"{name}_skip_pool")(shortcut)
    if x.shape[-1] != filters:
        shortcut = replace(blocks, bias=False).projection(shortcut, filters, f"{name}_skip")
    x = blocks.convolution(x, filters, kernel, f"{name}_0", strides)
    last = replace(blocks, scale="zeros")
    x = last.convolution(x, filters, kernel, f"{name}_1", activate=False)
    return blocks.added(x, shortcut, name)
