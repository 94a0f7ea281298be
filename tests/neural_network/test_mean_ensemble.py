"""The mean of several networks, such as those of the folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.evaluation import cross_validation
from miscnn.exceptions import ConfigurationError, MissingFileError, NotFittedError
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.mean_ensemble import MeanEnsemble
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import KeepLargest, PostProcessing
from miscnn.processing.subfunctions import CropToForeground, Normalization, Resampling

REGIONS = {"whole": (1, 2), "core": (2,)}


def subjects() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {}
    for number in range(4):
        label = np.zeros((14, 12, 10), dtype=np.uint8)
        label[3:9, 2 + number : 9, 2:7] = 1
        label[5:8, 5:8, 3:6] = 2
        image = (rng.normal(100, 20 + 5 * number, label.shape) + 40 * label).astype(np.float32)
        found[f"s{number}"] = (image, label, None, {"spacing": (1.0, 1.2, 2.0)})
    return found


def data() -> miscnn.DataIO:
    return miscnn.DataIO(DictionaryInterface(subjects(), 1, 3))


def network(chain: Any = (), data_io: Any = None, seed: int = 0, **options: Any) -> Any:
    options = {"patch_shape": (8, 8, 8), **options}
    recipe = miscnn.Preprocessor(data() if data_io is None else data_io, 2, chain, None,
                                 cache="memory", **options)  # fmt: skip
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1), seed=seed)


def members(**options: Any) -> list[Any]:
    """Of three grids and dimensions."""
    slicewise = {**options, "analysis": "slicewise", "patch_shape": None}
    return [
        network([Normalization()], seed=1, **options),
        network([Resampling((1.5, 1.5, 1.5)), Normalization()], seed=2, **options),
        network([CropToForeground(threshold=60), Normalization()], seed=3, **slicewise),
    ]


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_networks_of_any_grid_are_averaged(regions: Any) -> None:
    networks = members(regions=regions)
    sample = data().sample_loader("s1", load_seg=False)
    single = np.stack([n.predict_sample(sample, True).astype(np.float64) for n in networks])
    held = np.clip(single, 1e-7, 1 - 1e-7)
    logits = softmax(np.log(held).mean(axis=0), axis=-1)
    if regions is not None:
        logits = expit(logit(held).mean(axis=0))
    for combine, expected in (("probabilities", single.mean(axis=0)), ("logits", logits)):
        ensemble = MeanEnsemble(networks, combine)  # type: ignore[arg-type]
        likely = ensemble.predict_sample(sample, True)
        np.testing.assert_allclose(likely, expected, atol=2e-6)
        (found,) = ensemble.predict(
            ["s1"], return_output=True, verbose=0, outputs=("labels", "probabilities")
        )
        np.testing.assert_array_equal(found["probabilities"], likely)
        recipe = networks[0].preprocessor
        labels = likely.argmax(-1) if regions is None else recipe.regions.decode(likely)
        np.testing.assert_array_equal(found["labels"], labels)
        np.testing.assert_array_equal(ensemble.predict_sample(sample), labels)
        assert len(np.unique(labels)) > 1


def test_settings_and_steps_are_handed_on() -> None:
    networks = members()
    steps = PostProcessing([KeepLargest()])
    ensemble = MeanEnsemble(networks, postprocessing=steps)
    sample = data().sample_loader("s1", load_seg=False)
    plain = MeanEnsemble(networks)
    (labels,) = plain.predict(sample, verbose=0)
    (kept,) = ensemble.predict(sample, verbose=0)
    np.testing.assert_array_equal(kept, steps.apply(labels, sample.geometry))
    assert (kept != labels).any()
    settings = PredictionSettings(mirror_axes=(0,), window_weight="constant")
    (found,) = plain.predict(sample, activation_output=True, verbose=0, settings=settings)
    single = [n.predict(sample, activation_output=True, verbose=0, settings=settings)[0]
              for n in networks]  # fmt: skip
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=2e-6)
    networks[0].postprocessing = steps
    assert MeanEnsemble(networks).postprocessing is steps


def test_networks_with_one_recipe_keep_what_each_has_learned() -> None:
    """They predict in turns, plane by plane, with statistics of their own."""
    data_io = data()
    recipe = miscnn.Preprocessor(
        data_io, 2, [Normalization(statistics="dataset")], None, patch_shape=(8, 8, 8),
        cache="memory",
    )  # fmt: skip
    networks = []
    for number in range(2):  # what they were fitted to before they were made
        recipe.fit([f"s{3 * number}"])
        networks.append(
            miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1), seed=number)
        )
    sample = data_io.sample_loader("s1", load_seg=False)
    single = [n.predict_sample(sample, True) for n in networks]
    assert networks[0]._learned() != networks[1]._learned()
    ensemble = MeanEnsemble(networks)
    found = ensemble.predict_sample(sample, True)
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=2e-6)
    one, two = ensemble._engine().prepare(sample)  # what does not differ is prepared once
    assert one.image is two.image


@pytest.mark.slow
def test_the_folds_of_a_cross_validation(tmp_path: Path) -> None:
    data_io = data()
    data_io.output_path = tmp_path / "out"
    model = network([Normalization(statistics="dataset")], data_io)
    folder = tmp_path / "evaluation"
    with pytest.raises(MissingFileError, match=r"folds\.json"):
        MeanEnsemble.from_cross_validation(folder, model)
    result = cross_validation(
        data_io.get_indiceslist(), model, 2, 1, 1, folder, draw_figures=False, verbose=0,
        run_detailed_evaluation=False,
    )  # fmt: skip
    weights, learned = model.model.get_weights(), model._learned()
    ensemble = MeanEnsemble.from_cross_validation(folder, model, "logits")
    assert len(ensemble.networks) == 2
    assert ensemble.combine == "logits"
    # the model, which holds what the last fold has left, stays as it is
    for before, after in zip(weights, model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert model._learned() == learned
    sample = data_io.sample_loader("s1", load_seg=False)
    np.testing.assert_allclose(
        ensemble.networks[1].predict_sample(sample, True), model.predict_sample(sample, True),
        atol=1e-6,
    )  # fmt: skip
    for fold, own in zip(result.folds, ensemble.networks, strict=True):
        assert own._learned()[0]["indices"] == sorted(fold.training)
    ensemble.save(tmp_path / "bundle")
    loaded = miscnn.load(tmp_path / "bundle")
    assert isinstance(loaded, MeanEnsemble)
    np.testing.assert_allclose(
        loaded.predict_sample(sample, True), ensemble.predict_sample(sample, True), atol=1e-6
    )
    assert loaded.combine == "logits"
    (folder / "fold_1/run.json").unlink()
    with pytest.raises(MissingFileError, match=r"run\.json .*not finished"):
        MeanEnsemble.from_cross_validation(folder, model)
    (folder / "fold_0/model.keras").unlink()
    with pytest.raises(MissingFileError, match="save_models=True"):
        MeanEnsemble.from_cross_validation(folder, model)
    assert json.loads((folder / "folds.json").read_text())["n_folds"] == 2


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="list of NeuralNetwork"):
        MeanEnsemble([])
    with pytest.raises(ConfigurationError, match='"probabilities" or "logits"'):
        MeanEnsemble([network()], "median")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="predicts the regions whole, core, network 0 3"):
        MeanEnsemble([network(), network(regions=REGIONS)])
    merged = [
        network(data_io=miscnn.DataIO(MergedLabels(DictionaryInterface(subjects(), 1, 3), groups)))
        for groups in (((0,), (1, 2)), ((0, 1), (2,)))
    ]
    with pytest.raises(ConfigurationError, match="merges the classes"):
        MeanEnsemble(merged)
    unfitted = network([Normalization(statistics="dataset")])
    with pytest.raises(NotFittedError):
        MeanEnsemble([unfitted]).predict("s1", verbose=0)
