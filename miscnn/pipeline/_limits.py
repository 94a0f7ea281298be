"""How large a document may be: what is larger is no pipeline, and would take long to refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miscnn.pipeline._problems import PipelineError, Place, Problem

BYTES = 1 << 20
"""Of a file; a recipe has a few thousand."""

VALUES = 50_000
DEPTH = 32

_DIGITS = re.compile(r"(?<![\w.+-])[+-]?(?:0[xob])?[0-9a-fA-F_]{65,}")
_KEY = r"""(?>[\w-]++|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"(?<![\w\"'-]){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{DEPTH},}}")


def check_document(
    document: Any,
    source: str = "pipeline",
    lines: Mapping[Place, int] | None = None,
    *,
    integers: bool = True,
) -> None:
    """Raise PipelineError for a document of too many or too deep values, and for huge integers.

    Walks without recursion, so that nothing is too deep for it.
    """
    count = 0
    pending: list[tuple[Place, Any]] = [((), document)]
    while pending:
        place, value = pending.pop()
        count += 1
        told = ""
        if count > VALUES:
            told = f"this has more than {VALUES} values; is it a pipeline?"
        elif len(place) > DEPTH:
            told = f"this is nested deeper than {DEPTH} levels"
        elif integers and isinstance(value, int) and not -(2**63) <= value < 2**63:
            told = f"has an integer of more than 64 bits ({value.bit_length()})"
        if told:
            raise PipelineError([_problem(place, told, source, lines or {})])
        if isinstance(value, Mapping):
            pending += [((*place, str(key)), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            pending += [((*place, number), item) for number, item in enumerate(value)]


def check_toml_text(text: str, source: str) -> None:
    """Raise PipelineError for a key of very many parts: the standard library takes minutes."""
    found = _DOTTED.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        message = f"this has a name of more than {DEPTH} parts; is it a pipeline?"
        raise PipelineError([Problem((), message, line, source)])


def line_of_digits(text: str) -> int | None:
    """Return the line of the first integer that is too long to be one."""
    found = _DIGITS.search(text)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def _problem(place: Place, told: str, source: str, lines: Mapping[Place, int]) -> Problem:
    line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
    return Problem(place if told.startswith("has") else (), told, line, source)
