"""Two models on the same subjects."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from miscnn import _style
from miscnn.evaluation.figures._common import at_edge, rows_of, scale_of, wrapped
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError

_APART = 0.28
_UP, _DOWN = "#2166AC", "#B2182B"


def comparison_plot(
    first: ScoreTable,
    second: ScoreTable,
    path: str | os.PathLike[str] | None = None,
    metric: str = "dice",
    *,
    names: tuple[str, str] = ("a", "b"),
    title: str | None = None,
) -> Figure:
    """Draw two models' scores of the same subjects, class by class, joined by lines.

    Lines that rise are blue, those that fall orange; the black line joins the means of the pairs
    that are drawn. Below each class stands how many pairs rise, fall, and are left out because a
    score is undefined or a subject is in one table only. Infinite scores are triangles at the edge,
    without a line. Classes that only one table has are counted below.

    Parameters
    ----------
    first, second : ScoreTable
        Each subject once, whatever its fold.
    path : path, optional
        File to write.
    metric : str
    names : tuple of str
        What the models are called.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If a table has no such score, they have no class in common, or one has a subject twice.
    """
    if len(names) != 2 or isinstance(names, str):
        raise ConfigurationError(f"names must be two, one for each table, got {names!r}")
    parts = [rows_of(table, metric) for table in (first, second)]
    _style.check_path(path)
    scores = [_by_subject(part, name) for part, name in zip(parts, names, strict=True)]
    classes = {k: n for k, n in parts[0].classes.items() if k in parts[1].classes}
    if not classes:
        raise ConfigurationError(
            f"the tables have no class in common: {parts[0].classes} and {parts[1].classes}"
        )
    lost = parts[0].classes.keys() ^ parts[1].classes.keys()
    figure = _style.new_figure(max(4.0, 1.6 + 1.5 * len(classes)), 4.4)
    axes = figure.subplots()
    scale_of(axes, metric)
    labels = []
    for position, (label, name) in enumerate(classes.items()):
        subjects = sorted({s for part in scores for s, k in part if k == label})
        pairs = np.array(
            [[part.get((s, label), np.nan) for part in scores] for s in subjects], dtype=np.float64
        )
        labels.append(f"{wrapped(name)}\n{_draw(axes, position, pairs)}")
    axes.set_xticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    _style.style(axes)
    first_name, second_name = (_style.short(name) for name in names)
    told = f"left: {first_name}, right: {second_name}; "
    told += f"↑ {second_name} is higher (blue), ↓ lower (red)"
    if lost:
        word = "class is" if len(lost) == 1 else "classes are"
        told += f"\n{len(lost)} {word} in one table only, and not here"
    _style.remark(figure, told)
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _by_subject(table: ScoreTable, name: str) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    for row in table:
        if (row.sample, row.label) in found:
            raise ConfigurationError(
                f"table {name!r} holds subject {row.sample!r} in several folds; select one of them"
            )
        found[row.sample, row.label] = row.value
    return found


def _draw(axes: Any, position: int, pairs: Any) -> str:
    """Draw the pairs of one class; return how many rise, fall, and are left out."""
    places = np.array([position - _APART, position + _APART])
    finite = pairs[np.isfinite(pairs).all(axis=1)]
    change = np.sign(finite[:, 1] - finite[:, 0])
    alpha = _style.opacity(2 * len(finite))
    for sign, colour in ((1, _UP), (-1, _DOWN), (0, "0.5")):
        chosen = finite[change == sign]
        if len(chosen):
            axes.plot(places, chosen.T, "-o", color=colour, lw=0.9, ms=3.5, mew=0, alpha=alpha)
    if len(finite):
        axes.plot(places, finite.mean(axis=0), "-D", color="black", lw=2, ms=5, mfc="white")
    infinite = np.isinf(pairs).any(axis=1) & ~np.isnan(pairs).any(axis=1)
    for place, column in zip(places, pairs[infinite].T, strict=True):
        at_edge(axes, np.full(len(column), place), column, "0.4")
    lines = [f"{int((change > 0).sum())} ↑  {int((change < 0).sum())} ↓"]
    if equal := int((change == 0).sum()):
        lines[0] += f"  {equal} ="
    if infinite.any():
        lines.append(f"{int(infinite.sum())} infinite")
    if unpaired := int(np.isnan(pairs).any(axis=1).sum()):
        lines.append(f"{unpaired} left out")
    return "\n".join(lines)
