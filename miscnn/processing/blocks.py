"""Parts of an image that are passed on as soon as they are final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """A box of values on a grid.

    Attributes
    ----------
    start : tuple of int
        First voxel of the box on each spatial axis.
    values : ndarray
        Labels ``(*extent,)``, or probabilities ``(*extent, classes)``.
    """

    start: tuple[int, ...]
    values: NDArray[Any]

    @property
    def extent(self) -> tuple[int, ...]:
        """Number of voxels on each spatial axis."""
        return self.values.shape[: len(self.start)]

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the block lies, to index an array on the grid."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.extent, strict=True))
