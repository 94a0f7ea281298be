"""The networks of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture._nnunet_base import CURRENT, FittedUNet, Form
from miscnn.neural_network.architecture._nnunet_topology import Topology
from miscnn.neural_network.architecture.blocks import Blocks, Sizes

__all__ = ["NNUNet"]

_FORMS = {
    "2018": Form(
        base_features=30,
        max_features=(480, 320),
        strided=False,
        deep_supervision=False,
        bias=False,
        decoder_convolutions=2,
    ),
    "current": CURRENT,
}


class NNUNet(FittedUNet):
    """U-Net as nnU-Net configures it: kernels and strides per axis from patch and spacing.

    Each stage is twice convolution (with bias), instance normalisation, LeakyReLU of slope
    0.01; the decoder enlarges by transposed convolutions whose kernel is their stride.

    Parameters
    ----------
    version : {"current", "2018"}
        "current": nnU-Net 2.x (Isensee et al. 2021). Reduced by the strided first convolution
        of a stage, 32 feature maps at first, 512 (2D) or 320 (3D) at most, deep supervision.
        "2018": arXiv 1809.10486, which the CT paper took. Reduced by maximum pooling, 30 feature
        maps at first, 480 or 320 at most, no deep supervision. See the notes for what is ours.
    patch_shape : sequence of int, optional
        What the network sees, in voxels per axis, and
    spacing : sequence of float, optional
        the size of a voxel per axis in mm, to which strides and kernels are fitted. Left out,
        they are the recipe's (:meth:`adapted_to`); where neither says, 128 voxels per axis and
        isotropic voxels: five poolings.
    strides : sequence of sequence of int, optional
        Instead of the rule: one integer per axis for each stage, the first of them 1. Nothing
        is adapted then.
    kernels : int, sequence, or sequence of sequences, optional
        Instead of the rule: one size, one per axis, or one per axis for each stage. With
        ``strides`` alone they are 3.
    base_features : int, optional
        Feature maps of the first stage; each further stage has twice as many,
    max_features : int, optional
        and not more than this.
    deep_supervision : bool, optional
        Train the coarser stages of the decoder by outputs of their own
        (:class:`~miscnn.neural_network.deep_supervision.DeepSupervisionModel`).
    activation : str
        Activation of the outputs.

    Notes
    -----
    *Deep supervision.* nnU-Net also has a head on the coarsest stage of the decoder, whose loss
    it weights with 0. It would never be trained, so it is not made. Networks with fewer than
    two heads left are ordinary models.

    *2018.* The rule of strides and kernels, transposed convolutions for enlarging, and no bias in
    these and in the output are taken from the later code of nnU-Net 1.x; what the first
    paper's own code did is not documented. They are choices of this library.

    *Alignment.* Strided convolutions are padded symmetrically as in PyTorch, so that the grids of
    the stages lie as published and weights can be carried over.

    References
    ----------
    Isensee et al. 2018, arXiv 1809.10486; Isensee et al. 2021, Nature Methods 18:203, and
    its code (MIC-DKFZ/nnUNet, 2.x).

    Examples
    --------
    >>> network = NNUNet("2018", patch_shape=(16, 128, 128), spacing=(5.0, 3.1, 3.1))
    >>> network.required_multiple
    (4, 32, 32)
    >>> network.features(3)
    (30, 60, 120, 240, 320, 320)
    """

    def __init__(
        self,
        version: Literal["current", "2018"] = "current",
        *,
        patch_shape: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        kernels: Sizes | None = None,
        base_features: int | None = None,
        max_features: int | None = None,
        deep_supervision: bool | None = None,
        activation: str = "softmax",
    ) -> None:
        if version not in _FORMS:
            raise ConfigurationError(f"version is {version!r}; expected one of {sorted(_FORMS)}")
        self.version = version
        super().__init__(
            patch_shape=patch_shape,
            spacing=spacing,
            strides=strides,
            kernels=kernels,
            base_features=base_features,
            max_features=max_features,
            deep_supervision=deep_supervision,
            activation=activation,
        )

    @property
    def form(self) -> Form:
        """What the version fixes."""
        return _FORMS[self.version]

    def _encode(
        self, blocks: Blocks, x: Any, stages: Topology, features: Sequence[int]
    ) -> list[Any]:
        outputs = []
        for stage, (stride, kernel) in enumerate(zip(*stages, strict=True)):
            name = f"encoder_{stage}"
            if stage and not self.form.strided:
                x = blocks.down(x, stride, name)
            by_convolution = stride if self.form.strided else None
            x = blocks.block(x, features[stage], kernel, name, by_convolution)
            outputs.append(x)
        return outputs
