"""Files and folders in a data set that look like subjects but are not read."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from miscnn.data_loading._patterns import Pattern, visible_names
from miscnn.data_loading._problems import Problem

# Where DataIO writes by default.
_OWN_FOLDERS = ("batches", "predictions")
_SHOWN = 8


def overlooked(
    folder: Path,
    patterns: Sequence[Pattern],
    indices: Sequence[str],
    wanted: Callable[[str], bool],
    ignored: Collection[Path],
) -> list[Problem]:
    """Name what no pattern claims although it looks as if it should be read.

    Parameters
    ----------
    folder : Path
    patterns : sequence of Pattern
    indices : sequence of str
        The subjects that were found.
    wanted : callable
        Tells whether an index is to be listed at all.
    ignored : collection of Path
        Resolved folders that are no subjects, such as the one for predictions.
    """
    return [
        *_twins(folder, patterns, indices),
        *_folders(folder, patterns, indices, wanted, ignored),
        *_files(folder, patterns, indices, wanted),
    ]


def _twins(folder: Path, patterns: Sequence[Pattern], indices: Sequence[str]) -> Iterator[Problem]:
    """Look for several files, such as ``.nii`` and ``.nii.gz``, in the place of one."""
    for pattern in patterns:
        for index in indices:
            found = [p for p in pattern.candidates(folder, index) if os.path.lexists(p)]
            used = pattern.path(folder, index)
            if used is not None and len(found) > 1:
                others = _list([path.name for path in found if path != used])
                text = f"{used.name} is read, {others} beside it is not; remove one of them"
                yield Problem(index, "warning", "files", text)


def _folders(
    folder: Path,
    patterns: Sequence[Pattern],
    indices: Sequence[str],
    wanted: Callable[[str], bool],
    ignored: Collection[Path],
) -> Iterator[Problem]:
    """Look for folders in the place of a subject's that hold none of its files."""
    parents = {pattern.parent(folder) for pattern in patterns}
    told = set(indices)
    for pattern in patterns:
        if not pattern.has_subfolders:
            continue
        for name in visible_names(pattern.parent(folder)):
            path, index = pattern.parent(folder) / name, pattern.index(name)
            if index is None or index in told or not wanted(index):
                continue
            if name in _OWN_FOLDERS or path in parents or path.resolve() in ignored:
                continue
            text = _about_folder(pattern, folder, path, index, indices)
            if text is not None:
                told.add(index)
                yield Problem(index, "warning", "files", text)


def _about_folder(
    pattern: Pattern, folder: Path, path: Path, index: str, indices: Sequence[str]
) -> str | None:
    if path.is_symlink() and not path.exists():
        return f"{path.name} is a link to {os.readlink(path)}, which does not exist; mend the link"
    if not path.is_dir():
        return None
    expected = pattern.candidates(folder, index)[0]
    names = visible_names(expected.parent if expected.parent.is_dir() else path)
    volumes = [name for name in names if _stem(name, pattern.endings) is not None]
    if not names:
        return "the folder is empty; add the files, or remove it"
    stems = {_stem(name, pattern.endings) for name in volumes}
    if not volumes or stems <= set(indices):  # predictions, say
        return None
    return (
        f"the folder holds {_list(volumes)}, but not {expected.relative_to(folder)}; rename the "
        "files, or give the data interface other patterns"
    )


def _files(
    folder: Path,
    patterns: Sequence[Pattern],
    indices: Sequence[str],
    wanted: Callable[[str], bool],
) -> Iterator[Problem]:
    """Look for files of the format that no pattern claims, where patterns look for files."""
    claimed: dict[Path, str] = {}
    owners: dict[Path, None] = {}  # folders of one subject each, in order
    listed = set(indices)
    for pattern in patterns:
        for index in dict.fromkeys([*indices, *pattern.find(folder)]):
            for path in pattern.candidates(folder, index):
                claimed[path] = index
                if pattern.has_subfolders and index in listed:
                    owners[path.parent] = None
    beside = []
    for parent in dict.fromkeys([*(pattern.parent(folder) for pattern in patterns), *owners]):
        spare = []
        for name in visible_names(parent):
            path = parent / name
            stem = _stem(name, patterns[0].endings)
            if stem is None or path in claimed or path.is_dir():
                continue
            better = stem + name[len(stem) :].lower()
            meant = claimed.get(parent / better) or _index(patterns, folder, parent, better)
            if better == name or meant is None:
                spare.append(name)
            elif wanted(meant):
                text = f"{name} is not read, because its ending is in capitals; rename it {better}"
                yield Problem(meant, "warning", "files", text)
        if parent in owners:
            beside += [str((parent / name).relative_to(folder)) for name in spare]
        elif spare:
            text = f"{_list(spare)} in {parent.name}: no pattern fits, not read; rename or move"
            yield Problem("", "warning", "files", text)
    if beside:  # usual: further modalities, say
        text = f"beside the files of subjects, not read: {_list(beside)}"
        yield Problem("", "note", "files", text)


def _index(patterns: Sequence[Pattern], folder: Path, parent: Path, name: str) -> str | None:
    """Return the index that a file of this name would have."""
    flat = (p for p in patterns if not p.has_subfolders and p.parent(folder) == parent)
    found = [(p.specificity, index) for p in flat if (index := p.index(name)) is not None]
    return max(found)[1] if found else None


def _stem(name: str, endings: Sequence[str]) -> str | None:
    """Return a name without its ending, whatever its case; None where it is none of these."""
    for ending in sorted(endings, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return None


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
