"""The check sums of a bundle: ``SHA256SUMS``, which ``sha256sum -c`` reads, too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from miscnn._files import write_text
from miscnn.exceptions import DamagedFileError, MissingFileError

__all__ = ["SUMS", "check_sums", "read_sums", "sha256_of", "write_sums"]

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9_.][A-Za-z0-9_.\-/]*)")
_LARGEST_LIST = 16 * 2**20  # bytes
_BLOCK = 2**20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def write_sums(folder: Path) -> None:
    """Write the list over all files in a folder and those below it."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / SUMS
    )
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names]
    write_text(folder / SUMS, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that the list names.

    Raises
    ------
    MissingFileError
        If there is no list.
    DamagedFileError
        If it is no such list, or names files outside of the folder.
    """
    path = folder / SUMS
    if not path.is_file():
        raise MissingFileError(
            f"{folder} holds no {SUMS}, which is written last: the bundle is incomplete. Save the "
            "network again, or copy the whole folder again"
        )
    if path.stat().st_size > _LARGEST_LIST:
        raise DamagedFileError(f"{path} is no list of check sums: it is larger than 16 MiB")
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is no list of check sums: {error}") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        name = found[2] if found else ""
        if found is None or ".." in PurePosixPath(name).parts or name in sums:
            raise DamagedFileError(
                f"{path}, line {number}: expected 64 hexadecimal digits, two spaces and the name "
                f"of a file in this folder, each once; got {line[:100]!r}"
            )
        sums[name] = found[1]
    return sums


def check_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Compare each file with its check sum.

    Raises
    ------
    MissingFileError, DamagedFileError
        If a file is missing or has changed; it names all of them.
    """
    missing = [name for name in sums if not (folder / name).is_file()]
    changed = [
        name for name in sums if name not in missing and sha256_of(folder / name) != sums[name]
    ]
    if changed:
        also = f"; missing: {', '.join(missing)}" if missing else ""
        raise DamagedFileError(
            f"{folder} is not as it was saved. Changed: {', '.join(changed)}{also}. Get the bundle "
            f"anew from where it came from; nothing of it was loaded"
        )
    if missing:
        raise MissingFileError(
            f"{folder} is incomplete. Missing: {', '.join(missing)}. Copy the whole folder again"
        )
