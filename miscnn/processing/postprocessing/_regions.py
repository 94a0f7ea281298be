"""Which connected parts of a label map lie beside which."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from miscnn.processing.postprocessing._components import (
    UNCHANGED,
    Components,
    Slab,
    unique_pairs,
)
from miscnn.processing.postprocessing._groups import Group, check_values

_Ids = NDArray[np.int64]


class RegionGraph(Components):
    """All parts of a label map that are connected by faces, background included.

    What is enclosed by a class is found among the parts, not among the voxels: without the
    parts of this class, it is what has no path to the border.

    Attributes
    ----------
    sizes : ndarray of int64
        Number of voxels of each part.
    labels : ndarray of int64
        Label of each part.
    """

    def __init__(self, labels: NDArray[Any]) -> None:
        self._faces: list[_Ids] = []
        self._border: list[_Ids] = []
        super().__init__(labels, _from_one, "faces")
        self.labels = self.values - 1
        # A part that reaches the last plane touches the border there.
        self._at_border = np.zeros(len(self.sizes), dtype=bool)
        if self._border:
            self._at_border[self._root[np.concatenate([*self._border, self._last])]] = True
        self._edges, self._weights = self._joined_edges()

    def _look_at(self, slab: Slab, last: Slab | None) -> None:
        for axis in range(slab.numbers.ndim):
            numbers = np.moveaxis(slab.numbers, axis, 0)
            self._add_faces(slab, numbers[:-1], slab, numbers[1:])
            if axis:
                self._border.append(slab.ids(np.unique(numbers[[0, -1]])))
        if last is None:
            self._border.append(slab.ids(np.unique(slab.numbers[0])))
        else:
            self._add_faces(last, last.numbers[-1], slab, slab.numbers[0])
        self._last = slab.ids(np.unique(slab.numbers[-1]))

    def _add_faces(
        self, slab: Slab, numbers: NDArray[Any], other_slab: Slab, others: NDArray[Any]
    ) -> None:
        differ = numbers != others if slab is other_slab else np.ones(numbers.shape, bool)
        if not differ.any():
            return
        a, b = slab.ids(numbers[differ]), other_slab.ids(others[differ])
        found, counts = unique_pairs(np.minimum(a, b), np.maximum(a, b))
        self._faces.append(np.concatenate([found, counts[np.newaxis]]))

    def _joined_edges(self) -> tuple[_Ids, _Ids]:
        if not self._faces:
            return np.zeros((2, 0), dtype=np.int64), np.zeros(0, dtype=np.int64)
        faces = np.concatenate(self._faces, axis=1)
        edges = np.sort(self._root[faces[:2]], axis=0)
        apart = edges[0] != edges[1]
        count = len(self.sizes)
        summed = coo_array((faces[2, apart], tuple(edges[:, apart])), shape=(count, count)).tocsr()
        found = summed.tocoo()
        return np.stack(found.coords).astype(np.int64), found.data

    def fill(self, groups: list[Group], maximum: float | None) -> None:
        """Give background that groups of classes enclose to the innermost of them.

        Parameters
        ----------
        maximum : float, optional
            Number of voxels; larger parts of the background are left.
        """
        background = (self.labels == 0) & ~self._at_border
        if maximum is not None:
            background &= self.sizes <= maximum
        if not background.any():
            return
        new = np.full(len(self.sizes), UNCHANGED)
        innermost = np.full(len(self.sizes), np.iinfo(np.int64).max)
        for group in groups:
            size, label = self._enclosed(group)
            # The classes come in ascending order, so that of equal ones the lowest stays.
            better = background & (size > 0) & (size < innermost)
            innermost[better], new[better] = size[better], label[better]
        if (new != UNCHANGED).any():
            self.write(new)

    def _enclosed(self, group: Group) -> tuple[_Ids, _Ids]:
        """Return how many voxels are enclosed together with each part, 0 if it is not enclosed.

        And the class of the group that has most faces towards it (of equal ones the lowest).
        """
        wall = np.isin(self.labels, group)
        count = len(self.sizes)
        free = ~wall[self._edges].any(axis=0)
        links = coo_array((np.ones(int(free.sum()), bool), tuple(self._edges[:, free])),
                          shape=(count, count))  # fmt: skip
        n_holes, hole = connected_components(links, directed=False)
        is_open = np.zeros(n_holes, dtype=bool)
        is_open[hole[self._at_border & ~wall]] = True
        sizes = np.zeros(n_holes, dtype=np.int64)
        np.add.at(sizes, hole, np.where(wall, 0, self.sizes))
        sizes[is_open] = 0
        label = np.full(count, group[0])
        if len(group) > 1:
            label = self._most_faces(group, wall, hole, n_holes)[hole]
        return sizes[hole], label

    def _most_faces(self, group: Group, wall: NDArray[np.bool_], hole: _Ids, n_holes: int) -> _Ids:
        ordered = np.array(sorted(group))
        beside = wall[self._edges].sum(axis=0) == 1
        edges = self._edges[:, beside]
        inner = np.where(wall[edges[0]], edges[1], edges[0])
        outer = np.where(wall[edges[0]], edges[0], edges[1])
        place = np.searchsorted(ordered, self.labels[outer])
        faces = coo_array(
            (self._weights[beside], (hole[inner], place)), shape=(n_holes, len(ordered))
        ).tocsr()
        most: _Ids = ordered[np.asarray(faces.argmax(axis=1)).ravel()]
        return most


def _from_one(part: NDArray[Any]) -> NDArray[Any]:
    """Count the background as a part of its own."""
    check_values(part)
    return part.astype(np.uint32) + np.uint32(1)
