"""Random monotone changes of intensity.

A table maps [0, 1]: a few points at equal distances, the first the new value of 0 ("black"),
the last that of 1 ("white"), joined by a cubic B-spline. The slope between neighbouring points
lies within limits, and with it that of the spline.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn.processing.augmentation._bspline import kernel

Limits = tuple[float, float]

#: Straight pieces that stand for the spline between two points.
PIECES = 100


def draw_points(
    rng: np.random.Generator, black: Limits, white: Limits, slope: Limits, insertions: int
) -> list[float]:
    """Draw the points of a table, ``2 ** insertions + 1`` of them.

    Black and white are drawn uniformly. Then, ``insertions`` times, a point is inserted
    between all neighbours, uniformly from the values that keep both slopes within the limits.
    ``slope`` must hold all slopes from ``black`` to ``white`` (:func:`slopes_fit`): then there
    always are such values.
    """
    points = [float(rng.uniform(*black)), float(rng.uniform(*white))]
    for level in range(1, insertions + 1):
        step = 0.5**level
        finer = points[:1]
        for left, right in itertools.pairwise(points):
            low = max(left + slope[0] * step, right - slope[1] * step)
            high = min(left + slope[1] * step, right - slope[0] * step)
            middle = (left + right) / 2
            # of a range that is one value rounding errors leave less than nothing
            finer += [float(rng.uniform(min(low, middle), max(high, middle))), right]
        points = finer
    return points


def slopes_fit(black: Limits, white: Limits, slope: Limits) -> bool:
    """Tell whether whatever black and white are drawn, a table's slopes can keep the limits."""
    # 1e-9: 1.1 + 0.1 is more than 1.2
    return white[0] - black[1] >= slope[0] - 1e-9 and white[1] - black[0] <= slope[1] + 1e-9


def dense_table(points: ArrayLike) -> NDArray[np.float64]:
    """Return the spline's values at equal distances over [0, 1], ends included."""
    values = np.asarray(points, dtype=np.float64)
    # The spline begins and ends at a point if the one beyond continues it straight.
    before, after = 2 * values[0] - values[1], 2 * values[-1] - values[-2]
    control = np.concatenate([[before], values, [after]])
    count = PIECES * (len(values) - 1) + 1
    t = np.arange(count) / PIECES
    below = np.minimum(t.astype(np.intp), len(values) - 2)
    t = t - below
    return np.asarray(sum(w * control[below + k] for k, w in enumerate(kernel(t))))


def apply_table(
    values: NDArray[np.float32], points: Sequence[float], low: float, high: float
) -> NDArray[np.float32]:
    """Map intensities, ``low`` and ``high`` standing for 0 and 1; straight on beyond them.

    Larger intensities never become smaller than lower ones, not by a rounding error either.
    """
    extent = float(high) - float(low)
    if not extent > 0:
        return values
    dense = low + extent * dense_table(points)
    table = dense.astype(np.float32)
    rise = np.diff(table.astype(np.float64))
    slope = rise.astype(np.float32)
    # Rounded up, a piece would end above the start of the next.
    slope = np.where(slope > rise, np.nextafter(slope, np.float32(-np.inf)), slope)
    position = values - np.float32(low)
    position *= np.float32(len(slope) / extent)
    piece = position.astype(np.int32)
    np.clip(piece, 0, len(slope) - 1, out=piece)
    position -= piece.astype(np.float32)
    position *= slope.take(piece)
    position += table.take(piece)
    return position
