"""Folds in several processes, by the engine that joblib is told."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

from miscnn.evaluation._claim import SupersededError, is_gone, starter_of
from miscnn.evaluation._resume import Task
from miscnn.evaluation._run import run_claimed
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.detailed_validation import EvaluatedModel
from miscnn.exceptions import ConfigurationError, FoldError
from miscnn.neural_network._process import ProcessSetup

_log = logging.getLogger("miscnn.evaluation")

_THREADS = ("ThreadingBackend", "SequentialBackend")

# A worker may have several threads (Dask's have, unless told otherwise), but Keras builds and
# seeds networks for the whole process.
_ONE_AT_A_TIME = threading.Lock()


def in_parallel(n_jobs: int | None) -> bool:
    """Tell whether folds are to be run in other processes.

    Parameters
    ----------
    n_jobs : int or None
        1: here, one by one. None: as ``joblib.parallel_config`` says; here without it.

    Raises
    ------
    ConfigurationError
        If the engine has threads only, or it is no number of jobs.
    """
    if isinstance(n_jobs, bool) or n_jobs == 0 or not isinstance(n_jobs, int | None):
        raise ConfigurationError(
            f"n_jobs is {n_jobs!r}; expected a number of processes, -1 for one for each core, or "
            "None for what joblib.parallel_config says"
        )
    if n_jobs == 1:
        return False
    backend, configured = get_active_backend()
    wanted = configured if n_jobs is None else n_jobs
    engine = type(backend).__name__
    if n_jobs is None and (engine in _THREADS or (engine == "LokyBackend" and wanted in (None, 1))):
        return False
    if engine == "MultiprocessingBackend":
        raise ConfigurationError(
            "joblib is configured to fork this process, in which TensorFlow would hang; take "
            'joblib.parallel_config("loky") or "dask"'
        )
    if engine in _THREADS:
        raise ConfigurationError(
            f"n_jobs is {n_jobs}, but joblib is configured to use threads or none; folds need "
            'processes: joblib.parallel_config("loky") or "dask"'
        )
    return True


def run_parallel(
    tasks: Sequence[Task],
    payload: bytes,
    settings: Settings,
    n_jobs: int | None,
    n_folds: int,
) -> Iterator[int]:
    """Run folds in other processes; yield the numbers of those that are finished.

    The model of this process stays as it is. Errors of a fold do not stop the others.

    ``payload`` is what :func:`packed` has made of model and settings.

    Raises
    ------
    FoldError
        In the end, if some folds failed.
    """
    setup = ProcessSetup.here()
    jobs = joblib.Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")
    # Workers may have been started in another folder.
    apart = [task._replace(folder=task.folder.absolute()) for task in tasks]
    folders = {task.number: task.folder for task in apart}
    failures: dict[int, str] = {}
    pending = {task.number for task in tasks}
    done = tqdm(total=len(tasks), desc="folds", unit="fold", disable=not settings.verbose)
    with done:
        try:
            calls = (joblib.delayed(work)(t, payload, setup, starter_of(t.folder)) for t in apart)
            for number, failure in jobs(calls):
                pending.discard(number)
                done.update()
                failure = failure or _unseen(folders[number])
                if failure is None:
                    yield number
                else:
                    failures[number] = failure
        except Exception as error:  # the engine's: its workers were killed, or are out of reach
            _log.debug("the engine failed", exc_info=True)
            told = " ".join(str(error).split())
            for number in pending:
                failures[number] = f"the worker was lost ({type(error).__name__}: {told})"[:500]
    if failures:
        raise FoldError(failures, n_folds)


def packed(model: EvaluatedModel, settings: Settings) -> bytes:
    """Return model and settings as bytes; those of a process of the same user, never a file's.

    Bytes are sent with each fold. Objects may be shared among the folds of a worker, or lie on
    one that is lost, depending on the engine.

    Raises
    ------
    ConfigurationError
        If they cannot be sent.
    """
    sent: Any = model
    if hasattr(model, "_loaded_weights"):  # of a network: every fold begins with the initial ones
        from miscnn.neural_network._transport import Untrained

        sent = Untrained(model)
    for name, part in ((f"the model, a {type(model).__name__},", sent), ("settings", settings)):
        try:
            cloudpickle.dumps(part)
        except ConfigurationError:
            raise
        except Exception as error:  # of whatever stands in the way
            which = "one of the callbacks" if name == "settings" else name
            raise ConfigurationError(
                f"{which} cannot be sent to another process ({type(error).__name__}: {error}); "
                "run the folds one by one (n_jobs=1)"
                + ("" if name != "settings" else ", or give a function that makes the callbacks")
            ) from error
    whole: bytes = cloudpickle.dumps((sent, settings))
    return whole


def _unseen(folder: Path, patience: float = 60.0) -> str | None:
    """Wait until a fold that a worker has finished is seen here; tell it if it never is."""
    end = time.monotonic() + patience
    while not (folder / "run.json").is_file():
        if time.monotonic() > end:
            return (
                f"a worker has finished it, but {folder / 'run.json'} cannot be seen here; workers "
                "must see evaluation_path under the same absolute path"
            )
        with suppress(OSError):
            os.listdir(folder)  # a network file system looks again then
        time.sleep(0.2)
    return None


def work(
    task: Task, payload: bytes, setup: ProcessSetup, starter: str = ""
) -> tuple[int, str | None]:
    """Run a fold in a worker; return its number, and what went wrong.

    The same fold may be run twice, if the engine has lost a worker or believes so. What lies in
    the fold's folder is of this run: the process that started it has removed all else.
    """
    with _ONE_AT_A_TIME, joblib.parallel_config("threading"):
        try:
            if (task.folder / "run.json").is_file():  # by a worker whose answer was lost
                return task.number, None
            if is_gone(starter):  # what is still in the queue of a worker is wanted by nobody
                return task.number, "the process that started it has ended"
            setup.apply()
            model, settings = cloudpickle.loads(payload)
            quiet = replace(settings, verbose=0, resume=True)
            run_claimed(task, model, quiet)
        except SupersededError as error:
            if not (task.folder / "run.json").is_file():
                return task.number, f"{type(error).__name__}: {error}"
        except Exception as error:
            _log.debug("fold %d:\n%s", task.number, traceback.format_exc())
            return task.number, f"{type(error).__name__}: {error}"
    return task.number, None
