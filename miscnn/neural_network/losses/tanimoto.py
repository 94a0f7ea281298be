"""Tanimoto losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miscnn._keras import keras, ops
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import RegionLoss, WithCrossEntropy, not_negative


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

    Other Parameters
    ----------------
    include_background, smooth, class_weights, reduction_axes : various
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
        return self._dual(self._by_class, y_true, y_pred)

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
        counting = self.counting_voxels(y_true)
        return 0.5 * (value + index(counting * (1.0 - y_true), counting * (1.0 - y_pred)))

    def _by_class(self, y_true: Any, y_pred: Any) -> Any:
        return reductions.tanimoto_index(y_true, y_pred, self.smooth, self.over_batch)

    def _by_volume(self, y_true: Any, y_pred: Any) -> Any:
        sums = reductions.tanimoto_sums(y_true, y_pred, self.over_batch)
        overlap, union = (self.counted(each) for each in sums)
        volumes = ops.mean(reductions.class_sums(y_true), axis=0, keepdims=True)
        weights = self.volume_weights(volumes)
        return (ops.sum(weights * overlap, axis=-1) + self.smooth) / (
            ops.sum(weights * union, axis=-1) + self.smooth
        )


@keras.saving.register_keras_serializable(package="miscnn")
class TanimotoCrossEntropy(WithCrossEntropy, Tanimoto):
    """tanimoto_weight · Tanimoto + crossentropy_weight · cross-entropy, 0.6 and 0.4.

    ``complement`` and ``volume_weighting`` are options of the Tanimoto part.

    Parameters
    ----------
    tanimoto_weight, crossentropy_weight : float
        Factors of the two.

    References
    ----------
    The weights are those of the robust-CT-segmentation paper (Sci Rep 2020,
    s41598-020-67544-y).
    """

    def __init__(
        self, *, tanimoto_weight: float = 0.6, crossentropy_weight: float = 0.4, **kwargs: Any
    ) -> None:
        super().__init__(crossentropy_weight=crossentropy_weight, **kwargs)
        self.tanimoto_weight = not_negative("tanimoto_weight", tanimoto_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the Tanimoto loss."""
        return self.tanimoto_weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "tanimoto_weight": self.tanimoto_weight}
