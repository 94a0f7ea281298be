"""The numbers that networks compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from miscnn._keras import keras, tensorflow
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


def check_device(model: Any) -> None:
    """Check that this machine can calculate a network in its precision.

    Raises
    ------
    ConfigurationError
        For maximum pooling of float16 volumes where TensorFlow has no device but the processor,
        for which it has no such kernel.
    """
    if keras.backend.backend() != "tensorflow" or not any(
        isinstance(layer, keras.layers.MaxPooling3D) and layer.compute_dtype == "float16"
        for layer in model.layers
    ):
        return
    devices = {device.device_type for device in tensorflow().config.list_physical_devices()}
    if devices <= {"CPU"}:
        raise ConfigurationError(
            "precision is 'mixed_float16', for which TensorFlow has no 3D pooling on the CPU, "
            "and it sees no GPU; take 'mixed_bfloat16' or 'float32'"
        )


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
