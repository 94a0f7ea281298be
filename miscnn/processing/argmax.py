"""The label of the largest probability."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Up to so many classes a running maximum over the classes is faster than numpy.argmax, which
# starts anew at every voxel: 8 times at 3 classes, 4 times at 8, 1.4 times at 24.
_FEW_CLASSES = 24

# Voxels at a time, so that all on the way stays in the processor's cache; no power of two, at
# which the columns of different classes would fall on the same places of the cache.
_VOXELS = 16000


def argmax_labels(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return the label of the largest probability; the lowest label among equals.

    Parameters
    ----------
    probabilities : ndarray
        ``(*extent, classes)`` without NaN. Logits will do as well.

    Returns
    -------
    ndarray
        Labels ``(*extent,)`` in the smallest unsigned type, the same as by ``numpy.argmax`` along
        the last axis. Beyond the result it takes a few MB, no matter how large the array is.
    """
    classes = probabilities.shape[-1]
    labels = np.empty(probabilities.shape[:-1], np.min_scalar_type(max(classes - 1, 1)))
    if probabilities.flags.c_contiguous:
        _fill(labels.reshape(-1), probabilities.reshape(-1, classes))
    elif probabilities.ndim == 2:
        _fill(labels, probabilities)
    else:  # to flatten a whole array of another order would copy it
        for plane, values in zip(labels, probabilities, strict=True):
            plane[...] = argmax_labels(values)
    return labels


def _fill(labels: NDArray[Any], probabilities: NDArray[Any]) -> None:
    classes = probabilities.shape[-1]
    if classes == 1:
        labels[...] = 0
        return
    for first in range(0, len(labels), _VOXELS):
        part = slice(first, first + _VOXELS)
        values = probabilities[part]
        if values.dtype == np.float16:  # NumPy compares it slowly; float32 keeps its order
            values = values.astype(np.float32)
        if classes <= _FEW_CLASSES:
            _running_maximum(labels[part], values)
        else:
            labels[part] = np.argmax(values, axis=-1)


def _running_maximum(labels: NDArray[np.uint8], values: NDArray[Any]) -> None:
    columns = np.array(values.T, order="C")  # always a copy: it is written to
    best = columns[0]
    larger = np.empty(len(labels), bool)
    np.greater(columns[1], best, out=labels.view(bool))
    for label in range(2, len(columns)):
        best = np.maximum(best, columns[label - 1], out=columns[0])
        np.greater(columns[label], best, out=larger)
        # Labels ascend: the last one that was larger than all before it is the largest.
        np.maximum(labels, larger.view(np.uint8) * np.uint8(label), out=labels)
