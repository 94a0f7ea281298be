"""Scores of single subjects: predict, read back, compare on the native grid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.scores import dice, score_subject
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError, GridMismatchError, SampleError
from miscnn.processing.regions import Regions

ClassNames = Mapping[int, str] | Sequence[str] | None


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
) -> ScoreTable:
    """Predict subjects, read the predictions back and score each of them.

    Parameters
    ----------
    validation_samples : sequence of str
        Indices of subjects with a segmentation.
    model : NeuralNetwork
    evaluation_path : path
        Gets ``detailed_validation.tsv`` (one line per subject, columns
        ``<metric>_class-<label>``), ``scores.tsv`` (the tidy table) and ``summary.tsv``.
    output_path : path, optional
        Folder for the predictions. Default: ``<evaluation_path>/predictions``.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label. Default: those of the data
        interface.
    fold : int
        Number in the column ``fold``.
    verbose : int
        0 shows no progress bar.

    Returns
    -------
    ScoreTable
        All scores of all foreground classes (:mod:`miscnn.evaluation.scores`), volume by volume
        in mm on the grid of the input; then those of the preprocessor's regions of several
        labels. The slices
        are those across the preprocessor's ``slice_axis``; where it gives none, across that of
        each scan's geometry.
    """
    class_names = names_or_those_of_the_data(class_names, model)
    names = class_names_by_label(class_names, model.preprocessor.data_io.interface.classes)
    folder = Path(evaluation_path)
    target = folder / "predictions" if output_path is None else Path(output_path)
    samples = [str(index) for index in validation_samples]
    model.predict(samples, output_path=target, verbose=verbose)
    rows: list[ScoreRow] = []
    slice_axis = getattr(model.preprocessor, "slice_axis", None)
    regions = getattr(model.preprocessor, "regions", None)
    for index in tqdm(samples, desc="scoring", unit="sample", disable=not verbose):
        sample = load_predicted(model.preprocessor.data_io, index, target)
        if slice_axis is not None:
            sample.geometry = sample.geometry.with_slice_axis(slice_axis)
        rows.extend(score_sample(sample, names, fold, regions))
    table = ScoreTable(rows)
    write_scores(table, folder)
    return table


def write_scores(table: ScoreTable, folder: Path, seed: int = 0) -> None:
    """Write the tidy table, the wide one and the summary of a set of subjects."""
    table.to_tsv(folder / "scores.tsv")
    table.to_wide_tsv(folder / "detailed_validation.tsv")
    table.summary(seed).to_tsv(folder / "summary.tsv")


def load_predicted(data_io: EvaluationData, index: str, output_path: str | Path) -> Sample:
    """Read a subject with its segmentation and the prediction saved to ``output_path``."""
    sample = data_io.sample_loader(index, load_seg=True)
    sample.add_prediction(data_io.load_prediction(index, output_path))
    return sample


def score_sample(
    sample: Sample,
    class_names: ClassNames = None,
    fold: int = 0,
    regions: Regions | None = None,
) -> list[ScoreRow]:
    """Score the prediction of a sample against its segmentation.

    Regions, which are unions of labels, follow after the classes under their own names; in place
    of a label they have ``classes`` plus their number. Those of a single label are that class
    already and are not scored again. One that is called like a class is told as ``<name>
    (region)``. Voxels of the data set's ignore label count as background in both, see
    :func:`without_ignored`.

    Raises
    ------
    SampleError
        If either is missing.
    GridMismatchError
        If they have different shapes.
    """
    if sample.segmentation is None or sample.prediction is None:
        missing = "segmentation" if sample.segmentation is None else "prediction"
        raise SampleError(sample.index, f"there is no {missing}; scores need both")
    truth, prediction = sample.segmentation[..., 0], sample.prediction
    if prediction.shape != truth.shape:
        raise GridMismatchError(
            sample.index,
            f"the prediction has shape {prediction.shape}, the segmentation {truth.shape}; "
            "scores are computed on the grid of the input, from label maps",
        )
    truth, prediction = without_ignored(truth, prediction, sample.ignore_label)
    names = class_names_by_label(class_names, sample.classes)
    geometry = sample.geometry
    n_slices, thickness = _slices(geometry)
    axis = geometry.slice_axis if geometry.ndim == 3 else None
    unions: dict[int, tuple[int, ...]] = {}
    for number, (name, labels) in enumerate(regions.regions if regions else (), sample.classes):
        if len(labels) > 1:
            taken = name in names.values()
            names[number], unions[number] = f"{name} (region)" if taken else name, labels
    return [
        ScoreRow(fold, sample.index, label, names[label], metric, value, n_slices, thickness)
        for label, metric, value in score_subject(
            truth, prediction, sample.classes, geometry.spacing, axis, unions
        )
    ]


def without_ignored(
    truth: NDArray[Any], prediction: NDArray[Any], ignore_label: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both label maps with the background where the truth has the ignore label.

    What was predicted there is neither right nor wrong; volumes and surfaces are those of what
    is left. The arrays themselves are returned if there is no such voxel.
    """
    if ignore_label is None:
        return truth, prediction
    ignored = truth == ignore_label
    if not ignored.any():
        return truth, prediction
    background = np.zeros((), dtype=truth.dtype)
    return (
        np.where(ignored, background, truth),
        np.where(ignored, background.astype(prediction.dtype), prediction),
    )


def names_or_those_of_the_data(class_names: ClassNames, model: EvaluatedModel) -> ClassNames:
    """Return the names that were given, else the data interface's ``class_names`` if it has any."""
    if class_names is not None:
        return class_names
    return getattr(model.preprocessor.data_io.interface, "class_names", None)


def class_names_by_label(class_names: ClassNames, classes: int) -> dict[int, str]:
    """Return a name for each class; those without one are called ``class-<label>``.

    Raises
    ------
    ConfigurationError
        If there are names for more or fewer classes than there are.
    """
    names = {label: f"class-{label}" for label in range(classes)}
    if class_names is None:
        return names
    if not isinstance(class_names, Mapping):
        if isinstance(class_names, str) or len(class_names) != classes:
            raise ConfigurationError(
                f"class_names must hold one name for each of the {classes} classes, background "
                f"first, got {class_names!r}"
            )
        class_names = dict(enumerate(class_names))
    unknown = sorted(set(class_names) - set(names))
    if unknown:
        raise ConfigurationError(
            f"class_names has names for the labels {unknown}, but there are only 0 … {classes - 1}"
        )
    return {**names, **{label: str(name) for label, name in class_names.items()}}


def compute_dice(truth: NDArray[Any], pred: NDArray[Any], classes: int) -> list[float]:
    """Return the Dice coefficients of all classes, background included (MIScnn 1.x).

    NaN for a class that is in neither label map.
    """
    truth, pred = np.squeeze(truth), np.squeeze(pred)
    return [dice(truth == label, pred == label) for label in range(classes)]


def _slices(geometry: Geometry) -> tuple[int, float]:
    # A 2D image is one slice of unknown thickness.
    if geometry.ndim == 2:
        return 1, float("nan")
    return geometry.n_slices, geometry.slice_thickness
