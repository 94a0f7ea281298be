"""The label of the largest probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.processing import argmax
from miscnn.processing.argmax import argmax_labels


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 5, 24, 25, 60]),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.integers(0, 99),
)
def test_labels_are_those_of_numpy(extent: list[int], classes: int, dtype: type, seed: int) -> None:
    """Few different values: most voxels have ties, of which the lowest label is taken."""
    rng = np.random.default_rng(seed)
    values = rng.choice([-np.inf, -1.0, -0.0, 0.0, 0.5, np.inf], (*extent, classes)).astype(dtype)
    labels = argmax_labels(values)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.argmax(values, axis=-1))


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_chunks_join_without_a_seam(classes: int) -> None:
    length = argmax._VOXELS * 2 + 1
    values = np.random.default_rng(0).random((length, classes), dtype=np.float32)
    np.testing.assert_array_equal(argmax_labels(values), np.argmax(values, axis=-1))


@pytest.mark.parametrize("classes", [3, 30])
def test_arrays_of_any_order(classes: int) -> None:
    values = np.random.default_rng(0).random((classes, 4, 5, 6), dtype=np.float32)
    expected = np.argmax(values, axis=0)
    np.testing.assert_array_equal(argmax_labels(np.moveaxis(values, 0, -1)), expected)
    flat = values.reshape(classes, -1)
    np.testing.assert_array_equal(argmax_labels(flat.T), expected.reshape(-1))


def test_more_labels_than_a_byte_holds() -> None:
    values = np.zeros((2, 300), dtype=np.float32)
    values[0, 299] = 1
    labels = argmax_labels(values)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [299, 0]
