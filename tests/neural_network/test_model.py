"""Training, prediction, saving: small networks that really train."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.exceptions import (
    ConfigurationError,
    NotFittedError,
    SampleError,
)
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.architecture._nnunet_topology import topology
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.callbacks import BestWeights
from miscnn.neural_network.losses import DiceCrossEntropy, TanimotoCrossEntropy
from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.data_generator import DataGenerator
from miscnn.processing.subfunctions import Normalization, Padding, Resampling


def make_data_io(tmp_path: Path, n: int = 4, three_dim: bool = True) -> miscnn.DataIO:
    """Noisy volumes with a brighter ball."""
    rng = np.random.default_rng(1)
    subjects = {}
    for number in range(n):
        shape = (20 + number, 18, 14) if three_dim else (24 + number, 30)
        grid = np.stack(np.meshgrid(*[np.arange(s) for s in shape], indexing="ij"))
        centre = rng.uniform(6, 9, size=len(shape)).reshape(-1, *(1,) * len(shape))
        label = (((grid - centre) ** 2).sum(axis=0) < 20).astype(np.uint8)
        image = rng.normal(100, 20, size=shape) + 60 * label
        spacing = (1.0, 1.0, 1.5)[: len(shape)]
        subjects[f"s{number}"] = (image.astype(np.float32), label, None, {"spacing": spacing})
    interface = DictionaryInterface(subjects, 1, 2, three_dim)
    return miscnn.DataIO(interface, None, tmp_path / "out", tmp_path / "batches")


def make_model(tmp_path: Path, workers: int = 1, **options) -> miscnn.NeuralNetwork:
    data_io = make_data_io(tmp_path)
    options.setdefault("subfunctions", [Normalization("z-score", statistics="dataset")])
    options.setdefault("patch_shape", (16, 16, 8))
    preprocessor = miscnn.Preprocessor(data_io, 2, cache="memory", seed=5, **options)
    return miscnn.NeuralNetwork(
        preprocessor,
        UNetStandard(n_filters=4, depth=1, normalization="instance"),
        loss=TanimotoCrossEntropy(),
        learning_rate=1e-2,
        workers=workers,
    )


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.sum((a == 1) & (b == 1)) / (np.sum(a == 1) + np.sum(b == 1)))


def test_it_learns_and_predicts_new_subjects(tmp_path: Path) -> None:
    model = make_model(tmp_path, data_aug=None)
    history = model.train(["s0", "s1", "s2"], epochs=4, iterations=15, verbose=0)
    assert history.epochs == 4
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    (prediction,) = model.predict(["s3"], return_output=True, verbose=0)
    truth = model.preprocessor.data_io.sample_loader("s3").segmentation[..., 0]
    assert prediction.dtype == np.uint8
    assert prediction.shape == truth.shape
    assert dice(prediction, truth) > 0.8
    (probabilities,) = model.predict(["s3"], True, activation_output=True, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-4)
    np.testing.assert_array_equal(probabilities.argmax(-1), prediction)


def test_threads_change_neither_batches_nor_weights(tmp_path: Path) -> None:
    """Two epochs with 0, 1 and 4 loading threads: bit by bit the same."""
    results = []
    for workers in (0, 1, 4):
        model = make_model(tmp_path, workers, data_aug=GeneralAugmentation())
        history = model.train(["s0", "s1", "s2", "s3"], epochs=2, iterations=4, verbose=0)
        results.append((history.history, model.model.get_weights()))
    for history, weights in results[1:]:
        assert history == results[0][0]
        for one, other in zip(weights, results[0][1], strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    other = miscnn.NeuralNetwork(model.preprocessor, model.architecture, seed=6)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(model.model.get_weights(), other.model.get_weights(), strict=True)
    )


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    make_model(tmp_path)
    assert np.random.random() == expected  # noqa: NPY002


def test_epochs_go_on_with_new_batches(tmp_path: Path) -> None:
    """Two trainings of one epoch are one training of two."""
    once, twice = make_model(tmp_path), make_model(tmp_path)
    once.train(["s0", "s1"], epochs=2, iterations=2, verbose=0)
    twice.train(["s0", "s1"], epochs=1, iterations=2, verbose=0)
    twice.train(["s0", "s1"], epochs=1, iterations=2, verbose=0)
    for one, other in zip(once.model.get_weights(), twice.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_reset_forgets_weights_optimizer_and_statistics(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    first = model.train(["s0", "s1"], epochs=1, iterations=3, verbose=0)
    model.reset()
    again = model.train(["s0", "s1"], epochs=1, iterations=3, verbose=0)
    assert first.history == again.history


def test_statistics_follow_the_training_set_after_reset(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.train(["s0"], epochs=1, iterations=1, verbose=0)
    before = model.preprocessor.subfunctions[0].get_state()
    model.train(["s1"], epochs=1, iterations=1, verbose=0)
    assert model.preprocessor.subfunctions[0].get_state() == before
    model.reset()
    model.train(["s1"], epochs=1, iterations=1, verbose=0)
    assert model.preprocessor.subfunctions[0].get_state() != before


def test_networks_that_share_a_recipe_keep_their_own_statistics(tmp_path: Path) -> None:
    """Folds written by hand: one recipe, a new network each. Nothing may leak."""
    first = make_model(tmp_path)
    recipe = first.preprocessor
    first.train(["s0"], epochs=1, iterations=1, verbose=0)
    learned = recipe.subfunctions[0].get_state()
    image = recipe.data_io.sample_loader("s3").image
    (before,) = first.predict(image, activation_output=True, verbose=0)
    second = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))
    second.train(["s1", "s2"], epochs=1, iterations=1, verbose=0)
    assert recipe.subfunctions[0].get_state()["indices"] == ["s1", "s2"]
    (after,) = first.predict(image, activation_output=True, verbose=0)
    np.testing.assert_array_equal(before, after)
    assert recipe.subfunctions[0].get_state() == learned
    twin = first.copy()
    (copied,) = twin.predict(image, activation_output=True, verbose=0)
    np.testing.assert_allclose(copied, before, atol=1e-6)


def test_reset_takes_over_another_loss(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    kept = model.model
    model.reset()
    assert model.model is kept  # the compiled step is used again
    model.loss = DiceCrossEntropy()
    model.reset()
    assert isinstance(model.model.loss, DiceCrossEntropy)


def test_the_best_weights_of_an_averaging_optimizer_are_averages(tmp_path: Path) -> None:
    data_io = make_data_io(tmp_path)
    recipe = miscnn.Preprocessor(
        data_io, 2, [Normalization()], None, patch_shape=(16, 16, 8), cache="memory"
    )
    model = miscnn.NeuralNetwork(
        recipe,
        UNetStandard(n_filters=2, depth=1),
        optimizer=keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
    )
    history = model.evaluate(["s0"], ["s1"], 3, 2, verbose=0, restore_best=True)
    generator = DataGenerator(["s1"], recipe, validation=True, multiple=model.multiple)
    loss = model.model.evaluate(generator, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(history.history["val_loss"]), rel=1e-5)


def test_validation_and_best_weights(tmp_path: Path) -> None:
    model = make_model(tmp_path, data_aug=None)
    history = model.evaluate(
        ["s0", "s1"], ["s2"], epochs=4, iterations=4, verbose=0, restore_best=True
    )
    values = history.history["val_loss"]
    assert len(values) == 4
    generator = DataGenerator(["s2"], model.preprocessor, validation=True, multiple=model.multiple)
    loss = model.model.evaluate(generator, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(values), rel=1e-5)


def test_best_weights_are_those_of_the_best_epoch() -> None:
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    best = BestWeights()
    best.set_model(model)
    model.compile("sgd", "mse")
    for epoch, loss in enumerate([3.0, 1.0, 2.0, float("nan")]):
        model.set_weights([np.full((1, 1), epoch), np.zeros(1)])
        best.on_epoch_end(epoch, {"val_loss": loss})
    best.restore(model)
    assert best.best_epoch == 1
    assert model.get_weights()[0] == 1


def test_training_on_validation_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both in training and in validation: s1"):
        make_model(tmp_path).evaluate(["s0", "s1"], ["s1"], epochs=1, verbose=0)


def test_class_weights_change_the_loss(tmp_path: Path) -> None:
    model = make_model(tmp_path, data_aug=None)
    model.train(["s0"], 1, 1, class_weight={1: 1.8, 0: 0.2}, verbose=0)
    truth = np.eye(2, dtype="float32")[np.array([[[[0, 1], [1, 0]]]])]
    probabilities = np.full_like(truth, 0.5)
    weighted = float(model.model.loss(truth, probabilities))
    assert weighted == float(model.loss.with_class_weights([0.2, 1.8])(truth, probabilities))
    model._compile((1.0, 1.0), model.model.optimizer)
    plain = float(model.loss(truth, probabilities))
    assert float(model.model.loss(truth, probabilities)) == pytest.approx(plain)
    with pytest.raises(ConfigurationError, match="2 classes, got 3"):
        model.train(["s0"], class_weight=[1, 2, 3], verbose=0)
    with pytest.raises(ConfigurationError, match=r"class\(es\) \[5\]"):
        model.train(["s0"], class_weight={5: 1.0}, verbose=0)
    optimizer = model.model.optimizer
    steps = int(optimizer.iterations)
    model.train(["s0"], 1, 1, verbose=0)  # weights are gone, the optimizer goes on
    assert model.model.optimizer is optimizer
    assert int(optimizer.iterations) == steps + 1
    assert model.model.loss is model.loss


@pytest.mark.parametrize("analysis", ["fullimage", "slicewise", "patchwise-grid"])
def test_every_analysis_trains_and_predicts(tmp_path: Path, analysis: str) -> None:
    model = make_model(
        tmp_path,
        analysis=analysis,
        patch_shape=(16, 16, 8) if analysis == "patchwise-grid" else None,
        subfunctions=[Resampling((1.3, 1.3, 1.5)), Normalization()],
    )
    model.train(["s0", "s1"], epochs=1, iterations=2, verbose=0)
    (prediction,) = model.predict(["s2"], return_output=True, verbose=0)
    assert prediction.shape == (22, 18, 14)


def test_two_dimensional_images(tmp_path: Path) -> None:
    data_io = make_data_io(tmp_path, three_dim=False)
    preprocessor = miscnn.Preprocessor(
        data_io, 2, [Normalization()], analysis="fullimage", cache="memory"
    )
    model = miscnn.NeuralNetwork(preprocessor, UNetStandard(n_filters=2, depth=1))
    model.train(data_io.get_indiceslist(), epochs=1, verbose=0)
    (prediction,) = model.predict(["s3"], return_output=True, verbose=0)
    assert prediction.shape == (27, 30)


def test_files_are_written_in_the_layout_of_the_interface(tmp_path: Path) -> None:
    import nibabel as nib

    for name in ("a", "b"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        image = np.random.default_rng(0).normal(size=(18, 17, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.diag([1, 1, 2, 1])), folder / "imaging.nii.gz")
        label = (image > 1).astype(np.uint8)
        nib.save(nib.Nifti1Image(label, np.diag([1, 1, 2, 1])), folder / "segmentation.nii.gz")
    interface = NIfTIInterface(channels=1, classes=2)
    data_io = miscnn.DataIO(interface, tmp_path / "data", tmp_path / "out", tmp_path / "batches")
    preprocessor = miscnn.Preprocessor(data_io, 2, [Padding((8, 8, 8))], patch_shape=(16, 16, 8))
    model = miscnn.NeuralNetwork(preprocessor, UNetStandard(n_filters=2, depth=1))
    assert model.predict(["a", "b"], verbose=0) is None
    assert nib.load(tmp_path / "out" / "a.nii.gz").shape == (18, 17, 10)

    # A folder of new subjects that have no segmentation, with a model read from disk.
    (tmp_path / "data" / "b" / "segmentation.nii.gz").rename(tmp_path / "gone.nii.gz")
    model.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert loaded.predict(tmp_path / "data", output_path=tmp_path / "new", verbose=0) is None
    for name in ("a", "b"):
        old = np.asarray(nib.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        new = np.asarray(nib.load(tmp_path / "new" / f"{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(old, new)


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    model.train(["s0", "s1"], epochs=1, iterations=3, verbose=0)
    model.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    image = model.preprocessor.data_io.sample_loader("s2").image
    (expected,) = model.predict(image, activation_output=True, verbose=0)
    (found,) = loaded.predict(image, activation_output=True, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    state = model.preprocessor.subfunctions[0].get_state()
    # Names of subjects are not written down.
    assert loaded.preprocessor.subfunctions[0].get_state() == {**state, "indices": ["1", "2"]}
    before, after = (network.preprocessor.get_config() for network in (model, loaded))
    assert before.pop("subfunctions")[0]["config"] == after.pop("subfunctions")[0]["config"]
    assert after == before


def test_dump_and_load_of_weights(tmp_path: Path) -> None:
    model, other = make_model(tmp_path), make_model(tmp_path)
    model.train(["s0"], epochs=1, iterations=2, verbose=0)
    model.dump(tmp_path / "weights.keras")
    other.load(tmp_path / "weights.keras")
    for one, two in zip(model.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_prepared_batches_train(tmp_path: Path) -> None:
    model = make_model(tmp_path, prepare_batches=True)
    model.train(["s0", "s1", "s2"], epochs=2, verbose=0)
    assert len(list((tmp_path / "batches").glob("batches-*/images-*.npy"))) == 2


def test_history_as_table_and_figure(tmp_path: Path) -> None:
    history = miscnn.neural_network.history.History({"loss": [0.5, 0.25], "val_loss": [0.6, 0.5]})
    history.to_tsv(tmp_path / "h.tsv")
    assert (tmp_path / "h.tsv").read_text() == "epoch\tloss\tval_loss\n1\t0.5\t0.6\n2\t0.25\t0.5\n"
    history.plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_are_named(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(ConfigurationError, match="list of indices"):
        model.train("s0", verbose=0)
    with pytest.raises(ConfigurationError, match="empty"):
        model.train([], verbose=0)
    image = model.preprocessor.data_io.sample_loader("s0").image.copy()
    with pytest.raises(ConfigurationError, match="in one list"):
        model.predict(["s0", image], verbose=0)
    image[0, 0, 0] = np.nan
    with pytest.raises(NotFittedError, match="was not trained"):
        model.predict(image, verbose=0)
    fitted = miscnn.NeuralNetwork(
        model.preprocessor.fit(["s0"]), UNetStandard(n_filters=2, depth=1)
    )
    with pytest.raises(SampleError, match="NaN"):
        fitted.predict(image, verbose=0)
    model.preprocessor.patchwise_overlap = (4, 4)
    with pytest.raises(ConfigurationError, match=r"patchwise_overlap \(4, 4\)"):
        model.train(["s0"], verbose=0)
    with pytest.raises(ConfigurationError, match=r"UNetStandard\(\)"):
        miscnn.NeuralNetwork(model.preprocessor, UNetStandard)


def test_names_of_the_first_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data_io = make_data_io(tmp_path)
    with caplog.at_level(logging.ERROR):
        preprocessor = miscnn.Preprocessor(
            data_io, batch_size=2, data_aug=miscnn.Data_Augmentation(), patch_shape=(16, 16, 8)
        )
        preprocessor.patchwise_overlap = (8, 8, 4)
        model = miscnn.Neural_Network(
            preprocessor=preprocessor, architecture=UNetStandard(2, 1), learninig_rate=1e-4
        )
    assert float(model.model.optimizer.learning_rate) == pytest.approx(1e-4)


def test_an_untrained_network_does_not_borrow_statistics(tmp_path: Path) -> None:
    member = make_model(tmp_path)
    twin = member.copy()
    twin.train(["s0"], epochs=1, iterations=1, verbose=0)
    image = member.preprocessor.data.sample_loader("s3").image
    assert member.preprocessor.fitted
    with pytest.raises(NotFittedError, match="this network was not trained"):
        member.predict(image, verbose=0)
    member.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert not loaded.preprocessor.fitted
    assert loaded.preprocessor.subfunctions[0].get_state() == {}
    with pytest.raises(NotFittedError):
        loaded.predict(image, verbose=0)
    loaded.preprocessor.data_io = member.preprocessor.data_io
    loaded.train(["s1"], epochs=1, iterations=1, verbose=0)
    assert loaded.preprocessor.subfunctions[0].get_state()["indices"] == ["s1"]
    twin.reset()
    with pytest.raises(NotFittedError):
        twin.predict(image, verbose=0)


def test_statistics_that_the_user_has_fitted_serve_until_the_training(tmp_path: Path) -> None:
    recipe = make_model(tmp_path).preprocessor
    recipe.fit(["s0", "s1"])
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))
    image = recipe.data.sample_loader("s3").image
    (before,) = model.predict(image, activation_output=True, verbose=0)
    model.copy().train(["s2"], epochs=1, iterations=1, verbose=0)
    model.save(tmp_path / "bundle")
    for network in (model, miscnn.load(tmp_path / "bundle")):
        (after,) = network.predict(image, activation_output=True, verbose=0)
        np.testing.assert_allclose(after, before, atol=1e-6)
        network.preprocessor.data_io = recipe.data_io
        network.train(["s2"], epochs=1, iterations=1, verbose=0)
        assert network.preprocessor.subfunctions[0].get_state()["indices"] == ["s2"]


def test_headers_are_read_only_where_something_depends_on_them(tmp_path: Path) -> None:
    recipe = make_model(tmp_path).preprocessor
    expected = miscnn.NeuralNetwork(recipe, NNUNet(base_features=2)).architecture
    rule = topology((16, 16, 8), (1.0, 1.0, 1.5))
    assert expected.topology(3) == rule
    assert expected.strides is not None  # recorded: a saved configuration needs no headers
    steps = ((1, 1, 1), (2, 2, 1), (1, 1, 2))

    def unreadable(index: str) -> None:
        raise SampleError(index, "the header is broken")

    recipe.data.geometry = unreadable
    given = NNUNet(base_features=2, strides=steps)
    assert miscnn.NeuralNetwork(recipe, given).architecture is given
    own = NNUNet(base_features=2, patch_shape=(16, 16, 8), spacing=(1.0, 1.0, 1.5))
    assert miscnn.NeuralNetwork(recipe, own).architecture.topology(3) == rule
    with pytest.raises(SampleError, match="the header is broken"):
        miscnn.NeuralNetwork(recipe, NNUNet(base_features=2, spacing=(1.0, 1.0, 1.5)))


def test_a_file_takes_the_place_of_a_bundle_and_of_nothing_else(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    target = tmp_path / "model.keras"
    (target / "member_0_0").mkdir(parents=True)
    (target / "ensemble.json").write_text("{}")
    model.dump(target)
    assert target.is_file()
    model.load(target)
    model.save(target)  # and a folder that of a file
    assert isinstance(miscnn.load(target), miscnn.NeuralNetwork)
    foreign = tmp_path / "foreign.keras"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        model.dump(foreign)
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]
