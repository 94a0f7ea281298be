"""Networks for regions that overlap: losses, scores, training, prediction, bundles."""

from __future__ import annotations

import inspect
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import architecture, losses, metrics
from miscnn.neural_network._regions import multilabel_loss
from miscnn.neural_network._volume_dice import region_dice
from miscnn.neural_network.architecture import Architecture, MSDNet, NNUNet, UNetStandard
from miscnn.neural_network.deep_supervision import DeepSupervisionModel
from miscnn.neural_network.ensemble import StackedEnsemble
from miscnn.neural_network.losses import SegmentationLoss
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions import CropToForeground, Normalization, Resampling

BRATS = {"whole tumour": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
IGNORED = 255
Array = np.ndarray

OVERLAPPING = sorted(
    {
        kind
        for name, kind in vars(losses).items()
        if isinstance(kind, type)
        and issubclass(kind, SegmentationLoss)
        and not kind.exclusive
        and not kind.__abstractmethods__
        and name != "CompoundLoss"
    },
    key=lambda kind: kind.__name__,
)


def batch(regions: int = 3, shape: tuple[int, ...] = (2, 8, 6), seed: int = 0) -> tuple[Any, Any]:
    """Nested regions, and probabilities that know nothing of them."""
    rng = np.random.default_rng(seed)
    depth = rng.integers(0, regions + 1, size=shape)
    truth = (depth[..., None] > np.arange(regions)).astype(np.float32)
    return truth, rng.uniform(0.02, 0.98, size=truth.shape).astype(np.float32)


def value(loss: Any, truth: Array, prediction: Array) -> float:
    return float(loss(ops.convert_to_tensor(truth), ops.convert_to_tensor(prediction)))


# ---------------------------------------------------------------------- losses


def test_binary_crossentropy_in_closed_form() -> None:
    truth, p = batch()
    terms = -truth * np.log(p) - (1 - truth) * np.log(1 - p)
    loss = losses.CrossEntropy(multilabel=True)
    assert value(loss, truth, p) == pytest.approx(terms.mean(), rel=1e-5)
    weighted = loss.with_options(class_weights=(1, 0, 3))
    expected = (terms.mean(axis=(0, 1, 2)) * [1, 0, 3]).sum() / 4
    assert value(weighted, truth, p) == pytest.approx(expected, rel=1e-5)
    soft = 0.9 * truth + 0.05
    terms = -soft * np.log(p) - (1 - soft) * np.log(1 - p)
    smoothed = loss.with_options(label_smoothing=0.1)
    assert value(smoothed, truth, p) == pytest.approx(terms.mean(), rel=1e-5)


def test_it_is_that_of_keras() -> None:
    truth, p = batch(seed=3)
    expected = value(keras.losses.BinaryCrossentropy(), truth, p)
    assert value(losses.CrossEntropy(multilabel=True), truth, p) == pytest.approx(expected, 1e-4)
    expected = value(keras.losses.BinaryFocalCrossentropy(gamma=2.0), truth, p)
    assert value(losses.Focal(2.0, multilabel=True), truth, p) == pytest.approx(expected, 1e-4)


@pytest.mark.parametrize("include_background", [True, False])
def test_dice_counts_every_region(include_background: bool) -> None:
    truth, p = batch()
    space = (1, 2)
    index = (2 * (truth * p).sum(space) + 1e-5) / ((truth + p).sum(space) + 1e-5)
    loss = losses.Dice(multilabel=True, include_background=include_background)
    assert value(loss, truth, p) == pytest.approx((1 - index).mean(), rel=1e-5)
    both = losses.DiceCrossEntropy(multilabel=True, include_background=include_background)
    crossentropy = value(losses.CrossEntropy(multilabel=True), truth, p)
    assert value(both, truth, p) == pytest.approx((1 - index).mean() + crossentropy, rel=1e-5)


def test_combo_is_one_of_regions_already() -> None:
    truth, p = batch()
    assert value(losses.Combo(multilabel=True), truth, p) == pytest.approx(
        value(losses.Combo(), truth, p), rel=1e-6
    )


@pytest.mark.parametrize("kind", OVERLAPPING)
@pytest.mark.parametrize("regions", [1, 3])
def test_a_perfect_prediction_costs_least(kind: type[SegmentationLoss], regions: int) -> None:
    truth, p = batch(regions)
    loss = kind(multilabel=True)
    perfect = value(loss, truth, truth)
    assert np.isfinite(perfect)
    assert perfect < value(loss, truth, p) < value(loss, truth, 1 - truth)
    assert perfect == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", OVERLAPPING)
def test_what_is_not_labelled_counts_in_no_loss(kind: type[SegmentationLoss]) -> None:
    """As many voxels more that nobody has annotated change nothing, whatever is predicted."""
    truth, p = batch(shape=(2, 6, 6))
    loss = kind(multilabel=True, ignore_unlabelled=True)
    more = np.concatenate([truth, np.full_like(truth, -1)], axis=1)
    predicted = np.concatenate([p, batch(shape=(2, 6, 6), seed=9)[1]], axis=1)
    plain = kind(multilabel=True)
    if "Boundary" in kind.__name__ or "Cl" in kind.__name__:
        # Neighbours count: unlabelled voxels are outside of all regions there.
        outside = np.concatenate([truth, np.zeros_like(truth)], axis=1)
        empty = np.concatenate([p, np.zeros_like(p)], axis=1)
        assert value(loss, more, predicted) == pytest.approx(value(loss, more, empty), rel=1e-5)
        if kind.__name__ == "SoftClDice":
            assert value(loss, more, predicted) == pytest.approx(
                value(plain, outside, empty), rel=1e-5
            )
        return
    assert value(loss, more, predicted) == pytest.approx(value(plain, truth, p), rel=1e-5)
    background = np.concatenate([truth, np.zeros_like(truth)], axis=1)
    assert value(loss, background, predicted) != pytest.approx(value(plain, truth, p), rel=1e-3)


@pytest.mark.parametrize("kind", OVERLAPPING)
def test_no_label_at_all_costs_nothing_and_pulls_nowhere(kind: type[SegmentationLoss]) -> None:
    import tensorflow as tf

    _, p = batch()
    prediction = tf.Variable(p)
    with tf.GradientTape() as tape:
        cost = kind(multilabel=True, ignore_unlabelled=True)(np.full_like(p, -1), prediction)
    gradient = tape.gradient(cost, prediction)
    assert float(cost) == pytest.approx(0, abs=1e-6)
    assert np.abs(np.asarray(gradient)).max() == 0


@pytest.mark.parametrize("kind", [losses.TopKCrossEntropy, losses.UnifiedFocal])
def test_losses_of_exclusive_classes_refuse(kind: type[SegmentationLoss]) -> None:
    with pytest.raises(ConfigurationError, match=r"exactly one.*take DiceCrossEntropy"):
        kind(multilabel=True)


def test_a_sum_hands_the_option_to_its_parts() -> None:
    truth, p = batch()
    parts = [(1.0, losses.Dice()), (0.5, losses.Focal())]
    total = losses.CompoundLoss(parts).with_options(multilabel=True)
    expected = value(losses.Dice(multilabel=True), truth, p)
    expected += 0.5 * value(losses.Focal(multilabel=True), truth, p)
    assert value(total, truth, p) == pytest.approx(expected, rel=1e-6)
    again = keras.losses.deserialize(keras.losses.serialize(total))
    assert value(again, truth, p) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ConfigurationError, match="exactly one"):
        losses.CompoundLoss([(1.0, losses.UnifiedFocal())]).with_options(multilabel=True)


@pytest.mark.parametrize("ignore", [False, True])
def test_a_sum_takes_parts_of_keras_as_they_are(ignore: bool) -> None:
    truth, p = batch()
    parts = [(1.0, losses.Dice()), (0.5, keras.losses.BinaryCrossentropy())]
    total = losses.CompoundLoss(parts)
    if ignore:
        total = total.with_options(ignore_unlabelled=True)  # in the order of a network
    total = multilabel_loss(total)
    expected = value(losses.Dice(multilabel=True), truth, p)
    expected += 0.5 * value(losses.CrossEntropy(multilabel=True), truth, p)
    if ignore:  # as many voxels more that nobody has annotated change nothing
        truth = np.concatenate([truth, np.full_like(truth, -1)], axis=1)
        p = np.concatenate([p, batch(seed=9)[1]], axis=1)
    assert value(total, truth, p) == pytest.approx(expected, rel=1e-4)
    again = keras.losses.deserialize(keras.losses.serialize(total))
    assert value(again, truth, p) == pytest.approx(expected, rel=1e-4)


def test_a_sum_refuses_parts_for_exclusive_classes() -> None:
    categorical = keras.losses.CategoricalCrossentropy()
    for part in (categorical, losses.CompoundLoss([(1.0, categorical)])):
        with pytest.raises(ConfigurationError, match=r"CategoricalCrossentropy.*exactly one"):
            multilabel_loss(losses.CompoundLoss([(1.0, losses.Dice()), (1.0, part)]))
    total = losses.CompoundLoss([(1.0, categorical)], multilabel=False)  # classes are its own
    assert not total.multilabel
    with pytest.raises(ConfigurationError, match="class_weights cannot be handed on"):
        losses.CompoundLoss([(1.0, categorical)], class_weights=(1, 2), multilabel=False)


# ---------------------------------------------------------------------- scores


def test_scores_count_voxels_above_a_half() -> None:
    truth, p = batch()
    truth[1, 3:] = -1
    counting = truth[..., 0] >= 0
    made = metrics.class_wise_dice(3, tuple(BRATS), True, multilabel=True, ignore_unlabelled=True)
    assert [score.name for score in made] == ["dice_whole tumour", "dice_core", "dice_enhancing"]
    expected = []
    for k, score in enumerate(made):
        one, other = truth[..., k][counting] == 1, p[..., k][counting] > 0.5
        expected.append(2 * (one & other).sum() / (one.sum() + other.sum()))
        again = type(score).from_config(score.get_config())
        again.update_state(truth, p)
        assert float(again.result()) == pytest.approx(expected[-1], rel=1e-6)
    mean = metrics.MeanDice(3, True, multilabel=True, ignore_unlabelled=True)
    mean.update_state(truth, p)
    assert float(mean.result()) == pytest.approx(np.mean(expected), rel=1e-6)
    one = metrics.SensitivityScore(0, multilabel=True)
    one.update_state(np.array([[[1.0], [1.0], [0.0]]]), np.array([[[0.6], [0.5], [0.9]]]))
    assert float(one.result()) == 0.5


def test_volume_dice_by_hand() -> None:
    truth, prediction = np.array([0, 1, 2, 3]), np.array([1, 1, 3, 0])
    found = region_dice(truth, prediction, Regions(BRATS))
    assert found == [2 * 2 / 6, 2 * 1 / 3, 0.0]
    assert np.isnan(region_dice(truth[:2], prediction[:2], Regions(BRATS))[2])


# ---------------------------------------------------------------------- networks


def spheres(folder: Path, three_dim: bool, ignore: bool = False) -> miscnn.DataIO:
    """Noisy images of nested balls; a slab that nobody has annotated, and is wrong."""
    rng = np.random.default_rng(1)
    subjects = {}
    for number in range(5):
        shape = (24, 24, 20) if three_dim else (40, 36)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
        centre = np.reshape([n * rng.uniform(0.45, 0.55) for n in shape], (-1, *(1,) * len(shape)))
        distance = np.sqrt(((grid - centre) ** 2).sum(axis=0)) / (0.4 * shape[-1])
        label = (distance < 1).astype(np.uint8)
        label += distance < 0.75
        label += distance < 0.5
        image = rng.normal(0, 0.2, size=shape) + label
        if ignore:
            label[:, :4] = IGNORED
        spacing = (1.0,) * len(shape)
        subjects[f"s{number}"] = (image.astype(np.float32), label, None, {"spacing": spacing})
    interface = DictionaryInterface(
        subjects, 1, 4, three_dim, ignore_label=IGNORED if ignore else None
    )
    return miscnn.DataIO(interface, None, folder / "out", folder / "batches")


def make_model(
    folder: Path,
    three_dim: bool = False,
    ignore: bool = False,
    network: Architecture | None = None,
    **options: Any,
) -> miscnn.NeuralNetwork:
    regions = options.pop("regions", BRATS)
    recipe = miscnn.Preprocessor(
        spheres(folder, three_dim, ignore),
        2,
        [CropToForeground(), Resampling(1.25), Normalization("z-score", statistics="dataset")],
        None,
        patch_shape=(16, 16, 16) if three_dim else (24, 24),
        cache="memory",
        regions=regions,
    )
    unet = UNetStandard(n_filters=4 if three_dim else 8, depth=1)
    options = {"learning_rate": 1e-2, **options}
    return miscnn.NeuralNetwork(recipe, network or unet, **options)


def truth_of(model: miscnn.NeuralNetwork, index: str) -> Array:
    return model.preprocessor.data.sample_loader(index).segmentation[..., 0]


@pytest.mark.parametrize(
    ("three_dim", "ignore"), [(False, False), (True, True)], ids=["2D", "3D-ignore"]
)
def test_it_learns_predicts_and_is_restored(tmp_path: Path, three_dim: bool, ignore: bool) -> None:
    model = make_model(tmp_path, three_dim, ignore)
    training, held_out = ["s0", "s1", "s2", "s3"], ["s4"]
    history = model.evaluate(
        training, held_out, epochs=2, iterations=40, verbose=0, validate_volumes=2
    )
    assert model.model.output_shape[-1] == 3
    (probabilities,) = model.predict(held_out, True, activation_output=True, verbose=0)
    (labels,) = model.predict(held_out, return_output=True, verbose=0)
    truth = truth_of(model, "s4")
    assert labels.shape == truth.shape
    assert probabilities.shape == (*truth.shape, 3)
    np.testing.assert_array_equal(labels, model.preprocessor.regions.decode(probabilities))
    counted = np.where(truth == IGNORED, 0, labels), np.where(truth == IGNORED, 0, truth)
    dice = region_dice(*counted, Regions(BRATS))
    chance = region_dice(np.full_like(counted[1], 3), counted[1], Regions(BRATS))
    assert min(dice) > 0.7, dice
    assert all(found > 1.3 * everywhere for found, everywhere in zip(dice, chance, strict=True))
    last = history.history
    assert [last[f"val_volume_dice_{name}"][-1] for name in BRATS] == pytest.approx(dice)
    assert last["val_volume_dice"][-1] == pytest.approx(np.mean(dice))
    assert last["val_dice_enhancing"][-1] > 0.7

    model.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert loaded.preprocessor.regions == model.preprocessor.regions
    assert loaded.architecture == model.architecture
    image = model.preprocessor.data.sample_loader("s4").image
    (again,) = loaded.predict([image], activation_output=True, verbose=0)
    (before,) = model.predict([image], activation_output=True, verbose=0)
    np.testing.assert_array_equal(again, before)
    if three_dim:
        return
    loaded.preprocessor.data_io = model.preprocessor.data_io
    loaded.train(training, epochs=1, iterations=1, verbose=0)  # its loss and scores fit, too


@pytest.mark.parametrize(
    ("network", "ignore"),
    [
        (NNUNet(strides=((1, 1), (2, 2), (2, 2), (2, 2)), base_features=2), True),
        (MSDNet(depth=2), False),
    ],
    ids=["nnunet", "msdnet"],
)
def test_other_networks_train_with_sigmoid_outputs(
    tmp_path: Path, network: Architecture, ignore: bool
) -> None:
    model = make_model(tmp_path, ignore=ignore, network=network)
    heads = [layer for layer in model.model.layers if layer.name.startswith("probabilities")]
    assert {layer.activation.__name__ for layer in heads} == {"sigmoid"}
    assert [layer.output.shape[-1] for layer in heads] == [3] * len(heads)
    assert isinstance(model.model, DeepSupervisionModel) == (len(heads) > 1)
    weights = model.model.get_weights()
    history = model.train(
        ["s0", "s1"], epochs=2, iterations=2, verbose=0, class_weight={0: 2.0, 2: 3.0}
    )
    assert history.history["loss"][1] < history.history["loss"][0]
    assert any((a != b).any() for a, b in zip(weights, model.model.get_weights(), strict=True))
    used = model.model.loss
    assert (used.multilabel, used.ignore_unlabelled) == (True, ignore)
    assert used.class_weights == (2.0, 1.0, 3.0)


def test_networks_for_regions_are_those_for_classes_but_for_the_output() -> None:
    kinds = {kind for kind in vars(architecture).values() if inspect.isclass(kind)}
    networks = [kind() for kind in kinds if not inspect.isabstract(kind)]
    assert len(networks) > 8
    for network in networks:
        changed = network.multilabel()
        config = network.get_config()
        assert changed.get_config() == {**config, network.output_argument: "sigmoid"}
        assert changed.multilabel() is changed
    chosen = UNetStandard(activation="hard_sigmoid")
    assert chosen.multilabel() is chosen


def test_resuming_notices_other_regions(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    folder = tmp_path / "checkpoints"
    model.train(["s0"], epochs=1, iterations=1, verbose=0, checkpoint_path=folder)
    other = make_model(tmp_path)
    other.preprocessor.regions = Regions({"a": (1,), "b": (2,), "c": (3,)})
    with pytest.raises(ConfigurationError, match="regions"):
        other.train(["s0"], epochs=2, iterations=1, verbose=0, checkpoint_path=folder)


LABELS = {"one": 1, "two": 2, "three": 3}  # as many outputs, of another meaning
RENAMED = Regions({"a": (1, 2, 3), "b": (2, 3), "c": (3,)})


def test_a_head_of_other_regions_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tmp_path)
    model.save(tmp_path / "bundle")
    told = "'whole tumour' (1, 2, 3), 'core' (2, 3), 'enhancing' (3,), those of this network for "
    for source in (model, tmp_path / "bundle", str(tmp_path / "bundle" / "model.keras")):
        caplog.clear()
        other = make_model(tmp_path, regions=LABELS)
        report = other.load_weights(source)
        assert report.complete
        assert f"{told}the regions 'one' (1,), 'two' (2,), 'three' (3,)" in report.warning
        (record,) = caplog.records
        assert (record.levelname, report.warning in record.getMessage()) == ("WARNING", True)
        # The same labels under other names are the same; of classes there are more: no head.
        assert make_model(tmp_path, regions=RENAMED).load_weights(source).warning == ""
        report = make_model(tmp_path, regions=None).load_weights(source)
        assert ([w.path for w in report.not_loaded], report.warning) == (
            ["logits/kernel", "logits/bias"],
            "",
        )
    caplog.clear()
    make_model(tmp_path, regions=LABELS).load(tmp_path / "bundle" / "model.keras")
    assert [told in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    make_model(tmp_path, regions=RENAMED).load(tmp_path / "bundle" / "model.keras")
    model.dump(tmp_path / "alone.keras")
    make_model(tmp_path, regions=LABELS).load(tmp_path / "alone.keras")  # it does not say
    assert not caplog.records


def test_a_head_of_classes_is_told_from_one_of_as_many_regions(tmp_path: Path) -> None:
    four = {"all": (1, 2, 3), "outer": (1, 2), "middle": 2, "inner": 3}
    classes = make_model(tmp_path, regions=None)
    overlapping = make_model(tmp_path, regions=Regions(four, (1, 1, 2, 3)))
    assert "stand for classes, those of this network for the regions" in (
        overlapping.load_weights(classes).warning
    )


def test_a_loaded_network_is_held_against_the_data_it_is_given(tmp_path: Path) -> None:
    make_model(tmp_path).save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    image = np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32)
    interface = DictionaryInterface({"a": (image, None)}, 1, 5, False)
    loaded.preprocessor.data_io = miscnn.DataIO(interface, None, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"label\(s\) \[4\] are in no region"):
        loaded.predict(["a"], return_output=True, verbose=0)


def test_files_hold_the_network_and_no_optimizer(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    model = make_model(tmp_path, optimizer="adam")
    model.dump(tmp_path / "before.keras")
    keras.Model.save(model._build(), tmp_path / "never.keras")
    model.train(["s0"], epochs=1, iterations=1, verbose=0)
    model.dump(tmp_path / "after.keras")
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("never", "before", "after")]
    assert sizes == [sizes[0]] * 3  # Adam's moments would make it twice as large
    with zipfile.ZipFile(tmp_path / "after.keras") as archive:
        document = json.loads(archive.read("config.json"))
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            assert "optimizer" not in file
    assert not document.get("compile_config")
    other = make_model(tmp_path)
    other.load(tmp_path / "after.keras")
    for mine, theirs in zip(model.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert model.model.compiled
    assert other.model.compiled
    assert type(model.model.optimizer).__name__ == "Adam"


# ---------------------------------------------------------------------- what cannot be


class _OwnNetwork(Architecture):
    """One that ends with a softmax and does not say more."""

    def create_model_2D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(n_labels, 1, activation="softmax")(inputs))

    create_model_3D = create_model_2D  # noqa: N815


class _OwnSigmoids(_OwnNetwork):
    def create_model_2D(self, input_shape: Any, n_labels: int = 2) -> Any:  # noqa: N802
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(n_labels, 1, activation="sigmoid")(inputs))

    def multilabel(self) -> _OwnSigmoids:
        return self


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": losses.UnifiedFocal()}, "exactly one.*take DiceCrossEntropy"),
        ({"loss": "categorical_crossentropy"}, "such as DiceCrossEntropy"),
        ({"loss": keras.losses.CategoricalFocalCrossentropy()}, "such as DiceCrossEntropy"),
        ({"loss": metrics.tversky_crossentropy}, "such as DiceCrossEntropy"),
        ({"loss": metrics.asym_unified_focal_loss()}, "such as DiceCrossEntropy"),
        ({"metrics": [metrics.DiceScore(1)]}, "multilabel=False, but the preprocessor has regions"),
        ({"network": _OwnNetwork()}, "set the class attribute output_argument"),
    ],
)
def test_what_is_for_exclusive_classes_is_refused(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_model(tmp_path, **options)


def test_scores_of_regions_without_regions_are_refused(tmp_path: Path) -> None:
    recipe = miscnn.Preprocessor(spheres(tmp_path, False), 1, analysis="fullimage")
    score = metrics.DiceScore(0, multilabel=True)
    with pytest.raises(ConfigurationError, match="the preprocessor has none"):
        miscnn.NeuralNetwork(recipe, UNetStandard(2, 1), metrics=[score])


def test_own_parts_are_taken_as_they_are(tmp_path: Path) -> None:
    model = make_model(
        tmp_path,
        network=_OwnSigmoids(),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[metrics.JaccardScore(2, multilabel=True)],
    )
    history = model.train(["s0"], epochs=1, iterations=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert "jaccard_class_2" in history.history
    with pytest.raises(ConfigurationError, match="one weight for each of 3"):
        model.train(["s0"], class_weight=(1, 1, 1, 1), verbose=0)


def test_ensembles_refuse_regions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="overlapping regions cannot be stacked"):
        StackedEnsemble([make_model(tmp_path)])
