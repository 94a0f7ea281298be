"""Overlays: the outlines of truth and prediction on the slices of a subject.

Slices are cut across the slice axis and shown as radiologists are used to: anterior (or
superior) up, the patient's right on the left. Pixels are as wide and as high as the spacing
says. Each class has a colour that colour-blind readers tell apart; the truth is the broad pale
line, the prediction the thin strong one on top of it, so that both are seen where they agree.
"""

from __future__ import annotations

import os
from typing import Any

import imageio.v3 as iio
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._text import shortened
from miscnn.data_loading._drawing import Outlines, colour_of, drawn, screen_shape
from miscnn.data_loading._view import View, Window, informative_slices, occupied_slices, view_of
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.detailed_validation import ClassNames, class_names_by_label

_MOST_NAMES = 9
_PALE = 0.6  # share of white in the colour of the truth
_DPI = 150
_EDGE = 420  # longer edge of a slice, in pixels
_GIF_EDGE = 384
_GIF_GREYS = 48  # noise in 256 greys makes a file three times as large


def overlay_png(
    sample: Sample,
    path: str | os.PathLike[str],
    *,
    n_slices: int = 6,
    channel: int = 0,
    window: Window = "auto",
    margin: float | None = 25.0,
    class_names: ClassNames = None,
    title: str | None = None,
) -> None:
    """Draw the most informative slices side by side.

    Slices are taken at equal steps of what there is to see, the outlined area and three times
    the area of disagreement; the slice with the largest disagreement is always among them.

    Parameters
    ----------
    sample : Sample
        With a segmentation, a prediction, or both.
    path : path
        File to write (PNG, 150 dpi).
    n_slices : int
        How many slices at most.
    channel, window, margin
        As in :func:`view_of`.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    title : str, optional
        Default: the index of the sample.
    """
    view = view_of(sample, channel, window, margin)
    chosen = informative_slices(view, n_slices)
    names = class_names_by_label(class_names, sample.classes)
    columns = min(3, len(chosen)) if len(chosen) != 4 else 2
    rows = -(-len(chosen) // columns)
    height, width = _screen_shape(view, _EDGE)
    cell = 2.9 / width  # inches per screen pixel
    figure = Figure(
        figsize=(max(columns * width * cell, 4.5) + 0.2, rows * (height * cell + 0.25) + 0.8),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, position in zip(grid, chosen, strict=False):
        axes.imshow(render(view, position, _EDGE), interpolation="antialiased")
        if len(view.numbers) > 1:
            axes.set_title(f"slice {view.numbers[position]}", fontsize=8, pad=3)
    _mark_sides(grid[0], view)
    # Names may hold dollar signs, which are no mathematics.
    figure.suptitle(title or sample.index, fontsize=10, parse_math=False)
    _legend(figure, view, names)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def overlay_gif(
    sample: Sample,
    path: str | os.PathLike[str],
    *,
    frames_per_second: float = 8.0,
    max_frames: int = 60,
    channel: int = 0,
    window: Window = "auto",
    margin: float | None = 25.0,
    class_names: ClassNames = None,
    title: str | None = None,
) -> None:
    """Draw an animation through the slices that hold an object, and two beyond either end.

    Parameters
    ----------
    path : path
        File to write (GIF, repeated for ever).
    frames_per_second : float
    max_frames : int
        If there are more slices, every second, third … one is shown.
    sample, channel, window, margin, class_names, title
        As in :func:`overlay_png`.
    """
    view = view_of(sample, channel, window, margin)
    names = class_names_by_label(class_names, sample.classes)
    low, high = occupied_slices(view)
    step = -(-(high - low) // max_frames)
    height, width = _screen_shape(view, _GIF_EDGE)
    figure = Figure(dpi=100)
    canvas = FigureCanvasAgg(figure)
    below = _legend(figure, view, names)
    total = height + 60 + below
    figure.set_size_inches(max(width, 384) / 100, total / 100)
    axes = figure.add_axes((0.0, below / total, 1.0, height / total))
    axes.set_axis_off()
    picture = axes.imshow(render(view, low, _GIF_EDGE, _GIF_GREYS), interpolation="nearest")
    sides = _mark_sides(axes, view)
    heading = figure.text(
        0.5, 1 - 30 / total, "", ha="center", va="center", fontsize=8.5, parse_math=False
    )
    # Only these change: the rest is drawn once and put back for every frame.
    changing: list[tuple[Any, Any]] = [
        (axes, picture),
        *((axes, side) for side in sides),
        (figure, heading),
    ]
    for _, artist in changing:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    frames = []
    for position in range(low, high, step):
        picture.set_data(render(view, position, _GIF_EDGE, _GIF_GREYS))
        number = f"\nslice {view.numbers[position]}" if len(view.numbers) > 1 else ""
        heading.set_text(f"{title or sample.index}{number}")
        canvas.restore_region(background)
        for owner, artist in changing:
            owner.draw_artist(artist)
        frames.append(np.array(canvas.buffer_rgba())[..., :3])
    with atomic_path(path) as temporary:
        iio.imwrite(
            temporary, frames, extension=".gif", duration=1000.0 / frames_per_second, loop=0
        )


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
            (view.truth, max(4, size // 100), _PALE),
            (view.prediction, max(2, size // 200), 0.0),
        )
        if array is not None
    ]
    return drawn(view.image[position], _screen_shape(view, size), maps, greys)


def _screen_shape(view: View, size: int) -> tuple[int, int]:
    return screen_shape(view.image.shape[1:], view.pixel, size)


def _mark_sides(axes: Any, view: View) -> list[Any]:
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


def _legend(figure: Figure, view: View, names: dict[int, str]) -> int:
    """Explain lines and colours below the slices; return the height in pixels (100 dpi)."""
    present = sorted({int(k) for m in view.maps for k in np.unique(m) if k > 0})
    shown = present[:_MOST_NAMES]
    if not shown:
        return 0
    handles: list[Any] = []
    for label in shown:
        lines = []
        if view.truth is not None:
            lines.append(Line2D([], [], color=colour_of(label, _PALE), lw=4))
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
