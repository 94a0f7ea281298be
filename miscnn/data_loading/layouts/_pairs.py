"""A folder of files in which images and segmentations are told apart by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from miscnn.data_loading._label_words import LABEL_WORD, has_label_word
from miscnn.data_loading.layouts._channels import common
from miscnn.data_loading.layouts._formats import Format
from miscnn.data_loading.layouts._layout import Layout

_BETWEEN = "_-. "


def pairs(folder: Path, form: Format, names: Sequence[str] | None) -> list[Layout]:
    """Recognise segmentations of ``X`` by names such as ``X_seg``, ``seg_X`` or ``X_ground_truth``.

    Parameters
    ----------
    folder : Path
    form : Format
    names : sequence of str, optional
        The channels to take, if there are several images of a subject.
    """
    stems = list(form.files(folder))
    ending = form.ending(folder)
    named = max((_After(stems), _Before(stems)), key=lambda one: len(one.paired))  # first if equal
    layouts = []
    for mark in sorted(named.paired_marks):
        rests = {base: named.rests.get(base, set()) for base in named.marks[mark]}
        chosen, remark = common(rests, names)
        patterns = tuple(f"{named.pattern(rest)}{ending}" for rest in chosen)
        segmentation = f"{named.pattern(mark)}{ending}"
        text = f"a flat folder: images {' and '.join(patterns)}, segmentations {segmentation}"
        # an image pattern such as "*" would take other segmentations for images
        others = sorted(set(named.marks) - {mark})
        further = {"pattern": named.without(others)} if others and "" in chosen else {}
        layouts.append(Layout("pairs", text + remark, patterns, segmentation, form.name, further))
    return layouts


@dataclass(frozen=True)
class _Named:
    """Names that consist of a subject's index and a mark.

    Attributes
    ----------
    stems : list of str
        Names without their endings, those of images and segmentations.
    """

    stems: list[str]

    def split(self, stem: str) -> tuple[str, str]:
        """Return the index and the mark of a segmentation."""
        raise NotImplementedError

    def parts(self, stem: str) -> Iterator[str]:
        """Yield what may be the index of an image, the longest first."""
        raise NotImplementedError

    def rest(self, stem: str, base: str) -> str:
        """Return the name of an image without its index."""
        raise NotImplementedError

    def pattern(self, mark: str) -> str:
        """Return the pattern of the files with a mark."""
        raise NotImplementedError

    def without(self, marks: Sequence[str]) -> str:
        """Return a regular expression of indices that bear none of the marks."""
        raise NotImplementedError

    @cached_property
    def marks(self) -> Mapping[str, list[str]]:
        """The indices of the segmentations with each mark."""
        found: dict[str, list[str]] = {}
        for stem in filter(has_label_word, self.stems):
            base, mark = self.split(stem)
            found.setdefault(mark, []).append(base)
        return found

    @cached_property
    def rests(self) -> Mapping[str, set[str]]:
        """What the names of the images of each index hold besides."""
        bases = {base for found in self.marks.values() for base in found if base}
        rests: dict[str, set[str]] = {base: set() for base in bases}
        for stem in self.stems:
            if not has_label_word(stem):
                base = next((part for part in self.parts(stem) if part in rests), None)
                if base is not None:
                    rests[base].add(self.rest(stem, base))
        return rests

    @cached_property
    def paired(self) -> set[str]:
        """The indices that have an image and a segmentation."""
        return {base for base, found in self.rests.items() if found}

    @property
    def paired_marks(self) -> set[str]:
        """The marks of segmentations of which one at least has an image."""
        paired = self.paired
        return {mark for mark, found in self.marks.items() if paired & {*found}}


class _After(_Named):
    """``X_seg``: the mark follows the index."""

    def split(self, stem: str) -> tuple[str, str]:
        match = LABEL_WORD.search(stem)
        base = stem[: match.start()].rstrip(_BETWEEN) if match else stem
        return base, stem[len(base) :]

    def parts(self, stem: str) -> Iterator[str]:
        for i in range(len(stem), 0, -1):
            if i == len(stem) or stem[i] in _BETWEEN:
                yield stem[:i]

    def rest(self, stem: str, base: str) -> str:
        return stem[len(base) :]

    def pattern(self, mark: str) -> str:
        return f"*{mark}"

    def without(self, marks: Sequence[str]) -> str:
        return rf"(?!.*(?:{'|'.join(map(re.escape, marks))})$).+"


class _Before(_Named):
    """``seg_X``: the mark precedes the index."""

    def split(self, stem: str) -> tuple[str, str]:
        match = LABEL_WORD.search(stem)
        base = stem[match.end() :].lstrip(_BETWEEN) if match else stem
        return base, stem[: len(stem) - len(base)]

    def parts(self, stem: str) -> Iterator[str]:
        for i in range(len(stem)):
            if i == 0 or stem[i - 1] in _BETWEEN:
                yield stem[i:]

    def rest(self, stem: str, base: str) -> str:
        return stem[: len(stem) - len(base)]

    def pattern(self, mark: str) -> str:
        return f"{mark}*"

    def without(self, marks: Sequence[str]) -> str:
        return rf"(?!{'|'.join(map(re.escape, marks))}).+"
