"""The U-Net of residual blocks."""

from __future__ import annotations

from typing import Any

from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level, UNet

__all__ = ["Architecture", "UNetResidual", "UNet_residual"]


class UNetResidual(UNet):
    """U-Net whose blocks add their input to what they make of it.

    The two convolutions of a level make a residual block of the first form of He et al.
    (activation after the sum). A convolution of one voxel with normalisation takes the input to
    the level's number of maps where it differs. For the parameters see
    :class:`~miscnn.neural_network.architecture.unet.UNet`.

    Notes
    -----
    MIScnn 1.x concatenated input and result instead, after Kolařík et al.; that network is
    :class:`~miscnn.neural_network.architecture.unet.UNetCompact` here. Its output was a sigmoid.

    References
    ----------
    He et al. 2016, CVPR, arXiv 1512.03385. In a U-Net first: Zhang et al. 2018, IEEE GRSL
    15:749, arXiv 1711.10684, with another order of the layers.

    Examples
    --------
    >>> model = UNetResidual(n_filters=8, depth=2).create_model_2D((None, None, 1), n_labels=3)
    >>> model.output_shape
    (None, None, None, 3)
    """

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Two convolutions, the input added."""
        return blocks.residual(x, level.filters, level.kernel, name)


Architecture = UNet_residual = UNetResidual
