"""The whole path in one command: phantom volumes to evaluated predictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.datasets.phantom import write_dataset
from miscnn.evaluation import SliceSortedKFold, cross_validation
from miscnn.evaluation.cross_validation import CrossValidationResult
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing

_ITERATIONS = 40
CLASS_NAMES = ("background", "kidney", "tumour")
"""Names of the phantom's classes, background first."""


def run_demo(
    folder: str | Path = "miscnn-demo",
    subjects: int = 15,
    folds: int = 3,
    epochs: int = 7,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> CrossValidationResult:
    """Make CT phantoms, train on them under cross-validation, predict, and evaluate.

    Parameters
    ----------
    folder : path
        Everything is written below it: ``data``, ``evaluation``, ``batches``.
    subjects, folds, epochs, seed : int
        Number of phantoms, of folds, of epochs per fold, and what all is drawn from.
    say : callable
        Takes a line of text for the person who watches.

    Returns
    -------
    CrossValidationResult
    """
    from miscnn._keras import keras
    from miscnn.neural_network.architecture import UNetStandard
    from miscnn.neural_network.losses import TanimotoCrossEntropy
    from miscnn.neural_network.model import NeuralNetwork

    begin = time.monotonic()
    folder = Path(folder)
    data = folder / "data"

    say(f"1/4  Writing {subjects} CT phantoms with kidneys and tumours to {data}")
    write_dataset(data, subjects=subjects, seed=seed)

    say("2/4  Verifying them")
    data_io = DataIO(
        NIfTIInterface(channels=1, classes=len(CLASS_NAMES)),
        data,
        output_path=str(folder / "predictions"),
        batch_path=str(folder / "batches"),
    )
    report = data_io.verify()
    say(str(report))
    if not report.ok:
        raise ConfigurationError(f"the phantoms in {data} are damaged; delete the folder")

    say(f"3/4  Training and predicting in {folds} folds, sorted by the number of slices")
    preprocessor = Preprocessor(
        data_io,
        batch_size=2,
        subfunctions=[
            Resampling((4.5, 4.5, 5.0)),
            Windowing(bounds=(-50, 250)),
            Normalization("z-score", statistics="dataset", subset=6),
        ],
        # Few steps on few subjects: mild changes, which do not slow the learning down.
        data_aug=GeneralAugmentation(rotation=None, gamma=None, contrast=None),
        analysis="patchwise-crop",
        patch_shape=(64, 64, 24),
        foreground_oversampling=0.5,
        seed=seed,
    )
    model = NeuralNetwork(
        preprocessor,
        architecture=UNetStandard(
            n_filters=8,
            depth=4,
            normalization="instance",
            pool_size=((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)),  # few slices are left
        ),
        loss=TanimotoCrossEntropy(include_background=False, reduction_axes="batch"),
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(
                1e-4, epochs * _ITERATIONS - 10, warmup_target=8e-3, warmup_steps=10
            )
        ),
    )
    result = cross_validation(
        data_io.get_indiceslist(),
        model,
        splitter=SliceSortedKFold(folds),
        epochs=epochs,
        iterations=_ITERATIONS,
        evaluation_path=folder / "evaluation",
        class_names=CLASS_NAMES,
        draw_figures=True,
    )

    say("4/4  Scores of subjects that their network has not seen")
    say(str(result.summary()))
    minutes, seconds = divmod(round(time.monotonic() - begin), 60)
    say(f"Done in {minutes} min {seconds} s. What to look at:")
    evaluation = folder / "evaluation"
    for path, what in (
        (evaluation / "scores.tsv", "every score of every subject"),
        (evaluation / "summary.tsv", "the table above"),
        (evaluation, "box plots; per fold: predictions, overlays, training curve, network"),
        (data, "the phantoms as NIfTI files"),
    ):
        say(f"  {path}  {what}")
    return result
