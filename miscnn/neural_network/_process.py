"""How a process computes, so that another one can compute alike; imported without Keras."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from miscnn._version import __version__
from miscnn.exceptions import ConfigurationError

_log = logging.getLogger("miscnn.neural_network")

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_THREADS = "TF_NUM_INTRAOP_THREADS"


@dataclass(frozen=True)
class ProcessSetup:
    """What decides about the last bits of a training, apart from the machine.

    The number of TensorFlow's threads within an operation does: sums are taken in other parts
    (the weights of a small U-Net differed after two epochs with 1, 2 and 4 threads; other
    libraries' numbers of threads made no difference).

    Attributes
    ----------
    backend, policy : str or None
        Keras' backend and global policy of precision; None where Keras is not used.
    threads : int or None
        Threads within an operation of TensorFlow's.
    onednn : str or None
        Whether TensorFlow uses oneDNN.
    """

    backend: str | None = None
    policy: str | None = None
    threads: int | None = None
    onednn: str | None = None

    @classmethod
    def here(cls) -> ProcessSetup:
        """Return how this process computes."""
        keras: Any = sys.modules.get("keras")
        if keras is None:
            return cls()
        backend = str(keras.backend.backend())
        threads = _threads() if backend == "tensorflow" else None
        policy = str(keras.config.dtype_policy().name)
        return cls(backend, policy, threads, os.environ.get(_ONEDNN))

    def apply(self) -> None:
        """Let this process compute so, before it makes a network.

        Raises
        ------
        ConfigurationError
            If its Keras runs on another backend already.
        """
        if self.backend is None:
            return
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = self.backend
        if self.onednn is not None and "tensorflow" not in sys.modules:
            os.environ[_ONEDNN] = self.onednn
        from miscnn._keras import keras, tensorflow

        if keras.backend.backend() != self.backend:
            raise ConfigurationError(
                f"Keras runs on {keras.backend.backend()} in this worker, but on {self.backend} "
                "where the folds were started; start the workers with the same KERAS_BACKEND"
            )
        keras.config.set_dtype_policy(self.policy)
        if self.threads is not None and _threads() != self.threads:
            try:
                tensorflow().config.threading.set_intra_op_parallelism_threads(self.threads)
            except RuntimeError:  # it has computed already
                _log.warning(
                    "this worker computes with %d threads, the process that started it with %d: "
                    "the last bits of the results may differ. Start workers that have not used "
                    "TensorFlow yet",
                    _threads(), self.threads,
                )  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of what this process computes with, by package."""
    found = {
        "miscnn": __version__,
        "python": platform.python_version(),
        "numpy": str(np.__version__),
    }
    keras: Any = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "backend"):
        found["keras"] = str(keras.__version__)
        backend = str(keras.backend.backend())
        try:
            found[backend] = importlib.metadata.version(backend)
        except importlib.metadata.PackageNotFoundError:  # such as TensorFlow's builds for a device
            found[backend] = str(getattr(sys.modules.get(backend), "__version__", "unknown"))
    return found


def _threads() -> int:
    """Return how many threads TensorFlow takes for an operation, or will take."""
    from miscnn._keras import tensorflow

    given = int(tensorflow().config.threading.get_intra_op_parallelism_threads())
    if given:
        return given
    text = os.environ.get(_THREADS, "")
    if text.isdecimal() and int(text):
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
