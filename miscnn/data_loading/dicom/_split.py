"""Telling apart the stacks that one series may mix: time points, echoes, orientations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.dicom._slice import Slice
from miscnn.data_loading.dicom._stack import along_normal, evenly_spaced, tolerance

# Slices this far apart in direction (cosine of one degree) are another stack.
_SAME_DIRECTION = 0.99985
# The most telling ones first. Times are looked at last, by their order at each position.
_MARKS = ("acquisition", "temporal", "echo_time", "b_value", "image_type", "stack")


def split_stacks(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Divide the slices of one series into stacks.

    Scouts (image type ``LOCALIZER``) and slices of another direction (by more than 1°) are
    stacks of their own. A stack that is not regular is divided further, by the first of
    acquisition number, temporal position, echo time, b-value, image type and stack id that
    makes every part regular, or at least tells slices at one position apart; then by trigger
    and acquisition time, the n-th slice at each position being the n-th time point. Parts that
    only follow one another are left together: there is a gap between them, and no second stack.
    A stack that none of these makes regular is returned as it is.
    """
    scouts = [s for s in slices if "LOCALIZER" in s.marks.image_type]
    rest = [s for s in slices if "LOCALIZER" not in s.marks.image_type]
    stacks = []
    for part in (rest, scouts):
        for same in _by_direction(part):
            stacks += _divided(same, 0)
    return stacks


def _by_direction(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: list[tuple[tuple[float, ...] | None, list[Slice]]] = []
    for item in slices:
        for direction, members in groups:
            if _parallel(direction, item.orientation):
                members.append(item)
                break
        else:
            groups.append((item.orientation, [item]))
    return [members for _, members in groups]


def _parallel(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> bool:
    if first is None or second is None:
        return first is second
    if first == second:
        return True
    a, b = np.reshape(first, (2, 3)), np.reshape(second, (2, 3))
    cosines = np.sum(a * b, axis=1) / np.maximum(
        np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12
    )
    return bool(np.all(cosines >= _SAME_DIRECTION))


def _divided(slices: list[Slice], depth: int) -> list[list[Slice]]:
    places = along_normal(slices)
    if len(slices) < 2 or places is None or evenly_spaced(places):
        return [slices]
    for number in range(depth, len(_MARKS)):
        parts = _parts(slices, [getattr(item.marks, _MARKS[number]) for item in slices])
        if len(parts) > 1 and _tells_apart(slices, places, parts):
            return [stack for part in parts for stack in _divided(part, number + 1)]
    return _by_time(slices, places)


def _parts(slices: Sequence[Slice], values: Sequence[Hashable]) -> list[list[Slice]]:
    found: dict[Hashable, list[Slice]] = {}
    for item, value in zip(slices, values, strict=True):
        found.setdefault(value, []).append(item)
    order = sorted(found, key=lambda value: (value is not None, _sortable(value)))
    return [found[value] for value in order]


def _sortable(value: Hashable) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value or ""))


def _tells_apart(
    slices: Sequence[Slice], places: NDArray[np.float64], parts: Sequence[Sequence[Slice]]
) -> bool:
    inside = [along_normal(part) for part in parts]
    distinct = len(_positions(places))
    wanted = min(2, distinct)
    if any(part is None or len(_positions(part)) < wanted for part in inside):
        return False
    if distinct == len(slices) and _follow_one_another(inside):
        return False
    regular = all(part is not None and evenly_spaced(part) for part in inside)
    # no part has more slices at one position than before, and all of them fewer at some
    fewer = all(
        part is not None and len(part) / len(_positions(part)) < len(slices) / distinct
        for part in inside
    )
    return regular or (distinct < len(slices) and fewer)


def _follow_one_another(parts: Sequence[NDArray[np.float64] | None]) -> bool:
    ranges = sorted((part.min(), part.max()) for part in parts if part is not None)
    return all(below[1] < above[0] for below, above in pairwise(ranges))


def _positions(places: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Return the slices at each position, positions in order."""
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    return np.split(order, np.flatnonzero(steps > tolerance(steps)) + 1)


def _by_time(slices: list[Slice], places: NDArray[np.float64]) -> list[list[Slice]]:
    positions = _positions(places)
    count = len(positions[0])
    if count < 2 or any(len(position) != count for position in positions):
        return [slices]
    for name in ("trigger", "time"):
        stacks: list[list[Slice]] = [[] for _ in range(count)]
        for position in positions:
            values = {getattr(slices[i].marks, name): slices[i] for i in position}
            if len(values) != count or None in values or "" in values:
                break
            for stack, value in zip(stacks, sorted(values), strict=True):
                stack.append(values[value])
        else:
            return stacks
    return [slices]
