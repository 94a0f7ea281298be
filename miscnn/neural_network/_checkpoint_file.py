"""One file that holds all of a moment of a training: a JSON document and the variables.

A file is written under a temporary name and renamed. Whoever is killed while writing leaves the
one before it as it was.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError, DamagedFileError

_DOCUMENT = "document"


class CheckpointFile(NamedTuple):
    """What a file holds."""

    path: Path
    document: dict[str, Any]
    groups: dict[str, list[NDArray[Any]]]

    def restore(self, group: str, variables: Sequence[Any]) -> None:
        """Give variables the values of a group.

        Raises
        ------
        ConfigurationError
            If these are not the variables that were written.
        """
        values = self.groups.get(group, [])
        here = [tuple(variable.shape) for variable in variables]
        there = [value.shape for value in values]
        if here != there:
            raise ConfigurationError(
                f"{self.path} is of another network or optimizer: it holds {len(there)} "
                f"variables of the {group}, here are {len(here)}"
                f"{_first_difference(variables, here, there)}. Choose another "
                "checkpoint_path, or begin anew with resume=False"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value.astype(variable.dtype) if value.dtype == np.float32 else value)


def _first_difference(
    variables: Sequence[Any], here: Sequence[tuple[int, ...]], there: Sequence[tuple[int, ...]]
) -> str:
    for variable, mine, theirs in zip(variables, here, there, strict=False):
        if mine != theirs:
            return (
                f"; the first that differs, {variable.path}, has shape {mine} here and {theirs} "
                "there"
            )
    return ""


def write(
    path: str | Path, document: Mapping[str, Any], groups: Mapping[str, Sequence[Any]]
) -> None:
    """Write a document and groups of variables or arrays."""
    arrays = {
        f"{group}/{number:05d}": _plain(variable)
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }
    arrays[_DOCUMENT] = np.array(json.dumps(document))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # stubs mistake arrays for an option


def read(path: str | Path) -> CheckpointFile:
    """Read what :func:`write` wrote.

    Raises
    ------
    DamagedFileError
        If the file is damaged.
    """
    path = Path(path)
    groups: dict[str, list[NDArray[Any]]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            document = json.loads(str(arrays[_DOCUMENT]))
            for name in sorted(set(arrays.files) - {_DOCUMENT}):
                groups.setdefault(name.rpartition("/")[0], []).append(arrays[name])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DamagedFileError(
            f"{path} cannot be read as a checkpoint ({error}); delete it, and the training begins "
            "anew"
        ) from error
    return CheckpointFile(path, document, groups)


def _plain(variable: Any) -> NDArray[Any]:
    """Return values as an array of a type that NumPy's files know; bfloat16 becomes float32."""
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array if array.dtype.kind in "biuf" else array.astype(np.float32)
