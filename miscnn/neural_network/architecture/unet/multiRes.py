"""Where MIScnn 1.x had the MultiResUNet."""  # noqa: N999

from __future__ import annotations

from miscnn.neural_network.architecture.unet.multi_res import Architecture, UNet_multiRes

__all__ = ["Architecture", "UNet_multiRes"]
