"""The command ``miscnn inspect``."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from miscnn.cli import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for index in "abc":
        image = rng.normal(0, 100, (6, 5, 4)).astype(np.float32)
        labels = (image > 0).astype(np.uint8) + (image > 80)
        for folder, array in (("images", image), ("labels", labels.astype(np.uint8))):
            path = tmp_path / "data" / folder / f"{index}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return tmp_path / "data"


def test_tables_on_the_screen(data: Path) -> None:
    result = run("inspect", data)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "Layout: images images/*.nii.gz, segmentations labels/*.nii.gz; format NIfTI"
    assert lines[1] == "Classes: 3, from the labels found (or say --classes N)"
    titles = [line for before, line in zip(["", *lines], lines, strict=False) if not before]
    assert [t for t in titles if t][1:] == [
        "Grids", "Intensities", "Labels (ml)", "Classes", "Data set: median (least … largest)"
    ]  # fmt: skip
    assert any(line.startswith("a        6 x 5 x 4  1 x 1 x 3") for line in lines)
    assert max(map(len, lines)) <= 100
    assert result.stderr == ""


def test_json_is_all_there_is_on_standard_output(data: Path, tmp_path: Path) -> None:
    tsv, picture = tmp_path / "t.tsv", tmp_path / "m.png"
    result = run("inspect", data, "--json", "--tsv", tsv, "--montage", picture, "--jobs", "2")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [subject["index"] for subject in document["subjects"]] == ["a", "b", "c"]
    assert [c["label"] for c in document["summary"]["classes"]] == [0, 1, 2]
    assert result.stderr == f"Wrote {tsv}\nWrote {picture}\n"
    with tsv.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["voxels_2"]) for row in rows] == [
        subject["voxels"]["2"] for subject in document["subjects"]
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_broken_subject_exits_with_1(data: Path, tmp_path: Path) -> None:
    (data / "images/b.nii.gz").write_text("no image at all")
    result = run("inspect", data, "--montage", tmp_path / "m.png")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "3 subjects, 3 with a segmentation, 1 with errors" in result.stdout
    errors = result.stdout.split("Errors\n")[1]
    assert errors.startswith("b  images/b.nii.gz cannot be read")
    document = json.loads(run("inspect", data, "--json").stdout)
    assert document["subjects"][1]["shape"] is None
    assert document["summary"]["errors"] == 1


def test_all_subjects_if_asked(tmp_path: Path) -> None:
    for k in range(45):
        nib.save(nib.Nifti1Image(np.eye(3)[None], np.eye(4)), tmp_path / f"s{k:02d}.nii.gz")
    result = run("inspect", tmp_path)
    assert result.exit_code == 0
    assert "and 5 more subjects" in result.stdout
    assert "s44 " not in result.stdout
    assert run("inspect", tmp_path, "--all").stdout.count("s44 ") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "does not exist"),
        (["."], "layout"),
        ([".", "--segmentation", "*.nii.gz"], "needs --image"),
        ([".", "--montage"], "--montage"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("inspect", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--montage", "x.xyz", "unknown ending; use .png"),
        ("--montage", "a.nii.gz/x.png", "cannot be written"),
        ("--tsv", "a.nii.gz/x.tsv", "cannot be written"),
        ("--tsv", "", "is a folder"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_read(
    option: str, name: str, message: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*arguments: object, **others: object) -> None:
        raise AssertionError("the data set was opened")

    monkeypatch.setattr("miscnn.data_loading.layouts.open_dataset", opened)
    path = data / "images" / name
    before = sorted(data.rglob("*"))
    result = run("inspect", data, option, path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert str(path) in result.stderr
    assert result.stdout == ""
    assert sorted(data.rglob("*")) == before


def test_what_fails_in_the_end_is_told_by_the_users_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/.writing-1-2.tsv")

    monkeypatch.setattr("miscnn.data_loading.inspection.write_tsv", full)
    result = run("inspect", data, "--tsv", tmp_path / "new" / "t.tsv")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {tmp_path / 'new' / 't.tsv'} cannot be written: No space left on device\n"
    )


@pytest.mark.realdata
def test_real_pictures(real_data: Path) -> None:
    result = run("inspect", real_data / "isbi_em")
    assert result.exit_code == 0
    assert "Classes: 2, stored as 0, 255 (or say --label-values)" in result.stdout
    assert "shape          all 512 x 512" in result.stdout
    assert "Labels (% of the voxels)" in result.stdout
