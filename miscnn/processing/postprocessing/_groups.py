"""Which classes a step works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.subfunctions._arguments import is_count

FOREGROUND: Final = "foreground"
Group = tuple[int, ...]
"""Classes that are taken together."""
Labels = Literal["foreground"] | int | Sequence[int | Sequence[int]] | None
"""As the user gives them."""
Stored = Literal["foreground"] | tuple[int | Group, ...] | None

# A table is made up to the highest label.
_HIGHEST_LABEL = 65535


def checked_labels(labels: Labels) -> Stored:
    """Return what was given as ``labels`` in the one form that steps keep.

    Raises
    ------
    ConfigurationError
        If it names no classes, the background, or a class twice.
    """
    if labels is None:
        return None
    if isinstance(labels, str):
        if labels != FOREGROUND:
            raise _wrong(labels, "there is no such choice")
        return FOREGROUND
    entries = _entries(labels)
    stored: list[int | Group] = []
    for entry in entries:
        group = tuple(_label(label, labels) for label in _entries(entry))
        stored.append(tuple(sorted(group)) if hasattr(entry, "__len__") else group[0])
    named = [label for entry in stored for label in _entries(entry)]
    if not named or any(not _entries(entry) for entry in stored):
        raise _wrong(labels, "no class is named")
    if len(set(named)) != len(named):
        twice = next(label for label in named if named.count(label) > 1)
        raise _wrong(labels, f"class {twice} is named twice")
    return tuple(stored)


def named_labels(labels: Stored) -> set[int]:
    """Return the classes that are named one by one."""
    if labels is None or labels == FOREGROUND:
        return set()
    return {label for entry in labels for label in _entries(entry)}


def check_not_ignored(labels: Stored, ignore_label: int | None) -> None:
    """Raise ConfigurationError if the ignore label is among the classes."""
    if ignore_label is not None and ignore_label in named_labels(labels):
        raise ConfigurationError(
            f"labels={labels!r} names {ignore_label}, the ignore label of the data set, which is "
            "no class; leave it out"
        )


def groups_of(labels: Stored, present: Sequence[int], ignore_label: int | None) -> list[Group]:
    """Return the classes that are taken together, of those that are there, ascending.

    Raises
    ------
    ConfigurationError
        If the ignore label is among those that are named.
    """
    check_not_ignored(labels, ignore_label)
    known = sorted({int(n) for n in present} - {0, ignore_label})
    if labels is None:
        return [(label,) for label in known]
    wanted = [known] if labels == FOREGROUND else [_entries(entry) for entry in labels]
    groups = [tuple(label for label in group if label in known) for group in wanted]
    return sorted(group for group in groups if group)


def grouped(labels: Stored, ignore_label: int | None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a function that gives voxels of the same group the same number, and others 0."""
    check_not_ignored(labels, ignore_label)
    if labels is None or labels == FOREGROUND:

        def number(part: NDArray[Any]) -> NDArray[Any]:
            check_values(part)
            kept = part != 0 if ignore_label is None else (part != 0) & (part != ignore_label)
            return kept if labels == FOREGROUND else np.where(kept, part, 0).astype(np.uint16)

        return number
    table = np.zeros(max(named_labels(labels)) + 2, dtype=np.uint16)
    for position, entry in enumerate(labels, 1):
        table[_entries(entry)] = position

    def look_up(part: NDArray[Any]) -> NDArray[Any]:
        check_values(part)
        found: NDArray[Any] = table[np.minimum(part.astype(np.intp), len(table) - 1)]
        return found

    return look_up


def check_values(part: NDArray[Any]) -> None:
    """Raise ConfigurationError if an array holds values that are no labels."""
    if (part.dtype.itemsize == 1 and part.dtype.kind in "bu") or not part.size:
        return
    low, high = int(part.min()), int(part.max())
    if low < 0 or high > _HIGHEST_LABEL:
        raise ConfigurationError(
            f"the label map holds values from {low} to {high}; labels are 0 … {_HIGHEST_LABEL}, 0 "
            "the background. Map other values to classes with label_values of the data interface"
        )


def _entries(value: Any) -> list[Any]:
    return list(value) if hasattr(value, "__iter__") else [value]


def _label(value: Any, labels: Labels) -> int:
    if not is_count(value):
        why = "0 is the background" if value == 0 else f"{value!r} is no class"
        raise _wrong(labels, why)
    return int(value)


def _wrong(labels: Labels, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"labels={labels!r}: {why}. Give None (every class by itself), a list of classes from 1 "
        "on, such as [1, 2], with those that are taken together in a list of their own, [1, [2, "
        '3]], or "foreground" (all classes taken together)'
    )
