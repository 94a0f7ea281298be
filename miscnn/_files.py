"""Files that are either complete or not there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def temporary_beside(target: Path, suffix: str = "") -> Path:
    """Return a new name in the folder of ``target``, which :func:`remove_leftovers` knows."""
    return target.parent / f".writing-{os.getpid()}-{secrets.token_hex(6)}{suffix}"


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it to ``target`` if all went well.

    The temporary name keeps all endings of the target (``.nii.gz``), since libraries choose
    the format by them. Missing parent folders are made.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(target.suffixes[-2:])
    temporary = temporary_beside(target, suffix)
    # made like any file of the user's: permissions follow the umask
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``target`` for a folder; give it that name if all went well.

    A folder that has the name is replaced as a whole. If anything fails, it has the name still.
    """
    target = Path(target)
    temporary = temporary_beside(target)
    replaced = temporary.with_name(temporary.name + "-replaced")
    try:
        yield temporary
        if target.exists():  # no system replaces a folder that is not empty
            target.rename(replaced)
        try:
            temporary.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files and folders of processes on this machine that are no more."""
    for leftover in Path(folder).glob(".writing-*"):
        if leftover.name.endswith("-replaced"):  # may be all there is of what was replaced
            continue
        with suppress(IndexError, ValueError, FileNotFoundError):
            if _runs(int(leftover.name.split("-")[1])):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write text (UTF-8) atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, atomically. NaN and infinity are refused."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")
