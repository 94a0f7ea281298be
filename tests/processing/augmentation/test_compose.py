"""Augmentations in a row."""

from __future__ import annotations

import json

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import Compose, GeneralAugmentation
from miscnn.processing.augmentation._intensity import add_gaussian_noise
from miscnn.testing.augmentation import check_augmentation

_OFF = dict.fromkeys(
    ["rotation", "scaling", "contrast", "brightness", "gamma", "gaussian_noise"], None
)


def _shift(voxels: int) -> GeneralAugmentation:
    return GeneralAugmentation(
        **_OFF, translation=(voxels, voxels), translation_unit="voxels", probabilities=1.0
    )


def _brighter(factor: float) -> GeneralAugmentation:
    return GeneralAugmentation(**{**_OFF, "brightness": (factor, factor)}, probabilities=1.0)


def test_parts_are_applied_in_their_order(rng):
    image = rng.standard_normal((12, 12, 12, 1), dtype=np.float32)
    labels = rng.integers(0, 3, (12, 12, 12)).astype(np.uint8)
    noise = GeneralAugmentation(**{**_OFF, "gaussian_noise": (1, 1)}, probabilities=1.0)
    chain = Compose([noise, _brighter(2.0), _brighter(0.5)])
    parameters = chain.sample_parameters(rng, (12, 12, 12), 1)
    seed = parameters["steps"][0]["parameters"]["gaussian_noise"]["seed"]
    moved, _ = chain.apply(image, labels, parameters, (12, 12, 12))
    field = add_gaussian_noise(np.zeros_like(image), [1.0], seed)
    np.testing.assert_allclose(moved, image + field, atol=1e-6)


@pytest.mark.parametrize("extra", [0, 1, 2, 5, 6, 9])
def test_margins_add_up(rng, extra):
    chain = Compose([_shift(2), _brighter(2.0), _shift(3)])
    shape = (10, 12, 11)
    assert chain.margin(shape) == (5, 5, 5)
    parameters = chain.sample_parameters(rng, shape, 1)
    assert chain.margin(shape, parameters) == (5, 5, 5)
    whole = tuple(n + extra for n in shape)
    labels = rng.integers(0, 9, whole).astype(np.uint8)
    image = labels[..., None].astype(np.float32)
    moved, mapped = chain.apply(image, labels, parameters, shape)
    # what lies beyond the input is its border, as for one shift by 5
    expected, expected_labels = _shift(5).apply(image, labels, {"translation": [5] * 3}, shape)
    np.testing.assert_array_equal(mapped, expected_labels)
    np.testing.assert_array_equal(moved, expected * 2)


def test_the_whole_chain_has_a_probability(rng):
    chain = Compose([_shift(2), _brighter(2.0)], probability=0.3)
    drawn = [chain.sample_parameters(rng, (8, 8), 1) for _ in range(1000)]
    assert np.mean([bool(parameters) for parameters in drawn]) == pytest.approx(0.3, abs=0.06)
    assert all(len(parameters["steps"]) == 2 for parameters in drawn if parameters)
    assert chain.margin((8, 8), {}) == (0, 0)


def test_parts_that_do_nothing_want_no_margin(rng):
    idle = GeneralAugmentation(probabilities=0.0)
    assert Compose([idle, idle]).sample_parameters(rng, (8, 8), 1) == {}
    parameters = Compose([idle, _brighter(2.0)]).sample_parameters(rng, (8, 8), 1)
    assert [step["augmentation"] for step in parameters["steps"]] == [1]
    assert Compose([]).sample_parameters(rng, (8, 8), 1) == {}


def test_configuration_round_trip(rng):
    chain = Compose([GeneralAugmentation(mirror=True), _shift(1)], probability=0.7)
    copy = deserialize(json.loads(json.dumps(serialize(chain))))
    assert copy == chain
    one = chain.sample_parameters(np.random.default_rng(1), (16, 16), 1)
    assert one == copy.sample_parameters(np.random.default_rng(1), (16, 16), 1)


def test_contract():
    spatial = GeneralAugmentation(**{**_OFF, "rotation": 20, "scaling": (0.8, 1.2)})
    check_augmentation(Compose([spatial, GeneralAugmentation(mirror=True)]), (22, 20, 18), draws=6)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigurationError, match="Augmentation objects; received 'flip'"):
        Compose(["flip"])
    with pytest.raises(ConfigurationError, match="between 0 and 1; received 7"):
        Compose([], probability=7)


def test_parts_keep_their_share_of_augmented_patches(rng):
    """What is augmented with 30 % of the batches alone is so with 30 % of the patches here."""

    class Rarely(GeneralAugmentation):
        def batch_probability(self, dimensions):
            return 0.3

    rare = Rarely(**{**_OFF, "brightness": (2.0, 2.0)}, probabilities=1.0)
    chain = Compose([rare, _shift(2)])
    drawn = [chain.sample_parameters(rng, (12, 12, 12), 1)["steps"] for _ in range(600)]
    assert np.mean([len(steps) == 2 for steps in drawn]) == pytest.approx(0.3, abs=0.06)
    assert {steps[-1]["augmentation"] for steps in drawn} == {1}
