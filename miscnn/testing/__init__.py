"""Checks that a subclass of the user's keeps what its base class promises."""

from __future__ import annotations

from miscnn.testing.subfunction import check_subfunction

__all__ = ["check_subfunction"]
