"""A data set whose classes are groups of another one's."""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._problems import Problem, Remark
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError


class MergedLabels(DataInterface):
    """Shows the subjects of another interface with several classes merged into one.

    Images, grids, files and predictions are the other interface's; only segmentations change:
    a class is shown as the number of the group it is in. A network that tells the kidney with
    its tumour from the background is trained on ``MergedLabels(interface, ((0,), (1, 2)))``.

    Parameters
    ----------
    interface : DataInterface
        Reads and writes the subjects. It may merge labels itself.
    groups : sequence of sequences of int
        The classes of ``interface`` that make up class 0, 1, … Every class stands in exactly
        one group, and the background 0 in the first.

    Raises
    ------
    ConfigurationError
        If a class stands in no group, in two, or does not exist; if a group is empty; or if
        the background is not in the first group.

    Notes
    -----
    Values in a file that are no class of ``interface`` are passed on unchanged. They are never
    smaller than the number of groups, so the usual check of labels refuses them; but for the
    interface's ``ignore_label``, which is this one's too.

    Examples
    --------
    >>> from miscnn.data_loading.interfaces import DictionaryInterface
    >>> subjects = {"a": (np.zeros((1, 2, 2)), np.array([[[0, 1], [2, 0]]]))}
    >>> merged = MergedLabels(DictionaryInterface(subjects, classes=3), ((0,), (1, 2)))
    >>> merged.classes
    2
    >>> merged.load_segmentation("a")
    array([[[0, 1],
            [1, 0]]])
    """

    def __init__(
        self, interface: DataInterface, groups: Sequence[Sequence[int]] = ((0,), (1, 2))
    ) -> None:
        if not isinstance(interface, DataInterface):
            raise ConfigurationError(
                f"interface must be a DataInterface such as NIfTIInterface(...), got {interface!r}"
            )
        self.interface = interface
        self.groups = _checked_groups(groups, interface.classes)
        super().__init__(
            interface.channels, len(self.groups), interface.three_dim, interface.ignore_label
        )

    @property
    def reads_files(self) -> bool:  # type: ignore[override]  # it is whatever the other one says
        """Whether there must be a folder to read from."""
        return self.interface.reads_files

    def initialize(self, input_path: str | Path) -> list[str]:
        """Look at the data set and return the indices of its subjects."""
        return self.interface.initialize(input_path)

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image and its details."""
        return self.interface.load_image(index)

    def map_image(self, index: str, scratch: Scratch) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image without holding it in memory, where the format can."""
        return self.interface.map_image(index, scratch)

    def has_image(self, index: str) -> bool:
        """Tell whether any file of a subject's image is there."""
        return self.interface.has_image(index)

    def named(self, index: str, name: str) -> str:
        """Return the index by which a further result of a subject is written."""
        return self.interface.named(index, name)

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation, with group numbers instead of classes."""
        labels = self.interface.to_classes(self.interface.load_segmentation(index), index)
        if labels.dtype.kind not in "biuf":
            return labels  # no labels, as the usual check will say
        wide = np.promote_types(labels.dtype, np.min_scalar_type(self.classes - 1))
        merged = np.array(labels, dtype=wide)
        for group, members in enumerate(self.groups):
            for label in members:
                if label != group:
                    merged[labels == label] = group
        return merged

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back what :meth:`save_prediction` wrote: it holds group numbers already."""
        return self.interface.load_prediction(index, output_path)

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path | None:
        """Write ``sample.prediction`` (group numbers) onto the grid of the input."""
        return self.interface.save_prediction(sample, output_path)

    def complete_predictions(self, indices: Sequence[str], output_path: str | Path) -> list[Path]:
        """Write what is made of the predictions of several subjects."""
        return self.interface.complete_predictions(indices, output_path)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a segmentation."""
        return self.interface.has_segmentation(index)

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid."""
        return self.interface.load_geometry(index)

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid where the format knows one of its own."""
        return self.interface.load_segmentation_geometry(index)

    def source_files(self, index: str) -> list[Path]:
        """Return the files a subject is read from."""
        return self.interface.source_files(index)

    def image_files(self, index: str) -> list[Path]:
        """Return the files of a subject's image."""
        return self.interface.image_files(index)

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the files that :meth:`save_prediction` would write."""
        return self.interface.result_files(index, called, output_path, labels)

    def expected_files(self) -> str:
        """Tell what is looked for in a data folder."""
        return self.interface.expected_files()

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Return what ``verify`` should tell of the image's details."""
        return self.interface.remarks(index, details)

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Return what ``verify`` should tell of files that belong to no subject."""
        return self.interface.overlooked(ignored)


def _checked_groups(groups: Sequence[Sequence[int]], classes: int) -> tuple[tuple[int, ...], ...]:
    hint = (
        f"groups must hold each of the classes 0 … {classes - 1} of the interface exactly once, "
        f"such as ((0,), {tuple(range(1, classes))}); got {groups!r}"
    )
    try:
        result = tuple(tuple(operator.index(label) for label in group) for group in groups)
    except TypeError as error:
        raise ConfigurationError(f"{hint}: a group is a sequence of whole numbers") from error
    listed = [label for group in result for label in group]
    problems = []
    if empty := [number for number, group in enumerate(result) if not group]:
        problems.append(f"group {empty[0]} is empty")
    if unknown := sorted(set(listed) - set(range(classes))):
        problems.append(f"there is no class {', '.join(map(str, unknown))}")
    if missing := sorted(set(range(classes)) - set(listed)):
        problems.append(f"class {', '.join(map(str, missing))} is in no group")
    if doubled := sorted({label for label in listed if listed.count(label) > 1}):
        problems.append(f"class {', '.join(map(str, doubled))} is there twice")
    if not problems and 0 not in result[0]:
        problems.append("the background 0 must be in the first group")
    if not problems and len(result) < 2:
        problems.append("a single group leaves nothing to tell apart")
    if problems:
        raise ConfigurationError(f"{hint}: {'; '.join(problems)}")
    return result
