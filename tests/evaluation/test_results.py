"""What is gathered from folds that were run one by one, wherever that was."""

from __future__ import annotations

import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from miscnn.evaluation._results import CrossValidationResult, FoldResult, write_run
from miscnn.evaluation.calibration_table import CalibrationRow, CalibrationTable
from miscnn.evaluation.lesion_table import LesionRow, LesionTable
from miscnn.evaluation.summary import GROUPINGS, ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError


def fold_table(number: int) -> ScoreTable:
    return ScoreTable(
        ScoreRow(number, f"case_{number}{k}", 1, "<liver>", metric, 0.5 + 0.1 * k, 20, 2.5)
        for k in range(3)
        for metric in ("dice", "volume_truth_ml")
    )


def write_fold(path: Path, number: int, extras: bool = True) -> FoldResult:
    """Leave what a fold leaves."""
    folder = path / f"fold_{number}"
    validation = tuple(fold_table(number).samples)
    training = tuple(f"case_{k}0" for k in range(3) if k != number)
    folder.mkdir(parents=True)
    (folder / "sample_list.json").write_text(
        json.dumps({"TRAINING": list(training), "VALIDATION": list(validation)})
    )
    (folder / "history.tsv").write_text("epoch\tloss\n1\t0.5\n2\t0.25\n")
    fold_table(number).to_tsv(folder / "scores.tsv")
    if extras:
        lesions(number).to_tsv(folder / "lesions.tsv")
        calibration(number).to_tsv(folder / "calibration.tsv")
    result = FoldResult(
        number, folder, training, (), validation, {"loss": [0.5, 0.25]}, fold_table(number)
    )
    write_run(result, {})
    return result


def filled(kind: type[Any], **values: Any) -> Any:
    """Return a row whose other columns hold something."""
    others: dict[str, Any] = {"int": 1, "float": 0.5, "str": "", "bool": True}
    return kind(**{f.name: values.get(f.name, others[str(f.type)]) for f in fields(kind)})


def lesions(number: int) -> LesionTable:
    names = {"fold": number, "sample": f"case_{number}0", "class_name": "<liver>"}
    return LesionTable(filled(LesionRow, **names, side=side) for side in ("truth", "prediction"))


def calibration(number: int) -> CalibrationTable:
    names = {"fold": number, "sample": f"case_{number}0", "class_name": "<liver>"}
    return CalibrationTable([filled(CalibrationRow, **names)])


def plan(path: Path, n_folds: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "folds.json").write_text(json.dumps({"n_folds": n_folds, "splitter": "KFold"}))


def test_tables_of_all_folds_are_gathered(tmp_path: Path) -> None:
    plan(tmp_path, 3)
    folds = [write_fold(tmp_path, k) for k in (2, 0, 1)]  # in any order, on any machine
    result = CrossValidationResult.load(tmp_path)
    assert result == CrossValidationResult(tmp_path, tuple(sorted(folds, key=lambda f: f.number)))
    assert result.missing == ()
    result.write()
    whole = fold_table(0) + fold_table(1) + fold_table(2)
    assert ScoreTable.from_tsv(tmp_path / "scores.tsv") == whole
    assert LesionTable.from_tsv(tmp_path / "lesions.tsv") == (
        lesions(0) + lesions(1) + lesions(2)
    ) == result.lesions  # fmt: skip
    assert CalibrationTable.from_tsv(tmp_path / "calibration.tsv") == result.calibration
    assert [row.fold for row in result.calibration] == [0, 1, 2]
    assert result.folds[1].lesions == lesions(1)
    wide = (tmp_path / "detailed_validation.tsv").read_text().splitlines()
    assert len(wide) == 1 + 9
    lines = [line.split("\t") for line in (tmp_path / "summary.tsv").read_text().splitlines()]
    assert {line[-2] for line in lines[1:]} == {"all", *GROUPINGS}
    (means,) = [line[7] for line in lines if line[0] == "all" and line[3] == "dice"]
    assert float(means) == pytest.approx(0.6)


def test_folds_that_are_missing_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan(tmp_path, 4)
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 3)
    (tmp_path / "fold_3" / "run.json").unlink()  # still at work
    with caplog.at_level(logging.WARNING, "miscnn.evaluation"):
        result = CrossValidationResult.load(tmp_path)
        assert [fold.number for fold in result.folds] == [1]
        assert result.missing == ("fold_0", "fold_2", "fold_3")
        caplog.clear()
        result.write()
    assert caplog.messages == [
        f"the tables in {tmp_path} are those of 1 folds; missing: fold_0, fold_2, fold_3"
    ]
    assert "missing: fold_0, fold_2, fold_3" in repr(result)
    assert "missing: fold_0, fold_2, fold_3" in result._repr_html_()
    assert ScoreTable.from_tsv(tmp_path / "scores.tsv").folds == [1]


def test_tables_that_the_folds_lack_are_not_left_from_earlier_runs(tmp_path: Path) -> None:
    plan(tmp_path, 1)
    write_fold(tmp_path, 0, extras=False)
    (tmp_path / "lesions.tsv").write_text("of an earlier run")
    result = CrossValidationResult.load(tmp_path)
    result.write()
    assert not (tmp_path / "lesions.tsv").exists()
    assert not (tmp_path / "calibration.tsv").exists()
    assert len(result.lesions) == len(result.calibration) == 0


def test_no_lesion_anywhere_is_a_result(tmp_path: Path) -> None:
    plan(tmp_path, 1)
    write_fold(tmp_path, 0, extras=False)
    LesionTable().to_tsv(tmp_path / "fold_0" / "lesions.tsv")
    CrossValidationResult.load(tmp_path).write()
    assert LesionTable.from_tsv(tmp_path / "lesions.tsv") == LesionTable()


def test_results_in_notebooks(tmp_path: Path) -> None:
    plan(tmp_path, 2)
    folds = tuple(write_fold(tmp_path, k) for k in range(2))
    html = CrossValidationResult(tmp_path, folds)._repr_html_()
    assert html.count("<table") == 2
    assert "Cross-validation: 2 folds" in html
    assert ">0.600</td>" in html
    one = folds[1]._repr_html_()
    assert "Fold 1" in one
    assert "loss, last epoch" in one
    assert ">0.250</td>" in one
    for text in (html, one):
        assert "&lt;liver&gt;" in text
        assert "<liver>" not in text
        assert str(tmp_path) not in text


def test_scores_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    fold = write_fold(tmp_path, 0)
    CrossValidationResult(tmp_path, (fold,)).write()
    written = {path.name for path in tmp_path.glob("*.tsv")}
    assert {"scores.tsv", "detailed_validation.tsv", "summary.tsv"} <= written
    (fold.path / "lesions.tsv").unlink()
    (fold.path / "calibration.tsv").unlink()
    trained_only = replace(fold, scores=ScoreTable())
    CrossValidationResult(tmp_path, (trained_only,)).write()
    assert not list(tmp_path.glob("*.tsv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"fold": 0, "val', "run.json is damaged"),
        ("run.json", "[]", "holds a list"),
        ("run.json", '{"training": [], "inner_validation": []}', "does not tell validation"),
        ("history.tsv", "epoch\tloss\n1\thigh\n", "history.tsv is no table of a training"),
        ("history.tsv", "loss\n0.5\n", "history.tsv is no table of a training"),
    ],
)
def test_damaged_files_of_a_fold_are_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    write_fold(tmp_path, 0)
    (tmp_path / "fold_0" / name).write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        FoldResult.load(tmp_path / "fold_0")


def test_a_damaged_list_of_folds_is_named(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text('{"n_folds": "many"}')
    with pytest.raises(ConfigurationError, match=r"folds\.json: n_folds is 'many'"):
        CrossValidationResult.load(tmp_path)
