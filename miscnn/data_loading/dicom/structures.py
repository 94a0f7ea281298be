"""Segmentations from RTSTRUCT files: contours filled on the voxels of an image."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._contour_planes import Where, on_slices
from miscnn.data_loading.dicom._items import items, required_items, required_whole
from miscnn.data_loading.dicom._measured import measured
from miscnn.data_loading.dicom._names import Missing, Named, choose
from miscnn.data_loading.dicom._polygons import rasterise
from miscnn.data_loading.dicom._references import check_reference, kind_of, reference_of
from miscnn.data_loading.dicom._regions import Overlap, Regions, check_overlap
from miscnn.data_loading.dicom._source import InvalidValueError, dicom_readable, read_dataset, text
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.formats.image_file import short

_CONTOUR_DATA = 0x30060050
_FILLED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_UNFILLED = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
# A kilometre: no scanner is that large, and what is computed from it stays finite.
_FARTHEST = 1e6


def roi_names(path: str | Path, index: str | None = None) -> list[str]:
    """Return the names of the ROIs of an RTSTRUCT file, in the order of their numbers.

    Parameters
    ----------
    path : str or Path
    index : str, optional
        The subject, for messages. Default: the name of the file.

    Raises
    ------
    MissingFileError
    UnreadableFileError
        If it is no RTSTRUCT file.
    """
    path = Path(path)
    index = path.name if index is None else index
    dataset = read_dataset(path, index)
    with dicom_readable(path, index):
        return [roi.name for roi in _rois(dataset)]


def read_structures(
    path: str | Path,
    volume: DicomVolume,
    structures: Mapping[str, int] | None,
    index: str,
    overlap: Overlap = "error",
    missing: Missing = "error",
) -> NDArray[Any]:
    """Read the structures of an RTSTRUCT file as a label map on the grid of an image.

    A voxel belongs to a structure if its *centre* lies inside an odd number of the contours of its
    slice, so that inner contours are holes, whether drawn by themselves or by a key-hole cut. A
    centre exactly on an edge belongs to what lies on the side of the rising index: two structures
    with a common edge never both claim it. The contours in the plane nearest to a slice count for
    it; slices without contours stay empty, also between others. Where the image was resampled to a
    regular grid, the slices that were measured are filled and brought there as the image is: each
    class by itself, and what reaches a half is in.

    Parameters
    ----------
    path : str or Path
    volume : DicomVolume
        The image that the structures were drawn on.
    structures : mapping of str to int, or None
        Name -> class: the name exactly, else in any capitals, else a shell-like pattern such as
        ``"GTV*"``, else the ROI's number as text. Several names may mean one class; class 0 leaves
        a structure out, as do names that are not mentioned. None: all ROIs, numbered from 1 on in
        the order of their ROI numbers.
    index : str
        The subject, for messages.
    overlap : {"error", "last", "first", "combinations"}
        What becomes of voxels in structures of several classes: refused; the structure wins that
        stands later or earlier in the mapping; each set of classes gets a label of its own, see
        :mod:`miscnn.data_loading.dicom.combinations`.
    missing : {"error", "background"}
        What becomes of names that are not in the file: refused; taken for structures without
        voxels, with a warning, as long as another one is there.

    Returns
    -------
    ndarray
        ``volume.shape``, unsigned integer, 0 where there is no structure.

    Raises
    ------
    MissingFileError
    UnreadableFileError
    LabelError
        If a name is not in the file (or none is), or structures overlap.
    GridMismatchError
        If the file belongs to another coordinate system, contours are not parallel to the slices
        (the message tells the angle), or all lie outside the volume.

    Notes
    -----
    Logged as warnings, with numbers: contours outside the volume or not in the plane of a slice,
    empty slices between others, points and open contours, which enclose nothing.
    """
    check_overlap(overlap)
    path = Path(path)
    dataset = read_dataset(path, index)
    with dicom_readable(path, index):
        rois = _rois(dataset)
        reference = reference_of(dataset)
    check_reference(reference, volume, path, index)
    if structures is None:
        chosen = [(i, i + 1) for i in range(len(rois))]
    else:
        chosen = choose(structures, rois, index, "ROI", missing)
    slices = measured(volume)
    classes = [label for _, label in chosen]
    regions = Regions(slices.shape, [rois[i].name for i, _ in chosen], classes)
    for region, (i, _) in enumerate(chosen):
        where = Where(index, short(path), rois[i].name)
        with dicom_readable(path, index):
            contours = _contours(dataset, rois[i].number, where)
        for k, polygons in on_slices(contours, slices, where).items():
            box, mask = rasterise(polygons, slices.shape[:2])
            regions.add((*box, k), mask, region)
        if not regions.voxels(region):
            what = "encloses no voxel centre" if contours else "has no closed contours"
            where.warn(f"{what}; the structure is empty in this image")
    return slices.to_grid(regions.labels(overlap, index), classes, overlap, index)


def _rois(dataset: Any) -> list[Named]:
    if kind_of(dataset) != "RTSTRUCT":
        raise InvalidValueError("expected an RTSTRUCT, got another kind of DICOM object")
    found = [
        Named(required_whole(item, "ROINumber"), text(item, "ROIName"))
        for item in required_items(dataset, "StructureSetROISequence")
    ]
    found.sort(key=lambda roi: roi.number)
    for one, following in pairwise(found):
        if one.number == following.number:
            raise InvalidValueError(f"two ROIs have the number {one.number}")
    return found


def _contours(dataset: Any, number: int, where: Where) -> list[NDArray[np.float64]]:
    """Return the closed contours of an ROI, shape (n, 3) each, mm, LPS."""
    result = []
    unfilled: dict[str, int] = {}
    thin = 0
    listed = [
        contour
        for roi in required_items(dataset, "ROIContourSequence")
        if required_whole(roi, "ReferencedROINumber") == number
        for contour in items(roi, "ContourSequence")
    ]
    for i, contour in enumerate(listed):
        what = f"ROI {where.roi!r}, contour {i}"
        kind = text(contour, "ContourGeometricType")
        if kind in _UNFILLED:
            unfilled[kind] = unfilled.get(kind, 0) + 1
            continue
        if kind not in _FILLED:
            raise InvalidValueError(f"{what}: ContourGeometricType is missing or unknown")
        points = _points(contour, what)
        if len(points) < 3:
            thin += 1
        else:
            result.append(points)
    for kind, count in unfilled.items():
        where.warn("%d contours of type %s enclose nothing and are left out", count, kind)
    if thin:
        where.warn("%d contours of fewer than three points enclose nothing and are left out", thin)
    return result


def _points(contour: Any, what: str) -> NDArray[np.float64]:
    if _CONTOUR_DATA not in contour:
        raise InvalidValueError(f"{what}: ContourData is missing")
    # the text as it stands in the file: making objects of its numbers takes a hundred times longer
    value = contour.get_item(_CONTOUR_DATA).value
    if isinstance(value, bytes):
        value = value.strip(b" \0").split(b"\\")
    if value is None or value == [b""]:
        value = []
    try:
        flat = np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InvalidValueError(f"{what}: ContourData holds what is no number") from None
    if flat.size % 3:
        raise InvalidValueError(f"{what}: ContourData has {flat.size} values, no multiple of three")
    if not np.all(np.abs(flat) <= _FARTHEST):  # NaN is not either
        raise InvalidValueError(f"{what}: ContourData is not finite, or farther than a kilometre")
    return flat.reshape(-1, 3)
