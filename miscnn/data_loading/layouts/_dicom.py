"""Recognising folder trees of DICOM files, without reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.layouts._formats import DICOM, format_of
from miscnn.data_loading.layouts._layout import Layout

# What is looked at in one subject's folder before it is taken for something else.
_FILES = 50
_MARK_AT = 128


def dicom_tree(folder: Path) -> list[Layout]:
    """Recognise DICOM files below each subject's folder, or those of one in ``folder`` itself."""
    subjects = [
        name
        for name in visible_names(folder)
        if (folder / name).is_dir() and holds_dicom(folder / name)
    ]
    if not subjects and holds_loose_dicom(folder):
        text = "DICOM: the files of one subject, which is called like the folder"
        return [Layout("dicom", text, format=DICOM.name)]
    if not subjects:
        return []
    text = f"DICOM: a folder for each subject, {len(subjects)} of them"
    return [Layout("dicom", text, format=DICOM.name)]


def holds_dicom(folder: Path) -> bool:
    """Tell whether one of the first files in a folder or below it is a DICOM file."""
    for number, path in enumerate(_files(folder)):
        if number >= _FILES:
            return False
        if is_dicom(path):
            return True
    return False


def holds_loose_dicom(folder: Path) -> bool:
    """Tell whether one of the first files in the folder itself, of no other format, is DICOM."""
    names = [name for name in visible_names(folder) if format_of(name) in (None, DICOM)]
    files = (folder / name for name in names if not (folder / name).is_dir())
    return any(is_dicom(path) for path in islice(files, _FILES))


def is_dicom(path: Path) -> bool:
    """Tell whether a file bears DICOM's mark, or else its ending."""
    try:
        with path.open("rb") as file:
            file.seek(_MARK_AT)
            return file.read(4) == b"DICM" or DICOM.stem(path.name.lower()) is not None
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))
