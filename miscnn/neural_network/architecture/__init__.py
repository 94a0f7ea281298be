"""Networks."""

from __future__ import annotations

from miscnn.neural_network.architecture.base import Abstract_Architecture, Architecture
from miscnn.neural_network.architecture.msdnet import MSDNet
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.architecture.nnunet_resenc import NNUNetResEnc
from miscnn.neural_network.architecture.unet import (
    UNetAttention,
    UNetAttentionResidual,
    UNetCompact,
    UNetDense,
    UNetMultiRes,
    UNetPlain,
    UNetResidual,
    UNetStandard,
)

__all__ = [
    "Abstract_Architecture",
    "Architecture",
    "MSDNet",
    "NNUNet",
    "NNUNetResEnc",
    "UNetAttention",
    "UNetAttentionResidual",
    "UNetCompact",
    "UNetDense",
    "UNetMultiRes",
    "UNetPlain",
    "UNetResidual",
    "UNetStandard",
]
