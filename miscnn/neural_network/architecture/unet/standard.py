"""The standard U-Net."""

from __future__ import annotations

from typing import Any

from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level, UNet

__all__ = ["Architecture", "UNetStandard", "UNet_standard"]


class UNetStandard(UNet):
    """U-Net: an encoder and a decoder of two convolutions per level, joined by skips.

    For the parameters see :class:`~miscnn.neural_network.architecture.unet.UNet`.

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

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Two convolutions."""
        return blocks.twice(x, level.filters, level.kernel, name)


Architecture = UNet_standard = UNetStandard
