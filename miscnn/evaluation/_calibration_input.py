"""Probabilities and truth as calibration looks at them: piece by piece, checked, where needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from miscnn._scratch import release
from miscnn.evaluation._arrays import checked_spacing
from miscnn.evaluation.calibration_table import PREDICTED_CLASS
from miscnn.exceptions import ConfigurationError

_PIECE = 1 << 21
"""Values that are read at once; at least those of one line of the array."""
_BEYOND = 1e-4
"""How far a probability may lie outside of [0, 1]: weighted means of windows end beside."""
_SUM = 0.02
"""How far the sum of a voxel's probabilities may be from 1: float16 rounds each by 2^-11."""

_Box = tuple[slice, ...]


@dataclass(frozen=True)
class Events:
    """What probabilities are given for.

    Attributes
    ----------
    labels : tuple of int
        A number for each output, and last, if they exclude each other, that of the predicted class.
    members : tuple of tuple of int
        The labels of the truth that make up each output.
    exclusive : bool
        Whether they sum to 1.
    """

    labels: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    exclusive: bool

    def pairs(
        self, p: NDArray[np.float64], y: NDArray[Any]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Yield probability and outcome for each label, of p (outputs, voxels) and y (voxels,)."""
        for position, members in enumerate(self.members):
            true = y == members[0] if len(members) == 1 else np.isin(y, members)
            yield p[position], true
        if self.exclusive:
            best = p.argmax(axis=0)
            yield p.max(axis=0), best == y


def events_of(
    probabilities: NDArray[Any], truth: NDArray[Any], regions: Mapping[int, Sequence[int]] | None
) -> Events:
    """Check shapes and return what each output stands for."""
    kind = probabilities.dtype
    if kind.kind != "f":
        raise ConfigurationError(
            f"probabilities must be floats, got {kind}; of a label map there is no calibration"
        )
    if probabilities.shape[:-1] != truth.shape or not truth.ndim or not probabilities.shape[-1]:
        raise ConfigurationError(
            f"probabilities must have the shape of the truth and one axis of classes, "
            f"{(*truth.shape, 'classes')}, got {probabilities.shape}"
        )
    outputs = probabilities.shape[-1]
    if regions is not None:
        if len(regions) != outputs or not all(len(labels) for labels in regions.values()):
            raise ConfigurationError(
                f"regions must name the labels of each of the {outputs} outputs, got {regions!r}"
            )
        members = tuple(tuple(int(label) for label in each) for each in regions.values())
        return Events(tuple(int(label) for label in regions), members, False)
    highest = int(truth.max()) if truth.size else 0
    if highest >= outputs:
        raise ConfigurationError(
            f"truth holds the label {highest}, but there are probabilities of the classes 0 … "
            f"{outputs - 1} only; set voxels that nobody has annotated to 0 and give them as "
            "ignored"
        )
    return Events(
        (*range(outputs), PREDICTED_CLASS), tuple((label,) for label in range(outputs)), True
    )


def mask_like(values: ArrayLike, truth: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Return where values are not 0; they must have the shape of the truth."""
    mask: NDArray[np.bool_] = np.asarray(values) != 0
    if mask.shape != truth.shape:
        raise ConfigurationError(
            f"{name} must have the shape of the truth, {truth.shape}, got {mask.shape}"
        )
    return mask


def checked_probabilities(values: NDArray[Any], events: Events) -> NDArray[np.float64]:
    """Return probabilities (voxels, outputs) as float64 in [0, 1], of shape (outputs, voxels).

    Raises
    ------
    ConfigurationError
        If they are none.
    """
    p = np.array(values.T, dtype=np.float64, order="C")  # each class in one piece
    if not p.size:
        return p
    low, high = float(p.min()), float(p.max())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # NaN as well
        raise ConfigurationError(
            f"probabilities must lie in [0, 1], got values in [{low:.4g}, {high:.4g}]; apply "
            "softmax or sigmoid to logits first"
        )
    if events.exclusive:
        sums = p.sum(axis=0)
        worst = float(sums[np.abs(sums - 1).argmax()])
        if abs(worst - 1) > _SUM:
            raise ConfigurationError(
                f"the probabilities of a voxel must sum to 1, got a sum of {worst:.4g}; for "
                "classes that overlap (sigmoid) say with regions which labels each output stands "
                "for"
            )
    return np.clip(p, 0.0, 1.0, out=p)


def pieces(probabilities: NDArray[Any]) -> Iterator[_Box]:
    """Yield boxes of voxels that hold a few million values each, in the order of memory."""
    shape = probabilities.shape[:-1]
    order = sorted(range(len(shape)), key=lambda axis: -abs(probabilities.strides[axis]))
    size = probabilities.size
    steps = [1] * len(shape)
    for axis in order:
        # Axes are cut one by one until the rest is small enough.
        size //= max(shape[axis], 1)
        steps[axis] = max(1, _PIECE // max(size, 1))
        if size <= _PIECE:
            break
    else:
        axis = order[-1]
    cut = order[: order.index(axis) + 1]
    starts = [range(0, shape[each], steps[each]) for each in cut]
    for corner in itertools.product(*starts):
        box = [slice(None)] * len(shape)
        for each, start in zip(cut, corner, strict=True):
            box[each] = slice(start, start + steps[each])
        yield tuple(box)


def region_near(
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    spacing: Sequence[float],
    margin_mm: float | None,
    events: Events,
    prediction: ArrayLike | None,
    left_out: NDArray[np.bool_] | None,
) -> NDArray[np.bool_] | None:
    """Return which voxels lie within a margin of any foreground; None: all of them.

    Those of ``left_out`` are in no region and no foreground.
    """
    spacing = checked_spacing(spacing, truth.ndim)
    found = None if prediction is None else mask_like(prediction, truth, "prediction")
    if margin_mm is None:
        return None if left_out is None else ~left_out
    if not 0 <= margin_mm < float("inf"):
        raise ConfigurationError(
            f"margin_mm must be a distance in mm from 0 on, or None for the whole image, got "
            f"{margin_mm}"
        )
    foreground = truth != 0
    foreground |= _predicted(probabilities, events) if found is None else found
    if left_out is not None:
        foreground &= ~left_out
    region = _dilated(foreground, spacing, margin_mm)
    if left_out is not None:
        region &= ~left_out
    return region


def _predicted(probabilities: NDArray[Any], events: Events) -> NDArray[np.bool_]:
    mask = np.zeros(probabilities.shape[:-1], dtype=np.bool_)
    for piece in pieces(probabilities):
        part = probabilities[piece]
        mask[piece] = part.argmax(axis=-1) > 0 if events.exclusive else (part > 0.5).any(axis=-1)
        release(part)
    return mask


def _dilated(
    mask: NDArray[np.bool_], spacing: Sequence[float], margin_mm: float
) -> NDArray[np.bool_]:
    box = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0]
    if box is None:
        return mask
    wide = tuple(
        slice(max(0, side.start - reach), side.stop + reach)
        for side, reach in zip(box, (int(margin_mm / s) + 1 for s in spacing), strict=True)
    )
    far = np.ascontiguousarray(~mask[wide])
    # Distances are float32, so that a voxel right on the margin needs a little room.
    limit = margin_mm * (1 + 1e-6)
    near = edt.edt(far, anisotropy=tuple(spacing), black_border=False) <= limit
    region = np.zeros(mask.shape, dtype=np.bool_)
    region[wide] = near
    return region
