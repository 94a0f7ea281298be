"""Fill holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import release
from miscnn.data_loading.geometry import Geometry
from miscnn.processing.postprocessing._groups import Labels, checked_labels, groups_of
from miscnn.processing.postprocessing._regions import RegionGraph
from miscnn.processing.postprocessing._sizes import check_size, voxels
from miscnn.processing.postprocessing.base import PostProcessingStep, check_label_map


class FillHoles(PostProcessingStep):
    """Fill background that a class encloses.

    What is not of a class falls into parts that are connected by faces. A part that does not
    reach the border of the image is enclosed by that class, and the background in it becomes
    that class. Only background is filled; other classes inside stay what they are.

    Parameters
    ----------
    labels : None, "foreground", int, or sequence of int and of sequences of int
        Which classes enclose, as in :class:`~miscnn.processing.postprocessing.KeepLargest`. A
        hole that only several classes taken together enclose becomes that of them which has the
        most faces towards it (of equal ones the lowest label).
    maximum_ml : float, optional
        For volumes, in millilitres: larger connected pieces of background are left. Default: all
        are filled.
    slicewise : bool
        Look at each slice across the geometry's ``slice_axis`` by itself, so that what is open
        towards the next slice is a hole too. Sizes are those within the slice.
    maximum_mm2 : float, optional
        For 2D images, in square millimetres.

    Notes
    -----
    For a single class it is what ``scipy.ndimage.binary_fill_holes`` does. Where several
    classes enclose one another, the innermost fills (the hole in a tumour in a liver becomes
    tumour): that for which the enclosed part has the fewest voxels. The order of the classes does
    not count, and doing it twice changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1]], np.uint8)
    >>> FillHoles().apply(labels, Geometry(labels.shape)).tolist()
    [[1, 1, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1]]
    """

    def __init__(
        self,
        labels: Labels = None,
        maximum_ml: float | None = None,
        slicewise: bool = False,
        *,
        maximum_mm2: float | None = None,
    ) -> None:
        check_size("maximum_ml", maximum_ml)
        check_size("maximum_mm2", maximum_mm2)
        self.labels = checked_labels(labels)
        self.maximum_ml = maximum_ml
        self.maximum_mm2 = maximum_mm2
        self.slicewise = bool(slicewise)

    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Fill the holes.

        Raises
        ------
        ConfigurationError
            If the maximum for the other kind of image was given only.
        """
        check_label_map(labels, geometry)
        maximum = None
        if self.maximum_ml is not None or self.maximum_mm2 is not None:
            maximum = voxels(geometry, "maximum", self.maximum_ml, self.maximum_mm2)
        if not (self.slicewise and labels.ndim == 3):
            self._fill(labels, maximum, ignore_label)
            return
        for plane in np.moveaxis(labels, geometry.slice_axis, 0):
            if plane.any():
                self._fill(plane, maximum, ignore_label)
            release(plane)

    def _fill(self, labels: NDArray[Any], maximum: float | None, ignore_label: int | None) -> None:
        graph = RegionGraph(labels)
        graph.fill(groups_of(self.labels, graph.labels.tolist(), ignore_label), maximum)
