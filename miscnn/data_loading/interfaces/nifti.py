"""NIfTI volumes, ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Problem, Remark
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces._nifti_file import NiftiFile, open_nifti, short
from miscnn.data_loading.interfaces._nifti_remarks import header_remarks
from miscnn.data_loading.interfaces._nifti_write import (
    header_from_geometry,
    result_header,
    write_nifti,
)
from miscnn.data_loading.interfaces._overlooked import overlooked
from miscnn.data_loading.interfaces._patterns import Pattern, check_index, find_indices
from miscnn.data_loading.interfaces.base import DataInterface, geometry_from_details
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    LabelError,
    MissingFileError,
    SampleError,
)

_LOG = logging.getLogger("miscnn.data_loading.nifti")

_DEFAULT_IMAGE = "{index}/imaging.nii.gz"
_DEFAULT_SEGMENTATION = "{index}/segmentation.nii.gz"
# Stored labels times a float32 slope miss the whole number by this much at most.
_LABEL_NOISE = 1e-3


class NIfTIInterface(DataInterface):
    """Reads NIfTI volumes, and writes predictions onto their grid.

    Parameters
    ----------
    channels, classes, three_dim, ignore_label
        See :class:`DataInterface`. In 2D a file has shape ``(x, y)`` or ``(x, y, 1)``.
    pattern : str, optional
        Regular expression that an index must match as a whole to be listed.
    image : str or sequence of str, optional
        Where the images lie, relative to the data folder; one ``*`` (or ``{index}``) stands
        for the index: ``"images/*.nii.gz"``. Several patterns are several channels, which
        must share one grid. Default: ``"{index}/imaging.nii.gz"``, the layout of MIScnn and
        KiTS. A file may end in ``.nii`` or ``.nii.gz``, whatever the pattern says.
    segmentation : str, optional
        The same for the segmentations. Default: ``"{index}/segmentation.nii.gz"``, or none if
        ``image`` is given.

    Notes
    -----
    Stored integers are returned in their own type, never through float64; how scaled values
    (``scl_slope``, ``scl_inter``) are typed is told at
    :func:`~miscnn.data_loading.interfaces._nifti_file.scaled_type`. Channels are taken from
    several files, or from the fourth (or fifth) axis of one file.

    The affine is the one nibabel chooses. A prediction takes over the image's header: both
    matrices with their codes, voxel sizes and units stay bit by bit.

    Examples
    --------
    >>> interface = NIfTIInterface(classes=3, image="images/*.nii.gz", segmentation="labels/*")
    >>> interface.get_config()["image"]
    'images/*.nii.gz'
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        three_dim: bool = True,
        pattern: str | None = None,
        image: str | Sequence[str] | None = None,
        segmentation: str | None = None,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__(channels, classes, three_dim, ignore_label)
        self.pattern = pattern
        self.image = image
        self.segmentation = segmentation
        self.data_directory: Path | None = None
        images = [_DEFAULT_IMAGE] if image is None else [image] if isinstance(image, str) else image
        if len(images) not in (1, channels):
            raise ConfigurationError(
                f"image names {len(images)} files per subject, but channels={channels}; name one "
                "file, or one per channel"
            )
        self._images = [Pattern(text) for text in images]
        labels = segmentation or (_DEFAULT_SEGMENTATION if image is None else None)
        self._labels = None if labels is None else Pattern(labels)
        try:
            self._expression = None if pattern is None else re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(
                f"pattern={pattern!r} is no regular expression: {error}"
            ) from error

    def initialize(self, input_path: str | Path) -> list[str]:
        """Take over the data folder and return the indices of its subjects.

        A subject is listed if it has an image or a segmentation, numbers in names sorted by
        value. Subjects that come into the folder later can be loaded all the same.

        Raises
        ------
        MissingFileError
            If the folder does not exist.
        """
        folder = Path(input_path)
        if not str(input_path) or not folder.is_dir():
            raise MissingFileError(
                f"input_path: there is no folder {str(input_path)!r}; name the folder that "
                f"holds {self._wanted()}"
            )
        self.data_directory = folder
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
            ``affine`` (4, 4), ``spacing`` in mm, ``header`` (nibabel's, as in the file),
            ``files`` and ``type`` (what the file stores).

        Raises
        ------
        MissingFileError
        UnreadableFileError
        GridMismatchError
            If the files of several channels do not share one grid.
        """
        files = [open_nifti(path, index) for path in self._image_paths(index)]
        grids = [Geometry(_volume(file.shape), file.affine) for file in files]
        for number, (file, grid) in enumerate(zip(files[1:], grids[1:], strict=True), start=2):
            if not grids[0].matches(grid):
                raise GridMismatchError(
                    index,
                    f"channel {number} ({short(file.path)}) lies on another grid than channel 1 "
                    f"({short(files[0].path)}): {grid.describe_difference(grids[0])}; resample "
                    "them to one grid",
                )
        channels = [self._arrange(file) for file in files]
        if len(channels) > 1 and any(array.ndim != self._ndim for array in channels):
            raise SampleError(index, "several files as channels must hold one channel each")
        image = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        first = files[0]
        return image, {
            "affine": first.affine,
            "spacing": grids[0].spacing[: self._ndim],
            "header": first.header.copy(),
            "files": [str(file.path) for file in files],
            "type": first.header.get_data_dtype(),
        }

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation in the file's type.

        Labels that were stored with a scaling are rounded to the whole numbers they mean.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        """
        file = open_nifti(self._label_path(index), index)
        labels = self._arrange(file)
        if file.scaled and labels.dtype.kind == "f":
            whole: NDArray[Any] = np.rint(labels)
            if bool(np.all(np.abs(labels - whole) <= _LABEL_NOISE)):
                return whole
        return labels

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a file with the segmentation."""
        return self._labels is not None and self._labels.path(self._folder, index) is not None

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid from its header."""
        return self._grid(open_nifti(self._image_paths(index)[0], index))

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid from its header; None if there is no segmentation."""
        if not self.has_segmentation(index):
            return None
        return self._grid(open_nifti(self._label_path(index), index))

    def source_files(self, index: str) -> list[Path]:
        """Return the files of the image, and of the segmentation if there is one."""
        labels = [self._label_path(index)] if self.has_segmentation(index) else []
        return [*self._image_paths(index), *labels]

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path:
        """Write ``<output_path>/<index>.nii.gz`` with the header of the image.

        A label map is stored in the smallest unsigned type, probabilities as float32 with the
        classes along the fourth axis.

        Raises
        ------
        SampleError
            If there is no prediction.
        LabelError
            If a label map holds values that are no labels.
        GridMismatchError
            If its shape is not the image's.
        """
        path = Path(output_path) / f"{check_index(sample.index)}.nii.gz"
        header = sample.details.get("header")
        if header is None:
            header = header_from_geometry(sample.geometry)
        array = self._result(sample, tuple(int(n) for n in header.get_data_shape()))
        write_nifti(path, array, result_header(header, array.shape, array.dtype))
        return path

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back a prediction: unsigned labels, or probabilities with a last axis."""
        path = Path(output_path) / f"{check_index(index)}.nii.gz"
        return self._arrange(open_nifti(path, index))

    def expected_files(self) -> str:
        """Tell the patterns of the image files, and that of the indices if there is one."""
        images = " and ".join(repr(pattern.text) for pattern in self._images)
        return images if self.pattern is None else f"{images} with pattern={self.pattern!r}"

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell what is odd about the voxel sizes and units in the image's header."""
        return header_remarks(details["header"], details["affine"])

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Name NIfTI files and subjects' folders in the data folder that no pattern claims."""
        if self.data_directory is None:
            return []
        folder = self.data_directory
        return overlooked(folder, self._patterns, self._indices(folder), self._is_wanted, ignored)

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are NIfTI."""
        return termination.lower().lstrip(".") in ("nii", "nii.gz")

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
        return [i for i in find_indices(folder, self._patterns) if self._is_wanted(i)]

    def _image_paths(self, index: str) -> list[Path]:
        return [self._existing(pattern, index, "image") for pattern in self._images]

    def _label_path(self, index: str) -> Path:
        if self._labels is None:
            raise MissingFileError(
                f"sample {index!r}: the data interface knows no segmentations; set its argument "
                "segmentation to a pattern"
            )
        return self._existing(self._labels, index, "segmentation")

    def _existing(self, pattern: Pattern, index: str, what: str) -> Path:
        path = pattern.path(self._folder, index)
        if path is None:
            wanted = pattern.candidates(Path(), index)[0]
            raise MissingFileError(
                f"sample {index!r}: there is no {what} file {wanted} in {self._folder}"
            )
        return path

    def _wanted(self) -> str:
        return " and ".join(repr(pattern.text) for pattern in self._patterns)

    def _grid(self, file: NiftiFile) -> Geometry:
        shape = _volume(file.shape)
        return geometry_from_details(shape[: self._ndim], {"affine": file.affine})

    def _arrange(self, file: NiftiFile) -> NDArray[Any]:
        """Read the voxels and give them their spatial axes and at most one more."""
        array = file.read()
        if not self.three_dim and array.ndim == 3 and array.shape[2] > 1:
            return array  # (x, y, c)
        further = (*file.shape[3:], *array.shape[len(file.shape) :])
        axes = (*_volume(file.shape), *(n for n in further if n != 1))
        spatial = array.reshape(axes, order="F")
        if not self.three_dim:
            if spatial.shape[2] != 1:
                raise SampleError(
                    file.index,
                    f"{short(file.path)} is a volume of shape {file.shape}; set three_dim=True",
                )
            spatial = spatial[:, :, 0]
        if spatial.ndim > self._ndim + 1:
            raise SampleError(
                file.index,
                f"{short(file.path)} has shape {file.shape}; channels take one axis only",
            )
        return spatial

    def _result(self, sample: Sample, grid: tuple[int, ...]) -> NDArray[Any]:
        """Return the prediction as it is stored, with the axes of the image's file."""
        prediction = sample.prediction
        if prediction is None:
            raise SampleError(sample.index, "there is no prediction to save")
        volume = _volume(grid)
        space = volume[: self._ndim]
        array = np.asarray(prediction)
        if array.shape == (*space, 1) and array.dtype.kind in "biu":
            array = array[..., 0]
        if array.shape[: self._ndim] != space or array.ndim > self._ndim + 1:
            raise GridMismatchError(
                sample.index,
                f"the prediction has shape {array.shape}, the image {space}; it must be brought "
                "back to the image's grid before it is saved",
            )
        if array.ndim == self._ndim + 1:
            return array.reshape((*volume, array.shape[-1])).astype(np.float32, copy=False)
        highest = _highest_label(array, sample)
        labels = array.astype(np.min_scalar_type(highest), copy=False)
        return labels.reshape(grid[:3])


def _volume(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the three spatial axes of a NIfTI file; axes that are left out have length 1."""
    return tuple(int(n) for n in (*shape, 1, 1, 1)[:3])


def _highest_label(array: NDArray[Any], sample: Sample) -> int:
    whole = array.dtype.kind in "biu" or (
        array.dtype.kind == "f"
        and bool(np.all(np.isfinite(array)))
        and bool(np.all(array == np.rint(array)))
    )
    if not whole or array.min() < 0:
        raise LabelError(
            sample.index,
            "a prediction without class axis holds labels, whole numbers from 0 on; got dtype "
            f"{array.dtype} with values from {array.min()} to {array.max()}",
        )
    return max(int(array.max()), sample.classes - 1, 1)


NIFTI_interface = NIfTIInterface
"""Name in MIScnn 1.x."""
