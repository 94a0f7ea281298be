"""MultiResUNet."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture.blocks import Blocks, Sizes
from miscnn.neural_network.architecture.unet._base import Level, UNet

__all__ = ["Architecture", "UNetMultiRes", "UNet_multiRes"]

# A sixth, a third and a half, with as many digits as the authors' code gives them: more of
# them would change the number of maps.
_SHARES = (0.167, 0.333, 0.5)


class UNetMultiRes(UNet):
    """MultiResUNet: blocks that see several scales, and convolutions on the skips.

    A block is a chain of three convolutions with a sixth, a third and a half of
    ``alpha · filters`` maps; the three results are concatenated and added to the input (by a
    convolution of one voxel). A skip is a path of residual units, each a convolution of the
    level's kernel beside one of one voxel: as many as the level is above the bottom.

    Parameters
    ----------
    activation : str
        Activation of the output. (It comes first as in MIScnn 1.x, where it was a sigmoid.)
    alpha : float
        Maps of a block, relative to those of a U-Net's level.
    n_filters, depth, …
        As for :class:`~miscnn.neural_network.architecture.unet.UNet`; the number of feature
        maps of a level is that of the U-Net that is compared with.

    Notes
    -----
    With ``normalization="batch"``, 3 channels and one output this network has the authors'
    7,262,750 parameters, apart from three things: normalisations after convolutions have a
    scale here, the output has a bias and no normalisation.

    References
    ----------
    Ibtehaz & Rahman 2020, Neural Networks 121:74, arXiv 1902.04049.

    Examples
    --------
    >>> unet = UNetMultiRes(n_filters=8, depth=2)
    >>> unet.shares(32)
    (8, 17, 26)
    >>> unet.create_model_2D((None, None, 1), n_labels=3).output_shape
    (None, None, None, 3)
    """

    def __init__(
        self,
        activation: str = "softmax",
        *,
        n_filters: int = 32,
        depth: int = 4,
        alpha: float = 1.67,
        normalization: str | None = "instance",
        conv_activation: str = "relu",
        dropout: float = 0.0,
        max_filters: int | None = None,
        kernel_size: Sizes = 3,
        pool_size: Sizes = 2,
        upsampling: str = "transposed",
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(
            n_filters,
            depth,
            activation,
            normalization=normalization,
            conv_activation=conv_activation,
            dropout=dropout,
            max_filters=max_filters,
            kernel_size=kernel_size,
            pool_size=pool_size,
            upsampling=upsampling,
            deep_supervision=deep_supervision,
        )
        if not alpha > 0:
            raise ConfigurationError(f"alpha is {alpha}; expected more than 0")
        self.alpha = alpha

    def shares(self, filters: int) -> tuple[int, ...]:
        """Return how many maps the three convolutions of a block make, at least 1 each."""
        return tuple(max(int(self.alpha * filters * share), 1) for share in _SHARES)

    def block(self, blocks: Blocks, x: Any, level: Level, name: str) -> Any:
        """Three convolutions in a chain, their results beside each other, the input added."""
        shares = self.shares(level.filters)
        shortcut = blocks.projection(x, sum(shares), f"{name}_shortcut")
        scales = []
        for number, share in enumerate(shares):
            x = blocks.convolution(x, share, level.kernel, f"{name}_{number}")
            scales.append(x)
        x = keras.layers.Concatenate(name=f"{name}_concat")(scales)
        x = blocks.normalized(x, f"{name}_concat_norm")
        return _sum(blocks, shortcut, x, name)

    def skip(self, blocks: Blocks, x: Any, below: Any, level: Level, name: str) -> Any:
        """Residual units on the way across, the more the finer the level."""
        for number in range(self.depth - level.number):
            unit = f"{name}_{number}"
            shortcut = blocks.projection(x, level.filters, f"{unit}_shortcut")
            x = blocks.convolution(x, level.filters, level.kernel, unit)
            x = _sum(blocks, shortcut, x, f"{unit}_sum")
        return x


def _sum(blocks: Blocks, shortcut: Any, x: Any, name: str) -> Any:
    """Sum, activation, normalisation: in this order, as the authors have it."""
    return blocks.normalized(blocks.added(shortcut, x, name), f"{name}_norm")


Architecture = UNet_multiRes = UNetMultiRes
