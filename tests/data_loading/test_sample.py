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
        ([np.nan, np.nan, 0], "2 of 3 labels are NaN or infinite"),
        ([0, np.inf], "1 of 2 labels are NaN or infinite"),
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
    assert sample.pred_data.shape == (2, 2, 2, 1)
    assert sample.prediction.shape == (2, 2, 2)
    assert repr(sample).endswith("segmentation, prediction)")


def test_the_old_name_of_the_prediction_compares_with_that_of_the_segmentation() -> None:
    sample = Sample("a", np.zeros((2, 2, 3)))
    labels = np.arange(12).reshape(2, 2, 3) % 2
    sample.add_segmentation(labels)
    sample.add_prediction(1 - labels)
    assert np.sum((sample.seg_data == 1) & (sample.pred_data == 1)) == 0
    sample.pred_data = labels[..., np.newaxis]
    np.testing.assert_array_equal(sample.prediction, labels)
    assert np.sum((sample.seg_data == 1) & (sample.pred_data == 1)) == 6
    probabilities = np.zeros((2, 2, 3, 2), np.float32)
    sample.pred_data = probabilities
    assert sample.pred_data is sample.prediction is probabilities
    sample.pred_data = None
    assert sample.pred_data is None


def test_the_range_of_labels_can_be_checked_later() -> None:
    sample = Sample("a", np.zeros((1, 1, 3)))
    sample.check_labels()  # there are none
    message = "0 … 1 for classes=2, found 0, 1, 999"
    with pytest.raises(LabelError, match=message):
        sample.add_segmentation([[[0, 1, 999]]])
    sample.add_segmentation([[[0, 1, 999]]], check_classes=False)
    assert sample.segmentation.dtype == np.uint16
    assert sample.segmentation.ravel().tolist() == [0, 1, 999]
    with pytest.raises(LabelError, match=message):
        sample.check_labels()
    sample.segmentation = np.where(sample.segmentation == 999, 1, 0)
    sample.check_labels()
    assert sample.segmentation.dtype == np.uint8
    assert sample.segmentation.ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize("value", [-1, 0.5, np.nan, 2.0**64])
def test_what_is_no_label_at_all_is_refused_without_the_range_too(value: float) -> None:
    with pytest.raises(LabelError):
        Sample("a", np.zeros((1, 1, 2))).add_segmentation([[[0, value]]], check_classes=False)


@pytest.mark.parametrize(
    ("shape", "channels", "three_dim", "advice"),
    [
        ((8, 7, 6, 2), 1, True, ": channels=2"),
        ((8, 7, 6), 2, True, ": channels=1. The image holds 1, the interface expects 2: if"),
        ((8, 7), 1, True, ": three_dim=False, channels=1"),
        ((8, 7, 6), 1, False, ": three_dim=True, channels=1"),
        ((8, 7, 6, 2), 1, False, ": three_dim=True, channels=2"),
        ((8, 7, 3), 2, True, ": channels=1 or three_dim=False, channels=3. The image holds 1,"),
        ((8, 7, 3), 1, False, ": channels=3 or three_dim=True, channels=1"),
        (
            (8, 7, 6, 2),
            4,
            True,
            ": channels=2. The image holds 2, the interface expects 4: if each",
        ),
        ((8,), 1, True, " hold"),
    ],
)
def test_what_would_fit_is_told(
    shape: tuple[int, ...], channels: int, three_dim: bool, advice: str
) -> None:
    with pytest.raises(SampleError) as caught:
        Sample("a", np.zeros(shape), channels, three_dim=three_dim)
    told = caught.value.reason.partition("to what the files hold")[2]
    advice = advice.removeprefix(" hold")
    several = "name a pattern for each, such as image=['*_t1.nii.gz', '*_t2.nii.gz']"
    assert told.startswith(advice)
    assert told.endswith(several) if "expects" in told else told == advice
    assert ("expects" in told) == ("." in advice)
    advice = advice.partition(".")[0]
    for way in advice.removeprefix(": ").split(" or ") if advice else ():
        arguments = {"channels": channels, "three_dim": three_dim, **eval(f"dict({way})")}
        assert Sample("a", np.zeros(shape), **arguments).channels == arguments["channels"]
