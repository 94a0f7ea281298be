"""Gzip files, written and read by Intel's ISA-L, which is several times faster than zlib."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from isal import isal_zlib

_GZIP = 31  # the window of 32 KiB with gzip's header and checksum
# Label maps shrink to the same size at every level, and level 1 is several times faster.
_LEVEL = 1
_BLOCK = 1 << 20

MAGIC = b"\x1f\x8b"
"""What gzip files begin with."""


class Writer(Protocol):
    """Where bytes are written."""

    def write(self, data: Any, /) -> Any:
        """Take bytes, or what can be looked at as such."""


_DAMAGED: Any = isal_zlib.error
ERRORS: tuple[type[Exception], ...] = (zlib.error, _DAMAGED)
"""What damaged archives raise."""


@contextmanager
def compressing(stream: BinaryIO) -> Iterator[Writer]:
    """Compress what is written, as one member without a name and a date.

    The same bytes, written in the same pieces, give the same file (with one version of the
    compressing library).
    """
    writer = _Writer(stream)
    yield writer
    writer.finish()


class _Writer:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._archive = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, data: Any, /) -> None:
        view = memoryview(data)
        view = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        for start in range(0, len(view), _BLOCK):  # what comes out is no larger than a block
            self._stream.write(self._archive.compress(view[start : start + _BLOCK]))

    def finish(self) -> None:
        self._stream.write(self._archive.flush())


def beginning(data: bytes, most: int) -> bytes:
    """Decompress the first bytes of an archive, of which only the beginning may be there."""
    piece: bytes = isal_zlib.decompressobj(_GZIP).decompress(data, most)
    return piece


def decompressed(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file of one or several members in pieces of bounded size.

    Raises
    ------
    One of :data:`ERRORS`
        If the archive is damaged or cut off; its checksum is always read.
    """
    pending = _topped_up(b"", stream)
    while pending.startswith(MAGIC):  # else: the end, or padding behind it
        archive = isal_zlib.decompressobj(_GZIP)
        while not archive.eof:
            pending = pending or stream.read(_BLOCK)
            piece = archive.decompress(pending, _BLOCK)
            if not (piece or pending or archive.eof):
                raise zlib.error("it ends too early")
            yield piece
            pending = archive.unconsumed_tail
        pending = _topped_up(archive.unused_data, stream)


def _topped_up(pending: bytes, stream: BinaryIO) -> bytes:
    """Read on until there are enough bytes to tell whether another member begins."""
    while len(pending) < len(MAGIC):
        more = stream.read(_BLOCK)
        if not more:
            break
        pending += more
    return pending
