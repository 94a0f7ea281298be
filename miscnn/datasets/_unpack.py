"""Unpacking archives from strangers."""

from __future__ import annotations

import errno
import gzip
import lzma
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

from miscnn.datasets._download import on_disk
from miscnn.exceptions import DownloadError

_SHOWN = 60  # characters of a name

# Medical images shrink to a half, label maps to a hundredth.
_RATIO = 100
_SMALL = 1 << 30
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    RuntimeError,
)
_MOST_MEMBERS = 1_000_000
# What names make a file system say that do not fit to it, or to one another.
_BAD_NAMES = (
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    folder: bool
    plain: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path, finish: Callable[[Path], None]) -> None:
    """Unpack a ZIP or TAR archive as the folder ``target``, completely or not at all.

    A single folder at the top of the archive becomes the target, whatever it is called; hidden
    files beside it and ``__MACOSX`` are left out.

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
        on the disk; if the target cannot be written.
    """
    with on_disk(target.parent):
        _unpack(archive, target, finish)


def _unpack(archive: Path, target: Path, finish: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".unpacking-{os.getpid()}-{secrets.token_hex(6)}"
    work.mkdir()
    try:
        with _opened(archive) as members:
            _check_size(archive, members, work)
            for member in members:
                _write_if_it_can_be(member, work, archive)
        content = _content(work)
        finish(content)
        if target.exists():
            target.rmdir()
        os.replace(content, target)
    except _DAMAGED as error:
        raise DownloadError(f"{archive.name} cannot be unpacked ({error}); remove it") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _content(work: Path) -> Path:
    """Return the one folder in it, or itself."""
    inside = [p for p in work.iterdir() if p.name[0] != "." and p.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else work


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_zip_member(file, info) for info in file.infolist()]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield [_tar_member(tar, info) for info in _limited(tar)]
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass  # to the end, where the checksum of a compressed archive stands
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


def _write_if_it_can_be(member: _Member, work: Path, archive: Path) -> None:
    try:
        _write(member, _place(member.name, work, archive), archive)
    except ValueError as error:  # Python's own, of a zero byte in a name
        raise _unfit(member, archive, str(error)) from error
    except OSError as error:
        if isinstance(error, DownloadError) or error.errno not in _BAD_NAMES:
            raise
        raise _unfit(member, archive, error.strerror or str(error)) from error


def _unfit(member: _Member, archive: Path, reason: str) -> DownloadError:
    name = member.name if len(member.name) <= _SHOWN else member.name[:_SHOWN] + "…"
    return DownloadError(
        f"{archive.name}: the member {name!r} cannot be written ({reason}): its name does not fit "
        "to this disk or to another member; remove the archive, or unpack it by hand"
    )


def _place(name: str, work: Path, archive: Path) -> Path:
    """Return where a member goes, which must be inside of the folder."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not name:
        raise DownloadError(f"{archive.name}: a member has no name; remove the archive")
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
