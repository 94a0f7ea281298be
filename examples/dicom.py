"""DICOM in, DICOM out: CT series with outlines of a tumour, a network, and its segmentations.

    python examples/dicom.py ../shared/data/sarcoma_dicom

One folder a patient, with any number of series below it and files of any name. The outlines (an
RT Structure Set) become label maps, the network is trained for a minute, and the predictions are
written as DICOM-SEG or RTSTRUCT that refer to the images. Two patients are enough to see the path;
the network is scored on what it was trained on, so the score says nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import miscnn
from miscnn.evaluation import detailed_validation
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="one folder a patient")
    parser.add_argument("--series", default="CT", help="modality of the images")
    parser.add_argument("--structure", default="GTV*", help="name of the outlines")
    parser.add_argument("--format", choices=("dicom-seg", "rtstruct", "nifti"), default="dicom-seg")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path("results/dicom"))
    arguments = parser.parse_args()

    data_io = miscnn.open_dataset(
        arguments.data,
        series=arguments.series,
        structure_dict={arguments.structure: 1},
        class_names=["background", "tumour"],
        classes=2,
        output=arguments.format,
        output_path=arguments.output / "predictions",
        batch_path=arguments.output / "batches",
    )
    print(data_io.verify())

    preprocessor = miscnn.Preprocessor(
        data_io,
        batch_size=2,
        subfunctions=[
            Resampling((3.0, 3.0, 3.27)),
            Windowing("soft tissue"),
            Normalization("z-score", statistics="dataset"),
        ],
        patch_shape=(48, 48, 32),
        foreground_oversampling=0.5,
        seed=0,
    )

    # TensorFlow is imported from here on.
    from miscnn.neural_network.architecture import UNetStandard

    model = miscnn.NeuralNetwork(
        preprocessor, UNetStandard(n_filters=8, depth=3, normalization="instance"), workers=2
    )
    indices = data_io.get_indiceslist()
    model.train(indices, max_minutes=arguments.minutes, iterations=20)
    table = detailed_validation(
        indices, model, arguments.output / "evaluation", output_path=data_io.output_path
    )
    print(table.summary())
    print(f"\nFiles: {data_io.output_path}")


if __name__ == "__main__":
    main()
