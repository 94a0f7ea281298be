"""Downloads that go on where they were interrupted, and are checked."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from miscnn._files import write_text
from miscnn._optional import optional
from miscnn._version import __version__
from miscnn.exceptions import ConfigurationError, DownloadError, MiscnnError

_LOG = logging.getLogger("miscnn.datasets")

SUMS = "SHA256SUMS"
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_LONGEST_WAIT = 30.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


def download(
    url: str, root: Path, name: str, checksum: str | None, retries: int, progress: bool
) -> Path:
    """Download a file, unless it is there already, and check it.

    Without a known checksum, that of the first download is written to ``SHA256SUMS`` in ``root``,
    and demanded from then on.

    Parameters
    ----------
    url : str
    root : Path
        Folder of the data set.
    name : str
        Where the file goes, relative to ``root``.
    checksum : str or None
        ``"algorithm:hash"``.
    retries : int
        How often in a row nothing may arrive before it is given up.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path

    Raises
    ------
    DownloadError
        If the file is not there, does not arrive, is another one than expected, or cannot be
        written.
    ConfigurationError
        If the address is none, or pooch is not installed.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ConfigurationError(f"{url!r} is no address of the form https://…")
    pooch = optional("pooch", "datasets", "Downloading data sets")
    path = root / name
    with on_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _retrieve(pooch, url, root, name, checksum, retries, progress)
    return path


def parts_of(path: Path) -> tuple[Path, Path]:
    """Return where an unfinished download is kept, and what is noted about it."""
    return path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")


@contextlib.contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Turn what writing raises into a DownloadError that says how to mend it."""
    try:
        yield
    except MiscnnError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        named = f" ({error.filename})" if error.filename else ""
        advice = (
            "make room on the disk and try again"
            if error.errno in _NO_ROOM
            else "name a folder in which you may write"
        )
        raise DownloadError(
            f"cannot write in {folder}: {reason}{named}; {advice}. What has arrived is kept"
        ) from error


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from telling what ours tells."""
    # Not by its level: pooch's logger is its own, of which the logging module does not forget
    # which levels were enabled.
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _retrieve(
    pooch: Any,
    url: str,
    root: Path,
    name: str,
    checksum: str | None,
    retries: int,
    progress: bool,
) -> None:
    path = root / name
    recorded = _recorded(root).get(name)
    known = checksum or (f"sha256:{recorded}" if recorded else None)
    loader = _Resuming(path, retries, progress, checked=known is not None)
    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(url, known, fname=path.name, path=path.parent, downloader=loader)
    except ValueError as error:  # pooch's word for another checksum
        if isinstance(error, ConfigurationError):
            raise
        raise DownloadError(
            f"{url} is not the file that was expected ({error}); it was removed. Try again, or ask "
            "whoever runs the server"
            + (
                f"; the checksum is that of an earlier download, in {root / SUMS}"
                if recorded
                else ""
            )
        ) from error
    if known is None:
        _record(root, name, pooch.file_hash(str(path), alg="sha256"))
        _LOG.info("no checksum is published for %s; that of this download is kept in %s", url, SUMS)


class _Resuming:
    """Loads a file piece by piece into ``<name>.part``, and moves it when it is complete.

    Where the file is not ``checked`` afterwards, a part is continued only if the server tells that
    it still sends the same version of the file.
    """

    def __init__(self, path: Path, retries: int, progress: bool, checked: bool) -> None:
        self._part, self._note = parts_of(path)
        self._checked = checked
        self._retries = retries
        self._progress = progress

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                self._continue(url)
                break
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                if isinstance(error, DownloadError):  # the disk's errors are such, too
                    raise
                failures = failures + 1 if self._size() <= before else 0
                if failures > self._retries:
                    raise DownloadError(
                        f"{url} could not be downloaded ({error}); {self._size()} bytes are kept "
                        f"in {self._part.name}, and the next call goes on from there"
                    ) from error
                _LOG.info("the download of %s was interrupted (%s); it goes on", url, error)
                time.sleep(min(_LONGEST_WAIT, 0.1 * 4**failures) if failures > 1 else 0.1)
        self._check_content(url)
        os.replace(self._part, output_file)
        self._note.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _continue(self, url: str) -> None:
        """Ask for what is missing and append it."""
        have = self._size()
        validator = self._validator(url)
        # Of another address, or perhaps of another version, which nobody would notice.
        if have and (validator is None or not (validator or self._checked)):
            self._begin_anew()
            have = 0
        headers = {"User-Agent": f"miscnn/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        try:
            answer = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
            )
        except urllib.error.HTTPError as error:
            self._refused(error, url, have)
            return
        with answer:
            begin, total = _range(answer, have)
            if begin == 0:
                self._begin_anew()
                self._keep_validator(url, answer.headers)
            free = shutil.disk_usage(self._part.parent).free
            if total is not None and total - begin > free:
                raise DownloadError(
                    f"{url} has {total - begin} bytes to come, but only {free} are free in "
                    f"{self._part.parent}"
                )
            self._append(answer, begin, total)
        if total is not None and self._size() != total:
            if self._size() > total:
                self._begin_anew()
            raise http.client.HTTPException(f"{self._size()} of {total} bytes have arrived")

    def _append(self, answer: Any, begin: int, total: int | None) -> None:
        name = self._part.name.removesuffix(".part")
        with on_disk(self._part.parent):
            file = self._part.open("ab", buffering=0)  # closing writes nothing, and cannot fail
        with (
            file,
            tqdm(
                desc=name, initial=begin, total=total, unit="B", unit_scale=True,
                disable=not self._progress,
            ) as bar,
        ):  # fmt: skip
            while chunk := answer.read(_CHUNK):
                with on_disk(self._part.parent):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[file.write(rest) :]
                bar.update(len(chunk))

    def _refused(self, error: urllib.error.HTTPError, url: str, have: int) -> None:
        """Tell an answer that is an error; return if the file is complete."""
        with error:
            if error.code == 416 and have:  # nothing follows: complete, or not what we have
                if (error.headers.get("Content-Range") or "") == f"bytes */{have}":
                    return
                self._begin_anew()
                raise http.client.HTTPException("the part that was kept does not fit")
            if error.code in _WORTH_ANOTHER_TRY:
                raise http.client.HTTPException(f"status {error.code}")
            raise DownloadError(
                f"{url} cannot be had (status {error.code}, {error.reason}); is the address right? "
                "Another server is named by mirror='https://…'"
            )

    def _begin_anew(self) -> None:
        with on_disk(self._part.parent):
            self._part.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _keep_validator(self, url: str, headers: Any) -> None:
        """Note which version of the file the server sends, so that no two are put together."""
        tag = headers.get("ETag") or ""
        validator = tag if tag.startswith('"') else headers.get("Last-Modified") or ""
        with on_disk(self._note.parent):
            write_text(self._note, json.dumps({"url": url, "validator": validator}))

    def _validator(self, url: str) -> str | None:
        """Return the version of which a part is kept, or None if it is of something else."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note.get("url") == url and isinstance(note.get("validator"), str):
                return str(note["validator"])
        return None

    def _check_content(self, url: str) -> None:
        """Refuse a page of text where a compressed file was asked for, whatever its checksum."""
        with self._part.open("rb") as file:
            begin = file.read(2)
        if self._part.name.endswith(".gz.part") and begin != b"\x1f\x8b":
            self._begin_anew()
            raise DownloadError(
                f"{url} answers with something else than a .gz file; open it in a browser to see "
                "whether it asks for a password"
            )


def _range(answer: Any, have: int) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and how long the file is if it says so."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
        if match is None or int(match[1]) != have:
            raise http.client.HTTPException("the server sends another part than the one asked for")
        return have, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdigit() else None


def _recorded(root: Path) -> dict[str, str]:
    """Return the checksums of earlier downloads, as ``sha256sum`` writes them."""
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: value for value, name in pairs}


def _record(root: Path, name: str, value: str) -> None:
    sums = {**_recorded(root), name: value}
    write_text(root / SUMS, "".join(f"{sums[key]}  {key}\n" for key in sorted(sums)))
