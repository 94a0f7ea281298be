"""The CT part of CHAOS as it is downloaded: one folder of DICOM slices and PNG masks a patient.

An example of an interface of one's own: reading is replaced, and predictions are written as
NIfTI by the class it is derived from. Needs ``pip install pydicom``.

    Train_Sets/CT/<patient>/DICOM_anon/*.dcm
    Train_Sets/CT/<patient>/Ground/liver_GT_000.png ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.interfaces.base import geometry_from_details
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    UnreadableFileError,
)

_IMAGES, _MASKS = "DICOM_anon", "Ground"
_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM counts to the left and to the back


def _patients(path: Path) -> list[Path]:
    """Folders of CT patients; CHAOS has MR in folders of the same names beside them."""
    found = (folder.parent for folder in path.glob(f"**/{_IMAGES}") if folder.is_dir())
    return sorted(patient for patient in found if _modality(patient / _IMAGES) == "CT")


def _modality(folder: Path) -> str | None:
    first = min(folder.glob("*.dcm"), default=None)
    if first is None:
        return None
    import pydicom

    header = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["Modality"])
    return str(header.get("Modality", ""))


def is_chaos(path: str | Path) -> bool:
    """Tell whether there are CT patients of CHAOS below a folder."""
    return bool(_patients(Path(path)))


class CHAOSInterface(NIfTIInterface):
    """CT volumes in HU, ``(x, y, z)`` with z ascending, and the liver as label 1."""

    def __init__(self) -> None:
        super().__init__(channels=1, classes=2)
        self._found: dict[str, Path] = {}

    def get_config(self) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    def initialize(self, input_path: str | Path) -> list[str]:
        """Find the patients; an index is the name of a patient's folder."""
        patients = _patients(Path(input_path))
        self._found = {folder.name: folder for folder in patients}
        if not self._found:
            raise MissingFileError(
                f"no CT patient below {input_path}: expected <patient>/{_IMAGES}/*.dcm"
            )
        if len(self._found) < len(patients):
            raise ConfigurationError(
                f"patients of the same name below {input_path}: {', '.join(map(str, patients))}; "
                "read training and test set apart"
            )
        return sorted(self._found)

    def source_files(self, index: str) -> list[Path]:
        """Return the patient's slices and masks, in the order of their names."""
        return [*self._slices(index), *self._masks(index)]

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read the slices, sorted by their position."""
        slices, order = self._read(index, pixels=True)
        stored = np.stack([slices[k].pixel_array.T for k in order], axis=-1).astype(np.float32)
        slope = [float(getattr(slices[k], "RescaleSlope", 1)) for k in order]
        intercept = [float(getattr(slices[k], "RescaleIntercept", 0)) for k in order]
        image = stored * np.float32(slope) + np.float32(intercept)
        return image, {"affine": self._affine([slices[k] for k in order], index)}

    def load_geometry(self, index: str) -> Geometry:
        """Return the grid, from the headers of the slices."""
        slices, order = self._read(index, pixels=False)
        first = slices[order[0]]
        shape = (int(first.Columns), int(first.Rows), len(order))
        affine = self._affine([slices[k] for k in order], index)
        return geometry_from_details(shape, {"affine": affine})

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read the masks. They go with the slices by the order of the names, not of positions."""
        masks = self._masks(index)
        if not masks:
            raise MissingFileError(f"patient {index!r} has no masks in {_MASKS}")
        slices, order = self._read(index, pixels=False)
        if len(masks) != len(slices):
            raise GridMismatchError(
                index, f"has {len(slices)} slices and {len(masks)} masks; is the download complete?"
            )
        return np.stack([(iio.imread(masks[k]) > 0).T for k in order], axis=-1).astype(np.uint8)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there are masks."""
        return bool(self._masks(index))

    def load_segmentation_geometry(self, index: str) -> None:
        """Masks know no grid of their own."""

    def overlooked(self, ignored: Any = ()) -> list[Any]:
        """CHAOS comes with MR beside CT: nothing there is overlooked."""
        return []

    def remarks(self, index: str, details: dict[str, Any]) -> list[Any]:
        """There is no NIfTI header that could be odd."""
        return []

    def _slices(self, index: str) -> list[Path]:
        if index not in self._found:
            raise MissingFileError(f"there is no patient {index!r}; there are {list(self._found)}")
        return sorted((self._found[index] / _IMAGES).glob("*.dcm"))

    def _masks(self, index: str) -> list[Path]:
        self._slices(index)
        return sorted((self._found[index] / _MASKS).glob("*.png"))

    def _read(self, index: str, pixels: bool) -> tuple[list[Any], list[int]]:
        """Return the slices by name, and their order along the normal of the slices."""
        import pydicom

        try:
            slices = [
                pydicom.dcmread(p, stop_before_pixels=not pixels) for p in self._slices(index)
            ]
            heights = [float(np.dot(s.ImagePositionPatient, _normal(s))) for s in slices]
        except (pydicom.errors.InvalidDicomError, AttributeError) as error:
            raise UnreadableFileError(index, f"its DICOM slices cannot be read: {error}") from error
        return slices, [int(k) for k in np.argsort(heights)]

    def _affine(self, slices: list[Any], index: str) -> NDArray[np.float64]:
        first = slices[0]
        rows, columns = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = (float(s) for s in first.PixelSpacing)
        positions = np.asarray([s.ImagePositionPatient for s in slices], dtype=float)
        steps = np.diff(positions, axis=0)
        if len(slices) < 2 or not np.allclose(steps, steps.mean(axis=0), atol=0.1):
            raise GridMismatchError(index, "its slices do not lie evenly; a slice may be missing")
        across = (positions[-1] - positions[0]) / (len(slices) - 1)
        affine = np.eye(4)
        affine[:3, 0] = _TO_RAS @ rows * between_columns
        affine[:3, 1] = _TO_RAS @ columns * between_rows
        affine[:3, 2] = _TO_RAS @ across
        affine[:3, 3] = _TO_RAS @ positions[0]
        return affine


def _normal(dicom: Any) -> NDArray[np.float64]:
    rows, columns = np.reshape(np.asarray(dicom.ImageOrientationPatient, dtype=float), (2, 3))
    return np.cross(rows, columns)
