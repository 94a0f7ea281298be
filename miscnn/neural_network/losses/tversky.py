"""Tversky losses."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import RegionLoss, not_negative


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
