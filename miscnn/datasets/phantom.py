"""Abdominal CT volumes made from a seed: a phantom with kidneys and kidney tumours.

No patient has ever seen these images, so they may be made, changed and passed on freely. They
carry what makes real abdominal CT hard: organs of overlapping intensity, slices from 1 to 5 mm
thick and from 16 to 120 in number, partial volume, correlated noise, scanners that disagree,
and voxel grids that are flipped or oblique.

`make_subject` makes one subject in memory, `write_dataset` a folder of them in the layout of
KiTS and MIScnn, and `synthesize_ct` the same kind of image around any given label map.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.datasets._anatomy import Anatomy, draw_anatomy
from miscnn.datasets._ct import draw_contrast, draw_scanner, expose
from miscnn.datasets._painter import paint
from miscnn.datasets._shapes import Tissue
from miscnn.datasets._synthesis import directions, synthesize_ct

__all__ = [
    "PhantomSubject",
    "Tissue",
    "dataset_subject",
    "make_subject",
    "synthesize_ct",
    "write_dataset",
]

_SLICES = (16, 120)
_THICKNESS_MM = (1.0, 5.0)
_EXTENT_MM = (80.0, 300.0)
_MATRIX = (96, 128)
_SPACING_MM = (2.6, 3.6)
_KIDNEY_HALF_MM = 62.0  # half the height that both kidneys take, with some room
_ORIENTATIONS = ("RAS", "RAS", "RAS", "RAS", "LAS", "LAS", "LPS", "LPS", "RPS", "LPI")
_OBLIQUE_SHARE = 0.3
# Steps of sequences that fill the unit interval evenly, however many points are taken: the
# golden ratio, and the square root of 2, which keeps no step with it.
_EVEN_STEPS = (0.6180339887498949, 0.41421356237309515)


@dataclass(frozen=True)
class PhantomSubject:
    """One subject of the phantom.

    Attributes
    ----------
    image : array (x, y, z), int16
        CT image, HU.
    segmentation : array (x, y, z), uint8
        0 background, 1 kidney, 2 kidney tumour. A voxel belongs to the class that fills most
        of it if kidney and tumour fill at least half of it.
    organs : array (x, y, z), uint8
        The tissue (`Tissue`) in the middle of each voxel; kidney and tumour agree with
        ``segmentation``.
    affine : array (4, 4), float64
        Takes voxel indices to patient coordinates in mm, RAS+ (x to the patient's right, y
        anterior, z superior).
    """

    image: NDArray[np.int16]
    segmentation: NDArray[np.uint8]
    organs: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along the three array axes, mm (the column norms of the affine)."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z


def make_subject(
    rng: np.random.Generator,
    *,
    n_slices: int | None = None,
    thickness: float | None = None,
    in_plane: int | None = None,
    orientation: str | None = None,
    tilt: float | None = None,
) -> PhantomSubject:
    """Make one subject.

    The patient and the scanner depend on ``rng`` alone: with the same state of the generator,
    the other arguments only change the grid on which the same anatomy is seen.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of everything that varies.
    n_slices : int, optional
        Number of slices; drawn from 16 to 120 if not given.
    thickness : float, optional
        Thickness and distance of the slices, mm; drawn from 1 to 5 mm if not given, so that
        the slices cover 80 to 300 mm.
    in_plane : int, optional
        Rows and columns of a slice. If not given, 96 to 128, so that a voxel measures 2.6 to
        3.6 mm. The field of view does not depend on it: 512 gives the 0.7 to 0.9 mm of a
        clinical scanner.
    orientation : str, optional
        Direction of the three array axes, such as ``"RAS"``, ``"LPS"`` or, with the slice axis
        first, ``"IPL"``. If not given, one of RAS (four times of ten), LAS,
        LPS, RPS and LPI is drawn.
    tilt : float, optional
        Angle, degrees, by which the grid is turned about a random axis. If not given, it is 0
        for seven subjects of ten and 3 to 12 degrees for the others.

    Returns
    -------
    PhantomSubject

    Raises
    ------
    ValueError
        If a number is not positive, or the orientation is not one.

    Examples
    --------
    >>> import numpy as np
    >>> subject = make_subject(np.random.default_rng(0), n_slices=20, thickness=5)
    >>> subject.image.shape[2], str(subject.image.dtype)
    (20, 'int16')
    >>> sorted(set(subject.segmentation.ravel().tolist()))
    [0, 1, 2]
    """
    _check(n_slices, thickness, in_plane)
    even = rng.uniform(size=2)
    n_slices, thickness = _slices(n_slices, thickness, float(even[0]), float(even[1]))
    # Drawn whether needed or not, so that what follows does not depend on the arguments.
    drawn_orientation = _ORIENTATIONS[int(rng.integers(len(_ORIENTATIONS)))]
    drawn_tilt = rng.uniform(3, 12) * float(rng.uniform() < _OBLIQUE_SHARE)
    axis = rng.standard_normal(3)
    framing = rng.uniform(size=3)
    contrast = draw_contrast(rng)
    anatomy = draw_anatomy(rng, contrast)
    scanner = draw_scanner(rng)

    width = 2 * anatomy.body[1][0] * float(anatomy.scale[0]) * (1.05 + 0.13 * framing[0])
    if in_plane is None:
        wanted = _SPACING_MM[0] + (_SPACING_MM[1] - _SPACING_MM[0]) * framing[1]
        in_plane = int(np.clip(round(width / wanted), *_MATRIX))
    size = (in_plane, in_plane, n_slices)
    spacing = (width / in_plane, width / in_plane, thickness)

    turn, order = directions(drawn_orientation if orientation is None else orientation)
    tilted = _turn(axis, drawn_tilt if tilt is None else tilt)
    # Painted with the axes in the order left-right, back-front, slices; turned round at the end.
    columns = tilted @ turn[:, np.argsort(order)] * spacing
    affine = np.eye(4)
    affine[:3, :3] = columns
    middle = _middle(anatomy, n_slices * thickness, float(framing[2]))
    affine[:3, 3] = middle - columns @ ((np.array(size) - 1) / 2)

    painting = paint(anatomy, affine, size)
    image = expose(painting.hu, spacing, 2, scanner, rng)
    segmentation = np.zeros(size, dtype=np.uint8)
    inside = painting.kidney + painting.tumour >= 0.5
    segmentation[inside] = 1
    segmentation[inside & (painting.tumour > painting.kidney)] = 2
    organs = np.where(segmentation > 0, segmentation, painting.organs)
    affine[:3, :3] = affine[:3, order]
    return PhantomSubject(
        np.ascontiguousarray(image.transpose(order)),
        np.ascontiguousarray(segmentation.transpose(order)),
        np.ascontiguousarray(organs.transpose(order)),
        affine,
    )


def dataset_subject(index: int, seed: int = 0, *, in_plane: int | None = None) -> PhantomSubject:
    """Make subject ``index`` of the data set with this seed, as `write_dataset` writes it.

    Number and thickness of the slices follow a sequence that fills their range evenly, so
    that any few subjects spread over it. A subject does not depend on how many there are.

    Parameters
    ----------
    index : int
        Number of the subject, from 0.
    seed : int
        Seed of the data set.
    in_plane : int, optional
        Rows and columns of a slice, see `make_subject`.
    """
    # Three numbers, since [seed, 0] is the first subject's and a single [seed] the same to NumPy.
    offset = np.random.default_rng([seed, 0, 1]).uniform(size=2)
    even = np.mod(offset + np.array(_EVEN_STEPS) * index, 1)
    n_slices, thickness = _slices(None, None, float(even[0]), float(even[1]))
    rng = np.random.default_rng([seed, index])
    return make_subject(rng, n_slices=n_slices, thickness=thickness, in_plane=in_plane)


def write_dataset(
    path: str | os.PathLike[str],
    subjects: int = 12,
    seed: int = 0,
    *,
    in_plane: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a data set as NIfTI: ``<index>/imaging.nii.gz`` and ``<index>/segmentation.nii.gz``.

    Parameters
    ----------
    path : str or path
        Folder; made if absent. Subjects of the same name in it are replaced.
    subjects : int, default 12
        How many.
    seed : int, default 0
        Seed of the data set, not negative.
    in_plane : int, optional
        Rows and columns of a slice, see `make_subject`.
    progress : callable, optional
        Called as ``progress(done, subjects)`` after each subject.

    Returns
    -------
    list of str
        The indices, ``phantom_000`` and so on.

    Raises
    ------
    ValueError
        If ``subjects`` is less than 1 or ``seed`` is negative.
    """
    if subjects < 1:
        raise ValueError(f"subjects must be at least 1, got {subjects!r}.")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed!r}.")
    folder = Path(path)
    indices = []
    for number in range(subjects):
        subject = dataset_subject(number, seed, in_plane=in_plane)
        index = f"phantom_{number:03d}"
        _write(folder / index / "imaging.nii.gz", subject.image, subject.affine)
        _write(folder / index / "segmentation.nii.gz", subject.segmentation, subject.affine)
        indices.append(index)
        if progress is not None:
            progress(number + 1, subjects)
    return indices


def _write(
    target: Path, array: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64]
) -> None:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_dim_info(freq=0, phase=1, slice=2)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    with atomic_path(target) as temporary:
        nib.save(image, temporary)


def _check(n_slices: int | None, thickness: float | None, in_plane: int | None) -> None:
    if n_slices is not None and n_slices < 1:
        raise ValueError(f"n_slices must be at least 1, got {n_slices!r}.")
    if thickness is not None and not 0 < thickness < np.inf:
        raise ValueError(f"thickness must be a positive number of mm, got {thickness!r}.")
    if in_plane is not None and in_plane < 8:
        raise ValueError(f"in_plane must be at least 8 voxels, got {in_plane!r}.")


def _slices(
    n_slices: int | None, thickness: float | None, first: float, second: float
) -> tuple[int, float]:
    """Number and thickness (mm) of the slices from two numbers in [0, 1).

    The number comes first, evenly over its range; the thickness then from those that make the
    slices cover neither too little nor too much.
    """
    if n_slices is None:
        low, high = float(_SLICES[0]), float(_SLICES[1])
        if thickness is not None:
            low = min(max(low, _EXTENT_MM[0] / thickness), high)
            high = max(min(high, _EXTENT_MM[1] / thickness), low)
        n_slices = int(np.floor(low + (high - low) * first + 0.5))
    if thickness is None:
        thin = np.clip(_EXTENT_MM[0] / n_slices, *_THICKNESS_MM)
        thick = np.clip(_EXTENT_MM[1] / n_slices, *_THICKNESS_MM)
        # Scanners offer steps, not any thickness.
        thickness = float(np.ceil((thin + (thick - thin) * second) * 20) / 20)
        thickness = min(thickness, _THICKNESS_MM[1])
    return n_slices, thickness


def _middle(anatomy: Anatomy, extent: float, share: float) -> NDArray[np.float64]:
    """The point of the patient, mm, in the middle of the scan.

    The scan holds both kidneys if it is long enough; if not, the larger tumour's middle.
    """
    centres = anatomy.centres * anatomy.scale
    room = extent / 2 - _KIDNEY_HALF_MM
    height = float(centres[:2, 2].mean()) + (share - 0.5) * max(0.7 * room, 20)
    tumour = float(centres[2, 2])
    reach = max(extent / 2 - 15, 0)
    height = min(max(height, tumour - reach), tumour + reach)
    return np.array([0, anatomy.body[0][1] * anatomy.scale[1] - 8, height])


def _turn(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Rotation (3, 3) about an axis (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    matrix: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    )
    return matrix
