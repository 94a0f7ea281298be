"""Tversky losses; Jaccard is one of them."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import (
    RegionLoss,
    WithCrossEntropy,
    not_negative,
    positive,
)


@keras.saving.register_keras_serializable(package="miscnn")
class Tversky(RegionLoss):
    """1 − TP / (TP + fp_weight · FP + fn_weight · FN), mean over the classes.

    Weights of 0.5 give soft Dice, of 1 soft Jaccard; ``fn_weight > fp_weight`` favours
    sensitivity. The arguments carry no Greek letters because the literature disagrees on
    which of α and β is which.

    Parameters
    ----------
    fp_weight, fn_weight : float
        Of false positives and false negatives.
    smooth : float
        Added to numerator and denominator.

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
class TverskyCrossEntropy(WithCrossEntropy, Tversky):
    """tversky_weight · Tversky + crossentropy_weight · cross-entropy (both 1 by default).

    Parameters
    ----------
    fp_weight, fn_weight : float
        Of false positives and false negatives.
    tversky_weight, crossentropy_weight : float
        Factors of the two.
    """

    def __init__(
        self,
        fp_weight: float = 0.5,
        fn_weight: float = 0.5,
        *,
        tversky_weight: float = 1.0,
        crossentropy_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fp_weight, fn_weight, crossentropy_weight=crossentropy_weight, **kwargs)
        self.tversky_weight = not_negative("tversky_weight", tversky_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the Tversky loss."""
        return self.tversky_weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "tversky_weight": self.tversky_weight}


@keras.saving.register_keras_serializable(package="miscnn")
class FocalTversky(Tversky):
    """(1 − Tversky index)^gamma, mean over the classes.

    Parameters
    ----------
    fp_weight, fn_weight : float
        Of false positives and false negatives.
    gamma : float
        The exponent itself, above 0. The paper writes it as 1 / γ with γ = 4/3, which is
        the 0.75 here. Below 1 it keeps pulling at classes that are nearly right.

    Notes
    -----
    The derivative of x^0.75 is infinite at 0. Below 1e-6 the power is a straight line through
    the origin (:func:`miscnn.neural_network._reductions.power`).

    References
    ----------
    Abraham & Khan 2018, arXiv 1810.07842, eq. 4; it sums over the classes.
    """

    def __init__(
        self, fp_weight: float = 0.3, fn_weight: float = 0.7, gamma: float = 0.75, **kwargs: Any
    ) -> None:
        super().__init__(fp_weight, fn_weight, **kwargs)
        self.gamma = positive("gamma", gamma)

    def per_class(self, y_true: Any, y_pred: Any) -> Any:
        """Return (1 − index)^gamma of each class."""
        return reductions.power(super().per_class(y_true, y_pred), self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="miscnn")
class FocalTverskyCrossEntropy(WithCrossEntropy, FocalTversky):
    """tversky_weight · focal Tversky + crossentropy_weight · cross-entropy (both 1).

    Parameters
    ----------
    fp_weight, fn_weight : float
        Of false positives and false negatives.
    gamma : float
        The exponent, as of :class:`FocalTversky`.
    tversky_weight, crossentropy_weight : float
        Factors of the two.
    """

    def __init__(
        self,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        gamma: float = 0.75,
        *,
        tversky_weight: float = 1.0,
        crossentropy_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fp_weight, fn_weight, gamma, crossentropy_weight=crossentropy_weight, **kwargs
        )
        self.tversky_weight = not_negative("tversky_weight", tversky_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the focal Tversky loss."""
        return self.tversky_weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "tversky_weight": self.tversky_weight}


@keras.saving.register_keras_serializable(package="miscnn")
class Jaccard(RegionLoss):
    """1 − (Σpy + s) / (Σp + Σy − Σpy + s), mean over the classes (soft Jaccard).

    References
    ----------
    Rahman & Wang 2016, Optimizing Intersection-Over-Union in Deep Neural Networks for Image
    Segmentation, ISVC, LNCS 10072:234.
    """

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the soft Jaccard index per class."""
        return reductions.tversky_index(y_true, y_pred, 1.0, 1.0, self.smooth, self.over_batch)


@keras.saving.register_keras_serializable(package="miscnn")
class JaccardCrossEntropy(WithCrossEntropy, Jaccard):
    """jaccard_weight · Jaccard + crossentropy_weight · cross-entropy (both 1 by default).

    Parameters
    ----------
    jaccard_weight, crossentropy_weight : float
        Factors of the two.
    """

    def __init__(
        self, *, jaccard_weight: float = 1.0, crossentropy_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(crossentropy_weight=crossentropy_weight, **kwargs)
        self.jaccard_weight = not_negative("jaccard_weight", jaccard_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the Jaccard loss."""
        return self.jaccard_weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "jaccard_weight": self.jaccard_weight}
