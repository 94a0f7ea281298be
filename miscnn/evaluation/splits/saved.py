"""The folds of a file as a splitter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from miscnn._configurable import Configurable
from miscnn.evaluation.splits._fold_files import load_folds, load_groups
from miscnn.evaluation.splits._units import Positions
from miscnn.evaluation.splits.given import DetailedSplit


class SavedFolds(Configurable):
    """The folds of a file, or of an earlier evaluation.

    For models that are to be compared on the same folds, also by others on other machines. The
    path alone stands for it: ``cross_validation(..., splitter="folds.json")``.

    Parameters
    ----------
    path : str
        What :func:`save_folds` wrote, or the folder of an evaluation.
    """

    def __init__(self, path: str) -> None:
        self.path = os.fspath(path)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return len(load_folds(self.path))

    def find_groups(self, names: Sequence[str]) -> list[int] | None:
        """Return the number of each one's patient, if the file tells it of all."""
        groups = load_groups(self.path)
        if groups is None:
            return None
        return [groups[name] for name in names] if set(names) <= set(groups) else None

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: object = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Raises
        ------
        MissingFileError, ConfigurationError
            As :func:`load_folds`; and if a subject of the file is not in ``X``.
        """
        yield from DetailedSplit(load_folds(self.path)).split(X)
