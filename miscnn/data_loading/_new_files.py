"""Files that were handed in: which of them are one subject, and what it is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from miscnn.data_loading._adapted import adapted, format_for, stem_of
from miscnn.data_loading._indices import subject_of
from miscnn.data_loading._patterns import check_index
from miscnn.data_loading.interfaces._listing import TABLE_ENDINGS, read_listing
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.gathered import Member
from miscnn.data_loading.layouts._folders import channel_patterns
from miscnn.data_loading.layouts._formats import FORMATS
from miscnn.exceptions import ConfigurationError, SampleError

_CHANNEL = re.compile(r"(?P<index>.+)_(?P<channel>[0-9]{4})", re.DOTALL)


@dataclass(frozen=True)
class Files:
    """The files of one subject, one or one for each channel, and what it would be called."""

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """A subject that an interface knows, and where it lies."""

    interface: DataInterface
    index: str
    path: Path

    @property
    def name(self) -> str:
        """What it would be called."""
        return self.index


def checked_file(path: Path, interface: DataInterface) -> Path:
    """Refuse a file of no format that is known, or that is not a whole subject.

    Raises
    ------
    ConfigurationError
    """
    form = format_for(path, interface)
    if form == "DICOM":
        raise ConfigurationError(
            f"{str(path)!r} is one file of a DICOM series; hand in the folder it lies in"
        )
    if form is None:
        known = ", ".join(ending for one in FORMATS for ending in one.endings)
        raise ConfigurationError(
            f"{str(path)!r} is no image of a format that is read; known are {known}, folders of "
            f"DICOM files, and tables that list files ({', '.join(TABLE_ENDINGS)})"
        )
    return path


def grouped(paths: Sequence[Path], interface: DataInterface, sure: bool) -> list[Files]:
    """Tell which files are channels of one subject, by nnU-Net's numbers ``_0000``, ``_0001`` ….

    Parameters
    ----------
    paths : sequence of Path
    interface : DataInterface
        That of the network.
    sure : bool
        Whether the user has named the files one by one, so that they may be subjects each
        although their numbers look like those of channels.

    Raises
    ------
    ConfigurationError
        If the numbers are those of more channels than the network takes.
    """
    channels = interface.channels
    stems = [stem_of(path, interface) for path in paths]
    matches = [_CHANNEL.fullmatch(stem) for stem in stems]
    alone = [Files(stem, (path,)) for stem, path in zip(stems, paths, strict=True)]
    found: dict[tuple[Path, str], dict[int, Path]] = {}
    for match, path in zip(matches, paths, strict=True):
        if match:
            found.setdefault((path.parent, match["index"]), {})[int(match["channel"])] = path
    if not all(matches) or sum(map(len, found.values())) < len(paths):
        return alone
    numbers = sorted({number for group in found.values() for number in group})
    if numbers == [0]:
        return [Files(index, (group[0],)) for (_, index), group in found.items()]
    several = len(channel_patterns(stems)) > 1
    if several and not sure and len(numbers) != channels:
        raise ConfigurationError(
            f"the files in {paths[0].parent} are numbered as {len(numbers)} channels of "
            f"{len(found)} subjects ({paths[0].name}, …), but the network takes {channels}; if "
            "each is a subject, hand in a list of the files"
        )
    if channels == 1 or not set(numbers) <= set(range(channels)):
        return alone
    return [
        Files(index, tuple(group.get(k, _called(group, k)) for k in range(channels)))
        for (_, index), group in found.items()
    ]


def _called(group: Mapping[int, Path], channel: int) -> Path:
    """Return what the file of a channel that is missing would be called."""
    number, path = next(iter(group.items()))
    start, _, end = path.name.rpartition(f"_{number:04d}")
    return path.with_name(f"{start}_{channel:04d}{end}")


def in_table(path: Path, interface: DataInterface) -> list[Files]:
    """Return the files that a table lists, relative to its folder.

    Raises
    ------
    ConfigurationError
        If it cannot be used, or has another number of files for a subject than the network takes.
    """
    listing = read_listing(path, [ending for one in FORMATS for ending in one.endings])
    if not listing.entries:
        raise ConfigurationError(f"{path.name} lists no subjects")
    files = []
    for index, entry in listing.entries.items():
        if len(entry.images) not in (1, interface.channels):
            raise ConfigurationError(
                f"{entry.place}: sample {index!r} has {len(entry.images)} images, but the network "
                f"takes {interface.channels} channel(s)"
            )
        images = (checked_file(path.parent / name, interface) for name in entry.images)
        files.append(Files(index, tuple(images)))
    return files


def distinct(found: Sequence[Files | Found]) -> list[str]:
    """Return a name for each subject; those of one name get the names of their folders before it.

    No name begins with a dot, since the results would be hidden files.

    Examples
    --------
    >>> one, two = (Files("ct", (Path(name),)) for name in ("a/x/ct.nii.gz", "b/x/ct.nii.gz"))
    >>> distinct([one, two])
    ['a_x_ct', 'b_x_ct']
    """
    names = [_visible(one.name) for one in found]
    counts = Counter(name.casefold() for name in names)  # one file in some file systems
    for name in {name for name in names if counts[name.casefold()] > 1}:
        here = [i for i, other in enumerate(names) if other == name]
        for i, longer in zip(here, _with_folders([found[i] for i in here]), strict=True):
            names[i] = _visible(longer)
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 1
        while names[i].casefold() in taken:
            number += 1
            names[i] = f"{name}_{number}"
        taken.add(names[i].casefold())
    return names


def _visible(name: str) -> str:
    """Return a name whose files are not hidden."""
    return name.lstrip(".") or "image"


def _with_folders(found: Sequence[Files | Found]) -> list[str]:
    places = [_place(one) for one in found]
    for depth in range(1, max(map(len, places)) + 1):
        names = [
            "_".join((*place[max(0, len(place) - depth) :], one.name))
            for place, one in zip(places, found, strict=True)
        ]
        if len({name.casefold() for name in names}) == len(names):
            return names
    endings = [_path(one).name.removeprefix(one.name).replace(".", "_") for one in found]
    return [one.name + ending for one, ending in zip(found, endings, strict=True)]


def _place(one: Files | Found) -> tuple[str, ...]:
    parent = _path(one).absolute().parent
    return tuple(part for part in parent.parts if part != parent.anchor)


def _path(one: Files | Found) -> Path:
    return one.paths[0] if isinstance(one, Files) else one.path


def members(
    found: Sequence[Files | Found], names: Sequence[str], interface: DataInterface
) -> tuple[list[Member], dict[str, list[str]]]:
    """Make the interfaces that read the subjects.

    Returns
    -------
    members : list of Member
    indices : dict of str to list of str
        The indices of each name: of a volume that is predicted slice by slice there are several.
    """
    listings: dict[str, dict[str, dict[str, object]]] = {}
    known: list[tuple[DataInterface, dict[str, str]]] = []
    indices: dict[str, list[str]] = {}
    for name, one in zip(names, found, strict=True):
        if isinstance(one, Found):
            indices[name] = [name]
            same = next((held for i, held in known if i is one.interface), None)
            if same is None:
                known.append((one.interface, {name: one.index}))
            else:
                same[name] = one.index
            continue
        _check_name(name, one)
        files = [str(path.absolute()) for path in one.paths]
        form = format_for(one.paths[0], interface) or ""
        listings.setdefault(form, {})[name] = {"image": files, "segmentation": None}
    made = [Member(one, held) for one, held in known]
    for form, listing in listings.items():
        reader = adapted(interface, form, listing=listing)
        first = next(iter(listing.values()))["image"]
        there = reader.initialize(Path(str(first[0])).parent)  # type: ignore[index]
        for name in listing:
            indices[name] = [i for i in there if name in (i, subject_of(i))]
        made.append(Member(reader, {i: i for name in listing for i in indices[name]}))
    return made, indices


def _check_name(name: str, one: Files) -> None:
    try:
        check_index(name)
    except SampleError as error:
        raise ConfigurationError(f"{str(one.paths[0])!r}: {error.reason}") from error
