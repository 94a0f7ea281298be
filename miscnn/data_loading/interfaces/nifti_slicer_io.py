"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.nifti_slices`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.nifti_slices import NIfTISliceInterface, NIFTIslicer_interface

__all__ = ["NIFTIslicer_interface", "NIfTISliceInterface"]
