"""What a network sees of a volume: a box of voxels, or slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.processing.augmentation.base import PatchGrid
from miscnn.processing.patches import cut
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.slices import Positions, plane_axes, take_slices

Arrays = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class BoxView:
    """A box in the axes of the image.

    Attributes
    ----------
    start, shape : tuple of int
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def grid(self, geometry: Geometry) -> PatchGrid:
        """Return what the axes mean."""
        axis = geometry.slice_axis if geometry.ndim == 3 else None
        return PatchGrid(geometry.spacing, axis)

    def read(self, prepared: PreparedSample, margin: Sequence[int]) -> Arrays:
        """Return image and labels with a margin; what lies outside is filled."""
        start = tuple(s - m for s, m in zip(self.start, margin, strict=True))
        extent = tuple(n + 2 * m for n, m in zip(self.shape, margin, strict=True))
        image = cut(prepared.image, start, extent, prepared.fill)
        return image, cut(prepared.labels, start, extent)


@dataclass(frozen=True)
class SliceView:
    """A slice, or a stack of slices whose last axis is across them.

    Attributes
    ----------
    axis : int
        Axis of the image across the slices.
    positions : ndarray
        Of the slices; between two slices these are interpolated.
    start, window : tuple of int
        The window within the slices.
    stacked : bool
        Whether there is an axis across the slices.
    """

    axis: int
    positions: Positions
    start: tuple[int, ...]
    window: tuple[int, ...]
    stacked: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of what the network sees."""
        return (*self.window, len(self.positions)) if self.stacked else self.window

    def grid(self, geometry: Geometry) -> PatchGrid:
        """Return what the axes mean; stacks are as coarse as their slices lie apart."""
        plane = tuple(geometry.spacing[a] for a in plane_axes(geometry.ndim, self.axis))
        if not self.stacked:
            return PatchGrid(plane)
        gaps = np.diff(self.positions)
        gap = float(gaps.mean()) if len(gaps) and gaps.any() else 1.0
        return PatchGrid((*plane, gap * geometry.slice_thickness), 2, regular=False)

    def read(self, prepared: PreparedSample, margin: Sequence[int]) -> Arrays:
        """Return image and labels with a margin within the slices; there is none across them."""
        start = tuple(s - m for s, m in zip(self.start, margin, strict=False))
        extent = tuple(n + 2 * m for n, m in zip(self.window, margin, strict=False))
        image = take_slices(prepared.image, self.axis, self.positions, blend=True)
        labels = take_slices(prepared.labels, self.axis, self.positions, blend=False)
        image, labels = cut(image, start, extent, prepared.fill), cut(labels, start, extent)
        return (image, labels) if self.stacked else (image[:, :, 0], labels[:, :, 0])
