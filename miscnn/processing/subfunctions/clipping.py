"""Clipping of intensities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.subfunctions._arguments import is_number
from miscnn.processing.subfunctions.base import PointwiseSubfunction


class Clipping(PointwiseSubfunction):
    """Cut intensities to a range.

    Parameters
    ----------
    min, max : float or None
        Bounds in units of the image (HU in a CT); None leaves that side open.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[-1000], [40], [2000]]], np.int16)
    >>> Clipping(-79, 304).transform(image, {}).ravel().tolist()
    [-79.0, 40.0, 304.0]
    """

    takes_stored_type = True

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        given = [bound for bound in (min, max) if bound is not None]
        if not given or not all(is_number(bound) for bound in given):
            raise ConfigurationError(
                "Clipping takes finite numbers and at least one bound, "
                f"got min={min!r}, max={max!r}"
            )
        if min is not None and max is not None and not min < max:
            raise ConfigurationError(f"Clipping needs min < max, got min={min!r}, max={max!r}")
        self.min = min
        self.max = max

    def transform(self, image: NDArray[Any], measures: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the image with its intensities cut."""
        result = image.astype(np.float32)
        low = None if self.min is None else np.float32(self.min)
        high = None if self.max is None else np.float32(self.max)
        return np.clip(result, low, high, out=result)
