"""Agreement of volumes (Bland and Altman, Lancet 327:307, 1986)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from miscnn import _style
from miscnn.evaluation.figures._common import counted
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError

Scale = Literal["absolute", "percent", "log"]

_SIZES = (
    ("volume_truth_ml", "volume_prediction_ml", "volume", "ml"),
    ("area_truth_mm2", "area_prediction_mm2", "area", "mm²"),
)
_Z = 1.959963984540054  # 97.5 % of a normal distribution lies below
_FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """The mean difference and the limits of agreement, each with its confidence interval.

    Attributes
    ----------
    mean, low, high : tuple of float
        (value, lower end, upper end).
    """

    mean: tuple[float, float, float]
    low: tuple[float, float, float]
    high: tuple[float, float, float]


def limits_of_agreement(
    differences: NDArray[np.float64], confidence: float = 0.95
) -> Agreement | None:
    """Return mean and limits of agreement (mean ± 1.96 sd) of differences.

    The intervals are those of Bland and Altman, Stat Methods Med Res 8:135, 1999, section 2: the
    variance of a limit is sd² (1/n + 1.96² / (2 (n − 1))), quantiles are those of Student's t with
    n − 1 degrees of freedom.

    Returns
    -------
    Agreement or None
        None for fewer than three differences.
    """
    n = len(differences)
    if n < _FEWEST:
        return None
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    quantile = float(stats.t.ppf(0.5 + confidence / 2, n - 1))
    of_mean = quantile * sd / math.sqrt(n)
    of_limit = quantile * sd * math.sqrt(1 / n + _Z**2 / (2 * (n - 1)))
    values = ((mean, of_mean), (mean - _Z * sd, of_limit), (mean + _Z * sd, of_limit))
    return Agreement(*((value, value - half, value + half) for value, half in values))


def bland_altman(
    table: ScoreTable,
    path: str | os.PathLike[str] | None = None,
    *,
    scale: Scale = "absolute",
    confidence: float = 0.95,
    title: str | None = None,
) -> Figure:
    """Draw how predicted volumes differ from true ones, over the mean of both, class by class.

    The line is the mean difference (the bias), the dashed lines are the limits of agreement, mean
    ± 1.96 standard deviations, between which 95 % of the differences lie if they are normally
    distributed; bands are the confidence intervals (:func:`limits_of_agreement`). Fewer than three
    subjects have no lines.

    Parameters
    ----------
    table : ScoreTable
        With the scores ``volume_truth_ml`` and ``volume_prediction_ml`` (2D: areas).
    path : path, optional
        File to write.
    scale : {"absolute", "percent", "log"}
        Difference prediction − truth in ml; in percent of the mean of both, where large objects
        differ more; or the ratio prediction / truth on a logarithmic axis (mean and limits are
        those of the logarithm), where volumes run over decades.
    confidence : float
        Of the bands.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If the table holds no volumes.
    """
    if scale not in ("absolute", "percent", "log"):
        raise ConfigurationError(f'scale must be "absolute", "percent" or "log", got {scale!r}')
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence must lie between 0 and 1, got {confidence}")
    _style.check_path(path)
    found = [size for size in _SIZES if size[0] in table.metrics and size[1] in table.metrics]
    if not found:
        raise ConfigurationError(
            "the table holds no volumes: bland_altman needs the scores volume_truth_ml and "
            f"volume_prediction_ml; it has {', '.join(table.metrics) or 'none'}"
        )
    truth_name, prediction_name, word, unit = found[0]
    truths = {(r.fold, r.sample, r.label): r.value for r in table.select(truth_name)}
    predictions = table.select(prediction_name)
    classes = table.select(truth_name).classes
    rows, columns = _style.panels(len(classes))
    figure = _style.new_figure(max(6.0, 0.3 + 4.3 * columns), 0.5 + 3.3 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (label, name) in zip(grid, classes.items(), strict=False):
        pairs = [
            (truths.get((r.fold, r.sample, r.label), math.nan), r.value)
            for r in predictions.select(label=label)
        ]
        truth, prediction = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        left_out = _panel(axes, truth, prediction, scale, confidence, label, unit)
        told = ", ".join([f"n = {len(truth)}", *left_out])
        _style.heading(axes, f"{_style.short(name)}  ({told})")
        over = "geometric mean" if scale == "log" else "mean"
        _style.label_axes(axes, f"{over} of true and predicted {word} ({unit})")
    difference = {
        "absolute": f"prediction {_style.MINUS} truth ({unit})",
        "percent": f"(prediction {_style.MINUS} truth) / mean (%)",
        "log": "prediction / truth",
    }[scale]
    for axes in grid[::columns]:
        axes.set_ylabel(difference, fontsize=10, color=_style.INK)
    for axes in grid[len(classes) :]:
        axes.set_visible(False)
    _style.remark(
        figure,
        f"line: mean difference; dashed: limits of agreement (mean ± 1.96 sd); "
        f"bands: their {100 * confidence:g} % confidence",
    )
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _panel(
    axes: Any,
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    scale: Scale,
    confidence: float,
    label: int,
    unit: str,
) -> list[str]:
    """Draw one class; return what is not shown."""
    known = np.isfinite(truth) & np.isfinite(prediction)
    told = counted(np.where(known, 0.0, truth + prediction))
    truth, prediction = truth[known], prediction[known]
    if scale != "absolute":
        # A share of nothing, or the logarithm of it, is none.
        positive = (truth > 0) & (prediction > 0) if scale == "log" else truth + prediction > 0
        if (n_empty := int((~positive).sum())) > 0:
            told.append(f"{n_empty} empty")
        truth, prediction = truth[positive], prediction[positive]
    middle = np.sqrt(truth * prediction) if scale == "log" else (truth + prediction) / 2
    if scale == "log":
        differences = np.log(prediction / truth)
    else:
        differences = prediction - truth
        if scale == "percent":
            differences = 100 * differences / middle
    shown: Any = np.exp if scale == "log" else (lambda value: value)
    heights = [shown(differences), np.array([shown(0.0)])]
    agreement = limits_of_agreement(differences, confidence)
    colour = _style.class_colour(label)
    axes.axhline(shown(0.0), color="0.6", lw=0.8, zorder=0)
    axes.plot(
        middle,
        shown(differences),
        "o",
        ms=4.5,
        mfc=colour,
        mec="white",
        mew=0.4,
        alpha=_style.opacity(len(middle)),
        zorder=3,
    )
    if agreement is not None:
        suffix = {"absolute": "", "percent": " %", "log": " \N{MULTIPLICATION SIGN}"}[scale]
        lines = (agreement.mean, "-"), (agreement.low, "--"), (agreement.high, "--")
        for (value, low, high), look in lines:
            axes.axhspan(shown(low), shown(high), color=colour, alpha=0.15, lw=0, zorder=1)
            axes.axhline(shown(value), color="black", lw=1.2, ls=look, zorder=2)
            axes.annotate(
                f"{_signed(shown(value), scale)}{suffix}",
                (1.0, shown(value)),
                xycoords=axes.get_yaxis_transform(),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=_style.INK,
                annotation_clip=False,
            )
            heights.append(shown(np.array([low, high])))
    _style.style(axes, "")
    if scale == "log":
        _style.logarithmic(axes, "x", middle)
        _style.logarithmic(axes, "y", np.concatenate(heights))
    return told


def _signed(value: float, scale: Scale) -> str:
    if scale == "log":
        return f"{value:.3g}"
    return _style.signed(value, "+.3g")
