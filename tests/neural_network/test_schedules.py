"""Schedules and optimizers by their formulas."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import schedules
from miscnn.neural_network.optimizers import OptimizerRecipe
from miscnn.neural_network.schedules import (
    ConstantSchedule,
    CosineSchedule,
    PlateauSchedule,
    PolynomialSchedule,
    as_schedule,
)

ALL = [ConstantSchedule, CosineSchedule, PlateauSchedule, PolynomialSchedule]


def test_closed_forms() -> None:
    assert [PolynomialSchedule(2.0).factor(p) for p in (0.0, 0.25, 1.0)] == [1.0, 0.5625, 0.0]
    assert CosineSchedule().factor(1 / 3) == pytest.approx(0.75)
    assert CosineSchedule(minimum=0.2).factor(1.0) == pytest.approx(0.2)
    assert ConstantSchedule().factor(0.7) == 1.0


@pytest.mark.parametrize("kind", ALL)
def test_warm_up_rises_and_then_the_schedule_begins(kind: type[schedules.Schedule]) -> None:
    plain, warmed = kind(), kind(warmup=0.2)
    assert [warmed.factor(p) for p in (0.0, 0.05, 0.1)] == pytest.approx([0.0, 0.25, 0.5])
    for progress in (0.2, 0.6, 1.0):
        assert warmed.factor(progress) == pytest.approx(plain.factor((progress - 0.2) / 0.8))


@given(st.sampled_from(ALL), st.floats(-0.5, 1.5), st.floats(0.0, 0.9))
def test_factors_lie_between_0_and_1(kind: type, progress: float, warmup: float) -> None:
    assert 0.0 <= kind(warmup=warmup).factor(progress) <= 1.0


def test_plateau_waits_then_reduces() -> None:
    schedule = PlateauSchedule(reduction=0.5, patience=2, minimum=0.2)
    factors = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.95, 0.85, 1.0, 1.0, 1.0, 1.0):
        schedule.after_epoch({"loss": 0.0, "val_loss": loss})
        factors.append(schedule.factor(0.5))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


def test_plateau_of_a_score_rises_and_its_state_goes_on() -> None:
    one = PlateauSchedule(patience=2, monitor="val_volume_dice")
    one.after_epoch({"loss": 1.0})  # volumes are not validated in every epoch
    for value in (0.5, 0.4):
        one.after_epoch({"val_volume_dice": value})
    other = PlateauSchedule(patience=2, monitor="val_volume_dice")
    other.set_state(one.get_state())
    other.after_epoch({"val_volume_dice": 0.45})
    assert (one.factor(0), other.factor(0)) == (1.0, 0.2)
    with pytest.raises(ConfigurationError, match="watches 'dice', which is not logged; there are"):
        PlateauSchedule(monitor="dice").after_epoch({"loss": 1.0})


def test_names_and_configurations() -> None:
    assert as_schedule(None) == ConstantSchedule()
    assert as_schedule("polynomial") == PolynomialSchedule(0.9)
    for schedule in (CosineSchedule(0.1, 0.2), PlateauSchedule(0.3, 4, "loss")):
        assert deserialize(serialize(schedule)) == schedule
    for mistake in ("linear", 0.5):
        with pytest.raises(ConfigurationError, match="expected one of constant, cosine, plateau"):
            as_schedule(mistake)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: CosineSchedule(warmup=1.0), "warmup is 1.0"),
        (lambda: CosineSchedule(minimum=2.0), "minimum is 2.0"),
        (lambda: PolynomialSchedule(0.0), "power is 0.0"),
        (lambda: PlateauSchedule(reduction=1.0), "reduction is 1.0"),
        (lambda: PlateauSchedule(patience=0), "patience is 0"),
        (lambda: OptimizerRecipe("adamm"), "optimizer is 'adamm'; expected one of adadelta"),
        (lambda: OptimizerRecipe(ema=1.0), "ema is 1.0"),
        (lambda: OptimizerRecipe(clip_norm=0.0), "gradient_clipping is 0.0"),
        (lambda: OptimizerRecipe(weight_decay=-1.0), "weight_decay is -1.0"),
        (lambda: OptimizerRecipe(accumulation=0), "gradient_accumulation is 0"),
        (lambda: OptimizerRecipe.of(3), "optimizer is 3"),
        (
            lambda: OptimizerRecipe.of(keras.optimizers.Adam(), ema=0.9),
            "are for optimizers given by name",
        ),
    ],
)
def test_mistakes_are_named(make: object, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()  # type: ignore[operator]
    assert told in str(caught.value)


def test_optimizers_by_name() -> None:
    sgd = OptimizerRecipe("sgd", clip_norm=12.0, weight_decay=3e-5).make(0.01)
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (sgd.momentum, sgd.nesterov, sgd.global_clipnorm) == (0.99, True, 12.0)
    assert sgd.weight_decay == pytest.approx(3e-5)
    assert float(sgd.learning_rate) == pytest.approx(0.01)
    adamw = OptimizerRecipe("adamw", ema=0.99, accumulation=3).make(1e-3)
    assert isinstance(adamw, keras.optimizers.AdamW)
    assert (adamw.use_ema, adamw.ema_momentum) == (True, 0.99)
    assert adamw.gradient_accumulation_steps == 3
    assert isinstance(OptimizerRecipe("lion").make(1e-4), keras.optimizers.Lion)


def test_an_optimizer_object_is_copied_with_its_own_learning_rate() -> None:
    given_one = keras.optimizers.Adam(0.5, beta_1=0.7)
    recipe = OptimizerRecipe.of(given_one)
    made = recipe.make(1e-3)
    assert made is not given_one
    assert (float(made.learning_rate), made.beta_1) == (0.5, 0.7)
    again = deserialize(serialize(recipe))
    assert again == recipe
    assert math.isclose(float(again.make(1e-3).learning_rate), 0.5)


def test_a_schedule_within_an_optimizer_is_made_anew_each_time() -> None:
    decay = keras.optimizers.schedules.CosineDecay(0.5, 10)
    recipe = OptimizerRecipe.of(keras.optimizers.Adam(decay))
    written = serialize(recipe)
    for _ in range(2):
        assert float(recipe.make(1e-3).learning_rate) == pytest.approx(0.5)
        assert recipe.schedules_itself(1e-3)
        assert serialize(recipe) == written


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(schedules)
    assert (result.failed, result.attempted > 0) == (0, True)
