"""Files that are either complete or not there."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.writing-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{12}(\.[^/]*)?", re.DOTALL)
_REPLACED = "-replaced"
_LONGEST_NAME = 255  # bytes
_DAY = 86_400  # seconds


def temporary_beside(target: Path, suffix: str = "") -> Path:
    """Return a new name in the folder of ``target``, which :func:`remove_leftovers` knows.

    It tells where it was given, and the number of the process.
    """
    return target.parent / f".writing-{_here()}-{os.getpid()}-{secrets.token_hex(6)}{suffix}"


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
    replaced = _beside_replaced(temporary, target)
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
    """Remove temporary files and folders, in a folder, that nobody writes any more.

    Those of an interrupted replacement stay (:func:`replaced_beside`).
    """
    for leftover in Path(folder).glob(".writing-*"):
        if not is_abandoned(leftover) or replaced_beside(leftover):
            continue
        with suppress(FileNotFoundError):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def is_abandoned(path: Path) -> bool:
    """Tell whether this is a temporary file or folder that nobody writes any more.

    The number of a process says nothing on another machine, nor in another container: what comes
    from there is abandoned when nothing in it has changed for a day.
    """
    found = _TEMPORARY.fullmatch(path.name)
    if found is None:
        return False
    if found[1] == _here() and os.name == "posix":
        return not _runs(int(found[2]))
    return is_old(path)


def is_old(path: Path) -> bool:
    """Tell whether a file, or a folder with all that is in it, has not changed for a day."""
    newest = 0.0
    try:
        newest = path.lstat().st_mtime
        if path.is_dir() and not path.is_symlink():
            newest = max((newest, *(p.lstat().st_mtime for p in path.rglob("*"))))
    except OSError:  # somebody is at work on it
        return False
    return time.time() - newest > _DAY


def replaced_beside(temporary: Path) -> Path | None:
    """Return the folder that a temporary one was to replace, if that was interrupted.

    Its name ends in that of the target, see :func:`target_of`. Both may be all there is.
    """
    start = temporary.name + _REPLACED
    with suppress(OSError):
        for name in sorted(os.listdir(temporary.parent)):
            if name == start or name.startswith(start + "-"):
                return temporary.with_name(name)
    return None


def target_of(replaced: Path) -> tuple[Path, Path | None] | None:
    """Return the temporary folder, and the target if known, that belong to a replaced folder.

    None if this is none.
    """
    start, sign, name = replaced.name.partition(_REPLACED)
    if not sign or _TEMPORARY.fullmatch(start) is None or name[:1] not in ("", "-"):
        return None
    target = replaced.with_name(name[1:]) if name[1:] else None
    return replaced.with_name(start), target


def _beside_replaced(temporary: Path, target: Path) -> Path:
    name = f"{temporary.name}{_REPLACED}-{target.name}"
    if not target.name or len(os.fsencode(name)) > _LONGEST_NAME:
        name = temporary.name + _REPLACED
    return temporary.with_name(name)


def _here() -> str:
    """Return what tells machines, their starts, and namespaces of processes apart."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
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
