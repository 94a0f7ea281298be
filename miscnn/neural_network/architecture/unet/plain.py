"""The plain U-Net of MIScnn, as nnU-Net had it for KiTS19."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture.blocks import Blocks, Sizes, multiple_of, per_level
from miscnn.neural_network.architecture.unet._base import check_activation
from miscnn.neural_network.architecture.unet.standard import UNetStandard

__all__ = ["Architecture", "UNetPlain", "UNet_plain"]


class UNetPlain(UNetStandard):
    """U-Net with 30, 60, 120, 240, 320 and 320 feature maps, instance norm and leaky ReLU.

    Five poolings; in 3D the first of them leaves the first axis as it is. Take it for a
    network like nnU-Net's that does not change with the data; :class:`NNUNet` does.

    Parameters
    ----------
    activation : str
        Activation of the output.
    conv_layer_activation : str, optional
        As in MIScnn 1.x: "lrelu", or a name of Keras'. Left out, ``conv_activation`` decides.
    instance_normalization : bool, optional
        As in MIScnn 1.x: True stands for ``normalization="instance"``, False for None. Left
        out, ``normalization`` decides.
    instance_normalization_params : dict, optional
        As in MIScnn 1.x; of its entries there is ``{"epsilon": …}``, what is added to the
        variance (1e-5).
    dropout : float
        Share of the feature maps that is dropped after each level's block in training.
    pooling : sequence of int
        The first pooling in 3D, where ``pool_size`` is one number. The others, and all in 2D, are
        ``pool_size``.
    pool_size : int, sequence, or sequence of sequences
        Given per axis or level it says all, and ``pooling`` is left alone; see
        :class:`~miscnn.neural_network.architecture.unet.UNet`, as for the other parameters.

    Notes
    -----
    The slope of leaky ReLU is 0.01, nnU-Net's; in MIScnn 1.x it was 0.1.

    References
    ----------
    Isensee & Maier-Hein 2019, arXiv 1908.02182, whom MIScnn 1.x follows.

    Examples
    --------
    >>> unet = UNetPlain()
    >>> [unet.filters(level) for level in range(6)]
    [30, 60, 120, 240, 320, 320]
    >>> unet.multiple_per_axis(3), unet.multiple_per_axis(2)
    ((16, 32, 32), (32, 32))
    """

    def __init__(
        self,
        activation: str = "softmax",
        conv_layer_activation: str | None = None,
        instance_normalization: bool | None = None,
        instance_normalization_params: Mapping[str, float] | None = None,
        dropout: float = 0.0,
        pooling: Sequence[int] = (1, 2, 2),
        *,
        n_filters: int = 30,
        depth: int = 5,
        max_filters: int | None = 320,
        normalization: str | None = "instance",
        conv_activation: str = "leaky_relu",
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
        per_level("pooling", (pooling,), 1, 3)  # raises if it is not three positive integers
        unknown = sorted(set(instance_normalization_params or ()) - {"epsilon"})
        if unknown:
            raise ConfigurationError(
                f"instance_normalization_params has {', '.join(map(repr, unknown))}; "
                "only 'epsilon' can be set"
            )
        if conv_layer_activation not in (None, "lrelu"):
            check_activation("conv_layer_activation", conv_layer_activation)
        self.conv_layer_activation = conv_layer_activation
        self.instance_normalization = instance_normalization
        self.instance_normalization_params = instance_normalization_params
        self.pooling = pooling

    def pools(self, dimensions: int) -> list[tuple[int, ...]]:
        """Return the sizes of the poolings, one per axis for each of them."""
        pools = super().pools(dimensions)
        if dimensions == 3 and isinstance(self.pool_size, int):
            pools[0] = tuple(self.pooling)
        return pools

    @property
    def required_multiple(self) -> int | tuple[int, ...]:
        """What fits in 2D and in 3D; :meth:`multiple_per_axis` says what either needs."""
        if not isinstance(self.pool_size, int):
            return super().required_multiple
        return math.lcm(*self.multiple_per_axis(2), *self.multiple_per_axis(3))

    def multiple_per_axis(self, dimensions: int) -> tuple[int, ...]:
        """Return what each spatial axis must be a multiple of."""
        if not isinstance(self.pool_size, int):
            return super().multiple_per_axis(dimensions)
        return multiple_of(self.pools(dimensions))

    def style(self, dimensions: int) -> Blocks:
        """Return the maker of layers."""
        blocks = super().style(dimensions)
        if self.instance_normalization is not None:
            kind = "instance" if self.instance_normalization else None
            blocks = replace(blocks, normalization=kind)
        if self.instance_normalization_params:
            blocks = replace(blocks, epsilon=self.instance_normalization_params["epsilon"])
        if self.conv_layer_activation is not None:
            lrelu = self.conv_layer_activation == "lrelu"
            name = "leaky_relu" if lrelu else self.conv_layer_activation
            blocks = replace(blocks, activation=name)
        return blocks


Architecture = UNet_plain = UNetPlain
