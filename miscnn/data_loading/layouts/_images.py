"""Images without segmentations: what is left where nothing else is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from miscnn.data_loading._label_words import LABEL_WORD, has_label_word
from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.layouts._folders import channel_patterns
from miscnn.data_loading.layouts._formats import FORMATS, Format, format_of
from miscnn.data_loading.layouts._layout import Layout
from miscnn.exceptions import ConfigurationError

_SHOWN = 4


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
        If some look like segmentations.
    """
    stems = form.files(folder)
    if not stems:
        return []
    if not sure:
        _check_words(folder, stems)
    return [_layout(form, "", list(stems), form.ending(folder), "a flat folder: ")]


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
            f"folder above it, {folder.parent}, or name the files, such as image='*.nii.gz'"
        )
    if odd:
        raise ConfigurationError(
            f"in {folder} {_few(odd)} look like segmentations, but it cannot be told of which "
            "images; name both, such as image='ct_*.nii.gz', segmentation='seg_*.nii.gz', or say "
            "layout='images' if all of them are images"
        )


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
