"""Losses that look at whether tubes stay connected."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses._foreground import ForegroundLoss
from miscnn.neural_network.losses.dice import Dice


@keras.saving.register_keras_serializable(package="miscnn")
class SoftClDice(ForegroundLoss):
    """1 − clDice, the Dice of centre lines, mean over the classes.

    With the soft skeletons S of :func:`soft_skeleton`: precision T = (Σ S(p) y + s) /
    (Σ S(p) + s), sensitivity R = (Σ S(y) p + s) / (Σ S(y) + s), clDice = 2 T R / (T + R). A
    vessel that is cut costs more than one that is too thin. For vessels, airways, nerves; of a
    thick object it sees only what is thinner than the skeleton's reach.

    A class that is absent from the truth costs e / (e + 2s), where e is the sum of the soft
    skeleton of what was predicted: nothing for probabilities that are alike everywhere.

    Parameters
    ----------
    iterations : int
        Erosions of the skeleton: at least the largest radius of a tube, in voxels. Time and
        memory grow with it. Default 3, that of the published code. Under deep supervision the
        coarser outputs, where tubes are thinner in voxels, have as many.
    smooth : float
        s above; 1, that of the published code.

    Other Parameters
    ----------------
    include_background : bool
        Default: foreground only, as in the published code.
    class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`. Where voxels are ignored, tubes end.

    Notes
    -----
    Alone it does not say how thick a tube is; train :class:`DiceClDice`.

    References
    ----------
    Shit et al., clDice - a novel topology-preserving loss function for tubular structure
    segmentation, CVPR 2021, arXiv 2003.07311, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((1, 5, 7, 1), np.float32)
    >>> truth[:, 2] = 1  # a line of 7 voxels
    >>> cut = truth.copy()
    >>> cut[:, 2, 3] = 0
    >>> loss = SoftClDice(include_background=True, smooth=1e-6)
    >>> round(float(loss(truth, cut)), 4)  # T = 1, R = 6/7
    0.0769
    """

    def __init__(self, *, iterations: int = 3, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(smooth=smooth, **kwargs)
        self.iterations = _checked_iterations(iterations)

    def class_index(self, y_true: Any, y_pred: Any, counting: Any) -> Any:
        """Return clDice per class."""
        truth = ops.stop_gradient(soft_skeleton(y_true, self.iterations))
        found = soft_skeleton(y_pred, self.iterations)
        precision = self._share(found * y_true, found)
        sensitivity = self._share(truth * y_pred, truth)
        return 2.0 * precision * sensitivity / (precision + sensitivity)

    def _share(self, inside: Any, skeleton: Any) -> Any:
        inside = reductions.class_sums(inside, self.over_batch)
        return (inside + self.smooth) / (
            reductions.class_sums(skeleton, self.over_batch) + self.smooth
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "iterations": self.iterations}


@keras.saving.register_keras_serializable(package="miscnn")
class DiceClDice(Dice):
    """(1 − alpha) · Dice + alpha · clDice.

    Parameters
    ----------
    alpha : float
        0 … 1; the paper trains with 0.1 to 0.5. Default 0.5, that of the published code.
    iterations : int
        As of :class:`SoftClDice`, which takes the foreground only and has the ``smooth`` of its
        own default.

    Other Parameters
    ----------------
    include_background, smooth, class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`; the former two are those of Dice.
    """

    def __init__(self, *, alpha: float = 0.5, iterations: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= alpha <= 1.0:
            raise ConfigurationError(f"alpha is the share of clDice, 0 … 1; got {alpha!r}")
        self.alpha = float(alpha)
        self.cldice = SoftClDice(
            iterations=iterations,
            class_weights=self.class_weights,
            reduction_axes=self.reduction_axes,
            ignore_unlabelled=self.ignore_unlabelled,
            multilabel=self.multilabel,
        )

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        region = (1.0 - self.alpha) * super().values(y_true, y_pred)
        return region + self.alpha * self.cldice.values(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"alpha": self.alpha, "iterations": self.cldice.iterations}
        return {**super().get_config(), **own}


def soft_skeleton(values: Any, iterations: int) -> Any:
    """Return the soft skeleton of each class: what erosions leave that an opening takes away.

    Parameters
    ----------
    values : tensor
        ``(batch, x, y[, z], classes)`` from 0 to 1.
    iterations : int
        How often the values are eroded: objects with a larger radius keep no skeleton.

    Returns
    -------
    tensor
        Of the same shape, from 0 to 1.

    Notes
    -----
    An erosion is the minimum over a voxel and its face neighbours, a dilation the maximum over
    3 × 3 (× 3) voxels. What lies outside of the image changes neither: a tube that leaves it
    keeps its skeleton up to the border.
    """
    skeleton = None
    for _ in range(iterations + 1):
        eroded = _eroded(values)
        ridge = ops.relu(values - _dilated(eroded))
        skeleton = ridge if skeleton is None else skeleton + ops.relu(ridge - skeleton * ridge)
        values = eroded
    return skeleton


def _eroded(values: Any) -> Any:
    negative = -values
    axes = range(1, len(values.shape) - 1)
    return -functools.reduce(ops.maximum, (_pooled(negative, axis) for axis in axes))


def _dilated(values: Any) -> Any:
    return functools.reduce(_pooled, range(1, len(values.shape) - 1), values)


def _pooled(values: Any, axis: int) -> Any:
    """Return the maximum over each voxel and its two neighbours along an axis.

    What comes after the axis is taken as channels: pooling many channels along one axis is
    several times as fast as pooling few along three.
    """
    shape = ops.shape(values)
    lines = ops.reshape(values, (-1, shape[axis], 1, math.prod(shape[axis + 1 :])))
    pooled = ops.max_pool(lines, (3, 1), 1, "same", data_format="channels_last")
    return ops.reshape(pooled, shape)


def _checked_iterations(iterations: int) -> int:
    try:
        number = operator.index(iterations)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigurationError(
            f"iterations is {iterations!r}; expected a whole number from 1 on, the largest radius "
            "of a tube in voxels"
        )
    return number
