"""What every step of post-processing does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError


class PostProcessingStep(Configurable, ABC):
    """One change of a finished label map, on the grid of the image.

    Contract
    --------
    - :meth:`edit` changes the array it is handed, and nothing else; :meth:`apply` makes the
      copy. Shape and type stay as they are.
    - Voxels of the ignore label, if there is one, stay as they are.
    - The result belongs to the patient, not to the file: with axes of the array mirrored or
      exchanged, and the geometry with them, the same voxels change. Directions are taken from
      the geometry, sizes from its spacing.
    - A step that works on some classes takes them as its argument ``labels``, None for all; it
      can then be used in :class:`~miscnn.processing.postprocessing.PerClass`.
    """

    @abstractmethod
    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Change a label map in place.

        Parameters
        ----------
        labels : ndarray of int
            Shape (x, y, z) or (x, y), background 0. May be a memory-mapped array.
        geometry : Geometry
            Its grid.
        ignore_label : int, optional
            Value that is no class and must stay where it is.
        """

    def apply(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> NDArray[Any]:
        """Return a label map with the step done, in an array of its own.

        Parameters and dtype as in :meth:`edit`.

        Raises
        ------
        ConfigurationError
            If this is no label map on that grid, or it does not fit the step's arguments.
        """
        check_label_map(labels, geometry)
        result = np.array(labels, subok=False)
        self.edit(result, geometry, ignore_label)
        return result

    def for_label(self, label: int) -> Self:
        """Return the same step for one class only.

        Raises
        ------
        ConfigurationError
            If the step has no argument ``labels``, or it has been given.
        """
        config = self.get_config()
        name = type(self).__name__
        if "labels" not in config:
            raise ConfigurationError(
                f"{name} has no argument labels, so that it cannot be done for class {label} only; "
                "let it take labels=None, or put it beside PerClass"
            )
        if config["labels"] is not None:
            raise ConfigurationError(
                f"{name} for class {label} names its labels {config['labels']!r} as well; leave "
                "labels out: PerClass says which class it is for"
            )
        step = type(self).from_config({**config, "labels": [label]})
        step.set_state(self.get_state())
        return step


def check_label_map(labels: NDArray[Any], geometry: Geometry) -> None:
    """Raise ConfigurationError unless an array is a label map on that grid."""
    if labels.shape != geometry.shape:
        raise ConfigurationError(
            f"the label map has shape {labels.shape}, its geometry {geometry.shape}; "
            "post-processing works on label maps without channel axis on the grid of the image"
        )
    if labels.dtype.kind not in "biu":
        raise ConfigurationError(
            f"post-processing works on label maps of whole numbers, got {labels.dtype}; take the "
            "argmax of probabilities first"
        )
