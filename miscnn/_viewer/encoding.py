"""Packed volumes as text within a page: what ``viewer.js`` unpacks."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._colours import CLASS_COLOURS, FALSE, MISSED, OTHER_CLASS
from miscnn._viewer.packing import Packed

_LEVEL = 6


def encoded(packed: Packed, title: str = "") -> str:
    """Return a packed volume as JSON, safe within a ``<script>`` element.

    The voxels are gzip in base64: for each channel what is left of it beyond the mean of the
    pixels to the left and above, sign in the lowest bit, all low bytes before all high ones;
    then both label maps.

    Parameters
    ----------
    packed : Packed
    title : str
        What a screen reader calls the volume.
    """
    pieces = [_bytes(_left_over(channel), wide=True) for channel in packed.image]
    maps = [m for m in (packed.truth, packed.prediction) if m is not None]
    wide = any(m.dtype.itemsize > 1 for m in maps)
    pieces += [_bytes(m.astype(np.uint16).ravel(), wide) for m in maps]
    channels = [
        {"slope": s, "intercept": i, "window": w, "percentiles": p, "ct": ct}
        for s, i, w, p, ct in zip(
            packed.slopes,
            packed.intercepts,
            packed.windows,
            packed.percentiles,
            packed.ct,
            strict=True,
        )
    ]
    document = {
        "title": title,
        "shape": packed.shape,
        "channels": channels,
        "truth": packed.truth is not None,
        "prediction": packed.prediction is not None,
        "wide": wide,
        "affine": np.round(packed.affine[:3], 6).tolist(),
        "letters": packed.letters,
        "sizes": packed.sizes,
        "flips": packed.flips,
        "flat": packed.flat,
        "ignored": packed.ignored,
        "colours": CLASS_COLOURS,
        "errors": [MISSED, FALSE, OTHER_CLASS],
        "names": {str(label): name for label, name in packed.names.items()},
        "voxels": base64.b64encode(_gzip(b"".join(pieces))).decode("ascii"),
    }
    return script_json(document)


def script_json(value: Any) -> str:
    """Return a value as JSON in which nothing can end a ``<script>`` element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _left_over(channel: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Return what the neighbours do not tell, modulo 2¹⁶, as in zigzag order 0, −1, 1, −2, …"""
    values = channel.astype(np.int32)
    left, above = np.zeros_like(values), np.zeros_like(values)
    left[:, :, 1:] = values[:, :, :-1]
    above[:, 1:] = values[:, :-1]
    guess = (left + above) >> 1
    guess[:, 0] = left[:, 0]
    guess[:, :, 0] = above[:, :, 0]
    rest = (values - guess).astype(np.int16).astype(np.int32)
    return np.where(rest < 0, -2 * rest - 1, 2 * rest).astype(np.uint16).ravel()


def _bytes(values: NDArray[np.uint16], wide: bool) -> bytes:
    low = (values & 0xFF).astype(np.uint8).tobytes()
    return low + (values >> 8).astype(np.uint8).tobytes() if wide else low


def _gzip(data: bytes) -> bytes:
    """Compress without name and date, so that equal volumes give equal text."""
    stream = io.BytesIO()
    archive = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    stream.write(archive.compress(data))
    stream.write(archive.flush())
    return stream.getvalue()
