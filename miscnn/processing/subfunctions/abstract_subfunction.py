"""The place of the base class in MIScnn 1.x."""

from __future__ import annotations

from miscnn.processing.subfunctions.base import Subfunction

Abstract_Subfunction = Subfunction

__all__ = ["Abstract_Subfunction"]
