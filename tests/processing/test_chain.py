"""Chains of subfunctions and their way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.chain import Step, run_chain, split_chain, undo_chain
from miscnn.processing.subfunctions import (
    Clipping,
    Normalization,
    Padding,
    Resampling,
    Subfunction,
    Windowing,
)


class CropByOne(Subfunction):
    """Takes one voxel off the first axis, in the old way: in place, knowing no geometry."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.extended["was"] = sample.image.shape[0]
        sample.img_data = sample.img_data[1:]

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        missing = sample.extended["was"] - prediction.shape[0]
        return np.concatenate([prediction[:1]] * missing + [prediction])


class MapLabels(Subfunction):
    """Maps class 1 to the label value 7 on the way back."""

    restores_probabilities = False

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        return None

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        return prediction if activation_output else np.where(prediction == 1, 7, prediction)


@pytest.fixture
def sample(rng: np.random.Generator) -> Sample:
    image = rng.normal(size=(8, 9, 5, 1)).astype(np.float32)
    return Sample("a", image, geometry=Geometry.from_spacing((8, 9, 5), (1.0, 1.0, 3.0)))


def test_the_pointwise_end_is_split_off() -> None:
    chain = [Clipping(-1, 1), Resampling((2, 2, 2)), Windowing(bounds=(0, 1)), Normalization()]
    head, tail = split_chain(chain)
    assert head == chain[:2]
    assert tail == chain[2:]
    assert split_chain([]) == ([], [])


def test_two_subfunctions_of_one_class_do_not_share_what_they_left(sample: Sample) -> None:
    chain = [Resampling((2.0, 2.0, 3.0)), Padding((10, 10, 10)), Resampling((1.0, 1.0, 1.0))]
    result, steps = run_chain(sample, chain, training=False)
    probabilities = np.zeros((*result.spatial_shape, 2), np.float32)
    probabilities[..., 1] = 1.0
    back = undo_chain(sample, chain, steps, probabilities, activation_output=False)
    assert back.shape == (8, 9, 5)
    assert back.dtype == np.uint8
    assert np.all(back == 1)


def test_steps_survive_json(sample: Sample) -> None:
    _, steps = run_chain(sample, [Resampling((2.0, 2.0, 3.0)), Padding((10, 10, 10))], False)
    again = [Step.from_json(step.to_json()) for step in steps]
    for one, other in zip(steps, again, strict=True):
        assert one.geometry == other.geometry
        assert one.to_json() == other.to_json()


def test_subfunctions_in_the_old_way_work(sample: Sample) -> None:
    before = sample.image.copy()
    result, steps = run_chain(sample, [CropByOne()], training=False)
    assert result.spatial_shape == result.geometry.shape == (7, 9, 5)
    np.testing.assert_array_equal(sample.image, before)
    assert sample.spatial_shape == (8, 9, 5)
    probabilities = np.stack([result.image[..., 0] < 0, result.image[..., 0] >= 0], axis=-1)
    back = undo_chain(sample, [CropByOne()], steps, probabilities.astype(np.float32), False)
    np.testing.assert_array_equal(back[1:], before[1:, ..., 0] >= 0)


def test_the_argmax_comes_before_subfunctions_that_work_on_labels(sample: Sample) -> None:
    chain = [MapLabels(), Resampling((1.0, 1.0, 1.5))]
    result, steps = run_chain(sample, chain, training=False)
    probabilities = np.zeros((*result.spatial_shape, 2), np.float32)
    probabilities[..., 1] = 1.0
    assert np.all(undo_chain(sample, chain, steps, probabilities, False) == 7)
    kept = undo_chain(sample, chain, steps, probabilities, True)
    np.testing.assert_allclose(kept[..., 1], 1.0)


def test_probabilities_are_resampled_before_the_argmax(sample: Sample) -> None:
    """Half-way between .9 and .3 lies .6: still class 1, where labels would be a draw."""
    image = np.zeros((2, 1, 1, 1), np.float32)
    coarse = Sample("c", image, geometry=Geometry.from_spacing((2, 1, 1), (3.0, 3.0, 3.0)))
    fine = Sample(
        "f", np.zeros((6, 1, 1, 1)), geometry=Geometry.from_spacing((6, 1, 1), (1.0, 3.0, 3.0))
    )
    chain = [Resampling((3.0, 3.0, 3.0), anisotropy_threshold=10)]
    result, steps = run_chain(fine, chain, training=False)
    assert result.spatial_shape == coarse.spatial_shape
    p = np.array([0.9, 0.3], np.float32)[:, None, None, None]
    back = undo_chain(fine, chain, steps, np.concatenate([1 - p, p], axis=-1), False)
    # .9 .9 .7 .5 .3 .3 at the fine centres; the tie at .5 goes to the lower label
    np.testing.assert_array_equal(back[:, 0, 0], [1, 1, 1, 0, 0, 0])


def test_a_way_back_that_is_missing_is_an_error(sample: Sample) -> None:
    class NoWayBack(CropByOne):
        postprocessing = Subfunction.postprocessing

    _, steps = run_chain(sample, [NoWayBack()], training=False)
    with pytest.raises(ConfigurationError, match=r"'a'.*postprocessing"):
        undo_chain(sample, [NoWayBack()], steps, np.zeros((7, 9, 5, 2), np.float32), False)


def test_argmax_type_fits_the_classes() -> None:
    assert argmax_labels(np.zeros((2, 256))).dtype == np.uint8
    assert argmax_labels(np.zeros((2, 257))).dtype == np.uint16
