"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.dicom`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.dicom import DICOM_interface, DICOMInterface

__all__ = ["DICOMInterface", "DICOM_interface"]
