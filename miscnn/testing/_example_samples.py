"""Samples that subfunctions are checked on."""

from __future__ import annotations

import numpy as np

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample

_BODY, _ORGAN = -0.2, -0.05


def example_samples(rng: np.random.Generator) -> list[Sample]:
    """Make small samples in HU: a body with two labelled organs in air."""
    turned = np.array(
        [
            [0.0, -0.9, 0.6, 12.0],
            [0.8, 0.05, 0.1, -40.0],
            [0.02, 0.2, -3.9, 7.5],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    grids = {
        "3D, anisotropic": (Geometry.from_spacing((20, 17, 9), (0.8, 0.9, 4.0)), 1),
        "3D, oblique and flipped, 2 channels": (Geometry((16, 21, 11), turned), 2),
        "2D": (Geometry.from_spacing((24, 19), (0.7, 1.4)), 1),
    }
    return [_body(name, grid, channels, rng) for name, (grid, channels) in grids.items()]


def _body(name: str, geometry: Geometry, channels: int, rng: np.random.Generator) -> Sample:
    # Coordinates from -1 to 1 along each axis, voxel centres.
    axes = [(np.arange(n) + 0.5) * 2.0 / n - 1.0 for n in geometry.shape]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    body = np.sqrt(((place - _BODY) ** 2).sum(axis=0))
    organ = np.sqrt(((place - _ORGAN) ** 2).sum(axis=0))
    labels = np.where(body < 0.6, np.where(organ < 0.35, 2, 1), 0)
    image = np.where(body < 0.7, 40.0 + 100.0 * (labels == 2), -1000.0)[..., np.newaxis]
    noise = rng.normal(0.0, 10.0, (*geometry.shape, channels)) * (body < 0.7)[..., np.newaxis]
    sample = Sample(name, (image + noise).astype(np.float32), channels, 3, geometry)
    sample.add_segmentation(labels)
    return sample
