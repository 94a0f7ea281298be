"""Exact distributions of intensities and counts of labels, in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
STATISTICS = ("min", *(f"p{p:g}" for p in PERCENTILES), "max")
"""What is told of a channel's intensities."""

# Integers that lie closer together are counted in a table.
_TABLE = 1 << 20


def distribution(values: NDArray[Any]) -> dict[str, float] | None:
    """Return minimum, percentiles and maximum of the finite values; None if there are none.

    Percentiles are interpolated linearly between the two nearest values, as
    :func:`numpy.percentile` does, in float64 and without overflow. Integers are counted slab by
    slab; other values need a copy.
    """
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    if values.size and values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if high - low < _TABLE:
            return _counted(values, low, high)
        values = values.astype(np.float64)  # differences of integers may overflow
    flat = values.ravel(order="K")
    if flat.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what is larger becomes infinite, and is left out
            flat = flat.astype(np.float64)
    finite = np.isfinite(flat)
    flat = flat.copy() if finite.all() else flat[finite]
    if not flat.size:
        return None
    last = flat.size - 1
    places = np.array(PERCENTILES) / 100.0 * last
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, last)
    flat.partition(np.unique([0, *below, *above, last]))
    # In float64, as an interpolation in the values' own type would be rounded to it, and of
    # shares instead of a difference, which may be larger than any number.
    first, second = flat[below].astype(np.float64), flat[above].astype(np.float64)
    share = places - below
    inner = np.where(first == second, first, (1.0 - share) * first + share * second)
    return _named([float(flat[0]), *inner.tolist(), float(flat[last])])


def count_labels(labels: NDArray[Any]) -> dict[int, int]:
    """Return the number of voxels of each label that occurs, in the order of the labels."""
    if labels.size and int(labels.max()) < _TABLE:
        total = np.zeros(int(labels.max()) + 1, dtype=np.int64)
        for k in range(labels.shape[-1]):
            total += np.bincount(labels[..., k].ravel(order="K"), minlength=len(total))
        return {int(value): int(total[value]) for value in np.flatnonzero(total)}
    values, numbers = np.unique_counts(labels)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def _counted(values: NDArray[Any], low: int, high: int) -> dict[str, float]:
    counts = np.zeros(high - low + 1, dtype=np.int64)
    slabs = [values] if values.ndim == 1 else (values[..., k] for k in range(values.shape[-1]))
    for slab in slabs:
        flat = slab.ravel(order="K")
        # Unsigned ones in their own type: not all of 64 bits fit into int64.
        places = (
            flat - flat.dtype.type(low) if flat.dtype.kind == "u" else flat.astype(np.int64) - low
        )
        counts += np.bincount(places.astype(np.int64), minlength=len(counts))
    upto = np.cumsum(counts)
    places = np.array(PERCENTILES) / 100.0 * (upto[-1] - 1)
    below, share = np.floor(places), places % 1.0
    first = np.searchsorted(upto, below, side="right")
    second = np.searchsorted(upto, np.minimum(below + 1, upto[-1] - 1), side="right")
    inner = float(low) + first + share * (second - first)
    return _named([float(low), *inner.tolist(), float(high)])


def _named(values: list[float]) -> dict[str, float]:
    return dict(zip(STATISTICS, values, strict=True))
