"""Trainings that are interrupted, by SIGKILL too, and go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn import _files
from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError, DamagedFileError, MissingFileError
from miscnn.neural_network.history import History

MakeNetwork = Callable[..., miscnn.NeuralNetwork]

_KILLS = 10
_EPOCHS = 200


def evaluate(network: miscnn.NeuralNetwork, epochs: int, **options: Any) -> Any:
    options = {"validate_volumes": 2, "restore_best": True, "early_stopping": 1000, **options}
    return network.evaluate(["s0", "s1", "s2"], ["s3"], epochs, 2, verbose=0, **options)


class Interruption(keras.callbacks.Callback):
    """Raises in an epoch; what it counts is not part of the training."""

    def __init__(self, epoch: int | None) -> None:
        super().__init__()
        self.epoch = epoch
        self._now = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._now == self.epoch:
            raise KeyboardInterrupt

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        pass


def interrupted(network: miscnn.NeuralNetwork, epoch: int, epochs: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, epochs, callbacks=[Interruption(epoch)], **options)


def equal(one: miscnn.NeuralNetwork, other: miscnn.NeuralNetwork) -> bool:
    pairs = zip(one.model.variables, other.model.variables, strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def test_interrupted_trainings_end_bit_by_bit_alike(
    tmp_path: Path, new_network: MakeNetwork
) -> None:
    whole = new_network()
    expected = evaluate(whole, 6)
    folder = tmp_path / "checkpoints"
    interrupted(new_network(), 0, 6, checkpoint_path=folder)  # before any checkpoint
    interrupted(new_network(), 3, 6, checkpoint_path=folder)
    assert not (folder / "out").exists()
    network = new_network()
    nobody = [Interruption(None)]
    history = evaluate(network, 6, checkpoint_path=folder, callbacks=nobody)
    np.testing.assert_equal(history.history, expected.history)
    assert equal(network, whole)
    assert network._epochs_trained == 6
    # Asked again, it is finished.
    again = new_network()
    history = evaluate(again, 6, checkpoint_path=folder, callbacks=nobody)
    np.testing.assert_equal(history.history, expected.history)
    assert equal(again, whole)
    # What is trained after it goes on as well.
    np.testing.assert_equal(evaluate(again, 1).history, evaluate(whole, 1).history)


def test_best_and_last_weights_can_be_had(tmp_path: Path, new_network: MakeNetwork) -> None:
    folder = tmp_path / "checkpoints"
    network = new_network(ema=None)
    history = evaluate(network, 6, checkpoint_path=folder)
    best, last = new_network(ema=None), new_network(ema=None)
    best.load_checkpoint(folder)
    last.load_checkpoint(folder, "last")
    other = new_network(schedule=None, optimizer="sgd")
    other.load_checkpoint(folder)  # how it was trained does not matter for the weights
    for model in (best, other):
        for one, its in zip(network.model.weights, model.model.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(its))
    values = [v for v in history.history["val_volume_dice"] if not np.isnan(v)]
    assert len(values) == 3
    truth = network.preprocessor.data.sample_loader("s3").segmentation[..., 0]
    for model, value in ((best, max(values)), (last, values[-1])):
        (labels,) = model.predict(["s3"], True, verbose=0)
        dice = 2 * np.sum(labels * truth) / (np.sum(labels) + np.sum(truth))
        assert dice == pytest.approx(value, abs=1e-6)
    with pytest.raises(ConfigurationError, match="which is 'first'"):
        best.load_checkpoint(folder, "first")  # type: ignore[arg-type]
    (folder / "best.npz").unlink()
    with pytest.raises(MissingFileError, match=r"best\.npz; expected .* with validation"):
        best.load_checkpoint(folder)


def test_more_epochs_go_on(tmp_path: Path, new_network: MakeNetwork) -> None:
    options = {"schedule": None, "ema": None}
    whole, parts = new_network(**options), new_network(**options)
    expected = whole.train(["s0", "s1"], 5, 2, verbose=0)
    parts.train(["s0", "s1"], 2, 2, verbose=0, checkpoint_path=tmp_path / "ck")
    parts = new_network(**options)
    history = parts.train(["s0", "s1"], 5, 2, verbose=0, checkpoint_path=tmp_path / "ck")
    np.testing.assert_equal(history.history, expected.history)
    assert equal(parts, whole)
    rows = (tmp_path / "ck" / "history.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["epoch", "1", "2", "3", "4", "5"]


def test_averages_do_not_go_into_the_epochs_that_follow(
    tmp_path: Path, new_network: MakeNetwork
) -> None:
    whole, parts = new_network(schedule=None), new_network(schedule=None)
    whole.train(["s0", "s1"], 4, 2, verbose=0)
    parts.train(["s0", "s1"], 2, 2, verbose=0, checkpoint_path=tmp_path / "ck")
    parts = new_network(schedule=None)
    parts.train(["s0", "s1"], 4, 2, verbose=0, checkpoint_path=tmp_path / "ck")
    assert equal(parts, whole)
    last = new_network(schedule=None)
    last.load_checkpoint(tmp_path / "ck", "last")
    assert equal(last, whole)
    with pytest.raises(ConfigurationError, match=r"another network: optimizer_recipe\.config\.ema"):
        new_network(ema=None).load_checkpoint(tmp_path / "ck", "last")


def test_the_same_network_goes_on(tmp_path: Path, new_network: MakeNetwork) -> None:
    """As in a notebook: interrupted in the first epoch, in a validation, and called again."""
    whole, network = new_network(), new_network()
    expected = evaluate(whole, 3)
    interrupted(network, 0, 3, checkpoint_path=tmp_path / "ck")

    class InValidation(Interruption):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            pass

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            if self._now == self.epoch:
                raise KeyboardInterrupt

    InValidation.__name__ = "Interruption"  # as far as the checkpoint can tell
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, 3, checkpoint_path=tmp_path / "ck", callbacks=[InValidation(1)])
    history = evaluate(network, 3, checkpoint_path=tmp_path / "ck", callbacks=[Interruption(None)])
    np.testing.assert_equal(history.history, expected.history)
    assert equal(network, whole)


def test_fewer_epochs_than_there_are(
    tmp_path: Path, new_network: MakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    network = new_network()
    network.train(["s0"], 2, np.int64(1), verbose=0, checkpoint_path=tmp_path / "ck")
    history = network.train(["s0"], 1, 1, verbose=0, checkpoint_path=tmp_path / "ck")
    assert history.epochs == 2
    assert "holds 2 epochs, 1 were asked for" in caplog.text


def test_another_training_is_refused(tmp_path: Path, new_network: MakeNetwork) -> None:
    folder = tmp_path / "checkpoints"
    new_network().train(["s0", "s1"], 1, 1, verbose=0, checkpoint_path=folder)
    before = (folder / "last.npz").read_bytes()
    other = new_network(learning_rate=2e-2)
    with pytest.raises(ConfigurationError) as caught:
        other.train(["s0", "s2"], 1, 1, verbose=0, checkpoint_path=folder)
    for told in (
        "recipe.learning_rate was 0.01, is 0.02",
        "only then: s1, only now: s2",
        "resume=False",
    ):
        assert told in str(caught.value)
    assert (folder / "last.npz").read_bytes() == before
    history = other.train(["s0", "s2"], 2, 1, verbose=0, checkpoint_path=folder, resume=False)
    assert history.epochs == 2


def test_damaged_and_half_written_files(tmp_path: Path, new_network: MakeNetwork) -> None:
    folder = tmp_path / "checkpoints"
    new_network().train(["s0"], 1, 1, verbose=0, checkpoint_path=folder)
    leftover = folder / f".writing-{_files._here()}-{2**22 + 1}-0123456789ab.npz"
    leftover.write_bytes(b"half")
    history = new_network().train(["s0"], 2, 1, verbose=0, checkpoint_path=folder)
    assert history.epochs == 2
    assert not leftover.exists()
    whole = (folder / "last.npz").read_bytes()
    (folder / "last.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match=r"last\.npz cannot be read .* delete it"):
        new_network().train(["s0"], 2, 1, verbose=0, checkpoint_path=folder)


def test_callbacks_of_keras_remember(tmp_path: Path, new_network: MakeNetwork) -> None:
    """Early stopping with best weights of its own counts on after an interruption."""

    def callbacks(epoch: int | None) -> list[Any]:
        # No epoch is ten better than the first.
        stop = keras.callbacks.EarlyStopping(
            "val_loss", min_delta=10.0, patience=2, restore_best_weights=True
        )
        return [stop, Interruption(epoch)]

    def run(network: miscnn.NeuralNetwork, epoch: int | None, **options: Any) -> Any:
        return network.evaluate(
            ["s0"], ["s1"], 9, 1, callbacks=callbacks(epoch), verbose=0, **options
        )

    whole = new_network(ema=None)
    expected = run(whole, None)
    assert expected.epochs == 3
    folder = tmp_path / "ck"
    with pytest.raises(KeyboardInterrupt):
        run(new_network(ema=None), 2, checkpoint_path=folder)
    network = new_network(ema=None)
    np.testing.assert_equal(run(network, None, checkpoint_path=folder).history, expected.history)
    assert equal(network, whole)
    # Stopped is stopped.
    network = new_network(ema=None)
    assert run(network, None, checkpoint_path=folder).epochs == 3


_SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import numpy as np
import conftest, test_resume
from miscnn._keras import keras

class Tells(keras.callbacks.Callback):
    told = ()
    def tell(self, what):
        if what not in self.told:
            self.told += (what,)
            print(what, flush=True)
    def on_train_batch_end(self, batch, logs=None):
        self.tell("batch")
    def on_epoch_begin(self, epoch, logs=None):
        if "batch" in self.told:
            self.tell("epoch")
    def get_state(self): return {{}}
    def set_state(self, state): pass

folder = Path(sys.argv[1])
network = conftest.make_network(folder)
history = test_resume.evaluate(
    network, {epochs}, callbacks=[Tells()], checkpoint_path=folder / "checkpoints"
)
np.savez(folder / "result.npz", *[np.asarray(v) for v in network.model.variables])
print("finished", flush=True)
"""


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Ten times SIGKILL at random moments, each followed by the same call."""
    script = tmp_path / "train.py"
    tests = str(Path(__file__).parent)
    script.write_text(textwrap.dedent(_SCRIPT.format(tests=tests, epochs=_EPOCHS)))

    def start(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(miscnn.__file__).parents[1])},
        )  # fmt: skip

    moments = random.Random(7)
    epochs = []
    with start(tmp_path / "whole") as whole:
        for number in range(_KILLS):
            # Some in their first epoch, the others some time after their first checkpoint.
            with start(tmp_path / "killed") as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "batch\n"
                if number % 4:
                    assert process.stdout.readline() == "epoch\n"
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=moments.uniform(0.0, 0.6))
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
            last = tmp_path / "killed" / "checkpoints" / "last.npz"
            if last.exists():
                with np.load(last) as arrays:
                    epochs.append(json.loads(str(arrays["document"]))["epochs"])
        assert whole.stdout is not None
        assert "finished" in whole.stdout.read()
    assert epochs == sorted(epochs)
    assert 0 < epochs[-1] < _EPOCHS
    with start(tmp_path / "killed") as process:
        assert process.stdout is not None
        assert "finished" in process.stdout.read()
    results = [np.load(tmp_path / name / "result.npz") for name in ("whole", "killed")]
    assert len(results[0].files) == len(results[1].files) > 20
    for name in results[0].files:
        np.testing.assert_array_equal(results[0][name], results[1][name])
    tables = [tmp_path / name / "checkpoints" / "history.tsv" for name in ("whole", "killed")]
    histories = [dict(History.from_tsv(table)) for table in tables]
    for history in histories:
        assert len(history.pop("seconds")) == _EPOCHS
    np.testing.assert_equal(histories[0], histories[1])
