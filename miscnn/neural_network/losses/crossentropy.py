"""Cross-entropy."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network.losses.base import SegmentationLoss


@keras.saving.register_keras_serializable(package="miscnn")
class CrossEntropy(SegmentationLoss):
    """Categorical cross-entropy: the mean of −log p of the true class over the voxels.

    1e-7 is added to the probabilities, so that value (at most 16.1) and gradient are finite
    for any of them. Absent classes cost nothing beyond the voxels where they are predicted.
    """

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the voxels."""
        return self.crossentropy(y_true, y_pred)
