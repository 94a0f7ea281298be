"""Who trains and who validates: splitters and the files that keep their answer.

A splitter has scikit-learn's interface: ``split(X, y, groups)`` yields pairs of positions
``(training, validation)``, ``get_n_splits(X, y, groups)`` their number. Any splitter of
scikit-learn can be used where one is asked for.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable
from miscnn._files import write_json
from miscnn.data_loading._indices import shared_subjects, subject_of
from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError, MissingFileError

_FOLD_FILE = "sample_list.json"


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


class SliceSortedKFold(Configurable):
    """Folds of neighbours in slice count: the hardest split by acquisition.

    The subjects are sorted by number of slices, then slice thickness, then index, and cut into
    contiguous folds. Each fold validates on scans unlike those it was trained on; the first and
    the last extrapolate. Neither a seed nor the order of the subjects changes the folds.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    interleave : bool
        Deal the sorted subjects out to the folds in turn instead, so that all folds have the
        same mixture: the friendly counterpart for comparison.

    Examples
    --------
    >>> slices_and_thickness = [(30, 5.0), (90, 1.0), (30, 3.0), (60, 2.0)]
    >>> for training, validation in SliceSortedKFold(2).split("abcd", groups=slices_and_thickness):
    ...     print(training, validation)
    [1 3] [0 2]
    [0 2] [1 3]
    """

    uses_geometries: ClassVar[bool] = True
    """Tells :func:`make_folds` to look the geometries up and hand them in as ``groups``."""

    def __init__(self, n_splits: int = 5, interleave: bool = False) -> None:
        if n_splits < 2:
            raise ConfigurationError(f"n_splits must be at least 2, got {n_splits}")
        self.n_splits = n_splits
        self.interleave = interleave

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def split(
        self,
        X: Sequence[Any],  # noqa: N803
        y: object = None,
        groups: Sequence[Geometry | tuple[int, float]] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the positions of the training and of the validation subjects of each fold.

        Parameters
        ----------
        X : sequence
            Indices of the subjects.
        y : object
            Not used.
        groups : sequence of Geometry or (int, float)
            Per subject its geometry, or number of slices and slice thickness in mm.
            ``cross_validation`` looks them up itself.

        Raises
        ------
        ConfigurationError
            If groups are missing, or there are fewer subjects than folds.
        """
        n = len(X)
        if groups is None or len(groups) != n:
            raise ConfigurationError(
                f"SliceSortedKFold needs groups, a geometry or (n_slices, slice_thickness) for "
                f"each of the {n} subjects, got {'none' if groups is None else len(groups)}; "
                "write split(indices, groups=[data_io.geometry(i) for i in indices])"
            )
        if n < self.n_splits:
            raise ConfigurationError(
                f"{n} subject(s) cannot be split into {self.n_splits} folds; lower n_splits"
            )
        keys = [(*_slices(group), str(X[k]), k) for k, group in enumerate(groups)]
        order = np.array(sorted(range(n), key=keys.__getitem__), dtype=np.intp)
        blocks = (
            [order[k :: self.n_splits] for k in range(self.n_splits)]
            if self.interleave
            else np.array_split(order, self.n_splits)
        )
        for validation in blocks:
            training = np.setdiff1d(np.arange(n), validation)
            yield training.astype(np.intp), np.sort(validation)


def _slices(group: Geometry | tuple[int, float]) -> tuple[int, float]:
    count, thickness = (
        (group.n_slices, group.slice_thickness) if isinstance(group, Geometry) else group
    )
    # Rounded to the micrometre: float noise of headers must not decide about folds.
    return int(count), round(float(thickness), 3)


def make_folds(
    sample_list: Sequence[str],
    splitter: Splitter | Iterable[tuple[Sequence[int], Sequence[int]]],
    data_io: KnowsGeometry | None = None,
    y: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> list[Fold]:
    """Split subjects into folds.

    Parameters
    ----------
    sample_list : sequence of str
        Indices of the subjects.
    splitter : splitter or iterable
        A scikit-learn splitter, or pairs of positions (training, validation). A splitter splits
        subjects: all slices of a volume stay together.
    data_io : DataIO, optional
        Where :class:`SliceSortedKFold` looks up the geometries, from headers only.
    y, groups : sequence, optional
        Handed to the splitter: one class per index (to stratify), one group (patient). Of the
        slices of a volume, the first one's count.

    Raises
    ------
    ConfigurationError
        If an index is there twice, or a fold is empty or has a subject on both sides.
    """
    samples = [str(index) for index in sample_list]
    if isinstance(sample_list, str) or len(set(samples)) != len(samples) or not samples:
        doubles = sorted({index for index in samples if samples.count(index) > 1})
        raise ConfigurationError(
            "sample_list must be a list of different indices, got "
            + (f"{sample_list!r}" if not doubles else f"twice: {', '.join(doubles[:10])}")
        )
    if hasattr(splitter, "split"):
        subjects = _by_subject(samples)
        first = [positions[0] for positions in subjects]
        if len(subjects) < len(samples):
            y, groups = (None if v is None else [v[k] for k in first] for v in (y, groups))
        if groups is None and data_io is not None and getattr(splitter, "uses_geometries", False):
            groups = [data_io.geometry(samples[k]) for k in first]
        pairs: Iterable[Any] = (
            [[position for k in side for position in subjects[k]] for side in pair]
            for pair in splitter.split([samples[k] for k in first], y, groups)
        )
    else:
        pairs = splitter
    folds = [Fold([samples[k] for k in t], [samples[k] for k in v]) for t, v in pairs]
    if not folds:
        raise ConfigurationError(f"the splitter {splitter!r} made no fold")
    for number, fold in enumerate(folds):
        _check_fold(fold, f"fold {number} of {splitter!r}")
    return folds


def hold_out(samples: Sequence[str], share: float, rng: np.random.Generator) -> Fold:
    """Set a random part of the subjects aside.

    Parameters
    ----------
    samples : sequence of str
    share : float
        Part that is set aside, between 0 and 1; ``ceil(share × n)`` subjects, of which all
        slices go along.
    rng : numpy.random.Generator

    Returns
    -------
    Fold
        Those that stay (training) and those set aside (validation), both in the given order.

    Raises
    ------
    ConfigurationError
        If nobody would be left on one side.
    """
    # The rounding keeps 0.07 × 100 from becoming 8: it is a little more than 7 in binary.
    subjects = _by_subject(samples)
    size = math.ceil(round(share * len(subjects), 9))
    if not 0 < share < 1 or not 0 < size < len(subjects):
        raise ConfigurationError(
            f"a share of {share} of {len(subjects)} subject(s) leaves nobody on one side; "
            "the share must lie between 0 and 1 and there must be enough subjects"
        )
    drawn = rng.choice(len(subjects), size=size, replace=False).tolist()
    chosen = {position for k in drawn for position in subjects[k]}
    return Fold(
        [index for k, index in enumerate(samples) if k not in chosen],
        [index for k, index in enumerate(samples) if k in chosen],
    )


def write_fold(
    file_path: str | os.PathLike[str], training: Sequence[str], validation: Sequence[str]
) -> None:
    """Write a fold as JSON: ``{"TRAINING": [...], "VALIDATION": [...]}``."""
    write_json(file_path, {"TRAINING": list(training), "VALIDATION": list(validation)})


def read_fold(file_path: str | os.PathLike[str]) -> Fold:
    """Read what :func:`write_fold` wrote: ``(training, validation)``.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    ConfigurationError
        If it holds something else, or a subject stands on both sides.
    """
    path = Path(file_path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; split_folds writes such files")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        fold = Fold(*([str(i) for i in document[key]] for key in ("TRAINING", "VALIDATION")))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f'{path} must hold {{"TRAINING": [...], "VALIDATION": [...]}}: {error!r}'
        ) from error
    _check_fold(fold, str(path))
    return fold


def fold_path(evaluation_path: str | os.PathLike[str], fold: int) -> Path:
    """Return the folder of one fold, ``<evaluation_path>/fold_<fold>``."""
    return Path(evaluation_path) / f"fold_{fold}"


def fold_file(evaluation_path: str | os.PathLike[str], fold: int) -> Path:
    """Return the file that names the subjects of one fold."""
    return fold_path(evaluation_path, fold) / _FOLD_FILE


def _by_subject(samples: Sequence[str]) -> list[list[int]]:
    """Return the positions of each subject's indices: one, or those of a volume's slices."""
    positions: dict[str, list[int]] = {}
    for position, index in enumerate(samples):
        positions.setdefault(subject_of(index), []).append(position)
    return list(positions.values())


def _check_fold(fold: Fold, name: str) -> None:
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


write_fold2disk = write_fold
load_disk2fold = read_fold
