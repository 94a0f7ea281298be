"""Writing TOML: lists of numbers in one line, lists of tables as ``[[…]]``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from miscnn.pipeline._types import NOTHING

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write(document: Mapping[str, Any]) -> str:
    """Return a document as TOML; None is written as ``"none"``."""
    return "\n".join(_table(document, ())).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table: plain values first, since a header ends them."""
    below = {key: value for key, value in table.items() if _has_header(value)}
    for key, value in table.items():
        if key not in below:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in below.items():
        there = (*place, key)
        name = ".".join(map(_key, there))
        if isinstance(value, Mapping):
            yield f"\n[{name}]"
            yield from _table(value, there)
        else:
            for item in value:
                yield f"\n[[{name}]]"
                yield from _table(item, there)


def _has_header(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _value(value: Any) -> str:
    if value is None:
        return _text(NOTHING)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(str(value))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    # The escapes of JSON are TOML's as well; TOML wants one more character escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
