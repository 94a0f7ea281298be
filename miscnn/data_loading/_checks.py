"""Checks of arrays and grids that loading and verification share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import boxes_of, release
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface, geometry_from_details
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError, UnreadableFileError

# Values that are counted in a table.
_TABLE = 1 << 16
# More different values than this are no labels.
MANY_LABELS = 1000


def make_sample(
    interface: DataInterface, index: str, image: NDArray[Any], details: dict[str, Any]
) -> Sample:
    """Make a sample of what an interface has read.

    Raises
    ------
    SampleError
        If shape, channels and grid do not fit together, or the affine cannot be used.
    UnreadableFileError
        If the image holds something else than real numbers.
    """
    if image.dtype.kind not in "biuf":
        raise UnreadableFileError(
            index,
            f"the image must hold real numbers, not {image.dtype}; convert it, complex values to "
            "their magnitude for example",
        )
    ndim = 3 if interface.three_dim else 2
    try:
        geometry = geometry_from_details(image.shape[:ndim], details)
    except ConfigurationError as error:
        raise SampleError(index, f"{error}; the image has shape {image.shape}") from error
    if not geometry.usable:
        raise SampleError(index, f"{unusable(geometry)}; correct the header")
    return Sample(
        index,
        image,
        interface.channels,
        interface.classes,
        geometry,
        details,
        ignore_label=interface.ignore_label,
    )


def unusable(geometry: Geometry) -> str:
    """Say why the affine of a grid cannot be used."""
    rows = "; ".join(" ".join(f"{value:.4g}" for value in row) for row in geometry.affine[:-1])
    if not bool(np.all(np.isfinite(geometry.affine))):
        return f"the affine is not finite ({rows})"
    sizes = " x ".join(f"{size:.4g}" for size in geometry.spacing)
    return f"the affine is singular ({rows}), spacing {sizes} mm"


def non_finite(image: NDArray[Any]) -> tuple[int, tuple[int, ...]] | None:
    """Count NaN and infinite voxels and give the position of the first; None if there are none.

    The position leaves out a channel axis of length 1. Integers are not looked at. Memory is
    bounded by a block of the image, which may be a mapped file.
    """
    if image.dtype.kind != "f":
        return None
    count, first = 0, None
    for box in boxes_of(image):
        block = image[box]
        with np.errstate(invalid="ignore"):
            sound = bool(np.isfinite(block.min()) and np.isfinite(block.max()))
        if not sound:
            odd = ~np.isfinite(block)
            count += int(np.count_nonzero(odd))
            place = np.unravel_index(int(np.argmax(odd)), odd.shape)
            found = tuple(int(i) + part.start for i, part in zip(place, box, strict=True))
            first = found if first is None else min(first, found)
        release(block)
    if first is None:
        return None
    return count, first[:-1] if image.shape[-1] == 1 else first


def label_values(labels: NDArray[Any]) -> list[float]:
    """Return the values that occur, sorted; at most a thousand and one of them.

    NaN comes last and once. Memory is bounded by a slab along the last axis.
    """
    found: set[float] = set()
    nan = float("nan")  # one object: a set does not see that two are alike
    for k in range(labels.shape[-1]):
        slab = labels[..., k]
        if slab.dtype.kind == "f":
            if np.isnan(slab).any():
                found.add(nan)
                slab = slab[~np.isnan(slab)]
            if slab.size == 0:
                continue
        found.update(_values(slab))
        if len(found) > MANY_LABELS:
            break
    return sorted(found, key=lambda value: (value != value, value))[: MANY_LABELS + 1]


def _values(slab: NDArray[Any]) -> list[float]:
    low, high = slab.min(), slab.max()
    kind = slab.dtype.kind
    whole = kind in "biu" or (slab.dtype.itemsize <= 8 and bool(np.all(slab == np.rint(slab))))
    if whole and np.isfinite(low) and np.isfinite(high) and int(high) - int(low) < _TABLE:
        flat = slab.ravel(order="K")
        # Not all of uint64 and of floating point numbers fit into int64: subtracted before.
        places: NDArray[Any]
        if kind == "f":
            places = flat.astype(np.float64) - float(low)  # exact, as both are whole numbers
        else:
            places = flat - low if kind == "u" else flat.astype(np.int64) - int(low)
        counts = np.bincount(places.astype(np.int64))
        return [float(i + int(low)) for i in np.flatnonzero(counts).tolist()]
    return [float(value) for value in np.unique(slab)[: MANY_LABELS + 1]]
