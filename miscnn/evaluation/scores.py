"""Scores of one prediction against the truth, volume by volume, in mm.

Pure functions over arrays and a spacing. A mask is an array whose non-zero elements belong
to the object. ``docs/reference/scores.md`` defines every score, with its range and its value
where masks are empty, have a single voxel, or touch the border of the image; its table is
compared with this code by a test.

``nan`` means *undefined* (0 / 0), ``inf`` means that there is nothing to measure the distance
to. Neither is ever left out in silence: :mod:`miscnn.evaluation.summary` counts both.

Surface distances run between *surfels*, the pieces of the surface that marching cubes draw
through the lattice points between the voxels, and each counts with its area: the definitions of
the package surface-distance (Nikolov et al., JMIR 23:e26151, 2021), with its values. Outside of
the image is outside of the mask. The axes of the grid are taken as orthogonal.

:func:`squared_dice` is a score of its own for probabilities, and in no table: for masks it is
``dice``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from miscnn.evaluation._arrays import (
    as_masks,
    as_probabilities,
    check_shapes,
    checked_spacing,
    cut_to_object,
    inner_product,
)
from miscnn.evaluation._counts import UNDEFINED, Counts, counts_of
from miscnn.evaluation._metrics import METRICS, STANDARD_METRICS, Metric, metric_of
from miscnn.evaluation._pair import Pair
from miscnn.evaluation._subject import ClassScore
from miscnn.evaluation._subject_scores import score_subject
from miscnn.exceptions import ConfigurationError

__all__ = [
    "METRICS",
    "STANDARD_METRICS",
    "ClassScore",
    "Metric",
    "average_symmetric_surface_distance",
    "boundary_iou",
    "centerline_dice",
    "centroid_distance",
    "dice",
    "hausdorff_distance",
    "hausdorff_distance_95",
    "jaccard",
    "metric_of",
    "normalized_surface_dice",
    "precision",
    "root_mean_square_surface_distance",
    "score_subject",
    "sensitivity",
    "specificity",
    "squared_dice",
    "volume_error",
    "volume_ml",
    "volume_similarity",
]


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
    return _counts(truth, prediction).dice()


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
    return 2.0 * inner_product(first, second) / norms if norms else UNDEFINED


def jaccard(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the Jaccard index, intersection over union; NaN if both masks are empty.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).jaccard()


def sensitivity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the truth that was found; NaN if the truth is empty.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).sensitivity()


def specificity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of what is not truth that was left alone, TN / (TN + FP).

    Of the whole image: the larger it is, the closer to 1. NaN if the truth fills the image.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).specificity()


def precision(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the prediction that is right; NaN if the prediction is empty.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).precision()


def volume_error(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the signed relative error of the volume; positive if too much was predicted.

    −1 if nothing was predicted, infinite if the truth is empty and the prediction is not, NaN
    if both are.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).volume_error()


def volume_similarity(truth: ArrayLike, prediction: ArrayLike) -> float:
    r"""Return 1 − \|V_pred − V_true\| / (V_pred + V_true); NaN if both masks are empty.

    It does not look where the voxels lie (Taha and Hanbury, BMC Med Imaging 15:29, 2015).

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    """
    return _counts(truth, prediction).volume_similarity()


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


def hausdorff_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float], percentile: float = 100.0
) -> float:
    """Return the Hausdorff distance in mm, or a percentile of it.

    From each surfel of a surface to the nearest one of the other. The percentile of a surface is
    the smallest distance within which so many percent of its area lie; the larger one of truth to
    prediction and prediction to truth is returned (Huttenlocher et al., IEEE TPAMI 15:850, 1993).

    Parameters
    ----------
    truth, prediction : array_like
        Masks of one shape with 2 or 3 axes.
    spacing : sequence of float
        Voxel size per axis in mm.
    percentile : float
        Above 0, up to 100: the maximum.

    Returns
    -------
    float
        NaN if both masks are empty, infinite if one is.

    Raises
    ------
    ConfigurationError
        If the shapes differ, or spacing or percentile make no sense.
    """
    if not 0 < percentile <= 100:
        raise ConfigurationError(f"percentile must lie above 0 and up to 100, got {percentile}")
    return _pair(truth, prediction, spacing).distances.hausdorff(percentile)


def hausdorff_distance_95(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the 95 % Hausdorff distance in mm; see :func:`hausdorff_distance`.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    spacing : sequence of float
        Voxel size per axis, mm.
    """
    return hausdorff_distance(truth, prediction, spacing, 95.0)


def average_symmetric_surface_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the mean distance in mm over the area of both surfaces together.

    Parameters and special values as in :func:`hausdorff_distance`. Reference: Heimann et al.,
    IEEE TMI 28:1251, 2009.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    spacing : sequence of float
        Voxel size per axis, mm.
    """
    return _pair(truth, prediction, spacing).distances.mean()


def root_mean_square_surface_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]
) -> float:
    """Return the root of the mean square distance in mm over the area of both surfaces.

    Parameters and special values as in :func:`hausdorff_distance`. Reference: Heimann et al.,
    IEEE TMI 28:1251, 2009.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    spacing : sequence of float
        Voxel size per axis, mm.
    """
    return _pair(truth, prediction, spacing).distances.root_mean_square()


def normalized_surface_dice(
    truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float], tolerance: float
) -> float:
    """Return the share of the area of both surfaces within a tolerance of the other one.

    Also called surface Dice (Nikolov et al., JMIR 23:e26151, 2021).

    Parameters
    ----------
    truth, prediction, spacing
        As in :func:`hausdorff_distance`.
    tolerance : float
        In mm, from 0 on; a distance of just the tolerance lies within.

    Returns
    -------
    float
        NaN if both masks are empty, 0 if one is.
    """
    if not 0 <= tolerance < math.inf:
        raise ConfigurationError(f"tolerance must be a distance in mm from 0 on, got {tolerance}")
    return _pair(truth, prediction, spacing).distances.share_within(tolerance)


def centroid_distance(truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]) -> float:
    """Return the distance of the centres of mass in mm.

    Parameters and special values as in :func:`hausdorff_distance`.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.
    spacing : sequence of float
        Voxel size per axis, mm.
    """
    return _pair(truth, prediction, spacing).centroid_distance()


def boundary_iou(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float],
    width: float | None = None,
) -> float:
    """Return the Jaccard index of what lies near the borders (Cheng et al., CVPR 2021, Eq. 3).

    The boundary of a mask are its voxels with a voxel outside of it, or of the image, within
    ``width``, from centre to centre.

    Parameters
    ----------
    truth, prediction, spacing
        As in :func:`hausdorff_distance`.
    width : float, optional
        In mm, above 0. Default: 2 mm, or the largest voxel size if that is more, so that every
        voxel at a border takes part. Our choice: the 2 % of the image's diagonal of the paper
        are 16 mm of a CT, and whole organs.

    Returns
    -------
    float
        NaN if both boundaries are empty, 0 if one is.
    """
    if width is not None and not 0 < width < math.inf:
        raise ConfigurationError(f"width must be a length above 0 mm, got {width}")
    pair = _pair(truth, prediction, spacing)
    pair.boundary_width = width
    return pair.boundary_iou()


def centerline_dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return clDice of two masks (Shit et al., CVPR 2021, Eqs. 1 to 3), for tubes such as vessels.

    The harmonic mean of the share of the prediction's centerline that lies in the truth and of the
    share of the truth's centerline that lies in the prediction. Centerlines are those of
    ``skimage.morphology.skeletonize`` (Zhang and Suen 1984 in 2D, Lee et al. 1994 in 3D), which
    take no voxel size and may differ by a voxel where the axes are exchanged.

    Parameters
    ----------
    truth, prediction : array
        Masks of one shape.

    Returns
    -------
    float
        NaN if both masks are empty, 0 if one is.
    """
    masks = as_masks(truth, prediction)
    return _pair(*masks, (1.0,) * masks[0].ndim).centerline_dice()


def _counts(truth: ArrayLike, prediction: ArrayLike) -> Counts:
    return counts_of(*as_masks(truth, prediction))


def _pair(truth: ArrayLike, prediction: ArrayLike, spacing: Sequence[float]) -> Pair:
    masks = as_masks(truth, prediction)
    spacing = checked_spacing(spacing, masks[0].ndim)
    return Pair(*cut_to_object(*masks), spacing, masks[0].size)
