"""Scores of single subjects: predict, read back, compare on the native grid."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn._text import write_tsv
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._prediction_grid import on_image_grid
from miscnn.evaluation._probabilities import predict_with_probabilities, read_probabilities
from miscnn.evaluation._sample_scores import (
    ClassNames,
    SampleScores,
    class_names_by_label,
    sample_scores,
    score_sample,
    without_ignored,
)
from miscnn.evaluation.calibration_table import CalibrationTable
from miscnn.evaluation.lesion_table import LesionTable
from miscnn.evaluation.preview import FOLDER as PREVIEWS
from miscnn.evaluation.preview import preview_name, write_preview
from miscnn.evaluation.scores import dice
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.summary import GROUPINGS, ScoreTable, summarise

__all__ = [
    "NOT_SCORED",
    "ClassNames",
    "EvaluatedModel",
    "EvaluationData",
    "EvaluationInterface",
    "class_names_by_label",
    "compute_dice",
    "detailed_validation",
    "discard_previews",
    "load_predicted",
    "names_or_those_of_the_data",
    "score_sample",
    "without_ignored",
    "write_not_scored",
    "write_scores",
    "write_tables",
]

NOT_SCORED = "not_scored.tsv"
"""Table of the subjects without scores (sample, reason); there is none if all have them."""


class EvaluationInterface(Protocol):
    """The part of a data interface that evaluation needs."""

    @property
    def classes(self) -> int:
        """Number of classes, background included."""

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a segmentation."""


class EvaluationData(Protocol):
    """The part of a ``DataIO`` that evaluation needs."""

    @property
    def interface(self) -> EvaluationInterface:
        """The data interface."""

    def sample_loader(self, index: str, load_seg: bool = True, load_pred: bool = False) -> Sample:
        """Read a subject."""

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read a prediction that was saved to a folder."""

    def geometry(self, index: str) -> Geometry:
        """Return the grid of a subject, from its header."""


class EvaluatedModel(Protocol):
    """What can be evaluated: a ``NeuralNetwork``, or whatever has these methods.

    ``preprocessor.data_io`` is the data set (:class:`EvaluationData`). ``train`` and
    ``evaluate`` return an object with a dictionary ``history`` and the methods
    ``to_tsv(path)`` and ``plot(path)``. Not required, but written down with each fold and
    compared when a run is resumed: ``architecture``, ``loss``, ``learning_rate``, ``seed``, and
    the preprocessor's ``get_config()``. A model with ``load_checkpoint``, whose ``train`` and
    ``evaluate`` take ``checkpoint_path``, is handed all the options of ``NeuralNetwork``.
    """

    @property
    def preprocessor(self) -> Any:
        """The recipe of the data."""

    def reset(self) -> None:
        """Forget everything that was learned: weights, optimizer, fitted statistics."""

    def train(
        self,
        sample_list: Sequence[str],
        /,
        *,
        epochs: int,
        iterations: int | None,
        callbacks: Sequence[Any],
        verbose: int,
    ) -> Any:
        """Train and return the history."""

    def evaluate(
        self,
        training_samples: Sequence[str],
        validation_samples: Sequence[str],
        /,
        *,
        epochs: int,
        iterations: int | None,
        callbacks: Sequence[Any],
        verbose: int,
        restore_best: bool,
    ) -> Any:
        """Train with validation after every epoch and return the history."""

    def predict(
        self, sample_list: Sequence[str], /, *, output_path: str | Path | None, verbose: int
    ) -> Any:
        """Predict subjects and save the label maps to a folder."""

    def dump(self, file_path: str | Path, /) -> None:
        """Write the weights."""


def detailed_validation(
    validation_samples: Sequence[str],
    model: EvaluatedModel,
    evaluation_path: str | os.PathLike[str] = "evaluation",
    *,
    output_path: str | os.PathLike[str] | None = None,
    class_names: ClassNames = None,
    fold: int = 0,
    verbose: int = 1,
    scoring: Scoring | None = None,
    previews: bool = True,
) -> ScoreTable:
    """Predict subjects, read the predictions back and score each of them.

    Parameters
    ----------
    validation_samples : sequence of str
        Indices of subjects with a segmentation.
    model : NeuralNetwork
    evaluation_path : path
        Gets ``detailed_validation.tsv`` (one line per subject, columns
        ``<metric>_class-<label>``), ``scores.tsv`` (the tidy table) and ``summary.tsv``; of
        lesions ``lesions.tsv``, of probabilities ``calibration.tsv``.
    output_path : path, optional
        Folder for the predictions. Default: ``<evaluation_path>/predictions``.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label. Default: those of the data
        interface.
    fold : int
        Number in the column ``fold``.
    verbose : int
        0 shows no progress bar.
    scoring : Scoring, optional
        Which scores. With ``calibration=True`` the model writes its probabilities beside the label
        maps (``<index>_probabilities…``, as many float32 volumes as there are classes); they are
        read back one subject at a time, and stay.
    previews : bool
        Whether a small copy of each subject is written to ``<evaluation_path>/previews``, which
        reports show.

    Returns
    -------
    ScoreTable
        The scores of all foreground classes (:mod:`miscnn.evaluation.scores`), volume by volume
        in mm on the grid of the input; then those of the preprocessor's regions of several
        labels. The slices
        are those across the preprocessor's ``slice_axis``; where it gives none, across that of
        each scan's geometry.

    Raises
    ------
    ConfigurationError
        If calibration is asked for of a model that gives no probabilities.
    """
    scoring = Scoring() if scoring is None else scoring
    class_names = names_or_those_of_the_data(class_names, model)
    names = class_names_by_label(class_names, model.preprocessor.data_io.interface.classes)
    folder = Path(evaluation_path)
    target = folder / "predictions" if output_path is None else Path(output_path)
    samples = [str(index) for index in validation_samples]
    if scoring.calibration:
        predict_with_probabilities(model, samples, target, verbose)
    else:
        model.predict(samples, output_path=target, verbose=verbose)
    found: list[SampleScores] = []
    data_io = model.preprocessor.data_io
    slice_axis = getattr(model.preprocessor, "slice_axis", None)
    regions = getattr(model.preprocessor, "regions", None)
    for index in tqdm(samples, desc="scoring", unit="sample", disable=not verbose):
        sample = load_predicted(data_io, index, target)
        if slice_axis is not None:
            sample.geometry = sample.geometry.with_slice_axis(slice_axis)
        probabilities = read_probabilities(data_io, index, target) if scoring.calibration else None
        found.append(sample_scores(sample, names, fold, regions, scoring, probabilities))
        if previews:
            write_preview(sample, folder / PREVIEWS, names)
    discard_previews(folder, samples if previews else ())
    return write_tables(found, folder, scoring)


def discard_previews(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove the previews of an earlier run: they show other predictions."""
    names = {preview_name(index) for index in keep}
    for path in (folder / PREVIEWS).glob("*.npz"):
        if path.name not in names:
            path.unlink()
    if (folder / PREVIEWS).is_dir() and not any((folder / PREVIEWS).iterdir()):
        (folder / PREVIEWS).rmdir()


def write_tables(found: Sequence[SampleScores], folder: Path, scoring: Scoring) -> ScoreTable:
    """Write all tables of a set of subjects, and remove those of an earlier run; return the first.

    What was not asked for is not there.
    """
    table = ScoreTable([row for each in found for row in each.rows])
    write_scores(table, folder)
    write_not_scored({}, folder)
    lesions = LesionTable([row for each in found for row in each.lesions])
    calibration = CalibrationTable([row for each in found for row in each.calibration])
    for wanted, name, more in (
        (scoring.lesions, "lesions.tsv", lesions),
        (scoring.calibration, "calibration.tsv", calibration),
    ):
        if wanted:
            more.to_tsv(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return table


def write_not_scored(reasons: Mapping[str, str], folder: Path) -> None:
    """Write who was not scored, and why; remove the table of an earlier run if all were."""
    if reasons:
        write_tsv(folder / NOT_SCORED, ("sample", "reason"), reasons.items())
    else:
        (folder / NOT_SCORED).unlink(missing_ok=True)


def write_scores(table: ScoreTable, folder: Path, seed: int = 0) -> None:
    """Write the tidy table, the wide one and the summary, with all groupings, of subjects."""
    table.to_tsv(folder / "scores.tsv")
    table.to_wide_tsv(folder / "detailed_validation.tsv")
    # Tables of earlier runs may lack the volumes that groups by size need.
    summarise(table.rows, GROUPINGS, seed).to_tsv(folder / "summary.tsv")


def load_predicted(data_io: EvaluationData, index: str, output_path: str | Path) -> Sample:
    """Read a subject with its segmentation and the prediction saved to ``output_path``.

    A prediction whose axes are stored in another order or direction is turned to the image's.

    Raises
    ------
    GridMismatchError
        If its file says that it lies elsewhere than the image.
    """
    # The smaller one first: a missing prediction costs no image.
    prediction = data_io.load_prediction(index, output_path)
    sample = data_io.sample_loader(index, load_seg=True)
    sample.add_prediction(
        on_image_grid(prediction, data_io.interface, index, Path(output_path), sample.geometry)
    )
    return sample


def names_or_those_of_the_data(class_names: ClassNames, model: EvaluatedModel) -> ClassNames:
    """Return the names that were given, else the data interface's ``class_names`` if it has any."""
    if class_names is not None:
        return class_names
    return getattr(model.preprocessor.data_io.interface, "class_names", None)


def compute_dice(truth: NDArray[Any], pred: NDArray[Any], classes: int) -> list[float]:
    """Return the Dice coefficients of all classes, background included (MIScnn 1.x).

    NaN for a class that is in neither label map.
    """
    truth, pred = np.squeeze(truth), np.squeeze(pred)
    return [dice(truth == label, pred == label) for label in range(classes)]
