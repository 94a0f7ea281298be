"""Overlays: the outlines of truth and prediction on the slices of a subject.

Slices are cut across the slice axis and shown as radiologists are used to: anterior (or
superior) up, the patient's right on the left. Pixels are as wide and as high as the spacing
says. Each class has a colour that colour-blind readers tell apart; the truth is the broad pale
line, the prediction the thin strong one on top of it, so that both are seen where they agree.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import imageio.v3 as iio
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._style import check_path
from miscnn.data_loading._view import View, Window, informative_slices, occupied_slices, view_of
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._error_map import error_map
from miscnn.evaluation._overlay_montage import overlay_montage
from miscnn.evaluation._overlay_parts import (
    mark_sides,
    names_of,
    outline_legend,
    picture_shape,
    render,
)
from miscnn.evaluation._surface_view import surface_view
from miscnn.evaluation.detailed_validation import ClassNames
from miscnn.exceptions import ConfigurationError

__all__ = ["error_map", "overlay_gif", "overlay_montage", "overlay_png", "render", "surface_view"]

_DPI = 150
_EDGE = 420  # longer edge of a slice, in pixels
# Longer edge of a slice in pixels, and number of greys, from the finest to the smallest file:
# noise in 256 greys makes a file three times as large.
_GIF_SIZES = ((384, 48), (384, 20), (288, 20), (224, 12))


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
        File to write: PNG (150 dpi), or whatever matplotlib knows by its ending.
    n_slices : int
        How many slices at most.
    channel, window, margin
        As in :func:`view_of`.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    title : str, optional
        Default: the index of the sample.
    """
    check_path(path)
    view = view_of(sample, channel, window, margin)
    chosen = informative_slices(view, n_slices)
    names = names_of(sample, class_names)
    columns = min(3, len(chosen)) if len(chosen) != 4 else 2
    rows = -(-len(chosen) // columns)
    height, width = picture_shape(view, _EDGE)
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
    mark_sides(grid[0], view)
    # Names may hold dollar signs, which are no mathematics.
    figure.suptitle(title or sample.index, fontsize=10, parse_math=False)
    outline_legend(figure, view, names)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def overlay_gif(
    sample: Sample,
    path: str | os.PathLike[str],
    *,
    frames_per_second: float = 8.0,
    max_frames: int = 60,
    max_megabytes: float = 2.0,
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
    max_megabytes : float
        A larger file is drawn again with fewer greys, then with smaller slices; the smallest of
        four sizes is taken in the end, however large it is.
    sample, channel, window, margin, class_names, title
        As in :func:`overlay_png`.
    """
    if not frames_per_second > 0 or max_frames < 1:
        raise ConfigurationError(
            f"frames_per_second={frames_per_second} must be above 0 and max_frames={max_frames} "
            "at least 1"
        )
    if os.path.splitext(os.fspath(path))[1].lower() != ".gif":
        raise ConfigurationError(f"path={os.fspath(path)!r}: an animation is a .gif")
    view = view_of(sample, channel, window, margin)
    names = names_of(sample, class_names)
    low, high = occupied_slices(view)
    positions = range(low, high, -(-(high - low) // max_frames))
    for edge, greys in _GIF_SIZES:
        frames = _frames(view, positions, names, title or sample.index, edge, greys)
        data: bytes = iio.imwrite(
            "<bytes>", frames, extension=".gif", duration=1000.0 / frames_per_second, loop=0
        )
        if len(data) <= max_megabytes * 1e6:
            break
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _frames(
    view: View, positions: Sequence[int], names: dict[int, str], title: str, edge: int, greys: int
) -> list[NDArray[np.uint8]]:
    height, width = picture_shape(view, edge)
    figure = Figure(dpi=100)
    canvas = FigureCanvasAgg(figure)
    below = outline_legend(figure, view, names)
    total = height + 60 + below
    figure.set_size_inches(max(width, 384) / 100, total / 100)
    axes = figure.add_axes((0.0, below / total, 1.0, height / total))
    axes.set_axis_off()
    picture = axes.imshow(render(view, positions[0], edge, greys), interpolation="nearest")
    sides = mark_sides(axes, view)
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
    for position in positions:
        picture.set_data(render(view, position, edge, greys))
        number = f"\nslice {view.numbers[position]}" if len(view.numbers) > 1 else ""
        heading.set_text(f"{title}{number}")
        canvas.restore_region(background)
        for owner, artist in changing:
            owner.draw_artist(artist)
        frames.append(np.array(canvas.buffer_rgba())[..., :3])
    return frames
