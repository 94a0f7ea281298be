"""The contract of subfunctions, put to the test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import deserialize, serialize, to_json
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ContractError, MiscnnError, NotFittedError
from miscnn.processing.subfunctions.base import Subfunction, speaks_for
from miscnn.testing._example_samples import example_samples
from miscnn.testing._subfunction_blocks import cut_up, difference
from miscnn.testing._subfunction_region import kept_on_itself, looks_beyond
from miscnn.testing._unchanged import Unchanged

_SUM_TOLERANCE = 1e-5
# How far the centre of the foreground may move in the patient, in voxels of the coarser grid.
_SHIFT_TOLERANCE = 1.0
# Where the body of the made samples lies: off the centre, so that mirroring is seen.


def check_subfunction(
    subfunction: Subfunction,
    sample: Sample | None = None,
    rng: np.random.Generator | None = None,
) -> None:
    """Put a subfunction through the contract of its base class.

    Checked are: nothing handed in is changed in place; the configuration and what was learned
    survive JSON, and the part made from them does the same, bit by bit; a subfunction that
    must be fitted says so, and learns the same from the same generator; image and
    segmentation come back on the grid that the geometry tells, image float32 and finite,
    labels unsigned and none that was not there; the foreground stays where it is in the
    patient; the way back returns label maps and probabilities on the grid handed in, needs no
    arrays for it, and keeps probabilities non-negative with sum 1; where the grid is not
    changed, predictions come back as they are; block by block they come back as they do as a
    whole, if there is such a way; the way back needs nothing that was kept on the
    subfunction itself, and follows the geometry where it says so.

    Parameters
    ----------
    subfunction : Subfunction
        It is not changed: a copy is fitted.
    sample : Sample, optional
        What to check on, with a segmentation. Default: made samples in 2D and 3D, with
        anisotropic voxels, a flipped and oblique grid, and several channels; those that the
        subfunction refuses with an error of miscnn (a spacing for three axes refuses images of two)
        are passed over, unless it refuses all.
    rng : numpy.random.Generator, optional
        For the predictions that are taken back, and for fitting. Default: seed 0.

    Raises
    ------
    ContractError
        Names the promise that is broken. It is an AssertionError.

    Examples
    --------
    >>> from miscnn.processing.subfunctions import Clipping
    >>> check_subfunction(Clipping(-79, 304))
    """
    rng = np.random.default_rng(0) if rng is None else rng
    samples = example_samples(rng) if sample is None else [sample]
    refusals = []
    for candidate in samples:
        check = _Check(subfunction, candidate, rng)
        try:
            check.run()
        except ContractError:
            raise
        except MiscnnError as refusal:
            if sample is not None:
                raise
            refusals.append(f"{candidate!r}: {refusal}")
    if len(refusals) == len(samples):
        raise ContractError(
            f"{type(subfunction).__name__} refuses every made sample; hand in one that it takes: "
            f"check_subfunction(..., sample=...). {'; '.join(refusals)}"
        )


@dataclass
class _Check:
    subfunction: Subfunction
    sample: Sample
    rng: np.random.Generator

    def run(self) -> None:
        part = self._remade(self.subfunction)
        if part.needs_fit:
            part = self._fitted(part)
        before, after = self._forward(part)
        self._check_result(before, after)
        self._check_repeatable(part, after)
        self._check_without_segmentation(part, after)
        self._check_place(before, after)
        for activation_output in (False, True):
            if not activation_output or part.restores_probabilities:
                self._check_way_back(part, before, after, activation_output)
                self._check_blocks(part, before, after, activation_output)
                self._check_region(part, before, after, activation_output)
        self._check_place_of_way_back(part, before, after)

    def _broken(self, promise: str) -> ContractError:
        name = type(self.subfunction).__name__
        return ContractError(f"{name} on the sample {self.sample.index!r}: {promise}")

    def _require(self, kept: bool, promise: str) -> None:
        if not kept:
            raise self._broken(promise)

    # ------------------------------------------------------------------ configuration, fitting

    def _remade(self, part: Subfunction) -> Subfunction:
        cls = type(part)
        try:
            document = json.loads(json.dumps(serialize(part)))
            made = deserialize(document, {document["class"]: cls})
        except AttributeError as error:
            raise self._broken(
                f"get_config() finds no attribute of an argument's name ({error}); store each "
                "argument of the constructor unchanged under its own name"
            ) from error
        except (TypeError, MiscnnError) as error:
            raise self._broken(
                f"it cannot be made again from its configuration and state as JSON ({error}); "
                "let get_config() return JSON values that the constructor takes"
            ) from error
        self._require(
            json.dumps(serialize(made)) == json.dumps(document),
            "made again from its JSON, it has another configuration or state; let get_config() "
            "and get_state() return all that from_config() and set_state() take over",
        )
        return made  # type: ignore[no-any-return]  # made by its own class

    def _fitted(self, part: Subfunction) -> Subfunction:
        if not part.get_state():
            try:
                part.preprocessing(self._copy())
            except NotFittedError:
                pass
            else:
                raise self._broken("used before fit(), it did not raise NotFittedError")
        seed = int(self.rng.integers(2**32))
        twin = self._remade(part)
        for one in (part, twin):
            with self._unchanged("fit()"):
                one.fit([self._copy()] * 3, np.random.default_rng(seed))
        self._require(bool(part.get_state()), "after fit(), get_state() is empty")
        self._require(
            to_json(part.get_state()) == to_json(twin.get_state()),
            "fit() with the same samples and seed learned something else; draw from the "
            "generator handed in only",
        )
        return self._remade(part)

    # ------------------------------------------------------------------ forward

    def _copy(self) -> Sample:
        given = self.sample.copy()
        given.extended = {}
        return given

    def _forward(self, part: Subfunction, given: Sample | None = None) -> tuple[Sample, Sample]:
        before = self._copy() if given is None else given
        handed = before.copy()
        with self._unchanged("preprocessing()"):
            result = part.preprocessing(handed, training=given is None)
        if result is None:
            result = handed
        else:
            same = all(
                getattr(handed, name) is getattr(before, name)
                for name in ("image", "segmentation", "geometry")
            )
            self._require(
                same or result is handed,
                "preprocessing() returned a new sample and changed the one handed in as well",
            )
        return before, result

    def _unchanged(self, what: str) -> Unchanged:
        arrays = {"image": self.sample.image, "segmentation": self.sample.segmentation}
        return Unchanged({k: v for k, v in arrays.items() if v is not None}, what, self._broken)

    def _check_result(self, before: Sample, after: Sample) -> None:
        spatial = after.image.shape[:-1]
        self._require(
            spatial == after.geometry.shape,
            f"the image has shape {spatial}, its geometry {after.geometry.shape}; set "
            "sample.geometry when the grid changes (Geometry.resized, Geometry.cropped)",
        )
        self._require(
            after.image.dtype == np.float32, f"the image is {after.image.dtype}, not float32"
        )
        self._require(bool(np.isfinite(after.image).all()), "the image holds NaN or infinity")
        if before.segmentation is None or after.segmentation is None:
            self._require(
                before.segmentation is after.segmentation, "the segmentation was lost or invented"
            )
            return
        labels = after.segmentation
        self._require(
            labels.shape == (*spatial, 1),
            f"the segmentation has shape {labels.shape}, expected {(*spatial, 1)}",
        )
        self._require(
            labels.dtype.kind == "u", f"the segmentation is {labels.dtype}, not unsigned integer"
        )
        self._check_values(labels, before.segmentation, "the segmentation")
        try:
            to_json(after.extended)
        except MiscnnError as error:
            raise self._broken(f"sample.extended must hold JSON values: {error}") from error

    def _check_values(self, labels: NDArray[Any], known: NDArray[Any], what: str) -> None:
        new = sorted(set(np.unique(labels).tolist()) - set(np.unique(known).tolist()) - {0})
        self._require(not new, f"{what} holds labels that were not there before: {new}")

    def _check_repeatable(self, part: Subfunction, after: Sample) -> None:
        _, again = self._forward(self._remade(part))
        self._require(
            np.array_equal(again.image, after.image) and again.geometry == after.geometry,
            "made again from its JSON, it gives another image or geometry",
        )

    def _check_without_segmentation(self, part: Subfunction, after: Sample) -> None:
        given = self._copy()
        given.segmentation = None
        _, result = self._forward(part, given)
        self._require(result.segmentation is None, "it invented a segmentation")
        self._require(
            result.geometry == after.geometry,
            "with training=False and no segmentation the grid is another one; a network would "
            "be trained and used on different grids",
        )

    def _check_place(self, before: Sample, after: Sample) -> None:
        if before.segmentation is None or after.segmentation is None:
            return
        self._compare_places(
            (before.segmentation[..., 0], before.geometry),
            (after.segmentation[..., 0], after.geometry),
            "preprocessing() moved the foreground by {:.3g} mm in the patient, {:.3g} voxels; let "
            "the geometry say what was done to the image",
        )

    # ------------------------------------------------------------------ the way back

    def _view(self, before: Sample, after: Sample) -> Sample:
        view = before.copy()
        view.image = None  # type: ignore[assignment]  # arrays may be left out on the way back
        view.segmentation = None
        extended = after.extended
        if not _holds_arrays(extended):
            extended = json.loads(json.dumps(to_json(extended)))
        view.extended = dict(extended)
        return view

    def _back(
        self, part: Subfunction, view: Sample, prediction: NDArray[Any], activation_output: bool
    ) -> NDArray[Any]:
        with Unchanged({"prediction": prediction}, "postprocessing()", self._broken):
            return part.postprocessing(view, prediction, activation_output)

    def _check_way_back(
        self, part: Subfunction, before: Sample, after: Sample, activation_output: bool
    ) -> None:
        grid, classes = after.geometry.shape, before.classes
        prediction = self._prediction(grid, classes, activation_output)
        shape, kind = before.geometry.shape, "a label map"
        if activation_output:
            shape, kind = (*shape, classes), "probabilities"
        back = self._back(part, self._view(before, after), prediction, activation_output)
        self._require(
            back.shape == shape,
            f"postprocessing() returned {kind} of shape {back.shape}, expected {shape}: the grid "
            "that preprocessing() was given",
        )
        if activation_output:
            total = back.sum(axis=-1, dtype=np.float64)
            worst = float(np.abs(total - 1.0).max())
            self._require(back.dtype.kind == "f", f"probabilities came back as {back.dtype}")
            lowest = float(back.min())
            self._require(lowest >= 0.0, f"probabilities came back negative, down to {lowest:.3g}")
            self._require(
                worst <= _SUM_TOLERANCE,
                f"probabilities came back with sums that are off by {worst:.3g}; what is outside "
                "of the prepared grid is background: probability 1 for class 0",
            )
        else:
            self._require(back.dtype.kind in "iu", f"a label map came back as {back.dtype}")
            self._check_values(back, prediction, "the label map taken back")
        if after.geometry == before.geometry:
            self._require(
                np.array_equal(back, prediction),
                f"the grid was not changed, but {kind} came back changed",
            )

    def _check_blocks(
        self, part: Subfunction, before: Sample, after: Sample, activation_output: bool
    ) -> None:
        if not speaks_for(part, "postprocessing_blocks", "postprocessing"):
            return
        grid, classes = after.geometry.shape, before.classes
        whole = self._prediction(grid, classes, activation_output)
        parts = cut_up(whole, grid, self.rng)
        taken = part.postprocessing_blocks(self._view(before, after), parts)
        if taken is not None:
            expected = self._back(part, self._view(before, after), whole, activation_output)
            broken = difference(taken, expected, before.geometry.shape)
            self._require(broken is None, broken or "")

    def _check_region(
        self, part: Subfunction, before: Sample, after: Sample, activation_output: bool
    ) -> None:
        prediction = self._prediction(after.geometry.shape, before.classes, activation_output)
        view = self._view(before, after)
        back = self._back(part, view, prediction, activation_output)
        fresh = self._remade(part)
        broken = kept_on_itself(
            lambda: fresh.postprocessing(self._view(before, after), prediction, activation_output),
            back,
        ) or looks_beyond(part, view, before.geometry, after.geometry, prediction, self.rng)
        self._require(broken is None, broken or "")

    def _prediction(
        self, grid: tuple[int, ...], classes: int, activation_output: bool
    ) -> NDArray[Any]:
        if not activation_output:
            return self.rng.integers(classes, size=grid).astype(np.uint8)
        chances = self.rng.random((*grid, classes)) ** 3 + 1e-9
        return np.asarray((chances / chances.sum(axis=-1, keepdims=True)).astype(np.float32))

    def _check_place_of_way_back(self, part: Subfunction, before: Sample, after: Sample) -> None:
        if before.segmentation is None or after.segmentation is None:
            return
        labels = after.segmentation[..., 0]
        back = self._back(part, self._view(before, after), labels, False)
        self._compare_places(
            (labels, after.geometry),
            (back, before.geometry),
            "postprocessing() moved the foreground by {:.3g} mm in the patient, {:.3g} voxels; it "
            "must undo preprocessing()",
        )

    def _compare_places(
        self,
        one: tuple[NDArray[Any], Geometry],
        other: tuple[NDArray[Any], Geometry],
        promise: str,
    ) -> None:
        # Labels that were merged or dropped move the foreground rightly.
        if set(np.unique(one[0])) != set(np.unique(other[0])) or not one[0].any():
            return
        shift = _centre(*one) - _centre(*other)
        voxels = min(
            float(np.abs(np.linalg.solve(grid.affine[:-1, :-1], shift)).max())
            for _, grid in (one, other)
        )
        if voxels > _SHIFT_TOLERANCE:
            raise self._broken(promise.format(float(np.linalg.norm(shift)), voxels))


def _centre(labels: NDArray[Any], geometry: Geometry) -> NDArray[np.float64]:
    voxels = np.argwhere(labels).mean(axis=0)
    return np.asarray(geometry.affine[:-1, :-1] @ voxels + geometry.affine[:-1, -1])


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_arrays(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_arrays(item) for item in value)
    return isinstance(value, np.ndarray)
