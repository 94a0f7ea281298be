"""The volumes of a report: as many voxels as there is room for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from miscnn._viewer.encoding import encoded
from miscnn.evaluation._report_source import Key, PreviewFile
from miscnn.evaluation.preview import read_preview
from miscnn.evaluation.score_table import ScoreTable
from miscnn.exceptions import MiscnnError

_log = logging.getLogger("miscnn.evaluation")

_STEPS = 512  # different values per channel: windows have 256 greys on the screen
_FEWEST = 40_000  # voxels below which there is nothing to see
_MEASURED = 3  # volumes from which the size of the others is estimated
_TRIES = 4
_SAFETY = 0.96


@dataclass(frozen=True)
class Viewers:
    """The volumes that fit into a report.

    Attributes
    ----------
    volumes : dict of Key to str
        What the viewer unpacks.
    left_out : dict of Key to str
        Why a subject has none.
    share : float
        The smallest share of its preview's voxels that a volume has.
    """

    volumes: Mapping[Key, str]
    left_out: Mapping[Key, str]
    share: float


def viewers_of(previews: Mapping[Key, PreviewFile], order: Sequence[Key], room: float) -> Viewers:
    """Fit the previews of all subjects into a number of bytes.

    All get the same number of voxels at most, so that small volumes stay as they are. Where
    these would be fewer than can be looked at, the last subjects of ``order`` are left out.

    Parameters
    ----------
    previews : mapping
    order : sequence of Key
        Who is to be shown, the most important first.
    room : float
        Bytes.
    """
    damaged: dict[Key, str] = {}
    there = [key for key in order if key in previews]
    while True:
        try:
            volumes, share = _fitted(previews, there, room)
            break
        except _UnreadableError as error:  # the page is made without it
            _log.warning("%s", error)
            damaged[error.key] = str(error)
            there.remove(error.key)
    return Viewers(
        volumes=volumes,
        left_out={
            key: damaged.get(key, "there was no room for it")
            for key in order
            if key in previews and key not in volumes
        },
        share=share,
    )


class _UnreadableError(Exception):
    """A preview is damaged behind its heading."""

    def __init__(self, key: Key, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def _fitted(
    previews: Mapping[Key, PreviewFile], there: Sequence[Key], room: float
) -> tuple[dict[Key, str], float]:
    """Return the volumes that fit, and the smallest share of its voxels that one of them has."""
    sizes = {key: previews[key].size for key in there}
    density = _density(previews, there, room)
    tries = 0
    while there:
        limit = _limit([sizes[key] for key in there], room / density)
        if limit < _FEWEST and any(sizes[key] > limit for key in there):
            fitting = _fitting([sizes[key] for key in there], room / density)
            if fitting < len(there):
                there = there[:fitting]
                continue
        volumes, total = _volumes(previews, there, limit, room * 1.5)
        tries += 1
        if total <= room:
            break
        density *= total / room / _SAFETY
        if tries >= _TRIES:
            there = there[:-1]
    chosen = {key: volumes[key] for key in there} if there else {}
    shares = [min(1.0, limit / sizes[key]) for key in there]
    return chosen, min(shares, default=1.0)


def _density(previews: Mapping[Key, PreviewFile], there: Sequence[Key], room: float) -> float:
    """Estimate how many bytes a voxel takes in the page."""
    if not there:
        return 1.0
    positions = np.unique(np.linspace(0, len(there) - 1, _MEASURED).round().astype(int))
    limit = max(_FEWEST, room / len(there))
    length, voxels = 0, 0.0
    for position in positions.tolist():
        file = previews[there[position]]
        share = min(1.0, limit / file.size)
        length += len(_text(file, there[position], share))
        voxels += share * file.size
    return max(0.05, length / voxels)


def _limit(sizes: Sequence[int], total: float) -> float:
    """Return how many voxels each volume may have for all of them to have ``total``."""
    rest, ascending = total, sorted(sizes)
    for position, size in enumerate(ascending):
        each = rest / (len(ascending) - position)
        if size > each:
            return each
        rest -= size
    return float(ascending[-1])


def _fitting(sizes: Sequence[int], total: float) -> int:
    used = np.cumsum([min(size, _FEWEST) for size in sizes])
    return int(np.searchsorted(used, total, side="right"))


def _volumes(
    previews: Mapping[Key, PreviewFile], keys: Sequence[Key], limit: float, most: float
) -> tuple[dict[Key, str], float]:
    """Return the volumes and their length; those that went far beyond it are not finished."""
    volumes: dict[Key, str] = {}
    total = 0.0
    for position, key in enumerate(keys, 1):
        volumes[key] = _text(previews[key], key, min(1.0, limit / previews[key].size))
        total += len(volumes[key])
        if total > most:
            return volumes, total * len(keys) / position
    return volumes, total


def _text(file: PreviewFile, key: Key, share: float) -> str:
    try:
        packed = read_preview(file.path).packed
    except MiscnnError as error:
        raise _UnreadableError(key, str(error)) from error
    return encoded(packed.shrunk(share).coarsened(_STEPS), key[1])


def by_interest(table: ScoreTable, subjects: Sequence[Key], metric: str = "dice") -> list[Key]:
    """Sort subjects: worst, median and best by the mean over their classes, then the worst first.

    Those without a defined score come last, in the order of the table.
    """
    values: dict[Key, list[float]] = {key: [] for key in subjects}
    for row in table.select(metric):
        if np.isfinite(row.value):
            values[row.fold, row.sample].append(row.value)
    means = {key: float(np.mean(found)) for key, found in values.items() if found}
    ranked = sorted(means, key=lambda key: (means[key], key))
    if not ranked:
        return list(subjects)
    first = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    return list(dict.fromkeys([*first, *ranked, *subjects]))
