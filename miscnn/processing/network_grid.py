"""What the axes of a network's input will be, found out from headers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.slices import plane_axes
from miscnn.processing.subfunctions._regridding import Regridding
from miscnn.processing.subfunctions.orientation import Orientation

_MOST_HEADERS = 50


def network_grid(
    preprocessor: Preprocessor, indices: Sequence[str] | None = None
) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """Return patch shape (voxels) and voxel size (mm) in the axes of the network.

    Of the given subjects, or of all of the data set. Without a patch shape the median shape of
    the images stands for it. Only headers are read, of up to 50 subjects, and of the
    subfunctions only orientation, resampling and resizing are taken into account; each is None
    where there are no subjects to look at and the recipe does not say it.
    """
    patch = preprocessor.patch_shape
    if preprocessor.data_io is None:
        return patch, None
    indices = preprocessor.data_io.indices_list if indices is None else indices
    step = max(1, -(-len(indices) // _MOST_HEADERS))
    found = [_axes(preprocessor, preprocessor.data_io.geometry(i)) for i in indices[::step]]
    if not found:
        return patch, None
    spacing = np.median([spacing for _, spacing in found], axis=0)
    if patch is None:
        shape = np.median([shape for shape, _ in found], axis=0)
        patch = tuple(max(1, round(n)) for n in shape)
    return patch, tuple(float(s) for s in spacing)


def _axes(
    preprocessor: Preprocessor, geometry: Geometry
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing of one subject, in the axes of the network."""
    if preprocessor.slice_axis is not None:
        geometry = geometry.with_slice_axis(preprocessor.slice_axis)
    for subfunction in preprocessor.subfunctions:
        if isinstance(subfunction, Orientation):
            geometry = subfunction.target_geometry(geometry)
        if isinstance(subfunction, Regridding):
            blank = np.broadcast_to(np.float32(0), (*geometry.shape, 1))
            header = Sample("header", blank, geometry=geometry)
            geometry = geometry.resized(subfunction.target_shape(header))
    if not (preprocessor.is_slicewise or preprocessor.is_stacked):
        return geometry.shape, geometry.spacing
    plane = plane_axes(geometry.ndim, geometry.slice_axis)
    shape = tuple(geometry.shape[axis] for axis in plane)
    spacing = tuple(geometry.spacing[axis] for axis in plane)
    if not preprocessor.is_stacked:
        return shape, spacing
    slices = preprocessor.slices_per_volume or 1
    # Where the foreground is, and so how far apart random slices lie, no header tells: what is
    # not said counts as a foreground of half the volume.
    apart = preprocessor.slice_gap or max(1.0, geometry.n_slices / (2 * slices))
    gap = geometry.slice_thickness * apart
    return (*shape, slices), (*spacing, gap)
