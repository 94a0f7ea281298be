"""Averaging what several networks, or one network of mirrored inputs, say of the same voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.neural_network.prediction_settings import Combine

Network = Callable[[NDArray[np.float32]], NDArray[Any]]

# Probabilities are held away from 0 and 1 by this: a network that is sure and wrong would
# otherwise decide for all the others.
_FLOOR = 1e-7


class Mean:
    """The mean of arrays of probabilities, which come one after the other.

    Parameters
    ----------
    combine : {"probabilities", "logits"}
        "logits": of classes the mean of the logarithms, normalised to sum one (the normalised
        geometric mean, which is the softmax of the mean logits); of regions the sigmoid of the
        mean log-odds. Probabilities are clipped to 1e-7 … 1 - 1e-7 beforehand, log-odds as far
        on both sides.
    exclusive : bool
        Whether the channels are exclusive classes (softmax), or regions (sigmoid).
    """

    def __init__(self, combine: Combine, exclusive: bool) -> None:
        self._logits = combine == "logits"
        self._exclusive = exclusive
        self._total: NDArray[np.float32] | None = None
        self._count = 0

    def add(self, probabilities: NDArray[Any]) -> None:
        """Add one array; it is not kept nor changed."""
        values = np.asarray(probabilities, dtype=np.float32)
        if self._logits:
            values = _logs(values) if self._exclusive else _log_odds(values)
        if self._total is None:
            self._total = np.array(values, dtype=np.float32)
        else:
            self._total += values
        self._count += 1

    def result(self) -> NDArray[np.float32]:
        """Return the mean, float32; there is nothing left to add to afterwards."""
        assert self._total is not None  # something was added
        mean = self._total
        if self._count > 1:
            mean /= np.float32(self._count)
        self._total = None
        if not self._logits:
            return mean
        if not self._exclusive:
            return np.asarray(1 / (1 + np.exp(-mean)), dtype=np.float32)
        mean -= mean.max(axis=-1, keepdims=True)
        np.exp(mean, out=mean)
        mean /= mean.sum(axis=-1, keepdims=True)
        return mean


def _logs(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.log(np.clip(probabilities, np.float32(_FLOOR), np.float32(1 - _FLOOR))))


def _log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    # It is the odds that are clipped: float32 has no number as close to one as 1 - 1e-7, and a yes
    # would weigh less than a no.
    inside = np.clip(probabilities, np.float32(0), np.float32(1))
    with np.errstate(divide="ignore"):
        odds = np.log(inside) - np.log1p(-inside)
    most = np.float32(np.log((1 - _FLOOR) / _FLOOR))
    return np.asarray(np.clip(odds, -most, most))


def mirrored(network: Network, axes: Sequence[int], combine: Combine, exclusive: bool) -> Network:
    """Return a network that predicts a batch and all its mirror images, and averages them.

    Parameters
    ----------
    network : callable
        From batches ``(b, …, channels)`` to probabilities ``(b, …, classes)``.
    axes : sequence of int
        Spatial axes of the network's input, the first being 0.
    combine, exclusive
        As in :class:`Mean`.
    """
    if not axes:
        return network
    flips = [
        tuple(axis + 1 for axis in chosen)
        for size in range(len(axes) + 1)
        for chosen in itertools.combinations(sorted(axes), size)
    ]

    def predict(batch: NDArray[np.float32]) -> NDArray[Any]:
        mean = Mean(combine, exclusive)
        for flip in flips:
            output = np.asarray(network(np.ascontiguousarray(np.flip(batch, flip))))
            mean.add(np.flip(output, flip))
        return mean.result()

    return predict
