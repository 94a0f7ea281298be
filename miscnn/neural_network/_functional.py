"""The losses and scores of MIScnn 1.x as functions, with its values.

New code takes the classes in :mod:`miscnn.neural_network.losses`; these functions exist so
that published scripts run and give the numbers they gave. All take one-hot truth and
probabilities ``(batch, x, y[, z], classes)`` and count the background as a class. The factories of
1.x are in :mod:`miscnn.neural_network._functional_focal`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from miscnn._keras import keras, ops
from miscnn.neural_network import _reductions as reductions

__all__ = [
    "dice_coefficient",
    "dice_coefficient_loss",
    "dice_crossentropy",
    "dice_soft",
    "dice_soft_loss",
    "tversky_crossentropy",
    "tversky_loss",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _registered(function: _Function) -> _Function:
    keras.saving.register_keras_serializable(package="miscnn")(function)
    return function


@_registered
def dice_coefficient(y_true: Any, y_pred: Any, smooth: float = 1e-5) -> Any:
    """Soft Dice over all samples, voxels and classes together; a scalar.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    smooth : float
        Added to numerator and denominator.
    """
    y_true, y_pred = reductions.checked(y_true, y_pred)
    overlap = ops.sum(reductions.class_sums(y_true * y_pred))
    total = ops.sum(reductions.class_sums(y_true + y_pred))
    return (2.0 * overlap + smooth) / (total + smooth)


@_registered
def dice_coefficient_loss(y_true: Any, y_pred: Any) -> Any:
    """1 − :func:`dice_coefficient`.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    """
    return 1.0 - dice_coefficient(y_true, y_pred)


@_registered
def dice_soft(y_true: Any, y_pred: Any, smooth: float = 1e-5) -> Any:
    """Soft Dice per sample and class, then the mean of all of them; a scalar.

    A class absent from truth and prediction counts as 1.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    smooth : float
        Added to numerator and denominator.
    """
    y_true, y_pred = reductions.checked(y_true, y_pred)
    return ops.mean(reductions.dice_index(y_true, y_pred, smooth))


@_registered
def dice_soft_loss(y_true: Any, y_pred: Any) -> Any:
    """1 − :func:`dice_soft`.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    """
    return 1.0 - dice_soft(y_true, y_pred)


@_registered
def dice_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """:func:`dice_soft_loss` + cross-entropy, mean over all voxels; a scalar.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    """
    return dice_soft_loss(y_true, y_pred) + _mean_crossentropy(y_true, y_pred)


@_registered
def tversky_loss(y_true: Any, y_pred: Any, smooth: float = 1e-6) -> Any:
    """Number of classes − Σ Tversky index (both weights 0.5); per sample, ``(batch,)``.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    smooth : float
        Added to numerator and denominator.
    """
    y_true, y_pred = reductions.checked(y_true, y_pred)
    index = reductions.tversky_index(y_true, y_pred, 0.5, 0.5, smooth)
    return ops.sum(1.0 - index, axis=-1)


@_registered
def tversky_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """:func:`tversky_loss` + cross-entropy, mean over all voxels; per sample, ``(batch,)``.

    Parameters
    ----------
    y_true, y_pred : tensor
        One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
    """
    return tversky_loss(y_true, y_pred) + _mean_crossentropy(y_true, y_pred)


def _mean_crossentropy(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(reductions.crossentropy(*reductions.checked(y_true, y_pred)))
