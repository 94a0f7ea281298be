"""Cluster-wise voxel intensity range shift: random piecewise linear maps of Hounsfield units.

A map is given by its knots: ``source[i]`` HU become ``target[i]`` HU, straight lines lie between
the knots, and below the first and above the last one, which stay where they are, nothing changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation._ranges import draw, draw_factor

Image = NDArray[np.float32]
Limits = tuple[float, float]

#: Base windows in HU: the paper's are in a supplement that is not at hand; these are our choice.
WINDOWS: Final[Mapping[str, Limits]] = MappingProxyType(
    {
        "lung": (-950.0, -500.0),
        "fat": (-150.0, -30.0),
        "soft tissue": (0.0, 90.0),  # organs, muscle, blood without contrast agent
        "contrast": (90.0, 300.0),  # enhanced vessels and kidneys, spongy bone
        "bone": (300.0, 1500.0),
    }
)
LIMITS: Final[Limits] = (-1000.0, 3000.0)  # air is -1000 HU by definition, metal lies above 3000
SHIFT: Final[Limits] = (-0.1, 0.1)
SCALE: Final[Limits] = (0.8, 1.25)

#: Smallest slope of a map: tissues come closer by a factor of 5 at most, and never merge.
SMALLEST_SLOPE: Final = 0.2
_LARGEST_HU: Final = 2**15  # bounds the table that maps are applied with
_BLOCK: Final = 32768  # voxels mapped at once: what is in between stays in the cache


def read_windows(windows: Mapping[str, Sequence[float]] | None, limits: Any) -> list[Limits]:
    """Return the windows in ascending order.

    Raises
    ------
    ConfigurationError
        If a window is not a pair of whole HU in ascending order, if two overlap, or if one
        does not lie strictly within the limits.
    """
    low, high = _whole_pair("range_limits", limits)
    found = WINDOWS if windows is None else windows
    if not isinstance(found, Mapping) or not found:
        raise ConfigurationError(
            'windows must name at least one range of HU, such as {"fat": (-150, -30)}; '
            f"received {windows!r}"
        )
    read = {name: _whole_pair(f"the window {name!r}", pair) for name, pair in found.items()}
    ordered = sorted(read.items(), key=lambda item: item[1])
    for name, (first, last) in ordered:
        if first <= low or last >= high:
            raise ConfigurationError(
                f"the window {name!r} from {first:g} to {last:g} HU must lie within range_limits, "
                f"({low:g}, {high:g}), beyond which nothing is changed; widen these"
            )
    for (name, (_, end)), (other, (begin, _)) in itertools.pairwise(ordered):
        if begin < end:
            raise ConfigurationError(
                f"the windows {name!r} and {other!r} overlap between {begin:g} and {end:g} HU; "
                "a value cannot be rescaled in two ways. They may share an edge"
            )
    return [window for _, window in ordered]


def _whole_pair(name: str, value: Any) -> Limits:
    good = (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        and all(abs(v) <= _LARGEST_HU and v == int(v) for v in value)
        and value[0] < value[1]
    )
    if not good:
        raise ConfigurationError(
            f"{name} must be two whole numbers of HU, (lowest, highest), within "
            f"±{_LARGEST_HU}; received {value!r}"
        )
    return float(value[0]), float(value[1])


def draw_knots(
    rng: np.random.Generator,
    windows: Sequence[Limits],
    limits: Limits,
    shift: Limits | None,
    scale: Limits | None,
) -> dict[str, list[float]]:
    """Draw a map: every window is displaced and widened or narrowed, each by its own numbers.

    Parameters
    ----------
    windows : sequence of (float, float)
        From :func:`read_windows`.
    limits : (float, float)
        Lowest and highest HU that may change.
    shift : (float, float), optional
        Displacement of a window, as a fraction of its width.
    scale : (float, float), optional
        Factor of a window's width.

    Returns
    -------
    dict
        ``source`` and ``target``: the knots in HU.

    Notes
    -----
    An edge that two windows share goes to the middle of where the two want it. Displaced windows
    may cross: of all maps whose slope is nowhere below :data:`SMALLEST_SLOPE` and that keep the
    limits, the nearest to what was drawn is taken (least squares over the edges). Such a
    condition on ``y`` is one of monotony on ``y - slope · x``, an isotonic regression.
    """
    wanted: dict[float, list[float]] = {}
    for low, high in windows:
        center = (low + high) / 2 + (draw(rng, shift) if shift else 0.0) * (high - low)
        half = (draw_factor(rng, scale) if scale else 1.0) * (high - low) / 2
        wanted.setdefault(low, []).append(center - half)
        wanted.setdefault(high, []).append(center + half)
    source = np.asarray([limits[0], *wanted, limits[1]])
    inner = [float(np.mean(values)) for values in wanted.values()]
    tilted = np.asarray(inner) - SMALLEST_SLOPE * source[1:-1]
    ends = (1 - SMALLEST_SLOPE) * np.asarray(limits)
    if np.any(np.diff(tilted) < 0):
        tilted = isotonic_regression(tilted).x
    tilted = np.clip(tilted, ends[0], ends[1])
    target = [limits[0], *(tilted + SMALLEST_SLOPE * source[1:-1]), limits[1]]
    return {"source": [float(x) for x in source], "target": [float(y) for y in target]}


def change_ranges(image: Image, source: Sequence[float], target: Sequence[float]) -> Image:
    """Map intensities; returns a new image.

    Parameters
    ----------
    image : ndarray
        float32, HU.
    source, target : sequence of float
        Knots; ``source`` in whole HU, ascending, ``target`` ascending, ends alike.

    Notes
    -----
    As knots lie on whole HU, the map is one straight line from each whole HU to the next: what
    it adds, and how that grows, is looked up in a table, faster than ``numpy.interp`` searches.
    The result is exact but for the rounding of float32, and outside the knots bit by bit what it
    was.
    """
    first, last = int(source[0]), int(source[-1])
    # an entry for each HU in between, one for all below the first knot, one for all above the last
    whole = np.arange(first, last + 1, dtype=np.float64)
    change = np.interp(whole, source, target) - whole
    added, growth = (np.zeros(len(whole) + 1, dtype=np.float32) for _ in range(2))
    added[1:-1], growth[1:-1] = change[:-1], np.diff(change)

    values = image.reshape(-1)
    result = np.empty(values.shape, dtype=np.float32)
    for begin in range(0, len(values), _BLOCK):
        before, within = values[begin : begin + _BLOCK], result[begin : begin + _BLOCK]
        np.subtract(before, np.float32(first - 1), out=within)
        np.clip(within, 0, len(whole), out=within)
        entry = np.floor(within)
        within -= entry
        index = entry.astype(np.intp)
        within *= growth.take(index, mode="clip", out=entry)
        within += added.take(index, mode="clip", out=entry)
        within += before
    return result.reshape(image.shape)
