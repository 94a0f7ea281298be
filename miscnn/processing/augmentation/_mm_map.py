"""The map of multidimensional augmentation: affine in mm, deformation, cropping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from miscnn.processing.augmentation import _bspline, _sampling, _spatial

#: The parameters that make the map.
OPERATIONS: Final = frozenset({"rotation", "scaling", "shear", "deformation", "cropping"})


def warp(
    image: NDArray[np.float32],
    segmentation: NDArray[Any],
    parameters: Mapping[str, Any],
    shape: tuple[int, ...],
    border: str,
    fill: float,
    labels: str,
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Cut the patch as the parameters want it; the rest as in :func:`_sampling.resample`."""
    ndim = len(shape)
    matrix, control = voxel_map(parameters, ndim)
    cropping = np.asarray(parameters.get("cropping", (0,) * ndim), dtype=int)
    if control is None and np.array_equal(matrix, np.eye(ndim)) and border != "constant":
        steps = [-int(step) for step in cropping]
        image = _spatial.shift(image, shape, steps, border)
        return image, _spatial.shift(segmentation, shape, steps, border)
    half = (np.asarray(shape) - 1) / 2
    start = (np.asarray(segmentation.shape) - np.asarray(shape)) // 2 + cropping
    offset = start + half - matrix @ half
    plane = _plane(parameters, ndim)
    across = next((axis for axis in range(ndim) if axis not in plane), None)
    if across is None and control is None and border != "constant":
        across = _spatial.untouched_axis(matrix)
        plane = [axis for axis in range(ndim) if axis != across]
    pixels = [shape[axis] for axis in plane]
    displacement = None
    if control is not None:
        spacing = [float(_spacing(parameters, ndim)[axis]) for axis in plane]
        distance = float(parameters["deformation"]["distance"])
        displacement = _bspline.SplineField(control[plane], pixels, spacing, distance)
    inner = matrix[np.ix_(plane, plane)]
    positions = _spatial.affine_positions(pixels, inner, offset[plane], displacement)
    how: dict[str, Any] = {"fill": fill, "labels": labels}
    if across is None:
        return _sampling.resample(image, segmentation, shape, positions, border, **how)
    index = np.arange(start[across], start[across] + shape[across])
    index = _spatial.at_border(index, segmentation.shape[across], border)
    return _sampling.resample_slices(
        image, segmentation, pixels, positions, across, index, border, **how
    )


def _spacing(parameters: Mapping[str, Any], ndim: int) -> NDArray[np.float64]:
    return np.asarray(parameters.get("spacing", (1.0,) * ndim), dtype=float)


def _plane(parameters: Mapping[str, Any], ndim: int) -> list[int]:
    return list(parameters.get("plane", range(ndim)))


def voxel_map(
    parameters: Mapping[str, Any], ndim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the matrix and the control points' displacements, for positions in voxels.

    The displacements are those in the input, an array for each axis: the matrix has been applied.
    """
    matrix = np.eye(ndim)
    if "rotation" in parameters:
        matrix = _spatial.rotation_matrix(parameters["rotation"]).T
    if "shear" in parameters:
        matrix = (np.eye(ndim) + np.asarray(parameters["shear"], dtype=float)) @ matrix
    if "scaling" in parameters:
        matrix = matrix / np.asarray(parameters["scaling"], dtype=float)[:, np.newaxis]
    spacing = _spacing(parameters, ndim)
    to_voxels = matrix / spacing[:, np.newaxis]  # from mm
    control = None
    if "deformation" in parameters:
        moved = np.asarray(parameters["deformation"]["control"], dtype=float)
        if np.any(moved):
            plane = _plane(parameters, ndim)
            control = np.zeros((ndim, *moved.shape[1:]))
            for row in range(ndim):
                for column, axis in enumerate(plane):
                    control[row] += to_voxels[row, axis] * moved[column]
    return matrix * spacing / spacing[:, np.newaxis], control


def margin(parameters: Mapping[str, Any], shape: Sequence[int]) -> tuple[int, ...]:
    """Return how far drawn parameters look beyond a patch, at most half of the patch."""
    ndim = len(shape)
    if not OPERATIONS & set(parameters):
        return (0,) * ndim
    matrix, control = voxel_map(parameters, ndim)
    displacement = np.zeros(ndim)
    if control is not None:  # the spline stays within the extremes of its points
        displacement = np.abs(control).reshape(ndim, -1).max(axis=1)
    half = (np.asarray(shape) - 1) / 2
    cropping = np.abs(np.asarray(parameters.get("cropping", (0,) * ndim), dtype=float))
    looks = np.abs(matrix) @ half + displacement + cropping - half
    return _spatial.bounded(np.maximum(looks, 0.0), shape)
