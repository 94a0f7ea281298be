"""Channels of an image and results of a prediction that may be larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from miscnn._scratch import Scratch, blocks_of, boxes_of, release
from miscnn.data_loading.formats.image_file import short, volume_shape
from miscnn.data_loading.label_mapping import LabelMapping
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    LabelError,
    MiscnnError,
    SampleError,
)

if TYPE_CHECKING:
    from miscnn.data_loading.interfaces.base import DataInterface

# Labels that are replaced at once; each takes a few numbers of 8 bytes meanwhile.
_REPLACED = 1 << 20


def stacked(channels: Sequence[NDArray[Any]], scratch: Scratch | None) -> NDArray[Any]:
    """Stack channels along a last axis; piece by piece if there is a scratch to hold them."""
    if scratch is None:
        return np.stack(channels, axis=-1)
    dtype = np.result_type(*(channel.dtype for channel in channels))
    image = scratch.empty((*channels[0].shape, len(channels)), dtype, order="F")
    for number, channel in enumerate(channels):
        copy_into(image[..., number], channel)
    return image


def copy_into(
    target: NDArray[Any],
    source: NDArray[Any],
    convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> None:
    """Copy an array, perhaps converted, piece by piece; both are released behind."""
    for box in boxes_of(source):
        piece = source[box]
        target[box] = piece if convert is None else convert(piece)
        release(target[box])
        release(piece)


def converted(array: NDArray[Any], dtype: DTypeLike, sample: Sample) -> NDArray[Any]:
    """Return an array in another type: itself, or a copy where the sample has its large arrays."""
    if array.dtype == dtype:
        return array
    if sample.scratch is None:
        return array.astype(dtype)
    target = sample.empty(array.shape, dtype, order="F")
    copy_into(target, array)
    return target


def replaced(
    labels: NDArray[Any], replace: Callable[[NDArray[Any]], NDArray[Any]], sample: Sample
) -> NDArray[Any]:
    """Return a label map with other values, ``replace(labels)``, made piece by piece.

    Without a scratch, and if the pieces differ in their type, it is made at once. The label map
    itself is returned if a piece comes back as it is.
    """
    if sample.scratch is None:
        return replace(labels)
    target: NDArray[Any] | None = None
    for box in boxes_of(labels, limit=_REPLACED * labels.itemsize):
        piece = labels[box]
        values = replace(piece)
        if values is piece:
            return labels
        if target is None:
            target = sample.empty(labels.shape, values.dtype, order="F")
        if values.dtype != target.dtype:
            return replace(labels)
        target[box] = values
        release(target[box])
        release(piece)
    return replace(labels) if target is None else target


def as_stored(sample: Sample, ndim: int, mapping: LabelMapping | None) -> NDArray[Any]:
    """Return a sample's prediction as it is stored: three spatial axes, and one of classes.

    Real numbers with a single class have no axis of classes either.

    Raises
    ------
    SampleError
        If there is no prediction.
    GridMismatchError
        If its shape is not the image's.
    LabelError
        If a label map holds values that are no labels.
    """
    prediction = sample.prediction
    if prediction is None:
        raise SampleError(sample.index, "there is no prediction to save")
    space = tuple(sample.details.get("grid", sample.geometry.shape))
    array = np.asarray(prediction)
    if array.shape == (*space, 1) and array.dtype.kind in "biu":
        array = array[..., 0]
    if array.shape[:ndim] != space or array.ndim > ndim + 1:
        raise GridMismatchError(
            sample.index,
            f"the prediction has shape {array.shape}, the image {space}; it must be brought "
            "back to the image's grid before it is saved",
        )
    volume = volume_shape(space)
    if array.ndim == ndim + 1:
        shape = volume if array.shape[-1] == 1 else (*volume, array.shape[-1])
        return converted(array, np.float32, sample).reshape(shape)
    return converted(array, _label_type(array, mapping, sample), sample).reshape(volume)


def _label_type(array: NDArray[Any], mapping: LabelMapping | None, sample: Sample) -> np.dtype[Any]:
    """Return the smallest type for a label map: one for all subjects if possible."""
    low, high, whole = _range(array)
    if not whole or (low < 0 and mapping is None):
        raise LabelError(
            sample.index,
            "a prediction without class axis holds labels, whole numbers from 0 on; got dtype "
            f"{array.dtype} with values from {low} to {high}",
        )
    known = [sample.classes - 1, 1] if mapping is None else mapping.values
    return np.result_type(*(np.min_scalar_type(int(n)) for n in (low, high, *known)))


def _range(array: NDArray[Any]) -> tuple[Any, Any, bool]:
    """Return the smallest and the largest value, and whether all are whole numbers."""
    lows, highs, whole = [], [], array.dtype.kind in "biuf"
    for piece in blocks_of(array):
        lows.append(piece.min())
        highs.append(piece.max())
        if piece.dtype.kind == "f":
            whole = (
                whole and bool(np.isfinite(piece).all()) and bool((piece == np.rint(piece)).all())
            )
    return (np.min(lows), np.max(highs), whole) if lows else (0, 0, whole)


def check_target(path: Path, sample: Sample) -> None:
    """Refuse to write a result over a file that the image was read from.

    Raises
    ------
    ConfigurationError
    """
    for name in sample.details.get("files") or ():
        if _same(path, Path(name)):
            raise _overwritten(sample.index, "image", path)


def result_files(
    interface: DataInterface, index: str, name: str | None, folder: Path, labels: bool
) -> list[Path]:
    """Return the files of a result of this name; nothing where they are not known.

    See :meth:`DataInterface.result_files`.
    """
    try:
        called = index if name is None else interface.named(index, name)
        return interface.result_files(index, called, folder, labels)
    except (MiscnnError, OSError):  # there is no such subject, as reading it tells
        return []


def check_sources(interface: DataInterface, index: str, files: Sequence[Path]) -> None:
    """Refuse to write results of a subject over its own image or segmentation.

    Raises
    ------
    ConfigurationError
    """
    present = [path for path in files if path.exists()]
    if not present:
        return
    try:
        images, sources = interface.image_files(index), interface.source_files(index)
    except (MiscnnError, OSError):  # a sample that was made from arrays
        return
    for path in present:
        for source in sources:
            if _same(path, source):
                what = "image" if source in images else "segmentation"
                raise _overwritten(index, what, path)


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _overwritten(index: str, what: str, path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"sample {index!r}: its prediction would overwrite the {what} {short(path)}; name another "
        "output_path"
    )
