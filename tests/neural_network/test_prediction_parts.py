"""Settings, mirror images, boxes and the thread that is ahead: what an engine is made of."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from miscnn._configurable import deserialize, serialize
from miscnn._scratch import Scratch
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._ahead import ahead, closing
from miscnn.neural_network._engine import background_planes
from miscnn.neural_network._mirroring import Mean, mirrored
from miscnn.neural_network._outputs import clipped, count_voxels, entropy, gaps
from miscnn.neural_network._roi import foreground_box, mapped
from miscnn.neural_network._several import CombinedEngine, aligned
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.blocks import Block
from miscnn.processing.regions import Regions

# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"overlap": 1.0}, "share of the window"),
        ({"overlap": -0.1}, "share of the window"),
        ({"overlap": (1, -2, 3)}, "whole voxels"),
        ({"overlap": "half"}, "overlap is 'half'"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"window_weight": "triangle"}, "'gaussian' or 'constant', got 'triangle'"),
        ({"mirror_axes": (0, 3)}, "mirror_axes"),
        ({"mirror_axes": (1, 1)}, "mirror_axes"),
        ({"foreground": "all"}, "foreground is 'all'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"combine": "votes"}, "'probabilities' or 'logits', got 'votes'"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        PredictionSettings(**arguments)


def test_settings_are_written_down_and_read_back() -> None:
    settings = PredictionSettings((4, 5, 6), "constant", (0, 2), "auto", 3, "logits")
    assert deserialize(serialize(settings)) == settings
    other = settings.replace(overlap=0.25)
    assert (other.overlap, other.mirror_axes) == (0.25, (0, 2))
    assert settings.overlap == (4, 5, 6)
    assert other != settings


# ---------------------------------------------------------------------- means


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_mirror_images_are_averaged(axes: tuple[int, ...], combine: Any) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 5, 6, 3))  # what is added depends on the place in the window
    batch = rng.normal(size=(2, 4, 5, 6, 1)).astype(np.float32)

    def network(windows: np.ndarray) -> np.ndarray:
        return softmax(windows * table, axis=-1).astype(np.float32)

    expected = []
    for flags in itertools.product((False, True), repeat=len(axes)):
        flip = tuple(a + 1 for a, flag in zip(axes, flags, strict=True) if flag)
        expected.append(np.flip(network(np.flip(batch, flip)), flip).astype(np.float64))
    if combine == "probabilities":
        wanted = np.mean(expected, axis=0)
    else:
        wanted = softmax(np.mean(np.log(expected), axis=0), axis=-1)
    found = mirrored(network, axes, combine, exclusive=True)(batch)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32


def test_an_equivariant_network_says_the_same_of_mirror_images() -> None:
    batch = np.random.default_rng(0).random((2, 4, 5, 6, 2)).astype(np.float32)
    for combine in ("probabilities", "logits"):
        found = mirrored(lambda b: b / b.sum(-1, keepdims=True), (0, 1, 2), combine, True)(batch)
        np.testing.assert_allclose(found, batch / batch.sum(-1, keepdims=True), atol=1e-6)


def test_logits_of_regions_and_certainty() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 10, 4))
    mean = Mean("logits", exclusive=False)
    for values in expit(logits).astype(np.float32):
        mean.add(values)
    np.testing.assert_allclose(mean.result(), expit(logits.mean(axis=0)), atol=1e-6)
    # one that is sure and wrong does not decide alone, and nothing becomes NaN
    for exclusive in (True, False):
        mean = Mean("logits", exclusive)
        for sure in ([1.0, 0.0], [0.01, 0.99], [0.01, 0.99], [0.01, 0.99], [0.01, 0.99]):
            mean.add(np.array([sure], dtype=np.float32))
        assert mean.result()[0, 1] > 0.5


@pytest.mark.parametrize("sure", [1.0, 1 - 1e-8, 1 - 2e-8])
def test_a_yes_weighs_as_much_as_a_no(sure: float) -> None:
    mean = Mean("logits", exclusive=False)
    for values in ([sure, 0.3], [0.0, 0.7]):
        mean.add(np.array([values], dtype=np.float32))
    np.testing.assert_allclose(mean.result(), 0.5, atol=1e-7)
    mean = Mean("logits", exclusive=False)
    for value in (1.0, 1.0, 0.0, 2e-7):
        mean.add(np.full((1, 1), value, dtype=np.float32))
    most = logit(1 - 1e-7)
    expected = expit((2 * most - most + logit(2e-7)) / 4)
    np.testing.assert_allclose(mean.result(), expected, rtol=1e-5)


# ---------------------------------------------------------------------- boxes


@given(st.integers(0, 2**32 - 1))
def test_the_box_of_the_foreground(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 9, rng.integers(2, 4))
    image = np.where(rng.random((*shape, 2)) < 0.05, 1.0, -1.0).astype(np.float32)
    image = image if rng.random() < 0.5 else np.asfortranarray(image)
    for threshold in (0.0, "auto"):
        low = image.min(axis=tuple(range(len(shape)))) if threshold == "auto" else 0.0
        above = np.argwhere((image > low).any(axis=-1))
        box = foreground_box(image, threshold)  # type: ignore[arg-type]
        if not len(above):
            assert all(part.stop == part.start for part in box)
            continue
        assert [part.start for part in box] == above.min(axis=0).tolist()
        assert [part.stop for part in box] == (above.max(axis=0) + 1).tolist()


def test_the_box_of_the_foreground_of_a_file(tmp_path: Any) -> None:
    image = Scratch(tmp_path, limit=0).empty((300, 200, 90, 1), np.float32)
    image[...] = -1000
    image[17, 100:150, 3:88] = 40
    image[200, 101, 40] = -999
    assert foreground_box(image, 0) == (slice(17, 18), slice(100, 150), slice(3, 88))
    assert foreground_box(image, "auto") == (slice(17, 201), slice(100, 150), slice(3, 88))


@given(st.integers(0, 2**32 - 1))
def test_boxes_of_other_grids_hold_what_they_are_of(seed: int) -> None:
    """Whatever voxel of the other grid has a part in the box lies in the mapped one."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 20, 3))
    affine = np.eye(4)
    affine[:3, :3] = np.diag(rng.uniform(0.5, 3, 3))[rng.permutation(3)]
    affine[:3, :3] *= rng.choice([-1, 1], 3)
    source = Geometry(shape, affine)
    target = source.resized([int(n) for n in rng.integers(2, 30, 3)])
    ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape]
    box = tuple(slice(int(a), int(b)) for a, b in ends)
    found = mapped(box, source, target)
    for part, inside, n, m in zip(found, box, shape, target.shape, strict=True):
        for voxel in range(m):
            low, high = voxel * n / m, (voxel + 1) * n / m
            if low < inside.stop - 1e-4 and high > inside.start + 1e-4:
                assert part.start <= voxel < part.stop
        if n == m == part.stop - part.start and shape == target.shape:
            assert part == inside


def test_boxes_of_shifted_and_turned_grids_are_exact() -> None:
    source = Geometry((10, 12, 14), np.diag([1.0, 2.0, 3.0, 1.0]))
    box = (slice(2, 5), slice(0, 12), slice(7, 9))
    assert mapped(box, source, source) == box
    cropped = source.cropped((1, -3, 8), (9, 20, 6))
    assert mapped(box, source, cropped) == (slice(1, 4), slice(3, 15), slice(0, 1))
    turned = Geometry(
        (14, 10, 12),
        source.affine @ np.array([[0, -1, 0, 9], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]),
    )
    assert mapped(box, source, turned) == (slice(7, 9), slice(5, 8), slice(0, 12))
    far = source.cropped((50, 0, 0), (4, 12, 14))
    assert any(part.start >= part.stop for part in mapped(box, source, far))


def test_clipping_and_gaps_cover_a_grid_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(int(n) for n in rng.integers(1, 8, 3))
        ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape]
        box = tuple(slice(int(a), int(b)) for a, b in ends)
        values = rng.random((*shape, 2))
        cut = int(rng.integers(0, shape[2] + 1))
        count = np.zeros(shape, dtype=int)
        boxes = []
        for start, part in ((0, values[:, :, :cut]), (cut, values[:, :, cut:])):
            inside = clipped(Block((0, 0, start), part), box)
            if inside is None:
                continue
            np.testing.assert_array_equal(inside.values, values[inside.box])
            count[inside.box] += 1
            boxes.append(inside.box)
        for gap in gaps(boxes, shape):
            count[gap] += 1
        assert (count == 1).all()
    with pytest.raises(ConfigurationError, match="one box"):
        list(gaps([(slice(0, 1),) * 2, (slice(1, 2),) * 2], (3, 3)))


# ---------------------------------------------------------------------- values


def test_entropy_and_counts() -> None:
    even = entropy(np.full((2, 3, 4), 0.25), exclusive=True)
    np.testing.assert_allclose(even, np.log(4), rtol=1e-6)
    assert even.dtype == np.float32
    np.testing.assert_array_equal(entropy(np.eye(3), exclusive=True), 0)
    both = entropy(np.array([[0.5, 0.9, 0.0]]), exclusive=False)
    np.testing.assert_allclose(both, np.log(2) - 0.9 * np.log(0.9) - 0.1 * np.log(0.1), rtol=1e-5)
    over = entropy(np.array([[1 + 1e-6, -1e-6]]), exclusive=False)  # roundings
    assert over[0] == 0
    labels = np.array([[0, 1, 3], [3, 3, 0]], dtype=np.uint8)
    assert count_voxels(labels, 5) == [2, 1, 0, 3, 0]


def test_planes_of_background() -> None:
    regions = Regions({"a": (1, 2), "b": (2,)})
    for probabilities, of, channels in ((True, None, 3), (True, regions, 2), (False, regions, 2)):
        blocks = list(background_planes((2, 3, 4), channels, probabilities, of))
        assert [block.start for block in blocks] == [(0, 0, z) for z in range(4)]
        for block in blocks:
            assert block.extent == (2, 3, 1)
            assert block.values[..., 1:].sum() == 0 if probabilities else not block.values.any()
            if probabilities:
                assert (block.values[..., 0] == (of is None)).all()


def test_streams_of_planes_are_cut_at_the_same_places() -> None:
    whole = np.random.default_rng(0).random((3, 2, 2, 11, 2))

    def stream(number: int, cuts: list[int]) -> Iterator[Block]:
        for low, high in itertools.pairwise([0, *cuts, 11]):
            yield Block((0, 0, low), whole[number, :, :, low:high])

    places = []
    for start, parts, rows in aligned([stream(0, [4, 8]), stream(1, [1, 2, 8]), stream(2, [])]):
        end = start[2] + parts[0].shape[2]
        places.append(end)
        assert (rows, len(parts[0])) == (2, 2)
        np.testing.assert_array_equal(np.stack(parts), whole[:, :, :, start[2] : end])
    assert places == [1, 2, 4, 8, 11]


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("slabs", [True, False])
def test_large_planes_are_combined_in_pieces(
    monkeypatch: pytest.MonkeyPatch, slabs: bool, probabilities: bool
) -> None:
    whole = np.random.default_rng(0).random((2, 7, 5, 6, 4)).astype(np.float32)

    class Planes:
        regions, channels, labels_follow = None, 4, True

        def prepare(self, sample: Any, shared: Any = None) -> int:
            return int(sample)

        def blocks(self, number: int, **_: Any) -> Iterator[Block]:
            yield Block((0, 0, 0), whole[number, :, :, :4])
            yield Block((0, 0, 4), whole[number, :, :, 4:])

    sizes = []

    def mean(parts: Any) -> Any:
        sizes.extend(part.nbytes for part in parts)
        return (parts[0] + parts[1]) / 2

    limit = 1000  # three rows of four planes, six of two
    monkeypatch.setattr(aligned, "__defaults__", (limit,))
    engine = CombinedEngine([Planes(), Planes()], mean, 4)
    found = np.full((7, 5, 6, 4) if probabilities else (7, 5, 6), np.nan)
    order = []
    for block in engine.blocks([0, 1], probabilities=probabilities, slabs=slabs):
        assert np.isnan(found[block.box]).all()
        found[block.box] = block.values
        assert not slabs or block.extent[:2] == (7, 5)
        order.append(block.start[2])
    assert max(sizes) <= limit
    assert order == ([0, 4] if slabs else [0, 0, 0, 4, 4])
    expected = whole.mean(axis=0)
    np.testing.assert_array_equal(found, expected if probabilities else expected.argmax(-1))


# ---------------------------------------------------------------------- ahead


def test_items_are_made_ahead_in_order() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            yield number

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    for _ in range(100):
        if len(made) == 3:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2]  # the one in use, and two more
    assert list(stream) == [1, 2, 3, 4, 5]
    assert list(ahead(iter(()))) == []


def test_errors_come_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_whoever_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    ended = []

    def items() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.append(True)

    stream = ahead(ahead(items()))
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before
    assert ended == [True]


def test_what_goes_wrong_beside_it_leaves_no_thread() -> None:
    """Even where the error, and with it all that it came through, is kept."""
    before = threading.active_count()
    ended = []

    def items() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.append(True)

    def consumer() -> Iterator[int]:
        with closing(ahead(ahead(items()))) as stream:
            for item in stream:
                raise ValueError(f"broken at {item}")
                yield item

    with pytest.raises(ValueError, match="broken at 0") as kept:
        list(consumer())
    assert threading.active_count() == before
    assert ended == [True]
    del kept


def test_an_interpreter_ends_without_complaint() -> None:
    """Where nobody has closed what was begun."""
    lines = [
        "from miscnn.neural_network._ahead import ahead",
        "import itertools",
        "def items():",
        "    yield from itertools.count()",
        "stream = ahead(ahead(items()))",
        "next(stream)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
