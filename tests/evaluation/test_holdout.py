"""Percentage split and leave-one-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from miscnn.evaluation import leave_one_out, split_validation
from miscnn.evaluation.splits import read_fold
from miscnn.exceptions import ConfigurationError


def test_split_holds_a_seeded_share_out(model: Any, samples: list[str], tmp_path: Path) -> None:
    given = list(samples)
    result = split_validation(
        given, model, 0.25, evaluation_path=tmp_path, seed=1, draw_figures=False, verbose=0
    )
    assert given == samples
    (fold,) = result.folds
    assert len(fold.validation) == 3  # ceil(0.25 × 9)
    assert sorted([*fold.training, *fold.validation]) == samples
    assert read_fold(tmp_path / "sample_list.json") == (list(fold.training), list(fold.validation))
    assert result.scores.samples == list(fold.validation)
    for name in ("history.tsv", "model.keras", "scores.tsv", "detailed_validation.tsv", "run.json"):
        assert (tmp_path / name).is_file()
    others = {
        split_validation(
            samples, model, 0.25, evaluation_path=tmp_path, seed=seed, draw_figures=False, verbose=0
        )
        .folds[0]
        .validation
        for seed in range(4)
    }
    assert fold.validation in others
    assert len(others) > 1


def test_split_draws_and_chooses_weights_like_a_fold(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    result = split_validation(
        samples,
        model,
        evaluation_path=tmp_path,
        inner_validation=0.2,
        overlays=["worst"],
        verbose=0,
    )
    assert [name for name, _ in model.calls] == ["reset", "evaluate", "predict"]
    assert len(result.folds[0].inner_validation) == 2
    assert (tmp_path / "boxplot.dice.png").is_file()
    assert len(list(tmp_path.glob("overlay.worst.*"))) == 2


@pytest.mark.parametrize("percentage", [0.0, 1.0, 20])
def test_split_refuses_what_is_no_share(
    model: Any, samples: list[str], tmp_path: Path, percentage: float
) -> None:
    with pytest.raises(ConfigurationError, match=f"share of {percentage} of 9"):
        split_validation(samples, model, percentage, evaluation_path=tmp_path)


def test_everybody_is_left_out_once(model: Any, samples: list[str], tmp_path: Path) -> None:
    result = leave_one_out(samples[:4], model, evaluation_path=tmp_path, verbose=0)
    assert [fold.validation for fold in result.folds] == [(index,) for index in samples[:4]]
    assert all(len(fold.training) == 3 for fold in result.folds)
    assert result.scores.samples == samples[:4]
    assert not (tmp_path / "fold_0" / "model.keras").exists()


def test_some_are_left_out_by_seed(model: Any, samples: list[str], tmp_path: Path) -> None:
    def left_out(seed: int) -> list[str]:
        path = tmp_path / str(seed)
        result = leave_one_out(
            samples, model, n_subjects=3, seed=seed, evaluation_path=path, verbose=0
        )
        assert all(len(fold.training) == 8 for fold in result.folds)
        return result.scores.samples

    assert len(left_out(0)) == 3
    assert left_out(0) == left_out(0)
    assert len({tuple(left_out(seed)) for seed in range(3)}) > 1
    with pytest.raises(ConfigurationError, match="between 1 and the number of subjects, 9, got 10"):
        leave_one_out(samples, model, n_subjects=10, evaluation_path=tmp_path)
