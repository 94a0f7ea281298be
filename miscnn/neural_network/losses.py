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
larger ``smooth`` or ``reduction_axes="batch"`` softens this. So do two options of Tanimoto:
with ``complement`` it costs about half of that, and with ``volume_weighting`` it has no ratio of
its own and costs about ``e / (v + e)``, where ``v`` is the volume of the smallest class that is
present.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miscnn._keras import keras, ops
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

    Parameters
    ----------
    complement : bool
        Take the mean of the coefficient T(p, y) and that of the complements T(1 − p, 1 − y).
        Per class. For two classes whose probabilities add up to 1 each is the other's
        complement: it then changes nothing, provided that the background is included and
        ``class_weights`` are equal. A class that is absent and predicted where it is not
        costs about ½ in place of 1, and likewise one that is everywhere and missed somewhere.
    volume_weighting : bool
        Weigh the classes *inside* numerator and denominator, in place of the mean over the
        classes: T = (Σ_l w_l Σpy + s) / (Σ_l w_l (Σp² + Σy² − Σpy) + s), w_l = 1 / V_l². V_l is
        the volume of class l in the truth, mean over the batch (so that the loss of a sample
        depends on the others of its batch); an absent class takes the largest weight of those
        present, and if all are absent all weights are 1. The weights of the complement are
        those of the complement's volumes. ``class_weights`` multiply these weights. All weights
        are divided by the largest 1 / V²: this changes the meaning of ``smooth`` only, which
        so stays a number of voxels. (Unscaled, the sums are of the order 1 / V, and for
        organs of 10⁵ voxels a smooth of 1e-5 would be as large as they.)
    include_background, smooth, class_weights, reduction_axes
        As in :mod:`miscnn.neural_network.losses`.

    References
    ----------
    Eq. 1 of the robust-CT-segmentation paper (Sci Rep 2020, s41598-020-67544-y); the mean
    over the classes, background included, is our reading. Both options: Diakogiannis et al.
    2020, ResUNet-a, ISPRS J. Photogramm. Remote Sens. 162:94, arXiv 1904.00592; both together
    are its "Tanimoto with complement".

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[1.0], [1.0], [0.0], [0.0]]])  # one sample, four voxels, one class
    >>> prediction = np.array([[[1.0], [0.0], [0.0], [0.0]]])
    >>> round(float(Tanimoto()(truth, prediction)), 4)  # 1 - 1/2
    0.5
    >>> round(float(Tanimoto(complement=True)(truth, prediction)), 4)  # 1 - (1/2 + 2/3) / 2
    0.4167
    """

    def __init__(
        self, *, complement: bool = False, volume_weighting: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.complement = bool(complement)
        self.volume_weighting = bool(volume_weighting)

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the Tanimoto coefficient per class."""
        return self._dual(self._per_class, y_true, y_pred)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean of 1 − coefficient, or 1 − the coefficient of all classes together."""
        if not self.volume_weighting:
            return super().values(y_true, y_pred)
        return 1.0 - self._dual(self._by_volume, y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"complement": self.complement, "volume_weighting": self.volume_weighting}
        return {**super().get_config(), **own}

    def _dual(self, index: Callable[[Any, Any], Any], y_true: Any, y_pred: Any) -> Any:
        value = index(y_true, y_pred)
        if not self.complement:
            return value
        # Summed anew: to take the sums of the complement from those above loses, for a class
        # that is nearly everywhere, all digits that count.
        return 0.5 * (value + index(1.0 - y_true, 1.0 - y_pred))

    def _per_class(self, y_true: Any, y_pred: Any) -> Any:
        return reductions.tanimoto_index(y_true, y_pred, self.smooth, self.over_batch)

    def _by_volume(self, y_true: Any, y_pred: Any) -> Any:
        sums = reductions.tanimoto_sums(y_true, y_pred, self.over_batch)
        overlap, union = (self.counted(each) for each in sums)
        volumes = ops.mean(reductions.class_sums(y_true), axis=0, keepdims=True)
        weights = reductions.inverse_square_volumes(self.counted(volumes))
        shares = self.shares(y_pred.shape[-1])
        if shares is not None:
            weights = weights * shares * shares.shape[0]  # mean 1: equal weights change nothing
        return (ops.sum(weights * overlap, axis=-1) + self.smooth) / (
            ops.sum(weights * union, axis=-1) + self.smooth
        )


@keras.saving.register_keras_serializable(package="miscnn")
class TanimotoCrossEntropy(Tanimoto):
    """tanimoto_weight · Tanimoto + crossentropy_weight · cross-entropy, 0.6 and 0.4.

    ``complement`` and ``volume_weighting`` are options of the Tanimoto part.

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
