"""From regions that may overlap to one label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom.combinations import combination_label
from miscnn.exceptions import ConfigurationError, LabelError

Overlap = Literal["error", "last", "first", "combinations"]
"""What becomes of voxels in several classes.

``"error"`` refuses them; ``"last"`` and ``"first"`` let the structure win that stands later or
earlier in the mapping; ``"combinations"`` gives each set of classes a label of its own, see
:mod:`miscnn.data_loading.dicom.combinations`.
"""

_LARGEST = 2**32 - 1


def check_overlap(overlap: str) -> None:
    """Refuse an option that does not exist, before a file is read."""
    if overlap not in get_args(Overlap):
        raise ConfigurationError(
            f"overlap={overlap!r}; expected one of {', '.join(map(repr, get_args(Overlap)))}"
        )


def with_background(labels: NDArray[Any], background: int, index: str) -> NDArray[Any]:
    """Return labels with another value than 0 where no structure is, in a type that holds it.

    Raises
    ------
    LabelError
        If it is the label of a structure.
    """
    if not background:
        return labels
    if np.any(labels == background):
        raise LabelError(
            index,
            f"mask_background={background} is the label of a structure too; choose another value",
        )
    dtype = np.result_type(labels.dtype, np.min_scalar_type(background))
    return np.where(labels == 0, np.asarray(background, dtype), labels)


class Regions:
    """Voxels and the set of regions that each belongs to.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    names : sequence of str
        What the regions are called in messages.
    classes : sequence of int
        The class of each region, from 1 on; several may be of one class.

    Notes
    -----
    Every set of regions that occurs has a number; a voxel takes one byte as long as there are no
    more than 256 sets. The order of the regions, not of the calls, says which is first.
    """

    def __init__(
        self, shape: tuple[int, int, int], names: Sequence[str], classes: Sequence[int]
    ) -> None:
        self._names = list(names)
        self._classes = list(classes)
        self._sets = [0]  # bit r: region r is in the set
        self._number = {0: 0}
        self._voxels = [0]
        # slices are filled one after the other: a slice lies together in memory
        self._map: NDArray[Any] = np.zeros(shape, dtype=np.uint8, order="F")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volume."""
        x, y, z = self._map.shape
        return x, y, z

    def add(self, box: tuple[Any, ...], mask: NDArray[np.bool_], region: int) -> None:
        """Say that voxels belong to a region: those of ``map[box]`` where ``mask`` is true."""
        before = self._map[box][mask]
        counts = np.bincount(before)
        present = np.flatnonzero(counts)
        table = np.zeros(len(counts), dtype=np.uint32)
        for number in present.tolist():
            table[number] = self._including(number, region, int(counts[number]))
        if len(self._sets) - 1 > np.iinfo(self._map.dtype).max:
            self._map = self._map.astype(np.min_scalar_type(len(self._sets) - 1), order="F")
        self._map[box][mask] = table[before].astype(self._map.dtype)

    def voxels(self, region: int) -> int:
        """Count the voxels of a region."""
        pairs = zip(self._sets, self._voxels, strict=True)
        return sum(n for members, n in pairs if members >> region & 1)

    def labels(self, overlap: Overlap, index: str) -> NDArray[Any]:
        """Return the label map.

        Raises
        ------
        LabelError
            If voxels belong to several classes and ``overlap`` is ``"error"``.
        """
        if overlap == "error":
            self._refuse_overlaps(index)
        table = [self._label(members, overlap) for members in self._sets]
        if max(table) > _LARGEST:
            raise LabelError(
                index,
                f"the voxels of overlapping structures need labels up to {max(table)}; name fewer "
                "structures, or choose overlap='last' or 'first'",
            )
        dtype = np.min_scalar_type(max(*table, *self._classes, 1))
        if table == list(range(len(table))):
            return self._map.astype(dtype, copy=False)
        result = np.empty(self._map.shape, dtype=dtype, order="F")
        lookup = np.array(table, dtype=dtype)
        for k in range(result.shape[2]):  # an index array of the whole volume takes 8 bytes a voxel
            result[..., k] = lookup[self._map[..., k]]
        return result

    def _including(self, number: int, region: int, count: int) -> int:
        """Move voxels from one set to that with one more region; return its number."""
        members = self._sets[number] | 1 << region
        if members not in self._number:
            self._number[members] = len(self._sets)
            self._sets.append(members)
            self._voxels.append(0)
        larger = self._number[members]
        self._voxels[number] -= count
        self._voxels[larger] += count
        return larger

    def _members(self, members: int) -> list[int]:
        return [region for region in range(len(self._names)) if members >> region & 1]

    def _label(self, members: int, overlap: Overlap) -> int:
        classes = [self._classes[region] for region in self._members(members)]
        if not classes:
            return 0
        if overlap == "combinations":
            return combination_label(classes, self._classes)
        return classes[0] if overlap == "first" else classes[-1]

    def _refuse_overlaps(self, index: str) -> None:
        shared: dict[tuple[int, int], int] = {}
        for members, count in zip(self._sets, self._voxels, strict=True):
            regions = self._members(members)
            for i, a in enumerate(regions):
                for b in regions[i + 1 :]:
                    if count and self._classes[a] != self._classes[b]:
                        shared[a, b] = shared.get((a, b), 0) + count
        if not shared:
            return
        (a, b), count = max(shared.items(), key=lambda item: item[1])
        others = f" ({len(shared) - 1} other pairs overlap too)" if len(shared) > 1 else ""
        raise LabelError(
            index,
            f"{self._names[a]!r} (class {self._classes[a]}) and {self._names[b]!r} (class "
            f"{self._classes[b]}) share {count} voxels{others}, but a voxel has one label; choose "
            "overlap='last' or 'first' (which of them in the mapping wins) or 'combinations' (each "
            "set of classes gets a label of its own), or leave one out of structures",
        )
