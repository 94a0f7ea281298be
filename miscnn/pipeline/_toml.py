"""TOML files: values by the standard library, lines by a scan of our own.

The scan sees only files that the standard library has accepted, so it need not check anything.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from miscnn.pipeline._limits import check_document, check_toml_text, line_of_digits
from miscnn.pipeline._problems import PipelineError, Place, Problem

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_AT = re.compile(r"\(at line (\d+), column \d+\)")


def read(text: str, source: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """Return the values of a TOML text and the lines of its keys.

    Raises
    ------
    PipelineError
        If it is no TOML; with the line.
    """
    check_toml_text(text, source)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        message = _AT.sub("", str(error)).strip()
        last = len(text.splitlines())
        line = int(at[1]) if at else last
        raise PipelineError([Problem((), f"this is no TOML: {message}", line, source)]) from error
    except RecursionError as error:
        raise PipelineError([Problem((), "nested too deeply", None, source)]) from error
    except ValueError as error:  # of Python's own integers
        long = line_of_digits(text)
        reason = str(error) if long is None else "an integer of too many digits"
        message = f"this is no TOML: {reason}"
        raise PipelineError([Problem((), message, long, source)]) from error
    check_document(values, source, integers=False)  # before the scan, which is slower
    return values, _Scanner(text).lines()


class _Scanner:
    """Walks over a TOML text and notes on which line each key begins."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line = 1
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}

    def lines(self) -> dict[Place, int]:
        """Return the line of each key, from 1."""
        table: Place = ()
        while self._at < len(self._text):
            self._skip_blank()
            if self._at >= len(self._text):
                break
            if self._here() == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Place:
        line = self._line
        several = self._text.startswith("[[", self._at)
        self._move(2 if several else 1)
        keys = self._keys()
        self._move(2 if several else 1)
        place = self._inside(keys if not several else keys[:-1])
        if several:
            place = (*place, keys[-1])
            self._lines.setdefault(place, line)
            number = self._counts.get(place, 0)
            self._counts[place] = number + 1
            place = (*place, number)
        self._lines[place] = line
        return place

    def _inside(self, keys: list[str]) -> Place:
        """Return the place of a dotted name: within arrays of tables in their last table."""
        place: Place = ()
        for key in keys:
            place = (*place, key)
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        return place

    def _pair(self, table: Place) -> None:
        line = self._line
        place = (*table, *self._keys())
        for length in range(len(table) + 1, len(place) + 1):
            self._lines.setdefault(place[:length], line)
        self._move(1)  # the sign "="
        self._value(place)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip_spaces()
            if self._here() in "\"'":
                keys.append(self._string())
            else:
                found = _BARE.match(self._text, self._at)
                assert found is not None, "the standard library has accepted this text"
                keys.append(found[0])
                self._move(len(found[0]))
            self._skip_spaces()
            if self._here() != ".":
                return keys
            self._move(1)

    def _value(self, place: Place) -> None:
        self._skip_spaces()
        here = self._here()
        if here in "\"'":
            self._string()
        elif here == "[":
            self._array(place)
        elif here == "{":
            self._inline_table(place)
        else:
            while self._here() not in ",]}#\n":
                self._move(1)

    def _array(self, place: Place) -> None:
        self._move(1)
        number = 0
        self._skip_blank()
        while self._here() != "]":
            self._lines[(*place, number)] = self._line
            self._value((*place, number))
            number += 1
            self._skip_blank()
            if self._here() == ",":
                self._move(1)
                self._skip_blank()
        self._move(1)

    def _inline_table(self, place: Place) -> None:
        self._move(1)
        self._skip_blank()
        while self._here() != "}":
            self._pair(place)
            self._skip_blank()
            if self._here() == ",":
                self._move(1)
                self._skip_blank()
        self._move(1)

    def _string(self) -> str:
        """Skip a string of any kind and return its value."""
        quote = self._here()
        long = self._text.startswith(quote * 3, self._at)
        mark = quote * 3 if long else quote
        start = self._at
        self._move(len(mark))
        while not self._text.startswith(mark, self._at):
            self._move(2 if quote == '"' and self._here() == "\\" else 1)
        self._move(len(mark))
        while long and self._here() == quote:  # quotes directly before the closing ones
            self._move(1)
        return str(tomllib.loads(f"k = {self._text[start : self._at]}")["k"])

    def _skip_spaces(self) -> None:
        while self._here() in " \t" and self._at < len(self._text):
            self._move(1)

    def _skip_blank(self) -> None:
        """Skip white space, ends of lines and comments."""
        while self._at < len(self._text):
            if self._here() == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._here() in " \t\n":
                self._move(1)
            else:
                return

    def _here(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else "\n"

    def _move(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
