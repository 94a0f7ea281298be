"""Layouts that are told by the names of folders and files alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.layouts._formats import Format
from miscnn.data_loading.layouts._layout import Layout

_LABEL_FOLDERS = (
    "labels", "segmentations", "masks", "label", "mask", "segmentation", "annotations", "gt",
)  # fmt: skip
_IMAGE_FOLDERS = {
    "images": _LABEL_FOLDERS,
    "imagesTr": ("labelsTr",),
    "image": _LABEL_FOLDERS,
    "imagesTs": ("labelsTs",),
}
_LABEL = re.compile(
    r"(?:(?P<base>.+)[_-])?(?P<word>label|labels|seg|segmentation|mask|gt|dseg)", re.IGNORECASE
)
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
    apart = {name.lower() for name in (*_IMAGE_FOLDERS, *_LABEL_FOLDERS, "labelsTr", "labelsTs")}
    stems = {
        name: {stem.replace(name, "{index}") for stem in form.files(folder / name)}
        for name in visible_names(folder)
        if (folder / name).is_dir() and name.lower() not in apart
    }
    known = [name for name in stems if stems[name] & {"imaging", "segmentation"}]
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
    layouts = []
    for label in sorted({s for found in stems.values() for s in found if _LABEL.fullmatch(s)}):
        owners = [name for name in stems if label in stems[name]]
        rests = [{s for s in stems[name] if not _LABEL.fullmatch(s)} for name in owners]
        chosen, remark = _common(rests, names)
        ending = form.ending(folder / owners[0])
        patterns = tuple(f"{{index}}/{rest}{ending}" for rest in chosen)
        shown = " and ".join(patterns).replace("{index}", "<index>")
        text = f"a folder for each subject: images {shown}, segmentations <index>/{label}{ending}"
        text = text.replace("{index}", "<index>") + remark
        segmentation = f"{{index}}/{label}{ending}"
        if chosen:
            layouts.append(Layout("subjects", text, patterns, segmentation, form.name))
    return layouts


def folders_apart(folder: Path, form: Format, test: bool) -> list[Layout]:
    """Recognise a folder of images beside one of labels; of the ``test`` part if asked."""
    present = {name.lower(): name for name in visible_names(folder)}
    found = []
    for images, labels in _IMAGE_FOLDERS.items():
        if test != (images == "imagesTs") and any(_images(folder, form)):
            continue
        stems = form.files(folder / present.get(images.lower(), images))
        if not stems:
            continue
        beside: list[str | None] = [
            present[name.lower()]
            for name in labels
            if name.lower() in present and form.files(folder / present[name.lower()])
        ]
        images = present[images.lower()]
        found += [_apart(folder, form, images, name) for name in (beside or (None,))]
    return found


def _images(folder: Path, form: Format) -> Iterator[str]:
    """Yield the folders of training images."""
    for name in visible_names(folder):
        if name.lower() in ("images", "imagestr", "image") and form.files(folder / name):
            yield name


def _apart(folder: Path, form: Format, images: str, labels: str | None) -> Layout:
    stems = list(form.files(folder / images))
    ending = form.ending(folder / images)
    labelled = list(form.files(folder / labels)) if labels else []
    names = channel_patterns(stems, set(labelled))
    pattern = "*"
    if labels and names == ["*"] and not set(stems) & set(labelled):
        names, pattern = _affixes(stems, labelled)
    patterns = tuple(f"{images}/{name}{ending}" for name in names)
    shown = " and ".join(patterns)
    if labels is None:
        return Layout("images", f"images {shown}, no segmentations", patterns, None, form.name)
    pattern = f"{labels}/{pattern}{form.ending(folder / labels)}"
    text = f"images {shown}, segmentations {pattern}"
    return Layout("folders", text, patterns, pattern, form.name)


def flat(folder: Path, form: Format, names: Sequence[str] | None) -> list[Layout]:
    """Recognise a folder of files, in which ``X_seg`` or the like is the segmentation of ``X``."""
    stems = list(form.files(folder))
    if not stems:
        return []
    ending = form.ending(folder)
    bases: dict[str, list[str]] = {}
    for stem in stems:
        match = _LABEL.fullmatch(stem)
        if match and match["base"]:
            bases.setdefault(stem[len(match["base"]) :], []).append(match["base"])
    labels = {base + word for word, found in bases.items() for base in found}
    layouts = []
    for word, found in bases.items():
        chosen, remark = _common(_rests(found, [s for s in stems if s not in labels]), names)
        patterns = tuple(f"*{rest}{ending}" for rest in chosen)
        text = f"a flat folder: images {' and '.join(patterns)}, segmentations *{word}{ending}"
        if chosen:
            segmentation = f"*{word}{ending}"
            layouts.append(Layout("pairs", text + remark, patterns, segmentation, form.name))
    if layouts:
        return layouts
    patterns = tuple(f"{name}{ending}" for name in channel_patterns(sorted(stems)))
    text = f"a flat folder: images {' and '.join(patterns)}, no segmentations"
    return [Layout("images", text, patterns, None, form.name)]


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


def _rests(bases: Sequence[str], stems: Sequence[str]) -> list[set[str]]:
    """Return what follows each base in the names that begin with it, and with no longer base."""
    rests: dict[str, set[str]] = {base: set() for base in bases}
    for stem in stems:
        parts = [stem[:i] for i in range(len(stem) + 1) if i == len(stem) or stem[i] in "_-"]
        base = next((part for part in reversed(parts) if part in rests), None)
        if base is not None:
            rests[base].add(stem[len(base) :])
    return [found for found in rests.values() if found]


def _common(rests: Sequence[Set[str]], names: Sequence[str] | None) -> tuple[list[str], str]:
    """Return the images that all subjects have as channels, and a remark on the others."""
    counts = Counter(rest for found in rests for rest in found)
    everywhere = sorted(rest for rest, count in counts.items() if count == len(rests))
    if names is not None:
        plain = {channel_name(rest): rest for rest in counts}
        return [plain[name] for name in names if name in plain], ""
    chosen = everywhere or [rest for rest, _ in counts.most_common(1)]
    return chosen, unused_remark({channel_name(r): counts[r] for r in counts if r not in chosen})


def channel_name(rest: str) -> str:
    """Return what a channel is called, from what follows the index in its files' names."""
    return rest.replace("{index}", "").strip("_-")


def unused_remark(counts: Mapping[str, int]) -> str:
    """Tell of images that only some subjects have, and how to have them read all the same."""
    if not counts:
        return ""
    shown = ", ".join(f"{name or 'plain'} ({n})" for name, n in sorted(counts.items())[:8])
    return f"; not read, since not all subjects have them: {shown} (modalities=[…] to choose)"
