"""What a folder of predictions tells of itself: ``predictions.json`` and ``volumes.tsv``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn._files import write_json
from miscnn._text import read_tsv, write_tsv
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._recipe import differences_of

MANIFEST = "predictions.json"
VOLUMES = "volumes.tsv"

_FORMAT = 1
_HEADER = ("index", "class", "name", "voxels", "ml")
# Of the time that goes by, no more than this part is spent on writing the files anew: with many
# small subjects they are written after some of them.
_SHARE = 0.05

Identity = Mapping[str, Any]
Row = tuple[str, int, str, int, float | None]


class Ledger:
    """The manifest and the table of volumes of one folder.

    Both are complete files at any time. What was predicted by another model, or in another way,
    is forgotten: its files stay, but count as not there.

    Parameters
    ----------
    folder : path
    identity : mapping
        The model and how it predicts, as JSON values.
    keep : bool
        Whether the folder must be of this model: subjects that are there are to stay.
    notes : mapping, optional
        What the manifest tells besides, and nobody compares.

    Raises
    ------
    ConfigurationError
        With ``keep``, if the folder was predicted by another model or with other settings.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        keep: bool,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self._notes = dict(notes or {})
        self._identity = json.loads(json.dumps(identity))
        self._subjects: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[list[object]]] = {}
        self._cost = self._written = 0.0
        self._changed = False
        found = self._read(keep)
        if found is None:
            return
        differences = differences_of("identity", found.get("identity"), self._identity)
        if not differences:
            self._subjects = dict(found["subjects"])
            self._read_volumes()
        elif keep:
            told = "; ".join(d.removeprefix("identity.") for d in differences[:5])
            raise ConfigurationError(
                f"{folder / MANIFEST} says that the predictions there were made otherwise: "
                f"{told}. Choose another folder, or let them be replaced (overwrite=True)"
            )

    def _read(self, keep: bool) -> dict[str, Any] | None:
        path = self.folder / MANIFEST
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = document["format"] == _FORMAT and isinstance(document["subjects"], dict)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            known = False
        if known:
            return document
        if keep:
            raise ConfigurationError(
                f"{path} is not a list of predictions that this version can read; choose another "
                "folder, or let the predictions be replaced (overwrite=True)"
            )
        return None

    def _read_volumes(self) -> None:
        try:
            _, *lines = read_tsv(self.folder / VOLUMES)
        except (FileNotFoundError, ValueError):
            return
        for line in lines:
            if len(line) == len(_HEADER):
                self._rows.setdefault(line[0], []).append(list(line))

    def has(self, index: str, outputs: Iterable[str]) -> bool:
        """Tell whether all that is asked for of a subject is there."""
        known = self._subjects.get(index, {})
        for output in outputs:
            files = known.get(output)
            if output == "volumes":
                if not self._rows.get(index):
                    return False
            elif not files or not all((self.folder / name).is_file() for name in files):
                return False
        return True

    def forget(self, index: str) -> None:
        """Take a subject out: it is to be predicted anew."""
        if index in self._subjects or index in self._rows:
            self._subjects.pop(index, None)
            self._rows.pop(index, None)
            self._changed = True

    def add(self, index: str, files: Mapping[str, Path], rows: Sequence[Row] = ()) -> None:
        """Note what was written of a subject; older notes of other outputs stay."""
        if not files and not rows:  # the interface keeps predictions elsewhere
            return
        own = self._subjects.setdefault(index, {})
        for output, path in files.items():
            own[output] = [self._name(path)]
        if rows:
            self._rows[index] = [["" if cell is None else cell for cell in row] for row in rows]
        self._changed = True
        spent = time.monotonic() - self._written
        if self._cost <= _SHARE * spent:
            self.write()

    def completed(self, indices: Iterable[str], files: Sequence[Path]) -> None:
        """Note that files of subjects were put together to others, where they are gone."""
        names = [self._name(path) for path in files]
        for index in indices:
            for output, own in self._subjects.get(index, {}).items():
                if names and not all((self.folder / name).is_file() for name in own):
                    self._subjects[index][output] = names
                    self._changed = True

    def write(self) -> None:
        """Write what has changed. The manifest comes last: it tells what is complete."""
        if not self._changed:
            return
        started = time.monotonic()
        if self._rows or (self.folder / VOLUMES).exists():
            lines = [row for index in sorted(self._rows) for row in self._rows[index]]
            write_tsv(self.folder / VOLUMES, _HEADER, lines)
        if self._subjects:
            document = {
                "format": _FORMAT,
                **self._notes,
                "identity": self._identity,
                "subjects": dict(sorted(self._subjects.items())),
            }
            write_json(self.folder / MANIFEST, document)
        self._written = time.monotonic()
        self._cost = self._written - started
        self._changed = False

    def _name(self, path: Path) -> str:
        path = Path(path)
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).as_posix()
        return str(path.resolve())
