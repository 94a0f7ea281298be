"""Displacements between the points of a coarse grid: uniform cubic B-splines.

The control points lie ``distance`` apart, one of them at the centre of the patch, and reach
beyond its faces by as much as the spline needs. With ``t`` the position from a control point to
the next, in [0, 1], the four points around it weigh

    ((1 − t)³, 3t³ − 6t² + 4, −3t³ + 3t² + 3t + 1, t³) / 6

per axis, and the product of the axes' weights in space. The spline does not pass through the
control points; it stays within their extremes, and has two continuous derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def control_shape(
    shape: Sequence[int], spacing: Sequence[float], distance: float
) -> tuple[int, ...]:
    """Return the number of control points per axis.

    Parameters
    ----------
    shape : sequence of int
        Voxels of the patch per axis.
    spacing : sequence of float
        Size of a voxel, mm.
    distance : float
        Between control points, mm.
    """
    return tuple(
        2 * _points_aside(size, step / distance) + 1
        for size, step in zip(shape, spacing, strict=True)
    )


def _points_aside(size: int, ratio: float) -> int:
    return max(math.ceil((size - 1) / 2 * ratio) + 1, 2)


def kernel(t: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the weights of the four points around positions ``t`` in [0, 1]."""
    cubes = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    return [np.asarray(cube) / 6 for cube in cubes]


def axis_weights(size: int, ratio: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the first of the four control points of every voxel, and their weights.

    Parameters
    ----------
    size : int
        Voxels along the axis.
    ratio : float
        Size of a voxel over the distance of control points.

    Returns
    -------
    first : ndarray
        ``(size,)``.
    weights : ndarray
        ``(size, 4)`` float32; each row sums to 1.
    """
    aside = _points_aside(size, ratio)
    position = (np.arange(size) - (size - 1) / 2) * ratio
    # The last voxel may lie at a control point: the end of a cell then, not the start of one.
    below = np.minimum(np.floor(position), aside - 2)
    weights = np.stack(kernel(position - below), axis=-1).astype(np.float32)
    return below.astype(np.intp) + aside - 1, weights


class SplineField:
    """A displacement of every voxel of a patch.

    The spline is expanded along all axes but the first at once, along the first when rows are asked
    for: sums of a few arrays, no matrix products, whose last bits may depend on the number of
    threads.

    Parameters
    ----------
    control : ndarray
        ``(components, *control_shape(...))``.
    shape, spacing, distance
        As in :func:`control_shape`.
    """

    def __init__(
        self,
        control: NDArray[Any],
        shape: Sequence[int],
        spacing: Sequence[float],
        distance: float,
    ) -> None:
        bases = [
            axis_weights(size, step / distance) for size, step in zip(shape, spacing, strict=True)
        ]
        field = np.asarray(control, dtype=np.float32)
        for axis in range(len(bases) - 1, 0, -1):
            field = _expand(field, axis + 1, *bases[axis])
        self._field = field
        self._first, self._weights = bases[0]

    def __call__(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the displacement of the rows ``[first, last)``: ``(components, rows, …)``."""
        field = np.empty((len(self._field), last - first, *self._field.shape[2:]), np.float32)
        part = np.empty((len(self._field), *self._field.shape[2:]), np.float32)
        for row in range(first, last):
            total = field[:, row - first]
            points = self._field[:, self._first[row] : self._first[row] + 4]
            np.multiply(points[:, 0], self._weights[row, 0], out=total)
            for point in range(1, 4):
                np.multiply(points[:, point], self._weights[row, point], out=part)
                total += part
        return field


def _expand(
    field: NDArray[np.float32],
    axis: int,
    first: NDArray[np.intp],
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    across = (-1,) + (1,) * (field.ndim - 1 - axis)
    total = np.take(field, first, axis=axis)
    total *= weights[:, 0].reshape(across)
    for point in range(1, 4):
        part = np.take(field, first + point, axis=axis)
        part *= weights[:, point].reshape(across)
        total += part
    return total
