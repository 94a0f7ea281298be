"""Whether the file of a prediction lies on the voxels of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._adapted import innermost
from miscnn.data_loading.formats.image_file import ImageFile, short, volume_shape
from miscnn.data_loading.formats.nifti_file import open_nifti
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import DICOMInterface, ITKInterface, NIfTIInterface
from miscnn.data_loading.interfaces.base import geometry_from_details
from miscnn.exceptions import GridMismatchError

# What float32 headers lose: a share of the smallest voxel edge, or mm.
_VOXELS, _MM = 1e-2, 1e-3


def on_image_grid(
    prediction: NDArray[Any], interface: Any, index: str, folder: Path, image: Geometry
) -> NDArray[Any]:
    """Return a prediction in the order of the image's axes, if its file lies on its voxels.

    Formats that know no position are taken as they are. Only the header is read.

    Parameters
    ----------
    prediction : ndarray
        As the interface has read it.
    interface : DataInterface
    index : str
    folder : Path
        That of the prediction.
    image : Geometry

    Raises
    ------
    GridMismatchError
        If the voxels lie elsewhere than the image's.
    """
    file = _file(interface, index, folder)
    if file is None:
        return prediction
    shape = volume_shape(file.shape)[: image.ndim]
    if prediction.shape[: image.ndim] != shape:
        return prediction  # not the file that was read
    grid = geometry_from_details(shape, {"affine": file.affine})
    if _fits(grid, image):
        return prediction
    turned = _turned(prediction, grid, image) if grid.usable else None
    if turned is None:
        raise GridMismatchError(
            index,
            f"the prediction {short(file.path)} does not lie on the image's grid. Prediction: "
            f"{_told(grid)}; image: {_told(image)}. Resample it onto the image (labels by nearest "
            "neighbour), or, if only its header is wrong, write it with the image's affine",
        )
    return turned


def _file(interface: Any, index: str, folder: Path) -> ImageFile | None:
    """Open what ``load_prediction`` has read: of several formats, the last that was written."""
    interface = _reader(interface, index)
    if isinstance(interface, DICOMInterface):
        endings: tuple[str, ...] = (".nii.gz", ".dcm")  # the latter are checked as they are read
    elif isinstance(interface, NIfTIInterface | ITKInterface):
        endings = interface.endings
    else:
        return None
    files = [path for each in endings if (path := folder / f"{index}{each}").is_file()]
    if not files:
        return None
    path = max(files, key=lambda p: p.stat().st_mtime_ns)
    if path.suffix == ".dcm":
        return None
    if isinstance(interface, DICOMInterface):
        return open_nifti(path, index)
    file: ImageFile = interface.open_prediction(path, index)
    return file


def _reader(interface: Any, index: str) -> Any:
    for member in getattr(interface, "members", ()):  # of several data sets in one
        if index in member.indices:
            interface = member.interface
    return innermost(interface)


def _fits(grid: Geometry, image: Geometry) -> bool:
    return grid.difference(image) <= max(_VOXELS * min(image.spacing), _MM)


def _turned(array: NDArray[Any], grid: Geometry, image: Geometry) -> NDArray[Any] | None:
    """Swap and flip axes so that the voxels lie in the image's order; None if they cannot."""
    n = image.ndim
    steps = np.rint(np.linalg.solve(grid.affine, image.affine)[:n, :n])
    if not (np.all(np.abs(steps).sum(axis=0) == 1) and np.all(np.abs(steps).sum(axis=1) == 1)):
        return None
    # Axis k of the image is axis axes[k] of the file.
    axes = [int(axis) for axis in np.abs(steps).argmax(axis=0)]
    flipped = tuple(k for k, axis in enumerate(axes) if steps[axis, k] < 0)
    change = np.eye(n + 1)
    change[:n, :n] = steps
    for k in flipped:
        change[axes[k], n] = grid.shape[axes[k]] - 1
    if not _fits(Geometry([grid.shape[axis] for axis in axes], grid.affine @ change), image):
        return None
    turned: NDArray[Any] = np.flip(array.transpose(*axes, *range(n, array.ndim)), flipped)
    return turned


def _told(grid: Geometry) -> str:
    origin = ", ".join(f"{value:.6g}" for value in grid.affine[:-1, -1])
    spacing = " x ".join(f"{value:.6g}" for value in grid.spacing)
    axes = f", axes {grid.orientation}" if grid.ndim == 3 else ""
    return f"shape {grid.shape}, origin ({origin}) mm, spacing {spacing} mm{axes}"
