"""Which lesions are found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from miscnn import _style
from miscnn._colours import FALSE, MISSED, PLAIN
from miscnn.evaluation._detection import SizeBin
from miscnn.evaluation.figures._common import pairs_of_panels
from miscnn.evaluation.lesion_table import LesionTable
from miscnn.exceptions import ConfigurationError


def detection_by_size(
    table: LesionTable,
    path: str | os.PathLike[str] | None = None,
    edges_ml: Sequence[float] | None = None,
    *,
    edges_mm: Sequence[float] | None = None,
    confidence: float = 0.95,
    title: str | None = None,
) -> Figure:
    """Draw, class by class, which share of the lesions is found, by their size.

    Above: found among all true lesions of a size, with its confidence interval, which knows that
    lesions of one subject belong together (:meth:`LesionTable.by_size`). Sizes without a lesion
    have no point. Below: how many true lesions were found and missed, and how many predicted ones
    of that size are none.

    Parameters
    ----------
    table : LesionTable
    path : path, optional
        File to write.
    edges_ml, edges_mm, confidence
        As in :meth:`LesionTable.by_size`.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If the table is empty, or the edges are none.
    """
    _style.check_path(path)
    if not table.rows:
        raise ConfigurationError(
            "the table of lesions is empty; ask for it with Scoring(lesions=True). With it, there "
            "was no lesion to find"
        )
    detection = table.by_size(edges_ml, edges_mm=edges_mm, confidence=confidence)
    figure, panels = pairs_of_panels(len(detection.totals), width=4.2, below=1.2)
    unit = "volume (ml)" if detection.edges_ml else "equivalent diameter (mm)"
    for (above, below), total in zip(panels, detection.totals, strict=True):
        bins = detection.select(total.label)
        edges = detection.edges_ml or (*(one.low_mm for one in bins), bins[-1].high_mm)
        _sensitivity(above, bins)
        _counts(below, bins, edges)
        outside = total.n - sum(one.n for one in bins)
        told = f"{total.n_found} of {total.n} found, {total.n_false} false"
        told += f"; {outside} outside of the sizes" if outside else ""
        single = sum(one.n_subjects == 1 for one in bins)
        if single:  # a line of its own: below the figure stands the legend
            text = "size has" if single == 1 else "sizes have"
            told += f"\n{single} {text} lesions of one subject only: no interval"
        _style.heading(above, f"{_style.short(total.class_name)}\n{told}")
        _style.label_axes(below, unit, "lesions")
    keys = [
        Line2D([], [], color=PLAIN, marker="o", label=f"sensitivity ({100 * confidence:g} % CI)"),
        Patch(color=PLAIN, alpha=0.6, label="found"),
        Patch(color=MISSED, label="missed"),
        Patch(color=FALSE, alpha=0.8, label="false"),
    ]
    _style.legend(figure, handles=keys, loc="outside lower center", ncols=4)
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _sensitivity(axes: Any, bins: Sequence[SizeBin]) -> None:
    places = np.arange(len(bins))
    share = np.array([one.sensitivity for one in bins])
    low, high = (np.array([getattr(one, name) for one in bins]) for name in ("ci_low", "ci_high"))
    known = np.isfinite(low)
    axes.vlines(places[known], low[known], high[known], color=PLAIN, lw=1.6)
    axes.plot(places, share, "o", color=PLAIN, ms=6, mec="white", mew=0.6)
    axes.set_xlim(-0.6, len(bins) - 0.4)
    axes.set_xticks(places)  # those of the bars below
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelbottom=False)
    _style.label_axes(axes, "", "sensitivity")
    _style.style(axes)


def _counts(axes: Any, bins: Sequence[SizeBin], edges: Sequence[float]) -> None:
    places = np.arange(len(bins))
    found = np.array([one.n_found for one in bins])
    missed = np.array([one.n - one.n_found for one in bins])
    false = np.array([one.n_false for one in bins])
    axes.bar(places - 0.2, found, 0.38, color=PLAIN, alpha=0.6)
    axes.bar(places - 0.2, missed, 0.38, bottom=found, color=MISSED)
    axes.bar(places + 0.2, false, 0.38, color=FALSE, alpha=0.8)
    axes.set_xlim(-0.6, len(bins) - 0.4)
    axes.set_xticks(places, [_span(*pair) for pair in pairwise(edges)])
    axes.set_ylim(0, max(1.0, 1.08 * float(max((found + missed).max(), false.max()))))
    _style.whole_numbers(axes.yaxis)
    _style.style(axes)


def _span(low: float, high: float) -> str:
    return f"≥ {low:g}" if np.isinf(high) else f"{low:g} - {high:g}"
