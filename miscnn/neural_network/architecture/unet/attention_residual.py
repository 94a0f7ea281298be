"""The U-Net of residual blocks with attention gates."""

from __future__ import annotations

from typing import Any

from miscnn.neural_network.architecture.blocks import Blocks
from miscnn.neural_network.architecture.unet._base import Level
from miscnn.neural_network.architecture.unet.attention import UNetAttention

__all__ = ["Architecture", "UNetAttentionResidual", "UNet_attention_residual"]


class UNetAttentionResidual(UNetAttention):
    """U-Net of residual blocks whose skips are gated.

    The blocks are those of :class:`~miscnn.neural_network.architecture.unet.UNetResidual`, the
    gates and the parameters those of
    :class:`~miscnn.neural_network.architecture.unet.UNetAttention`.

    References
    ----------
    He et al. 2016, CVPR, arXiv 1512.03385; Oktay et al. 2018, arXiv 1804.03999.

    Examples
    --------
    >>> unet = UNetAttentionResidual(n_filters=8, depth=2)
    >>> unet.create_model_2D((None, None, 1), n_labels=3).output_shape
    (None, None, None, 3)
    """

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Two convolutions, the input added."""
        return blocks.residual(x, level.filters, level.kernel, name)


Architecture = UNet_attention_residual = UNetAttentionResidual
