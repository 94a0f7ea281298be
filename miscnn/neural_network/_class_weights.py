"""Class weights as Keras users write them, and other options of the losses that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miscnn.exceptions import ConfigurationError


def read_class_weights(
    class_weight: Sequence[float] | Mapping[int, float] | None, classes: int
) -> tuple[float, ...] | None:
    """Return one weight per class; classes that a mapping leaves out weigh 1.

    Raises
    ------
    ConfigurationError
        If there is another number of weights, or a class that does not exist.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, Mapping):
        if not class_weight:
            raise ConfigurationError("class_weight is empty; name at least one class, or give None")
        unknown = sorted(set(class_weight) - set(range(classes)))
        if unknown:
            raise ConfigurationError(
                f"class_weight names class(es) {unknown}, there are 0 … {classes - 1}"
            )
        weights = tuple(float(class_weight.get(c, 1.0)) for c in range(classes))
    else:
        weights = tuple(float(w) for w in class_weight)
    if len(weights) != classes:
        raise ConfigurationError(
            f"class_weight needs one weight for each of {classes} classes, got {len(weights)}"
        )
    return weights


def weighted_loss(loss: Any, weights: Sequence[float]) -> Any:
    """Return a loss of this library's with class weights.

    Raises
    ------
    ConfigurationError
        If the loss cannot have any.
    """
    if not hasattr(loss, "with_class_weights"):
        raise ConfigurationError(
            f"class_weight works with the losses of miscnn; {loss!r} has no "
            "with_class_weights(weights). Weight the classes inside of your loss instead"
        )
    return loss.with_class_weights(weights)


def without_unlabelled(loss: Any) -> Any:
    """Return a loss that leaves out the voxels that carry the data set's ignore label.

    Raises
    ------
    ConfigurationError
        If the loss cannot.
    """
    if not hasattr(loss, "with_options"):
        raise ConfigurationError(
            f"the data set has an ignore label, which the losses of miscnn can leave out; {loss!r} "
            "has no with_options(ignore_unlabelled=True). Take one of miscnn's, or a subclass of "
            "SegmentationLoss"
        )
    return loss.with_options(ignore_unlabelled=True)
