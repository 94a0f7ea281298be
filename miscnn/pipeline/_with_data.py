"""What a document says, held against the data set: before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from miscnn.data_loading._indices import subject_of
from miscnn.data_loading.sample import as_labels
from miscnn.evaluation.splits import Fold, hold_out, make_folds
from miscnn.exceptions import ConfigurationError, LabelError
from miscnn.pipeline import _sections as sections
from miscnn.pipeline._problems import Place, Problems, told

_PER_AXIS = ("new_spacing", "new_shape", "min_size", "shape_must_be_divisible_by")
_LOOKED_AT = 3  # segmentations: a dry run takes seconds


def check_axes(document: Mapping[str, Any], three_dim: bool, problems: Problems) -> None:
    """Look for arguments with one value per axis, but not as many as the images have axes.

    Parameters
    ----------
    document : mapping
        Complete.
    three_dim : bool
        Whether the subjects are volumes.
    problems : Problems
        Knows the lines.

    Raises
    ------
    PipelineError
        With all of them.
    """
    section = document["preprocessor"]
    axes = 3 if three_dim else 2
    what = "volumes" if three_dim else "images"
    place: Place = ("preprocessor", "subfunctions")
    for number, table in enumerate(section["subfunctions"]):
        for name in _PER_AXIS:
            _check_number(table.get(name), axes, what, (*place, number, name), problems)
    problems.raise_if_any()


def _check_number(value: Any, axes: int, what: str, place: Place, problems: Problems) -> None:
    if isinstance(value, list | tuple) and len(value) != axes:
        problems.add(
            place,
            f"= {told(list(value))}: has {len(value)} entries, expected {axes}, one for each axis "
            f"of the {what}",
        )


def check_labels(data_io: Any, subjects: Sequence[str], document: Mapping[str, Any]) -> None:
    """Look at a few segmentations.

    Raises
    ------
    ConfigurationError
        If one has a label that is no class.
    """
    interface = data_io.interface
    places = np.linspace(0, len(subjects) - 1, min(_LOOKED_AT, len(subjects)))
    for index in dict.fromkeys(subjects[round(place)] for place in places):
        stored = np.asarray(interface.load_segmentation(index))
        try:
            labels = interface.to_classes(stored, index)
            as_labels(labels, interface.classes, index, True, interface.ignore_label)
        except LabelError as error:
            names = document["data"].get("class_names")
            said = f"class_names has {len(names)} names, but " if names else ""
            raise ConfigurationError(f"{said}{error}") from error


def check_folds(
    section: Mapping[str, Any], subjects: Sequence[str], data_io: Any, splitter: Any, seed: int
) -> None:
    """Try how the subjects are split for an evaluation.

    Parameters
    ----------
    section : mapping
        That of the evaluation, complete.
    subjects : sequence of str
    data_io : DataIO
    splitter : splitter or None
        None is the random one.
    seed : int
        Of the section.

    Raises
    ------
    ConfigurationError, ValueError
        If they cannot be split so.
    """
    method = section["method"]
    rng = np.random.default_rng(seed)
    if method == sections.SPLIT:
        folds = [_held_out(subjects, "percentage", section, rng)]
    elif method == sections.LEAVE_ONE_OUT:
        _check_left_out(section, len(subjects))
        folds = [Fold(list(subjects[1:]), [subjects[0]])]
    else:
        # Several slices of one subject count once.
        count, folds_wanted = len(set(map(subject_of, subjects))), section["folds"]
        counts = splitter is None or "n_splits" in (section["splitter"] or {})
        if counts and folds_wanted > count:
            raise ConfigurationError(
                f"folds = {folds_wanted}: there are {count} subject(s); expected as many folds "
                "at most"
            )
        if splitter is None:
            from sklearn.model_selection import KFold

            splitter = KFold(folds_wanted, shuffle=True, random_state=seed)
        if hasattr(splitter, "look_up"):  # into all segmentations, which takes too long here
            from sklearn.model_selection import KFold

            splitter = KFold(folds_wanted)
        folds = make_folds(subjects, splitter, data_io)
    if section["inner_validation"]:
        for fold in folds:
            _held_out(fold.training, "inner_validation", section, rng)


def _held_out(
    subjects: Sequence[str], key: str, section: Mapping[str, Any], rng: np.random.Generator
) -> Fold:
    try:
        return hold_out(subjects, section[key], rng)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error}") from error


def _check_left_out(section: Mapping[str, Any], count: int) -> None:
    wanted = section["n_subjects"]
    if count < 2 or (wanted is not None and wanted > count):
        raise ConfigurationError(
            f"n_subjects = {wanted}: there are {count} subject(s); expected as many at most, and 2 "
            "subjects at least"
        )
