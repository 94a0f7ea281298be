"""What a folder of predictions tells of itself: ``predictions.json`` and ``volumes.tsv``."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn._files import write_json
from miscnn._text import read_tsv, write_tsv
from miscnn.data_loading._indices import subject_of
from miscnn.data_loading._new_results import MANIFEST
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._ledger_files import FORMAT, locked, read_manifest
from miscnn.neural_network._recipe import differences_of

VOLUMES = "volumes.tsv"

_HEADER = ("index", "class", "value", "name", "voxels", "ml")
# Significant digits of millilitres in the table: more is noise of floating-point numbers.
_DIGITS = 12
# Of the time that goes by, no more than this part is spent on writing the files anew: with many
# small subjects they are written after some of them.
_SHARE = 0.05

Identity = Mapping[str, Any]
Row = tuple[str, int, str, int, float | None]
TableRow = tuple[str, int, int, str, int, float | None]


class Ledger:
    """The manifest and the table of volumes of one folder.

    Both are complete files at any time. What was predicted by another model, or in another way,
    or from another image of the same name, is forgotten: its files stay, but count as not there.

    Another process may write into the same folder, by the same model: whenever the files are
    written, they are read again, and what the other one has noted stays. Of a subject and an
    output that both predict, the last note stays. Where the system has no locks, a note of one
    process may be gone until that process writes again; its very last one may stay away.

    Attributes
    ----------
    folder : Path
    stale : set of str
        Files that were written, or begun, and count as not there: they may be replaced.

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
        self.stale: set[str] = set()
        self._notes = dict(notes or {})
        self._identity = json.loads(json.dumps(identity))
        self._subjects: dict[str, dict[str, Any]] = {}
        self._sources: dict[str, list[dict[str, Any]]] = {}
        self._sizes: dict[str, int] = {}
        self._rows: dict[str, list[list[object]]] = {}
        self._new = not (folder / MANIFEST).exists()
        self._cost = self._written = 0.0
        self._changed = False
        # What this process has done, which goes before what another one has noted meanwhile.
        self._mine: dict[str, set[str]] = {}
        self._dropped: set[str] = set()
        self._begun: set[str] = set()
        self._settled: set[str] = set()
        found = self._read(keep)
        if found is None:
            return
        self.stale = set(found["stale"])
        differences = differences_of("identity", found.get("identity"), self._identity)
        if not differences:
            self._subjects = dict(found["subjects"])
            self._sources = dict(found["sources"])
            self._sizes = dict(found["sizes"])
            self._rows = self._volumes()
        elif keep:
            told = "; ".join(d.removeprefix("identity.") for d in differences[:5])
            raise ConfigurationError(
                f"{folder / MANIFEST} says that the predictions there were made otherwise: "
                f"{told}. Choose another folder, or let them be replaced (overwrite=True)"
            )
        else:
            self.stale.update(*(n for own in found["subjects"].values() for n in own.values()))

    def _read(self, keep: bool) -> dict[str, Any] | None:
        path = self.folder / MANIFEST
        try:
            return read_manifest(path)
        except FileNotFoundError:
            return None
        except ValueError:
            pass
        if keep:
            raise ConfigurationError(
                f"{path} is not a list of predictions that this version can read; choose another "
                "folder, or let the predictions be replaced (overwrite=True)"
            )
        return None

    def _volumes(self) -> dict[str, list[list[object]]]:
        found: dict[str, list[list[object]]] = {}
        for line in self._table()[1:]:
            if len(line) == len(_HEADER):
                found.setdefault(line[0], []).append(list(line))
        return found

    def _table(self) -> list[list[str]]:
        """Return the table of volumes; nothing if there is none, or another one."""
        try:
            lines = read_tsv(self.folder / VOLUMES)
        except (OSError, ValueError, csv.Error):
            return []
        return lines if lines and lines[0] == list(_HEADER) else []

    def has_other_table(self) -> bool:
        """Tell whether there is a file of this name that is no table of volumes."""
        return (self.folder / VOLUMES).exists() and not self._table()

    def has(self, index: str, outputs: Iterable[str]) -> bool:
        """Tell whether all that is asked for of a subject is there."""
        known = self._subjects.get(index, {})
        for output in outputs:
            files = known.get(output)
            if output == "volumes":
                if not self._rows.get(index):
                    return False
            elif not files or not all(map(self._is_whole, files)):
                return False
        return True

    def check_results(self, index: str) -> None:
        """Refuse results that are no longer what was written.

        They may be damaged, or someone's corrections: neither to be relied on nor replaced. Empty
        files, and files that were being written when a process was killed, count as not there.

        Raises
        ------
        ConfigurationError
        """
        for name in (n for own in self._subjects.get(index, {}).values() for n in own):
            size = self._size(name)
            if size and name not in self.stale and size != self._sizes.get(name, size):
                raise ConfigurationError(
                    f"sample {index!r}: {self.folder / name} has {size} bytes, but "
                    f"{self._sizes[name]} were written, as {MANIFEST} there says: it is damaged, "
                    "or was changed by hand; move it away, choose another folder, or let it be "
                    "replaced (overwrite=True)"
                )

    def forget(self, index: str) -> None:
        """Take a subject out: it is to be predicted anew, and its files may be replaced."""
        if self.knows(index):
            self.stale.update(*self._subjects.pop(index, {}).values())
            self._rows.pop(index, None)
            self._sources.pop(index, None)
            self._mine.pop(index, None)
            self._dropped.add(index)
            self._changed = True

    def knows(self, index: str) -> bool:
        """Tell whether anything of a subject is there."""
        return index in self._subjects or index in self._rows

    def owners(self) -> dict[str, set[str]]:
        """Return the subjects whose results the files are, by the names of the files."""
        found: dict[str, set[str]] = {}
        for index, own in self._subjects.items():
            for names in own.values():
                for name in names:
                    found.setdefault(name, set()).add(subject_of(index))
        return found

    def check_sources(self, index: str, sources: Sequence[Mapping[str, Any]]) -> None:
        """Forget a subject whose image has changed since it was predicted.

        Raises
        ------
        ConfigurationError
            If what is there was predicted from other files.
        """
        earlier = self._sources.get(index)
        if not earlier or not sources or earlier == list(sources):
            return
        then, now = ([one["path"] for one in files] for files in (earlier, sources))
        own = [name for names in self._subjects.get(index, {}).values() for name in names]
        if then != now and (self._rows.get(index) or any(map(self._is_file, own))):
            raise ConfigurationError(
                f"sample {index!r}: the predictions of this name in {self.folder} were made from "
                f"{_few(then)}, not from {_few(now)}; choose another folder, or let them be "
                "replaced (overwrite=True)"
            )
        self.forget(index)

    def begin(self, targets: Iterable[Path]) -> None:
        """Note which files are to be written: they are known even if the process is killed."""
        self._begun = set(map(self.name_of, targets))
        self.stale |= self._begun
        self._settled -= self._begun
        self._changed = True
        self.write()
        self._written = 0.0  # the first subject is noted at once

    def add(
        self,
        index: str,
        files: Mapping[str, Path],
        rows: Sequence[TableRow] = (),
        sources: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Note what was written of a subject; older notes of other outputs stay."""
        if not files and not rows:  # the interface keeps predictions elsewhere
            return
        own = self._subjects.setdefault(index, {})
        for output, path in files.items():
            own[output] = [self.name_of(path)]
            self._settle(own[output])
        self._mine.setdefault(index, set()).update(files, ("volumes",) if rows else ())
        if sources:
            self._sources[index] = [dict(one) for one in sources]
        if rows:
            self._rows[index] = [list(map(_cell, row)) for row in rows]
        self._changed = True
        spent = time.monotonic() - self._written
        if self._cost <= _SHARE * spent:
            self.write()

    def completed(self, indices: Iterable[str], files: Sequence[Path]) -> None:
        """Note that files of subjects were put together to others, where they are gone."""
        names = [self.name_of(path) for path in files]
        self._settle(names)
        for index in indices:
            for output, own in self._subjects.get(index, {}).items():
                if names and not all(map(self._is_file, own)):
                    self._subjects[index][output] = names
                    self._mine.setdefault(index, set()).add(output)
                    self._changed = True

    def write(self) -> None:
        """Write what has changed. The manifest comes last: it tells what is complete."""
        if not self._changed:
            return
        started = time.monotonic()
        with locked(self.folder):
            others = self._merge()
            self._write(self.stale | others)
        self._written = time.monotonic()
        self._cost = self._written - started
        self._changed = False
        self._dropped.clear()

    def _write(self, stale: set[str]) -> None:
        table = self.folder / VOLUMES
        if self._rows or (table.exists() and not self.has_other_table()):
            lines = [row for index in sorted(self._rows) for row in self._rows[index]]
            write_tsv(table, _HEADER, lines)
        if self._subjects or stale:
            listed = {n for own in self._subjects.values() for names in own.values() for n in names}
            document = {
                "format": FORMAT,
                **self._notes,
                "identity": self._identity,
                "subjects": dict(sorted(self._subjects.items())),
                "sources": dict(sorted(self._sources.items())),
                "sizes": {name: self._sizes[name] for name in sorted(listed & set(self._sizes))},
                "stale": sorted(stale - (listed - self._begun)),
            }
            write_json(self.folder / MANIFEST, document)
        elif self._new:
            (self.folder / MANIFEST).unlink(missing_ok=True)

    def _merge(self) -> set[str]:
        """Take over what another process has noted since; return what it counts as not there."""
        theirs = self._read(keep=False)
        if theirs is None:
            return set()
        others = set(theirs["stale"])
        if differences_of("identity", theirs.get("identity"), self._identity):
            others.update(*(n for own in theirs["subjects"].values() for n in own.values()))
            listed = (n for own in self._subjects.values() for names in own.values() for n in names)
            return others - self._settled - set(listed)
        rows = self._volumes()
        for index in self._dropped:
            for part in (theirs["subjects"], theirs["sources"], rows):
                part.pop(index, None)
        for index, outputs in self._mine.items():
            own = {o: n for o, n in self._subjects.get(index, {}).items() if o in outputs}
            if own:
                theirs["subjects"].setdefault(index, {}).update(own)
                theirs["sizes"].update({n: self._sizes[n] for names in own.values() for n in names
                                        if n in self._sizes})  # fmt: skip
            if index in self._sources:
                theirs["sources"][index] = self._sources[index]
            if "volumes" in outputs:
                rows[index] = self._rows[index]
        self._subjects, self._sources = theirs["subjects"], theirs["sources"]
        self._sizes, self._rows = theirs["sizes"], rows
        return others - self._settled

    def close(self) -> None:
        """Write what has changed, once nothing more is written: what was not is forgotten."""
        there = set(filter(self._is_file, self.stale))
        self._changed = self._changed or there != self.stale
        self._settled |= self.stale - there
        self.stale = there
        self.write()

    def _is_file(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def _size(self, name: str) -> int:
        """Return the bytes of a file; 0 also if there is none."""
        try:
            return (self.folder / name).stat().st_size if self._is_file(name) else 0
        except OSError:
            return 0

    def _is_whole(self, name: str) -> bool:
        size = self._size(name)
        return size > 0 and size == self._sizes.get(name, size)

    def _settle(self, names: Iterable[str]) -> None:
        """Note files that are complete."""
        for name in names:
            self.stale.discard(name)
            self._begun.discard(name)
            self._settled.add(name)
            if size := self._size(name):
                self._sizes[name] = size

    def name_of(self, path: Path) -> str:
        """Return what a file is called here."""
        path = Path(path)
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).as_posix()
        return str(path.resolve())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return "" if value is None else value


def _few(paths: Sequence[str]) -> str:
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
