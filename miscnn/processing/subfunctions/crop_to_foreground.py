"""Cropping to the box that holds something."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.parts import Parts
from miscnn.processing.subfunctions._arguments import (
    check_choice,
    check_per_axis,
    check_prediction,
    entries_of,
    expand,
    is_number,
)
from miscnn.processing.subfunctions._blockwise import as_float, foreground_box, minimum
from miscnn.processing.subfunctions.base import Subfunction

_log = logging.getLogger("miscnn.processing.subfunctions.crop_to_foreground")


class CropToForeground(Subfunction):
    """Cut away the empty border of an image.

    The box holds all voxels above ``threshold`` in any channel. It is found on the image
    alone, so that training and prediction are treated alike.

    Parameters
    ----------
    threshold : float, optional
        In units of the image. Default: each channel's minimum. In a CT, whose air is noisy,
        -500 (HU) finds the body and the table.
    margin : float or sequence of float
        How much is left around the box, per array axis.
    margin_unit : {"voxel", "mm"}
        Unit of ``margin``; millimetres are rounded up to whole voxels.
    minimum_size : sequence of int or None, or int, optional
        Least number of voxels of the box per array axis, as far as the image has as many; the
        box grows on both sides.

    Notes
    -----
    An image without foreground is kept whole. If labelled voxels lie outside of the box, a
    warning is logged with their number. On the way back, what was cut away is background:
    label 0, probability 1 for class 0.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.sample import Sample
    >>> image = np.zeros((20, 20, 20, 1), np.float32)
    >>> image[5:10, 6:12, 8] = 1.0
    >>> CropToForeground(margin=1).preprocessing(Sample("case", image)).spatial_shape
    (7, 8, 3)
    """

    moves_voxels = True
    follows_geometry = True
    takes_stored_type = True

    def __init__(
        self,
        threshold: float | None = None,
        margin: Sequence[float] | float = 0,
        margin_unit: str = "voxel",
        minimum_size: Sequence[int | None] | int | None = None,
    ) -> None:
        if threshold is not None and not is_number(threshold):
            raise ConfigurationError(
                "threshold is a finite number in units of the image, or None for its minimum; "
                f"got {threshold!r}"
            )
        if not all(is_number(entry) and entry >= 0 for entry in entries_of(margin)):
            raise ConfigurationError(
                f"margin takes numbers >= 0, one or one per axis; got {margin!r}"
            )
        check_choice("margin_unit", margin_unit, ("voxel", "mm"))
        check_per_axis("minimum_size", minimum_size, "count", "(32, 96, 96)")
        self.threshold = threshold
        self.margin = margin
        self.margin_unit = margin_unit
        self.minimum_size = minimum_size

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Crop image and segmentation; ``extended`` holds where the box begins and its shape."""
        box = self._box(sample)
        start = [part.start for part in box]
        shape = [part.stop - part.start for part in box]
        result = sample.copy()
        result.extended = {"start": start, "shape": shape}
        result.geometry = sample.geometry.cropped(start, shape)
        given = sample.copy()
        given.image = sample.image[box]
        result.image = as_float(given)
        if sample.segmentation is not None:
            result.segmentation = sample.segmentation[box]
            lost = _annotated(sample) - _annotated(result)
            if lost:
                _log.warning(
                    "sample %r: %d labelled voxels lie outside of the foreground and were cut "
                    "away; lower the threshold (%s) or raise the margin (%s)",
                    sample.index,
                    lost,
                    self.threshold,
                    self.margin,
                )
        return result

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        """Put a prediction back into the whole image; around it is background."""
        start, shape = sample.extended["start"], sample.extended["shape"]
        check_prediction(sample.index, prediction, shape, activation_output)
        full = sample.geometry.shape
        if tuple(shape) == full:
            return prediction
        result = np.zeros((*full, *prediction.shape[len(full) :]), dtype=prediction.dtype)
        if activation_output:
            result[..., 0] = 1
        result[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = prediction
        return result

    def postprocessing_blocks(self, sample: Sample, parts: Parts) -> Parts:
        """Put a prediction back into the whole image, block by block."""
        return parts.moved(sample.extended["start"], sample.geometry.shape)

    def _box(self, sample: Sample) -> tuple[slice, ...]:
        geometry = sample.geometry
        margins = self._margins(geometry, sample.index)
        least = expand("minimum_size", self.minimum_size, geometry.ndim, sample.index)
        limits = minimum(sample.image) if self.threshold is None else self.threshold
        found = foreground_box(sample.image, limits)
        box = []
        for (low, high), margin, size, length in zip(
            found, margins, least, geometry.shape, strict=True
        ):
            low, high = max(0, low - margin), min(length, high + margin)
            missing = min(size or 1, length) - (high - low)
            if missing > 0:
                # Grow on both sides, and on the other one where the image ends.
                low = min(max(0, low - missing // 2), length - (high - low + missing))
                high = low + min(size or 1, length)
            box.append(slice(low, high))
        return tuple(box)

    def _margins(self, geometry: Geometry, index: str) -> list[int]:
        margins = expand("margin", self.margin, geometry.ndim, index)
        if self.margin_unit == "mm":
            margins = tuple(m / s for m, s in zip(margins, geometry.spacing, strict=True))
        # A hair's breadth above a whole number of voxels is float noise of the spacing.
        return [math.ceil(margin - 1e-6) for margin in margins]


def _annotated(sample: Sample) -> int:
    """Count the voxels of a class other than the background."""
    labels = np.asarray(sample.segmentation)
    count = int(np.count_nonzero(labels))
    if sample.ignore_label is not None:
        count -= int(np.count_nonzero(labels == sample.ignore_label))
    return count
