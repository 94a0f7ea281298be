"""Losses that weigh an error by its distance to the true surface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from miscnn._keras import compile_ahead, keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses._foreground import ForegroundLoss
from miscnn.neural_network.losses.base import not_negative
from miscnn.neural_network.losses.dice import DiceCrossEntropy

# Stands for an infinite squared distance: infinities would make NaN of what they multiply.
_FAR = 1e12

_BLOCK = 2048  # lines that a pass works on at a time: as many as stay in a processor's cache


@keras.saving.register_keras_serializable(package="miscnn")
class BoundaryLoss(ForegroundLoss):
    """Mean of φ (p − y) over the voxels, φ the signed distance to the true surface.

    φ is positive outside of the class and negative inside, so that every wrong voxel costs its
    distance to the right side; a perfect prediction costs 0. The value has the unit of
    ``spacing``. The distance maps are exact, and made of the truth inside of the loss.

    A class that is absent from the truth of a sample, or everywhere in it, has no surface: φ is
    0, and it costs nothing whatever is predicted. Train with a region loss beside it, which
    knows such classes: :class:`BoundaryDiceCrossEntropy`.

    Parameters
    ----------
    spacing : sequence of float, optional
        Voxel size per spatial axis of the network's input, in mm or whatever distances are to be
        in. Default: 1 for each axis, distances in voxels. No two voxels may be further apart
        than 7 · 10⁵ of these units (0.7 km in mm): beyond it is taken that there is no surface.
        Under deep supervision the coarser outputs, whose voxels are larger, are measured with
        the same spacing: their distances come out too small by as much as they are coarser.

    Other Parameters
    ----------------
    include_background : bool
        Whether the distances to the background's surface count too. Default: foreground only,
        as in the paper.
    class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`. Every class counts in the mean over the
        classes, without a surface too. There is no ``smooth``: nothing is divided.

    Notes
    -----
    The truth of a class is where its ``y_true`` is above ½. With ``ignore_unlabelled`` voxels
    without a label cost nothing, but when distances are taken they are outside of all classes.

    The distance of a voxel is that of its centre to the nearest centre on the other side, so
    that no voxel has weight 0; the published code takes 1 off inside.

    The distance maps take time that grows with the length of the axes, n⁴ for n³ voxels: for
    large patches more than a small network does.

    References
    ----------
    Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019 and Med. Image
    Anal. 67:101851, 2021, arXiv 1812.07032. Eq. 5 with the constant that it leaves away.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[0.0], [0.0], [1.0], [1.0]]])[..., None, :]  # four by one voxels
    >>> prediction = np.array([[[1.0], [0.0], [1.0], [1.0]]])[..., None, :]
    >>> float(BoundaryLoss(include_background=True)(truth, prediction))  # distance 2, 4 voxels
    0.5
    """

    def __init__(self, *, spacing: Sequence[float] | None = None, **kwargs: Any) -> None:
        if "smooth" in kwargs:
            raise ConfigurationError("BoundaryLoss has no smooth, since it divides by nothing")
        super().__init__(**kwargs)
        self.spacing = _checked_spacing(spacing)

    def class_index(self, y_true: Any, y_pred: Any, counting: Any) -> Any:
        """Return minus the mean of φ (p − y) per class; not an index from 0 to 1."""
        mask = ops.cast(ops.stop_gradient(y_true) > 0.5, "float32")
        errors = signed_distances(mask, self.spacing) * (y_pred - mask)
        voxels = reductions.class_sums(counting, self.over_batch)
        return -ops.divide_no_nan(reductions.class_sums(errors, self.over_batch), voxels)

    def per_class(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean of φ (p − y) of each class: 1 − (1 − x) would lose its digits."""
        return -self.index(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        config = {**super().get_config(), "spacing": self.spacing and list(self.spacing)}
        del config["smooth"]
        return config


@keras.saving.register_keras_serializable(package="miscnn")
class BoundaryDiceCrossEntropy(DiceCrossEntropy):
    """dice_weight · Dice + crossentropy_weight · cross-entropy + boundary_weight · boundary.

    A region loss must stand beside the boundary loss: alone, that is also small if all is
    called background (Kervadec et al.).

    Parameters
    ----------
    boundary_weight : float
        Of :class:`BoundaryLoss`, which has the unit of ``spacing``. Default 0.01, with which
        the paper begins; it raises the weight by 0.01 an epoch.
    spacing : sequence of float, optional
        As of :class:`BoundaryLoss`.

    Other Parameters
    ----------------
    dice_weight, crossentropy_weight : float
        1 by default; one of them may be 0.
    include_background, smooth, class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`. The boundary loss takes the foreground only.
    """

    def __init__(
        self,
        *,
        boundary_weight: float = 0.01,
        spacing: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.boundary_weight = not_negative("boundary_weight", boundary_weight)
        self.boundary = BoundaryLoss(
            spacing=spacing,
            class_weights=self.class_weights,
            reduction_axes=self.reduction_axes,
            ignore_unlabelled=self.ignore_unlabelled,
            multilabel=self.multilabel,
        )

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted sum."""
        boundary = self.boundary.values(y_true, y_pred)
        return super().values(y_true, y_pred) + self.boundary_weight * boundary

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        spacing = self.boundary.spacing
        own = {"boundary_weight": self.boundary_weight, "spacing": spacing and list(spacing)}
        return {**super().get_config(), **own}


def signed_distances(mask: Any, spacing: Sequence[float] | None = None) -> Any:
    """Return the signed Euclidean distances to the surface of each mask.

    Parameters
    ----------
    mask : tensor
        ``(batch, x, y[, z], classes)`` of 0 and 1.
    spacing : sequence of float, optional
        Voxel size per spatial axis.

    Returns
    -------
    tensor
        Of the same shape, float32: outside of a mask the distance to its nearest voxel, inside
        minus the distance to the nearest voxel outside. 0 where there is no such voxel at all.
    """
    axes = len(mask.shape) - 2
    spacing = (1.0,) * axes if spacing is None else tuple(spacing)
    if len(spacing) != axes:
        raise ConfigurationError(
            f"spacing {spacing} has {len(spacing)} values, but the network's output has {axes} "
            "spatial axes; give one value per axis"
        )
    both = ops.concatenate([mask, 1.0 - mask], axis=-1)
    squared = _squared_distances(both, spacing)
    distances = ops.where(squared < _FAR / 2, ops.sqrt(squared), ops.zeros_like(squared))
    classes = mask.shape[-1]
    return ops.stop_gradient(distances[..., :classes] - distances[..., classes:])


def _squared_distances(sites: Any, spacing: Sequence[float]) -> Any:
    """Return the squared distance to the nearest 1; the axes one after the other.

    Each pass takes the minimum over one axis of what the passes before it found plus the
    squared distance along the axis (Saito and Toriwaki, Pattern Recognit. 27:1551, 1994).
    """
    squared = (1.0 - sites) * _FAR
    for axis, size in enumerate(spacing, start=1):
        lines = ops.moveaxis(squared, axis, 0)
        shape = ops.shape(lines)
        found = _pass(ops.reshape(lines, (shape[0], -1)), shape[0], size)
        squared = ops.moveaxis(ops.reshape(found, shape), 0, axis)
    return squared


def _pass(lines: Any, length: Any, size: float) -> Any:
    """Return min over j of ``lines[j] + (size (i − j))²`` for each i, in ``(length, lines)``.

    One i at a time, so that the memory is that of a few volumes. On the CPU some lines at a
    time besides, so that they stay in the cache, which takes half the time; elsewhere each
    block would be one more kernel to launch.
    """
    if compile_ahead():
        return _pass_of_block(lines, length, size)
    number = ops.shape(lines)[1]
    block = min(number, _BLOCK) if isinstance(number, int) else ops.minimum(number, _BLOCK)
    missing = -number % block
    padded = ops.concatenate([lines, ops.zeros((length, missing), "float32")], axis=1)
    blocks = ops.moveaxis(ops.reshape(padded, (length, -1, block)), 1, 0)
    found = ops.map(lambda part: _pass_of_block(part, length, size), blocks)
    return ops.reshape(ops.moveaxis(found, 0, 1), (length, number + missing))[:, :number]


def _pass_of_block(lines: Any, length: Any, size: float) -> Any:
    positions = ops.cast(ops.arange(length), "float32") * size
    column = ops.expand_dims(positions, -1)

    def row(unchanged: Any, position: Any) -> tuple[Any, Any]:
        return unchanged, ops.min(lines + ops.square(column - position), axis=0)

    return ops.scan(row, lines[0], positions)[1]


def _checked_spacing(spacing: Sequence[float] | None) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    sizes = tuple(float(size) for size in spacing)
    if len(sizes) not in (2, 3) or not all(math.isfinite(s) and s > 0 for s in sizes):
        raise ConfigurationError(
            f"spacing is {spacing!r}; expected 2 or 3 positive numbers, one per spatial axis of "
            "the network"
        )
    return sizes
