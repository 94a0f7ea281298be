"""The last volumes in memory, for those who go through their slices."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class VolumeCache:
    """Keeps the arrays that were asked for last, up to a number of bytes.

    The last one is kept whatever its size: without it, each slice would decompress its volume
    again. Threads that ask for the same array at the same time wait for one of them to read it.
    Copies, and copies in other processes, begin empty.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of a key, read-only; by ``load`` if it is not there."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.array is None:
                try:
                    array = load()
                except BaseException:
                    with self._lock:
                        self._entries.pop(key, None)
                    raise
                array.setflags(write=False)
                entry.array = array
                self._shrink()
            return entry.array

    def _shrink(self) -> None:
        with self._lock:
            kept = [
                (key, e.array.nbytes) for key, e in self._entries.items() if e.array is not None
            ]
            held = sum(size for _, size in kept)
            for key, size in kept[:-1]:
                if held <= self.limit:
                    break
                del self._entries[key]
                held -= size

    def __reduce__(self) -> tuple[type[VolumeCache], tuple[int]]:
        return VolumeCache, (self.limit,)


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.array: np.ndarray[Any, np.dtype[Any]] | None = None
