"""The U-Net of densely connected layers."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level, UNet

__all__ = ["Architecture", "UNetDense", "UNet_dense"]


class UNetDense(UNet):
    """U-Net whose layers see all maps that were made before them in the block.

    The input of a block is concatenated with the result of its first convolution, both with
    that of the second; all of it is the block's result. A block of ``f`` feature maps thus has
    ``2 f`` more than its input; the number of feature maps of a level is that of each of its
    convolutions, the growth rate. For the parameters see
    :class:`~miscnn.neural_network.architecture.unet.UNet`.

    Notes
    -----
    Unlike in a DenseNet normalisation and activation follow the convolution, as in the other
    variants here, and there are no layers of one voxel between. MIScnn 1.x had a sigmoid as output.

    References
    ----------
    Huang et al. 2017, CVPR, arXiv 1608.06993 (eq. 2). Kolařík et al. 2019, Applied Sciences
    9:404, for the U-Net.

    Examples
    --------
    >>> model = UNetDense(n_filters=8, depth=2).create_model_2D((None, None, 1), n_labels=3)
    >>> model.get_layer("encoder_0_1_concat").output.shape  # 1 channel, twice 8 maps
    (None, None, None, 17)
    """

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Two convolutions, each concatenated with its input."""
        for layer in range(2):
            new = blocks.convolution(x, level.filters, level.kernel, f"{name}_{layer}")
            x = keras.layers.Concatenate(name=f"{name}_{layer}_concat")([x, new])
        return x


Architecture = UNet_dense = UNetDense
