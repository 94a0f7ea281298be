"""What can be odd about a NIfTI header although it can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Remark

# Relative difference of the voxel sizes in pixdim and in the affine that is no float noise.
_SIZE_NOISE = 1e-3
_UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}


def header_remarks(header: Any, affine: NDArray[np.float64]) -> list[Remark]:
    """Compare pixdim with the affine in use, and look at the unit of length."""
    shape = (*header.get_data_shape(), 1, 1)[:3]
    sizes = np.array([s if n > 1 else 1 for s, n in zip(header["pixdim"][1:4], shape, strict=True)])
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    columns[np.equal(shape, 1)] = 1  # what a single slice's size is does not matter here
    remarks: list[Remark] = []
    if not np.allclose(sizes, columns, rtol=_SIZE_NOISE, atol=0, equal_nan=True):
        text = f"pixdim gives voxels of {_product(sizes)} mm, the affine {_product(columns)} mm"
        remarks.append(("warning", "spacing", f"{text}; the affine is used, correct pixdim"))
    unit, factor = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    if unit:
        text = f"the header's unit is {unit}, but lengths are read as mm"
        remedy = f"multiply the affine by {factor:g} and set the unit to mm"
        remarks.append(("warning", "units", f"{text}; {remedy}"))
    return remarks


def _product(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
