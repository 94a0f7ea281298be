"""Folds of a real network in other processes: the same weights, bit by bit."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import random
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.evaluation import cross_validation
from miscnn.exceptions import ConfigurationError, FoldError
from miscnn.neural_network._process import ProcessSetup
from miscnn.neural_network.architecture import Architecture
from miscnn.neural_network.ensemble import StackedEnsemble
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.subfunctions import Normalization

SUBJECTS = [f"s{number}" for number in range(6)]
FOLDS: dict[str, Any] = {
    "splitter": [([0, 1, 2], [3]), ([1, 2, 3, 4], [0])],
    "epochs": 2,
    "iterations": 2,
    "inner_validation": 0.3,
    "draw_figures": False,
    "verbose": 0,
}


@pytest.fixture(scope="module", autouse=True)
def _tests_travel() -> Iterator[None]:
    """Workers cannot import the tests: what they define is sent by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


class Small(Architecture):
    """As small as a network can be that draws and that counts batches."""

    required_multiple = 1

    def __init__(self, width: int = 4) -> None:
        self.width = width

    def create_model_2D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        raise NotImplementedError

    def create_model_3D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        image = keras.Input(input_shape)
        values = keras.layers.Conv3D(self.width, 3, padding="same", activation="relu")(image)
        values = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(values))
        logits = keras.layers.Conv3D(n_labels, 3, padding="same")(values)
        return keras.Model(image, keras.layers.Softmax(dtype="float32")(logits))


class Weighted(TanimotoCrossEntropy):  # type: ignore[misc]  # Keras has no types
    """A loss of the user's own."""


class Forgetful(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss that does not tell how it was made."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean((y_true - y_pred) ** self.power, axis=(1, 2, 3, 4))


def subjects(changed: tuple[str, ...] = ()) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for number, name in enumerate(SUBJECTS):
        label = np.zeros((16, 16, 8), dtype=np.uint8)
        label[2 + number : 12, 4:12, 2:6] = 1
        image = (rng.normal(100, 20, size=label.shape) + 60 * label).astype(np.float32)
        if name in changed:
            image, label = -3 * image[::-1], 1 - label
        found[name] = (image, label, None, {"spacing": (1.0, 1.0, 1.5)})
    return found


def network_of(folder: Path, changed: tuple[str, ...] = (), **options: Any) -> miscnn.NeuralNetwork:
    recipe = miscnn.Preprocessor(
        miscnn.DataIO(
            DictionaryInterface(subjects(changed), 1, 2, True), None, folder / "o", folder / "b"
        ),
        2,
        [Normalization("z-score", statistics="dataset")],
        None,
        patch_shape=(8, 8, 8),
        cache="memory",
        seed=5,
    )
    given = {"loss": Weighted(), "optimizer": "adamw", "schedule": "cosine", "ema": 0.9} | options
    return miscnn.NeuralNetwork(recipe, Small(), learning_rate=1e-2, **given)


@pytest.fixture
def network(tmp_path: Path) -> miscnn.NeuralNetwork:
    return network_of(tmp_path / "data")


def weights_of(path: Path) -> list[Any]:
    found = []
    for number in (0, 1):
        for name in ("model.keras", "model.last.keras"):
            model = keras.saving.load_model(path / f"fold_{number}" / name, compile=False)
            found.append([np.asarray(w) for w in model.get_weights()])
    return found


def assert_same(one: Path, other: Path) -> None:
    for name in ("fold_0/history.tsv", "fold_1/history.tsv", "scores.tsv", "summary.tsv"):
        assert (one / name).read_text() == (other / name).read_text(), name
    for number, (a, b) in enumerate(zip(weights_of(one), weights_of(other), strict=True)):
        differences = [float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)]
        assert not any(differences), f"file {number}: {differences}"


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folds run here, one by one."""
    folder = tmp_path_factory.mktemp("one process")
    cross_validation(SUBJECTS, network_of(folder), evaluation_path=folder / "here", **FOLDS)
    return folder / "here"


class Cluster:
    """Two workers of Dask's, here, with two threads each."""

    def __init__(self, folder: Path) -> None:
        distributed = pytest.importorskip("distributed")
        self.stack = contextlib.ExitStack()
        cluster = self.stack.enter_context(
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=2, processes=True,
                dashboard_address=None, local_directory=str(folder / "dask"),
                silence_logs=logging.CRITICAL,
            )
        )  # fmt: skip
        self.stack.enter_context(distributed.Client(cluster))
        self.stack.enter_context(joblib.parallel_config("dask"))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.stack.close()


@pytest.mark.slow
def test_weights_of_two_processes_are_those_of_one(
    network: miscnn.NeuralNetwork, one_process: Path, tmp_path: Path
) -> None:
    before = network.model.get_weights()
    cross_validation(SUBJECTS, network, evaluation_path=tmp_path / "there", n_jobs=2, **FOLDS)
    after = network.model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert_same(tmp_path / "there", one_process)
    # What was run here would be taken over there.
    shutil.copytree(one_process, tmp_path / "here")
    marks = {f: f.read_bytes() for f in (tmp_path / "here").glob("fold_*/run.json")}
    cross_validation(
        SUBJECTS, network, evaluation_path=tmp_path / "here", n_jobs=2, resume=True, **FOLDS
    )
    assert len(marks) == 2
    assert all(f.read_bytes() == text for f, text in marks.items())
    versions = json.loads(next(iter(marks.values())))["versions"]
    assert versions["keras"] == keras.__version__
    assert versions[keras.backend.backend()][0].isdigit()


class Dies(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Kills the process within the second epoch of the fold that comes there first."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.epoch == 1:
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "loky"])
def test_weights_are_the_same_if_a_worker_is_killed_within_a_training(
    engine: str, network: miscnn.NeuralNetwork, one_process: Path, tmp_path: Path
) -> None:
    path, mark = tmp_path / "there", tmp_path / "killed"
    arguments = FOLDS | {"callbacks": [Dies(mark)], "evaluation_path": path}
    if engine == "dask":
        with Cluster(tmp_path):
            cross_validation(SUBJECTS, network, **arguments)
    else:
        with pytest.raises(FoldError, match="the worker was lost"):
            cross_validation(SUBJECTS, network, n_jobs=2, **arguments)
        assert list(path.glob("fold_*/training/last.npz"))
        cross_validation(SUBJECTS, network, n_jobs=2, resume=True, **arguments)
        runs = [json.loads(file.read_text()) for file in path.glob("fold_*/run.json")]
        assert any(run["interrupted"] for run in runs)
    assert mark.exists()
    assert_same(path, one_process)
    left = [p for p in path.rglob("*") if p.name.startswith(("training", "running", ".writing"))]
    assert [p.name for p in left if p.suffix != ".png"] == []


def test_validation_subjects_never_influence_a_training(tmp_path: Path) -> None:
    for name, changed in (("as is", ()), ("changed", ("s3", "s5"))):
        network = network_of(tmp_path / f"data {name}", changed)
        cross_validation(
            SUBJECTS, network, evaluation_path=tmp_path / name,
            **FOLDS | {"splitter": [([0, 1, 2, 4], [3, 5])], "early_stopping": 1},
        )  # fmt: skip
    found = [
        keras.saving.load_model(tmp_path / name / "fold_0" / "model.keras", compile=False)
        for name in ("as is", "changed")
    ]
    for a, b in zip(found[0].get_weights(), found[1].get_weights(), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    histories = [
        (tmp_path / n / "fold_0" / "history.tsv").read_text() for n in ("as is", "changed")
    ]
    assert histories[0] == histories[1]
    scores = [(tmp_path / n / "scores.tsv").read_text() for n in ("as is", "changed")]
    assert scores[0] != scores[1]


def test_a_network_arrives_as_it_left(network: miscnn.NeuralNetwork) -> None:
    network.train(SUBJECTS[:3], epochs=1, iterations=1, verbose=0)
    other = pickle.loads(cloudpickle.dumps(network))
    for a, b in zip(network.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.model is not network.model
    assert type(other.loss).__name__ == "Weighted"
    assert other.loss.get_config() == network.loss.get_config()
    assert [m.name for m in other.metrics] == [m.name for m in network.metrics]
    predicted = [n.predict(["s4"], return_output=True, verbose=0)[0] for n in (network, other)]
    np.testing.assert_array_equal(predicted[0], predicted[1])
    assert other._trained_on == tuple(SUBJECTS[:3])


def test_other_threads_that_draw_do_not_change_the_initial_weights(
    network: miscnn.NeuralNetwork,
) -> None:
    state = random.getstate()
    expected = network.model.get_weights()
    ended = threading.Event()

    def draw() -> None:
        while not ended.is_set():
            random.random()

    other = threading.Thread(target=draw)
    other.start()
    try:
        for _ in range(3):
            built = network._fresh().get_weights()
            for a, b in zip(expected, built, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        ended.set()
        other.join()
        random.setstate(state)


def test_parts_that_cannot_be_made_again_are_named(tmp_path: Path) -> None:
    network = network_of(tmp_path, loss=Forgetful(2.0))
    with pytest.raises(ConfigurationError, match=r"loss: Forgetful cannot be made again.*get_conf"):
        cross_validation(SUBJECTS, network, evaluation_path=tmp_path / "e", n_jobs=2, **FOLDS)
    assert not (tmp_path / "e").exists()


def test_members_of_an_ensemble_share_their_recipe_where_they_arrive(
    network: miscnn.NeuralNetwork,
) -> None:
    other = network.copy()
    ensemble = StackedEnsemble([network, other], folds=2)
    arrived = pickle.loads(cloudpickle.dumps(ensemble))
    assert len(arrived.members) == 2
    assert arrived.members[0].preprocessor is arrived.members[1].preprocessor
    for a, b in zip(
        network.model.get_weights(), arrived.members[0].model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_threads_and_precision_are_told() -> None:
    here = ProcessSetup.here()
    assert here.backend == keras.backend.backend()
    assert here.policy == "float32"
    assert here.threads is None or here.threads >= 1
    here.apply()  # changes nothing
    assert ProcessSetup.here() == here
    other = ProcessSetup("another", "float32", None, None)
    with pytest.raises(ConfigurationError, match="start the workers with the same KERAS_BACKEND"):
        other.apply()
