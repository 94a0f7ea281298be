"""Changes of intensity.

The formulas are those of batchgenerators (``augment_contrast``,
``augment_brightness_multiplicative``, ``augment_gamma``, ``augment_gaussian_noise``), the
tests compare the two. Its functions themselves draw from NumPy's global state, even if they
are handed fixed values, and with several loader threads that makes the caller's own use of
``numpy.random`` depend on timing; ``augment_gamma`` and ``augment_gaussian_noise`` cannot be
handed a drawn value at all.

Every function takes an image ``(…, c)`` float32 and one value per channel, and returns a new
image; statistics are those of each channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

# Values of noise made at once: the four arrays of such a block (128 KB each) fit in the cache.
_BLOCK = 32768


def change_contrast(image: Image, factors: Sequence[float], preserve_range: bool) -> Image:
    """Stretch the intensities about their mean: ``(x − mean) · factor + mean``.

    With ``preserve_range`` what leaves the range of the channel is set to its ends.
    """
    mean = _mean(image)
    result = (image - mean) * _row(factors) + mean
    if preserve_range:
        low, high = _limits(image)
        np.clip(result, low, high, out=result)
    return result


def change_brightness(image: Image, factors: Sequence[float]) -> Image:
    """Multiply the intensities: ``x · factor``."""
    return image * _row(factors)


def change_gamma(
    image: Image, exponents: Sequence[float], inverted: bool, keep_statistics: bool
) -> Image:
    """Bend the intensities: ``((x − min) / (max − min)) ** exponent``, back on their range.

    With ``inverted`` this is done on the negative image. With ``keep_statistics`` mean and
    standard deviation are then made those of before. A constant channel stays as it is.
    """
    source = -image if inverted else image
    low, high = _limits(source)
    extent = high - low
    # A constant channel has no range to divide by: 0 / 1 gives 0, and low is added again.
    unit = (source - low) / np.where(extent > 0, extent, np.float32(1))
    result = np.power(unit, _row(exponents)) * extent + low
    if keep_statistics:
        spread = np.where(extent > 0, _std(result), np.float32(1))
        result = (result - _mean(result)) * (_std(source) / spread) + _mean(source)
    result = -result if inverted else result
    return np.asarray(result, dtype=np.float32)


def add_gaussian_noise(image: Image, deviations: Sequence[float], seed: int) -> Image:
    """Add noise of the given standard deviations, the field being that of a seed.

    Notes
    -----
    Box and Muller's transform, ``√(-2 ln u) · (cos 2πv, sin 2πv)``, which NumPy does with vector
    instructions, in a third of the time of ``Generator.standard_normal``. ``u`` and ``v`` have 24
    bits, so that no value lies beyond 5.9 standard deviations (4 in 10⁹ would). The field of a seed
    is the same everywhere but for the rounding of float32.
    """
    channels = max(1, image.shape[-1])
    size = max(1, _BLOCK // channels) * channels
    scale = np.tile(_row(deviations), size // len(deviations))
    bits = np.random.SFC64(seed)
    values = image.reshape(-1)
    result = np.empty(values.shape, dtype=np.float32)
    for first in range(0, len(values), size):
        block = result[first : first + size]
        _fill_normal(bits, block)
        block *= scale[: len(block)]
        block += values[first : first + size]
    return result.reshape(image.shape)


def _fill_normal(bits: np.random.SFC64, out: Image) -> None:
    half = (len(out) + 1) // 2
    words = np.asarray(bits.random_raw(half)).astype("<u8", copy=False).view("<u4")
    words >>= 8
    uniform = words.astype(np.float32)
    radius, angle = uniform[:half], uniform[half:]
    radius += np.float32(0.5)  # the logarithm of 0 is infinite
    radius *= np.float32(2.0**-24)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(2 * math.pi / 2**24)
    np.multiply(np.cos(angle), radius, out=out[:half])
    rest = len(out) - half
    np.multiply(np.sin(angle[:rest]), radius[:rest], out=out[half:])


def _row(values: Sequence[float]) -> Image:
    return np.asarray(values, dtype=np.float32)


def _axes(image: Image) -> tuple[int, ...]:
    return tuple(range(image.ndim - 1))


def _mean(image: Image) -> Image:
    return np.asarray(image.mean(axis=_axes(image), dtype=np.float64), dtype=np.float32)


def _std(image: Image) -> Image:
    return np.asarray(image.std(axis=_axes(image), dtype=np.float64), dtype=np.float32)


def _limits(image: Image) -> tuple[Image, Image]:
    return image.min(axis=_axes(image)), image.max(axis=_axes(image))
