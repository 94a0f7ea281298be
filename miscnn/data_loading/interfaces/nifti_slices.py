"""Slices of NIfTI volumes as 2D subjects."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Problem, Remark
from miscnn.data_loading.formats.image_file import volume_shape
from miscnn.data_loading.formats.nifti_file import NiftiFile, open_nifti
from miscnn.data_loading.formats.nifti_remarks import header_remarks
from miscnn.data_loading.formats.nifti_write import result_header, write_nifti
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces._slice_files import (
    assemble,
    channels_of,
    read_slice,
    slice_index,
    slice_path,
    split_index,
    three_axes,
    write_slice,
)
from miscnn.data_loading.interfaces._volume_cache import VolumeCache
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.nifti import NIfTIInterface, whole_labels
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    SampleError,
    UnreadableFileError,
)

_LOG = logging.getLogger("miscnn.data_loading.nifti_slices")

# Image and segmentation of a CT of 512 x 512 x 600 fit.
_CACHE = 512 << 20


class NIfTISliceInterface(DataInterface):
    """Takes the slices of NIfTI volumes for 2D subjects.

    A slice has the index ``"<volume>:#:<number>"``, numbers from 0.

    Parameters
    ----------
    slice_axis : int, optional
        Axis of the arrays across the slices, 0 … 2. Default: that of each volume's
        :attr:`Geometry.slice_axis`, the axis of the largest spacing. (MIScnn 1.x: 0.)
    channels, classes, ignore_label, label_values, class_names
        See :class:`DataInterface`.
    pattern, image, segmentation, listing
        Where the volumes lie, see :class:`FileInterface`. Default: ``{index}/imaging.nii.gz`` and
        ``{index}/segmentation.nii.gz``.

    Notes
    -----
    Of a file that is not compressed (``.nii``), a slice reads its own voxels only. A compressed
    one is decompressed once and kept in memory; the last volumes of up to 512 MiB together stay
    there (at least the last one), so that going through slices in order reads each volume once.
    In random order over many volumes, uncompressed files are far faster.

    A slice keeps the order of the two axes that are left. Its details hold their ``spacing``
    in mm, ``volume``, ``slice``, ``slice_axis``, ``volume_affine`` and the volume's ``header``.

    The prediction of a slice is written to ``<volume>/slice_<number>.nii.gz``, a volume of one
    voxel's depth in its place in space. When all slices of a volume are predicted, ``predict``
    puts them together as ``<volume>.nii.gz`` (:meth:`complete_predictions`, :meth:`assemble`).

    Examples
    --------
    >>> interface = NIfTISliceInterface(image="images/*.nii.gz", segmentation="labels/*.nii.gz")
    >>> interface.three_dim
    False
    """

    def __init__(
        self,
        slice_axis: int | None = None,
        channels: int = 1,
        classes: int = 2,
        pattern: str | None = None,
        image: str | Sequence[str] | None = None,
        segmentation: str | None = None,
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
        listing: Mapping[str, Mapping[str, Any]] | str | None = None,
    ) -> None:
        super().__init__(channels, classes, False, ignore_label, label_values, class_names)
        if slice_axis not in (None, 0, 1, 2):
            raise ConfigurationError(f"slice_axis must be 0, 1, 2 or None, got {slice_axis!r}")
        self.slice_axis = slice_axis
        self.pattern = pattern
        self.image = image
        self.segmentation = segmentation
        self.listing = listing
        self._volumes = _Volumes(
            channels,
            classes,
            True,
            pattern,
            image,
            segmentation,
            ignore_label,
            label_values,
            class_names,
            listing,
        )
        self._cache = VolumeCache(_CACHE)

    def initialize(self, input_path: str | Path) -> list[str]:
        """Return the indices of all slices of all volumes, volumes in natural order.

        Headers are read. A volume whose header cannot be read is listed as one slice, so that
        whoever loads it, or verifies the data set, is told.

        Raises
        ------
        MissingFileError
            If the folder does not exist.
        """
        indices = []
        for volume in self._volumes.initialize(input_path):
            try:
                count = self._slices(volume)
            except (SampleError, FileNotFoundError) as error:
                _LOG.warning("%s", error)
                count = 1
            indices += [slice_index(volume, number) for number in range(count)]
        return indices

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one slice.

        Returns
        -------
        image : ndarray
            ``(a, b[, c])``, the axes that are left, in the file's type.
        details : dict

        Raises
        ------
        MissingFileError
        UnreadableFileError
        GridMismatchError
            If the files of several channels do not share one grid.
        SampleError
            If there is no such slice.
        """
        volume, number = split_index(index)
        files = [open_nifti(path, index) for path in self._volumes.image_paths(volume)]
        grid = _grid(files[0])
        for file in files[1:]:
            _check_grid(_grid(file), grid, index, "a channel")
        axis = self._axis(grid, number, index)
        bands = [self._slice(file, axis, number) for file in files]
        image = bands[0] if len(bands) == 1 else np.stack(bands, axis=-1)
        plane = _without(grid.shape, axis)
        return image, {
            "spacing": _without(grid.spacing, axis),
            "grid": plane,
            "volume": volume,
            "slice": number,
            "slice_axis": axis,
            "volume_affine": files[0].affine,
            "files": [str(file.path) for file in files],
            **files[0].details(),
        }

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read the segmentation of one slice.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        GridMismatchError
            If the volumes of image and segmentation lie on different grids.
        """
        volume, number = split_index(index)
        file = open_nifti(self._volumes.label_path(volume), index)
        grid = self._image_grid(volume, index)
        _check_grid(_grid(file), grid, index, "the segmentation")
        labels = self._slice(file, self._axis(grid, number, index), number)
        scaled = labels.dtype.kind == "f" and file.scaled
        return whole_labels(labels) if scaled else labels

    def has_image(self, index: str) -> bool:
        """Tell whether there is a file with the volume's image, or with one of its channels."""
        return self._volumes.has_image(split_index(index)[0])

    def named(self, index: str, name: str) -> str:
        """Return the index of the slice in a volume of this name: ``"case_1_entropy:#:7"``."""
        volume, number = split_index(index)
        return slice_index(f"{volume}_{name}", number)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a file with the volume's segmentation."""
        return self._volumes.has_segmentation(split_index(index)[0])

    def load_geometry(self, index: str) -> Geometry:
        """Return the slice's own plane from the header of its volume."""
        volume, number = split_index(index)
        grid = self._image_grid(volume, index)
        axis = self._axis(grid, number, index)
        return Geometry.from_spacing(_without(grid.shape, axis), _without(grid.spacing, axis))

    def source_files(self, index: str) -> list[Path]:
        """Return the files of the volume's image and segmentation."""
        return self._volumes.source_files(split_index(index)[0])

    def image_files(self, index: str) -> list[Path]:
        """Return the files of the volume's image."""
        return self._volumes.image_files(split_index(index)[0])

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the file of the slice, and that of the volume which is made of them."""
        volume, number = split_index(called)
        folder = Path(output_path)
        return [slice_path(folder, volume, number), folder / f"{volume}.nii.gz"]

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path:
        """Write the prediction of one slice.

        Raises
        ------
        SampleError
            If there is no prediction.
        LabelError
            If a label map holds values that are no labels.
        GridMismatchError
            If its shape is not the slice's.
        """
        volume, number = split_index(sample.index)  # a further result has a name of its own
        image = sample.details.get("volume", volume)
        file = open_nifti(self._volumes.image_paths(image)[0], sample.index)
        grid = _grid(file)
        axis = self._axis(grid, number, sample.index)
        array = self._volumes.flat_result(sample, _without(grid.shape, axis))
        path = slice_path(Path(output_path), volume, number)
        write_slice(path, array, file.header, axis, number)
        return path

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back the prediction of one slice, else its part of an assembled volume."""
        volume, number = split_index(index)
        axis = self._axis(self._image_grid(volume, index), number, index)
        path = slice_path(Path(output_path), volume, number)
        whole = Path(output_path) / f"{volume}.nii.gz"
        if not path.exists() and whole.exists():
            return self._slice(open_nifti(whole, index), axis, number)
        return read_slice(path, index, axis)

    def assemble(self, volume: str, output_path: str | Path, allow_missing: bool = False) -> Path:
        """Write the prediction of a volume, made of those of its slices, onto the image's grid.

        Parameters
        ----------
        volume : str
            What stands before ``:#:`` in the indices.
        output_path : str or Path
            Where the slices' predictions are; the volume is written there as well.
        allow_missing : bool
            Whether slices without a prediction become background.

        Returns
        -------
        Path
            ``<output_path>/<volume>.nii.gz``. The files of the slices stay.

        Raises
        ------
        MissingFileError
            If slices have no prediction.
        """
        index = slice_index(volume, 0)
        file = open_nifti(self._volumes.image_paths(volume)[0], index)
        axis = self._axis(_grid(file), 0, index)

        array = assemble(Path(output_path), volume, file.header, axis, allow_missing)
        path = Path(output_path) / f"{volume}.nii.gz"
        write_nifti(path, array, result_header(file.header, array.shape, array.dtype))
        return path

    def complete_predictions(self, indices: Sequence[str], output_path: str | Path) -> list[Path]:
        """Assemble every volume of ``indices`` of which all slices have a prediction.

        Returns
        -------
        list of Path
            ``<output_path>/<volume>.nii.gz`` of each. A volume whose slices do not fit together,
            some being of an earlier run, is left out with a warning.
        """
        written = []
        for volume in dict.fromkeys(split_index(index)[0] for index in indices):
            paths = (slice_path(Path(output_path), volume, n) for n in range(self._slices(volume)))
            if not all(path.exists() for path in paths):
                _LOG.info("volume %r is not assembled: not all its slices are predicted", volume)
                continue
            try:
                written.append(self.assemble(volume, output_path))
            except SampleError as error:
                _LOG.warning("%s", error)
        return written

    def expected_files(self) -> str:
        """Tell the patterns of the image files."""
        return self._volumes.expected_files()

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell what is odd about the header of the volume, with its first slice."""
        if details["slice"] != 0:
            return []
        return header_remarks(details["header"], details["volume_affine"])

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Name files and folders in the data folder that no pattern claims."""
        return self._volumes.overlooked(ignored)

    def _image_grid(self, volume: str, index: str) -> Geometry:
        return _grid(open_nifti(self._volumes.image_paths(volume)[0], index))

    def _slices(self, volume: str) -> int:
        index = slice_index(volume, 0)
        grid = self._image_grid(volume, index)
        return grid.shape[self._axis(grid, 0, index)]

    def _axis(self, grid: Geometry, number: int, index: str) -> int:
        if self.slice_axis is None and not grid.usable:
            raise UnreadableFileError(
                index, "its affine cannot be used to find the slices; set slice_axis"
            )
        axis = grid.slice_axis if self.slice_axis is None else self.slice_axis
        if number >= grid.shape[axis]:
            raise SampleError(
                index, f"there is no slice {number} among {grid.shape[axis]} along axis {axis}"
            )
        return axis

    def _slice(self, file: NiftiFile, axis: int, number: int) -> NDArray[Any]:
        """Read one slice; of a compressed file through the volumes in memory."""
        if not file.compressed and len(file.shape) >= 3:
            return channels_of(file.read_slice(axis, number), 2, file)
        status = file.path.stat()
        key = (str(file.path), status.st_mtime_ns, status.st_size)
        volume = self._cache.get(key, lambda: channels_of(three_axes(file), 3, file))
        # not take(), which would copy the whole volume
        return np.array(volume[(slice(None),) * axis + (number,)], order="F")


class _Volumes(NIfTIInterface):
    """The volumes that the slices are of."""

    def image_paths(self, volume: str) -> list[Path]:
        return self._image_paths(volume)

    def label_path(self, volume: str) -> Path:
        return self._label_path(volume)

    def flat_result(self, sample: Sample, plane: tuple[int, ...]) -> NDArray[Any]:
        """Return the prediction of a slice as it is stored, without the third axis."""
        other = sample.copy()
        other.details = {"grid": (*plane, 1)}
        if sample.prediction is not None:
            other.prediction = sample.prediction.reshape(
                (*sample.prediction.shape[:2], 1, *sample.prediction.shape[2:])
            )
        array = self._result(other)
        return array[:, :, 0]


def _grid(file: NiftiFile) -> Geometry:
    return Geometry(volume_shape(file.shape), file.affine)


def _check_grid(grid: Geometry, expected: Geometry, index: str, what: str) -> None:
    if not expected.matches(grid):
        raise GridMismatchError(
            index,
            f"{what} lies on another grid than the image: {grid.describe_difference(expected)}; "
            "resample them to one grid",
        )


def _without(values: Sequence[Any], axis: int) -> tuple[Any, ...]:
    return (*values[:axis], *values[axis + 1 :])


NIFTIslicer_interface = NIfTISliceInterface
"""Name in MIScnn 1.x."""
