"""Who runs a fold: one process at a time, whoever has started it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn._files import is_abandoned, temporary_beside, write_json
from miscnn.exceptions import MiscnnError

_log = logging.getLogger("miscnn.evaluation")

_FILE = "running.json"
_TRAINING = "training"
_TRAINING_NAME = re.compile(rf"{_TRAINING}(-[0-9a-f]{{12}})?")
_OWNER = re.compile(
    r"\.writing-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-(?P<attempt>[0-9a-f]+)"
)


class SupersededError(MiscnnError, RuntimeError):
    """A fold was taken by another process, because this one was taken for dead, or by mistake."""


@dataclass(frozen=True)
class Claim:
    """The claim of a process on a fold.

    The last one who takes it has it. A process that was taken for dead but is only slow finds out
    before it writes into the fold's folder; what it has trained lies in a folder of its own.

    Attributes
    ----------
    folder : Path
        Of the fold.
    owner : str
        Tells machine, process and attempt.
    training : str
        Name of the folder for checkpoints.
    """

    folder: Path
    owner: str
    training: str

    @classmethod
    def take(cls, folder: Path) -> Claim:
        """Take a fold; go on with the checkpoints of a process that is surely dead."""
        folder.mkdir(parents=True, exist_ok=True)
        mine = temporary_beside(folder / _FILE)
        training = _TRAINING
        while True:
            before = _taken_away(folder, mine)
            if before is not None:
                training = before["training"]
                if not _is_dead(before["owner"]):
                    training = f"{_TRAINING}-{mine.name[-12:]}"
                    _log.warning(
                        "%s: the process that was at work on it may be alive; it begins anew",
                        folder.name,
                    )
            write_json(mine, {"owner": mine.name, "training": training})
            try:
                _put(mine, folder / _FILE)
            except FileExistsError:  # another one was faster: this one takes the fold from it
                continue
            finally:
                mine.unlink(missing_ok=True)
            return cls(folder, mine.name, training)

    def check(self) -> None:
        """Raise SupersededError if somebody else has the fold now."""
        now = _read(self.folder / _FILE)
        if now is None or now["owner"] != self.owner:
            raise SupersededError(
                f"{self.folder.name} was handed to another worker, or to a program that was "
                "started later"
            )

    @property
    def shares_training(self) -> bool:
        """Whether who has the fold now goes on with these very checkpoints."""
        now = _read(self.folder / _FILE)
        return now is not None and now["owner"] != self.owner and now["training"] == self.training

    def release(self) -> None:
        """Give the fold back, finished or failed."""
        with suppress(SupersededError, OSError):
            self.check()
            (self.folder / _FILE).unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Take a fold, and give it back whatever happens."""
    claim = Claim.take(folder)
    try:
        yield claim
    finally:
        claim.release()


def forget_claim(folder: Path) -> None:
    """Remove what an earlier run has left, unless its process is at work on this machine still.

    Whoever starts a run says that those on other machines have ended.
    """
    before = _read(folder / _FILE)
    if before is None or not _is_at_work(before["owner"]):
        (folder / _FILE).unlink(missing_ok=True)


def starter_of(folder: Path) -> str:
    """Return what tells this process from others: for :func:`is_gone`."""
    return temporary_beside(folder / _FILE).name


def is_gone(starter: str) -> bool:
    """Tell whether a process of this machine has ended; of other machines it is not known."""
    return not _is_on_another_machine(starter) and is_abandoned(Path(starter))


def _taken_away(folder: Path, mine: Path) -> dict[str, str] | None:
    """Take the claim that is there away; only one of several processes gets it."""
    aside = mine.with_name(mine.name + ".claim")
    try:
        os.rename(folder / _FILE, aside)
    except FileNotFoundError:
        return None
    found = _read(aside)
    aside.unlink(missing_ok=True)
    # Of a damaged one nobody knows whose it is.
    return found or {"owner": "", "training": _TRAINING}


def _put(mine: Path, target: Path) -> None:
    try:
        os.link(mine, target)  # fails if it is there
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with target.open("x", encoding="utf-8") as file:
            file.write(mine.read_text(encoding="utf-8"))


def _is_dead(owner: str) -> bool:
    # A process runs a fold once at a time: its own claim is that of an attempt that has ended, or
    # of another process that had this number before (the first of a container that was restarted).
    return _is_ours(owner) or (_OWNER.fullmatch(owner) is not None and is_abandoned(Path(owner)))


def _is_at_work(owner: str) -> bool:
    return not _is_dead(owner) and not _is_on_another_machine(owner)


def _is_ours(owner: str) -> bool:
    here, there = _OWNER.fullmatch(temporary_beside(Path()).name), _OWNER.fullmatch(owner)
    return here is not None and there is not None and here.group(1, 2) == there.group(1, 2)


def _is_on_another_machine(owner: str) -> bool:
    here, there = _OWNER.fullmatch(temporary_beside(Path()).name), _OWNER.fullmatch(owner)
    return here is None or there is None or here["machine"] != there["machine"]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        name, owner = found["training"], found["owner"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(owner, str):
        return None
    return {"owner": owner, "training": name} if _TRAINING_NAME.fullmatch(name) else None
