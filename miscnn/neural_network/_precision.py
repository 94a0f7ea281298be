"""The numbers that networks compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def check_precision(precision: str | None) -> str | None:
    """Return a precision that there is.

    Raises
    ------
    ConfigurationError
        If there is none of this name.
    """
    if precision is None or precision in PRECISIONS:
        return precision
    raise ConfigurationError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")


@contextmanager
def precision_scope(precision: str | None) -> Iterator[None]:
    """Make networks with this dtype policy; None leaves Keras' global one."""
    if precision is None:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
