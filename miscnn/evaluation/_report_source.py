"""What a report is made of: everything that an evaluation has left in its folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from miscnn._text import read_tsv
from miscnn.evaluation.calibration_table import CalibrationTable
from miscnn.evaluation.detailed_validation import NOT_SCORED
from miscnn.evaluation.lesion_table import LesionTable
from miscnn.evaluation.preview import FOLDER, preview_heading
from miscnn.evaluation.score_table import ScoreTable
from miscnn.exceptions import ConfigurationError, DamagedFileError, MiscnnError, MissingFileError

_log = logging.getLogger("miscnn.evaluation")

Key = tuple[int, str]
"""Fold and index of a subject."""

_T = TypeVar("_T")
_MOST_FOLDS = 100_000
_PRIVATE = ("sources",)  # paths and digests of the subjects' files


@dataclass(frozen=True)
class PreviewFile:
    """Where a subject's preview lies, and how many values it has."""

    path: Path
    size: int


@dataclass(frozen=True)
class ReportSource:
    """All that a report tells.

    Attributes
    ----------
    path : Path
        The folder.
    scores : ScoreTable
    lesions, calibration
        Tables, or None.
    runs : dict of str to dict
        What each fold wrote down about itself, by the name of its folder.
    histories : dict of str to dict
        The trainings, likewise.
    previews : dict of Key to PreviewFile
    notes : tuple of str
        What could not be read.
    not_scored : tuple of (str, str)
        Subjects without scores, and why.
    """

    path: Path
    scores: ScoreTable
    lesions: LesionTable | None
    calibration: CalibrationTable | None
    runs: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, Mapping[str, list[float]]]
    previews: Mapping[Key, PreviewFile]
    notes: tuple[str, ...]
    not_scored: tuple[tuple[str, str], ...] = ()

    @property
    def subjects(self) -> list[Key]:
        """Who was scored, in which fold; in the order of the table."""
        return list(dict.fromkeys((row.fold, row.sample) for row in self.scores))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ReportSource:
        """Read a folder of ``cross_validation``, ``detailed_validation`` or ``miscnn evaluate``.

        Raises
        ------
        MissingFileError
            If it is no such folder.
        ConfigurationError, DamagedFileError
            If a file in it cannot be read; the file is named.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise MissingFileError(f"{folder} is no folder; an evaluation writes one")
        folds = _folds(folder)
        tables = [f / "scores.tsv" for f in folds.values() if (f / "scores.tsv").is_file()]
        if (folder / "scores.tsv").is_file():
            tables = [folder / "scores.tsv"]
        if not tables:
            raise MissingFileError(
                f"{folder / 'scores.tsv'} does not exist, nor {folder / 'fold_0' / 'scores.tsv'}; "
                "name the folder that cross_validation, detailed_validation or 'miscnn evaluate' "
                "has written its scores to"
            )
        scores = _together(ScoreTable(), [_read(t, ScoreTable.from_tsv) for t in tables])
        if not scores:
            raise ConfigurationError(f"{tables[0]} holds no score; there is nothing to report")
        places = {"": folder, **folds}
        notes = _missing_folds(folder, folds, scores)
        return cls(
            path=folder,
            scores=scores,
            lesions=_further(folder, folds, "lesions.tsv", LesionTable),
            calibration=_further(folder, folds, "calibration.tsv", CalibrationTable),
            runs={
                name: {k: v for k, v in run.items() if k not in _PRIVATE}
                for name, place in places.items()
                if (run := _run(place / "run.json")) is not None
            },
            histories={
                name or "training": history
                for name, place in places.items()
                if (history := _history(place / "history.tsv"))
            },
            previews=_previews(places, scores, notes),
            notes=tuple(notes),
            not_scored=tuple(each for place in places.values() for each in _not_scored(place)),
        )


def _folds(folder: Path) -> dict[str, Path]:
    """Return the folders of the folds by name, by number."""
    found = [
        (int(number), path)
        for path in folder.glob("fold_*")
        if path.is_dir() and (number := path.name.removeprefix("fold_")).isdecimal()
    ]
    return {path.name: path for _, path in sorted(found)}


def _missing_folds(folder: Path, folds: Mapping[str, Path], scores: ScoreTable) -> list[str]:
    """Tell which of the planned folds, or of those that have begun, are not among the scores."""
    planned = {int(name.removeprefix("fold_")) for name in folds}
    if (folder / "folds.json").is_file():
        document = _read(folder / "folds.json", lambda p: json.loads(p.read_text(encoding="utf-8")))
        n_folds = document.get("n_folds") if isinstance(document, dict) else None
        if isinstance(n_folds, int) and 0 < n_folds <= _MOST_FOLDS:
            planned |= set(range(n_folds))
    missing = sorted(planned - set(scores.folds))
    if not missing:
        return []
    told = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
    return [
        f"Not complete: {len(planned) - len(missing)} of {len(planned)} folds have scores; "
        f"missing: {told}."
    ]


def _not_scored(folder: Path) -> list[tuple[str, str]]:
    def read(file: Path) -> list[tuple[str, str]]:
        return [(sample, reason) for sample, reason in read_tsv(file)[1:]]

    path = folder / NOT_SCORED
    return _read(path, read) if path.is_file() else []


def _read(path: Path, reader: Callable[[Path], _T]) -> _T:
    """Read a file; whatever is wrong with it is told with its name."""
    try:
        return reader(path)
    except MiscnnError as error:
        if str(path) in str(error):
            raise
        raise DamagedFileError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}") from error


def _together(empty: Any, tables: list[Any]) -> Any:
    for table in tables:
        empty = empty + table
    return empty


def _further(folder: Path, folds: Mapping[str, Path], name: str, kind: Any) -> Any:
    """Read a table that not every evaluation has: the one of all folds, or those of the folds."""
    files = [folder / name] if (folder / name).is_file() else [f / name for f in folds.values()]
    tables = [_read(file, kind.from_tsv) for file in files if file.is_file()]
    return _together(kind(), tables) if tables else None


def _run(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    run = _read(path, lambda p: json.loads(p.read_text(encoding="utf-8")))
    if not isinstance(run, dict):
        raise DamagedFileError(f"{path} cannot be read: it must hold an object with named values")
    return run


def _history(path: Path) -> dict[str, list[float]]:
    def read(file: Path) -> dict[str, list[float]]:
        header, *lines = read_tsv(file) or [[]]
        columns = list(zip(*lines, strict=True)) or [()] * len(header)
        return {
            name: [float(cell) for cell in column]
            for name, column in zip(header, columns, strict=True)
            if name != "epoch"
        }

    return _read(path, read) if path.is_file() else {}


def _previews(
    places: Mapping[str, Path], scores: ScoreTable, notes: list[str]
) -> dict[Key, PreviewFile]:
    """Find the previews; one that cannot be read is noted, and the report is made without."""
    folds: dict[str, list[int]] = {}
    for row in scores:
        numbers = folds.setdefault(row.sample, [])
        if row.fold not in numbers:
            numbers.append(row.fold)
    found: dict[Key, PreviewFile] = {}
    for name, place in places.items():
        for file in sorted((place / FOLDER).glob("*.npz")):
            if file.name.startswith("."):
                continue  # it is being written
            try:
                index, size = preview_heading(file)
            except DamagedFileError as error:
                _log.warning("%s", error)
                notes.append(str(error))
                continue
            numbers = [int(name.removeprefix("fold_"))] if name else folds.get(index, [])
            for number in numbers:
                if number in folds.get(index, []):
                    found[number, index] = PreviewFile(file, size)
    return found
