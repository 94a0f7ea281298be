"""No patient on two sides, however one says who belongs together."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.evaluation import cross_validation, leave_one_out, run_fold, split_folds
from miscnn.evaluation import split_validation as split_validation_of
from miscnn.evaluation.splits import (
    Fold,
    GroupedKFold,
    LeaveOneOut,
    PercentageSplit,
    SavedFolds,
    SliceSortedKFold,
    StratifiedVolumeKFold,
    hold_out,
    load_folds,
    make_folds,
    patients_of,
    save_folds,
)
from miscnn.evaluation.splits._units import group_keys
from miscnn.exceptions import ConfigurationError

PLAIN: dict[str, Any] = {"draw_figures": False, "verbose": 0}
SCANS = [f"p{patient}_{scan}" for patient in range(6) for scan in "ab"]
PATIENT = {scan: scan[:2] for scan in SCANS}


def assert_whole(folds: Any, patient: dict[str, str] = PATIENT) -> None:
    folds = list(folds)
    assert folds
    for sides in folds:
        found = [{patient[i.partition(":#:")[0]] for i in side} for side in sides]
        assert all(found)
        for k, one in enumerate(found):
            assert not any(one & other for other in found[k + 1 :])


@pytest.mark.parametrize(
    "splitter", [GroupedKFold(3), LeaveOneOut(), PercentageSplit(0.3), StratifiedVolumeKFold(3)]
)
def test_groups_by_index_are_those_in_order(splitter: Any) -> None:
    listed = [PATIENT[scan] for scan in SCANS]
    shuffled = dict(sorted(PATIENT.items(), reverse=True)) | {"of nobody": "x"}
    volumes = list(range(len(SCANS)))
    expected = make_folds(SCANS, splitter, y=volumes, groups=listed)
    assert make_folds(SCANS, splitter, y=volumes, groups=shuffled) == expected
    assert patients_of(SCANS, splitter, shuffled) == patients_of(SCANS, splitter, listed)
    assert_whole(expected)


def test_groups_by_volume_hold_for_its_slices() -> None:
    slices = [f"{scan}:#:{number}" for scan in SCANS for number in range(3)]
    folds = make_folds(slices, GroupedKFold(3), groups=PATIENT)
    assert_whole(folds)
    patients = patients_of(slices, GroupedKFold(3), PATIENT)
    inner = hold_out(folds[0].training, 0.3, np.random.default_rng(0), patients)
    assert_whole([inner])


def test_a_group_that_is_missing_is_told() -> None:
    without = {scan: patient for scan, patient in PATIENT.items() if scan != "p3_b"}
    with pytest.raises(ConfigurationError, match=r"does not name the group of 1 of 12.*p3_b"):
        make_folds(SCANS, GroupedKFold(3), groups=without)
    with pytest.raises(ConfigurationError, match="groups has 2 entries for 12 subjects"):
        patients_of(SCANS, None, ["a", "b"])


def test_equal_numbers_are_one_patient() -> None:
    assert group_keys([1, 1.0, np.float64(1), "1", 1.5], list("abcde")) == ["1"] * 4 + ["1.5"]

    class Unknown:
        def __ne__(self, other: object) -> Any:
            return self

        def __bool__(self) -> bool:
            raise TypeError("neither true nor false")

        __hash__ = None  # type: ignore[assignment]

    for nothing in (None, float("nan"), Unknown()):
        with pytest.raises(ConfigurationError, match="group of 'b' is"):
            group_keys([1, nothing], ["a", "b"])


def test_patients_are_no_slices(
    model: Any, samples: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = ["11", "12", "13"] * 3  # as texts of two digits might be taken for two numbers
    expected = make_folds(samples, SliceSortedKFold(3), model.preprocessor.data_io)
    with caplog.at_level(logging.WARNING):
        result = cross_validation(
            samples, model, splitter=SliceSortedKFold(3), groups=groups, inner_validation=0.4,
            evaluation_path=tmp_path, **PLAIN,
        )  # fmt: skip
    assert [list(f.validation) for f in result.folds] == [f.validation for f in expected]
    assert "share a group with subjects that train" in caplog.text
    patient = dict(zip(samples, groups, strict=True))
    assert_whole([(f.training, f.inner_validation) for f in result.folds], patient)
    with pytest.raises(ConfigurationError, match="it does not know patients"):
        list(SliceSortedKFold(3).split(samples, groups=groups))


def test_patients_of_a_file_hold_whatever_else_is_in_the_data(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "folds.json"
    groups = {index: number // 2 for number, index in enumerate(samples[:8])}
    save_folds(make_folds(samples[:8], GroupedKFold(2), groups=groups), path, groups=groups)
    result = cross_validation(
        samples, model, splitter=path, inner_validation=0.4, evaluation_path=tmp_path / "e", **PLAIN
    )
    whole = [(f.training, f.inner_validation, f.validation) for f in result.folds]
    assert_whole(whole, {index: str(group) for index, group in groups.items()})
    assert SavedFolds(str(path)).find_groups(["case_0", "case_8", "case_1", "new"]) == [0, 4, 0, 5]
    document = json.loads(path.read_text())
    del document["groups"]["case_3"]
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=r"does not tell the patient of 1 .*case_3"):
        cross_validation(samples, model, splitter=path, evaluation_path=tmp_path / "e", **PLAIN)


def test_one_fold_of_a_file_without_one_of_its_patients_is_refused(
    model: Any, samples: list[str], tmp_path: Path
) -> None:
    split_folds(samples, 3, tmp_path, groups={index: index[-1] for index in samples})
    document = json.loads((tmp_path / "folds.json").read_text())
    del document["groups"]["case_3"]
    (tmp_path / "folds.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=r"1 subject\(s\) of fold 0: case_3"):
        run_fold(0, model, evaluation_path=tmp_path, **PLAIN)
    (tmp_path / "folds.json").write_text('{"n_folds": "three"}')
    with pytest.raises(ConfigurationError, match="n_folds is 'three'"):
        run_fold(0, model, evaluation_path=tmp_path, **PLAIN)


def test_a_percentage_of_the_patients(model: Any, samples: list[str], tmp_path: Path) -> None:
    patient = {index: "pqr"[number % 3] for number, index in enumerate(samples)}
    result = split_validation_of(
        samples, model, 0.3, evaluation_path=tmp_path, groups=patient, inner_validation=0.5, **PLAIN
    )
    (fold,) = result.folds
    assert [len(fold.training), len(fold.inner_validation), len(fold.validation)] == [3, 3, 3]
    assert_whole([(fold.training, fold.inner_validation, fold.validation)], patient)
    result = leave_one_out(
        samples, model, evaluation_path=tmp_path / "l", groups=patient, verbose=0
    )
    assert [len(fold.validation) for fold in result.folds] == [3, 3, 3]


def test_a_subject_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    # What was written could not be read again, and it would count twice.
    with pytest.raises(ConfigurationError, match="training names twice: a"):
        make_folds(["a", "b", "c"], [([0, 1, 0], [2])])
    with pytest.raises(ConfigurationError, match="validation names twice: c"):
        save_folds([Fold(["a"], ["c", "c"])], tmp_path / "folds.json")
    save_folds([Fold(["a"], ["c"])], tmp_path / "folds.json")
    assert load_folds(tmp_path / "folds.json") == [(["a"], ["c"])]


@pytest.mark.parametrize("wrong", [1, 2.5, 3.0, float("nan"), "3", True, None])
def test_numbers_of_folds_are_whole(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="n_splits must be a whole number, at least 2"):
        GroupedKFold(wrong)
