"""The loss factories of MIScnn 1.x: called with settings, they return a loss.

The values are those of 1.x but where a docstring names a defect of it. All count the background
as a class. What a factory returns can be called with ``(y_true, y_pred)``, and Keras saves and
loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import share

__all__ = [
    "asym_unified_focal_loss",
    "asymmetric_focal_loss",
    "asymmetric_focal_tversky_loss",
    "categorical_focal_loss",
    "combo_loss",
    "dice_weighted",
    "focal_tversky_loss",
    "identify_axis",
    "sym_unified_focal_loss",
    "symmetric_focal_loss",
    "symmetric_focal_tversky_loss",
]

_SMOOTH = 1e-6  # of the Tversky index, as in 1.x


@keras.saving.register_keras_serializable(package="miscnn")
class FactoryLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """What a factory returns: a formula with its settings, which Keras can save.

    Parameters
    ----------
    factory : str
        Name of the factory.
    settings : mapping
        Its arguments.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        if factory not in _FORMULAS:
            raise ConfigurationError(
                f"factory is {factory!r}; expected one of {', '.join(sorted(_FORMULAS))}"
            )
        super().__init__(name=name or factory, reduction=reduction, dtype="float32")
        self.factory = factory
        self.settings = dict(settings)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, ``(batch,)``."""
        y_true, y_pred = reductions.checked(y_true, y_pred)
        return _FORMULAS[self.factory](y_true, y_pred, **self.settings)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "factory": self.factory, "settings": self.settings}


def dice_weighted(weights: Sequence[float]) -> FactoryLoss:
    """−weight · Dice, mean over the classes; from −mean(weights) to 0.

    1.x returned the values of all classes unreduced. The mean, which Keras took of them, is the
    same.

    Parameters
    ----------
    weights : sequence of float
        One per class, background first.
    """
    return FactoryLoss("dice_weighted", {"weights": [float(weight) for weight in weights]})


def categorical_focal_loss(alpha: Sequence[float] | float, gamma: float = 2.0) -> FactoryLoss:
    """−alpha · (1 − p)^gamma · log p of the true class, mean over the voxels.

    Unlike :class:`~miscnn.neural_network.losses.Focal` it is not divided by the weights.

    Parameters
    ----------
    alpha : sequence of float, or float
        Weight of each class, background first; a single number is that of all.
    gamma : float
        Voxels that are right already count the less, the larger it is.
    """
    alphas = [float(a) for a in np.atleast_1d(np.asarray(alpha, dtype=float))]
    return FactoryLoss("categorical_focal_loss", {"alpha": alphas, "gamma": gamma})


def combo_loss(alpha: float = 0.5, beta: float = 0.5) -> FactoryLoss:
    """alpha · weighted cross-entropy − (1 − alpha) · Dice; from −(1 − alpha) on.

    That of 1.x always raised a TypeError. This one is the paper's (Taghanaki et al. 2019, arXiv
    1805.02798): the cross-entropy is the mean of −beta · y log p − (1 − beta) · (1 − y) log(1 − p)
    over voxels and classes, the Dice the mean over the classes.
    :class:`~miscnn.neural_network.losses.Combo` is it plus 1 − alpha.

    Parameters
    ----------
    alpha : float
        Weight of the cross-entropy.
    beta : float
        Above ½ false negatives cost more than false positives.
    """
    return FactoryLoss("combo_loss", {"alpha": alpha, "beta": beta})


def focal_tversky_loss(
    delta: float = 0.7, gamma: float = 0.75, smooth: float = 0.000001
) -> FactoryLoss:
    """(1 − Tversky index)^gamma, mean over the classes.

    Parameters
    ----------
    delta : float
        Weight of false negatives; that of false positives is 1 − delta.
    gamma : float
        The exponent itself.
    smooth : float
        Added to numerator and denominator.
    """
    settings = {"delta": delta, "gamma": gamma, "smooth": smooth}
    return FactoryLoss("focal_tversky_loss", settings)


def symmetric_focal_loss(delta: float = 0.7, gamma: float = 2.0) -> FactoryLoss:
    """−d · (1 − p)^gamma · log p of the true class, mean over the voxels.

    d is 1 − delta for the background and delta for all other classes. That of 1.x was for two
    classes in 2D: in 3D it took slices for classes. This one takes any number of classes.

    Parameters
    ----------
    delta : float
        Weight of the foreground.
    gamma : float
        Voxels that are right already count the less, the larger it is.
    """
    return FactoryLoss("symmetric_focal_loss", {"delta": delta, "gamma": gamma})


def asymmetric_focal_loss(delta: float = 0.7, gamma: float = 2.0) -> FactoryLoss:
    """:func:`symmetric_focal_loss` with (1 − p)^gamma for the background alone.

    Parameters
    ----------
    delta, gamma : float
        As there.
    """
    return FactoryLoss("asymmetric_focal_loss", {"delta": delta, "gamma": gamma})


def symmetric_focal_tversky_loss(delta: float = 0.7, gamma: float = 0.75) -> FactoryLoss:
    """(1 − Tversky index)^(1 − gamma), mean over the classes.

    That of 1.x was for two classes, and not a number where one of them was predicted perfectly.

    Parameters
    ----------
    delta : float
        Weight of false negatives; that of false positives is 1 − delta.
    gamma : float
        1 − the exponent; from 0 to below 1.
    """
    settings = {"delta": delta, "gamma": share("gamma", gamma)}
    return FactoryLoss("symmetric_focal_tversky_loss", settings)


def asymmetric_focal_tversky_loss(delta: float = 0.7, gamma: float = 0.75) -> FactoryLoss:
    """:func:`symmetric_focal_tversky_loss` with the exponent 1 for the background.

    Parameters
    ----------
    delta, gamma : float
        As there.
    """
    settings = {"delta": delta, "gamma": share("gamma", gamma)}
    return FactoryLoss("asymmetric_focal_tversky_loss", settings)


def sym_unified_focal_loss(
    weight: float = 0.5, delta: float = 0.6, gamma: float = 0.5
) -> FactoryLoss:
    """weight · :func:`symmetric_focal_tversky_loss` + (1 − weight) · :func:`symmetric_focal_loss`.

    Parameters
    ----------
    weight : float
        Share of the Tversky part.
    delta, gamma : float
        Of both parts.
    """
    settings = {"weight": weight, "delta": delta, "gamma": share("gamma", gamma)}
    return FactoryLoss("sym_unified_focal_loss", settings)


def asym_unified_focal_loss(
    weight: float = 0.5, delta: float = 0.6, gamma: float = 0.5
) -> FactoryLoss:
    """:func:`sym_unified_focal_loss` of the two asymmetric losses.

    Parameters
    ----------
    weight, delta, gamma : float
        As there.
    """
    settings = {"weight": weight, "delta": delta, "gamma": share("gamma", gamma)}
    return FactoryLoss("asym_unified_focal_loss", settings)


def identify_axis(shape: Sequence[int | None]) -> list[int]:
    """Return the spatial axes of a batch, ``[1, 2]`` or ``[1, 2, 3]``.

    Parameters
    ----------
    shape : sequence of int
        ``(batch, x, y[, z], classes)``.

    Raises
    ------
    ConfigurationError
        If there are other than 4 or 5 axes. (A ValueError, as in 1.x.)
    """
    if len(shape) not in (4, 5):
        raise ConfigurationError(
            f"shape {tuple(shape)} has {len(shape)} axes; expected 4, (batch, x, y, classes), or "
            "5, (batch, x, y, z, classes)"
        )
    return list(range(1, len(shape) - 1))


# ------------------------------------------------------------------ the formulas, per sample


def _dice_weighted(y_true: Any, y_pred: Any, weights: Sequence[float]) -> Any:
    index = reductions.dice_index(y_true, y_pred, 1e-5)
    return -ops.mean(index * _row(weights, y_pred), axis=-1)


def _focal(y_true: Any, y_pred: Any, alpha: Sequence[float], gamma: float) -> Any:
    alphas = list(alpha) * y_pred.shape[-1] if len(alpha) == 1 else alpha
    focus = _row(alphas, y_pred) * reductions.power(1.0 - y_pred, gamma)
    return _mean_log(y_true, y_pred, focus)


def _combo(y_true: Any, y_pred: Any, alpha: float, beta: float) -> Any:
    everywhere = ops.ones_like(y_true[..., :1])
    per_class = reductions.binary_crossentropies(y_true, y_pred, everywhere, 1.0 - beta, beta)
    index = reductions.dice_index(y_true, y_pred, 1e-5)
    return alpha * ops.mean(per_class, axis=-1) - (1.0 - alpha) * ops.mean(index, axis=-1)


def _focal_tversky(y_true: Any, y_pred: Any, delta: float, gamma: float, smooth: float) -> Any:
    return ops.mean(reductions.power(_tversky(y_true, y_pred, delta, smooth), gamma), axis=-1)


def _unified_focal(asymmetric: bool) -> Callable[..., Any]:
    def formula(y_true: Any, y_pred: Any, delta: float, gamma: float) -> Any:
        focus = reductions.unified_focus(y_pred, 1.0 - delta, delta, gamma, asymmetric)
        return _mean_log(y_true, y_pred, focus)

    return formula


def _unified_tversky(asymmetric: bool) -> Callable[..., Any]:
    def formula(y_true: Any, y_pred: Any, delta: float, gamma: float) -> Any:
        losses = _tversky(y_true, y_pred, delta, _SMOOTH)
        return ops.mean(reductions.focal_tversky(losses, gamma, asymmetric), axis=-1)

    return formula


def _unified(asymmetric: bool) -> Callable[..., Any]:
    focal, tversky = _unified_focal(asymmetric), _unified_tversky(asymmetric)

    def formula(y_true: Any, y_pred: Any, weight: float, delta: float, gamma: float) -> Any:
        region = tversky(y_true, y_pred, delta, gamma)
        return weight * region + (1.0 - weight) * focal(y_true, y_pred, delta, gamma)

    return formula


def _tversky(y_true: Any, y_pred: Any, delta: float, smooth: float) -> Any:
    return 1.0 - reductions.tversky_index(y_true, y_pred, 1.0 - delta, delta, smooth)


def _mean_log(y_true: Any, y_pred: Any, focus: Any) -> Any:
    return reductions.crossentropy(y_true, y_pred, focus=focus)


def _row(values: Sequence[float], y_pred: Any) -> Any:
    if len(values) != y_pred.shape[-1]:
        raise ConfigurationError(
            f"{len(values)} weights for {y_pred.shape[-1]} classes; give one per class, the "
            "background's first"
        )
    return ops.convert_to_tensor(values, dtype="float32")


_FORMULAS: Mapping[str, Callable[..., Any]] = {
    "dice_weighted": _dice_weighted,
    "categorical_focal_loss": _focal,
    "combo_loss": _combo,
    "focal_tversky_loss": _focal_tversky,
    "symmetric_focal_loss": _unified_focal(False),
    "asymmetric_focal_loss": _unified_focal(True),
    "symmetric_focal_tversky_loss": _unified_tversky(False),
    "asymmetric_focal_tversky_loss": _unified_tversky(True),
    "sym_unified_focal_loss": _unified(False),
    "asym_unified_focal_loss": _unified(True),
}
