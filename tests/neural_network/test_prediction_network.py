"""Networks of Keras predict by settings, in one compiled function, and say who they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import KeepLargest, PostProcessing
from miscnn.processing.subfunctions import Normalization

New = Callable[..., miscnn.NeuralNetwork]


def network(shape: tuple[int, ...] = (16, 16, 8), classes: int = 3, **options: Any) -> Any:
    image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    data_io = miscnn.DataIO(DictionaryInterface({"a": (image, None)}, 1, classes, len(shape) == 3))
    own = {key: options.pop(key) for key in ("prediction", "window_weight", "postprocessing")
           if key in options}  # fmt: skip
    recipe = miscnn.Preprocessor(data_io, 2, [Normalization("z-score")], None, **options)
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=4, depth=1), **own), image


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
@pytest.mark.parametrize(
    "options",
    [{"analysis": "fullimage"}, {"analysis": "slicewise"}, {"patch_shape": (8, 8, 8)},
     {"analysis": "slice-stack", "slices_per_volume": 4, "slice_gap": 1}],
)  # fmt: skip
def test_one_function_serves_all_sizes(options: dict[str, Any]) -> None:
    model, _ = network(**options)
    rng = np.random.default_rng(0)
    shapes = [(16, 16, 8), (17, 12, 9), (8, 30, 5), (3, 4, 20)]
    images = [rng.normal(size=(*shape, 1)).astype(np.float32) for shape in shapes]
    found = model.predict(images, verbose=0)
    assert [labels.shape for labels in found] == shapes
    model.predict(images[1:], verbose=0, settings=PredictionSettings(batch_size=3, overlap=0.1))
    assert model._predictor().function.experimental_get_tracing_count() == 1
    # and it says what Keras says
    batch = rng.normal(size=(2, *(8,) * model.preprocessor.network_axes, 1)).astype(np.float32)
    np.testing.assert_allclose(
        model._predictor()(batch), model.model.predict_on_batch(batch), atol=1e-5
    )


def test_settings_change_the_prediction_as_they_say() -> None:
    model, image = network(patch_shape=(8, 8, 8))
    (plain,) = model.predict(image, activation_output=True, verbose=0)
    assert model.prediction == PredictionSettings()

    def predicted(**settings: Any) -> np.ndarray:
        (found,) = model.predict(
            image, activation_output=True, verbose=0, settings=PredictionSettings(**settings)
        )
        return found

    np.testing.assert_array_equal(predicted(overlap=0.5), plain)
    np.testing.assert_allclose(predicted(batch_size=5), plain, atol=1e-6)
    assert abs(predicted(overlap=0.8) - plain).max() > 1e-4
    model.prediction = PredictionSettings(mirror_axes=(0, 1))
    mirrored = model.predict_sample(
        model.preprocessor.data.sample_loader("a", load_seg=False), True
    )
    views = []
    for flip in ((), (0,), (1,), (0, 1)):
        (found,) = model.predict(
            np.flip(image, flip), activation_output=True, verbose=0, settings=PredictionSettings()
        )
        views.append(np.flip(found, flip))
    # windows lie symmetrically here, so that mirroring windows is mirroring the image
    np.testing.assert_allclose(mirrored, np.mean(views, axis=0), atol=1e-5)
    with pytest.raises(ConfigurationError, match="the network sees 2 spatial axes"):
        network(analysis="slicewise", prediction=PredictionSettings(mirror_axes=(2,)))


def test_the_window_weight_is_a_setting() -> None:
    model, _ = network(patch_shape=(8, 8, 8), window_weight="constant")
    assert model.prediction == PredictionSettings(window_weight="constant")
    model.window_weight = "gaussian"
    assert model.prediction == PredictionSettings()
    given = PredictionSettings(overlap=0.25)
    model, _ = network(patch_shape=(8, 8, 8), window_weight="constant", prediction=given)
    assert model.prediction == given.replace(window_weight="constant")
    assert model.copy().prediction is model.prediction
    with pytest.raises(ConfigurationError, match="prediction must be PredictionSettings"):
        network(patch_shape=(8, 8, 8), prediction={"overlap": 0.5})
    with pytest.raises(ConfigurationError, match="postprocessing must be PostProcessing"):
        network(patch_shape=(8, 8, 8), postprocessing="KeepLargest")


def test_label_maps_are_post_processed() -> None:
    plain, image = network(patch_shape=(8, 8, 8))
    steps = PostProcessing([KeepLargest()])
    model, _ = network(patch_shape=(8, 8, 8), postprocessing=steps)
    model.model.set_weights(plain.model.get_weights())
    (labels,) = plain.predict(image, verbose=0)
    sample = model.preprocessor.data.sample_loader("a", load_seg=False)
    expected = steps.apply(labels, sample.geometry)
    assert (expected != labels).any()
    np.testing.assert_array_equal(model.predict(image, verbose=0)[0], expected)
    np.testing.assert_array_equal(model.predict_sample(sample), expected)
    np.testing.assert_array_equal(
        model.predict_sample(sample, True), plain.predict_sample(sample, True)
    )


def test_foreground_and_region_spare_windows() -> None:
    model, image = network((40, 16, 8), patch_shape=(8, 8, 8))
    image = np.full_like(image, -5)
    image[30:36, 4:9, 2:5] = 5
    asked: list[int] = []
    predict = model._predictor()

    def counting(batch: np.ndarray) -> np.ndarray:
        asked.append(len(batch))
        return predict(batch)

    model._compiled_predictor = model.model, counting
    (whole,) = model.predict(image, verbose=0, activation_output=True)
    everything = sum(asked)
    asked.clear()
    settings = PredictionSettings(foreground="auto")
    (found,) = model.predict(image, verbose=0, activation_output=True, settings=settings)
    assert sum(asked) == 1 < everything
    outside = np.ones(whole.shape[:-1], dtype=bool)
    outside[30:36, 4:9, 2:5] = False
    np.testing.assert_array_equal(found[outside], [[1, 0, 0]] * outside.sum())
    assert (found[~outside][:, 0] < 1).all()
    asked.clear()
    blank = np.full_like(image, 3)
    outputs = ("labels", "probabilities", "entropy", "volumes")
    (nothing,) = model.predict(blank, verbose=0, settings=settings, outputs=outputs)
    assert asked == []
    assert not nothing["labels"].any()
    assert nothing["labels"].dtype == np.uint8
    assert not nothing["entropy"].any()
    np.testing.assert_array_equal(nothing["probabilities"], np.eye(3)[nothing["labels"]])
    assert [row[3] for row in nothing["volumes"]] == [0, 0]


def on_disk(folder: Path) -> Any:
    import nibabel as nib

    (folder / "data").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.normal(size=(9, 10, 8)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"data/{name}.nii.gz")
    data_io = miscnn.DataIO(NIfTIInterface(1, 3, image="*.nii.gz"), folder / "data", folder / "out")
    recipe = miscnn.Preprocessor(data_io, 2, [Normalization()], None, patch_shape=(8, 8, 8))
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))


def test_the_folder_knows_the_model(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    model.predict(["a"], verbose=0)
    manifest = json.loads((tmp_path / "out/predictions.json").read_text())
    assert manifest["subjects"] == {"a": {"labels": ["a.nii.gz"]}}
    assert set(manifest["identity"]["model"]) == {"weights", "recipe"}
    model.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle", input_path=tmp_path / "data",
                         output_path=tmp_path / "out")  # fmt: skip
    before = (tmp_path / "out/a.nii.gz").stat().st_mtime_ns
    loaded.predict(["a", "b"], verbose=0, overwrite=False)  # it is the same model
    assert (tmp_path / "out/a.nii.gz").stat().st_mtime_ns == before
    assert (tmp_path / "out/b.nii.gz").exists()
    with pytest.raises(ConfigurationError, match=r"settings\.overlap was None, is 0\.25"):
        loaded.predict(["a"], verbose=0, overwrite=False, settings=PredictionSettings(0.25))
    with pytest.raises(ConfigurationError, match="roi was None"):
        loaded.predict(["a"], verbose=0, overwrite=False, roi=((0, 4),) * 3)
    weights = model.model.get_weights()
    model.model.set_weights([w + np.float32(0.01) for w in weights])
    with pytest.raises(ConfigurationError, match=r"model\.weights was"):
        model.predict(["a"], verbose=0, overwrite=False)


def test_the_folder_knows_what_is_written_for_the_classes(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    model.predict(["a"], verbose=0)
    before = (tmp_path / "out/a.nii.gz").stat().st_mtime_ns
    # how many windows go through the network at once changes nothing
    for size in (1, 3):
        settings = model.prediction.replace(batch_size=size)
        model.predict(["a"], verbose=0, overwrite=False, settings=settings)
    model.preprocessor.data.interface.class_names = ("air", "liver", "tumour")
    model.predict(["a"], verbose=0, overwrite=False)
    assert (tmp_path / "out/a.nii.gz").stat().st_mtime_ns == before
    folder = tmp_path / "data"
    for values, told in (((0, 10, 200), r"label_values\[1\] was 1, is 10"), ((0, 1, 2), None)):
        interface = NIfTIInterface(1, 3, image="*.nii.gz", label_values=values)
        model.preprocessor.data_io = miscnn.DataIO(interface, folder, tmp_path / "out")
        if told is None:  # the same values
            model.predict(["a"], verbose=0, overwrite=False)
            continue
        with pytest.raises(ConfigurationError, match=told):
            model.predict(["a"], verbose=0, overwrite=False)
    interface = NIfTIInterface(1, 3, image="*.nii.gz", ignore_label=9)
    model.preprocessor.data_io = miscnn.DataIO(interface, folder, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="ignore_label was None, is 9"):
        model.predict(["a"], verbose=0, overwrite=False)


def test_outputs_that_are_returned_are_arrays_of_their_own() -> None:
    model, image = network(patch_shape=(8, 8, 8))
    found = model.predict(
        [image], return_output=True, activation_output=True, verbose=0,
        outputs=("labels", "probabilities"),
    )[0]  # fmt: skip
    np.testing.assert_array_equal(found["labels"], found["probabilities"])
    kept = found["probabilities"].copy()
    found["labels"][...] = 0
    np.testing.assert_array_equal(found["probabilities"], kept)
    assert kept.any()
