"""From a splitter to lists of indices."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from miscnn.data_loading._indices import shared_subjects, subject_of
from miscnn.data_loading.geometry import Geometry
from miscnn.evaluation.splits._units import as_groups, group_keys
from miscnn.evaluation.splits.drawn import share_of
from miscnn.evaluation.splits.given import positions_of, tell_unused
from miscnn.evaluation.splits.slice_sorted import are_slices
from miscnn.exceptions import ConfigurationError

_log = logging.getLogger("miscnn.evaluation")

_TOLD = 10


class Fold(NamedTuple):
    """The subjects of one fold.

    Attributes
    ----------
    training, validation : list of str
        Indices.
    """

    training: list[str]
    validation: list[str]


class Splitter(Protocol):
    """What is asked of a splitter; all of scikit-learn's qualify."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Any]:  # noqa: N803
        """Yield pairs of positions (training, validation)."""


class KnowsGeometry(Protocol):
    """What can tell where the voxels of a subject lie, such as a ``DataIO``."""

    def geometry(self, index: str) -> Geometry:
        """Return the grid of a subject, from its header."""


Splits = Splitter | Iterable[tuple[Sequence[Any], Sequence[Any]]] | str | os.PathLike[str]
"""What :func:`make_folds` takes: a splitter, pairs of positions or of indices, or a file."""

Groups = Sequence[Any] | Mapping[str, Any]
"""The group (patient) of each subject: in the order of the subjects, or by index."""


def make_folds(
    sample_list: Sequence[str],
    splitter: Splits,
    data_io: KnowsGeometry | None = None,
    y: Sequence[Any] | None = None,
    groups: Groups | None = None,
) -> list[Fold]:
    """Split subjects into folds.

    Parameters
    ----------
    sample_list : sequence of str
        Indices of the subjects.
    splitter : splitter, iterable or path
        A scikit-learn splitter; or pairs of positions (training, validation); or pairs of lists
        of indices, such as :class:`Fold`; or a file of :func:`save_folds`. A splitter splits
        subjects: all slices of a volume stay together.
    data_io : DataIO, optional
        Where :class:`SliceSortedKFold` looks up the geometries, from headers only, and those that
        stratify look up the segmentations.
    y : sequence, optional
        Handed to the splitter: one class per index (to stratify). Of the slices of a volume, the
        first one's counts, as with groups.
    groups : sequence or mapping, optional
        Handed to the splitter: one group (patient) per index, in their order or by index.

    Raises
    ------
    ConfigurationError
        If an index is there twice, a fold is empty or has a subject on both sides, or names one
        that is not in ``sample_list``.
    """
    samples = [str(index) for index in sample_list]
    if isinstance(sample_list, str) or len(set(samples)) != len(samples) or not samples:
        doubles = sorted({index for index in samples if samples.count(index) > 1})
        raise ConfigurationError(
            "sample_list must be a list of different indices, got "
            + (f"{sample_list!r}" if not doubles else f"twice: {', '.join(doubles[:10])}")
        )
    name = repr(splitter)
    if isinstance(splitter, str | os.PathLike):
        from miscnn.evaluation.splits._fold_files import load_folds

        name, splitter = os.fspath(splitter), load_folds(splitter)
    if hasattr(splitter, "split"):
        pairs = _split(samples, splitter, data_io, y, groups)
    else:
        pairs = _given(samples, list(splitter), name)
    folds = [Fold([samples[k] for k in t], [samples[k] for k in v]) for t, v in pairs]
    if not folds:
        raise ConfigurationError(f"the splitter {name} made no fold")
    for number, fold in enumerate(folds):
        check_fold(fold, f"fold {number} of {name}")
    return folds


def _split(
    samples: Sequence[str], splitter: Any, data_io: Any, y: Any, groups: Any
) -> Iterable[Any]:
    groups = as_groups(groups, samples)
    if getattr(splitter, "uses_geometries", False) and not are_slices(groups):
        groups = None  # patients, of whom it knows nothing
    subjects = by_subject(samples)
    first = [positions[0] for positions in subjects]
    if y is not None and len(y) != len(samples):
        raise ConfigurationError(f"y has {len(y)} entries for {len(samples)} subjects")
    if len(subjects) < len(samples):
        y, groups = (None if v is None else [list(v)[k] for k in first] for v in (y, groups))
    if groups is None and data_io is not None and getattr(splitter, "uses_geometries", False):
        groups = [data_io.geometry(samples[k]) for k in first]
    if y is None and data_io is not None and hasattr(splitter, "look_up"):
        y = splitter.look_up(data_io, [[samples[k] for k in positions] for positions in subjects])
    for pair in splitter.split([samples[k] for k in first], y, groups):
        yield [[position for k in side for position in subjects[k]] for side in pair]


def _given(samples: Sequence[str], folds: Sequence[Any], name: str) -> Iterable[Any]:
    sides = [(number, side) for number, fold in enumerate(folds) for side in fold]
    if not any(isinstance(member, str) for _, side in sides for member in side):
        return folds
    ending = "" if name.startswith("[") else f" in {name}"
    named = [(f"fold {number}{ending}", list(map(str, side))) for number, side in sides]
    found = positions_of(named, samples)
    tell_unused(found, samples)
    return zip(found[::2], found[1::2], strict=True)


def patients_of(
    sample_list: Sequence[str], splitter: Any, groups: Groups | None
) -> dict[str, int] | None:
    """Return the patient of each index as a number; None if nothing tells it.

    They are the ``groups``, or what :class:`GroupedKFold` finds by its pattern, or what a file of
    folds tells; not the geometries that :class:`SliceSortedKFold` takes as groups.

    Parameters
    ----------
    sample_list : sequence of str
    splitter : splitter
    groups : sequence or mapping, optional
        As of :func:`make_folds`.
    """
    samples = [str(index) for index in sample_list]
    given = as_groups(groups, samples)
    if getattr(splitter, "uses_geometries", False) and are_slices(given):
        return None
    if given is None and hasattr(splitter, "find_groups"):
        given = splitter.find_groups(samples)
    if given is None:
        return None
    keys = group_keys(given, samples)
    first = {subject_of(index): key for index, key in zip(samples[::-1], keys[::-1], strict=True)}
    numbers: dict[str, int] = {}
    # Numbered in the order of the indices: what a patient is called is not written down.
    for index in sorted(samples):
        numbers.setdefault(first[subject_of(index)], len(numbers))
    return {index: numbers[first[subject_of(index)]] for index in samples}


def warn_of_torn(folds: Sequence[Fold], patients: Mapping[str, int] | None) -> None:
    """Tell in the log if a patient trains and validates.

    Parameters
    ----------
    folds : sequence of Fold
    patients : mapping of str to int, optional
        As of :func:`patients_of`.
    """
    if patients is None:
        return
    for number, fold in enumerate(folds):
        sides = [{patients[index] for index in side} for side in fold]
        torn = [i for i in fold.validation if patients[i] in sides[0] & sides[1]]
        if torn:
            _log.warning(
                "fold %d: %d subject(s) validate that share a group with subjects that train: "
                "%s%s; a GroupedKFold keeps groups together",
                number, len(torn), ", ".join(torn[:_TOLD]), " …" if len(torn) > _TOLD else "",
            )  # fmt: skip


def hold_out(
    samples: Sequence[str],
    share: float,
    rng: np.random.Generator,
    groups: Mapping[str, Hashable] | None = None,
) -> Fold:
    """Set a random part of the subjects aside.

    Parameters
    ----------
    samples : sequence of str
    share : float
        Part that is set aside, between 0 and 1; ``ceil(share × n)`` subjects, of which all
        slices go along.
    rng : numpy.random.Generator
    groups : mapping of str to value, optional
        The patient of each index. Patients are set aside then, whole: ``ceil(share × n)`` of
        them.

    Returns
    -------
    Fold
        Those that stay (training) and those set aside (validation), both in the given order.

    Raises
    ------
    ConfigurationError
        If nobody would be left on one side.
    """
    subjects = by_subject(samples)
    if groups is not None:
        patients: dict[Hashable, list[int]] = {}
        for positions in subjects:
            patients.setdefault(groups[samples[positions[0]]], []).extend(positions)
        subjects = list(patients.values())
    size = share_of(share, len(subjects), "subject(s)" if groups is None else "patient(s)")
    drawn = rng.choice(len(subjects), size=size, replace=False).tolist()
    chosen = {position for k in drawn for position in subjects[k]}
    return Fold(
        [index for k, index in enumerate(samples) if k not in chosen],
        [index for k, index in enumerate(samples) if k in chosen],
    )


def by_subject(samples: Sequence[str]) -> list[list[int]]:
    """Return the positions of each subject's indices: one, or those of a volume's slices."""
    positions: dict[str, list[int]] = {}
    for position, index in enumerate(samples):
        positions.setdefault(subject_of(index), []).append(position)
    return list(positions.values())


def check_fold(fold: Fold, name: str) -> None:
    """Raise ConfigurationError if a fold has an empty side, or names a subject twice."""
    for side, names in zip(Fold._fields, fold, strict=True):
        doubles = sorted(index for index, count in Counter(names).items() if count > 1)
        if doubles:
            raise ConfigurationError(f"{name}: {side} names twice: {', '.join(doubles[:_TOLD])}")
    both = shared_subjects(fold.training, fold.validation)
    if both:
        raise ConfigurationError(
            f"{name} trains and validates on the same subject(s): {', '.join(both[:10])}"
        )
    if not fold.training or not fold.validation:
        raise ConfigurationError(
            f"{name} has {len(fold.training)} training and {len(fold.validation)} validation "
            "subject(s); there must be one at least on either side"
        )
