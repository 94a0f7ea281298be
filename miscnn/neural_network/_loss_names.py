"""Losses by name."""

from __future__ import annotations

from inspect import isabstract
from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import losses


def as_loss(loss: Any) -> Any:
    """Return the loss that a network is given: None for the default, or by name.

    Raises
    ------
    ConfigurationError
        If there is no loss of this name.
    """
    if loss is None:
        return losses.TverskyCrossEntropy()
    if not isinstance(loss, str):
        return loss() if isinstance(loss, type) else loss
    own = {name: kind for name, kind in vars(losses).items() if _can_be_made(kind)}
    if loss in own:
        return own[loss]()
    try:
        return keras.losses.get(loss)
    except ValueError as error:
        raise ConfigurationError(
            f"loss is {loss!r}; expected one of {', '.join(sorted(own))}, the name of one of "
            "Keras', or a loss"
        ) from error


def _can_be_made(kind: Any) -> bool:
    """Tell whether a loss of this library's needs no arguments."""
    if not (isinstance(kind, type) and issubclass(kind, losses.SegmentationLoss)):
        return False
    return not isabstract(kind) and kind is not losses.CompoundLoss
