"""Folds in other processes: the same results, whatever happens to the workers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import secrets
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

from miscnn._files import temporary_beside, write_json
from miscnn.evaluation import (
    CrossValidationResult,
    cross_validation,
    leave_one_out,
    run_fold,
    split_folds,
)
from miscnn.evaluation._claim import Claim, SupersededError, forget_claim, starter_of
from miscnn.evaluation._parallel import _unseen, in_parallel, packed, work
from miscnn.evaluation._resume import tasks_of
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.splits import Fold
from miscnn.exceptions import ConfigurationError, FoldError
from miscnn.neural_network._process import ProcessSetup
from tests.evaluation import conftest
from tests.evaluation.conftest import FakeHistory, FakeModel

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


# ---------------------------------------------------------------------- two claims on one fold


def _one_task(folder: Path, samples: list[str]) -> Any:
    (task,) = tasks_of([Fold(samples[:6], samples[6:])], folder)
    task.folder.mkdir(parents=True)
    (task.folder / "sample_list.json").write_text(
        json.dumps({"TRAINING": samples[:6], "VALIDATION": samples[6:]})
    )
    return task


def _settings(model: Any) -> Settings:
    from inspect import signature

    given = {name: p.default for name, p in signature(cross_validation).parameters.items()} | {
        **PLAIN,
        "model": model,
    }
    return Settings.of(given)


def claim_of(process: int, folder: Path, training: str = "training") -> Claim:
    """Write the claim of another process of this machine, which is at work on the fold if alive."""
    start, _ = temporary_beside(folder / "x").name.rsplit(f"-{os.getpid()}-", 1)
    claim = Claim(folder, f"{start}-{process}-{secrets.token_hex(6)}", training)
    write_json(folder / "running.json", {"owner": claim.owner, "training": training})
    return claim


def ended_process() -> int:
    """The number of a process that was there."""
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        pass
    return program.pid


def test_a_slow_worker_finds_out_that_its_fold_was_given_away(tmp_path: Path) -> None:
    first = claim_of(os.getppid(), tmp_path)  # it lives, so it may be at work still
    first.check()
    second = Claim.take(tmp_path)
    assert first.training == "training" != second.training
    assert not first.shares_training
    second.check()
    with pytest.raises(SupersededError):
        first.check()
    first.release()
    second.check()  # a release by somebody else changes nothing
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_worker_that_is_surely_dead_leaves_its_checkpoints(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from miscnn.evaluation._claim import Claim; "
        "Claim.take(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / "running.json").exists()
    assert Claim.take(tmp_path).training == "training"


def test_an_earlier_attempt_of_this_process_is_dead(tmp_path: Path) -> None:
    # So is one of the first process of a container that was started anew.
    earlier = claim_of(os.getpid(), tmp_path, "training-0123456789ab")
    now = Claim.take(tmp_path)
    assert now.training == earlier.training
    assert now.owner != earlier.owner
    assert earlier.shares_training


def test_of_a_damaged_claim_nobody_knows_who_is_at_work(tmp_path: Path) -> None:
    for text in ("{", "[" * 100_000, "[]", '{"owner": "x", "training": "../../home"}',
                 '{"owner": 3, "training": "training"}'):  # fmt: skip
        (tmp_path / "running.json").write_text(text)
        claim = Claim.take(tmp_path)
        assert claim.training.startswith("training-")
        claim.check()
        (tmp_path / "running.json").write_text(text)
        forget_claim(tmp_path)  # whoever starts a run says that nobody else is at work
        assert not list(tmp_path.iterdir())


def test_only_one_of_many_has_a_fold(tmp_path: Path) -> None:
    for _ in range(20):
        together, claims = threading.Barrier(8), []

        def take(together: Any = together, claims: Any = claims) -> None:
            together.wait()
            claims.append(Claim.take(tmp_path))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = []
        for claim in claims:
            with contextlib.suppress(SupersededError):
                claim.check()
                held.append(claim)
        assert len(claims) == 8
        assert len(held) == 1
        held[0].release()
        assert not list(tmp_path.iterdir())


def test_a_claim_needs_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    first = Claim.take(tmp_path)
    first.check()
    second = Claim.take(tmp_path)
    second.check()
    with pytest.raises(SupersededError):
        first.check()


@pytest.mark.parametrize("alive", [True, False])
def test_a_worker_whose_starter_was_killed_and_the_run_after_it(
    alive: bool, model: Any, samples: list[str], tmp_path: Path
) -> None:
    """It trains on in its folder; the next run does not, and has the fold."""
    path = tmp_path / "evaluation"
    split_folds(samples, 2, path)
    trainings = []

    class Watching(FakeModel):
        def train(self, training: Sequence[str], **options: Any) -> FakeHistory:
            file = path / "fold_0" / "running.json"
            if file.exists():  # the first fold is the one that is run
                trainings.append(json.loads(file.read_text())["training"])
            return super().train(training, **options)

    other = claim_of(os.getppid() if alive else ended_process(), path / "fold_0")
    run_fold(0, Watching(), evaluation_path=path, resume=True, **PLAIN)
    assert len(trainings) == 1
    assert (trainings[0] != other.training) is alive
    with pytest.raises(SupersededError):
        other.check()
    assert not list(path.rglob("running.json"))
    # The same with all folds, here and in workers.
    other = claim_of(os.getppid() if alive else ended_process(), path / "fold_0")
    cross_validation(samples, Watching(), 2, evaluation_path=path, **PLAIN)
    assert (trainings[1] != other.training) is alive
    assert not list(path.rglob("running.json"))


_IN_WORKERS = """
import os, sys, time
from pathlib import Path
import cloudpickle
from miscnn.evaluation import cross_validation
from tests.evaluation import conftest
cloudpickle.register_pickle_by_value(conftest)

class Waiting(conftest.FakeModel):  # of a script, as users write them
    def __init__(self, folder):
        super().__init__()
        self.folder = folder
    def predict(self, samples, **options):
        (self.folder / f"worker{os.getpid()}").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.05)
        super().predict(samples, **options)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    cross_validation([f"case_{k}" for k in range(9)], Waiting(folder), n_jobs=2, verbose=0,
                     evaluation_path=folder / "there", draw_figures=False)
"""


def _is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_run_whose_starter_was_stopped(
    sent: signal.Signals, model: Any, samples: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(_IN_WORKERS)
    root = Path(__file__).parents[2]
    starter = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    workers: list[int] = []
    try:
        for _ in range(1200):
            workers = [int(p.name.removeprefix("worker")) for p in tmp_path.glob("worker*")]
            if len(workers) == 2:
                break
            time.sleep(0.05)
        assert len(workers) == 2
        starter.send_signal(sent)
        assert starter.wait(timeout=60) != 0
        if sent == signal.SIGINT:
            for _ in range(200):
                if not any(map(_is_running, workers)):
                    break
                time.sleep(0.05)
            assert not any(map(_is_running, workers))
        else:  # nobody could tell them
            assert all(map(_is_running, workers))
        assert list(tmp_path.rglob("running.json"))
        path = tmp_path / "there"
        cross_validation(samples, model, evaluation_path=path, resume=True, **PLAIN)
        (tmp_path / "go").touch()  # now they go on, and find out
        time.sleep(2.0)
    finally:
        starter.kill()
        for worker in filter(_is_running, workers):
            os.kill(worker, signal.SIGKILL)
    cross_validation(samples, model, evaluation_path=tmp_path / "here", **PLAIN)
    assert contents(path) == contents(tmp_path / "here")


def test_a_fold_that_failed_is_given_back(samples: list[str], tmp_path: Path) -> None:
    failing = Obstinate(tmp_path, fails_on="case_2")
    for n_jobs in (1, 2):
        with pytest.raises((ValueError, FoldError), match="no memory for case_2"):
            cross_validation(
                samples, failing, splitter=_thirds()[:2], evaluation_path=tmp_path / "e",
                n_jobs=n_jobs, **PLAIN,
            )  # fmt: skip
        assert not list(tmp_path.rglob("running.json"))


def test_folds_that_nobody_waits_for_are_not_begun(samples: list[str], tmp_path: Path) -> None:
    task = _one_task(tmp_path, samples)
    model = FakeModel()
    payload = packed(model, _settings(model))
    claim_of(ended_process(), tmp_path)
    gone = json.loads((tmp_path / "running.json").read_text())["owner"]
    assert work(task, payload, ProcessSetup(), gone) == (0, "the process that started it has ended")
    assert not (task.folder / "run.json").exists()
    for starter in (starter_of(tmp_path), f".writing-00000000-{ended_process()}-0123456789ab"):
        (task.folder / "run.json").unlink(missing_ok=True)
        assert work(task, payload, ProcessSetup(), starter) == (0, None)


def test_a_finished_fold_that_is_not_seen_here_is_told(tmp_path: Path) -> None:
    assert "same absolute path" in str(_unseen(tmp_path / "fold_0", patience=0.3))
    later = threading.Timer(0.4, (tmp_path / "run.json").touch)
    later.start()
    assert _unseen(tmp_path, patience=10) is None
    later.join()


def test_a_fold_that_was_given_away_is_left_alone(samples: list[str], tmp_path: Path) -> None:
    class Slow(FakeModel):
        def train(self, training: Sequence[str], **options: Any) -> FakeHistory:
            claim_of(os.getppid(), tmp_path / "fold_0", "training-0123456789ab")  # meanwhile
            return super().train(training, **options)

    task = _one_task(tmp_path, samples)
    model = Slow()
    number, failure = work(task, packed(model, _settings(model)), ProcessSetup())
    assert number == 0
    assert failure is not None
    assert "handed to another worker" in failure
    assert sorted(p.name for p in task.folder.iterdir()) == ["running.json", "sample_list.json"]


def test_a_fold_that_is_finished_is_not_run_again(samples: list[str], tmp_path: Path) -> None:
    task = _one_task(tmp_path, samples)
    model = FakeModel()
    payload = packed(model, _settings(model))
    assert work(task, payload, ProcessSetup()) == (0, None)
    before = (task.folder / "run.json").stat().st_mtime_ns
    assert work(task, payload, ProcessSetup()) == (0, None)
    assert (task.folder / "run.json").stat().st_mtime_ns == before


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
