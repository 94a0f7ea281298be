"""Do probabilities mean what they say?

Of the voxels that were given a probability of 0.8, 80 % should be of the class. *Frequency* is the
share that is, *confidence* the mean probability; a reliability diagram shows one against the other
in bins of the probability. There are two kinds of statement, and both are binned, counted and
scored in the same way:

*class-wise* (each class or region for itself, which needs no softmax)
    The probability of the class, and whether the voxel belongs to it.
*of the predicted class* (softmax only; label :data:`PREDICTED_CLASS` in tables)
    The greatest of a voxel's probabilities, and whether that class is the true one.

=======  ==============================================================  ========  ===========
score    definition                                                      range     best
=======  ==============================================================  ========  ===========
ece      Σ over bins of n_bin / n · \\|frequency − mean confidence\\|       0 … 1     0
brier    class-wise: mean over voxels of (p − y)²                        0 … 1     0
brier    all classes: mean over voxels of Σ over classes of (p − y)²     0 … 2     0
=======  ==============================================================  ========  ===========

Both are ``nan`` where there is no voxel to look at; y is 1 where the voxel is of the class, else 0.
The bins have equal width; bin m of M holds (m/M, (m + 1)/M], the first one 0 as well.

*ece.* Naeini et al., AAAI 2015; Guo et al., ICML 2017, Eq. 3 (of the predicted class); class-wise:
Kull et al., NeurIPS 2019. It depends on the number of bins, and a network that always says how
frequent a class is has an ECE of 0.

*brier.* Brier, Monthly Weather Review 78:1, 1950. A proper score: it is best for the true
probability only, so that it also tells how well classes are told apart.

*Which voxels.* Of a scan most voxels are background, and every network is sure of them: over the
whole image every ECE is next to 0. So :func:`measure_calibration` looks at the voxels within
``margin_mm`` (10 mm) of any foreground, of truth *or* prediction: near enough to be in doubt, and
no false positive is left out. The region is the same for all classes. A subject with no foreground
in either has no such voxel, and its scores are undefined. ``margin_mm=None`` takes the whole
image. What the margin is decides about the figures: compare only with the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn._scratch import release
from miscnn.evaluation._arrays import as_label_map
from miscnn.evaluation._calibration_input import (
    Events,
    checked_probabilities,
    events_of,
    mask_like,
    pieces,
    region_near,
)
from miscnn.evaluation.calibration_table import PREDICTED_CLASS, CalibrationRow
from miscnn.exceptions import ConfigurationError

BINS = 15
"""Number of bins by default, that of Guo et al. 2017."""
MARGIN_MM = 10.0
"""How far around the foreground probabilities are looked at by default; our choice."""


@dataclass(frozen=True)
class Calibration:
    """What was counted of one subject, or of several added up.

    Attributes
    ----------
    labels : tuple of int
        The classes or regions, and last, for softmax, :data:`PREDICTED_CLASS`.
    n : ndarray of int64
        Number of voxels by label and bin, shape (labels, bins).
    hits : ndarray of int64
        How many of them are of the class.
    confidence : ndarray of float64
        Sum of their probabilities.
    squared : ndarray of float64
        Sum of (p − y)² by label, shape (labels,); of the predicted class: summed over all classes.
    """

    labels: tuple[int, ...]
    n: NDArray[np.int64]
    hits: NDArray[np.int64]
    confidence: NDArray[np.float64]
    squared: NDArray[np.float64]

    @property
    def voxels(self) -> int:
        """Number of voxels that were looked at."""
        return int(self.n[0].sum())

    def __add__(self, other: Calibration) -> Calibration:
        if self.labels != other.labels or self.n.shape != other.n.shape:
            raise ConfigurationError(
                f"only counts of the same classes and bins can be added, got classes {self.labels} "
                f"and {other.labels}, {self.n.shape[1]} and {other.n.shape[1]} bins"
            )
        return Calibration(
            self.labels,
            self.n + other.n,
            self.hits + other.hits,
            self.confidence + other.confidence,
            self.squared + other.squared,
        )

    def ece(self, label: int = PREDICTED_CLASS) -> float:
        """Return the expected calibration error of a class; by default of the predicted class.

        NaN if no voxel was looked at.
        """
        k = self._position(label)
        total = int(self.n[k].sum())
        return float(np.abs(self.hits[k] - self.confidence[k]).sum()) / total if total else _NAN

    def brier(self, label: int = PREDICTED_CLASS) -> float:
        """Return the Brier score of a class; by default of all classes together.

        NaN if no voxel was looked at.
        """
        k = self._position(label)
        total = int(self.n[k].sum())
        return float(self.squared[k]) / total if total else _NAN

    def rows(
        self, fold: int, sample: str, class_names: Mapping[int, str] | None = None
    ) -> list[CalibrationRow]:
        """Return a row for each label and bin, empty ones included, for a ``CalibrationTable``.

        Parameters
        ----------
        fold : int
        sample : str
            Index of the subject.
        class_names : mapping of int to str, optional
            Names by label; without one it is ``class-<label>``.
        """
        names = {PREDICTED_CLASS: "predicted class", **(class_names or {})}
        bins = self.n.shape[1]
        rows = []
        for k, label in enumerate(self.labels):
            for m in range(bins):
                n = int(self.n[k, m])
                rows.append(
                    CalibrationRow(
                        fold=fold,
                        sample=sample,
                        label=label,
                        class_name=names.get(label, f"class-{label}"),
                        bin=m,
                        low=m / bins,
                        high=(m + 1) / bins,
                        n=n,
                        mean_confidence=float(self.confidence[k, m]) / n if n else _NAN,
                        frequency=int(self.hits[k, m]) / n if n else _NAN,
                    )
                )
        return rows

    def _position(self, label: int) -> int:
        if label not in self.labels:
            overlap = " (there is no predicted class where classes overlap)"
            raise ConfigurationError(
                f"nothing was counted for class {label}; there are {list(self.labels)}"
                f"{overlap if label == PREDICTED_CLASS else ''}"
            )
        return self.labels.index(label)


def measure_calibration(
    probabilities: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    *,
    prediction: ArrayLike | None = None,
    margin_mm: float | None = MARGIN_MM,
    bins: int = BINS,
    regions: Mapping[int, Sequence[int]] | None = None,
    ignored: ArrayLike | None = None,
) -> Calibration:
    """Count, for one subject, how often probabilities are right: all scores come from this.

    Parameters
    ----------
    probabilities : array_like of float
        Shape (x, y[, z], classes): softmax, or with ``regions`` one sigmoid output each. Mapped
        files are read piece by piece, and only where they are needed.
    truth : array_like of int
        Label map, shape (x, y[, z]).
    spacing : sequence of float
        Voxel size per axis in mm.
    prediction : array_like of int, optional
        Label map; where it is not 0 there is foreground. Default: where the greatest probability
        is not that of class 0; with ``regions``: where any is above 0.5.
    margin_mm : float, optional
        Voxels within this distance of the foreground of truth or prediction are counted; None
        counts all.
    bins : int
        Number of bins of equal width.
    regions : mapping of int to sequence of int, optional
        In the order of the outputs: the labels of the truth that make up each region, by the
        number that stands for its label in the result.
    ignored : array_like of bool, optional
        Voxels that nobody has annotated, which are left out. What truth holds there counts as
        background.

    Raises
    ------
    ConfigurationError
        If shapes do not fit, the values are no probabilities, those of a voxel do not sum to 1
        (without ``regions``), or the truth holds labels that there is no probability for.

    Notes
    -----
    Counted in int64 and float64, whatever the dtype. Beside the arrays given it takes a mask and a
    piece of a few million values, and for the margin the distances in the box around it.
    """
    array = np.asanyarray(probabilities)
    labels = as_label_map(np.asarray(truth), "truth")
    left_out = None if ignored is None else mask_like(ignored, labels, "ignored")
    if left_out is not None and left_out.any():
        labels = np.where(left_out, labels.dtype.type(0), labels)
    events = events_of(array, labels, regions)
    region = region_near(array, labels, spacing, margin_mm, events, prediction, left_out)
    return _count(array, labels, bins, region, events)


def expected_calibration_error(
    probabilities: ArrayLike,
    truth: ArrayLike,
    bins: int = BINS,
    *,
    label: int | None = None,
    region: ArrayLike | None = None,
) -> float:
    """Return the expected calibration error (Naeini et al. 2015; Guo et al. 2017, Eq. 3).

    Parameters
    ----------
    probabilities : array_like of float
        Softmax, shape of the truth and one axis of classes; or, in the shape of the truth, the
        probability of one class or region, in which case the truth is a mask.
    truth : array_like of int
        Label map of any number of axes.
    bins : int
        Number of bins of equal width.
    label : int, optional
        Class whose own probability is looked at (class-wise). Default: the predicted class.
    region : array_like of bool, optional
        Which voxels count. Default: all of them. In whole scans the background drowns everything;
        :func:`measure_calibration` looks at what is near the foreground.

    Returns
    -------
    float
        In [0, 1]; NaN if there is no voxel.

    Examples
    --------
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 0, 1])
    0.0
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 1])
    0.25
    """
    counted, wanted = _simple(probabilities, truth, bins, label, region)
    return counted.ece(wanted)


def brier_score(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    label: int | None = None,
    region: ArrayLike | None = None,
) -> float:
    """Return the Brier score (Brier 1950), the mean squared error of the probabilities.

    Parameters
    ----------
    probabilities : array_like of float
        Softmax, shape of the truth and one axis of classes; or, in the shape of the truth, the
        probability of one class or region, in which case the truth is a mask.
    truth : array_like of int
        Label map of any number of axes.
    label : int, optional
        Class whose own probability is looked at. Default: all classes.
    region : array_like of bool, optional
        Which voxels count. Default: all of them.

    Returns
    -------
    float
        Summed over all classes, in [0, 2]; of one class (``label``, or probabilities in the shape
        of the truth) in [0, 1]. For two classes the sum is twice that of either. NaN if there is no
        voxel.

    Examples
    --------
    >>> brier_score([[0.8, 0.2], [0.4, 0.6]], [0, 0])  # (0.04 + 0.04 + 0.36 + 0.36) / 2
    0.4
    """
    counted, wanted = _simple(probabilities, truth, BINS, label, region)
    return counted.brier(wanted)


def calibration_rows(
    probabilities: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    fold: int = 0,
    sample: str = "",
    class_names: Mapping[int, str] | None = None,
    **options: Any,
) -> list[CalibrationRow]:
    """Return the rows of one subject for a ``CalibrationTable``.

    Parameters
    ----------
    probabilities : array_like of float
        Shape (x, y[, z], classes).
    truth : array_like of int
        Label map, shape (x, y[, z]).
    spacing : sequence of float
        Voxel size per axis in mm.
    fold : int
    sample : str
        Index of the subject.
    class_names : mapping of int to str, optional
        Names by label; without one it is ``class-<label>``.
    **options
        Those of :func:`measure_calibration`, whose :meth:`Calibration.rows` this returns.
    """
    return measure_calibration(probabilities, truth, spacing, **options).rows(
        fold, sample, class_names
    )


_NAN = float("nan")


def _simple(
    probabilities: ArrayLike,
    truth: ArrayLike,
    bins: int,
    label: int | None,
    region: ArrayLike | None,
) -> tuple[Calibration, int]:
    array, labels = np.asanyarray(probabilities), as_label_map(np.asarray(truth), "truth")
    chosen = None if region is None else mask_like(region, labels, "region")
    if array.shape == labels.shape:
        if label is not None:
            raise ConfigurationError(
                "probabilities in the shape of the truth are those of one class already; leave "
                f"label={label} out, or give probabilities with an axis of classes"
            )
        mask = (labels != 0).astype(np.uint8)
        events = events_of(array[..., np.newaxis], mask, {1: (1,)})
        return _count(array[..., np.newaxis], mask, bins, chosen, events), 1
    events = events_of(array, labels, None)
    counted = _count(array, labels, bins, chosen, events)
    return counted, PREDICTED_CLASS if label is None else label


def _count(
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    bins: int,
    region: NDArray[np.bool_] | None,
    events: Events,
) -> Calibration:
    if not isinstance(bins, (int, np.integer)) or isinstance(bins, bool) or bins < 1:
        raise ConfigurationError(f"bins must be a whole number from 1 on, got {bins!r}")
    shape = (len(events.labels), int(bins))
    n, hits = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    confidence, squared = np.zeros(shape), np.zeros(shape[0])
    for piece in pieces(probabilities):
        inside = None if region is None else region[piece]
        if inside is not None and not inside.any():
            continue
        part = probabilities[piece]
        values = part.reshape(-1, part.shape[-1]) if inside is None else part[inside]
        p = checked_probabilities(values, events)
        release(part)
        y = truth[piece].ravel() if inside is None else truth[piece][inside]
        for k, (chance, true) in enumerate(events.pairs(p, y)):
            # (m/M, (m + 1)/M]; 0 into the first bin. Rounding: 0.07 · 100 is above 7.
            where = np.maximum(np.ceil(chance * bins).astype(np.intp) - 1, 0)
            where -= (chance <= where / bins) & (where > 0)
            n[k] += np.bincount(where, minlength=bins)
            hits[k] += np.bincount(where[true], minlength=bins)
            confidence[k] += np.bincount(where, chance, bins)
            if events.labels[k] != PREDICTED_CLASS:
                squared[k] += float(np.sum((chance - true) ** 2))
    if events.exclusive:
        squared[-1] = squared[:-1].sum()
    return Calibration(events.labels, n, hits, confidence, squared)
