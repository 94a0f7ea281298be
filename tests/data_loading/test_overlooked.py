"""What looks like a subject but is not read is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface

Subject = Callable[..., Path]
Finding = tuple[str, str, str]


def findings(folder: Path, output_path: Path | str = "out", **arguments: Any) -> list[Finding]:
    data_io = DataIO(NIfTIInterface(**arguments), folder, output_path)
    report = data_io.verify(verbose=False)
    return [(p.severity, p.index, p.message) for p in report.problems]


@pytest.fixture
def data(tmp_path: Path, subject: Subject) -> Path:
    subject("p1")
    subject("p2")
    return tmp_path / "data"


def test_links_to_nothing_are_errors(data: Path) -> None:
    (data / "p3").mkdir()
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):
        (data / "p3" / name).symlink_to(f"../gone/{name}")
    (data / "p4").symlink_to("nowhere")
    (severity, index, message), second, folder = findings(data)
    assert (severity, index) == ("error", "p3")
    assert "p3/imaging.nii.gz is a link to ../gone/imaging.nii.gz, which does not" in message
    assert second[:2] == ("error", "p3")
    assert "is a link to ../gone/segmentation.nii.gz" in second[2]
    assert folder[:2] == ("warning", "p4")
    assert "p4 is a link to nowhere, which does not exist" in folder[2]


def test_a_broken_link_does_not_hide_the_file_with_the_other_ending(
    data: Path, save: Callable[..., Path]
) -> None:
    (data / "p3").mkdir()
    (data / "p3/imaging.nii.gz").symlink_to("gone")
    save(data / "p3/imaging.nii", np.full((2, 2, 2), 7, np.int16))
    assert DataIO(NIfTIInterface(), data).sample_loader("p3", load_seg=False).image.min() == 7


def test_subfolders_with_other_names_or_nothing(data: Path) -> None:
    (data / "p3").mkdir()
    (data / "p10").mkdir()
    (data / "p10/.hidden").touch()
    shutil.copy(data / "p1/imaging.nii.gz", data / "p3/image.nii.gz")
    shutil.copy(data / "p1/segmentation.nii.gz", data / "p3/seg.nii.gz")
    assert findings(data) == [
        ("warning", "p10", "the folder is empty; add the files, or remove it"),
        (
            "warning",
            "p3",
            "the folder holds image.nii.gz, seg.nii.gz, but not p3/imaging.nii.gz; rename the "
            "files, or give the data interface other patterns",
        ),
    ]
    assert findings(data, pattern="p[12]") == []  # the others were left out on purpose


def test_what_is_no_subject_is_not_told(data: Path) -> None:
    for name in ("batches", "predictions", "notes", "results", "scores"):
        (data / name).mkdir()
    (data / "notes/README.md").touch()
    (data / "README.txt").touch()
    (data / ".DS_Store").touch()
    shutil.copy(data / "p1/segmentation.nii.gz", data / "predictions/x.nii.gz")
    shutil.copy(data / "p1/segmentation.nii.gz", data / "results/p1.nii.gz")
    assert findings(data, output_path=data / "scores") == []


def test_a_file_with_the_other_ending(data: Path, save: Callable[..., Path]) -> None:
    save(data / "p2/segmentation.nii", np.zeros((7, 6, 5), np.uint8))
    assert findings(data) == [
        (
            "warning",
            "p2",
            "segmentation.nii.gz is read, segmentation.nii beside it is not; remove one of them",
        )
    ]
    chosen = DataIO(NIfTIInterface(), data).verify(["p1"], verbose=False)
    assert chosen.problems == ()


def test_endings_in_capitals(data: Path) -> None:
    for folder, name in (("images", "imaging"), ("labels", "segmentation")):
        (data / folder).mkdir()
        for index, ending in (("p1", "nii.gz"), ("p2", "NII.GZ")):
            shutil.copy(data / index / f"{name}.nii.gz", data / folder / f"{index}.{ending}")
    arguments = {"image": "images/*.nii.gz", "segmentation": "labels/*.nii.gz"}
    text = "p2.NII.GZ is not read, because its ending is in capitals; rename it p2.nii.gz"
    assert findings(data, **arguments) == [("warning", "p2", text)] * 2
    (data / "p2/segmentation.nii.gz").rename(data / "p2/segmentation.Nii.gz")
    told = [message for _, index, message in findings(data, pattern="p[12]") if index == "p2"]
    assert told[0].startswith("there is no segmentation")
    assert told[1].endswith("rename it segmentation.nii.gz")


def test_files_that_no_pattern_claims(data: Path) -> None:
    for index in ("p1", "p2"):
        shutil.copy(data / index / "imaging.nii.gz", data / index / "flair.nii.gz")
    shutil.copy(data / "p1/imaging.nii.gz", data / "atlas.nii.gz")
    assert findings(data) == [
        ("warning", "", "atlas.nii.gz in data: no pattern fits, not read; rename or move"),
        ("note", "", "beside the files of subjects, not read: p1/flair.nii.gz, p2/flair.nii.gz"),
    ]
