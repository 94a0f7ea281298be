"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.nifti`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.nifti import NIFTI_interface, NIfTIInterface

__all__ = ["NIFTI_interface", "NIfTIInterface"]
