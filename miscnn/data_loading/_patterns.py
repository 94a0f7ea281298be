"""Where the files of the subjects lie: patterns in which one place stands for the index."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

_PLACE = "{index}"
# An index of two parts, as a session of a subject in BIDS has it.
_PARTS = ("{subject}", "{session}")


class Pattern:
    """A path relative to the folder, with ``*`` or ``{index}`` where the index stands.

    The place may occur several times (``{index}/{index}_t1.nii.gz``) and never spans a
    slash. In place of it, ``{subject}`` and ``{session}`` may stand for the two parts of an index
    ``subject_session``; a session's name holds no underscore. Whichever of the format's
    ``endings`` the pattern ends in (``.nii.gz``, ``.nii``), another one is taken where the first
    is missing. Names that begin with a dot are not seen.
    """

    def __init__(self, text: str, endings: Sequence[str]) -> None:
        stem = text.replace("*", _PLACE)
        self.endings: tuple[str, ...] = tuple(endings)
        for ending in endings:
            if stem.endswith(ending):
                stem = stem.removesuffix(ending)
                self.endings = (ending, *(other for other in endings if other != ending))
                break
        self.text = text
        self._segments = stem.split("/")
        self._places = (_PLACE,) if _PLACE in stem else _PARTS
        parts = [part in stem for part in _PARTS]
        if (_PLACE in stem) == any(parts) or any(parts) != all(parts) or "" in self._segments:
            raise ConfigurationError(
                f"the pattern {text!r} is no path relative to the data folder with '*' where the "
                "index stands, such as 'images/*.nii.gz'"
            )

    @property
    def specificity(self) -> int:
        """Number of characters that are not part of the index."""
        return len(_filled("/".join(self._segments), dict.fromkeys(self._places, "")))

    def candidates(self, folder: Path, index: str) -> list[Path]:
        """Return the paths a subject's file may have, the preferred one first."""
        check_index(index)
        subject, _, session = index.rpartition("_")
        parts = (index,) if len(self._places) == 1 else (subject, session)
        stem = _filled("/".join(self._segments), dict(zip(self._places, parts, strict=True)))
        return [folder / (stem + ending) for ending in self.endings]

    def path(self, folder: Path, index: str) -> Path | None:
        """Return the subject's file, which may be a broken link, or None if there is none."""
        candidates = self.candidates(folder, index)
        links = (p for p in candidates if os.path.lexists(p))  # to nothing: reading tells it
        return next((p for p in candidates if p.exists()), next(links, None))

    def existing(self, folder: Path, index: str, what: str) -> Path:
        """Return the subject's file.

        Raises
        ------
        MissingFileError
            If there is none; naming the one that is looked for.
        """
        path = self.path(folder, index)
        if path is None:
            wanted = self.candidates(Path(), index)[0]
            raise MissingFileError(
                f"sample {index!r}: there is no {what} file {wanted} in {folder}"
            )
        return path

    @property
    def _depth(self) -> int:
        return next(
            i for i, part in enumerate(self._segments) if any(p in part for p in self._places)
        )

    @property
    def has_subfolders(self) -> bool:
        """Whether each subject has a folder of its own."""
        return self._depth < len(self._segments) - 1

    def parent(self, folder: Path) -> Path:
        """Return the folder whose entries the indices are taken from."""
        return folder.joinpath(*self._segments[: self._depth])

    def index(self, name: str) -> str | None:
        """Return the index in the name of an entry of :meth:`parent`, or None."""
        found = self._bound(self._depth, name, {})
        return self._index(found) if found else None

    def find(self, folder: Path) -> dict[str, Path]:
        """Return all files that fit, by index."""
        found: dict[str, Path] = {}
        for index in self._indices(folder, 0, {}):
            path = self.path(folder, index)
            if path is not None:
                found[index] = path
        return found

    def _index(self, bound: Mapping[str, str]) -> str | None:
        if any(place not in bound for place in self._places):
            return None
        return "_".join(bound[place] for place in self._places)

    def _indices(self, folder: Path, depth: int, bound: dict[str, str]) -> Iterator[str]:
        """Yield the indices that the entries of folders tell, from one segment on."""
        index = self._index(bound)
        if index is not None:
            yield index
        elif not any(place in self._segments[depth] for place in self._places):
            yield from self._indices(folder / self._segments[depth], depth + 1, bound)
        else:
            for name in visible_names(folder):
                found = self._bound(depth, name, bound)
                if found is not None:
                    yield from self._indices(folder / name, depth + 1, found)

    def _bound(self, depth: int, name: str, bound: Mapping[str, str]) -> dict[str, str] | None:
        """Return what the places stand for if an entry has this name; None if it cannot."""
        parts = re.split("|".join(map(re.escape, self._places)), self._segments[depth])
        places = re.findall("|".join(map(re.escape, self._places)), self._segments[depth])
        expression, seen = re.escape(parts[0]), dict(bound)
        for place, part in zip(places, parts[1:], strict=True):
            group = place.strip("{}")
            if place in bound:
                expression += re.escape(bound[place])
            else:
                expression += f"(?P={group})" if place in seen else f"(?P<{group}>.+)"
            seen[place] = ""
            expression += re.escape(part)
        last = depth == len(self._segments) - 1
        for ending in self.endings if last else ("",):
            match = re.fullmatch(expression, name.removesuffix(ending), re.DOTALL)
            if match and name.endswith(ending):
                new = {f"{{{group}}}": value for group, value in match.groupdict().items()}
                return {**bound, **new}
        return None


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Put values in the places of a text; at once, so that none is taken for a place."""
    places = re.compile("|".join(map(re.escape, values)))
    return places.sub(lambda match: values[match[0]], text)


def find_indices(folder: Path, patterns: Sequence[Pattern]) -> list[str]:
    """Return the indices for which any of the patterns has a file, in natural order.

    A file that fits several patterns belongs to the most specific one: with ``*.nii.gz`` and
    ``*_seg.nii.gz``, ``a_seg.nii.gz`` is the segmentation of ``a`` and no image.
    """
    found = [(pattern, pattern.find(folder)) for pattern in patterns]
    owner: dict[Path, int] = {}
    for pattern, files in found:
        for path in files.values():
            owner[path] = max(owner.get(path, 0), pattern.specificity)
    indices = {
        index
        for pattern, files in found
        for index, path in files.items()
        if owner[path] == pattern.specificity
    }
    return sorted(indices, key=natural_key)


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sort numbers inside of names by their value: ``case_2`` before ``case_10``."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def check_index(index: str) -> str:
    """Refuse an index that would lead out of its folder."""
    if not index or index in (".", "..") or any(sign in index for sign in "/\\\0"):
        raise SampleError(
            str(index), "an index is the name of one subject, without slashes; it cannot be used"
        )
    return index


def visible_names(folder: Path) -> list[str]:
    """Return what lies in a folder, hidden entries left out; nothing if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def index_expression(pattern: str | None) -> re.Pattern[str] | None:
    """Compile the argument ``pattern`` of an interface, which an index must match as a whole.

    Raises
    ------
    ConfigurationError
        If it is no regular expression.
    """
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(
            f"pattern={pattern!r} is no regular expression: {error}"
        ) from error
