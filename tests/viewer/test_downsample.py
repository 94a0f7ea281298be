"""Volumes made smaller: what is kept, and what is not lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._viewer.downsample import area_labels, area_mean, reduced_shape


@given(st.integers(1, 40), st.data())
def test_the_mean_is_that_of_the_exact_areas(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(1, n))
    values = np.random.default_rng(n * 41 + m).normal(size=n)
    # each voxel cut into m pieces, each coarse voxel holds n of them
    expected = np.repeat(values, m).reshape(m, n).mean(axis=1)
    found = area_mean(values[:, np.newaxis], (m, 1))[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_mean_of_a_volume_is_kept_along_all_axes(rng: np.random.Generator) -> None:
    image = rng.normal(100.0, 20.0, (13, 10, 7))
    small = area_mean(image, (5, 10, 3))
    assert small.shape == (5, 10, 3)
    assert small.mean() == pytest.approx(image.mean(), abs=1e-3)
    np.testing.assert_allclose(small.mean(axis=(0, 2)), image.mean(axis=(0, 2)), atol=1e-3)


def test_most_of_a_voxel_decides_and_equal_shares_are_foreground() -> None:
    labels = np.array([[0, 0, 1, 2, 2, 2, 0, 3]], dtype=np.uint8)
    # pairs: all background | 1 and 2, the lower | 2 | half background: the label
    assert area_labels(labels, (1, 4)).tolist() == [[0, 1, 2, 3]]


@given(st.integers(0, 300))
def test_no_object_vanishes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 24, 12), dtype=np.uint8)
    # objects far enough apart that no two meet in one coarse voxel
    for x, y, z in rng.permutation([(x, y, z) for x in (3, 15) for y in (3, 15) for z in (2, 8)]):
        size = rng.integers(1, 5)
        labels[x : x + size, y : y + size, z : z + 1] = rng.integers(1, 4)
    small = area_labels(labels, (4, 4, 2))
    assert set(np.unique(small)) == set(np.unique(labels)) | {0}
    from scipy import ndimage

    # without the rescue: one voxel of 6 x 6 x 6 would be background
    assert ndimage.label(labels)[1] == 8
    assert np.count_nonzero(small) >= 8


def test_of_two_small_objects_in_one_voxel_the_larger_one_stays() -> None:
    labels = np.zeros((8, 8), dtype=np.uint8)
    labels[0, 0] = 1
    labels[4:6, 4] = 2
    assert area_labels(labels, (1, 1)).tolist() == [[2]]


def test_labels_are_not_changed_in_place_nor_shared() -> None:
    labels = np.ones((2, 2), dtype=np.uint16)
    same = area_labels(labels, (2, 2))
    same[:] = 5
    assert labels.tolist() == [[1, 1], [1, 1]]
    assert same.dtype == np.uint16


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((512, 512, 300), 2, (192, 192, 96)),
        ((512, 256, 20), 2, (192, 96, 20)),
        ((30, 512, 512), 0, (30, 192, 192)),
        ((35, 51, 35), 2, (35, 51, 35)),
        ((2000, 1000), None, (192, 96)),
        ((1000, 1, 3), 2, (192, 1, 3)),
    ],
)
def test_the_shape_keeps_the_proportions_of_a_slice(
    shape: tuple[int, ...], axis: int | None, expected: tuple[int, ...]
) -> None:
    assert reduced_shape(shape, axis, 192, 96) == expected
