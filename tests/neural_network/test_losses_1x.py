"""The losses and factories of MIScnn 1.x keep their values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import losses, metrics
from miscnn.testing.loss import check_loss

Array = NDArray[Any]
FUNCTIONS = [
    metrics.dice_coefficient_loss,
    metrics.dice_soft_loss,
    metrics.dice_crossentropy,
    metrics.tversky_loss,
    metrics.tversky_crossentropy,
]
FACTORIES = [
    metrics.dice_weighted([1, 2, 4]),
    metrics.categorical_focal_loss(alpha=[0.2, 0.3, 0.5]),
    metrics.combo_loss(),
    metrics.focal_tversky_loss(),
    metrics.symmetric_focal_loss(),
    metrics.asymmetric_focal_loss(),
    metrics.symmetric_focal_tversky_loss(),
    metrics.asymmetric_focal_tversky_loss(),
    metrics.sym_unified_focal_loss(),
    metrics.asym_unified_focal_loss(),
]


def make_batch(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    labels = rng.integers(3, size=(2, *shape))
    raw = rng.random((2, *shape, 3)) ** 3 + 1e-2
    p = raw / raw.sum(axis=-1, keepdims=True)
    return np.eye(3, dtype="float32")[labels], p.astype("float32")


def counts(y: Array, p: Array) -> tuple[Array, Array, Array]:
    axes = tuple(metrics.identify_axis(y.shape))
    return (y * p).sum(axes), ((1 - y) * p).sum(axes), (y * (1 - p)).sum(axes)


def tversky(y: Array, p: Array, delta: float, smooth: float = 1e-6) -> Array:
    tp, fp, fn = counts(y.astype("float64"), p.astype("float64"))
    return (tp + smooth) / (tp + delta * fn + (1 - delta) * fp + smooth)


def dice(y: Array, p: Array) -> Array:
    return tversky(y, p, 0.5, 0.5e-5)


def log_loss(y: Array, p: Array) -> Array:
    return -y * np.log(p.astype("float64") + 1e-7)


@pytest.mark.parametrize("loss", [*FUNCTIONS[::2], *FACTORIES[1::4], FACTORIES[-1]])
def test_the_contract_of_losses(loss: Any) -> None:
    check_loss(loss, dimensions=(2,))


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 3)])
def test_functions_keep_the_values_of_miscnn_1(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    y, p = make_batch(rng, shape)
    class_dice = dice(y, p)
    crossentropy = log_loss(y, p).sum(-1).mean()
    tversky_sum = 3 - tversky(y, p, 0.5).sum(-1)
    whole = (2 * (y * p).sum() + 1e-5) / (y.sum() + p.sum() + 1e-5)
    for function, expected in [
        (metrics.dice_soft, class_dice.mean()),
        (metrics.dice_soft_loss, 1 - class_dice.mean()),
        (metrics.dice_coefficient, whole),
        (metrics.dice_coefficient_loss, 1 - whole),
        (metrics.dice_crossentropy, 1 - class_dice.mean() + crossentropy),
        (metrics.tversky_loss, tversky_sum),
        (metrics.tversky_crossentropy, tversky_sum + crossentropy),
    ]:
        value = ops.convert_to_numpy(function(y, p))
        np.testing.assert_allclose(value, expected, rtol=2e-5)


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 3)])
def test_factories_keep_the_values_of_miscnn_1(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    y, p = make_batch(rng, shape)
    logs, index = log_loss(y, p), tversky(y, p, 0.7)
    d = np.array([0.3, 0.7, 0.7])
    focus, index6 = (1 - p.astype("float64")), tversky(y, p, 0.6)
    bce = 0.8 * logs + 0.2 * log_loss(1 - y, 1 - p)
    half = np.array([0.4, 0.6, 0.6])
    sym = (1 - index6) ** 0.5
    asym = np.concatenate([1 - index6[:, :1], sym[:, 1:]], axis=-1)
    back = np.concatenate([focus[..., :1] ** 0.5, np.ones_like(focus[..., 1:])], axis=-1)
    back2 = np.concatenate([focus[..., :1] ** 2, np.ones_like(focus[..., 1:])], axis=-1)
    sym_focal, asym_focal = ((half * factor * logs).sum(-1).mean() for factor in (focus**0.5, back))
    for loss, expected in [
        (metrics.dice_weighted([1, 2, 4]), -(dice(y, p) * [1, 2, 4]).mean()),
        (
            metrics.categorical_focal_loss(alpha=[0.2, 0.3, 0.5], gamma=1.5),
            (np.array([0.2, 0.3, 0.5]) * focus**1.5 * logs).sum(-1).mean(),
        ),
        (metrics.categorical_focal_loss(0.25), (0.25 * focus**2 * logs).sum(-1).mean()),
        (metrics.combo_loss(alpha=0.3, beta=0.8), 0.3 * bce.mean() - 0.7 * dice(y, p).mean()),
        (metrics.focal_tversky_loss(), ((1 - index) ** 0.75).mean()),
        (
            metrics.focal_tversky_loss(0.6, 2, smooth=1),
            ((1 - tversky(y, p, 0.6, 1)) ** 2).mean(),
        ),
        (metrics.symmetric_focal_loss(), (d * focus**2 * logs).sum(-1).mean()),
        (metrics.asymmetric_focal_loss(), (d * back2 * logs).sum(-1).mean()),
        (metrics.symmetric_focal_tversky_loss(), ((1 - index) ** 0.25).mean()),
        (
            metrics.asymmetric_focal_tversky_loss(gamma=0.5, delta=0.6),
            asym.mean(),
        ),
        (metrics.sym_unified_focal_loss(0.2), 0.2 * sym.mean() + 0.8 * sym_focal),
        (metrics.asym_unified_focal_loss(), 0.5 * asym.mean() + 0.5 * asym_focal),
    ]:
        assert float(loss(y, p)) == pytest.approx(expected, rel=3e-5), loss.name


def test_they_agree_with_the_classes(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (6, 5))
    for old, new, offset in [
        (metrics.focal_tversky_loss(), losses.FocalTversky(), 0),
        (metrics.sym_unified_focal_loss(), losses.UnifiedFocal(), 0),
        (metrics.asym_unified_focal_loss(), losses.UnifiedFocal(asymmetric=True), 0),
        (metrics.combo_loss(), losses.Combo(), -0.5),
    ]:
        assert float(old(y, p)) == pytest.approx(float(new(y, p)) + offset, rel=1e-5)


@pytest.mark.parametrize("loss", FACTORIES, ids=lambda loss: loss.name)
def test_what_factories_make_survives_json_and_is_finite(
    loss: Any, rng: np.random.Generator
) -> None:
    y, p = make_batch(rng, (4, 4))
    remade = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert remade.get_config() == loss.get_config()
    assert float(remade(y, p)) == float(loss(y, p))
    for extreme in (y, 1 - y, 0 * y):
        assert np.isfinite(float(loss(y, extreme)))


def test_spatial_axes() -> None:
    assert metrics.identify_axis((2, 8, 8, 3)) == [1, 2]
    assert metrics.identify_axis((None, None, None, None, 3)) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"\(2, 8, 3\) has 3 axes"):
        metrics.identify_axis((2, 8, 3))


def test_wrong_settings_are_named(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (4, 4))
    with pytest.raises(ConfigurationError, match="2 weights for 3 classes"):
        metrics.dice_weighted([1, 2])(y, p)
    with pytest.raises(ConfigurationError, match="gamma is 1"):
        metrics.symmetric_focal_tversky_loss(gamma=1)
    document = metrics.combo_loss().get_config()
    with pytest.raises(ConfigurationError, match="factory is 'combi'"):
        type(metrics.combo_loss()).from_config({**document, "factory": "combi"})
