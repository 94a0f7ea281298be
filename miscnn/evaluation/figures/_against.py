"""Scores over what may explain them."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from miscnn import _style
from miscnn.evaluation.figures._common import class_legend, counted, key, rows_of, scale_of
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError

By = Literal["n_slices", "slice_thickness", "slice_thickness_mm", "size"]

_SIZES = {"volume_truth_ml": "True volume (ml)", "area_truth_mm2": "True area (mm²)"}
_TITLES = {"n_slices": "Number of slices", "slice_thickness_mm": "Slice thickness (mm)"}
_FEWEST = 3
_RHO = "\N{GREEK SMALL LETTER RHO}"


def score_against(
    table: ScoreTable,
    path: str | os.PathLike[str] | None = None,
    by: By = "n_slices",
    metric: str = "dice",
    *,
    title: str | None = None,
) -> Figure:
    """Draw a score over the number of slices, their thickness, or the size of the object.

    One point per subject and class. The legend tells Spearman's rank correlation ρ and the number
    of pairs it is of; an infinite score, drawn as a triangle at the edge, has the highest rank.
    Pairs with an undefined value have no point and are counted. On the logarithmic axis of sizes,
    objects that are not there (0 ml) stand at the left edge.

    Parameters
    ----------
    table : ScoreTable
    path : path, optional
        File to write.
    by : {"n_slices", "slice_thickness", "slice_thickness_mm", "size"}
        ``"size"`` is the true volume (2D: area) of the class in the subject.
    metric : str
        Which score.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If the table has no such score, or no sizes.
    """
    part = rows_of(table, metric)
    _style.check_path(path)
    explained, name = _explanation(table, by)
    classes = part.classes
    series = []
    for label in classes:
        rows = part.select(label=label).rows
        across = np.array([explained(row) for row in rows], dtype=np.float64)
        series.append((across, np.array([row.value for row in rows], dtype=np.float64)))
    everything = np.concatenate([across for across, _ in series])
    keys = [
        key(label, "\n".join([_style.short(class_name), *_correlation(across, values, by)]))
        for (label, class_name), (across, values) in zip(classes.items(), series, strict=True)
    ]
    figure = _style.new_figure(5.4, 4.2)
    class_legend(figure, keys)
    axes = figure.subplots()
    scale_of(axes, metric)
    log = by == "size"
    if log:
        _style.logarithmic(axes, "x", everything[np.isfinite(everything) & (everything > 0)])
    for label, (across, values) in zip(classes, series, strict=True):
        _draw(axes, across, values, label, log)
    if by == "n_slices":
        _style.whole_numbers(axes.xaxis)
    _style.label_axes(axes, name, axes.get_ylabel())
    _style.style(axes, "both")
    if len(set(everything[np.isfinite(everything)].tolist())) == 1 and not log:
        middle = float(everything[np.isfinite(everything)][0])
        axes.set_xlim(middle - 1, middle + 1)
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _explanation(table: ScoreTable, by: By) -> tuple[Any, str]:
    """Return the function from a row to what explains it, and the title of the axis."""
    if by == "n_slices":
        return (lambda row: row.n_slices), _TITLES[by]
    if by in ("slice_thickness", "slice_thickness_mm"):
        return (lambda row: row.slice_thickness), _TITLES["slice_thickness_mm"]
    if by != "size":
        raise ConfigurationError(
            f'by must be "n_slices", "slice_thickness_mm" or "size", got {by!r}'
        )
    found = [name for name in _SIZES if name in table.metrics]
    if not found:
        raise ConfigurationError(
            'by="size" needs the score volume_truth_ml (2D: area_truth_mm2); the table has '
            f"{', '.join(table.metrics) or 'none'}"
        )
    sizes = {(r.fold, r.sample, r.label): r.value for r in table.select(found[0])}

    def size(row: ScoreRow) -> float:
        return sizes.get((row.fold, row.sample, row.label), math.nan)

    return size, _SIZES[found[0]]


def _draw(
    axes: Any,
    across: NDArray[np.float64],
    values: NDArray[np.float64],
    label: int,
    log: bool,
) -> None:
    colour, known = _style.class_colour(label), np.isfinite(across) & ~np.isnan(values)
    across, values = across[known], values[known]
    common = {"color": colour, "mec": "white", "mew": 0.4, "alpha": _style.opacity(len(values))}
    seen = np.isfinite(values) & ((across > 0) | (not log))
    axes.plot(across[seen], values[seen], _style.class_marker(label), ms=5, ls="none", **common)
    infinite = np.isinf(values) & ((across > 0) | (not log))
    for sign, height, marker in ((1, 0.985, "^"), (-1, 0.015, "v")):
        chosen = infinite & (np.sign(values) == sign)
        axes.plot(
            across[chosen],
            np.full(int(chosen.sum()), height),
            marker,
            ls="none",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            **common,
        )
    if log and (absent := across <= 0).any():
        heights = values[absent & np.isfinite(values)]
        axes.plot(
            np.full(len(heights), 0.012),
            heights,
            "<",
            ls="none",
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            **common,
        )


def _correlation(across: NDArray[np.float64], values: NDArray[np.float64], by: By) -> list[str]:
    """Return Spearman's rank correlation in words, and in a second line what has no point."""
    known = np.isfinite(across) & ~np.isnan(values)
    told = counted(np.where(np.isfinite(across), values, np.nan))
    if (absent := int((across <= 0).sum())) > 0:
        told.append(f"{absent} of 0 {'ml' if by == 'size' else ''}".strip())
    across, values = across[known], values[known]
    if len(values) < _FEWEST or np.ptp(across) == 0 or len(set(values.tolist())) == 1:
        text = f"{_RHO} undefined"  # of fewer than three, or of constants
    else:
        text = f"{_RHO} = {_style.signed(rank_correlation(across, values), 'z.2f')}"
    return [f"{text} (n = {len(values)})", *([", ".join(told)] if told else [])]


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; ties have their mean rank, infinity the highest."""
    ranks = [stats.rankdata(values) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
