"""Splits that name the subjects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from miscnn._configurable import Configurable
from miscnn.data_loading._indices import subject_of
from miscnn.evaluation.splits._units import Positions, pairs
from miscnn.exceptions import ConfigurationError

_log = logging.getLogger("miscnn.evaluation")

_TOLD = 10


class HoldOut(Configurable):
    """Named subjects validate, all others train.

    For a test set that is given: a challenge's, or that of earlier work.

    Parameters
    ----------
    indices : sequence of str
        Who validates. The name of a volume stands for all its slices.

    Examples
    --------
    >>> [(training, validation)] = HoldOut(["b"]).split(["a", "b", "c"])
    >>> training, validation
    (array([0, 2]), array([1]))
    """

    def __init__(self, indices: Sequence[str]) -> None:
        self.indices = indices
        _check_names(indices, "indices")

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return 1."""
        return 1

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: object = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield one pair of positions (training, validation).

        Raises
        ------
        ConfigurationError
            If one of the subjects is not in ``X``, or nobody is left to train.
        """
        found = positions_of([("indices", self.indices)], X)
        if len(found[0]) == len(X):
            raise ConfigurationError("HoldOut names all subjects; nobody is left to train on")
        yield from pairs(len(X), found)


class DetailedSplit(Configurable):
    """Folds that name all subjects, on both sides.

    For the folds of a paper or a challenge, and for training sets that are smaller than all the
    others: learning curves, or training at one hospital and validating at another. Subjects that
    no fold names are left out; the log tells how many.

    Parameters
    ----------
    folds : sequence
        Of each fold the indices ``(training, validation)``, or a mapping of these two names.
        The name of a volume stands for all its slices.

    Examples
    --------
    >>> folds = DetailedSplit([(["a", "b"], ["c"]), {"training": ["c"], "validation": ["a"]}])
    >>> [(t.tolist(), v.tolist()) for t, v in folds.split("abcd")]
    [([0, 1], [2]), ([2], [0])]
    """

    def __init__(self, folds: Sequence[Any]) -> None:
        self.folds = folds
        if isinstance(folds, str | Mapping) or not len(folds):
            raise ConfigurationError(
                f"folds is {folds!r}; expected a list of (training, validation)"
            )
        for number, fold in enumerate(folds):
            for side, names in zip(("training", "validation"), _sides(fold, number), strict=True):
                _check_names(names, f"{side} of fold {number}")

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return len(self.folds)

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: object = None,
    ) -> Iterator[tuple[Positions, Positions]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Raises
        ------
        ConfigurationError
            If a subject is not in ``X``; all of them are named.
        """
        named = [
            (f"{side} of fold {number}", names)
            for number, fold in enumerate(self.folds)
            for side, names in zip(("training", "validation"), _sides(fold, number), strict=True)
        ]
        found = positions_of(named, X)
        tell_unused(found, X)
        for training, validation in zip(found[::2], found[1::2], strict=True):
            (_, first), (_, second) = pairs(len(X), [training, validation])
            yield first, second


def positions_of(
    named: Sequence[tuple[str, Sequence[str]]],
    X: Sequence[Any],  # noqa: N803
) -> list[list[int]]:
    """Return the positions of named subjects in ``X``, list by list.

    Raises
    ------
    ConfigurationError
        If some are not there; it says which, and where they are named.
    """
    indices = [str(x) for x in X]
    exact = {index: [k] for k, index in enumerate(indices)}
    whole: dict[str, list[int]] = {}
    for k, index in enumerate(indices):
        whole.setdefault(subject_of(index), []).append(k)
    # One slice stands for the volume where only whole volumes are dealt out.
    first = {subject: where for subject, where in whole.items() if len(where) == 1}
    unknown: dict[str, str] = {}
    result = []
    for where, names in named:
        positions: dict[int, None] = {}
        for name in names:
            found = exact.get(name) or whole.get(name) or first.get(subject_of(name))
            if found is None:
                unknown.setdefault(name, where)
            positions.update(dict.fromkeys(found or ()))
        result.append(list(positions))
    if unknown:
        told = [f"{name} ({where})" for name, where in list(unknown.items())[:_TOLD]]
        more = f" … and {len(unknown) - _TOLD} more" if len(unknown) > _TOLD else ""
        raise ConfigurationError(
            f"{len(unknown)} subject(s) are named that are not among the {len(indices)} to split: "
            f"{', '.join(told)}{more}"
        )
    return result


def tell_unused(found: Sequence[Sequence[int]], X: Sequence[Any]) -> None:  # noqa: N803
    """Tell in the log which subjects no fold names."""
    named = {k for positions in found for k in positions}
    unused = [str(x) for k, x in enumerate(X) if k not in named]
    if unused:
        _log.warning(
            "%d of %d subject(s) stand in no fold and are left out: %s%s",
            len(unused), len(X), ", ".join(unused[:_TOLD]), " …" if len(unused) > _TOLD else "",
        )  # fmt: skip


def _sides(fold: Any, number: int) -> tuple[Any, Any]:
    if isinstance(fold, Mapping) and set(fold) == {"training", "validation"}:
        return fold["training"], fold["validation"]
    if not isinstance(fold, Mapping | str) and isinstance(fold, Sequence) and len(fold) == 2:
        return fold[0], fold[1]
    raise ConfigurationError(
        f"fold {number} is {str(fold)[:80]!r}; expected (training, validation), or "
        '{"training": [...], "validation": [...]}'
    )


def _check_names(names: Any, where: str) -> None:
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ConfigurationError(f"{where} is {names!r}; expected a list of indices")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ConfigurationError(f"{where} holds {wrong[0]!r}; expected indices, which are text")
