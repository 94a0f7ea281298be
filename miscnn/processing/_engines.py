"""Preparing samples by the engine that joblib is told: threads, processes, a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from miscnn.exceptions import SampleError

if TYPE_CHECKING:
    from miscnn.processing.preparation import PreparedSamples
    from miscnn.processing.preprocessor import Preprocessor

_THREADS = ("ThreadingBackend", "SequentialBackend")


def prepared_by_engine(
    recipe: Preprocessor, samples: PreparedSamples, indices: Sequence[str]
) -> Iterator[None]:
    """Prepare samples, in any order; yield after each.

    Other processes write into the cache on disk, where this one finds the samples. Without one
    threads of this process do it.

    Raises
    ------
    Exception
        What went wrong with a sample; of other processes, after all others are prepared.
    """
    if recipe.cache == "disk" and _has_processes():
        # Bytes are sent with each sample, and what they hold is nobody's else.
        payload = cloudpickle.dumps(recipe)
        jobs = Parallel(batch_size=1, return_as="generator_unordered")
        failures: dict[str, Exception] = {}
        for index, error in jobs(delayed(_prepare)(payload, index) for index in indices):
            if error is not None:
                failures[index] = error
            yield
        for index in indices:  # the same one whoever was faster
            if index in failures:
                raise failures[index]
    else:
        jobs = Parallel(n_jobs=recipe.workers, backend="threading", return_as="generator_unordered")
        for _ in jobs(delayed(samples.measures)(index) for index in indices):
            yield


def _has_processes() -> bool:
    backend, n_jobs = get_active_backend()
    engine = type(backend).__name__
    # Without a number of jobs this is joblib's default, which nobody has asked for.
    return engine not in _THREADS and not (engine == "LokyBackend" and n_jobs in (None, 1))


def _prepare(payload: bytes, index: str) -> tuple[str, Exception | None]:
    """Prepare a sample in another process; return its index, and what went wrong."""
    recipe: Any = cloudpickle.loads(payload)
    try:
        recipe._samples.measures(index)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # not every exception can travel
            return index, SampleError(index, f"{type(error).__name__}: {error}")
        return index, error
    return index, None
