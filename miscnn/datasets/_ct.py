"""The physics of a CT image: contrast of tissues, sharpness, noise, scanner calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from miscnn.datasets._fields import FloatArray
from miscnn.datasets._shapes import Tissue

AIR_HU = -1000.0
LOWEST_HU, HIGHEST_HU = -1024, 3071  # what 12 bits with the usual offset can hold
_SHARPNESS_MM = 0.7  # standard deviation of the point spread of a soft-tissue kernel
_GRAIN_MM = 0.9  # the same of the kernel that correlates the noise
_GRAIN_VOXELS = 0.6
_GRAIN_SLICES = 0.3


@dataclass(frozen=True)
class Scanner:
    """One scanner with its protocol.

    Attributes
    ----------
    shift : float
        Added to every voxel, HU.
    gain : float
        Factor on the HU of every voxel (another tube voltage, another calibration).
    noise : float
        Standard deviation of the noise in the middle of the body, HU.
    """

    shift: float
    gain: float
    noise: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner: shift up to ±6 HU, gain 0.98 to 1.02, noise 13 to 25 HU."""
    return Scanner(rng.uniform(-6, 6), rng.uniform(0.98, 1.02), rng.uniform(13, 25))


def draw_contrast(rng: np.random.Generator) -> dict[Tissue, float]:
    """Mean HU of the tissues of one patient at one moment after the injection.

    The phases run from portal venous (arteries still bright) to
    nephrographic. Kidney, liver, spleen and vessels vary enough from patient to patient to
    overlap; the tumour stays 60 to 76 HU below the kidney it grows in.
    """
    late = rng.uniform(0.3, 1)
    kidney = rng.uniform(144, 168)
    liver = kidney - rng.normal(36, 7)
    return {
        Tissue.AIR: AIR_HU,
        Tissue.TABLE: rng.uniform(-180, -90),
        Tissue.SKIN: rng.uniform(-10, 20),
        Tissue.FAT: rng.uniform(-112, -92),
        Tissue.MUSCLE: rng.uniform(48, 58),
        Tissue.CORTICAL_BONE: rng.uniform(450, 700),
        Tissue.MARROW: rng.uniform(130, 210),
        Tissue.DISC: rng.uniform(75, 105),
        Tissue.SPINAL_CANAL: rng.uniform(25, 40),
        Tissue.KIDNEY: kidney,
        Tissue.TUMOUR: kidney - rng.uniform(60, 76),
        Tissue.LIVER: liver,
        Tissue.SPLEEN: kidney - rng.normal(22, 7),
        Tissue.PANCREAS: liver - rng.uniform(5, 25),
        Tissue.GALLBLADDER: rng.uniform(2, 18),
        Tissue.ARTERY: 235 - 80 * late + rng.normal(0, 8),
        Tissue.VEIN: 120 + 40 * late + rng.normal(0, 8),
        Tissue.BOWEL_WALL: rng.uniform(75, 115),
        Tissue.BOWEL_CONTENT: rng.uniform(10, 40),
        Tissue.BOWEL_GAS: -960.0,
        Tissue.LUNG: rng.uniform(-880, -800),
        Tissue.HEART: 120 + 40 * late + rng.normal(0, 8),
        Tissue.BLADDER: rng.uniform(0, 15),
    }


def expose(
    hu: FloatArray,
    spacing: Sequence[float],
    slice_axis: int,
    scanner: Scanner,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """Turn the true attenuation of voxels into an acquired image.

    The image is blurred in the plane by the kernel, gets the scanner's calibration and
    correlated noise (stronger in the middle of the body, which fewer photons reach), and is
    rounded to whole HU.

    Parameters
    ----------
    hu : array (x, y, z), float32
        HU of every voxel; not changed.
    spacing : sequence of 3 float
        Voxel size, mm.
    slice_axis : int
        The axis along which slices are stacked.
    scanner : Scanner
        Calibration and noise.
    rng : numpy.random.Generator
        Source of the noise.
    """
    plane = [axis for axis in range(3) if axis != slice_axis]
    image = hu
    for axis in plane:
        sigma = _SHARPNESS_MM / spacing[axis]
        if sigma > 0.3:  # below, the blur is that of the voxel itself
            image = ndimage.gaussian_filter1d(image, sigma, axis=axis, truncate=3)
    noise = correlated_noise(hu.shape, spacing, slice_axis, rng)
    noise *= _noise_profile(hu.shape, spacing, slice_axis, scanner.noise)
    noise += image
    noise *= np.float32(scanner.gain)
    noise += np.float32(scanner.shift)
    np.rint(noise, out=noise)
    np.clip(noise, LOWEST_HU, HIGHEST_HU, out=noise)
    return noise.astype(np.int16)


def correlated_noise(
    shape: Sequence[int], spacing: Sequence[float], slice_axis: int, rng: np.random.Generator
) -> FloatArray:
    """Gaussian noise of unit variance with the grain of a reconstruction kernel."""
    noise: FloatArray = rng.standard_normal(tuple(shape), dtype=np.float32)
    for axis in range(3):
        sigma = _GRAIN_SLICES
        if axis != slice_axis:
            sigma = max(_GRAIN_VOXELS, _GRAIN_MM / spacing[axis])
        if noise.shape[axis] == 1:
            continue
        radius = int(np.ceil(3 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        kernel /= np.sqrt(np.sum(kernel**2))  # keeps the variance, not the mean
        # Wrapped round: at a mirrored border the same value would count twice.
        ndimage.correlate1d(noise, kernel, axis=axis, output=noise, mode="wrap")
    return noise


def _noise_profile(
    shape: Sequence[int], spacing: Sequence[float], slice_axis: int, sigma: float
) -> FloatArray:
    """Standard deviation of the noise: ``sigma`` in the middle, less towards the border."""
    square = np.zeros((1, 1, 1), dtype=np.float32)
    for axis in range(3):
        if axis == slice_axis:
            continue
        position = (np.arange(shape[axis]) - (shape[axis] - 1) / 2) * spacing[axis]
        view = [1, 1, 1]
        view[axis] = -1
        square = square + (position / 110).astype(np.float32).reshape(view) ** 2
    profile: FloatArray = np.float32(sigma) * (0.6 + 0.4 * np.exp(-0.5 * square)).astype(np.float32)
    return profile
