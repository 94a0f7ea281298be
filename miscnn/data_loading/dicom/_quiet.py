"""Keeping what pydicom says to itself: it may quote the patient."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Warnings and loggers belong to the whole process: two threads at once would leave them changed.
_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Show no warning, and no line of pydicom's log, of what is read or written within."""

    def nothing(record: logging.LogRecord) -> bool:
        return False

    log = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.addFilter(nothing)
        try:
            yield
        finally:
            log.removeFilter(nothing)
