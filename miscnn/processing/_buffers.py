"""Memory that is used again when nobody holds what lay in it."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many bytes are kept for those who come next.
_MOST_FREE = 2**24

# Arrays of fewer bytes are the C library's affair.
_SMALL = 2**16

# What is used again may be larger by this share than what is needed.
_SLACK = 0.125


class Buffers:
    """Makes arrays; when the last view of one is gone, its memory serves the next one.

    The first touch of new memory costs about as much as adding up windows in it. Those who get an
    array need not know: they may keep it as long as they like.
    """

    def __init__(self) -> None:
        # Filled by whichever thread drops an array.
        self._returned: deque[NDArray[np.uint8]] = deque()
        self._free: list[tuple[int, int, NDArray[np.uint8]]] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array as by ``numpy.empty``."""
        size = math.prod(shape) * dtype.itemsize
        if not _SMALL <= size <= _MOST_FREE:
            return np.empty(shape, dtype)
        return np.asarray(_Lease(self._memory(size), shape, dtype, self._returned))

    def _memory(self, size: int) -> NDArray[np.uint8]:
        while self._returned:
            memory = self._returned.popleft()
            insort(self._free, (memory.size, id(memory), memory))
        place = bisect_left(self._free, (size,))
        if place < len(self._free) and self._free[place][0] <= (1 + _SLACK) * size:
            found = self._free.pop(place)[2]
        else:
            found = np.empty(size, np.uint8)
        total = sum(free[0] for free in self._free)
        while total > _MOST_FREE:
            total -= self._free.pop()[0]
        return found


class _Lease:
    """What an array made by :class:`Buffers` and all its views refer to as their base."""

    __slots__ = ("__array_interface__", "_memory", "_returned")

    def __init__(
        self,
        memory: NDArray[np.uint8],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        returned: deque[NDArray[np.uint8]],
    ) -> None:
        self._memory = memory
        self._returned = returned
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self) -> None:
        self._returned.append(self._memory)
