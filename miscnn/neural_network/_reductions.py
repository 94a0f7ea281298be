"""Sums over the voxels of a batch, on which all losses and scores of regions rest.

Everything is computed in float32 whatever the dtype of the arguments: in float16 a sum over
a 512 × 512 slice overflows, and smoothing terms of 1e-5 vanish.
"""

from __future__ import annotations

from typing import Any

from miscnn._keras import ops
from miscnn.exceptions import ConfigurationError

PROBABILITY_FLOOR = 1e-30
"""What is added to a probability p before its logarithm is taken.

So small that the gradient of log p lives on through a softmax: p · d(log p)/dp stays 1 for a
voxel that is wrong with certainty (p of 1e-13 where the logits differ by 30). 0 has a finite
logarithm and derivative still.
"""

COMPLEMENT_FLOOR = 1e-7
"""What is added to 1 less p before its logarithm is taken: much less than it is rounded to 0."""

UNLABELLED = -1e-30
"""Truth of voxels without a label where channels overlap, and 0 means the background.

So small that it changes no sum; the pipeline's mark, minus one, is raised to it.
"""

STRAIGHT_BELOW = 1e-6
"""Below it :func:`power` with an exponent under 1 is a straight line."""


def checked(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return one-hot truth and probabilities in float32 after a check of their shapes.

    Parameters
    ----------
    y_true, y_pred : tensor
        ``(batch, …, classes)`` with at least one spatial axis.

    Raises
    ------
    ConfigurationError
        If the shapes, as far as they are known, differ.
    """
    y_true = ops.cast(ops.convert_to_tensor(y_true), "float32")
    y_pred = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    truth, prediction = tuple(y_true.shape), tuple(y_pred.shape)
    same = len(truth) == len(prediction) and all(
        a == b or a is None or b is None for a, b in zip(truth, prediction, strict=True)
    )
    if not same or len(truth) < 3:
        raise ConfigurationError(
            f"y_true has shape {truth}, y_pred has shape {prediction}; expected twice the same "
            "(batch, spatial axes, classes). A label map becomes one-hot by "
            "keras.utils.to_categorical(labels, num_classes)"
        )
    return y_true, y_pred


def labelled(y_true: Any, multilabel: bool = False) -> Any:
    """Return 1 for voxels with a label, 0 where the truth is 0 for all classes.

    Where channels overlap (``multilabel``), 0 where the truth is below 0.

    ``(batch, …, 1)`` in float32. Channels are compared one by one, since on the CPU this is
    faster than to reduce a short last axis.
    """
    if multilabel:
        return ops.cast(y_true[..., :1] >= 0, "float32")
    found = y_true[..., :1] > 0
    for label in range(1, y_true.shape[-1]):
        found = ops.logical_or(found, y_true[..., label : label + 1] > 0)
    return ops.cast(found, "float32")


def check_classes(y_pred: Any, what: str) -> None:
    """Raise ConfigurationError if there is only one class, where ``what`` has no meaning."""
    if y_pred.shape[-1] == 1:
        raise ConfigurationError(
            f"the network predicts one class, and {what} needs the background's probability "
            "beside it: a voxel whose truth is 0 would have no class at all. Make a network of "
            "two classes with softmax (the background is the first), and the truth one-hot in "
            "two channels"
        )


def power(base: Any, exponent: float) -> Any:
    """base^exponent for bases from 0 on, with a finite derivative everywhere.

    For exponents between 0 and 1, whose derivative is infinite at 0, the curve is replaced
    below 1e-6 by the straight line from the origin to it. A base below 0, which is a rounding
    error, is taken as 0.
    """
    base = ops.maximum(base, 0.0)
    if exponent == 0:
        return ops.ones_like(base)
    if exponent == 1:
        return base
    if exponent > 1:  # a square is several times as fast as a power
        return ops.square(base) if exponent == 2 else ops.power(base, exponent)
    # Not clipped in the selection alone: an infinite derivative times 0 is not a number.
    clipped = ops.maximum(base, STRAIGHT_BELOW)
    curve = ops.sqrt(clipped) if exponent == 0.5 else ops.power(clipped, exponent)
    line = base * STRAIGHT_BELOW ** (exponent - 1)
    return ops.where(base < STRAIGHT_BELOW, line, curve)


def smoothed(y_true: Any, label_smoothing: float) -> Any:
    """y (1 − e) + e / K for K classes; voxels without a label stay without one."""
    if label_smoothing == 0:
        return y_true
    mass = ops.sum(y_true, axis=-1, keepdims=True)
    return (1.0 - label_smoothing) * y_true + (label_smoothing / y_true.shape[-1]) * mass


def class_sums(values: Any, over_batch: bool = False) -> Any:
    """Sum ``(batch, …, classes)`` over space: ``(batch, classes)``, or ``(1, classes)``.

    The last spatial axis and the classes are first taken together as one long axis. On the
    CPU a sum over rows of some hundred values is several times as fast as one over rows of
    three.
    """
    shape = ops.shape(values)
    width, classes = shape[-2], values.shape[-1]
    rows = ops.sum(ops.reshape(values, (shape[0], -1, width * classes)), axis=1)
    sums = ops.sum(ops.reshape(rows, (shape[0], width, classes)), axis=1)
    return ops.sum(sums, axis=0, keepdims=True) if over_batch else sums


def dice_index(y_true: Any, y_pred: Any, smooth: float, over_batch: bool = False) -> Any:
    """(2 Σpy + s) / (Σp + Σy + s) per sample (or batch) and class."""
    overlap = class_sums(y_true * y_pred, over_batch)
    return (2.0 * overlap + smooth) / (class_sums(y_true + y_pred, over_batch) + smooth)


def squared_dice_index(y_true: Any, y_pred: Any, smooth: float, over_batch: bool = False) -> Any:
    """(2 Σpy + s) / (Σp² + Σy² + s) per sample (or batch) and class."""
    overlap = class_sums(y_true * y_pred, over_batch)
    squares = class_sums(ops.square(y_true) + ops.square(y_pred), over_batch)
    return (2.0 * overlap + smooth) / (squares + smooth)


def tversky_index(
    y_true: Any,
    y_pred: Any,
    fp_weight: float,
    fn_weight: float,
    smooth: float,
    over_batch: bool = False,
) -> Any:
    """(TP + s) / (TP + fp_weight · FP + fn_weight · FN + s) per sample (or batch) and class."""
    true_positive = class_sums(y_true * y_pred, over_batch)
    false_positive = class_sums(y_pred, over_batch) - true_positive
    false_negative = class_sums(y_true, over_batch) - true_positive
    errors = fp_weight * false_positive + fn_weight * false_negative
    return (true_positive + smooth) / (true_positive + errors + smooth)


def tanimoto_sums(y_true: Any, y_pred: Any, over_batch: bool = False) -> tuple[Any, Any]:
    """Σpy and Σp² + Σy² − Σpy per sample (or batch) and class."""
    overlap = class_sums(y_true * y_pred, over_batch)
    squares = class_sums(ops.square(y_true) + ops.square(y_pred), over_batch)
    return overlap, squares - overlap


def tanimoto_index(y_true: Any, y_pred: Any, smooth: float, over_batch: bool = False) -> Any:
    """(Σpy + s) / (Σp² + Σy² − Σpy + s) per sample (or batch) and class."""
    overlap, union = tanimoto_sums(y_true, y_pred, over_batch)
    return (overlap + smooth) / (union + smooth)


def inverse_square_volumes(volumes: Any, weights: Any | None = None) -> Any:
    """1 / V² relative to the largest of its row, ``(n, classes)``; 1 where V is 0.

    Divided by the largest before they are squared: 1 / V² itself leaves float32 for soft
    labels. Classes whose entry of ``weights``, ``(classes,)``, is 0 are taken as absent.
    """
    present = volumes > 0
    if weights is not None:
        present = ops.logical_and(present, weights > 0)
    infinite = ops.full_like(volumes, float("inf"))
    smallest = ops.min(ops.where(present, volumes, infinite), axis=-1, keepdims=True)
    ratios = smallest / ops.where(present, volumes, ops.ones_like(volumes))
    return ops.where(present, ops.square(ratios), ops.ones_like(volumes))


def crossentropy(
    y_true: Any,
    y_pred: Any,
    class_weights: Any | None = None,
    over_batch: bool = False,
    *,
    label_smoothing: float = 0.0,
    focus: Any | None = None,
) -> Any:
    """Mean of −log p of the true class over the voxels, per sample ``(batch,)`` or ``(1,)``.

    With ``class_weights`` it is the mean weighted by the weight of each voxel's true class;
    0 where all weights are 0. ``focus`` is a factor of −log p for each voxel and class. The
    floor is added, not clipped at: a probability below it still has a gradient, and without a
    selection the step is faster.

    Raises
    ------
    ConfigurationError
        If there is only one class.
    """
    check_classes(y_pred, "cross-entropy")
    log = ops.log(y_pred + PROBABILITY_FLOOR)
    if focus is not None:
        log = focus * log
    if label_smoothing > 0:
        if class_weights is not None:  # of the true class, for all that it is smoothed over
            y_true, class_weights = y_true * class_weights, None
        y_true = smoothed(y_true, label_smoothing)
    negative_log = -class_sums(y_true * log, over_batch)
    voxels = class_sums(y_true, over_batch)
    if class_weights is not None:
        negative_log, voxels = negative_log * class_weights, voxels * class_weights
    return ops.divide_no_nan(ops.sum(negative_log, axis=-1), ops.sum(voxels, axis=-1))


def binary_crossentropies(
    y_true: Any,
    y_pred: Any,
    counting: Any,
    fp_weight: float,
    fn_weight: float,
    over_batch: bool = False,
    gamma: float = 0.0,
) -> Any:
    """−(fn_weight · Σ y log p + fp_weight · Σ (1 − y) log(1 − p)) / N per sample and class.

    ``counting`` is 1 for the N voxels that count and 0 for others, ``(batch, …, 1)``. With
    ``gamma`` log p is multiplied by (1 − p)^gamma, and log(1 − p) by p^gamma.
    """
    # 1 − p is rounded: for a p of the size of 1 it may be a little below 0.
    log_not = ops.log(ops.maximum(1.0 - y_pred, 0.0) + COMPLEMENT_FLOOR)
    log = ops.log(y_pred + PROBABILITY_FLOOR)
    if gamma > 0:
        log, log_not = power(1.0 - y_pred, gamma) * log, power(y_pred, gamma) * log_not
    terms = fn_weight * y_true * log
    terms = terms + fp_weight * counting * (1.0 - y_true) * log_not
    return ops.divide_no_nan(-class_sums(terms, over_batch), class_sums(counting, over_batch))


def hardest_mean(losses: Any, weights: Any, k: float) -> Any:
    """Mean over the share ``k`` of the voxels with the largest losses, ``(n,)``.

    Parameters
    ----------
    losses, weights : tensor
        ``(n, voxels)``; the losses are already weighted, and voxels of weight 0 do not count.
    k : float
        Share of those that count; rounded to whole voxels, at least one. Voxels that share the
        last rank share its places.
    """
    counting = weights > 0
    number = ops.sum(ops.cast(counting, "int32"), axis=-1, keepdims=True)
    wanted = ops.cast(ops.round(k * ops.cast(number, "float32")), "int32")
    wanted = ops.maximum(wanted, 1)
    # By rank, not by top_k: how many are wanted is known only from the data.
    ranked = ops.where(counting, ops.stop_gradient(losses), ops.full_like(losses, -1.0))
    ascending = ops.sort(ranked, axis=-1)
    limit = ops.take_along_axis(ascending, ops.shape(losses)[-1] - wanted, axis=-1)
    above = ops.logical_and(counting, ranked > limit)
    level = ops.logical_and(counting, ops.equal(ranked, limit))
    missing = wanted - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
    ties = ops.sum(ops.cast(level, "int32"), axis=-1, keepdims=True)
    part = ops.divide_no_nan(ops.cast(missing, "float32"), ops.cast(ties, "float32"))
    chosen = ops.cast(above, "float32") + part * ops.cast(level, "float32")
    total = ops.sum(chosen * losses, axis=-1)
    return ops.divide_no_nan(total, ops.sum(chosen * weights, axis=-1))


def focal_tversky(losses: Any, gamma: float, asymmetric: bool) -> Any:
    """(1 − TI)^(1 − gamma) of ``(n, classes)`` values of 1 − TI.

    If asymmetric the background, class 0, stays as it is.
    """
    if not asymmetric:
        return power(losses, 1.0 - gamma)
    return ops.concatenate([losses[:, :1], power(losses[:, 1:], 1.0 - gamma)], axis=-1)


def unified_focus(
    y_pred: Any, fp_weight: float, fn_weight: float, gamma: float, asymmetric: bool
) -> Any:
    """Factor of −log p in the focal part of the unified focal loss, in the shape of ``y_pred``.

    (1 − p)^gamma times ``fp_weight`` for the background and ``fn_weight`` for other classes;
    if asymmetric, other classes have no power.
    """
    background = fp_weight * power(1.0 - y_pred[..., :1], gamma)
    others = y_pred[..., 1:]
    focus = ops.ones_like(others) if asymmetric else power(1.0 - others, gamma)
    return ops.concatenate([background, fn_weight * focus], axis=-1)
