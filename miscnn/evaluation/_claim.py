"""Who runs a fold, where an engine may hand it from a worker it has lost to another."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn._files import is_abandoned, temporary_beside, write_json
from miscnn.exceptions import MiscnnError

_log = logging.getLogger("miscnn.evaluation")

_FILE = "running.json"
_TRAINING = "training"


class SupersededError(MiscnnError, RuntimeError):
    """A fold was handed to another worker, because this one was taken for dead."""


@dataclass(frozen=True)
class Claim:
    """The claim of a worker on a fold.

    The last one who takes it has it. A worker that was taken for dead but is only slow finds out
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
        """Take a fold; go on with the checkpoints of a worker that is surely dead."""
        owner = temporary_beside(folder / _FILE).name
        before = _read(folder)
        training = _TRAINING
        if before is not None:
            training = before["training"]
            if not is_abandoned(Path(before["owner"])):
                training = f"{_TRAINING}{owner[-13:]}"
                _log.warning(
                    "%s: its worker was lost, but may be alive; the fold begins anew", folder.name
                )
        claim = cls(folder, owner, training)
        write_json(folder / _FILE, {"owner": owner, "training": training})
        return claim

    def check(self) -> None:
        """Raise SupersededError if somebody else has the fold now."""
        now = _read(self.folder)
        if now is None or now["owner"] != self.owner:
            raise SupersededError(f"{self.folder.name} was handed to another worker")

    def release(self) -> None:
        """Give the fold back, finished."""
        with suppress(SupersededError):
            self.check()
            (self.folder / _FILE).unlink(missing_ok=True)


def forget_claims(folder: Path) -> None:
    """Remove what workers of an earlier run have left."""
    (folder / _FILE).unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        name, owner = str(found["training"]), str(found["owner"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not name.startswith(_TRAINING) or not name.replace("-", "").isalnum():
        return None
    return {"owner": owner, "training": name}
