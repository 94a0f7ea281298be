"""The contract of post-processing, put to the test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ContractError, MiscnnError
from miscnn.processing.postprocessing.base import PostProcessingStep

_IGNORED = 200


def check_postprocessing(step: PostProcessingStep) -> None:
    """Put a step of post-processing through the contract of its base class.

    It is applied to made label maps in 2D and 3D, with the classes 1, 2 and 3, objects of
    different sizes, holes, and a corner with an ignore label, on anisotropic and oblique grids.
    Those that the step refuses with an error of miscnn are passed over, unless it refuses all.

    Checked are: ``apply`` leaves what it is handed as it is and returns shape and type of it;
    ``edit`` does the same in place and returns nothing; both repeat; no label comes into being
    that was not there, nothing comes out of nothing, and voxels of the ignore label stay; the
    order in memory, the type and gaps between the voxels make no difference; with the axes
    mirrored or exchanged, and the geometry with them, the same voxels change; made again from
    its configuration as JSON, the step is equal and does the same; if it has an argument
    ``labels`` that is None, the step that :meth:`PostProcessingStep.for_label` makes of it for one
    class leaves the others as they are.

    Parameters
    ----------
    step : PostProcessingStep

    Raises
    ------
    ContractError
        Names the promise that is broken. It is an AssertionError.

    Examples
    --------
    >>> from miscnn.processing.postprocessing import KeepLargest
    >>> check_postprocessing(KeepLargest())
    """
    if not isinstance(step, PostProcessingStep):
        raise ContractError(
            f"{type(step).__name__} is no PostProcessingStep; derive the class from it"
        )
    refusals = []
    examples = _examples()
    for name, labels, geometry in examples:
        try:
            _Check(step, name, labels, geometry).run()
        except ContractError:
            raise
        except MiscnnError as refusal:
            refusals.append(f"{name}: {refusal}")
    if len(refusals) == len(examples):
        raise ContractError(
            f"{type(step).__name__} refuses every made label map. {'; '.join(refusals)}"
        )


def _examples() -> list[tuple[str, NDArray[np.uint8], Geometry]]:
    turned = np.array(
        [
            [0.0, -0.9, 0.6, 12.0],
            [0.8, 0.05, 0.1, -40.0],
            [0.02, 0.2, -3.9, 7.5],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    return [
        ("3D", _objects((22, 19, 13)), Geometry.from_spacing((22, 19, 13), (0.8, 0.9, 4.0))),
        ("3D, oblique and flipped", _objects((19, 24, 12)), Geometry((19, 24, 12), turned)),
        ("2D", _objects((26, 23)), Geometry.from_spacing((26, 23), (0.7, 1.4))),
    ]


def _objects(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw a large object with a hole, another one inside of it, and smaller ones beside."""
    labels = np.zeros(shape, dtype=np.uint8)

    def draw(start: int, stop: int, label: int) -> None:
        box = (slice(start, stop), *(slice(min(start, 2), stop - 1) for _ in shape[1:]))
        labels[box] = label

    draw(1, 12, 1)
    draw(3, 9, 2)
    labels[(slice(5, 7), *(slice(4, 6) for _ in shape[1:]))] = 0  # encloses nothing, but background
    labels[(10, *(4 for _ in shape[1:]))] = 0
    ends = (slice(-3, None) for _ in shape[1:])
    labels[(slice(14, 17), *ends)] = 1
    labels[(slice(14, 16), *(slice(2) for _ in shape[1:]))] = 2
    labels[(14, *(7 for _ in shape[1:]))] = 3
    labels[(slice(-1, None), *(slice(5, 8) for _ in shape[1:]))] = 3
    labels[(slice(2), *(slice(2) for _ in shape[1:]))] = _IGNORED
    return labels


@dataclass
class _Check:
    step: PostProcessingStep
    name: str
    labels: NDArray[np.uint8]
    geometry: Geometry

    def run(self) -> None:
        result = self._apply(self.step, self.labels)
        self._require(
            result.shape == self.labels.shape and result.dtype == self.labels.dtype,
            f"a label map of shape {self.labels.shape} and type {self.labels.dtype} came back as "
            f"{result.shape}, {result.dtype}; edit() changes values only",
        )
        self._check_values(result)
        self._check_repeatable(result)
        self._check_edit(result)
        self._check_memory(result)
        self._check_turned(result)
        self._check_config(result)
        self._check_one_class()

    def _require(self, kept: bool, promise: str) -> None:
        if not kept:
            raise ContractError(
                f"{type(self.step).__name__} on the label map {self.name!r}: {promise}"
            )

    def _apply(
        self, step: PostProcessingStep, labels: NDArray[Any], geometry: Geometry | None = None
    ) -> NDArray[Any]:
        before = labels.copy()
        result = step.apply(labels, self.geometry if geometry is None else geometry, _IGNORED)
        self._require(
            bool(np.array_equal(labels, before)),
            "apply() changed the label map that it was handed; edit() gets a copy to change",
        )
        return result

    def _check_values(self, result: NDArray[Any]) -> None:
        known = set(np.unique(self.labels).tolist())
        new = sorted(set(np.unique(result).tolist()) - known)
        self._require(not new, f"it made the labels {new}, which were not there")
        self._require(
            bool(np.array_equal(result == _IGNORED, self.labels == _IGNORED)),
            "voxels of the ignore label changed, or others became it; leave out what equals "
            "ignore_label",
        )
        nothing = self._apply(self.step, np.zeros_like(self.labels))
        self._require(not nothing.any(), "it made objects where there was background only")

    def _check_repeatable(self, result: NDArray[Any]) -> None:
        again = self._apply(self.step, self.labels)
        self._require(
            bool(np.array_equal(result, again)),
            "it gave another result the second time; nothing may depend on chance or on what was "
            "done before",
        )

    def _check_edit(self, result: NDArray[Any]) -> None:
        edited = self.labels.copy()
        returned: Any = self.step.edit(edited, self.geometry, _IGNORED)
        self._require(returned is None, "edit() returned something; it changes the array handed in")
        self._require(
            bool(np.array_equal(edited, result)),
            "edit() and apply() give different results; apply() need not be overwritten",
        )

    def _check_memory(self, result: NDArray[Any]) -> None:
        spread = np.zeros(tuple(2 * n for n in self.labels.shape), dtype=np.uint8)
        gaps = spread[(slice(None, None, 2),) * spread.ndim]
        gaps[...] = self.labels
        for kind, array in (
            ("of type int32", self.labels.astype(np.int32)),
            ("in Fortran order", np.asfortranarray(self.labels)),
            ("with gaps between the voxels", gaps),
        ):
            self._require(
                bool(np.array_equal(self._apply(self.step, array), result)),
                f"a label map {kind} gave another result",
            )

    def _check_turned(self, result: NDArray[Any]) -> None:
        ndim = self.labels.ndim
        for axis in range(ndim):
            geometry = _mirrored(self.geometry, axis)
            turned = self._apply(self.step, np.flip(self.labels, axis), geometry)
            self._require(
                bool(np.array_equal(turned, np.flip(result, axis))),
                f"with axis {axis} of the array and of the geometry mirrored, it changed other "
                "voxels of the patient; take directions from the geometry",
            )
        axes = (*range(1, ndim), 0)
        turned = self._apply(
            self.step, self.labels.transpose(axes), _exchanged(self.geometry, axes)
        )
        self._require(
            bool(np.array_equal(turned, result.transpose(axes))),
            "with the axes of the array and of the geometry exchanged, it changed other voxels of "
            "the patient; take directions and sizes from the geometry",
        )

    def _check_config(self, result: NDArray[Any]) -> None:
        cls = type(self.step)
        try:
            document = json.loads(json.dumps(serialize(self.step)))
            made = deserialize(document, {document["class"]: cls})
        except (TypeError, MiscnnError) as error:
            self._require(
                False,
                f"it cannot be made again from its configuration as JSON ({error}); store each "
                "argument of the constructor under its own name, and let it take JSON values",
            )
        self._require(made == self.step, "made again from its JSON, it is not equal")
        self._require(
            bool(np.array_equal(self._apply(made, self.labels), result)),
            "made again from its JSON, it gives another result",
        )

    def _check_one_class(self) -> None:
        if getattr(self.step, "labels", "") is not None:
            return
        for label in (1, 2, 3):
            result = self._apply(self.step.for_label(label), self.labels)
            others = np.isin(self.labels, (0, label), invert=True)
            self._require(
                bool(np.array_equal(result[others], self.labels[others])),
                f"made for class {label}, it changed voxels of another class",
            )


def _mirrored(geometry: Geometry, axis: int) -> Geometry:
    step = np.eye(geometry.ndim + 1)
    step[axis, axis], step[axis, -1] = -1.0, geometry.shape[axis] - 1.0
    return Geometry(geometry.shape, geometry.affine @ step, geometry.slice_axis)


def _exchanged(geometry: Geometry, axes: tuple[int, ...]) -> Geometry:
    affine = geometry.affine[:, (*axes, geometry.ndim)]
    shape = [geometry.shape[axis] for axis in axes]
    return Geometry(shape, affine, axes.index(geometry.slice_axis))
