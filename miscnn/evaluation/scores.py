"""Scores of one prediction against the truth, volume by volume, in mm.

Pure functions over arrays and a spacing. A mask is an array whose non-zero elements belong
to the object. TP, FP and FN are numbers of voxels; V is a volume.

==================  =======================  ===========  ===========  ===========  ========
score               definition               both empty   truth empty  prediction   best
                                                                       empty
==================  =======================  ===========  ===========  ===========  ========
dice                2 TP / (2 TP + FP + FN)  nan          0            0            1
dice_roi            see below                nan          nan, 0       0            1
jaccard             TP / (TP + FP + FN)      nan          0            0            1
sensitivity         TP / (TP + FN)           nan          nan          0            1
precision           TP / (TP + FP)           nan          0            nan          1
volume_error        (V_pred - V_true)        nan          inf          -1           0
                    / V_true
hd95_mm             see below                nan          inf          inf          0
assd_mm             see below                nan          inf          inf          0
volume_truth_ml,    voxels x voxel volume    0            0, V         V, 0         —
volume_prediction…
==================  =======================  ===========  ===========  ===========  ========

``nan`` means *undefined* (0 / 0), ``inf`` means that there is nothing to measure the distance
to. Neither is ever left out in silence: :mod:`miscnn.evaluation.summary` counts both.

*dice_roi.* The Dice coefficient over those slices of the volume in which the truth has any
foreground class; all other slices are left out, for every class. It is how the CT paper
(Sci Rep 2020, s41598-020-67544-y) seems to have scored: it leaves out background slices "since
these are also not considered in the test phase". What is predicted beyond the ends of an organ is
no error then, so ``dice_roi`` is never below ``dice``, except that it is undefined where ``dice``
is 0 because the truth is empty and all that was predicted lies in other slices.

*Surface.* The border voxels of the mask: those with a face neighbour outside it. Outside the
image is outside the mask, so that an object that touches the border of the image has a closed
surface there; a single voxel is its own surface. Distances run between voxel centres.

*hd95_mm.* From each surface voxel to the nearest one of the other surface; the 95th percentile
(linear interpolation) of truth to prediction and of prediction to truth; the larger of the two.
Reference: Huttenlocher et al., IEEE TPAMI 15:850, 1993 (percentile in place of the maximum).

*assd_mm.* The mean of the same distances over the voxels of both surfaces together.
Reference: Heimann et al., IEEE TMI 28:1251, 2009.

In 2D the sizes are areas: ``area_truth_mm2`` and ``area_prediction_mm2``, and there is no
``dice_roi``. The axes of the grid are taken as orthogonal.

:func:`squared_dice` is a score of its own for probabilities, and in no table: for masks it is
``dice``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from miscnn.evaluation._arrays import (
    as_label_map,
    as_masks,
    as_probabilities,
    check_shapes,
    checked_spacing,
    cut_to_object,
    inner_product,
    joint_box,
    labels_to_score,
    mask_of,
)
from miscnn.evaluation._surface import surface_distances
from miscnn.exceptions import ConfigurationError

_UNDEFINED = float("nan")


@dataclass(frozen=True)
class Metric:
    """What a score is called and which values of it are good.

    Parameters
    ----------
    name : str
        Name in tables and files.
    title : str
        Name in figures, with the unit.
    best : {"high", "low", "zero", "none"}
        Which values are good; ``"none"`` for quantities that are no judgement.
    """

    name: str
    title: str
    best: Literal["high", "low", "zero", "none"]


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("dice", "Dice", "high"),
            Metric("dice_roi", "Dice in slices with truth", "high"),
            Metric("jaccard", "Jaccard", "high"),
            Metric("sensitivity", "Sensitivity", "high"),
            Metric("precision", "Precision", "high"),
            Metric("volume_error", "Relative volume error", "zero"),
            Metric("hd95_mm", "95 % Hausdorff distance (mm)", "low"),
            Metric("assd_mm", "Average symmetric surface distance (mm)", "low"),
            Metric("volume_truth_ml", "True volume (ml)", "none"),
            Metric("volume_prediction_ml", "Predicted volume (ml)", "none"),
            Metric("area_truth_mm2", "True area (mm²)", "none"),
            Metric("area_prediction_mm2", "Predicted area (mm²)", "none"),
        )
    }
)


class ClassScore(NamedTuple):
    """One score of one class."""

    label: int
    metric: str
    value: float


@dataclass(frozen=True)
class _Counts:
    truth: int
    prediction: int
    both: int

    def dice(self) -> float:
        return _ratio(2 * self.both, self.truth + self.prediction)

    def jaccard(self) -> float:
        return _ratio(self.both, self.truth + self.prediction - self.both)

    def sensitivity(self) -> float:
        return _ratio(self.both, self.truth)

    def precision(self) -> float:
        return _ratio(self.both, self.prediction)

    def volume_error(self) -> float:
        if self.truth == 0 and self.prediction > 0:
            return float("inf")
        return _ratio(self.prediction - self.truth, self.truth)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else _UNDEFINED


def dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the Dice coefficient (Dice, Ecology 26:297, 1945); NaN if both masks are empty.

    Parameters
    ----------
    truth, prediction : array_like
        Masks of one shape; non-zero elements belong to the object.

    Raises
    ------
    ConfigurationError
        If the shapes differ.

    Examples
    --------
    >>> dice([[1, 1, 0]], [[0, 1, 0]])
    0.6666666666666666
    """
    return _counts(*as_masks(truth, prediction)).dice()


def squared_dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return Dice with squared norms, 2 ⟨p, y⟩ / (‖p‖² + ‖y‖²); NaN if both are empty.

    Equal to :func:`dice` for masks. In float64 whatever the dtype.

    Parameters
    ----------
    truth, prediction : array_like
        Of one shape. Booleans and integers are masks, whose non-zero elements belong to the
        object; floats are probabilities in [0, 1].

    Raises
    ------
    ConfigurationError
        If the shapes differ, or a float lies outside of [0, 1].

    References
    ----------
    Eq. 2 of the robust-CT-segmentation paper (Sci Rep 2020, s41598-020-67544-y).

    Examples
    --------
    >>> squared_dice([1, 1, 0], [0.5, 1.0, 0.0])  # 2 · 1.5 / (1.25 + 2)
    0.9230769230769231
    """
    first, second = as_probabilities(truth, "truth"), as_probabilities(prediction, "prediction")
    check_shapes(first, second)
    norms = inner_product(first, first) + inner_product(second, second)
    return 2.0 * inner_product(first, second) / norms if norms else _UNDEFINED


def jaccard(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the Jaccard index, intersection over union; NaN if both masks are empty."""
    return _counts(*as_masks(truth, prediction)).jaccard()


def sensitivity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the truth that was found; NaN if the truth is empty."""
    return _counts(*as_masks(truth, prediction)).sensitivity()


def precision(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the prediction that is right; NaN if the prediction is empty."""
    return _counts(*as_masks(truth, prediction)).precision()


def volume_error(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the signed relative error of the volume; positive if too much was predicted.

    −1 if nothing was predicted, infinite if the truth is empty and the prediction is not, NaN
    if both are.
    """
    return _counts(*as_masks(truth, prediction)).volume_error()


def volume_ml(mask: ArrayLike, spacing: Sequence[float]) -> float:
    """Return the volume of a 3D mask in millilitres.

    Parameters
    ----------
    mask : array_like
        Shape (x, y, z).
    spacing : sequence of float
        Voxel size per axis in mm.
    """
    array = np.asarray(mask)
    if array.ndim != 3:
        raise ConfigurationError(f"a volume has 3 axes, got a mask of shape {array.shape}")
    spacing = checked_spacing(spacing, 3)
    return int(np.count_nonzero(array)) * float(np.prod(spacing)) / 1000.0


def hausdorff_distance_95(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the 95 % Hausdorff distance in mm: the larger of the two directed percentiles.

    Parameters
    ----------
    truth, prediction : array_like
        Masks of one shape with 2 or 3 axes.
    spacing : sequence of float
        Voxel size per axis in mm.

    Returns
    -------
    float
        NaN if both masks are empty, infinite if one is.
    """
    masks = as_masks(truth, prediction)
    spacing = checked_spacing(spacing, masks[0].ndim)
    return surface_distances(*cut_to_object(*masks), spacing).hausdorff(95.0)


def average_symmetric_surface_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the mean distance in mm over the surface voxels of both masks.

    Parameters and special values as in :func:`hausdorff_distance_95`.
    """
    masks = as_masks(truth, prediction)
    spacing = checked_spacing(spacing, masks[0].ndim)
    return surface_distances(*cut_to_object(*masks), spacing).mean()


def score_subject(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    classes: int | Sequence[int],
    spacing: Sequence[float],
    slice_axis: int | None = None,
    regions: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> list[ClassScore]:
    """Compute every score of every class of one subject.

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

    Returns
    -------
    list of ClassScore
        ``(label, metric, value)``, class by class, the metrics in the order of the table in
        :mod:`miscnn.evaluation.scores`.

    Raises
    ------
    ConfigurationError
        If shapes, spacing or ``slice_axis`` do not fit, or a label map holds negative or
        fractional values.

    Notes
    -----
    Each class is cut to the box that holds it in both maps before anything is measured.
    """
    truth, prediction = as_label_map(truth, "truth"), as_label_map(prediction, "prediction")
    check_shapes(truth, prediction)
    spacing = checked_spacing(spacing, truth.ndim)
    if slice_axis is not None and not 0 <= slice_axis < truth.ndim:
        raise ConfigurationError(
            f"slice_axis must be one of 0 … {truth.ndim - 1}, got {slice_axis}"
        )
    if truth.ndim == 3 and truth.flags.f_contiguous and not truth.flags.c_contiguous:
        # Files are read in Fortran order; no score depends on the order of the axes.
        truth, prediction, spacing = truth.T, prediction.T, spacing[::-1]
        slice_axis = None if slice_axis is None else 2 - slice_axis
    roi: _Roi | None = None
    if slice_axis is not None and truth.ndim == 3:
        others = tuple(axis for axis in range(3) if axis != slice_axis)
        roi = _Roi(slice_axis, np.any(truth, axis=others))
    groups = {**{label: (label,) for label in labels_to_score(classes)}, **regions}
    highest = max((label for labels in groups.values() for label in labels), default=0)
    boxes = [ndimage.find_objects(array, max_label=highest) for array in (truth, prediction)]
    rows: list[ClassScore] = []
    for number, labels in groups.items():
        box = (slice(None),) * truth.ndim
        if min(labels) > 0:
            box = joint_box((found[label - 1] for found in boxes for label in labels), truth.ndim)
        masks = mask_of(truth[box], labels), mask_of(prediction[box], labels)
        inside = None if roi is None else _Roi(roi.axis, roi.slices[box[roi.axis]])
        values = _score_masks(*masks, spacing, inside)
        rows.extend(ClassScore(number, metric, value) for metric, value in values.items())
    return rows


class _Roi(NamedTuple):
    """Which slices hold any foreground of the truth."""

    axis: int
    slices: NDArray[np.bool_]

    def dice(
        self, truth: NDArray[np.bool_], prediction: NDArray[np.bool_], counts: _Counts
    ) -> float:
        if not self.slices.all():
            cut = (np.compress(self.slices, mask, self.axis) for mask in (truth, prediction))
            counts = _counts(*cut)
        return counts.dice()


def _score_masks(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing: Sequence[float],
    roi: _Roi | None,
) -> dict[str, float]:
    counts = _counts(truth, prediction)
    distances = surface_distances(truth, prediction, spacing)
    size, unit = float(np.prod(spacing)), ("area", "mm2")
    if truth.ndim == 3:
        size, unit = size / 1000.0, ("volume", "ml")
    return {
        "dice": counts.dice(),
        **({} if roi is None else {"dice_roi": roi.dice(truth, prediction, counts)}),
        "jaccard": counts.jaccard(),
        "sensitivity": counts.sensitivity(),
        "precision": counts.precision(),
        "volume_error": counts.volume_error(),
        "hd95_mm": distances.hausdorff(95.0),
        "assd_mm": distances.mean(),
        f"{unit[0]}_truth_{unit[1]}": counts.truth * size,
        f"{unit[0]}_prediction_{unit[1]}": counts.prediction * size,
    }


def _counts(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> _Counts:
    return _Counts(
        truth=int(np.count_nonzero(truth)),
        prediction=int(np.count_nonzero(prediction)),
        both=int(np.count_nonzero(truth & prediction)),
    )
