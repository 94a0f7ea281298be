"""How nnU-Net fits kernels and strides to the patch and the voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from miscnn.exceptions import ConfigurationError

__all__ = ["DEFAULT_PATCH", "Topology", "plain_topology", "topology"]

DEFAULT_PATCH = 128
"""Voxels per axis where the patch is not known: five poolings."""

_LEAST_EDGE = 4  # voxels of the deepest feature maps along an axis that is pooled
_LIKE = 2.0  # spacings up to this factor count as alike


class Topology(NamedTuple):
    """Strides and kernels: a tuple of one integer per axis for each stage, the finest first.

    The stride of a stage is what its input is reduced by; that of the first is 1.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def topology(patch_shape: Sequence[int], spacing: Sequence[float] | None = None) -> Topology:
    """Return the strides and kernels of nnU-Net for a patch.

    Stage by stage, the axes that still have 8 voxels or more are halved, but of those only
    the ones whose spacing is below twice the smallest; a single axis must have 12. So the
    voxels of the deeper stages are about isotropic. The kernel along an axis is 1 until its
    spacing is below twice the smallest of all, then 3; in the deepest stage 3 throughout.

    The rule treats each axis for itself: another order of the axes gives the same strides
    and kernels in that order.

    Parameters
    ----------
    patch_shape : sequence of int
        Voxels per axis of what the network sees.
    spacing : sequence of float, optional
        Size of a voxel per axis, mm. Default: isotropic.

    Returns
    -------
    Topology

    Raises
    ------
    ConfigurationError
        If a size or spacing is not positive, or their numbers differ.

    References
    ----------
    Isensee et al. 2021, Nature Methods 18:203, and its code (MIC-DKFZ/nnUNet, 2.x).

    Examples
    --------
    >>> topology((16, 128, 128), (5.0, 3.1, 3.1)).strides
    ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    """
    sizes, lengths = _checked(patch_shape, spacing)
    axes = range(len(sizes))
    strides = [(1,) * len(sizes)]
    kernels = []
    kernel = [1] * len(sizes)
    while halved := _axes_to_halve(sizes, lengths):
        finest = min(lengths)
        # Once 3, a kernel stays 3, whatever becomes of the ratio.
        kernel = [3 if k == 3 or lengths[a] / finest < _LIKE else 1 for a, k in enumerate(kernel)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            lengths[axis] *= 2
            sizes[axis] = math.ceil(sizes[axis] / 2)
    kernels.append((3,) * len(sizes))
    return Topology(tuple(strides), tuple(kernels))


def plain_topology(dimensions: int) -> Topology:
    """Return the topology for isotropic patches of :data:`DEFAULT_PATCH` voxels per axis."""
    return topology((DEFAULT_PATCH,) * dimensions)


def _axes_to_halve(sizes: Sequence[int], spacing: Sequence[float]) -> list[int]:
    large = [axis for axis, size in enumerate(sizes) if size >= 2 * _LEAST_EDGE]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    alike = [axis for axis in large if spacing[axis] / finest < _LIKE]
    if len(alike) == 1 and sizes[alike[0]] < 3 * _LEAST_EDGE:
        return []
    return alike


def _checked(
    patch_shape: Sequence[int], spacing: Sequence[float] | None
) -> tuple[list[int], list[float]]:
    sizes = [int(size) for size in patch_shape]
    lengths = [1.0] * len(sizes) if spacing is None else [float(length) for length in spacing]
    if not sizes or min(sizes) < 1:
        raise ConfigurationError(
            f"patch_shape is {tuple(patch_shape)}; expected a positive number of voxels per axis"
        )
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        raise ConfigurationError(
            f"spacing is {tuple(lengths)}; expected the positive size of a voxel per axis in mm"
        )
    if len(sizes) != len(lengths):
        raise ConfigurationError(
            f"patch_shape {tuple(sizes)} has {len(sizes)} axes, spacing {tuple(lengths)} has "
            f"{len(lengths)}; expected as many"
        )
    return sizes, lengths
