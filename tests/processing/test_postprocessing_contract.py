"""The library's own steps keep the contract, and broken ones are found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError, ContractError
from miscnn.processing.postprocessing import (
    FillHoles,
    KeepLargest,
    PerClass,
    PostProcessing,
    PostProcessingStep,
    RemoveSmall,
)
from miscnn.testing import check_postprocessing


@pytest.mark.parametrize(
    "step",
    [
        KeepLargest(),
        KeepLargest("foreground", "faces"),
        KeepLargest([2, [1, 3]], number=2),
        KeepLargest([3], replace_with=1),
        RemoveSmall(0.02, minimum_mm2=3.0),
        RemoveSmall(0.02, [1]),
        RemoveSmall(minimum_mm2=5.0, labels="foreground"),
        FillHoles(),
        FillHoles("foreground"),
        FillHoles(slicewise=True),
        FillHoles(maximum_ml=0.01, maximum_mm2=2.0),
        PerClass({1: [KeepLargest(), FillHoles()], 2: [RemoveSmall(0.02, minimum_mm2=3.0)]}),
        PostProcessing([KeepLargest(), FillHoles(), PerClass({3: [KeepLargest(number=2)]})]),
        PostProcessing(),
    ],
    ids=repr,
)
def test_own_steps(step: PostProcessingStep) -> None:
    check_postprocessing(step)


class _Step(PostProcessingStep):
    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        self.change(labels, geometry, ignore_label)

    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        raise NotImplementedError


class _WithoutSmallClasses(_Step):
    """A step of a user's that keeps every promise."""

    def __init__(self, voxels: int = 10, labels: Any = None) -> None:
        self.voxels = voxels
        self.labels = labels

    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        for label in np.unique(labels) if self.labels is None else self.labels:
            if label != ignore_label and (labels == label).sum() < self.voxels:
                labels[labels == label] = 0


def test_a_step_of_the_users() -> None:
    check_postprocessing(_WithoutSmallClasses())
    check_postprocessing(PostProcessing([KeepLargest()]))


class _Invents(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        labels[labels == 1] = 7


class _Ignores(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        labels[labels > 3] = 0


class _OutOfNothing(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        if not (labels == ignore_label).any():
            labels[...] = 1


class _Chance(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        self.uses = getattr(self, "uses", 0) + 1
        if self.uses == 1:
            labels[labels == 1] = 0


class _Returns(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None: ...

    def edit(self, labels: Any, geometry: Any, ignore_label: Any = None) -> Any:
        return labels


class _WritesToItsInput(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None: ...

    def apply(self, labels: Any, geometry: Any, ignore_label: Any = None) -> Any:
        labels[labels == 2] = 0
        return labels


class _Widens(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None: ...

    def apply(self, labels: Any, geometry: Any, ignore_label: Any = None) -> Any:
        return labels.astype(np.int64)


class _Differs(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        labels[labels == 1] = 0

    def apply(self, labels: Any, geometry: Any, ignore_label: Any = None) -> Any:
        return labels.copy()


class _OnlyBytes(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        if labels.dtype == np.uint8:
            labels[labels == 1] = 0


class _CutsTheLastSlices(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        labels[-5:][labels[-5:] != ignore_label] = 0


class _CutsBothEnds(_Step):
    """Of the first axis, so that mirroring does not tell."""

    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        for end in (labels[:5], labels[-5:]):
            end[end != ignore_label] = 0


class _Forgets(_Step):
    def __init__(self, size: int = 1) -> None:
        self.limit = size

    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None: ...


class _AnyClass(_Step):
    def __init__(self, labels: Any = None) -> None:
        self.labels = labels

    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        labels[labels == 2] = 0


class _RefusesAll(_Step):
    def change(self, labels: Any, geometry: Any, ignore_label: Any) -> None:
        raise ConfigurationError("not today")


@pytest.mark.parametrize(
    ("step", "promise"),
    [
        (_Invents(), r"made the labels \[7\]"),
        (_Ignores(), "ignore label changed"),
        (_OutOfNothing(), "background only"),
        (_Chance(), "the second time"),
        (_Returns(), "returned something"),
        (_WritesToItsInput(), "changed the label map that it was handed"),
        (_Widens(), "int64"),
        (_Differs(), "different results"),
        (_OnlyBytes(), "of type int32"),
        (_CutsTheLastSlices(), "axis 0 of the array .* mirrored"),
        (_CutsBothEnds(), "axes of the array .* exchanged"),
        (_Forgets(), "made again"),
        (_AnyClass(), "made for class 1, .* another class"),
        (_RefusesAll(), "refuses every made label map.*not today"),
        (object(), "no PostProcessingStep"),
    ],
)
def test_broken_promises_are_named(step: Any, promise: str) -> None:
    with pytest.raises(ContractError, match=promise):
        check_postprocessing(step)


def test_the_made_label_maps_are_changed_by_every_kind_of_step() -> None:
    """A check on label maps that nothing changes would tell nothing."""
    from miscnn.testing.postprocessing import _examples

    for name, labels, geometry in _examples():
        for step in (
            KeepLargest(), KeepLargest("foreground"), FillHoles(), FillHoles(slicewise=True),
            RemoveSmall(0.02, minimum_mm2=3.0),
        ):  # fmt: skip
            result = step.apply(labels, geometry, 200)
            assert (result != labels).any(), (name, step)
