"""Keep the largest components."""

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
from miscnn.processing.postprocessing.base import PostProcessingStep, check_label_map
from miscnn.processing.subfunctions._arguments import is_count


class KeepLargest(PostProcessingStep):
    """Keep the largest connected component of each class, or the largest few.

    Parameters
    ----------
    labels : None, "foreground", int, or sequence of int and of sequences of int
        None: every class by itself. ``[1, 2]``: these, each by itself. ``[[1, 2]]``: components
        of the two classes together; what is kept keeps its classes. ``"foreground"``: of all
        classes together. Classes that a label map does not hold are passed over.
    connectivity : {"full", "edges", "faces"}
        Which voxels are neighbours: those that share a corner (26 in 3D, 8 in 2D), an edge (18,
        8), or a face (6, 4).
    number : int
        How many components are kept.
    replace_with : int
        What all others become: background, or a class that is not among ``labels``, which must
        be named then (stray tumour becomes kidney, say).

    Notes
    -----
    Sizes are counted in voxels. Of components of one size those are kept whose first voxel comes
    first, counted along the last axis first, whatever the order in memory. Doing it twice changes
    nothing.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [1, 0, 0, 0]], np.uint8)
    >>> KeepLargest().apply(labels, Geometry(labels.shape)).tolist()
    [[1, 1, 0, 2], [0, 0, 0, 2], [0, 0, 0, 0]]
    """

    def __init__(
        self,
        labels: Labels = None,
        connectivity: str = "full",
        number: int = 1,
        replace_with: int = 0,
    ) -> None:
        check_connectivity(connectivity)
        if not is_count(number):
            raise ConfigurationError(f"number of components must be 1 or more, got {number!r}")
        self.labels = checked_labels(labels)
        self.connectivity = connectivity
        self.number = int(number)
        self.replace_with = checked_replacement(replace_with, named_labels(self.labels))

    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Set all but the largest components to ``replace_with``."""
        check_label_map(labels, geometry)
        check_fits(self.replace_with, labels)
        found = Components(labels, grouped(self.labels, ignore_label), self.connectivity)
        found.write(np.where(_largest(found, self.number), UNCHANGED, self.replace_with))


def _largest(found: Components, number: int) -> NDArray[np.bool_]:
    """Tell which components are the largest of their group; of equal ones those that come first."""
    order = np.lexsort((-found.sizes, found.values))
    groups, starts, counts = np.unique(found.values[order], return_index=True, return_counts=True)
    tied = np.zeros(len(order), dtype=bool)
    for group, start, count in zip(groups, starts, counts, strict=True):
        if count > number:
            last, next_one = found.sizes[order[start + number - 1 : start + number + 1]]
            if last == next_one:
                tied |= (found.values == group) & (found.sizes == last)
    if tied.any():
        order = np.lexsort((found.first_voxels(tied), -found.sizes, found.values))
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    largest = np.zeros(len(order), dtype=bool)
    largest[order[rank < number]] = True
    return largest


def checked_replacement(value: Any, named: set[int]) -> int:
    """Return what removed voxels become.

    Raises
    ------
    ConfigurationError
        If it is no label, or could be removed itself.
    """
    if not is_count(value, 0):
        raise ConfigurationError(f"replace_with is a label, 0 for the background, got {value!r}")
    if value and (not named or value in named):
        raise ConfigurationError(
            f"replace_with={value} is among the classes that the step works on; name others in "
            "labels, such as labels=[2], replace_with=1"
        )
    return int(value)
