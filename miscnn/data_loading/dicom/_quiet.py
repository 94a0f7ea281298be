"""Keeping what pydicom and highdicom say to themselves: they may quote the patient."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from miscnn._optional import optional

_LIBRARIES = ("pydicom", "highdicom")


class _Warner:
    """Stands in for the module ``warnings`` where pydicom warns; lets other threads through."""

    def __init__(self, real: ModuleType, is_silent: Any) -> None:
        self._real, self._is_silent = real, is_silent

    def warn(
        self,
        message: Any,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        **further: Any,
    ) -> None:
        if not self._is_silent():
            self._real.warn(message, category, stacklevel + 1, **further)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Silence:
    """Silences the libraries, in those threads only that ask for it, while any of them does.

    What Python offers itself, ``warnings.catch_warnings`` and validation modes of pydicom, belongs
    to the whole process: two threads that change and restore it in turn leave it changed for good.
    Here the filters of warnings are never touched. All warnings of pydicom go through one line of
    ``pydicom.misc``; the name ``warnings`` is replaced there. Loggers get a filter each, as that of
    a logger does not see the records of its children. Both ask which thread speaks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = threading.local()
        self._within = 0
        self._known = 0
        self._filtered: list[logging.Logger] = []
        self._warnings: ModuleType | None = None

    def enter(self) -> None:
        misc = optional("pydicom.misc", "dicom", "Reading DICOM")
        self._depth.value = getattr(self._depth, "value", 0) + 1
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._warnings = misc.warnings
                misc.warnings = _Warner(misc.warnings, self._is_silent)
            known = logging.root.manager.loggerDict
            if self._within == 1 or len(known) != self._known:  # highdicom was imported since
                self._known = len(known)
                self._filtered = list(_loggers())
                for log in self._filtered:
                    log.addFilter(self._passes)

    def leave(self) -> None:
        misc = optional("pydicom.misc", "dicom", "Reading DICOM")
        self._depth.value -= 1
        with self._lock:
            self._within -= 1
            if self._within == 0:
                misc.warnings = self._warnings
                for log in self._filtered:
                    log.removeFilter(self._passes)

    def _is_silent(self) -> bool:
        return getattr(self._depth, "value", 0) > 0

    def _passes(self, record: logging.LogRecord) -> bool:
        return not self._is_silent()


def _loggers() -> Iterator[logging.Logger]:
    known = logging.root.manager.loggerDict.copy()
    for name, log in known.items():
        if isinstance(log, logging.Logger) and name.split(".")[0] in _LIBRARIES:
            yield log


_SILENCE = _Silence()


@contextmanager
def quiet() -> Iterator[None]:
    """Show no warning, and no line of the log, of pydicom's or highdicom's from within.

    Only the thread that is within is silenced. highdicom is to be imported before.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()
