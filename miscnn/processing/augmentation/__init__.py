"""Random changes of image and labels during training."""

from __future__ import annotations

from miscnn.processing.augmentation.base import Augmentation, PatchGrid
from miscnn.processing.augmentation.compose import Compose
from miscnn.processing.augmentation.ct import CTAugmentation
from miscnn.processing.augmentation.general import Data_Augmentation, GeneralAugmentation
from miscnn.processing.augmentation.multidimensional import MultidimensionalAugmentation

__all__ = [
    "Augmentation",
    "CTAugmentation",
    "Compose",
    "Data_Augmentation",
    "GeneralAugmentation",
    "MultidimensionalAugmentation",
    "PatchGrid",
]
