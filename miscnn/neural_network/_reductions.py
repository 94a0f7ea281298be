"""Sums over the voxels of a batch, on which all losses and scores of regions rest.

Everything is computed in float32 whatever the dtype of the arguments: in float16 a sum over
a 512 × 512 slice overflows, and smoothing terms of 1e-5 vanish.
"""

from __future__ import annotations

from typing import Any

from miscnn._keras import ops
from miscnn.exceptions import ConfigurationError

PROBABILITY_FLOOR = 1e-7
"""What is added to a probability before its logarithm is taken (the value Keras clips at)."""


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


def inverse_square_volumes(volumes: Any) -> Any:
    """1 / V² relative to the largest of them, ``(1, classes)``; 1 where V is 0.

    Divided by the largest before they are squared: 1 / V² itself leaves float32 for soft
    labels.
    """
    present = volumes > 0
    smallest = ops.min(ops.where(present, volumes, ops.full_like(volumes, float("inf"))))
    ratios = smallest / ops.where(present, volumes, ops.ones_like(volumes))
    return ops.where(present, ops.square(ratios), ops.ones_like(volumes))


def crossentropy(
    y_true: Any, y_pred: Any, class_weights: Any | None = None, over_batch: bool = False
) -> Any:
    """Mean of −log p of the true class over the voxels, per sample ``(batch,)`` or ``(1,)``.

    With ``class_weights`` it is the mean weighted by the weight of each voxel's true class;
    0 where all weights are 0. The floor is added, not clipped at: the value stays the same
    to 1e-7, but a probability below the floor still has a gradient, and without a selection
    the step is faster.
    """
    negative_log = -class_sums(y_true * ops.log(y_pred + PROBABILITY_FLOOR), over_batch)
    voxels = class_sums(y_true, over_batch)
    if class_weights is not None:
        negative_log, voxels = negative_log * class_weights, voxels * class_weights
    return ops.divide_no_nan(ops.sum(negative_log, axis=-1), ops.sum(voxels, axis=-1))
