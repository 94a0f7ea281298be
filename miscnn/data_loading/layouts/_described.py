"""Layouts with a ``dataset.json``: nnU-Net's raw data and the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from miscnn.data_loading._patterns import natural_key
from miscnn.data_loading.interfaces._listing import read_json
from miscnn.data_loading.layouts._formats import FORMATS, Format, format_of
from miscnn.data_loading.layouts._labels import declared_labels
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._listed import as_patterns
from miscnn.exceptions import ConfigurationError

DESCRIPTION = "dataset.json"


def described(folder: Path, test: bool) -> list[Layout]:
    """Recognise a folder with a ``dataset.json`` of nnU-Net's or MSD's.

    Parameters
    ----------
    folder : Path
    test : bool
        Whether the test part is meant, ``imagesTs`` or the list ``test``.

    Raises
    ------
    ConfigurationError
        If the file is there but cannot be understood.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return []
    content = read_json(path)
    if not isinstance(content, Mapping) or not {"labels", "channel_names", "modality"} & {*content}:
        return []  # of something else
    part = "Ts" if test else "Tr"
    ours = _files(folder, content, part)
    if ours is None:
        return []
    channels = _channels(content)
    files = ours.files
    if not files:
        raise ConfigurationError(
            f"{path.name} in {folder} describes a data set, but there are no images in "
            f"images{part}; is it unpacked completely?"
        )
    form = _format(files, content)
    per_subject = max(len(entry["image"]) for entry in files.values())
    if channels and per_subject != len(channels) and (ours.numbered or per_subject != 1):
        raise ConfigurationError(
            f"{path.name} declares {len(channels)} channels ({', '.join(channels)}), but there "
            f"are up to {per_subject} image files for each subject in {folder}"
        )
    labels = declared_labels(content.get("labels", {}), content, path.name)
    patterns, segmentation = as_patterns(files, folder, form)
    number = len(channels) or per_subject
    further: dict[str, Any] = {**({"channels": number} if number > 1 else {}), **labels.arguments}
    if not patterns:
        further["listing"] = files
    what = {"nnunet": "nnU-Net raw data", "msd": "Medical Segmentation Decathlon"}[ours.name]
    text = f"{what}: {len(files)} subjects of the {'test' if test else 'training'} part, "
    text += f"channels {', '.join(channels)}, " if channels else ""
    text += labels.description
    return [
        Layout(
            ours.name, text, patterns, segmentation, form.name, further, labels.regions,
            labels.order,
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class _Files:
    name: str
    files: dict[str, dict[str, Any]]
    numbered: bool = False


def _files(folder: Path, content: Mapping[str, Any], part: str) -> _Files | None:
    """Return the files of each subject, in natural order; None if there is no word of any."""
    own = content.get("dataset")
    if isinstance(own, Mapping) and part == "Tr":
        return _Files("nnunet", _sorted({str(i): _own(i, e) for i, e in own.items()}))
    images, labels = folder / f"images{part}", f"labels{part}"
    listed = content.get("training" if part == "Tr" else "test")
    as_listed = "channel_names" not in content and _as_listed(folder, content)
    if not as_listed and ("channel_names" in content or _numbered(folder, content, part)):
        return _Files("nnunet", _sorted(_by_number(folder, content, part, labels)), True)
    if isinstance(listed, list) and listed:
        return _Files("msd", _sorted(dict(_listed_entry(entry) for entry in listed)))
    if not images.is_dir():
        return None
    form = _ending_format(content)
    found = {
        stem: {
            "image": [f"images{part}/{name}"],
            "segmentation": _label(folder, labels, stem, form),
        }
        for stem, name in form.files(images).items()
    }
    return _Files("msd", _sorted(found))


def _own(index: object, entry: Any) -> dict[str, Any]:
    """Take over an entry of the key ``dataset`` of nnU-Net 2.1 and later."""
    if (
        not isinstance(entry, Mapping)
        or not isinstance(entry.get("images"), list)
        or not all(isinstance(name, str) for name in entry["images"])
        or not isinstance(entry.get("label"), str | None)
    ):
        raise ConfigurationError(
            f'{DESCRIPTION}: the entry {index!r} of "dataset" is {str(entry)[:200]}; expected '
            '{"images": [path, …], "label": path}'
        )
    label = entry.get("label")
    return {
        "image": [_plain(name) for name in entry["images"]],
        "segmentation": None if label is None else _plain(label),
    }


def _listed_entry(entry: Any) -> tuple[str, dict[str, Any]]:
    """Take over an entry of MSD's lists ``training`` and ``test``."""
    image = entry.get("image") if isinstance(entry, Mapping) else entry
    label = entry.get("label") if isinstance(entry, Mapping) else None
    if not isinstance(image, str) or not isinstance(label, str | None):
        raise ConfigurationError(
            f'{DESCRIPTION}: {str(entry)[:200]} is listed as a subject; expected {{"image": path, '
            '"label": path} or a path'
        )
    name = PurePosixPath(image).name
    form = format_of(name)
    index = form.stem(name) if form else None
    return index or name, {
        "image": [_plain(image)],
        "segmentation": None if label is None else _plain(label),
    }


def _as_listed(folder: Path, content: Mapping[str, Any]) -> bool:
    """Tell whether there are images of MSD's lists; old ones of nnU-Net leave out the channel."""
    lists = [content.get(part) for part in ("training", "test")]
    entries = [entry for listed in lists if isinstance(listed, list) for entry in listed]
    images = (name for entry in entries for name in _listed_entry(entry)[1]["image"])
    return any((folder / name).exists() for name in images)


def _numbered(folder: Path, content: Mapping[str, Any], part: str) -> bool:
    """Tell whether files carry channel numbers that an old ``dataset.json`` leaves out."""
    stems = list(_ending_format(content).files(folder / f"images{part}"))
    return (
        bool(stems)
        and all(stem[-5:-4] == "_" and stem[-4:].isdigit() for stem in stems)
        and (
            not (folder / f"labels{part}").is_dir()
            or not set(stems) & set(_ending_format(content).files(folder / f"labels{part}"))
        )
    )


def _by_number(
    folder: Path, content: Mapping[str, Any], part: str, labels: str
) -> dict[str, dict[str, Any]]:
    """Find the subjects of nnU-Net's folders by the numbers of the channels.

    Each has a file for every channel that is declared, or else that any subject has, whether it
    is there or not: what is missing is an error of that subject.
    """
    form = _ending_format(content)
    found: dict[str, dict[int, str]] = {}
    for stem, name in form.files(folder / f"images{part}").items():
        index, _, channel = stem.rpartition("_")
        if index and channel.isdecimal() and channel.isascii():
            found.setdefault(index, {})[int(channel)] = f"images{part}/{name}"
    everywhere = set.intersection(*map(set, found.values())) if found else set()
    numbers = set(range(len(_channels(content)))) | everywhere
    if not _channels(content):
        numbers = {number for names in found.values() for number in names}
    ending = form.ending(folder / f"images{part}")
    return {
        index: {
            "image": [
                names.get(number, f"images{part}/{index}_{number:04d}{ending}")
                for number in sorted(numbers)
            ],
            "segmentation": _label(folder, labels, index, form),
        }
        for index, names in found.items()
    }


def _label(folder: Path, labels: str, index: str, form: Format) -> str | None:
    candidates = [f"{labels}/{index}{ending}" for ending in form.endings]
    return next((name for name in candidates if (folder / name).exists()), None)


def _ending_format(content: Mapping[str, Any]) -> Format:
    ending = content.get("file_ending", ".nii.gz")
    form = format_of(f"x{ending}") if isinstance(ending, str) else None
    if form is None:
        known = ", ".join(e for f in FORMATS for e in f.endings)
        raise ConfigurationError(
            f"{DESCRIPTION}: files end in {ending!r}, which no interface reads; known are {known}"
        )
    return form


def _format(files: Mapping[str, Mapping[str, Any]], content: Mapping[str, Any]) -> Format:
    if "file_ending" in content:
        return _ending_format(content)
    first = next(iter(files.values()))["image"][0]
    return format_of(first) or _ending_format(content)


def _channels(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the channels, in their order."""
    declared = content.get("channel_names", content.get("modality", {}))
    if isinstance(declared, Mapping):
        return [str(declared[key]) for key in sorted(declared, key=natural_key)]
    return [str(name) for name in declared] if isinstance(declared, list) else []


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _sorted(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {index: files[index] for index in sorted(files, key=natural_key)}
