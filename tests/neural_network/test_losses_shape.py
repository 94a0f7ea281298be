"""Boundary and clDice losses: distances and skeletons against SciPy, formulas, gradients."""

from __future__ import annotations

import doctest
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.losses import DiceCrossEntropy, cldice, surface
from miscnn.neural_network.losses.cldice import DiceClDice, SoftClDice, soft_skeleton
from miscnn.neural_network.losses.dice import Dice
from miscnn.neural_network.losses.surface import (
    BoundaryDiceCrossEntropy,
    BoundaryLoss,
    signed_distances,
)
from miscnn.testing import loss as loss_checks
from miscnn.testing.loss import LossGradient, check_loss

Array = NDArray[Any]
LOSSES: list[Any] = [BoundaryLoss, BoundaryDiceCrossEntropy, SoftClDice, DiceClDice]


def distances(mask: Array, spacing: Any = None) -> Array:
    """Signed distances of one mask without batch and class axis."""
    given_mask = ops.convert_to_tensor(mask[None, ..., None].astype("float32"))
    return np.array(ops.convert_to_numpy(signed_distances(given_mask, spacing)))[0, ..., 0]


def scipy_distances(mask: Array, spacing: Any = None) -> Array:
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    edt = ndimage.distance_transform_edt
    return np.asarray(edt(~mask, spacing) - edt(mask, spacing))


def skeleton(mask: Array, iterations: int = 3) -> Array:
    given_mask = ops.convert_to_tensor(mask[None, ..., None].astype("float32"))
    return np.array(ops.convert_to_numpy(soft_skeleton(given_mask, iterations)))[0, ..., 0]


def value(loss: Any, y: Array, p: Array) -> float:
    return float(ops.convert_to_numpy(loss(y, p)))


def two_classes(mask: Array) -> Array:
    return np.stack([1 - mask, mask], axis=-1)[None].astype("float32")


def batch(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    y = np.eye(3, dtype="float32")[rng.integers(3, size=(2, *shape))]
    raw = rng.random(y.shape) + 0.05
    return y, (raw / raw.sum(-1, keepdims=True)).astype("float32")


# ---------------------------------------------------------------------- distances


@settings(max_examples=40)
@given(data=st.data(), axes=st.sampled_from([2, 3]))
def test_distances_are_scipys(data: st.DataObject, axes: int) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=axes, max_dims=axes, max_side=7))
    mask = data.draw(hnp.arrays(bool, shape))
    sizes = st.floats(0.25, 6.0, width=32)
    spacing = data.draw(st.one_of(st.none(), st.tuples(*[sizes] * axes)))
    expected = scipy_distances(mask, spacing)
    np.testing.assert_allclose(distances(mask, spacing), expected, rtol=1e-5, atol=1e-5)


def test_distances_over_a_large_grid_and_several_classes(rng: np.random.Generator) -> None:
    labels = np.zeros((2, 40, 9, 33), dtype=np.int64)
    labels[0, 3:9, 2:4, 20:31], labels[0, 30:, 5:, :4], labels[1, :2] = 1, 2, 2
    y = np.eye(3, dtype="float32")[labels]
    found = ops.convert_to_numpy(signed_distances(ops.convert_to_tensor(y), (1.0, 5.0, 0.7)))
    for sample in range(2):
        for label in range(3):
            expected = scipy_distances(labels[sample] == label, (1.0, 5.0, 0.7))
            np.testing.assert_allclose(found[sample, ..., label], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="axes of unknown length")
@pytest.mark.parametrize(
    "loss",
    [BoundaryDiceCrossEntropy(), DiceClDice(iterations=2)],  # the others are parts of these
    ids=lambda loss: loss.name,
)
def test_axes_may_be_unknown_in_a_graph(loss: Any, rng: np.random.Generator) -> None:
    import tensorflow as tf

    unknown = tf.TensorSpec((None, None, None, None, 3), tf.float32)
    graph = tf.function(loss, input_signature=[unknown, unknown])
    for shape in [(5, 4, 7), (1, 6, 3)]:
        y, p = batch(rng, shape)
        np.testing.assert_allclose(float(graph(y, p)), value(loss, y, p), rtol=1e-5)


# ---------------------------------------------------------------------- boundary


@pytest.mark.parametrize("reduction_axes", ["sample", "batch"])
@pytest.mark.parametrize("background", [False, True])
def test_boundary_formula(reduction_axes: Any, background: bool, rng: np.random.Generator) -> None:
    y, p = batch(rng, (5, 4, 3))
    y[1, ..., 2], y[1, ..., 0] = 0, 1 - y[1, ..., 1]  # class 2 is absent from the second sample
    spacing, weights = (1.0, 2.0, 0.5), np.array([3.0, 1.0, 2.0])
    phi = np.stack(
        [[scipy_distances(y[b, ..., c] > 0, spacing) for c in range(3)] for b in range(2)]
    )
    costs = (np.moveaxis(phi, 1, -1) * (p - y)).mean(axis=(1, 2, 3))
    assert np.all(costs[1, 2] == 0)
    if reduction_axes == "batch":
        costs = costs.mean(axis=0, keepdims=True)
    first = 0 if background else 1
    expected = (costs[:, first:] @ weights[first:]) / weights[first:].sum()
    loss = BoundaryLoss(
        spacing=spacing,
        include_background=background,
        class_weights=weights.tolist(),
        reduction_axes=reduction_axes,
        reduction="none",
    )
    found = ops.convert_to_numpy(loss(y, p))
    np.testing.assert_allclose(found, np.broadcast_to(expected, 2), rtol=1e-5)


def test_a_false_voxel_costs_its_distance() -> None:
    mask = np.zeros((10, 4))
    mask[:2] = 1
    costs = []
    for row in (2, 5, 9):
        wrong = mask.copy()
        wrong[row, 0] = 1
        costs.append(value(BoundaryLoss(), two_classes(mask), two_classes(wrong)) * mask.size)
    np.testing.assert_allclose(costs, [1, 4, 8], rtol=1e-5)


def test_gradient_of_the_boundary_is_the_distance(rng: np.random.Generator) -> None:
    y, p = batch(rng, (4, 5))
    gradient = LossGradient(BoundaryLoss(), p.shape)(y, p)
    for c in (1, 2):
        expected = [scipy_distances(truth[..., c] > 0) / (20 * 2 * 2) for truth in y]
        np.testing.assert_allclose(gradient[..., c], expected, rtol=1e-4, atol=1e-7)
    assert not gradient[..., 0].any()


def test_compound_is_the_sum(rng: np.random.Generator) -> None:
    y, p = batch(rng, (5, 4))
    for weights in (None, (1.0, 2.0, 3.0)):
        loss = BoundaryDiceCrossEntropy(
            boundary_weight=0.3, spacing=(2, 1), dice_weight=0.5, class_weights=weights
        )
        region = DiceCrossEntropy(dice_weight=0.5, class_weights=weights)
        boundary = BoundaryLoss(spacing=(2, 1), class_weights=weights)
        expected = value(region, y, p) + 0.3 * value(boundary, y, p)
        assert value(loss, y, p) == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------- clDice


@pytest.mark.parametrize("axes", [2, 3])
def test_skeleton_of_a_line_is_the_line(axes: int) -> None:
    line = np.zeros((7, 9, 8)[:axes])
    line[(3, slice(None), 4)[:axes]] = 1
    np.testing.assert_array_equal(skeleton(line), line)


def test_skeleton_of_a_tube_is_its_axis() -> None:
    x, y = np.indices((11, 11)) - 5
    tube = np.repeat(((np.abs(x) + np.abs(y)) <= 3)[..., None], 12, axis=2)
    expected = np.zeros(tube.shape)
    expected[5, 5] = 1  # up to both ends, where the tube leaves the image
    np.testing.assert_array_equal(skeleton(tube, 3)[5, 5], expected[5, 5])
    # An opening with a cube takes the edges of the cross section too; the axis is kept by the
    # last erosion alone.
    assert not skeleton(tube, 2)[5, 5].any()
    wide = np.zeros((9, 15))
    wide[3:6] = 1  # three voxels wide: one erosion leaves the middle
    np.testing.assert_array_equal(skeleton(wide, 1), np.arange(9)[:, None] == np.full((9, 15), 4))


@settings(max_examples=20)
@given(data=st.data(), axes=st.sampled_from([2, 3]))
def test_skeleton_is_that_of_morphology(data: st.DataObject, axes: int) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=axes, max_dims=axes, max_side=6))
    values = data.draw(hnp.arrays("float32", shape, elements=st.floats(0, 1, width=32)))
    cross = ndimage.generate_binary_structure(axes, 1)

    def opened(a: Array) -> Array:
        smaller = ndimage.grey_erosion(a, footprint=cross, mode="nearest")
        return np.asarray(ndimage.grey_dilation(smaller, size=(3,) * axes, mode="nearest"))

    image = values.astype("float64")
    expected = np.maximum(image - opened(image), 0)
    for _ in range(2):
        image = ndimage.grey_erosion(image, footprint=cross, mode="nearest")
        ridge = np.maximum(image - opened(image), 0)
        expected = expected + np.maximum(ridge - expected * ridge, 0)
    np.testing.assert_allclose(skeleton(values, 2), expected, atol=1e-6)


def test_a_broken_vessel_costs_more_than_a_thinner_one() -> None:
    vessel = np.zeros((11, 30))
    vessel[4:7] = 1
    thinner, broken = vessel.copy(), vessel.copy()
    thinner[4, :27] = 0
    broken[4:7, 10:19] = 0
    assert thinner.sum() == broken.sum()
    truth = two_classes(vessel)
    thin, cut = (two_classes(mask) for mask in (thinner, broken))
    dice = Dice()
    assert value(dice, truth, thin) == pytest.approx(value(dice, truth, cut))
    assert value(SoftClDice(), truth, cut) > 2 * value(SoftClDice(), truth, thin)
    assert value(DiceClDice(), truth, cut) > value(DiceClDice(), truth, thin)


def test_closed_form_of_a_shortened_line() -> None:
    line = np.zeros((5, 10))
    line[2] = 1
    half = line.copy()
    half[2, 6:] = 0
    precision, sensitivity = 1.0, (6 + 1) / (10 + 1)
    expected = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    found = value(SoftClDice(), two_classes(line), two_classes(half))
    assert found == pytest.approx(expected, rel=1e-5)
    other_way = value(SoftClDice(), two_classes(half), two_classes(line))
    assert other_way == pytest.approx(expected, rel=1e-5)


def test_absent_class_costs_what_is_documented() -> None:
    nothing, line = np.zeros((5, 10)), np.zeros((5, 10))
    line[2] = 1
    truth = two_classes(nothing)
    assert value(SoftClDice(), truth, truth) == pytest.approx(0, abs=1e-6)
    found = value(SoftClDice(smooth=2.0), truth, two_classes(line))
    assert found == pytest.approx(10 / (10 + 2 * 2.0), rel=1e-5)
    assert value(BoundaryLoss(), truth, two_classes(line)) == 0
    assert value(BoundaryLoss(), two_classes(nothing + 1), two_classes(line)) == 0


def test_cldice_combination(rng: np.random.Generator) -> None:
    y, p = batch(rng, (5, 4, 3))
    dice, cl = value(Dice(), y, p), value(SoftClDice(iterations=2), y, p)
    for alpha in (0.0, 0.3, 1.0):
        found = value(DiceClDice(alpha=alpha, iterations=2), y, p)
        assert found == pytest.approx((1 - alpha) * dice + alpha * cl, rel=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_gradient_of_cldice_by_finite_differences(axes: int) -> None:
    # No two probabilities nearer than twice the step: minima and maxima do not change hands.
    rng = np.random.default_rng(axes)
    y, p = batch(rng, (4, 3, 2)[:axes])
    ranks = rng.permutation(p.size).reshape(p.shape)
    p = ((ranks + 0.5) / p.size).astype("float32")
    step, loss = 0.2 / p.size, SoftClDice(iterations=2)
    gradient = LossGradient(loss, p.shape)(y, p)
    assert np.abs(gradient).max() > 1e-3
    direction = (np.sign(gradient) * (rng.random(p.shape) < 0.5)).astype("float32")
    ahead, behind = value(loss, y, p + step * direction), value(loss, y, p - step * direction)
    told = float((gradient * direction).sum())
    assert told == pytest.approx((ahead - behind) / (2 * step), rel=2e-2)


# ---------------------------------------------------------------------- all of them


def well_separated(check: Any, shape: tuple[int, ...]) -> Array:
    """Values from 0.1 to 0.8 that lie 0.7 / voxels apart in each class of each sample.

    Wherever a minimum changes hands the gradient jumps: finite differences are sound only if no
    step closes the distance between two values.
    """
    voxels = math.prod(shape)
    ranks = check.rng.permuted(np.tile(np.arange(voxels), (2, check.n_classes, 1)), axis=-1)
    values = 0.1 + 0.7 * (ranks + 0.5) / voxels
    return np.moveaxis(values, 1, -1).reshape(2, *shape, check.n_classes).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "dimensions"),
    [
        (BoundaryLoss(), (2, 3)),
        (BoundaryDiceCrossEntropy(reduction_axes="batch", class_weights=(1, 2, 3)), (3,)),
        (SoftClDice(iterations=1), (2, 3)),
        (DiceClDice(iterations=2, reduction_axes="batch", class_weights=(1, 2, 3)), (3,)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_contract(loss: Any, dimensions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_checks._Check, "probabilities", well_separated)
    if isinstance(loss, BoundaryLoss | BoundaryDiceCrossEntropy):
        # Distances over the 512 × 512 voxels of this check take long: beneath over fewer.
        monkeypatch.setattr(loss_checks._Check, "check_half_precision", lambda check: None)
    check_loss(loss, dimensions=dimensions)


@pytest.mark.parametrize("cls", [BoundaryLoss, BoundaryDiceCrossEntropy])
def test_sums_are_taken_in_float32(cls: Any) -> None:
    mask = np.zeros((280, 280))  # the background alone is more than float16 can count, 65504
    mask[:50, :50] = 1
    y = two_classes(mask).astype("float16")
    p = (0.75 * y + 0.125).astype("float16")
    half = ops.convert_to_numpy(cls()(ops.convert_to_tensor(y), ops.convert_to_tensor(p)))
    assert half.dtype == np.float32
    exact = value(cls(), y.astype("float32"), p.astype("float32"))
    assert float(half) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("cls", LOSSES)
def test_configuration(cls: Any, rng: np.random.Generator) -> None:
    own: dict[str, Any] = {"iterations": 2} if cls in (SoftClDice, DiceClDice) else {}
    own = own or {"spacing": (2.0, 1.0)}
    loss = cls(class_weights=(1, 2, 3), reduction_axes="batch", ignore_unlabelled=True, **own)
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert again.get_config() == loss.get_config()
    y, p = batch(rng, (5, 4))
    assert value(again, y, p) == value(loss, y, p) != value(cls(), y, p)


@pytest.mark.parametrize("cls", LOSSES)
def test_unlabelled_voxels_do_not_count(cls: Any, rng: np.random.Generator) -> None:
    y, p = batch(rng, (6, 5))
    y[:, :2] = 0
    other = p.copy()
    other[:, :2] = batch(rng, (2, 5))[1]
    loss = cls(ignore_unlabelled=True)
    assert value(loss, y, p) == value(loss, y, other)
    assert value(cls(), y, p) != value(cls(), y, other)


def test_boundary_is_the_mean_over_labelled_voxels(rng: np.random.Generator) -> None:
    y, p = batch(rng, (6, 5))
    y[:, :2] = 0
    phi = np.stack([[scipy_distances(s[..., c] > 0) for c in (1, 2)] for s in y])
    errors = np.moveaxis(phi, 1, -1) * (p - y)[..., 1:]
    expected = errors[:, 2:].sum() / (4 * 5 * 2 * 2)
    found = value(BoundaryLoss(ignore_unlabelled=True), y, p)
    assert found == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25)
@given(data=st.data(), cls=st.sampled_from(LOSSES))
def test_finite_for_any_probabilities(data: st.DataObject, cls: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4))
    labels = data.draw(hnp.arrays("int64", (1, *shape), elements=st.integers(0, 2)))
    p = data.draw(hnp.arrays("float32", (1, *shape, 3), elements=st.floats(0, 1, width=32)))
    found = value(cls(), np.eye(3, dtype="float32")[labels], p)
    assert np.isfinite(found)
    assert found >= -1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoundaryLoss(spacing=(1.0, 0.0)), "spacing"),
        (lambda: BoundaryLoss(spacing=(1.0,)), "spacing"),
        (lambda: BoundaryLoss(smooth=1.0), "smooth"),
        (lambda: BoundaryDiceCrossEntropy(boundary_weight=-1), "boundary_weight"),
        (lambda: SoftClDice(iterations=0), "iterations"),
        (lambda: SoftClDice(iterations=1.5), "iterations"),  # type: ignore[arg-type]
        (lambda: DiceClDice(alpha=1.5), "alpha"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_misfits_are_told(rng: np.random.Generator) -> None:
    y, p = batch(rng, (3, 4))
    with pytest.raises(ConfigurationError, match="2 spatial axes"):
        BoundaryLoss(spacing=(1, 1, 1))(y, p)
    for cls in (BoundaryLoss, SoftClDice):
        with pytest.raises(ConfigurationError, match="leaves no class"):
            cls()(y[..., :1], p[..., :1])


@pytest.mark.parametrize("module", [surface, cldice])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
