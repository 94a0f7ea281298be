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
    it were one sample. "batch" is gentler to classes that many patches do not contain.
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

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions

__all__ = [
    "CrossEntropy",
    "Dice",
    "DiceCrossEntropy",
    "RegionLoss",
    "SegmentationLoss",
    "Tanimoto",
    "TanimotoCrossEntropy",
    "Tversky",
    "TverskyCrossEntropy",
]

ReductionAxes = Literal["sample", "batch"]


class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """Base of the losses: checks, class weights, configuration. See the module's text."""

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        reduction_axes: ReductionAxes = "sample",
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or type(self).__name__, reduction=reduction, dtype="float32")
        if reduction_axes not in ("sample", "batch"):
            raise ConfigurationError(
                f"reduction_axes is {reduction_axes!r}; expected 'sample' or 'batch'"
            )
        self.reduction_axes = reduction_axes
        self.class_weights = None if class_weights is None else _checked_weights(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, ``(batch,)``, in float32."""
        y_true, y_pred = reductions.checked(y_true, y_pred)
        classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise ConfigurationError(
                f"class_weights has {len(self.class_weights)} entries, but the network predicts "
                f"{classes} classes; give one weight per class, the background's first"
            )
        return ops.broadcast_to(self.values(y_true, y_pred), (ops.shape(y_pred)[0],))

    @abstractmethod
    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss per sample, ``(batch,)``, or of the batch, ``(1,)``.

        The arguments are checked and in float32.
        """

    def with_class_weights(self, weights: Sequence[float] | Mapping[int, float]) -> Self:
        """Return the same loss with other class weights.

        Parameters
        ----------
        weights : sequence or mapping
            One weight per class; a mapping, as Keras' ``class_weight``, has the classes
            0, 1, 2, … as keys.
        """
        if isinstance(weights, Mapping):
            if sorted(weights) != list(range(len(weights))):
                raise ConfigurationError(
                    f"the class weights name the classes {sorted(weights)}; give a weight to "
                    "every class, 0 (the background) first and without gaps"
                )
            weights = [weights[index] for index in range(len(weights))]
        return type(self).from_config({**self.get_config(), "class_weights": tuple(weights)})

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        weights = None if self.class_weights is None else list(self.class_weights)
        own = {"class_weights": weights, "reduction_axes": self.reduction_axes}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the loss again from what :meth:`get_config` returned."""
        return cls(**config)

    @property
    def _over_batch(self) -> bool:
        return self.reduction_axes == "batch"

    def _crossentropy(self, y_true: Any, y_pred: Any) -> Any:
        weights = self.class_weights
        if weights is not None:
            weights = ops.convert_to_tensor(weights, dtype="float32")
        return reductions.crossentropy(y_true, y_pred, weights, self._over_batch)


@keras.saving.register_keras_serializable(package="miscnn")
class CrossEntropy(SegmentationLoss):
    """Categorical cross-entropy: the mean of −log p of the true class over the voxels.

    1e-7 is added to the probabilities, so that value (at most 16.1) and gradient are finite
    for any of them. Absent classes cost nothing beyond the voxels where they are predicted.
    """

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the voxels."""
        return self._crossentropy(y_true, y_pred)


class RegionLoss(SegmentationLoss):
    """Base of losses that compare regions: the mean of 1 − index over the classes."""

    def __init__(
        self, *, include_background: bool = True, smooth: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not smooth > 0:
            raise ConfigurationError(
                f"smooth is {smooth!r}; expected a positive number, since an absent class that "
                "is nowhere predicted would divide 0 by 0"
            )
        self.include_background = include_background
        self.smooth = smooth

    @abstractmethod
    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the agreement, 0 to 1, ``(batch or 1, classes)``."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean of 1 − index over the classes."""
        losses = 1.0 - self.index(y_true, y_pred)
        weights = self.class_weights
        if not self.include_background:
            if y_pred.shape[-1] < 2:
                raise ConfigurationError(
                    "include_background=False leaves no class: the network predicts only one"
                )
            losses = losses[:, 1:]
            weights = None if weights is None else weights[1:]
        if weights is None:
            return ops.mean(losses, axis=-1)
        total = sum(weights)
        if total == 0:
            raise ConfigurationError(
                f"class_weights {self.class_weights} with include_background=False leave no "
                "class with a weight above 0"
            )
        shares = ops.convert_to_tensor([weight / total for weight in weights], dtype="float32")
        return ops.sum(losses * shares, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"include_background": self.include_background, "smooth": self.smooth}
        return {**super().get_config(), **own}


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
        self.fp_weight = _not_negative("fp_weight", fp_weight)
        self.fn_weight = _not_negative("fn_weight", fn_weight)

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the Tversky index per class."""
        return reductions.tversky_index(
            y_true, y_pred, self.fp_weight, self.fn_weight, self.smooth, self._over_batch
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
        self.tversky_weight = _not_negative("tversky_weight", tversky_weight)
        self.crossentropy_weight = _not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.tversky_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self._crossentropy(y_true, y_pred)

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
        return reductions.dice_index(y_true, y_pred, self.smooth, self._over_batch)


@keras.saving.register_keras_serializable(package="miscnn")
class DiceCrossEntropy(Dice):
    """dice_weight · Dice + crossentropy_weight · cross-entropy (both 1 by default)."""

    def __init__(
        self, *, dice_weight: float = 1.0, crossentropy_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dice_weight = _not_negative("dice_weight", dice_weight)
        self.crossentropy_weight = _not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.dice_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self._crossentropy(y_true, y_pred)

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
        return reductions.tanimoto_index(y_true, y_pred, self.smooth, self._over_batch)


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
        self.tanimoto_weight = _not_negative("tanimoto_weight", tanimoto_weight)
        self.crossentropy_weight = _not_negative("crossentropy_weight", crossentropy_weight)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = self.tanimoto_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self._crossentropy(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "tanimoto_weight": self.tanimoto_weight,
            "crossentropy_weight": self.crossentropy_weight,
        }
        return {**super().get_config(), **own}


def _not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name} is {value!r}; expected a finite number of 0 or more")
    return float(value)


def _checked_weights(weights: Sequence[float]) -> tuple[float, ...]:
    checked = tuple(_not_negative(f"class_weights[{i}]", w) for i, w in enumerate(weights))
    if sum(checked) == 0:
        raise ConfigurationError(f"class_weights {checked} give no class a weight above 0")
    return checked
