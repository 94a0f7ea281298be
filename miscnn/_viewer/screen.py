"""How slices lie on the screen, and how bright they are shown."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

SOFT_TISSUE = (-160.0, 240.0)
"""Window of soft tissue in HU: width 400, level 40."""
LUNG = (-1350.0, 150.0)
"""Window of the lung in HU: width 1500, level -600."""
BONE = (-500.0, 1300.0)
"""Window of bone in HU: width 1800, level 400."""

_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}


class Grid(Protocol):
    """What of a voxel grid decides how it is shown; ``Geometry`` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each of the two or three spatial axes."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """Matrix from voxel indices to mm, RAS+."""

    @property
    def orientation(self) -> str:
        """Letters towards which each array axis runs."""

    @property
    def patient_axes(self) -> tuple[int, ...]:
        """For each array axis, the patient axis it runs along best."""

    @property
    def slice_axis(self) -> int:
        """Array axis across the slices."""


class ScreenAxes(NamedTuple):
    """How a volume is turned to the screen.

    Attributes
    ----------
    order : tuple of int
        The array axes that are slices, rows and columns; rows and columns alone in 2D.
    flips : tuple of bool
        Whether rows, and columns, run the wrong way in the array.
    letters : tuple of str
        For slices, rows and columns of the turned volume, towards which side of the patient they
        run; empty in 2D.
    """

    order: tuple[int, ...]
    flips: tuple[bool, bool]
    letters: tuple[str, str, str]

    @property
    def sides(self) -> tuple[str, str]:
        """Letters of the patient's side at the left and at the upper edge; empty in 2D."""
        rows, columns = self.letters[1:]
        return _OPPOSITE.get(columns, ""), _OPPOSITE.get(rows, "")


def screen_axes(grid: Grid) -> ScreenAxes:
    """Tell how radiologists expect a grid on the screen.

    Anterior (or superior) is up, the patient's right on the left, and anterior on the left where
    slices are sagittal. Nothing is known of the sides of a 2D image: its first axis runs to the
    right.
    """
    if len(grid.shape) == 2:
        return ScreenAxes((1, 0), (False, False), ("", "", ""))
    slices = grid.slice_axis
    plane = [axis for axis in range(3) if axis != slices]
    # Rows run along the patient's long axis where it lies in the plane, else front to back.
    rows = max(plane, key=lambda axis: grid.patient_axes[axis])
    columns = next(axis for axis in plane if axis != rows)
    letters = grid.orientation
    downwards = {2: "I", 1: "P"}[grid.patient_axes[rows]]
    rightwards = {0: "L", 1: "P"}[grid.patient_axes[columns]]
    flips = (letters[rows] != downwards, letters[columns] != rightwards)
    return ScreenAxes((slices, rows, columns), flips, (letters[slices], downwards, rightwards))


def automatic_window(values: NDArray[Any], lowest: float | None = None) -> tuple[float, float]:
    """Return the values to show as black and white.

    Soft tissue (−160 … 240 HU) if the image looks like CT (:func:`looks_like_ct`); else the 1st
    to the 99.5th percentile.

    Parameters
    ----------
    values : ndarray
        The image, or the part of it that is shown.
    lowest : float, optional
        The smallest value of the image. Default: that of ``values``.
    """
    low, middle, high = (float(v) for v in np.percentile(values, (1.0, 50.0, 99.5)))
    if looks_like_ct(float(values.min()) if lowest is None else lowest, middle):
        return SOFT_TISSUE
    return low, high


def looks_like_ct(lowest: float, median: float) -> bool:
    """Tell whether values may be HU: they reach below −500, and half of them lie below 500."""
    return lowest < -500.0 and median < 500.0
