"""All scores of one subject that need no probabilities: of voxels, surfaces and lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from miscnn.evaluation._arrays import as_label_map, labels_to_score, mask_of
from miscnn.evaluation._subject import ClassScore, volume_scores
from miscnn.evaluation.lesions import lesion_scores
from miscnn.evaluation.scoring import Scoring
from miscnn.exceptions import ConfigurationError


def score_subject(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    classes: int | Sequence[int],
    spacing: Sequence[float],
    slice_axis: int | None = None,
    regions: Mapping[int, Sequence[int]] = MappingProxyType({}),
    *,
    scoring: Scoring | None = None,
    voxels: int | None = None,
) -> list[ClassScore]:
    """Compute the scores of every class of one subject.

    Parameters
    ----------
    truth, prediction : ndarray of int
        Label maps of one shape with 2 or 3 axes.
    classes : int or sequence of int
        Number of classes, background included: the labels 1 … classes − 1 are scored. Or the
        labels to score.
    spacing : sequence of float
        Voxel size per axis in mm.
    slice_axis : int, optional
        Axis across the slices, for ``dice_roi``; without it (the spacing alone does not tell
        which it is) and in 2D there is no ``dice_roi``.
    regions : mapping of int to sequence of int, optional
        Unions of labels to score besides, by the number that stands for their label in the result.
    scoring : Scoring, optional
        Which scores. Those of probabilities are
        :func:`~miscnn.evaluation.detailed_validation.score_sample`'s.
    voxels : int, optional
        Number of voxels that ``specificity`` is of, if some of the image do not count.

    Returns
    -------
    list of ClassScore
        ``(label, metric, value)``, class by class, the metrics in the order of :data:`METRICS`;
        after them the lesions, class by class, if ``scoring`` asks for them.

    Raises
    ------
    ConfigurationError
        If shapes, spacing or ``slice_axis`` do not fit, a label map holds negative or fractional
        values, the prediction labels that are none of ``classes``, a number, or ``scoring`` asks
        for calibration.
    """
    scoring = Scoring() if scoring is None else scoring
    if scoring.calibration:
        raise ConfigurationError(
            "Scoring(calibration=True) judges probabilities, and score_subject has label maps "
            "only: take score_sample(..., probabilities=), or Scoring without calibration"
        )
    rows = volume_scores(
        truth, prediction, classes, spacing, slice_axis, regions, scoring=scoring, voxels=voxels
    )
    if scoring.lesions:
        maps = as_label_map(truth, "truth"), as_label_map(prediction, "prediction")
        groups = {**{label: (label,) for label in labels_to_score(classes)}, **regions}
        for number, labels in groups.items():
            truth_mask, predicted_mask = (mask_of(each, labels) for each in maps)
            found = lesion_scores(truth_mask, predicted_mask, spacing, scoring.lesion_iou)
            rows.extend(ClassScore(number, *score) for score in found.items())
    return rows
