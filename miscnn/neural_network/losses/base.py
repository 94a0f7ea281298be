"""What the losses share; the options are explained in :mod:`miscnn.neural_network.losses`."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network._class_weights import read_class_weights

ReductionAxes = Literal["sample", "batch"]
"""Over what sums run: the voxels of a sample, or of the whole batch."""


def refuse_exclusive(loss: Any) -> None:
    """Raise ConfigurationError if a loss that has no ``multilabel`` is known to need classes."""
    kind = loss if inspect.isfunction(loss) else type(loss)
    of_1x = kind.__module__.startswith("miscnn.")
    if of_1x or "categorical" in kind.__name__.lower():
        raise ConfigurationError(
            f"the loss {kind.__name__} is for classes of which each voxel has exactly one, but the "
            "preprocessor has regions; take one of miscnn.neural_network.losses, such as "
            "DiceCrossEntropy() (its cross-entropy becomes binary), or leave loss out"
        )


class SegmentationLoss(keras.losses.Loss, ABC):  # type: ignore[misc]  # Keras has no types
    """Base of the losses: checks of the arguments, class weights, configuration.

    A loss of your own defines :meth:`values`; options of its own go into ``__init__`` and
    :meth:`get_config` alike. One that makes sense only where each voxel has exactly one class
    sets ``exclusive`` to True.

    Parameters
    ----------
    class_weights : sequence of float, optional
        One per class, background first; only the ratios count.
    reduction_axes : {"sample", "batch"}
        Whether sums run over the voxels of each sample, or over those of the whole batch.
    ignore_unlabelled : bool
        Whether voxels whose truth is 0 for all classes are left out of all sums.
    multilabel : bool
        Whether the channels are regions that may overlap; set for recipes with ``regions``.
    reduction, name : str or None
        As of ``keras.losses.Loss``.
    """

    exclusive: ClassVar[bool] = False

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        reduction_axes: ReductionAxes = "sample",
        ignore_unlabelled: bool = False,
        multilabel: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or type(self).__name__, reduction=reduction, dtype="float32")
        if reduction_axes not in ("sample", "batch"):
            raise ConfigurationError(
                f"reduction_axes is {reduction_axes!r}; expected 'sample' or 'batch'"
            )
        if multilabel and self.exclusive:
            raise ConfigurationError(
                f"{type(self).__name__} is for classes of which each voxel has exactly one, not "
                "for regions that overlap (multilabel); take DiceCrossEntropy, "
                "TverskyCrossEntropy or Focal, say"
            )
        self.reduction_axes = reduction_axes
        self.ignore_unlabelled = bool(ignore_unlabelled)
        self.multilabel = bool(multilabel)
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
        if self.ignore_unlabelled:
            if self.multilabel:
                y_true = ops.maximum(y_true, reductions.UNLABELLED)
            else:
                reductions.check_classes(y_pred, "ignore_unlabelled")
            y_pred = y_pred * self.counting_voxels(y_true)
        return ops.broadcast_to(self.values(y_true, y_pred), (ops.shape(y_pred)[0],))

    @abstractmethod
    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss per sample, ``(batch,)``, or of the batch, ``(1,)``.

        The arguments are checked and in float32. With ``ignore_unlabelled`` the
        probabilities of voxels without a label are 0, as their truth is: they count in no sum
        of products or probabilities. Sums of anything else are multiplied by
        :meth:`counting_voxels`.
        """

    def counting_voxels(self, y_true: Any) -> Any:
        """Return 1 for voxels that count, else 0, ``(batch, …, 1)``."""
        if self.ignore_unlabelled:
            return reductions.labelled(y_true, self.multilabel)
        return ops.ones_like(y_true[..., :1])

    def with_options(self, **changes: Any) -> Self:
        """Return the same loss with other values for some of its arguments.

        Parameters
        ----------
        **changes
            Arguments of the constructor.

        Raises
        ------
        ConfigurationError
            If the loss has no such argument.

        Examples
        --------
        >>> from miscnn.neural_network.losses import Dice
        >>> Dice(smooth=1.0).with_options(ignore_unlabelled=True).smooth
        1.0
        """
        config = self.arguments()
        unknown = sorted(set(changes) - {*config, "multilabel"})
        if unknown:
            raise ConfigurationError(
                f"{type(self).__name__} has no option {', '.join(unknown)}; it has "
                f"{', '.join(sorted({*config, 'multilabel'}))}"
            )
        return type(self).from_config({**config, **changes})

    def with_class_weights(self, weights: Sequence[float] | Mapping[int, float]) -> Self:
        """Return the same loss with other class weights.

        Parameters
        ----------
        weights : sequence or mapping
            One weight per class; a mapping, as Keras' ``class_weight``, from numbers of classes
            to weights. Classes below the highest that it does not name weigh 1. (The loss does
            not know how many there are: name the last one.)
        """
        if isinstance(weights, Mapping):
            weights = read_class_weights(weights, max(weights, default=-1) + 1) or ()
        return self.with_options(class_weights=tuple(weights))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor, of which :meth:`with_options` changes some.

        They are those of :meth:`get_config` where these are all JSON values.
        """
        return self.get_config()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        weights = None if self.class_weights is None else list(self.class_weights)
        own: dict[str, Any] = {
            "class_weights": weights,
            "reduction_axes": self.reduction_axes,
            "ignore_unlabelled": self.ignore_unlabelled,
        }
        if self.multilabel:  # so that documents of exclusive classes stay as they are
            own["multilabel"] = True
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the loss again from what :meth:`get_config` returned."""
        return cls(**config)

    @property
    def over_batch(self) -> bool:
        """Whether sums run over the whole batch."""
        return self.reduction_axes == "batch"

    def crossentropy(
        self, y_true: Any, y_pred: Any, *, label_smoothing: float = 0.0, focus: Any = None
    ) -> Any:
        """Return the cross-entropy with the loss's own weights and reduction.

        ``focus``, like ``y_pred``, multiplies each −log p. With ``multilabel``, which leaves no
        place for it, it is the mean of :meth:`binary_crossentropies` over the channels.
        """
        if self.multilabel:
            per_channel = self.binary_crossentropies(y_true, y_pred, label_smoothing)
            return self.channel_mean(per_channel)
        return reductions.crossentropy(
            y_true,
            y_pred,
            self.true_class_weights(y_pred.shape[-1]),
            self.over_batch,
            label_smoothing=label_smoothing,
            focus=focus,
        )

    def binary_crossentropies(
        self, y_true: Any, y_pred: Any, label_smoothing: float = 0.0, gamma: float = 0.0
    ) -> Any:
        """Return the cross-entropy of each channel for itself, ``(batch or 1, channels)``.

        With ``gamma`` in its focal form.
        """
        counting = self.counting_voxels(y_true)
        smoothed = self.smoothed(y_true, label_smoothing)
        return reductions.binary_crossentropies(
            smoothed, y_pred, counting, 1.0, 1.0, self.over_batch, gamma
        )

    def smoothed(self, y_true: Any, label_smoothing: float) -> Any:
        """Return y (1 − e) + e / K of voxels with a label; K is 2 with ``multilabel``."""
        if self.multilabel and label_smoothing > 0:
            smoothed = (1.0 - label_smoothing) * y_true + label_smoothing / 2
            return self.counting_voxels(y_true) * smoothed
        return reductions.smoothed(y_true, label_smoothing)

    def channel_mean(self, per_channel: Any) -> Any:
        """Return the mean of ``(n, channels)`` values by the class weights, ``(n,)``."""
        if self.class_weights is None:
            return ops.mean(per_channel, axis=-1)
        weights = ops.convert_to_tensor(self.class_weights, dtype="float32")
        return ops.sum(weights * per_channel, axis=-1) / sum(self.class_weights)

    def true_class_weights(self, classes: int) -> Any | None:
        """Return the weights of voxels by their true class, ``(classes,)``; None: all alike."""
        if self.class_weights is None:
            return None
        return ops.convert_to_tensor(self.class_weights, dtype="float32")


class RegionLoss(SegmentationLoss):
    """Base of losses that compare regions: the mean of 1 − index over the classes.

    Parameters
    ----------
    include_background : bool
        Whether class 0 counts in the mean over the classes.
    smooth : float
        Added to numerator and denominator.
    """

    def __init__(
        self, *, include_background: bool = True, smooth: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < smooth < math.inf:
            raise ConfigurationError(
                f"smooth is {smooth!r}; expected a finite positive number, since an absent "
                "class that is nowhere predicted would divide 0 by 0"
            )
        self.include_background = include_background
        self.smooth = smooth

    @property
    def first_class(self) -> int:
        """The first class that counts: 1 without the background, which no region is."""
        return 0 if self.include_background or self.multilabel else 1

    @abstractmethod
    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the agreement, 0 to 1, ``(batch or 1, classes)``."""

    def per_class(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each class, ``(batch or 1, classes)``: 1 − index."""
        return 1.0 - self.index(y_true, y_pred)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the classes."""
        return self.class_mean(self.per_class(y_true, y_pred))

    def class_mean(self, per_class: Any) -> Any:
        """Return the mean of ``(n, classes)`` values over the classes that count, ``(n,)``."""
        shares = self.shares(per_class.shape[-1])
        losses = self.counted(per_class)
        if shares is None:
            return ops.mean(losses, axis=-1)
        return ops.sum(losses * shares, axis=-1)

    def volume_weights(self, volumes: Any) -> Any:
        """Return 1 / V² of those of ``(n, classes)`` volumes that count, times class weights.

        In each row they are divided by the largest of a class whose class weight is not 0; an
        absent class has it too.
        """
        shares = self.shares(volumes.shape[-1])
        weights = reductions.inverse_square_volumes(self.counted(volumes), shares)
        if shares is None:
            return weights
        return weights * shares * shares.shape[0]  # mean 1: equal weights change nothing

    def counted(self, per_class: Any) -> Any:
        """Return those of ``(n, classes)`` values whose class counts."""
        if not self.first_class:
            return per_class
        if per_class.shape[-1] < 2:
            raise ConfigurationError(
                "include_background=False leaves no class: the network predicts only one"
            )
        return per_class[:, 1:]

    def shares(self, classes: int) -> Any | None:
        """Return the class weights of those that count, with sum 1; None: all alike."""
        if self.class_weights is None:
            return None
        weights = self.class_weights[self.first_class : classes]
        total = sum(weights)
        if total == 0:
            raise ConfigurationError(
                f"class_weights {self.class_weights} with include_background=False leave no "
                "class with a weight above 0"
            )
        return ops.convert_to_tensor([weight / total for weight in weights], dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"include_background": self.include_background, "smooth": self.smooth}
        return {**super().get_config(), **own}


class WithCrossEntropy(RegionLoss):
    """To be put before a region loss among the bases: adds its cross-entropy.

    Parameters
    ----------
    crossentropy_weight : float
        Factor of the cross-entropy.
    label_smoothing : float
        Of the cross-entropy; the region loss keeps the labels as they are.
    """

    def __init__(
        self,
        *args: Any,
        crossentropy_weight: float = 1.0,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.crossentropy_weight = not_negative("crossentropy_weight", crossentropy_weight)
        self.label_smoothing = share("label_smoothing", label_smoothing)

    @property
    @abstractmethod
    def region_weight(self) -> float:
        """Factor of the region loss."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum of region loss and cross-entropy."""
        region = self.region_weight * super().values(y_true, y_pred)
        return region + self.crossentropy_weight * self.crossentropy_part(y_true, y_pred)

    def crossentropy_part(self, y_true: Any, y_pred: Any) -> Any:
        """Return the cross-entropy, ``(batch or 1,)``."""
        return self.crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "crossentropy_weight": self.crossentropy_weight,
            "label_smoothing": self.label_smoothing,
        }
        return {**super().get_config(), **own}


def not_negative(name: str, value: float) -> float:
    """Return a finite number of 0 or more."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name} is {value!r}; expected a finite number of 0 or more")
    return float(value)


def positive(name: str, value: float) -> float:
    """Return a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigurationError(f"{name} is {value!r}; expected a finite number above 0")
    return float(value)


def share(name: str, value: float) -> float:
    """Return a number from 0 to below 1."""
    if not 0 <= value < 1:
        raise ConfigurationError(f"{name} is {value!r}; expected a number from 0 to below 1")
    return float(value)


def _checked_weights(weights: Sequence[float]) -> tuple[float, ...]:
    checked = tuple(not_negative(f"class_weights[{i}]", w) for i, w in enumerate(weights))
    if sum(checked) == 0:
        raise ConfigurationError(f"class_weights {checked} give no class a weight above 0")
    return checked
