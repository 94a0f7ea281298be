"""Connected components of two masks, their sizes and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

Counts = NDArray[np.int64]

_SLAB = 1 << 22
"""Voxels whose numbers are looked at at once; whole planes, at least one."""
_DENSE = 1 << 20
"""Cells of a table of pairs up to which it is counted in full: no sorting then."""
_MORE_PAIRS = 1e-9
"""What a pair counts beside its IoU, so that of equal totals the one with more pairs wins."""


@dataclass(frozen=True)
class Overlaps:
    """Two sets of components, numbered from 0, the largest first.

    Attributes
    ----------
    sizes : pair of ndarray of int64
        Number of voxels of each component of the first and of the second mask.
    first, second : ndarray of int64
        The pairs that overlap.
    common : ndarray of int64
        Number of voxels that a pair has in common.
    """

    sizes: tuple[Counts, Counts]
    first: Counts
    second: Counts
    common: Counts

    @property
    def union(self) -> Counts:
        """Number of voxels that are in either of a pair."""
        return self.sizes[0][self.first] + self.sizes[1][self.second] - self.common

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        return self.common / self.union


def overlaps(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Overlaps:
    """Find the components (26 neighbours in 3D, 8 in 2D) of two masks and their overlaps."""
    if first.ndim == 3 and first.strides[0] < first.strides[-1]:
        first, second = first.T, second.T  # nothing depends on the order of the axes
    (one, n_one), (other, n_other) = _numbered(first), _numbered(second)
    sizes = [np.zeros(n + 1, dtype=np.int64) for n in (n_one, n_other)]
    pairs: list[tuple[Counts, Counts]] = []
    for a, b in _slabs(one, other):
        inside = a != 0, b != 0  # often little of the whole: counting takes longer than looking
        sizes[0] += np.bincount(a[np.flatnonzero(inside[0])], minlength=n_one + 1)
        sizes[1] += np.bincount(b[np.flatnonzero(inside[1])], minlength=n_other + 1)
        both = np.flatnonzero(inside[0] & inside[1])
        pairs.append(_histogram(a[both], b[both], n_one, n_other))
    codes, place = np.unique(
        np.concatenate([np.zeros(0, np.int64), *(code for code, _ in pairs)]), return_inverse=True
    )
    common = np.zeros(codes.size, dtype=np.int64)
    np.add.at(common, place, np.concatenate([np.zeros(0, np.int64), *(n for _, n in pairs)]))
    ranks = [_ranks(each[1:]) for each in sizes]
    return Overlaps(
        sizes=(np.sort(sizes[0][1:])[::-1], np.sort(sizes[1][1:])[::-1]),
        first=ranks[0][codes // (n_other + 1) - 1],
        second=ranks[1][codes % (n_other + 1) - 1],
        common=common,
    )


def match(found: Overlaps, wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions of the pairs that make up the matching of greatest total IoU.

    Parameters
    ----------
    found : Overlaps
    wanted : ndarray of bool
        Which pairs may be matched.

    Notes
    -----
    A pair whose two components are in no other pair is matched at once. The others are a sparse
    assignment problem (Jonker and Volgenant, Computing 38:325, 1987): each component of the first
    mask may also take a place of its own, which stands for no partner.
    """
    allowed = np.flatnonzero(wanted)
    first, second = found.first[allowed], found.second[allowed]
    rivals = np.bincount(first)[first] + np.bincount(second)[second] > 2
    contested = allowed[rivals]
    if not contested.size:
        return allowed
    _, rows = np.unique(found.first[contested], return_inverse=True)
    _, columns = np.unique(found.second[contested], return_inverse=True)
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    # Every row is matched once, so that 1 more for all of them changes nothing: there is no
    # weight of 0, which a sparse matrix cannot hold.
    weights = np.concatenate([1 + _MORE_PAIRS + found.iou[contested], np.ones(n_rows)])
    places = (
        np.concatenate([rows, np.arange(n_rows)]),
        np.concatenate([columns, n_columns + np.arange(n_rows)]),
    )
    problem = coo_array((weights, places), shape=(n_rows, n_columns + n_rows)).tocsr()
    chosen = dict(zip(*min_weight_full_bipartite_matching(problem, maximize=True), strict=True))
    won = np.array([chosen[r] == c for r, c in zip(rows, columns, strict=True)], dtype=bool)
    return np.sort(np.concatenate([allowed[~rivals], contested[won]]))


def _numbered(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    if not mask.size:  # cc3d refuses some empty arrays
        return np.zeros(mask.shape, dtype=np.uint16), 0
    # Numbers, not booleans: of those cc3d (4.1.1) makes wrong components in 2D.
    numbers, count = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8),
        connectivity=26 if mask.ndim == 3 else 8,
        return_N=True,
    )
    return np.ascontiguousarray(numbers), int(count)


def _slabs(one: NDArray[Any], other: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    step = max(1, _SLAB * len(one) // max(one.size, 1))
    for start in range(0, len(one), step):
        yield one[start : start + step].ravel(), other[start : start + step].ravel()


def _histogram(a: NDArray[Any], b: NDArray[Any], n_one: int, n_other: int) -> tuple[Counts, Counts]:
    code = a.astype(np.int64) * (n_other + 1) + b
    if (n_one + 1) * (n_other + 1) > _DENSE:
        return np.unique(code, return_counts=True)
    counts = np.bincount(code)
    codes = np.flatnonzero(counts)
    return codes, counts[codes]


def _ranks(sizes: Counts) -> Counts:
    """Return the place of each component when they are sorted, the largest first."""
    ranks = np.empty(sizes.size, dtype=np.int64)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(sizes.size)
    return ranks
