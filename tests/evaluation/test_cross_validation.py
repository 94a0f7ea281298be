"""Folds from the splitter to the tables, with a model that is no network."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

import miscnn.evaluation
from miscnn._configurable import serialize
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.evaluation import (
    CrossValidationResult,
    ScoreTable,
    SliceSortedKFold,
    cross_validation,
    run_fold,
    split_folds,
)
from miscnn.evaluation._run import chosen_subjects
from miscnn.evaluation.scores import score_subject
from miscnn.evaluation.splits import read_fold, write_fold
from miscnn.evaluation.summary import ScoreRow
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.processing.subfunctions import Normalization

PLAIN: dict[str, Any] = {"draw_figures": False, "verbose": 0}
SPACING = (1.0, 0.5, 3.0)


def test_every_subject_is_scored_once_against_its_truth(
    model: Any, samples: list[str], predicted: Any, tmp_path: Path
) -> None:
    names = ["background", "kidney", "tumour"]
    result = cross_validation(samples, model, evaluation_path=tmp_path, class_names=names, **PLAIN)
    assert sorted(result.scores.samples) == samples
    truths = model.preprocessor.data_io.interface.truths
    for index in samples:
        expected = score_subject(truths[index], predicted(truths[index], index), 3, SPACING, 2)
        rows = result.scores.select(sample=index)
        np.testing.assert_array_equal([r.value for r in rows], [e.value for e in expected])
        assert [(r.label, r.metric) for r in rows] == [(e.label, e.metric) for e in expected]
        assert {r.class_name for r in rows} == {"kidney", "tumour"}
        assert {(r.n_slices, r.slice_thickness) for r in rows} == {(truths[index].shape[2], 3.0)}
    assert [fold.number for fold in result.folds] == [0, 1, 2]
    for fold in result.folds:
        assert fold.scores.samples == list(fold.validation)
        assert {row.fold for row in fold.scores} == {fold.number}


def test_each_fold_begins_with_a_fresh_model_and_trains_on_the_others(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    result = cross_validation(
        samples, model, epochs=4, iterations=7, evaluation_path=tmp_path, **PLAIN
    )
    assert [name for name, _ in model.calls] == ["reset", "train", "predict"] * 3
    for k, fold in enumerate(result.folds):
        options, scored = model.calls[3 * k + 1][1], model.calls[3 * k + 2][1]
        assert (options["epochs"], options["iterations"], options["verbose"]) == (4, 7, 0)
        assert scored == list(fold.validation)
        # The fake network's weights are the names of those it has seen.
        seen = (tmp_path / f"fold_{k}" / "model.keras").read_text().split(",")
        assert seen == sorted(fold.training) == sorted(set(samples) - set(fold.validation))
        assert fold.inner_validation == ()
        run = json.loads((tmp_path / f"fold_{k}" / "run.json").read_text())
        assert (run["weights"], run["epochs"], run["iterations"]) == ("last epoch", 4, 7)


def test_default_split_is_a_seeded_k_fold(model: Any, samples: list[str], tmp_path: Path) -> None:
    result = cross_validation(samples, model, 4, evaluation_path=tmp_path, seed=5, **PLAIN)
    splitter = KFold(4, shuffle=True, random_state=5)
    expected = [[samples[k] for k in v] for _, v in splitter.split(samples)]
    assert [list(fold.validation) for fold in result.folds] == expected
    other = split_folds(samples, 4, tmp_path / "other", seed=6)
    assert [fold.validation for fold in other] != expected


def test_sorted_folds_need_no_more_than_the_splitter(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    shuffled = [samples[k] for k in (3, 8, 0, 5, 1, 7, 2, 6, 4)]
    result = cross_validation(
        shuffled, model, splitter=SliceSortedKFold(3), evaluation_path=tmp_path, **PLAIN
    )
    # case_k has 6 + k slices.
    assert [sorted(fold.validation) for fold in result.folds] == [
        samples[0:3],
        samples[3:6],
        samples[6:9],
    ]
    document = json.loads((tmp_path / "folds.json").read_text())
    assert document.pop("folds") == [
        {"training": list(fold.training), "validation": list(fold.validation)}
        for fold in result.folds
    ]
    assert document == {
        "n_folds": 3,
        "splitter": "SliceSortedKFold(n_splits=3, interleave=False)",
    }


def test_groups_are_handed_to_the_splitter(model: Any, samples: list[str], tmp_path: Path) -> None:
    groups = [k // 3 for k in range(9)]
    result = cross_validation(
        samples, model, splitter=GroupKFold(3), groups=groups, evaluation_path=tmp_path, **PLAIN
    )
    parts = sorted(sorted(fold.validation) for fold in result.folds)
    assert parts == [samples[0:3], samples[3:6], samples[6:9]]


def test_inner_validation_never_touches_the_fold_s_validation(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    arguments = {"inner_validation": 0.3, "seed": 2, **PLAIN}
    result = cross_validation(samples, model, evaluation_path=tmp_path, **arguments)
    evaluated = [options for name, options in model.calls if name == "evaluate"]
    assert [name for name, _ in model.calls] == ["reset", "evaluate", "predict"] * 3
    for fold, options in zip(result.folds, evaluated, strict=True):
        assert options["restore_best"] is True
        assert options["validation"] == list(fold.inner_validation)
        assert len(fold.inner_validation) == 2  # ceil(0.3 × 6)
        parts = [*fold.training, *fold.inner_validation, *fold.validation]
        assert sorted(parts) == samples
        planned = read_fold(fold.path / "sample_list.json")
        assert sorted(planned.training) == sorted([*fold.training, *fold.inner_validation])
    drawn = [
        tuple(read_fold(f.path / "sample_list.json").training.index(i) for i in f.inner_validation)
        for f in result.folds
    ]
    assert len(set(drawn)) > 1  # each fold draws anew
    again = cross_validation(samples, model, evaluation_path=tmp_path / "again", **arguments)
    assert [f.inner_validation for f in again.folds] == [f.inner_validation for f in result.folds]
    run = json.loads((tmp_path / "fold_0" / "run.json").read_text())
    assert run["weights"] == "best epoch"
    assert run["inner_validation"] == list(result.folds[0].inner_validation)


def test_files_say_what_the_result_says(model: Any, samples: list[str], tmp_path: Path) -> None:
    result = cross_validation(samples, model, epochs=2, evaluation_path=tmp_path / "deep" / "er",
                              **PLAIN)  # fmt: skip
    folder = result.evaluation_path
    assert ScoreTable.from_tsv(folder / "scores.tsv").rows == result.scores.rows
    with (folder / "fold_1" / "detailed_validation.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["sample_id"] for row in rows] == list(result.folds[1].validation)
    for row in rows:
        found = result.scores.select("dice", 2, sample=row["sample_id"]).rows[0].value
        assert float(row["dice_class-2"]) == found
    with (folder / "summary.tsv").open() as file:
        means = {
            (row["fold"], row["class"]): float(row["mean"])
            for row in csv.DictReader(file, delimiter="\t")
            if row["metric"] == "dice"
        }
    assert means["all", "1"] == pytest.approx(result.scores.values("dice", 1).mean())
    assert means["2", "1"] == pytest.approx(result.scores.values("dice", 1, fold=2).mean())
    assert result.summary().mean_over_classes() == pytest.approx(
        (means["all", "1"] + means["all", "2"]) / 2
    )
    assert (folder / "fold_0" / "history.tsv").read_text() == "epoch\tloss\n1\t6.0\n2\t3.0\n"
    assert len(list((folder / "fold_0" / "predictions").iterdir())) == 3


def test_result_is_the_list_of_histories_of_old(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    result = cross_validation(
        samples, model, epochs=2, evaluation_path=tmp_path, return_output=True, **PLAIN
    )
    assert list(result) == result.histories == [{"loss": [6.0, 3.0]}] * 3
    assert (len(result), result[1]["loss"][0]) == (3, 6.0)


def test_a_run_can_be_gathered_from_its_folder(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    found = CrossValidationResult.load(tmp_path)
    assert found == result
    for k, fold in enumerate(split_folds(samples, 3, tmp_path / "other", seed=1)):
        write_fold(tmp_path / f"fold_{k}" / "sample_list.json", *fold)  # makes the results stale
    with caplog.at_level(logging.WARNING, "miscnn.evaluation"):
        assert len(CrossValidationResult.load(tmp_path)) == 0
    assert "results of another split" in caplog.text
    with pytest.raises(MissingFileError, match=r"folds\.json does not exist"):
        CrossValidationResult.load(tmp_path / "nowhere")


def test_single_folds_give_what_all_of_them_give(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cross_validation(
        samples, model, evaluation_path=tmp_path / "a", inner_validation=0.2, **PLAIN
    )
    split_folds(samples, 3, tmp_path / "b")
    for k in (2, 0):
        run_fold(k, model, evaluation_path=tmp_path / "b", inner_validation=0.2, **PLAIN)
    with caplog.at_level(logging.WARNING, "miscnn.evaluation"):
        partly = CrossValidationResult.load(tmp_path / "b")
    assert [fold.number for fold in partly.folds] == [0, 2]
    assert "fold 1 of 3 is left out" in caplog.text
    run_fold(1, model, evaluation_path=tmp_path / "b", inner_validation=0.2, **PLAIN)
    gathered = CrossValidationResult.load(tmp_path / "b")
    assert gathered.scores.rows == whole.scores.rows
    assert [f.inner_validation for f in gathered.folds] == [f.inner_validation for f in whole.folds]
    with pytest.raises(MissingFileError, match="no fold 3 in"):
        run_fold(3, model, evaluation_path=tmp_path / "b", **PLAIN)


def test_finished_folds_are_on_disk_while_others_run(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    def fails_in_the_third() -> list[Any]:
        if sum(name == "reset" for name, _ in model.calls) == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        cross_validation(
            samples, model, evaluation_path=tmp_path, callbacks=fails_in_the_third, **PLAIN
        )
    assert ScoreTable.from_tsv(tmp_path / "scores.tsv").folds == [0, 1]
    assert len(CrossValidationResult.load(tmp_path)) == 2


def interrupted(model: Any, samples: list[str], path: Path, **options: Any) -> None:
    """Run cross-validation until the third fold begins."""
    model.calls.clear()

    def fails_in_the_third() -> list[Any]:
        if sum(name == "reset" for name, _ in model.calls) == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        cross_validation(
            samples, model, evaluation_path=path, callbacks=fails_in_the_third, **options
        )
    model.calls.clear()


def without_path(result: CrossValidationResult) -> list[Any]:
    return [dataclasses.replace(fold, path=Path()) for fold in result.folds]


@pytest.mark.parametrize("inner", [0.0, 0.3])
def test_an_interrupted_run_goes_on(
    model: Any, samples: list[str], tmp_path: Path, inner: float
) -> None:
    options = {**PLAIN, "epochs": 3, "inner_validation": inner, "seed": 4}
    whole = cross_validation(samples, model, evaluation_path=tmp_path / "whole", **options)
    interrupted(model, samples, tmp_path / "part", **options)
    first = (tmp_path / "part" / "fold_0" / "run.json").read_bytes()
    resumed = cross_validation(
        samples, model, evaluation_path=tmp_path / "part", resume=True, **options
    )
    # Only the third fold was trained and predicted.
    assert [name for name, _ in model.calls] == ["reset", "evaluate" if inner else "train",
                                                 "predict"]  # fmt: skip
    assert model.calls[-1][1] == list(whole.folds[2].validation)
    assert without_path(resumed) == without_path(whole)
    assert (tmp_path / "part" / "fold_0" / "run.json").read_bytes() == first
    for name in ("scores.tsv", "summary.tsv", "detailed_validation.tsv", "folds.json"):
        assert (tmp_path / "part" / name).read_text() == (tmp_path / "whole" / name).read_text()
    model.calls.clear()
    again = cross_validation(
        samples, model, evaluation_path=tmp_path / "part", resume=True, **options
    )
    assert model.calls == []
    assert again == resumed
    cross_validation(samples, model, evaluation_path=tmp_path / "part", **options)
    assert len(model.calls) == 9  # without resume all are run


def test_folds_that_are_taken_over_are_told(
    model: Any,
    samples: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted(model, samples, tmp_path, **PLAIN)
    told = f"taken over, not run again: fold 0, 1 (2 of 3 folds are finished in {tmp_path})"
    capsys.readouterr()
    with caplog.at_level(logging.INFO, "miscnn.evaluation"):
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert told in caplog.messages
    assert capsys.readouterr().err == ""
    (tmp_path / "fold_2" / "run.json").unlink()
    options = {**PLAIN, "verbose": 1}
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **options)
    assert told in capsys.readouterr().err.splitlines()


def test_a_rerun_that_was_broken_off_leaves_no_fold_of_the_run_before(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, 5, evaluation_path=tmp_path, **PLAIN)
    model.calls.clear()

    def fails_in_the_second() -> list[Any]:
        if sum(name == "reset" for name, _ in model.calls) == 2:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        cross_validation(
            samples, model, 3, evaluation_path=tmp_path, callbacks=fails_in_the_second, **PLAIN
        )
    assert [path.parent.name for path in tmp_path.glob("fold_*/run.json")] == ["fold_0"]
    model.calls.clear()
    cross_validation(samples, model, 3, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert [name for name, _ in model.calls] == ["reset", "train", "predict"] * 2


def test_resume_discards_what_is_no_fold_of_this_run(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    (tmp_path / "fold_1" / "run.json").replace(tmp_path / "kept.json")
    (tmp_path / "fold_3").mkdir()
    (tmp_path / "kept.json").replace(tmp_path / "fold_3" / "run.json")
    model.calls.clear()
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert [name for name, _ in model.calls] == ["reset", "train", "predict"]
    marks = sorted(path.parent.name for path in tmp_path.glob("fold_*/run.json"))
    assert marks == ["fold_0", "fold_1", "fold_2"]


def test_resume_begins_where_nothing_is(model: Any, samples: list[str], tmp_path: Path) -> None:
    result = cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert len(model.calls) == 9
    assert len(result.scores.samples) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 40}, r"2 fold\(s\).*fold 0: epochs was 20, is 40\. fold 1: epochs"),
        ({"iterations": 5}, "fold 0: iterations was None, is 5"),
        ({"seed": 1, "splitter": KFold(3, shuffle=True, random_state=0)}, "0: seed was 0, is 1"),
        ({"seed": 1}, r"other subjects for training \(only then: .*, only now: case_.*validation"),
        ({"inner_validation": 0.3}, r"inner validation \(only now: case_\d case_\d\)"),
        ({"class_names": ["air", "liver", "x"]}, r"class_names\[1\] was 'class-1', is 'liver'"),
        ({"save_models": True}, "its weights were not kept"),
        ({"run_detailed_evaluation": True}, "its subjects were not scored"),
    ],
)
def test_a_finished_fold_of_another_kind_is_refused(
    model: Any, samples: list[str], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    before = {**PLAIN, "save_models": "save_models" not in options}
    before["run_detailed_evaluation"] = "run_detailed_evaluation" not in options
    interrupted(model, samples, tmp_path, **before)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigurationError, match=message):
        cross_validation(
            samples, model, evaluation_path=tmp_path, resume=True, **{**before, **options}
        )
    assert model.calls == []
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_another_order_of_the_subjects_is_another_run(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    split = [([0, 1, 2, 3], [4, 5])]
    cross_validation(samples, model, evaluation_path=tmp_path, splitter=split, **PLAIN)
    split = [([3, 1, 2, 0], [4, 5])]
    with pytest.raises(ConfigurationError, match="subjects for training were in another order"):
        cross_validation(
            samples, model, evaluation_path=tmp_path, splitter=split, resume=True, **PLAIN
        )


class Schedule:
    """A learning rate as Keras has them."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "unwritable": object(), "end": float("inf")}


def test_another_recipe_is_another_run(model: Any, samples: list[str], tmp_path: Path) -> None:
    normalization = Normalization("z-score", statistics="dataset")

    def configure(width: int, rate: float, loss: Any, workers: int) -> None:
        model.architecture = {"class": "x:Net", "config": {"width": width, "strides": [1, 2]}}
        model.learning_rate = Schedule(rate)
        model.loss = loss
        model.preprocessor.get_config = lambda: {
            "subfunctions": [serialize(normalization)],
            "workers": workers,
            "slice_gap_learned": workers,
            "fitted": workers > 1,
        }

    configure(32, 0.1, len, 1)
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    model.calls.clear()
    # What a training learns, and how many threads it uses, is no part of the recipe.
    learned = {"mean": [3.0], "std": [2.0], "minimum": [0.0], "maximum": [9.0]}
    normalization.set_state({**learned, "indices": ["case_0"], "voxels": 100})
    assert "state" in serialize(normalization)
    configure(32, 0.1, len, 4)
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert model.calls == []
    configure(64, 0.2, sum, 1)
    with pytest.raises(ConfigurationError) as caught:
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    for difference in (
        "recipe.architecture.config.width was 32, is 64",
        "recipe.learning_rate.config.rate was 0.1, is 0.2",
        "recipe.loss was 'len', is 'sum'",
    ):
        assert difference in str(caught.value)
    assert "preprocessor" not in str(caught.value)
    configure(32, 0.1, len, 1)
    del model.loss
    with pytest.raises(ConfigurationError, match=r"recipe\.loss was 'len', is None"):
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)


def test_the_members_of_a_stack_are_part_of_its_recipe(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    member = SimpleNamespace(learning_rate=np.float32(0.5), preprocessor=None)
    model.members, model.combiner = [member], "mean"
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    member.learning_rate = 0.25
    with pytest.raises(ConfigurationError) as caught:
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert "recipe.members[0].learning_rate was 0.5, is 0.25. fold 1" in str(caught.value)


def test_the_classes_of_the_data_are_part_of_the_recipe(
    model: Any, samples: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configure(groups: Any) -> None:
        interface = MergedLabels(DictionaryInterface({}, 1, 4), groups)
        for name in ("has_segmentation", "save", "truths"):
            monkeypatch.setattr(interface, name, getattr(fake, name), raising=False)
        model.preprocessor.data_io.interface = interface

    fake = model.preprocessor.data_io.interface
    configure(((0,), (1, 2), (3,)))
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    model.calls.clear()
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert model.calls == []
    configure(((0,), (1,), (2, 3)))
    with pytest.raises(ConfigurationError, match=r"interface\.config\.groups\[1\] was \[1, 2\]"):
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)


class OwnSplitter:
    """Has the repr of object, with an address in it."""

    def split(self, samples: Any) -> Any:
        raise NotImplementedError


def test_inner_splitters_of_other_libraries_are_part_of_the_recipe(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    model.folds = KFold(3, shuffle=True, random_state=1)
    cross_validation(samples, model, evaluation_path=tmp_path / "a", **PLAIN)
    model.folds = KFold(3, shuffle=True, random_state=2)
    with pytest.raises(ConfigurationError, match=r"recipe\.folds was 'KFold.*state=1.*state=2"):
        cross_validation(samples, model, evaluation_path=tmp_path / "a", resume=True, **PLAIN)
    model.folds = first = OwnSplitter()
    cross_validation(samples, model, evaluation_path=tmp_path / "b", **PLAIN)
    model.folds = OwnSplitter()
    assert repr(first) != repr(model.folds)
    model.calls.clear()
    cross_validation(samples, model, evaluation_path=tmp_path / "b", resume=True, **PLAIN)
    assert model.calls == []


def test_folds_of_versions_that_wrote_less_are_taken_over(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    for path in tmp_path.glob("fold_*/run.json"):
        document = json.loads(path.read_text())
        del document["recipe"], document["class_names"]
        path.write_text(json.dumps(document))
    model.calls.clear()
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert model.calls == []


def test_a_finished_fold_tells_when_and_in_which_surroundings(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    before = datetime.now(UTC)
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    path = tmp_path / "fold_1" / "run.json"
    run = json.loads(path.read_text())
    finished = datetime.fromisoformat(run["finished"])
    assert finished.utcoffset() == timedelta(0)
    assert len(run["finished"]) == len("2026-01-02T03:04:05+00:00")
    assert before - timedelta(seconds=1) <= finished <= datetime.now(UTC)
    assert run["versions"]["miscnn"] == miscnn.__version__
    assert run["versions"]["numpy"] == np.__version__
    assert run["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    # Another version goes on.
    path.write_text(json.dumps(run | {"finished": "long ago", "versions": {"miscnn": "0.0"}}))
    model.calls.clear()
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert model.calls == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ('{"fold": 0, "training": ["case', "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "holds a list"),
        ("{}", "does not tell training"),
        ('{"training": ["a"], "inner_validation": [], "validation": "case_1"}',
         "does not tell validation"),
        ('{"training": ["a"], "inner_validation": [[]], "validation": []}',
         "does not tell inner_validation"),
        ('{"training": ["a"], "inner_validation": [], "validation": ["b"], "sources": 3}',
         "does not tell sources"),
    ],
)  # fmt: skip
def test_damaged_marks_of_finished_folds_are_told(
    text: str, message: str, model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    model.calls.clear()
    mark = tmp_path / "fold_1" / "run.json"
    mark.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"run\.json.*{message}.*delete the file"):
        cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert model.calls == []
    mark.unlink()
    cross_validation(samples, model, evaluation_path=tmp_path, resume=True, **PLAIN)
    assert [name for name, _ in model.calls].count("train") == 1


class Recorder(list[int]):
    """A callback with a state."""


class Uncopyable(list[int]):
    def __deepcopy__(self, memo: object) -> Uncopyable:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_callbacks_keep_no_state_between_folds(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    mine = Recorder()
    cross_validation(samples, model, evaluation_path=tmp_path, callbacks=[mine], **PLAIN)
    handed = [options["callbacks"][0] for name, options in model.calls if name == "train"]
    assert mine == []
    assert [list(callback) for callback in handed] == [[6], [6], [6]]
    assert all(type(callback) is Recorder for callback in handed)


def test_callbacks_can_be_made_by_a_function(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    made: list[Recorder] = []

    def factory() -> list[Recorder]:
        made.append(Recorder())
        return made[-1:]

    cross_validation(samples, model, evaluation_path=tmp_path, callbacks=factory, **PLAIN)
    assert made == [[6], [6], [6]]
    with pytest.raises(ConfigurationError, match=r"callbacks=lambda"):
        cross_validation(
            samples, model, evaluation_path=tmp_path, callbacks=[Uncopyable()], **PLAIN
        )


def test_without_detailed_evaluation_nothing_is_predicted(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    result = cross_validation(
        samples,
        model,
        evaluation_path=tmp_path,
        run_detailed_evaluation=False,
        save_models=False,
        **PLAIN,
    )
    assert "predict" not in {name for name, _ in model.calls}
    assert len(result.scores) == 0
    assert not (tmp_path / "scores.tsv").exists()
    assert not (tmp_path / "fold_0" / "model.keras").exists()
    assert CrossValidationResult.load(tmp_path) == result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["background", "kidney"]}, "one name for each of the 3 classes"),
        ({"class_names": {3: "spleen"}}, r"labels \[3\]"),
        ({"overlays": ["funniest"]}, "worst, median, best, got funniest"),
        ({"inner_validation": 1.0}, "got 1.0"),
        ({"inner_validation": 0.9}, "leaves nobody"),
        ({"splitter": [([0, 1], [1])]}, "same subject"),
    ],
)
def test_mistakes_are_found_before_training(
    model: Any, samples: list[str], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cross_validation(samples, model, evaluation_path=tmp_path / "e", **options, **PLAIN)
    assert model.calls == []
    assert not (tmp_path / "e").exists()


def test_subjects_without_truth_are_named_before_training(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    model.preprocessor.data_io.interface.unlabelled = {"case_4", "case_7"}
    with pytest.raises(ConfigurationError, match=r"2 subject\(s\) have no .*: case_4, case_7;"):
        cross_validation(samples, model, evaluation_path=tmp_path, **PLAIN)
    assert model.calls == []


def test_pictures_are_drawn_for_worst_and_median(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    cross_validation(
        samples, model, splitter=[([5, 6, 7, 8], [0, 1, 2, 3])], evaluation_path=tmp_path, verbose=0
    )
    # The further a subject's prediction is moved, the worse it is: case_3 is worst.
    drawn = sorted(path.name for path in (tmp_path / "fold_0").glob("overlay.*"))
    assert drawn == [
        "overlay.median.case_1.gif",
        "overlay.median.case_1.png",
        "overlay.worst.case_3.gif",
        "overlay.worst.case_3.png",
    ]
    assert (tmp_path / "fold_0" / "training.png").read_bytes() == b"curves"
    boxes = sorted(path.name for path in tmp_path.glob("boxplot.*"))
    assert boxes == ["boxplot.dice.png", "boxplot.hd95_mm.png", "boxplot.volume_error.png"]
    cross_validation(
        samples,
        model,
        splitter=[([5, 6, 7, 8], [0, 1, 2])],
        evaluation_path=tmp_path,
        overlays=["best"],
        verbose=0,
    )
    drawn = sorted(path.name for path in (tmp_path / "fold_0").glob("overlay.*"))
    assert drawn == ["overlay.best.case_0.gif", "overlay.best.case_0.png"]


def test_a_picture_that_fails_does_not_end_the_run(
    model: Any,
    samples: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    visualizer = importlib.import_module("miscnn.evaluation.visualizer")
    monkeypatch.setattr(visualizer, "overlay_png", fails)
    result = cross_validation(samples, model, evaluation_path=tmp_path, verbose=0)
    assert len(result.folds) == 3
    complaints = [r for r in caplog.records if "its scores are complete" in r.getMessage()]
    assert len(complaints) == 3
    assert all("no ink" in str(record.exc_info) for record in complaints)


def scored(values: dict[str, list[float]]) -> ScoreTable:
    return ScoreTable(
        ScoreRow(0, sample, label, str(label), "dice", value, 1, 1.0)
        for sample, classes in values.items()
        for label, value in enumerate(classes, 1)
    )


def test_choice_of_subjects() -> None:
    nan = float("nan")
    table = scored({"a": [0.9, 0.9], "b": [0.2, nan], "c": [0.6, 0.8], "d": [nan, nan]})
    chosen = chosen_subjects(table, ["worst", "median", "best"])
    assert chosen == {"worst": "b", "median": "c", "best": "a"}
    assert chosen_subjects(table, ["best"]) == {"best": "a"}
    assert chosen_subjects(scored({"a": [0.5]}), ["worst", "median"]) == {"worst": "a"}
    assert chosen_subjects(scored({"d": [nan]}), ["worst"]) == {}


@pytest.mark.parametrize(
    "first",
    [
        "from miscnn.evaluation.cross_validation import run_fold, load_disk2fold, split_folds",
        "from miscnn.evaluation.leave_one_out import leave_one_out",
    ],
)
def test_package_attributes_are_the_functions_whatever_is_imported_first(first: str) -> None:
    code = (
        f"{first}\n"
        "import sys, miscnn.evaluation as e\n"
        "from miscnn.evaluation.cross_validation import run_fold, load_disk2fold, split_folds\n"
        "import miscnn.evaluation.cross_validation\n"
        "for f in (e.cross_validation, e.split_validation, e.leave_one_out, "
        "e.detailed_validation):\n"
        "    assert type(f).__name__ == 'function', f\n"
        "slow = {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_exist() -> None:
    for name in miscnn.evaluation.__all__:
        found = getattr(miscnn.evaluation, name)
        assert callable(found) or isinstance(found, Mapping)
    assert dir(miscnn.evaluation) == sorted(miscnn.evaluation.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = miscnn.evaluation.nothing
