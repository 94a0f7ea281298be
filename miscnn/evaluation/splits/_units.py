"""What a splitter deals out: subjects, or patients with all of their subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._indices import subject_of
from miscnn.exceptions import ConfigurationError

_TOLD = 10

Positions = NDArray[np.intp]


def units_of(X: Sequence[Any], groups: Sequence[Any] | None) -> list[list[int]]:  # noqa: N803
    """Return the positions of each unit that must not be torn apart, sorted by name.

    Without groups each subject is one. How the groups are called does not matter.
    """
    n = len(X)
    names = [str(x) for x in X]
    order = sorted(range(n), key=lambda k: (names[k], k))
    if groups is None:
        return [[k] for k in order]
    keys = group_keys(groups, names)
    units: dict[str, list[int]] = {}
    for k in order:
        units.setdefault(keys[k], []).append(k)
    return list(units.values())


def as_groups(groups: Any, names: Sequence[str]) -> list[Any] | None:
    """Return one group for each name, from a sequence or from a mapping by name.

    A mapping may name a volume for all of its slices.

    Raises
    ------
    ConfigurationError
        If there is not one for each name.
    """
    if groups is None:
        return None
    if isinstance(groups, Mapping):
        missing = [n for n in names if n not in groups and subject_of(n) not in groups]
        if missing:
            raise ConfigurationError(
                f"groups does not name the group of {len(missing)} of {len(names)} subjects: "
                f"{', '.join(missing[:_TOLD])}"
            )
        return [groups[n] if n in groups else groups[subject_of(n)] for n in names]
    if len(groups) != len(names):
        raise _other_length(groups, names)
    return list(groups)


def _other_length(groups: Any, names: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"groups has {len(groups)} entries for {len(names)} subjects; expected one, such as "
        "the patient, for each"
    )


def group_keys(groups: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Return the groups as text; equal numbers give equal texts.

    Raises
    ------
    ConfigurationError
        If there is not one for each name, or one is missing (None, NaN).
    """
    if len(groups) != len(names):
        raise _other_length(groups, names)
    for name, group in zip(names, groups, strict=True):
        if group is None or _is_no_value(group):
            raise ConfigurationError(
                f"the group of {name!r} is {group!r}; expected what names its patient"
            )
    return [
        str(int(group)) if isinstance(group, float) and group.is_integer() else str(group)
        for group in groups
    ]


def _is_no_value(group: Any) -> bool:
    try:
        return bool(group != group)
    except (TypeError, ValueError):  # pandas' NA is neither true nor false
        return True


def check_n_splits(n_splits: Any) -> None:
    """Raise ConfigurationError for a number of folds that cannot be."""
    whole = isinstance(n_splits, Integral) and not isinstance(n_splits, bool)
    if not whole or n_splits < 2:
        raise ConfigurationError(f"n_splits must be a whole number, at least 2, got {n_splits!r}")


def check_seed(seed: int) -> None:
    """Raise ConfigurationError for what cannot seed a generator."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"seed is {seed!r}; expected a whole number, 0 or more")


def check_enough(n: int, n_splits: int, what: str = "subject(s)") -> None:
    """Raise ConfigurationError if somebody would have an empty fold."""
    if n < n_splits:
        raise ConfigurationError(
            f"{n} {what} cannot be split into {n_splits} folds; lower n_splits"
        )


def pairs(n: int, blocks: Iterable[Iterable[int]]) -> Iterator[tuple[Positions, Positions]]:
    """Yield (training, validation), both sorted, for the validation part of each fold."""
    for block in blocks:
        validation = np.array(sorted(block), dtype=np.intp)
        training = np.setdiff1d(np.arange(n, dtype=np.intp), validation)
        yield training, validation


def dealt(units: Sequence[Sequence[int]], fold_of: Sequence[int], n_splits: int) -> list[list[int]]:
    """Return the positions of each fold, given the fold of each unit."""
    blocks: list[list[int]] = [[] for _ in range(n_splits)]
    for unit, fold in zip(units, fold_of, strict=True):
        blocks[fold].extend(unit)
    return blocks
