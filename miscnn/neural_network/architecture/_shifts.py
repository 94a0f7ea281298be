"""Shifting images against each other, mirrored at their borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from miscnn._keras import ops

__all__ = ["Shifts"]


class Shifts:
    """Adds shifted images, axis by axis, and the transpose of that.

    Parameters
    ----------
    shape : sequence of int or scalar tensor
        Size of the spatial axes.
    boundary : {"reflect", "symmetric"}
        Mirror at the centre of the outermost voxel, or at its border.
    """

    def __init__(self, shape: Sequence[Any], boundary: str) -> None:
        self.shape = shape
        self.edge = 0 if boundary == "reflect" else 1
        self._cache: dict[tuple[Any, ...], Any] = {}

    def prepare(self, indices: Callable[[int, int], Any], dilations: set[tuple[int, ...]]) -> None:
        """Calculate :meth:`sources` or :meth:`targets` ahead, outside of any loop."""
        for axis, distance in {pair for dilation in dilations for pair in enumerate(dilation)}:
            indices(axis, distance)

    def add(self, images: Any, dilation: Sequence[int]) -> Any:
        """Sum ``(3, 3[, 3], batch, x, y[, z])`` over the taps, each shifted to its place."""
        dimensions = len(self.shape)
        for axis, distance in enumerate(dilation):
            # One tap axis goes with each turn, so that the spatial axis stands still.
            before, centre, after = ops.unstack(images, 3, axis=0)
            lower, upper = self.sources(axis, distance)
            images = (
                centre
                + ops.take(before, lower, axis=dimensions)
                + ops.take(after, upper, axis=dimensions)
            )
        return images

    def spread(self, image: Any, dilation: Sequence[int]) -> Any:
        """Transpose of :meth:`add`: ``(batch, x, y[, z])`` to ``(3, 3[, 3], batch, x, …)``."""
        dimensions = len(self.shape)
        for axis in reversed(range(dimensions)):
            rank = len(image.shape)
            widths = [[0, int(place == dimensions)] for place in range(rank)]
            padded = ops.pad(image, widths)  # the last index finds zero
            parts = [
                ops.take(padded, index, axis=dimensions)
                for index in self.targets(axis, dilation[axis])
            ]
            image = ops.stack([parts[0] + parts[1], image, parts[2] + parts[3]])
        return image

    def bound(self, axis: int, distance: int) -> Any:
        size = self.shape[axis]
        most = size - 1 + self.edge
        return min(distance, most) if isinstance(size, int) else ops.minimum(distance, most)

    def sources(self, axis: int, distance: int) -> tuple[Any, Any]:
        """Return which voxel is read at each place, for the tap below and the tap above."""
        key = ("sources", axis, distance)
        if key not in self._cache:
            size = self.shape[axis]
            places = ops.arange(size, dtype="int32")
            shifted = places - self.bound(axis, distance)
            lower = ops.where(shifted < 0, -shifted - self.edge, shifted)
            self._cache[key] = lower, size - 1 - ops.flip(lower)
        found: tuple[Any, Any] = self._cache[key]
        return found

    def targets(self, axis: int, distance: int) -> tuple[Any, Any, Any, Any]:
        """Return which voxels read each place: directly and mirrored, below and above.

        Where there is none, the index is the size of the axis.
        """
        key = ("targets", axis, distance)
        if key not in self._cache:
            size = self.shape[axis]
            step = self.bound(axis, distance)
            places = ops.arange(size, dtype="int32")
            reader = places + step
            direct = ops.where(reader < size, reader, size)
            mirror = step - places - self.edge
            there = ops.logical_and(mirror >= 0, places > -self.edge)
            mirrored = ops.where(there, mirror, size)

            def other_side(index: Any) -> Any:
                index = ops.flip(index)
                return ops.where(index < size, size - 1 - index, size)

            self._cache[key] = direct, mirrored, other_side(direct), other_side(mirrored)
        found: tuple[Any, Any, Any, Any] = self._cache[key]
        return found
