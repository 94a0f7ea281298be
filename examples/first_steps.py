"""First steps: from a folder of CT volumes to predictions and their scores.

    python examples/first_steps.py

The volumes are phantoms that the script makes itself. With data of your own, leave out
``write_dataset`` and name your folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.datasets.phantom import write_dataset
from miscnn.evaluation import detailed_validation
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train for one short epoch only")
    parser.add_argument("--output", type=Path, default=Path("results/first_steps"))
    arguments = parser.parse_args()
    folder = arguments.output

    # A folder with <index>/imaging.nii.gz and <index>/segmentation.nii.gz for each subject.
    write_dataset(folder / "data", subjects=6, seed=0)
    data_io = miscnn.DataIO(
        NIfTIInterface(channels=1, classes=3),
        folder / "data",
        output_path=str(folder / "predictions"),
        batch_path=str(folder / "batches"),
    )
    print(data_io.verify())

    preprocessor = miscnn.Preprocessor(
        data_io,
        batch_size=2,
        subfunctions=[
            Resampling((3.5, 3.5, 4.0)),
            Windowing(bounds=(-120, 280)),
            Normalization("z-score", statistics="dataset"),
        ],
        patch_shape=(64, 64, 32),
        seed=0,
    )

    # TensorFlow is imported from here on.
    from miscnn.neural_network.architecture import UNetStandard

    model = miscnn.NeuralNetwork(
        preprocessor, UNetStandard(n_filters=8, depth=3), learning_rate=3e-3, workers=2
    )

    indices = data_io.get_indiceslist()
    model.train(indices[:4], epochs=1 if arguments.quick else 20, iterations=5)

    # Predictions on the grids of the images, and their scores.
    scores = detailed_validation(
        indices[4:], model, folder / "evaluation", class_names=("background", "kidney", "tumour")
    )
    print(scores.summary())

    # The trained network with its recipe, for new volumes without segmentation.
    model.save(folder / "model")
    loaded = miscnn.load(folder / "model")
    (labels,) = loaded.predict([data_io.sample_loader(indices[4], load_seg=False)])
    print(labels.shape, labels.dtype)


if __name__ == "__main__":
    main()
