"""Steps of post-processing against brute force, and what holds for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.processing.postprocessing import (
    FillHoles,
    KeepLargest,
    PerClass,
    PostProcessing,
    PostProcessingStep,
    RemoveSmall,
)

SPACING = (0.5, 2.0, 3.0)
CONNECTIVITIES = {"faces": 1, "edges": 2, "full": 3}
IGNORED = 9

Labels = NDArray[Any]


@pytest.fixture(params=["small slabs", "one slab"], autouse=True, scope="module")
def _slabs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Do all tests with arrays that are one slab, and with those of one or a few planes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small slabs":
            patch.setattr("miscnn.processing.postprocessing._components._SLAB", 30)
        yield


def grid(labels: Labels, slice_axis: int | None = None) -> Geometry:
    geometry = Geometry.from_spacing(labels.shape, SPACING[: labels.ndim])
    return geometry.with_slice_axis(slice_axis)


def apply(step: PostProcessingStep, labels: Any) -> Labels:
    labels = np.asarray(labels, np.uint8)
    return step.apply(labels, grid(labels))


@st.composite
def label_maps(draw: st.DrawFn, ndim: int | None = None, ignored: bool = False) -> Labels:
    ndim = draw(st.sampled_from([2, 3])) if ndim is None else ndim
    shape = draw(st.tuples(*[st.integers(1, 7)] * ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.integers(1, 3))
    share = draw(st.sampled_from([0.1, 0.4, 0.7, 0.9]))
    labels = rng.integers(1, classes + 1, shape) * (rng.random(shape) < share)
    if ignored:
        labels[rng.random(shape) < 0.1] = IGNORED
    return np.asarray(labels, np.uint8, order=draw(st.sampled_from(["C", "F"])))


def any_step(classes: int = 3) -> st.SearchStrategy[PostProcessingStep]:
    labels = st.sampled_from([None, "foreground", [1], [2, 3], [[1, 3]], [2, [1, 3]]])
    connectivity = st.sampled_from(list(CONNECTIVITIES))
    size = st.sampled_from([0.003, 0.006, 0.02])
    return st.one_of(
        st.builds(KeepLargest, labels, connectivity, st.integers(1, 3)),
        st.builds(
            lambda size, *rest: RemoveSmall(size, *rest, minimum_mm2=1000 * size),
            size,
            labels,
            connectivity,
        ),
        st.builds(
            lambda labels, size, slicewise: FillHoles(
                labels, size, slicewise, maximum_mm2=size and 1000 * size
            ),
            labels,
            st.one_of(st.none(), size),
            st.booleans(),
        ),
    )


# ------------------------------------------------------------------ brute force


def expected_groups(labels: Labels, wanted: Any) -> list[tuple[int, ...]]:
    present = [n for n in np.unique(labels).tolist() if n not in (0, IGNORED)]
    if wanted is None:
        return [(n,) for n in present]
    if wanted == "foreground":
        return [tuple(present)]
    return [tuple(n) if isinstance(n, (list, tuple)) else (n,) for n in wanted]


def components(mask: Labels, connectivity: str) -> tuple[Labels, list[int]]:
    rank = min(CONNECTIVITIES[connectivity], mask.ndim)
    structure = ndimage.generate_binary_structure(mask.ndim, rank)
    numbers, count = ndimage.label(mask, structure)  # in the order of the first voxels
    return numbers, [int((numbers == n).sum()) for n in range(1, count + 1)]


GROUPS = [None, "foreground", [1], [1, 2], [[1, 2]], [3, [1, 2]]]


@settings(max_examples=80)
@given(
    label_maps(ignored=True),
    st.sampled_from(GROUPS),
    st.sampled_from(list(CONNECTIVITIES)),
    st.integers(1, 3),
)
def test_keep_largest_as_by_hand(
    labels: Labels, wanted: Any, connectivity: str, number: int
) -> None:
    expected = labels.copy()
    for group in expected_groups(labels, wanted):
        numbers, sizes = components(np.isin(labels, group), connectivity)
        ranked = sorted(range(len(sizes)), key=lambda n: (-sizes[n], n))
        for lost in ranked[number:]:
            expected[numbers == lost + 1] = 0
    step = KeepLargest(wanted, connectivity, number)
    np.testing.assert_array_equal(step.apply(labels, grid(labels), IGNORED), expected)


@settings(max_examples=80)
@given(
    label_maps(ignored=True),
    st.sampled_from(GROUPS),
    st.sampled_from(list(CONNECTIVITIES)),
    st.integers(1, 6),
)
def test_remove_small_as_by_hand(
    labels: Labels, wanted: Any, connectivity: str, voxels: int
) -> None:
    expected = labels.copy()
    for group in expected_groups(labels, wanted):
        numbers, sizes = components(np.isin(labels, group), connectivity)
        for number, size in enumerate(sizes, 1):
            if size < voxels:
                expected[numbers == number] = 0
    # 3 mm³ a voxel, or 1 mm²; sizes that are hit exactly stay
    step = RemoveSmall(voxels * 0.003, wanted, connectivity, minimum_mm2=voxels)
    np.testing.assert_array_equal(step.apply(labels, grid(labels), IGNORED), expected)


@settings(max_examples=80)
@given(label_maps(ignored=True), st.integers(1, 3), st.integers(0, 3))
def test_fill_holes_as_scipy_does(labels: Labels, label: int, slices: int) -> None:
    slice_axis = slices if slices < labels.ndim and labels.ndim == 3 else None
    filled = ndimage.binary_fill_holes(labels == label)
    if slice_axis is not None:
        planes = np.moveaxis(labels, slice_axis, 0)
        by_plane = np.stack([ndimage.binary_fill_holes(plane == label) for plane in planes])
        filled = np.moveaxis(by_plane, 0, slice_axis)
    expected = np.where(filled & (labels == 0), label, labels)
    step = FillHoles([label], slicewise=slice_axis is not None)
    np.testing.assert_array_equal(step.apply(labels, grid(labels, slice_axis), IGNORED), expected)


@settings(max_examples=60)
@given(label_maps(), st.integers(1, 4))
def test_large_pieces_of_background_are_left(labels: Labels, voxels: int) -> None:
    expected = labels.copy()
    numbers, sizes = components(labels == 0, "faces")
    enclosed = ndimage.binary_fill_holes(labels == 1) & (labels == 0)
    for number, size in enumerate(sizes, 1):
        if size <= voxels:
            expected[enclosed & (numbers == number)] = 1
    step = FillHoles(1, voxels * 0.003, maximum_mm2=voxels)
    np.testing.assert_array_equal(step.apply(labels, grid(labels), IGNORED), expected)


@settings(max_examples=60)
@given(label_maps())
def test_holes_of_all_classes_together(labels: Labels) -> None:
    """What is filled is what any class encloses, or, taken together, all of them."""
    each = np.zeros(labels.shape, bool)
    for label in np.unique(labels[labels > 0]):
        each |= ndimage.binary_fill_holes(labels == label)
    changed = apply(FillHoles(), labels) != labels
    np.testing.assert_array_equal(changed, each & (labels == 0))
    changed = apply(FillHoles("foreground"), labels) != labels
    np.testing.assert_array_equal(changed, ndimage.binary_fill_holes(labels > 0) & (labels == 0))


def test_components_of_patterns_with_as_many_as_can_be() -> None:
    for shape in [*np.ndindex(4, 4, 6), *np.ndindex(8, 8)]:
        labels = np.zeros(np.add(shape, 1), np.uint8)
        labels[(slice(None, None, 2),) * labels.ndim] = 1
        labels[-1] = 1
        for connectivity in CONNECTIVITIES:
            numbers, sizes = components(labels, connectivity)
            expected = numbers == 1 + int(np.argmax(sizes))
            result = KeepLargest(connectivity=connectivity).apply(labels, grid(labels))
            np.testing.assert_array_equal(result, expected)


# ------------------------------------------------------------------ by hand


def test_of_equal_components_the_first_is_kept_whatever_the_order_in_memory() -> None:
    labels = np.zeros((3, 4), np.uint8)
    labels[2, 0] = labels[0, 3] = labels[1, 1] = 1
    expected = np.zeros_like(labels)
    expected[0, 3] = 1
    for order in "CF":
        result = KeepLargest(connectivity="faces").apply(
            np.asarray(labels, order=order), grid(labels)
        )
        np.testing.assert_array_equal(result, expected)
    expected[1, 1] = 1
    np.testing.assert_array_equal(
        apply(KeepLargest(connectivity="faces", number=2), labels), expected
    )


def test_classes_together_keep_what_touches() -> None:
    labels = [[1, 1, 2, 0, 2, 2, 2, 2]]
    assert apply(KeepLargest(), labels).tolist() == [[1, 1, 0, 0, 2, 2, 2, 2]]
    assert apply(KeepLargest("foreground"), labels).tolist() == [[0, 0, 0, 0, 2, 2, 2, 2]]
    assert apply(KeepLargest([[1, 2]], number=2), labels).tolist() == labels
    assert apply(KeepLargest([2]), labels).tolist() == [[1, 1, 0, 0, 2, 2, 2, 2]]
    assert apply(KeepLargest([7]), labels).tolist() == labels


def test_what_is_removed_becomes_another_class() -> None:
    labels = [[1, 2, 1, 0, 2, 2]]
    step = KeepLargest([2], replace_with=1)
    assert apply(step, labels).tolist() == [[1, 1, 1, 0, 2, 2]]
    step = RemoveSmall(labels=[2], minimum_mm2=1.5, replace_with=1)  # 1 mm² a pixel
    assert apply(step, labels).tolist() == [[1, 1, 1, 0, 2, 2]]


def test_the_innermost_class_fills() -> None:
    labels = np.zeros((7, 7), np.uint8)
    for outer, inner in (((0, 7), 1), ((1, 6), 2)):
        labels[outer[0] : outer[1], outer[0] : outer[1]] = inner
    labels[2:5, 2:5] = 0
    labels[1, 3] = 0  # between 1 and 2, beside the hole in 2: not enclosed by 2
    labels[5, 5] = 0
    expected = np.ones((7, 7), np.uint8)
    expected[1:6, 1:6] = np.where(labels[1:6, 1:6] == 2, 2, 1)
    assert (apply(FillHoles(), labels) == expected).all()
    labels[1, 3] = 2
    expected[1:6, 1:6] = 2
    expected[5, 5] = 1
    assert (apply(FillHoles(), labels) == expected).all()
    assert (apply(FillHoles([2, 1]), labels) == expected).all()
    exchanged = np.array([0, 2, 1], np.uint8)  # the order of the classes does not count
    assert (apply(FillHoles(), exchanged[labels]) == exchanged[expected]).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_another_class_may_be_the_way_out(axis: int) -> None:
    labels = np.ones((5, 5, 5), np.uint8)
    labels[2, 2, 2] = 0
    assert (apply(FillHoles([1]), labels) == 1).all()
    np.moveaxis(labels, axis, 0)[3:, 2, 2] = 2
    for order in "CF":
        given_labels = np.asarray(labels, order=order)
        result = FillHoles([1]).apply(given_labels, grid(labels))
        np.testing.assert_array_equal(result, labels)


def test_a_hole_between_classes_becomes_the_one_with_most_faces_towards_it() -> None:
    labels = [[1, 1, 2, 2, 2], [1, 0, 0, 0, 2], [1, 1, 2, 2, 2]]
    assert apply(FillHoles(), labels).tolist() == labels
    filled = [[1, 1, 2, 2, 2], [1, 2, 2, 2, 2], [1, 1, 2, 2, 2]]
    assert apply(FillHoles("foreground"), labels).tolist() == filled
    assert apply(FillHoles([[1, 2]]), labels).tolist() == filled
    even = [[1, 1, 2, 2], [1, 0, 0, 2], [1, 1, 2, 2]]
    assert apply(FillHoles("foreground"), even)[1].tolist() == [1, 1, 1, 2]


def test_slices_are_those_of_the_geometry() -> None:
    tube = np.ones((3, 3, 4), np.uint8)
    tube[1, 1] = 0
    step = FillHoles(slicewise=True)
    assert (step.apply(tube, grid(tube)) == 1).all()  # z is the coarsest axis
    assert (step.apply(tube, grid(tube, slice_axis=0)) == tube).all()
    assert (FillHoles().apply(tube, grid(tube)) == tube).all()
    # each hole measures 3 mm³ within its slice, the tube 12
    assert (
        FillHoles(slicewise=True, maximum_ml=0.0035).apply(tube, grid(tube, slice_axis=2)) == 1
    ).all()


def test_each_class_has_rules_of_its_own() -> None:
    labels = [[1, 1, 1, 0, 1, 0, 2], [1, 0, 1, 0, 0, 0, 0], [1, 1, 1, 0, 2, 2, 2]]
    step = PerClass({2: [KeepLargest()], "1": [FillHoles()]})  # type: ignore[dict-item]
    expected = [[1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 2, 2, 2]]
    assert apply(step, labels).tolist() == expected
    assert list(step.steps) == [1, 2]


def test_steps_are_done_in_their_order() -> None:
    ring = np.zeros((7, 7), np.uint8)
    ring[0:3, 0:3] = 1
    ring[1, 1] = 0  # 8 pixels, 9 when filled
    ring[4:7, 4:7] = 1
    ring[4, 4] = 0
    ring[6, 6] = 0
    ring[3, 6] = 1  # 8 pixels, filled or not
    first = PostProcessing([FillHoles(), KeepLargest()])
    last = PostProcessing([PostProcessing([KeepLargest()]), FillHoles()])
    ring[3, 5] = 1  # the second is larger now: 9 against 8
    assert apply(last, ring).sum() == 9
    assert apply(first, ring)[0:3, 0:3].sum() == 9  # equal: the first one
    assert (apply(PostProcessing(), ring) == ring).all()


# ------------------------------------------------------------------ what holds for all


@settings(max_examples=80)
@given(label_maps(ignored=True), any_step())
def test_twice_is_once_and_the_input_stays(labels: Labels, step: PostProcessingStep) -> None:
    given_labels = labels.copy()
    once = step.apply(labels, grid(labels), IGNORED)
    np.testing.assert_array_equal(labels, given_labels)
    assert once.dtype == labels.dtype
    assert not np.shares_memory(once, labels)
    np.testing.assert_array_equal(once == IGNORED, labels == IGNORED)
    np.testing.assert_array_equal(step.apply(once, grid(labels), IGNORED), once)


def without_ties(labels: Labels, step: PostProcessingStep) -> bool:
    if not isinstance(step, KeepLargest):
        return True
    return all(
        len(set(sizes)) == len(sizes)
        for group in expected_groups(labels, step.labels)
        for sizes in [components(np.isin(labels, group), step.connectivity)[1]]
    )


@settings(max_examples=80)
@given(label_maps(ignored=True), any_step(), st.data())
def test_mirrored_and_turned_arrays_are_treated_alike(
    labels: Labels, step: PostProcessingStep, data: st.DataObject
) -> None:
    if not without_ties(labels, step):
        return
    axes = data.draw(st.permutations(range(labels.ndim)))
    flips = tuple(data.draw(st.sets(st.sampled_from(range(labels.ndim)))))

    def turned(array: Labels) -> Labels:
        return np.flip(np.transpose(array, axes), flips)

    geometry = grid(labels)
    spacing = [geometry.spacing[axis] for axis in axes]
    moved = Geometry.from_spacing(turned(labels).shape, spacing)
    moved = moved.with_slice_axis(axes.index(geometry.slice_axis))
    np.testing.assert_array_equal(
        step.apply(turned(labels), moved, IGNORED), turned(step.apply(labels, geometry, IGNORED))
    )


@settings(max_examples=40)
@given(label_maps(3), any_step(), st.sampled_from(["uint16", "int64", ">i2", "uint64"]))
def test_the_type_makes_no_difference(labels: Labels, step: PostProcessingStep, kind: str) -> None:
    result = step.apply(labels.astype(kind), grid(labels))
    assert result.dtype == np.dtype(kind)
    np.testing.assert_array_equal(result, step.apply(labels, grid(labels)))


@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_masks(kind: type) -> None:
    mask = np.array([[1, 1, 0, 1]], dtype=kind)
    result = KeepLargest().apply(mask, grid(mask))
    assert result.dtype == mask.dtype
    assert result.astype(int).tolist() == [[1, 1, 0, 0]]


STEPS: Sequence[PostProcessingStep] = [
    KeepLargest(),
    KeepLargest([2, (3, 1)], "faces", 2),
    KeepLargest("foreground", "edges"),
    KeepLargest(2, replace_with=1),
    RemoveSmall(0.25),
    RemoveSmall(minimum_mm2=3.5, labels=[1]),
    FillHoles([1], 2.0, True, maximum_mm2=7.0),
    PerClass({3: [KeepLargest(), FillHoles()], 1: [RemoveSmall(1.0)]}),
    PostProcessing([KeepLargest(), PerClass({1: [FillHoles()]})]),
    PostProcessing(),
]


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_made_again_from_json(step: PostProcessingStep) -> None:
    made = deserialize(json.loads(json.dumps(serialize(step))))
    assert made == step
    assert serialize(made) == serialize(step)
    assert repr(made) == repr(step)
    assert [other == step for other in STEPS].count(True) == 1


def test_lists_tuples_and_numpy_are_the_same() -> None:
    assert (
        KeepLargest([1, [2, 3]]) == KeepLargest((1, (3, 2))) == KeepLargest([np.int64(1), {2, 3}])
    )
    assert KeepLargest(2) == KeepLargest([2]) != KeepLargest([[2]])
    assert PerClass({1: [], 2: []}) == PerClass({"2": [], "1": ()})  # type: ignore[dict-item]


def test_scratch_files_are_edited_in_place(tmp_path: Path) -> None:
    labels = np.memmap(tmp_path / "labels", np.uint8, "w+", shape=(40, 30, 20), order="F")
    labels[5:20, 5:20, 5:15] = 1
    labels[8, 8, 8] = 0
    labels[30:33, 3, 3] = 1
    before = labels.copy()
    steps = PostProcessing([KeepLargest(), FillHoles()])
    result = steps.apply(labels, grid(labels))
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(labels, before)
    steps.edit(labels, grid(labels))
    np.testing.assert_array_equal(labels, result)
    assert int(result.sum()) == 15 * 15 * 10


@pytest.mark.parametrize("step", [KeepLargest("foreground"), KeepLargest([[1, 3]]), FillHoles()])
def test_slabs_make_no_difference(step: PostProcessingStep) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.integers(1, 4, (30, 20, 10)) * (rng.random((30, 20, 10)) < 0.05)).astype(np.uint8)
    labels[5:25, 5:15, 2:8] = rng.random((20, 10, 6)) < 0.9
    results = []
    for voxels in (1, 250, 10_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("miscnn.processing.postprocessing._components._SLAB", voxels)
            results += [step.apply(np.asarray(labels, order=order), grid(labels)) for order in "CF"]
    assert (results[0] != labels).any()
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeepLargest(0), "0 is the background"),
        (lambda: KeepLargest([1, [0, 2]]), "0 is the background"),
        (lambda: KeepLargest([-1]), "-1 is no class"),
        (lambda: KeepLargest([True]), "True is no class"),
        (lambda: KeepLargest([1.5]), r"1\.5 is no class"),
        (lambda: KeepLargest([1, [2, 1]]), "class 1 is named twice"),
        (lambda: KeepLargest([]), "no class is named"),
        (lambda: KeepLargest([1, []]), "no class is named"),
        (lambda: KeepLargest("all"), '"foreground"'),
        (lambda: KeepLargest(connectivity="corners"), "'faces', 'edges'|'full', 'edges', 'faces'"),
        (lambda: KeepLargest(connectivity=26), "connectivity=26"),
        (lambda: KeepLargest(number=0), "1 or more"),
        (lambda: KeepLargest([2], replace_with=2), "among the classes"),
        (lambda: KeepLargest(replace_with=1), "name others in labels"),
        (lambda: KeepLargest([1], replace_with=-1), "replace_with is a label"),
        (lambda: RemoveSmall(), "minimum_ml for volumes, minimum_mm2"),
        (lambda: RemoveSmall(0), "minimum_ml is a size in millilitres"),
        (lambda: RemoveSmall(float("nan")), "above 0"),
        (lambda: FillHoles(maximum_mm2=-1), "square millimetres"),
        (lambda: PerClass({0: [KeepLargest()]}), "0 is the background"),
        (lambda: PerClass({"liver": [KeepLargest()]}), "'liver'"),
        (lambda: PerClass({1: [], "1": []}), "class 1 twice"),
        (lambda: PerClass({1: KeepLargest()}), "steps of class 1 must be a list"),
        (lambda: PerClass([KeepLargest()]), "maps classes to their steps"),
        (lambda: PerClass({1: [KeepLargest([1])]}), "leave labels out"),
        (lambda: PerClass({1: [PostProcessing()]}), "has no argument labels"),
        (lambda: PostProcessing(KeepLargest()), "must be a list"),
        (lambda: PostProcessing([KeepLargest]), "must be a list"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("step", "labels", "message"),
    [
        (KeepLargest(), np.zeros((2, 2), np.float32), "argmax"),
        (KeepLargest(), np.full((2, 2), -1), "from -1 to -1"),
        (KeepLargest(), np.full((2, 2), 4_000_000_000, np.uint32), "label_values"),
        (KeepLargest([IGNORED]), np.zeros((2, 2), np.uint8), "the ignore label"),
        (KeepLargest([1], replace_with=300), np.zeros((2, 2), np.uint8), "up to 255"),
        (RemoveSmall(1.0), np.zeros((2, 2), np.uint8), "give minimum_mm2"),
        (RemoveSmall(minimum_mm2=1), np.zeros((2, 2, 2), np.uint8), "give minimum_ml"),
        (FillHoles(maximum_ml=1.0), np.zeros((2, 2), np.uint8), "give maximum_mm2"),
    ],
)
def test_label_maps_that_do_not_fit(step: Any, labels: Labels, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        step.apply(labels, grid(labels), IGNORED)
    with pytest.raises(ConfigurationError, match="its geometry"):
        step.apply(labels, Geometry((5,) * labels.ndim))


def test_voxels_without_a_size_are_refused() -> None:
    labels = np.ones((2, 2, 2), np.uint8)
    flat = Geometry(labels.shape, np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        RemoveSmall(1.0).apply(labels, flat)
    assert (KeepLargest().apply(labels, flat) == 1).all()
