"""Weighted sums of any losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import (
    ReductionAxes,
    SegmentationLoss,
    not_negative,
    refuse_exclusive,
)


@keras.saving.register_keras_serializable(package="miscnn")
class CompoundLoss(SegmentationLoss):
    """Σ weight · loss.

    Parameters
    ----------
    losses : sequence of (float, keras.losses.Loss)
        Weights of 0 or more and losses, those of Keras and your own included. Of a loss that
        gives one value per voxel the mean over the voxels of each sample is taken. The parts'
        own ``reduction`` plays no role.
    class_weights, reduction_axes, ignore_unlabelled, multilabel
        None leaves them to each part; anything else is handed on to all parts, which then must
        be losses of this library (or derive from
        :class:`~miscnn.neural_network.losses.SegmentationLoss`). With ``ignore_unlabelled``
        other losses may stand beside them that give one value per voxel, as Keras'
        ``CategoricalCrossentropy`` does: their mean is that over the voxels with a label. With
        ``multilabel`` they are taken as they are (``BinaryCrossentropy``), unless they are
        known to be for exclusive classes.

    Examples
    --------
    >>> from miscnn.neural_network.losses import Dice, Focal
    >>> loss = CompoundLoss([(1.0, Dice(include_background=False)), (0.5, Focal())])
    >>> [(weight, part.name) for weight, part in loss.losses]
    [(1.0, 'Dice'), (0.5, 'Focal')]
    """

    def __init__(
        self,
        losses: Sequence[tuple[float, Any]],
        *,
        class_weights: Sequence[float] | None = None,
        reduction_axes: ReductionAxes | None = None,
        ignore_unlabelled: bool | None = None,
        multilabel: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            class_weights=class_weights,
            reduction_axes="sample" if reduction_axes is None else reduction_axes,
            ignore_unlabelled=bool(ignore_unlabelled),
            multilabel=bool(multilabel),
            **kwargs,
        )
        handed_on = {
            "class_weights": self.class_weights,
            "reduction_axes": reduction_axes,
            "ignore_unlabelled": ignore_unlabelled,
            "multilabel": multilabel,
        }
        self._handed_on = {key: value for key, value in handed_on.items() if value is not None}
        self.losses = tuple(
            (not_negative(f"weight of loss {number}", weight), self._part(part))
            for number, (weight, part) in enumerate(losses)
        )
        if not self.losses:
            raise ConfigurationError("losses is empty; give at least one (weight, loss)")

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum per sample."""
        total: Any = 0.0
        for weight, loss in self.losses:
            if self.ignore_unlabelled and not isinstance(loss, SegmentationLoss):
                values = _labelled_mean(loss, y_true, y_pred, self.multilabel)
            else:
                values = loss.call(y_true, y_pred)
            if len(values.shape) > 1:
                values = ops.mean(values, axis=tuple(range(1, len(values.shape))))
            total = total + weight * ops.cast(values, "float32")
        return total

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor, the losses as they are.

        So that :meth:`with_options` works with parts that Keras could not make again.
        """
        own = dict.fromkeys(("class_weights", "reduction_axes", "ignore_unlabelled"))
        config = {**super().get_config(), **own, **self._handed_on, "losses": self.losses}
        if self.class_weights is not None:
            config["class_weights"] = list(self.class_weights)
        return config

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        parts = [[weight, keras.losses.serialize(loss)] for weight, loss in self.losses]
        return {**self.arguments(), "losses": parts}

    def _part(self, part: Any) -> Any:
        loss = keras.losses.deserialize(part) if isinstance(part, Mapping) else part
        if not isinstance(loss, keras.losses.Loss):
            raise ConfigurationError(
                f"{loss!r} is no keras.losses.Loss; make a class of a function: derive from "
                "keras.losses.Loss and return its value from call(y_true, y_pred)"
            )
        if not self._handed_on:
            return loss
        if not isinstance(loss, SegmentationLoss):
            if self.multilabel:
                refuse_exclusive(loss)
            unfit = sorted(set(self._handed_on) - {"ignore_unlabelled", "multilabel"})
            if unfit:
                raise ConfigurationError(
                    f"{', '.join(unfit)} cannot be handed on to {loss.name}, which is no "
                    "loss of miscnn. Set the options of the parts themselves"
                )
            return loss
        return loss.with_options(**self._handed_on)


def _labelled_mean(loss: Any, y_true: Any, y_pred: Any, multilabel: bool) -> Any:
    """Return the mean of a loss of Keras' over the voxels with a label, ``(batch,)``."""
    labelled = reductions.labelled(y_true, multilabel)
    # Probabilities that are all 0 would divide 0 by 0: the loss gets equal ones in their place.
    filled = y_pred + (1.0 - labelled) / y_pred.shape[-1]
    values = ops.cast(loss.call(y_true, filled), "float32")
    if len(values.shape) != len(y_pred.shape) - 1:
        raise ConfigurationError(
            f"ignore_unlabelled cannot be handed on to {loss.name}: it is no loss of miscnn and "
            f"gives values of shape {tuple(values.shape)}, not one per voxel "
            "(batch, x, y[, z]). Take a loss of miscnn.neural_network.losses in its place, or "
            "derive yours from SegmentationLoss"
        )
    labelled = labelled[..., 0]
    space = tuple(range(1, len(values.shape)))
    total = ops.sum(labelled * values, axis=space)
    return ops.divide_no_nan(total, ops.sum(labelled, axis=space))
