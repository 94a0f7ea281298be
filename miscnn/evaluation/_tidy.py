"""Tidy tables: each line one row about a subject, whose cells are the fields of a dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from miscnn._text import read_tsv, write_tsv
from miscnn.exceptions import ConfigurationError, MissingFileError


class SubjectRow(Protocol):
    """What the rows of all tables tell."""

    @property
    def fold(self) -> int:
        """Number of the fold."""

    @property
    def sample(self) -> str:
        """Index of the subject."""

    @property
    def label(self) -> int:
        """Class."""

    @property
    def class_name(self) -> str:
        """Its name."""


Row = TypeVar("Row")
OfSubject = TypeVar("OfSubject", bound=SubjectRow)


class TidyTable(Generic[OfSubject]):
    """What the tables of an evaluation have in common; they are frozen dataclasses.

    Parameters
    ----------
    rows : iterable
        Each is there once: see :meth:`_identity`.
    """

    rows: tuple[OfSubject, ...]

    def __init__(self, rows: Iterable[OfSubject] = ()) -> None:
        object.__setattr__(self, "rows", tuple(rows))
        seen: set[Hashable] = set()
        for row in self.rows:
            key = self._identity(row)
            if key in seen:
                raise ConfigurationError(
                    f"{self._told(row)} of sample {row.sample!r} is twice in fold {row.fold}; a "
                    "table holds each once"
                )
            seen.add(key)

    @staticmethod
    def _identity(row: OfSubject) -> Hashable:
        """Return what no two rows have in common, or refuse a row."""
        raise NotImplementedError

    @staticmethod
    def _told(row: OfSubject) -> str:
        """Return what a row is about, for messages."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[OfSubject]:
        return iter(self.rows)

    def __add__(self, other: Self) -> Self:
        return type(self)((*self.rows, *other.rows))

    @property
    def samples(self) -> list[str]:
        """Indices of the subjects, in the order of the table."""
        return list(dict.fromkeys(row.sample for row in self.rows))

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds, ascending."""
        return sorted({row.fold for row in self.rows})

    @property
    def classes(self) -> dict[int, str]:
        """Names of the classes by label, ascending."""
        return dict(sorted({row.label: row.class_name for row in self.rows}.items()))

    def _with(self, **wanted: object) -> Self:
        """Return the rows whose fields are as given; ``None`` asks for nothing."""
        given = {name: value for name, value in wanted.items() if value is not None}
        return type(self)(
            row for row in self.rows if all(getattr(row, n) == v for n, v in given.items())
        )


def write_rows(
    path: str | os.PathLike[str], kind: type[Row], header: Sequence[str], rows: Iterable[Row]
) -> None:
    """Write what :func:`read_rows` reads."""
    # dataclasses.astuple copies every cell, which takes longer than all the rest
    cells = attrgetter(*(field.name for field in fields(kind)))  # type: ignore[arg-type]
    write_tsv(path, header, map(cells, rows))


def read_rows(
    path: Path, kind: type[Row], header: Sequence[str], what: str, asked_for: bool = True
) -> Iterator[Row]:
    """Yield the rows of a file whose columns are the fields of a dataclass.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    ConfigurationError
        If it holds something else; the message names the line.
    """
    if not path.is_file():
        when = f" when {what} was asked for (Scoring)" if asked_for else ""
        raise MissingFileError(f"{path} does not exist; it is written by cross_validation{when}")
    try:
        lines = read_tsv(path)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is no table of {what}: it is no text") from error
    if not lines or tuple(lines[0]) != tuple(header):
        raise ConfigurationError(
            f"{path} is no table of {what}: its first line must name the columns "
            f"{', '.join(header)}"
        )
    types = [_KINDS[str(field.type)] for field in fields(kind)]  # type: ignore[arg-type]
    for position, cells in enumerate(lines[1:], 2):
        try:
            yield kind(*(read(cell) for read, cell in zip(types, cells, strict=True)))
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {position} cannot be read: {error}") from error


def _truth(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError(f"{cell!r} is neither True nor False")
    return cell == "True"


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": _truth,
}
