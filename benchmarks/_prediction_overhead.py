"""Predict volumes with a U-Net and print the whole time and that of the network alone.

Called by ``prediction.py``, in a process of its own: ``REPEATS FOLDER``. The network alone predicts
as many batches, one after the other, with nothing else to do.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import miscnn
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.neural_network.architecture import UNetStandard
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing

SHAPE, SPACING = (320, 320, 120), (0.8, 0.8, 2.5)  # a CT of 256 x 256 x 300 mm
WANTED = (1.6, 1.6, 2.5)
WINDOW = (96, 96, 64)
SUBJECTS = 2


def write_volumes(folder: Path) -> None:
    data_io = miscnn.DataIO(NIfTIInterface(channels=1, classes=3), output_path=folder)
    geometry = Geometry.from_spacing(SHAPE, SPACING)
    rng = np.random.default_rng(0)
    for number in range(SUBJECTS):
        image = rng.integers(-200, 300, SHAPE).astype(np.int16)
        sample = miscnn.Sample(f"case_{number}", image, geometry=geometry)
        sample.prediction = np.where(image > 0, image, 0).astype(np.uint16)
        data_io.save_prediction(sample)


def main() -> None:
    repeats, folder = int(sys.argv[1]), Path(sys.argv[2])
    write_volumes(folder / "images")
    recipe = miscnn.Preprocessor(
        miscnn.DataIO(NIfTIInterface(channels=1, classes=3)),
        batch_size=1,
        data_aug=None,
        subfunctions=[Resampling(WANTED), Windowing("soft tissue"), Normalization("z-score")],
        patch_shape=WINDOW,
    )
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=16, depth=3))
    grid = recipe.prediction_grid((160, 160, 120), 2, model.multiple)
    windows = SUBJECTS * len(grid)
    network = model._predictor()
    batch = np.zeros((1, *WINDOW, 1), dtype=np.float32)

    def alone() -> None:
        for _ in range(windows):
            network(batch)

    def everything() -> None:
        model.predict(folder / "images", output_path=folder / "predictions", verbose=0)

    times: dict[str, list[float]] = {"network": [], "all": []}
    for repeat in range(repeats + 1):
        for name, work in (("network", alone), ("all", everything)):
            begin = time.perf_counter()
            work()
            if repeat:
                times[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [a / n for a, n in zip(times["all"], times["network"], strict=True)]
    print(json.dumps({"windows": windows, **medians, "ratio": statistics.median(ratios)}))


if __name__ == "__main__":
    main()
