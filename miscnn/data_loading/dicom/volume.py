"""One image series that was found to be a regular volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._resample import Resampling


@dataclass(frozen=True)
class SourceFrame:
    """Where one slice of a volume comes from.

    Attributes
    ----------
    path : Path
    frame : int or None
        Number of the frame in a multi-frame file, from 0 on; None for a file of one slice.
    sop_instance_uid, sop_class_uid : str
        What a segmentation refers to the slice by.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class DicomVolume:
    """The grid of a series and the files behind it.

    Array axes are: 0 along a row of the pixel matrix (the column index rises), 1 down a column
    (the row index rises), 2 from slice to slice, along the normal ``row x column``. A
    standing-head-first axial CT is therefore ``"LPS"``.

    Attributes
    ----------
    shape : tuple of int
        ``(columns, rows, slices)``.
    affine : ndarray
        Shape (4, 4), float64: voxel index to mm, RAS+ (DICOM itself counts to the left and to
        the back).
    frames : tuple of SourceFrame
        One for each slice, in the order of axis 2. Where the series was resampled to a regular
        grid, the files that it was made from: their number differs from ``shape[2]`` then.
    modality : str
        Such as ``"CT"``, ``"MR"``, ``"PT"``.
    header : pydicom Dataset
        Of the first slice, without pixels. Holds what identifies the patient: it is there to be
        referred to from a segmentation, and goes nowhere else.
    resampling : Resampling or None
        How the voxels are made from ``frames`` that form no regular grid; None if they do.
    remarks : tuple of str
        What was assumed or done that a user should know; nothing of the patient.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frames: tuple[SourceFrame, ...]
    modality: str
    header: Any = field(repr=False)
    resampling: Resampling | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
