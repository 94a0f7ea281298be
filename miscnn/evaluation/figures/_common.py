"""What figures of scores share."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from miscnn import _style
from miscnn._text import shortened
from miscnn.evaluation.scores import metric_of
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError

_GOLDEN = 0.6180339887
_MOST_LINES = 3
_HIGHEST = 8.0  # inches


def rows_of(table: ScoreTable, metric: str) -> ScoreTable:
    """Return the rows of one score.

    Raises
    ------
    ConfigurationError
        If there are none.
    """
    part = table.select(metric)
    if not part:
        raise ConfigurationError(
            f"the table has no score {metric!r}; it has {', '.join(table.metrics) or 'none'}"
        )
    return part


def scale_of(axes: Any, metric: str) -> None:
    """Name the y axis after a score; scores in [0, 1] keep that range, so that runs compare."""
    known = metric_of(metric)
    axes.margins(y=0.1)  # room for the triangles
    if known.bounded:
        axes.set_ylim(-0.03, 1.03)
    if known.best == "zero":
        axes.axhline(0.0, color="0.6", lw=0.8, zorder=0)
    title = known.title
    axes.set_ylabel(
        "\n".join(textwrap.wrap(title, 40)) or title,
        fontsize=10,
        color=_style.INK,
        parse_math=False,
    )


def counted(values: NDArray[np.float64]) -> list[str]:
    """Return words for what has no point: undefined and infinite values."""
    undefined, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    told = [f"{undefined} undefined"] if undefined else []
    return told + ([f"{infinite} infinite"] if infinite else [])


def at_edge(axes: Any, across: NDArray[np.float64], values: NDArray[Any], colour: str) -> None:
    """Draw infinite values as triangles at the upper (or lower) edge, beyond all others."""
    for sign, height, marker in ((1, 0.985, "^"), (-1, 0.015, "v")):
        chosen = np.isinf(values) & (np.sign(values) == sign)
        if chosen.any():
            axes.plot(
                across[chosen],
                np.full(int(chosen.sum()), height),
                marker,
                color=colour,
                mec="white",
                mew=0.4,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets that keep neighbouring points apart: steps of the golden ratio, by rank."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(((rank * _GOLDEN) % 1.0 - 0.5) * 0.36, dtype=np.float64)


def wrapped(name: str, width: int = 14) -> str:
    """Break a long name into a few lines."""
    lines = textwrap.wrap(name, width) or [name]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], shortened(" ".join(lines[_MOST_LINES - 1 :]), width)]
    return "\n".join(lines)


def key(label: int, text: str) -> Line2D:
    """Return the entry of a class in a legend."""
    return Line2D(
        [],
        [],
        ls="none",
        marker=_style.class_marker(label),
        color=_style.class_colour(label),
        label=text,
    )


def class_legend(figure: Any, keys: list[Line2D]) -> None:
    """Explain classes beside the axes; the figure grows by what that takes."""
    lines = [str(one.get_label()).split("\n") for one in keys]
    width, height = figure.get_size_inches()
    needed = sum(0.17 * len(parts) + 0.06 for parts in lines)
    columns = math.ceil(needed / _HIGHEST)
    longest = max((len(line) for parts in lines for line in parts), default=0)
    figure.set_size_inches(
        width + columns * (0.5 + 0.085 * longest), max(height, needed / columns + 0.4)
    )
    _style.legend(figure, handles=keys, loc="outside right upper", ncols=columns)


def pairs_of_panels(
    count: int, width: float, above: float = 2.7, below: float = 1.0
) -> tuple[Figure, list[tuple[Any, Any]]]:
    """Return a figure and pairs of axes that stand over each other; sizes in inches."""
    rows, columns = _style.panels(count)
    figure = _style.new_figure(max(5.0, 0.4 + width * columns), 0.5 + rows * (above + below + 0.9))
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[above, below] * rows)
    pairs = [(grid[2 * (k // columns), k % columns], grid[2 * (k // columns) + 1, k % columns])
             for k in range(rows * columns)]  # fmt: skip
    for pair in pairs[count:]:
        for axes in pair:
            axes.set_visible(False)
    return figure, pairs[:count]
