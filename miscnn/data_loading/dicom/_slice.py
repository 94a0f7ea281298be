"""What a header says of one slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._source import InvalidValueError, number, text


@dataclass(frozen=True, slots=True)
class Marks:
    """By what slices at one position can differ; None where the file does not say.

    Times, and what was typed in by hand, are not shown.
    """

    acquisition: float | None = None
    temporal: float | None = None
    echo_time: float | None = None
    b_value: float | None = None
    image_type: str = field(default="", repr=False)
    stack: str = field(default="", repr=False)
    trigger: float | None = None
    time: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice: a file, or a frame of one.

    Attributes
    ----------
    position : tuple of float or None
        Centre of the first voxel in mm, LPS+.
    orientation : tuple of float or None
        Direction cosines along a row, then down a column, LPS+.
    pixel_spacing : tuple of float or None
        Distance of rows, then of columns, in mm.
    distance, thickness : float or None
        Between slices, and of a slice, in mm.
    is_gray : bool
        Whether voxels are gray values, by what the header says.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str = field(repr=False)
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    distance: float | None
    thickness: float | None
    marks: Marks = field(repr=False)
    is_gray: bool = True


def sop_uids(dataset: Any) -> tuple[str, str]:
    """Return instance and class of a file; those of its preamble where the header has none."""
    meta = getattr(dataset, "file_meta", {}) or {}
    return (
        text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID"),
        text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"),
    )


def is_gray(dataset: Any) -> bool:
    """Tell whether voxels are gray values (or the header does not say)."""
    return text(dataset, "PhotometricInterpretation")[:10] in ("", "MONOCHROME")


def matrix(dataset: Any) -> tuple[int, int]:
    """Return rows and columns."""
    rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
    if rows is None or columns is None or rows < 1 or columns < 1:
        raise InvalidValueError(f"Rows and Columns are {rows} and {columns}")
    return rows, columns


def whole(dataset: Any, name: str) -> int | None:
    """Return an attribute as a whole number, or None if it is missing or empty."""
    value = number(dataset, name)
    if value is not None and (not value.is_integer() or abs(value) > 1 << 40):
        raise InvalidValueError(f"{name} is {value:g}, expected a whole number")
    return None if value is None else int(value)
