"""Module name of MIScnn 1.x for :mod:`miscnn.data_loading.interfaces.memory`."""

from __future__ import annotations

from miscnn.data_loading.interfaces.memory import Dictionary_interface, DictionaryInterface

__all__ = ["DictionaryInterface", "Dictionary_interface"]
