"""The state of networks: their variables, and what Keras draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from miscnn._keras import keras


def alike(variables: Sequence[Any], others: Sequence[Any]) -> bool:
    """Tell whether two lists of variables can take each other's values."""
    shapes = [[(v.name, tuple(v.shape)) for v in each] for each in (variables, others)]
    return shapes[0] == shapes[1]


def take_over(variables: Sequence[Any], fresh: Sequence[Any]) -> None:
    """Give variables the values of others."""
    for variable, value in zip(variables, fresh, strict=True):
        variable.assign(value)


def clone_metric(metric: Any) -> Any:
    """Return a metric that counts for itself; functions are returned as they are."""
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what Keras draws from, and give Python and NumPy their own state back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # Keras uses it
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def uncompiled(model: Any) -> Any:
    """Return a view of a Keras model, with the same variables, that was never compiled.

    Keras writes the variables of the optimizer, twice as many as the network's, into every
    ``.keras`` file, whatever ``include_optimizer`` says.
    """
    view = object.__new__(type(model))
    vars(view).update({**vars(model), "compiled": False, "optimizer": None})
    return view
