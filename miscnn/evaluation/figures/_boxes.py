"""Scores class by class."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from miscnn import _style
from miscnn.evaluation.figures._common import at_edge, counted, rows_of, scale_of, spread, wrapped
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError

_MANY = 8  # classes, whose names are turned
_FEWEST_OF_A_SHAPE = 5


def box_plot(
    table: ScoreTable,
    path: str | os.PathLike[str] | None = None,
    metric: str = "dice",
    title: str | None = None,
    kind: Literal["box", "violin"] = "box",
    *,
    points: bool = True,
) -> Figure:
    """Draw one box or violin per class, with a point per subject.

    The box spans the quartiles, its line is the median, the whiskers reach the furthest
    values within 1.5 times the height of the box; the diamond is the mean. A violin is the
    density of the values between the smallest and the largest (Gaussian kernel, Scott's rule), its
    bar spans the quartiles; fewer than five values have points only. Undefined values have no point
    and infinite ones a triangle at the edge; the labels count both.

    Parameters
    ----------
    table : ScoreTable
    path : path, optional
        File to write: PNG (150 dpi), SVG, or whatever matplotlib knows by its ending.
    metric : str
        Which score.
    title : str, optional
    kind : {"box", "violin"}
    points : bool
        Whether every subject has a point. Without, outliers beyond the whiskers have one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If the table has no such score.
    """
    if kind not in ("box", "violin"):
        raise ConfigurationError(f'kind must be "box" or "violin", got {kind!r}')
    part = rows_of(table, metric)
    _style.check_path(path)
    classes = part.classes
    many = len(classes) > _MANY
    each = 0.75 if many else 1.1
    figure = _style.new_figure(max(3.2, 1.4 + each * len(classes)), 4.2 + (0.8 if many else 0.0))
    axes = figure.subplots()
    scale_of(axes, metric)
    labels = []
    for position, (label, name) in enumerate(classes.items()):
        values = part.values(metric, label)
        finite = values[np.isfinite(values)]
        colour = _style.class_colour(label)
        if finite.size and kind == "box":
            _draw_box(axes, position, finite, colour, outliers=not points)
        elif finite.size:
            _draw_violin(axes, position, finite, colour)
        if points:
            axes.plot(
                position + spread(finite),
                finite,
                "o",
                ms=4 if finite.size < 60 else 3,
                mfc=colour,
                mec="white",
                mew=0.4,
                alpha=_style.opacity(finite.size),
                zorder=2.5,
            )
        infinite = values[np.isinf(values)]
        across = position + np.linspace(-0.1, 0.1, len(infinite)) * (len(infinite) > 1)
        at_edge(axes, across, infinite, colour)
        labels.append(_caption(name, values, many))
    # Names may hold dollar signs, which are no mathematics.
    turned: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if many else {}
    )
    axes.set_xticks(range(len(labels)), labels, parse_math=False, **turned)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    _style.style(axes)
    if title:
        axes.set_title(title, fontsize=11, color=_style.INK, parse_math=False, wrap=True)
    _style.save(figure, path)
    return figure


def _caption(name: str, values: NDArray[np.float64], many: bool) -> str:
    lines = [f"n = {len(values)}", *counted(values)]
    if many:
        return f"{_style.short(name)}\n{', '.join(lines)}"
    return "\n".join([wrapped(name), *lines])


def _draw_box(
    axes: Any, position: float, values: NDArray[np.float64], colour: str, outliers: bool
) -> None:
    # Not by axes.boxplot: it asks for all of matplotlib's settings, and so imports pyplot.
    (found,) = boxplot_stats(values)
    low, high = found["q1"], found["q3"]
    axes.add_patch(
        Rectangle(
            (position - 0.25, low), 0.5, high - low, fc=colour, alpha=0.25, ec="none", zorder=2
        )
    )
    for quartile, end in ((low, found["whislo"]), (high, found["whishi"])):
        axes.plot([position, position], [quartile, end], color="0.35", lw=1.0)
        axes.plot([position - 0.12, position + 0.12], [end, end], color="0.35", lw=1.0)
    axes.plot([position - 0.25, position + 0.25], [found["med"]] * 2, color="black", lw=1.6)
    axes.plot(position, found["mean"], "D", mfc="white", mec="black", ms=5, zorder=3)
    if outliers:
        beyond = found["fliers"]
        axes.plot(np.full(len(beyond), position), beyond, "o", ms=3, mfc=colour, mec="none")


def _draw_violin(axes: Any, position: float, values: NDArray[np.float64], colour: str) -> None:
    if values.size >= _FEWEST_OF_A_SHAPE and np.ptp(values) > 1e-9 * np.abs(values).max():
        (body,) = axes.violinplot([values], [position], widths=0.8, showextrema=False)["bodies"]
        body.set(facecolor=colour, alpha=0.25, edgecolor="none", zorder=1)
    low, median, high = np.percentile(values, (25, 50, 75))
    axes.plot([position, position], [low, high], color="0.35", lw=3.5, solid_capstyle="butt")
    axes.plot([position - 0.14, position + 0.14], [median] * 2, color="black", lw=1.6)
    axes.plot(position, values.mean(), "D", mfc="white", mec="black", ms=5, zorder=3)
