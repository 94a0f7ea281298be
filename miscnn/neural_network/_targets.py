"""Which files a call of ``predict`` would write, looked at before anything is predicted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miscnn.data_loading._indices import subject_of
from miscnn.data_loading._new_results import MANIFEST
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces._blockwise import result_files
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.new_subjects import Subject
from miscnn.exceptions import ConfigurationError, MiscnnError
from miscnn.neural_network._ledger import VOLUMES, Ledger
from miscnn.neural_network._options import LABELS, PredictionOptions

# Of more files, such as those of a DICOM series, the folder is noted.
_MANY = 16
_SHOWN = 3
_ELSEWHERE = "choose another output folder"

Numbered = tuple[int, Subject]


@dataclass
class Plan:
    """What is to be done.

    Attributes
    ----------
    todo : list of (int, Subject)
        With their places in what was asked for.
    refused : list of (int, Subject, Exception)
        Subjects whose results would take the place of others.
    there : list of str
        Indices of which all is there.
    targets : list of Path
        The files that are to be written, as far as they are known.
    """

    todo: list[Numbered] = field(default_factory=list)
    refused: list[tuple[int, Subject, Exception]] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    targets: list[Path] = field(default_factory=list)


def planned(
    subjects: Sequence[Subject],
    data_io: DataIO,
    trained: DataIO,
    options: PredictionOptions,
    ledger: Ledger,
) -> Plan:
    """Find out what is to be written, and what is there.

    Parameters
    ----------
    subjects : sequence of Subject
    data_io : DataIO
        That of the subjects.
    trained : DataIO
        That of the network, whose files are protected too.
    options : PredictionOptions
    ledger : Ledger
        Of the output folder. Subjects that are to be predicted anew are forgotten.

    Raises
    ------
    ConfigurationError
        If two results would be one file, or one would replace a file that any subject is read
        from.
    """
    named = [s for s in subjects if isinstance(s, str)]
    targets = {index: _targets(index, data_io, options, ledger.folder) for index in named}
    _check_distinct(targets)
    if not options.overwrite and "volumes" in options.outputs and ledger.has_other_table():
        raise ConfigurationError(
            f"{ledger.folder / VOLUMES} is there already, and is no table of volumes; "
            f"{_ELSEWHERE}, move it away, or let it be replaced (overwrite=True)"
        )
    plan = Plan()
    owners = ledger.owners()
    seen: set[str] = set()
    for number, subject in enumerate(subjects):
        if not isinstance(subject, str):
            plan.todo.append((number, subject))
            continue
        if subject in seen:
            continue  # the same one again
        seen.add(subject)
        try:
            if _is_there(subject, data_io.interface, options, ledger):
                plan.there.append(subject)
                continue
        except ConfigurationError as error:
            plan.refused.append((number, subject, error))
        else:
            plan.todo.append((number, subject))
    _check_sources([s for _, s in plan.todo if isinstance(s, str)], targets, data_io, trained)
    candidates, plan.todo = plan.todo, []
    for number, subject in candidates:
        if isinstance(subject, str):
            try:
                _check_foreign(subject, targets[subject], options, ledger, owners)
            except ConfigurationError as error:
                plan.refused.append((number, subject, error))
                continue
            plan.targets += targets[subject].values()
        plan.todo.append((number, subject))
    return plan


def sources_of(index: str, interface: DataInterface) -> list[dict[str, Any]]:
    """Return the files of a subject's image and their states; nothing where they are not known."""
    try:
        paths = [path.resolve() for path in interface.image_files(index)]
        states = [path.stat() for path in paths]
    except (MiscnnError, OSError):  # reading it will tell
        return []
    if len(paths) > _MANY:
        return [
            {
                "path": os.path.commonpath(paths),
                "files": len(paths),
                "size": sum(state.st_size for state in states),
                "mtime_ns": max(state.st_mtime_ns for state in states),
            }
        ]
    return [
        {"path": str(path), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        for path, state in zip(paths, states, strict=True)
    ]


def _targets(
    index: str, data_io: DataIO, options: PredictionOptions, folder: Path
) -> dict[tuple[str, int], Path]:
    """Return the files of a subject's results, by the output and a number."""
    found: dict[tuple[str, int], Path] = {}
    for output in options.outputs:
        if output == "volumes":
            continue
        labels = output == LABELS and not options.activation_output
        name = None if output == LABELS else output
        for number, path in enumerate(result_files(data_io.interface, index, name, folder, labels)):
            found[output, number] = path
    return found


def _check_distinct(targets: Mapping[str, Mapping[tuple[str, int], Path]]) -> None:
    owner: dict[Path, tuple[str, str]] = {}
    for index, files in targets.items():
        for (output, _), path in files.items():
            own = (subject_of(index), output)
            other = owner.setdefault(path, own)
            if other != own:
                raise ConfigurationError(
                    f"two results would be one file, {path}: {other[1]} of sample {other[0]!r} "
                    f"and {own[1]} of sample {own[0]!r}; predict them into different folders, or "
                    "rename one of the images"
                )


def _is_there(
    index: str, interface: DataInterface, options: PredictionOptions, ledger: Ledger
) -> bool:
    if options.overwrite:
        ledger.forget(index)
        return False
    if ledger.knows(index):
        ledger.check_sources(index, sources_of(index, interface))
        ledger.check_results(index)
    return ledger.has(index, options.outputs)


def _check_foreign(
    index: str,
    targets: Mapping[tuple[str, int], Path],
    options: PredictionOptions,
    ledger: Ledger,
    owners: Mapping[str, set[str]],
) -> None:
    """Refuse files that are another subject's, or that nobody knows if these are to stay."""
    for path in targets.values():
        if not os.path.lexists(path):
            continue
        name = ledger.name_of(path)
        others = owners.get(name, set())
        if others and subject_of(index) not in others:
            raise ConfigurationError(
                f"sample {index!r}: {path} is a result of sample {min(others)!r} (as {MANIFEST} "
                f"there says), which would be replaced; {_ELSEWHERE}"
            )
        if not others and not options.overwrite and name not in ledger.stale:
            raise ConfigurationError(
                f"sample {index!r}: {path} is there already, and {MANIFEST} does not list it, so "
                f"it may be no prediction at all; {_ELSEWHERE}, move it away, or let it be "
                "replaced (overwrite=True)"
            )


def _check_sources(
    chosen: Iterable[str],
    targets: Mapping[str, Mapping[tuple[str, int], Path]],
    data_io: DataIO,
    trained: DataIO,
) -> None:
    """Refuse to write onto files that subjects are read from."""
    there = {
        key: (index, path)
        for index in chosen
        for path in targets[index].values()
        if (key := _key(path)) is not None
    }
    if not there:
        return
    bad = {}
    for index, source in _all_sources([*dict.fromkeys(targets)], data_io, trained):
        key = _key(source)
        if key in there:
            bad[there[key][1]] = (there[key][0], index)
    if bad:
        told = [
            f"{path} (result of sample {result!r}, source of sample {source!r})"
            for path, (result, source) in list(bad.items())[:_SHOWN]
        ]
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ConfigurationError(
            "results would overwrite images or segmentations that subjects are read from: "
            f"{', '.join(told)}{more}; {_ELSEWHERE}"
        )


def _all_sources(
    subjects: Sequence[str], data_io: DataIO, trained: DataIO
) -> Iterator[tuple[str, Path]]:
    own = [(data_io, i) for i in dict.fromkeys([*subjects, *data_io.indices_list])]
    others = [] if trained is data_io else [(trained, i) for i in trained.indices_list]
    for where, index in [*own, *others]:
        with suppress(MiscnnError, OSError):  # it is not there, or cannot be read
            for path in where.interface.source_files(index):
                yield index, path


def _key(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others, whatever it is called; None if it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
