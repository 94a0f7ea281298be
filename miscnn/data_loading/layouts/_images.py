"""Images without segmentations: what is left where nothing else is found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from miscnn.data_loading._label_words import LABEL_WORD, has_label_word
from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.layouts._folders import (
    TEST_FOLDERS,
    TRAINING_FOLDERS,
    channel_patterns,
)
from miscnn.data_loading.layouts._formats import FORMATS, Format, format_of
from miscnn.data_loading.layouts._layout import Layout
from miscnn.exceptions import ConfigurationError

_LOG = logging.getLogger("miscnn.data_loading.layouts")

_SHOWN = 4
_FOLDERS = {**TRAINING_FOLDERS, **TEST_FOLDERS}
_LABEL_FOLDERS = {name.lower() for labels in _FOLDERS.values() for name in labels}


def images_in_folders(
    folder: Path, form: Format, among: Mapping[str, Sequence[str]], sure: bool
) -> list[Layout]:
    """Recognise images without segmentations in a folder of their own.

    Parameters
    ----------
    folder : Path
    form : Format
    among : mapping
        The names of folders of labels by those of folders of images.
    sure : bool
        Whether the user has said that these are images, whatever they are called.

    Raises
    ------
    ConfigurationError
        If there are files that look like segmentations, which would be taken for images or left
        out.
    """
    found = []
    present = {name.lower(): name for name in visible_names(folder)}
    for images, labels in among.items():
        name = present.get(images.lower(), images)
        stems = form.files(folder / name)
        if not stems:
            continue
        if not sure:
            _check_formats(folder, form, name, [present.get(n.lower(), n) for n in labels])
            _check_words(folder / name, stems)
        found.append(_layout(form, f"{name}/", list(stems), form.ending(folder / name), ""))
    return found


def flat_images(folder: Path, form: Format, sure: bool) -> list[Layout]:
    """Recognise images without segmentations that lie in ``folder`` itself.

    Raises
    ------
    ConfigurationError
        If some look like segmentations, or the folder is called like one of them.
    """
    stems = form.files(folder)
    if not stems:
        return []
    found = _layout(form, "", list(stems), form.ending(folder), "a flat folder: ")
    if sure:
        return [found]
    _check_name(folder)
    _check_words(folder, stems)
    beside = _labels_beside(folder)
    if beside:
        _LOG.warning(
            "%s is opened without segmentations, but %s/ lies beside it; to have both, open the "
            "folder above, %s", folder, beside, folder.absolute().parent,
        )  # fmt: skip
        remark = f"; {beside}/ beside it is not read (open the folder above)"
        found = replace(found, description=found.description + remark)
    return [found]


def _check_name(folder: Path) -> None:
    """Refuse a folder that is called like one of segmentations: images they are not."""
    name = folder.absolute().name
    if LABEL_WORD.fullmatch(name) or name.lower() in _LABEL_FOLDERS:
        raise ConfigurationError(
            f"{folder} is called like a folder of segmentations, which would be read as images; "
            f"open the folder above it, {folder.absolute().parent}, or say layout='images' if "
            "these are images"
        )


def _labels_beside(folder: Path) -> str | None:
    """Return the folder of segmentations that belongs to a folder of images, if there is one."""
    own = folder.absolute().name.lower()
    among = {images.lower(): labels for images, labels in _FOLDERS.items()}
    wanted = {name.lower() for name in among.get(own, ())}
    beside = (name for name in visible_names(folder.absolute().parent) if name.lower() in wanted)
    return next((name for name in beside if (folder.absolute().parent / name).is_dir()), None)


def _layout(form: Format, place: str, stems: Sequence[str], ending: str, kind: str) -> Layout:
    patterns = tuple(f"{place}{name}{ending}" for name in channel_patterns(stems))
    text = f"{kind}images {' and '.join(patterns)}, no segmentations"
    return Layout("images", text, patterns, None, form.name)


def _check_formats(folder: Path, form: Format, images: str, labels: Sequence[str]) -> None:
    for name in labels:
        others = sorted({found.name for found in _formats(folder / name)} - {form.name})
        if others:
            raise ConfigurationError(
                f"{images}/ holds {form.name} files, but {name}/ {' and '.join(others)} files; one "
                f"interface reads one format: convert those in {name}/, or say "
                f"image='{images}/*{form.endings[0]}' to open the images without segmentations"
            )


def _formats(folder: Path) -> Iterator[Format]:
    for name in visible_names(folder):
        found = format_of(name)
        if found in FORMATS:
            yield found


def _check_words(folder: Path, stems: Mapping[str, str]) -> None:
    odd = [name for stem, name in stems.items() if has_label_word(stem)]
    if "imaging" in stems or any(LABEL_WORD.fullmatch(stem) for stem in stems):
        raise ConfigurationError(
            f"{folder} holds the files of one subject ({_few(list(stems.values()))}); open the "
            f"folder above it, {folder.absolute().parent}, with {_as_subject(stems)}"
        )
    if odd:
        raise ConfigurationError(
            f"in {folder} {_few(odd)} look like segmentations, but it cannot be told of which "
            "images; name both, such as image='ct_*.nii.gz', segmentation='seg_*.nii.gz', or say "
            "layout='images' if all of them are images"
        )


def _as_subject(stems: Mapping[str, str]) -> str:
    """Return the arguments that open the files of one subject from the folder above."""
    images = [name for stem, name in stems.items() if not has_label_word(stem)]
    labels = sorted((not LABEL_WORD.fullmatch(s), n) for s, n in stems.items() if has_label_word(s))
    text = ""
    if images:
        named = [f"*/{name}" for name in images]
        text = f"image={(named[0] if len(named) == 1 else named)!r}"
    if labels:
        text += ", " if text else "image='*/…', "
        text += f"segmentation={'*/' + labels[0][1]!r}"
    return text


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
