"""What losses of surfaces and skeletons share: the background is left out beforehand."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from miscnn._keras import ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.losses.base import RegionLoss


class ForegroundLoss(RegionLoss):
    """Base of region losses with the foreground as default, and much to compute per class."""

    def __init__(self, *, include_background: bool = False, **kwargs: Any) -> None:
        super().__init__(include_background=include_background, **kwargs)

    @abstractmethod
    def class_index(self, y_true: Any, y_pred: Any, counting: Any) -> Any:
        """Return the agreement ``(batch or 1, classes)`` for those classes that count.

        ``counting`` is 1 for the voxels that count, ``(batch, …, 1)``.
        """

    def index(self, y_true: Any, y_pred: Any) -> Any:
        """Return the agreement, without meaning for a background that does not count."""
        counting = self.counting_voxels(y_true)
        if not self.first_class:
            return self.class_index(y_true, y_pred, counting)
        if y_pred.shape[-1] < 2:
            raise ConfigurationError(
                "include_background=False leaves no class: the network predicts only one"
            )
        found = self.class_index(y_true[..., 1:], y_pred[..., 1:], counting)
        return ops.pad(found, ((0, 0), (1, 0)))
