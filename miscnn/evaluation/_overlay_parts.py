"""What pictures of slices are put together from."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from miscnn._text import shortened
from miscnn.data_loading._drawing import Outlines, colour_of, drawn, screen_shape
from miscnn.data_loading._view import View
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.detailed_validation import ClassNames, class_names_by_label

PALE = 0.6  # share of white in the colour of the truth
_MOST_NAMES = 9


def render(view: View, position: int, size: int, greys: int = 256) -> NDArray[np.uint8]:
    """Draw one slice with its outlines.

    Parameters
    ----------
    view : View
    position : int
        Which slice of the view.
    size : int
        Length of the longer edge in screen pixels.
    greys : int
        Number of grey levels; fewer make smaller files.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3).
    """
    maps = [
        Outlines(array[position], width, pale)
        for array, width, pale in (
            (view.truth, max(4, size // 100), PALE),
            (view.prediction, max(2, size // 200), 0.0),
        )
        if array is not None
    ]
    return drawn(view.image[position], picture_shape(view, size), maps, greys)


def names_of(sample: Sample, class_names: ClassNames) -> dict[int, str]:
    """Return the names of the classes by label; what nobody has annotated is no class."""
    names = class_names_by_label(class_names, sample.classes)
    ignored = {} if sample.ignore_label is None else {sample.ignore_label: "not annotated"}
    return {**names, **ignored}


def picture_shape(view: View, size: int) -> tuple[int, int]:
    """Return rows and columns of a slice whose longer edge has ``size`` screen pixels."""
    return screen_shape(view.image.shape[1:], view.pixel, size)


def mark_sides(axes: Any, view: View) -> list[Any]:
    """Write the letters of the patient's sides."""
    if not view.sides[0]:
        return []
    style = {
        "color": "white",
        "fontsize": 8,
        "fontweight": "bold",
        "transform": axes.transAxes,
        "path_effects": [withStroke(linewidth=2, foreground="black")],
    }
    return [
        axes.text(0.015, 0.5, view.sides[0], ha="left", va="center", **style),
        axes.text(0.5, 0.985, view.sides[1], ha="center", va="top", **style),
    ]


def outline_legend(figure: Figure, view: View, names: dict[int, str]) -> int:
    """Explain lines and colours below the slices; return the height in pixels (100 dpi)."""
    present = sorted({int(k) for m in view.maps for k in np.unique(m) if k > 0})
    shown = present[:_MOST_NAMES]
    if not shown:
        return 0
    handles: list[Any] = []
    for label in shown:
        lines = []
        if view.truth is not None:
            lines.append(Line2D([], [], color=colour_of(label, PALE), lw=4))
        if view.prediction is not None:
            lines.append(Line2D([], [], color=colour_of(label, 0.0), lw=1.8))
        handles.append(tuple(lines))
    labels = [shortened(names.get(label, str(label)), 16) for label in shown]
    meaning = []
    if view.truth is not None:
        meaning.append("broad: truth")
    if view.prediction is not None:
        meaning.append("thin: prediction")
    if len(present) > len(shown):
        meaning.append(f"{len(present) - len(shown)} more classes")
    columns = min(3, len(shown))
    legend = figure.legend(
        handles,
        labels,
        title=" · ".join(meaning),
        loc="outside lower center" if figure.get_layout_engine() else "lower center",
        ncols=columns,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)},
        handlelength=3.2,
        fontsize=8,
        title_fontsize=8,
        facecolor="0.25",
        labelcolor="white",
        edgecolor="none",
    )
    legend.get_title().set_color("white")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return 46 + 16 * -(-len(shown) // columns)
