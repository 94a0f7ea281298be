"""NumPy arrays in files, ``.npy`` and ``.npz``."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Remark
from miscnn.data_loading.formats.numpy_file import (
    NumpyFile,
    array_names,
    is_spacing,
    open_numpy,
    write_numpy,
)
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError

_LABEL_KEYS = ("segmentation", "prediction", "probabilities")


class NumPyInterface(FileInterface):
    """Reads arrays from ``.npz`` and ``.npy`` files, and writes predictions as such.

    Parameters
    ----------
    channels, classes, three_dim, ignore_label, label_values, class_names
        See :class:`DataInterface`.
    pattern, image, segmentation, listing
        Where the files lie, see :class:`FileInterface`. Default: ``{index}/imaging.npz`` and
        ``{index}/segmentation.npz``. Both may be one archive, ``image="*.npz"`` and
        ``segmentation="*.npz"``.
    spacing : sequence of float, optional
        Voxel sizes in mm along the axes of the arrays, for files that tell none.

    Notes
    -----
    Arrays are ``(x, y, z[, c])`` or ``(x, y[, c])``, as they stand in the file. In an archive the
    image is named ``image``, the segmentation ``segmentation``; an archive with one array may
    give it any other name. ``affine`` (4, 4) or ``spacing`` in mm beside it say where it lies; a
    segmentation without them lies on the image's grid. Objects are never unpickled.

    Predictions are ``.npz`` with ``prediction`` (labels) or ``probabilities``, and ``affine``; of
    a ``.npy`` image, ``.npy`` with the array alone.

    Examples
    --------
    >>> interface = NumPyInterface(image="*.npz", segmentation="*.npz", spacing=(1, 1, 3))
    >>> interface.check_file_termination("npy")
    True
    """

    endings = (".npz", ".npy")

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
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            channels,
            classes,
            three_dim,
            pattern,
            image,
            segmentation,
            ignore_label,
            label_values,
            class_names,
            listing,
        )
        n = self._ndim
        if spacing is not None and not is_spacing(spacing, n):
            raise ConfigurationError(f"spacing={spacing!r}: expected {n} sizes in mm above 0")
        self.spacing = spacing

    def open_file(self, path: Path, index: str) -> NumpyFile:
        """Read and check the header of an image."""
        return open_numpy(path, index, ("image",), self.spacing, self._ndim, _LABEL_KEYS)

    def open_labels(self, path: Path, index: str) -> NumpyFile:
        """Read and check the header of a segmentation or a prediction."""
        return open_numpy(path, index, _LABEL_KEYS, self.spacing, self._ndim)

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid; None if its file tells neither affine nor spacing."""
        if not self.has_segmentation(index):
            return None
        file = self.open_labels(self._label_path(index), index)
        return self._grid(file) if file.placed else None

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a file with the segmentation that names it as such."""
        if not super().has_segmentation(index):
            return False
        path = self._label_path(index)
        if path not in self._image_paths(index):
            return True
        try:
            return "segmentation" in array_names(path)
        except (OSError, zipfile.BadZipFile):  # reading it will tell
            return False

    def result_ending(self, sample: Sample) -> str:
        """Return ``.npy`` if the image is such a file, else ``.npz``."""
        files = sample.details.get("files") or [""]
        return ".npy" if str(files[0]).endswith(".npy") else ".npz"

    def planned_ending(self, index: str, labels: bool) -> str:
        """Return ``.npy`` if the image is such a file, else ``.npz``."""
        return ".npy" if self._image_paths(index)[0].name.endswith(".npy") else ".npz"

    def write_file(self, path: Path, array: NDArray[Any], sample: Sample) -> None:
        """Write an array, with the affine of the image if the file is an archive."""
        if not self.three_dim:
            array = array[:, :, 0]
        key = "prediction" if array.ndim == self._ndim else "probabilities"
        affine = sample.details.get("affine")
        if affine is None:
            affine = sample.geometry.affine
        write_numpy(path, key, array, np.asarray(affine, dtype=np.float64))

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell that voxels have no size."""
        if self.spacing is None and np.array_equal(details["affine"], np.eye(4)):
            text = "the file tells no voxel sizes; 1 mm is taken, set spacing"
            return [("note", "spacing", text)]
        return []

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are read by this interface."""
        return "." + termination.lower().lstrip(".") in NumPyInterface.endings


NumPy_interface = NumPyInterface
"""Name in the style of MIScnn 1.x."""
