"""Layouts that are told by the names of folders and files alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from miscnn.data_loading._label_words import has_label_word
from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.layouts._channels import common
from miscnn.data_loading.layouts._formats import Format
from miscnn.data_loading.layouts._layout import Layout

LABEL_FOLDERS = (
    "labels", "segmentations", "masks", "label", "mask", "segmentation", "annotations", "gt",
)  # fmt: skip
TRAINING_FOLDERS = {
    "images": LABEL_FOLDERS,
    "imagesTr": ("labelsTr",),
    "image": LABEL_FOLDERS,
}
TEST_FOLDERS = {"imagesTs": ("labelsTs",)}
_CHANNEL = re.compile(r"(?P<index>.+)_(?P<channel>[0-9]{4})")


def subject_folders(folder: Path, form: Format, names: Sequence[str] | None) -> list[Layout]:
    """Recognise a folder for each subject, with files that are called alike in all of them.

    Parameters
    ----------
    folder : Path
    form : Format
    names : sequence of str, optional
        The channels to take, if there are several images in a folder.
    """
    folders = {**TRAINING_FOLDERS, **TEST_FOLDERS}
    apart = {name.lower() for images, labels in folders.items() for name in (images, *labels)}
    raw = {
        name: set(form.files(folder / name))
        for name in visible_names(folder)
        if (folder / name).is_dir() and name.lower() not in apart
    }
    known = [name for name in raw if raw[name] & {"imaging", "segmentation"}]
    if known:
        ending = form.ending(folder / known[0])
        return [
            Layout(
                "miscnn",
                f"MIScnn folders: <index>/imaging{ending} with segmentation{ending}",
                (f"{{index}}/imaging{ending}",),
                f"{{index}}/segmentation{ending}",
                form.name,
            )
        ]
    stems = _generic(raw)
    layouts = []
    for label in sorted({s for found in stems.values() for s in found if has_label_word(s)}):
        owners = [name for name in stems if label in stems[name]]
        rests = {name: {s for s in stems[name] if not has_label_word(s)} for name in owners}
        chosen, remark = common(rests, names) if any(rests.values()) else ([], "")
        ending = form.ending(folder / owners[0])
        patterns = tuple(f"{{index}}/{rest}{ending}" for rest in chosen)
        shown = " and ".join(patterns).replace("{index}", "<index>")
        text = f"a folder for each subject: images {shown}, segmentations <index>/{label}{ending}"
        text = text.replace("{index}", "<index>") + remark
        segmentation = f"{{index}}/{label}{ending}"
        if chosen:
            layouts.append(Layout("subjects", text, patterns, segmentation, form.name))
    return layouts


def _generic(raw: Mapping[str, Set[str]]) -> dict[str, set[str]]:
    """Put ``{index}`` for the folder's name where a file's name repeats it.

    As a whole word, and where it cannot be something else: of the folders ``1`` and ``2`` with
    ``t_1`` and ``t_2`` in both, these are the names of images.
    """
    owners = Counter(stem for found in raw.values() for stem in found)
    told = {name: {s: _told(s, name) for s in raw[name] if owners[s] == 1} for name in raw}
    filled = [{*found.values()} for name, found in told.items() if raw[name]]
    everywhere = set.intersection(*filled) if filled else set()
    return {
        name: {
            text
            if (text := told[name].get(stem, stem)) in everywhere or text.startswith("{index}")
            else stem
            for stem in raw[name]
        }
        for name in raw
    }


def _told(stem: str, name: str) -> str:
    word = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
    return re.sub(word, "{index}", stem, count=1)


def folders_apart(folder: Path, form: Format, among: Mapping[str, Sequence[str]]) -> list[Layout]:
    """Recognise a folder of images beside one of labels.

    Parameters
    ----------
    folder : Path
    form : Format
    among : mapping
        The names of folders of labels by those of folders of images, such as
        ``TRAINING_FOLDERS``.
    """
    present = {name.lower(): name for name in visible_names(folder)}
    found = []
    for images, labels in among.items():
        if not form.files(folder / present.get(images.lower(), images)):
            continue
        beside = [present[name.lower()] for name in labels if name.lower() in present]
        found += [
            _apart(folder, form, present[images.lower()], name)
            for name in beside
            if form.files(folder / name)
        ]
    return found


def _apart(folder: Path, form: Format, images: str, labels: str) -> Layout:
    stems = list(form.files(folder / images))
    labelled = list(form.files(folder / labels))
    names, pattern = channel_patterns(stems, set(labelled)), "*"
    if names == ["*"] and not set(stems) & set(labelled):
        names, pattern = _affixes(stems, labelled)
    patterns = tuple(f"{images}/{name}{form.ending(folder / images)}" for name in names)
    pattern = f"{labels}/{pattern}{form.ending(folder / labels)}"
    text = f"images {' and '.join(patterns)}, segmentations {pattern}"
    return Layout("folders", text, patterns, pattern, form.name)


def channel_patterns(stems: Sequence[str], labelled: Set[str] = frozenset()) -> list[str]:
    """Return one pattern per channel if all names end in channel numbers, else one pattern."""
    matches = [_CHANNEL.fullmatch(stem) for stem in stems]
    numbers = sorted({match["channel"] for match in matches if match})
    if not all(matches) or labelled & set(stems) or not _complete(len(matches), numbers):
        return ["*"]
    return [f"*_{number}" for number in numbers]


def _complete(files: int, numbers: list[str]) -> bool:
    """Tell whether the numbers count channels: 0000, 0001 … rather than subjects."""
    return numbers == [f"{i:04d}" for i in range(len(numbers))] and (
        len(numbers) == 1 or files > len(numbers)
    )


def _affixes(stems: Sequence[str], labelled: Sequence[str]) -> tuple[list[str], str]:
    """Return patterns where names have a beginning or end of their own: ``ct_1``, ``seg_1``."""
    sides = []
    for names in (stems, labelled):
        before = _common_start(names).rstrip("0123456789")
        after = _common_start(name[len(before) :][::-1] for name in names)[::-1]
        sides.append((before, after.lstrip("0123456789")))
    (before, after), (before_label, after_label) = sides
    cut = {name[len(before) : len(name) - len(after)] for name in stems}
    beside = {name[len(before_label) : len(name) - len(after_label)] for name in labelled}
    if not cut & beside or "" in cut | beside or min(len(stems), len(labelled)) < 2:
        return ["*"], "*"
    return [f"{before}*{after}"], f"{before_label}*{after_label}"


def _common_start(names: Iterable[str]) -> str:
    first, *others = names
    same = (all(other[i : i + 1] == sign for other in others) for i, sign in enumerate(first))
    return first[: next((i for i, equal in enumerate(same) if not equal), len(first))]
