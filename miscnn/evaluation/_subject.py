"""All scores of all classes of one subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from miscnn.evaluation._arrays import (
    as_label_map,
    check_shapes,
    checked_spacing,
    labels_to_score,
    mask_of,
)
from miscnn.evaluation._boxes import boxes_of_labels, extent, joint_box
from miscnn.evaluation._pair import Pair, Roi
from miscnn.evaluation.scoring import Scoring
from miscnn.exceptions import ConfigurationError


class ClassScore(NamedTuple):
    """One score of one class."""

    label: int
    metric: str
    value: float


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
        Which scores. Those of lesions and of probabilities are
        :func:`~miscnn.evaluation.detailed_validation.score_sample`'s.
    voxels : int, optional
        Number of voxels that ``specificity`` is of, if some of the image do not count.

    Returns
    -------
    list of ClassScore
        ``(label, metric, value)``, class by class, the metrics in the order of :data:`METRICS`.

    Raises
    ------
    ConfigurationError
        If shapes, spacing or ``slice_axis`` do not fit, or a label map holds negative or
        fractional values.

    Notes
    -----
    The image is read once; then each class is cut to the box that holds it in both maps before
    anything is measured.
    """
    truth, prediction = as_label_map(truth, "truth"), as_label_map(prediction, "prediction")
    check_shapes(truth, prediction)
    spacing = checked_spacing(spacing, truth.ndim)
    if slice_axis is not None and not 0 <= slice_axis < truth.ndim:
        raise ConfigurationError(
            f"slice_axis must be one of 0 … {truth.ndim - 1}, got {slice_axis}"
        )
    scoring = Scoring() if scoring is None else scoring
    everything = truth.size if voxels is None else voxels
    turned = truth.flags.f_contiguous and not truth.flags.c_contiguous
    if turned:
        # Files are read in Fortran order; hardly a score depends on the order of the axes.
        truth, prediction, spacing = truth.T, prediction.T, spacing[::-1]
        slice_axis = None if slice_axis is None else truth.ndim - 1 - slice_axis
    groups = {**{label: (label,) for label in labels_to_score(classes)}, **regions}
    if not any(0 in labels for labels in groups.values()):
        box = joint_box((extent(array) for array in (truth, prediction)), truth.ndim)
        truth, prediction = truth[box], prediction[box]
    roi: Roi | None = None
    if slice_axis is not None and truth.ndim == 3 and "dice_roi" in scoring.names:
        others = tuple(axis for axis in range(3) if axis != slice_axis)
        roi = Roi(slice_axis, truth.max(axis=others, initial=0) > 0)
    foreground = [labels for labels in groups.values() if 0 not in labels]
    boxes = iter(boxes_of_labels((truth, prediction), foreground))
    rows: list[ClassScore] = []
    for number, labels in groups.items():
        box = (slice(None),) * truth.ndim if 0 in labels else next(boxes)
        masks = mask_of(truth[box], labels), mask_of(prediction[box], labels)
        inside = None if roi is None else Roi(roi.axis, roi.slices[box[roi.axis]])
        pair = Pair(*masks, spacing, everything, inside, scoring.boundary_width_mm, turned)
        rows.extend(ClassScore(number, *found) for found in pair.values(scoring.names).items())
    return rows
