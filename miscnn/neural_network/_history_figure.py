"""The curves of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from miscnn._colours import CLASS_COLOURS, PLAIN

VALIDATION = "val_"
VOLUMES = "val_volume_"
_RATE = "learning_rate"
_NO_SCORES = (_RATE, "seconds")

# A line through fewer points than this is drawn with the points.
_FEW = 30

_BLACK = "#000000"  # for means
_GREY = "#555555"
_WIDE = 5.0  # inches
_NARROW = 3.2
_LEGEND = 1.6
_HEIGHT = 4.0
_MOST_INSIDE = 7


def draw(history: Mapping[str, Sequence[float]], epochs: int) -> Any:
    """Draw losses, scores and learning rate; return a matplotlib Figure."""
    from miscnn import _style  # matplotlib only when it is needed

    names = list(dict.fromkeys(base_name(name, history) for name in history))
    losses = [name for name in names if name.endswith("loss")]
    scores = [name for name in names if name not in losses and name not in _NO_SCORES]
    rate = _finite(history.get(_RATE, ()))
    widths = [_WIDE]
    if scores:
        widths.append(_WIDE if len(scores) < _MOST_INSIDE else _WIDE + _LEGEND)
    if rate[0]:
        widths.append(_NARROW)

    figure = _style.new_figure(sum(widths), _HEIGHT)
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    _draw_panel(axes[0], "loss", losses, history)
    if scores:
        _draw_panel(axes[1], "score", scores, history)
    if rate[0]:
        axes[-1].plot(*rate, color=_GREY, marker=_marker(rate[0], epochs))
        _style.heading(axes[-1], "learning rate")
        _style.from_zero(axes[-1], rate[1])
        axes[-1].yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    for axis in axes:
        _finish(axis, epochs)
    return figure


def base_name(name: str, history: Mapping[str, Any]) -> str:
    """Return the name of a value without what says of which samples it is."""
    if name.startswith(VOLUMES):
        base = name.removeprefix(VOLUMES)
        return base if base in history or f"mean_{base}" not in history else f"mean_{base}"
    return name.removeprefix(VALIDATION)


def _draw_panel(
    axis: Any, title: str, names: Sequence[str], history: Mapping[str, Sequence[float]]
) -> None:
    """Draw all that have one of the names, a colour for each, a line style for each source."""
    from matplotlib.lines import Line2D

    from miscnn import _style

    colours = _colours(names)
    sources: dict[str, dict[str, Any]] = {}
    shown: dict[str, Any] = {}
    checked = any(name.startswith(VALIDATION) for name in history)
    for key, series in history.items():
        name = base_name(key, history)
        epochs, values = _finite(series)
        if name not in colours or not epochs:
            continue
        source, style = _source(key, checked)
        style = {"marker": _marker(epochs, len(series)), **style}
        axis.plot(epochs, values, color=colours[name], **style)
        sources.setdefault(source, style)
        shown[name] = colours[name]
    _style.heading(axis, title)
    keys = []
    if title != "loss" or len(shown) > 1:
        keys += [Line2D([], [], color=c, label=n.replace("_", " ")) for n, c in shown.items()]
    if checked:
        colour = _GREY if keys else (*shown.values(), _GREY)[0]
        keys += [Line2D([], [], color=colour, label=s, **style) for s, style in sources.items()]
    if not keys:
        return
    if len(shown) < _MOST_INSIDE:  # losses fall, scores rise
        place: dict[str, Any] = {"loc": "upper right" if title == "loss" else "lower right"}
    else:
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    _style.legend(axis, handles=keys, **place)


def _source(key: str, checked: bool) -> tuple[str, dict[str, Any]]:
    """Return what a line shows, and how; what counts is drawn strongly."""
    if key.startswith(VOLUMES):
        return "whole volumes", {"linestyle": ":", "marker": "D", "markersize": 4.5}
    if key.startswith(VALIDATION):
        return "validation", {"linewidth": 1.3}
    if checked:
        return "training", {"linewidth": 1.0, "alpha": 0.35}
    return "training", {"linewidth": 1.3}


def _finite(series: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return the epochs, from 1, that have a value, and the values."""
    known = [(epoch, value) for epoch, value in enumerate(series, 1) if math.isfinite(value)]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _marker(known: Sequence[int], epochs: int) -> str | None:
    """Return the marker of points that would not be seen, or not be told apart, in a line."""
    return "." if len(known) < min(_FEW, epochs) or epochs < _FEW else None


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each name: black for a mean among others."""
    means = [name for name in names if name.startswith("mean")] if len(names) > 1 else []
    others = [name for name in names if name not in means[:1]]
    if len(others) <= 1 and not means:
        palette: list[Any] = [PLAIN] * len(others)
    elif len(others) <= len(CLASS_COLOURS):
        palette = list(CLASS_COLOURS[: len(others)])
    else:
        from matplotlib import colormaps

        ramp = colormaps["turbo"]
        palette = [ramp((number + 0.5) / len(others)) for number in range(len(others))]
    colours = dict(zip(others, palette, strict=True))
    return {name: colours.get(name, _BLACK) for name in names}


def _finish(axis: Any, epochs: int) -> None:
    from miscnn import _style

    _style.label_axes(axis, "epoch")
    _style.whole_numbers(axis.xaxis)
    # One epoch has no width of its own.
    margin = max(0.5, 0.02 * epochs)
    axis.set_xlim(1 - margin, max(1, epochs) + margin)
    _style.style(axis, "both")
