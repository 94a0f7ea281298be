"""Folds with their share of rare labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from miscnn._configurable import Configurable
from miscnn.evaluation.splits._segmentations import labels_present
from miscnn.evaluation.splits._units import (
    Positions,
    check_enough,
    check_n_splits,
    check_seed,
    dealt,
    pairs,
    units_of,
)
from miscnn.exceptions import ConfigurationError


class StratifiedLabelKFold(Configurable):
    """Folds of which each has its share of the subjects with each label.

    For data sets with labels that only some subjects have: a tumour in one of ten scans, organs
    that are out of view. A random fold may have none of them, and then its score is not defined.
    With one label per subject it is stratified k-fold; with several it is iterative
    stratification [1]_: the label that the fewest remaining subjects have is dealt out first,
    each of them to the fold that wants most of it, then to the fold that wants most subjects,
    then to one that is drawn. Of a label that is dealt out first (the rarest), and of single
    labels, two folds get the same number or differ by one. No fold is empty. With ``groups``
    patients are dealt out, with the labels of all their scans.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    seed : int

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data",
       ECML PKDD 2011, algorithm 1.

    Examples
    --------
    >>> labels = [[1, 2], [1], [1], [1, 2], [1], []]
    >>> for training, validation in StratifiedLabelKFold(2).split("abcdef", labels):
    ...     print(sorted(labels[k] for k in validation))
    [[], [1], [1, 2]]
    [[1], [1], [1, 2]]
    """

    def __init__(self, n_splits: int = 5, seed: int = 0) -> None:
        check_n_splits(n_splits)
        check_seed(seed)
        self.n_splits = n_splits
        self.seed = seed

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def look_up(self, data_io: Any, subjects: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the foreground labels of each, from its segmentation: the ``y`` of ``split``.

        Parameters
        ----------
        data_io : DataIO
        subjects : sequence of sequence of str
            The indices of each subject: one, or those of all slices of a volume.

        Raises
        ------
        ConfigurationError
            If a subject has no segmentation.
        """
        return labels_present(data_io, subjects)

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: Sequence[Any] | None = None,
        groups: Sequence[Any] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Parameters
        ----------
        X : sequence
            Indices of the subjects.
        y : sequence
            The labels of each: a list of them, or a single one. ``cross_validation`` looks them
            up itself.
        groups : sequence, optional
            The patient of each.

        Raises
        ------
        ConfigurationError
            If the labels are missing, or there are fewer subjects than folds.
        """
        if y is None or len(y) != len(X):
            raise ConfigurationError(
                f"StratifiedLabelKFold needs y, the labels of each of the {len(X)} subjects, got "
                f"{'none' if y is None else len(y)}; cross_validation and make_folds(..., "
                "data_io=data_io) look them up in the segmentations"
            )
        units = units_of(X, groups)
        check_enough(len(units), self.n_splits, "subject(s)" if groups is None else "group(s)")
        labels = [set().union(*(_as_labels(y[k]) for k in unit)) for unit in units]
        sizes = [len(unit) for unit in units]
        rng = np.random.default_rng(self.seed)
        fold_of = _stratified(labels, sizes, self.n_splits, rng)
        yield from pairs(len(X), dealt(units, fold_of, self.n_splits))


def _as_labels(value: Any) -> set[str]:
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return {str(label) for label in np.asarray(list(value)).tolist()}
    return {str(value)}


def _stratified(
    labels: Sequence[set[str]], sizes: Sequence[int], n_folds: int, rng: np.random.Generator
) -> list[int]:
    """Return the fold of each unit.

    What a fold still wants is counted in n_folds-ths of a subject, so that it is a whole number
    and equals are equal. An empty fold wants most of every label and most subjects, so it is
    taken before any other.
    """
    remaining = dict.fromkeys(rng.permutation(len(labels)).tolist())
    wanted = [sum(sizes)] * n_folds
    counts = Counter(label for unit in labels for label in unit)
    wanted_of = {label: [count] * n_folds for label, count in counts.items()}
    fold_of = [0] * len(labels)

    def deal(unit: int, label: str | None) -> None:
        wishes = [0] * n_folds if label is None else wanted_of[label]
        best = max(zip(wishes, wanted, strict=True))
        among = [k for k in range(n_folds) if (wishes[k], wanted[k]) == best]
        fold = among[int(rng.integers(len(among)))]
        fold_of[unit] = fold
        del remaining[unit]
        wanted[fold] -= n_folds * sizes[unit]
        for own in labels[unit]:
            wanted_of[own][fold] -= n_folds
            counts[own] -= 1

    while any(counts.values()):
        label = min((count, name) for name, count in counts.items() if count)[1]
        for unit in [unit for unit in remaining if label in labels[unit]]:
            deal(unit, label)
    for unit in list(remaining):  # those without any label
        deal(unit, None)
    return fold_of
