"""Folders that were handed in: which subjects they hold."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from miscnn.data_loading._adapted import (
    adapted,
    format_for,
    innermost,
    own_format,
    stem_of,
    unused,
)
from miscnn.data_loading._label_words import has_label_word
from miscnn.data_loading._new_checks import check_folder
from miscnn.data_loading._new_files import Files, Found, grouped
from miscnn.data_loading._new_results import MANIFEST, without_results
from miscnn.data_loading._patterns import Pattern, visible_names
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.dicom._headers import read_header
from miscnn.data_loading.dicom._source import dicom_files
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.interfaces.memory import DictionaryInterface
from miscnn.data_loading.layouts._finding import find_layout
from miscnn.data_loading.layouts._formats import FORMATS, Format, find_format
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._opening import muted
from miscnn.exceptions import ConfigurationError, MiscnnError, MissingFileError

_LOG = logging.getLogger("miscnn.data_loading.new_subjects")

# The file of a subject in the layout of MIScnn and KiTS.
_IMAGING = "imaging"
# Where results and batches go by default: no subjects.
_OWN_FOLDERS = ("batches", "predictions")
_AS_LIST = "hand in the images themselves, as a list of files"
_SHOWN = 6


def look_into(folder: Path, data_io: DataIO) -> DataIO | list[Files | Found]:
    """Return the subjects of a folder; results of earlier predictions in it are none.

    Returns
    -------
    DataIO
        If the folder is that of ``data_io``, or has the layout of its interface.
    list of Files and Found
        Otherwise.

    Raises
    ------
    MissingFileError
        If there are none.
    ConfigurationError
        If it cannot be told what the images are, or their number for each subject is another one
        than that of the network's channels.
    """
    own = data_io.input_path is not None and folder.samefile(data_io.input_path)
    everything = _look_into(folder, data_io, own)
    found = without_results(folder, everything)
    if not (found.indices_list if isinstance(found, DataIO) else found):
        raise MissingFileError(
            f"there is no subject in the folder {str(folder)!r}: all images there are results of "
            f"predictions, as {MANIFEST} says. If they are to be predicted, {_AS_LIST}"
        )
    check_folder(folder, found, data_io.interface, own)
    return found


def _look_into(folder: Path, data_io: DataIO, own: bool) -> DataIO | list[Files | Found]:
    interface = data_io.interface
    trained = _in_trained_layout(folder, data_io, own)
    if trained is not None and (own or not _odd(trained, data_io)):
        return trained
    one = _one_subject(folder, interface)
    if one is not None:
        return [one]
    layout = _known_layout(folder, interface)
    if trained is not None and layout is None:
        return trained
    found = None if layout is None else _by_layout(folder, layout, interface)
    found = found or _folder_each(folder, data_io) or _capitals(folder, interface)
    if not found:
        raise MissingFileError(_nothing(folder, data_io))
    described = "a folder for each subject" if layout is None else layout.description
    _LOG.info("to be predicted: %s; %d subjects", described, len(found))
    return found


def _in_trained_layout(folder: Path, data_io: DataIO, own: bool) -> DataIO | None:
    inner = innermost(data_io.interface)
    named = getattr(inner, "listing", None)
    if isinstance(inner, DictionaryInterface) or (
        not own and named is not None and not isinstance(named, str)
    ):
        return None
    if isinstance(inner, DICOMInterface) and inner.series is not None and _one_study(folder):
        return None  # its folders are the series of one subject
    try:
        with muted():
            found = DataIO(unused(data_io.interface), folder, output_path=data_io.output_path)
    except (MissingFileError, ConfigurationError):
        if own or named is None:
            raise
        return None  # a table that was in the folder of the training data
    found.indices_list = [i for i in found.indices_list if found.interface.has_image(i)]
    return found if found.indices_list else None


def _odd(found: DataIO, data_io: DataIO) -> bool:
    """Tell whether segmentations may have been taken for subjects.

    They may lie among images in one folder, rather than in a folder of images alone.
    """
    inner = innermost(found.interface)
    odd = [has_label_word(index) for index in found.indices_list]
    if not isinstance(inner, FileInterface) or not any(odd):
        return False
    flat = inner.listing is None and any("/" not in p.text for p in _image_patterns(inner))
    return (flat or not all(odd)) and not any(map(has_label_word, data_io.indices_list))


def _one_subject(folder: Path, interface: DataInterface) -> Found | Files | None:
    """Return the subject whose folder this is, in the layout of the interface or of MIScnn."""
    inner, name = innermost(interface), os.path.basename(os.path.abspath(folder))
    parent = Path(os.path.abspath(folder)).parent
    if isinstance(inner, DICOMInterface) and inner.series is not None and _one_study(folder):
        reader = unused(interface)
        reader.initialize(parent)
        return Found(reader, name, folder)
    if isinstance(inner, FileInterface) and inner.listing is None and name:
        reader = unused(interface)
        if any(_holds(pattern, parent, name) for pattern in _image_patterns(inner)):
            with muted():
                reader.initialize(parent)
            return Found(reader, name, folder)
    for form in _formats(interface):
        files = form.files(folder)
        if _IMAGING in files:
            return Files(name, (folder / files[_IMAGING],))
    return None


def _image_patterns(interface: FileInterface) -> list[Pattern]:
    texts = interface.image
    if texts is None:
        texts = f"{{index}}/imaging{interface.default_ending}"
    return [Pattern(t, interface.endings) for t in ([texts] if isinstance(texts, str) else texts)]


def _holds(pattern: Pattern, parent: Path, name: str) -> bool:
    """Tell whether a pattern has a file for a subject in the folder of this name."""
    if not pattern.has_subfolders or pattern.index(name) != name:
        return False
    path = pattern.path(parent, name)
    return path is not None and path.is_relative_to(parent / name)


def _one_study(folder: Path) -> bool:
    """Tell whether several folders in a folder hold series of one study of one patient."""
    studies = []
    for name in visible_names(folder):
        first = next(dicom_files(folder / name), None) if (folder / name).is_dir() else None
        if first is None:
            continue
        try:
            header = read_header(first, name)
        except MiscnnError:
            return False
        studies.append((header.study_uid, header.patient))
    return len(studies) > 1 and len(set(studies)) == 1 and bool(studies[0][0])


def _known_layout(folder: Path, interface: DataInterface) -> Layout | None:
    """Find the layout out, files of the network's own format first."""
    form = own_format(interface)
    for chosen in (form, None) if form else (None,):
        refused: ConfigurationError | None = None
        for part in ("training", "test"):
            try:
                return find_layout(folder, format=chosen, part=part)
            except MissingFileError:
                continue
            except ConfigurationError as error:
                refused = refused or error
        if refused is not None:
            raise ConfigurationError(
                f"it cannot be told which files in {str(folder)!r} are to be predicted; {_AS_LIST}"
                f". Opened as a data set: {refused}"
            ) from refused
    return None


def _by_layout(folder: Path, layout: Layout, interface: DataInterface) -> list[Files | Found]:
    if layout.name == "images":
        place = folder / os.path.dirname(layout.image[0])
        files = find_format(layout.format).files(place)
        return list(grouped([place / name for name in files.values()], interface, sure=False))
    listing = layout.further.get("listing")
    number = int(layout.further.get("channels", max(1, len(layout.image))))
    if number not in (1, interface.channels) and layout.format != "DICOM":
        raise ConfigurationError(
            f"{str(folder)!r} holds {number} images for each subject ({layout.description}), but "
            f"the network takes {interface.channels} channel(s); {_AS_LIST}"
        )
    where = {
        "image": (layout.image[0] if len(layout.image) == 1 else layout.image) or None,
        "segmentation": layout.segmentation,
        "pattern": layout.further.get("pattern"),
        "listing": listing,
    }
    where = {name: value for name, value in where.items() if value is not None}
    reader = adapted(interface, layout.format, **where)
    with muted():
        indices = reader.initialize(folder)
    return [Found(reader, i, place_of(folder, i)) for i in indices if reader.has_image(i)]


def place_of(folder: Path, index: str) -> Path:
    """Return where a subject lies: DICOM files may lie in the folder itself."""
    inside = folder / index
    return folder if index == folder.name and not inside.exists() else inside


def _folder_each(folder: Path, data_io: DataIO) -> list[Files | Found]:
    """Take the only image in each folder for a subject that is called like the folder."""
    interface, found = data_io.interface, []
    for form in _formats(interface):
        for name in visible_names(folder):
            inside = folder / name
            if not inside.is_dir() or _is_output(inside, data_io):
                continue
            files = {s: f for s, f in form.files(inside).items() if not has_label_word(s)}
            groups = grouped([inside / file for file in files.values()], interface, sure=False)
            if len(groups) > 1:
                raise ConfigurationError(
                    f"{str(inside)!r} holds several images ({_few(list(files.values()))}), and it "
                    f"cannot be told which is to be predicted; {_AS_LIST}"
                )
            found += [Files(name, group.paths) for group in groups]
        if found:
            break
    return list(found)


def _capitals(folder: Path, interface: DataInterface) -> list[Files | Found]:
    """Take the images in a folder whose endings are in capitals."""
    paths = [
        folder / name
        for name in visible_names(folder)
        if format_for(Path(name), interface) not in (None, "DICOM")
        and not (folder / name).is_dir()
        and not has_label_word(stem_of(Path(name), interface))
    ]
    return list(grouped(paths, interface, sure=False)) if paths else []


def _is_output(folder: Path, data_io: DataIO) -> bool:
    own = Path(data_io.output_path), Path(data_io.batch_path)
    return folder.name in _OWN_FOLDERS or any(p.exists() and folder.samefile(p) for p in own)


def _formats(interface: DataInterface) -> list[Format]:
    """Return the formats of files, the network's own first."""
    return sorted(FORMATS, key=lambda form: form.name != own_format(interface))


def _nothing(folder: Path, data_io: DataIO) -> str:
    names = visible_names(folder)
    looked = data_io.interface.expected_files()
    return (
        f"there is no subject in the folder {str(folder)!r}: "
        + (f"it holds {_few(names)}" if names else "it is empty")
        + f"; looked for {looked} as in the training data, for the layouts that open_dataset "
        "knows, for images in it or in a folder for each subject, and for DICOM series. Hand in "
        "the files themselves, or a table that lists them"
    )


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
