"""The paths of a document."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from miscnn.pipeline import _sections as sections
from miscnn.pipeline._types import PART

SAVED_FOLDS = "SavedFolds"
"""The splitter that reads a file."""


def with_paths(
    document: Mapping[str, Any], folder: Path, change: Callable[[str], str]
) -> dict[str, Any]:
    """Return a copy of a document with other paths; modules in its folder are named by paths."""
    result = copy.deepcopy(dict(document))
    keys = [*sections.WRITTEN.items(), ("data", ("path",))]
    for section, names in keys:
        for name in names:
            if section in result and result[section].get(name) is not None:
                result[section][name] = change(result[section][name])
    if result.get("evaluation", {}).get("splitter"):
        evaluation = result["evaluation"]
        evaluation["splitter"] = with_folds_path(evaluation["splitter"], change)
    files = {m: m if m.endswith(".py") else f"{m}.py" for m in result[sections.MODULES]}
    result[sections.MODULES] = [
        change(file) if m == file or (folder / file).is_file() else m for m, file in files.items()
    ]
    return result


def with_folds_path(
    splitter: Mapping[str, Any] | None, change: Callable[[str], str]
) -> dict[str, Any] | None:
    """Return the table of a splitter with another path, if it reads folds from a file."""
    if splitter is None:
        return None
    if splitter.get(PART) != SAVED_FOLDS or not isinstance(splitter.get("path"), str):
        return dict(splitter)
    return {**splitter, "path": change(splitter["path"])}


def resolved(text: str, folder: Path) -> Path:
    """Return a path that is relative to a folder, absolute."""
    return Path(os.path.abspath(folder / _expanded(text)))


def _expanded(text: str) -> Path:
    """Return a path with the home folder in place of "~"; of an unknown user it stays as it is."""
    return Path(os.path.expanduser(text))  # that of Path raises RuntimeError


def moved_path(text: str, before: Path, now: Path) -> str:
    """Return a path relative to another folder than before."""
    if _expanded(text).is_absolute():
        return text
    try:
        return Path(os.path.relpath(before / text, now)).as_posix()
    except ValueError:  # another drive on Windows
        return str(resolved(text, before))
