"""Which structures of a file are meant by a mapping."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from miscnn.exceptions import ConfigurationError, LabelError

_LOG = logging.getLogger("miscnn.data_loading.dicom")

_SHOWN = 40

Missing = Literal["error", "background"]
"""What becomes of names that are not in a file, as of organs that not everybody has.

``"error"`` refuses the file; ``"background"`` warns, and takes them for structures without voxels,
but refuses a file that has none of those that are wanted.
"""


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
    missing: Missing = "error",
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
    missing : {"error", "background"}

    Returns
    -------
    list of (int, int)
        Position in ``items`` and class, in the order of the mapping, class 0 left out.

    Raises
    ------
    LabelError
        If a key names no structure of the file, or with ``missing="background"`` no key does.
    ConfigurationError
        If a class is no whole number from 0 on.
    """
    check_structures(structures, "structures")
    if missing not in get_args(Missing):
        raise ConfigurationError(f"missing={missing!r}; expected one of {get_args(Missing)}")
    absent = _absent(structures, items)
    if not holds(structures, items, missing):
        names = ", ".join(repr(item.name) for item in items[:_SHOWN]) or "none"
        more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
        raise LabelError(
            index,
            f"structures names {', '.join(map(repr, absent))}, but the file has the {noun}s "
            f"{names}{more}; name those, or a pattern such as 'GTV*'",
        )
    if absent:
        _LOG.warning(
            "sample %r: there is no %s %s; it counts as background",
            index,
            noun,
            ", ".join(map(repr, absent)),
        )
    # (how specific: 0 is the most, position of the key) of each item's best key
    best: dict[int, tuple[int, int]] = {}
    for position, key in enumerate(structures):
        level, found = _named(key, items)
        for i in found:
            best[i] = min(best.get(i, (level, position)), (level, position))
    classes = [operator.index(label) for label in structures.values()]
    order = sorted(best, key=lambda i: (best[i][1], items[i].number, i))
    return [(i, classes[best[i][1]]) for i in order if classes[best[i][1]] > 0]


def holds(
    structures: Mapping[str, int] | Mapping[str | int, int],
    items: Sequence[Named],
    missing: Missing = "error",
) -> bool:
    """Tell whether a file has all structures that a mapping names, or as many as there must be."""
    absent = set(_absent(structures, items))
    if missing == "error" or not absent:
        return not absent
    return any(label and key not in absent for key, label in structures.items())


def _absent(
    structures: Mapping[str, int] | Mapping[str | int, int], items: Sequence[Named]
) -> list[str | int]:
    return [key for key in structures if not _named(key, items)[1]]


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


def check_structures(structures: Mapping[str, int] | Mapping[str | int, int], name: str) -> None:
    """Refuse a mapping that does not name structures and classes.

    Parameters
    ----------
    structures : mapping
    name : str
        What the argument is called in messages.

    Raises
    ------
    ConfigurationError
    """
    if not isinstance(structures, Mapping):
        raise ConfigurationError(
            f"{name} is {structures!r}; expected a mapping of names to classes, such as "
            "{'GTV*': 1}"
        )
    for key, label in structures.items():
        whole = hasattr(label, "__index__") and not isinstance(label, bool)
        named = isinstance(key, str | int) and not isinstance(key, bool)
        if not named or not whole or operator.index(label) < 0:
            raise ConfigurationError(
                f"{name} has {key!r}: {label!r}; expected names and the class of each, a whole "
                "number from 1 on (0: leave it out)"
            )
