"""Folds with the same mixture of small and large lesions or organs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from miscnn._configurable import Configurable
from miscnn.evaluation.splits._segmentations import volumes_ml
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


class StratifiedVolumeKFold(Configurable):
    """Folds that have small and large lesions (or organs) alike.

    For data sets where the size decides about the score, and a random fold could get all the
    small ones. The subjects are sorted by volume, those without any first, and each ``n_splits``
    neighbours are dealt out, in an order that is drawn: among the smallest ``m``, whatever
    ``m``, two folds differ by one subject at most. With ``groups`` patients are dealt out, by the
    volume of all their scans.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    label : int or sequence of int, optional
        Which label's volume counts; several count together. Default: all foreground.
    seed : int

    Examples
    --------
    >>> ml = [1, 100, 2, 120, 3, 110]
    >>> for training, validation in StratifiedVolumeKFold(3).split("abcdef", ml):
    ...     print(sorted(ml[k] for k in validation))
    [2, 120]
    [3, 110]
    [1, 100]
    """

    def __init__(
        self, n_splits: int = 5, label: int | Sequence[int] | None = None, seed: int = 0
    ) -> None:
        check_n_splits(n_splits)
        check_seed(seed)
        self.n_splits = n_splits
        self.label = label
        self.seed = seed
        self._labels()

    def _labels(self) -> list[int] | None:
        if self.label is None:
            return None
        labels = [self.label] if isinstance(self.label, int) else list(self.label)
        if not labels or not all(isinstance(n, int) and n > 0 for n in labels):
            raise ConfigurationError(
                f"label is {self.label!r}; expected a foreground label such as 1, or a list of them"
            )
        return labels

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def look_up(self, data_io: Any, subjects: Sequence[Sequence[str]]) -> list[float]:
        """Return the volumes in ml, read from the segmentations: what ``split`` takes as ``y``.

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
        classes = data_io.interface.classes
        beyond = [n for n in self._labels() or () if n >= classes]
        if beyond:
            raise ConfigurationError(
                f"label {beyond[0]} is no class of the data set, which has {classes}: 0 … "
                f"{classes - 1}"
            )
        return volumes_ml(data_io, subjects, self._labels())

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: Sequence[float] | None = None,
        groups: Sequence[Any] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Parameters
        ----------
        X : sequence
            Indices of the subjects.
        y : sequence of float
            The volume of each. ``cross_validation`` looks them up itself.
        groups : sequence, optional
            The patient of each.

        Raises
        ------
        ConfigurationError
            If the volumes are missing or are no numbers, or there are fewer subjects than folds.
        """
        if y is None or len(y) != len(X):
            raise ConfigurationError(
                f"StratifiedVolumeKFold needs y, the volume of each of the {len(X)} subjects, got "
                f"{'none' if y is None else len(y)}; cross_validation and make_folds(..., "
                "data_io=data_io) look them up in the segmentations"
            )
        volumes = np.asarray(y, dtype=np.float64)
        odd = [k for k, value in enumerate(volumes.tolist()) if not np.isfinite(value)]
        if odd:
            raise ConfigurationError(f"the volume of {str(X[odd[0]])!r} is {y[odd[0]]!r}")
        units = units_of(X, groups)
        check_enough(len(units), self.n_splits, "subject(s)" if groups is None else "group(s)")
        totals = [float(volumes[unit].sum()) for unit in units]
        # Units come sorted by name, and the sort keeps that order among equals.
        order = sorted(range(len(units)), key=totals.__getitem__)
        rng = np.random.default_rng(self.seed)
        fold_of = [0] * len(units)
        for start in range(0, len(order), self.n_splits):
            drawn = rng.permutation(self.n_splits).tolist()
            for unit, fold in zip(order[start : start + self.n_splits], drawn, strict=False):
                fold_of[unit] = fold
        yield from pairs(len(X), dealt(units, fold_of, self.n_splits))
