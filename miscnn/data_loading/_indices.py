"""What the index of a subject tells."""

from __future__ import annotations

from collections.abc import Iterable

PART = ":#:"
"""Stands between the subject and its part, such as a volume and the number of a slice."""


def subject_of(index: str) -> str:
    """Return the subject that an index belongs to: of a part, what it is a part of.

    Examples
    --------
    >>> subject_of("case_1:#:12"), subject_of("case_1")
    ('case_1', 'case_1')
    """
    return index.rpartition(PART)[0] or index


def shared_subjects(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Return the subjects that both lists of indices hold, or hold parts of, sorted."""
    return sorted(set(map(subject_of, one)) & set(map(subject_of, other)))
