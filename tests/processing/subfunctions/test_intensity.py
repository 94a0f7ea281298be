"""Clipping, Windowing and TransformHU."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.processing.chain import run_chain, undo_chain
from miscnn.processing.subfunctions import (
    Abstract_Subfunction,
    Clipping,
    Subfunction,
    TransformHU,
    Windowing,
)
from miscnn.processing.subfunctions.abstract_subfunction import Abstract_Subfunction as Old
from miscnn.testing import check_subfunction

HU = np.array([-2000, -1024, -600, -79, 30, 304, 1300, 3000], np.int16).reshape(2, 2, 2, 1)


def run(part, image, **details) -> np.ndarray:
    sample = Sample("case 3", np.asarray(image), np.shape(image)[-1], details=details)
    before = sample.image.copy()
    after = part.preprocessing(sample)
    np.testing.assert_array_equal(sample.image, before)
    assert after.image.dtype == np.float32
    assert after.image.shape == sample.image.shape
    return after.image


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_clipping(dtype):
    found = run(Clipping(-79, 304), HU.astype(dtype))
    assert found.ravel().tolist() == [-79, -79, -79, -79, 30, 304, 304, 304]
    assert run(Clipping(min=0.5), HU.astype(dtype)).min() == 0.5
    assert run(Clipping(max=0), HU.astype(dtype)).max() == 0
    assert run(Clipping(max=0), HU.astype(dtype)).min() == -2000


@pytest.mark.parametrize(
    "arguments", [(), (3, 3), (4, 3), (float("nan"), 3), ("low", None), (True, 3)]
)
def test_clipping_checks_its_bounds(arguments):
    with pytest.raises(ConfigurationError, match=r"bound|min < max"):
        Clipping(*arguments)


@pytest.mark.parametrize(
    ("part", "low", "high"),
    [
        (Windowing("lung"), -1350, 150),
        (Windowing("liver"), -45, 105),
        (Windowing("Soft_Tissue"), -150, 250),
        (Windowing(name="bone"), -500, 1300),
        (Windowing("kidney"), -79, 304),
        (Windowing(level=40, width=80), 0, 80),
        (Windowing(bounds=(-100, 240)), -100, 240),
    ],
)
def test_windows_in_hu(part, low, high):
    np.testing.assert_array_equal(run(part, HU), np.clip(HU.astype(np.float32), low, high))


def test_quantiles_are_of_each_channel_of_the_volume(rng):
    image = rng.normal([0, 500], [1, 100], (12, 10, 8, 2)).astype(np.float32)
    for part in (Windowing(quantiles=(0.60, 0.99)), Windowing(percentiles=(60, 99))):
        found = run(part, image)
        for channel in range(2):
            low, high = np.quantile(image[..., channel], [0.6, 0.99])
            np.testing.assert_allclose(
                found[..., channel], np.clip(image[..., channel], low, high), rtol=1e-6
            )


def test_a_patch_gets_the_window_of_its_volume(rng):
    image = rng.normal(0, 100, (12, 10, 8, 1)).astype(np.float32)
    part = Windowing(quantiles=(0.2, 0.7), scale=(-1, 1))
    measures = json.loads(json.dumps(part.measure(Sample("a", image))))
    np.testing.assert_array_equal(
        part.transform(image[3:7, 2:5], measures), run(part, image)[3:7, 2:5]
    )


@given(
    low=st.floats(-2000, 2000),
    width=st.floats(1, 4000),
    scale=st.tuples(st.floats(-100, 100), st.floats(0.1, 200)),
)
def test_scale_maps_the_window_linearly(low, width, scale):
    low, high = np.float32(low), np.float32(low + width)
    start, stop = scale[0], scale[0] + scale[1]
    part = Windowing(bounds=(float(low), float(high)), scale=(start, stop))
    values = np.array([low - 10, low, (low + high) / 2, high, high + 10], np.float32)
    found = part.transform(values.reshape(-1, 1, 1), {}).ravel()
    expected = [start, start, (start + stop) / 2, stop, stop]
    np.testing.assert_allclose(found, expected, atol=2e-3 * scale[1])
    assert found.min() >= np.float32(start)
    assert found.max() <= np.float32(stop)


def test_an_empty_window_is_refused_with_a_hint():
    mostly_padding = np.full((10, 10, 10, 1), -1024, np.int16)
    mostly_padding[0, 0, :4] = 100
    with pytest.raises(SampleError, match=r"'case 3'.*0\.6 and 0\.99.*-1024.*CropToForeground"):
        run(Windowing(quantiles=(0.60, 0.99)), mostly_padding)
    broken = np.full((4, 4, 4, 1), np.nan, np.float32)
    with pytest.raises(SampleError, match="not a number"):
        run(Windowing(quantiles=(0.1, 0.9)), broken)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "exactly one way.*none"),
        ({"name": "liver", "bounds": (0, 1)}, "exactly one way.*name and bounds"),
        ({"name": "liver", "level": 3}, "exactly one way"),
        ({"name": "gizzard"}, "'gizzard'.*lung"),
        ({"name": 3}, "no window named 3"),
        ({"level": 40}, "level and width go together"),
        ({"level": 40, "width": 0}, "width"),
        ({"bounds": (3, 3)}, "bounds"),
        ({"bounds": (3,)}, "bounds"),
        ({"quantiles": (0.99, 0.6)}, "quantiles"),
        ({"quantiles": (60, 99)}, "percentiles= takes percent"),
        ({"quantiles": (-0.1, 0.5)}, "between 0 and 1"),
        ({"percentiles": (60, 101)}, "between 0 and 100"),
        ({"name": "liver", "scale": (1, 0)}, "scale"),
    ],
)
def test_windows_are_checked(arguments, match):
    with pytest.raises(ConfigurationError, match=match):
        Windowing(**arguments)


# ---------------------------------------------------------------------- TransformHU


def test_slope_and_intercept_from_argument_details_or_neither():
    stored = np.array([0, 1000, 2000], np.int16).reshape(1, 1, 3, 1)
    part = TransformHU()
    assert run(part, stored).ravel().tolist() == [0, 1000, 2000]
    assert run(part, stored, slope=2, intercept=-1000.0).ravel().tolist() == [-1000, 1000, 3000]
    own = TransformHU(slope=0.5, intercept=-500)
    assert run(own, stored, slope=2, intercept=-1000).ravel().tolist() == [-500, 0, 500]


def test_padding_of_the_scanner_becomes_air():
    stored = np.array([-3000, -2000, -1500, 0], np.int16).reshape(1, 1, 4, 1)
    found = run(TransformHU(intercept=1000.0), stored)
    assert found.ravel().tolist() == [-1024, -1024, -500, 1000]
    assert run(TransformHU(), stored).ravel().tolist() == [-1024, -1024, -1024, 0]
    off = TransformHU(clipScan_value=None)
    assert run(off, stored).ravel().tolist() == stored.ravel().tolist()


def test_arguments_of_miscnn_1_map_to_0_and_1():
    stored = np.array([-2000, 24, 724, 1424, 5000], np.int16).reshape(1, 1, 5, 1)
    part = TransformHU(
        normalize=True, slope=1, intercept=-1024, clipScan_value=-2000, minmaxBound=(-1000, 400)
    )
    np.testing.assert_allclose(run(part, stored).ravel(), [0, 0, 0.5, 1, 1])


def test_hu_are_not_transformed_twice():
    sample = Sample("a", np.zeros((2, 2, 2), np.int16), details={"intercept": -1024, "kvp": 120})
    once = TransformHU().preprocessing(sample)
    assert once.details == {"kvp": 120}
    assert sample.details == {"intercept": -1024, "kvp": 120}
    np.testing.assert_array_equal(TransformHU().preprocessing(once).image, once.image)


def test_transform_hu_errors():
    with pytest.raises(ConfigurationError, match="slope"):
        TransformHU(slope=0)
    with pytest.raises(ConfigurationError, match="intercept"):
        TransformHU(intercept=float("inf"))
    with pytest.raises(ConfigurationError, match="minmaxBound"):
        TransformHU(minmaxBound=(400, -1000))
    with pytest.raises(SampleError, match=r"'case 3'.*slope=nan"):
        run(TransformHU(), HU, slope=float("nan"))
    with pytest.raises(SampleError, match=r"'case 3'.*slope 0"):
        run(TransformHU(), HU, slope=0)


# ---------------------------------------------------------------------- all


def test_names_of_miscnn_1():
    assert Abstract_Subfunction is Old
    assert issubclass(Old, Subfunction)


def test_a_subfunction_of_miscnn_1_works_in_place_and_is_given_labels():
    class Shift(Abstract_Subfunction):
        def preprocessing(self, sample, training=True):
            sample.img_data = sample.img_data + 1
            sample.seg_data = np.where(sample.seg_data == 255, 1, 0)

        def postprocessing(self, sample, prediction, activation_output=False):
            assert not activation_output
            assert prediction.shape == (1, 1, 3)
            return np.where(prediction == 1, 255, 0)

    sample = Sample("a", np.zeros((1, 1, 3)))
    sample.add_segmentation([[[0, 255, 0]]], check_classes=False)
    result, steps = run_chain(sample, [Shift()], training=True)
    result.check_labels()
    assert result.image.ravel().tolist() == [1, 1, 1]
    assert result.segmentation.ravel().tolist() == [0, 1, 0]
    probabilities = np.eye(2, dtype=np.float32)[[0, 1, 0]].reshape(1, 1, 3, 2)
    back = undo_chain(sample, [Shift()], steps, probabilities, activation_output=False)
    assert back.ravel().tolist() == [0, 255, 0]
    assert Shift() == Shift()


@pytest.mark.parametrize(
    "part",
    [
        Clipping(-79, 304),
        Clipping(min=np.float32(-3)),
        Windowing("liver", scale=(0, 1)),
        Windowing(level=40, width=400),
        Windowing(quantiles=[0.6, 0.99]),
        TransformHU(),
        TransformHU(True, 1, -1024),
    ],
    ids=repr,
)
def test_contract(part):
    check_subfunction(part)
    assert deserialize(json.loads(json.dumps(serialize(part)))) == part
