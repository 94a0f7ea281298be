"""The stacked ensemble: who trains on whom, who is kept, how they are combined, files."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.evaluation import SliceSortedKFold, cross_validation
from miscnn.exceptions import ConfigurationError, GridMismatchError, NotFittedError, SampleError
from miscnn.neural_network._volume_dice import mean_foreground_dice
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.ensemble import StackedEnsemble
from miscnn.neural_network.history import History
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.subfunctions import Normalization

FINE = ((0,), (1,), (2,))
BINARY = ((0,), (1, 2))


def subjects(n: int = 6, shape: tuple[int, ...] = (6, 5, 4)) -> dict:
    """Images that show their own segmentation, of different slice counts."""
    result = {}
    for number in range(n):
        own = (*shape[:-1], shape[-1] + number)
        label = np.random.default_rng(number).choice(3, p=[0.6, 0.25, 0.15], size=own)
        result[f"s{number}"] = (label.astype(np.float32), label.astype(np.uint8))
    return result


def recipe(groups=FINE, data: dict | None = None, path: Path = Path("out")) -> miscnn.Preprocessor:
    inner = DictionaryInterface(subjects() if data is None else data, 1, 3)
    interface = inner if groups == FINE else MergedLabels(inner, groups)
    return miscnn.Preprocessor(
        miscnn.DataIO(interface, None, path), 1, data_aug=None, analysis="fullimage"
    )


class Fake:
    """Knows the truth, and is wrong as often as it is told to be.

    ``errors(training, index)`` is the share of voxels for which it draws another class.
    """

    def __init__(self, preprocessor, errors=lambda training, index: 0.0, log=None, seed=0) -> None:
        self.preprocessor = preprocessor
        self.errors = errors
        self.log = [] if log is None else log
        self.seed = seed
        self.trained: tuple[str, ...] | None = None
        self.can_predict = True

    def copy(self) -> Fake:
        other = Fake(self.preprocessor, self.errors, self.log, self.seed)
        other.trained = self.trained
        return other

    def reset(self) -> None:
        self.trained = None

    def train(self, samples, *, epochs, iterations, callbacks, verbose) -> History:
        assert self.trained is None
        self.trained = tuple(samples)
        self.log.append(("train", self.trained, tuple(callbacks)))
        return History({"loss": [float(len(samples))] * epochs})

    def evaluate(self, samples, validation, *, restore_best, **options) -> History:
        history = self.train(samples, **options)
        self.log.append(("validate", tuple(validation), restore_best))
        return History({**history.history, "val_loss": [2.0] * options["epochs"]})

    def predict_sample(self, sample, activation_output=False):
        assert activation_output
        self.log.append(("predict", self.trained, sample.index))
        interface = self.preprocessor.data.interface
        assert sample.classes == interface.classes
        label = sample.image[..., 0].astype(int)
        if isinstance(interface, MergedLabels):
            label = sum(k * np.isin(label, group) for k, group in enumerate(interface.groups))
        rng = np.random.default_rng([self.seed, *sample.index.encode()])
        wrong = rng.random(label.shape) < self.errors(self.trained or (), sample.index)
        label = np.where(wrong, rng.integers(0, interface.classes, label.shape), label)
        sure = np.full((*label.shape, interface.classes), 0.1 / (interface.classes - 1))
        np.put_along_axis(sure, label[..., None], 0.9, axis=-1)
        return sure.astype(np.float32)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)


def test_trained_members_predict_at_once() -> None:
    ensemble = StackedEnsemble([Fake(recipe(BINARY)), Fake(recipe())])
    assert ensemble.label_sets == [BINARY, FINE]
    assert ensemble.label_set == FINE
    assert ensemble.classes == 3
    image, label = subjects()["s2"]
    (probabilities,) = ensemble.predict(
        ["s2"], return_output=True, activation_output=True, verbose=0
    )
    # foreground 0.9 and 0.95 (or 0.1), and in it 0.9 : 0.05 (or evenly)
    foreground = np.array([(0.1 + 0.1) / 2, (0.9 + 0.95) / 2, (0.9 + 0.95) / 2])
    second = np.array([0.5, 0.05 / 0.95, 0.9 / 0.95])
    expected = np.stack([1 - foreground, foreground * (1 - second), foreground * second], -1)
    np.testing.assert_allclose(probabilities, expected[label], atol=1e-6)
    # indices, samples, arrays; files
    (from_array,) = ensemble.predict(image[..., None], verbose=0)
    np.testing.assert_array_equal(from_array, label)
    assert from_array.dtype == np.uint8
    data_io = ensemble.preprocessor.data_io
    (from_sample,) = ensemble.predict(data_io.sample_loader("s2"), verbose=0)
    np.testing.assert_array_equal(from_sample, label)
    assert ensemble.predict(["s2"], verbose=0) is None
    np.testing.assert_array_equal(data_io.interface.predictions["s2"], label)


def test_the_mean_is_over_the_networks_of_a_member() -> None:
    one, two = Fake(recipe(), lambda *_: 1.0, seed=1), Fake(recipe(), lambda *_: 1.0, seed=2)
    ensemble = StackedEnsemble([one])
    ensemble.networks = [[one, two]]
    sample = one.preprocessor.data.sample_loader("s1")
    expected = (one.predict_sample(sample, True) + two.predict_sample(sample, True)) / 2
    np.testing.assert_allclose(ensemble.predict_sample(sample, True), expected, atol=1e-6)


def held_out_predictions(log: list) -> list[tuple[tuple[str, ...], str]]:
    return [(trained, index) for what, trained, index in log if what == "predict"]


@pytest.mark.parametrize("combiner", ["mean", "learned"])
def test_networks_predict_only_whom_they_have_not_seen(combiner: str) -> None:
    log: list = []
    ensemble = StackedEnsemble([Fake(recipe(BINARY), log=log), Fake(recipe(), log=log)], combiner)
    history = ensemble.fit(["s0", "s1", "s2", "s3", "s5"], folds=2, epochs=3, verbose=0)
    predictions = held_out_predictions(log)
    assert sorted(index for _, index in predictions) == sorted(2 * ["s0", "s1", "s2", "s3", "s5"])
    for trained, index in predictions:
        assert index not in trained
        assert "s4" not in (*trained, index)
    assert history.epochs == 3
    assert set(history.history) == {
        "loss",
        *(f"member-{m}_fold{k}_loss" for m in (0, 1) for k in (0, 1)),
    }
    assert history.history["loss"] == [2.5] * 3
    assert all(member.trained is None for member in ensemble.members)  # recipes stay as they are


def test_the_learned_combiner_is_not_taken_in_by_overfitting() -> None:
    """A member that knows its training subjects by heart and no others, beside a modest one."""
    members = [
        Fake(recipe(), lambda training, index: 0.0 if index in training else 0.95, seed=1),
        Fake(recipe(), lambda training, index: 0.3, seed=2),
    ]
    ensemble = StackedEnsemble(members, "learned", folds=3)
    ensemble.fit(["s0", "s1", "s2", "s3"], verbose=0)
    weights = np.abs(ensemble._softmax.coefficients).sum(axis=0)
    assert weights[:2].max() < 0.3 * weights[2:].min()
    (found,) = ensemble.predict(["s5"], return_output=True, verbose=0)
    # the modest member is followed nearly everywhere
    sample = members[1].preprocessor.data.sample_loader("s5")
    modest = members[1].predict_sample(sample, True).argmax(-1)
    assert np.mean(found == modest) > 0.95


def test_the_best_networks_are_kept() -> None:
    quality = {"s0": 0.6, "s1": 0.0, "s2": 0.9, "s3": 0.2}
    fake = Fake(recipe(), lambda training, index: quality[index])
    ensemble = StackedEnsemble([fake], top=2, names=["net"])
    ensemble.fit(list(quality), folds=LeaveOneOut(), epochs=1, verbose=0)
    assert [(s.fold, s.kept) for s in ensemble.scores[0]] == [
        (0, False), (1, True), (2, False), (3, True),
    ]  # fmt: skip
    # the best first; each was trained on all but its own subject
    assert [n.trained for n in ensemble.networks[0]] == [("s0", "s2", "s3"), ("s0", "s1", "s2")]
    for score, index in zip(ensemble.scores[0], quality, strict=True):
        sample = fake.preprocessor.data.sample_loader(index)
        labels = fake.predict_sample(sample, True).argmax(-1)
        expected = mean_foreground_dice(sample.segmentation[..., 0], labels, 3)
        assert score.dice == pytest.approx(expected)


def test_binary_members_are_scored_in_their_own_classes() -> None:
    ensemble = StackedEnsemble([Fake(recipe(BINARY)), Fake(recipe())])
    ensemble.fit(["s0", "s1"], folds=2, verbose=0)
    assert [[s.dice for s in scores] for scores in ensemble.scores] == [[1, 1], [1, 1]]


def test_crossing_label_sets_take_a_learned_combiner() -> None:
    """{0 1}{2} and {0}{1 2} tell three classes apart, though no member knows them."""
    recipes = [recipe(((0, 1), (2,))), recipe(BINARY)]
    with pytest.raises(ConfigurationError, match="learned"):
        StackedEnsemble([Fake(r) for r in recipes])
    ensemble = StackedEnsemble([Fake(r) for r in recipes], "learned")
    assert ensemble.classes == 3
    ensemble.fit(["s0", "s1", "s2"], verbose=0)
    assert ensemble.predict(["s5"], verbose=0) is None
    saved = ensemble.preprocessor.data_io.interface.predictions["s5"]
    np.testing.assert_array_equal(saved, subjects()["s5"][1])


def test_a_combiner_for_trained_networks() -> None:
    ensemble = StackedEnsemble(
        [Fake(recipe(), lambda *_: 0.9, seed=1), Fake(recipe(BINARY), lambda *_: 0.1)], "learned"
    )
    with pytest.raises(NotFittedError, match="fit_combiner"):
        ensemble.predict(["s0"], return_output=True, verbose=0)
    ensemble.fit_combiner(["s0", "s1"])
    first = ensemble._softmax
    ensemble.fit_combiner(["s1", "s0"])  # voxels depend on the subject and the seed alone
    np.testing.assert_allclose(ensemble._softmax.coefficients, first.coefficients, atol=1e-3)
    ensemble.fit(["s2", "s3"], folds=2, verbose=0)
    with pytest.raises(ConfigurationError, match=r"trained on 1 of the subjects \(s3\)"):
        ensemble.fit_combiner(["s0", "s3"])
    with pytest.raises(ConfigurationError, match="empty"):
        ensemble.fit_combiner([])
    with pytest.raises(ConfigurationError, match="nothing to fit"):
        StackedEnsemble([Fake(recipe())]).fit_combiner(["s0"])
    ensemble.reset()
    assert ensemble.networks == [[member] for member in ensemble.members]
    assert ensemble.scores == [[], []]
    with pytest.raises(NotFittedError):
        ensemble.predict(["s0"], return_output=True, verbose=0)


def test_a_stack_that_cannot_predict_is_not_saved(tmp_path: Path) -> None:
    def untrained() -> Fake:
        fake = Fake(recipe())
        fake.can_predict = False
        return fake

    waiting = [
        StackedEnsemble([untrained(), Fake(recipe())]),  # a network has learned nothing
        StackedEnsemble([Fake(recipe())], "learned"),  # its combiner has not
    ]
    for ensemble in waiting:
        with pytest.raises(NotFittedError, match=r"the stack.*call its fit\(indices\)") as told:
            ensemble.predict(["s0"], return_output=True, verbose=0)
        with pytest.raises(NotFittedError) as refused:
            ensemble.save(tmp_path / "stack")
        assert str(refused.value) == str(told.value)
        assert not (tmp_path / "stack").exists()
    StackedEnsemble([Fake(recipe())]).save(tmp_path / "stack")
    assert (tmp_path / "stack" / "ensemble.json").is_file()


def test_more_networks_asked_for_than_folds(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "miscnn.neural_network.ensemble"):
        StackedEnsemble([Fake(recipe())], top=2, folds=2).fit(["s0", "s1"], verbose=0)
        assert caplog.messages == []
        ensemble = StackedEnsemble([Fake(recipe())], top=5, folds=2)
        ensemble.fit(["s0", "s1"], verbose=0)
    (message,) = caplog.messages
    assert message.startswith("top=5, but each member is trained 2 times")
    assert [len(networks) for networks in ensemble.networks] == [2]


def test_validation_after_every_epoch() -> None:
    log: list = []
    ensemble = StackedEnsemble([Fake(recipe(), log=log)], folds=2)
    history = ensemble.evaluate(
        ["s0", "s1"], ["s4"], epochs=2, callbacks=lambda: [object()], verbose=0, restore_best=True
    )
    assert history.history["val_loss"] == [2.0, 2.0]
    assert [entry for entry in log if entry[0] == "validate"] == 2 * [("validate", ("s4",), True)]
    callbacks = [entry[2][0] for entry in log if entry[0] == "train"]
    assert callbacks[0] is not callbacks[1]
    with pytest.raises(ConfigurationError, match="both in training and in validation: s1"):
        ensemble.evaluate(["s0", "s1"], ["s1"], verbose=0)


def test_nested_cross_validation_is_honest(tmp_path: Path) -> None:
    """Outer folds sorted by slices around inner ones: nobody sees the scored subjects."""
    log: list = []
    members = [
        Fake(recipe(BINARY, path=tmp_path), lambda *_: 0.2, log, seed=1),
        Fake(recipe(path=tmp_path), lambda *_: 0.2, log, seed=2),
    ]
    ensemble = StackedEnsemble(members, "learned", folds=SliceSortedKFold(2), top=1)
    indices = [f"s{k}" for k in range(6)]
    result = cross_validation(
        indices, ensemble, splitter=SliceSortedKFold(3), epochs=2,
        evaluation_path=tmp_path / "evaluation", overlays=(), verbose=0,
    )  # fmt: skip
    assert [fold.validation for fold in result.folds] == [("s0", "s1"), ("s2", "s3"), ("s4", "s5")]
    trainings = [set(entry[1]) for entry in log if entry[0] == "train"]
    assert len(trainings) == 3 * 2 * 2
    for number, training in enumerate(trainings):
        assert not training & set(result.folds[number // 4].validation)
    for trained, index in held_out_predictions(log):
        assert index not in trained
    for number in range(3):
        folder = tmp_path / "evaluation" / f"fold_{number}"
        assert (folder / "model.keras" / "ensemble.json").is_file()
        assert (folder / "training.png").is_file()
    assert {row.sample for row in result.scores} == set(indices)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"members": []}, "list of NeuralNetwork"),
        ({"members": ["a"]}, "list of NeuralNetwork"),
        ({"combiner": "median"}, '"mean" or "learned"'),
        ({"top": 0}, "top must be at least 1"),
        ({"names": ["a"]}, r"2 member\(s\)"),
        ({"names": ["a", "a"]}, "different name"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments(change: dict, text: str) -> None:
    arguments = {"members": [Fake(recipe()), Fake(recipe())], **change}
    with pytest.raises(ConfigurationError, match=text):
        StackedEnsemble(**arguments)


def test_members_of_different_data_are_refused() -> None:
    short = subjects()
    del short["s3"]
    with pytest.raises(ConfigurationError, match=r"crop lacks 1 \(s3\), compared with all"):
        StackedEnsemble([Fake(recipe()), Fake(recipe(data=short))], names=["all", "crop"])
    with pytest.raises(ConfigurationError, match=r"member-1 has besides 1 \(s3\)"):
        StackedEnsemble([Fake(recipe(data=short)), Fake(recipe())])
    flat = miscnn.DataIO(DictionaryInterface({}, 1, 3, three_dim=False))
    flat = miscnn.Preprocessor(flat, 1, analysis="fullimage")
    with pytest.raises(ConfigurationError, match=r"three_dim is True for.*slicewise"):
        StackedEnsemble([Fake(recipe(data={})), Fake(flat)])


def test_wrong_folds_and_grids() -> None:
    fake = Fake(recipe())
    ensemble = StackedEnsemble([fake])
    with pytest.raises(ConfigurationError, match="folds=3"):
        ensemble.fit(["s0", "s1"], verbose=0)
    with pytest.raises(ConfigurationError, match="different indices"):
        ensemble.fit(["s0", "s0"], folds=2, verbose=0)
    with pytest.raises(ConfigurationError, match="a number or a splitter"):
        ensemble.fit(["s0", "s1"], folds="two", verbose=0)

    class Cheat:
        def split(self, samples, y=None, groups=None):
            yield [0, 1], [1]

    with pytest.raises(ConfigurationError, match=r"1 of them on both sides \(s1\)"):
        ensemble.fit(["s0", "s1"], folds=Cheat(), verbose=0)
    assert ensemble.networks == [[fake]]
    fake.predict_sample = lambda sample, activation_output: np.zeros((2, 2, 2, 3))
    with pytest.raises(GridMismatchError, match="member-0 predicts the shape"):
        ensemble.predict(["s0"], return_output=True, verbose=0)


class UsersInterface(NIfTIInterface):
    """Not known to the library."""


def test_a_folder_of_files(tmp_path: Path) -> None:
    affine = np.diag([1, 1, 3, 1])
    for name, (image, label) in subjects(2).items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image, affine), folder / "imaging.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "segmentation.nii.gz")

    def member(groups) -> Fake:
        interface = MergedLabels(UsersInterface(1, 3), groups)
        data_io = miscnn.DataIO(interface, tmp_path / "data")
        return Fake(miscnn.Preprocessor(data_io, 1, analysis="fullimage"))

    ensemble = StackedEnsemble([member(BINARY), member(FINE)])
    ensemble.predict(tmp_path / "data", output_path=tmp_path / "out", verbose=0)
    for name, (_, label) in subjects(2).items():
        written = nib.load(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(written.dataobj), label)
        np.testing.assert_array_equal(written.affine, affine)


def real_members(tmp_path: Path) -> list[miscnn.NeuralNetwork]:
    """A binary 3D network on patches and a 2D one on slices that knows both classes."""
    data = {}
    for number in range(5):
        rng = np.random.default_rng(number)
        grid = np.stack(np.meshgrid(*map(np.arange, (20, 18, 8 + number)), indexing="ij"))
        distance = ((grid - rng.uniform([7, 7, 3], [12, 10, 5])[:, None, None, None]) ** 2).sum(0)
        label = (distance < 40).astype(np.uint8) + (distance < 12)
        image = rng.normal(size=label.shape) * 0.2 + label
        data[f"s{number}"] = (image.astype(np.float32), label, None, {"spacing": (1, 1, 2)})
    inner = DictionaryInterface(data, 1, 3)
    deep = miscnn.DataIO(MergedLabels(inner, BINARY), None, tmp_path / "out", tmp_path / "b")
    flat = miscnn.DataIO(inner, None, tmp_path / "out", tmp_path / "b")
    options = {"data_aug": None, "cache": "memory"}
    chain = [Normalization("z-score", statistics="dataset")]
    return [
        miscnn.NeuralNetwork(
            miscnn.Preprocessor(data_io, size, chain, **options, **more),
            UNetStandard(n_filters=4, depth=1),
            loss=TanimotoCrossEntropy(),
            metrics=[],
            learning_rate=1e-2,
        )
        for data_io, size, more in (
            (deep, 2, {"patch_shape": (16, 16, 8)}),
            (flat, 8, {"analysis": "slicewise"}),
        )
    ]


def test_real_networks_train_save_and_load(tmp_path: Path) -> None:
    members = real_members(tmp_path)
    ensemble = StackedEnsemble(
        members, "learned", names=["3d", "2d"], folds=SliceSortedKFold(2), top=1, voxels=300
    )
    with pytest.raises(NotFittedError, match="the stack has learned nothing"):
        StackedEnsemble(members).predict(["s4"], return_output=True, verbose=0)
    assert not any(member.can_predict for member in members)
    ensemble.fit(["s0", "s1", "s2", "s3"], epochs=1, iterations=20, verbose=0)
    data_io = ensemble.preprocessor.data_io
    for number, member in enumerate(members):  # they stay as they are: untrained
        with pytest.raises(NotFittedError, match="not trained"):
            member.predict(["s4"], return_output=True, verbose=0)
        member.save(tmp_path / f"recipe-{number}")
        assert not miscnn.load(tmp_path / f"recipe-{number}").preprocessor.fitted
    truth = data_io.sample_loader("s4").segmentation[..., 0]
    (labels,) = ensemble.predict(["s4"], return_output=True, verbose=0)
    assert labels.shape == truth.shape
    assert mean_foreground_dice(truth, labels, 3) > 0.6
    seen = ensemble.networks[0][0]._statistics[0]["indices"]
    assert set(seen) in ({"s0", "s1"}, {"s2", "s3"})

    ensemble.save(tmp_path / "stack")
    assert len(list((tmp_path / "stack").glob("member_*/model.keras"))) == 2
    loaded = miscnn.load(tmp_path / "stack")
    assert isinstance(loaded, StackedEnsemble)
    image = data_io.sample_loader("s4").image
    (expected,) = ensemble.predict(image, activation_output=True, verbose=0)
    (found,) = loaded.predict(image, activation_output=True, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert loaded.names == ["3d", "2d"]
    assert loaded.folds == SliceSortedKFold(2)
    assert loaded.scores == ensemble.scores
    assert loaded.label_sets == [BINARY, FINE]
    with pytest.raises(ConfigurationError, match="trained on 1"):
        loaded.fit_combiner(["s0"])
    with pytest.raises(SampleError, match="NaN"):
        loaded.predict(np.full_like(image, np.nan), verbose=0)

    # One folder holds one thing: what was saved last.
    members[1].save(tmp_path / "stack")
    assert isinstance(miscnn.load(tmp_path / "stack"), miscnn.NeuralNetwork)
    ensemble.save(tmp_path / "stack")
    file = tmp_path / "stack" / "ensemble.json"
    assert not re.search(r'"s[0-4]"', file.read_text())  # names of subjects
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(ConfigurationError, match="format 99"):
        miscnn.load(tmp_path / "stack")


def test_a_saved_ensemble_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model.keras"
    target.write_text("a network's")
    fakes = [Fake(recipe()) for _ in range(3)]
    ensemble = StackedEnsemble(fakes[:1])
    ensemble.networks = [fakes]
    ensemble.dump(target)
    folders = ["member_0_0", "member_0_1", "member_0_2"]
    own = ["README.md", "SHA256SUMS", "ensemble.json"]
    assert sorted(path.name for path in target.iterdir()) == [*own, *folders]
    (target / "notes").mkdir()  # the user's own
    ensemble.networks = [fakes[:2]]
    ensemble.save(target)
    names = sorted(path.name for path in target.iterdir())
    assert names == [*own, *folders[:2], "notes"]


def test_a_recipe_without_a_member_of_all_classes_keeps_their_slice_axis() -> None:
    recipes = [recipe(((0, 1), (2,))), recipe(BINARY)]
    assert StackedEnsemble([Fake(r) for r in recipes], "learned").preprocessor.slice_axis is None
    for each in recipes:
        each.slice_axis = 1
    assert StackedEnsemble([Fake(r) for r in recipes], "learned").preprocessor.slice_axis == 1
