"""BIDS and what follows its names: ``sub-01/[ses-1/]anat/sub-01[_ses-1]_T1w.nii.gz``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn.data_loading._label_words import LABEL_WORD
from miscnn.data_loading._patterns import natural_key, visible_names
from miscnn.data_loading.layouts._channels import check_known, check_lacking, few, unused_remark
from miscnn.data_loading.layouts._folders import LABEL_FOLDERS
from miscnn.data_loading.layouts._formats import Format
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._listed import as_patterns
from miscnn.exceptions import ConfigurationError

_KINDS = ("anat", "ct", "pet")
# Best first: a label map of all classes, one structure, names that are none of BIDS's, the brain.
_RANKS = (
    re.compile(r"(?!.*(?:^|_)desc-brain).*dseg"),
    re.compile(r".*(?:^|_)(?:label|lesion|roi)(?:-|_|$).*"),
    re.compile(r"(?!.*(?:^|_)desc-brain).*mask"),
    re.compile(rf"(?!.*(?:^|_)desc-brain).*(?:{LABEL_WORD.pattern}).*", LABEL_WORD.flags),
    re.compile(r".*(?:dseg|mask)"),
)
# Of no use, or of use only if the user knows that the grid is the image's.
_NO_LABEL_MAP = re.compile(r".*(?:probseg|xfm)|(?:.*_)?space-.*")


def bids(
    folder: Path, form: Format, modalities: Sequence[str] | None, labels: str | None
) -> list[Layout]:
    """Recognise subjects that are named as in BIDS, with segmentations among the derivatives.

    Parameters
    ----------
    folder : Path
    form : Format
    modalities : sequence of str, optional
        The channels to take, such as ``["T1w", "FLAIR"]``; default: those that every subject has.
    labels : str, optional
        The segmentations to take, as ``"pipeline/name"``, such as ``"manual/label-lesion_mask"``.

    Raises
    ------
    ConfigurationError
        If several images of one kind, or several kinds of segmentations, could be meant.
    """
    sessions = dict(_sessions(folder))
    images = {index: _images(folder, form, index, place) for index, place in sessions.items()}
    images = {index: found for index, found in images.items() if found}
    if not images:
        return []
    channels, remark = _channels(images, modalities)
    found = {index: _labels(folder, form, index, sessions[index]) for index in images}
    key, unread = _label_key(found, labels)
    complete = [index for index in images if set(channels) <= set(images[index])]
    if not complete:
        raise ConfigurationError(
            f"no subject has all of {' and '.join(channels)}; choose others by modalities=[…]"
        )
    # those that have some of them stay, for verify to tell what is missing
    lacking = [index for index in images if not set(channels) & set(images[index])]
    if lacking:
        remark += f"; left out, without {' and '.join(channels)}: {few(lacking)}"
    usual = {channel: images[complete[0]][channel] for channel in channels}
    folders = (sessions[complete[0]], complete[0])
    files: dict[str, dict[str, Any]] = {
        index: {
            "image": [
                images[index].get(channel)
                or _called(usual[channel], folders, (sessions[index], index))
                for channel in channels
            ],
            "segmentation": found[index].get(key) if key else None,
        }
        for index in sorted(set(images) - set(lacking), key=natural_key)
    }
    labelled = sum(entry["segmentation"] is not None for entry in files.values())
    text = f"BIDS: {len(files)} subjects or sessions, images {' and '.join(channels)}, "
    text += f"segmentations {key} for {labelled} of them" if key else f"no segmentations{unread}"
    patterns, segmentation = as_patterns(files, folder, form)
    further: dict[str, Any] = {"channels": len(channels)} if len(channels) > 1 else {}
    if not patterns:
        further["listing"] = files
    return [Layout("bids", text + remark, patterns, segmentation, form.name, further)]


def _called(path: str, of: tuple[str, str], here: tuple[str, str]) -> str:
    """Return what the file of one subject would be called for another, each a folder and index."""
    inside, _, name = path.removeprefix(of[0]).rpartition("/")
    return f"{here[0]}{inside}/{here[1]}{name.removeprefix(of[1])}"


def _sessions(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the index and the folder of each subject, or of each session of it."""
    for subject in visible_names(folder):
        if not subject.startswith("sub-") or not (folder / subject).is_dir():
            continue
        names = [
            name
            for name in visible_names(folder / subject)
            if name.startswith("ses-") and (folder / subject / name).is_dir()
        ]
        if not names:
            yield subject, subject
        for name in names:
            yield f"{subject}_{name}", f"{subject}/{name}"


def _named(folder: Path, form: Format, index: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield what follows the index in the names of a subject's files, and the files."""
    for kind in (*_KINDS, ""):
        inside = f"{place}/{kind}".rstrip("/")
        for stem, name in form.files(folder / inside).items():
            if stem.startswith(f"{index}_"):
                yield stem.removeprefix(f"{index}_"), f"{inside}/{name}"


def _images(folder: Path, form: Format, index: str, place: str) -> dict[str, str]:
    return {
        rest: path
        for rest, path in _named(folder, form, index, place)
        if not any(rank.fullmatch(rest) for rank in _RANKS) and not _NO_LABEL_MAP.fullmatch(rest)
    }


def _labels(folder: Path, form: Format, index: str, place: str) -> dict[str, str]:
    """Return the segmentations of a subject by pipeline and name, also those of no use."""
    found = {}
    for pipeline, inside in _pipelines(folder, place):
        for rest, path in _named(folder, form, index, inside):
            if any(rank.fullmatch(rest) for rank in _RANKS):
                found[f"{pipeline}/{rest}"] = path
    return found


def _pipelines(folder: Path, place: str) -> Iterator[tuple[str, str]]:
    """Yield the names of what has made derivatives, and where those of a subject may lie."""
    yield "raw", place
    for name in visible_names(folder):
        if name.lower() in LABEL_FOLDERS:
            yield name, f"{name}/{place}"
    yield "derivatives", f"derivatives/{place}"
    for pipeline in visible_names(folder / "derivatives"):
        if pipeline.startswith("sub-"):
            continue
        yield pipeline, f"derivatives/{pipeline}/{place}"
        for part in visible_names(folder / "derivatives" / pipeline):
            if not part.startswith("sub-"):
                yield f"{pipeline}/{part}", f"derivatives/{pipeline}/{part}/{place}"


def _channels(
    images: Mapping[str, Mapping[str, str]], modalities: Sequence[str] | None
) -> tuple[list[str], str]:
    """Return the images to take as channels, and a remark on those that are not."""
    counts = Counter(rest for found in images.values() for rest in found)
    if modalities is not None:
        check_known(modalities, counts)
        return list(modalities), ""
    chosen = sorted(rest for rest, count in counts.items() if count == len(images))
    chosen = chosen or [counts.most_common(1)[0][0]]
    check_lacking({index: {*found} for index, found in images.items()}, chosen)
    first: dict[str, str] = {}  # of each kind
    for rest in chosen:
        first.setdefault(rest.rsplit("_", 1)[-1], rest)
    if len(first) < len(chosen):
        raise ConfigurationError(
            f"every subject has {' and '.join(chosen)}, several of one kind; choose by modalities="
            f"{list(first.values())!r}, or take all as channels by modalities={chosen!r}"
        )
    return chosen, unused_remark({rest: counts[rest] for rest in counts if rest not in chosen})


def _label_key(
    found: Mapping[str, Mapping[str, str]], labels: str | None
) -> tuple[str | None, str]:
    """Return which segmentations to take, the most telling kind, and a remark if there is none."""
    counts = Counter(key for keys in found.values() for key in keys)
    if labels is not None:
        if labels not in counts:
            known = ", ".join(repr(key) for key in sorted(counts)) or "none"
            raise ConfigurationError(f"labels={labels!r}: no such segmentations; there are {known}")
        return labels, ""
    usable = {key: key.rsplit("/", 1)[1] for key in sorted(counts)}
    usable = {key: rest for key, rest in usable.items() if not _NO_LABEL_MAP.fullmatch(rest)}
    for rank in _RANKS:
        keys = [key for key, rest in usable.items() if rank.fullmatch(rest)]
        if len(keys) > 1:
            choices = "; ".join(f"labels={key!r} ({counts[key]} subjects)" for key in keys)
            raise ConfigurationError(f"there are several kinds of segmentations: choose {choices}")
        if keys:
            return keys[0], ""
    if not counts:
        return None, ""
    shown = few([f"{key} ({count})" for key, count in sorted(counts.items())])
    return None, f"; passed over, since they may lie on another grid: {shown} (labels=… to choose)"
