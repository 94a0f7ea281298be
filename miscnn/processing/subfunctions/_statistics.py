"""Mean, variance and range of more voxels than fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Running statistics of columns of values, in float64.

    Blocks are merged with the update of Chan, Golub and LeVeque (The American Statistician
    37:242, 1983), which does not subtract large sums from one another: values of mean 1e6 and
    standard deviation 1 lose nothing.

    Parameters
    ----------
    columns : int
        Number of separate statistics.

    Attributes
    ----------
    count : int
        Values per column so far.
    mean, minimum, maximum : ndarray
        Of shape (columns,).
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean = np.zeros(columns)
        self.minimum = np.full(columns, np.inf)
        self.maximum = np.full(columns, -np.inf)
        self._squares = np.zeros(columns)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation (of the values themselves: divided by n); 0 of equal values."""
        variance = self._squares / max(self.count, 1)
        # Rounding of the mean leaves a trace of a variance where there is none.
        return np.where(self.minimum == self.maximum, 0.0, np.sqrt(variance))

    def add(self, values: NDArray[Any]) -> None:
        """Take in a block of shape (n, columns)."""
        count = len(values)
        if not count:
            return
        block = values.astype(np.float64)
        total = self.count + count
        with np.errstate(invalid="ignore"):  # infinity shows in the range; the caller looks there
            mean = block.mean(axis=0)
            squares = ((block - mean) ** 2).sum(axis=0)
            delta = mean - self.mean
            self._squares += squares + delta**2 * (self.count * count / total)
            self.mean += delta * (count / total)
        self.count = total
        self.minimum = np.minimum(self.minimum, block.min(axis=0))
        self.maximum = np.maximum(self.maximum, block.max(axis=0))

    def add_image(
        self, image: NDArray[Any], mask: NDArray[np.bool_] | None, per_channel: bool
    ) -> None:
        """Take in an image ``(…, c)``, or its voxels where a mask of its spatial shape is true.

        Parameters
        ----------
        per_channel : bool
            One column per channel, or one for all.
        """
        columns = image.shape[-1] if per_channel else 1
        for number, plane in enumerate(image):
            voxels = plane if mask is None else plane[mask[number]]
            self.add(voxels.reshape(-1, columns))
