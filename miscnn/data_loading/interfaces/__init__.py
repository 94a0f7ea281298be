"""One file format each: reading subjects, and writing predictions onto their grid."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from miscnn.data_loading.interfaces.base import Abstract_IO, DataInterface
from miscnn.data_loading.interfaces.memory import Dictionary_interface, DictionaryInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.interfaces.nifti import NIFTI_interface, NIfTIInterface

__all__ = [
    "Abstract_IO",
    "DataInterface",
    "DictionaryInterface",
    "Dictionary_interface",
    "MergedLabels",
    "NIFTI_interface",
    "NIfTIInterface",
    "get_data_interface_from_file_term",
    "miscnn_data_interfaces",
]

miscnn_data_interfaces: Mapping[str, type[DataInterface]] = MappingProxyType(
    {"NIFTI": NIfTIInterface, "DICT": DictionaryInterface}
)
"""Interfaces by the short names of MIScnn 1.x."""


def get_data_interface_from_file_term(file_term: str) -> type[DataInterface] | None:
    """Return the interface that reads files with this ending, such as ``".nii.gz"``, or None."""
    for interface in miscnn_data_interfaces.values():
        if interface.check_file_termination(file_term):
            return interface
    return None
