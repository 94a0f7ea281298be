"""The U-Net and its variants, one a file."""

from __future__ import annotations

from miscnn.neural_network.architecture.unet.standard import UNet_standard, UNetStandard

__all__ = ["UNetStandard", "UNet_standard"]
