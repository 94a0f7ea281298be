"""The same networks on Keras' other backends, each in a process of its own.

Keras chooses its backend once, when it is imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._keras import keras
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.neural_network.architecture import MSDNet, NNUNet, UNetStandard
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.subfunctions import Normalization

_ROOT = Path(__file__).resolve().parents[2]
_IMAGE = "image.npy"

ARCHITECTURES: dict[str, Architecture] = {
    "unet": UNetStandard(4, 1),
    "nnunet": NNUNet(strides=((1, 1), (2, 2), (2, 2)), base_features=4),
    "msdnet": MSDNet(depth=4, output_initializer="glorot_uniform"),
}

pytestmark = pytest.mark.slow

backends = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
            ),
        )
        for name in ("torch", "jax")
    ],
)


# ------------------------------------------------------ what runs in the other processes


def make_model(folder: Path, architecture: Architecture) -> miscnn.NeuralNetwork:
    """Make a network for noisy images with a brighter disc."""
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(20), np.arange(17), indexing="ij"))
    subjects: dict[str, Any] = {}
    for number in range(3):
        centre = rng.uniform(6, 10, size=(2, 1, 1))
        label = (((places - centre) ** 2).sum(axis=0) < 20).astype(np.uint8)
        image = (rng.normal(100, 10, size=label.shape) + 60 * label).astype(np.float32)
        subjects[f"s{number}"] = (image, label)
    data_io = miscnn.DataIO(DictionaryInterface(subjects, 1, 2, three_dim=False), None, folder)
    recipe = miscnn.Preprocessor(
        data_io,
        batch_size=2,
        analysis="patchwise-crop",
        patch_shape=(12, 12),
        subfunctions=[Normalization("z-score")],
        cache="memory",
        seed=3,
    )
    return miscnn.NeuralNetwork(recipe, architecture, TanimotoCrossEntropy(), learning_rate=1e-2)


def train(folder: Path) -> dict[str, Any]:
    """Train with and without threads; save, load and predict."""
    model = make_model(folder, ARCHITECTURES["unet"])
    histories = []
    for workers in (0, 2):
        model.reset()
        model.workers = workers
        logged = model.train(["s0", "s1"], epochs=3, iterations=6, verbose=0)
        histories.append(logged.history["loss"])
    image = model.preprocessor.data.sample_loader("s2").image
    (before,) = model.predict(image, activation_output=True, verbose=0) or ()
    model.save(folder / "bundle")
    (after,) = miscnn.load(folder / "bundle").predict(image, activation_output=True, verbose=0)
    return {
        "losses": histories,
        "saved": bool(np.array_equal(before, after)),
        "sums": float(np.abs(before.sum(axis=-1) - 1).max()),
    }


def write(folder: Path) -> dict[str, Any]:
    """Save each network with weights that all matter, and predict an image."""
    image = np.random.default_rng(5).normal(100, 30, size=(19, 22)).astype(np.float32)
    np.save(folder / _IMAGE, image)
    for name, architecture in ARCHITECTURES.items():
        model = make_model(folder, architecture)
        rng = np.random.default_rng(6)
        weights = model.model.get_weights()
        model.model.set_weights([w + rng.normal(0, 0.1, w.shape).astype(w.dtype) for w in weights])
        model.save(folder / name)
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """Predict the image with each network that was saved."""
    image = np.load(folder / _IMAGE)
    found = {}
    for name in ARCHITECTURES:
        model = miscnn.load(folder / name)
        (probabilities,) = model.predict(image, activation_output=True, verbose=0)
        found[name] = probabilities.tolist()
    return found


def run(backend: str, tasks: str, folder: Path) -> Any:
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(_ROOT),
        # For JAX: so little is calculated that to optimise it takes most of the time.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    done = subprocess.run(
        [sys.executable, __file__, tasks, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


# ------------------------------------------------------ tests


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with networks saved under TensorFlow, and what they predict there."""
    folder = tmp_path_factory.mktemp("saved")
    if keras.backend.backend() == "tensorflow":  # a process of its own takes seconds to start
        return folder, write(folder)
    return folder, run("tensorflow", "write", folder)["write"]


@backends
def test_networks_train_and_predict_what_they_do_with_tensorflow(
    backend: str, saved: tuple[Path, dict[str, Any]]
) -> None:
    folder, expected = saved
    found = run(backend, "train,read", folder)
    assert found["backend"] == backend
    without, threads = found["train"]["losses"]
    assert threads == without  # the order of batches depends on nothing but the seed
    assert without[-1] < 0.9 * without[0]
    assert found["train"]["saved"]
    assert found["train"]["sums"] < 1e-4
    assert set(found["read"]) == set(expected) == set(ARCHITECTURES)
    for name, values in expected.items():
        assert np.std(values) > 0.01  # it says something
        np.testing.assert_allclose(found["read"][name], values, atol=1e-4, err_msg=name)


if __name__ == "__main__":
    tasks = {"train": train, "write": write, "read": read}
    where = Path(sys.argv[2])
    result: dict[str, Any] = {"backend": keras.backend.backend()}
    for task in sys.argv[1].split(","):
        result[task] = tasks[task](where)
    (where / "found.json").write_text(json.dumps(result), encoding="utf-8")
