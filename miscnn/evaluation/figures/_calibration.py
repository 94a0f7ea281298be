"""How sure a network was, and how often it was right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from miscnn import _style
from miscnn.evaluation.calibration_table import CalibrationTable, PooledBin
from miscnn.evaluation.figures._common import pairs_of_panels
from miscnn.exceptions import ConfigurationError


def reliability_diagram(
    table: CalibrationTable,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw, class by class, how often voxels of a probability are of the class.

    Above: the share of voxels that are of the class, over their mean probability, bin by bin, over
    the voxels of all subjects; points below the diagonal are of a network that is too sure. The
    fill is the distance from the diagonal, and the mean of it over all voxels is the expected
    calibration error (ECE) in the title. Below: how many voxels the bins hold, logarithmic; empty
    bins are counted.

    Parameters
    ----------
    table : CalibrationTable
    path : path, optional
        File to write.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If the table is empty.
    """
    _style.check_path(path)
    if not table.rows:
        raise ConfigurationError(
            "the table of calibration is empty; ask for it with Scoring(calibration=True)"
        )
    classes = table.classes
    figure, panels = pairs_of_panels(len(classes), width=3.4)
    for (above, below), (label, name) in zip(panels, classes.items(), strict=True):
        bins = table.pooled(label)
        filled = [one for one in bins if one.n]
        colour = _style.class_colour(label)
        _diagram(above, filled, colour)
        _histogram(below, filled, colour)
        told = f"ECE {table.ece(label):.3f}" if filled else "ECE undefined"
        if len(filled) < len(bins):
            told += f", {len(bins) - len(filled)} of {len(bins)} bins empty"
        _style.heading(above, f"{_style.short(name)}\n{told}")
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _diagram(axes: Any, filled: Sequence[PooledBin], colour: str) -> None:
    confidence = np.array([one.mean_confidence for one in filled])
    frequency = np.array([one.frequency for one in filled])
    axes.plot([0, 1], [0, 1], "--", color="0.5", lw=1, zorder=1)
    axes.vlines(confidence, confidence, frequency, color=colour, alpha=0.3, lw=5, zorder=2)
    axes.plot(confidence, frequency, "-o", color=colour, lw=1.3, ms=4.5, mec="white", mew=0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(labelbottom=False)
    _style.label_axes(axes, "", "share of the class")
    _style.style(axes, "both")


def _histogram(axes: Any, filled: Sequence[PooledBin], colour: str) -> None:
    counts = np.array([float(one.n) for one in filled])
    _style.logarithmic(axes, "y", np.concatenate([counts, [1.0, 10.0]]))
    low = axes.get_ylim()[0]
    axes.bar(
        [one.low for one in filled],
        counts - low,
        [one.high - one.low for one in filled],
        bottom=low,
        align="edge",
        color=colour,
        alpha=0.5,
        edgecolor="white",
        lw=0.5,
    )
    axes.yaxis.set_major_formatter(lambda value, _: _thousands(value))
    axes.set_xlim(-0.02, 1.02)
    _style.label_axes(axes, "probability", "voxels")
    _style.style(axes, "y")


def _thousands(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
