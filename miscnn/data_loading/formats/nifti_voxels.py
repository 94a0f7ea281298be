"""The voxels of a NIfTI file: from the bytes that are stored to numbers, piece by piece."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from miscnn._gzip import decompressed
from miscnn._scratch import Scratch, release
from miscnn.data_loading.formats.scaling import apply_scaling, scaled_type, scaled_values

# Voxels that are decoded at once.
_PIECE = 1 << 21
# As much may follow the voxels before the rest is left unread.
_APPENDED = 1 << 20

Scaling = tuple[float, float]
"""Slope and intercept."""

UNSCALED: Scaling = (1.0, 0.0)


class Source(Protocol):
    """Where the stored bytes come from."""

    def fill(self, buffer: memoryview) -> int:
        """Put the next bytes into a buffer; return how many there were."""

    def finish(self) -> None:
        """Read what follows the voxels, as far as it tells whether the file is sound."""


class Plain:
    """The bytes of a file from ``offset`` on."""

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        self._stream = stream
        stream.seek(offset, os.SEEK_SET)

    def fill(self, buffer: memoryview) -> int:
        """Put the next bytes into a buffer; return how many there were."""
        filled = 0
        while filled < len(buffer):
            n = self._stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
            if not n:
                break
            filled += n
        return filled

    def finish(self) -> None:
        """Do nothing: what follows is none of ours."""


class Compressed:
    """What a gzip file holds from ``offset`` on."""

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        self._pieces = decompressed(stream)
        self._skip = offset
        self._rest = memoryview(b"")

    def fill(self, buffer: memoryview) -> int:
        """Put the next bytes into a buffer; return how many there were."""
        filled = 0
        while filled < len(buffer):
            if not self._rest and not self._next():
                break
            n = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + n] = self._rest[:n]
            self._rest = self._rest[n:]
            filled += n
        return filled

    def finish(self) -> None:
        """Read on to the archive's checksum, unless something long is appended."""
        appended = len(self._rest)
        for piece in self._pieces:
            appended += len(piece)
            if appended > _APPENDED:
                break

    def _next(self) -> bool:
        for piece in self._pieces:
            used = min(self._skip, len(piece))
            self._skip -= used
            self._rest = memoryview(piece)[used:]
            if self._rest:
                return True
        return False


def native_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type, that other libraries know, of one number of what is stored."""
    if stored.names:  # RGB and RGBA
        return stored[0]
    if stored.itemsize > 8:  # long double: no other library knows what to do with it
        return np.dtype(np.float64)
    return stored.newbyteorder("=")


def final_type(stored: np.dtype[Any], scaling: Scaling) -> np.dtype[Any]:
    """Return the type that stored voxels are decoded to."""
    native = native_type(stored)
    return native if scaling == UNSCALED else scaled_type(native, *scaling)


def decode(
    source: Source,
    shape: Sequence[int],
    stored: np.dtype[Any],
    scaling: Scaling,
    scratch: Scratch | None,
) -> tuple[NDArray[Any], int]:
    """Decode voxels, in Fortran's order, into an array in memory or in ``scratch``.

    Returns
    -------
    voxels : ndarray
        RGB voxels have a last axis of 3 (or 4).
    found : int
        Bytes that there were; the voxels beyond them are not set.
    """
    names = stored.names
    full = (*shape, len(names)) if names else tuple(shape)
    target = final_type(stored, scaling)
    make: Any = np.empty if scratch is None else scratch.empty
    voxels: NDArray[Any] = make(full, target, order="F")
    flat = [voxels[..., k] for k in range(len(names))] if names else [voxels]
    flat = [plane.reshape(-1, order="F") for plane in flat]
    as_stored = target == stored and scaling == UNSCALED
    count, found = math.prod(shape), 0
    buffer = np.empty(0 if as_stored else min(count, _PIECE), stored)
    for start in range(0, count, _PIECE):
        stop = min(start + _PIECE, count)
        piece = flat[0][start:stop] if as_stored else buffer[: stop - start]
        raw: Any = piece.view(np.uint8)
        filled = source.fill(memoryview(raw))
        found += filled
        if filled < piece.nbytes:
            return voxels, found
        for plane, name in zip(flat, names or ("",), strict=True):
            if not as_stored:
                _put(plane[start:stop], piece[name] if names else piece, scaling)
            release(plane[start:stop])
    source.finish()
    return voxels, found


def decoded_array(stored: NDArray[Any], scaling: Scaling) -> NDArray[Any]:
    """Decode an array as it is stored; the values that :func:`decode` returns."""
    names, native = stored.dtype.names, native_type(stored.dtype)
    if names:
        voxels = np.stack([stored[name] for name in names], axis=-1)
    else:
        voxels = np.array(stored, native, order="F")
    if scaling == UNSCALED:
        return voxels
    return apply_scaling(voxels[..., np.newaxis], *scaling)[..., 0]


def _put(target: NDArray[Any], stored: NDArray[Any], scaling: Scaling) -> None:
    native = stored.astype(native_type(stored.dtype), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        target[:] = native if scaling == UNSCALED else scaled_values(native, *scaling)
