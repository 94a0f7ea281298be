"""Taking parts of a prediction back is taking back the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing import parts as parts_module
from miscnn.processing.blocks import Block
from miscnn.processing.chain import run_chain, undo_chain
from miscnn.processing.parts import Parts
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions import (
    Clipping,
    CropToForeground,
    Normalization,
    Orientation,
    Padding,
    Resampling,
    Resize,
    Subfunction,
    Windowing,
)
from miscnn.processing.subfunctions._interpolate import GridMap
from miscnn.processing.subfunctions._tiles import Tiling, whole
from miscnn.processing.subfunctions.orientation import ORIENTATIONS
from miscnn.processing.way_back import moving_axis, way_back


class Rolled(Subfunction):
    """A user's subfunction: rolls the image by one voxel, and knows nothing of blocks."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.image = np.roll(sample.image, 1, axis=0)

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        return np.roll(prediction, -1, axis=0)


class Renamed(Subfunction):
    """A user's subfunction whose way back is for labels only: class 1 becomes the label 300."""

    restores_probabilities = False

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        return None

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        if activation_output:
            return prediction
        return np.where(prediction == 1, np.uint16(300), prediction.astype(np.uint16))


class Mirrored(Resampling):
    """A user's subclass of a library's, with another way back but not for blocks."""

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        return super().postprocessing(sample, prediction, activation_output)[::-1]

    def postprocessing_argmax(  # type: ignore[override]
        self, sample: Sample, probabilities: NDArray[Any]
    ) -> NDArray[Any]:
        return super().postprocessing_argmax(sample, probabilities)[::-1]


def cut_up(
    rng: np.random.Generator, box: Sequence[slice], values: NDArray[Any], order: str
) -> Iterator[Block]:
    """Blocks between random borders, in a random order or along the axes."""
    ranges = []
    for part in box:
        inner = np.arange(part.start + 1, part.stop)
        few = rng.choice(inner, min(len(inner), int(rng.integers(0, 4))), replace=False)
        ranges.append(list(itertools.pairwise([part.start, *sorted(map(int, few)), part.stop])))
    pieces = list(itertools.product(*ranges))
    if order == "random":
        rng.shuffle(pieces)
    elif order == "last axis":
        pieces.sort(key=lambda piece: piece[::-1])
    for piece in pieces:
        part = tuple(slice(a, b) for a, b in piece)
        yield Block(tuple(a for a, _ in piece), values[part])


def assembled(
    blocks: Iterator[Block], shape: Sequence[int], channels: int | None, regions: bool
) -> NDArray[Any]:
    """Put blocks into background; each voxel at most once."""
    result: NDArray[Any] = np.zeros((*shape, channels) if channels else shape, np.float32)
    if channels is not None and not regions:
        result[..., 0] = 1
    seen = np.zeros(shape, np.uint8)
    for block in blocks:
        assert min(block.extent) > 0
        result[block.box] = block.values
        seen[block.box] += 1
    assert seen.max(initial=0) <= 1
    return result


@st.composite
def chains(draw: st.DrawFn, ndim: int) -> list[Subfunction]:
    """Subfunctions of the library in orders that make sense, and a user's now and then."""

    def spacing() -> Any:
        values = [draw(st.sampled_from([None, 0.7, 1.0, 1.3, 2.0, 2.9])) for _ in range(ndim)]
        return values if any(values) else 1.5

    anisotropy = draw(st.sampled_from([3, None, 1.5]))
    makers = {
        "resampling": lambda: Resampling(spacing(), anisotropy_threshold=anisotropy),
        "resize": lambda: Resize([draw(st.integers(1, 14)) for _ in range(ndim)]),
        "crop": lambda: CropToForeground(1.0, margin=draw(st.integers(0, 2))),
        "padding": lambda: Padding(
            draw(st.integers(4, 16)),
            draw(st.sampled_from(["constant", "edge"])),
            shape_must_be_divisible_by=draw(st.sampled_from([1, 4])),
        ),
        "window": lambda: Windowing(bounds=(-3, 3)),
        "clip": lambda: Clipping(-5, 5),
        "z-score": lambda: Normalization(),
        "rolled": Rolled,
        "renamed": Renamed,
        "mirrored": lambda: Mirrored(1.4),
    }
    if ndim == 3:
        makers["orientation"] = lambda: Orientation(draw(st.sampled_from(ORIENTATIONS)))
    library = [name for name in makers if name not in ("rolled", "renamed", "mirrored")]
    names = draw(st.lists(st.sampled_from(library), max_size=4))
    users = draw(st.sampled_from([None, None, None, "rolled", "renamed", "mirrored"]))
    if users is not None:
        names.insert(draw(st.integers(0, len(names))), users)
    return [makers[name]() for name in names]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_parts_taken_back_are_the_whole_taken_back(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([3, 3, 3, 2]))
    # One axis may be long: more planes than are kept together.
    shape = tuple(data.draw(st.permutations([data.draw(st.integers(3, 60)), *[7, 9, 8][1:ndim]])))
    sizes = tuple(data.draw(st.sampled_from([0.8, 1.0, 1.7, 5.0])) for _ in range(ndim))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    image = np.where(rng.random(shape) < 0.05, 9.0, rng.random(shape))
    sample = Sample(
        "a", image[..., None].astype(np.float32), geometry=Geometry.from_spacing(shape, sizes)
    )
    chain = data.draw(chains(ndim))
    prepared, steps = run_chain(sample, chain, training=False)
    regions = data.draw(
        st.sampled_from([None, None, Regions({"all": (1, 2, 3), "two": (2, 3), "one": (3,)})])
    )
    classes = data.draw(st.integers(2, 5)) if regions is None else len(regions)
    chances = rng.random((*prepared.spatial_shape, classes)).astype(np.float32) ** 2
    if regions is None:
        chances /= chances.sum(axis=-1, keepdims=True)
    covered = tuple(slice(0, n) for n in prepared.spatial_shape)
    if data.draw(st.booleans()):
        ends = [sorted(rng.integers(0, n, 2)) for n in prepared.spatial_shape]
        covered = tuple(slice(int(a), int(b) + 1) for a, b in ends)
    whole = np.zeros_like(chances)
    if regions is None:
        whole[..., 0] = 1
    whole[covered] = chances[covered]
    probabilities = data.draw(st.booleans())
    expected = undo_chain(sample, chain, steps, whole, probabilities, regions)

    order = data.draw(st.sampled_from(["random", "first axis", "last axis"]))
    finished = cut_up(rng, covered, whole, order)
    slabs = data.draw(st.booleans())
    if data.draw(st.booleans()):
        sample.scratch = Scratch(limit=64)
    empty = np.broadcast_to(np.float32(0), sample.image.shape)
    sample.image = empty
    blocks = way_back(
        sample, chain, steps, finished, covered, classes,
        probabilities=probabilities, regions=regions, slabs=slabs,
    )  # fmt: skip
    if slabs:
        collected = [Block(b.start, b.values.copy()) for b in blocks]
        ends = [0, *itertools.accumulate(b.extent[-1] for b in collected)]
        assert [b.start for b in collected] == [(*(0,) * (ndim - 1), end) for end in ends[:-1]]
        assert all(b.extent[:-1] == shape[:-1] for b in collected)
        found = np.concatenate([b.values for b in collected], axis=ndim - 1)
    else:
        channels = classes if probabilities else None
        found = assembled(blocks, shape, channels, regions is not None)
    np.testing.assert_array_equal(found, expected)
    if slabs:
        assert found.dtype == expected.dtype


def taken_back(
    sample: Sample,
    chain: list[Subfunction],
    values: NDArray[Any],
    box: Sequence[slice],
    **options: Any,
) -> list[Block]:
    """One block of a prediction, at a box of the prepared grid, taken back."""
    _, steps = run_chain(sample, chain, training=False)
    block = Block(tuple(part.start for part in box), values)
    options = {"probabilities": False, **options}
    return list(way_back(sample, chain, steps, [block], box, values.shape[-1], **options))


def one_hot(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[labels]


def volume(shape: Sequence[int] = (6, 7, 8)) -> Sample:
    return Sample("a", np.zeros((*shape, 1), np.float32))


def test_what_a_crop_cut_away_is_background() -> None:
    sample = volume()
    sample.image[2:4, 3:6, 1:5] = 1
    values = one_hot(np.full((2, 3, 4), 1), 3)
    box = tuple(slice(0, n) for n in (2, 3, 4))
    (block,) = taken_back(sample, [CropToForeground()], values, box)
    assert block.start == (2, 3, 1)
    assert (block.values == 1).all()
    slabs = taken_back(sample, [CropToForeground()], values, box, probabilities=True, slabs=True)
    found = np.concatenate([slab.values for slab in slabs], axis=2)
    expected = np.zeros((6, 7, 8), np.intp)
    expected[2:4, 3:6, 1:5] = 1
    np.testing.assert_array_equal(found, one_hot(expected, 3))


def test_what_padding_added_is_cut_off_and_blocks_in_it_are_left_out() -> None:
    inside = one_hot(np.full((4, 4, 4), 1), 2)
    chain: list[Subfunction] = [Padding((10, 10, 10))]
    (block,) = taken_back(volume(), chain, inside, [slice(0, 4)] * 3)
    assert (block.start, block.extent) == ((0, 0, 0), (2, 3, 3))
    assert taken_back(volume(), chain, inside[:2], [slice(0, 2), slice(0, 4), slice(0, 4)]) == []


@pytest.mark.parametrize("target", ORIENTATIONS)
def test_blocks_are_turned_to_where_they_belong(target: str) -> None:
    sample = volume()
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[4:6, 1:3, 5:8] = np.arange(12).reshape(2, 2, 3)
    carrier = Sample("a", labels[..., None], geometry=sample.geometry)
    turned, _ = run_chain(carrier, [Orientation(target)], training=False)
    prepared = turned.image[..., 0].astype(np.intp)
    box = tuple(
        slice(int(np.nonzero(prepared)[k].min()), int(np.nonzero(prepared)[k].max()) + 1)
        for k in range(3)
    )
    values = one_hot(prepared[box], 12)
    (block,) = taken_back(sample, [Orientation(target)], values, box)
    found = np.zeros_like(labels)
    found[block.box] = block.values
    np.testing.assert_array_equal(found, labels)


def test_windows_move_along_the_slices_of_the_image() -> None:
    sample = volume()
    chain: list[Subfunction] = [Orientation("SRA"), Resize((4, 4, 4)), Orientation("ASR")]
    prepared, steps = run_chain(sample, chain, training=False)
    assert sample.geometry.orientation == "RAS"
    assert prepared.geometry.orientation == "ASR"
    assert moving_axis(sample, chain, steps) == 1  # S
    assert moving_axis(sample, [], []) == 2


def test_slices_are_passed_on_as_soon_as_they_are_final() -> None:
    """And no more than a few layers of windows are held."""
    sample = volume((8, 8, 400))
    chain: list[Subfunction] = [Resize((8, 8, 200))]
    _, steps = run_chain(sample, chain, training=False)
    handed = 0

    def layers() -> Iterator[Block]:
        nonlocal handed
        for start in range(0, 200, 10):
            handed = start + 10
            yield Block((0, 0, start), np.full((8, 8, 10, 2), 0.5, np.float32))

    behind = []
    covered = (slice(0, 8), slice(0, 8), slice(0, 200))
    for block in way_back(
        sample, chain, steps, layers(), covered, 2, probabilities=False, slabs=True
    ):
        end = block.start[2] + block.extent[2]
        behind.append(2 * handed - end)
    assert end == 400
    assert max(behind) <= 2 * 10 + 32 + 16  # a layer, rows that wait, planes kept together


def test_parts_that_are_missing_are_named() -> None:
    chain: list[Subfunction] = [Resize((4, 4, 4))]
    _, steps = run_chain(volume(), chain, training=False)
    half = Block((0, 0, 0), np.ones((4, 4, 2, 2), np.float32))
    for options in ({}, {"slabs": True}):
        with pytest.raises(ConfigurationError, match=r"'a'.*missing, from plane 2 of axis 2"):
            list(
                way_back(
                    volume(),
                    chain,
                    steps,
                    [half],
                    [slice(0, 4)] * 3,
                    2,
                    probabilities=True,
                    **options,
                )
            )
    block = Block((0, 0, 0), np.ones((6, 7, 5, 2), np.float32))
    covered = tuple(slice(0, n) for n in (6, 7, 8))
    with pytest.raises(ConfigurationError, match="missing, from plane 5"):
        list(way_back(volume(), [], [], [block], covered, 2, probabilities=False, slabs=True))


def test_a_way_back_that_is_missing_is_an_error() -> None:
    class Cut(Subfunction):
        def preprocessing(self, sample: Sample, training: bool = True) -> None:
            sample.image = sample.image[1:]

    _, steps = run_chain(volume(), [Cut()], training=False)
    with pytest.raises(ConfigurationError, match=r"'a'.*postprocessing"):
        list(way_back(volume(), [Cut()], steps, [], [slice(0, 0)] * 3, 2, probabilities=False))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tiles_are_the_whole_bit_by_bit(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([2, 3]))
    sizes = st.lists(st.integers(1, 40), min_size=ndim, max_size=ndim)
    source, target = data.draw(sizes), data.draw(sizes)
    orders = data.draw(st.lists(st.sampled_from([0, 1, 3]), min_size=ndim, max_size=ndim))
    grid_map = GridMap.between(source, target, orders, data.draw(st.booleans()))
    array = np.random.default_rng(0).random(source, dtype=np.float32)
    expected = grid_map.apply(array)
    tiling = Tiling(grid_map)
    found = np.full(target, np.nan, np.float32)
    for tile in tiling.tiles(whole(target), data.draw(st.sampled_from([1, 50, 3000, 10**6]))):
        assert np.isnan(found[tile]).all()
        found[tile] = tiling.apply(tile, array[tiling.source(tile)])
    np.testing.assert_array_equal(found, expected)


def test_slabs_of_many_classes_are_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever combines several predictions holds a slab of each."""
    values = np.random.default_rng(0).random((6, 5, 40, 7)).astype(np.float32)
    plane = 6 * 5 * 7 * 4
    for limit, planes in ((1, 1), (plane, 1), (3 * plane, 3), (100 * plane, 16)):
        monkeypatch.setattr(parts_module, "_SLAB", limit)
        parts = Parts(
            iter([Block((0, 0, 0), values)]),
            tuple(slice(0, n) for n in (6, 5, 40)),
            np.eye(7, dtype=np.float32)[0],
            2,
        )
        found = list(parts.slabs(Sample("a", np.zeros((6, 5, 40, 1), np.float32)), (6, 5, 40)))
        assert max(block.extent[2] for block in found) == planes
        assert [block.start[2] for block in found] == [
            0, *np.cumsum([block.extent[2] for block in found])[:-1]
        ]  # fmt: skip
        np.testing.assert_array_equal(np.concatenate([b.values for b in found], axis=2), values)
