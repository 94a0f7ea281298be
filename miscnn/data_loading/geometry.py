"""Where the voxels of an image lie in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn.exceptions import ConfigurationError

_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
# A spacing counts as tied with the largest if it is this close to it (relative).
_SPACING_TIE = 1e-3


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in patient space.

    Parameters
    ----------
    shape : sequence of int
        Number of voxels along each spatial axis, in the order of the array; 2 or 3 axes.
    affine : array_like, optional
        Matrix of shape (n + 1, n + 1), float64, that takes voxel indices to millimetres. In 3D
        the target is RAS+ (right, anterior, superior), as in NIfTI. Default: identity.
    slice_axis : int, optional
        Array axis across the slices. Default: found out, see :attr:`slice_axis`.

    Notes
    -----
    Voxel indices name voxel *centres*. All methods return new objects.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    _given_slice_axis: int | None

    def __init__(
        self,
        shape: Sequence[int],
        affine: ArrayLike | None = None,
        slice_axis: int | None = None,
    ) -> None:
        shape = tuple(int(n) for n in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ConfigurationError(
                f"a grid has 2 or 3 axes of at least one voxel each, got shape {shape}"
            )
        size = len(shape) + 1
        matrix = np.eye(size) if affine is None else np.array(affine, dtype=np.float64)
        if matrix.shape != (size, size):
            raise ConfigurationError(
                f"the affine of a {len(shape)}D grid has shape {(size, size)}, got {matrix.shape}"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", matrix)
        if slice_axis is not None and not 0 <= slice_axis < len(shape):
            raise ConfigurationError(
                f"slice_axis must be one of 0 … {len(shape) - 1}, got {slice_axis}"
            )
        object.__setattr__(self, "_given_slice_axis", slice_axis)

    @classmethod
    def from_spacing(cls, shape: Sequence[int], spacing: Sequence[float]) -> Geometry:
        """Make an axis-aligned grid with its first voxel at the origin.

        Parameters
        ----------
        shape : sequence of int
        spacing : sequence of float
            Voxel size per axis in mm.
        """
        if len(spacing) != len(shape):
            raise ConfigurationError(
                f"spacing {tuple(spacing)} and shape {tuple(shape)} differ in length"
            )
        return cls(shape, np.diag([*map(float, spacing), 1.0]))

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size per array axis in mm: the column norms of the affine."""
        columns = self.affine[:-1, :-1]
        return tuple(float(s) for s in np.linalg.norm(columns, axis=0))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³ (area in mm² in 2D); exact for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:-1, :-1])))

    @cached_property
    def patient_axes(self) -> tuple[int, ...]:
        """For each array axis, the patient axis (0: x, 1: y, 2: z) it runs along best.

        Each patient axis is used once (greedy by the largest cosine), so that the answer is a
        permutation for oblique grids as well.
        """
        norms = np.asarray(self.spacing)
        cosines = np.abs(self.affine[:-1, :-1] / np.where(norms > 0, norms, 1.0))
        axes = [-1] * self.ndim
        for _ in range(self.ndim):
            patient, array = np.unravel_index(int(np.argmax(cosines)), cosines.shape)
            axes[int(array)] = int(patient)
            cosines[patient, :] = -1.0
            cosines[:, array] = -1.0
        return tuple(axes)

    @cached_property
    def orientation(self) -> str:
        """Letters towards which each array axis runs, such as ``"RAS"`` or ``"LPS"``."""
        letters = []
        for array, patient in enumerate(self.patient_axes):
            letters.append(_AXIS_LETTERS[patient][int(self.affine[patient, array] > 0)])
        return "".join(letters)

    @cached_property
    def slice_axis(self) -> int:
        """Array axis across the slices.

        What was given; else the axis of the largest spacing, and if more than one axis has it
        the one that runs nearest to the patient's long axis (z): slices that are thinner than
        their pixels lie across it too. In 2D the last. Grids made from this one keep it:
        slices are those of the scan, whatever it is resampled to.
        """
        if self._given_slice_axis is not None:
            return self._given_slice_axis
        if self.ndim == 2:
            return 1
        spacing = np.asarray(self.spacing)
        tied = np.flatnonzero(spacing >= spacing.max() * (1.0 - _SPACING_TIE))
        if len(tied) == 1:
            return int(tied[0])
        along_z = np.abs(self.affine[2, :3]) / np.where(spacing > 0, spacing, 1.0)
        return int(np.argmax(along_z))

    @property
    def n_slices(self) -> int:
        """Number of slices along :attr:`slice_axis`."""
        return self.shape[self.slice_axis]

    @property
    def slice_thickness(self) -> float:
        """Distance of neighbouring slices along :attr:`slice_axis` in mm."""
        return self.spacing[self.slice_axis]

    def resized(self, shape: Sequence[int]) -> Geometry:
        """Return the grid with ``shape`` voxels over the same extent.

        The outer faces of the corner voxels stay where they are, so that centres move by half
        the difference of the voxel sizes. Equal shapes give the very same affine.
        """
        new = tuple(int(n) for n in shape)
        if new == self.shape:
            return self
        factor = np.asarray(self.shape, dtype=np.float64) / np.asarray(new, dtype=np.float64)
        return self._remapped(new, factor, (factor - 1.0) / 2.0)

    def cropped(self, start: Sequence[int], shape: Sequence[int]) -> Geometry:
        """Return the grid of the box that begins at voxel ``start`` (may be negative: padding)."""
        if tuple(shape) == self.shape and not any(start):
            return self
        offset = np.asarray(start, dtype=np.float64)
        return self._remapped(tuple(shape), np.ones(self.ndim), offset)

    def _remapped(
        self, shape: tuple[int, ...], factor: NDArray[np.float64], offset: NDArray[np.float64]
    ) -> Geometry:
        step = np.eye(self.ndim + 1)
        step[:-1, :-1] = np.diag(factor)
        step[:-1, -1] = offset
        return Geometry(shape, self.affine @ step, self.slice_axis)

    def with_slice_axis(self, slice_axis: int | None) -> Geometry:
        """Return the same grid with another axis across the slices; None: find it out."""
        return Geometry(self.shape, self.affine, slice_axis)

    def difference(self, other: Geometry) -> float:
        """Return how far apart the two grids are, in mm.

        The largest distance between the positions that both give to the corner voxels;
        infinite if the shapes differ.
        """
        if self.shape != other.shape:
            return float("inf")
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"))
        points = np.vstack([corners.reshape(self.ndim, -1), np.ones(2**self.ndim)])
        distance = np.linalg.norm(((self.affine - other.affine) @ points)[:-1], axis=0)
        return float(distance.max())

    def matches(self, other: Geometry, tolerance: float = 1e-2) -> bool:
        """Tell whether both grids put every voxel at the same place.

        Parameters
        ----------
        tolerance : float
            Largest distance allowed, as a share of the smallest voxel edge. The default, one
            hundredth, forgives the float noise of headers and nothing that would be seen.
        """
        return self.difference(other) <= tolerance * min(self.spacing)

    def describe_difference(self, other: Geometry) -> str:
        """Say in words how this grid differs from another one, for messages."""
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        distance = self.difference(other)
        share = distance / min(other.spacing) if min(other.spacing) > 0 else float("inf")
        text = f"voxels lie up to {distance:.3g} mm ({share:.3g} voxels) apart"
        if self.orientation != other.orientation:
            text += f", orientation {self.orientation} against {other.orientation}"
        if not np.allclose(self.spacing, other.spacing, rtol=_SPACING_TIE, atol=0):
            mine, theirs = (" x ".join(f"{s:.4g}" for s in g.spacing) for g in (self, other))
            text += f", spacing {mine} mm against {theirs} mm"
        return text

    @property
    def usable(self) -> bool:
        """Whether the affine is finite and takes no two voxels to one place."""
        if not bool(np.all(np.isfinite(self.affine))):
            return False
        scale = float(np.prod(self.spacing))
        return scale > 0 and self.voxel_volume > 1e-6 * scale

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, (self.affine + 0.0).tobytes()))  # -0.0 equals 0.0

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.4g}" for s in self.spacing)
        return f"Geometry(shape={self.shape}, spacing=({spacing}) mm, {self.orientation})"
