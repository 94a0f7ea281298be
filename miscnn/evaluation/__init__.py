"""Scores of single volumes, and what they say about a model.

``cross_validation``, ``split_validation``, ``leave_one_out`` and ``detailed_validation`` are
the functions, as in MIScnn 1.x, although modules of the same names hold them. They are imported
here at once for that reason: a module that is imported first sets the attribute of its package
to itself, and only an import after that puts the function there for good.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from miscnn.evaluation._bootstrap import bootstrap_interval
from miscnn.evaluation._results import CrossValidationResult, FoldResult
from miscnn.evaluation.calibration import (
    Calibration,
    brier_score,
    calibration_rows,
    expected_calibration_error,
    measure_calibration,
)
from miscnn.evaluation.calibration_table import CalibrationRow, CalibrationTable, PooledBin
from miscnn.evaluation.comparison import Comparison, Comparisons, compare, compare_all
from miscnn.evaluation.cross_validation import cross_validation, run_fold, split_folds
from miscnn.evaluation.detailed_validation import detailed_validation, score_sample
from miscnn.evaluation.leave_one_out import leave_one_out
from miscnn.evaluation.lesion_table import Detection, LesionRow, LesionTable, SizeBin, lesion_rows
from miscnn.evaluation.lesions import Lesion, LesionMatches, lesion_scores, match_lesions
from miscnn.evaluation.postprocessing_choice import PostProcessingChoice, choose_postprocessing
from miscnn.evaluation.scores import METRICS, Metric, metric_of, score_subject, squared_dice
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.split_validation import split_validation
from miscnn.evaluation.splits import (
    DetailedSplit,
    GroupedKFold,
    HoldOut,
    LeaveOneOut,
    PercentageSplit,
    SavedFolds,
    SliceSortedKFold,
    StratifiedLabelKFold,
    StratifiedVolumeKFold,
    load_folds,
    save_folds,
)
from miscnn.evaluation.summary import ScoreRow, ScoreTable, Summary, SummaryRow

if TYPE_CHECKING:
    from miscnn.evaluation.figures import (
        bland_altman,
        box_plot,
        class_frequencies,
        comparison_plot,
        detection_by_size,
        intensity_histograms,
        reliability_diagram,
        score_against,
        training_curves,
    )
    from miscnn.evaluation.report import write_report
    from miscnn.evaluation.visualizer import (
        error_map,
        overlay_gif,
        overlay_montage,
        overlay_png,
        surface_view,
    )

__all__ = [
    "METRICS",
    "Calibration",
    "CalibrationRow",
    "CalibrationTable",
    "Comparison",
    "Comparisons",
    "CrossValidationResult",
    "DetailedSplit",
    "Detection",
    "FoldResult",
    "GroupedKFold",
    "HoldOut",
    "LeaveOneOut",
    "Lesion",
    "LesionMatches",
    "LesionRow",
    "LesionTable",
    "Metric",
    "PercentageSplit",
    "PooledBin",
    "PostProcessingChoice",
    "SavedFolds",
    "ScoreRow",
    "ScoreTable",
    "Scoring",
    "SizeBin",
    "SliceSortedKFold",
    "StratifiedLabelKFold",
    "StratifiedVolumeKFold",
    "Summary",
    "SummaryRow",
    "bland_altman",
    "bootstrap_interval",
    "box_plot",
    "brier_score",
    "calibration_rows",
    "choose_postprocessing",
    "class_frequencies",
    "compare",
    "compare_all",
    "comparison_plot",
    "cross_validation",
    "detailed_validation",
    "detection_by_size",
    "error_map",
    "expected_calibration_error",
    "intensity_histograms",
    "leave_one_out",
    "lesion_rows",
    "lesion_scores",
    "load_folds",
    "match_lesions",
    "measure_calibration",
    "metric_of",
    "overlay_gif",
    "overlay_montage",
    "overlay_png",
    "reliability_diagram",
    "run_fold",
    "save_folds",
    "score_against",
    "score_sample",
    "score_subject",
    "split_folds",
    "split_validation",
    "squared_dice",
    "surface_view",
    "training_curves",
    "write_report",
]

# Those that need matplotlib and imageio, which take longer to import than all the rest.
_HOMES = {
    "bland_altman": "miscnn.evaluation.figures",
    "box_plot": "miscnn.evaluation.figures",
    "class_frequencies": "miscnn.evaluation.figures",
    "comparison_plot": "miscnn.evaluation.figures",
    "detection_by_size": "miscnn.evaluation.figures",
    "error_map": "miscnn.evaluation.visualizer",
    "intensity_histograms": "miscnn.evaluation.figures",
    "overlay_gif": "miscnn.evaluation.visualizer",
    "overlay_montage": "miscnn.evaluation.visualizer",
    "overlay_png": "miscnn.evaluation.visualizer",
    "reliability_diagram": "miscnn.evaluation.figures",
    "score_against": "miscnn.evaluation.figures",
    "surface_view": "miscnn.evaluation.visualizer",
    "training_curves": "miscnn.evaluation.figures",
    "write_report": "miscnn.evaluation.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'miscnn.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
