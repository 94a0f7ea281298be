"""Remove small components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.processing.postprocessing._components import (
    UNCHANGED,
    Components,
    check_connectivity,
    check_fits,
)
from miscnn.processing.postprocessing._groups import (
    Labels,
    checked_labels,
    grouped,
    named_labels,
)
from miscnn.processing.postprocessing._sizes import check_size, voxels
from miscnn.processing.postprocessing.base import PostProcessingStep, check_label_map
from miscnn.processing.postprocessing.keep_largest import checked_replacement


class RemoveSmall(PostProcessingStep):
    """Remove connected components below a size.

    Parameters
    ----------
    minimum_ml : float, optional
        For volumes, in millilitres: smaller components are removed, those of just this size
        stay.
    labels, connectivity, replace_with
        As in :class:`~miscnn.processing.postprocessing.KeepLargest`. With classes taken together,
        the volume is that of all of them.
    minimum_mm2 : float, optional
        For 2D images, in square millimetres. A step that is given both takes what it meets.

    Notes
    -----
    A voxel's size is that of the geometry, exact on sheared grids too. Doing it twice changes
    nothing.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], np.uint8)
    >>> grid = Geometry.from_spacing(labels.shape, (2.0, 2.0))  # mm
    >>> RemoveSmall(minimum_mm2=10).apply(labels, grid).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """

    def __init__(
        self,
        minimum_ml: float | None = None,
        labels: Labels = None,
        connectivity: str = "full",
        replace_with: int = 0,
        *,
        minimum_mm2: float | None = None,
    ) -> None:
        if minimum_ml is None and minimum_mm2 is None:
            raise ConfigurationError(
                "RemoveSmall needs a size: minimum_ml for volumes, minimum_mm2 for 2D images"
            )
        check_size("minimum_ml", minimum_ml)
        check_size("minimum_mm2", minimum_mm2)
        check_connectivity(connectivity)
        self.minimum_ml = minimum_ml
        self.minimum_mm2 = minimum_mm2
        self.labels = checked_labels(labels)
        self.connectivity = connectivity
        self.replace_with = checked_replacement(replace_with, named_labels(self.labels))

    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Set small components to ``replace_with``.

        Raises
        ------
        ConfigurationError
            If the minimum for this kind of image was not given.
        """
        check_label_map(labels, geometry)
        check_fits(self.replace_with, labels)
        minimum = voxels(geometry, "minimum", self.minimum_ml, self.minimum_mm2)
        found = Components(labels, grouped(self.labels, ignore_label), self.connectivity)
        found.write(np.where(found.sizes < minimum, self.replace_with, UNCHANGED))
