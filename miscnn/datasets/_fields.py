"""Smooth random fields, as sums of plane waves.

A plane wave on a regular grid is an outer product of three one-dimensional waves, however
oblique the grid lies. A sum of waves is therefore one matrix product: exact, independent of
the grid it is sampled on, and far cheaper than filtering noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Matrix = NDArray[np.float64]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Waves:
    """A sum of plane waves ``sum_m a_m cos(k_m . p + phi_m)`` over positions p in mm.

    Attributes
    ----------
    vectors : array (m, 3)
        Wave vectors in radians per mm.
    phases : array (m,)
        Phases in radians.
    amplitudes : array (m,)
        Amplitudes, in the unit of the field.
    """

    vectors: Matrix
    phases: Matrix
    amplitudes: Matrix

    def sample(self, affine: Matrix, box: Box) -> FloatArray:
        """Values on the part ``box`` of the grid whose indices ``affine`` (4, 4) takes to mm."""
        # Column m of `steps` says by how much the phase advances per index along each axis.
        steps = self.vectors @ affine[:3, :3]
        start = self.vectors @ affine[:3, 3] + self.phases
        i, j, k = (
            np.exp(1j * np.outer(np.arange(part.start, part.stop), steps[:, axis]))
            for axis, part in enumerate(box)
        )
        k = k * (self.amplitudes * np.exp(1j * start))
        plane = (i.astype(np.complex64)[:, None, :] * j.astype(np.complex64)).reshape(
            -1, len(self.phases)
        )
        left = np.concatenate([plane.real, -plane.imag], axis=1)
        right = np.concatenate([k.real, k.imag], axis=1).T.astype(np.float32)
        field: FloatArray = (left @ right).reshape(len(i), len(j), len(k))
        return field

    def at(self, points: Matrix) -> Matrix:
        """Values at single positions ``points`` (n, 3) in mm."""
        angle = points @ self.vectors.T + self.phases
        values: Matrix = np.cos(angle) @ self.amplitudes
        return values


def draw_waves(
    rng: np.random.Generator, count: int, wavelength: tuple[float, float], rms: float
) -> Waves:
    """Waves in random directions with wavelengths (mm) from a range.

    Long waves get the larger amplitudes (in proportion to the wavelength), so that a
    displacement made of them strains every scale alike.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    count : int
        Number of waves.
    wavelength : (float, float)
        Shortest and longest wavelength, mm; drawn log-uniformly.
    rms : float
        Root mean square of the field.
    """
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.exp(rng.uniform(np.log(wavelength[0]), np.log(wavelength[1]), count))
    phases = rng.uniform(0, 2 * np.pi, count)
    amplitudes = lengths * rms / np.sqrt(np.sum(lengths**2) / 2)
    return Waves(2 * np.pi * directions / lengths[:, None], phases, amplitudes)


def join(*parts: Waves) -> Waves:
    """The sum of several fields."""
    return Waves(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.phases for part in parts]),
        np.concatenate([part.amplitudes for part in parts]),
    )
