"""Prepared samples on disk."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.processing.cache import SampleCache, fingerprint
from miscnn.processing.prepared import PreparedSample


@pytest.fixture
def prepared(rng: np.random.Generator) -> PreparedSample:
    image = rng.normal(size=(20, 21, 9, 2)).astype(np.float32)
    labels = np.zeros((20, 21, 9), np.uint8)
    labels[3:7, 4:9, 2:5] = 1
    labels[10, 11, 5] = 3
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    sample = Sample("case/1", image, 2, 4, Geometry((20, 21, 9), affine))
    sample.add_segmentation(labels)
    return PreparedSample.from_sample(sample, rng)


def test_a_sample_comes_back_bit_by_bit(tmp_path: Path, prepared: PreparedSample) -> None:
    cache = SampleCache(tmp_path, (8, 8, 8))
    cache.put("key", prepared)
    found = cache.get("case/1", "key")
    assert found is not None
    np.testing.assert_array_equal(found.image[...], prepared.image)
    np.testing.assert_array_equal(found.image[3:9, :4, 2:5], prepared.image[3:9, :4, 2:5])
    np.testing.assert_array_equal(found.labels[...], prepared.labels)
    assert found.labels.dtype == np.uint8
    assert found.geometry == prepared.geometry
    np.testing.assert_array_equal(found.fill, prepared.image.min(axis=(0, 1, 2)))
    assert found.class_rows == prepared.class_rows
    np.testing.assert_array_equal(found.positions[...], prepared.positions)


def test_foreground_is_drawn_from_the_classes_evenly(prepared: PreparedSample) -> None:
    rng = np.random.default_rng(0)
    drawn = [prepared.draw_foreground(rng) for _ in range(300)]
    values = [prepared.labels[p] for p in drawn if p is not None]
    assert set(values) == {1, 3}
    assert 100 < values.count(3) < 200  # one voxel against sixty
    only = {prepared.draw_foreground(rng, without=1) for _ in range(5)}
    assert only == {(10, 11, 5)}


def test_no_foreground(tmp_path: Path) -> None:
    sample = Sample("empty", np.zeros((4, 4, 4, 1), np.float32))
    sample.add_segmentation(np.zeros((4, 4, 4), np.uint8))
    rng = np.random.default_rng(0)
    stored = SampleCache(tmp_path).put("key", PreparedSample.from_sample(sample, rng))
    assert stored.draw_foreground(rng) is None


def test_damage_is_noticed(
    tmp_path: Path, prepared: PreparedSample, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SampleCache(tmp_path)
    cache.put("key", prepared)
    file = cache.path("case/1", "key") / "image.b2nd"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.get("case/1", "key") is None
    assert "image.b2nd is damaged" in caplog.text
    cache.put("key", prepared)
    assert cache.get("case/1", "key") is not None


@pytest.mark.parametrize("name", ["labels.b2nd", "sample.json"])
def test_missing_files_are_noticed(tmp_path: Path, prepared: PreparedSample, name: str) -> None:
    cache = SampleCache(tmp_path)
    cache.put("key", prepared)
    (cache.path("case/1", "key") / name).unlink()
    assert cache.get("case/1", "key") is None


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, prepared: PreparedSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = SampleCache(tmp_path)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("miscnn.processing.cache.write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        cache.put("key", prepared)
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_values_apart() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint("a", "b") != fingerprint("ab")
