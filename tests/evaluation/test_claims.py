"""One process at a time has a fold; whoever lost it finds out."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from miscnn._files import temporary_beside, write_json
from miscnn.evaluation import cross_validation, run_fold, split_folds
from miscnn.evaluation._claim import Claim, SupersededError, forget_claim, starter_of
from miscnn.evaluation._parallel import _unseen, packed, work
from miscnn.evaluation._resume import tasks_of
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.splits import Fold
from miscnn.neural_network._process import ProcessSetup
from tests.evaluation.conftest import FakeHistory, FakeModel
from tests.evaluation.test_parallel_folds import PLAIN, contents


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
