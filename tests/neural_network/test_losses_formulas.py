"""All options of the losses against formulas in float64, which leave unlabelled voxels out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn._keras import ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses import (
    Combo,
    CompoundLoss,
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    Focal,
    FocalTversky,
    FocalTverskyCrossEntropy,
    GeneralisedDice,
    GeneralizedDice,
    Jaccard,
    JaccardCrossEntropy,
    Tanimoto,
    TopKCrossEntropy,
    Tversky,
    TverskyCrossEntropy,
    UnifiedFocal,
)
from miscnn.testing.loss import LossGradient

Array = NDArray[Any]
Formula = Callable[[Array, Array, Array, bool, float], float]
"""Of truth and probabilities ``(voxels, classes)``, class weights, background, smoothing."""

E = 1e-30  # the floor of probabilities


def class_mean(per_class: Array, w: Array, background: bool) -> float:
    first = 0 if background else 1
    return float(np.average(per_class[first:], weights=w[first:]))


def index_of(kind: str, y: Array, p: Array, s: float, fp: float = 1, fn: float = 1) -> Array:
    tp, fpos, fneg = (y * p).sum(0), ((1 - y) * p).sum(0), (y * (1 - p)).sum(0)
    if kind == "dice":
        return (2 * tp + s) / (y.sum(0) + p.sum(0) + s)
    if kind == "squared":
        return (2 * tp + s) / ((y**2).sum(0) + (p**2).sum(0) + s)
    if kind == "tanimoto":
        return (tp + s) / ((y**2).sum(0) + (p**2).sum(0) - tp + s)
    return (tp + s) / (tp + fp * fpos + fn * fneg + s)


def smooth_labels(y: Array, e: float) -> Array:
    return y * (1 - e) + e / y.shape[-1]


def logs(y: Array, p: Array, w: Array, e: float, focus: Any = 1.0) -> float:
    """Mean of −Σ y log p · focus over labelled voxels, weighted by the true class's weight."""
    voxel_weights = w[y.argmax(-1)]
    losses = -(smooth_labels(y, e) * np.log(p + E) * focus).sum(-1)
    return float((voxel_weights * losses).sum() / voxel_weights.sum())


def crossentropy(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
    return logs(y, p, w * ([1] * len(w) if background else [0] + [1] * (len(w) - 1)), e)


def region(kind: str, s: float = 1e-5, gamma: float = 1, **weights: float) -> Formula:
    def formula(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
        return class_mean((1 - index_of(kind, y, p, s, **weights)) ** gamma, w, background)

    return formula


def plus_crossentropy(formula: Formula, first: float = 1, second: float = 1) -> Formula:
    def both(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
        return first * formula(y, p, w, background, e) + second * logs(y, p, w, e)

    return both


def focal(gamma: float) -> Formula:
    def formula(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
        seen = w * ([1] * len(w) if background else [0] + [1] * (len(w) - 1))
        return logs(y, p, seen, e, (1 - p) ** gamma)

    return formula


def topk(k: float) -> Formula:
    def formula(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
        seen = w * ([1] * len(w) if background else [0] + [1] * (len(w) - 1))
        weights = seen[y.argmax(-1)]
        losses = weights * -(smooth_labels(y, e) * np.log(p + E)).sum(-1)
        losses, weights = losses[weights > 0], weights[weights > 0]
        chosen = np.argsort(losses)[::-1][: max(1, round(k * len(losses)))]
        return float(losses[chosen].sum() / weights[chosen].sum())

    return formula


def generalised(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
    first = 0 if background else 1
    volumes = y.sum(0)[first:]
    present = volumes[(volumes > 0) & (w[first:] > 0)]
    v = np.where(volumes > 0, volumes, present.min())
    relative = (present.min() / v) ** 2 * w[first:] / w[first:].mean()
    overlap, total = (y * p).sum(0)[first:], (y + p).sum(0)[first:]
    return float(1 - (2 * (relative * overlap).sum() + 1e-5) / ((relative * total).sum() + 1e-5))


def combo(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
    t = smooth_labels(y, e)
    bce = -(0.7 * t * np.log(p + E) + 0.3 * (1 - t) * np.log(1 - p + 1e-7)).mean(0)
    per_class = 0.6 * (1 - index_of("dice", y, p, 1e-5)) + 0.4 * bce
    return class_mean(per_class, w, background)


def unified(asymmetric: bool) -> Formula:
    def formula(y: Array, p: Array, w: Array, background: bool, e: float) -> float:
        tversky = 1 - index_of("tversky", y, p, 1e-6, fp=0.3, fn=0.7)
        exponents = np.full(len(w), 1 - 0.4)
        gammas = np.full(len(w), 0.4)
        if asymmetric:
            exponents[0], gammas[1:] = 1, 0
        d = np.array([0.3] + [0.7] * (len(w) - 1))
        focal_part = logs(y, p, w, e, d * (1 - p) ** gammas)
        return 0.5 * class_mean(tversky**exponents, w, background) + 0.5 * focal_part

    return formula


UNIFIED = {"fp_weight": 0.3, "fn_weight": 0.7, "gamma": 0.4}
CASES: list[tuple[type[Any], dict[str, Any], Formula]] = [
    (CrossEntropy, {}, crossentropy),
    (Focal, {}, focal(2)),
    (Focal, {"gamma": 0.5}, focal(0.5)),
    (Focal, {"gamma": 0}, crossentropy),
    (TopKCrossEntropy, {}, topk(0.1)),
    (TopKCrossEntropy, {"k": 0.37}, topk(0.37)),
    (TopKCrossEntropy, {"k": 1}, crossentropy),
    (Dice, {}, region("dice")),
    (Dice, {"squared": True}, region("squared")),
    (DiceCrossEntropy, {"squared": True}, plus_crossentropy(region("squared"))),
    (Jaccard, {}, region("jaccard")),
    (JaccardCrossEntropy, {"jaccard_weight": 2}, plus_crossentropy(region("jaccard"), 2)),
    (Tversky, {"fp_weight": 0.2}, region("tversky", 1e-6, fp=0.2, fn=0.5)),
    (TverskyCrossEntropy, {}, plus_crossentropy(region("tversky", 1e-6, fp=0.5, fn=0.5))),
    (FocalTversky, {}, region("tversky", 1e-6, 0.75, fp=0.3, fn=0.7)),
    (FocalTversky, {"gamma": 2, "fp_weight": 1}, region("tversky", 1e-6, 2, fp=1, fn=0.7)),
    (
        FocalTverskyCrossEntropy,
        {"tversky_weight": 0.5, "crossentropy_weight": 3},
        plus_crossentropy(region("tversky", 1e-6, 0.75, fp=0.3, fn=0.7), 0.5, 3),
    ),
    (Tanimoto, {}, region("tanimoto")),
    (GeneralisedDice, {}, generalised),
    (
        Combo,
        {"fp_weight": 0.3, "fn_weight": 0.7, "dice_weight": 0.6, "crossentropy_weight": 0.4},
        combo,
    ),
    (UnifiedFocal, UNIFIED, unified(False)),
    (UnifiedFocal, {**UNIFIED, "asymmetric": True}, unified(True)),
]


def make_batch(
    rng: np.random.Generator, shape: tuple[int, ...], unlabelled: float = 0.0
) -> tuple[Array, Array]:
    """Two samples; class 3 is absent from the second."""
    labels = rng.choice(4, p=(0.6, 0.2, 0.15, 0.05), size=(2, *shape))
    labels[0].flat[0] = 3
    labels[1][labels[1] == 3] = 0
    raw = rng.random((2, *shape, 4)) ** 3 + 1e-2
    y = np.eye(4, dtype="float32")[labels]
    y[rng.random((2, *shape)) < unlabelled] = 0
    return y, (raw / raw.sum(axis=-1, keepdims=True)).astype("float32")


def expected(formula: Formula, y: Array, p: Array, **options: Any) -> Array:
    """The formula of each sample, or of the batch, without the voxels that have no label."""
    weights = options.get("class_weights")
    rest = (
        np.ones(y.shape[-1]) if weights is None else np.array(weights, dtype="float64"),
        options.get("include_background", True),
        options.get("label_smoothing", 0.0),
    )
    y, p = y.astype("float64"), p.astype("float64")
    rows = 1 if options.get("reduction_axes") == "batch" else len(y)
    flat = zip(y.reshape(rows, -1, y.shape[-1]), p.reshape(rows, -1, p.shape[-1]), strict=True)
    return np.array([formula(a[a.any(-1)], b[a.any(-1)], *rest) for a, b in flat])


OPTIONS: list[dict[str, Any]] = [
    {},
    {"reduction_axes": "batch", "class_weights": (1.0, 2.0, 5.0, 3.0)},
    {"include_background": False, "class_weights": (1.0, 0.5, 0.0, 2.0)},
    {"include_background": False, "reduction_axes": "batch"},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.3, "class_weights": (1.0, 2.0, 5.0, 3.0), "reduction_axes": "batch"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize(("cls", "own", "formula"), CASES)
def test_losses_equal_their_formulas(
    rng: np.random.Generator,
    cls: type[Any],
    own: dict[str, Any],
    formula: Formula,
    options: dict[str, Any],
) -> None:
    plain = cls(**own)
    if "label_smoothing" in options and not hasattr(plain, "label_smoothing"):
        with pytest.raises(ConfigurationError, match="label_smoothing"):
            plain.with_options(**options)
        return
    for shape, unlabelled in [((9, 7), 0.0), ((5, 4, 6), 0.3)]:
        y, p = make_batch(rng, shape, unlabelled)
        loss = plain.with_options(**options, ignore_unlabelled=unlabelled > 0)
        per_sample = ops.convert_to_numpy(loss.call(y, p))
        value = expected(formula, y, p, **options)
        np.testing.assert_allclose(per_sample, np.broadcast_to(value, 2), rtol=3e-5)
        assert float(loss(y, p)) == pytest.approx(value.mean(), rel=3e-5)


@pytest.mark.parametrize(("cls", "own", "formula"), CASES)
def test_gradients_are_those_of_the_formulas(
    rng: np.random.Generator, cls: type[Any], own: dict[str, Any], formula: Formula
) -> None:
    y, p = make_batch(rng, (4, 5), unlabelled=0.2)
    loss = cls(**own, ignore_unlabelled=True)
    gradient = LossGradient(loss, p.shape)(y, p)
    exact = p.astype("float64")
    labelled = y.any(-1)
    assert not gradient[~labelled].any()
    for at in [tuple(index) for index in rng.permutation(np.argwhere(labelled))[:6]]:
        for label in range(4):
            step = np.zeros(p.shape)
            step[(*at, label)] = 1e-7
            ahead = expected(formula, y, exact + step).mean()
            behind = expected(formula, y, exact - step).mean()
            told = gradient[(*at, label)]
            measured = (ahead - behind) / 2e-7
            assert told == pytest.approx(measured, rel=2e-3, abs=2e-6)


# ------------------------------------------------------------------ values known by hand


def two_classes(truth: list[int], foreground: list[float]) -> tuple[Array, Array]:
    p = np.array(foreground, dtype="float32")
    return (
        np.eye(2, dtype="float32")[truth].reshape(1, len(truth), 1, 2),
        np.stack([1 - p, p], axis=-1).reshape(1, len(truth), 1, 2),
    )


def test_values_known_by_hand() -> None:
    y, p = two_classes([0, 0, 1, 1], [0.0, 0.5, 1.0, 0.5])
    log2 = np.log(2)
    for loss, value in [
        (Jaccard(smooth=1e-9), 1 - 1.5 / 2.5),
        (Dice(squared=True, smooth=1e-9), 1 - 3 / (2 + 1.5)),
        (Focal(gamma=2), 0.25 * log2 / 2),
        (TopKCrossEntropy(k=0.5), log2),
        (TopKCrossEntropy(k=0.75), 2 / 3 * log2),
        (FocalTversky(0.5, 0.5), 0.25**0.75),
        (GeneralisedDice(smooth=1e-9), 1 - 6 / 8),
        (Combo(smooth=1e-9), 0.5 * 0.25 + 0.5 * 0.5 * log2 / 2),
        (UnifiedFocal(0.5, 0.5, 0.5), 0.5 * 0.5 + 0.5 * 0.5 * 0.5**0.5 * log2 / 2),
        (UnifiedFocal(0.5, 0.5, 0.5, asymmetric=True),
         0.5 * (0.25 + 0.5) / 2 + 0.5 * 0.5 * (0.5**0.5 + 1) * log2 / 4),
    ]:  # fmt: skip
        assert float(loss(y, p)) == pytest.approx(value, abs=2e-6), loss.name


def test_label_smoothing_is_that_of_szegedy() -> None:
    y, p = two_classes([1], [0.8])
    smooth = CrossEntropy(label_smoothing=0.2)
    assert float(smooth(y, p)) == pytest.approx(-0.9 * np.log(0.8) - 0.1 * np.log(0.2), abs=1e-6)
    # Least at the smoothed label itself.
    at = {q: float(smooth(y, two_classes([1], [q])[1])) for q in (0.85, 0.9, 0.95, 1.0)}
    assert min(at, key=at.__getitem__) == 0.9


def test_generalised_dice_of_absent_classes() -> None:
    y = np.zeros((1, 10, 10, 3), dtype="float32")
    y[:, :9, :, 0], y[:, 9, :, 1] = 1, 1  # 90 and 10 voxels; class 2 is absent
    assert float(GeneralisedDice()(y, y)) == pytest.approx(0, abs=1e-7)
    p = y.copy()
    p[0, 0, :4, 2] = 1
    # Relative weights 1/81, 1, 1: overlap 90/81 + 10, total twice that and 4 more.
    overlap = 90 / 81 + 10
    assert float(GeneralisedDice()(y, p)) == pytest.approx(1 - 2 * overlap / (2 * overlap + 4))
    nothing = np.zeros_like(y)
    assert float(GeneralisedDice()(nothing, nothing)) == 0
    assert float(GeneralisedDice(smooth=4)(nothing, p)) == pytest.approx(1 - 4 / (104 + 4))
    assert GeneralizedDice is GeneralisedDice
    # One weighting per sample, not one for the batch.
    pair = np.concatenate([y, y[..., ::-1]]), np.concatenate([p, p[..., ::-1]])
    apart = ops.convert_to_numpy(GeneralisedDice().call(*pair))
    assert apart[0] == pytest.approx(apart[1])


@pytest.mark.parametrize(
    ("loss", "cost"),
    [
        (Dice(), 1 - 1e-5 / (0.5 + 1e-5)),
        (Jaccard(smooth=1), 1 - 1 / 1.5),
        (Dice(squared=True, smooth=1), 1 - 1 / 1.05),
        (Tanimoto(smooth=1), 1 - 1 / 1.05),
        (Tversky(0.3, smooth=1), 1 - 1 / 1.15),
        (FocalTversky(0.3, smooth=1), (1 - 1 / 1.15) ** 0.75),
        (CrossEntropy(), 0),
        (Focal(), 0),
        (TopKCrossEntropy(), 0),
        (Combo(smooth=1), 0.5 * (1 - 1 / 1.5) - 0.5 * 0.5 * 5 / 100 * np.log(0.9)),
        (UnifiedFocal(0.3, crossentropy_weight=0, smooth=1), 0.5 * (1 - 1 / 1.15) ** 0.5),
        (CompoundLoss([(2, Jaccard(smooth=1))]), 2 * (1 - 1 / 1.5)),
    ],
)
def test_an_absent_class_costs_what_the_table_says(loss: Any, cost: float) -> None:
    y = np.zeros((1, 10, 10, 2), dtype="float32")
    y[..., 0] = 1
    p = y.copy()
    p[0, 0, :5, 1] = 0.1  # e = 0.5, q = 0.05; the background stays perfect
    assert float(loss(y, p)) == pytest.approx(cost / 2, abs=1e-5)


def test_topk_shares_its_last_places_and_counts_what_has_a_weight() -> None:
    y, p = two_classes([1] * 10, [0.9] * 2 + [0.5] * 6 + [0.1] * 2)
    # Half of ten: both at 0.1 and three of the six at 0.5.
    five = -(2 * np.log(0.1) + 3 * np.log(0.5)) / 5
    loss = TopKCrossEntropy(k=0.5)
    assert float(loss(y, p)) == pytest.approx(five, rel=1e-5)
    gradient = LossGradient(loss, p.shape)(y, p)[0, :, 0, 1]
    np.testing.assert_allclose(gradient, [0, 0] + [-0.5 / 0.5 / 5] * 6 + [-1 / 0.1 / 5] * 2,
                               rtol=1e-4)  # fmt: skip
    # Only voxels of class 0 have a weight: half of those is one voxel.
    y, p = two_classes([0, 0, 1, 1, 1], [0.2, 0.5, 0.01, 0.01, 0.01])
    alone = TopKCrossEntropy(k=0.5, class_weights=(1, 0))
    assert float(alone(y, p)) == pytest.approx(np.log(2), rel=1e-5)
    # A share too small for one voxel takes one.
    assert float(TopKCrossEntropy(k=1e-6)(y, p)) == pytest.approx(-np.log(0.01), rel=1e-4)


# ------------------------------------------------------------------ powers and their slopes


@pytest.mark.parametrize("exponent", [0.0, 0.1, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_powers_are_finite_and_exact_above_the_straight_part(exponent: float) -> None:
    x = np.array([-1e-7, 0, 1e-30, 1e-8, 1e-6, 1e-3, 0.3, 1], dtype="float32")
    value = ops.convert_to_numpy(reductions.power(ops.convert_to_tensor(x), exponent))
    if exponent > 0:
        assert value[:2].tolist() == [0, 0]
    np.testing.assert_allclose(value[4:], x[4:].astype("float64") ** exponent, rtol=1e-5)
    assert np.all(np.diff(value) >= 0)

    def loss(y_true: Any, y_pred: Any) -> Any:
        return ops.sum(reductions.power(y_pred, exponent) + 0.0 * y_pred, axis=(1, 2))

    grid = x.reshape(1, 8, 1)
    slope = LossGradient(loss, grid.shape)(grid, grid)[0, :, 0]
    assert np.isfinite(slope).all()
    steepest = max(exponent, 1e-6 ** (exponent - 1)) if exponent < 1 else exponent
    assert slope.max() <= steepest * (1 + 1e-5)
    np.testing.assert_allclose(slope[5:], exponent * x[5:] ** (exponent - 1), rtol=1e-4)
