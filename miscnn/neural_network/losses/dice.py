"""Dice losses."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import RegionLoss, not_negative


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
