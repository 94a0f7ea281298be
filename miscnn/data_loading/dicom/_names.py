"""Which structures of a file are meant by a mapping."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from miscnn.exceptions import ConfigurationError, LabelError

_SHOWN = 40


@dataclass(frozen=True)
class Named:
    """A structure of a file: an ROI or a segment."""

    number: int
    name: str


def choose(
    structures: Mapping[str, int] | Mapping[str | int, int],
    items: Sequence[Named],
    index: str,
    noun: str,
) -> list[tuple[int, int]]:
    """Find the structures that a mapping names.

    A key names the structures with exactly this name; if there are none, those with this name in
    other capitals; if there are none, those that match it as a shell-like pattern (``*``, ``?``,
    ``[...]``) in any capitals; if there are none, that with this number. Integers are numbers.
    Where several keys name one structure, the more specific one wins, then the earlier one.

    Parameters
    ----------
    structures : mapping of str or int to int
        Name or number -> class; structures of class 0 are known and left out.
    items : sequence of Named
    index : str
        The subject, for messages.
    noun : str
        ``"ROI"`` or ``"segment"``, for messages.

    Returns
    -------
    list of (int, int)
        Position in ``items`` and class, in the order of the mapping, class 0 left out.

    Raises
    ------
    LabelError
        If a key names no structure of the file.
    ConfigurationError
        If a class is no whole number from 0 on.
    """
    _check(structures)
    # (how specific: 0 is the most, position of the key) of each item's best key
    best: dict[int, tuple[int, int]] = {}
    missing = []
    for position, key in enumerate(structures):
        level, found = _named(key, items)
        if not found:
            missing.append(key)
        for i in found:
            best[i] = min(best.get(i, (level, position)), (level, position))
    if missing:
        names = ", ".join(repr(item.name) for item in items[:_SHOWN]) or "none"
        more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
        raise LabelError(
            index,
            f"structures names {', '.join(map(repr, missing))}, but the file has the {noun}s "
            f"{names}{more}; name those, or a pattern such as 'GTV*'",
        )
    classes = [operator.index(label) for label in structures.values()]
    order = sorted(best, key=lambda i: (best[i][1], items[i].number, i))
    return [(i, classes[best[i][1]]) for i in order if classes[best[i][1]] > 0]


def _named(key: str | int, items: Sequence[Named]) -> tuple[int, list[int]]:
    """Return how specific a key is and the positions of what it names."""
    if isinstance(key, int):
        return 0, [i for i, item in enumerate(items) if item.number == key]
    text, folded = key.strip(), key.strip().casefold()
    rules: list[Callable[[Named], bool]] = [
        lambda item: item.name == text,
        lambda item: item.name.casefold() == folded,
        lambda item: fnmatchcase(item.name.casefold(), folded),
        lambda item: str(item.number) == text,  # JSON turns the keys of a mapping into text
    ]
    for level, rule in enumerate(rules):
        found = [i for i, item in enumerate(items) if rule(item)]
        if found:
            return level, found
    return len(rules), []


def _check(structures: Mapping[str, int] | Mapping[str | int, int]) -> None:
    for key, label in structures.items():
        whole = hasattr(label, "__index__") and not isinstance(label, bool)
        named = isinstance(key, str | int) and not isinstance(key, bool)
        if not named or not whole or operator.index(label) < 0:
            raise ConfigurationError(
                f"structures has {key!r}: {label!r}; expected names and the class of each, a whole "
                "number from 1 on (0: leave it out)"
            )
