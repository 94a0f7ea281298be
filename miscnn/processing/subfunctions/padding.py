"""Padding to a least size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import release
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.processing.parts import Parts
from miscnn.processing.subfunctions._arguments import (
    check_choice,
    check_per_axis,
    check_prediction,
    entries_of,
    expand,
    is_count,
    is_number,
)
from miscnn.processing.subfunctions._blockwise import as_float, empty_like, minimum, spatial_boxes
from miscnn.processing.subfunctions.base import Subfunction

_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


class Padding(Subfunction):
    """Add voxels on both sides until an image is large enough; nothing is ever cut off.

    Parameters
    ----------
    min_size : sequence of int or None, or int or None
        Least number of voxels per array axis; None asks nothing of an axis.
    pad_mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        As of :func:`numpy.pad`. All but "constant" hold for the segmentation as well.
    pad_value_img : float or sequence of float, optional
        Value of the added voxels, one for all channels or one per channel. Default: the
        image's minimum, channel by channel (air in a CT, whatever was done to it before).
    pad_value_seg : int
        Label of the added voxels.
    shape_must_be_divisible_by : sequence of int or None, or int, optional
        The size is raised to a multiple of this, as networks that halve it need.

    Notes
    -----
    An odd number of added voxels puts one more at the end. The way back cuts the added voxels
    off: exactly, for label maps and probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.sample import Sample
    >>> sample = Sample("case", np.zeros((30, 40, 10, 1), np.float32))
    >>> Padding((32, 32, None), shape_must_be_divisible_by=8).preprocessing(sample).spatial_shape
    (32, 40, 16)
    """

    moves_voxels = True
    follows_geometry = True
    takes_stored_type = True

    def __init__(
        self,
        min_size: Sequence[int | None] | int | None,
        pad_mode: str = "constant",
        pad_value_img: Sequence[float] | float | None = None,
        pad_value_seg: int = 0,
        shape_must_be_divisible_by: Sequence[int | None] | int | None = None,
    ) -> None:
        check_per_axis("min_size", min_size, "count", "(80, 160, 160)")
        check_per_axis(
            "shape_must_be_divisible_by", shape_must_be_divisible_by, "count", "(16, 32, 32)"
        )
        check_choice("pad_mode", pad_mode, _MODES)
        if pad_value_img is not None and not all(map(is_number, entries_of(pad_value_img))):
            raise ConfigurationError(
                "pad_value_img takes a finite number, one per channel, or None for the image's "
                f"minimum; got {pad_value_img!r}"
            )
        if not is_count(pad_value_seg, minimum=0):
            raise ConfigurationError(
                f"pad_value_seg is a label, a whole number >= 0; got {pad_value_seg!r}"
            )
        self.min_size = min_size
        self.pad_mode = pad_mode
        self.pad_value_img = pad_value_img
        self.pad_value_seg = pad_value_seg
        self.shape_must_be_divisible_by = shape_must_be_divisible_by

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Pad image and segmentation; the geometry's origin moves with the first voxel."""
        start, shape = self._box(sample)
        result = sample.copy()
        result.image = as_float(sample)
        if shape == sample.geometry.shape:
            return result
        result.geometry = sample.geometry.cropped([-before for before in start], shape)
        widths = [
            (before, new - size - before)
            for before, new, size in zip(start, shape, sample.geometry.shape, strict=True)
        ]
        result.image = self._padded_image(sample, shape, widths)
        if sample.segmentation is not None:
            value = {"constant_values": self.pad_value_seg} if self.pad_mode == "constant" else {}
            result.segmentation = _pad(
                sample.segmentation, [*widths, (0, 0)], self.pad_mode, **value
            )
        return result

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        """Cut the added voxels off a prediction."""
        start, shape = self._box(sample)
        check_prediction(sample.index, prediction, shape, activation_output)
        return prediction[
            tuple(
                slice(before, before + size)
                for before, size in zip(start, sample.geometry.shape, strict=True)
            )
        ]

    def postprocessing_blocks(self, sample: Sample, parts: Parts) -> Parts:
        """Cut the added voxels off, block by block."""
        start, _ = self._box(sample)
        return parts.moved([-before for before in start], sample.geometry.shape)

    def _box(self, sample: Sample) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return how many voxels are added before the first, and the shape reached."""
        old = sample.geometry.shape
        least = expand("min_size", self.min_size, len(old), sample.index)
        multiples = expand(
            "shape_must_be_divisible_by", self.shape_must_be_divisible_by, len(old), sample.index
        )
        shape = tuple(
            -(-max(size, low or 1) // (multiple or 1)) * (multiple or 1)
            for size, low, multiple in zip(old, least, multiples, strict=True)
        )
        return tuple((new - size) // 2 for new, size in zip(shape, old, strict=True)), shape

    def _padded_image(
        self, sample: Sample, shape: Sequence[int], widths: list[tuple[int, int]]
    ) -> NDArray[np.float32]:
        image = sample.image
        padded = empty_like(sample, image, (*shape, image.shape[-1]))
        if self.pad_mode == "constant":
            values = self._values(sample)
        else:  # which voxel each one repeats, axis by axis
            axes = zip(image.shape, widths, strict=False)
            sources = [_pad(np.arange(n), [width], self.pad_mode) for n, width in axes]
        for box in spatial_boxes(padded):
            part = padded[box]
            if self.pad_mode == "constant":
                part[...] = values
            else:
                chosen = [s[along] for s, along in zip(sources, box, strict=True)]
                part[...] = image[np.ix_(*chosen)]
            release(part)
        if self.pad_mode == "constant":
            start = [before for before, _ in widths]
            inside = padded[
                tuple(slice(a, a + n) for a, n in zip(start, image.shape, strict=False))
            ]
            for box in spatial_boxes(image):
                inside[box] = image[box]
                release(image[box])
                release(inside[box])
        return padded

    def _values(self, sample: Sample) -> NDArray[Any]:
        """Return the value of added voxels per channel."""
        channels = sample.image.shape[-1]
        if self.pad_value_img is None:
            return minimum(sample.image)
        given = np.atleast_1d(np.asarray(self.pad_value_img, dtype=np.float32))
        if len(given) not in (1, channels):
            raise SampleError(
                sample.index,
                f"pad_value_img has {len(given)} values, the image {channels} channel(s); "
                "give one value, or one per channel",
            )
        return np.broadcast_to(given, channels)


def _pad(
    array: NDArray[Any], widths: list[tuple[int, int]], mode: Any, **values: Any
) -> NDArray[Any]:
    return np.pad(array, widths, mode, **values)
