"""Folds that are kept in a file, and patients within them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miscnn.evaluation import cross_validation, split_folds
from miscnn.evaluation.splits import (
    Fold,
    SavedFolds,
    load_folds,
    load_groups,
    make_folds,
    save_folds,
)
from miscnn.exceptions import ConfigurationError, MissingFileError

PLAIN: dict[str, Any] = {"draw_figures": False, "verbose": 0}
FOLDS = [Fold(["a", "b"], ["c"]), Fold(["c", "ä"], ["a", "b"])]


def test_folds_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folds.json"
    save_folds(FOLDS, path, splitter="by hand", groups={"a": 0, "b": 0, "c": 1})
    assert load_folds(path) == FOLDS
    assert load_folds(path.parent) == FOLDS  # as that of an evaluation
    assert load_groups(path) == {"a": 0, "b": 0, "c": 1}
    assert json.loads(path.read_text()) == {
        "n_folds": 2,
        "splitter": "by hand",
        "folds": [
            {"training": ["a", "b"], "validation": ["c"]},
            {"training": ["c", "ä"], "validation": ["a", "b"]},
        ],
        "groups": {"a": 0, "b": 0, "c": 1},
    }
    save_folds(FOLDS, path)
    assert load_groups(path) is None
    with pytest.raises(ConfigurationError, match=r"fold 1 .*same subject\(s\): c"):
        save_folds([FOLDS[0], Fold(["c"], ["c"])], path)
    with pytest.raises(ConfigurationError, match="no folds to save"):
        save_folds([], path)
    assert load_folds(path) == FOLDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds a list; expected"),
        ('{"folds": []}', "n_folds is None"),
        ('{"n_folds": true}', "n_folds is True"),
        ('{"n_folds": 0}', "n_folds is 0; expected 1"),
        ('{"n_folds": 1000000000000}', "n_folds is 1000000000000; expected 1"),
        ('{"n_folds": 2, "folds": [{"training": ["a"], "validation": ["b"]}]}', "folds is 1; exp"),
        ('{"n_folds": 1, "folds": {}}', "folds is dict"),
        ('{"n_folds": 1, "folds": [3]}', r"folds\[0\] is '3'"),
        ('{"n_folds": 1, "folds": [{"training": ["a"]}]}', r"folds\[0\] is .*expected"),
        ('{"n_folds": 1, "folds": [{"training": "a", "validation": ["b"]}]}',
         r"folds\[0\].training is 'a'; expected a list"),
        ('{"n_folds": 1, "folds": [{"training": ["a"], "validation": ["b", 5]}]}',
         r"folds\[0\].validation\[1\] is '5'; expected an index"),
        ('{"n_folds": 1, "folds": [{"training": ["a", "a"], "validation": ["b"]}]}',
         r"folds\[0\]: training names twice: a"),
        ('{"n_folds": 1, "folds": [{"training": ["a"], "validation": ["a"]}]}', "same subject"),
        ('{"n_folds": 1, "folds": [{"training": ["a"], "validation": []}]}', "0 validation"),
    ],
)  # fmt: skip
def test_wrong_files_are_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_folds(path)
    assert "folds.json" in str(caught.value)
    with pytest.raises(MissingFileError, match=r"nothing\.json does not exist"):
        load_folds(tmp_path / "nothing.json")


@pytest.mark.parametrize("groups", ["[]", '{"a": "b"}', '{"a": true}', "3"])
def test_wrong_groups_are_told(groups: str, tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    path.write_text(f'{{"n_folds": 1, "groups": {groups}}}')
    with pytest.raises(ConfigurationError, match="group"):
        load_groups(path)


def test_subjects_of_a_file_and_of_the_data_are_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "folds.json"
    save_folds(FOLDS, path)
    assert make_folds(["ä", "a", "b", "c"], str(path)) == FOLDS
    assert make_folds(["ä", "a", "b", "c"], SavedFolds(str(path))) == [
        (["a", "b"], ["c"]), (["ä", "c"], ["a", "b"]),
    ]  # fmt: skip
    assert make_folds(["ä", "a", "b", "c"], FOLDS) == FOLDS
    assert caplog.text == ""
    with pytest.raises(ConfigurationError, match=r"2 subject\(s\) are named.*b \(fold 0.*ä \(fo"):
        make_folds(["a", "c", "d"], path)
    make_folds(["ä", "a", "b", "c", "d", "e"], path)
    assert "2 of 6 subject(s) stand in no fold and are left out: d, e" in caplog.text


def test_an_evaluation_takes_the_folds_of_another(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    groups = [k // 2 for k in range(9)]
    first = cross_validation(
        samples, model, groups=groups, evaluation_path=tmp_path / "one", **PLAIN
    )
    patient = dict(zip(samples, groups, strict=True))
    for fold in first.folds:  # by default patients stay together
        assert not {patient[i] for i in fold.training} & {patient[i] for i in fold.validation}
    for given in (tmp_path / "one", tmp_path / "one" / "folds.json",
                  load_folds(tmp_path / "one")):  # fmt: skip
        path = tmp_path / "two"
        again = cross_validation(
            samples[::-1], model, splitter=given, evaluation_path=path, inner_validation=0.3,
            **PLAIN,
        )  # fmt: skip
        assert [f.validation for f in again.folds] == [f.validation for f in first.folds]
        if isinstance(given, Path):  # the file knows the patients
            for fold in again.folds:
                assert not {patient[i] for i in fold.training} & {
                    patient[i] for i in fold.inner_validation
                }
            assert load_groups(path) == load_groups(tmp_path / "one")
        else:
            assert load_groups(path) is None


def test_folds_of_older_versions_are_read(samples: list[str], tmp_path: Path) -> None:
    folds = split_folds(samples, 3, tmp_path)
    document = json.loads((tmp_path / "folds.json").read_text())
    old = {name: document[name] for name in ("n_folds", "splitter")}
    (tmp_path / "folds.json").write_text(json.dumps(old))
    assert load_folds(tmp_path) == folds
    (tmp_path / "fold_1" / "sample_list.json").unlink()
    with pytest.raises(MissingFileError, match=r"fold_1.*sample_list\.json does not exist"):
        load_folds(tmp_path)


def test_torn_patients_are_told(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = ["p", "q", "r"] * 3
    thirds = [([*range(3, 9)], [0, 1, 2])]
    split_folds(samples, evaluation_path=tmp_path, splitter=thirds, groups=groups)
    assert "fold 0: 3 subject(s) validate that share a group with subjects that train" in (
        caplog.text
    )
    assert "case_0" in caplog.text
    caplog.clear()
    split_folds(samples, 3, tmp_path, groups=groups)
    assert caplog.text == ""
    assert json.loads((tmp_path / "folds.json").read_text())["splitter"].startswith("GroupedKFold")


def test_names_of_patients_are_not_written(samples: list[str], tmp_path: Path) -> None:
    split_folds(samples, 3, tmp_path, groups=["Doe"] * 3 + ["Roe"] * 3 + ["Poe"] * 3)
    text = (tmp_path / "folds.json").read_text()
    assert not any(name in text for name in ("Doe", "Roe", "Poe"))
    assert sorted(set(json.loads(text)["groups"].values())) == [0, 1, 2]
