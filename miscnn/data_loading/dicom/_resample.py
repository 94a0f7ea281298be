"""A regular grid for slices that form none: linear interpolation, and shifts in the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import GridMismatchError

# A grid that is so much larger than what was measured is a mistake in a header.
_MOST_SLICES = 8
_WIDEST = 3
# Shifts, in voxels, and weights below this are rounding of headers.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Resampling:
    """How each slice of a regular grid is made from the slices that there are.

    Attributes
    ----------
    places : tuple of float
        Positions of the source slices along the normal in mm, from 0 on.
    shifts : tuple of pairs of float
        How far each source slice is shifted, in voxels along columns and rows.
    offset : pair of int
        Of the new grid against the first slice, in voxels; not positive.
    shape : tuple of int
        ``(columns, rows, slices)`` of the new grid.
    step : float
        Distance of its slices in mm.
    """

    places: tuple[float, ...]
    shifts: tuple[tuple[float, float], ...] = field(repr=False)
    offset: tuple[int, int]
    shape: tuple[int, int, int]
    step: float

    def resample(
        self,
        read: Callable[[int], NDArray[Any]],
        fill: float,
        measured: Callable[[int], NDArray[np.bool_]] | None = None,
    ) -> NDArray[Any]:
        """Compute the voxels, each from those of its neighbours that were measured.

        Parameters
        ----------
        read : callable
            Returns a source slice, shape (columns, rows), by its number.
        fill : float
            What stands where no neighbour was measured.
        measured : callable, optional
            Returns in the same way which voxels were measured. Default: all.

        Returns
        -------
        ndarray
            :attr:`shape`, float32.
        """
        voxels = np.empty(self.shape, dtype=np.float32, order="F")
        known: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        places = np.asarray(self.places)
        for j in range(self.shape[2]):
            place = min(j * self.step, places[-1])
            above = int(np.clip(np.searchsorted(places, place), 0, len(places) - 1))
            below = max(above - 1, 0)
            known = {k: known[k] for k in known if k >= below}
            for k in {below, above} - set(known):
                plane = np.asarray(read(k), dtype=np.float64)
                share = np.ones(plane.shape)
                if measured is not None:
                    share = np.asarray(measured(k), dtype=np.float64)
                    plane = np.where(share > 0, plane, 0.0)
                known[k] = self._shifted(plane, k), self._shifted(share, k)
            span = places[above] - places[below]
            weight = (place - places[below]) / span if span > 0 else 1.0
            value, share = (
                (1 - weight) * one + weight * other
                for one, other in zip(known[below], known[above], strict=True)
            )
            there = share > _NEGLIGIBLE
            voxels[:, :, j] = np.where(there, value / np.where(there, share, 1.0), fill)
        return voxels

    def _shifted(self, plane: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        """Shift a slice to its place on the new grid, linearly; 0 where it does not reach."""
        for axis in (0, 1):
            shift = self.shifts[k][axis] - self.offset[axis]
            whole = int(np.floor(shift))
            source = np.moveaxis(plane, axis, 0)
            rest = shift - whole
            moved = (1 - rest) * _placed(source, whole, self.shape[axis])
            moved += rest * _placed(source, whole + 1, self.shape[axis])
            plane = np.moveaxis(moved, 0, axis)
        return plane


def _placed(source: NDArray[np.float64], start: int, length: int) -> NDArray[np.float64]:
    """Return rows of zeros with those of ``source`` from ``start`` on, as far as there is room."""
    placed = np.zeros((length, *source.shape[1:]))
    first, last = max(start, 0), min(start + len(source), length)
    placed[first:last] = source[first - start : last - start]
    return placed


def usual(steps: NDArray[np.float64]) -> float:
    """Return the usual distance: the median, of an even number the lower one.

    Where every second slice is missing, the distance of the others is the usual one.
    """
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def plan_resampling(
    points: NDArray[np.float64],
    places: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing: tuple[float, float],
    size: tuple[int, int],
    sideways: bool,
    index: str,
) -> Resampling:
    """Choose a regular grid: the usual distance of slices, and room for all that was shifted.

    Raises
    ------
    GridMismatchError
        If the grid would be far larger than what was measured.
    """
    count, step = 1, 1.0
    if len(places) > 1:
        extent = float(places[-1] - places[0])
        count = round(min(extent / usual(np.diff(places)), 1e6)) + 1
        step = extent / (count - 1)
    shifts = np.zeros((len(places), 2))
    if sideways:
        shifts = (points - points[0]) @ axes.T / np.array([spacing[1], spacing[0]])
    low = np.floor(shifts.min(axis=0) + _NEGLIGIBLE)
    high = np.ceil(shifts.max(axis=0) - _NEGLIGIBLE)
    room = high - low
    if count > _MOST_SLICES * len(places) or np.any(room > _WIDEST * np.array(size)):
        raise GridMismatchError(
            index,
            f"{len(places)} slices would become {count} slices of {size[0] + room[0]:.0f} x "
            f"{size[1] + room[1]:.0f} voxels; the positions in the headers must be wrong",
        )
    return Resampling(
        tuple(float(place) for place in places - places[0]),
        tuple((float(a), float(b)) for a, b in shifts),
        (int(low[0]), int(low[1])),
        (size[0] + int(room[0]), size[1] + int(room[1]), count),
        step,
    )
