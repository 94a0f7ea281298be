"""The Data_Augmentation of MIScnn 1.x."""

from __future__ import annotations

import json

import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import Data_Augmentation


def _drawn(augmentation: Data_Augmentation, count: int = 1, shape=(24, 24, 24)) -> list:
    rng = np.random.default_rng(5)
    return [augmentation.sample_parameters(rng, shape, 1) for _ in range(count)]


def test_the_flags_of_1x_switch_operations():
    augmentation = Data_Augmentation(
        2, True, True, True, True, brightness=False, contrast=False, gamma=True, gaussian_noise=True
    )
    augmentation.config_p_per_sample = 1.0
    names = set().union(*_drawn(augmentation, 20))
    assert names == {"scaling", "rotation", "elastic", "mirror", "gamma", "gaussian_noise"}
    assert augmentation.cycles == 2
    augmentation.mirror = False
    assert "mirror" not in set().union(*_drawn(augmentation, 20))


def test_the_default_ranges_of_1x():
    augmentation = Data_Augmentation()
    augmentation.config_p_per_sample = 1.0
    drawn = _drawn(augmentation, 600)

    def span(values):
        return [np.min(values), np.max(values)]

    np.testing.assert_allclose(span([p["rotation"] for p in drawn]), [-15, 15], rtol=0.01)
    np.testing.assert_allclose(span([p["scaling"] for p in drawn]), [0.8, 1 / 0.85], rtol=0.01)
    for name, want in {
        "brightness": [0.5, 2],
        "contrast": [0.3, 3.0],
        "gamma": [0.7, 1.5],
        "gaussian_noise": [0, 0.05],
    }.items():
        found = span([p[name]["values"] for p in drawn])
        np.testing.assert_allclose(found, want, rtol=0.02, atol=0.001)
    assert not any(p["gamma"]["inverted"] for p in drawn)
    assert not any("elastic" in p or "mirror" in p or "translation" in p for p in drawn)


def test_the_probability_of_1x():
    drawn = _drawn(Data_Augmentation(mirror=True), 2000)
    assert np.mean(["rotation" in p for p in drawn]) == pytest.approx(0.15, abs=0.03)
    assert np.mean([0 in p.get("mirror", []) for p in drawn]) == pytest.approx(0.5, abs=0.05)


def test_settings_take_effect():
    augmentation = Data_Augmentation(elastic_deform=True, mirror=True)
    augmentation.config_p_per_sample = 1.0
    augmentation.config_scaling_range = (2.0, 2.0)
    augmentation.config_rotations_angleX = (np.pi / 2, np.pi / 2)
    augmentation.config_rotations_angleY = (0, 0)
    augmentation.config_brightness_range = (3.0, 3.0)
    augmentation.config_mirror_axes = (1,)
    for parameters in _drawn(augmentation, 10):
        assert parameters["scaling"] == 0.5
        assert parameters["rotation"][:2] == [pytest.approx(90), 0.0]
        assert parameters["brightness"]["values"] == [3.0]
        assert parameters.get("mirror", [1]) == [1]
    # 2D images turn by the angle X, and have no third axis to mirror
    augmentation.config_mirror_axes = (0, 1, 2)
    for parameters in _drawn(augmentation, 10, (20, 20)):
        assert parameters["rotation"] == [pytest.approx(90)]
        assert 2 not in parameters.get("mirror", [])


def test_labels_stay_where_they_are_if_told_to(rng):
    augmentation = Data_Augmentation(mirror=True)
    augmentation.seg_augmentation = False
    image = rng.standard_normal((10, 10, 10, 1), dtype=np.float32)
    labels = rng.integers(0, 3, (10, 10, 10)).astype(np.uint8)
    moved, mapped = augmentation.apply(image, labels, {"mirror": [0]}, (8, 8, 8))
    np.testing.assert_array_equal(moved, image[8:0:-1, 1:9, 1:9])
    np.testing.assert_array_equal(mapped, labels[1:9, 1:9, 1:9])


def test_two_augmentations_share_nothing():
    one = Data_Augmentation()
    one.config_p_per_sample = 0.9
    one.cropping = True
    other = Data_Augmentation()
    assert (other.config_p_per_sample, other.cropping) == (0.15, False)
    assert one != other


def test_configuration_round_trip():
    augmentation = Data_Augmentation(cycles=3, mirror=True)
    augmentation.config_scaling_range = (0.7, 1.1)
    copy = deserialize(json.loads(json.dumps(serialize(augmentation))))
    assert copy == augmentation
    assert copy.config_scaling_range == (0.7, 1.1)
    assert _drawn(copy, 10) == _drawn(augmentation, 10)


def test_a_misspelt_setting_is_an_error():
    with pytest.raises(AttributeError, match=r"config_p_per_samples.*config_p_per_sample,"):
        Data_Augmentation().config_p_per_samples = 0.3
    with pytest.raises(ConfigurationError, match="cycles"):
        Data_Augmentation(cycles=0)
    wrong = Data_Augmentation()
    wrong.config_p_per_sample = 3
    with pytest.raises(ConfigurationError, match="between 0 and 1; received 3"):
        _drawn(wrong)


def test_margin_is_that_of_what_is_on():
    assert Data_Augmentation(scaling=False, rotations=False).margin((30, 30, 30)) == (0, 0, 0)
    assert Data_Augmentation(rotations=False).margin((41, 41)) == (5, 5)  # 20 · 1.25 − 20
