"""Voxels that nobody has annotated, from the sample to the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.sample import Sample
from miscnn.processing.augmentation import (
    CTAugmentation,
    GeneralAugmentation,
    MultidimensionalAugmentation,
)
from miscnn.processing.augmentation.base import PatchGrid
from miscnn.processing.batches import BatchMaker, one_hot
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.slices import foreground_slices, mean_gap
from miscnn.processing.stored_batches import StoredBatches
from miscnn.processing.subfunctions import CropToForeground, Padding, Resampling, Resize

IGNORED = 255


def volume(shape: tuple[int, ...] = (16, 12, 8)) -> np.ndarray:
    """Background, a box of class 1, one of class 2, and a slab without annotation."""
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 2:6, 2:4] = 1
    labels[6:9, 2:6, 2:4] = 2
    labels[12:] = IGNORED
    return labels


def recipe(tmp_path: Path, labels: np.ndarray | None = None, **arguments: Any) -> Any:
    labels = volume() if labels is None else labels
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    interface = DictionaryInterface({"a": (image, labels)}, classes=3, ignore_label=IGNORED)
    data_io = miscnn.DataIO(interface, batch_path=tmp_path / "batches")
    arguments = {"data_aug": None, "analysis": "fullimage", "cache": "memory", **arguments}
    return miscnn.Preprocessor(data_io, 1, **arguments)


def sample(labels: np.ndarray, classes: int = 3) -> Sample:
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    made = Sample("a", image, classes=classes, ignore_label=IGNORED)
    made.add_segmentation(labels)
    return made


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([0, 1, 2, IGNORED]), min_size=1, max_size=30),
    st.sampled_from(["uint8", "uint16", "int64"]),
)
def test_one_hot(labels: list[int], dtype: str) -> None:
    array = np.array(labels, dtype)
    before = array.copy()
    encoded = one_hot(array, 3, IGNORED)
    for label, row in zip(labels, encoded, strict=True):
        expected = [0, 0, 0] if label == IGNORED else [float(label == c) for c in range(3)]
        assert row.tolist() == expected
    np.testing.assert_array_equal(array, before)


def test_one_hot_knows_no_ignored_label_unless_told() -> None:
    with pytest.raises(IndexError):
        one_hot(np.array([0, IGNORED]), 3)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_whole_images(tmp_path: Path, cache: str) -> None:
    pp = recipe(tmp_path, cache=cache)
    assert pp.ignore_label == IGNORED
    _, encoded = BatchMaker(pp, ["a"], training=False).batch(0, 0)
    np.testing.assert_array_equal(encoded[0].sum(-1), volume() != IGNORED)
    for c in range(3):
        np.testing.assert_array_equal(encoded[0, ..., c], volume() == c)


def test_stored_batches(tmp_path: Path) -> None:
    maker = BatchMaker(recipe(tmp_path), ["a"], training=True)
    stored = StoredBatches(maker, tmp_path / "stored", seed=0)
    np.testing.assert_array_equal(stored.batch(0, 0)[1], maker.batch(0, 0)[1])
    assert not stored.batch(0, 0)[1][0, 12:].any()


def test_without_a_data_set_there_is_no_ignore_label() -> None:
    assert miscnn.Preprocessor(None, 1, analysis="fullimage").ignore_label is None


# ---------------------------------------------------------------------- sampling


def test_foreground_is_never_drawn_there() -> None:
    prepared = PreparedSample.from_sample(sample(volume()), np.random.default_rng(0))
    assert sorted(prepared.class_rows) == [1, 2]
    assert {c: b - a for c, (a, b) in prepared.class_rows.items()} == {1: 32, 2: 24}
    rng = np.random.default_rng(0)
    drawn = [prepared.draw_foreground(rng) for _ in range(50)]
    assert {int(volume()[p]) for p in drawn if p} == {1, 2}
    nothing = PreparedSample.from_sample(sample(np.full_like(volume(), IGNORED)), rng)
    assert nothing.draw_foreground(rng) is None


def test_blank_patches_are_those_without_a_class(tmp_path: Path) -> None:
    options = {"analysis": "patchwise-grid", "patch_shape": (4, 12, 8)}
    maker = BatchMaker(recipe(tmp_path, patchwise_skip_blanks=True, **options), ["a"], False)
    # Of the four slabs the last is not annotated.
    assert maker.n_items == 3
    assert BatchMaker(recipe(tmp_path, **options), ["a"], False).n_items == 4
    skip_two = recipe(tmp_path, patchwise_skip_blanks=True, patchwise_skip_class=2, **options)
    assert BatchMaker(skip_two, ["a"], False).n_items == 3


def test_slices_with_foreground() -> None:
    labels = volume()
    assert foreground_slices(labels, 0, IGNORED).tolist() == list(range(2, 9))
    assert foreground_slices(labels, 0).tolist() == [*range(2, 9), *range(12, 16)]
    assert foreground_slices(labels, 2, IGNORED).tolist() == [2, 3]
    assert mean_gap(labels, 0, 3, IGNORED) == pytest.approx((7 + 1) / 4)


def test_random_slices_show_foreground(tmp_path: Path) -> None:
    pp = recipe(tmp_path, analysis="slicewise", slices_per_volume=4, slice_axis=0)
    maker = BatchMaker(pp, ["a"], training=True)
    for epoch in range(3):
        for number in range(len(maker)):
            _, encoded = maker.batch(epoch, number)
            assert encoded[..., 1:].any()


# ---------------------------------------------------------------------- subfunctions


@pytest.mark.parametrize(
    "part",
    [
        Resampling((0.7, 1.3, 1.0)),
        Resampling((2.0, 2.0, 2.0)),
        Resize((9, 17, 8)),
        Padding((20, 13, 9)),
        Padding((20, 13, 9), pad_mode="reflect"),
    ],
    ids=str,
)
def test_subfunctions_treat_it_as_one_more_label(part: Any) -> None:
    given_sample = sample(volume())
    found = part.preprocessing(given_sample, True)
    assert set(np.unique(found.segmentation)) == {0, 1, 2, IGNORED}
    assert found.segmentation.dtype == np.uint8
    # The same map with another number gives the same regions.
    renamed = sample(np.where(volume() == IGNORED, 3, volume()), classes=4)
    again = part.preprocessing(renamed, True).segmentation
    np.testing.assert_array_equal(found.segmentation == IGNORED, again == 3)
    found.check_labels()


def test_cropping_loses_nothing_that_is_annotated(caplog: pytest.LogCaptureFixture) -> None:
    labels = volume()
    image = (labels == 1).astype(np.float32) + (labels == 2)
    made = Sample("a", image, classes=3, ignore_label=IGNORED)
    made.add_segmentation(labels)
    CropToForeground().preprocessing(made)
    assert not caplog.records
    image[6:] = 0
    made = Sample("a", image, classes=3, ignore_label=IGNORED)
    made.add_segmentation(labels)
    CropToForeground().preprocessing(made)
    assert "24 labelled voxels" in caplog.text


@pytest.mark.parametrize(
    "augmentation",
    [GeneralAugmentation(), MultidimensionalAugmentation(labels="linear"), CTAugmentation()],
    ids=lambda part: type(part).__name__,
)
def test_augmentations_invent_no_label(augmentation: Any) -> None:
    rng = np.random.default_rng(0)
    grid = PatchGrid((1.0, 1.0, 2.0), 2)
    changed = 0
    for _ in range(6):
        parameters = augmentation.sample_parameters(rng, (8, 8, 6), 1, grid)
        if not parameters:
            continue
        margin = augmentation.margin((8, 8, 6), parameters)
        shape = tuple(n + 2 * m for n, m in zip((8, 8, 6), margin, strict=True))
        labels = np.zeros(shape, np.uint8)
        labels[shape[0] // 2 :, : shape[1] // 2] = IGNORED
        labels[: shape[0] // 2, : shape[1] // 2] = 1
        image = rng.normal(size=(*shape, 1)).astype(np.float32)
        _, moved = augmentation.apply(image, labels, parameters, (8, 8, 6))
        renamed = np.where(labels == IGNORED, 2, labels).astype(np.uint8)
        _, again = augmentation.apply(image, renamed, parameters, (8, 8, 6))
        assert set(np.unique(moved)) <= {0, 1, IGNORED}
        np.testing.assert_array_equal(moved == IGNORED, again == 2)
        changed += bool((moved == IGNORED).any())
    assert changed
