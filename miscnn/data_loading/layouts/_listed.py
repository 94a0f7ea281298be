"""Layouts that name the files of each subject, and how they become patterns where they can."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn.data_loading._patterns import Pattern
from miscnn.data_loading.interfaces._listing import read_listing
from miscnn.data_loading.layouts._formats import FORMATS, Format, format_of
from miscnn.data_loading.layouts._layout import Layout
from miscnn.exceptions import ConfigurationError

Files = Mapping[str, Mapping[str, Any]]
"""``{index: {"image": path or paths, "segmentation": path or None}}``."""


def table_layout(path: Path, form: Format | None) -> Layout:
    """Take over a table of files.

    Raises
    ------
    ConfigurationError
        If it cannot be used, or its files are of several formats.
    """
    endings = form.endings if form else [e for f in FORMATS for e in f.endings]
    listing = read_listing(path, endings)
    if not listing.entries:
        raise ConfigurationError(f"{path.name} lists no subjects")
    names = [
        name
        for entry in listing.entries.values()
        for name in (*entry.images, *([entry.segmentation] if entry.segmentation else []))
    ]
    formats = sorted({known.name if (known := format_of(n)) else "unknown" for n in names})
    if form is None and (len(formats) != 1 or formats == ["unknown"]):
        raise ConfigurationError(
            f"{path.name} names files of several formats, or of none that is known: "
            f"{', '.join(formats) or 'no files'}; an interface reads one format: convert the "
            "others, or name it, such as format='NIfTI'"
        )
    channels = max((len(entry.images) for entry in listing.entries.values()), default=1)
    labelled = sum(entry.segmentation is not None for entry in listing.entries.values())
    shown = f": {', '.join(listing.channels)}" if listing.channels else ""
    text = f"the listing {path.name}: {len(listing.entries)} subjects, {labelled} of them "
    text += "with a segmentation" + (f", {channels} channels{shown}" if channels > 1 else "")
    further = {"listing": path.name, **({"channels": channels} if channels > 1 else {})}
    return Layout("listing", text, format=form.name if form else formats[0], further=further)


def as_patterns(files: Files, folder: Path, form: Format) -> tuple[tuple[str, ...], str | None]:
    """Return the patterns that name just the same files; no image patterns if there are none.

    A model that was saved with patterns finds new subjects, with a listing only those listed.
    Files that are missing are no hindrance, as long as patterns find every subject.
    """
    if not all(any((folder / name).exists() for name in _names(entry)) for entry in files.values()):
        return (), None
    index = next((i for i in files if files[i]["segmentation"] is not None), next(iter(files)))
    images = [_generic(name, index) for name in _images(files[index])]
    label = files[index]["segmentation"]
    texts = [*images, *([_generic(label, index)] if label else [])]
    try:
        patterns = [Pattern(text, form.endings) for text in texts]
    except ConfigurationError:  # no index in the path, say
        return (), None
    found = [pattern.find(folder) for pattern in patterns]
    meant: list[dict[str, Path]] = [{} for _ in patterns]
    for i, entry in files.items():
        names = _names(entry)
        if len(names) > len(patterns) or len(_images(entry)) != len(images):
            return (), None
        for place, name in enumerate(names):
            if (folder / name).exists():
                meant[place][i] = folder / name
    if found != meant:
        return (), None
    return tuple(images), texts[-1] if label else None


def _generic(name: str, index: str) -> str:
    # as a whole word: the index "a" is not meant in "images"
    found = _whole_word(index, "{index}", name)
    subject, _, session = index.rpartition("_")
    if not subject or f"/{index}/" in f"/{name}":
        return found
    parts = _whole_word(session, "{session}", _whole_word(subject, "{subject}", name))
    return parts if "{subject}" in parts and "{session}/" in parts else found


def _whole_word(word: str, place: str, text: str) -> str:
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", place, text)


def _names(entry: Mapping[str, Any]) -> list[str]:
    label = entry["segmentation"]
    return [*_images(entry), *([label] if label else [])]


def _images(entry: Mapping[str, Any]) -> Sequence[str]:
    image = entry["image"]
    return [image] if isinstance(image, str) else list(image)
