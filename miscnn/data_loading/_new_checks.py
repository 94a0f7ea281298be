"""Folders that were handed in: whether what was found is all, and no segmentations."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import Scratch, blocks_of
from miscnn.data_loading._adapted import innermost, stem_of
from miscnn.data_loading._label_words import has_label_word
from miscnn.data_loading._new_files import Files, Found, members
from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.data_loading.layouts._formats import DICOM, format_of
from miscnn.exceptions import ConfigurationError, MiscnnError

_LOG = logging.getLogger("miscnn.data_loading.new_subjects")

_SHOWN = 6
_SIGNS = "_-."
# What reads it, its name, the files of its image, and all its files.
_Subject = tuple[DataInterface | None, str, list[Path], list[Path]]
# Images with fewer different whole numbers, none above 255, are taken for segmentations.
_MOST_LABELS = 32
_LARGEST_LABEL = 255


def check_folder(
    folder: Path, found: DataIO | Sequence[Files | Found], interface: DataInterface, own: bool
) -> None:
    """Look at what was found in a folder, and at what was not.

    Parameters
    ----------
    folder : Path
    found : DataIO, or sequence of Files and Found
    interface : DataInterface
        That of the network.
    own : bool
        Whether it is the folder of the training data, where the layout was chosen.

    Raises
    ------
    ConfigurationError
        If two files are one subject but for their endings, or if beside each image there is one
        that looks like its segmentation.
    """
    subjects = list(_subjects(found))
    images = [path for _, _, paths, _ in subjects for path in paths]
    used = {_plain(path) for *_, files in subjects for path in files} | set(map(_plain, images))
    over = [
        path
        for place in _places(folder, images)
        for name in visible_names(place)
        if _is_image(path := place / name) and _plain(path) not in used
    ]
    if not own:
        _check_twins(images, over, interface)
        _check_masks(subjects, interface)
    over = [path for path in over if not has_label_word(stem_of(path, interface))]
    if over:
        _LOG.warning(
            "passed over in %s: %s; if they are to be predicted, hand in a list of the files",
            folder, _few([path.name for path in over]),
        )  # fmt: skip


def _subjects(
    found: DataIO | Sequence[Files | Found],
) -> Iterator[_Subject]:
    listed: list[tuple[DataInterface, str]] = []
    if isinstance(found, DataIO):
        listed = [(found.interface, index) for index in found.indices_list]
    else:
        listed = [(one.interface, one.index) for one in found if isinstance(one, Found)]
        for one in found:
            if isinstance(one, Files):
                yield None, one.name, list(one.paths), list(one.paths)
    for interface, index in listed:
        if isinstance(innermost(interface), DICOMInterface):
            continue  # its files have no names to tell from
        with suppress(MiscnnError, OSError):  # reading it will tell
            yield interface, index, interface.image_files(index), interface.source_files(index)


def _places(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Return the folder, and that of the images if they lie in one."""
    parents = {_plain(path.parent) for path in images}
    one = [parent for parent in parents if len(parents) == 1 and len(images) > 1]
    return list(dict.fromkeys([_plain(folder), *one]))


def _is_image(path: Path) -> bool:
    form = format_of(path.name)
    return form is not None and form is not DICOM and not path.is_dir()


def _plain(path: Path) -> Path:
    return path.absolute()


def _check_twins(images: Sequence[Path], over: Sequence[Path], interface: DataInterface) -> None:
    known = {(path.absolute().parent, stem_of(path, interface)): path for path in images}
    for path in over:
        twin = known.get((path.absolute().parent, stem_of(path, interface)))
        if twin is not None and format_of(twin.name) is format_of(path.name):
            raise ConfigurationError(
                f"{str(twin)!r} and {path.name!r} are two images of one name, and it cannot be "
                "told which is to be predicted; hand in the images themselves, as a list of files"
            )


def _check_masks(
    subjects: Sequence[_Subject],
    interface: DataInterface,
) -> None:
    """Refuse ``a``, ``a_lesion``, ``b``, ``b_lesion`` if the latter look like segmentations."""
    names = {name: n for n, (_, name, paths, _) in enumerate(subjects) if len(paths) == 1}
    bases = {
        name: base
        for name in names
        if (base := next((name[:i] for i in _cuts(name) if name[:i] in names), None)) is not None
    }
    roots = [name for name in names if name not in bases]
    words = {name[len(base) :] for name, base in bases.items()}
    for word in sorted(words):
        if not all(root + word in names for root in roots):
            continue
        first, paths = roots[0], subjects[names[roots[0] + word]][2]
        images = [_image(subjects[names[name]], interface) for name in (first, first + word)]
        if _looks_like_labels(*images):
            raise ConfigurationError(
                f"beside {subjects[names[first]][2][0].name} there is {paths[0].name}, which "
                "looks like its segmentation (few whole numbers, or one byte each), and so for all "
                f"images in {paths[0].parent}; hand in the images that are to be predicted, as a "
                "list of files"
            )


def _cuts(name: str) -> list[int]:
    return [i for i, sign in enumerate(name) if i and sign in _SIGNS]


def _image(subject: _Subject, interface: DataInterface) -> NDArray[Any] | None:
    """Return the image of a subject; None if it cannot be read, as predicting it will tell."""
    reader, name, paths, _ = subject
    try:
        if reader is None:
            made, _ = members([Files(name, tuple(paths))], [name], interface)
            reader = made[0].interface
        return reader.map_image(name, Scratch())[0]
    except (MiscnnError, OSError):
        return None


def _looks_like_labels(image: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    """Tell whether the other one is stored in smaller numbers, or holds few whole numbers."""
    if image is None or other is None or other.dtype.kind not in "biuf":
        return False
    if other.dtype.itemsize == 1 < image.dtype.itemsize:
        return True
    values: set[float] = set()
    for piece in blocks_of(other):
        if piece.size and not (piece.min() >= 0 and piece.max() <= _LARGEST_LABEL):  # or NaN
            return False
        values.update(np.unique(piece).tolist())
        if len(values) > _MOST_LABELS or any(value != int(value) for value in values):
            return False
    return True


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
