"""The voxels of slices: decoded, sign and rescaling applied slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._optional import optional
from miscnn.data_loading.dicom._enhanced import FunctionalGroups
from miscnn.data_loading.dicom._slice import matrix
from miscnn.data_loading.dicom._source import (
    InvalidValueError,
    dicom_readable,
    number,
    read_dataset,
    text,
)
from miscnn.data_loading.dicom.volume import SourceFrame
from miscnn.data_loading.formats.image_file import refuse
from miscnn.data_loading.formats.scaling import scaled_type

_NATIVE = frozenset(
    (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
    )
)
_FLOATS = {"FloatPixelData": np.dtype(np.float32), "DoubleFloatPixelData": np.dtype(np.float64)}
# Compressed voxels may take a thousandth of their size, and small images any share.
_LARGEST_SHARE = 1000
_ALWAYS_ALLOWED = 1 << 26
_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope"),
    *("RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)


@dataclass(frozen=True)
class Coding:
    """How the voxels of one frame are stored.

    Attributes
    ----------
    bits, shift : int
        Stored bits of an integer, and how many unused ones lie below them.
    signed : bool
    floating : dtype or None
        Type of voxels that are stored as floating point numbers.
    slope, intercept : float
        The value is ``slope * stored + intercept``.
    padding : pair of float or None
        The least and the largest stored value that stand where nothing was measured.
    """

    bits: int
    allocated: int
    shift: int
    signed: bool
    floating: np.dtype[Any] | None
    slope: float
    intercept: float
    padding: tuple[float, float] | None = None

    def is_padding(self, plane: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell where stored values, as :func:`read_frames` yields them, are padding."""
        if self.padding is None:
            return np.zeros(plane.shape, dtype=bool)
        low, high = self.padding
        return np.asarray((plane >= low) & (plane <= high))

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the largest integer that can be stored."""
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds every value exactly; float32 where that tells all values apart."""
        if self.floating is not None:
            return self.floating
        low, high = self.ends
        if self.slope.is_integer() and self.intercept.is_integer():
            ends = sorted(int(self.slope) * end + int(self.intercept) for end in (low, high))
            for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
                kind = np.iinfo(name)
                if kind.min <= ends[0] and ends[1] <= kind.max:
                    return np.dtype(name)
            return np.dtype(np.float64)
        size = next(n for n in (1, 2, 4) if 8 * n >= self.bits)
        stored = np.dtype(f"{'i' if self.signed else 'u'}{size}")
        return scaled_type(stored, self.slope, self.intercept)


def common_type(codings: Sequence[Coding]) -> np.dtype[Any]:
    """Return one type for slices that may be scaled differently."""
    kinds = {coding.dtype for coding in codings}
    if any(kind.kind == "f" for kind in kinds) and all(
        kind.kind == "f" or kind.itemsize <= 2 for kind in kinds
    ):
        floats = [kind for kind in kinds if kind.kind == "f"]
        return np.result_type(*floats, np.float32)
    return np.result_type(*kinds)


def read_codings(frames: Sequence[SourceFrame], index: str) -> list[Coding]:
    """Read from the headers how each frame is stored, and check that its voxels are there.

    Raises
    ------
    UnreadableFileError
        If these are colours, bits, or voxels that take more room than there is in the file.
    """
    codings: list[Coding] = []
    for path, numbers in _by_file(frames):
        dataset = read_dataset(path, index, _TAGS)
        with dicom_readable(path, index):
            _check_kind(dataset)
            _check_size(dataset, path)
            codings += [_coding(dataset, frame) for frame in numbers]
    return codings


def read_frames(
    frames: Sequence[SourceFrame], codings: Sequence[Coding], index: str
) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame, shape (columns, rows), with their sign.

    Raises
    ------
    ConfigurationError
        If the voxels are compressed in a way that no installed library undoes.
    UnreadableFileError
    """
    place = 0
    for path, numbers in _by_file(frames):
        dataset = read_dataset(path, index, pixels=True)
        for frame in numbers:
            plane = _decode(dataset, frame or 0, codings[place], path, index)
            yield plane
            place += 1


def scaled(plane: NDArray[Any], coding: Coding, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Apply slope and intercept."""
    if coding.slope == 1 and coding.intercept == 0:
        return plane.astype(dtype, copy=False)
    if dtype.kind in "iu":
        return (plane.astype(np.int64) * int(coding.slope) + int(coding.intercept)).astype(dtype)
    values = plane.astype(np.float64) * coding.slope + coding.intercept
    return values.astype(dtype)


def _by_file(frames: Sequence[SourceFrame]) -> Iterator[tuple[Path, list[int | None]]]:
    """Group neighbouring frames of one file, so that it is opened once."""
    start = 0
    for stop in range(1, len(frames) + 1):
        if stop == len(frames) or frames[stop].path != frames[start].path:
            yield frames[start].path, [frame.frame for frame in frames[start:stop]]
            start = stop


def _check_kind(dataset: Any) -> None:
    kind = text(dataset, "PhotometricInterpretation")
    samples = number(dataset, "SamplesPerPixel")
    if kind not in ("MONOCHROME1", "MONOCHROME2") or samples not in (1, None):
        raise InvalidValueError(
            f"PhotometricInterpretation is {kind[:16] or 'missing'} with {samples or 1:g} samples "
            "a pixel; expected one gray value (MONOCHROME2). It is a picture, not a measurement"
        )
    if "ModalityLUTSequence" in dataset:
        raise InvalidValueError(
            "its values are translated by a table (ModalityLUTSequence), which is not supported"
        )


def _check_size(dataset: Any, path: Path) -> None:
    """Hold the size that the header claims against the file's, before room is made for it."""
    rows, columns = matrix(dataset)
    frames = number(dataset, "NumberOfFrames") or 1
    bits = number(dataset, "BitsAllocated")
    if bits not in (8, 16, 32, 64) or frames < 1:
        found = "missing" if bits is None else f"{bits:g}"
        raise InvalidValueError(f"BitsAllocated is {found}, NumberOfFrames {frames:g}")
    claimed = rows * columns * frames * bits / 8
    size = path.stat().st_size
    native = _syntax(dataset) in _NATIVE and not _syntax(dataset).endswith(".99")
    if (native and claimed > size) or claimed > max(_ALWAYS_ALLOWED, _LARGEST_SHARE * size):
        raise InvalidValueError(
            f"the header claims {columns} x {rows} x {frames:g} voxels of {bits:g} bits, but the "
            f"file holds {size} bytes; it was cut off, or its header is damaged"
        )


def _syntax(dataset: Any) -> str:
    meta = getattr(dataset, "file_meta", None)
    return text(meta, "TransferSyntaxUID") if meta else "1.2.840.10008.1.2"


def _coding(dataset: Any, frame: int | None) -> Coding:
    source = dataset
    if frame is not None:
        source = FunctionalGroups(dataset).macro("PixelValueTransformationSequence", frame)
        source = source or dataset
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise InvalidValueError("RescaleSlope is 0, which makes all voxels equal")
    allocated = int(number(dataset, "BitsAllocated") or 16)
    bits = number(dataset, "BitsStored")
    stored = allocated if bits is None else int(bits)
    high = number(dataset, "HighBit")
    shift = 0 if high is None else int(high) + 1 - stored
    floating = allocated in (32, 64) and bits is None and "PixelRepresentation" not in dataset
    if not 1 <= stored <= allocated or shift < 0 or shift + stored > allocated:
        raise InvalidValueError(
            f"BitsStored is {stored} and HighBit {high}, BitsAllocated {allocated}"
        )
    if shift and _syntax(dataset) not in _NATIVE:
        raise InvalidValueError(
            f"HighBit is {high:g} and BitsStored {stored}, which says nothing of compressed "
            f"voxels; expected HighBit {stored - 1}"
        )
    if not floating and allocated == 64:
        raise InvalidValueError("BitsAllocated is 64, at most 32 are supported for integers")
    return Coding(
        stored,
        allocated,
        shift,
        number(dataset, "PixelRepresentation") == 1,
        np.dtype(f"f{allocated // 8}") if floating else None,
        slope,
        intercept,
        _padding(dataset, stored, number(dataset, "PixelRepresentation") == 1),
    )


def _padding(dataset: Any, bits: int, signed: bool) -> tuple[float, float] | None:
    """Return the range of stored values that are padding, with the sign of the voxels."""
    value, limit = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [value, value if limit is None else limit]
    # often written with another sign than the voxels have
    if signed:
        ends = [end - (1 << bits) if end >= 1 << (bits - 1) else end for end in ends]
    else:
        ends = [end + (1 << bits) if end < 0 else end for end in ends]
    return min(ends), max(ends)


def _decode(dataset: Any, frame: int, coding: Coding, path: Path, index: str) -> NDArray[Any]:
    """Return the stored values of a frame, shape (columns, rows)."""
    pixels = optional("pydicom.pixels", "dicom", "Reading DICOM")
    with dicom_readable(path, index):
        syntax = _syntax(dataset)
        native = syntax in _NATIVE
        if not native:
            _check_decoder(pixels, syntax, path, index)
        elif coding.floating is None:
            # pydicom would drop bits from the top, wherever the value is
            dataset.BitsStored = coding.allocated
            dataset.HighBit = coding.allocated - 1
        if not any(name in dataset for name in ("PixelData", *_FLOATS)):
            raise InvalidValueError("it holds no voxels (PixelData); it was cut off")
        try:
            plane = np.asarray(pixels.pixel_array(dataset, index=frame, raw=True))
        except (RuntimeError, ValueError) as error:
            text_ = "the voxels cannot be decoded; they were cut off, or the header is damaged"
            raise InvalidValueError(text_) from error
        if plane.shape != matrix(dataset):
            raise InvalidValueError(f"its voxels have shape {plane.shape}")
        return _signed(plane.T, coding, native)


def _check_decoder(pixels: Any, syntax: str, path: Path, index: str) -> None:
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        refuse(path, index, "its voxels are coded in a way that is no image (or unknown)")
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        refuse(
            path,
            index,
            f"its voxels are compressed ({decoder.UID.name}), for which a package is missing: "
            f"{needs}. Install one of them",
        )


def _signed(plane: NDArray[Any], coding: Coding, native: bool) -> NDArray[Any]:
    """Drop bits that are not part of the value, and carry the sign on."""
    if coding.floating is not None:
        return plane
    if plane.dtype.kind not in "iu":
        raise InvalidValueError("its voxels are no integers, as the header says")
    if native and coding.bits < coding.allocated:
        kind = np.dtype(f"{'i' if coding.signed else 'u'}{coding.allocated // 8}")
        whole = plane.astype(kind)
        whole = np.left_shift(whole, coding.allocated - coding.bits - coding.shift)
        return np.asarray(np.right_shift(whole, coding.allocated - coding.bits))
    low, high = coding.ends
    if plane.size and not low <= int(plane.min()) <= int(plane.max()) <= high:
        raise InvalidValueError(
            f"its voxels run from {plane.min()} to {plane.max()}, but {coding.bits} bits are "
            "stored by its header"
        )
    return plane
