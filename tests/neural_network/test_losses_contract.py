"""What every loss keeps, for all that are exported."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import losses
from miscnn.neural_network.losses import (
    Combo,
    CompoundLoss,
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    Focal,
    FocalTversky,
    Jaccard,
    SegmentationLoss,
    SoftClDice,
    Tanimoto,
    TanimotoCrossEntropy,
    TopKCrossEntropy,
    UnifiedFocal,
)
from miscnn.testing.loss import LossGradient, check_loss

Array = NDArray[Any]
EXPORTED: list[type[SegmentationLoss]] = sorted(
    {
        value
        for value in (getattr(losses, name) for name in losses.__all__)
        if inspect.isclass(value)
        and issubclass(value, SegmentationLoss)
        and not inspect.isabstract(value)
    },
    key=lambda cls: cls.__name__,
)
CHECKED_ELSEWHERE = {
    *("CrossEntropy", "Dice", "DiceCrossEntropy", "Tanimoto", "TanimotoCrossEntropy"),
    *("Tversky", "TverskyCrossEntropy"),
    *("BoundaryLoss", "BoundaryDiceCrossEntropy", "SoftClDice", "DiceClDice"),
}
CONTRACT: list[Any] = [
    UnifiedFocal(asymmetric=True),
    Dice(squared=True),
    *(cls for cls in EXPORTED if cls.__name__ not in CHECKED_ELSEWHERE),
]


def make(cls: type[Any], **options: Any) -> Any:
    if cls is CompoundLoss:
        return cls([(0.7, Jaccard(include_background=False)), (0.3, Focal())], **options)
    return cls(**options)


def every_loss(**options: Any) -> list[Any]:
    more = [
        Tanimoto(complement=True, **options),
        TanimotoCrossEntropy(complement=True, volume_weighting=True, **options),
        Dice(squared=True, **options),
        UnifiedFocal(asymmetric=True, gamma=0.9, **options),
        Focal(gamma=0.3, **options),
        FocalTversky(gamma=0.1, **options),
        CrossEntropy(label_smoothing=0.1, include_background=False, **options),
    ]
    return [*(make(cls, **options) for cls in EXPORTED), *more]


def make_batch(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    labels = rng.integers(3, size=(2, *shape))
    raw = rng.random((2, *shape, 3)) + 0.05
    p = (raw / raw.sum(axis=-1, keepdims=True)).astype("float32")
    return np.eye(3, dtype="float32")[labels], p


def per_sample(loss: Any, y: Array, p: Array) -> Array:
    values: Array = ops.convert_to_numpy(loss.call(y, p))
    return values


def test_all_families_are_exported() -> None:
    names = {cls.__name__ for cls in EXPORTED}
    assert len(names) == len(EXPORTED) >= 21
    assert names >= CHECKED_ELSEWHERE | {"Combo", "CompoundLoss", "Focal", "GeneralisedDice"}


@pytest.mark.parametrize("loss", CONTRACT, ids=lambda loss: getattr(loss, "__name__", loss))
def test_the_contract_of_losses(loss: Any) -> None:
    check_loss(make(loss) if inspect.isclass(loss) else loss, dimensions=(2,))


# ------------------------------------------------------------------ finite for all probabilities

SHAPE = (6, 3, 2, 2, 2)  # 3D
REGION_OPTIONS: list[dict[str, Any]] = [
    {},
    {"ignore_unlabelled": True, "reduction_axes": "batch", "class_weights": (1.0, 3.0)},
]


@pytest.fixture(scope="module", params=REGION_OPTIONS, ids=["plain", "ignoring"])
def all_at_once(request: pytest.FixtureRequest) -> tuple[list[Any], LossGradient]:
    parts = every_loss(**request.param)
    total = CompoundLoss([(1.0, loss) for loss in parts])
    return parts, LossGradient(total, SHAPE)


@settings(max_examples=8, deadline=None)
@given(
    prediction=hnp.arrays(
        np.float32,
        SHAPE,
        elements=st.one_of(
            st.sampled_from([0.0, 1.0, float(np.float32(1 - 2**-24)), float(np.float32(1e-30))]),
            st.floats(0, 1, width=32, allow_subnormal=True),
        ),
    ),
    labels=hnp.arrays(np.int64, SHAPE[:-1], elements=st.integers(0, 2)),
)
def test_no_probabilities_give_nan_or_infinity(
    all_at_once: tuple[list[Any], LossGradient], prediction: Array, labels: Array
) -> None:
    truth = np.eye(3, dtype="float32")[labels][..., :2]  # 2: no label
    parts, gradient_of = all_at_once
    # A sum with a NaN or an infinity in it is none of the finite numbers.
    gradient = gradient_of(truth, prediction)
    if not (np.isfinite(gradient).all() and np.isfinite(gradient_of.value)):
        culprits = [
            loss.name
            for loss in parts
            if not np.isfinite(LossGradient(loss, SHAPE)(truth, prediction)).all()
        ]
        pytest.fail(f"value or gradient is not finite: {culprits or 'values'}")


def test_values_are_in_their_range_at_the_extremes() -> None:
    one = np.zeros((1, 4, 4), dtype=int)
    one[0, 1, 2] = 1
    truths = [np.eye(3, dtype="float32")[labels][..., :2] for labels in (one, 0 * one, 0 * one + 2)]
    for loss in every_loss(ignore_unlabelled=True):
        if "Boundary" in loss.name:  # a mean of signed distances
            continue
        for y in truths:
            for p in (y, y[..., ::-1], np.ones_like(y)):
                value = per_sample(loss, y, np.ascontiguousarray(p))
                assert -1e-6 < value.min() <= value.max() < 75, loss.name


def test_probabilities_that_rounding_lifts_above_one_are_no_nan() -> None:
    y = np.zeros((1, 4, 4, 2), dtype="float32")
    y[..., 0] = 1
    p = np.nextafter(y, np.float32(2)).astype("float32")
    for loss in (Combo(), Focal(gamma=0.5), UnifiedFocal(), FocalTversky()):
        assert np.isfinite(per_sample(loss, y, p)).all()
        assert np.isfinite(LossGradient(loss, p.shape)(y, p)).all()


# ------------------------------------------------------------------ unlabelled voxels


@pytest.mark.parametrize("cls", EXPORTED)
@pytest.mark.parametrize("axes", ["sample", "batch"])
def test_unlabelled_voxels_count_nowhere(
    rng: np.random.Generator, cls: type[Any], axes: losses.ReductionAxes
) -> None:
    y, p = make_batch(rng, (6, 8))
    loss = make(cls, ignore_unlabelled=True, reduction_axes=axes)
    if "Boundary" not in cls.__name__ and "ClDice" not in cls.__name__:  # those see neighbours
        left = per_sample(loss, y[:, :, :4], p[:, :, :4])
        y[:, :, 4:] = 0
        np.testing.assert_allclose(per_sample(loss, y, p), left, rtol=1e-5)
    y[0] = 0
    first, second = per_sample(loss, y, p)
    if axes == "sample":
        assert first == 0
        assert second == pytest.approx(per_sample(loss, y[1:], p[1:])[0], rel=1e-5)
        gradient = LossGradient(loss, p.shape)(y, p)
        assert not gradient[0].any()
        assert gradient[1].any()
    else:
        assert first == second


def test_by_default_unlabelled_voxels_are_of_no_class(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (6, 8))
    cut = y.copy()
    cut[:, :, 4:] = 0
    # Region losses see false positives there, cross-entropy knows no true class.
    overlap, total = (cut * p).sum((1, 2)), (cut + p).sum((1, 2))
    expected = (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean(-1)
    np.testing.assert_allclose(per_sample(Dice(), cut, p), expected, rtol=1e-5)
    for loss in (CrossEntropy(label_smoothing=0.1), Focal(), TopKCrossEntropy()):
        ignoring = loss.with_options(ignore_unlabelled=True)
        np.testing.assert_allclose(
            per_sample(loss, cut, p), per_sample(ignoring, cut, p), rtol=1e-6
        )


# ------------------------------------------------------------------ options and configuration


@pytest.mark.parametrize("cls", EXPORTED)
def test_losses_survive_json_and_change_by_name(cls: type[Any], rng: np.random.Generator) -> None:
    loss = make(cls, class_weights=(1, 2, 4), reduction_axes="batch", ignore_unlabelled=True)
    document = json.loads(json.dumps(keras.losses.serialize(loss)))
    assert document["registered_name"] == f"miscnn>{cls.__name__}"
    remade = keras.losses.deserialize(document)
    assert type(remade) is cls
    assert remade.get_config() == loss.get_config()
    y, p = make_batch(rng, (5, 6))
    y[:, 2] = 0
    assert per_sample(remade, y, p).tolist() == per_sample(loss, y, p).tolist()
    plain = make(cls, class_weights=(1, 2, 4), reduction_axes="batch")
    changed = plain.with_options(ignore_unlabelled=True)
    assert (plain.ignore_unlabelled, changed.ignore_unlabelled) == (False, True)
    assert changed.get_config() == loss.get_config()
    scaled = changed.with_class_weights({0: 10.0, 1: 20.0, 2: 40.0})
    np.testing.assert_allclose(per_sample(scaled, y, p), per_sample(loss, y, p), rtol=1e-5)
    with pytest.raises(ConfigurationError, match=rf"{cls.__name__} has no option colour"):
        plain.with_options(colour=1)


@pytest.mark.parametrize("cls", EXPORTED)
def test_sums_are_taken_in_float32(cls: type[Any]) -> None:
    if cls is SoftClDice or "Boundary" in cls.__name__ or cls.__name__ == "DiceClDice":
        pytest.skip("tested beside their definitions")
    truth = np.zeros((1, 512, 512, 2), dtype="float16")
    truth[:, :, :100, 1] = 1  # 51200 and 210944 voxels; float16 ends at 65504
    truth[..., 0] = 1 - truth[..., 1]
    prediction = (0.5 * truth + 0.25).astype("float16")
    half = make(cls).call(ops.convert_to_tensor(truth), ops.convert_to_tensor(prediction))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    # The value of one voxel of each kind, in their proportion: 25 × 512 × 512 / 128 / 128.
    small = per_sample(make(cls), truth[:, :1, ::4], prediction[:, :1, ::4])
    np.testing.assert_allclose(ops.convert_to_numpy(half), small, rtol=1e-4)


@pytest.mark.parametrize(
    ("make_loss", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=1), "label_smoothing is 1;"),
        (lambda: DiceCrossEntropy(label_smoothing=-0.1), "label_smoothing is -0.1"),
        (lambda: Focal(gamma=-1), "gamma is -1"),
        (lambda: FocalTversky(gamma=0), "gamma is 0; expected a finite number above 0"),
        (lambda: UnifiedFocal(gamma=1), "gamma is 1; .* below 1"),
        (lambda: TopKCrossEntropy(k=0), "k is 0"),
        (lambda: TopKCrossEntropy(k=1.1), "k is 1.1"),
        (lambda: Combo(fn_weight=float("inf")), "fn_weight is inf"),
        (lambda: CompoundLoss([]), "losses is empty"),
        (lambda: CompoundLoss([(-1, Dice())]), "weight of loss 0 is -1"),
        (lambda: CompoundLoss([(1, "dice")]), "'dice' is no keras.losses.Loss"),
        (
            lambda: CompoundLoss([(1, keras.losses.MeanSquaredError())], reduction_axes="batch"),
            "reduction_axes cannot be handed on to mean_squared_error",
        ),
    ],
)
def test_wrong_arguments_are_named(make_loss: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_loss()


def test_a_foreground_of_no_weight_is_named(rng: np.random.Generator) -> None:
    y, p = make_batch(rng, (4, 4))
    with pytest.raises(ConfigurationError, match="leave no class"):
        CrossEntropy(include_background=False, class_weights=(1, 0, 0))(y, p)
    with pytest.raises(ConfigurationError, match=r"1 class\(es\)"):
        Focal(include_background=False)(y[..., :1], p[..., :1])
