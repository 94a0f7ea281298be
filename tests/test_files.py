from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from miscnn import _files
from miscnn._files import (
    atomic_folder,
    atomic_path,
    remove_leftovers,
    temporary_beside,
    write_json,
    write_text,
)

_TOKEN = "0123456789ab"
_DAY = 86_400


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")
    assert target.read_bytes() == b"half"
    assert [p.name for p in target.parent.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"), atomic_path(tmp_path / "a"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_two_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target) as first:
        with atomic_path(target) as second:
            assert first != second
            first.write_text("first")
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "ä")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask
    assert (tmp_path / "a.txt").read_bytes() == "ä".encode()


def test_json_is_readable_and_never_holds_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for content in ("old", "new"):
        with atomic_folder(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
        assert [path.name for path in target.iterdir()] == [content]

    def fail() -> None:
        with atomic_folder(target) as temporary:
            temporary.mkdir()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture
def ended() -> int:
    """Return the number of a process that is no more."""
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                             capture_output=True, text=True, check=True)  # fmt: skip
    return int(process.stdout)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_leftovers_of_ended_processes_are_removed_files_and_folders(
    tmp_path: Path, ended: int
) -> None:
    start = f".writing-{_files._here()}-{ended}-{_TOKEN}"
    (tmp_path / f"{start}.json").write_text("half")
    (tmp_path / start).mkdir()
    (tmp_path / start / "x").write_text("half")
    own = temporary_beside(tmp_path / "a.nii.gz", ".nii.gz")
    own.write_text("at work")
    age(own, 2 * _DAY)  # a long time, but the process is there
    (tmp_path / ".writing-by-hand").write_text("not ours")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {own.name, ".writing-by-hand"}


def test_those_of_other_machines_and_containers_stay_for_a_day(tmp_path: Path, ended: int) -> None:
    there = "00000000" if _files._here() != "00000000" else "11111111"
    young = tmp_path / f".writing-{there}-{ended}-{_TOKEN}.json"
    old = tmp_path / f".writing-{there}-{os.getpid()}-{_TOKEN}.json"  # a process of that number
    folder = tmp_path / f".writing-{there}-{ended}-{_TOKEN}"
    (folder / "deep").mkdir(parents=True)
    for path in (young, old, folder / "deep" / "model.keras"):
        path.write_text("half")
    age(young, _DAY - 600)
    for path in (old, folder / "deep", folder):
        age(path, _DAY + 600)
    remove_leftovers(tmp_path)
    # the folder was begun long ago, and a file in it was written just now
    assert sorted(tmp_path.iterdir()) == sorted([young, folder])
    age(folder / "deep" / "model.keras", _DAY + 600)
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


@pytest.mark.parametrize("what", ["machine", "namespace"])
def test_places_are_told_apart(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _files._here()
    assert before == _files._here()
    if what == "machine":
        monkeypatch.setattr("platform.node", lambda: "another")
    else:
        if not Path("/proc/self/ns/pid").exists():
            pytest.skip("this system has no namespaces")
        real = os.stat

        def other(path: object, *arguments: object, **options: object) -> object:
            if path == "/proc/self/ns/pid":
                return os.stat_result([0, 4026531836 + 7, *([0] * 8)])
            return real(path, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("os.stat", other)
    assert _files._here() != before


def test_a_replacement_that_was_killed_keeps_the_old_and_the_new(tmp_path: Path) -> None:
    script = """
import os, sys, pathlib
from miscnn._files import atomic_folder
def killed(self, target):
    if not self.name.endswith("-replaced-bundle") and self.name.startswith(".writing-"):
        os._exit(9)
    return os.rename(self, target)
pathlib.Path.rename = killed
with atomic_folder(sys.argv[1]) as new:
    new.mkdir()
    (new / "model").write_text("new")
"""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model").write_text("old")
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "bundle"], check=False)
    assert done.returncode == 9
    assert not (tmp_path / "bundle").exists()
    before = sorted(tmp_path.iterdir())
    assert len(before) == 2
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    new, old = before
    assert _files.replaced_beside(new) == old
    assert _files.target_of(old) == (new, tmp_path / "bundle")
    assert (new / "model").read_text() == "new"
    assert (old / "model").read_text() == "old"


def test_the_longest_name_of_a_folder_can_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 255)
    for content in ("old", "new"):
        with atomic_folder(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]
