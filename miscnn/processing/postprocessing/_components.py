"""Connected components of arrays of any size: slab by slab, joined where slabs meet.

Memory is that of a slab and of a few numbers for each component, whatever the array's size;
slabs of mapped files are released behind.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from miscnn._scratch import release
from miscnn.exceptions import ConfigurationError
from miscnn.processing.subfunctions._arguments import check_choice

# Number of neighbours in 2D and 3D, as cc3d counts them.
CONNECTIVITIES = {"faces": (4, 6), "edges": (8, 18), "full": (8, 26)}
UNCHANGED = -1

_SLAB = 1 << 22
"""Voxels that are worked on at once; the planes of a slab are complete."""

_Ids = NDArray[np.int64]
Values = Callable[[NDArray[Any]], NDArray[Any]]
"""Which value each voxel of a slab counts as; 0 belongs to no component."""


def check_connectivity(connectivity: Any) -> None:
    """Raise ConfigurationError for what is no connectivity."""
    check_choice("connectivity", connectivity, tuple(CONNECTIVITIES))


@dataclass(frozen=True)
class Slab:
    """A part of the array, its axes in the order of memory.

    ``numbers`` are those of the components in this slab from 1 on, 0 where there is none.
    ``offset`` is the number of components in the slabs before.
    """

    start: int
    part: NDArray[Any]
    values: NDArray[Any]
    numbers: NDArray[np.unsignedinteger[Any]]
    offset: int
    count: int

    def ids(self, numbers: NDArray[Any]) -> _Ids:
        """Return what the components of all slabs are counted by, from 0 on, of some numbers."""
        return numbers.astype(np.int64) + (self.offset - 1)


class Components:
    """The connected components of voxels of the same value, numbered from 0.

    Parameters
    ----------
    array : ndarray
        With 2 or 3 axes.
    values : callable
        Turns a slab into what its voxels count as, unsigned integers.
    connectivity : {"faces", "edges", "full"}

    Attributes
    ----------
    sizes, values : ndarray of int64
        Number of voxels and value of each component.
    """

    def __init__(self, array: NDArray[Any], values: Values, connectivity: str) -> None:
        self._shape = array.shape
        self._axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        self._array = array.transpose(self._axes)
        self._values = values
        self._neighbours = CONNECTIVITIES[connectivity][array.ndim - 2]
        self._steps = _steps(array.ndim - 1, connectivity)
        self._counts: list[int] = []
        self._join()

    def _join(self) -> None:
        sizes: list[_Ids] = []
        values: list[_Ids] = []
        pairs: list[_Ids] = []
        last: Slab | None = None
        for slab in self._slabs():
            inside = np.flatnonzero(slab.numbers)  # often few
            numbers = slab.numbers.ravel()[inside]
            sizes.append(np.bincount(numbers, minlength=slab.count + 1)[1:])
            value = np.zeros(slab.count + 1, dtype=np.int64)
            value[numbers] = slab.values.ravel()[inside]
            values.append(value[1:])
            if last is not None:
                pairs.extend(self._touching(last, slab))
            self._look_at(slab, last)
            last = slab
            self._counts.append(slab.count)
        total = sum(self._counts)
        joined = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
        links = coo_array((np.ones(joined.shape[1], bool), tuple(joined)), shape=(total, total))
        count, root = connected_components(links, directed=False)
        self._root = root.astype(np.int64)
        self.sizes = np.zeros(count, dtype=np.int64)
        np.add.at(self.sizes, self._root, _concatenated(sizes))
        self.values = np.zeros(count, dtype=np.int64)
        self.values[self._root] = _concatenated(values)

    def _look_at(self, slab: Slab, last: Slab | None) -> None:
        """Take down more about a slab, and how it lies on the one before."""

    def _touching(self, last: Slab, slab: Slab) -> Iterator[_Ids]:
        """Yield pairs of components that are one, since they touch where two slabs meet."""
        for step in self._steps:
            one, other = _displaced(step)
            a, b = last.numbers[-1][one], slab.numbers[0][other]
            same = (last.values[-1][one] == slab.values[0][other]) & (a > 0)
            yield unique_pairs(last.ids(a[same]), slab.ids(b[same]))[0]

    def _slabs(self, wanted: NDArray[np.bool_] | None = None) -> Iterator[Slab]:
        """Yield all slabs; or those with any of some components, once these are joined."""
        length = len(self._array)
        step = max(1, _SLAB * length // max(self._array.size, 1))
        offset = 0
        for position, start in enumerate(range(0, length, step)):
            part = self._array[start : start + step]
            if wanted is not None:
                ids = slice(offset, offset + self._counts[position])
                if not wanted[self._root[ids]].any():
                    offset = ids.stop
                    continue
            values = np.ascontiguousarray(self._values(part))
            # Of boolean arrays cc3d (4.1.1) makes wrong components: [[1, 0, 0, 1]] with 8
            # neighbours, and an error of [[[1, 0, 1]]] with 26. Those of numbers are right.
            numbers, count = cc3d.connected_components(
                values.view(np.uint8) if values.dtype.kind == "b" else values,
                connectivity=self._neighbours,
                return_N=True,
            )
            yield Slab(start, part, values, numbers, offset, count)
            offset += count
            release(part)

    def first_voxels(self, wanted: NDArray[np.bool_]) -> _Ids:
        """Return the position of the first voxel of some components; 0 for all others.

        Voxels are counted along the array's last axis first, whatever the order in memory.
        """
        far = np.iinfo(np.int64).max
        first = np.where(wanted, far, 0)
        weights = [int(np.prod(self._shape[axis + 1 :], dtype=np.int64)) for axis in self._axes]
        for slab in self._slabs(wanted):
            places = np.nonzero(self._of_slab(wanted, slab, False)[slab.numbers])
            along = sum((p * w for p, w in zip(places, weights, strict=True)), np.int64(0))
            roots = self._root[slab.ids(slab.numbers[places])]
            np.minimum.at(first, roots, along + slab.start * weights[0])
        return first

    def write(self, labels: NDArray[np.int64]) -> None:
        """Set the voxels of each component to a label, or leave those of ``UNCHANGED``."""
        for slab in self._slabs(labels != UNCHANGED):
            new = self._of_slab(labels.astype(np.int32), slab, UNCHANGED)[slab.numbers]
            changed = new != UNCHANGED
            slab.part[changed] = new[changed]

    def _of_slab(self, known: NDArray[Any], slab: Slab, none: int) -> NDArray[Any]:
        """Return what is known of components by their numbers in a slab."""
        roots = self._root[slab.offset : slab.offset + slab.count]
        table: NDArray[Any] = np.append(known.dtype.type(none), known[roots])
        return table


def unique_pairs(one: _Ids, other: _Ids) -> tuple[_Ids, _Ids]:
    """Return the different pairs of two lists of numbers from 0 on, and how often each is there."""
    base = int(other.max(initial=0)) + 1
    found, counts = np.unique(one * base + other, return_counts=True)
    return np.stack(np.divmod(found, base)), counts


def check_fits(label: int, labels: NDArray[Any]) -> None:
    """Raise ConfigurationError if a label map cannot hold a label."""
    highest = 1 if labels.dtype.kind == "b" else np.iinfo(labels.dtype).max
    if label > highest:
        raise ConfigurationError(
            f"label maps of {labels.dtype} hold labels up to {highest}, replace_with is {label}"
        )


def _steps(ndim: int, connectivity: str) -> list[tuple[int, ...]]:
    """Return how voxels of neighbouring planes may be displaced and still be neighbours."""
    most = {"faces": 0, "edges": 1, "full": ndim}[connectivity]
    steps = itertools.product((-1, 0, 1), repeat=ndim)
    return [step for step in steps if sum(map(abs, step)) <= most]


def _displaced(step: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a plane, and the one displaced by a step against it, lie on each other."""
    one = tuple(slice(max(-s, 0), -s if s > 0 else None) for s in step)
    other = tuple(slice(max(s, 0), s if s < 0 else None) for s in step)
    return one, other


def _concatenated(parts: list[_Ids]) -> _Ids:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
