"""Sequences and numbers of a data set that must be there."""

from __future__ import annotations

from typing import Any

from miscnn.data_loading.dicom._source import InvalidValueError, number, text


def items(dataset: Any, name: str) -> list[Any]:
    """Return the items of a sequence; none if it is missing.

    Raises
    ------
    InvalidValueError
        If it is no sequence of data sets.
    """
    sequence = dataset.get(name)
    if sequence is None:
        return []
    if isinstance(sequence, str | bytes) or not hasattr(sequence, "__iter__"):
        raise InvalidValueError(f"{name} is no sequence")
    found = list(sequence)
    if not all(hasattr(item, "get") for item in found):
        raise InvalidValueError(f"{name} is no sequence")
    return found


def required_items(dataset: Any, name: str) -> list[Any]:
    """Return the items of a sequence, at least one."""
    found = items(dataset, name)
    if not found:
        raise InvalidValueError(f"{name} is missing or empty")
    return found


def required_whole(dataset: Any, name: str, smallest: int = 0) -> int:
    """Return a whole number."""
    value = number(dataset, name)
    if value is None:
        raise InvalidValueError(f"{name} is missing")
    if not value.is_integer() or value < smallest:
        raise InvalidValueError(f"{name} is {value:g}, expected a whole number from {smallest} on")
    return int(value)


def uid(dataset: Any, name: str) -> str | None:
    """Return a UID; None if it is missing or empty."""
    return text(dataset, name).strip(" \0") or None
