"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.image`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.image import Image_interface, ImageInterface

__all__ = ["ImageInterface", "Image_interface"]
