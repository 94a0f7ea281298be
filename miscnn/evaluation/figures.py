"""Figures of scores.

Drawn with matplotlib's objects alone: nothing global is touched, and no window is opened.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn.evaluation.scores import METRICS
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError

# Okabe and Ito's colours, which colour-blind readers tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_DPI = 150


def box_plot(
    table: ScoreTable,
    path: str | os.PathLike[str],
    metric: str = "dice",
    title: str | None = None,
) -> None:
    """Draw one box per class, with a point per subject.

    The box spans the quartiles, its line is the median, the whiskers reach the furthest
    values within 1.5 times the height of the box; the diamond is the mean. Undefined values
    have no point and infinite ones a triangle at the upper edge; the labels count both.

    Parameters
    ----------
    table : ScoreTable
    path : path
        File to write, PNG (150 dpi) or whatever matplotlib knows by its ending.
    metric : str
        Which score.
    title : str, optional

    Raises
    ------
    ConfigurationError
        If the table has no such score.
    """
    part = table.select(metric)
    if not part:
        raise ConfigurationError(
            f"the table has no score {metric!r}; it has {', '.join(table.metrics) or 'none'}"
        )
    classes = part.classes
    figure = Figure(figsize=(max(3.2, 1.4 + 1.1 * len(classes)), 4.2), layout="constrained")
    axes = figure.subplots()
    # Scores between 0 and 1 keep that range, so that figures of several runs compare at sight.
    axes.margins(y=0.1)  # room for the triangles
    share = metric in METRICS and METRICS[metric].best == "high"
    if share:
        axes.set_ylim(-0.03, 1.03)
    labels = []
    for position, (label, name) in enumerate(classes.items()):
        values = part.values(metric, label)
        finite = values[np.isfinite(values)]
        colour = PALETTE[position % len(PALETTE)]
        if finite.size:
            _draw_box(axes, position, finite, colour)
        axes.plot(position + _spread(finite), finite, "o", ms=4, mfc=colour, mec="white", mew=0.4)
        n_infinite, n_undefined = int(np.isinf(values).sum()), int(np.isnan(values).sum())
        if n_infinite:
            across = position + np.linspace(-0.1, 0.1, n_infinite) * (n_infinite > 1)
            axes.plot(
                across,
                np.full(n_infinite, 0.985),
                "^",
                color=colour,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
        labels.append(_caption(name, len(values), n_undefined, n_infinite))
    # Names may hold dollar signs, which are no mathematics.
    axes.set_xticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylabel(METRICS[metric].title if metric in METRICS else metric, parse_math=False)
    if metric in METRICS and METRICS[metric].best == "zero":
        axes.axhline(0.0, color="0.6", lw=0.8, zorder=0)
    axes.grid(axis="y", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, fontsize="medium", parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def _draw_box(axes: Any, position: float, values: NDArray[np.float64], colour: str) -> None:
    axes.boxplot(
        [values],
        positions=[position],
        widths=0.5,
        manage_ticks=False,
        showfliers=False,  # every subject has a point of its own
        showmeans=True,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.25, "edgecolor": "none"},
        medianprops={"color": "black", "linewidth": 1.6},
        whiskerprops={"color": "0.35"},
        capprops={"color": "0.35"},
        meanprops={"marker": "D", "mfc": "white", "mec": "black", "ms": 5},
        zorder=2,
    )


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets that keep neighbouring points apart: steps of the golden ratio, by rank."""
    rank = np.argsort(np.argsort(values))
    return np.asarray(((rank * 0.6180339887) % 1.0 - 0.5) * 0.36, dtype=np.float64)


def _caption(name: str, n: int, n_undefined: int, n_infinite: int) -> str:
    lines = [name, f"n = {n}"]
    if n_undefined:
        lines.append(f"{n_undefined} undefined")
    if n_infinite:
        lines.append(f"{n_infinite} infinite")
    return "\n".join(lines)
