"""What splitters look up in segmentations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import as_labels
from miscnn.exceptions import ConfigurationError

_TOLD = 10
_MM3_PER_ML = 1000.0


def volumes_ml(
    data_io: Any, subjects: Iterable[Sequence[str]], labels: Sequence[int] | None
) -> list[float]:
    """Return, per subject, how much of it has one of the labels (None: any foreground), in ml.

    Of 2D images it is the area in 1000 mm².
    """

    def measured(index: str, array: NDArray[Any]) -> float:
        chosen = array > 0 if labels is None else np.isin(array, labels)
        voxel = float(np.prod(data_io.geometry(index).spacing))
        return float(np.count_nonzero(chosen)) * voxel / _MM3_PER_ML

    return [sum(found) for found in _looked_up(data_io, subjects, measured)]


def labels_present(data_io: Any, subjects: Iterable[Sequence[str]]) -> list[list[int]]:
    """Return, per subject, which foreground labels it has, sorted."""

    def present(index: str, array: NDArray[Any]) -> set[int]:
        return {int(label) for label in np.unique(array) if label}

    return [sorted(set().union(*found)) for found in _looked_up(data_io, subjects, present)]


def _looked_up(
    data_io: Any,
    subjects: Iterable[Sequence[str]],
    look: Callable[[str, NDArray[Any]], Any],
) -> list[list[Any]]:
    interface = data_io.interface
    subjects = [list(parts) for parts in subjects]
    bare = [i for parts in subjects for i in parts if not interface.has_segmentation(i)]
    if bare:
        raise ConfigurationError(
            f"{len(bare)} subject(s) have no segmentation to stratify by: "
            f"{', '.join(bare[:_TOLD])}{', …' if len(bare) > _TOLD else ''}; leave them out"
        )
    ignored = interface.ignore_label

    def labels_of(index: str) -> NDArray[Any]:
        classes = interface.to_classes(np.asarray(interface.load_segmentation(index)), index)
        # Labels are looked at strictly when the subject is trained on, after its subfunctions.
        array = np.asarray(as_labels(classes, interface.classes, index, False, ignored))
        return array if ignored is None else np.where(array == ignored, 0, array)

    return [[look(index, labels_of(index)) for index in parts] for parts in subjects]
