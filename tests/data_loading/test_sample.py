from __future__ import annotations

import numpy as np
import pytest

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample, as_labels
from miscnn.exceptions import GridMismatchError, LabelError, SampleError


def test_a_channel_axis_is_added_where_it_is_missing_even_if_depth_equals_channels() -> None:
    assert Sample("a", np.zeros((4, 5, 1)), channels=1).shape == (4, 5, 1, 1)
    assert Sample("a", np.zeros((4, 5, 6, 3)), channels=3).spatial_shape == (4, 5, 6)
    assert Sample("a", np.zeros((4, 5)), three_dim=False).shape == (4, 5, 1)
    flat = Sample("a", np.zeros((4, 5)), geometry=Geometry.from_spacing((4, 5), (1, 2)))
    assert (flat.shape, flat.spacing) == ((4, 5, 1), (1.0, 2.0))


def test_a_missing_channel_axis_with_several_channels_is_refused() -> None:
    with pytest.raises(SampleError, match=r"sample 'a'.*2 channel"):
        Sample("a", np.zeros((4, 5, 6)), channels=2)


def test_a_geometry_of_another_shape_is_refused() -> None:
    with pytest.raises(GridMismatchError, match=r"\(4, 5, 6\).*\(4, 5, 7\)"):
        Sample("a", np.zeros((4, 5, 6)), geometry=Geometry((4, 5, 7)))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_labels_of_any_type_become_unsigned_integers(dtype: type) -> None:
    labels = np.array([[[0, 1], [1, 0]]]).astype(dtype)
    sample = Sample("a", np.zeros((1, 2, 2)))
    sample.add_segmentation(labels)
    assert sample.segmentation is not None
    assert sample.segmentation.dtype == np.uint8
    np.testing.assert_array_equal(sample.segmentation[..., 0], [[[0, 1], [1, 0]]])
    sample.add_segmentation(labels[..., np.newaxis])
    assert sample.segmentation.shape == (1, 2, 2, 1)


def test_label_type_follows_the_number_of_classes() -> None:
    assert as_labels(np.array([299]), 300, "a").dtype == np.uint16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 255], "0 … 1 for classes=2, found 0, 255"),
        ([-1, 0], "found -1, 0"),
        ([0, 0.5], "whole numbers, found .*0.5"),
        ([0, np.nan], "nan"),
        ([0, np.inf], "inf"),
        ([1j], "complex"),
    ],
)
def test_what_is_no_label_is_refused_with_its_value(values: list, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        as_labels(np.array(values), 2, "a")


def test_a_segmentation_of_another_shape_is_refused() -> None:
    with pytest.raises(GridMismatchError, match=r"\(4, 5, 7\).*\(4, 5, 6\)"):
        Sample("a", np.zeros((4, 5, 6))).add_segmentation(np.zeros((4, 5, 7)))


def test_a_prediction_loses_a_channel_axis_but_probabilities_keep_theirs() -> None:
    sample = Sample("a", np.zeros((4, 5, 6)))
    sample.add_prediction(np.ones((4, 5, 6, 1), np.uint8))
    assert sample.prediction is not None
    assert sample.prediction.shape == (4, 5, 6)
    sample.add_prediction(np.ones((4, 5, 6, 1)), activation_output=True)
    assert sample.prediction.shape == (4, 5, 6, 1)


def test_samples_share_no_dictionaries() -> None:
    first, second = Sample("a", np.zeros((2, 2, 2))), Sample("b", np.zeros((2, 2, 2)))
    first.extended["x"] = 1
    twin = first.copy()
    twin.extended["y"] = 2
    twin.add_details({"z": 3})
    assert (second.extended, first.extended, first.details) == ({}, {"x": 1}, {})
    assert first.get_extended_data() is first.extended


def test_names_of_miscnn_1() -> None:
    sample = Sample("a", np.zeros((2, 2, 2)))
    sample.img_data = np.ones((2, 2, 2, 1))
    sample.seg_data = np.ones((2, 2, 2, 1), np.uint8)
    sample.pred_data = np.ones((2, 2, 2), np.uint8)
    assert sample.image.sum() == sample.img_data.sum() == 8
    assert sample.segmentation is sample.seg_data
    assert sample.prediction is sample.pred_data
    assert repr(sample).endswith("segmentation, prediction)")
