"""Exact quantiles of more values than fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import boxes_of, release

# Values are told apart by so many bits at a time.
_BITS = 16
_BLOCK = 4 << 20


def quantiles(values: NDArray[Any], shares: Sequence[float]) -> NDArray[np.float64]:
    """Return quantiles as :func:`numpy.quantile` does, without a copy of the values.

    The values on both sides of each quantile are found from counts: all values are counted by their
    highest 16 bits, those that may still be it by the next 16, and so on. Integers of 16 bits
    take one pass, float32 two.

    Parameters
    ----------
    values : ndarray
        Any shape; not empty.
    shares : sequence of float
        0 … 1.
    """
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        return np.asarray(np.quantile(values, np.asarray(shares, dtype=np.float64)))
    places = [(values.size - 1) * np.float64(share) for share in shares]
    ranks = [
        min(int(np.floor(place)) + step, values.size - 1) for place in places for step in (0, 1)
    ]
    found = _order_statistics(values, ranks)
    if found is None:
        return np.full(len(shares), np.nan)
    # The interpolation is NumPy's own: between two values, at the same fraction.
    return np.array(
        [
            np.quantile(found[2 * k : 2 * k + 2], np.asarray([place - np.floor(place)]))[0]
            for k, place in enumerate(places)
        ],
        dtype=np.float64,
    )


def _order_statistics(values: NDArray[Any], ranks: Sequence[int]) -> NDArray[Any] | None:
    """Return the values of some ranks, in the values' own type; None if one is NaN."""
    kind = np.dtype(f"u{values.dtype.itemsize}")
    bits = 8 * kind.itemsize
    # Per rank: the highest bits that are known, and the rank among the values that share them.
    known = [(0, rank) for rank in ranks]
    for shift in range(bits - min(bits, _BITS), -1, -_BITS):
        width = min(bits, _BITS)
        counts = {prefix: np.zeros(1 << width, np.int64) for prefix, _ in known}
        for box in boxes_of(values, limit=_BLOCK):
            part = values[box].ravel(order="K")
            if values.dtype.kind == "f" and shift + width == bits and np.isnan(part).any():
                return None
            keys = _keys(part, kind)
            release(values[box])
            for prefix, count in counts.items():
                chosen = keys
                if shift + width < bits:
                    chosen = keys[keys >> kind.type(shift + width) == kind.type(prefix)]
                low = chosen >> kind.type(shift)
                if shift + width < bits:
                    low = low & kind.type((1 << width) - 1)
                count += np.bincount(low, minlength=1 << width)
        following = []
        for prefix, rank in known:
            sums = np.cumsum(counts[prefix])
            digit = int(np.searchsorted(sums, rank, side="right"))
            before = int(sums[digit - 1]) if digit else 0
            following.append(((prefix << width) | digit, rank - before))
        known = following
    return _values(np.array([prefix for prefix, _ in known], dtype=kind), values.dtype)


def _keys(part: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Return unsigned integers that are in the order of the values."""
    sign = kind.type(1 << (8 * kind.itemsize - 1))
    if part.dtype.kind in "bu":
        return np.ascontiguousarray(part).view(kind)
    if part.dtype.kind == "i":
        return np.asarray(np.ascontiguousarray(part).view(kind) ^ sign)
    raw = np.ascontiguousarray(part + part.dtype.type(0)).view(kind)  # no -0.0
    return np.asarray(np.where(raw & sign, ~raw, raw ^ sign))


def _values(keys: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo :func:`_keys`."""
    sign = keys.dtype.type(1 << (8 * keys.dtype.itemsize - 1))
    if dtype.kind == "b":
        return keys.astype(np.uint8)
    if dtype.kind == "u":
        return keys.view(dtype)
    if dtype.kind == "i":
        return np.asarray(keys ^ sign).view(dtype)
    return np.asarray(np.where(keys & sign, keys ^ sign, ~keys)).view(dtype)
