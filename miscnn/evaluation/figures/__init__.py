"""Figures of scores, trainings, lesions, probabilities and data sets.

Every function returns a matplotlib ``Figure``, which notebooks show, and writes ``path`` if it is
given: PNG with 150 dpi, SVG with its text as text, or whatever matplotlib knows by the ending.
Drawn with matplotlib's objects alone: nothing global is touched, and no window is opened. Nothing
is left out in silence: what has no point (undefined, infinite, zero on a logarithmic axis) is
counted in the figure.
"""

from __future__ import annotations

from miscnn._style import PALETTE
from miscnn.evaluation.figures._against import score_against
from miscnn.evaluation.figures._boxes import box_plot
from miscnn.evaluation.figures._calibration import reliability_diagram
from miscnn.evaluation.figures._data import class_frequencies, intensity_histograms
from miscnn.evaluation.figures._evaluation import draw_evaluation
from miscnn.evaluation.figures._lesions import detection_by_size
from miscnn.evaluation.figures._paired import comparison_plot
from miscnn.evaluation.figures._training import training_curves
from miscnn.evaluation.figures._volumes import bland_altman

__all__ = [
    "PALETTE",
    "bland_altman",
    "box_plot",
    "class_frequencies",
    "comparison_plot",
    "detection_by_size",
    "draw_evaluation",
    "intensity_histograms",
    "reliability_diagram",
    "score_against",
    "training_curves",
]
