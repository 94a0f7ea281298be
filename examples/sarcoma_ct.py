"""Soft-tissue sarcoma in CT: anisotropic voxels, one lesion a subject, five sorted folds.

    python examples/sarcoma_ct.py ../shared/data/sarcoma_ct

The data are CT volumes around a tumour (the STS collection of The Cancer Imaging Archive), in
two folders ``images`` and ``labels`` with one NIfTI file a subject. The tumours differ in kind
and place, and are barely denser than the muscle around them: expect modest scores with a wide
spread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.evaluation import SliceSortedKFold, cross_validation
from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a minute: two folds, few subjects")
    parser.add_argument("--output", type=Path, default=Path("results/sarcoma_ct"))
    arguments = parser.parse_args()

    interface = NIfTIInterface(
        channels=1, classes=2, image="images/*.nii.gz", segmentation="labels/*.nii.gz"
    )
    data_io = miscnn.DataIO(
        interface,
        arguments.data,
        output_path=str(arguments.output / "predictions"),
        batch_path=str(arguments.output / "batches"),
    )
    indices = data_io.get_indiceslist()
    folds, epochs = arguments.folds, arguments.epochs
    if arguments.quick:
        indices, folds, epochs = indices[:6], 2, 1

    preprocessor = miscnn.Preprocessor(
        data_io,
        batch_size=2,
        subfunctions=[
            Resampling((3.0, 3.0, 3.27)),  # the slices stay as they are
            Windowing("soft tissue"),
            Normalization("z-score", statistics="dataset", subset=10),
        ],
        data_aug=GeneralAugmentation(mirror=(0,)),
        patch_shape=(64, 64, 32),
        foreground_oversampling=0.5,
        seed=arguments.seed,
    )

    # TensorFlow is imported from here on.
    from miscnn.neural_network.architecture import UNetStandard
    from miscnn.neural_network.losses import TanimotoCrossEntropy

    model = miscnn.NeuralNetwork(
        preprocessor,
        architecture=UNetStandard(n_filters=8, depth=3, normalization="instance"),
        loss=TanimotoCrossEntropy(),
        learning_rate=3e-3,
        workers=2,
    )
    result = cross_validation(
        indices,
        model,
        splitter=SliceSortedKFold(folds),
        epochs=epochs,
        iterations=40 if not arguments.quick else 10,
        evaluation_path=arguments.output / "evaluation",
        class_names=("background", "tumour"),
        draw_figures=True,
    )
    print(result.summary())
    print(f"\nFiles: {arguments.output}")


if __name__ == "__main__":
    main()
