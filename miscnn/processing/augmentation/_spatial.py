"""One spatial map for image and labels.

Positions are voxel indices. With ``c`` the centre of the patch, an output position ``o``
shows what lies at ``c + A (o − c − t) + u(o)`` of the input: ``A`` undoes rotation and
scaling, ``t`` is the translation, ``u`` the elastic displacement.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from batchgenerators.augmentations.utils import (
    create_matrix_rotation_2d,
    create_matrix_rotation_x_3d,
    create_matrix_rotation_y_3d,
    create_matrix_rotation_z_3d,
    interpolate_img,
)
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, gaussian_filter1d

from miscnn.processing.augmentation import _sampling
from miscnn.processing.augmentation._sampling import Positions

Array = NDArray[Any]

_affine: Any = affine_transform  # the types of its stubs are narrower than what it takes

# Patches with a longer ratio of two axes are not turned or deformed across these axes: their
# voxels are almost always as unequal, and a rotation of indices would shear the anatomy.
ANISOTROPY = 3.0


def plane_of(patch_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axes that a rotation or deformation may mix.

    All, unless the patch is 3D and one axis is more than three times as long as another: then
    the two axes of most equal length (of several such pairs the longest).
    """
    axes = tuple(range(len(patch_shape)))
    if len(axes) == 2 or max(patch_shape) <= ANISOTROPY * min(patch_shape):
        return axes

    def unequal(pair: tuple[int, ...]) -> tuple[float, int]:
        short, long = sorted(patch_shape[axis] for axis in pair)
        return long / short, -long

    return min(itertools.combinations(axes, 2), key=unequal)


def rotation_matrix(angles: Sequence[float]) -> NDArray[np.float64]:
    """Return the matrix that turns an object: one angle in 2D, about x, y and z in 3D.

    Angles in degrees, right-handed: a positive angle turns the first towards the second axis
    of the planes (y, z), (z, x) and (x, y), as ``numpy.rot90`` does.
    """
    radians = np.radians(np.asarray(angles, dtype=float))
    if len(radians) == 1:
        matrix = create_matrix_rotation_2d(radians[0])
    else:
        matrix = create_matrix_rotation_x_3d(radians[0])
        matrix = create_matrix_rotation_y_3d(radians[1], matrix)
        matrix = create_matrix_rotation_z_3d(radians[2], matrix)
    # A quarter turn is exact this way: its cosine is 6e-17 otherwise.
    return np.round(np.asarray(matrix, dtype=float), 14)


def inverse_map(parameters: Mapping[str, Any], ndim: int) -> tuple[Array, Array]:
    """Return ``A`` and ``t`` of drawn parameters."""
    matrix = np.eye(ndim)
    if "rotation" in parameters:
        matrix = rotation_matrix(parameters["rotation"]).T
    scaling = np.ones(ndim)
    scaling[list(parameters.get("plane", range(ndim)))] = float(parameters.get("scaling", 1.0))
    matrix = matrix / scaling  # in a plane: what it is not mixed with stays as it is
    return matrix, np.asarray(parameters.get("translation", (0,) * ndim), dtype=float)


def reach(
    patch_shape: Sequence[int], matrix: Array, translation: Array, displacement: Array
) -> NDArray[np.float64]:
    """Return how far beyond the patch's faces a map looks, in voxels per axis.

    ``displacement`` is how far elastic deformation reaches along each axis.
    """
    half = (np.asarray(patch_shape, dtype=float) - 1) / 2
    farthest = np.abs(matrix) @ half + np.abs(matrix @ translation) + displacement
    return np.asarray(np.maximum(farthest - half, 0.0))


def elastic_reach(deviation: float, axes: Sequence[int], ndim: int) -> NDArray[np.float64]:
    """Return three standard deviations along the displaced axes.

    What is displaced farther, and lies at the very face, is taken from the border.
    """
    return np.where(np.isin(np.arange(ndim), axes), 3 * deviation, 0.0)


def bounded(wanted: Array, patch_shape: Sequence[int]) -> tuple[int, ...]:
    """Round a reach up to a margin of at most half of the patch."""
    # 1e-9: a reach of whole voxels carries rounding errors of the sine and cosine
    margin = np.minimum(np.ceil(wanted - 1e-9), np.asarray(patch_shape) // 2)
    return tuple(int(value) for value in margin)


def shift(
    array: Array, patch_shape: Sequence[int], translation: Sequence[int], border: str
) -> Array:
    """Cut the patch displaced by whole voxels: no interpolation."""
    for axis, (want, step) in enumerate(zip(patch_shape, translation, strict=True)):
        size = array.shape[axis]
        first = (size - want) // 2 - int(step)
        if 0 <= first <= size - want:
            array = array[(slice(None),) * axis + (slice(first, first + want),)]
        else:
            index = np.arange(first, first + want)
            array = np.take(array, at_border(index, size, border), axis=axis)
    return array


def at_border(index: NDArray[np.intp], size: int, border: str) -> NDArray[np.intp]:
    if border == "nearest":
        return np.clip(index, 0, size - 1)
    index = index % (2 * size)  # reflect: d c b a | a b c d | d c b a
    return np.minimum(index, 2 * size - 1 - index)


def warp(
    image: NDArray[np.float32],
    segmentation: Array,
    patch_shape: Sequence[int],
    parameters: Mapping[str, Any],
    order: int,
    border: str,
) -> tuple[NDArray[np.float32], Array]:
    """Interpolate image (with an order) and labels (nearest) once, at the same positions."""
    shape = tuple(patch_shape)
    matrix, translation = inverse_map(parameters, len(shape))
    half = (np.asarray(shape) - 1) / 2
    start = (np.asarray(segmentation.shape) - np.asarray(shape)) // 2
    offset = start + half - matrix @ (half + translation)
    if "elastic" in parameters:
        displacement = _displacement(shape, parameters["elastic"])
    else:
        across = untouched_axis(matrix)
        if order <= 1 and across is not None:
            first = int(start[across] - translation[across])
            return warp_slices(
                image, segmentation, shape, matrix, offset, across, first, order, border
            )
        displacement = None
    positions = affine_positions(shape, matrix, offset, displacement)
    if order <= 1:
        return _sampling.resample(image, segmentation, shape, positions, border, order=order)
    # Splines are SciPy's; labels are taken at the same positions as always.
    _, labels = _sampling.resample(image[..., :0], segmentation, shape, positions, border)
    moved = np.empty((*shape, image.shape[-1]), dtype=np.float32)
    coordinates = None if displacement is None else positions(0, shape[0])
    if np.count_nonzero(matrix - np.diag(np.diag(matrix))) == 0:
        matrix = np.diag(matrix)  # SciPy is faster where no axes are mixed
    for channel in range(image.shape[-1]):
        if coordinates is None:
            _affine(image[..., channel], matrix, offset, shape, moved[..., channel], order, border)
        else:
            moved[..., channel] = interpolate_img(image[..., channel], coordinates, order, border)
    return moved, labels


def untouched_axis(matrix: Array) -> int | None:
    """Return the axis of a 3D map that is neither scaled nor mixed with another, if there is."""
    if len(matrix) != 3:
        return None
    unit = np.eye(3)
    for axis in range(3):
        alone = np.array_equal(matrix[axis], unit[axis])
        if alone and np.array_equal(matrix[:, axis], unit[axis]):
            return axis
    return None


def warp_slices(
    image: NDArray[np.float32],
    segmentation: Array,
    patch_shape: Sequence[int],
    matrix: Array,
    offset: Array,
    across: int,
    first: int,
    order: int,
    border: str,
) -> tuple[NDArray[np.float32], Array]:
    """Apply a map that leaves an axis alone: one map of the plane for all its slices.

    ``first`` is the index of the input's slice that is the first of the patch. A third of the
    work of the map in 3D: four neighbours, and positions of one slice.
    """
    index = np.arange(first, first + patch_shape[across])
    index = at_border(index, segmentation.shape[across], border)
    plane = [axis for axis in range(3) if axis != across]
    shape = [patch_shape[axis] for axis in plane]
    positions = affine_positions(shape, matrix[np.ix_(plane, plane)], offset[plane])
    return _sampling.resample_slices(
        image, segmentation, shape, positions, across, index, border, order=order
    )


def affine_positions(
    shape: Sequence[int],
    matrix: Array,
    offset: Array,
    displacement: Positions | None = None,
) -> Positions:
    """Return the positions ``matrix @ o + offset (+ displacement)`` for output voxels ``o``.

    They are made row by row, so that neither the memory of a large image's positions is
    needed nor the processor's cache left.
    """
    # Not batchgenerators' mesh and rotate_coords_3d: these multiply by BLAS, whose last bits may
    # depend on its number of threads.
    plane = np.empty((len(shape), 1, *shape[1:]))
    for row in range(len(shape)):
        plane[row] = offset[row]
        for column, axis in enumerate(np.ogrid[tuple(slice(size) for size in shape[1:])], 1):
            if matrix[row, column] != 0:
                plane[row] += matrix[row, column] * axis

    def positions(first: int, last: int) -> NDArray[np.float32]:
        rows = np.multiply.outer(matrix[:, 0], np.arange(first, last, dtype=float))
        rows = rows.reshape((*rows.shape, *(1,) * (len(shape) - 1)))
        found: NDArray[np.float32] = (plane + rows).astype(np.float32)
        if displacement is not None:
            found += displacement(first, last)
        return found

    return positions


def _displacement(shape: Sequence[int], elastic: Mapping[str, Any]) -> Positions:
    rng = np.random.default_rng(int(elastic["seed"]))
    field = np.zeros((len(shape), *shape), dtype=np.float32)
    for axis in elastic["axes"]:
        field[axis] = smooth_field(
            rng, shape, float(elastic["sigma"]), float(elastic["displacement"])
        )
    return lambda first, last: field[:, first:last]


def deviation_of_alpha(sigma: float, ndim: int) -> float:
    """Return the displacement's standard deviation in batchgenerators' model at ``alpha`` 1.

    That is white noise in (−1, 1), smoothed with a Gaussian of ``sigma`` voxels:
    ``sqrt(1/3) / (2 sqrt(π) sigma) ** (ndim / 2)``.
    """
    return float(np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * sigma) ** (ndim / 2))


def smooth_field(
    rng: np.random.Generator, shape: Sequence[int], sigma: float, deviation: float
) -> NDArray[np.float32]:
    """Return a random field: white noise, smoothed with a Gaussian, of a standard deviation.

    batchgenerators' ``elastic_deform_coordinates`` makes such a field from NumPy's global
    state, on every voxel, and sinking to half at the faces. Here the noise lives on a grid of
    a third of ``sigma``, on which the field is already smooth, is smoothed periodically, and
    brought to the voxels linearly: ten times faster at a sigma of 11 voxels.
    """
    step = max(1, int(sigma // 3))
    coarse_shape = [-(-(size - 1) // step) + 2 for size in shape]
    field = rng.uniform(-1, 1, coarse_shape).astype(np.float32)
    field = gaussian_filter(field, sigma / step, mode="wrap")
    variance = 1 / 3  # of uniform noise in (−1, 1), reduced by the weights' sum of squares
    for size in coarse_shape:
        impulse = np.zeros(size)
        impulse[0] = 1
        variance *= float(np.sum(gaussian_filter1d(impulse, sigma / step, mode="wrap") ** 2))
    field *= np.float32(deviation / np.sqrt(variance))
    for axis, size in enumerate(shape):
        position = np.arange(size) / step
        below = position.astype(np.intp)
        weight = (position - below).astype(np.float32)
        weight = weight.reshape((-1,) + (1,) * (len(shape) - 1 - axis))
        lower = np.take(field, below, axis=axis)
        field = lower + weight * (np.take(field, below + 1, axis=axis) - lower)
    return np.asarray(field, dtype=np.float32)
