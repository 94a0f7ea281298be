"""What both DICOM results share: labels, names, colours, and what they say of the source."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._optional import optional
from miscnn.data_loading.dicom._quiet import quiet
from miscnn.data_loading.dicom.volume import DicomVolume, SourceFrame
from miscnn.exceptions import ConfigurationError

Colour = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design" (2008), without black: told apart with any colour vision.
_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_VALIDATION = threading.RLock()
_LARGEST_CLASS = 65535
_LONGEST_NAME = 64
# What the patient and study modules demand, empty if it is not known.
_DEMANDED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
# What must not get lost between objects of one study.
_KEPT = (
    *("IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
    *("StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
)


@dataclass(frozen=True)
class Structure:
    """One class that is written.

    Attributes
    ----------
    number : int
        From 1 on.
    name : str
    colour : tuple of int
        Red, green, blue, 0 … 255.
    """

    number: int
    name: str
    colour: Colour


def checked_labels(labels: NDArray[Any], volume: DicomVolume) -> NDArray[np.uint16]:
    """Return labels as uint16 (or uint8 if they are), or say why they are none of the volume's."""
    labels = np.asarray(labels)
    if labels.shape != volume.shape:
        raise ConfigurationError(
            f"labels have shape {labels.shape}, but the series has {volume.shape} (columns, rows, "
            "slices); bring the labels back to the series' grid before they are written"
        )
    if labels.dtype.kind not in "biu":
        raise ConfigurationError(
            f"labels have dtype {labels.dtype}; expected whole numbers, the classes"
        )
    if labels.size and (labels.min() < 0 or labels.max() > _LARGEST_CLASS):
        raise ConfigurationError(
            f"labels reach from {labels.min()} to {labels.max()}; expected classes, 0 … "
            f"{_LARGEST_CLASS}"
        )
    return labels.astype(np.uint8 if labels.dtype.itemsize == 1 else np.uint16, copy=False)


def structures(
    labels: NDArray[Any], names: Sequence[str] | None, colours: Sequence[Colour] | None
) -> list[Structure]:
    """Return all classes but the background, with names and colours.

    Parameters
    ----------
    labels : ndarray
    names : sequence of str or None
        One for each class, that of the background first. None: ``"class 1"`` and so on, up to
        the highest label.
    colours : sequence of (red, green, blue) or None
        In the order of ``names``.

    Raises
    ------
    ConfigurationError
    """
    highest = int(labels.max()) if labels.size else 0
    if names is None:
        names = ["background", *(f"class {n}" for n in range(1, max(highest, 1) + 1))]
    if isinstance(names, str) or len(names) < 2:
        raise ConfigurationError(
            f"names={names!r}; expected one name for each class, that of the background first, "
            "and at least one class besides"
        )
    if highest >= len(names):
        raise ConfigurationError(
            f"labels reach up to {highest}, but there are {len(names)} names (for the classes 0 … "
            f"{len(names) - 1}, the background first); name every class"
        )
    for name in names[1:]:
        _check_name(name)
    if len(set(names[1:])) < len(names) - 1:
        raise ConfigurationError(f"names={list(names)!r} are not all different")
    if colours is None:
        colours = [_COLOURS[(n - 1) % len(_COLOURS)] for n in range(len(names))]
    if len(colours) != len(names) or not all(_is_colour(colour) for colour in colours):
        raise ConfigurationError(
            f"colours={colours!r}; expected {len(names)} colours (red, green, blue) of whole "
            "numbers from 0 to 255, in the order of the names"
        )
    return [
        Structure(number, name, tuple(int(part) for part in colour))  # type: ignore[arg-type]
        for number, (name, colour) in enumerate(zip(names, colours, strict=True))
        if number
    ]


def _check_name(name: str) -> None:
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > _LONGEST_NAME
        or re.search(r"[\\\x00-\x1f\x7f]", name)
    ):
        raise ConfigurationError(
            f"the class name {name!r} cannot be written to DICOM; expected 1 … {_LONGEST_NAME} "
            "characters, no backslash and no control character"
        )


def _is_colour(colour: Any) -> bool:
    return (
        isinstance(colour, Sequence | np.ndarray)
        and len(colour) == 3
        and all(isinstance(part, int | np.integer) and 0 <= part <= 255 for part in colour)
    )


@dataclass(frozen=True)
class Grid:
    """A volume's grid as DICOM states it, in mm, LPS+.

    Attributes
    ----------
    positions : ndarray
        Shape (slices, 3): the centre of the first pixel of each slice.
    orientation : ndarray
        Shape (6,): directions along a row and down a column.
    pixel_spacing : tuple of float
        Distances of neighbouring rows and of neighbouring columns.
    slice_spacing : float
    index_to_patient : ndarray
        Shape (4, 4).
    """

    positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    slice_spacing: float
    index_to_patient: NDArray[np.float64]


def grid_of(volume: DicomVolume) -> Grid:
    """State a volume's grid in DICOM's way."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(volume.affine, dtype=np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    return Grid(
        positions=matrix[:3, 3] + np.arange(volume.shape[2])[:, None] * matrix[:3, 2],
        orientation=(matrix[:3, :2] / lengths[:2]).T.ravel() + 0.0,
        pixel_spacing=(float(lengths[1]), float(lengths[0])),
        slice_spacing=float(lengths[2]),
        index_to_patient=matrix,
    )


def required(volume: DicomVolume, keyword: str) -> str:
    """Return a UID of the source that a result cannot do without.

    To be called within :func:`unquoted`.
    """
    value = volume.header.get(keyword)
    if not value:
        raise ConfigurationError(
            f"the series has no {keyword}, without which nothing can be said to belong to it; "
            "write the result as NIfTI"
        )
    return str(value)


@contextmanager
def unquoted() -> Iterator[None]:
    """Take values over as they are: complaints of pydicom's quote them, in logs and warnings."""
    config = optional("pydicom.config", "dicom", "Writing DICOM")
    # the mode of validation belongs to the whole process: one thread after the other changes it
    with _VALIDATION, quiet(), config.disable_value_validation():
        yield


def copy_patient_and_study(header: Any, target: Any) -> None:
    """Copy what says whose result it is, as DICOM demands of objects of one study.

    To be called within :func:`unquoted`.
    """
    for keyword in _DEMANDED:
        if keyword not in header:
            setattr(target, keyword, "")
    for keyword in (*_DEMANDED, *_KEPT, "StudyInstanceUID"):
        if keyword in header:
            target[keyword] = header[keyword]


def set_equipment(target: Any) -> None:
    """Say what made the file."""
    from miscnn._version import __version__

    target.Manufacturer = target.ManufacturerModelName = "miscnn"
    target.DeviceSerialNumber = "none"
    target.SoftwareVersions = __version__


def source_of_slices(volume: DicomVolume) -> list[SourceFrame | None]:
    """Return the source image of each slice; None where the series was resampled."""
    if volume.resampling is not None or len(volume.frames) != volume.shape[2]:
        return [None] * volume.shape[2]
    return list(volume.frames)


def references(volume: DicomVolume) -> list[Any]:
    """Return one reference for each file of the source, as items of a DICOM sequence."""
    dataset = optional("pydicom", "dicom", "Writing DICOM").Dataset
    frames: dict[str, list[int]] = defaultdict(list)
    classes = {}
    for frame in volume.frames:
        classes[frame.sop_instance_uid] = frame.sop_class_uid
        numbers = frames[frame.sop_instance_uid]
        if frame.frame is not None:
            numbers.append(frame.frame + 1)
    items = []
    for uid, numbers in frames.items():
        item = dataset()
        item.ReferencedSOPClassUID = classes[uid]
        item.ReferencedSOPInstanceUID = uid
        if numbers:
            item.ReferencedFrameNumber = sorted(numbers)
        items.append(item)
    return items
