"""Scores of one prediction against the truth, volume by volume, in mm.

Pure functions over arrays and a spacing. A mask is an array whose non-zero elements belong
to the object. TP, FP and FN are numbers of voxels; V is a volume.

==================  =======================  ===========  ===========  ===========  ========
score               definition               both empty   truth empty  prediction   best
                                                                       empty
==================  =======================  ===========  ===========  ===========  ========
dice                2 TP / (2 TP + FP + FN)  nan          0            0            1
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

*Surface.* The border voxels of the mask: those with a face neighbour outside it. Outside the
image is outside the mask, so that an object that touches the border of the image has a closed
surface there; a single voxel is its own surface. Distances run between voxel centres.

*hd95_mm.* From each surface voxel to the nearest one of the other surface; the 95th percentile
(linear interpolation) of truth to prediction and of prediction to truth; the larger of the two.
Reference: Huttenlocher et al., IEEE TPAMI 15:850, 1993 (percentile in place of the maximum).

*assd_mm.* The mean of the same distances over the voxels of both surfaces together.
Reference: Heimann et al., IEEE TMI 28:1251, 2009.

In 2D the sizes are areas: ``area_truth_mm2`` and ``area_prediction_mm2``. The axes of the grid
are taken as orthogonal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

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
    return _counts(*_masks(truth, prediction)).dice()


def jaccard(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the Jaccard index, intersection over union; NaN if both masks are empty."""
    return _counts(*_masks(truth, prediction)).jaccard()


def sensitivity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the truth that was found; NaN if the truth is empty."""
    return _counts(*_masks(truth, prediction)).sensitivity()


def precision(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the prediction that is right; NaN if the prediction is empty."""
    return _counts(*_masks(truth, prediction)).precision()


def volume_error(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the signed relative error of the volume; positive if too much was predicted.

    −1 if nothing was predicted, infinite if the truth is empty and the prediction is not, NaN
    if both are.
    """
    return _counts(*_masks(truth, prediction)).volume_error()


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
    spacing = _checked_spacing(spacing, 3)
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
    masks = _masks(truth, prediction)
    spacing = _checked_spacing(spacing, masks[0].ndim)
    return surface_distances(*_cut_to_object(*masks), spacing).hausdorff(95.0)


def average_symmetric_surface_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the mean distance in mm over the surface voxels of both masks.

    Parameters and special values as in :func:`hausdorff_distance_95`.
    """
    masks = _masks(truth, prediction)
    spacing = _checked_spacing(spacing, masks[0].ndim)
    return surface_distances(*_cut_to_object(*masks), spacing).mean()


def score_subject(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    classes: int | Sequence[int],
    spacing: Sequence[float],
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

    Returns
    -------
    list of ClassScore
        ``(label, metric, value)``, class by class, the metrics in the order of the table in
        :mod:`miscnn.evaluation.scores`.

    Raises
    ------
    ConfigurationError
        If shapes or spacing do not fit, or a label map holds negative or fractional values.

    Notes
    -----
    Each class is cut to the box that holds it in both maps before anything is measured.
    """
    truth, prediction = _label_map(truth, "truth"), _label_map(prediction, "prediction")
    _check_shapes(truth, prediction)
    spacing = _checked_spacing(spacing, truth.ndim)
    if truth.ndim == 3 and truth.flags.f_contiguous and not truth.flags.c_contiguous:
        # Files are read in Fortran order; no score depends on the order of the axes.
        truth, prediction, spacing = truth.T, prediction.T, spacing[::-1]
    labels = _labels(classes)
    positive = [label for label in labels if label > 0]
    boxes = [
        ndimage.find_objects(array, max_label=max(positive)) if positive else []
        for array in (truth, prediction)
    ]
    rows: list[ClassScore] = []
    for label in labels:
        box = (
            _joint_box(boxes[0][label - 1], boxes[1][label - 1], truth.ndim)
            if label > 0
            else (slice(None),) * truth.ndim
        )
        values = _score_masks(truth[box] == label, prediction[box] == label, spacing)
        rows.extend(ClassScore(label, metric, value) for metric, value in values.items())
    return rows


def _score_masks(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Sequence[float]
) -> dict[str, float]:
    counts = _counts(truth, prediction)
    distances = surface_distances(truth, prediction, spacing)
    size, unit = float(np.prod(spacing)), ("area", "mm2")
    if truth.ndim == 3:
        size, unit = size / 1000.0, ("volume", "ml")
    return {
        "dice": counts.dice(),
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


def _masks(truth: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(truth) != 0, np.asarray(prediction) != 0
    _check_shapes(first, second)
    return first, second


def _check_shapes(truth: NDArray[Any], prediction: NDArray[Any]) -> None:
    if truth.shape != prediction.shape:
        raise ConfigurationError(
            f"truth and prediction must lie on one grid, got shapes {truth.shape} and "
            f"{prediction.shape}; take the prediction back onto the grid of the truth first"
        )


def _checked_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    values = tuple(float(s) for s in spacing)
    if ndim not in (2, 3):
        raise ConfigurationError(f"scores in mm need arrays with 2 or 3 axes, got {ndim}")
    if len(values) != ndim or not all(0 < s < float("inf") for s in values):
        raise ConfigurationError(
            f"spacing must be {ndim} positive numbers in mm, one per axis, got {values}"
        )
    return values


def _label_map(array: NDArray[Any], name: str) -> NDArray[Any]:
    array = np.asarray(array)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and bool(np.all(array == np.rint(array))):
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ConfigurationError(
            f"{name} must be a label map of whole numbers, got dtype {array.dtype}; "
            "take the argmax of probabilities first"
        )
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise ConfigurationError(
            f"{name} holds the negative label {array.min()}; labels start at 0, the background"
        )
    return array


def _labels(classes: int | Sequence[int]) -> list[int]:
    if isinstance(classes, (int, np.integer)):
        if classes < 2:
            raise ConfigurationError(
                f"classes counts the background, so there are at least 2, got {classes}"
            )
        return list(range(1, int(classes)))
    labels = [int(label) for label in classes]
    if len(set(labels)) != len(labels) or any(label < 0 for label in labels):
        raise ConfigurationError(f"classes must be different labels from 0 on, got {labels}")
    return labels


def _joint_box(
    first: tuple[slice, ...] | None, second: tuple[slice, ...] | None, ndim: int
) -> tuple[slice, ...]:
    if first is None or second is None:
        return first or second or (slice(0, 0),) * ndim
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )


def _cut_to_object(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    found = ndimage.find_objects((truth | prediction).view(np.uint8), max_label=1)[0]
    box = found if found is not None else (slice(0, 0),) * truth.ndim
    return truth[box], prediction[box]
