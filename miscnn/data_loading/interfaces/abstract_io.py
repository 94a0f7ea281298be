"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.base`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.base import Abstract_IO, DataInterface

__all__ = ["Abstract_IO", "DataInterface"]
