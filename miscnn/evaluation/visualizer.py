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
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from miscnn._files import atomic_path
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._view import View, Window, informative_slices, occupied_slices, view_of
from miscnn.evaluation.detailed_validation import ClassNames, class_names_by_label

# Bright enough for a grey image; from Okabe and Ito's colours.
_COLOURS = ("#F0A000", "#3FA9F5", "#F06AB8", "#2BC48A", "#F0E442", "#FF6A2B", "#B9A0FF")
_DPI = 150
_EDGE = 420  # longer edge of a slice, in pixels


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
    figure.suptitle(title or sample.index, fontsize=10)
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
    height, width = _screen_shape(view, _EDGE)
    canvas_width, canvas_height = max(width, 400), height + 108
    figure = Figure(figsize=(canvas_width / 100, canvas_height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    top, bottom = 1 - 46 / canvas_height, 62 / canvas_height
    axes = figure.add_axes((0.0, bottom, 1.0, top - bottom))
    axes.set_axis_off()
    shown = axes.imshow(render(view, low, _EDGE), interpolation="nearest")
    _mark_sides(axes, view)
    heading = figure.text(0.5, (1 + top) / 2, "", ha="center", va="center", fontsize=8.5)
    _legend(figure, view, names)
    frames = []
    for position in range(low, high, step):
        shown.set_data(render(view, position, _EDGE))
        number = f"\nslice {view.numbers[position]}" if len(view.numbers) > 1 else ""
        heading.set_text(f"{title or sample.index}{number}")
        canvas.draw()
        frames.append(np.array(canvas.buffer_rgba())[..., :3])
    with atomic_path(path) as temporary:
        iio.imwrite(
            temporary, frames, extension=".gif", duration=1000.0 / frames_per_second, loop=0
        )


def render(view: View, position: int, size: int) -> NDArray[np.uint8]:
    """Draw one slice with its outlines.

    Parameters
    ----------
    view : View
    position : int
        Which slice of the view.
    size : int
        Length of the longer edge in screen pixels.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3).
    """
    shape = _screen_shape(view, size)
    grey = _enlarged(view.image[position], shape)
    canvas = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.float64)
    broad, thin = max(3, size // 100), max(1, size // 200)
    for array, width, pale in ((view.truth, broad, 0.6), (view.prediction, thin, 0.0)):
        if array is None:
            continue
        labels = _nearest(array[position], shape)
        for label in np.unique(labels[labels > 0]).tolist():
            colour = np.array(to_rgb(_COLOURS[(label - 1) % len(_COLOURS)]))
            line = _outline(labels == label, width)
            canvas[ndimage.binary_dilation(line)] *= 0.5  # a shadow, for bright surroundings
            canvas[line] = colour + (1.0 - colour) * pale
    return np.rint(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask within ``width`` of its outside; the frame is no outside."""
    inner = ndimage.binary_erosion(mask, iterations=width, border_value=1)
    return mask & ~inner


def _screen_shape(view: View, size: int) -> tuple[int, int]:
    height = view.image.shape[1] * view.pixel[0]
    width = view.image.shape[2] * view.pixel[1]
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _enlarged(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    zoomed = ndimage.zoom(
        image.astype(np.float64), np.array(factors), order=1, mode="nearest", grid_mode=True
    )
    return np.asarray(zoomed, dtype=np.float64)


def _nearest(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _mark_sides(axes: Any, view: View) -> None:
    style = {
        "color": "white",
        "fontsize": 8,
        "fontweight": "bold",
        "transform": axes.transAxes,
        "path_effects": [withStroke(linewidth=2, foreground="black")],
    }
    if view.sides[0]:
        axes.text(0.015, 0.5, view.sides[0], ha="left", va="center", **style)
        axes.text(0.5, 0.985, view.sides[1], ha="center", va="top", **style)


def _legend(figure: Figure, view: View, names: dict[int, str]) -> None:
    present = sorted({int(k) for m in view.maps for k in np.unique(m) if k > 0})
    handles = []
    for label in present:
        colour = np.array(to_rgb(_COLOURS[(label - 1) % len(_COLOURS)]))
        name = names.get(label, str(label))
        if view.truth is not None:
            pale = tuple(colour + (1.0 - colour) * 0.6)
            handles.append(Line2D([], [], color=pale, lw=4, label=f"{name}: truth"))
        if view.prediction is not None:
            handles.append(Line2D([], [], color=tuple(colour), lw=1.6, label=f"{name}: prediction"))
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center" if figure.get_layout_engine() else "lower center",
            ncols=2 if view.truth is not None and view.prediction is not None else 4,
            fontsize=8,
            frameon=True,
            facecolor="0.25",
            labelcolor="white",
            edgecolor="none",
        )
