"""What general augmentation draws; determinism; configuration."""

from __future__ import annotations

import doctest
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import GeneralAugmentation, compose, general
from miscnn.processing.augmentation.general import DEFAULT_PROBABILITIES
from miscnn.testing import augmentation as check

_ALL = {"translation": True, "elastic": True, "mirror": True}
_OFF = dict.fromkeys(
    ["rotation", "scaling", "contrast", "brightness", "gamma", "gaussian_noise"], None
)


def _drawn(augmentation: GeneralAugmentation, count: int, shape=(20, 20, 20), channels=1) -> list:
    rng = np.random.default_rng(5)
    return [augmentation.sample_parameters(rng, shape, channels) for _ in range(count)]


@pytest.mark.parametrize("given", [None, 0.5, {"rotation": 0.9, "mirror": 0.1, "gamma": 0.0}])
def test_operations_are_drawn_as_often_as_asked(given):
    count = 3000
    drawn = _drawn(GeneralAugmentation(**_ALL, probabilities=given), count)
    for name, default in DEFAULT_PROBABILITIES.items():
        want = given.get(name, default) if isinstance(given, dict) else given or default
        if name == "mirror":
            found = np.mean([len(parameters.get("mirror", [])) / 3 for parameters in drawn])
        else:
            found = np.mean([name in parameters for parameters in drawn])
        error = np.sqrt(want * (1 - want) / count)
        assert abs(found - want) <= 4 * error, name


def test_operations_are_drawn_independently():
    drawn = _drawn(GeneralAugmentation(probabilities=0.5), 3000)
    both = np.mean(["rotation" in parameters and "scaling" in parameters for parameters in drawn])
    assert both == pytest.approx(0.25, abs=0.035)


def test_every_operation_can_be_switched_off_and_on():
    everything = {**_ALL, **dict.fromkeys(_OFF, True)}
    assert set(everything) == set(DEFAULT_PROBABILITIES)
    for off in (None, False):
        for name in everything:
            augmentation = GeneralAugmentation(**{**everything, name: off}, probabilities=1.0)
            assert set(_drawn(augmentation, 1)[0]) == set(everything) - {name}
    assert _drawn(GeneralAugmentation(**_OFF), 1) == [{}]


def test_values_fill_their_ranges():
    augmentation = GeneralAugmentation(
        translation=(-4, 8),
        translation_unit="voxels",
        rotation=((-10, 20), 5, (0, 0)),
        scaling=(0.5, 3.0),
        elastic=(1.0, 2.0),
        elastic_sigma=(4.0, 5.0),
        contrast=(0.5, 0.8),
        gaussian_noise=0.3,
        probabilities=1.0,
    )
    drawn = _drawn(augmentation, 800)

    def filled(values, low, high):
        values = np.asarray(values)
        span = high - low
        assert low <= values.min() <= low + 0.05 * span
        assert high - 0.05 * span <= values.max() <= high

    filled([p["rotation"][0] for p in drawn], -10, 20)
    filled([p["rotation"][1] for p in drawn], -5, 5)
    assert {p["rotation"][2] for p in drawn} == {0.0}
    filled([p["scaling"] for p in drawn], 0.5, 3.0)
    filled([p["translation"] for p in drawn], -4, 8)
    filled([p["elastic"]["displacement"] for p in drawn], 1, 2)
    filled([p["elastic"]["sigma"] for p in drawn], 4, 5)
    filled([p["contrast"]["values"] for p in drawn], 0.5, 0.8)
    filled([p["gaussian_noise"]["values"] for p in drawn], 0, 0.3)
    # a range around 1: as many below as above
    assert np.mean([p["scaling"] < 1 for p in drawn]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([p["gamma"]["inverted"] for p in drawn]) == pytest.approx(0.25, abs=0.07)


def test_translation_is_a_fraction_of_each_axis():
    augmentation = GeneralAugmentation(**_OFF, translation=0.25, probabilities=1.0)
    steps = np.asarray([p["translation"] for p in _drawn(augmentation, 500, (8, 40, 100))])
    np.testing.assert_array_equal(steps.min(axis=0), [-2, -10, -25])
    np.testing.assert_array_equal(steps.max(axis=0), [2, 10, 25])


@pytest.mark.parametrize("per_channel", [True, False])
def test_channels_are_drawn_apart_or_together(per_channel):
    augmentation = GeneralAugmentation(probabilities=1.0, per_channel=per_channel)
    (drawn,) = _drawn(augmentation, 1, channels=3)
    for name in ("contrast", "brightness", "gamma", "gaussian_noise"):
        assert len(drawn[name]["values"]) == 3
        assert len(set(drawn[name]["values"])) == (3 if per_channel else 1)


def test_nothing_drawn_leaves_the_patch_bit_by_bit(rng):
    image = rng.standard_normal((11, 12, 13, 2), dtype=np.float32)
    labels = rng.integers(0, 3, (11, 12, 13)).astype(np.uint16)
    moved, mapped = GeneralAugmentation().apply(image, labels, {}, (8, 8, 8))
    np.testing.assert_array_equal(moved, image[1:9, 2:10, 2:10])
    np.testing.assert_array_equal(mapped, labels[1:9, 2:10, 2:10])
    assert mapped.dtype == np.uint16


def test_seed_threads_and_global_state_decide_nothing_but_the_seed(rng):
    augmentation = GeneralAugmentation(**_ALL, probabilities=0.8)
    shape = (18, 20, 16)
    image = rng.standard_normal((26, 28, 24, 2), dtype=np.float32)
    labels = rng.integers(0, 4, (26, 28, 24)).astype(np.uint8)

    def make(number: int):
        parameters = augmentation.sample_parameters(np.random.default_rng([9, number]), shape, 2)
        return augmentation.apply(image, labels, parameters, shape)

    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    alone = [make(number) for number in range(24)]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, range(24)))
    for (one, one_labels), (other, other_labels) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one_labels, other_labels)


def test_parameters_survive_json(rng):
    augmentation = GeneralAugmentation(**_ALL, probabilities=1.0)
    image = rng.standard_normal((20, 20, 20, 1), dtype=np.float32)
    labels = rng.integers(0, 4, (20, 20, 20)).astype(np.uint8)
    parameters = augmentation.sample_parameters(rng, (16, 16, 16), 1)
    read = json.loads(json.dumps(parameters))
    assert read == parameters
    one, _ = augmentation.apply(image, labels, parameters, (16, 16, 16))
    other, _ = augmentation.apply(image, labels, read, (16, 16, 16))
    np.testing.assert_array_equal(one, other)


def test_configuration_round_trip():
    augmentation = GeneralAugmentation(
        rotation=((-5, 5), (-10, 10), 3),
        mirror=(0, 2),
        elastic=(1, 2),
        probabilities={"rotation": 1.0},
        order=3,
        border="reflect",
    )
    copy = deserialize(json.loads(json.dumps(serialize(augmentation))))
    assert copy == augmentation
    assert copy != GeneralAugmentation()
    assert _drawn(copy, 20) == _drawn(augmentation, 20)


def test_an_argument_set_later_takes_effect():
    augmentation = GeneralAugmentation(probabilities=1.0)
    augmentation.rotation = None
    augmentation.scaling = (2.0, 2.0)
    (drawn,) = _drawn(augmentation, 1)
    assert "rotation" not in drawn
    assert drawn["scaling"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rotation": "much"}, "rotation must be a pair"),
        ({"rotation": (30, -30)}, r"rotation must be a pair.*received \(30, -30\)"),
        ({"rotation": -30}, "rotation must be a pair"),
        ({"scaling": 1.2}, "scaling must be a pair"),
        ({"scaling": (0, 1.2)}, "scaling holds factors"),
        ({"gamma": (-1, 1)}, "gamma holds factors"),
        ({"gaussian_noise": (-1, 1)}, "gaussian_noise must not be negative"),
        ({"elastic": float("nan")}, "elastic must be a pair"),
        ({"mirror": (0, 3)}, "mirror must be True"),
        ({"mirror": (0, 0)}, "mirror must be True"),
        ({"probabilities": 1.5}, "must lie between 0 and 1; received 1.5"),
        ({"probabilities": {"rotations": 0.5}}, "unknown operation.*rotations"),
        ({"gamma_inverted": 2}, "gamma_inverted must lie"),
        ({"order": 6}, "order must be one of"),
        ({"border": "constant"}, "border must be one of 'nearest', 'reflect'"),
        ({"translation_unit": "mm"}, "translation_unit must be one of"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        GeneralAugmentation(**arguments)


def test_what_does_not_suit_the_patch_is_named(rng):
    with pytest.raises(ConfigurationError, match="2D"):
        GeneralAugmentation(rotation=(1, 2, 3)).sample_parameters(rng, (20, 20), 1)
    with pytest.raises(ConfigurationError, match="from 0 to 1 for a 2D patch"):
        GeneralAugmentation(mirror=(0, 2)).sample_parameters(rng, (20, 20), 1)
    with pytest.raises(ConfigurationError, match="2 or 3 spatial axes"):
        GeneralAugmentation().sample_parameters(rng, (20, 20, 20, 20), 1)
    image, labels = np.zeros((8, 8, 8, 1), np.float32), np.zeros((8, 8, 8), np.uint8)
    with pytest.raises(ConfigurationError, match="smaller than the patch"):
        GeneralAugmentation().apply(image, labels, {}, (9, 8, 8))
    with pytest.raises(ConfigurationError, match="no channel axis"):
        GeneralAugmentation().apply(image, labels[..., None], {}, (8, 8, 8))


@pytest.mark.parametrize("module", [general, compose, check])
def test_the_examples_in_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
