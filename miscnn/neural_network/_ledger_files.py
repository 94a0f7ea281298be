"""Reading ``predictions.json`` as untrusted input, and writing it one process at a time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

FORMAT = 1
_PARTS: dict[str, type] = {"subjects": dict, "sources": dict, "sizes": dict, "stale": list}
# A process that holds the lock for longer than this is stopped or lost: nobody waits for it.
_PATIENCE = 5.0  # seconds
_PAUSE = 0.01


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest with all its parts.

    Raises
    ------
    FileNotFoundError
    ValueError
        If it is damaged, or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("no manifest of this version")
    for name, kind in _PARTS.items():
        if not isinstance(document.setdefault(name, kind()), kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    own = document["subjects"].values()
    known = (
        all(isinstance(one, dict) and all(map(_are_names, one.values())) for one in own)
        and all(map(_are_sources, document["sources"].values()))
        and all(type(size) is int for size in document["sizes"].values())
        and _are_names(document["stale"])
    )
    if not known:
        raise ValueError("entries of other types")
    return document


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_sources(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("path"), str) for one in value
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder, as far as the system can.

    The folder itself is locked, so that nothing is left behind by a process that is killed.
    Without locks (Windows, some network drives) two processes may write at the same moment.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = None
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        if descriptor is not None:
            _wait_for(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError:  # this drive knows no locks
            return
        else:
            return
