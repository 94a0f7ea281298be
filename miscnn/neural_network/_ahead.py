"""Doing the next thing while the last one is still used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_END: Any = object()


def ahead(items: Iterator[_Item], depth: int = 1) -> Iterator[_Item]:
    """Yield items that a thread makes beforehand, in their order.

    What goes wrong while an item is made is raised where that item would have come. If the
    caller stops early, the thread ends with the item it is at.

    Parameters
    ----------
    items : iterator
        Is only used by the thread.
    depth : int
        How many items are made beforehand; as many are held besides the one that is in use.
    """
    waiting: deque[Future[_Item]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="miscnn-ahead") as pool:
        try:
            waiting.extend(pool.submit(next, items, _END) for _ in range(depth))
            while True:
                item = waiting.popleft().result()
                if item is _END:
                    return
                waiting.append(pool.submit(next, items, _END))
                yield item
                del item
        finally:
            for future in waiting:
                future.cancel()
            close = getattr(items, "close", None)
            if close is not None:
                pool.submit(close)
