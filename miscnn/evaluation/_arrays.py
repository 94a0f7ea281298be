"""What scores are computed from: masks, label maps and probabilities, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn.evaluation._boxes import extent, joint_box
from miscnn.exceptions import ConfigurationError

# Weighted means of overlapping windows in float32 end a little beside of 0 and 1.
_TOLERANCE = 1e-4


def as_masks(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = (_as_mask(array) for array in (truth, prediction))
    check_shapes(first, second)
    return first, second


def _as_mask(array: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(array)
    mask: NDArray[np.bool_] = values if values.dtype.kind == "b" else values != 0
    return mask


def as_probabilities(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        mask: NDArray[np.bool_] = array != 0
        return mask
    low, high = (array.min(), array.max()) if array.dtype.kind == "f" and array.size else (0, 1)
    if array.dtype.kind != "f" or not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        shown = f"[{low}, {high}]" if array.dtype.kind == "f" else array.dtype
        raise ConfigurationError(
            f"{name} must be a mask, or probabilities in [0, 1], got {shown}; apply softmax or "
            "sigmoid to logits first"
        )
    return array if low >= 0 and high <= 1 else np.clip(array, 0, 1)


def inner_product(first: NDArray[Any], second: NDArray[Any]) -> float:
    # einsum casts piece by piece: no float64 copy of a volume is made.
    axes = list(range(first.ndim))
    return float(np.einsum(first, axes, second, axes, [], dtype=np.float64, casting="same_kind"))


def check_shapes(truth: NDArray[Any], prediction: NDArray[Any]) -> None:
    if truth.shape != prediction.shape:
        raise ConfigurationError(
            f"truth and prediction must lie on one grid, got shapes {truth.shape} and "
            f"{prediction.shape}; take the prediction back onto the grid of the truth first"
        )


def checked_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    values = tuple(float(s) for s in spacing)
    if ndim not in (2, 3):
        raise ConfigurationError(f"scores in mm need arrays with 2 or 3 axes, got {ndim}")
    if len(values) != ndim or not all(0 < s < float("inf") for s in values):
        raise ConfigurationError(
            f"spacing must be {ndim} positive numbers in mm, one per axis, got {values}"
        )
    return values


def as_label_map(array: NDArray[Any], name: str) -> NDArray[Any]:
    array = np.asarray(array)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and bool(np.all(np.isfinite(array) & (array == np.rint(array)))):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ConfigurationError(
            f"{name} must be a label map of whole numbers, got dtype {array.dtype}; "
            "take the argmax of probabilities first"
        )
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise ConfigurationError(
            f"{name} holds the negative label {array.min()}; labels start at 0, the background"
        )
    return array


def labels_to_score(classes: int | Sequence[int]) -> list[int]:
    if isinstance(classes, (int, np.integer)):
        if classes < 2:
            raise ConfigurationError(
                f"classes counts the background, so there are at least 2, got {classes}"
            )
        return list(range(1, int(classes)))
    labels = [int(label) for label in classes]
    if len(set(labels)) != len(labels) or any(label < 0 for label in labels):
        raise ConfigurationError(f"classes must be different labels from 0 on, got {labels}")
    return labels


def mask_of(array: NDArray[Any], labels: Sequence[int]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = array == labels[0] if len(labels) == 1 else np.isin(array, labels)
    return mask


def cut_to_object(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    box = joint_box((extent(mask) for mask in (truth, prediction)), truth.ndim)
    return truth[box], prediction[box]
