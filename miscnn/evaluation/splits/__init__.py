"""Who trains and who validates: splitters and the files that keep their answer.

A splitter has scikit-learn's interface: ``split(X, y, groups)`` yields pairs of positions
``(training, validation)``, ``get_n_splits(X, y, groups)`` their number. Any splitter of
scikit-learn can be used where one is asked for. Those here know what scikit-learn's cannot: the
number of slices, the volume of a lesion, which labels a segmentation has; and neither the order
of the subjects nor the machine changes their answer.

==========================  ====================================================================
:class:`SliceSortedKFold`   the hardest split by acquisition: neighbours in number of slices
:class:`GroupedKFold`       several scans of a patient stay together
:class:`StratifiedVolumeKFold`  each fold has small and large lesions alike
:class:`StratifiedLabelKFold`   each fold has its share of rare labels
:class:`LeaveOneOut`        few subjects
:class:`PercentageSplit`    one random part, for a first look or many subjects
:class:`HoldOut`            named subjects validate: a test set that others use, too
:class:`DetailedSplit`      the folds of a paper or a challenge, named one by one
:class:`SavedFolds`         those of a file
==========================  ====================================================================

Folds are kept in one JSON file (:func:`save_folds`, :func:`load_folds`), whose path stands for a
splitter, too.
"""

from __future__ import annotations

from miscnn.evaluation.splits._fold_files import (
    count_folds,
    fold_file,
    fold_path,
    load_disk2fold,
    load_folds,
    load_groups,
    read_fold,
    save_folds,
    write_fold,
    write_fold2disk,
)
from miscnn.evaluation.splits._folds import (
    Fold,
    Groups,
    KnowsGeometry,
    Splits,
    Splitter,
    hold_out,
    make_folds,
    patients_of,
    warn_of_torn,
)
from miscnn.evaluation.splits.drawn import GroupedKFold, LeaveOneOut, PercentageSplit
from miscnn.evaluation.splits.given import DetailedSplit, HoldOut
from miscnn.evaluation.splits.labels import StratifiedLabelKFold
from miscnn.evaluation.splits.saved import SavedFolds
from miscnn.evaluation.splits.slice_sorted import SliceSortedKFold
from miscnn.evaluation.splits.volumes import StratifiedVolumeKFold

__all__ = [
    "DetailedSplit",
    "Fold",
    "GroupedKFold",
    "Groups",
    "HoldOut",
    "KnowsGeometry",
    "LeaveOneOut",
    "PercentageSplit",
    "SavedFolds",
    "SliceSortedKFold",
    "Splits",
    "Splitter",
    "StratifiedLabelKFold",
    "StratifiedVolumeKFold",
    "count_folds",
    "fold_file",
    "fold_path",
    "hold_out",
    "load_disk2fold",
    "load_folds",
    "load_groups",
    "make_folds",
    "patients_of",
    "read_fold",
    "save_folds",
    "warn_of_torn",
    "write_fold",
    "write_fold2disk",
]
