"""A subject after the expensive part of its preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import json_values
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import SampleError

# Voxels per class that foreground sampling chooses from; more would not change a training.
_MAX_POSITIONS = 10_000


@dataclass(frozen=True)
class PreparedSample:
    """What batches are cut from.

    Attributes
    ----------
    index : str
    image : array_like
        ``(…, c)``: a NumPy array, or an array on disk that is sliced like one.
    labels : array_like
        Unsigned integers, without channel axis.
    geometry : Geometry
        The grid of both.
    details : mapping
        What the interface told of the subject, as far as JSON holds it.
    fill : ndarray
        Per channel, the image's minimum: the value outside of the image.
    positions : array_like
        ``(n, axes)``: up to 10,000 voxels of each class that occurs, background excluded,
        drawn at random and sorted by class. Voxels of the ignore label are of none.
    class_rows : mapping of int to pair of int
        Per class, the first row of :attr:`positions` and the one after the last.
    """

    index: str
    image: Any
    labels: Any
    geometry: Geometry
    details: Mapping[str, Any]
    fill: NDArray[np.float32]
    positions: Any
    class_rows: Mapping[int, tuple[int, int]]

    @classmethod
    def from_sample(cls, sample: Sample, rng: np.random.Generator) -> PreparedSample:
        """Take over the arrays of a sample that has a segmentation."""
        if sample.segmentation is None:
            raise SampleError(
                sample.index, "has no segmentation, which training and validation need"
            )
        image = np.ascontiguousarray(sample.image)
        labels = np.ascontiguousarray(sample.segmentation[..., 0])
        axes = tuple(range(labels.ndim))
        positions, class_rows = _class_positions(labels, rng, sample.ignore_label)
        return cls(
            index=sample.index,
            image=image,
            labels=labels,
            geometry=sample.geometry,
            details=json_values(sample.details),
            fill=image.min(axis=axes).astype(np.float32),
            positions=positions,
            class_rows=class_rows,
        )

    def draw_foreground(self, rng: np.random.Generator, without: int = 0) -> tuple[int, ...] | None:
        """Draw a class of this sample's, then one of its voxels; None if there is no class.

        Parameters
        ----------
        rng : numpy.random.Generator
        without : int
            A class that is not drawn.
        """
        classes = sorted(value for value in self.class_rows if value != without)
        if not classes:
            return None
        first, end = self.class_rows[classes[int(rng.integers(len(classes)))]]
        return tuple(int(p) for p in self.positions[int(rng.integers(first, end))])


def _class_positions(
    labels: NDArray[Any], rng: np.random.Generator, ignore_label: int | None
) -> tuple[NDArray[np.int32], dict[int, tuple[int, int]]]:
    flat = labels.ravel()
    foreground = np.flatnonzero(flat)
    classes = flat[foreground]
    chosen = [np.empty(0, dtype=np.intp)]
    rows: dict[int, tuple[int, int]] = {}
    n = 0
    for value in np.unique(classes):
        if value == ignore_label:
            continue
        found = foreground[classes == value]
        if len(found) > _MAX_POSITIONS:
            found = np.sort(rng.choice(found, _MAX_POSITIONS, replace=False))
        chosen.append(found)
        rows[int(value)] = (n, n + len(found))
        n += len(found)
    positions = np.stack(np.unravel_index(np.concatenate(chosen), labels.shape), axis=-1)
    return positions.astype(np.int32), rows
