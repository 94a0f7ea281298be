"""MS-D Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import base
from miscnn.neural_network.architecture._mixed_scale import MixedScaleDense

__all__ = ["MSDNet"]

_SLOPES = {"leaky_relu": 0.01, "relu": 0.0}
_NORMALIZATIONS = ("instance", None)
_BOUNDARIES = ("reflect", "symmetric")


class MSDNet(base.BothDimensions):
    """Mixed-scale dense network: small dilated convolutions that see all earlier maps.

    Nothing is made smaller: each hidden layer adds ``width`` maps of the size of the image,
    each with a dilation of its own, and the output sees the image and all of them. There are
    few parameters, and images of any size.

    Without arguments this is the form of Klönne et al. (convolution, instance normalisation,
    leaky ReLU 0.01); :meth:`original` is the published one (bias, ReLU). Width and depth of
    Klönne et al. are not known; the defaults are those of Pelt & Sethian.

    Parameters
    ----------
    width : int
        New maps per hidden layer.
    depth : int
        Number of hidden layers.
    dilations : sequence of int
        Distance in voxels between the taps of each map, cycled over all maps: map j of layer i
        takes number i · width + j. Published are 1 to 10 and (1, 2, 4, 8, 16).
    max_dilation : int, sequence of int or None
        Upper bound of the dilation, for all axes or for each: ``(10, 10, 1)`` for volumes with
        few thick slices along the third axis. In any case a dilation is bounded by what one
        reflection reaches (the size of the axis less 1), so that small images work too.
    normalization : {"instance"} or None
        Instance normalisation before each activation, or a bias.
    activation : {"leaky_relu", "relu"}
        Of the hidden layers; the slope of leaky ReLU is 0.01.
    boundary : {"reflect", "symmetric"}
        Images are mirrored at the centre of their outermost voxel, or at its border.
    output_activation : str
        Activation of the output, in float32.
    output_initializer : str
        Of the weights of the output layer. Zero, as published, means that in the first
        training step only the output layer learns.

    References
    ----------
    Pelt & Sethian 2018, PNAS 115:254. Klönne et al. 2020, Sci Rep, s41598-020-67544-y. Kernels
    are drawn from N(0, √(2/n)), n = 3^D (channels + width (depth − 1)) + n_labels, the rest
    is zero (scales of the normalisation: one).

    Examples
    --------
    >>> MSDNet.original().create_model_2D((None, None, 1), n_labels=2).count_params()
    45754
    """

    output_argument = "output_activation"

    def __init__(
        self,
        width: int = 1,
        depth: int = 100,
        dilations: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        max_dilation: int | Sequence[int] | None = None,
        *,
        normalization: str | None = "instance",
        activation: str = "leaky_relu",
        boundary: str = "reflect",
        output_activation: str = "softmax",
        output_initializer: str = "zeros",
    ) -> None:
        if width < 1 or depth < 1:
            raise ConfigurationError(
                f"width is {width}, depth is {depth}; expected 1 or more of each"
            )
        if not dilations or not all(_positive(distance) for distance in dilations):
            raise ConfigurationError(
                f"dilations is {dilations!r}; expected one or more positive integers"
            )
        bounds = max_dilation if isinstance(max_dilation, Sequence) else [max_dilation or 1]
        if not all(_positive(bound) for bound in bounds) or max_dilation == 0:
            raise ConfigurationError(
                f"max_dilation is {max_dilation!r}; expected None, a positive integer, or one "
                "for each axis"
            )
        for name, value, known in (
            ("normalization", normalization, _NORMALIZATIONS),
            ("activation", activation, tuple(_SLOPES)),
            ("boundary", boundary, _BOUNDARIES),
        ):
            if value not in known:
                raise ConfigurationError(f"{name} is {value!r}; expected one of {known}")
        self.width = width
        self.depth = depth
        self.dilations = dilations
        self.max_dilation = max_dilation
        self.normalization = normalization
        self.activation = activation
        self.boundary = boundary
        self.output_activation = output_activation
        self.output_initializer = output_initializer

    @classmethod
    def original(cls, width: int = 1, depth: int = 100, **options: Any) -> Self:
        """Return the form of Pelt & Sethian: a bias and ReLU after each convolution.

        ``options`` are further arguments of the constructor.
        """
        options = {"normalization": None, "activation": "relu", **options}
        return cls(width, depth, **options)

    def _create(self, input_shape: tuple[int | None, ...], n_labels: int, dimensions: int) -> Any:
        bounds = self.max_dilation
        if isinstance(bounds, Sequence) and len(bounds) != dimensions:
            raise ConfigurationError(
                f"max_dilation is {bounds!r}, for {len(bounds)} axes; it cannot be used in "
                f"{dimensions}D"
            )
        inputs = keras.Input(input_shape)
        logits = MixedScaleDense(
            n_labels,
            self.width,
            self.depth,
            list(self.dilations),
            list(bounds) if isinstance(bounds, Sequence) else bounds,
            normalized=self.normalization is not None,
            negative_slope=_SLOPES[self.activation],
            boundary=self.boundary,
            head_initializer=self.output_initializer,
            name="mixed_scale",
        )(inputs)
        outputs = keras.layers.Activation(
            self.output_activation, dtype="float32", name="probabilities"
        )(logits)
        return keras.Model(inputs, outputs, name=f"msdnet_{dimensions}d")


def _positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0
