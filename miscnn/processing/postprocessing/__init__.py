"""What may be done to a finished label map: components, holes."""

from miscnn.processing.postprocessing.base import PostProcessingStep
from miscnn.processing.postprocessing.chain import PostProcessing
from miscnn.processing.postprocessing.fill_holes import FillHoles
from miscnn.processing.postprocessing.keep_largest import KeepLargest
from miscnn.processing.postprocessing.per_class import PerClass
from miscnn.processing.postprocessing.remove_small import RemoveSmall

__all__ = [
    "FillHoles",
    "KeepLargest",
    "PerClass",
    "PostProcessing",
    "PostProcessingStep",
    "RemoveSmall",
]
