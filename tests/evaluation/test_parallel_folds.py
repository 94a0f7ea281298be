"""Folds in other processes: the same results, whatever happens to the workers."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import pytest

from miscnn.evaluation import (
    CrossValidationResult,
    cross_validation,
    leave_one_out,
    run_fold,
    split_folds,
)
from miscnn.evaluation._parallel import in_parallel
from miscnn.exceptions import ConfigurationError, FoldError
from tests.evaluation import conftest
from tests.evaluation.conftest import FakeModel

PLAIN: dict[str, Any] = {"draw_figures": False, "verbose": 0}


@pytest.fixture(autouse=True)
def _tests_travel() -> Iterator[None]:
    """Workers cannot import the tests: what they define is sent by value."""
    modules = [conftest, sys.modules[__name__]]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


_CIRCUMSTANCES = ("training_seconds", "evaluation_seconds", "finished", "versions")


class Obstinate(FakeModel):
    """Fails, or waits, in the fold that validates on given subjects.

    It has no network: it trains by adding to the list of those that it has seen.
    """

    def __init__(self, folder: Path, fails_on: str = "", waits_for: str = "") -> None:
        super().__init__()
        self.folder = folder
        self.fails_on = fails_on
        self.waits_for = waits_for

    def predict(self, samples: Sequence[str], *, output_path: str | Path, verbose: int) -> None:
        if self.fails_on in samples and not (self.folder / "mended").exists():
            raise ValueError(f"no memory for {self.fails_on}")
        if self.waits_for in samples:
            # The first worker that comes here waits until it is killed.
            mark = self.folder / "waiting"
            try:
                with mark.open("x") as file:
                    file.write(str(os.getpid()))
            except FileExistsError:
                pass
            else:
                time.sleep(60)
        super().predict(samples, output_path=output_path, verbose=verbose)


def contents(folder: Path) -> dict[str, bytes]:
    """All files, without what tells when, how long, and in what surroundings."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "run.json":
                run = json.loads(data)
                data = json.dumps(
                    {k: v for k, v in run.items() if k not in _CIRCUMSTANCES}
                ).encode()
            found[str(path.relative_to(folder))] = data
    return found


@pytest.fixture(scope="module", autouse=True)
def _end_of_workers() -> Iterator[None]:
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def test_files_of_two_processes_are_those_of_one(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    arguments = {"inner_validation": 0.3, "groups": [k // 2 for k in range(9)], **PLAIN}
    here = cross_validation(samples, model, evaluation_path=tmp_path / "here", **arguments)
    calls = len(model.calls)
    there = cross_validation(
        samples, model, evaluation_path=tmp_path / "there", n_jobs=2, **arguments
    )
    assert len(model.calls) == calls  # the model of this process stays as it is
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert [fold.number for fold in there.folds] == [0, 1, 2]
    assert list(there) == list(here)
    assert there.scores.rows == here.scores.rows
    assert not list((tmp_path / "there").rglob("running.json"))


def test_left_out_subjects_in_two_processes(model: Any, samples: list[str], tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"n_subjects": 3, "seed": 4, "verbose": 0}
    leave_one_out(samples, model, evaluation_path=tmp_path / "here", **arguments)
    leave_one_out(samples, model, evaluation_path=tmp_path / "there", n_jobs=2, **arguments)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_an_error_in_one_fold_does_not_stop_the_others(
    samples: list[str], tmp_path: Path, model: Any
) -> None:
    path = tmp_path / "evaluation"
    failing = Obstinate(tmp_path, fails_on="case_2")
    told = (
        r"1 of 3 fold\(s\) failed, the others are finished.*resume=True.*fold 0: ValueError: no me"
    )
    with pytest.raises(FoldError, match=told) as caught:
        cross_validation(
            samples, failing, splitter=_thirds(), evaluation_path=path, n_jobs=2, **PLAIN
        )
    assert set(caught.value.failures) == {0}
    assert pickle.loads(pickle.dumps(caught.value)).failures == caught.value.failures
    assert sorted(p.parent.name for p in path.glob("fold_*/run.json")) == ["fold_1", "fold_2"]
    before = (path / "fold_1" / "run.json").stat().st_mtime_ns
    (tmp_path / "mended").touch()
    result = cross_validation(
        samples, failing, splitter=_thirds(), evaluation_path=path, n_jobs=2, resume=True, **PLAIN
    )
    assert (path / "fold_1" / "run.json").stat().st_mtime_ns == before
    cross_validation(samples, model, splitter=_thirds(), evaluation_path=tmp_path / "here", **PLAIN)
    assert contents(path) == contents(tmp_path / "here")
    assert len(result.folds) == 3


def _thirds() -> list[tuple[list[int], list[int]]]:
    every = list(range(9))
    return [([k for k in every if k % 3 != (2 - f)], every[2 - f :: 3]) for f in range(3)]


def test_what_cannot_travel_is_told_before_anything_runs(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    model.lock = threading.Lock()
    with pytest.raises(ConfigurationError, match=r"model, a FakeModel, cannot be sent.*n_jobs=1"):
        cross_validation(samples, model, evaluation_path=tmp_path / "x", n_jobs=2, **PLAIN)
    del model.lock
    with pytest.raises(ConfigurationError, match=r"one of the callbacks cannot be sent.*function"):
        cross_validation(
            samples, model, evaluation_path=tmp_path / "x", n_jobs=2,
            callbacks=[threading.Lock()], **PLAIN,
        )  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_engines_without_processes_are_refused() -> None:
    assert not in_parallel(None)
    assert not in_parallel(1)
    assert in_parallel(2)
    assert in_parallel(-1)
    with joblib.parallel_config(n_jobs=2):
        assert in_parallel(None)
        assert not in_parallel(1)
    with joblib.parallel_config("threading", n_jobs=2):
        assert not in_parallel(None)
        with pytest.raises(ConfigurationError, match="folds need processes"):
            in_parallel(2)
    with joblib.parallel_config("multiprocessing"), pytest.raises(ConfigurationError, match="fork"):
        in_parallel(2)
    for wrong in (0, True, "two"):
        with pytest.raises(ConfigurationError, match="n_jobs is"):
            in_parallel(wrong)  # type: ignore[arg-type]


def test_a_worker_that_was_killed_is_told(samples: list[str], tmp_path: Path) -> None:
    waiting = Obstinate(tmp_path, waits_for="case_1")
    path = tmp_path / "evaluation"
    with _killing(tmp_path), pytest.raises(FoldError, match="worker was lost"):
        cross_validation(
            samples, waiting, splitter=_thirds(), evaluation_path=path, n_jobs=2, **PLAIN
        )
    cross_validation(
        samples, waiting, splitter=_thirds(), evaluation_path=path, resume=True, **PLAIN
    )
    here = tmp_path / "here"
    cross_validation(samples, FakeModel(), splitter=_thirds(), evaluation_path=here, **PLAIN)
    assert contents(path) == contents(here)


class _killing:  # noqa: N801  # reads like a function
    """Kills the worker that waits, once it does."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "waiting"
        self.killed = 0
        self.thread = threading.Thread(target=self._kill)

    def _kill(self) -> None:
        for _ in range(1200):
            text = self.mark.read_text() if self.mark.exists() else ""
            if text:
                time.sleep(0.3)
                os.kill(int(text), signal.SIGKILL)
                self.killed += 1
                return
            time.sleep(0.05)

    def __enter__(self) -> _killing:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        assert self.killed == 1


@pytest.mark.slow
def test_dask_gives_a_fold_of_a_killed_worker_to_another(
    samples: list[str], tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    waiting = Obstinate(tmp_path, waits_for="case_1")
    path, here = tmp_path / "there", tmp_path / "here"
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=str(tmp_path / "dask"), silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
        _killing(tmp_path),
    ):  # fmt: skip
        cross_validation(samples, waiting, splitter=_thirds(), evaluation_path=path, **PLAIN)
    cross_validation(samples, FakeModel(), splitter=_thirds(), evaluation_path=here, **PLAIN)
    assert contents(path) == contents(here)


def test_a_fold_that_failed_is_given_back(samples: list[str], tmp_path: Path) -> None:
    failing = Obstinate(tmp_path, fails_on="case_2")
    for n_jobs in (1, 2):
        with pytest.raises((ValueError, FoldError), match="no memory for case_2"):
            cross_validation(
                samples, failing, splitter=_thirds()[:2], evaluation_path=tmp_path / "e",
                n_jobs=n_jobs, **PLAIN,
            )  # fmt: skip
        assert not list(tmp_path.rglob("running.json"))


# ---------------------------------------------------------------------- machine by machine

_ONE_FOLD = """
import sys
from tests.evaluation.conftest import FakeModel
from miscnn.evaluation import run_fold
run_fold(int(sys.argv[1]), FakeModel(), evaluation_path=sys.argv[2], draw_figures=False, verbose=0)
"""


@pytest.mark.slow
def test_folds_run_at_the_same_time_by_two_programs(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    split_folds(samples, 2, tmp_path / "apart", groups=[k // 3 for k in range(9)])
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _ONE_FOLD, str(fold), str(tmp_path / "apart")],
            cwd=Path(__file__).parents[2],
        )
        for fold in (0, 1)
    ]
    assert [program.wait(timeout=120) for program in programs] == [0, 0]
    gathered = CrossValidationResult.load(tmp_path / "apart")
    gathered.write()
    cross_validation(
        samples, model, 2, groups=[k // 3 for k in range(9)],
        evaluation_path=tmp_path / "one", **PLAIN,
    )  # fmt: skip
    assert contents(tmp_path / "apart") == contents(tmp_path / "one")


def test_one_fold_knows_the_patients_from_the_file(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    groups = ["p", "q", "r"] * 3
    split_folds(samples, evaluation_path=tmp_path, splitter=[(range(6), range(6, 9))],
                groups=groups)  # fmt: skip
    fold = run_fold(0, model, evaluation_path=tmp_path, inner_validation=0.3, **PLAIN)
    patient = dict(zip(samples, groups, strict=True))
    assert len(fold.inner_validation) == 2
    assert not {patient[i] for i in fold.inner_validation} & {patient[i] for i in fold.training}
