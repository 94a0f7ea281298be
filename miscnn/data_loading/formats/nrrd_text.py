"""The grammar of NRRD headers.

The C library in SimpleITK that reads them can be brought to crash the whole process by a damaged
line, so that only headers reach it of which every line is what the format's definition allows
(teem.sourceforge.net/nrrd/format.html).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

LARGEST_DIMENSION = 5
_LONGEST_NUMBER = 40
_REAL = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_NUMBER = re.compile(_REAL)
_MAYBE = re.compile(rf"{_REAL}|[nN][aA][nN]|-?[iI][nN][fF]")
_WORD = re.compile(r"[A-Za-z0-9?_-]{1,40}")
_COUNT = re.compile(r"[0-9]{1,18}")
_VECTOR = re.compile(r"\(([^()]*)\)|(none)")
_TEXT = re.compile(r"[^\0\n]{0,4096}")
_QUOTED = re.compile(r'"[^"\\]{0,200}"')
_SKIP = re.compile(r"-?[0-9]{1,18}")
_TYPE = re.compile(r"[a-z0-9_]+(?: [a-z]+){0,4}")
_SPACE = re.compile(r"[A-Za-z0-9-]{1,60}")
_ENDIAN = re.compile(r"little|big")


def allowed(fields: Mapping[str, str]) -> str | None:
    """Return the name of the first field that the grammar does not allow; None if all are."""
    dimension = fields.get("dimension", "")
    if not re.fullmatch(r"[0-9]{1,2}", dimension):
        return "dimension"
    n = int(dimension)
    for name, value in fields.items():
        rule = _RULES.get(name)
        if rule is None or not rule(value, n):
            return name
    if "space directions" in fields or "space origin" in fields:
        if ("space" in fields) == ("space dimension" in fields):
            return "space"
        lengths = {
            len(vector.split(","))
            for name in ("space directions", "space origin")
            for vector, _ in _VECTOR.findall(fields.get(name, ""))
            if vector
        }
        if len(lengths) > 1 or fields.get("space dimension", "3") not in map(str, (*lengths, 3)):
            return "space directions"
    return None


def _single(pattern: re.Pattern[str]) -> Callable[[str, int], bool]:
    return lambda value, n: pattern.fullmatch(value) is not None


def _each(pattern: re.Pattern[str]) -> Callable[[str, int], bool]:
    """Return the rule that there is one entry for each axis."""

    def rule(value: str, n: int) -> bool:
        parts = value.split()
        return len(parts) == n and all(
            len(part) <= _LONGEST_NUMBER and pattern.fullmatch(part) for part in parts
        )

    return rule


def _quoted(value: str, n: int) -> bool:
    return len(_QUOTED.findall(value)) <= n and not _QUOTED.sub("", value).strip()


def _vectors(count: int | None) -> Callable[[str, int], bool]:
    """Return the rule that there are so many vectors, or one for each axis."""

    def rule(value: str, n: int) -> bool:
        found = _VECTOR.findall(value)
        if len(found) != (count or n) or _VECTOR.sub("", value).strip():
            return False
        return all(_vector(vector) for vector, none in found if not none)

    return rule


def _vector(text: str) -> bool:
    parts = [part.strip() for part in text.split(",")]
    return 1 <= len(parts) <= 4 and all(
        len(part) <= _LONGEST_NUMBER and _NUMBER.fullmatch(part) for part in parts
    )


def _frame(value: str, n: int) -> bool:
    return any(_vectors(count)(value, n) for count in (2, 3, 4))


_RULES: Mapping[str, Callable[[str, int], bool]] = {
    "dimension": lambda value, n: True,
    "type": _single(_TYPE),
    "encoding": _single(_WORD),
    "endian": _single(_ENDIAN),
    "space": _single(_SPACE),
    "space dimension": _single(re.compile(r"[1-4]")),
    "sizes": _each(_COUNT),
    "kinds": _each(_WORD),
    "centers": _each(_WORD),
    "centerings": _each(_WORD),
    **dict.fromkeys(("spacings", "thicknesses"), _each(_MAYBE)),
    **dict.fromkeys(("axis mins", "axismins", "axis maxs", "axismaxs"), _each(_MAYBE)),
    **dict.fromkeys(("min", "max", "old min", "oldmin", "old max", "oldmax"), _single(_MAYBE)),
    **dict.fromkeys(("units", "labels", "space units"), _quoted),
    **dict.fromkeys(("content", "data file", "sample units", "sampleunits"), _single(_TEXT)),
    "number": _single(_COUNT),
    "line skip": _single(_SKIP),
    "byte skip": _single(_SKIP),
    "space directions": _vectors(None),
    "space origin": _vectors(1),
    "measurement frame": _frame,
}
