"""Splits that are drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from miscnn._configurable import Configurable
from miscnn.evaluation.splits._units import (
    Positions,
    check_enough,
    check_n_splits,
    check_seed,
    dealt,
    group_keys,
    pairs,
    units_of,
)
from miscnn.exceptions import ConfigurationError


def share_of(share: float, n: int, what: str = "subject(s)") -> int:
    """Return how many of ``n`` a share is, rounded up.

    Raises
    ------
    ConfigurationError
        If nobody would be left on one side.
    """
    # The rounding keeps 0.07 × 100 from becoming 8: it is a little more than 7 in binary.
    size = int(np.ceil(round(share * n, 9))) if 0 < share < 1 else 0
    if not 0 < size < n:
        raise ConfigurationError(
            f"a share of {share} of {n} {what} leaves nobody on one side; "
            "the share must lie between 0 and 1 and there must be enough subjects"
        )
    return size


class PercentageSplit(Configurable):
    """One random part validates, the rest trains.

    For a first look, or where there are so many subjects that one part says enough. Which
    subjects are drawn does not depend on their order. With ``groups`` patients are drawn.

    Parameters
    ----------
    share : float
        Part that validates, between 0 and 1: ``ceil(share × n)`` subjects (or patients).
    seed : int

    Examples
    --------
    >>> [(training, validation)] = PercentageSplit(0.4).split("abcde")
    >>> len(training), len(validation)
    (3, 2)
    """

    def __init__(self, share: float = 0.2, seed: int = 0) -> None:
        if not 0 < share < 1:
            raise ConfigurationError(f"share must lie between 0 and 1, got {share}")
        check_seed(seed)
        self.share = share
        self.seed = seed

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return 1."""
        return 1

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: Sequence[Any] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield one pair of positions (training, validation).

        Raises
        ------
        ConfigurationError
            If nobody would be left on one side.
        """
        units = units_of(X, groups)
        size = share_of(self.share, len(units), "subject(s)" if groups is None else "group(s)")
        rng = np.random.default_rng(self.seed)
        drawn = rng.choice(len(units), size=size, replace=False).tolist()
        yield from pairs(len(X), [[k for unit in drawn for k in units[unit]]])


class LeaveOneOut(Configurable):
    """Each subject (with ``groups``: each patient) validates once, alone.

    For few subjects, of which none should be missing in a training. The folds stand in the order
    of the subjects.

    Parameters
    ----------
    n_subjects : int, optional
        How many are left out in turn, drawn with ``seed``. Default: all, which means as many
        trainings as there are subjects.
    seed : int

    Examples
    --------
    >>> [validation.tolist() for _, validation in LeaveOneOut().split("abc")]
    [[0], [1], [2]]
    >>> [validation.tolist() for _, validation in LeaveOneOut().split("abc", groups="pqp")]
    [[0, 2], [1]]
    """

    def __init__(self, n_subjects: int | None = None, seed: int = 0) -> None:
        if n_subjects is not None and n_subjects < 1:
            raise ConfigurationError(f"n_subjects must be at least 1, got {n_subjects}")
        check_seed(seed)
        self.n_subjects = n_subjects
        self.seed = seed

    def get_n_splits(
        self,
        X: Sequence[Any] | None = None,  # noqa: N803
        y: object = None,
        groups: Sequence[Any] | None = None,
    ) -> int:
        """Return the number of folds."""
        if self.n_subjects is not None:
            return self.n_subjects
        if X is None:
            raise ConfigurationError("LeaveOneOut needs X to tell how many folds there are")
        return len(units_of(X, groups))

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: Sequence[Any] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Raises
        ------
        ConfigurationError
            If there are fewer subjects than are to be left out, or only one.
        """
        units = units_of(X, groups)
        n = len(units)
        if n < 2:
            raise ConfigurationError(f"there is {n} subject; leaving one out takes 2 at least")
        if self.n_subjects is not None and self.n_subjects > n:
            raise ConfigurationError(
                f"n_subjects must lie between 1 and the number of subjects, {n}, got "
                f"{self.n_subjects}"
            )
        if self.n_subjects is not None:
            rng = np.random.default_rng(self.seed)
            drawn = rng.choice(n, size=self.n_subjects, replace=False).tolist()
            units = [units[k] for k in drawn]
        yield from pairs(len(X), sorted(units, key=min))


class GroupedKFold(Configurable):
    """Random folds that tear no patient apart, of sizes as equal as the patients allow.

    For data sets with several scans of a patient: if one trains and the other validates, the
    scores are those of a memory. The patients are shuffled with ``seed`` and dealt out, those
    with most scans first, each to the fold with the fewest subjects: two folds differ by no more
    subjects than the largest patient has. scikit-learn's ``GroupKFold`` depends on the order of
    the subjects; this does not.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    seed : int
    pattern : str, optional
        Regular expression that finds the patient in an index, where no groups are given: its
        first group, or all that it matches. ``r"^(.+)_scan"`` finds ``p1`` in ``p1_scan2``.

    Examples
    --------
    >>> scans = ["p1_a", "p1_b", "p2_a", "p3_a", "p3_b", "p4_a"]
    >>> for training, validation in GroupedKFold(2, pattern="^[^_]+").split(scans):
    ...     print(sorted({scans[k][:2] for k in validation}))
    ['p2', 'p3']
    ['p1', 'p4']
    """

    def __init__(self, n_splits: int = 5, seed: int = 0, pattern: str | None = None) -> None:
        check_n_splits(n_splits)
        check_seed(seed)
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ConfigurationError(
                f"pattern {pattern!r} is no regular expression: {error}"
            ) from error
        self.n_splits = n_splits
        self.seed = seed
        self.pattern = pattern

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def find_groups(self, names: Sequence[str]) -> list[str] | None:
        """Return the patients by ``pattern``; None without one.

        Raises
        ------
        ConfigurationError
            If it is not found in an index.
        """
        if self.pattern is None:
            return None
        found = [re.search(self.pattern, name) for name in names]
        for name, match in zip(names, found, strict=True):
            if match is None or match[match.re.groups and 1] is None:
                raise ConfigurationError(
                    f"the pattern {self.pattern!r} finds no patient in the index {name!r}"
                )
        return [str(match[match.re.groups and 1]) for match in found if match is not None]

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: Sequence[Any] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Parameters
        ----------
        X : sequence
            Indices of the subjects.
        y : object
            Not used.
        groups : sequence
            The patient of each subject.

        Raises
        ------
        ConfigurationError
            If groups are missing, or there are fewer of them than folds.
        """
        names = [str(x) for x in X]
        groups = self.find_groups(names) if groups is None else groups
        if groups is None:
            raise ConfigurationError(
                f"GroupedKFold needs groups, the patient of each of the {len(names)} subjects: "
                "cross_validation(..., groups=[...]); or a pattern that finds it in the index"
            )
        units = units_of(X, group_keys(groups, names))
        check_enough(len(units), self.n_splits, "group(s)")
        shuffled = np.random.default_rng(self.seed).permutation(len(units)).tolist()
        order = sorted(shuffled, key=lambda k: -len(units[k]))
        fold_of = [0] * len(units)
        sizes = [(0, fold) for fold in range(self.n_splits)]
        for unit in order:
            size, fold = min(sizes)
            fold_of[unit] = fold
            sizes[fold] = (size + len(units[unit]), fold)
        yield from pairs(len(names), dealt(units, fold_of, self.n_splits))
