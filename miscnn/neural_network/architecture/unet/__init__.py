"""The U-Net and its variants, one a file."""

from __future__ import annotations

from miscnn.neural_network.architecture.unet._base import Level, UNet
from miscnn.neural_network.architecture.unet.attention import UNet_attention, UNetAttention
from miscnn.neural_network.architecture.unet.attention_residual import (
    UNet_attention_residual,
    UNetAttentionResidual,
)
from miscnn.neural_network.architecture.unet.compact import UNet_compact, UNetCompact
from miscnn.neural_network.architecture.unet.dense import UNet_dense, UNetDense
from miscnn.neural_network.architecture.unet.multi_res import UNet_multiRes, UNetMultiRes
from miscnn.neural_network.architecture.unet.plain import UNet_plain, UNetPlain
from miscnn.neural_network.architecture.unet.residual import UNet_residual, UNetResidual
from miscnn.neural_network.architecture.unet.standard import UNet_standard, UNetStandard

__all__ = [
    "Level",
    "UNet",
    "UNetAttention",
    "UNetAttentionResidual",
    "UNetCompact",
    "UNetDense",
    "UNetMultiRes",
    "UNetPlain",
    "UNetResidual",
    "UNetStandard",
    "UNet_attention",
    "UNet_attention_residual",
    "UNet_compact",
    "UNet_dense",
    "UNet_multiRes",
    "UNet_plain",
    "UNet_residual",
    "UNet_standard",
]
