"""What every data interface does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable
from miscnn._scratch import Scratch
from miscnn.data_loading._problems import Problem, Remark
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.label_mapping import LabelMapping
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError

# Tables over all labels stay small.
_LARGEST_IGNORE_LABEL = 65535


class DataInterface(Configurable, ABC):
    """Reads and writes the subjects of one file format.

    A subclass implements :meth:`initialize`, :meth:`load_image`, :meth:`load_segmentation`,
    :meth:`load_prediction` and :meth:`save_prediction`; the rest has defaults that can be
    replaced by something faster.

    Parameters
    ----------
    channels : int
        Number of image channels.
    classes : int
        Number of segmentation classes, background included.
    three_dim : bool
        Whether the subjects are volumes (or 2D images).
    ignore_label : int, optional
        Label of voxels that nobody has annotated, such as 255; ``classes`` … 65535. No class:
        training learns nothing from these voxels, and scores leave them out.
    label_values : sequence of int or mapping of int to int, optional
        What stands in files of segmentations: the value of each class, such as ``[0, 255]``, or
        the class of each value, such as ``{0: 0, 1: 1, 2: 1}``. Predictions are written with
        these values (the first one of a class). Default: values are classes.
    class_names : sequence of str, optional
        One name for each class, that of the background first.

    Attributes
    ----------
    reads_files : bool
        Whether there must be a folder to read from; False for data in memory.
    mapping : LabelMapping or None
        What ``label_values`` declares.

    Notes
    -----
    :meth:`load_segmentation`, :meth:`save_prediction` and :meth:`load_prediction` speak the values
    of the files. Whoever calls them, :class:`~miscnn.DataIO` above all, maps them by
    :meth:`to_classes` and :meth:`to_values`.
    """

    reads_files: bool = True
    # Also where a subclass hands on three arguments only, or none.
    ignore_label: int | None = None
    label_values: Sequence[int] | Mapping[int, int] | None = None
    class_names: Sequence[str] | None = None
    mapping: LabelMapping | None = None

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        three_dim: bool = True,
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        if channels < 1 or classes < 1:
            raise ConfigurationError(
                f"channels and classes must be at least 1, got {channels} and {classes}"
            )
        self.channels = channels
        self.classes = classes
        self.three_dim = three_dim
        self.ignore_label = _checked_ignore_label(ignore_label, classes)
        self.label_values = label_values
        if label_values is not None:
            self.mapping = LabelMapping(label_values, classes, self.ignore_label)
        if class_names is not None and (
            isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names)
        ):
            raise ConfigurationError(
                f"class_names={class_names!r}; expected a list of one name for each class"
            )
        if class_names is not None and len(class_names) != classes:
            raise ConfigurationError(
                f"class_names has {len(class_names)} names, but classes={classes}: name every "
                f"class, the background too; got {list(class_names)!r}"
            )
        self.class_names = class_names

    @abstractmethod
    def initialize(self, input_path: str | Path) -> list[str]:
        """Look at the data set and return the indices of its subjects, sorted.

        Raises
        ------
        MissingFileError
            If the folder does not exist.
        """

    @abstractmethod
    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image.

        Returns
        -------
        image : ndarray
            ``(x, y, z[, c])`` or ``(x, y[, c])`` in the file's voxel order and in the file's
            own type where that is exact (integers stay integers).
        details : dict
            With ``"affine"`` (n + 1, n + 1) or ``"spacing"`` in mm, and whatever
            :meth:`save_prediction` needs to write onto the same grid.
        """

    def map_image(self, index: str, scratch: Scratch) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return what :meth:`load_image` does; large images not in memory, where a format can.

        The array may be a read-only map of the file, or one of ``scratch``. By default it is the
        one of :meth:`load_image`.
        """
        return self.load_image(index)

    @abstractmethod
    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation: integer labels on the image's grid."""

    @abstractmethod
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back what :meth:`save_prediction` wrote."""

    @abstractmethod
    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path | None:
        """Write ``sample.prediction`` onto the grid of the input; return the file."""

    def to_classes(self, values: NDArray[Any], index: str) -> NDArray[Any]:
        """Return the classes that the values of a file mean; themselves without ``label_values``.

        Raises
        ------
        LabelError
            If a value is not declared.
        """
        return values if self.mapping is None else self.mapping.to_classes(values, index)

    def to_values(self, labels: NDArray[Any], index: str) -> NDArray[Any]:
        """Return the values that are written for classes; undoes :meth:`to_classes`."""
        return labels if self.mapping is None else self.mapping.to_values(labels, index)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a segmentation, without reading it if possible."""
        try:
            self.load_segmentation(index)
        except FileNotFoundError:
            return False
        return True

    def has_image(self, index: str) -> bool:
        """Tell whether any file of a subject's image is there; True where this is not known."""
        return True

    def named(self, index: str, name: str) -> str:
        """Return the index by which :meth:`save_prediction` writes a further result of a subject.

        For example ``"case_1_entropy"``; ``sample.details`` are still those of the image.
        """
        return f"{index}_{name}"

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid; formats with headers read nothing else."""
        image, details = self.load_image(index)
        return geometry_from_details(image.shape[: 3 if self.three_dim else 2], details)

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid where the format knows one of its own."""
        return None

    def source_files(self, index: str) -> list[Path]:
        """Return the files a subject is read from; prepared data are renewed when they change."""
        return []

    def image_files(self, index: str) -> list[Path]:
        """Return the files of a subject's image alone; :meth:`source_files` unless replaced."""
        return self.source_files(index)

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the files that :meth:`save_prediction` and what follows it would write.

        They are looked at before anything is predicted, so that no result replaces an image, a
        segmentation or another result. By default they are not known.

        Parameters
        ----------
        index : str
            The subject.
        called : str
            What the result is called: the index, or a further one (:meth:`named`).
        output_path : path
        labels : bool
            Whether it is a label map; else it has real numbers.
        """
        return []

    def expected_files(self) -> str:
        """Tell, for messages, what is looked for in a data folder to find a subject's image."""
        return f"subjects as {type(self).__name__} reads them"

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Return what ``verify`` should tell of the image's details.

        For what a format's header can get wrong and arrays do not show; ``details`` are those
        of :meth:`load_image`.
        """
        return []

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Return what ``verify`` should tell of files that belong to no subject.

        For files that look as if they should be read and are not; folders that are ``ignored``
        (resolved paths) hold no subjects.
        """
        return []

    def complete_predictions(self, indices: Sequence[str], output_path: str | Path) -> list[Path]:
        """Write what is made of the predictions of several subjects; return the files.

        Called when the predictions of ``indices`` have been saved, once for all of them. For
        formats in which a subject is a part of a file; by default there is nothing to do.
        """
        return []

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are read by this interface."""
        return False


def _checked_ignore_label(label: int | None, classes: int) -> int | None:
    if label is None:
        return None
    if (
        isinstance(label, bool)
        or not isinstance(label, int | np.integer)
        or not classes <= label <= _LARGEST_IGNORE_LABEL
    ):
        raise ConfigurationError(
            f"ignore_label is {label!r}; expected a whole number that is no class, {classes} … "
            f"{_LARGEST_IGNORE_LABEL} for classes={classes}"
        )
    return int(label)


def geometry_from_details(shape: Sequence[int], details: dict[str, Any]) -> Geometry:
    """Make the geometry from an interface's details: the affine, else the spacing, else 1 mm."""
    if details.get("affine") is not None:
        affine = np.asarray(details["affine"], dtype=np.float64)
        n = len(shape)
        if affine.shape == (4, 4) and n == 2:  # one slice of a volume: its own plane
            spacing = np.linalg.norm(affine[:3, :3], axis=0)[:2]
            return Geometry.from_spacing(shape, tuple(spacing))
        return Geometry(shape, affine)
    if details.get("spacing") is not None:
        return Geometry.from_spacing(shape, [float(s) for s in details["spacing"]][: len(shape)])
    return Geometry(shape)


Abstract_IO = DataInterface
"""Name in MIScnn 1.x."""
