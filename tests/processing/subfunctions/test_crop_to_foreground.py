"""CropToForeground."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, GridMismatchError
from miscnn.processing.subfunctions import CropToForeground
from miscnn.testing import check_subfunction


def make(box, shape=(20, 16, 10), channels=1, spacing=(1.0, 2.0, 4.0)) -> Sample:
    image = np.full((*shape, channels), -1000, np.int16)
    image[box] = 40
    sample = Sample("case", image, channels, 3, Geometry.from_spacing(shape, spacing))
    labels = np.zeros(shape, np.uint8)
    labels[box] = 2
    sample.add_segmentation(labels)
    return sample


BOX = (slice(4, 9), slice(5, 12), slice(3, 6))


def test_the_box_is_what_lies_above_the_minimum():
    after = CropToForeground().preprocessing(make(BOX))
    assert after.spatial_shape == (5, 7, 3)
    assert after.image.dtype == np.float32
    assert (after.image == 40).all()
    assert (after.segmentation == 2).all()
    assert after.extended == {"start": [4, 5, 3], "shape": [5, 7, 3]}
    np.testing.assert_allclose(after.geometry.affine[:3, 3], [4.0, 10.0, 12.0])


def test_any_channel_counts_and_a_threshold_can_be_set():
    sample = make(BOX, channels=2)
    sample.image[0, 0, 0, 1] = -900  # a noisy voxel of air in the second channel
    assert CropToForeground().preprocessing(sample).spatial_shape == (9, 12, 6)
    assert CropToForeground(-500).preprocessing(sample).spatial_shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("arguments", "start", "shape"),
    [
        ({"margin": 2}, [2, 3, 1], [9, 11, 7]),
        ({"margin": 100}, [0, 0, 0], [20, 16, 10]),
        ({"margin": (1, 0, 2)}, [3, 5, 1], [7, 7, 7]),
        ({"margin": 4.0, "margin_unit": "mm"}, [0, 3, 2], [13, 11, 5]),
        ({"margin": 4.1, "margin_unit": "mm"}, [0, 2, 1], [14, 13, 7]),
        ({"minimum_size": 8}, [3, 5, 1], [8, 8, 8]),
        ({"minimum_size": (None, 100, 4)}, [4, 0, 3], [5, 16, 4]),
    ],
)
def test_margin_and_least_size(arguments, start, shape):
    after = CropToForeground(**arguments).preprocessing(make(BOX))
    assert after.extended == {"start": start, "shape": shape}


@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    seed=st.integers(0, 999),
    least=st.one_of(st.none(), st.integers(1, 12)),
    margin=st.integers(0, 3),
)
@settings(deadline=None)
def test_the_box_lies_in_the_image_and_the_way_back_is_exact(shape, seed, least, margin):
    rng = np.random.default_rng(seed)
    image = (rng.random((*shape, 1)) > 0.9).astype(np.float32)
    sample = Sample("s", image, geometry=Geometry(shape))
    sample.add_segmentation((image[..., 0] > 0) & (rng.random(shape) > 0.3))
    part = CropToForeground(margin=margin, minimum_size=least)
    after = part.preprocessing(sample)
    assert after.geometry.shape == after.image.shape[:-1] == after.segmentation.shape[:-1]
    for new, old in zip(after.spatial_shape, shape, strict=True):
        assert min(least or 1, old) <= new <= old
    assert after.image.sum() == image.sum()  # nothing of the foreground is lost
    view = sample.copy()
    view.image = view.segmentation = None
    view.extended = after.extended
    np.testing.assert_array_equal(
        part.postprocessing(view, after.segmentation[..., 0]), sample.segmentation[..., 0]
    )
    chances = rng.dirichlet(np.ones(3), after.spatial_shape).astype(np.float32)
    back = part.postprocessing(view, chances, activation_output=True)
    box = tuple(
        slice(a, a + n)
        for a, n in zip(after.extended["start"], after.extended["shape"], strict=True)
    )
    np.testing.assert_array_equal(back[box], chances)
    outside = np.ones(shape, bool)
    outside[box] = False
    assert (back[outside] == [1, 0, 0]).all()


@pytest.mark.parametrize("part", [CropToForeground(), CropToForeground(50.0)])
def test_without_foreground_the_image_is_kept_whole(part):
    sample = make(BOX)
    if part.threshold is None:
        sample.image = np.zeros_like(sample.image)
    after = part.preprocessing(sample)
    np.testing.assert_array_equal(after.image, sample.image)
    assert after.geometry == sample.geometry


def test_labels_that_are_cut_away_are_told(caplog):
    sample = make(BOX)
    labels = sample.segmentation.copy()
    labels[0, 0, :2] = 1
    sample.segmentation = labels
    with caplog.at_level(logging.WARNING, "miscnn"):
        CropToForeground().preprocessing(sample)
    assert "'case': 2 labelled voxels" in caplog.text


def test_errors():
    with pytest.raises(ConfigurationError, match="margin"):
        CropToForeground(margin=-1)
    with pytest.raises(ConfigurationError, match="margin_unit"):
        CropToForeground(margin_unit="cm")
    with pytest.raises(ConfigurationError, match="threshold"):
        CropToForeground(threshold="body")
    with pytest.raises(ConfigurationError, match="minimum_size"):
        CropToForeground(minimum_size=0)
    sample = make(BOX)
    sample.extended = {"start": [4, 5, 3], "shape": [5, 7, 3]}
    with pytest.raises(GridMismatchError, match=r"\(5, 7, 3\)"):
        CropToForeground().postprocessing(sample, np.zeros((20, 16, 10), np.uint8))


@pytest.mark.parametrize(
    "part",
    [CropToForeground(), CropToForeground(-500, 2.5, "mm", 12), CropToForeground(5000.0)],
    ids=repr,
)
def test_contract(part):
    check_subfunction(part)
