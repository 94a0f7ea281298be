"""NIfTI volumes, ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Remark
from miscnn.data_loading.formats.nifti_file import NiftiFile, open_nifti
from miscnn.data_loading.formats.nifti_remarks import header_remarks
from miscnn.data_loading.formats.nifti_write import (
    header_from_geometry,
    result_header,
    write_nifti,
)
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.sample import Sample

# Stored labels times a float32 slope miss the whole number by this much at most.
_LABEL_NOISE = 1e-3


class NIfTIInterface(FileInterface):
    """Reads NIfTI volumes, and writes predictions onto their grid.

    Parameters
    ----------
    channels, classes, three_dim, ignore_label, label_values, class_names
        See :class:`DataInterface`. In 2D a file has shape ``(x, y)`` or ``(x, y, 1)``.
    pattern, image, segmentation
        Where the files lie, see :class:`FileInterface`. Default: ``{index}/imaging.nii.gz`` and
        ``{index}/segmentation.nii.gz``, the layout of MIScnn and KiTS.

    Notes
    -----
    Stored integers are returned in their own type, never through float64; how scaled values
    (``scl_slope``, ``scl_inter``) are typed is told at
    :func:`~miscnn.data_loading.formats.scaling.scaled_type`. Channels are taken from
    several files, or from the fourth (or fifth) axis of one file. The details of an image hold
    ``header`` (nibabel's, as in the file) and ``type`` (what the file stores).

    The affine is the one nibabel chooses. A prediction takes over the image's header: both
    matrices with their codes, voxel sizes and units stay bit by bit.

    Examples
    --------
    >>> interface = NIfTIInterface(classes=3, image="images/*.nii.gz", segmentation="labels/*")
    >>> interface.get_config()["image"]
    'images/*.nii.gz'
    """

    endings = (".nii.gz", ".nii")

    def open_file(self, path: Path, index: str) -> NiftiFile:
        """Read and check the header of a NIfTI file."""
        return open_nifti(path, index)

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation in the file's type.

        Labels that were stored with a scaling are rounded to the whole numbers they mean.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        """
        labels = super().load_segmentation(index)
        if labels.dtype.kind == "f" and self.open_file(self._label_path(index), index).scaled:
            return whole_labels(labels)
        return labels

    def write_file(self, path: Path, array: NDArray[Any], sample: Sample) -> None:
        """Write an array with the header of the image."""
        header = sample.details.get("header")
        if header is None:
            header = header_from_geometry(sample.geometry)
        axes = len(header.get_data_shape())
        if array.ndim == 3 and axes < 3 and array.shape[axes:] == (1,) * (3 - axes):
            array = array.reshape(array.shape[:axes])  # as many axes as the image
        write_nifti(path, array, result_header(header, array.shape, array.dtype))

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell what is odd about the voxel sizes and units in the image's header."""
        return header_remarks(details["header"], details["affine"])

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are NIfTI."""
        return termination.lower().lstrip(".") in ("nii", "nii.gz")


def whole_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Round labels that were stored with a scaling, if whole numbers are meant."""
    whole: NDArray[Any] = np.rint(labels)
    return whole if bool(np.all(np.abs(labels - whole) <= _LABEL_NOISE)) else labels


NIFTI_interface = NIfTIInterface
"""Name in MIScnn 1.x."""
