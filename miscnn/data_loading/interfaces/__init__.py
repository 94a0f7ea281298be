"""One file format each: reading subjects, and writing predictions onto their grid."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from miscnn.data_loading.interfaces.base import Abstract_IO, DataInterface
from miscnn.data_loading.interfaces.dicom import DICOM_interface, DICOMInterface
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.interfaces.image import Image_interface, ImageInterface
from miscnn.data_loading.interfaces.itk import ITKInterface
from miscnn.data_loading.interfaces.memory import Dictionary_interface, DictionaryInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.interfaces.nifti import NIFTI_interface, NIfTIInterface
from miscnn.data_loading.interfaces.nifti_slices import (
    NIfTISliceInterface,
    NIFTIslicer_interface,
)
from miscnn.data_loading.interfaces.numpy_files import NumPyInterface

__all__ = [
    "Abstract_IO",
    "DICOMInterface",
    "DICOM_interface",
    "DataInterface",
    "DictionaryInterface",
    "Dictionary_interface",
    "FileInterface",
    "ITKInterface",
    "ImageInterface",
    "Image_interface",
    "MergedLabels",
    "NIFTI_interface",
    "NIFTIslicer_interface",
    "NIfTIInterface",
    "NIfTISliceInterface",
    "NumPyInterface",
    "get_data_interface_from_file_term",
    "miscnn_data_interfaces",
]

miscnn_data_interfaces: Mapping[str, type[DataInterface]] = MappingProxyType(
    {
        "NIFTI": NIfTIInterface,
        "DICT": DictionaryInterface,
        "NIFTI_S": NIfTISliceInterface,
        "IMG": ImageInterface,
        "DICOM": DICOMInterface,
        "ITK": ITKInterface,
        "NUMPY": NumPyInterface,
    }
)
"""Interfaces by short names: those of MIScnn 1.x first."""


def get_data_interface_from_file_term(file_term: str) -> type[DataInterface] | None:
    """Return the interface that reads files with this ending, such as ``".nii.gz"``, or None.

    Parameters
    ----------
    file_term : str
        End of a file name.
    """
    for interface in miscnn_data_interfaces.values():
        if interface.check_file_termination(file_term):
            return interface
    return None
