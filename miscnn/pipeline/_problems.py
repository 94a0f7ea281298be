"""What is wrong with a document: every problem with its place, all at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from miscnn._text import shortened
from miscnn.exceptions import ConfigurationError, MiscnnError

Place = tuple[str | int, ...]
"""Keys and positions on the way to a value: ``("preprocessor", "subfunctions", 0, "clip")``."""

_TOLD = 100  # problems in one message
_SHOWN = 60  # characters of a value
_MANY_NAMES = 20  # so many are not listed where one is near
_CLOSE_NAMES = 5
_SHOWN_ERROR = 500  # of an error of another library's


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    place : tuple
        Where in the document.
    message : str
        What is wrong, what was expected, and how to mend it.
    line : int or None
        Line of the file, from 1; None for a document that comes from no file.
    source : str
        The file, or what else said so.
    """

    place: Place
    message: str
    line: int | None = None
    source: str = "pipeline"

    def __str__(self) -> str:
        at = self.source if self.line is None else f"{self.source}, line {self.line}"
        name = told_place(self.place)
        gap = " " if name and not self.message.startswith(":") else ""
        return f"{at}: {name}{gap}{self.message}"


class PipelineError(ConfigurationError):
    """A document that describes no pipeline.

    Parameters
    ----------
    problems : iterable of Problem
        All that is wrong with it.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems[:_TOLD]]
        lines += ["…"] if count > _TOLD else []
        head = [] if count == 1 else [f"{count} problems:"]
        super().__init__("\n".join([*head, *lines]))


class Problems:
    """Gathers what is wrong, and knows the lines.

    Parameters
    ----------
    source : str
        Name of the file.
    lines : mapping of place to int
        The line of each key.
    others : mapping of place to str
        Who else has said what stands at a place: an option of the command line.
    """

    def __init__(
        self,
        source: str = "pipeline",
        lines: Mapping[Place, int] | None = None,
        others: Mapping[Place, str] | None = None,
    ) -> None:
        self.source = source
        self._lines = dict(lines or {})
        self._others = dict(others or {})
        self.found: list[Problem] = []

    def add(self, place: Place, message: str, at: Place | None = None) -> None:
        """Note a problem; ``at`` is where its line is looked up if that is another place."""
        where = place if at is None else at
        for length in range(len(where), -1, -1):
            if where[:length] in self._others:
                self.found.append(Problem(place, message, None, self._others[where[:length]]))
                return
            if where[:length] in self._lines:
                break
        line = self._lines.get(where[:length])
        if not where[:length]:  # the file says nothing of it
            below = [said for p, said in self._others.items() if p[: len(where)] == where]
            if where and below:
                self.found.append(Problem(place, message, None, below[0]))
                return
        self.found.append(Problem(place, message, line, self.source))

    def refused(self, place: Place, message: str) -> None:
        """Note what a constructor refuses, with the line of the argument that it speaks of."""
        own = f"{told_place(place)} "
        if message.startswith(own):  # it names the place itself
            self.add(place, message[len(own) :])
            return
        keys = dict.fromkeys(
            str(p[len(place)])
            for p in (*self._lines, *self._others)
            if p[: len(place)] == place and len(p) > len(place)
        )
        found = {key: re.search(rf"\b{re.escape(key)}\b", message) for key in keys}
        at = min((m.start(), key) for key, m in found.items() if m) if any(found.values()) else None
        self.add(place, f": {message}", place if at is None else (*place, at[1]))

    def alike(self) -> Problems:
        """Return one that knows the same lines, and of no problem."""
        return Problems(self.source, self._lines, self._others)

    def raise_if_any(self) -> None:
        """Raise PipelineError with all of them, in the order of the lines."""
        if self.found:
            order = sorted(self.found, key=lambda p: (p.line is not None, p.line or 0))
            raise PipelineError(dict.fromkeys(order))


REFUSALS = (ConfigurationError, TypeError, ValueError, OverflowError)
"""What constructors raise for arguments that they refuse."""


class Told:
    """Tells errors with the file and the line of a section.

    Parameters
    ----------
    problems : Problems
    place : tuple
    building : bool
        Whether constructors are called only, so that errors of any library are of arguments;
        else those of this library.
    """

    def __init__(self, problems: Problems, place: Place, building: bool = True) -> None:
        self._problems = problems
        self._place = place
        self._building = building

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, PipelineError) or not isinstance(error, REFUSALS):
            return
        own = isinstance(error, MiscnnError)
        if not (isinstance(error, ConfigurationError) if own else self._building):
            return
        problems = self._problems.alike()
        message = str(error) if own else shortened(" ".join(str(error).split()), _SHOWN_ERROR)
        problems.refused(self._place, message)
        raise PipelineError(problems.found) from error


def told_place(place: Place) -> str:
    """Write a place as it is written in TOML: ``[preprocessor] batch_size``."""
    if not place:
        return ""
    *section, key = place
    if isinstance(key, int) or not section:
        return str(key) if place == ("modules",) else f"[{_dotted(place)}]"
    return f"[{_dotted(tuple(section))}] {key}"


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f" #{part + 1}" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def told(value: Any) -> str:
    """Write a value that was received, shortened."""
    return str(value).lower() if isinstance(value, bool) else shortened(repr(value), _SHOWN)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a question after the name that was meant, or nothing."""
    names = {k.lower(): k for k in known}
    found = difflib.get_close_matches(str(name).lower(), names, 1, 0.6)
    return f"; did you mean {names[found[0]]!r}?" if found else ""


def unknown_key(key: str, known: Iterable[str], what: str = "") -> str:
    """Say that there is no such key, and which there are."""
    names = list(known)
    guess = nearest(key, names)
    if guess and len(names) > _MANY_NAMES:
        close = difflib.get_close_matches(key, names, _CLOSE_NAMES, 0.4)
        more = [name for name in close if repr(name) not in guess]
        others = f" Others are alike: {', '.join(more)}." if more else ""
        return f"is not known{what}{guess}{others} There are {len(names)} in all"
    told_names = ", ".join(names) if names else "none"
    return f"is not known{what}; expected one of {told_names}{guess}"
