"""What a model takes as ``prediction`` and ``postprocessing``; untrained models say so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.ensemble import StackedEnsemble
from miscnn.neural_network.mean_ensemble import MeanEnsemble
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import FillHoles, KeepLargest, PostProcessing

SUBJECTS = ("a", "b", "c")
RANDOM = "never trained"


def model(**options: Any) -> Any:
    rng = np.random.default_rng(0)
    subjects = {
        name: (rng.normal(size=(8, 8)).astype(np.float32), rng.integers(0, 2, (8, 8), np.uint8))
        for name in SUBJECTS
    }
    data_io = miscnn.DataIO(DictionaryInterface(subjects, 1, 2, False))
    recipe = miscnn.Preprocessor(data_io, 1, analysis="fullimage")
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1), **options)


def image() -> Any:
    return np.zeros((8, 8, 1), np.float32)


def test_steps_are_put_into_post_processing() -> None:
    network = model(postprocessing=KeepLargest())
    assert network.postprocessing == PostProcessing([KeepLargest()])
    network.postprocessing = [KeepLargest(), FillHoles()]
    assert network.postprocessing == PostProcessing([KeepLargest(), FillHoles()])
    network.postprocessing = FillHoles()
    assert network.copy().postprocessing == PostProcessing([FillHoles()])
    for wrong in ("KeepLargest", KeepLargest, [KeepLargest], 5, {"a": 1}, [[KeepLargest()]]):
        with pytest.raises(ConfigurationError, match=r"must be PostProcessing.*a list of steps"):
            network.postprocessing = wrong
    assert network.postprocessing == PostProcessing([FillHoles()])
    ensemble = MeanEnsemble([network])
    assert ensemble.postprocessing == PostProcessing([FillHoles()])
    steps: Any = [KeepLargest()]
    ensemble = MeanEnsemble([network], postprocessing=steps)
    assert ensemble.postprocessing == PostProcessing([KeepLargest()])
    kinds: list[Any] = [MeanEnsemble, StackedEnsemble]
    for kind in kinds:
        with pytest.raises(ConfigurationError, match=r"must be PostProcessing"):
            kind([network], postprocessing="KeepLargest")
    network.postprocessing = None
    assert network.postprocessing is None


def test_settings_are_settings() -> None:
    network = model()
    network.prediction = None
    assert network.prediction == PredictionSettings()
    call = r"Write prediction=PredictionSettings\(overlap=0.25, mirror_axes=\(0,\)\)"
    with pytest.raises(ConfigurationError, match=call):
        network.prediction = {"overlap": 0.25, "mirror_axes": (0,)}
    with pytest.raises(ConfigurationError, match="mirror_axes"):
        network.prediction = PredictionSettings(mirror_axes=(2,))
    for wrong in (0.5, "gaussian", PredictionSettings):
        with pytest.raises(ConfigurationError, match="settings must be PredictionSettings"):
            network.predict(image(), verbose=0, settings=wrong)
    assert network.prediction == PredictionSettings()


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    found = sum(RANDOM in record.getMessage() for record in caplog.records)
    caplog.clear()
    return found


def test_random_weights_are_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    network = model()
    network.predict(image(), verbose=0)
    network.predict(image(), verbose=0)
    assert warnings(caplog) == 1
    network.save(tmp_path / "bundle")
    assert warnings(caplog) == 1
    network.dump(tmp_path / "weights.keras")
    # A bundle of random weights still is one.
    loaded: Any = miscnn.load(tmp_path / "bundle")
    assert warnings(caplog) == 0
    loaded.predict(image(), verbose=0)
    assert warnings(caplog) == 1

    # Whose weights came from elsewhere is not told of, until they are drawn anew.
    other = model()
    other.load(tmp_path / "weights.keras")
    other.predict(image(), verbose=0)
    other.save(tmp_path / "other")
    miscnn.load(tmp_path / "other").predict(image(), verbose=0)
    assert warnings(caplog) == 0
    other.reset()
    other.predict(image(), verbose=0)
    assert warnings(caplog) == 1
    other.load_weights(tmp_path / "weights.keras")
    other.reset()
    other.predict(image(), verbose=0)
    assert warnings(caplog) == 0


def test_a_trained_network_is_not_told_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    network = model()
    # It predicts in the course of its first training, too.
    network.evaluate(["a"], ["b"], epochs=1, verbose=0, validate_volumes=1)
    network.predict(image(), verbose=0)
    network.save(tmp_path / "bundle")
    miscnn.load(tmp_path / "bundle").predict(image(), verbose=0)
    assert warnings(caplog) == 0
    network.reset()
    network.predict(image(), verbose=0)
    assert warnings(caplog) == 1


def test_the_network_of_a_fold_is_told_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.WARNING)
    network = model()

    def told(*subjects: str) -> str:
        rows = [f"0\t{name}\t1\tx\tdice\t0.5" for name in subjects]
        table = tmp_path / "scores.tsv"
        table.write_text("\n".join(["fold\tsample\tclass\tclass_name\tmetric\tvalue", *rows, ""]))
        caplog.clear()
        network.save(tmp_path / "bundle", scores=table)
        return caplog.text

    network.train(["a", "b"], epochs=1, verbose=0)
    assert "of the 3 subjects of the scores this network's training saw 2" in told(*SUBJECTS)
    assert told("c", "d") == ""  # a test set
    assert told("a", "b") == ""  # a cross-validation, then a training on all
    assert told("a") == ""
    network = miscnn.load(tmp_path / "bundle")
    assert told(*SUBJECTS) == ""  # whom it was trained on is not known
