"""The state of networks: their variables, and what Keras draws from."""

from __future__ import annotations

import random
import sys
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
        with _undisturbed(seed):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Let Keras draw its seeds from a generator of its own, as it would from Python's.

    Python's is shared by all threads: those of a worker of Dask's draw from it, too, and the
    network that is built meanwhile would begin with other weights.
    """
    module: Any = sys.modules.get("keras.src.random.seed_generator")
    shared = getattr(module, "python_random", None)  # None in another version of Keras
    if shared is not None:
        module.python_random = random.Random(seed)
    try:
        yield
    finally:
        if shared is not None:
            module.python_random = shared


def uncompiled(model: Any) -> Any:
    """Return a view of a Keras model, with the same variables, that was never compiled.

    Keras writes the variables of the optimizer, twice as many as the network's, into every
    ``.keras`` file, whatever ``include_optimizer`` says.
    """
    view = object.__new__(type(model))
    vars(view).update({**vars(model), "compiled": False, "optimizer": None})
    return view
