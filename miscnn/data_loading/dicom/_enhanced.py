"""Enhanced multi-frame objects: what the functional groups say of each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miscnn.data_loading.dicom._slice import Marks, Slice, is_gray, matrix, sop_uids
from miscnn.data_loading.dicom._source import (
    InvalidValueError,
    lengths,
    number,
    numbers,
    text,
)

_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")


class FunctionalGroups:
    """Finds the macro of a frame: its own, else the one that all frames share.

    Raises
    ------
    InvalidValueError
        If there is not one item for each frame.
    """

    def __init__(self, dataset: Any) -> None:
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        self._shared = shared[0] if len(shared) else None
        self._frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
        claimed = number(dataset, "NumberOfFrames")
        self.count = len(self._frames) or 1
        if claimed is not None and claimed != self.count:
            raise InvalidValueError(
                f"NumberOfFrames is {claimed:g}, but the functional groups tell of {self.count}"
            )

    def macro(self, name: str, frame: int) -> Any:
        """Return the item of a macro, or an empty mapping."""
        own = self._frames[frame] if len(self._frames) else None
        for group in (own, self._shared):
            items = None if group is None else group.get(name)
            if items is not None and len(items):
                return items[0]
        return {}


def enhanced_slices(path: Path, dataset: Any) -> tuple[Slice, ...]:
    """Return the frames of an enhanced multi-frame object."""
    groups = FunctionalGroups(dataset)
    rows, columns = matrix(dataset)
    uid, sop_class = sop_uids(dataset)
    slices = []
    for frame in range(groups.count):
        measures = groups.macro("PixelMeasuresSequence", frame)
        slices.append(
            Slice(
                path,
                frame,
                uid,
                sop_class,
                rows,
                columns,
                lengths(groups.macro("PlanePositionSequence", frame), "ImagePositionPatient", 3),
                numbers(
                    groups.macro("PlaneOrientationSequence", frame), "ImageOrientationPatient", 6
                ),
                lengths(measures, "PixelSpacing", 2),
                number(measures, "SpacingBetweenSlices"),
                number(measures, "SliceThickness"),
                _marks(groups, frame),
                is_gray(dataset),
            )
        )
    return tuple(slices)


def _marks(groups: FunctionalGroups, frame: int) -> Marks:
    content = groups.macro("FrameContentSequence", frame)
    cardiac = groups.macro("CardiacSynchronizationSequence", frame)
    types = (groups.macro(name, frame) for name in _FRAME_TYPES)
    return Marks(
        number(content, "FrameAcquisitionNumber"),
        number(content, "TemporalPositionIndex"),
        number(groups.macro("MREchoSequence", frame), "EffectiveEchoTime"),
        number(groups.macro("MRDiffusionSequence", frame), "DiffusionBValue"),
        next((text(item, "FrameType").upper() for item in types if item), ""),
        text(content, "StackID"),
        number(cardiac, "NominalCardiacTriggerDelayTime"),
        text(content, "FrameAcquisitionDateTime"),
    )
