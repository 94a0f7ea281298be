"""Which files belong to which subject, said one by one in a table or a mapping."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miscnn.data_loading._patterns import check_index, natural_key
from miscnn.data_loading.interfaces._columns import INDEX_COLUMNS, find_columns
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

TABLE_ENDINGS = (".tsv", ".csv", ".json")
# A table of a million subjects is smaller.
_LARGEST_TABLE = 1 << 28
_SHOWN = 8
# Written by spreadsheet programs as the first line.
_SEPARATOR = re.compile(r"sep=(?P<sign>[\t;,|]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """The files of one subject, relative to the data folder, and where they were named."""

    images: tuple[str, ...]
    segmentation: str | None
    place: str


@dataclass(frozen=True)
class Listing:
    """The files of all subjects.

    Attributes
    ----------
    entries : dict
        An entry for each index, in natural order.
    channels : tuple of str
        What the columns of images are called, if there are several.
    """

    entries: dict[str, Entry]
    channels: tuple[str, ...] = field(default=())

    def entry(self, index: str) -> Entry:
        """Return the files of a subject.

        Raises
        ------
        MissingFileError
            If it is not listed.
        """
        if index not in self.entries:
            raise MissingFileError(
                f"sample {index!r}: not in the listing, which holds {_few(list(self.entries))}"
            )
        return self.entries[index]

    def has_label(self, index: str) -> bool:
        """Tell whether a segmentation is listed for a subject."""
        return index in self.entries and self.entries[index].segmentation is not None

    def image_paths(self, folder: Path, index: str) -> list[Path]:
        """Return the files of a subject's image.

        Raises
        ------
        MissingFileError
            If the subject is not listed, or a file is not there.
        """
        entry = self.entry(index)
        return [_existing(folder, name, entry, index, "image") for name in entry.images]

    def label_path(self, folder: Path, index: str) -> Path:
        """Return the file of a subject's segmentation.

        Raises
        ------
        MissingFileError
            If none is listed, or it is not there.
        """
        entry = self.entry(index)
        if entry.segmentation is None:
            raise MissingFileError(f"sample {index!r}: {entry.place} names no segmentation")
        return _existing(folder, entry.segmentation, entry, index, "segmentation")

    def missing(self, folder: Path) -> str:
        """Tell where files are named that are not there; nothing if all are."""
        found = [
            f"{entry.place}: {name}"
            for entry in self.entries.values()
            for name in (*entry.images, entry.segmentation)
            if name is not None and not (folder / name).exists()
        ]
        return _few(found) if found else ""


def check_channels(number: int, channels: int, what: str) -> None:
    """Refuse another number of files per subject than one, or one for each channel."""
    if number not in (1, channels):
        raise ConfigurationError(
            f"{what} names {number} files per subject, but channels={channels}; name one file, or "
            "one per channel"
        )


def mapped(listing: Mapping[str, Any], channels: int | None = None) -> Listing:
    """Make a listing from ``{index: {"image": path or paths, "segmentation": path or None}}``.

    Raises
    ------
    ConfigurationError
        If it is anything else, or has neither one image per subject nor one for each of the
        ``channels``; naming the index.
    """
    entries = {str(i): _entry(i, value, "listing") for i, value in listing.items()}
    return _checked(_ordered(entries), channels)


def read_listing(path: Path, endings: Sequence[str], channels: int | None = None) -> Listing:
    """Read a listing from a table (TSV or CSV with a first line of names) or a JSON file.

    Columns are ``index``, ``image`` (or one for each channel) and perhaps ``segmentation``, see
    :func:`~miscnn.data_loading.interfaces._columns.find_columns`; those that name no files are
    passed over. Cells are separated by tabs, semicolons or commas, or as a first line ``sep=;``
    says.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigurationError
        If it is no such table, or has neither one image per subject nor one for each of the
        ``channels``; naming the line.
    """
    if not path.is_file():
        raise MissingFileError(f"listing: there is no file {path}")
    if path.suffix.lower() == ".json":
        return _checked(_from_json(path), channels)
    try:
        return _checked(_from_table(path, endings), channels)
    except csv.Error as error:
        raise ConfigurationError(f"{path.name} cannot be read as a table: {error}") from error


def read_text(path: Path) -> str:
    """Read a text file of bounded size, UTF-8 with or without a byte order mark, or UTF-16."""
    size = path.stat().st_size
    if size > _LARGEST_TABLE:
        raise ConfigurationError(f"{path.name} has {size} bytes; that is no list of files")
    content = path.read_bytes()
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path.name} is no text in UTF-8 ({error}); save it so"
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file of bounded size.

    Raises
    ------
    ConfigurationError
        If it is none; naming the file and the line.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{path.name} is no valid JSON file: {error}") from error


def _from_json(path: Path) -> Listing:
    content = read_json(path)
    if isinstance(content, list):  # of objects that hold their index
        entries: dict[str, Any] = {}
        for number, item in enumerate(content, start=1):
            index = (
                next((item[k] for k in INDEX_COLUMNS if k in item), None)
                if isinstance(item, Mapping)
                else None
            )
            if index is None or str(index) in entries:
                state = "no index" if index is None else f"the index {index!r} a second time"
                raise ConfigurationError(f"{path.name}, item {number}: {state}")
            entries[str(index)] = item
        content = entries
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f'{path.name}: expected {{index: {{"image": …, "segmentation": …}}}}'
        )
    return _ordered({i: _entry(i, value, path.name) for i, value in content.items()})


def _from_table(path: Path, endings: Sequence[str]) -> Listing:
    lines = read_text(path).splitlines()
    filled = [i for i, line in enumerate(lines) if line.strip()]
    told = _SEPARATOR.fullmatch(lines[filled[0]].strip("\ufeff ")) if filled else None
    if told:
        del filled[0]
    if not filled:
        raise ConfigurationError(f"{path.name} is empty; expected a first line of column names")
    first = filled[0]
    separator = told["sign"] or "\t" if told else max("\t;,", key=lines[first].count)
    reader = csv.reader(lines[first:], delimiter=separator, strict=True)
    names = [name.strip() for name in next(reader)]
    rows = [
        (first + reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(cell.strip() for cell in row)
    ]
    for line, row in rows:
        if len(row) > len(names):
            raise ConfigurationError(
                f"{path.name}, line {line}: {len(row)} cells, but {len(names)} columns"
            )
        row.extend([""] * (len(names) - len(row)))
    if not rows:
        raise ConfigurationError(f"{path.name} lists no subjects, it holds a line of names only")
    try:
        index, images, label = find_columns(names, [row for _, row in rows], endings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from error
    entries: dict[str, Entry] = {}
    for line, row in rows:
        place = f"{path.name}, line {line}"
        if row[index] in entries:
            raise ConfigurationError(
                f"{place}: the index {row[index]!r} a second time; every subject has one line"
            )
        files = {
            "image": [row[i] for i in images],
            "segmentation": (row[label] or None) if label is not None else None,
        }
        entries[row[index]] = _entry(row[index], files, place)
    channels = tuple(names[i] for i in images) if len(images) > 1 else ()
    return _ordered(entries, channels)


def _entry(index: object, value: Any, place: str) -> Entry:
    try:
        check_index(str(index))
    except SampleError as error:
        raise ConfigurationError(f"{place}: {error}") from error
    if isinstance(value, Mapping):
        images = next((value[k] for k in ("image", "images") if k in value), None)
        label = next((value[k] for k in ("segmentation", "label") if k in value), None)
        if isinstance(images, str):
            images = [images]
        if (
            isinstance(images, Sequence)
            and images
            and all(isinstance(name, str) and _is_path(name) for name in images)
            and (label is None or (isinstance(label, str) and _is_path(label)))
        ):
            return Entry(tuple(images), label, place)
    raise ConfigurationError(
        f"{place}: sample {index!r} has {str(value)[:200]}; expected the path of the image (or one "
        'path for each channel) as "image", and that of the segmentation or none as '
        '"segmentation"'
    )


def _checked(listing: Listing, channels: int | None) -> Listing:
    for index, entry in listing.entries.items():
        if channels is not None:
            check_channels(len(entry.images), channels, f"{entry.place}: sample {index!r}")
    return listing


def _existing(folder: Path, name: str, entry: Entry, index: str, what: str) -> Path:
    path = folder / name
    if not path.exists() and not path.is_symlink():  # of a broken link reading tells
        raise MissingFileError(
            f"sample {index!r}: there is no {what} file {name} in {folder} ({entry.place})"
        )
    return path


def _is_path(name: str) -> bool:
    return bool(name.strip()) and "\0" not in name and len(name) < 4096


def _ordered(entries: dict[str, Entry], channels: tuple[str, ...] = ()) -> Listing:
    return Listing({i: entries[i] for i in sorted(entries, key=natural_key)}, channels)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "nothing"
