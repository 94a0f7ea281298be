"""Sizes in the patient: ml of volumes, mm² of images."""

from __future__ import annotations

import math

from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.processing.subfunctions._arguments import is_number

# Sizes are products of floats: eight voxels of 0.125 ml are 1 ml.
_ROUNDING = 1e-9


def check_size(name: str, value: object) -> None:
    """Raise ConfigurationError unless a size is positive, or None."""
    if value is None or (is_number(value) and value > 0):  # type: ignore[operator]
        return
    unit = "millilitres" if name.endswith("ml") else "square millimetres"
    raise ConfigurationError(f"{name} is a size in {unit}, a number above 0; got {value!r}")


def voxels(geometry: Geometry, name: str, ml: float | None, mm2: float | None) -> float:
    """Return a size as a number of voxels (not rounded but for the rounding of floats).

    Parameters
    ----------
    geometry : Geometry
    name : str
        ``"minimum"`` or ``"maximum"``, for messages.
    ml, mm2 : float, optional
        The size for volumes and the one for 2D images.

    Raises
    ------
    ConfigurationError
        If the one that the geometry needs is not there, or voxels have no size.
    """
    size, unit, other = (mm2, "mm2", "ml") if geometry.ndim == 2 else (ml, "ml", "mm2")
    if size is None:
        kind = "a 2D image, whose areas are" if geometry.ndim == 2 else "a volume, which is"
        raise ConfigurationError(
            f"{name}_{other} was given for {kind} measured in {unit}; give {name}_{unit}"
        )
    if not geometry.usable:
        raise ConfigurationError(
            f"sizes cannot be measured on {geometry!r}: its voxels have no size; correct the "
            "affine or spacing of the image"
        )
    per_voxel = geometry.voxel_volume / (1.0 if geometry.ndim == 2 else 1000.0)
    number = size / per_voxel
    nearest = round(number) if number < math.inf else number
    return nearest if abs(number - nearest) <= _ROUNDING * number else number
