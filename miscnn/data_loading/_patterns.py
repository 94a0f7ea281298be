"""Where the files of the subjects lie: patterns in which one place stands for the index."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from miscnn.exceptions import ConfigurationError, SampleError

_PLACE = "{index}"


class Pattern:
    """A path relative to the folder, with ``*`` or ``{index}`` where the index stands.

    The place may occur several times (``{index}/{index}_t1.nii.gz``) and never spans a
    slash. Whichever of the format's ``endings`` the pattern ends in (``.nii.gz``, ``.nii``),
    another one is taken where the first is missing. Names that begin with a dot are not seen.
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
        if _PLACE not in stem or "" in self._segments:
            raise ConfigurationError(
                f"the pattern {text!r} is no path relative to the data folder with '*' where the "
                "index stands, such as 'images/*.nii.gz'"
            )

    @property
    def specificity(self) -> int:
        """Number of characters that are not part of the index."""
        return len("/".join(self._segments).replace(_PLACE, ""))

    def candidates(self, folder: Path, index: str) -> list[Path]:
        """Return the paths a subject's file may have, the preferred one first."""
        stem = "/".join(self._segments).replace(_PLACE, check_index(index))
        return [folder / (stem + ending) for ending in self.endings]

    def path(self, folder: Path, index: str) -> Path | None:
        """Return the subject's file, which may be a broken link, or None if there is none."""
        candidates = self.candidates(folder, index)
        links = (p for p in candidates if os.path.lexists(p))  # to nothing: reading tells it
        return next((p for p in candidates if p.exists()), next(links, None))

    @property
    def _depth(self) -> int:
        return next(i for i, part in enumerate(self._segments) if _PLACE in part)

    @property
    def has_subfolders(self) -> bool:
        """Whether each subject has a folder of its own."""
        return self._depth < len(self._segments) - 1

    def parent(self, folder: Path) -> Path:
        """Return the folder whose entries the indices are taken from."""
        return folder.joinpath(*self._segments[: self._depth])

    def index(self, name: str) -> str | None:
        """Return the index in the name of an entry of :meth:`parent`, or None."""
        endings = () if self.has_subfolders else self.endings
        return next(self._matches(self._segments[self._depth], name, endings), None)

    def find(self, folder: Path) -> dict[str, Path]:
        """Return all files that fit, by index."""
        found: dict[str, Path] = {}
        for name in visible_names(self.parent(folder)):
            index = self.index(name)
            path = None if index is None else self.path(folder, index)
            if index is not None and path is not None:
                found[index] = path
        return found

    @staticmethod
    def _matches(segment: str, name: str, endings: Sequence[str]) -> Iterator[str]:
        before, *rest = [re.escape(part) for part in segment.split(_PLACE)]
        expression = before + "(?P<index>.+)" + "(?P=index)".join(rest)
        for ending in endings or ("",):
            match = re.fullmatch(expression, name.removesuffix(ending), re.DOTALL)
            if match and name.endswith(ending):
                yield match["index"]
                return


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
