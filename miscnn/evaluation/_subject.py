"""All scores of all classes of one subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
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

_MOST_VALUES = 8


class ClassScore(NamedTuple):
    """One score of one class."""

    label: int
    metric: str
    value: float


def told_no_classes(prediction: NDArray[Any], classes: int) -> str:
    """Tell which labels of a prediction are no classes; an empty text if all are."""
    if prediction.size == 0 or prediction.max() < classes:
        return ""
    values, counts = np.unique(prediction[prediction >= classes], return_counts=True)
    if not len(values):
        return ""  # not a number, which is told elsewhere
    shown = ", ".join(f"{value:g}" for value in values[:_MOST_VALUES])
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return (
        f"the prediction holds {shown}{more} in {counts.sum()} voxel(s), but the classes are "
        f"0 … {classes - 1}; write the classes' numbers into it (1, not 255, for a mask of 0 and "
        "255), or say what its values mean (label_values, where the segmentations have them too)"
    )


def volume_scores(
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
    """Compute the scores of every class that need neither probabilities nor lesions.

    Arguments, order and errors are those of :func:`~miscnn.evaluation.score_subject`.

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
    if isinstance(classes, (int, np.integer)) and (odd := told_no_classes(prediction, classes)):
        raise ConfigurationError(odd)
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
