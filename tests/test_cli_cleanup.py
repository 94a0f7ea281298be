from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from miscnn import _files
from miscnn._files import atomic_folder, temporary_beside
from miscnn.cli import main
from miscnn.data_loading.geometry import Geometry
from miscnn.processing.cache import SampleCache
from miscnn.processing.prepared import PreparedSample

_DEAD = 2**22 + 1  # above the highest number that Linux gives a process
_HEX = "0123456789abcdef0123"
_START = f".writing-{_files._here()}-{_DEAD}"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["cleanup", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some of miscnn's files, among others that look much alike."""
    image = np.zeros((4, 4, 4, 1), np.float32)
    prepared = PreparedSample(
        index="a",
        image=image,
        labels=np.zeros((4, 4, 4), np.uint8),
        geometry=Geometry((4, 4, 4)),
        details={},
        fill=np.zeros(1, np.float32),
        positions=np.zeros((0, 3), np.int32),
        class_rows={},
    )
    SampleCache(tmp_path / "run" / "prepared").put(_HEX, prepared)
    (tmp_path / "run" / f"batches-{_HEX}").mkdir()
    for name in ("images-000000.npy", "labels-000000.npy", "complete.json"):
        (tmp_path / "run" / f"batches-{_HEX}" / name).write_bytes(b"12345")
    (tmp_path / f"{_START}-0123456789ab.nii.gz").write_bytes(b"1234567")
    (tmp_path / f"{_START}-0123456789ac").mkdir()
    temporary_beside(tmp_path / "x.nii", ".nii").write_bytes(b"of this process")
    for name in (
        "case.nii.gz",
        ".writing-abc-0123456789ab",
        f"{_START}-0123",
        f"mine-{_HEX}/sample.json",  # says nothing of a prepared sample
        f"batches-{_HEX[::-1]}/thesis.doc",
        f"run/prepared/b-{_HEX}/image.b2nd",
        f"run/prepared/b-{_HEX}/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / f"link-{_HEX}").symlink_to(tmp_path / "run" / "prepared" / f"a-{_HEX}")
    return tmp_path


def found_in(folder: Path, *options: str) -> dict[str, tuple[str, int]]:
    told = json.loads(run(folder, "--dry-run", "--json", *options).stdout)
    return {
        Path(item["path"]).relative_to(folder).as_posix(): (item["kind"], item["size"])
        for item in told["found"]
    }


def test_only_what_miscnn_wrote_is_found(folder: Path) -> None:
    found = found_in(folder)
    assert set(found) == {
        f"run/prepared/a-{_HEX}",
        f"run/batches-{_HEX}",
        f"{_START}-0123456789ab.nii.gz",
        f"{_START}-0123456789ac",
    }
    assert found[f"{_START}-0123456789ab.nii.gz"] == ("leftovers", 7)
    assert found[f"run/batches-{_HEX}"] == ("batches", 15)
    assert found[f"run/prepared/a-{_HEX}"][0] == "prepared"
    assert found[f"run/prepared/a-{_HEX}"][1] > 100
    assert set(found_in(folder, "--only", "batches")) == {f"run/batches-{_HEX}"}


def test_a_dry_run_removes_nothing_and_a_real_one_all(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = run(folder, "--dry-run")
    assert result.exit_code == 0
    assert "4 can be removed" in result.stdout
    assert sorted(folder.rglob("*")) == before
    paths = [folder / name for name in found_in(folder)]
    gone = [p for p in before if any(p == path or path in p.parents for path in paths)]
    result = run(folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("in all, 4 removed")
    assert sorted(folder.rglob("*")) == sorted(set(before) - set(gone))
    assert run(folder).stdout == "     0 bytes  in all, 0 removed\n"
    assert run(folder, "-q").stdout == ""


def test_an_interrupted_preparation_is_left_over_after_a_day(tmp_path: Path) -> None:
    temporary = tmp_path / "prepared" / ".writing-ab_cd123"
    temporary.mkdir(parents=True)
    (temporary / "image.b2nd").write_bytes(b"123")
    assert found_in(tmp_path) == {}
    yesterday = time.time() - 90_000
    os.utime(temporary, (yesterday, yesterday))
    assert found_in(tmp_path) == {}  # a file in it was written just now
    os.utime(temporary / "image.b2nd", (yesterday, yesterday))
    assert found_in(tmp_path) == {"prepared/.writing-ab_cd123": ("leftovers", 3)}
    (temporary / "other").write_text("")
    os.utime(temporary / "other", (yesterday, yesterday))
    os.utime(temporary, (yesterday, yesterday))
    assert found_in(tmp_path) == {}


def test_a_folder_named_twice_is_counted_once(folder: Path) -> None:
    told = json.loads(run(folder, folder / "run", "--dry-run", "--json").stdout)
    assert len(told["found"]) == 4


def test_a_folder_in_another_is_no_failure(folder: Path) -> None:
    inner = folder / f"{_START}-0123456789ac"
    (inner / f"{_START}-0123456789ad").mkdir()
    result = run(folder, inner, folder / "run" / "prepared", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["failed"] == {}
    assert len(told["found"]) == 4
    assert not inner.exists()


def test_what_is_gone_already_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(item: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("miscnn._cli_cleanup._remove", gone)
    assert run(folder).exit_code == 0


def test_a_folder_of_the_users_stays_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / f"{_START}-0123456789ab.json").write_text("half")
    assert run(tmp_path).exit_code == 0
    assert list(tmp_path.rglob("*")) == [tmp_path / "prepared"]


def test_descriptions_that_go_too_deep_stop_nothing(folder: Path) -> None:
    deep = folder / f"deep-{_HEX}"
    deep.mkdir()
    (deep / "sample.json").write_text("[" * 200_000)
    result = run(folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("in all, 4 removed")
    assert deep.exists()


def test_an_interrupted_replacement_stays_and_is_told(tmp_path: Path) -> None:
    new, old = tmp_path / f"{_START}-0123456789ab", f"{_START}-0123456789ab-replaced-bundle"
    for folder in (new, tmp_path / old):
        (folder / f"batches-{_HEX}").mkdir(parents=True)
        (folder / "model.keras").write_text("weights")
    before = sorted(tmp_path.rglob("*"))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert f"the replacement of {tmp_path / 'bundle'} was interrupted" in result.stdout
    assert f"rename the one that you want to {tmp_path / 'bundle'}" in result.stdout
    assert len(json.loads(run(tmp_path, "--json").stdout)["kept"]) == 1
    new.rename(tmp_path / "bundle")
    assert "bundle is there: delete what you do not need" in run(tmp_path).stdout
    assert (tmp_path / old / "model.keras").exists()


def test_a_replacement_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with atomic_folder(tmp_path / "bundle") as temporary:
        temporary.mkdir()
        (tmp_path / "bundle").rename(f"{temporary}-replaced-bundle")
        assert json.loads(run(tmp_path, "--json").stdout) == {
            "dry_run": False, "found": [], "bytes": 0, "failed": {}, "kept": [],
        }  # fmt: skip
        assert Path(f"{temporary}-replaced-bundle").exists()


def test_what_cannot_be_removed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(item: object) -> None:
        raise PermissionError(13, "Permission denied", str(item))

    monkeypatch.setattr("miscnn._cli_cleanup._remove", refuse)
    result = run(folder, "--only", "batches")
    assert result.exit_code == 1
    assert "cannot be removed: Permission denied" in result.stderr
    assert run(folder / "nowhere").exit_code == 2
