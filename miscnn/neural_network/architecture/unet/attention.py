"""The U-Net with attention gates."""

from __future__ import annotations

from typing import Any

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture.blocks import Blocks, Sizes
from miscnn.neural_network.architecture.unet._base import Level
from miscnn.neural_network.architecture.unet._gates import attention_gate
from miscnn.neural_network.architecture.unet.standard import UNetStandard

__all__ = ["Architecture", "UNetAttention", "UNet_attention"]


class UNetAttention(UNetStandard):
    """U-Net whose skips let through what the decoder asks for.

    A gate (:func:`~miscnn.neural_network.architecture.unet._gates.attention_gate`) weights
    the voxels of a skip by a number between 0 and 1 that it finds from them and the maps of
    the next coarser level of the decoder.

    Parameters
    ----------
    gate_finest : bool
        Whether the finest skip, too, has a gate. In the paper it has none: its maps say too
        little yet about what is seen.
    n_filters, depth, …
        As for :class:`~miscnn.neural_network.architecture.unet.UNet`; the depth is 2 or more,
        or nothing is left to be gated (unless ``gate_finest``).

    References
    ----------
    Oktay et al. 2018, arXiv 1804.03999. Its deep supervision is an option here
    (``deep_supervision=True``).

    Examples
    --------
    >>> model = UNetAttention(n_filters=8, depth=2).create_model_2D((None, None, 1), n_labels=3)
    >>> [layer.name for layer in model.layers if layer.name.endswith("gate_weighted")]
    ['skip_1_gate_weighted']
    """

    def __init__(
        self,
        n_filters: int = 32,
        depth: int = 4,
        activation: str = "softmax",
        batch_normalization: bool | None = None,
        *,
        normalization: str | None = "instance",
        conv_activation: str = "relu",
        dropout: float = 0.0,
        max_filters: int | None = None,
        kernel_size: Sizes = 3,
        pool_size: Sizes = 2,
        upsampling: str = "transposed",
        deep_supervision: bool = False,
        gate_finest: bool = False,
    ) -> None:
        super().__init__(
            n_filters,
            depth,
            activation,
            batch_normalization,
            normalization=normalization,
            conv_activation=conv_activation,
            dropout=dropout,
            max_filters=max_filters,
            kernel_size=kernel_size,
            pool_size=pool_size,
            upsampling=upsampling,
            deep_supervision=deep_supervision,
        )
        if depth == 1 and not gate_finest:
            raise ConfigurationError(
                "depth is 1 and gate_finest is False, which leaves no skip to be gated; take a "
                "depth of 2 or more, or gate_finest=True"
            )
        self.gate_finest = gate_finest

    def skip(self, blocks: Blocks, x: Any, below: Any, level: Level, name: str) -> Any:
        """Gate the skip."""
        if level.number == 0 and not self.gate_finest:
            return x
        return attention_gate(blocks, x, below, level, f"{name}_gate")


Architecture = UNet_attention = UNetAttention
