"""What the checks of a data interface share: telling what is broken, and files that must stay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.exceptions import ContractError, MiscnnError

_T = TypeVar("_T")
_CHUNK = 1 << 20
# A state of a file: size, time of the last change in ns.
_State = tuple[int, int]


class Promises:
    """Tells which promise an interface breaks, and with which subject.

    Parameters
    ----------
    interface : DataInterface
        Named in messages by its class.
    index : str, optional
        The subject, if it is one's.
    """

    def __init__(self, interface: DataInterface, index: str | None = None) -> None:
        of_subject = "" if index is None else f" with the subject {index!r}"
        self._who = f"{type(interface).__name__}{of_subject}"

    def broken(self, promise: str) -> ContractError:
        """Return the error for a promise."""
        return ContractError(f"{self._who}: {promise}")

    def require(self, kept: bool, promise: str) -> None:
        """Raise ContractError unless the promise is kept."""
        if not kept:
            raise self.broken(promise)

    def called(self, what: str, function: Callable[[], _T]) -> _T:
        """Return what a call does; an error of it is told as a broken promise."""
        try:
            return function()
        except ContractError:
            raise
        except Exception as error:  # a user's code may fail in any way
            raise self.broken(f"{what} failed: {told(error)}") from error

    def refused(self, what: str, function: Callable[[], object], remedy: str) -> None:
        """Require that a call raises an error of miscnn, or FileNotFoundError."""
        try:
            function()
        except (MiscnnError, FileNotFoundError):
            return
        except Exception as error:
            raise self.broken(
                f"{what} raised {told(error)}, which does not tell what is wrong; {remedy}"
            ) from error
        raise self.broken(f"{what} was accepted; {remedy}")


def told(error: Exception) -> str:
    """Return an error as one line: errors of miscnn by their text, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MiscnnError) else f"{type(error).__name__}: {text}"


def equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Tell whether two arrays have one shape and the same values."""
    kinds = one.dtype.kind + other.dtype.kind
    return one.shape == other.shape and bool(
        np.array_equal(one, other, equal_nan=not set(kinds) - set("fc"))
    )


class SourcesUnchanged:
    """Within it, no file of the data set may change, come or go.

    All files are compared by size and time, and those of the subjects by their contents.

    Parameters
    ----------
    promises : Promises
    path : path
        The data set; without a folder only files that are added are compared.
    """

    def __init__(self, promises: Promises, path: str | Path) -> None:
        self._promises = promises
        self._folder = Path(path) if str(path) else None
        self._sums: dict[Path, str] = {}

    def __enter__(self) -> Self:
        self._states = self._look()
        return self

    def add(self, sources: Iterable[Path]) -> None:
        """Compare the contents of these files, too."""
        self._sums.update({path: _digest(path) for path in sources if path.is_file()})

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            return
        states = self._look()
        remedy = "an interface reads there only, and writes to output_path"
        for path in sorted({*states, *self._states}):
            before, after = self._states.get(path), states.get(path)
            if before == after:
                continue
            what = "written" if before is None else "removed" if after is None else "changed"
            raise self._promises.broken(f"the file {path} of the data set was {what}; {remedy}")
        for path, digest in self._sums.items():
            self._promises.require(
                path.is_file() and _digest(path) == digest,
                f"the file {path} was changed; {remedy}",
            )

    def _look(self) -> dict[Path, _State]:
        states: dict[Path, _State] = {}
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.rglob("*"):
                if path.is_file():
                    status = path.stat()
                    states[path] = (status.st_size, status.st_mtime_ns)
        return states


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
