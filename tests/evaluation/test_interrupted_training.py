"""Folds that are interrupted in their training, by a small network and by models without one."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.evaluation import (
    cross_validation,
    leave_one_out,
    run_fold,
    split_folds,
    split_validation,
)
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import Architecture
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.subfunctions import Normalization

SUBJECTS = [f"s{number}" for number in range(6)]
PLAIN: dict[str, Any] = {"draw_figures": False, "verbose": 0}
TWO_FOLDS: dict[str, Any] = {
    **PLAIN,
    "splitter": [([0, 1, 2], [3]), ([1, 2, 3, 4], [0])],
    "epochs": 4,
    "iterations": 2,
}


class TwoLayers(Architecture):
    """As small as a network can be that draws and that counts batches."""

    required_multiple = 1

    def create_model_2D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        raise NotImplementedError

    def create_model_3D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        image = keras.Input(input_shape)
        values = keras.layers.Conv3D(4, 3, padding="same", activation="relu")(image)
        values = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(values))
        logits = keras.layers.Conv3D(n_labels, 3, padding="same")(values)
        return keras.Model(image, keras.layers.Softmax(dtype="float32")(logits))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> miscnn.NeuralNetwork:
    """A network whose training has much state: momenta, averages, dropout, a schedule.

    Every fold resets it, so all tests can have the same one, which is compiled once.
    """
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    subjects = {}
    for number, name in enumerate(SUBJECTS):
        label = np.zeros((16, 16, 8), dtype=np.uint8)
        label[2 + number : 12, 4:12, 2:6] = 1
        image = (rng.normal(100, 20, size=label.shape) + 60 * label).astype(np.float32)
        subjects[name] = (image, label, None, {"spacing": (1.0, 1.0, 1.5)})
    interface = DictionaryInterface(subjects, 1, 2, True)
    recipe = miscnn.Preprocessor(
        miscnn.DataIO(interface, None, folder / "out", folder / "batches"),
        2,
        [Normalization("z-score", statistics="dataset")],
        None,
        patch_shape=(8, 8, 8),
        cache="memory",
        seed=5,
    )
    return miscnn.NeuralNetwork(
        recipe,
        TwoLayers(),
        TanimotoCrossEntropy(),
        optimizer="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        ema=0.9,
    )


class Interruption(keras.callbacks.Callback):
    """Raises within an epoch of a fold, as often as it is told to; knows the epochs that ran."""

    def __init__(self, fold: int | None = None, epoch: int = 0) -> None:
        super().__init__()
        self.at = (fold, epoch)
        self.trainings: list[list[int]] = []

    def __deepcopy__(self, memo: object) -> Interruption:
        return self  # one for all folds, to count them

    def on_train_begin(self, logs: Any = None) -> None:
        self.trainings.append([])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.trainings[-1].append(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.at == (len(self.trainings) - 1, self.trainings[-1][-1]):
            raise KeyboardInterrupt

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        pass


def weights(path: Path) -> dict[str, Any]:
    """Read the weights in a ``.keras`` file, without making a model of it."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(io.BytesIO(file.read())).visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return {
        name: value
        for name, value in found.items()
        if name.startswith("layers/") and "seed_generator" not in name
    }


def equal(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    assert len(ours) == 8
    return ours.keys() == theirs.keys() and all(map(np.array_equal, ours.values(), theirs.values()))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files but that of the split, which is written again."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "sample_list.json"]
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in files
    }


def run_json(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def test_an_interrupted_fold_ends_like_one_that_never_was(
    tmp_path: Path, network: miscnn.NeuralNetwork
) -> None:
    options = {**TWO_FOLDS, "inner_validation": 0.3, "validate_volumes": 2, "early_stopping": 50}
    whole = cross_validation(SUBJECTS, network, evaluation_path=tmp_path / "whole", **options)

    path = tmp_path / "part"
    breaks = Interruption(fold=1, epoch=2)
    with pytest.raises(KeyboardInterrupt):
        cross_validation(SUBJECTS, network, evaluation_path=path, callbacks=[breaks], **options)
    assert breaks.trainings == [[0, 1, 2, 3], [0, 1, 2]]
    assert not (path / "fold_0" / "training").exists()
    assert {"best.npz", "last.npz", "plan.json"} <= set(os.listdir(path / "fold_1" / "training"))
    before = contents(path / "fold_0")

    goes_on = Interruption()
    resumed = cross_validation(
        SUBJECTS, network, evaluation_path=path, callbacks=[goes_on], resume=True, **options
    )
    assert goes_on.trainings == [[2, 3]]
    assert contents(path / "fold_0") == before
    assert resumed.scores.rows == whole.scores.rows
    for name in ("loss", "learning_rate", "val_loss", "val_mean_dice", "val_volume_dice"):
        np.testing.assert_equal(resumed.histories[1][name], whole.histories[1][name])
    for fold in ("fold_0", "fold_1"):
        assert not (path / fold / "training").exists()
        kept = sorted(file.name for file in (path / fold).glob("*.keras"))
        assert kept == ["model.keras", "model.last.keras"]
        for name in kept:
            assert equal(path / fold / name, tmp_path / "whole" / fold / name)
    assert [run_json(fold.path)["interrupted"] for fold in resumed.folds] == [False, True]


class Ruin(keras.callbacks.Callback):
    """Makes the last of four epochs a bad one."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.bad = epoch == 3

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.bad:
            self.model.optimizer.learning_rate = 30.0


def test_best_weights_predict_and_the_last_ones_are_kept(
    tmp_path: Path, network: miscnn.NeuralNetwork
) -> None:
    options = {**TWO_FOLDS, "splitter": [([0, 1, 2], [3])], "inner_validation": 0.3}
    (fold,) = cross_validation(
        SUBJECTS, network, evaluation_path=tmp_path / "e", callbacks=[Ruin()], **options
    ).folds
    network.dump(tmp_path / "scored.keras")
    assert equal(tmp_path / "scored.keras", fold.path / "model.keras")
    assert run_json(fold.path)["weights"] == "best epoch"
    assert np.argmin(fold.history["val_loss"]) != 3
    for name, restore_best in (("model.keras", True), ("model.last.keras", False)):
        network.reset()
        network.evaluate(
            fold.training, fold.inner_validation, 4, 2, [Ruin()], verbose=0,
            restore_best=restore_best,
        )  # fmt: skip
        network.dump(tmp_path / "alone.keras")
        assert equal(tmp_path / "alone.keras", fold.path / name)
    assert not equal(fold.path / "model.keras", fold.path / "model.last.keras")


def test_minutes_end_the_training_of_each_fold(
    tmp_path: Path, network: miscnn.NeuralNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**TWO_FOLDS, "epochs": None, "max_minutes": 1e-5, "save_models": False, "verbose": 1}
    options["previews"] = False
    path = tmp_path / "e"
    result = cross_validation(SUBJECTS, network, evaluation_path=path, **options)
    # 0.6 ms: the first epoch is the one whose end lies nearest.
    assert [len(fold.history["loss"]) for fold in result.folds] == [1, 1]
    shown = capsys.readouterr().err
    assert "fold 1/2 1 epoch" in shown
    assert "fold 2/2 1 epoch" in shown
    for fold in result.folds:
        assert (run_json(fold.path)["epochs"], run_json(fold.path)["max_minutes"]) == (None, 1e-5)
    assert not list(path.rglob("*.keras"))
    assert not list(path.rglob("*.npz"))
    changed = {**options, "max_minutes": None}
    with pytest.raises(ConfigurationError) as caught:
        cross_validation(SUBJECTS, network, evaluation_path=path, resume=True, **changed)
    assert "fold 0: epochs was None, is 20; max_minutes was 1e-05, is None" in str(caught.value)


# ---------------------------------------------------------------------- without a network


def checkpointed(model: Any) -> Any:
    """Make a model without a network keep checkpoints: one number, how far it has come."""

    class Checkpointed(type(model)):
        breaks_in: int | None = None  # which training
        epochs_run: list[list[int]]

        def _run(self, kind: str, options: dict[str, Any]) -> Any:
            self.calls.append((kind, options))
            file = Path(options["checkpoint_path"]) / "last.npz"
            first = int(file.read_text()) if options["resume"] and file.exists() else 0
            self.epochs_run.append([])
            for epoch in range(first, options["epochs"] or 1):
                if epoch == 2 and len(self.epochs_run) - 1 == self.breaks_in:
                    raise KeyboardInterrupt
                self.epochs_run[-1].append(epoch)
                file.write_text(str(epoch + 1))
            return self.history_type({"loss": [1.0]})

        def train(self, training: Sequence[str], *, checkpoint_path: Any, **options: Any) -> Any:
            self.seen |= set(training)
            return self._run("train", {"checkpoint_path": checkpoint_path, **options})

        def evaluate(
            self, training: Sequence[str], validation: Sequence[str], **options: Any
        ) -> Any:
            self.seen |= {*training, *validation}
            return self._run("evaluate", options)

        def load_checkpoint(self, folder: Path, which: str) -> None:
            raise AssertionError("there are no best weights")

    model.history_type = type(type(model)().train([], epochs=1, callbacks=[]))
    model.epochs_run = []
    model.__class__ = Checkpointed
    return model


Run = Callable[..., Any]


def crossed(samples: list[str], model: Any, path: Path, **options: Any) -> Any:
    return cross_validation(samples, model, evaluation_path=path, **options)


def single(samples: list[str], model: Any, path: Path, **options: Any) -> Any:
    split_folds(samples, 3, path)
    return run_fold(1, model, evaluation_path=path, **options)


def split(samples: list[str], model: Any, path: Path, **options: Any) -> Any:
    return split_validation(samples, model, evaluation_path=path, **options)


def left_out(samples: list[str], model: Any, path: Path, **options: Any) -> Any:
    return leave_one_out(samples, model, evaluation_path=path, n_subjects=3, **options)


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (crossed, ["fold 1/3", "fold 2/3", "fold 3/3"]),
        (single, ["fold 2/3"]),
        (split, ["training"]),
        (left_out, ["fold 1/3", "fold 2/3", "fold 3/3"]),
    ],
)
def test_every_function_goes_on_and_names_its_folds(
    model: Any, samples: list[str], tmp_path: Path, run: Run, names: list[str]
) -> None:
    model = checkpointed(model)
    model.breaks_in = last = len(names) - 1
    options = {**PLAIN, "epochs": 5, "save_models": True, "max_minutes": 3.0}
    with pytest.raises(KeyboardInterrupt):
        run(samples, model, tmp_path, **options)
    model.breaks_in = None
    result = run(samples, model, tmp_path, resume=True, **options)
    assert model.epochs_run == [[0, 1, 2, 3, 4]] * last + [[0, 1], [2, 3, 4]]
    trainings = [options for kind, options in model.calls if kind == "train"]
    assert [options["description"] for options in trainings] == [*names, names[-1]]
    assert [options["resume"] for options in trainings] == [False] * (last + 1) + [True]
    assert {(options["max_minutes"], options["epochs"]) for options in trainings} == {(3.0, 5)}
    marks = list(tmp_path.rglob("run.json"))
    assert [json.loads(mark.read_text())["max_minutes"] for mark in marks] == [3.0] * len(names)
    assert not list(tmp_path.rglob("training"))
    model.calls.clear()
    again = run(samples, model, tmp_path, resume=True, **options)
    assert again == result
    assert model.calls == []
    run(samples, model, tmp_path, **options)
    assert model.epochs_run[-len(names) :] == [[0, 1, 2, 3, 4]] * len(names)


def test_without_resume_nothing_is_left_to_go_on_from(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    model = checkpointed(model)
    options = {**PLAIN, "epochs": 5, "evaluation_path": tmp_path}
    model.breaks_in = 2
    with pytest.raises(KeyboardInterrupt):
        cross_validation(samples, model, **options)
    notes = tmp_path / "fold_2" / "training" / "notes.txt"
    notes.write_text("mine")
    model.breaks_in = 3  # the first of the next run, which leaves the third fold alone
    with pytest.raises(KeyboardInterrupt):
        cross_validation(samples, model, **options)
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    assert (tmp_path / "fold_0" / "training" / "last.npz").read_text() == "2"
    model.breaks_in = None
    cross_validation(samples, model, resume=True, **options)
    assert model.epochs_run[4:] == [[2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert notes.read_text() == "mine"


def test_an_interrupted_fold_of_another_kind_is_refused(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    model = checkpointed(model)
    options = {**PLAIN, "evaluation_path": tmp_path, "inner_validation": 0.3}
    model.breaks_in = 1
    with pytest.raises(KeyboardInterrupt):
        cross_validation(samples, model, epochs=5, validate_volumes=2, **options)
    (mark,) = tmp_path.rglob("run.json")
    document = json.loads(mark.read_text())
    assert (document["validate_volumes"], document["early_stopping"]) == (2, None)
    del document["validate_volumes"]  # as older versions wrote it
    mark.write_text(json.dumps(document))
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        cross_validation(
            samples, model, epochs=3, validate_volumes=2, early_stopping=4, resume=True, **options
        )
    for part in (
        "2 fold(s) in",
        "fold 0: epochs was 5, is 3; early_stopping was None, is 4; validate_volumes was None, ",
        "fold 1 (interrupted): epochs was 5, is 3; early_stopping was None, is 4. ",
    ):
        assert part in str(caught.value)
    assert contents(tmp_path) == before


def test_a_fold_that_was_trained_but_not_scored_is_not_trained_again(
    model: Any, samples: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpointed(model)

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    options = {**PLAIN, "epochs": 5, "evaluation_path": tmp_path, "splitter": [([0, 1], [2])]}
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "predict", fails)
        with pytest.raises(KeyboardInterrupt):
            cross_validation(samples, model, **options)
    result = cross_validation(samples, model, resume=True, **options)
    assert model.epochs_run == [[0, 1, 2, 3, 4], []]
    assert result.scores.samples == ["case_2"]


def test_weights_of_an_earlier_run_are_not_left(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    options = {**PLAIN, "evaluation_path": tmp_path, "splitter": [([0, 1], [2])]}
    cross_validation(samples, model, **options)
    fold = tmp_path / "fold_0"
    (fold / "model.last.keras").write_text("of a run with inner validation")
    cross_validation(samples, model, **options)
    assert [file.name for file in fold.glob("*.keras")] == ["model.keras"]
    cross_validation(samples, model, save_models=False, **options)
    assert list(fold.glob("*.keras")) == []
    (fold / "model.keras").mkdir()  # an ensemble's is a folder
    (fold / "model.keras" / "ensemble.json").write_text("{}")
    cross_validation(samples, model, save_models=False, **options)
    assert not (fold / "model.keras").exists()


def test_without_a_best_epoch_the_last_weights_predict(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    """No validation loss was ever a number."""
    model = checkpointed(model)
    cross_validation(
        samples, model, evaluation_path=tmp_path, inner_validation=0.3,
        splitter=[([0, 1, 3, 4], [2])], **PLAIN,
    )  # fmt: skip
    assert run_json(tmp_path / "fold_0")["weights"] == "last epoch"
    assert (tmp_path / "fold_0" / "model.keras").is_file()
    assert not (tmp_path / "fold_0" / "model.last.keras").exists()


def test_trainings_of_others_are_left_alone(model: Any, samples: list[str], tmp_path: Path) -> None:
    model = checkpointed(model)
    other = tmp_path / "training" / "last.npz"
    other.parent.mkdir()
    other.write_text("7")
    for resume in (False, True):
        with pytest.raises(ConfigurationError, match="checkpoints of a training that no fold"):
            split_validation(samples, model, evaluation_path=tmp_path, resume=resume, **PLAIN)
    assert other.read_text() == "7"
    assert model.epochs_run == []


def test_models_without_checkpoints_are_trained_as_before(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, evaluation_path=tmp_path / "a", **PLAIN)
    cross_validation(samples, model, evaluation_path=tmp_path / "b", inner_validation=0.3, **PLAIN)
    plain = {"epochs": 20, "iterations": None, "callbacks": [], "verbose": 0}
    trained = [options for kind, options in model.calls if kind == "train"]
    assert trained == [plain] * 3
    evaluated = [options for kind, options in model.calls if kind == "evaluate"]
    assert len(evaluated) == 3
    for options in evaluated:
        assert len(options.pop("validation")) == 2
        assert options == {**plain, "restore_best": True}
    assert not list(tmp_path.rglob("training"))
    assert run_json(tmp_path / "b" / "fold_0")["weights"] == "best epoch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_minutes": 10}, "max_minutes cannot be used with a FakeModel"),
        ({"early_stopping": 3, "inner_validation": 0.3}, "early_stopping cannot be used with a"),
        ({"max_minutes": 0}, "max_minutes is 0; expected a positive"),
        ({"max_minutes": float("nan")}, "max_minutes is nan; expected a positive"),
        ({"early_stopping": 3}, r"early_stopping=3 needs subjects .* set inner_validation=0\.2"),
        ({"validate_volumes": 2}, "validate_volumes=2 needs subjects"),
        ({"validate_volumes": 0, "inner_validation": 0.3}, "validate_volumes is 0; expected 1"),
    ],
)
@pytest.mark.parametrize("run", [crossed, single, split, left_out])
def test_settings_that_cannot_be_are_refused_before_training(
    model: Any, samples: list[str], tmp_path: Path, run: Run, options: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(samples, model, tmp_path, draw_figures=False, verbose=0, **options)
    assert model.calls == []


def test_folds_of_other_data_are_refused(model: Any, samples: list[str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in samples:
        (data / index).write_text(f"label of {index}")
    model.preprocessor.data_io.interface.source_files = lambda index: [data / index]
    path = tmp_path / "e"
    crossed(samples, model, path, resume=True)
    calls = len(model.calls)
    for index in samples:  # copied somewhere else
        os.utime(data / index, (1, 1))
    crossed(samples, model, path, resume=True)
    assert len(model.calls) == calls
    (data / samples[0]).write_text("corrected")
    with pytest.raises(ConfigurationError, match=rf"files of 1 subject.* \({samples[0]}\)"):
        crossed(samples, model, path, resume=True)
    crossed(samples, model, path, resume=False)
    assert len(model.calls) > calls
