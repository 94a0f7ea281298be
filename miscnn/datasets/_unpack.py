"""Unpacking archives from strangers."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, TypeVar

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
# Bytes of a ZIP's table of contents for each member: 46, a name, times and sizes.
_ENTRY = 512
# What names make a file system say that do not fit to it, or to one another.
_BAD_NAMES = (
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
)


_Info = TypeVar("_Info", zipfile.ZipInfo, tarfile.TarInfo)


class ArchiveTooLargeError(DownloadError):
    """An archive holds more than may be unpacked."""


class _Frugal(io.BufferedReader):
    """A file that is not read in large pieces: a table of contents comes in one."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most:
            raise ArchiveTooLargeError("the archive's table of contents is too long")
        return super().read(size)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    folder: bool
    plain: bool
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path,
    target: Path,
    finish: Callable[[Path], None],
    *,
    most_bytes: int | None = None,
    most_members: int = _MOST_MEMBERS,
) -> None:
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
    most_bytes : int, optional
        Of all members together. Default: a hundred times the archive, and at least 1 GiB.
    most_members : int
        Folders count.

    Raises
    ------
    ArchiveTooLargeError
        If it holds more bytes or members than that; nothing is unpacked.
    DownloadError
        If the archive is damaged or encrypted; if a member would lie outside of the target, or is a
        link or a device; if it does not fit on the disk; if the target cannot be written.
    """
    with on_disk(target.parent):
        _unpack(archive, target, finish, most_bytes, most_members)


def _unpack(
    archive: Path,
    target: Path,
    finish: Callable[[Path], None],
    most_bytes: int | None,
    most_members: int,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".unpacking-{os.getpid()}-{secrets.token_hex(6)}"
    work.mkdir()
    try:
        with _opened(archive, most_members) as members:
            _check_size(archive, members, work, most_bytes)
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
def _opened(archive: Path, most: int) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with _Frugal(archive, _ENTRY * (most + 2048)) as raw, zipfile.ZipFile(raw) as file:
            yield [_zip_member(file, info) for info in _limited(file.infolist(), most)]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield [_tar_member(tar, info) for info in _limited(tar, most)]
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass  # to the end, where the checksum of a compressed archive stands
    else:
        raise DownloadError(f"{archive.name} is neither a ZIP nor a TAR archive; remove it")


def _limited(members: Iterable[_Info], most: int) -> Iterator[_Info]:
    for number, info in enumerate(members):
        if number >= most:
            raise ArchiveTooLargeError(f"the archive holds more than {most} files")
        yield info


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, info.file_size, info.is_dir(), plain, lambda: file.open(info))


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    plain = (info.isreg() or info.isdir()) and not info.issparse()
    return _Member(info.name, info.size, info.isdir(), plain, lambda: tar.extractfile(info))


def _check_size(archive: Path, members: list[_Member], work: Path, most_bytes: int | None) -> None:
    total = sum(member.size for member in members)
    limit = max(_RATIO * archive.stat().st_size, _SMALL) if most_bytes is None else most_bytes
    free = shutil.disk_usage(work).free
    if total > limit:
        raise ArchiveTooLargeError(
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
