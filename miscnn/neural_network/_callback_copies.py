"""Callbacks for several trainings in a row; imported without Keras."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from miscnn.exceptions import ConfigurationError

Callbacks = Sequence[Any] | Callable[[], Sequence[Any]]


def fresh_callbacks(callbacks: Callbacks) -> list[Any]:
    """Return callbacks for one training, so that no state goes from one to the next.

    Raises
    ------
    ConfigurationError
        If one cannot be copied.
    """
    if callable(callbacks):
        return list(callbacks())
    try:
        return [copy.deepcopy(callback) for callback in callbacks]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            "every fold needs fresh callbacks, and one of those given cannot be copied "
            f"({error}); give a function that makes them: callbacks=lambda: [...]"
        ) from error
