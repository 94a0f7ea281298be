"""Arrays larger than the memory is meant to be: files that nobody has to clean up."""

from __future__ import annotations

import ctypes
import errno
import functools
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn.exceptions import MiscnnError, MissingFileError

BLOCK = 8 << 20
"""Bytes of an array that are worked on at once."""

_LIMIT = 64 << 20
_PAGE = mmap.ALLOCATIONGRANULARITY
# What is said where a file system is full, and where it cannot set space aside.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_IN_MEMORY = ("tmpfs", "ramfs")


class ScratchError(MiscnnError, OSError):
    """There is no room for a scratch file."""


class Scratch:
    """Hands out arrays: small ones in memory, large ones mapped from files.

    The files have no name any more when their array is handed out, so that a process that is
    killed leaves nothing behind; the space is free again when the array is no longer used.

    Parameters
    ----------
    folder : path, optional
        Where the files lie. Default: the system's folder for temporary files (``TMPDIR``), or
        ``/var/tmp`` where that folder lies in memory.
    limit : int
        Arrays of up to so many bytes are ordinary ones.

    Raises
    ------
    MissingFileError
        If there is no such folder.

    Examples
    --------
    >>> with Scratch() as scratch:
    ...     volume = scratch.empty((512, 512, 400), np.float32)
    >>> type(volume).__name__, volume.shape
    ('memmap', (512, 512, 400))
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int = _LIMIT) -> None:
        self.folder = _default_folder() if folder is None else Path(folder)
        self.limit = limit
        if not self.folder.is_dir():
            raise MissingFileError(
                f"there is no folder {str(self.folder)!r} for scratch files; make it or name "
                "another one (scratch_path=)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: every array holds its own file."""

    def empty(
        self, shape: Sequence[int], dtype: DTypeLike, order: Literal["C", "F"] = "C"
    ) -> NDArray[Any]:
        """Return an array whose values are not set.

        Raises
        ------
        ScratchError
            If the disk has no room for it.
        """
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if size <= self.limit:
            return np.empty(tuple(shape), kind, order)
        return self.mapped(shape, kind, order)

    def mapped(
        self, shape: Sequence[int], dtype: DTypeLike, order: Literal["C", "F"] = "C"
    ) -> NDArray[Any]:
        """Return an array in a file, however small it is; as :meth:`empty` otherwise."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        try:
            with tempfile.TemporaryFile(dir=self.folder, prefix="miscnn-") as file:
                self._set_aside(file, size)
                return np.memmap(file, kind, "r+", shape=tuple(shape), order=order)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise self._full(size) from error

    def _set_aside(self, file: IO[bytes], size: int) -> None:
        """Make the file as large as it will be: a full disk must not show while it is written."""
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno in _FULL:
                    raise
        if shutil.disk_usage(self.folder).free < size:
            raise self._full(size)
        file.truncate(size)

    def _full(self, size: int) -> ScratchError:
        free = shutil.disk_usage(self.folder).free
        return ScratchError(
            f"no room for {size / 1e9:.2f} GB of scratch in {str(self.folder)!r}, where "
            f"{free / 1e9:.2f} GB are free; make room or name a folder on another disk "
            "(scratch_path=)"
        )


def release(array: NDArray[Any]) -> None:
    """Let go of the memory that a part of a mapped file takes.

    What was written stays: the system writes it to the file, and reads it when it is asked for
    again. Nothing is done for arrays in memory, for private copies of a file (mode "c"), which
    would lose what was written, and where the system cannot.
    """
    found = _mapping(array)
    if found is None or not array.size or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = np.frombuffer(found, np.uint8).__array_interface__["data"][0]
    low, high = np.lib.array_utils.byte_bounds(array)
    start = (low - begin) // _PAGE * _PAGE
    # All from the first to the last byte, whatever lies between: the system reads ahead into it.
    found.madvise(mmap.MADV_DONTNEED, start, min(high - begin, len(found)) - start)


def trim() -> None:
    """Give the system back what was freed and the C library keeps.

    Arrays of changing sizes, made and freed by several threads, leave gaps between those that
    live longer; without this the process grows with the number of windows. Only GNU's library
    can; elsewhere nothing is done.
    """
    give_back = _malloc_trim()
    if give_back is not None:
        give_back(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # no such function; no such library (Windows)
        return None
    return found


def boxes_of(
    array: NDArray[Any], axis: int | None = None, limit: int = BLOCK
) -> Iterator[tuple[slice, ...]]:
    """Yield boxes that together cover an array once, each of about ``limit`` bytes or less.

    Parameters
    ----------
    array : ndarray
    axis : int, optional
        Axis along which it is cut; if one step along it is larger than ``limit``, it is one step.
        Default: the axes of the largest strides, so that each box is one piece of memory or few.
    limit : int
        Bytes.
    """
    whole = [slice(0, n) for n in array.shape]
    axes = (
        [axis]
        if axis is not None
        else sorted(range(array.ndim), key=lambda k: abs(array.strides[k]), reverse=True)
    )
    yield from _boxes(whole, axes, array.dtype.itemsize, limit) if array.size else ()


def blocks_of(
    array: NDArray[Any], axis: int | None = None, limit: int = BLOCK
) -> Iterator[NDArray[Any]]:
    """Yield the parts of an array that :func:`boxes_of` names; each is released behind.

    They are views: what is written into them is written into the array.
    """
    for box in boxes_of(array, axis, limit):
        block = array[box]
        yield block
        release(block)


def _boxes(
    box: list[slice], axes: Sequence[int], itemsize: int, limit: int
) -> Iterator[tuple[slice, ...]]:
    size = itemsize * math.prod(part.stop - part.start for part in box)
    if size <= limit or not axes:
        yield tuple(box)
        return
    axis, *others = axes
    low, high = box[axis].start, box[axis].stop
    step = max(1, limit * (high - low) // size)
    for start in range(low, high, step):
        part = list(box)
        part[axis] = slice(start, min(start + step, high))
        yield from _boxes(part, others if step == 1 else (), itemsize, limit)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of, unless it is a private copy."""
    holder: Any = array
    while isinstance(holder, np.ndarray):
        if isinstance(holder, np.memmap) and holder.mode == "c":
            return None
        holder = holder.base
    return holder if isinstance(holder, mmap.mmap) else None


def _default_folder() -> Path:
    """Return the system's folder for temporary files, or one that lies on a disk."""
    folder, other = Path(tempfile.gettempdir()), Path("/var/tmp")
    if _in_memory(folder) and not _in_memory(other) and os.access(other, os.W_OK):
        return other
    return folder


def _in_memory(folder: Path) -> bool:
    """Tell whether the files of a folder lie in memory; only Linux says so."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    place = folder.resolve()
    mounts = [line.split()[1:3] for line in lines]
    held = [(len(at), kind) for at, kind in mounts if place.is_relative_to(at)]
    return bool(held) and max(held)[1] in _IN_MEMORY
