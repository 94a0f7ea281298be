"""What a splitter deals out: subjects, or patients with all of their subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError

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


def group_keys(groups: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Return the groups as text.

    Raises
    ------
    ConfigurationError
        If there is not one for each name, or one is missing (None, NaN).
    """
    if len(groups) != len(names):
        raise ConfigurationError(
            f"groups has {len(groups)} entries for {len(names)} subjects; expected one, such as "
            "the patient, for each"
        )
    for name, group in zip(names, groups, strict=True):
        if group is None or group != group:
            raise ConfigurationError(
                f"the group of {name!r} is {group!r}; expected what names its patient"
            )
    return [str(group) for group in groups]


def check_n_splits(n_splits: int) -> None:
    """Raise ConfigurationError for a number of folds that cannot be."""
    if isinstance(n_splits, bool) or n_splits != int(n_splits) or n_splits < 2:
        raise ConfigurationError(f"n_splits must be at least 2, got {n_splits}")


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
