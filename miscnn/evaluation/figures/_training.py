"""The trainings of all folds in one figure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from miscnn import _style
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._history_figure import VALIDATION, VOLUMES, base_name

HistoryLike = Mapping[str, Sequence[float]]

_NO_CURVES = ("seconds",)
_MOST_PANELS = 6
_MEAN = "mean"


def training_curves(
    histories: Mapping[str, HistoryLike] | Sequence[HistoryLike],
    path: str | os.PathLike[str] | None = None,
    *,
    metrics: Iterable[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what several trainings logged: a panel per quantity, a line per training.

    The validation is drawn strongly and the training pale and dashed where there is one; that of
    whole volumes as diamonds, joined over the epochs without one. The black line is the mean of all
    trainings, over the epochs that all of them have a value for. Epochs whose value is undefined
    or infinite are gaps, which are counted.

    Parameters
    ----------
    histories : mapping of str to History, or sequence of History
        By name; numbers from 0 on for a sequence, as ``CrossValidationResult.histories``. What
        has an attribute ``history``, or is a mapping from names to one value per epoch, will do.
    path : path, optional
        File to write.
    metrics : iterable of str, optional
        Which quantities, without ``val_``. Default: the loss and the first five others; the
        mean of several classes before the classes.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If there is nothing to draw, or no such quantity.
    """
    _style.check_path(path)
    if not isinstance(histories, Mapping):
        histories = {f"fold {number}": history for number, history in enumerate(histories)}
    known = {name: dict(getattr(h, "history", h)) for name, h in histories.items()}
    bases = list(dict.fromkeys(base_name(k, h) for h in known.values() for k in h))
    chosen, remark = _chosen(bases, metrics)
    rows, columns = _style.panels(len(chosen), 3)
    figure = _style.new_figure(1.4 + 3.7 * columns, 0.5 + 2.9 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    sources: dict[str, Line2D] = {}
    gaps = 0
    for axes, base in zip(grid, chosen, strict=False):
        gaps += _panel(axes, base, known, sources)
    if not {_VALIDATED, _VOLUMES} & sources.keys():  # nothing to tell the training from
        sources.pop(_TRAINED, None)
        if _MEAN in sources:
            sources[_MEAN].set_label(_MEAN)
    for axes in grid[len(chosen) :]:
        axes.set_visible(False)
    keys = [
        Line2D([], [], color=_style.colour(k), lw=1.4, label=_style.short(name))
        for k, name in enumerate(known)
    ]
    if len(keys) > len(_style.PALETTE):  # colours that come twice name nobody
        keys = [Line2D([], [], color=_style.GREY, lw=1.0, label=f"{len(keys)} trainings")]
    _style.legend(figure, handles=[*keys, *sources.values()], loc="outside right upper")
    if gaps:
        remark.append(f"gaps: {gaps} undefined or infinite values")
    _style.remark(figure, "; ".join(remark))
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _chosen(bases: Sequence[str], metrics: Iterable[str] | None) -> tuple[list[str], list[str]]:
    if metrics is not None:
        chosen = list(metrics)
        for name in chosen:
            if name not in bases:
                raise ConfigurationError(
                    f"metric {name!r} was not logged; there are: {', '.join(bases) or 'none'}"
                )
        return chosen, []
    shown = [name for name in bases if name not in _NO_CURVES]
    if not shown:
        raise ConfigurationError("the histories hold nothing to draw; was there any training?")
    means = any(name.startswith("mean_") for name in shown)

    def importance(name: str) -> int:
        if name == "loss":
            return 0
        return 1 if name.startswith("mean_") or not means else 2 + (name == "learning_rate")

    ranked = sorted(shown, key=importance)  # keeps the order of those of one rank
    left_out = len(ranked) - _MOST_PANELS
    return ranked[:_MOST_PANELS], [f"{left_out} more quantities"] if left_out > 0 else []


def _panel(
    axes: Any, base: str, known: Mapping[str, HistoryLike], sources: dict[str, Line2D]
) -> int:
    """Draw one quantity of all trainings; return the number of gaps."""
    _style.heading(axes, base.replace("_", " "))
    gaps, longest = 0, 1
    together: dict[str, list[NDArray[np.float64]]] = {}
    checked = any(base_name(k, h) == base and k != base for h in known.values() for k in h)
    many = len(known) > len(_style.PALETTE)
    for number, history in enumerate(known.values()):
        colour = "0.6" if many else _style.colour(number)
        for name, series in history.items():
            if base_name(name, history) != base:
                continue
            values = np.array([np.nan if v is None else v for v in series], dtype=np.float64)
            values[np.isinf(values)] = np.nan
            longest = max(longest, len(values))
            source = _source(name)
            together.setdefault(source, []).append(values)
            gaps += 0 if source == _VOLUMES else int(np.isnan(values).sum())
            _draw(axes, values, colour, _look(source, checked))
    for source in together:
        look = _look(source, checked)
        sources.setdefault(source, Line2D([], [], color=_style.GREY, label=source, **look))
    strong = next((s for s in (_VALIDATED, _TRAINED, _VOLUMES) if s in together), _TRAINED)
    if len(together.get(strong, ())) > 1:
        _draw_mean(axes, together[strong])
        sources.setdefault(_MEAN, Line2D([], [], color="black", lw=2.2, label=f"mean ({strong})"))
    if base == "learning_rate":
        _style.from_zero(axes, np.concatenate([*together[_TRAINED], []]))
    _style.style(axes, "both")
    _style.label_axes(axes, "epoch")
    _style.whole_numbers(axes.xaxis)
    margin = max(0.5, 0.02 * longest)
    axes.set_xlim(1 - margin, longest + margin)
    return gaps


_VALIDATED, _TRAINED, _VOLUMES = "validation", "training", "whole volumes"


def _source(name: str) -> str:
    if name.startswith(VOLUMES):
        return _VOLUMES
    return _VALIDATED if name.startswith(VALIDATION) else _TRAINED


def _look(source: str, checked: bool) -> dict[str, Any]:
    if source == _VOLUMES:
        return {"ls": ":", "marker": "D", "ms": 4, "lw": 1.2}
    if source == _TRAINED and checked:
        return {"ls": "--", "lw": 0.9, "alpha": 0.5}
    return {"ls": "-", "lw": 1.3}


def _draw(axes: Any, values: NDArray[np.float64], colour: str, look: Mapping[str, Any]) -> None:
    epochs = np.arange(1, len(values) + 1)
    if look["ls"] == ":":  # few epochs have a value
        seen = np.isfinite(values)
        axes.plot(epochs[seen], values[seen], color=colour, **look)
        return
    axes.plot(epochs, values, color=colour, **look)
    # A value between two gaps has no line.
    missing = np.isnan(np.concatenate([[np.nan], values, [np.nan]]))
    alone = ~missing[1:-1] & missing[:-2] & missing[2:]
    if alone.any():
        axes.plot(epochs[alone], values[alone], ".", color=colour, alpha=look.get("alpha"))


def _draw_mean(axes: Any, series: Sequence[NDArray[np.float64]]) -> None:
    shared = min(map(len, series))
    if shared:
        mean = np.mean([values[:shared] for values in series], axis=0)
        dot = "o" if shared == 1 else None
        axes.plot(np.arange(1, shared + 1), mean, color="black", lw=2.2, marker=dot, zorder=4)
