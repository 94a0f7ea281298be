"""Checks of arguments that several subfunctions share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError, GridMismatchError, SampleError


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite real number (booleans are none)."""
    numbers = (int, float, np.integer, np.floating)
    return isinstance(value, numbers) and not isinstance(value, bool) and bool(math.isfinite(value))


def is_count(value: Any, minimum: int = 1) -> bool:
    """Tell whether a value is a whole number of at least ``minimum``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and bool(value >= minimum)


def entries_of(value: Any) -> list[Any]:
    """Return the entries of a sequence, or the one value that stands for all."""
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]


def check_per_axis(name: str, value: Any, kind: str, example: str) -> None:
    """Check one value for all axes, or a sequence with one per axis where None is "as it is".

    Parameters
    ----------
    kind : {"length", "count"}
        Positive numbers, or whole numbers of at least one.
    """
    entries = entries_of(value)
    good = is_count if kind == "count" else _is_length
    expected = "whole numbers >= 1" if kind == "count" else "numbers > 0"
    bad = [entry for entry in entries if not (entry is None or good(entry))]
    if bad or not entries:
        raise ConfigurationError(
            f"{name} takes {expected} or None per axis, such as {name}={example}; got {value!r}"
        )


def _is_length(value: Any) -> bool:
    return is_number(value) and value > 0


def expand(name: str, value: Any, ndim: int, index: str) -> tuple[Any, ...]:
    """Return one entry per spatial axis of a sample.

    Raises
    ------
    SampleError
        If a sequence has another length.
    """
    if value is None or is_number(value):
        return (value,) * ndim
    entries = tuple(value)
    if len(entries) != ndim:
        raise SampleError(
            index,
            f"{name}={entries} has {len(entries)} entries, but the image has {ndim} spatial axes; "
            f"give {ndim} entries in the order of the array (None leaves an axis as it is)",
        )
    return entries


def check_pair(name: str, value: Any, meaning: str) -> tuple[float, float]:
    """Check a pair of numbers ``low < high`` and return it as floats."""
    pair = entries_of(value)
    if len(pair) != 2 or not all(is_number(entry) for entry in pair) or not pair[0] < pair[1]:
        raise ConfigurationError(
            f"{name} takes two finite numbers, the smaller one first ({meaning}); got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that a value is one of those that are known."""
    if value not in choices:
        raise ConfigurationError(
            f"{name}={value!r} is unknown; use one of {', '.join(repr(c) for c in choices)}"
        )


def check_prediction(
    index: str, prediction: NDArray[Any], shape: Sequence[int], activation_output: bool
) -> None:
    """Check that a prediction lies on the grid that it is to be taken back from.

    Raises
    ------
    GridMismatchError
        If it does not.
    """
    axes = prediction.ndim - int(activation_output)
    if axes != len(shape) or prediction.shape[:axes] != tuple(shape):
        kind = "probabilities (…, classes)" if activation_output else "a label map"
        raise GridMismatchError(
            index,
            f"the prediction has shape {prediction.shape}, expected {kind} on the prepared grid "
            f"{tuple(shape)}; hand in what the network returned for the prepared image",
        )
    if not activation_output and prediction.dtype.kind not in "biu":
        raise GridMismatchError(
            index,
            f"a label map holds integers, got {prediction.dtype}; for probabilities set "
            "activation_output=True",
        )
