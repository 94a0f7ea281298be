"""Doing the next thing while the last one is still used."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_END: Any = object()


@contextlib.contextmanager
def closing(items: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Hand out an iterator, and close it afterwards: whatever it holds and runs ends there.

    An iterator that is no generator has nothing to close.
    """
    try:
        yield items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def ahead(items: Iterator[_Item], depth: int = 1) -> Iterator[_Item]:
    """Yield items that a thread makes beforehand, in their order.

    What goes wrong while an item is made is raised where that item would have come. If the
    caller stops early and closes this, the thread ends with the item it is at.

    Parameters
    ----------
    items : iterator
        Is only used by the thread, and closed at the end.
    depth : int
        How many items are made beforehand; as many are held besides the one that is in use.
    """
    waiting: deque[Future[_Item]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="miscnn-ahead")
    with closing(items):
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
            # Before the items are closed, which the thread may be at. Nothing is handed to it any
            # more: at the end of the interpreter that is not allowed.
            pool.shutdown(cancel_futures=True)
            waiting.clear()
