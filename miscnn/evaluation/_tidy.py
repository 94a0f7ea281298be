"""Tidy tables as files: each line one row, whose cells are the fields of a dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from miscnn._text import read_tsv, write_tsv
from miscnn.exceptions import ConfigurationError, MissingFileError

Row = TypeVar("Row")


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
