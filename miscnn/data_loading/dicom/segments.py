"""Segmentations from DICOM-SEG files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from miscnn.data_loading.dicom._enhanced import FunctionalGroups
from miscnn.data_loading.dicom._frame_places import Place, find_places, read_planes
from miscnn.data_loading.dicom._items import items, required_items, required_whole
from miscnn.data_loading.dicom._names import Missing, Named, choose
from miscnn.data_loading.dicom._references import check_reference, kind_of, reference_of
from miscnn.data_loading.dicom._regions import Overlap, Regions, check_overlap
from miscnn.data_loading.dicom._seg_pixels import PixelFormat, frames, pixel_format
from miscnn.data_loading.dicom._source import (
    InvalidValueError,
    dicom_readable,
    number,
    read_dataset,
    text,
)
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.formats.image_file import short

_LOG = logging.getLogger("miscnn.data_loading.dicom")

_TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")
_FRACTION = 0.5

Code = tuple[str, str, str]
"""Value, coding scheme and meaning, such as ``("10200004", "SCT", "Liver")``."""


@dataclass(frozen=True)
class Segment:
    """What a DICOM-SEG file says of a segment.

    Attributes
    ----------
    number : int
        From 1 on; 0 is the background of a label map.
    label : str
    category, type : tuple of str, or None
        Codes of what it is: value, coding scheme, meaning.
    """

    number: int
    label: str
    category: Code | None
    type: Code | None


def segment_names(path: str | Path, index: str | None = None) -> list[Segment]:
    """Return the segments that a DICOM-SEG file describes, in the order of their numbers.

    Parameters
    ----------
    path : str or Path
    index : str, optional
        The subject, for messages. Default: the name of the file.

    Raises
    ------
    MissingFileError
    UnreadableFileError
        If it is no DICOM segmentation.
    """
    path = Path(path)
    index = path.name if index is None else index
    dataset = read_dataset(path, index)
    with dicom_readable(path, index):
        return _segments(dataset)


def read_segments(
    path: str | Path,
    volume: DicomVolume,
    structures: Mapping[str | int, int] | None,
    index: str,
    overlap: Overlap = "error",
    missing: Missing = "error",
) -> NDArray[Any]:
    """Read a DICOM-SEG file as a label map on the grid of an image.

    Frames are placed by their plane positions, whatever their order, else by the source images
    that they name. They may be turned, flipped or cut against the image's voxels; what they do not
    cover is background. Of fractional segmentations the voxels of at least half of the maximal
    value belong to a segment. In label maps (Supplement 243), the pixel padding value is
    background, also where frames are left out. Where the image was resampled to a regular grid,
    frames on the slices that were measured are brought there as the image is: each class by
    itself, and what reaches a half is in. Frames that lie on the grid itself stay as they are.

    Parameters
    ----------
    path : str or Path
    volume : DicomVolume
        The image that the segmentation was made on.
    structures : mapping of str or int to int, or None
        Label or number of a segment -> class: the label exactly, else in any capitals, else a
        shell-like pattern such as ``"Kidney*"``, else the number as text. Several may mean one
        class; class 0 leaves a segment out, as do those that are not mentioned. None: the numbers
        of the segments are the classes, gaps included.
    index : str
        The subject, for messages.
    overlap : {"error", "last", "first", "combinations"}
        What becomes of voxels in segments of several classes: refused; the segment wins that stands
        later or earlier in the mapping; each set of classes gets a label of its own, see
        :mod:`miscnn.data_loading.dicom.combinations`.
    missing : {"error", "background"}
        What becomes of segments that are not in the file: refused; taken for segments without
        voxels, with a warning, as long as another one is there.

    Returns
    -------
    ndarray
        ``volume.shape``, unsigned integer, 0 where there is no segment.

    Raises
    ------
    MissingFileError
    UnreadableFileError
        If the file is broken: pixels that are not there, pixels of segments that are not described.
    LabelError
        If a name is not in the file (or none is), or segments overlap.
    GridMismatchError
        If the segmentation lies on another grid, or in another coordinate system.
    """
    check_overlap(overlap)
    path = Path(path)
    dataset = read_dataset(path, index, pixels=True)
    with dicom_readable(path, index):
        described = _segments(dataset)
        kind = _type(dataset)
        reference = reference_of(dataset)
        stored = pixel_format(dataset)
    check_reference(reference, volume, path, index)
    if structures is None:
        chosen = [(i, segment.number) for i, segment in enumerate(described) if segment.number]
    else:
        listed = [Named(segment.number, segment.label) for segment in described]
        chosen = choose(structures, listed, index, "segment", missing)
    with dicom_readable(path, index):
        planes = read_planes(dataset, stored, volume)
    slices, places = find_places(planes, stored, volume, short(path), index)
    names = [described[i].label for i, _ in chosen]
    classes = [label for _, label in chosen]
    regions = Regions(slices.shape, names, classes)
    region_of = {described[i].number: region for region, (i, _) in enumerate(chosen)}
    with dicom_readable(path, index):
        outside = _fill(regions, dataset, kind, stored, places, region_of)
    if outside:
        _LOG.warning(
            "sample %r: %s: %d voxels of segments lie outside the image and are left out",
            index,
            short(path),
            outside,
        )
    for region, name in enumerate(names):
        if not regions.voxels(region):
            _LOG.warning("sample %r: %s: segment %r has no voxels", index, short(path), name)
    return slices.to_grid(regions.labels(overlap, index), classes, overlap, index)


def _segments(dataset: Any) -> list[Segment]:
    if kind_of(dataset) != "SEG":
        raise InvalidValueError("expected a DICOM segmentation, got another kind of DICOM object")
    lowest = 0 if _type(dataset) == "LABELMAP" else 1
    found = [
        Segment(
            required_whole(item, "SegmentNumber", lowest),
            text(item, "SegmentLabel"),
            _code(item, "SegmentedPropertyCategoryCodeSequence"),
            _code(item, "SegmentedPropertyTypeCodeSequence"),
        )
        for item in required_items(dataset, "SegmentSequence")
    ]
    found.sort(key=lambda segment: segment.number)
    for one, following in pairwise(found):
        if one.number == following.number:
            raise InvalidValueError(f"two segments have the number {one.number}")
    return found


def _type(dataset: Any) -> str:
    kind = text(dataset, "SegmentationType")
    if kind not in _TYPES:
        raise InvalidValueError(f"SegmentationType is none of {', '.join(_TYPES)}")
    return kind


def _code(segment: Any, name: str) -> Code | None:
    codes = items(segment, name)
    if not codes:
        return None
    value = next(
        (
            text(codes[0], key)
            for key in ("CodeValue", "LongCodeValue", "URNCodeValue")
            if key in codes[0]
        ),
        "",
    )
    return value, text(codes[0], "CodingSchemeDesignator"), text(codes[0], "CodeMeaning")


def _fill(
    regions: Regions,
    dataset: Any,
    kind: str,
    stored: PixelFormat,
    places: Sequence[Place],
    region_of: Mapping[int, int],
) -> int:
    """Put all frames into the regions; return how many of their voxels lie outside."""
    described = [segment.number for segment in _segments(dataset)]
    if kind == "LABELMAP":
        shown: list[int | None] = [None] * stored.frames
    else:
        shown = [*_segment_of_frames(dataset, stored.frames, described)]
    twice = Counter(zip(shown, places, strict=True))
    if max(twice.values()) > 1:
        raise InvalidValueError("two frames of one segment lie at the same place")
    least = _least(dataset) if kind == "FRACTIONAL" else 1
    outside = 0
    for i, frame in enumerate(frames(dataset, stored)):
        owner = shown[i]
        if owner is None:
            _check_values(frame, described, dataset, i)
            wanted = region_of
        elif owner in region_of:
            wanted = {1: region_of[owner]}
            frame = (frame >= least).view(np.uint8)
        else:
            continue
        box, part, whole = places[i].put(frame, regions.shape)
        _add(regions, box, part, wanted)
        if whole is not None:
            outside += int(np.isin(whole, list(wanted)).sum() - np.isin(part, list(wanted)).sum())
    return outside


def _add(
    regions: Regions, box: tuple[int | slice, ...], part: NDArray[Any], wanted: Mapping[int, int]
) -> None:
    for value, found in enumerate(ndimage.find_objects(part) if part.size else [], start=1):
        if found is None or value not in wanted:
            continue
        inner = iter(found)
        smaller: list[int | slice] = []
        for along in box:
            if isinstance(along, slice):
                within = next(inner)
                smaller.append(slice(along.start + within.start, along.start + within.stop))
            else:
                smaller.append(along)
        regions.add(tuple(smaller), part[found] == value, wanted[value])


def _segment_of_frames(dataset: Any, count: int, described: Sequence[int]) -> Iterator[int]:
    groups = FunctionalGroups(dataset)
    for i in range(count):
        macro = groups.macro("SegmentIdentificationSequence", i)
        owner = required_whole(macro, "ReferencedSegmentNumber", 1)
        if owner not in described:
            raise InvalidValueError(
                f"frame {i + 1} belongs to segment {owner}, which SegmentSequence does not describe"
            )
        yield owner


def _least(dataset: Any) -> int:
    """Return the smallest stored value of at least half of the maximal one."""
    return ceil(_FRACTION * required_whole(dataset, "MaximumFractionalValue", 1))


def _check_values(
    frame: NDArray[Any], described: Sequence[int], dataset: Any, position: int
) -> None:
    """Refuse values of a label map that mean nothing."""
    padding = number(dataset, "PixelPaddingValue") or 0
    known = {0, int(padding), *described}
    table = np.zeros(1 << 16, dtype=bool)
    table[[value for value in known if 0 <= value < 1 << 16]] = True
    fine = table[frame]
    if not fine.all():
        raise InvalidValueError(
            f"frame {position + 1} holds the value {int(frame[~fine][0])}, which SegmentSequence "
            "does not describe"
        )
