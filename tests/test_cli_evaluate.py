"""Predictions of others, scored by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from miscnn.cli import main
from miscnn.evaluation.summary import ScoreTable

N = 8


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(N):
            save(tmp_path / "data" / kind / f"case_{number}.nii.gz", truth())
    return tmp_path / "data"


def truth() -> Any:
    labels = np.zeros((8, 7, 6), np.uint8)
    labels[2:5, 1:4, 1:5] = 1
    return labels


def save(path: Path, labels: Any, shift: float = 0.0) -> None:
    path.parent.mkdir(exist_ok=True)
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(labels, affine), path)


def run(data: Path, *options: str) -> Result:
    predictions, output = data.parent / "p", data.parent / "e"
    arguments = [data, "--predictions", predictions, "--output", output, "--no-previews", *options]
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_who_was_not_scored_is_told_reason_by_reason(data: Path) -> None:
    save(data.parent / "p" / "case_0.nii.gz", truth())
    save(data.parent / "p" / "case_1.nii.gz", truth(), shift=20.0)
    save(data.parent / "p" / "case_7.nii.gz", truth() * np.uint8(255))
    result = run(data)
    assert result.exit_code == 1
    table = ScoreTable.from_tsv(data.parent / "e" / "scores.tsv")
    assert table.samples == ["case_0"]
    assert table.select("dice", 1).rows[0].value == 1
    assert "7 subject(s) failed:" in result.stderr
    assert "case_1  the prediction p/case_1.nii.gz does not lie" in result.stderr
    assert "case_7  the prediction holds 255 in 36 voxel(s)" in result.stderr
    assert "5 have no prediction" not in result.stderr  # few are named one by one
    lines = (data.parent / "e" / "not_scored.tsv").read_text().splitlines()
    assert lines[0] == "sample\treason"
    assert [line.split("\t")[0] for line in lines[1:]] == [f"case_{k}" for k in range(1, N)]
    assert lines[2] == "case_2\tno prediction"
    (data.parent / "p" / "case_7.nii.gz").unlink()
    more = run(data)
    assert "6 have no prediction: case_2, case_3, case_4, case_5, case_6, …" in more.stderr
    assert "1 subject(s) failed:" in more.stderr
    assert str(data.parent / "e" / "not_scored.tsv") in more.stderr


def test_one_fold_of_predictions(data: Path) -> None:
    for number in (3, 4):
        save(data.parent / "p" / f"case_{number}.nii.gz", truth())
    result = run(data, "--only-predicted")
    assert result.exit_code == 0, result.output
    assert "Left out: 6 have no prediction: case_0, case_1, " in result.stdout
    assert not result.stderr
    assert len((data.parent / "e" / "not_scored.tsv").read_text().splitlines()) == 7
    told = json.loads(run(data, "--only-predicted", "--json").stdout)
    assert (told["failed"], len(told["left_out"])) == ({}, 6)
    # One that has a file and cannot be scored is a failure even so.
    save(data.parent / "p" / "case_5.nii.gz", truth(), shift=1.0)
    broken = run(data, "--only-predicted")
    assert broken.exit_code == 1
    assert "case_5  the prediction" in broken.stderr
    assert "case_0" not in broken.stderr


def test_the_table_vanishes_when_all_are_scored(data: Path) -> None:
    (data.parent / "e").mkdir()
    (data.parent / "e" / "not_scored.tsv").write_text("sample\treason\nold\told\n")
    for number in range(N):
        save(data.parent / "p" / f"case_{number}.nii.gz", truth())
    assert run(data).exit_code == 0
    assert not (data.parent / "e" / "not_scored.tsv").exists()


def test_a_subject_without_segmentation_is_told_so(data: Path) -> None:
    (data / "labels" / "case_2.nii.gz").unlink()
    for number in range(N):
        save(data.parent / "p" / f"case_{number}.nii.gz", truth())
    assert run(data, "--only-predicted").exit_code == 1
    assert "case_2\tno segmentation" in (data.parent / "e" / "not_scored.tsv").read_text()
