"""Losses against their formulas, computed in float64 with NumPy."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError, ContractError
from miscnn.neural_network import losses
from miscnn.neural_network.losses import (
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    SegmentationLoss,
    Tanimoto,
    TanimotoCrossEntropy,
    Tversky,
    TverskyCrossEntropy,
)
from miscnn.testing.loss import LossGradient, check_loss

Array = NDArray[Any]
CLASSES: list[type[SegmentationLoss]] = [
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    Tanimoto,
    TanimotoCrossEntropy,
    Tversky,
    TverskyCrossEntropy,
]


def make_batch(rng: np.random.Generator, shape: tuple[int, ...], classes: int = 3, batch: int = 2):
    labels = rng.integers(classes, size=(batch, *shape))
    raw = rng.random((batch, *shape, classes)) ** 3 + 1e-3
    probabilities = raw / raw.sum(axis=-1, keepdims=True)
    return np.eye(classes, dtype="float32")[labels], probabilities.astype("float32")


def reference(
    name: str,
    y: Array,
    p: Array,
    *,
    batch: bool = False,
    background: bool = True,
    weights: tuple[float, ...] | None = None,
    smooth: float = 1e-5,
    fp: float = 0.5,
    fn: float = 0.5,
) -> Array:
    """The formulas as they stand in the papers, per sample, in float64."""
    y, p = y.astype("float64"), p.astype("float64")
    if batch:
        y, p = y.reshape(1, -1, y.shape[-1]), p.reshape(1, -1, p.shape[-1])
    classes = y.shape[-1]
    w = np.ones(classes) if weights is None else np.array(weights)
    losses = []
    for ys, ps in zip(y.reshape(len(y), -1, classes), p.reshape(len(p), -1, classes), strict=True):
        overlap = (ys * ps).sum(0)
        if name == "crossentropy":
            voxel_weights = ys @ w
            log = np.log((ys * ps).sum(-1) + 1e-7)
            losses.append(-(voxel_weights * log).sum() / voxel_weights.sum())
            continue
        if name == "dice":
            index = (2 * overlap + smooth) / (ys.sum(0) + ps.sum(0) + smooth)
        elif name == "tanimoto":
            index = (overlap + smooth) / ((ys**2).sum(0) + (ps**2).sum(0) - overlap + smooth)
        else:
            errors = fp * (ps * (1 - ys)).sum(0) + fn * ((1 - ps) * ys).sum(0)
            index = (overlap + smooth) / (overlap + errors + smooth)
        first = 0 if background else 1
        losses.append(np.average(1 - index[first:], weights=w[first:]))
    return np.array(losses)


# ------------------------------------------------------------------ the table of edge cases


def one_class(foreground: int, inside: float, outside: float) -> tuple[Array, Array]:
    truth = np.zeros(128 * 128, dtype="float32")
    truth[:foreground] = 1
    prediction = np.where(truth > 0, inside, outside).astype("float32")
    return truth.reshape(1, 128, 128, 1), prediction.reshape(1, 128, 128, 1)


def lone_voxel() -> tuple[Array, Array]:
    truth, prediction = one_class(0, 0, 0)
    prediction[0, 5, 5, 0] = 1
    return truth, prediction


TABLE = [
    (one_class(0, 0, 0), 0, 0, 1e-6),
    (one_class(0, 0, 1e-6), 0.0016, 0.998, 5e-4),
    (one_class(0, 0, 1e-5), 0.141, 0.9998, 5e-4),
    (one_class(0, 0, 1e-4), 0.942, 1, 5e-4),
    (one_class(0, 0, 1e-3), 0.999, 1, 5e-4),
    (lone_voxel(), 0.99999, 0.99997, 5e-6),
    (one_class(100, 0.5, 0.5), 0.988, 0.980, 5e-4),
    (one_class(100, 0.9, 0.001), 0.0112, 0.117, 5e-4),
    (one_class(100, 0, 0), 1, 1, 1e-5),
]


@pytest.mark.parametrize(("arrays", "tanimoto", "tversky", "tolerance"), TABLE)
def test_edge_cases_cost_what_the_reference_table_says(
    arrays: tuple[Array, Array], tanimoto: float, tversky: float, tolerance: float
) -> None:
    truth, prediction = arrays
    assert float(Tanimoto()(truth, prediction)) == pytest.approx(tanimoto, abs=tolerance)
    loss = Tversky(fp_weight=0.3, fn_weight=0.7, smooth=1e-5)
    assert float(loss(truth, prediction)) == pytest.approx(tversky, abs=tolerance)


@pytest.mark.parametrize(
    ("arrays", "expected", "tolerance"),
    [
        (one_class(0, 0, 0), 0, 1e-6),
        (one_class(0, 0, 1e-5), 0.141 / 2, 5e-4),
        (one_class(0, 0, 1e-3), 0.999 / 2, 1e-3),
        (lone_voxel(), (0.99999 + 1 / 128**2) / 2, 1e-5),
        (one_class(100, 0, 0), (1 + 100 / 128**2) / 2, 1e-5),
        # 25 / (.25 n + 100 − 50) and .5 (n − 100) / (.25 n + (n − 100) − .5 (n − 100)), n = 128²
        (one_class(100, 0.5, 0.5), 1 - (50 / 4146 + 8142 / 12238) / 2, 1e-4),
        # The complement of a full class is an absent one.
        (one_class(128 * 128, 1, 0), 0, 1e-6),
        (one_class(128 * 128, 1 - 1e-3, 0), (1e-6 + 0.999) / 2, 1e-3),
        (one_class(128 * 128, 0, 0), 1, 1e-5),
    ],
)
def test_edge_cases_with_the_complement(
    arrays: tuple[Array, Array], expected: float, tolerance: float
) -> None:
    for weighting in (False, True):  # one class: nothing to weigh
        loss = Tanimoto(complement=True, volume_weighting=weighting)
        assert float(loss(*arrays)) == pytest.approx(expected, abs=tolerance)


# ------------------------------------------------------------------ formulas and options


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 6)])
@pytest.mark.parametrize("axes", ["sample", "batch"])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 5.0)])
@pytest.mark.parametrize("background", [True, False])
def test_losses_equal_their_formulas(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    axes: losses.ReductionAxes,
    weights: tuple[float, ...] | None,
    background: bool,
) -> None:
    y, p = make_batch(rng, shape)
    common: dict[str, Any] = {"reduction_axes": axes, "class_weights": weights}
    region = {**common, "include_background": background}
    options: dict[str, Any] = {"batch": axes == "batch", "weights": weights}
    ce = reference("crossentropy", y, p, **options)
    options["background"] = background
    dice = reference("dice", y, p, smooth=1e-3, **options)
    tanimoto = reference("tanimoto", y, p, **options)
    tversky = reference("tversky", y, p, smooth=1e-6, fp=0.3, fn=0.7, **options)
    expected = [
        (CrossEntropy(**common), ce),
        (Dice(smooth=1e-3, **region), dice),
        (DiceCrossEntropy(smooth=1e-3, **region), dice + ce),
        (Tanimoto(**region), tanimoto),
        (TanimotoCrossEntropy(**region), 0.6 * tanimoto + 0.4 * ce),
        (Tversky(0.3, 0.7, **region), tversky),
        (TverskyCrossEntropy(0.3, 0.7, tversky_weight=2, **region), 2 * tversky + ce),
    ]
    for loss, value in expected:
        per_sample = np.asarray(loss.call(y, p))
        assert per_sample.shape == (2,)
        np.testing.assert_allclose(per_sample, np.broadcast_to(value, 2), rtol=2e-5)
        assert float(loss(y, p)) == pytest.approx(value.mean(), rel=2e-5)


def test_values_do_not_grow_with_the_number_of_classes(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (6, 6))
    twice = (np.concatenate([y, y], axis=-1), np.concatenate([p, p], axis=-1))
    for loss in (Dice(), Tanimoto(), Tversky()):
        assert float(loss(*twice)) == pytest.approx(float(loss(y, p)), rel=1e-6)


def test_masks_make_tanimoto_jaccard_and_tversky_with_weights_of_one_too() -> None:
    truth = np.zeros((1, 10, 10, 1), dtype="float32")
    prediction = truth.copy()
    truth[0, :4], prediction[0, 2:5] = 1, 1  # 40 and 30 voxels, 20 shared
    jaccard = 20 / 50
    for loss in (Tanimoto(), Tversky(fp_weight=1, fn_weight=1)):
        assert float(loss(truth, prediction)) == pytest.approx(1 - jaccard, abs=1e-6)
    for other in (Dice(), Tversky()):
        assert float(other(truth, prediction)) == pytest.approx(1 - 40 / 70, abs=1e-6)


def tanimoto(y: Array, p: Array, smooth: float = 1e-5) -> Array:
    """Eq. 1 of the CT paper for ``(voxels, classes)``."""
    overlap = (y * p).sum(0)
    return (overlap + smooth) / ((y**2).sum(0) + (p**2).sum(0) - overlap + smooth)


def resunet_a(y: Array, p: Array, smooth: float) -> Array:
    """Tanimoto of ResUNet-a for ``(batch, voxels, classes)``, literally: 1 / V², inf → max."""
    volumes = y.sum(1).mean(0)
    with np.errstate(divide="ignore"):
        weights = 1 / volumes**2
    weights[np.isinf(weights)] = weights[np.isfinite(weights)].max()
    overlap = (weights * (y * p).sum(1)).sum(-1)
    union = (weights * (y**2 + p**2 - y * p).sum(1)).sum(-1)
    return (overlap + smooth) / (union + smooth)


def unequal_batch(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two samples of 6 × 5 voxels, classes of 22.5, 5 and 2.5 voxels and one that is absent."""
    labels = np.zeros((2, 30), dtype=int)
    labels[0, :3], labels[0, 3:10] = 2, 1
    labels[1, :2], labels[1, 2:5] = 2, 1
    raw = rng.random((2, 6, 5, 4)) + 0.05
    p = (raw / raw.sum(-1, keepdims=True)).astype("float32")
    return np.eye(4, dtype="float32")[labels].reshape(2, 6, 5, 4), p


def test_complement_is_the_mean_of_both_sides_per_class(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (6, 7))
    flat = [(a.reshape(-1, 3), b.reshape(-1, 3)) for a, b in zip(y, p, strict=True)]
    expected = np.array([(tanimoto(a, b) + tanimoto(1 - a, 1 - b)) / 2 for a, b in flat])
    loss = Tanimoto(complement=True, class_weights=(1, 2, 5), include_background=False)
    weighed = 1 - (2 * expected[:, 1] + 5 * expected[:, 2]) / 7
    np.testing.assert_allclose(np.asarray(loss.call(y, p)), weighed, rtol=1e-5)
    plain = np.asarray(Tanimoto(complement=True).call(y, p))
    np.testing.assert_allclose(plain, 1 - expected.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(Tanimoto(complement=True).call(1 - y, 1 - p)), plain,
                               rtol=1e-5)  # fmt: skip
    both = TanimotoCrossEntropy(complement=True).call(y, p)
    np.testing.assert_allclose(
        np.asarray(both), 0.6 * plain + 0.4 * np.asarray(CrossEntropy().call(y, p)), rtol=1e-5
    )


def test_of_two_classes_each_is_the_complement_of_the_other(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (6, 7), classes=2)
    assert float(Tanimoto(complement=True)(y, p)) == pytest.approx(float(Tanimoto()(y, p)))
    # ... unless one of the two counts less, or not at all.
    for options in ({"include_background": False}, {"class_weights": (1, 3)}):
        plain = float(Tanimoto(**options)(y, p))
        assert abs(float(Tanimoto(complement=True, **options)(y, p)) - plain) > 1e-3


@pytest.mark.parametrize("complement", [False, True])
def test_volume_weighting_is_that_of_resunet_a(rng: np.random.Generator, complement: bool) -> None:
    y, p = unequal_batch(rng)
    flat_y, flat_p = (a.reshape(2, 30, 4).astype("float64") for a in (y, p))
    # smooth counts voxels of the smallest class: here 2.5, of the complement 7.5.
    index = resunet_a(flat_y, flat_p, 1e-2 / 2.5**2)
    if complement:
        index = (index + resunet_a(1 - flat_y, 1 - flat_p, 1e-2 / 7.5**2)) / 2
    loss = Tanimoto(volume_weighting=True, complement=complement, smooth=1e-2)
    np.testing.assert_allclose(np.asarray(loss.call(y, p)), 1 - index, rtol=1e-5)


def test_volume_weighting_in_closed_form() -> None:
    truth = np.zeros((1, 100, 3), dtype="float32")
    truth[0, :90, 0], truth[0, 90:, 1] = 1, 1  # 90 and 10 voxels, class 2 is absent
    prediction = truth.copy()
    prediction[0, :9] = [0, 0, 1]
    # Relative weights 1/81, 1, 1 (absent: the largest): overlap 81/81 + 10, union 90/81 + 10 + 9.
    loss = Tanimoto(volume_weighting=True)
    value = 1 - 11 / (19 + 90 / 81)
    assert float(loss(truth, prediction)) == pytest.approx(value, abs=1e-5)
    # Without class 0 and with class 2 half as heavy: 10 / (10 + 9/2).
    loss = Tanimoto(volume_weighting=True, include_background=False, class_weights=(5, 2, 1))
    assert float(loss(truth, prediction)) == pytest.approx(1 - 10 / 14.5, abs=1e-5)
    even = Tanimoto(volume_weighting=True, class_weights=(3, 3, 3), smooth=1)
    none = Tanimoto(volume_weighting=True, smooth=1)
    assert float(even(truth, prediction)) == pytest.approx(float(none(truth, prediction)))
    # All absent: weights of 1, so e / (e + smooth) of the 18 in all classes together.
    nothing = np.zeros_like(truth)
    everywhere = np.zeros_like(truth)
    everywhere[0, :9] = [1, 1, 0]
    assert float(none(nothing, everywhere)) == pytest.approx(18 / 19, rel=1e-6)
    assert float(none(nothing, nothing)) == 0
    # Soft labels whose 1 / V² no float32 can hold.
    faint = np.full_like(truth, 1e-22)
    assert np.isfinite(float(none(faint, everywhere)))


def test_volumes_are_those_of_the_batch_and_sums_those_asked_for(rng: np.random.Generator) -> None:
    y, p = unequal_batch(rng)
    apart = Tanimoto(volume_weighting=True)
    alone = [float(apart(y[[k]], p[[k]])) for k in range(2)]
    assert np.asarray(apart.call(y, p)) != pytest.approx(alone, rel=1e-3)
    together = Tanimoto(volume_weighting=True, reduction_axes="batch")
    joined = (a.reshape(1, 60, 4).astype("float64") for a in (y, p))
    expected = 1 - resunet_a(*joined, 1e-5 / 5**2)[0]  # 5 voxels in both
    assert float(together(y, p)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Tanimoto, {"complement": True}),
        (Tanimoto, {"volume_weighting": True}),
        (TanimotoCrossEntropy, {"complement": True, "volume_weighting": True}),
        (
            Tanimoto,
            {
                "complement": True,
                "volume_weighting": True,
                "include_background": False,
                "reduction_axes": "batch",
                "class_weights": (1, 2, 3),
            },
        ),
    ],
)
def test_options_of_tanimoto_keep_the_contract(cls: Any, options: dict[str, Any]) -> None:
    loss = cls(**options)
    check_loss(loss, dimensions=(2,))
    config = json.loads(json.dumps(loss.get_config()))
    assert {k: config[k] for k in options} == json.loads(json.dumps(options))
    assert cls.from_config(loss.get_config()).get_config() == loss.get_config()
    weighted = loss.with_class_weights((3, 2, 1))
    for name in ("complement", "volume_weighting"):
        assert getattr(weighted, name) is options.get(name, False)


@pytest.mark.parametrize("weighting", [False, True])
def test_gradient_of_the_dual_is_that_of_the_formula(
    rng: np.random.Generator, weighting: bool
) -> None:
    y, p = unequal_batch(rng)
    loss = Tanimoto(complement=True, volume_weighting=weighting, reduction="sum")
    gradient = LossGradient(loss, p.shape)(y, p)

    def value(q: Array) -> float:
        a, b = y.reshape(2, 30, 4).astype("float64"), q.reshape(2, 30, 4)
        if weighting:
            index = resunet_a(a, b, 1e-5 / 2.5**2) + resunet_a(1 - a, 1 - b, 1e-5 / 7.5**2)
        else:
            index = np.array(
                [(tanimoto(a[k], b[k]) + tanimoto(1 - a[k], 1 - b[k])).mean() for k in range(2)]
            )
        return float((1 - index / 2).sum())

    for at in [(0, 0, 0, 2), (1, 3, 2, 0), (0, 5, 4, 1), (1, 0, 1, 3)]:
        step = np.zeros(p.shape)
        step[at] = 1e-4 if at[-1] < 3 else 1e-8  # absent class: steep near 0
        exact = p.astype("float64")
        measured = (value(exact + step) - value(exact - step)) / (2 * step[at])
        assert gradient[at] == pytest.approx(measured, rel=1e-3, abs=1e-6)


def test_weights_name_the_errors_they_weigh() -> None:
    truth = np.zeros((1, 10, 10, 1), dtype="float32")
    truth[0, :5] = 1
    too_much, too_little = np.ones_like(truth), np.zeros_like(truth)
    too_little[0, :1] = 1
    only_false_positives = Tversky(fp_weight=1, fn_weight=0)
    only_false_negatives = Tversky(fp_weight=0, fn_weight=1)
    assert float(only_false_positives(truth, too_much)) == pytest.approx(0.5, abs=1e-6)
    assert float(only_false_negatives(truth, too_much)) == pytest.approx(0.0, abs=1e-6)
    assert float(only_false_positives(truth, too_little)) == pytest.approx(0.0, abs=1e-6)
    assert float(only_false_negatives(truth, too_little)) == pytest.approx(0.8, abs=1e-6)


def test_a_class_missing_in_one_sample_is_softened_by_summing_over_the_batch() -> None:
    truth = np.zeros((2, 8, 8, 1), dtype="float32")
    truth[0, :4] = 1
    prediction = np.where(truth > 0, 1.0, 0.01).astype("float32")
    apart = np.asarray(Dice().call(truth, prediction))
    assert apart[1] == pytest.approx(1, abs=1e-4)
    # Over the batch: 2 · 32 / (32 + 32 + 96 · 0.01).
    together = np.asarray(Dice(reduction_axes="batch").call(truth, prediction))
    np.testing.assert_allclose(together, 1 - 64 / 64.96, rtol=1e-4)


def test_sample_weights_weigh_samples(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (5, 5))
    for cls in CLASSES:
        loss = cls()
        first, second = np.asarray(loss.call(y, p))
        weighted = float(loss(y, p, sample_weight=np.array([3.0, 0.5])))
        assert weighted == pytest.approx((3 * first + 0.5 * second) / 2, rel=1e-5)


@pytest.mark.parametrize("cls", CLASSES)
def test_with_class_weights_changes_nothing_else(
    cls: type[SegmentationLoss], rng: np.random.Generator
) -> None:
    y, p = make_batch(rng, (5, 5))
    plain = cls(reduction_axes="batch")
    weighted = plain.with_class_weights({2: 3.0, 0: 1.0, 1: 2.0})
    assert type(weighted) is cls
    assert {**weighted.get_config(), "class_weights": None} == plain.get_config()
    assert weighted.class_weights == (1.0, 2.0, 3.0)
    assert plain.class_weights is None
    scaled = plain.with_class_weights(np.array([10.0, 20.0, 30.0]))
    assert float(weighted(y, p)) == pytest.approx(float(scaled(y, p)), rel=1e-6)
    assert float(weighted(y, p)) != pytest.approx(float(plain(y, p)), rel=1e-3)
    even = plain.with_class_weights((2, 2, 2))
    assert float(even(y, p)) == pytest.approx(float(plain(y, p)), rel=1e-6)


def test_a_weight_of_zero_takes_a_class_out(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (5, 5))
    assert float(Tanimoto(class_weights=(0, 1, 1))(y, p)) == pytest.approx(
        float(Tanimoto(include_background=False)(y, p)), rel=1e-6
    )
    # Cross-entropy of a sample that holds only classes without weight.
    only_background = np.zeros_like(y)
    only_background[..., 0] = 1
    assert float(CrossEntropy(class_weights=(0, 1, 1))(only_background, p)) == 0


# ------------------------------------------------------------------ cross-entropy


def test_crossentropy_is_minus_the_mean_log_probability() -> None:
    truth = np.array([[[1, 0], [0, 1], [0, 1]]], dtype="float32")
    prediction = np.array([[[0.25, 0.75], [0.5, 0.5], [0, 1]]], dtype="float32")
    expected = (np.log(4) + np.log(2) + 0) / 3
    assert float(CrossEntropy()(truth, prediction)) == pytest.approx(expected, abs=1e-6)
    keras_value = keras.losses.CategoricalCrossentropy()(truth, prediction)
    assert float(CrossEntropy()(truth, prediction)) == pytest.approx(float(keras_value), abs=1e-6)
    worst = float(CrossEntropy()(truth, 1 - truth))
    assert worst == pytest.approx(-np.log(1e-30), rel=1e-6)


def test_crossentropy_still_pulls_where_the_probability_is_below_the_floor() -> None:
    truth = np.array([[[1, 0]]], dtype="float32")
    prediction = np.array([[[1e-31, 1]]], dtype="float32")
    gradient = LossGradient(CrossEntropy(), prediction.shape)(truth, prediction)
    assert gradient[0, 0, 0] == pytest.approx(-1 / (1e-31 + 1e-30), rel=1e-3)


# ------------------------------------------------------------------ robustness


@pytest.mark.parametrize("cls", CLASSES)
def test_sums_are_taken_in_float32(cls: type[SegmentationLoss]) -> None:
    # 512² voxels of one class: more than float16 can hold (65504).
    truth = np.zeros((1, 512, 512, 2), dtype="float16")
    truth[..., 0] = 1
    prediction = np.full_like(truth, 0.5)
    value = cls().call(ops.convert_to_tensor(truth), ops.convert_to_tensor(prediction))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value[0]) == pytest.approx(
        float(cls()(truth.astype("float32"), prediction.astype("float32"))), rel=1e-6
    )
    dice_background, log2 = 2 * 0.5 / 1.5, np.log(2)
    if cls is DiceCrossEntropy:
        expected = 1 - (dice_background + 0) / 2 + log2
        assert float(value[0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_contract_of_losses(cls: type[SegmentationLoss]) -> None:
    check_loss(cls(class_weights=(1, 2, 3), reduction_axes="batch"), dimensions=(3,))
    check_loss(cls(), dimensions=(2,))


# ------------------------------------------------------------------ configuration


@pytest.mark.parametrize("cls", CLASSES)
def test_losses_survive_json(cls: type[SegmentationLoss]) -> None:
    loss = cls(class_weights=(1, 2), reduction_axes="batch", reduction="sum")
    document = json.loads(json.dumps(keras.losses.serialize(loss)))
    assert document["registered_name"] == f"miscnn>{cls.__name__}"
    remade = keras.losses.deserialize(document)
    assert type(remade) is cls
    assert remade.get_config() == loss.get_config()
    assert remade.class_weights == (1.0, 2.0)


def test_every_argument_is_part_of_the_configuration() -> None:
    loss = TverskyCrossEntropy(
        0.1,
        0.9,
        tversky_weight=0.2,
        crossentropy_weight=0.3,
        smooth=0.4,
        include_background=False,
        class_weights=(0, 1),
        reduction_axes="batch",
        reduction="sum",
        name="mine",
    )
    assert loss.get_config() == {
        "fp_weight": 0.1,
        "fn_weight": 0.9,
        "tversky_weight": 0.2,
        "crossentropy_weight": 0.3,
        "smooth": 0.4,
        "include_background": False,
        "class_weights": [0.0, 1.0],
        "reduction_axes": "batch",
        "ignore_unlabelled": False,
        "label_smoothing": 0.0,
        "reduction": "sum",
        "name": "mine",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dice(smooth=0), "smooth is 0"),
        (lambda: Dice(reduction_axes="volume"), "'volume'"),
        (lambda: Tversky(fp_weight=-1), "fp_weight is -1"),
        (lambda: TanimotoCrossEntropy(tanimoto_weight=float("nan")), "tanimoto_weight is nan"),
        (lambda: Dice(class_weights=(1, -2)), r"class_weights\[1\] is -2"),
        (lambda: Dice(class_weights=(0, 0)), "no class a weight"),
        (lambda: Dice().with_class_weights({-1: 1.0, 2: 1.0}), r"class\(es\) \[-1\]"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_wrong_arrays_are_named() -> None:
    probabilities = np.full((2, 4, 4, 3), 1 / 3, dtype="float32")
    with pytest.raises(ConfigurationError, match=r"\(2, 4, 4, 1\).*\(2, 4, 4, 3\).*to_categorical"):
        Dice()(np.zeros((2, 4, 4, 1)), probabilities)
    with pytest.raises(ConfigurationError, match=r"\(2, 4, 4\)"):
        Dice()(np.zeros((2, 4, 4)), probabilities)
    with pytest.raises(ConfigurationError, match=r"2 entries.*3 classes"):
        Dice(class_weights=(1, 2))(probabilities, probabilities)
    with pytest.raises(ConfigurationError, match="leaves no class"):
        Dice(include_background=False)(probabilities[..., :1], probabilities[..., :1])
    with pytest.raises(ConfigurationError, match="leave no class"):
        Dice(include_background=False, class_weights=(1, 0, 0))(probabilities, probabilities)


# ------------------------------------------------------------------ check_loss finds what is wrong


class _SeesUnlabelled(Dice):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.values(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))


class _Bad(keras.losses.Loss):  # type: ignore[misc]
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(y_true - y_pred), axis=-1)


class _LogOfZero(_Bad):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -ops.mean(y_true * ops.log(y_pred), axis=-1)


class _HalfPrecision(_Bad):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.cast(y_true, "float16"), ops.cast(y_pred, "float16")
        overlap, total = ops.sum(y_true * y_pred), ops.sum(y_true + y_pred)
        return ops.cast(1 - (2 * overlap + 1e-3) / (total + 1e-3), "float32")


class _WrongGradient(_Bad):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        error = ops.square(y_true - y_pred)
        return ops.mean(error + ops.stop_gradient(error), axis=-1)


class _RewardsErrors(_Bad):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -super().call(y_true, y_pred)


class _Forgetful(_Bad):
    def __init__(self, power: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.power * super().call(y_true, y_pred)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (_LogOfZero(), "not finite|is nan|is inf"),
        (_HalfPrecision(), "float32"),
        (_WrongGradient(), "finite differences"),
        (_RewardsErrors(), "perfect prediction"),
        (_Forgetful(2.0, name="forgetful"), "gives"),
        (_Bad(name="bad"), "cannot be made again"),
        (_SeesUnlabelled(), "without a label"),
    ],
)
def test_check_loss_finds_what_is_wrong(loss: Any, message: str) -> None:
    known = {} if loss.name == "bad" else {type(loss).__name__: type(loss)}
    with pytest.raises(ContractError, match=message):
        check_loss(loss, dimensions=(2,), custom_objects=known)


def test_check_loss_accepts_a_sound_loss_of_the_users() -> None:
    check_loss(_Bad(name="sound"), dimensions=(2,), custom_objects={"_Bad": _Bad})


def test_examples_in_the_docstrings() -> None:
    modules = [
        importlib.import_module(f"{losses.__name__}.{module.name}")
        for module in pkgutil.iter_modules(losses.__path__)
    ]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0
