"""Bringing volumes to one orientation in the patient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.processing.blocks import Block
from miscnn.processing.parts import Parts
from miscnn.processing.subfunctions._arguments import check_prediction
from miscnn.processing.subfunctions._blockwise import as_float
from miscnn.processing.subfunctions.base import Subfunction

_PAIRS = ("LR", "PA", "IS")
_CANONICAL = "RAS"

ORIENTATIONS: tuple[str, ...] = tuple(
    "".join(letters)
    for pairs in itertools.permutations(_PAIRS)
    for letters in itertools.product(*pairs)
)
"""The 48 ways in which the axes of an array can run in a patient."""


class Orientation(Subfunction):
    """Let the axes of every volume run in the same directions of the patient.

    Axes are exchanged and reversed, and nothing is interpolated: every voxel keeps its value
    and its place in the patient, and predictions are taken back voxel by voxel.

    Parameters
    ----------
    orientation : str, optional
        Where the array's axes are to run *to*: one letter of each pair L/R (left, right), P/A
        (posterior, anterior) and I/S (inferior, superior), in the order of the axes, as in
        :attr:`Geometry.orientation <miscnn.data_loading.geometry.Geometry.orientation>`.
        ``"canonical"`` is ``"RAS"``. None leaves volumes as they are in their files.

    Raises
    ------
    ConfigurationError
        If ``orientation`` is none of the 48.

    Notes
    -----
    An oblique volume is not rotated: its axes are brought to the nearest directions, each
    direction being used once. The slice axis goes where its axis goes. Arguments of later parts
    that are given per axis (spacing, patch shape) then mean the new axes; put this one first.

    Subjects in 2D have no place in the patient and are refused, unless ``orientation`` is None.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.geometry import Geometry
    >>> from miscnn.data_loading.sample import Sample
    >>> grid = Geometry((4, 5, 6), np.diag([-1.0, -1.0, 3.0, 1.0]))
    >>> sample = Sample("case", np.zeros((4, 5, 6, 1), np.float32), geometry=grid)
    >>> grid.orientation, Orientation("SAR").preprocessing(sample).geometry
    ('LPS', Geometry(shape=(6, 5, 4), spacing=(3, 1, 1) mm, SAR))
    """

    moves_voxels = True
    follows_geometry = True
    takes_stored_type = True

    def __init__(self, orientation: str | None = _CANONICAL) -> None:
        if orientation is not None and not (
            isinstance(orientation, str) and _letters(orientation) in ORIENTATIONS
        ):
            raise ConfigurationError(
                f"orientation={orientation!r} is unknown; expected one letter of each pair L/R, "
                'P/A and I/S, such as "RAS" or "LPS", "canonical" for "RAS", or None to leave '
                "volumes as they are"
            )
        self.orientation = orientation

    def target_geometry(self, geometry: Geometry, index: str = "") -> Geometry:
        """Return the grid that a volume on ``geometry`` is brought to.

        Raises
        ------
        SampleError
            If the grid is no volume.
        """
        order, flips = self._axes(geometry, index)
        if not _moves(order, flips):
            return geometry
        linear, origin = geometry.affine[:3, :3], geometry.affine[:3, 3].copy()
        affine = np.eye(4)
        for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
            column = linear[:, source]
            if flip:
                origin += column * (geometry.shape[source] - 1)
                column = 0.0 - column  # not -column, which makes zeros negative
            affine[:3, axis] = column
        affine[:3, 3] = origin
        shape = tuple(geometry.shape[source] for source in order)
        return Geometry(shape, affine, order.index(geometry.slice_axis))

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Turn image and segmentation; both are views wherever types allow it."""
        order, flips = self._axes(sample.geometry, sample.index)
        result = sample.copy()
        result.image = as_float(sample)
        if not _moves(order, flips):
            return result
        result.geometry = self.target_geometry(sample.geometry, sample.index)
        result.image = _turned(result.image, order, flips)
        if sample.segmentation is not None:
            result.segmentation = _turned(sample.segmentation, order, flips)
        return result

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        """Turn a prediction back; a view of it."""
        order, flips = self._axes(sample.geometry, sample.index)
        shape = [sample.geometry.shape[source] for source in order]
        check_prediction(sample.index, prediction, shape, activation_output)
        if not _moves(order, flips):
            return prediction
        back = [order.index(axis) for axis in range(len(order))]
        return _turned(prediction, back, [flips[axis] for axis in back])

    def postprocessing_blocks(self, sample: Sample, parts: Parts) -> Parts:
        """Turn a prediction back, block by block."""
        order, flips = self._axes(sample.geometry, sample.index)
        if not _moves(order, flips):
            return parts
        back = [order.index(axis) for axis in range(len(order))]
        turns = [flips[axis] for axis in back]
        shape = sample.geometry.shape

        def turned(block: Block) -> Block:
            box = _turned_box(block.box, back, turns, shape)
            return Block(tuple(p.start for p in box), _turned(block.values, back, turns))

        covered = _turned_box(parts.covered, back, turns, shape)
        return Parts(map(turned, parts.blocks), covered, parts.background, order[parts.axis])

    def axis_after(self, geometry: Geometry, axis: int, index: str = "") -> int:
        """Return where an axis of a volume on ``geometry`` is afterwards."""
        return self._axes(geometry, index)[0].index(axis)

    def _axes(self, geometry: Geometry, index: str) -> tuple[list[int], list[bool]]:
        """Return for each new axis the old one, and whether it is reversed."""
        if self.orientation is None:
            return list(range(geometry.ndim)), [False] * geometry.ndim
        if geometry.ndim != 3:
            raise SampleError(
                index,
                f"orientation={self.orientation!r} needs a volume that lies in a patient, but the "
                f"image has {geometry.ndim} spatial axes; leave Orientation out of the chain",
            )
        wanted = _letters(self.orientation)
        patient = geometry.patient_axes
        order = [patient.index(_direction(letter)) for letter in wanted]
        now = geometry.orientation
        return order, [now[axis] != letter for axis, letter in zip(order, wanted, strict=True)]


def _letters(orientation: str) -> str:
    return _CANONICAL if orientation.lower() == "canonical" else orientation.upper()


def _direction(letter: str) -> int:
    return next(axis for axis, pair in enumerate(_PAIRS) if letter in pair)


def _moves(order: list[int], flips: list[bool]) -> bool:
    return any(flips) or order != sorted(order)


def _turned_box(
    box: Sequence[slice], order: list[int], flips: list[bool], shape: Sequence[int]
) -> tuple[slice, ...]:
    """Return where a box lies on the turned grid of the given shape."""
    parts = [box[axis] for axis in order]
    return tuple(
        slice(n - part.stop, n - part.start) if flip else part
        for part, flip, n in zip(parts, flips, shape, strict=True)
    )


def _turned(array: NDArray[Any], order: list[int], flips: list[bool]) -> NDArray[Any]:
    """Return a view with other axes; further axes stay at the end."""
    spatial = len(order)
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    return array.transpose(*order, *range(spatial, array.ndim))[steps]
