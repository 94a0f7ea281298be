"""Small data sets in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface

MakeDataIO = Callable[..., "miscnn.DataIO"]


@pytest.fixture
def make_data_io(tmp_path: Path) -> MakeDataIO:
    """Return a function that makes a data set of random volumes with a bright box as label 1."""

    def make(
        shapes: list[tuple[int, ...]], channels: int = 1, classes: int = 2, spacing=None
    ) -> miscnn.DataIO:
        rng = np.random.default_rng(0)
        subjects = {}
        for number, shape in enumerate(shapes):
            image = rng.normal(size=(*shape, channels)).astype(np.float32)
            label = np.zeros(shape, np.uint8)
            box = tuple(slice(n // 4, max(n // 4 + 1, n // 2)) for n in shape)
            label[box] = 1
            if classes > 2:
                label[tuple(n - 1 for n in shape)] = 2
            image[label == 1] += 3
            details = {"spacing": spacing or (1.0,) * len(shape)}
            subjects[f"s{number}"] = (image, label, None, details)
        interface = DictionaryInterface(subjects, channels, classes, len(shapes[0]) == 3)
        return miscnn.DataIO(
            interface, None, output_path=str(tmp_path / "out"), batch_path=str(tmp_path / "batches")
        )

    return make
