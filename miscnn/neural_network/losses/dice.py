"""Dice losses, and Combo, which adds a cross-entropy of its own to it."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras, ops
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import RegionLoss, WithCrossEntropy, not_negative


@keras.saving.register_keras_serializable(package="miscnn")
class Dice(RegionLoss):
    """1 − (2 Σpy + s) / (Σp + Σy + s), mean over the classes (soft Dice).

    Parameters
    ----------
    squared : bool
        Take the squares in the denominator, as V-Net does: Σp² + Σy². It forgives small
        probabilities spread over many voxels.

    Other Parameters
    ----------------
    include_background, smooth, class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`.

    References
    ----------
    Drozdzal et al. 2016, arXiv 1608.04117; the smoothing is nnU-Net's. Squared: Milletari et
    al. 2016, arXiv 1606.04797.
    """

    def __init__(self, *, squared: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.squared = bool(squared)

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the soft Dice per class."""
        index = reductions.squared_dice_index if self.squared else reductions.dice_index
        return index(y_true, y_pred, self.smooth, self.over_batch)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "squared": self.squared}


@keras.saving.register_keras_serializable(package="miscnn")
class DiceCrossEntropy(WithCrossEntropy, Dice):
    """dice_weight · Dice + crossentropy_weight · cross-entropy (both 1 by default).

    Parameters
    ----------
    dice_weight, crossentropy_weight : float
        Factors of the two.
    """

    def __init__(
        self, *, dice_weight: float = 1.0, crossentropy_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(crossentropy_weight=crossentropy_weight, **kwargs)
        self.dice_weight = not_negative("dice_weight", dice_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the Dice loss."""
        return self.dice_weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "dice_weight": self.dice_weight}


@keras.saving.register_keras_serializable(package="miscnn")
class Combo(DiceCrossEntropy):
    """dice_weight · Dice + crossentropy_weight · BCE (both ½ by default).

    BCE is that of each class against all others,
    ``−(fn_weight · Σ y log p + fp_weight · Σ (1 − y) log(1 − p)) / N`` over N voxels, and so
    counts as the Dice does: mean over the classes, with ``class_weights`` and without the
    background if ``include_background=False``.

    Parameters
    ----------
    fp_weight, fn_weight : float
        1 − β and β of the paper: a larger ``fn_weight`` favours sensitivity.
    dice_weight, crossentropy_weight : float
        1 − α and α of the paper. It subtracts the Dice itself; here it is 1 − Dice, which
        makes the values larger by ``dice_weight``, and 0 for a perfect prediction.

    Other Parameters
    ----------------
    label_smoothing : float
        Of the truth in BCE.

    References
    ----------
    Taghanaki et al. 2019, Comput. Med. Imaging Graph. 75:24, arXiv 1805.02798.
    """

    def __init__(
        self,
        fp_weight: float = 0.5,
        fn_weight: float = 0.5,
        *,
        dice_weight: float = 0.5,
        crossentropy_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(dice_weight=dice_weight, crossentropy_weight=crossentropy_weight, **kwargs)
        self.fp_weight = not_negative("fp_weight", fp_weight)
        self.fn_weight = not_negative("fn_weight", fn_weight)

    def crossentropy_part(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the classes of their cross-entropies against the others."""
        per_class = reductions.binary_crossentropies(
            self.smoothed(y_true, self.label_smoothing),
            y_pred,
            self.counting_voxels(y_true),
            self.fp_weight,
            self.fn_weight,
            self.over_batch,
        )
        return self.class_mean(per_class)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"fp_weight": self.fp_weight, "fn_weight": self.fn_weight}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="miscnn")
class GeneralisedDice(RegionLoss):
    """1 − (2 Σ_l w_l Σpy + s) / (Σ_l w_l Σ(p + y) + s) with w_l = 1 / V_l².

    V_l is the volume of class l in the truth, of each sample or of the batch
    (``reduction_axes``). So a small class counts as much as a large one. A class that is absent
    takes the largest weight of those present; if all are absent all weights are 1. So an absent
    class has no ratio of its own, and what is predicted of it costs what it would as an error in
    the smallest class.

    ``class_weights`` multiply the w_l; a class of weight 0 is not looked at. All w_l are
    divided by the largest: this changes the meaning of ``smooth`` only, which so stays a number
    of voxels.

    References
    ----------
    Sudre et al. 2017, arXiv 1707.03237; it leaves absent classes open.
    """

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the generalised Dice of all classes together, ``(batch or 1, 1)``."""
        weights = self.volume_weights(reductions.class_sums(y_true, self.over_batch))
        overlap = self.counted(reductions.class_sums(y_true * y_pred, self.over_batch))
        total = self.counted(reductions.class_sums(y_true + y_pred, self.over_batch))
        return (2.0 * ops.sum(weights * overlap, axis=-1, keepdims=True) + self.smooth) / (
            ops.sum(weights * total, axis=-1, keepdims=True) + self.smooth
        )

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return 1 − the generalised Dice."""
        return ops.squeeze(self.per_class(y_true, y_pred), axis=-1)


GeneralizedDice = GeneralisedDice
