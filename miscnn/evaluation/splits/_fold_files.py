"""Folds as files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn._files import write_json
from miscnn.evaluation.splits._folds import Fold, check_fold
from miscnn.exceptions import ConfigurationError, MissingFileError

_FOLD_FILE = "sample_list.json"
_FOLDS_FILE = "folds.json"
_MOST_FOLDS = 100_000  # a file that claims more is not one of ours


def save_folds(
    folds: Sequence[Fold],
    path: str | os.PathLike[str],
    *,
    splitter: str = "given folds",
    groups: Mapping[str, int] | None = None,
) -> None:
    """Write folds as one JSON file, for other models, other machines and a paper's supplement.

    Parameters
    ----------
    folds : sequence of Fold
    path : path
        The file. In the folder of an evaluation it is called ``folds.json``.
    splitter : str
        By what they were made, for people who read the file.
    groups : mapping of str to int, optional
        The number of the patient of each index, see :func:`patients_of`; what is held out within
        the training subjects respects it.

    Raises
    ------
    ConfigurationError
        If a fold is empty or has a subject on both sides.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_folds([Fold(["a"], ["b"]), Fold(["b"], ["a"])], folder + "/folds.json")
    ...     load_folds(folder + "/folds.json")[1]
    Fold(training=['b'], validation=['a'])
    """
    folds = [Fold([str(i) for i in t], [str(i) for i in v]) for t, v in folds]
    if not folds:
        raise ConfigurationError("there are no folds to save")
    for number, fold in enumerate(folds):
        check_fold(fold, f"fold {number}")
    document: dict[str, Any] = {
        "n_folds": len(folds),
        "splitter": splitter,
        "folds": [fold._asdict() for fold in folds],
    }
    if groups is not None:
        document["groups"] = {index: int(group) for index, group in groups.items()}
    write_json(path, document)


def load_folds(path: str | os.PathLike[str]) -> list[Fold]:
    """Read what :func:`save_folds` wrote, or what an evaluation has left.

    Parameters
    ----------
    path : path
        The file, or the folder of an evaluation. A ``folds.json`` of an older version, which does
        not name the subjects, is completed by the folds' own files beside it.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    ConfigurationError
        If it holds something else; it says where, and what was expected.
    """
    path, document = _read(path)
    n_folds = _number_of_folds(path, document)
    if "folds" not in document:
        return [read_fold(fold_file(path.parent, number)) for number in range(n_folds)]
    given = document["folds"]
    if not isinstance(given, list) or len(given) != n_folds:
        count = len(given) if isinstance(given, list) else type(given).__name__
        raise ConfigurationError(
            f"{path}: folds is {count}; expected a list of n_folds = {n_folds} entries"
        )
    return [_as_fold(fold, f"{path}: folds[{k}]") for k, fold in enumerate(given)]


def count_folds(path: str | os.PathLike[str]) -> int:
    """Return how many folds a file says there are; errors as of :func:`load_folds`.

    Parameters
    ----------
    path : path
        The file, or the folder of an evaluation.
    """
    return _number_of_folds(*_read(path))


def _number_of_folds(path: Path, document: dict[str, Any]) -> int:
    n_folds = document.get("n_folds")
    if isinstance(n_folds, bool) or not isinstance(n_folds, int):
        raise ConfigurationError(f"{path}: n_folds is {n_folds!r}; expected the number of folds")
    if not 1 <= n_folds <= _MOST_FOLDS:
        raise ConfigurationError(f"{path}: n_folds is {n_folds}; expected 1 … {_MOST_FOLDS}")
    return n_folds


def load_groups(path: str | os.PathLike[str]) -> dict[str, int] | None:
    """Return the number of the patient of each index, as far as the file tells it.

    Parameters
    ----------
    path : path
        As of :func:`load_folds`.

    Raises
    ------
    MissingFileError, ConfigurationError
        As :func:`load_folds`.
    """
    path, document = _read(path)
    groups = document.get("groups")
    if groups is None:
        return None
    if not isinstance(groups, dict):
        raise ConfigurationError(f'{path}: groups must be {{"<index>": <number>, ...}}')
    for index, group in groups.items():
        if isinstance(group, bool) or not isinstance(group, int):
            raise ConfigurationError(
                f"{path}: the group of {index!r} is {group!r}; expected a whole number"
            )
    return groups


def write_fold(
    file_path: str | os.PathLike[str], training: Sequence[str], validation: Sequence[str]
) -> None:
    """Write a fold as JSON: ``{"TRAINING": [...], "VALIDATION": [...]}``.

    Parameters
    ----------
    file_path : path
    training, validation : sequence of str
        Indices.
    """
    write_json(file_path, {"TRAINING": list(training), "VALIDATION": list(validation)})


def read_fold(file_path: str | os.PathLike[str]) -> Fold:
    """Read what :func:`write_fold` wrote: ``(training, validation)``.

    Parameters
    ----------
    file_path : path

    Raises
    ------
    MissingFileError
        If the file does not exist.
    ConfigurationError
        If it holds something else, or a subject stands on both sides.
    """
    path = Path(file_path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; split_folds writes such files")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        fold = Fold(*([str(i) for i in document[key]] for key in ("TRAINING", "VALIDATION")))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f'{path} must hold {{"TRAINING": [...], "VALIDATION": [...]}}: {error!r}'
        ) from error
    check_fold(fold, str(path))
    return fold


def fold_path(evaluation_path: str | os.PathLike[str], fold: int) -> Path:
    """Return the folder of one fold, ``<evaluation_path>/fold_<fold>``.

    Parameters
    ----------
    evaluation_path : path
    fold : int
        Its number, from 0.
    """
    return Path(evaluation_path) / f"fold_{fold}"


def fold_file(evaluation_path: str | os.PathLike[str], fold: int) -> Path:
    """Return the file that names the subjects of one fold.

    Parameters
    ----------
    evaluation_path : path
    fold : int
        Its number, from 0.
    """
    return fold_path(evaluation_path, fold) / _FOLD_FILE


def _read(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    path = Path(path)
    if path.is_dir():
        path = path / _FOLDS_FILE
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; save_folds and split_folds write it")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{path} holds a {type(document).__name__}; expected "
            '{"n_folds": ..., "splitter": ..., "folds": [...]}'
        )
    return path, document


def _as_fold(given: Any, where: str) -> Fold:
    if not isinstance(given, dict) or not {"training", "validation"} <= set(given):
        raise ConfigurationError(
            f'{where} is {str(given)[:80]!r}; expected {{"training": [...], "validation": [...]}}'
        )
    sides = []
    for side in Fold._fields:
        names = given[side]
        if not isinstance(names, list):
            raise ConfigurationError(
                f"{where}.{side} is {str(names)[:80]!r}; expected a list of indices"
            )
        for k, name in enumerate(names):
            if not isinstance(name, str) or not name:
                raise ConfigurationError(
                    f"{where}.{side}[{k}] is {str(name)[:80]!r}; expected an index, which is text"
                )
        sides.append(names)
    fold = Fold(*sides)
    check_fold(fold, where)
    return fold


write_fold2disk = write_fold
load_disk2fold = read_fold
