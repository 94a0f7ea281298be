"""What a training was made of: whether the files of its subjects are those of then.

Names and places of the files do not count, so that a data set can be moved, copied or renamed.
Neither do dates alone: where size or date of a file is another, a digest of its contents decides.
That reads at most 1 MiB of a file, in blocks spread evenly from its first byte to its last, and
less of each file of a subject in many files. Compressed files end with a check sum of all that
they hold. A change of an uncompressed file larger than that is not seen if the size stays and no
block was touched.

Imported without Keras.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from miscnn.exceptions import MiscnnError

_BLOCK = 16 << 10  # bytes
_MOST_BLOCKS = 64  # of a subject; two of each file at least
_TOLD = 5  # subjects

Fingerprints = dict[str, dict[str, str]]
"""Of each subject: ``state`` (sizes and dates of its files), ``contents`` (sizes and digests)."""


class Sources:
    """The files that subjects are read from.

    Parameters
    ----------
    interface : DataInterface
        Interfaces whose subjects have no files have no fingerprints, and nothing is compared.
    """

    def __init__(self, interface: Any) -> None:
        self._interface = interface
        self._contents: dict[tuple[Path, int], str] = {}  # slices of a volume share its files

    def fingerprints(self, subjects: Iterable[str]) -> Fingerprints:
        """Return the fingerprint of each subject that has files, as JSON values."""
        found: Fingerprints = {}
        for index in dict.fromkeys(subjects):
            state = self._state(index)
            contents = None if state is None else self._digest(index)
            if state is not None and contents is not None:
                found[index] = {"state": state, "contents": contents}
        return found

    def differences(self, before: Mapping[str, Mapping[str, str]] | None) -> list[str]:
        """Tell in words whose files hold something else than then; nothing if all is the same."""
        changed = [
            index
            for index, then in (before or {}).items()
            if (state := self._state(index)) is not None
            and state != then["state"]
            and self._digest(index) != then["contents"]
        ]
        if not changed:
            return []
        told = " ".join(changed[:_TOLD]) + (" …" if len(changed) > _TOLD else "")
        return [f"the files of {len(changed)} subject(s) have changed since ({told})"]

    def _files(self, index: str) -> list[Path]:
        files = getattr(self._interface, "source_files", None)
        return [] if files is None else list(files(index))

    def _state(self, index: str) -> str | None:
        """Return a digest of sizes and dates; None without files (reading tells what is wrong)."""
        try:
            states = [file.stat() for file in self._files(index)]
        except (OSError, MiscnnError):
            return None
        told = repr([(state.st_size, state.st_mtime_ns) for state in states])
        return _digest_of(told.encode()) if states else None

    def _digest(self, index: str) -> str | None:
        try:
            files = self._files(index)
            blocks = max(2, _MOST_BLOCKS // len(files))
            for file in files:
                if (file, blocks) not in self._contents:
                    self._contents[file, blocks] = _contents(file, blocks)
        except (OSError, MiscnnError):
            return None
        return _digest_of("".join(self._contents[file, blocks] for file in files).encode())


def _contents(file: Path, blocks: int) -> str:
    """Return a digest of the size and of blocks from the first to the last."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb", buffering=0) as stream:
        if size <= blocks * _BLOCK:
            digest.update(stream.read())
        else:
            for number in range(blocks):
                stream.seek((size - _BLOCK) * number // (blocks - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def _digest_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:32]
