"""The U-Net whose blocks keep their input."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level, UNet

__all__ = ["Architecture", "UNetCompact", "UNet_compact"]


class UNetCompact(UNet):
    """U-Net whose blocks concatenate their input with what they make of it.

    As :class:`~miscnn.neural_network.architecture.unet.UNetDense`, but once per block and not
    after each convolution: a block of ``f`` feature maps has ``f`` more than its input. For
    the parameters see :class:`~miscnn.neural_network.architecture.unet.UNet`.

    Notes
    -----
    MIScnn 1.x had a sigmoid as output.

    References
    ----------
    Kolařík et al. 2019, Applied Sciences 9:404, who call these connections residual.

    Examples
    --------
    >>> model = UNetCompact(n_filters=8, depth=2).create_model_2D((None, None, 1), n_labels=3)
    >>> model.get_layer("encoder_0_concat").output.shape  # 1 channel, 8 maps
    (None, None, None, 9)
    """

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Two convolutions, their result concatenated with the input."""
        new = blocks.twice(x, level.filters, level.kernel, name)
        return keras.layers.Concatenate(name=f"{name}_concat")([x, new])


Architecture = UNet_compact = UNetCompact
