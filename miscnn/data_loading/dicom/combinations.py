"""Labels for voxels that belong to several classes at once.

A label map has one label for each voxel. Where regions overlap, every set of classes gets a label
of its own, so that the map stays a partition and each region is a union of labels. The number of a
set depends on the classes that are declared and on nothing else: it is the same in all subjects,
whichever sets occur in them.

Single classes keep their numbers. The sets of two follow from the largest class on, in
lexicographic order, then those of three, and so on. For the classes 1, 2, 3: 4 is {1, 2}, 5 is
{1, 3}, 6 is {2, 3} and 7 is {1, 2, 3}.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import comb

from miscnn.exceptions import ConfigurationError


def combination_label(classes: Iterable[int], among: Iterable[int]) -> int:
    """Return the label of voxels that belong to all of some classes.

    Parameters
    ----------
    classes : iterable of int
        The set; empty for background.
    among : iterable of int
        All declared classes, background left out.

    Raises
    ------
    ConfigurationError
        If a class is not declared.

    Examples
    --------
    >>> combination_label([3, 1], among=[1, 2, 3])
    5
    """
    declared = _declared(among)
    chosen = sorted(set(classes))
    if not set(chosen) <= set(declared):
        raise ConfigurationError(
            f"classes={chosen}: {sorted(set(chosen) - set(declared))} are not among {declared}"
        )
    if len(chosen) < 2:
        return chosen[0] if chosen else 0
    n, size = len(declared), len(chosen)
    places = [declared.index(label) for label in chosen]
    # all sets that stand later: those that agree up to one place and have a higher one there
    later = sum(comb(n - 1 - place, size - i) for i, place in enumerate(places))
    return declared[-1] + sum(comb(n, k) for k in range(2, size + 1)) - later


def combination_classes(label: int, among: Iterable[int]) -> tuple[int, ...]:
    """Return the classes that a label stands for; undoes :func:`combination_label`.

    Parameters
    ----------
    label : int
    among : iterable of int
        All declared classes, background left out.

    Raises
    ------
    ConfigurationError
        If no set has this label.

    Examples
    --------
    >>> combination_classes(5, among=[1, 2, 3])
    (1, 3)
    >>> [combination_classes(label, among=[1, 2]) for label in range(4)]
    [(), (1,), (2,), (1, 2)]
    """
    declared = _declared(among)
    if label == 0 or label in declared:
        return (label,) if label else ()
    n = len(declared)
    rank, size = label - declared[-1] - 1 if declared else -1, 2
    while rank >= 0 and size <= n and rank >= comb(n, size):
        rank -= comb(n, size)
        size += 1
    if rank < 0 or size > n:
        raise ConfigurationError(f"label={label} stands for no set of the classes {declared}")
    chosen: list[int] = []
    for place, candidate in enumerate(declared):
        if len(chosen) == size:
            break
        with_it = comb(n - 1 - place, size - len(chosen) - 1)
        if rank < with_it:
            chosen.append(candidate)
        else:
            rank -= with_it
    return tuple(chosen)


def _declared(among: Iterable[int]) -> list[int]:
    declared = sorted(set(among))
    if declared and declared[0] < 1:
        raise ConfigurationError(f"among={declared}: classes are numbered from 1; 0 is background")
    return declared
