"""Running subfunctions one after the other, and undoing them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import to_json
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.augmentation.base import Augmentation
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions._blockwise import float_copy, own_copy
from miscnn.processing.subfunctions.base import PointwiseSubfunction, Subfunction, speaks_for


@dataclass(frozen=True)
class Step:
    """What undoing one subfunction needs.

    Attributes
    ----------
    geometry : Geometry
        The grid before it.
    extended : mapping
        What it left behind.
    shape_after : tuple of int
        Spatial shape of the image that it returned.
    """

    geometry: Geometry
    extended: Mapping[str, Any]
    shape_after: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {
            "shape": list(self.geometry.shape),
            "affine": self.geometry.affine.tolist(),
            "slice_axis": self.geometry.slice_axis,
            "extended": to_json(self.extended),
            "shape_after": list(self.shape_after),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Step:
        """Undo :meth:`to_json`."""
        geometry = Geometry(value["shape"], value["affine"], value["slice_axis"])
        return cls(geometry, dict(value["extended"]), tuple(value["shape_after"]))


def split_chain(
    subfunctions: Sequence[Subfunction],
) -> tuple[list[Subfunction], list[PointwiseSubfunction]]:
    """Split a chain into what must see whole images and the pointwise rest at its end.

    The first part is run once per subject and kept; the rest is cheap and is run on each
    patch. The kept data thereby depend neither on windows nor on what was fitted to a
    training set, and serve every fold.
    """
    head = list(subfunctions)
    tail: list[PointwiseSubfunction] = []
    while head and isinstance(head[-1], PointwiseSubfunction):
        tail.insert(0, head.pop())  # type: ignore[arg-type]  # checked in the line above
    return head, tail


def augmentation_position(
    subfunctions: Sequence[Subfunction], augmentation: Augmentation | None
) -> int:
    """Return how many subfunctions of the pointwise end run before the augmentation.

    All of them, unless the augmentation works on Hounsfield units: then those before the first
    one that leaves them.

    Raises
    ------
    ConfigurationError
        If the image has left Hounsfield units before the pointwise end of the chain.
    """
    head, tail = split_chain(subfunctions)
    if augmentation is None or not augmentation.hounsfield:
        return len(tail)
    leaving = [s for s in head if not s.keeps_hounsfield]
    if not leaving:
        return next((i for i, s in enumerate(tail) if not s.keeps_hounsfield), len(tail))
    chain = ", ".join(type(s).__name__ for s in subfunctions)
    name, last = type(leaving[0]).__name__, type(head[-1]).__name__
    mend = (
        f"before {last} has run on the whole volume. Put {name} after {last}: first resample, "
        "crop and pad, then window, then normalise"
    )
    if not isinstance(leaving[0], PointwiseSubfunction):
        mend = (
            f"which runs on the whole volume. Let {name} keep Hounsfield units, and scale at the "
            "end of the chain with Windowing(..., scale=(0, 1)) or Normalization; a subfunction "
            "of your own that keeps them says so by keeps_hounsfield = True"
        )
    raise ConfigurationError(
        f"{type(augmentation).__name__} works on Hounsfield units, but in the chain {chain} the "
        f"image leaves them with {name}, {mend}"
    )


def run_chain(
    sample: Sample, subfunctions: Sequence[Subfunction], training: bool
) -> tuple[Sample, list[Step]]:
    """Run subfunctions on a sample.

    Returns
    -------
    sample : Sample
        A new sample.
    steps : list of Step
        One per subfunction, for :func:`undo_chain`.

    Notes
    -----
    A subfunction may change what it is handed in place. The image that came in, which may be the
    caller's or mapped from a file, therefore goes to none but those that say that they do not.
    """
    steps = []
    original = sample.image
    for position, subfunction in enumerate(subfunctions):
        given = as_expected(sample, subfunction, subfunctions[:position])
        given.extended = {}
        if not _takes_stored_type(subfunction) and np.may_share_memory(given.image, original):
            given.image = own_copy(sample)
        result = subfunction.preprocessing(given, training)
        result = given if result is None else result
        result.scratch = sample.scratch
        if result.image.shape[:-1] != result.geometry.shape:
            if result.geometry is not sample.geometry:
                raise ConfigurationError(
                    f"{type(subfunction).__name__} returned an image of shape "
                    f"{result.image.shape[:-1]} with a geometry of {result.geometry.shape}"
                )
            # A subfunction that knows nothing of geometry has changed the size of the image.
            result.geometry = sample.geometry.resized(result.image.shape[:-1])
        steps.append(Step(sample.geometry, result.extended, result.geometry.shape))
        sample = result
    return sample, steps


def as_expected(sample: Sample, subfunction: Subfunction, before: Sequence[Subfunction]) -> Sample:
    """Return a copy of a sample as a subfunction counts on it.

    With a scratch, those before it may have left the image as it is stored. One that does not
    say that it gets along with that finds what it would find without a scratch.
    """
    given = sample.copy()
    if sample.scratch is not None and not _takes_stored_type(subfunction):
        if any(map(_takes_stored_type, before)):
            given.image = float_copy(sample)
        given.scratch = None
    return given


def _takes_stored_type(subfunction: Subfunction) -> bool:
    return speaks_for(subfunction, "takes_stored_type", "preprocessing", "measure", "transform")


def undo_chain(
    sample: Sample,
    subfunctions: Sequence[Subfunction],
    steps: Sequence[Step],
    probabilities: NDArray[np.float32],
    activation_output: bool,
    regions: Regions | None = None,
) -> NDArray[Any]:
    """Take network output back through the subfunctions, in reverse order.

    Probabilities are kept as long as possible, so that a resampling interpolates them and not
    labels. The argmax is taken (regions are decoded) before the first subfunction that works on
    labels only (``restores_probabilities`` is False), otherwise at the end.

    Returns
    -------
    ndarray
        Labels in the smallest unsigned type, or probabilities ``(…, classes or regions)`` if
        ``activation_output``.
    """
    stages = ways_back(subfunctions, steps)
    prediction = undo_stages(sample, stages, probabilities, True, activation_output, regions)
    expected = sample.geometry.shape + (probabilities.shape[-1:] if activation_output else ())
    check_taken_back(sample, prediction.shape, expected)
    return prediction


def ways_back(
    subfunctions: Sequence[Subfunction], steps: Sequence[Step]
) -> list[tuple[Subfunction, Step]]:
    """Return the subfunctions that have a way back of their own, with their steps.

    The others leave predictions as they are.
    """
    return [
        pair
        for pair in zip(subfunctions, steps, strict=True)
        if type(pair[0]).postprocessing is not Subfunction.postprocessing
    ]


def undo_stages(
    sample: Sample,
    stages: Sequence[tuple[Subfunction, Step]],
    prediction: NDArray[Any],
    keep: bool,
    activation_output: bool,
    regions: Regions | None = None,
) -> NDArray[Any]:
    """Take a prediction back through subfunctions that have a way back, in reverse order.

    Parameters
    ----------
    stages : sequence of pair
        As of :func:`ways_back`.
    prediction : ndarray
        On the grid after the last of them.
    keep : bool
        Whether it holds probabilities; else labels.
    """
    as_labels = argmax_labels if regions is None else regions.decode
    for position, (subfunction, step) in reversed(list(enumerate(stages))):
        if keep and not activation_output and not subfunction.restores_probabilities:
            prediction = as_labels(prediction)
            keep = False
        view = view_before(sample, step)
        view.prediction = prediction
        fused = _fused(subfunction, regions)
        if keep and not activation_output and fused is not None and position == 0:
            return np.asarray(fused(view, prediction))  # without all classes on the fine grid
        if keep and regions is not None:  # to a subfunction the first channel is the background
            prediction = np.concatenate([_background(prediction), prediction], axis=-1)
            prediction = subfunction.postprocessing(view, prediction, keep)[..., 1:]
        else:
            prediction = subfunction.postprocessing(view, prediction, keep)
    return as_labels(prediction) if keep and not activation_output else prediction


def view_before(sample: Sample, step: Step) -> Sample:
    """Return a sample as it was before a subfunction, with what that one left behind."""
    view = sample.copy()
    view.geometry = step.geometry
    view.extended = dict(step.extended)
    return view


def check_taken_back(sample: Sample, shape: Sequence[int], expected: Sequence[int]) -> None:
    """Raise ConfigurationError if a prediction does not lie on the grid of the image."""
    if tuple(shape) != tuple(expected):
        raise ConfigurationError(
            f"sample {sample.index!r}: taken back through the subfunctions the prediction has "
            f"shape {tuple(shape)}, the image asks for {tuple(expected)}; a subfunction that "
            "changes the shape needs a postprocessing() that undoes it"
        )


def _fused(subfunction: Subfunction, regions: Regions | None) -> Callable[..., Any] | None:
    """Return what restores probabilities and makes a label map of them in one step, if it can.

    One that was written for classes takes no regions: they go the long way.
    """
    fused: Callable[..., Any] | None = getattr(subfunction, "postprocessing_argmax", None)
    if fused is None or regions is None:
        return fused
    if "regions" not in inspect.signature(fused).parameters:
        return None
    return functools.partial(fused, regions=regions)


def _background(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return how probable it is that a voxel is in no region, ``(…, 1)``, if they are nested."""
    return np.asarray(1 - probabilities.max(axis=-1, keepdims=True))
