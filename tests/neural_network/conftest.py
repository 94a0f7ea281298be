"""A small network for tests of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.losses import TanimotoCrossEntropy
from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.subfunctions import Normalization


@pytest.fixture
def new_network(tmp_path: Path) -> Callable[..., miscnn.NeuralNetwork]:
    """What makes networks that are equal if their options are."""
    return lambda **options: make_network(tmp_path, **options)


def make_network(folder: Path, **options: Any) -> miscnn.NeuralNetwork:
    """A network whose training has as much state as there can be."""
    rng = np.random.default_rng(0)
    subjects = {}
    for number in range(4):
        label = np.zeros((16, 16, 8), dtype=np.uint8)
        label[4 + number : 12, 4:12, 2:6] = 1
        image = (rng.normal(100, 20, size=label.shape) + 60 * label).astype(np.float32)
        subjects[f"s{number}"] = (image, label, None, {"spacing": (1.0, 1.0, 1.5)})
    data_io = miscnn.DataIO(
        DictionaryInterface(subjects, 1, 2, True), None, folder / "out", folder / "batches"
    )
    recipe = miscnn.Preprocessor(
        data_io,
        2,
        [Normalization("z-score", statistics="dataset")],
        GeneralAugmentation(),
        patch_shape=(8, 8, 8),
        cache="memory",
        seed=5,
    )
    options = {
        "optimizer": "adamw",
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "ema": 0.9,
        "gradient_clipping": 12.0,
        "workers": 2,
        **options,
    }
    return miscnn.NeuralNetwork(
        recipe,
        UNetStandard(n_filters=4, depth=1, dropout=0.2, normalization="batch"),
        TanimotoCrossEntropy(),
        **options,
    )
