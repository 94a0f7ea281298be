"""What all formats share in which a subject's image is one file, or one for each channel."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._patterns import (
    Pattern,
    check_index,
    find_indices,
    index_expression,
)
from miscnn.data_loading._problems import Problem
from miscnn.data_loading.formats.image_file import ImageFile, short, volume_shape
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces._blockwise import as_stored, check_target, stacked
from miscnn.data_loading.interfaces._listing import (
    check_channels,
    mapped,
    read_listing,
)
from miscnn.data_loading.interfaces._overlooked import overlooked
from miscnn.data_loading.interfaces.base import DataInterface, geometry_from_details
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
)

_LOG = logging.getLogger("miscnn.data_loading.files")


class FileInterface(DataInterface):
    """Reads subjects from files that are found by patterns, and writes predictions onto their grid.

    A subclass names the endings of its format and implements :meth:`open_file` and
    :meth:`write_file`.

    Parameters
    ----------
    channels, classes, three_dim, ignore_label, label_values, class_names
        See :class:`DataInterface`.
    pattern : str, optional
        Regular expression that an index must match as a whole to be listed.
    image : str or sequence of str, optional
        Where the images lie, relative to the data folder; one ``*`` (or ``{index}``) stands
        for the index: ``"images/*.nii.gz"``, or ``{subject}`` and ``{session}`` for its two parts.
        Several patterns are several channels, which must share one grid. Default:
        ``"{index}/imaging"`` with the format's first ending, the layout of MIScnn and KiTS. A file
        may have any ending of the format, whatever the pattern says.
    segmentation : str, optional
        The same for the segmentations. Default: ``"{index}/segmentation"``, or none if
        ``image`` is given.
    listing : mapping or str, optional
        In place of patterns, the files of each subject, relative to the data folder:
        ``{index: {"image": path or one for each channel, "segmentation": path or None}}``, or
        the name of a table or JSON file in the data folder that tells them, see
        :func:`~miscnn.data_loading.interfaces._listing.read_listing`.

    Attributes
    ----------
    endings : tuple of str
        How files of this format end, the usual one first.
    data_directory : Path or None
        The folder that was handed to :meth:`initialize`.
    """

    endings: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        three_dim: bool = True,
        pattern: str | None = None,
        image: str | Sequence[str] | None = None,
        segmentation: str | None = None,
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
        listing: Mapping[str, Mapping[str, Any]] | str | None = None,
    ) -> None:
        super().__init__(channels, classes, three_dim, ignore_label, label_values, class_names)
        self.pattern = pattern
        self.image = image
        self.segmentation = segmentation
        self.listing = listing
        self.data_directory: Path | None = None
        if listing is not None and not (image is None and segmentation is None):
            raise ConfigurationError(
                "the files are named twice, by listing and by the patterns image or segmentation; "
                "leave one out"
            )
        self._listing = mapped(listing, channels) if isinstance(listing, Mapping) else None
        default = f"{{index}}/imaging{self.default_ending}"
        images = [default] if image is None else [image] if isinstance(image, str) else image
        check_channels(len(images), channels, "image")
        self._images = [Pattern(text, self.endings) for text in images]
        labels = segmentation
        if labels is None and image is None:
            labels = f"{{index}}/segmentation{self.default_ending}"
        self._labels = None if labels is None else Pattern(labels, self.endings)
        self._expression = index_expression(pattern)

    @abstractmethod
    def open_file(self, path: Path, index: str) -> ImageFile:
        """Read and check the header of a file.

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnreadableFileError
            If it is no file of this format, or shorter than its header says.
        """

    def open_labels(self, path: Path, index: str) -> ImageFile:
        """Read and check the header of a segmentation or prediction; as an image's by default."""
        return self.open_file(path, index)

    @abstractmethod
    def write_file(self, path: Path, array: NDArray[Any], sample: Sample) -> None:
        """Write an array with three spatial axes, and perhaps one of classes, as a result.

        ``sample.details`` are those of :meth:`load_image`, or empty for a sample that was made
        from an array.
        """

    def initialize(self, input_path: str | Path) -> list[str]:
        """Take over the data folder and return the indices of its subjects.

        A subject is listed if it has an image or a segmentation, numbers in names sorted by
        value. Subjects that come into the folder later can be loaded all the same.

        Raises
        ------
        MissingFileError
            If the folder does not exist, or the table that ``listing`` names.
        ConfigurationError
            If that table cannot be used.
        """
        folder = Path(input_path)
        if not str(input_path) or not folder.is_dir():
            raise MissingFileError(
                f"input_path: there is no folder {str(input_path)!r}; name the folder that "
                f"holds {self._wanted()}"
            )
        self.data_directory = folder
        if isinstance(self.listing, str):
            self._listing = read_listing(folder / self.listing, self.endings, self.channels)
        if self._listing is not None and (missing := self._listing.missing(folder)):
            _LOG.warning("listed files are not in %s: %s", folder, missing)
        indices = self._indices(folder)
        if not indices:
            _LOG.warning("found no subjects in %s; looked for %s", folder, self._wanted())
        return indices

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image.

        Returns
        -------
        image : ndarray
            ``(x, y, z[, c])`` or ``(x, y[, c])`` in the file's type.
        details : dict
            ``affine`` (4, 4), ``spacing`` in mm, ``files``, and what the format needs to write
            a result onto the same grid.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        GridMismatchError
            If the files of several channels do not share one grid.
        """
        return self._image(index, None)

    def map_image(self, index: str, scratch: Scratch) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return what :meth:`load_image` does, without holding large images in memory.

        Formats whose files know how (a method ``map`` beside ``read``) map or decode them piece by
        piece. A subclass with a :meth:`load_image` of its own is asked by that.
        """
        if type(self).load_image is not FileInterface.load_image:
            return self.load_image(index)
        return self._image(index, scratch)

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation in the file's type.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        """
        return self._arrange(self.open_labels(self._label_path(index), index), index)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a file with the segmentation, or one is listed."""
        if self._listing is not None:
            return self._listing.has_label(index)
        return self._labels is not None and self._labels.path(self._folder, index) is not None

    def has_image(self, index: str) -> bool:
        """Tell whether there is a file with the image, or with one of its channels."""
        if self._listing is not None:
            return index in self._listing.entries
        return any(pattern.path(self._folder, index) is not None for pattern in self._images)

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid from its header."""
        return self._grid(self.open_file(self._image_paths(index)[0], index))

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid from its header; None if there is no segmentation."""
        if not self.has_segmentation(index):
            return None
        return self._grid(self.open_labels(self._label_path(index), index))

    def source_files(self, index: str) -> list[Path]:
        """Return the files of the image, and of the segmentation if there is one."""
        labels = [self._label_path(index)] if self.has_segmentation(index) else []
        return [*self._image_paths(index), *labels]

    def image_files(self, index: str) -> list[Path]:
        """Return the files of the image."""
        return self._image_paths(index)

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the file that :meth:`save_prediction` would write."""
        ending = self.planned_ending(index, labels)
        return [Path(output_path) / f"{check_index(called)}{ending}"]

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path:
        """Write the prediction onto the grid of the image.

        A label map is stored in the smallest integer type, probabilities as float32 with the
        classes along the fourth axis.

        Raises
        ------
        SampleError
            If there is no prediction.
        LabelError
            If a label map holds values that are no labels.
        GridMismatchError
            If its shape is not the image's.
        ConfigurationError
            If the file is the image itself.
        """
        ending = self.result_ending(sample)
        path = Path(output_path) / f"{check_index(sample.index)}{ending}"
        check_target(path, sample)
        self.write_file(path, self._result(sample), sample)
        return path

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back a prediction: labels, or probabilities (real numbers) with a last axis."""
        stem = Path(output_path) / check_index(index)
        candidates = [stem.parent / (stem.name + ending) for ending in self.endings]
        existing = [path for path in candidates if path.exists()]
        # labels and probabilities may have different endings: what was written last counts
        path = max(existing, key=lambda p: p.stat().st_mtime_ns, default=candidates[0])
        array = self._arrange(self.open_prediction(path, index), index)
        # real numbers are never labels: the axis of a single class is not in the file
        return array[..., None] if array.dtype.kind == "f" and array.ndim == self._ndim else array

    def open_prediction(self, path: Path, index: str) -> ImageFile:
        """Read and check the header of a prediction; as a segmentation's by default."""
        return self.open_labels(path, index)

    def result_ending(self, sample: Sample) -> str:
        """Return how the file of a prediction ends; the format's first ending unless replaced."""
        return self.endings[0]

    def planned_ending(self, index: str, labels: bool) -> str:
        """Return what :meth:`result_ending` will, for a label map or for real numbers."""
        return self.endings[0]

    def expected_files(self) -> str:
        """Tell the patterns of the image files, and that of the indices if there is one."""
        images = " and ".join(repr(pattern.text) for pattern in self._images)
        images = images if self.listing is None else self._wanted()
        return images if self.pattern is None else f"{images} with pattern={self.pattern!r}"

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Name files and subjects' folders in the data folder that no pattern claims."""
        if self.data_directory is None or self.listing is not None:
            return []
        folder = self.data_directory
        return overlooked(folder, self._patterns, self._indices(folder), self._is_wanted, ignored)

    @property
    def default_ending(self) -> str:
        """How files end where no pattern says it."""
        return self.endings[0]

    @property
    def _ndim(self) -> int:
        return 3 if self.three_dim else 2

    @property
    def _folder(self) -> Path:
        if self.data_directory is None:
            raise ConfigurationError(
                "the interface does not know its data folder; call initialize(input_path), or "
                "hand it to DataIO"
            )
        return self.data_directory

    @property
    def _patterns(self) -> list[Pattern]:
        return [*self._images, *([self._labels] if self._labels else [])]

    def _is_wanted(self, index: str) -> bool:
        return self._expression is None or self._expression.fullmatch(index) is not None

    def _indices(self, folder: Path) -> list[str]:
        found = (
            find_indices(folder, self._patterns) if self._listing is None else self._listing.entries
        )
        return [i for i in found if self._is_wanted(i)]

    def _image_paths(self, index: str) -> list[Path]:
        if self._listing is not None:
            return self._listing.image_paths(self._folder, index)
        return [pattern.existing(self._folder, index, "image") for pattern in self._images]

    def _label_path(self, index: str) -> Path:
        if self._listing is not None:
            return self._listing.label_path(self._folder, index)
        if self._labels is None:
            raise MissingFileError(
                f"sample {index!r}: the data interface knows no segmentations; set its argument "
                "segmentation to a pattern"
            )
        return self._labels.existing(self._folder, index, "segmentation")

    def _wanted(self) -> str:
        if self.listing is not None:
            return f"listing={self.listing!r}" if isinstance(self.listing, str) else "listed files"
        return " and ".join(repr(pattern.text) for pattern in self._patterns)

    def _grid(self, file: ImageFile) -> Geometry:
        shape = volume_shape(file.shape)
        return geometry_from_details(shape[: self._ndim], {"affine": file.affine})

    def _image(self, index: str, scratch: Scratch | None) -> tuple[NDArray[Any], dict[str, Any]]:
        files = [self.open_file(path, index) for path in self._image_paths(index)]
        grids = [Geometry(volume_shape(file.shape), file.affine) for file in files]
        for number, (file, grid) in enumerate(zip(files[1:], grids[1:], strict=True), start=2):
            if not grids[0].matches(grid):
                raise GridMismatchError(
                    index,
                    f"channel {number} ({short(file.path)}) lies on another grid than channel 1 "
                    f"({short(files[0].path)}): {grid.describe_difference(grids[0])}; resample "
                    "them to one grid",
                )
        channels = [self._arrange(file, index, scratch) for file in files]
        if len(channels) > 1 and any(array.ndim != self._ndim for array in channels):
            raise SampleError(index, "several files as channels must hold one channel each")
        return channels[0] if len(channels) == 1 else stacked(channels, scratch), {
            "affine": files[0].affine,
            "spacing": grids[0].spacing[: self._ndim],
            "grid": volume_shape(files[0].shape)[: self._ndim],
            "files": [str(file.path) for file in files],
            **files[0].details(),
        }

    def _arrange(self, file: ImageFile, index: str, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read the voxels and give them their spatial axes and at most one more."""
        mapped_file = None if scratch is None else getattr(file, "map", None)
        array = file.read() if mapped_file is None else mapped_file(scratch)
        if not self.three_dim and array.ndim == 3 and array.shape[2] > 1:
            return array  # (x, y, c)
        further = (*file.shape[3:], *array.shape[len(file.shape) :])
        axes = (*volume_shape(file.shape), *(n for n in further if n != 1))
        spatial = array.reshape(axes, order="F")
        if not self.three_dim:
            if spatial.shape[2] != 1:
                raise SampleError(
                    index,
                    f"{short(file.path)} is a volume of shape {file.shape}; set three_dim=True",
                )
            spatial = spatial[:, :, 0]
        if spatial.ndim > self._ndim + 1:
            raise SampleError(
                index,
                f"{short(file.path)} has shape {file.shape}; channels take one axis only",
            )
        return spatial

    def _result(self, sample: Sample) -> NDArray[Any]:
        """Return the prediction as it is stored: three spatial axes, and one of classes."""
        return as_stored(sample, self._ndim, self.mapping)
