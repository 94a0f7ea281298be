"""Scores of one subject, class by class: of volumes, of lesions, of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._arrays import as_label_map, mask_of
from miscnn.evaluation._boxes import extent, joint_box
from miscnn.evaluation._subject import told_no_classes, volume_scores
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.summary import ScoreRow
from miscnn.exceptions import ConfigurationError, GridMismatchError, LabelError, SampleError
from miscnn.processing.regions import Regions

if TYPE_CHECKING:
    from miscnn.evaluation.calibration_table import CalibrationRow
    from miscnn.evaluation.lesion_table import LesionRow

ClassNames = Mapping[int, str] | Sequence[str] | None


class SampleScores(NamedTuple):
    """What was found out about one subject."""

    rows: list[ScoreRow]
    lesions: list[LesionRow]
    calibration: list[CalibrationRow]


class _Subject(NamedTuple):
    """One subject, as all scores look at it.

    ``truth`` and ``prediction`` have background where nobody has annotated; ``groups`` are the
    labels of each class and region, by the number that stands for it, and ``names`` are theirs.
    """

    sample: Sample
    truth: NDArray[Any]
    prediction: NDArray[Any]
    names: dict[int, str]
    groups: dict[int, tuple[int, ...]]
    fold: int
    scoring: Scoring

    def row(self, label: int, metric: str, value: float) -> ScoreRow:
        n_slices, thickness = _slices(self.sample.geometry)
        return ScoreRow(
            self.fold, self.sample.index, label, self.names[label], metric, value, n_slices,
            thickness,
        )  # fmt: skip


def score_sample(
    sample: Sample,
    class_names: ClassNames = None,
    fold: int = 0,
    regions: Regions | None = None,
    *,
    scoring: Scoring | None = None,
    probabilities: NDArray[Any] | None = None,
) -> list[ScoreRow]:
    """Score the prediction of a sample against its segmentation.

    Regions, which are unions of labels, follow after the classes under their own names; in place
    of a label they have ``classes`` plus their number. Those of a single label are that class
    already and are not scored again. One that is called like a class is told as ``<name>
    (region)``. Voxels of the data set's ignore label count as background in both, see
    :func:`without_ignored`.

    Parameters
    ----------
    sample : Sample
        With segmentation and prediction.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    fold : int
        Number in the column ``fold``.
    regions : Regions, optional
        Those of the preprocessor.
    scoring : Scoring, optional
        Which scores. Those of lesions and of calibration follow the others.
    probabilities : ndarray, optional
        Shape (x, y[, z], classes or regions); needed for ``Scoring(calibration=True)``.

    Raises
    ------
    SampleError
        If segmentation or prediction is missing.
    GridMismatchError
        If they have different shapes.
    LabelError
        If the prediction holds labels that are no classes.
    ConfigurationError
        If calibration is asked for, and there are no probabilities.
    """
    return sample_scores(sample, class_names, fold, regions, scoring, probabilities).rows


def sample_scores(
    sample: Sample,
    class_names: ClassNames = None,
    fold: int = 0,
    regions: Regions | None = None,
    scoring: Scoring | None = None,
    probabilities: NDArray[Any] | None = None,
) -> SampleScores:
    """Return the rows of all tables; see :func:`score_sample`."""
    if sample.segmentation is None or sample.prediction is None:
        missing = "segmentation" if sample.segmentation is None else "prediction"
        raise SampleError(sample.index, f"there is no {missing}; scores need both")
    scoring = Scoring() if scoring is None else scoring
    truth, prediction = sample.segmentation[..., 0], sample.prediction
    if prediction.shape != truth.shape:
        raise GridMismatchError(
            sample.index,
            f"the prediction has shape {prediction.shape}, the segmentation {truth.shape}; "
            "scores are computed on the grid of the input, from label maps",
        )
    if scoring.calibration and probabilities is None:
        raise ConfigurationError(
            "Scoring(calibration=True) judges probabilities, and there are none: hand them in "
            "(probabilities=), or score label maps without it"
        )
    truth, prediction = without_ignored(truth, prediction, sample.ignore_label)
    if odd := told_no_classes(prediction, sample.classes):
        raise LabelError(sample.index, odd)
    names = class_names_by_label(class_names, sample.classes)
    groups: dict[int, tuple[int, ...]] = {label: (label,) for label in range(1, sample.classes)}
    for number, (name, labels) in enumerate(regions.regions if regions else (), sample.classes):
        if len(labels) > 1:
            taken = name in names.values()
            names[number], groups[number] = f"{name} (region)" if taken else name, labels
    subject = _Subject(sample, truth, prediction, names, groups, fold, scoring)
    rows = _volume_rows(subject)
    lesions: list[LesionRow] = []
    calibration: list[CalibrationRow] = []
    if scoring.lesions:
        more, lesions = _lesion_rows(subject)
        rows.extend(more)
    if scoring.calibration and probabilities is not None:
        more, calibration = _calibration_rows(subject, probabilities, regions)
        rows.extend(more)
    return SampleScores(rows, lesions, calibration)


def _volume_rows(subject: _Subject) -> list[ScoreRow]:
    sample, geometry = subject.sample, subject.sample.geometry
    unions = {number: each for number, each in subject.groups.items() if len(each) > 1}
    ignored = _ignored(sample)
    return [
        subject.row(*found)
        for found in volume_scores(
            subject.truth,
            subject.prediction,
            sample.classes,
            geometry.spacing,
            geometry.slice_axis if geometry.ndim == 3 else None,
            unions,
            scoring=subject.scoring,
            voxels=None if ignored is None else int(np.count_nonzero(~ignored)),
        )
    ]


def _lesion_rows(subject: _Subject) -> tuple[list[ScoreRow], list[LesionRow]]:
    from miscnn.evaluation.lesion_table import lesion_rows
    from miscnn.evaluation.lesions import match_lesions

    index, fold, names = subject.sample.index, subject.fold, subject.names
    truth = as_label_map(subject.truth, "truth")
    prediction = as_label_map(subject.prediction, "prediction")
    # Once for all classes, each of which is looked for in what is left only.
    box = joint_box((extent(array) for array in (truth, prediction)), truth.ndim)
    truth, prediction = truth[box], prediction[box]
    scores: list[ScoreRow] = []
    lesions: list[LesionRow] = []
    for number, labels in subject.groups.items():
        masks = mask_of(truth, labels), mask_of(prediction, labels)
        spacing = subject.sample.geometry.spacing
        matches = match_lesions(*masks, spacing, subject.scoring.lesion_iou)
        scores.extend(subject.row(number, *found) for found in matches.scores().items())
        lesions.extend(lesion_rows(matches, fold, index, number, names[number]))
    return scores, lesions


def _calibration_rows(
    subject: _Subject, probabilities: NDArray[Any], regions: Regions | None
) -> tuple[list[ScoreRow], list[CalibrationRow]]:
    from miscnn.evaluation.calibration import measure_calibration

    sample = subject.sample
    outputs: dict[int, tuple[int, ...]] | None = None
    if regions is not None and probabilities.shape[-1] == len(regions.regions):
        outputs = {
            labels[0] if len(labels) == 1 else number: labels
            for number, (_, labels) in enumerate(regions.regions, sample.classes)
        }
    found = measure_calibration(
        probabilities,
        subject.truth,
        sample.geometry.spacing,
        prediction=subject.prediction,
        regions=outputs,
        ignored=_ignored(sample),
    )
    scores = [
        subject.row(number, metric, value)
        for number in subject.groups
        if number in found.labels
        for metric, value in (("ece", found.ece(number)), ("brier", found.brier(number)))
    ]
    return scores, found.rows(subject.fold, sample.index, subject.names)


def _ignored(sample: Sample) -> NDArray[np.bool_] | None:
    if sample.ignore_label is None or sample.segmentation is None:
        return None
    ignored: NDArray[np.bool_] = sample.segmentation[..., 0] == sample.ignore_label
    return ignored if ignored.any() else None


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


def _slices(geometry: Geometry) -> tuple[int, float]:
    # A 2D image is one slice of unknown thickness.
    if geometry.ndim == 2:
        return 1, float("nan")
    return geometry.n_slices, geometry.slice_thickness
