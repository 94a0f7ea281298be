"""Unpacking archives from strangers."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from miscnn.exceptions import DownloadError

# Medical images shrink to a half, label maps to a hundredth.
_RATIO = 100
_SMALL = 1 << 30
_MOST_MEMBERS = 1_000_000


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    folder: bool
    plain: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path, finish: Callable[[Path], None]) -> None:
    """Unpack a ZIP or TAR archive as the folder ``target``, completely or not at all.

    A single folder at the top of the archive becomes the target, whatever it is called.

    Parameters
    ----------
    archive : Path
    target : Path
        Must not exist, or be empty.
    finish : callable
        Handed the unpacked folder before it gets its name.

    Raises
    ------
    DownloadError
        If the archive is damaged; if a member would lie outside of the target, or is a link or a
        device; if it is a hundred times larger than the archive (and than 1 GiB), or does not fit
        on the disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".unpacking-{os.getpid()}-{secrets.token_hex(6)}"
    work.mkdir()
    try:
        with _opened(archive) as members:
            _check_size(archive, members, work)
            for member in members:
                _write(member, _place(member.name, work, archive), archive)
        inside = list(work.iterdir())
        content = inside[0] if len(inside) == 1 and inside[0].is_dir() else work
        finish(content)
        if target.exists():
            target.rmdir()
        os.replace(content, target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadError(f"{archive.name} cannot be unpacked ({error}); remove it") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_zip_member(file, info) for info in file.infolist()]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield [_tar_member(tar, info) for info in _limited(tar)]
    else:
        raise DownloadError(f"{archive.name} is neither a ZIP nor a TAR archive; remove it")


def _limited(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, info in enumerate(tar):
        if number > _MOST_MEMBERS:
            raise DownloadError(f"the archive holds more than {_MOST_MEMBERS} files")
        yield info


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, info.file_size, info.is_dir(), plain, lambda: file.open(info))


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    plain = (info.isreg() or info.isdir()) and not info.issparse()
    return _Member(info.name, info.size, info.isdir(), plain, lambda: tar.extractfile(info))


def _check_size(archive: Path, members: list[_Member], work: Path) -> None:
    total = sum(member.size for member in members)
    limit = max(_RATIO * archive.stat().st_size, _SMALL)
    free = shutil.disk_usage(work).free
    if total > limit:
        raise DownloadError(
            f"{archive.name} would become {total} bytes, more than {limit}; that is no data set"
        )
    if total > free:
        raise DownloadError(
            f"{archive.name} becomes {total} bytes, but only {free} are free in {work.parent}"
        )


def _place(name: str, work: Path, archive: Path) -> Path:
    """Return where a member goes, which must be inside of the folder."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.anchor or PurePosixPath(name).is_absolute():
        raise DownloadError(f"{archive.name}: the member {name!r} would lie outside; not unpacked")
    return work.joinpath(*parts)


def _write(member: _Member, path: Path, archive: Path) -> None:
    if not member.plain:
        raise DownloadError(f"{archive.name}: {member.name!r} is a link or a device; not unpacked")
    if member.folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source: Any = member.open()
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    if path.stat().st_size != member.size:
        raise DownloadError(
            f"{archive.name}: {member.name!r} has {path.stat().st_size} bytes, not {member.size}; "
            "remove the archive and download it again"
        )
