"""Losses for segmentation.

All take ``y_true`` one-hot and ``y_pred`` probabilities (not logits), both
``(batch, x, y[, z], classes)``, and give one value per sample, which Keras averages (weighted
by ``sample_weight``, one weight per sample). Values do not grow with the number of classes:
they are *means* over the classes (MIScnn 1.x took ``n_classes - sum``; its functions are kept
in :mod:`miscnn.neural_network.metrics`). Sums are taken in float32 under any dtype policy.

Common arguments
----------------
class_weights : sequence of float, optional
    One weight per class, background first. Region losses take the weighted mean over the
    classes, cross-entropy the mean over the voxels weighted by the weight of the true class;
    so only the ratios of the weights count. (Keras' own ``class_weight`` refuses
    segmentation targets.)
reduction_axes : {"sample", "batch"}
    Whether sums run over the voxels of each sample, or over those of the whole batch as if
    it were one sample (then ``sample_weight`` counts by its mean only). "batch" is gentler to
    classes that many patches do not contain.
include_background : bool
    Whether class 0 counts in the mean over the classes. In a sum of two losses this holds
    for the region loss only; cross-entropy always sees every voxel.
smooth : float
    Added to numerator and denominator.

Absent classes
--------------
A class that is absent from the truth costs ``1 - smooth / (e + smooth)``, where ``e`` is the
(weighted) sum of the probabilities given to it - of their squares for Tanimoto. So it costs
nothing only if it is predicted nowhere, and almost 1 once ``e`` is well above ``smooth``; a
larger ``smooth`` or ``reduction_axes="batch"`` softens this.
"""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network._loss_base import (
    ReductionAxes,
    RegionLoss,
    SegmentationLoss,
    not_negative,
)

__all__ = [
    "CrossEntropy",
    "Dice",
    "DiceCrossEntropy",
    "ReductionAxes",
    "RegionLoss",
    "SegmentationLoss",
    "Tanimoto",
    "TanimotoCrossEntropy",
    "Tversky",
    "TverskyCrossEntropy",
]


@keras.saving.register_keras_serializable(package="miscnn")
class CrossEntropy(SegmentationLoss):
    """Categorical cross-entropy: the mean of −log p of the true class over the voxels.

    1e-7 is added to the probabilities, so that value (at most 16.1) and gradient are finite
    for any of them. Absent classes cost nothing beyond the voxels where they are predicted.
    """

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the voxels."""
        return self.crossentropy(y_true, y_pred)


@keras.saving.register_keras_serializable(package="miscnn")
class Tversky(RegionLoss):
    """1 − TP / (TP + fp_weight · FP + fn_weight · FN), mean over the classes.

    Weights of 0.5 give soft Dice, of 1 soft Jaccard; ``fn_weight > fp_weight`` favours
    sensitivity. The arguments carry no Greek letters because the literature disagrees on
    which of α and β is which.

    References
    ----------
    Salehi et al. 2017, arXiv 1706.05721 (where 0.3 and 0.7 did best).

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[1.0, 0.0], [0.0, 1.0]]])  # one sample, two voxels, two classes
    >>> prediction = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    >>> round(float(Tversky(fp_weight=0.3, fn_weight=0.7)(truth, prediction)), 4)
    0.6154
    """

    def __init__(
        self,
        fp_weight: float = 0.5,
        fn_weight: float = 0.5,
        *,
        smooth: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(smooth=smooth, **kwargs)
        self.fp_weight = not_negative("fp_weight", fp_weight)
        self.fn_weight = not_negative("fn_weight", fn_weight)

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the Tversky index per class."""
        return reductions.tversky_index(
            y_true, y_pred, self.fp_weight, self.fn_weight, self.smooth, self.over_batch
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"fp_weight": self.fp_weight, "fn_weight": self.fn_weight}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="miscnn")
class TverskyCrossEntropy(Tversky):
    """tversky_weight · Tversky + crossentropy_weight · cross-entropy (both 1 by default)."""

    def __init__(
        self,
        fp_weight: float = 0.5,
        fn_weight: float = 0.5,
        *,
        tversky_weight: float = 1.0,
        crossentropy_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fp_weight, fn_weight, **kwargs)
        self.tversky_weight = not_negative("tversky_weight", tversky_weight)
        self.crossentropy_weight = not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.tversky_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self.crossentropy(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "tversky_weight": self.tversky_weight,
            "crossentropy_weight": self.crossentropy_weight,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="miscnn")
class Dice(RegionLoss):
    """1 − (2 Σpy + s) / (Σp + Σy + s), mean over the classes (soft Dice, not squared).

    References
    ----------
    Drozdzal et al. 2016, arXiv 1608.04117; the smoothing is nnU-Net's.
    """

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the soft Dice per class."""
        return reductions.dice_index(y_true, y_pred, self.smooth, self.over_batch)


@keras.saving.register_keras_serializable(package="miscnn")
class DiceCrossEntropy(Dice):
    """dice_weight · Dice + crossentropy_weight · cross-entropy (both 1 by default)."""

    def __init__(
        self, *, dice_weight: float = 1.0, crossentropy_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dice_weight = not_negative("dice_weight", dice_weight)
        self.crossentropy_weight = not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.dice_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self.crossentropy(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"dice_weight": self.dice_weight, "crossentropy_weight": self.crossentropy_weight}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="miscnn")
class Tanimoto(RegionLoss):
    """1 − (Σpy + s) / (Σp² + Σy² − Σpy + s), mean over the classes.

    For masks of 0 and 1 this is 1 − Jaccard. The squares forgive small probabilities spread
    over many voxels.

    References
    ----------
    Eq. 1 of the robust-CT-segmentation paper (Sci Rep 2020, s41598-020-67544-y); the mean
    over the classes, background included, is our reading.
    """

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the Tanimoto coefficient per class."""
        return reductions.tanimoto_index(y_true, y_pred, self.smooth, self.over_batch)


@keras.saving.register_keras_serializable(package="miscnn")
class TanimotoCrossEntropy(Tanimoto):
    """tanimoto_weight · Tanimoto + crossentropy_weight · cross-entropy, 0.6 and 0.4.

    References
    ----------
    The weights are those of the robust-CT-segmentation paper (Sci Rep 2020,
    s41598-020-67544-y).
    """

    def __init__(
        self, *, tanimoto_weight: float = 0.6, crossentropy_weight: float = 0.4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tanimoto_weight = not_negative("tanimoto_weight", tanimoto_weight)
        self.crossentropy_weight = not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.tanimoto_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self.crossentropy(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "tanimoto_weight": self.tanimoto_weight,
            "crossentropy_weight": self.crossentropy_weight,
        }
        return {**super().get_config(), **own}
