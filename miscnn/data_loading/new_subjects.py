"""Subjects that a network has not seen: indices, files, folders, and arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._adapted import finds_files, unused
from miscnn.data_loading._new_files import (
    Files,
    Found,
    checked_file,
    distinct,
    grouped,
    in_table,
    members,
)
from miscnn.data_loading._new_folders import look_into, place_of
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces._listing import TABLE_ENDINGS
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.gathered import GatheredSubjects
from miscnn.data_loading.layouts._described import DESCRIPTION
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MissingFileError

Subject = str | Sample | NDArray[Any]
"""An index of a data set, or a subject in memory."""

Given = (
    str
    | os.PathLike[str]
    | Sample
    | NDArray[Any]
    | Sequence[str | os.PathLike[str] | Sample | NDArray[Any] | Sequence[str | os.PathLike[str]]]
)
"""What can be predicted, see :func:`find_subjects`."""


def find_subjects(given: Given, data_io: DataIO) -> tuple[DataIO, list[Subject]]:
    """Find the subjects that are to be predicted; no segmentations are needed.

    Parameters
    ----------
    given : str, path, Sample or ndarray, or a list of them
        - Indices of the data set, also of subjects that came into its folder later.
        - Images: files of any format that is read. In a list, a list of files is one subject
          with a file for each channel; so are files called ``case_0000.nii.gz``,
          ``case_0001.nii.gz`` if the network takes several channels.
        - Folders: in the layout of the training data; of one subject in that layout; of any
          layout that :func:`~miscnn.open_dataset` finds out (segmentations are passed over);
          with images alone, perhaps in a folder for each subject; with DICOM series.
        - A table that lists the files (TSV, CSV or JSON).
        - Samples, and images as arrays.

        Text that is an index is taken for this first, then for a path. ``~`` and ``*`` are not
        expanded.
    data_io : DataIO
        The network's data set. Its interface tells channels, classes and labels.

    Returns
    -------
    data_io : DataIO
        Where the subjects are loaded from and results go to, each in the format of its image.
        ``data_io.interface.source_files(index)`` are the files of a subject.
    subjects : list
        Indices of ``data_io``, samples and arrays, in the order that was given. Files of one name
        get the names of their folders before it.

    Raises
    ------
    MissingFileError
        If there is no such file or folder, or no subject in it. In a list, what is nowhere stays:
        :func:`load_subject` tells it.
    ConfigurationError
        If a file is none that can be read, if it cannot be told what the images of a folder are, or
        if there are more or fewer channels than the network takes.

    Notes
    -----
    Interfaces of the user's own that are no
    :class:`~miscnn.data_loading.interfaces.FileInterface` read folders in their own layout only.
    """
    single = isinstance(given, str | os.PathLike | Sample) or _is_array(given)
    items: list[Any] = [given] if single else _listed(given)
    paths = [_as_path(item, data_io) for item in items]
    paths = [None if path is None else _straight(path) for path in paths]
    if single and paths[0] is None and isinstance(given, os.PathLike):
        raise nowhere(os.fspath(given), data_io)
    if all(path is None for path in paths):
        return data_io, [_plain(item) for item in items]
    if single and paths[0] is not None and paths[0].is_dir():
        if not finds_files(data_io.interface):
            return _own_layout(paths[0], data_io)
        inside = look_into(paths[0], data_io)
        if not isinstance(inside, list):
            return inside, list(inside.get_indiceslist())
        return _gathered(items, paths, data_io, inside)
    return _gathered(items, paths, data_io)


def load_subject(subject: Subject, data_io: DataIO, scratch: Scratch | None = None) -> Sample:
    """Return a subject as a sample; no segmentation is needed.

    Parameters
    ----------
    subject : str, Sample or ndarray
        One of those that :func:`find_subjects` returned. A sample is not changed.
    data_io : DataIO
    scratch : Scratch, optional
        Where the sample puts large arrays, see :meth:`DataIO.sample_loader`.

    Raises
    ------
    MissingFileError
        If the text is neither a path nor a subject.
    """
    if isinstance(subject, str):
        return _load_index(subject, data_io, scratch)
    if isinstance(subject, Sample):
        sample = subject.copy()
    else:
        interface = data_io.interface
        sample = Sample(
            "array",
            subject,
            interface.channels,
            interface.classes,
            three_dim=interface.three_dim,
        )
    sample.scratch = scratch
    return sample


def _listed(given: Any) -> list[Any]:
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"{given!r} of type {type(given).__name__} cannot be predicted; expected an index, a "
            "file, a folder, a Sample, an array, or a list of these"
        )
    return list(given)


def _is_array(item: object) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind not in "UO"


def _as_path(item: Any, data_io: DataIO) -> Path | None:
    """Return the path that an item means; None for what is no path, or one to nothing."""
    if isinstance(item, Sample) or _is_array(item):
        return None
    if isinstance(item, list | tuple):  # the channels of one subject
        if not item or not all(isinstance(one, str | os.PathLike) for one in item):
            raise ConfigurationError(
                f"{item!r}: a list in the list must name the files of one subject's channels"
            )
        return Path(item[0])
    if isinstance(item, os.PathLike):
        return Path(item) if os.path.exists(item) else None
    if not isinstance(item, str):
        raise ConfigurationError(
            f"{item!r} of type {type(item).__name__} cannot be predicted; expected an index, a "
            "file, a folder, a Sample or an array"
        )
    if not os.path.exists(item) or _is_index(item, data_io):
        return None
    return Path(item)


def _plain(item: Any) -> Subject:
    """Return an item as it is loaded: text for an index, and for a path to nothing."""
    return str(item) if isinstance(item, str | os.PathLike) else item


def _is_index(index: str, data_io: DataIO) -> bool:
    """Tell whether a text is an index, of a subject that came into the folder later too."""
    if index in data_io.indices_list:
        return True
    if Path(index).name != index or data_io.input_path is None:
        return False
    try:
        return bool(data_io.interface.source_files(index))
    except (OSError, ValueError):  # no such subject, or no index
        return False


def _own_layout(folder: Path, data_io: DataIO) -> tuple[DataIO, list[Subject]]:
    """Look into a folder by an interface that is the user's own."""
    found = DataIO(unused(data_io.interface), folder, output_path=data_io.output_path)
    if not found.indices_list:
        raise MissingFileError(
            f"there is no subject in the folder {str(folder)!r}; looked for "
            f"{found.interface.expected_files()}: new cases need the same layout as the training "
            "data"
        )
    return found, list(found.get_indiceslist())


def _gathered(
    items: Sequence[Any],
    paths: Sequence[Path | None],
    data_io: DataIO,
    inside: Sequence[Files | Found] | None = None,
) -> tuple[DataIO, list[Subject]]:
    """Make one data set of all that is named, and tell the subjects in their order.

    What is inside of the only folder may be known.
    """
    interface = data_io.interface
    first = next(str(path) for path in paths if path is not None)
    if not finds_files(interface):
        raise ConfigurationError(
            f"{first!r} is a path, but {type(interface).__name__}, which the network was trained "
            f"with, reads folders in its own layout only ({interface.expected_files()}); hand in "
            "such a folder, an index of the data set, or the image as an array"
        )
    files = [
        checked_file(path, interface)
        for item, path in zip(items, paths, strict=True)
        if path is not None and isinstance(item, str | os.PathLike) and _is_image(path)
    ]
    groups = {path: one for one in grouped(files, interface, sure=True) for path in one.paths}
    order: list[Any] = []  # what each item stands for, a group at its first file
    found: dict[Any, Files | Found] = {}
    for item, path in zip(items, paths, strict=True):
        if path is None and not (isinstance(item, str) and _is_index(item, data_io)):
            order.append(_plain(item))  # in memory, or nowhere, as loading it will tell
            continue
        for one in inside or _found(item, path, groups, data_io):
            key = _files_key(one) if isinstance(one, Files) else (id(one.interface), one.index)
            found.setdefault(key, one)
            if isinstance(one, Found) or len(one.paths) == 1 or key not in order:
                order.append(key)
    names = distinct(list(found.values()))
    gathered, indices = members(list(found.values()), names, interface)
    named = dict(zip(found, names, strict=True))
    result = DataIO(GatheredSubjects(interface, gathered), output_path=data_io.output_path)
    subjects: list[Subject] = []
    for one in order:
        subjects += indices[named[one]] if isinstance(one, tuple) else [one]
    return result, subjects


def _found(
    item: Any, path: Path | None, groups: Mapping[Path, Files], data_io: DataIO
) -> Sequence[Files | Found]:
    interface = data_io.interface
    if path is None:  # an index
        return [Found(interface, str(item), Path(str(data_io.input_path or "")) / str(item))]
    if isinstance(item, list | tuple):
        return [_channels(item, interface)]
    if path.is_dir() or path.name == DESCRIPTION:
        inside = look_into(path if path.is_dir() else path.parent, data_io)
        if isinstance(inside, list):
            return inside
        return [Found(inside.interface, i, place_of(path, i)) for i in inside.indices_list]
    if path.suffix.lower() in TABLE_ENDINGS:
        return in_table(path, interface)
    return [groups[path]]


def _straight(path: Path) -> Path:
    """Return a path without steps back, which would get into names."""
    if ".." not in path.parts:
        return path
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def _files_key(files: Files) -> tuple[Any, ...]:
    """Return what is equal for the same files, whatever the way to them is called."""
    return files.name, *(path.parent.resolve() / path.name for path in files.paths)


def _is_image(path: Path) -> bool:
    return not path.is_dir() and path.suffix.lower() not in TABLE_ENDINGS


def _channels(item: Sequence[Any], interface: DataInterface) -> Files:
    paths = [_straight(Path(one)) for one in item]
    if len(paths) not in (1, interface.channels):
        raise ConfigurationError(
            f"{[str(path) for path in paths]} are {len(paths)} files of one subject, but the "
            f"network takes {interface.channels} channel(s); name one file for each, in the order "
            "of training. Subjects of one channel are named in one list, without lists in it"
        )
    for path in paths:
        if not path.is_file():
            raise MissingFileError(f"there is no file {str(path)!r}{_hint(str(path))}")
        checked_file(path, interface)
    numbered = grouped(paths, interface, sure=True)
    name = numbered[0].name if len(numbered) == 1 else grouped(paths[:1], interface, True)[0].name
    return Files(name, tuple(paths))


def nowhere(name: str, data_io: DataIO) -> MissingFileError:
    """Return the error that says that a text is neither a path nor a subject."""
    indices = data_io.indices_list
    more = ", …" if len(indices) > 5 else ""
    known = (
        f"the data set has {len(indices)} subject(s): {', '.join(indices[:5])}{more}"
        if indices
        else "the data set knows no subjects, so name a file or a folder"
    )
    return MissingFileError(
        f"there is no folder {name!r}, no file and no subject of this name; {known}{_hint(name)}"
    )


def _hint(name: str) -> str:
    if name.startswith("~"):
        return ". '~' is not expanded: write Path(…).expanduser()"
    if "*" in name or "?" in name:
        return ". Patterns are not expanded: name the folder, or a list of files"
    if os.path.islink(name):
        return f". It is a link to {os.readlink(name)!r}, which does not exist"
    return ""


def _load_index(index: str, data_io: DataIO, scratch: Scratch | None) -> Sample:
    # Also one that is not listed: it may have come into the folder later.
    if index not in data_io.indices_list and Path(index).name != index:
        raise nowhere(index, data_io)  # a path
    try:
        return data_io.sample_loader(index, load_seg=False, scratch=scratch)
    except MissingFileError as error:
        if index in data_io.indices_list:
            raise
        raise nowhere(index, data_io) from error
    except ConfigurationError as error:
        if data_io.input_path is not None or not data_io.interface.reads_files:
            raise
        raise nowhere(index, data_io) from error  # there is no data folder to look into
