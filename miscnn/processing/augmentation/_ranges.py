"""Reading of the ranges that a user hands to an augmentation, and drawing from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from miscnn.exceptions import ConfigurationError

#: Off (None or False), on with its default (True), one number, or (lowest, highest).
Range: TypeAlias = bool | float | Sequence[float] | None


def read_range(
    name: str, value: Any, default: tuple[float, float], number: str | None = None
) -> tuple[float, float] | None:
    """Return ``(low, high)``, or None if the operation is switched off.

    Parameters
    ----------
    number : {"symmetric", "up_to", None}
        What a single number ``a`` stands for: ``(-a, a)``, ``(0, a)``, or nothing.

    Raises
    ------
    ConfigurationError
        If the value is none of this.
    """
    if value is None or value is False:
        return None
    if value is True:
        return default
    if number is not None and _is_number(value) and value >= 0:
        return (-float(value) if number == "symmetric" else 0.0, float(value))
    if _is_pair(value) and value[0] <= value[1]:
        return float(value[0]), float(value[1])
    single = ", one number >= 0" if number else ""
    raise ConfigurationError(
        f"{name} must be a pair (lowest, highest){single}, True for {default}, or None for "
        f"off; received {value!r}"
    )


def read_factors(name: str, value: Any, default: tuple[float, float]) -> tuple[float, float] | None:
    """Read a range of factors, which must be greater than zero."""
    found = read_range(name, value, default)
    if found is not None and found[0] <= 0:
        raise ConfigurationError(
            f"{name} holds factors, which must be greater than 0; received {value!r}"
        )
    return found


def read_magnitudes(
    name: str, value: Any, default: tuple[float, float]
) -> tuple[float, float] | None:
    """Read a range that cannot be negative; one number is its upper end."""
    found = read_range(name, value, default, "up_to")
    if found is not None and found[0] < 0:
        raise ConfigurationError(f"{name} must not be negative; received {value!r}")
    return found


def read_rotation(value: Any, ndim: int, default: tuple[float, float]) -> list[tuple[float, float]]:
    """Return one range of angles per rotation axis (one in 2D, three in 3D); empty is off."""
    count = 1 if ndim == 2 else 3
    if not isinstance(value, (str, Mapping)) and isinstance(value, Sequence) and len(value) == 3:
        if count != 3:
            raise ConfigurationError(
                f"rotation has ranges for three axes, but the patch is 2D, which turns about one "
                f"axis only; hand in one pair of degrees; received {value!r}"
            )
        read = [read_range("rotation", item, default, "symmetric") for item in value]
        return [item or (0.0, 0.0) for item in read]
    found = read_range("rotation", value, default, "symmetric")
    return [] if found is None else [found] * count


def read_axes(value: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that may be mirrored."""
    if value is None or value is False:
        return ()
    if value is True:
        return tuple(range(ndim))
    if (
        not isinstance(value, (list, tuple))
        or not all(type(axis) is int and 0 <= axis < ndim for axis in value)
        or len(set(value)) != len(value)
    ):
        raise ConfigurationError(
            f"mirror must be True (all axes), None (off) or distinct axes from 0 to {ndim - 1} "
            f"for a {ndim}D patch; received {value!r}"
        )
    return tuple(value)


def read_probabilities(
    value: float | Mapping[str, float] | None, default: Mapping[str, float]
) -> dict[str, float]:
    """Return the probability of every operation."""
    if value is None:
        return dict(default)
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(default))
        if unknown:
            raise ConfigurationError(
                f"probabilities names the unknown operation(s) {', '.join(unknown)}; "
                f"there are {', '.join(default)}"
            )
        result = {**default, **value}
    else:
        result = dict.fromkeys(default, value)
    for name, probability in result.items():
        check_probability(f"the probability of {name}", probability)
    return result


def check_probability(name: str, value: Any) -> None:
    """Raise ConfigurationError unless the value lies in [0, 1]."""
    if not (_is_number(value) and 0 <= value <= 1):
        raise ConfigurationError(f"{name} must lie between 0 and 1; received {value!r}")


def draw(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw uniformly."""
    return float(rng.uniform(*limits))


def draw_factor(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a factor; a range around 1 gives as many factors below 1 as above it.

    This is batchgenerators' way: drawn uniformly from (0.5, 2), two of three factors would
    enlarge.
    """
    low, high = limits
    if low < 1 < high:
        return draw(rng, (low, 1.0) if rng.random() < 0.5 else (1.0, high))
    return draw(rng, limits)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_pair(value: Any) -> bool:
    return (
        not isinstance(value, (str, Mapping))
        and hasattr(value, "__len__")
        and len(value) == 2
        and all(_is_number(item) for item in value)
    )
