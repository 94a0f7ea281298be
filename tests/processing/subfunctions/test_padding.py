"""Padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, GridMismatchError, SampleError
from miscnn.processing.subfunctions import Padding
from miscnn.testing import check_subfunction


def make(shape, channels=1, spacing=None) -> Sample:
    rng = np.random.default_rng(0)
    geometry = Geometry.from_spacing(shape, spacing or (1.0,) * len(shape))
    image = rng.normal(0, 100, (*shape, channels)).astype(np.float32)
    sample = Sample("case", image, channels, 4, geometry)
    sample.add_segmentation(rng.integers(0, 4, shape))
    return sample


def test_values_and_places():
    sample = make((3, 4), channels=2, spacing=(2.0, 3.0))
    after = Padding((6, 4), pad_value_seg=2).preprocessing(sample)
    assert after.image.shape == (6, 4, 2)
    assert after.image.dtype == np.float32
    np.testing.assert_array_equal(after.image[1:4], sample.image)
    np.testing.assert_array_equal(after.segmentation[1:4], sample.segmentation)
    for channel in range(2):
        outside = np.delete(after.image[..., channel], [1, 2, 3], axis=0)
        assert (outside == sample.image[..., channel].min()).all()
    assert (np.delete(after.segmentation, [1, 2, 3], axis=0) == 2).all()
    # The first voxel that was there is where it was.
    np.testing.assert_allclose(after.geometry.affine @ [1, 0, 1], sample.geometry.affine[:, -1])


def test_the_value_can_be_given_for_all_or_each_channel():
    sample = make((2, 2), channels=2)
    assert Padding((4, 2), pad_value_img=-7).preprocessing(sample).image[0, 0].tolist() == [-7, -7]
    after = Padding((4, 2), pad_value_img=(5, 6)).preprocessing(sample)
    assert after.image[3, 1].tolist() == [5, 6]
    with pytest.raises(SampleError, match=r"'case'.*3 values.*2 channel"):
        Padding((4, 2), pad_value_img=(5, 6, 7)).preprocessing(sample)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_image_and_labels_are_continued_alike(mode):
    sample = make((5, 4))
    sample.image = sample.segmentation.astype(np.float32)
    after = Padding((11, 9), pad_mode=mode).preprocessing(sample)
    np.testing.assert_array_equal(after.image, after.segmentation)
    np.testing.assert_array_equal(
        after.segmentation[..., 0], np.pad(sample.segmentation[..., 0], ((3, 3), (2, 3)), mode)
    )


@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    least=st.lists(st.one_of(st.none(), st.integers(1, 14)), min_size=3, max_size=3),
    multiple=st.one_of(st.none(), st.integers(1, 6)),
)
@settings(deadline=None)
def test_way_back_is_exact_for_any_shape(shape, least, multiple):
    sample = make(shape, 2)
    part = Padding(least[: len(shape)], shape_must_be_divisible_by=multiple)
    after = part.preprocessing(sample)
    for new, old, low in zip(after.geometry.shape, shape, least, strict=False):
        assert new >= max(old, low or 1)
        assert new % (multiple or 1) == 0
        assert new < max(old, low or 1) + (multiple or 1)
    assert after.geometry.shape == after.image.shape[:-1]
    sample_without = sample.copy()
    sample_without.image = sample_without.segmentation = None
    np.testing.assert_array_equal(
        part.postprocessing(sample_without, after.segmentation[..., 0]),
        sample.segmentation[..., 0],
    )
    np.testing.assert_array_equal(
        part.postprocessing(sample_without, after.image, activation_output=True), sample.image
    )


def test_errors():
    with pytest.raises(ConfigurationError, match="pad_mode='mean'"):
        Padding((4, 4), pad_mode="mean")
    with pytest.raises(ConfigurationError, match="min_size"):
        Padding((4, -1))
    with pytest.raises(ConfigurationError, match="pad_value_img"):
        Padding(4, pad_value_img="air")
    with pytest.raises(ConfigurationError, match="pad_value_seg"):
        Padding(4, pad_value_seg=-1)
    with pytest.raises(SampleError, match="shape_must_be_divisible_by"):
        Padding(4, shape_must_be_divisible_by=(2, 2, 2)).preprocessing(make((3, 3)))
    with pytest.raises(GridMismatchError, match=r"\(8, 8\)"):
        Padding(8).postprocessing(make((3, 3)), np.zeros((3, 3), np.uint8))


@pytest.mark.parametrize(
    "part",
    [
        Padding((32, 32, 16)),
        Padding(20, pad_mode="reflect"),
        Padding(None, shape_must_be_divisible_by=16),
        Padding((30, 20), "constant", -1000, 0, (8, None)),
    ],
    ids=repr,
)
def test_contract(part):
    check_subfunction(part)
