"""What a second run into the folder of a first one leaves and refuses."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.evaluation import (
    CrossValidationResult,
    Scoring,
    SliceSortedKFold,
    cross_validation,
    run_fold,
    split_folds,
    split_validation,
)
from miscnn.exceptions import ConfigurationError, MissingFileError

QUIET: dict[str, Any] = {"draw_figures": False, "verbose": 0}


def files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_a_run_that_begins_anew_leaves_no_mixture(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, fresh = tmp_path / "first", tmp_path / "fresh"
    cross_validation(
        samples, model, 4, evaluation_path=first, verbose=0, scoring=Scoring(lesions=True)
    )
    before = files(first)
    assert {"lesions.tsv", "boxplot.dice.png", "figures/training.png", "fold_3/model.keras"} <= (
        before
    )
    (first / "report.html").write_text("of the first run")
    listed = first / "fold_1" / "predictions"
    (listed / "case_9_of_a_network.seg").write_text("listed")
    outside = tmp_path / "outside.seg"
    outside.write_text("no result of this folder")
    (listed / "predictions.json").write_text(
        json.dumps(
            {"subjects": {"x": {"labels": ["case_9_of_a_network.seg", "../../../outside.seg"]}}}
        )
    )
    own = {
        "notes.txt",
        "mine.png",
        "boxplot.mine.png",
        "figures/mine.png",
        "fold_0/notes.txt",
        "fold_0/overlay.mine.png",
        "fold_0/predictions/case_0.txt",
        "fold_0/predictions/mine.npy",
        "fold_3/mine.tsv",
        "fold_best/scores.tsv",
    }
    (first / "fold_best").mkdir()
    for name in own:
        (first / name).write_text("mine")
    with caplog.at_level(logging.WARNING, "miscnn.evaluation"):
        cross_validation(samples, model, 3, evaluation_path=first, **QUIET)
    cross_validation(samples, model, 3, evaluation_path=fresh, **QUIET)
    assert files(first) == files(fresh) | own
    assert outside.is_file()
    assert all((first / name).read_text() == "mine" for name in own)
    (warning,) = [m for m in caplog.messages if "discarded" in m]
    assert str(first) in warning
    assert "4 finished fold(s)" in warning
    assert "resume=True" in warning


def test_everything_is_gone_before_the_first_training(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, 3, evaluation_path=tmp_path, **QUIET)

    def stops() -> list[Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validation(samples, model, 2, evaluation_path=tmp_path, callbacks=stops, **QUIET)
    left = {"folds.json", "fold_0/sample_list.json", "fold_1/sample_list.json"}
    assert files(tmp_path) - {"fold_0/running.json"} == left


def test_a_folder_that_is_no_evaluation_stays_as_it_is(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"boxplot.dice.png", "report.html", "fold_7/model.keras", "figures/training.png"}
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with caplog.at_level(logging.WARNING, "miscnn.evaluation"):
        cross_validation(samples, model, 3, evaluation_path=tmp_path, **QUIET)
    assert own <= files(tmp_path)
    assert "discarded" not in caplog.text


def test_a_fold_ends_with_its_own_subjects_only(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    split_validation(samples, model, 0.4, evaluation_path=tmp_path, seed=0, **QUIET)
    first = {path.stem for path in (tmp_path / "predictions").iterdir()}
    result = split_validation(samples, model, 0.2, evaluation_path=tmp_path, seed=5, **QUIET)
    validation = set(result.folds[0].validation)
    assert first - validation
    for folder in ("predictions", "previews"):
        assert {path.stem for path in (tmp_path / folder).iterdir()} == validation


def test_another_split_does_not_replace_finished_folds(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    split_folds(samples, 3, tmp_path)
    run_fold(1, model, evaluation_path=tmp_path, inner_validation=0.2, **QUIET)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for k_fold, seed in ((3, 1), (4, 0)):
        with pytest.raises(ConfigurationError, match=r"^fold_1 in .* another split .*folds\.json"):
            split_folds(samples, k_fold, tmp_path, seed=seed)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    folds = split_folds(samples, 3, tmp_path)
    assert folds == split_folds(samples, 8, tmp_path, splitter=str(tmp_path / "folds.json"))


@pytest.mark.parametrize("number", [-1, 3, 12])
def test_folds_that_are_not_there_are_told(
    number: int, model: Any, samples: list[str], tmp_path: Path
) -> None:
    split_folds(samples, 3, tmp_path)
    with pytest.raises(MissingFileError, match=rf"no fold {number} .* folds are 0 … 2"):
        run_fold(number, model, evaluation_path=tmp_path, **QUIET)


@pytest.mark.parametrize("k_fold", [1, 10])
def test_numbers_of_folds_that_cannot_be(k_fold: int, samples: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"k_fold is {k_fold}, .* 9 subject.* 2 … 9"):
        split_folds(samples, k_fold, tmp_path)


def test_names_of_pipelines_are_no_files(
    samples: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"splitter=SliceSortedKFold\(k_fold\)"):
        split_folds(samples, 3, "e", splitter="slice-sorted")
    split_folds(samples, 3, "random")
    assert len(split_folds(samples, 2, "e", splitter="random")) == 3


def test_a_subject_is_read_with_the_prediction_that_was_scored(
    model: Any, samples: list[str], tmp_path: Path, predicted: Any
) -> None:
    data_io = model.preprocessor.data_io
    result = cross_validation(
        samples, model, evaluation_path=tmp_path, splitter=SliceSortedKFold(3), **QUIET
    )
    for index in samples:
        sample = result.sample(index, data_io)
        truth = data_io.interface.truths[index]
        assert np.array_equal(np.squeeze(np.asarray(sample.segmentation)), truth)
        assert np.array_equal(np.squeeze(np.asarray(sample.prediction)), predicted(truth, index))
    with pytest.raises(ConfigurationError, match=r"scored 'case_x'; .* 9 that were: case_0, case_"):
        result.sample("case_x", data_io)
    (tmp_path / "fold_1" / "run.json").unlink()
    partly = CrossValidationResult.load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"missing: fold_1$"):
        partly.sample(result.folds[1].validation[0], data_io)
    by = result.summary_by("n_slices", seed=3, edges=[9])
    assert by.rows == result.scores.summary_by("n_slices", 3, [9]).rows
    assert {row.group for row in by.rows} > {""}


def test_each_box_plot_is_drawn_once(
    model: Any, samples: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = cross_validation(samples, model, evaluation_path=tmp_path, verbose=0)
    assert "drawing" not in capsys.readouterr().err
    top = {path.name for path in tmp_path.glob("boxplot.*")}
    assert top == {"boxplot.dice.png", "boxplot.hd95_mm.png", "boxplot.volume_error.png"}
    inside = {path.name for path in (tmp_path / "figures").glob("boxplot.*")}
    assert inside == {"boxplot.assd_mm.png", "boxplot.nsd_2mm.png"}
    paths = result.draw(verbose=1)
    assert len({path.name for path in paths}) == len(paths)
    assert "drawing" in capsys.readouterr().err
