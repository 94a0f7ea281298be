"""The folds of a file as a splitter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from miscnn._configurable import Configurable
from miscnn.data_loading._indices import subject_of
from miscnn.evaluation.splits._fold_files import load_folds, load_groups
from miscnn.evaluation.splits._units import Positions
from miscnn.evaluation.splits.given import DetailedSplit
from miscnn.exceptions import ConfigurationError


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
        """Return the number of each one's patient, if the file tells it.

        Who stands in no fold is a patient of its own: it is left out anyway.

        Raises
        ------
        ConfigurationError
            If the file tells it of some of those that stand in its folds only.
        """
        groups = load_groups(self.path)
        if groups is None:
            return None
        told = {subject_of(index): group for index, group in groups.items()}
        folded = {
            subject_of(index) for fold in load_folds(self.path) for side in fold for index in side
        }
        missing = sorted(folded - set(told))
        if missing:
            raise ConfigurationError(
                f"{self.path}: groups does not tell the patient of {len(missing)} subject(s) of "
                f"the folds: {', '.join(missing[:10])}; add them, or take groups away"
            )
        new = 1 + max(told.values(), default=0)
        others = {
            s: new + k for k, s in enumerate(sorted({subject_of(n) for n in names} - set(told)))
        }
        return [{**told, **others}[subject_of(name)] for name in names]

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
