"""A CT image around a given label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from miscnn.datasets._anatomy import Anatomy, draw_anatomy
from miscnn.datasets._ct import draw_contrast, draw_scanner, expose
from miscnn.datasets._fields import FloatArray, Matrix, draw_waves
from miscnn.datasets._painter import paint
from miscnn.datasets._shapes import Tissue

_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_BLUR_VOXELS = 0.45  # partial volume at the border of a label
_RIM_MM = 3.0
_HIGHEST_LABEL = 65535


def directions(orientation: str) -> tuple[Matrix, list[int]]:
    """What an orientation such as ``"LPS"`` means.

    Returns
    -------
    columns : array (3, 3)
        Unit vectors (RAS+) along the three array axes.
    order : list of 3 int
        For each array axis, the patient axis that it runs along.

    Raises
    ------
    ValueError
        If it is not three letters, one of each of R/L, A/P, S/I.
    """
    letters = orientation.upper()
    known = [_AXES[letter] for letter in letters if letter in _AXES]
    order = [axis for axis, _ in known]
    if len(letters) != 3 or sorted(order) != [0, 1, 2]:
        raise ValueError(
            f"orientation {orientation!r} is not one: give one letter for each array axis, one "
            'of R/L, one of A/P and one of S/I, such as "RAS" or "IPL".'
        )
    columns = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(known):
        columns[axis, column] = sign
    return columns, order


def synthesize_ct(
    labels: ArrayLike,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    tissues: Mapping[int, float] | None = None,
    orientation: str | None = None,
) -> NDArray[np.int16]:
    """Make an abdominal CT image in which a given label map is true.

    Body, fat, muscle, spine, ribs, bowel, liver, spleen and vessels are placed around the
    labelled structures; these lie in a thin, uneven layer of fat. The image has partial
    volume, correlated noise and a scanner's calibration like those of `make_subject`.

    Parameters
    ----------
    labels : array (x, y, z), integer or bool
        Label map; 0 is background. Not changed.
    spacing : sequence of 3 float
        Voxel size along the array axes, mm. The axis of the largest spacing is that of the
        slices (of equal ones the last).
    rng : numpy.random.Generator
        Source of everything that varies.
    tissues : mapping of int to float, optional
        Mean HU of labels. Of those not named, 1 is an enhanced kidney, 2 a tumour in it, and
        the others get soft-tissue values from 30 to 160 HU. The scanner's calibration may
        move all by up to some 15 HU.
    orientation : str, optional
        Direction of the three array axes in the patient, such as ``"RAS"``. If not given,
        ``"IPL"`` where the slice axis is the first (as in KiTS), ``"RSA"`` where it is the
        second, ``"RAS"`` where it is the last.

    Returns
    -------
    array (x, y, z), int16
        HU.

    Raises
    ------
    ValueError
        If the labels are not a 3D array of integers from 0 up, or the spacing not three
        positive numbers.
    """
    labels = _checked(labels)
    if len(spacing) != 3 or not all(0 < size < np.inf for size in spacing):
        raise ValueError(f"spacing must be three positive numbers of mm, got {spacing!r}.")
    slice_axis = _slice_axis(spacing)
    columns, _ = directions(orientation or ("IPL", "RSA", "RAS")[slice_axis])
    # From here on the slice axis is the last.
    order = [*(axis for axis in range(3) if axis != slice_axis), slice_axis]
    back = np.argsort(order)
    labels = labels.transpose(order)
    sizes = np.array([spacing[axis] for axis in order], dtype=np.float64)

    contrast = draw_contrast(rng)
    anatomy = draw_anatomy(rng, contrast, with_kidneys=False)
    scanner = draw_scanner(rng)
    affine = np.eye(4)
    affine[:3, :3] = columns[:, order] * sizes
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(labels.shape) - 1) / 2)
    found = _bounds(labels)
    if found is not None:
        anatomy, affine = _fit(anatomy, affine, found)
    hu = paint(anatomy, affine, labels.shape).hu
    if found is not None:
        _insert(hu, labels, found, affine, _means(labels, tissues, contrast), contrast, rng)
    image = expose(hu, sizes.tolist(), 2, scanner, rng)
    return np.ascontiguousarray(image.transpose(back))


def _checked(labels: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(labels)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.ndim != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            "labels must be a 3D array of integers that is not empty, got shape "
            f"{array.shape} of {array.dtype}. Use labels.astype(numpy.uint8) for whole numbers "
            "stored as floats."
        )
    if array.min() < 0:
        raise ValueError(f"labels must be 0 or more, got {array.min()}.")
    if array.max() > _HIGHEST_LABEL:
        raise ValueError(f"labels must be at most {_HIGHEST_LABEL}, got {array.max()}.")
    return array


def _slice_axis(spacing: Sequence[float]) -> int:
    """The axis of the largest spacing; of equal ones (to a thousandth) the last."""
    largest = max(spacing)
    return max(axis for axis in range(3) if spacing[axis] > 0.999 * largest)


def _bounds(labels: NDArray[np.integer]) -> tuple[slice, slice, slice] | None:
    """The box that holds all labels."""
    filled = labels > 0
    parts = []
    for axis in range(3):
        hit = np.flatnonzero(filled.any(axis=tuple(other for other in range(3) if other != axis)))
        if not hit.size:
            return None
        parts.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return parts[0], parts[1], parts[2]


def _fit(
    anatomy: Anatomy, affine: Matrix, found: tuple[slice, slice, slice]
) -> tuple[Anatomy, Matrix]:
    """Lay the anatomy so that the labels lie where kidneys do, and inside the trunk."""
    first = affine[:3, :3] @ [part.start for part in found] + affine[:3, 3]
    last = affine[:3, :3] @ [part.stop - 1 for part in found] + affine[:3, 3]
    low, high = np.minimum(first, last), np.maximum(first, last)
    extent = high - low
    # The cavity measures 250 x 155 mm; what lies in its corners would stick out.
    factor = np.clip(extent[:2] / (np.array([205.0, 125.0]) * anatomy.scale[:2]), 1, 1.5)
    scale = anatomy.scale * [factor[0], factor[1], 1]
    offset = (low + high) / 2
    if extent[0] < 100:
        # One kidney: the midline is the middle of the image, if that leaves it in the trunk.
        reach = 110 * scale[0]
        offset[0] = min(max(0.0, high[0] - reach), low[0] + reach)
    if extent[1] < 110 * scale[1]:
        offset[1] = low[1] + 60 * scale[1]  # the back of the kidneys
    offset[2] += 4
    moved = affine.copy()
    moved[:3, 3] -= offset
    return replace(anatomy, scale=scale), moved


def _means(
    labels: NDArray[np.integer],
    tissues: Mapping[int, float] | None,
    contrast: Mapping[Tissue, float],
) -> FloatArray:
    """Mean HU of every label value, as a table."""
    highest = int(labels.max())
    # Multiples of the golden ratio spread evenly over the range, however many there are.
    means = 30 + 130 * np.mod(np.arange(highest + 1) * 0.6180339887, 1)
    defaults = {1: contrast[Tissue.KIDNEY], 2: contrast[Tissue.TUMOUR]}
    for value, mean in {**defaults, **(tissues or {})}.items():
        if 0 < value <= highest:
            means[value] = mean
    table: FloatArray = means.astype(np.float32)
    return table


def _insert(
    hu: FloatArray,
    labels: NDArray[np.integer],
    found: tuple[slice, slice, slice],
    affine: Matrix,
    means: FloatArray,
    contrast: Mapping[Tissue, float],
    rng: np.random.Generator,
) -> None:
    """Put the labelled tissue and a rim of fat into an image, in place."""
    texture = draw_waves(rng, 16, (8, 30), 6)
    gaps = draw_waves(rng, 12, (40, 120), 0.09)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    margin = np.ceil(3 * _RIM_MM / spacing).astype(int) + 2
    rows, cols, slices = (
        slice(max(0, part.start - extra), min(size, part.stop + extra))
        for part, extra, size in zip(found, margin.tolist(), labels.shape, strict=True)
    )
    box = (rows, cols, slices)
    inside = labels[box]
    mask = (inside > 0).astype(np.float32)

    near = ndimage.gaussian_filter(mask, _RIM_MM / spacing, truncate=3)
    # `near` is a half at the surface and falls to 0.16 one _RIM_MM away from a flat one.
    near -= np.float32(0.22) + gaps.sample(affine, box)
    share = np.clip(near / np.float32(0.12), 0, 1)
    # Nothing but soft tissue gives way: the fat does not spread into bone, air or gas.
    here = hu[box]
    share[(here < -150) | (here > 260)] = 0
    here += share * (np.float32(contrast[Tissue.FAT] + 3) - here)

    value = means[inside] + texture.sample(affine, box)
    value *= mask
    value = ndimage.gaussian_filter(value, _BLUR_VOXELS, truncate=3)
    mask = ndimage.gaussian_filter(mask, _BLUR_VOXELS, truncate=3)
    here *= 1 - mask
    here += value
