"""Several steps, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.processing.postprocessing.base import PostProcessingStep
from miscnn.processing.postprocessing.per_class import checked_steps


class PostProcessing(PostProcessingStep):
    """What is done to a finished label map, step by step.

    Parameters
    ----------
    steps : sequence of PostProcessingStep
        Done in this order; none leave label maps as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.processing.postprocessing import FillHoles, KeepLargest
    >>> labels = np.array([[1, 1, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]], np.uint8)
    >>> steps = PostProcessing([KeepLargest(), FillHoles()])
    >>> steps.apply(labels, Geometry(labels.shape)).tolist()
    [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    """

    def __init__(self, steps: Sequence[PostProcessingStep] = ()) -> None:
        self.steps = checked_steps(steps, "PostProcessing")

    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Do all steps."""
        for step in self.steps:
            step.edit(labels, geometry, ignore_label)
