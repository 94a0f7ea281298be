"""What the losses share; the options are explained in :mod:`miscnn.neural_network.losses`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions

ReductionAxes = Literal["sample", "batch"]


class SegmentationLoss(keras.losses.Loss, ABC):  # type: ignore[misc]  # Keras has no types
    """Base of the losses: checks of the arguments, class weights, configuration."""

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
    def over_batch(self) -> bool:
        """Whether sums run over the whole batch."""
        return self.reduction_axes == "batch"

    def crossentropy(self, y_true: Any, y_pred: Any) -> Any:
        """Return the cross-entropy with the loss's own weights and reduction."""
        weights = self.class_weights
        if weights is not None:
            weights = ops.convert_to_tensor(weights, dtype="float32")
        return reductions.crossentropy(y_true, y_pred, weights, self.over_batch)


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
        losses = self.counted(1.0 - self.index(y_true, y_pred))
        shares = self.shares(y_pred.shape[-1])
        if shares is None:
            return ops.mean(losses, axis=-1)
        return ops.sum(losses * shares, axis=-1)

    def counted(self, per_class: Any) -> Any:
        """Return those of ``(n, classes)`` values whose class counts."""
        if self.include_background:
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
        weights = self.class_weights[0 if self.include_background else 1 : classes]
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


def not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name} is {value!r}; expected a finite number of 0 or more")
    return float(value)


def _checked_weights(weights: Sequence[float]) -> tuple[float, ...]:
    checked = tuple(not_negative(f"class_weights[{i}]", w) for i, w in enumerate(weights))
    if sum(checked) == 0:
        raise ConfigurationError(f"class_weights {checked} give no class a weight above 0")
    return checked
