"""Where MIScnn 1.x kept ``Data_Augmentation``."""

from __future__ import annotations

from miscnn.processing.augmentation.general import Data_Augmentation

__all__ = ["Data_Augmentation"]
