"""Invertible operations on whole samples."""

from __future__ import annotations

from miscnn.processing.subfunctions.abstract_subfunction import Abstract_Subfunction
from miscnn.processing.subfunctions.base import PointwiseSubfunction, Subfunction
from miscnn.processing.subfunctions.clipping import Clipping
from miscnn.processing.subfunctions.crop_to_foreground import CropToForeground
from miscnn.processing.subfunctions.normalization import Normalization
from miscnn.processing.subfunctions.orientation import Orientation
from miscnn.processing.subfunctions.padding import Padding
from miscnn.processing.subfunctions.resampling import Resampling
from miscnn.processing.subfunctions.resize import Resize
from miscnn.processing.subfunctions.transform_hu import TransformHU
from miscnn.processing.subfunctions.windowing import Windowing

__all__ = [
    "Abstract_Subfunction",
    "Clipping",
    "CropToForeground",
    "Normalization",
    "Orientation",
    "Padding",
    "PointwiseSubfunction",
    "Resampling",
    "Resize",
    "Subfunction",
    "TransformHU",
    "Windowing",
]
