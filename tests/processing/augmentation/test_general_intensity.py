"""What general augmentation does to intensities, and that batchgenerators does the same."""

from __future__ import annotations

import numpy as np
import pytest
from batchgenerators.augmentations.color_augmentations import (
    augment_brightness_multiplicative,
    augment_contrast,
    augment_gamma,
)
from batchgenerators.augmentations.noise_augmentations import augment_gaussian_noise
from scipy.stats import kstest

from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.augmentation._intensity import add_gaussian_noise


def _changed(image: np.ndarray, parameters: dict, **arguments: object) -> np.ndarray:
    labels = np.zeros(image.shape[:-1], dtype=np.uint8)
    moved, mapped = GeneralAugmentation(**arguments).apply(image, labels, parameters, labels.shape)
    assert mapped.sum() == 0
    assert moved.dtype == np.float32
    return moved


@pytest.fixture
def image(rng) -> np.ndarray:
    image = rng.standard_normal((20, 18, 16, 2), dtype=np.float32)
    image[..., 1] = image[..., 1] * 30 + 200
    return image


def _first(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, -1, 0).astype(np.float64)


def _last(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, 0, -1)


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_contrast(image, factor):
    drawn = {"contrast": {"values": [factor, 1.0]}}
    free = _changed(image, drawn, contrast_preserve_range=False)
    np.testing.assert_allclose(free[..., 1], image[..., 1], rtol=1e-6)
    assert free[..., 0].mean() == pytest.approx(image[..., 0].mean(), abs=1e-6)
    assert free[..., 0].std() == pytest.approx(image[..., 0].std() * factor, rel=1e-5)
    kept = _changed(image, drawn)
    low, high = image[..., 0].min(), image[..., 0].max()
    np.testing.assert_allclose(kept[..., 0], np.clip(free[..., 0], low, high), atol=1e-6)
    assert (kept[..., 0].max() == high) == (factor > 1)


def test_contrast_is_that_of_batchgenerators(image):
    factors = iter([0.7, 2.5])
    theirs = augment_contrast(_first(image), contrast_range=lambda: next(factors))
    ours = _changed(image, {"contrast": {"values": [0.7, 2.5]}})
    np.testing.assert_allclose(ours, _last(theirs), rtol=1e-5, atol=1e-5)


def test_brightness(image):
    ours = _changed(image, {"brightness": {"values": [0.5, 1.25]}})
    np.testing.assert_array_equal(ours, image * np.float32([0.5, 1.25]))
    theirs = augment_brightness_multiplicative(_first(image), (1.3, 1.3))
    ours = _changed(image, {"brightness": {"values": [1.3, 1.3]}})
    np.testing.assert_allclose(ours, _last(theirs), rtol=1e-5)


@pytest.mark.parametrize("exponent", [0.7, 1.4])
def test_gamma_is_a_power_of_the_unit_interval(exponent):
    image = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10, 1)
    drawn = {"gamma": {"values": [exponent], "inverted": False}}
    plain = _changed(image, drawn, gamma_keep_statistics=False)
    np.testing.assert_allclose(plain, image**exponent, atol=1e-6)
    drawn["gamma"]["inverted"] = True
    inverted = _changed(image, drawn, gamma_keep_statistics=False)
    np.testing.assert_allclose(inverted, 1 - (1 - image) ** exponent, atol=1e-6)
    shifted = _changed(image * 400 - 100, drawn, gamma_keep_statistics=False)
    np.testing.assert_allclose(shifted, inverted * 400 - 100, atol=1e-3)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_gamma_is_that_of_batchgenerators(image, inverted, keep, monkeypatch):
    # batchgenerators tosses a coin, then draws between the range's end and 1
    monkeypatch.setattr(np.random, "random", lambda: 0.0)
    monkeypatch.setattr(np.random, "uniform", lambda low, high: low)
    theirs = augment_gamma(
        _first(image), (0.75, 2.0), invert_image=inverted, per_channel=True, retain_stats=keep
    )
    drawn = {"gamma": {"values": [0.75, 0.75], "inverted": inverted}}
    ours = _changed(image, drawn, gamma_keep_statistics=keep)
    np.testing.assert_allclose(ours, _last(theirs), rtol=1e-4, atol=1e-4)


def test_gamma_keeps_mean_and_deviation(image):
    drawn = {"gamma": {"values": [1.5, 0.7], "inverted": False}}
    changed = _changed(image, drawn)
    assert np.abs(changed - image).max() > 0.1
    axes = (0, 1, 2)
    np.testing.assert_allclose(changed.mean(axes), image.mean(axes), atol=1e-3)
    np.testing.assert_allclose(changed.std(axes), image.std(axes), rtol=1e-3)


@pytest.mark.parametrize("keep", [False, True])
def test_a_constant_channel_survives(keep):
    image = np.full((8, 8, 8, 1), -3.25, dtype=np.float32)
    drawn = {
        "gamma": {"values": [1.4], "inverted": True},
        "contrast": {"values": [1.4]},
    }
    np.testing.assert_array_equal(_changed(image, drawn, gamma_keep_statistics=keep), image)


def test_noise_has_the_deviation_drawn(image):
    drawn = {"gaussian_noise": {"values": [0.1, 5.0], "seed": 3}}
    noise = _changed(image, drawn) - image
    np.testing.assert_allclose(noise.std((0, 1, 2)), [0.1, 5.0], rtol=0.03)
    np.testing.assert_allclose(noise.mean((0, 1, 2)) / [0.1, 5.0], 0, atol=0.05)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05
    drawn["gaussian_noise"]["seed"] = 4
    other = _changed(image, drawn) - image
    assert abs(np.corrcoef(noise[..., 0].ravel(), other[..., 0].ravel())[0, 1]) < 0.05


def test_noise_is_that_of_batchgenerators(image, monkeypatch):
    channels = iter(_first(add_gaussian_noise(np.zeros_like(image), [1.0, 1.0], 3)))
    monkeypatch.setattr(np.random, "normal", lambda mean, std, size: mean + std * next(channels))
    theirs = augment_gaussian_noise(_first(image), (0.2, 0.2))
    ours = _changed(image, {"gaussian_noise": {"values": [0.2, 0.2], "seed": 3}})
    np.testing.assert_allclose(ours, _last(theirs), rtol=1e-5, atol=1e-5)


def test_noise_is_normal_and_independent():
    field = add_gaussian_noise(np.zeros((501, 401, 1), np.float32), [1.0], 7).ravel()
    # the largest distance between the two distributions, 1.95 / √n once in a thousand fields
    assert kstest(field.astype(np.float64), "norm").statistic < 1.95 / np.sqrt(len(field))
    assert abs(field.var() - 1) < 4 * np.sqrt(2 / len(field))
    assert (np.abs(field) > 3.5).mean() == pytest.approx(4.65e-4, rel=0.3)
    assert 4 < np.abs(field).max() < 5.9
    # cosine and sine share their radius, and neighbours their word of random bits
    block = field[:32768]
    pairs = [(block[:16384], block[16384:]), (field[:-1], field[1:]), (field[:-2:2], field[1:-1:2])]
    for one, other in pairs:
        for power in (1, 2):
            correlation = np.corrcoef(one**power, other**power)[0, 1]
            assert abs(correlation) < 4 / np.sqrt(len(one))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 1), (0, 4, 2), (40, 41, 42, 3)])
def test_noise_of_any_shape_is_that_of_its_seed(rng, shape):
    image = rng.standard_normal(shape, dtype=np.float32)
    deviations = [2.0, 0.0, 30.0][: shape[-1]]
    before = image.copy()
    noisy = add_gaussian_noise(image, deviations, 11)
    assert noisy.shape == shape
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(noisy, add_gaussian_noise(image, deviations, 11))
    field = add_gaussian_noise(np.zeros_like(image), [1.0] * shape[-1], 11)
    expected = image + field * np.float32(deviations)
    np.testing.assert_allclose(noisy, expected, rtol=1e-6, atol=1e-6)
    assert len(np.unique(field)) >= 0.98 * field.size


def test_order_is_contrast_brightness_gamma_noise(image):
    drawn = {
        "gaussian_noise": {"values": [0.1, 0.1], "seed": 3},
        "gamma": {"values": [1.3, 1.3], "inverted": False},
        "brightness": {"values": [0.8, 0.8]},
        "contrast": {"values": [1.2, 1.2]},
    }
    at_once = _changed(image, drawn)
    for name in ("contrast", "brightness", "gamma", "gaussian_noise"):
        image = _changed(image, {name: drawn[name]})
    np.testing.assert_array_equal(at_once, image)


def test_colours_are_those_of_the_patch_without_its_margin(rng):
    image = rng.standard_normal((20, 20, 20, 1), dtype=np.float32)
    image[0] = 1000
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    drawn = {"contrast": {"values": [2.0]}}
    moved, _ = GeneralAugmentation().apply(image, labels, drawn, (10, 10, 10))
    np.testing.assert_array_equal(moved, _changed(image[5:15, 5:15, 5:15], drawn))
