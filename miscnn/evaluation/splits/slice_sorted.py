"""Folds of neighbours in number of slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from miscnn._configurable import Configurable
from miscnn.data_loading.geometry import Geometry
from miscnn.evaluation.splits._units import Positions, check_enough, check_n_splits, pairs
from miscnn.exceptions import ConfigurationError


class SliceSortedKFold(Configurable):
    """Folds of neighbours in slice count: the hardest split by acquisition.

    For whoever wants to know how a model does on scans of another protocol than those it was
    trained on. The subjects are sorted by number of slices, then slice thickness, then index,
    and cut into contiguous folds. Each fold validates on scans unlike those it was trained on;
    the first and the last extrapolate. Neither a seed nor the order of the subjects changes the
    folds.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    interleave : bool
        Deal the sorted subjects out to the folds in turn instead, so that all folds have the
        same mixture: the friendly counterpart for comparison.

    Examples
    --------
    >>> slices_and_thickness = [(30, 5.0), (90, 1.0), (30, 3.0), (60, 2.0)]
    >>> for training, validation in SliceSortedKFold(2).split("abcd", groups=slices_and_thickness):
    ...     print(training, validation)
    [1 3] [0 2]
    [0 2] [1 3]
    """

    uses_geometries: ClassVar[bool] = True
    """Tells :func:`make_folds` to look the geometries up and hand them in as ``groups``."""

    def __init__(self, n_splits: int = 5, interleave: bool = False) -> None:
        check_n_splits(n_splits)
        self.n_splits = n_splits
        self.interleave = interleave

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: Sequence[Geometry | tuple[int, float]] | None = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Parameters
        ----------
        X : sequence
            Indices of the subjects.
        y : object
            Not used.
        groups : sequence of Geometry or (int, float)
            Per subject its geometry, or number of slices and slice thickness in mm.
            ``cross_validation`` looks them up itself.

        Raises
        ------
        ConfigurationError
            If groups are missing, or there are fewer subjects than folds.
        """
        n = len(X)
        if groups is None or len(groups) != n:
            raise ConfigurationError(
                f"SliceSortedKFold needs groups, a geometry or (n_slices, slice_thickness) for "
                f"each of the {n} subjects, got {'none' if groups is None else len(groups)}; "
                "write split(indices, groups=[data_io.geometry(i) for i in indices])"
            )
        if not are_slices(groups):
            raise ConfigurationError(
                f"SliceSortedKFold got the groups {str(list(groups)[:3])[:80]} …; expected "
                "geometries, or (n_slices, slice_thickness); it does not know patients"
            )
        check_enough(n, self.n_splits)
        keys = [(*_slices(group), str(X[k]), k) for k, group in enumerate(groups)]
        order = np.array(sorted(range(n), key=keys.__getitem__), dtype=np.intp)
        blocks = (
            [order[k :: self.n_splits] for k in range(self.n_splits)]
            if self.interleave
            else np.array_split(order, self.n_splits)
        )
        yield from pairs(n, (block.tolist() for block in blocks))


def are_slices(groups: Sequence[Any] | None) -> bool:
    """Tell whether groups are what this splitter takes, rather than the names of patients."""
    return groups is not None and all(
        isinstance(group, Geometry)
        or (
            isinstance(group, tuple | list | np.ndarray)
            and len(group) == 2
            and all(isinstance(n, int | float | np.number) for n in group)
        )
        for group in groups
    )


def _slices(group: Geometry | tuple[int, float]) -> tuple[int, float]:
    count, thickness = (
        (group.n_slices, group.slice_thickness) if isinstance(group, Geometry) else group
    )
    # Rounded to the micrometre: float noise of headers must not decide about folds.
    return int(count), round(float(thickness), 3)
