"""The slices that were measured, which are not those of the grid where a series was resampled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._regions import Overlap, Regions
from miscnn.data_loading.dicom._resample import Resampling
from miscnn.data_loading.dicom.combinations import combination_classes
from miscnn.data_loading.dicom.volume import DicomVolume

# Of the weights of a voxel; a voxel half of which is a structure belongs to it.
_HALF = 0.5


@dataclass(frozen=True)
class Slices:
    """Slices that a segmentation can have been drawn on, by their places on a volume's grid.

    Attributes
    ----------
    shape : tuple of int
        ``(columns, rows, slices)``.
    affine : ndarray
        Shape (4, 4): voxel index of the volume's grid to mm, RAS+.
    heights : ndarray
        Shape (slices,): where they lie along axis 2 of the grid, in voxels of it; rising.
    shifts : ndarray
        Shape (slices, 2): where their first pixels lie along axes 0 and 1, in voxels.
    resampling : Resampling or None
        How the grid is made from them; None if they are its slices.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    heights: NDArray[np.float64]
    shifts: NDArray[np.float64]
    resampling: Resampling | None

    @property
    def spacing(self) -> float:
        """Distance of the grid's slices in mm, from plane to plane, also if oblique."""
        return 1 / float(np.linalg.norm(np.linalg.inv(self.affine)[2, :3]))

    def nearest(
        self, heights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the slices that are nearest to places along axis 2.

        Returns
        -------
        numbers : ndarray of int
        away : ndarray
            Distances, in parts of that to the next slice on the same side; beyond the outermost
            slices, and where slices are missing between, in voxels of the grid.
        """
        last = len(self.heights) - 1
        above = np.clip(np.searchsorted(self.heights, heights), min(1, last), last)
        below = np.maximum(above - 1, 0)
        upper = np.abs(self.heights[above] - heights) < np.abs(heights - self.heights[below])
        numbers = np.where(upper, above, below)
        between = (heights >= self.heights[0]) & (heights <= self.heights[-1]) & (above > below)
        gap = np.where(between, np.minimum(self.heights[above] - self.heights[below], 1.0), 1.0)
        return numbers, np.abs(heights - self.heights[numbers]) / gap

    def to_grid(
        self, labels: NDArray[Any], classes: Collection[int], overlap: Overlap, index: str
    ) -> NDArray[Any]:
        """Bring labels of these slices onto the grid just as the image is brought there.

        Each class is interpolated by itself, and voxels of at least a half belong to it; of two
        halves the lower class has the voxel, unless combinations have labels of their own.

        Parameters
        ----------
        labels : ndarray
            :attr:`shape`, unsigned.
        classes : collection of int
            All that were declared, background left out.
        overlap : str
            By which the labels were made.
        index : str
            The subject, for messages.
        """
        if self.resampling is None:
            return labels
        both = overlap == "combinations"
        meant = {
            value: combination_classes(value, classes) if both else (value,)
            for value in np.unique(labels).tolist()
        }
        declared = sorted(set(classes))
        regions = Regions(self.resampling.shape, [f"class {n}" for n in declared], declared)
        for region, label in enumerate(declared):
            values = [value for value, members in meant.items() if label in members]
            if values:
                inside = _among(labels, values)
                weights = self.resampling.resample(partial(np.take, inside, axis=2), 0.0)
                regions.add((slice(None),) * 3, weights >= _HALF, region)
        return regions.labels("combinations" if both else "first", index)


def measured(volume: DicomVolume) -> Slices:
    """Return the slices that a volume was made from."""
    plan = volume.resampling
    if plan is None:
        return on_the_grid(volume)
    shape = (int(volume.header.Columns), int(volume.header.Rows), len(plan.places))
    heights = np.asarray(plan.places, dtype=np.float64) / plan.step
    shifts = np.asarray(plan.shifts, dtype=np.float64) - plan.offset
    return Slices(shape, volume.affine, heights, shifts, plan)


def on_the_grid(volume: DicomVolume) -> Slices:
    """Return the slices of a volume's grid, whether they were measured or not."""
    depth = volume.shape[2]
    heights = np.arange(depth, dtype=np.float64)
    return Slices(volume.shape, volume.affine, heights, np.zeros((depth, 2)), None)


def grid_alone(volume: DicomVolume) -> DicomVolume:
    """Return the grid of a volume, as if it had been measured like that."""
    return replace(volume, resampling=None, frames=())


def _among(labels: NDArray[Any], values: list[int]) -> NDArray[np.bool_]:
    return labels == values[0] if len(values) == 1 else np.isin(labels, values)
