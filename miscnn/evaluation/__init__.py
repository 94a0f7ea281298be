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
from miscnn.evaluation.comparison import Comparison, compare
from miscnn.evaluation.cross_validation import cross_validation, run_fold, split_folds
from miscnn.evaluation.detailed_validation import detailed_validation, score_sample
from miscnn.evaluation.leave_one_out import leave_one_out
from miscnn.evaluation.postprocessing_choice import PostProcessingChoice, choose_postprocessing
from miscnn.evaluation.scores import score_subject, squared_dice
from miscnn.evaluation.split_validation import split_validation
from miscnn.evaluation.splits import SliceSortedKFold
from miscnn.evaluation.summary import ScoreRow, ScoreTable, Summary

if TYPE_CHECKING:
    from miscnn.evaluation.figures import box_plot
    from miscnn.evaluation.visualizer import overlay_gif, overlay_png

__all__ = [
    "Comparison",
    "CrossValidationResult",
    "FoldResult",
    "PostProcessingChoice",
    "ScoreRow",
    "ScoreTable",
    "SliceSortedKFold",
    "Summary",
    "bootstrap_interval",
    "box_plot",
    "choose_postprocessing",
    "compare",
    "cross_validation",
    "detailed_validation",
    "leave_one_out",
    "overlay_gif",
    "overlay_png",
    "run_fold",
    "score_sample",
    "score_subject",
    "split_folds",
    "split_validation",
    "squared_dice",
]

# Those that need matplotlib and imageio, which take longer to import than all the rest.
_HOMES = {
    "box_plot": "miscnn.evaluation.figures",
    "overlay_gif": "miscnn.evaluation.visualizer",
    "overlay_png": "miscnn.evaluation.visualizer",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'miscnn.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
