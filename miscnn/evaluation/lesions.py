"""Lesion by lesion: which were found, which were missed, which are none.

A lesion is a connected component of a mask (26 neighbours in 3D, 8 in 2D). Lesions of truth and
prediction are matched one to one: among the pairs with IoU >= ``iou_threshold`` that matching is
taken whose IoUs have the greatest sum (of equal sums the one with more pairs). A matched pair is a
TP, a lesion of the truth without a partner an FN, one of the prediction without a partner an FP.

====================  ============================  ==========  ===========  ================
score                 definition                    both empty  truth empty  prediction empty
====================  ============================  ==========  ===========  ================
n_lesions_truth       TP + FN                       0           0            n
n_lesions_prediction  TP + FP                       0           n            0
lesion_tp             matched pairs                 0           0            0
lesion_fp             FP                            0           n            0
lesion_fn             FN                            0           0            n
lesion_sensitivity    TP / (TP + FN)                nan         nan          0
lesion_precision      TP / (TP + FP)                nan         0            nan
lesion_f1             2 TP / (2 TP + FP + FN)       nan         0            0
panoptic_quality      Σ IoU / (TP + FP/2 + FN/2),   nan         0            0
                      pairs with IoU > 0.5
====================  ============================  ==========  ===========  ================

``nan`` means *undefined*, 0 / 0.

*panoptic_quality.* Kirillov et al., Panoptic Segmentation, CVPR 2019, Eq. 1, for one class: its
matching has a threshold of its own, always IoU > 0.5, where no lesion can have two partners.

*Split and merged lesions.* A lesion that was predicted in pieces is matched with the one piece that
gives the greatest sum, if that one alone reaches the threshold; the other pieces are FP. Several
lesions that were predicted as one: one of them is matched, if it makes up enough of the whole; the
others are FN. Neither is seen in the counts alone, so each :class:`Lesion` also tells how many
lesions of the other mask it overlaps, and which share of it they cover: a split or merged lesion
may have no partner and be covered all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn.evaluation._arrays import as_masks, checked_spacing, cut_to_object
from miscnn.evaluation._overlaps import Overlaps, match, overlaps
from miscnn.exceptions import ConfigurationError

Side = Literal["truth", "prediction"]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One connected component of the truth or of the prediction.

    Attributes
    ----------
    number : int
        From 1 on; the largest lesion of a mask has 1.
    voxels : int
    size : float
        Volume in ml in 3D, area in mm² in 2D.
    diameter_mm : float
        Diameter of the sphere of this volume (in 2D: of the disc of this area).
    partner : int
        Number of the lesion of the other mask that it is matched with; 0 if there is none.
    iou, dice : float
        With its partner; 0 if there is none, as for any mask without a counterpart.
    covered : float
        Share of its voxels that lie in *any* lesion of the other mask.
    n_overlapping : int
        Number of lesions of the other mask that share a voxel with it.
    """

    number: int
    voxels: int
    size: float
    diameter_mm: float
    partner: int
    iou: float
    dice: float
    covered: float
    n_overlapping: int

    @property
    def matched(self) -> bool:
        """Whether it has a partner."""
        return self.partner > 0


@dataclass(frozen=True)
class LesionMatches:
    """The lesions of two masks, and which belong together.

    Attributes
    ----------
    truth, prediction : tuple of Lesion
        The largest first.
    iou_threshold : float
    panoptic_quality : float
        NaN if there is no lesion at all.
    ndim : int
        2 or 3: whether sizes are in mm² or in ml.
    """

    truth: tuple[Lesion, ...]
    prediction: tuple[Lesion, ...]
    iou_threshold: float
    panoptic_quality: float
    ndim: int

    @property
    def tp(self) -> int:
        """Number of matched pairs."""
        return sum(lesion.matched for lesion in self.truth)

    @property
    def fp(self) -> int:
        """Number of predicted lesions without a partner."""
        return len(self.prediction) - self.tp

    @property
    def fn(self) -> int:
        """Number of true lesions without a partner."""
        return len(self.truth) - self.tp

    def scores(self) -> dict[str, float]:
        """Return the scores of the table in :mod:`miscnn.evaluation.lesions`, in its order."""
        tp, fp, fn = self.tp, self.fp, self.fn
        return {
            "n_lesions_truth": float(len(self.truth)),
            "n_lesions_prediction": float(len(self.prediction)),
            "lesion_tp": float(tp),
            "lesion_fp": float(fp),
            "lesion_fn": float(fn),
            "lesion_sensitivity": _ratio(tp, tp + fn),
            "lesion_precision": _ratio(tp, tp + fp),
            "lesion_f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "panoptic_quality": self.panoptic_quality,
        }


def match_lesions(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float],
    iou_threshold: float = 0.1,
) -> LesionMatches:
    """Find the lesions of two masks and match them one to one.

    Parameters
    ----------
    truth, prediction : array_like
        Masks of one shape with 2 or 3 axes; non-zero elements belong to lesions.
    spacing : sequence of float
        Voxel size per axis in mm.
    iou_threshold : float
        Least IoU of a matched pair, in [0, 1]. With 0 any common voxel is enough.

    Raises
    ------
    ConfigurationError
        If the shapes differ, or spacing or threshold make no sense.

    Notes
    -----
    See :mod:`miscnn.evaluation.lesions` for the definitions. Only the box that holds both masks
    is looked at; beside the masks, it takes the memory of two arrays of component numbers.

    Examples
    --------
    >>> truth = [[1, 1, 0, 0, 0, 1]]
    >>> found = match_lesions(truth, [[1, 1, 1, 0, 0, 0]], spacing=(1.0, 1.0))
    >>> found.tp, found.fp, found.fn
    (1, 0, 1)
    >>> round(found.truth[0].iou, 3)
    0.667
    """
    masks = as_masks(truth, prediction)
    spacing = checked_spacing(spacing, masks[0].ndim)
    if not 0 <= iou_threshold <= 1:
        raise ConfigurationError(
            f"iou_threshold must lie in [0, 1], got {iou_threshold}; 0.1 counts a lesion as found "
            "if it was hit at all well, 0.5 if it was outlined"
        )
    found = overlaps(*cut_to_object(*masks))
    pairs = match(found, found.iou >= iou_threshold)
    ndim = masks[0].ndim
    voxel = math.prod(spacing) / (1000.0 if ndim == 3 else 1.0)
    return LesionMatches(
        truth=_lesions(found, pairs, voxel, ndim),
        prediction=_lesions(_exchanged(found), pairs, voxel, ndim),
        iou_threshold=float(iou_threshold),
        panoptic_quality=_panoptic_quality(found),
        ndim=ndim,
    )


def lesion_scores(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float],
    iou_threshold: float = 0.1,
) -> dict[str, float]:
    """Return counts, sensitivity, precision and F1 of the lesions, and the panoptic quality.

    Names, definitions and the values for empty masks stand in :mod:`miscnn.evaluation.lesions`.

    Parameters
    ----------
    truth, prediction : array_like
        Masks of one shape with 2 or 3 axes; non-zero elements belong to lesions.
    spacing : sequence of float
        Voxel size per axis in mm.
    iou_threshold : float
        Least IoU of a matched pair, in [0, 1]; that of ``panoptic_quality`` is 0.5 in any case.

    Raises
    ------
    ConfigurationError
        As :func:`match_lesions`.

    Examples
    --------
    >>> scores = lesion_scores([[1, 1, 0, 0, 0, 1]], [[1, 1, 1, 0, 0, 0]], spacing=(1.0, 1.0))
    >>> scores["lesion_sensitivity"], scores["lesion_precision"]
    (0.5, 1.0)
    """
    return match_lesions(truth, prediction, spacing, iou_threshold).scores()


def equivalent_diameter(size: float, ndim: int) -> float:
    """Return the diameter in mm of the sphere of a volume in ml, or of the disc of an area in mm².

    Examples
    --------
    >>> round(equivalent_diameter(4.18879, 3), 3)  # a ball of 2 cm
    20.0
    """
    if ndim == 3:
        return float(math.cbrt(6000.0 * size / math.pi))
    return math.sqrt(4.0 * size / math.pi)


def _lesions(
    found: Overlaps, pairs: NDArray[np.intp], voxel: float, ndim: int
) -> tuple[Lesion, ...]:
    """Describe the lesions of the first mask."""
    sizes = found.sizes[0]
    partner = np.zeros(sizes.size, dtype=np.int64)
    iou, dice = np.zeros(sizes.size), np.zeros(sizes.size)
    owner, other = found.first[pairs], found.second[pairs]
    partner[owner] = other + 1
    iou[owner] = found.iou[pairs]
    dice[owner] = 2 * found.common[pairs] / (sizes[owner] + found.sizes[1][other])
    covered = np.bincount(found.first, found.common, sizes.size) / sizes
    touching = np.bincount(found.first, minlength=sizes.size)
    columns = (sizes, partner, iou, dice, covered, touching)
    return tuple(
        Lesion(
            number=number,
            voxels=n,
            size=n * voxel,
            diameter_mm=equivalent_diameter(n * voxel, ndim),
            partner=mate,
            iou=overlap,
            dice=both,
            covered=share,
            n_overlapping=others,
        )
        for number, (n, mate, overlap, both, share, others) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    )


def _exchanged(found: Overlaps) -> Overlaps:
    return Overlaps(found.sizes[::-1], found.second, found.first, found.common)


def _panoptic_quality(found: Overlaps) -> float:
    # Beyond 1/2 no lesion has two partners, so that there is nothing to choose.
    of_pairs = found.iou[2 * found.common > found.union]
    # TP + FP/2 + FN/2 is half of the number of all lesions.
    return _ratio(2 * float(of_pairs.sum()), found.sizes[0].size + found.sizes[1].size)


def _ratio(numerator: float, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
