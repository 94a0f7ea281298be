"""Dice of label maps, for choosing between networks while they are trained.

The scores that are reported come from :mod:`miscnn.evaluation`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.processing.regions import Regions


def foreground_dice(truth: NDArray[Any], prediction: NDArray[Any], classes: int) -> list[float]:
    """Return the Dice of each foreground class; NaN for one that is in neither label map."""
    return [_dice(truth == label, prediction == label) for label in range(1, classes)]


def region_dice(truth: NDArray[Any], prediction: NDArray[Any], regions: Regions) -> list[float]:
    """Return the Dice of each region of two label maps; NaN for one that is in neither."""
    masks = zip(regions.masks(truth), regions.masks(prediction), strict=True)
    return [_dice(one, other) for one, other in masks]


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else float("nan")


def mean_foreground_dice(truth: NDArray[Any], prediction: NDArray[Any], classes: int) -> float:
    """Return the mean Dice over the foreground classes.

    Classes that are in neither label map are left out; NaN if that are all.
    """
    values = [v for v in foreground_dice(truth, prediction, classes) if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
