"""Volumes packed for viewing: turned to the screen, made small, 16 bits a voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._viewer.downsample import area_labels, area_mean, reduced_shape
from miscnn._viewer.screen import Grid, ScreenAxes, automatic_window, looks_like_ct, screen_axes

PLANE = 192
"""Most pixels along the longer edge of a packed slice, by default."""
SLICES = 96
"""Most packed slices, by default."""
_STEPS = 65_534
_FLAT = 5  # a single slice has room for more pixels


@dataclass(frozen=True, eq=False)
class Packed:
    """A volume packed for viewing.

    All arrays are turned to the screen: (slices, rows, columns), rows downwards and columns to
    the right as radiologists expect them. A 2D image is one slice.

    Attributes
    ----------
    image : ndarray of int16
        (channels, slices, rows, columns); the value is ``stored · slope + intercept``.
    slopes, intercepts : tuple of float
        One per channel.
    windows : tuple of (float, float)
        Values to show as black and white, one per channel.
    percentiles : tuple of (float, float)
        1st and 99.5th percentile of each channel.
    ct : tuple of bool
        Whether the values of a channel look like HU.
    truth, prediction : ndarray of uint8 or uint16, or None
        Label maps (slices, rows, columns).
    affine : ndarray
        4 × 4 matrix from packed indices (slice, row, column) to mm, RAS+; in 2D the patient's
        third axis is 0.
    letters : tuple of str
        Towards which side of the patient slices, rows and columns run; empty in 2D.
    sizes : tuple of int
        Number of voxels of the original along slices, rows and columns.
    flips : tuple of bool
        Whether slices, rows and columns are counted the other way in the original.
    flat : bool
        Whether it is a 2D image.
    names : dict of int to str
        Names of the labels.
    ignored : int or None
        Label of voxels that nobody has annotated.
    """

    image: NDArray[np.int16]
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    windows: tuple[tuple[float, float], ...]
    percentiles: tuple[tuple[float, float], ...]
    ct: tuple[bool, ...]
    truth: NDArray[Any] | None
    prediction: NDArray[Any] | None
    affine: NDArray[np.float64]
    letters: tuple[str, str, str]
    sizes: tuple[int, int, int]
    flips: tuple[bool, bool, bool] = (False, False, False)
    flat: bool = False
    names: Mapping[int, str] = field(default_factory=dict)
    ignored: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Packed slices, rows and columns."""
        slices, rows, columns = self.image.shape[1:]
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of packed slices, rows and columns in mm."""
        slices, rows, columns = (float(n) for n in np.linalg.norm(self.affine[:3, :3], axis=0))
        return slices, rows, columns

    def values(self, channel: int = 0) -> NDArray[np.float32]:
        """Return the values of a channel (slices, rows, columns)."""
        stored = self.image[channel].astype(np.float32)
        slope, intercept = np.float32(self.slopes[channel]), np.float32(self.intercepts[channel])
        return np.asarray(stored * slope + intercept, dtype=np.float32)

    def shrunk(self, share: float) -> Packed:
        """Return the same volume with about ``share`` times as many voxels.

        Where voxels are finest they are joined first; slices count as half as thick as they are,
        since it is in the slices that one looks for details.
        """
        wanted = share * float(np.prod(self.shape))
        size = np.asarray(self.spacing) * (0.5, 1.0, 1.0)
        extent = size * self.shape

        def joined(edge: float) -> tuple[int, ...]:
            counts = np.rint(extent / np.maximum(size, edge)).astype(int)
            return tuple(int(n) for n in np.clip(counts, 1, self.shape))

        low, high = float(size.min()), float(extent.max())
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if np.prod(joined(middle)) > wanted else (low, middle)
        shape = joined(high)
        if shape == self.shape:
            return self
        image = np.stack([np.rint(area_mean(c, shape)).astype(np.int16) for c in self.image])
        return replace(
            self,
            image=image,
            truth=None if self.truth is None else area_labels(self.truth, shape),
            prediction=None if self.prediction is None else area_labels(self.prediction, shape),
            affine=_coarser(self.affine, self.shape, shape),
        )

    def coarsened(self, steps: int) -> Packed:
        """Return the same volume with at most ``steps`` different values per channel.

        Every value is off by half a step at most.
        """
        channels, slopes, intercepts = [], [], []
        for channel, slope, intercept in zip(self.image, self.slopes, self.intercepts, strict=True):
            low, high = int(channel.min()), int(channel.max())
            step = max(1, -(-(high - low + 1) // min(steps, 32_767)))
            reduced = (channel.astype(np.int32) - low + step // 2) // step
            channels.append(reduced.astype(np.int16))
            slopes.append(slope * step)
            intercepts.append(intercept + slope * low)
        return replace(
            self, image=np.stack(channels), slopes=tuple(slopes), intercepts=tuple(intercepts)
        )


def pack(
    image: NDArray[Any],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any] | None,
    grid: Grid,
    *,
    plane: int = PLANE,
    slices: int = SLICES,
    names: Mapping[int, str] | None = None,
    ignored: int | None = None,
) -> Packed:
    """Pack a volume for viewing.

    Intensities are averaged over the voxels of the coarser grid (:func:`area_mean`); NaN and
    infinite values are shown as 0. Labels are those that take most of a coarse voxel, and no
    object vanishes (:func:`area_labels`).

    Parameters
    ----------
    image : ndarray
        ``(x, y, z, channels)`` or ``(x, y, channels)``.
    truth, prediction : ndarray of integer, optional
        Label maps without a channel axis.
    grid : Grid
        Of the image, such as a ``Geometry``.
    plane, slices : int
        Most pixels along the longer edge of a slice, and most slices. A 2D image has up to five
        times as many pixels along its edge.
    names : mapping, optional
        Names of the labels.
    ignored : int, optional
        Label of voxels that nobody has annotated.
    """
    axes = screen_axes(grid)
    flat = image.ndim == 3
    target = reduced_shape(
        image.shape[:-1],
        None if flat else axes.order[0],
        plane * (_FLAT if flat else 1),
        slices,
    )
    stored, slopes, intercepts, windows, percentiles = [], [], [], [], []
    ct: list[bool] = []
    for channel in range(image.shape[-1]):
        values = np.nan_to_num(
            np.asarray(image[..., channel], dtype=np.float32), posinf=0.0, neginf=0.0
        )
        lowest = float(values.min())
        small = area_mean(values, target)
        low, middle, high = (float(v) for v in np.percentile(small, (1.0, 50.0, 99.5)))
        percentiles.append((low, high))
        windows.append(automatic_window(small, lowest))
        ct.append(looks_like_ct(lowest, middle))
        whole = bool((values == np.rint(values)).all())
        codes, slope, intercept = _stored(small, whole)
        stored.append(_turned(codes, axes))
        slopes.append(slope)
        intercepts.append(intercept)
    maps = [
        None if labels is None else _turned(area_labels(_unsigned(labels), target), axes)
        for labels in (truth, prediction)
    ]
    return Packed(
        image=np.ascontiguousarray(np.stack(stored)),
        slopes=tuple(slopes),
        intercepts=tuple(intercepts),
        windows=tuple(windows),
        percentiles=tuple(percentiles),
        ct=tuple(ct),
        truth=maps[0],
        prediction=maps[1],
        affine=_turned_affine(grid, target, axes),
        letters=axes.letters,
        sizes=_three((1,) * flat + tuple(image.shape[axis] for axis in axes.order)),
        flips=(False, *axes.flips),
        flat=flat,
        names=dict(names or {}),
        ignored=ignored,
    )


def _three(counts: tuple[int, ...]) -> tuple[int, int, int]:
    slices, rows, columns = counts
    return slices, rows, columns


def _stored(values: NDArray[np.float32], whole: bool) -> tuple[NDArray[np.int16], float, float]:
    """Return 16 bit codes with slope and intercept; whole numbers stand for themselves."""
    low, high = float(values.min()), float(values.max())
    if whole and low >= -32_768 and high <= 32_767:
        return np.rint(values).astype(np.int16), 1.0, 0.0
    slope = (high - low) / _STEPS or 1.0
    middle = (high + low) / 2
    codes = np.rint((values.astype(np.float64) - middle) / slope)
    return codes.clip(-32_767, 32_767).astype(np.int16), slope, middle


def _unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    high = int(labels.max()) if labels.size else 0
    return labels.astype(np.uint8 if high < 256 else np.uint16, copy=False)


def _turned(array: NDArray[Any], axes: ScreenAxes) -> NDArray[Any]:
    turned = array.transpose(axes.order)
    if array.ndim == 2:
        turned = turned[np.newaxis]
    steps = (slice(None), *(slice(None, None, -1 if flip else 1) for flip in axes.flips))
    return np.ascontiguousarray(turned[steps])


def _coarser(
    affine: NDArray[np.float64], before: Sequence[int], after: Sequence[int]
) -> NDArray[np.float64]:
    """Return the matrix of a grid of the same extent: outer faces stay where they are."""
    factor = np.asarray(before, dtype=np.float64) / np.asarray(after, dtype=np.float64)
    step = np.diag([*factor, 1.0])
    step[:-1, -1] = (factor - 1.0) / 2.0
    return np.asarray(affine @ step, dtype=np.float64)


def _turned_affine(grid: Grid, target: Sequence[int], axes: ScreenAxes) -> NDArray[np.float64]:
    small = _coarser(grid.affine, grid.shape, target)
    size = len(target)
    turned = np.eye(4)
    turned[:size, 3] = small[:size, size]
    if size == 2:
        turned[2, 0], turned[2, 1:3] = 1.0, 0.0
        turned[0, 0] = turned[1, 0] = 0.0
    first = 3 - size
    for position, axis in enumerate(axes.order):
        column = np.zeros(3)
        column[:size] = small[:size, axis]
        flips = axes.flips if size == 2 else (False, *axes.flips)
        if flips[position]:
            turned[:3, 3] += column * (target[axis] - 1)
            column = -column
        turned[:3, first + position] = column
    return turned
