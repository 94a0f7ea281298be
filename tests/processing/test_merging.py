"""Merging overlapping windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing import merging
from miscnn.processing._axis_cells import axis_cells
from miscnn.processing._buffers import Buffers
from miscnn.processing.merging import WindowMerger, WindowWeight, sum_dtype
from miscnn.processing.patches import WindowGrid, cut

weights = st.sampled_from(["gaussian", "constant"])
# Windows and cells below which other ways are taken; windows of tests are far below the real ones.
limits = st.tuples(st.sampled_from([0, merging._SMALL_WINDOW]), st.sampled_from([0, 400, 2**19]))
EXACT = (0, 0)


@contextmanager
def small(given: tuple[int, int]) -> Iterator[None]:
    """Have windows taken for large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_SMALL_WINDOW", given[0])
        patch.setattr(merging, "_SMALL_CELL", given[1])
        yield


@st.composite
def grids(draw: st.DrawFn, axes: int | None = None) -> WindowGrid:
    """Boxes inside of an image or of its size, larger and smaller than the window."""
    n = draw(st.integers(2, 3)) if axes is None else axes
    window = tuple(draw(st.integers(1, 16 if n == 2 else 7)) for _ in range(n))
    overlap = tuple(draw(st.integers(0, w - 1)) for w in window)
    shape = tuple(draw(st.integers(1, 40 if n == 2 else 14)) for _ in range(n))
    origin = tuple(draw(st.integers(0, 5)) for _ in range(n))
    return WindowGrid(shape, window, overlap, origin)


def image_around(grid: WindowGrid, channels: int, seed: int = 0) -> NDArray[np.float32]:
    """Return an image in which the box of the grid lies."""
    shape = tuple(a + n + 2 for a, n in zip(grid.origin, grid.shape, strict=True))
    return np.random.default_rng(seed).random((*shape, channels), dtype=np.float32)


def box_of(grid: WindowGrid) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(grid.origin, grid.shape, strict=True))


def merge(
    merger: WindowMerger,
    starts: Iterable[tuple[int, ...]],
    image: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Merge what a network would make of the windows if it returned its input."""
    merged = np.full_like(image, np.nan)
    for start in starts:
        for block in merger.add(start, cut(image, start, merger.grid.window)):
            assert block.values.dtype == np.float32
            assert block.values.shape == (*block.extent, image.shape[-1])
            assert np.isnan(merged[block.box]).all()  # nothing is handed out twice
            merged[block.box] = block.values
    assert merger.missing == merger.held == 0
    box = box_of(merger.grid)
    inside = merged[box].copy()
    merged[box] = np.nan
    assert np.isnan(merged).all()  # nothing outside of the box
    assert not np.isnan(inside).any()  # all of the box
    return inside


@given(grids(), weights, st.integers(1, 5), st.integers(0, 99), limits)
def test_an_identity_network_returns_its_input(
    grid: WindowGrid, weight: WindowWeight, channels: int, seed: int, limit: tuple[int, int]
) -> None:
    """For any overlap, in any order of the windows."""
    image = image_around(grid, channels, seed)
    starts = np.random.default_rng(seed).permutation(np.array(list(grid)))
    with small(limit):
        merger = WindowMerger(grid, channels, weight)
    merged = merge(merger, map(tuple, starts), image)
    np.testing.assert_allclose(merged, image[box_of(grid)], rtol=0, atol=1e-6)


@given(grids(), weights, st.floats(-1e3, 1e3, width=32), limits)
def test_constants_stay_constant(
    grid: WindowGrid, weight: WindowWeight, value: float, limit: tuple[int, int]
) -> None:
    """At borders and in the middle, where one window lies over a voxel and where many do."""
    constant = np.full_like(image_around(grid, 1), value)
    with small(limit):
        merger = WindowMerger(grid, 1, weight)
    merged = merge(merger, grid, constant)
    np.testing.assert_allclose(merged, value, rtol=1e-6, atol=1e-37)


def naive(
    grid: WindowGrid, weight: WindowWeight, windows: dict[tuple[int, ...], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Sum up in float64 and divide by the sum of the weights."""
    full = np.ones(())
    for n in grid.window:
        position = np.arange(n) - (n - 1) / 2
        one = np.exp(-0.5 * (position / (n / 8)) ** 2) if weight == "gaussian" else np.ones(n)
        full = np.multiply.outer(full, one)
    total: NDArray[np.float64] = np.zeros(())
    for number, (start, values) in enumerate(windows.items()):
        if not number:
            total = np.zeros((*grid.shape, values.shape[-1]))
            count = np.zeros(grid.shape)
        at = [s - o for s, o in zip(start, grid.origin, strict=True)]
        box = tuple(
            slice(max(a, 0), min(a + w, n))
            for a, w, n in zip(at, grid.window, grid.shape, strict=True)
        )
        part = tuple(slice(b.start - a, b.stop - a) for b, a in zip(box, at, strict=True))
        total[box] += (values * full[..., np.newaxis])[part]
        count[box] += full[part]
    return total / count[..., np.newaxis]


@given(grids(), weights, st.integers(1, 4), st.integers(0, 99), limits)
def test_merging_is_the_weighted_mean(
    grid: WindowGrid, weight: WindowWeight, channels: int, seed: int, limit: tuple[int, int]
) -> None:
    """Of windows that do not agree, as those of a network."""
    rng = np.random.default_rng(seed)
    windows = {start: rng.random((*grid.window, channels)) for start in grid}
    with small(limit):
        merger = WindowMerger(grid, channels, weight)
    merged = np.empty((*grid.shape, channels))
    for start, values in windows.items():
        for block in merger.add(start, values.astype(np.float32)):
            first = np.subtract(block.start, grid.origin)
            box = tuple(slice(a, a + n) for a, n in zip(first, block.extent, strict=True))
            merged[box] = block.values
    np.testing.assert_allclose(merged, naive(grid, weight, windows), rtol=0, atol=2e-6)


def test_three_windows_over_one_voxel() -> None:
    grid = WindowGrid((10,), (6,), (4,))
    assert grid.axis_starts == ((0, 2, 4),)
    values = {0: 3.0, 2: 6.0, 4: 30.0}
    offsets = np.array([4 - s - 2.5 for s in values])
    gaussian = np.exp(-0.5 * (offsets / (6 / 8)) ** 2)
    for weight, expected in (
        ("constant", 13.0),
        ("gaussian", np.average([3, 6, 30], weights=gaussian)),
    ):
        with small(EXACT):
            merger = WindowMerger(grid, 1, weight)  # type: ignore[arg-type]
        blocks = [b for s, v in values.items() for b in merger.add((s,), np.full((6, 1), v))]
        assert [b.start for b in blocks] == [(0,), (2,), (4,), (6,), (8,)]
        assert blocks[2].values[0, 0] == pytest.approx(expected, rel=1e-6)


def test_a_cell_is_handed_out_with_its_last_window() -> None:
    grid = WindowGrid((4, 8), (4, 4), (0, 2))
    with small(EXACT):
        merger = WindowMerger(grid, 1)
    window = np.zeros((4, 4, 1), np.float32)
    assert [b.box for b in merger.add((0, 0), window)] == [(slice(0, 4), slice(0, 2))]
    assert merger.held == 8
    assert merger.add((0, 4), window)[0].box == (slice(0, 4), slice(6, 8))
    assert merger.held == 16
    last = merger.add((0, 2), window)
    assert [b.box[1] for b in last] == [slice(2, 4), slice(4, 6)]


@given(grids(), st.sampled_from([np.float32, np.uint16]), st.data(), limits)
def test_orders_that_agree_at_each_voxel_are_bit_equal(
    grid: WindowGrid, dtype: DTypeLike, data: st.DataObject, limit: tuple[int, int]
) -> None:
    """Windows that share no voxel may change places."""
    starts = list(grid)
    swapped = list(starts)
    for n in data.draw(st.lists(st.integers(0, max(len(starts) - 2, 0)), max_size=20)):
        pair = swapped[n : n + 2]
        apart = len(pair) == 2 and any(
            abs(a - b) >= w for a, b, w in zip(*pair, grid.window, strict=True)
        )
        if apart:
            swapped[n : n + 2] = pair[::-1]
    image = image_around(grid, 2)
    with small(limit):
        one, other = [
            merge(WindowMerger(grid, 2, dtype=dtype), order, image) for order in (starts, swapped)
        ]
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(40, 30, 50), (40, 61)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_threads_and_tiles_change_nothing(
    shape: tuple[int, ...], dtype: DTypeLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = WindowGrid(shape, (24,) * len(shape), (15,) * len(shape))
    image = image_around(grid, 3)
    monkeypatch.setattr(merging, "_SMALL_WINDOW", 0)
    expected = merge(WindowMerger(grid, 3, dtype=dtype, threads=1), grid, image)
    for tile, threads in itertools.product((1, 4 * 24 * 3 * 5, 4 * 24 * 24 * 3 * 5), (1, 2, 4)):
        monkeypatch.setattr(merging, "_TILE", tile)
        merged = merge(WindowMerger(grid, 3, dtype=dtype, threads=threads), grid, image)
        np.testing.assert_array_equal(merged, expected)


@pytest.mark.parametrize(("dtype", "rounding"), [(np.uint16, 2.0**-17), (np.float16, 2.0**-12)])
@given(grid=grids(), weight=weights, seed=st.integers(0, 99))
def test_roundings_of_16_bits_are_bounded(
    dtype: DTypeLike, rounding: float, grid: WindowGrid, weight: WindowWeight, seed: int
) -> None:
    """Each window that lies over a voxel adds one to a probability."""
    windows = math.prod(
        max(sum(s <= at < s + w for s in starts) for at in starts)
        for starts, w in zip(grid.axis_starts, grid.window, strict=True)
    )
    assume(windows <= 900)
    image = np.round(1.1 * image_around(grid, 2, seed) - 0.05, 2).clip(0, 1)  # 0 and 1 as well
    merged = merge(WindowMerger(grid, 2, weight, dtype=dtype), grid, image)
    assert np.abs(merged - image[box_of(grid)]).max() <= windows * 1.01 * rounding + 1e-6


@pytest.mark.parametrize("odd", [-0.01, 1.01, np.nan])
def test_only_probabilities_are_merged_in_16_bits(odd: float) -> None:
    grid = WindowGrid((6, 4), (4, 4), (2, 0))
    merger = WindowMerger(grid, 1, dtype=np.uint16)
    values = np.full((4, 4, 1), 0.5, np.float32)
    values[1, 2] = odd
    with pytest.raises(ConfigurationError, match="only probabilities"):
        merger.add((0, 0), values)


def test_16_bits_hold_what_is_slightly_above_one() -> None:
    """Of as many windows as may lie over one voxel, each rounded up."""
    grid = WindowGrid((59, 59), (30, 30), (29, 29))
    assert len(grid) == 900
    image = np.full((61, 61, 1), 1.001, np.float32)
    merged = merge(WindowMerger(grid, 1, "constant", dtype=np.uint16), grid, image)
    np.testing.assert_allclose(merged, 1.001, atol=900 * 2.0**-17)
    with pytest.raises(ConfigurationError, match="961 windows"):
        WindowMerger(WindowGrid((61, 61), (31, 31), (30, 30)), 1, dtype=np.uint16)


def test_sums_of_many_windows_are_carried_over() -> None:
    """4096 windows over one voxel."""
    grid = WindowGrid((127, 127), (64, 64), (63, 63))
    errors = {}
    for dtype in (None, np.float32):
        merger = WindowMerger(grid, 1, "constant", dtype=dtype)
        window = np.full((64, 64, 1), 1 / 3, np.float32)
        blocks = [block.values for start in grid for block in merger.add(start, window)]
        errors[merger.dtype] = max(np.abs(block - 1 / 3).max() for block in blocks)
    assert errors[np.dtype(np.float64)] < 7e-7
    assert errors[np.dtype(np.float32)] > 1e-6


def peak(grid: WindowGrid, axis: int, limit: tuple[int, int] = EXACT) -> int:
    with small(limit):
        merger = WindowMerger(grid, 1, threads=1)
    window = np.zeros((*grid.window, 1), np.float32)
    held = 0
    for start in grid.along(axis):
        merger.add(start, window)
        held = max(held, merger.held)
    return held


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_memory_is_a_layer_of_overlap_and_a_strip(axis: int) -> None:
    """It does not depend on the length of the axis along which windows move."""
    cross, window = [64, 48], 16
    peaks = []
    for length in (64, 200, 1000):
        shape = list(cross)
        shape.insert(axis, length)
        peaks.append(peak(WindowGrid(tuple(shape), (window,) * 3, (8,) * 3), axis))
    # With even steps a layer shares 8 voxels with the next, and a strip of windows is 16 wide.
    layer, strip = 8 * 64 * 48, 16 * 16 * 64
    assert peaks[0] <= layer + strip
    # Other steps share more; but never more than a third more here.
    assert max(peaks) <= 4 / 3 * (layer + strip)
    assert peaks[2] <= 1.1 * peaks[1]


@given(grids(), st.data(), limits)
@settings(max_examples=50)
def test_memory_is_bounded_along_any_axis(
    grid: WindowGrid, data: st.DataObject, limit: tuple[int, int]
) -> None:
    n = len(grid.shape)
    axis = data.draw(st.integers(0, n - 1))
    starts = grid.axis_starts[axis]
    # what a layer shares with later ones
    shared = max((a + grid.window[axis] - b for a, b in itertools.pairwise(starts)), default=0)
    # At both ends of it may be the rest of a stretch, if that is not within a window.
    with small(limit):
        merger = WindowMerger(grid, 1)
    rests = []
    for found in merger._axes[3 - n :]:
        exact = all(piece.is_whole for part in found.parts.values() for piece in part.pieces)
        rests.append(0 if exact else 2 * max(s.length for s in found.stretches))
    layer = min(shared + rests[axis], grid.shape[axis]) * (
        math.prod(grid.shape) // grid.shape[axis]
    )
    across = [a for a in range(n) if a != axis]
    strip = math.prod(
        min(grid.window[a] + rests[a], grid.shape[a]) for a in (axis, across[0])
    ) * math.prod(grid.shape[a] for a in across[1:])
    assert peak(grid, axis, limit) <= layer + strip


@given(st.integers(1, 300), st.integers(1, 60), st.data())
def test_a_window_meets_few_stretches(length: int, window: int, data: st.DataObject) -> None:
    """And those are not much longer than the window, so that not much more is held."""
    overlap = data.draw(st.integers(0, window - 1))
    starts = WindowGrid((length,), (window,), (overlap,)).axis_starts[0]
    cells = axis_cells(length, window, starts, "constant", 1, window, 1)
    assert cells.stretches[-1].first + cells.stretches[-1].length == length
    for one, following in itertools.pairwise(cells.stretches):
        assert one.first + one.length == following.first
    for start, part in cells.parts.items():
        assert len(part.pieces) <= 5
        covered = range(max(start, 0), min(start + window, length))
        assert [
            voxel
            for piece in part.pieces
            for voxel in np.arange(length)[cells.stretches[piece.number].first :][piece.inside]
        ] == list(covered)
    assert max(s.length for s in cells.stretches) <= 1.5 * window + 1
    for number, stretch in enumerate(cells.stretches):
        meeting = [p for p in cells.parts.values() if number in {q.number for q in p.pieces}]
        assert len(meeting) == stretch.windows


def test_borders_that_are_kept() -> None:
    def borders(length: int, window: int, overlap: int, least: int = 1) -> list[int]:
        starts = WindowGrid((length,), (window,), (overlap,)).axis_starts[0]
        cells = axis_cells(length, window, starts, "constant", least, window, 1)
        return [stretch.first for stretch in cells.stretches]

    assert borders(192, 96, 48) == [0, 48, 96, 144]
    assert borders(288, 96, 0) == [0, 96, 192]
    assert borders(288, 96, 0, 150) == [0, 96, 192]  # nothing is gained by less
    assert borders(240, 96, 24) == [0, 72, 96, 144, 168]
    assert borders(192, 96, 72) == [0, 48, 96, 144]
    assert borders(192, 96, 95) == [0, 48, 96, 144]
    assert borders(192, 96, 48, 100) == [0]
    assert borders(250, 96, 40) == [0, 51, 96, 103, 147, 154, 199]


def test_blocks_are_the_consumers_as_long_as_it_likes() -> None:
    """Memory is used again only if nobody holds what lay in it."""
    grid = WindowGrid((40, 40, 400), (40, 40, 40), (0, 0, 0))
    merger = WindowMerger(grid, 1)
    kept, places = [], set()
    for number, start in enumerate(grid):
        (block,) = merger.add(start, np.full((40, 40, 40, 1), number, np.float32))
        if number in (2, 5):
            kept.append(block.values[1:, ..., 0].T[3:])  # a view of views
        else:
            places.add(block.values.ctypes.data)
    assert [np.unique(view).tolist() for view in kept] == [[2], [5]]
    assert len(places) <= 4


def test_memory_is_used_again() -> None:
    buffers = Buffers()
    first = buffers.empty((300, 100), np.dtype(np.float32))
    second = buffers.empty((300, 100), np.dtype(np.float32))
    place = first.ctypes.data
    first[...], second[...] = 1, 2
    view = first.reshape(-1)[5:].view(np.uint8)
    del first
    third = buffers.empty((300, 100), np.dtype(np.float32))
    assert third.ctypes.data != place  # for there is still a view of it
    del view
    fourth = buffers.empty((200, 100), np.dtype(np.float32))
    assert fourth.ctypes.data != place  # that would waste a third
    fifth = buffers.empty((120, 120), np.dtype(np.float64))
    assert fifth.ctypes.data == place
    assert fifth.dtype == np.float64
    assert fifth.flags.writeable
    assert fifth.flags.c_contiguous
    fifth[...] = 3
    assert (second == 2).all()


def test_the_type_of_the_sums() -> None:
    half = (48, 48, 48)
    small = WindowGrid((512, 512, 400), (96, 96, 96), half)
    assert sum_dtype(small, 3) == np.float32
    assert WindowMerger(small, 3).dtype == np.float32
    assert sum_dtype(small, 105) == np.uint16
    # 1 GiB of a layer (2^20 voxels) are 256 channels
    cube = WindowGrid((128, 128, 512), (16, 16, 16), (8, 8, 8))
    assert sum_dtype(cube, 256) == np.float32
    assert sum_dtype(cube, 257) == np.uint16
    dense = WindowGrid((20, 20, 20), (8, 8, 8), (6, 6, 6))
    assert sum_dtype(dense, 1) == np.float32  # 64 windows
    assert sum_dtype(WindowGrid((20, 20, 20), (8, 8, 8), (6, 6, 7)), 1) == np.float64
    assert sum_dtype(WindowGrid((512, 512, 400), (96, 96, 96), (80, 80, 80)), 105) == np.uint16
    assert sum_dtype(WindowGrid((512, 512, 400), (96, 96, 96), (90, 90, 90)), 105) == np.float32


def test_values_are_not_changed_and_not_kept() -> None:
    grid = WindowGrid((6, 4), (4, 4), (2, 0))
    with small(EXACT):
        merger = WindowMerger(grid, 1, "constant")
    values = np.ones((4, 4, 1), np.float32)
    merger.add((0, 0), values)
    np.testing.assert_array_equal(values, 1)
    values[...] = 7
    (block, _) = merger.add((2, 0), np.ones((4, 4, 1), np.float32))
    np.testing.assert_array_equal(block.values, 1)


def test_windows_of_other_types_and_orders_of_memory() -> None:
    grid = WindowGrid((6, 5), (4, 3), (2, 1))
    rng = np.random.default_rng(0)
    windows = {s: rng.random((4, 3, 2)).astype(np.float16) for s in grid}
    plain, other = WindowMerger(grid, 2), WindowMerger(grid, 2)
    for start, values in windows.items():
        expected = plain.add(start, values.astype(np.float32))
        got = other.add(start, np.asfortranarray(values))
        for a, b in zip(expected, got, strict=True):
            assert a.box == b.box
            np.testing.assert_array_equal(a.values, b.values)


def test_what_cannot_be_added() -> None:
    grid = WindowGrid((8, 8), (4, 4), (0, 0))
    merger = WindowMerger(grid, 2)
    window = np.zeros((4, 4, 2), np.float32)
    with pytest.raises(ConfigurationError, match=r"\(4, 4, 3\), expected \(4, 4, 2\)"):
        merger.add((0, 0), np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ConfigurationError, match=r"\(1, 0\) is none of the grid"):
        merger.add((1, 0), window)
    merger.add((0, 0), window)
    with pytest.raises(ConfigurationError, match="added before"):
        merger.add((0, 0), window)
    assert merger.missing == 3
    with pytest.raises(ConfigurationError, match="'triangular' is unknown"):
        WindowMerger(grid, 2, "triangular")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="3 are the most"):
        WindowMerger(WindowGrid(*((4,) * 4,) * 2, (0,) * 4), 1)
