"""Many slices of a subject on one page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from miscnn import _style
from miscnn.data_loading._drawing import Outlines, colour_of, drawn
from miscnn.data_loading._view import View, Window, informative_slices, view_of
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._overlay_parts import mark_sides, names_of, picture_shape
from miscnn.evaluation.detailed_validation import ClassNames
from miscnn.exceptions import ConfigurationError

_EDGE = 360  # longer edge of a slice, in pixels
_TILE = 2.3  # inches
_FILL = 0.45
_MOST_NAMES = 12
_GAP = 4  # pixels between truth and prediction side by side


def overlay_montage(
    sample: Sample,
    path: str | os.PathLike[str] | None = None,
    *,
    layout: Literal["overlay", "side by side"] = "overlay",
    n_slices: int = 12,
    columns: int | None = None,
    channel: int = 0,
    window: Window = "auto",
    margin: float | None = 25.0,
    class_names: ClassNames = None,
    title: str | None = None,
) -> Figure:
    """Draw rows of slices: the prediction as a fill, the truth as an outline on top of it.

    Slices are chosen as in :func:`~miscnn.evaluation.visualizer.overlay_png`, and turned the same
    way: anterior (or superior) up, the patient's right on the left.

    Parameters
    ----------
    sample : Sample
        With a segmentation, a prediction, or both.
    path : path, optional
        File to write.
    layout : {"overlay", "side by side"}
        Both in one picture; or the truth at the left and the prediction at the right of each
        tile, both filled.
    n_slices : int
        How many slices at most.
    columns : int, optional
        Tiles in a row. Default: as many as make a page of about the shape of a screen.
    channel, window, margin
        Channel of the image; values shown as black and white; how much is shown around the objects
        (mm), None for whole slices. As in :func:`~miscnn.evaluation.visualizer.overlay_png`.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    title : str, optional
        Default: the index of the sample.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if layout not in ("overlay", "side by side"):
        raise ConfigurationError(f'layout must be "overlay" or "side by side", got {layout!r}')
    if columns is not None and columns < 1:
        raise ConfigurationError(f"columns must be at least 1, got {columns}")
    _style.check_path(path)
    view = view_of(sample, channel, window, margin)
    both = layout == "side by side"
    render = _side_by_side if both else _overlaid
    tiles = [(render(view, k), k) for k in informative_slices(view, n_slices)]
    figure, axes = tile_grid([picture for picture, _ in tiles], columns, 2.0 if both else 1.0)
    for one, (picture, k) in zip(axes, tiles, strict=False):
        one.imshow(picture, interpolation="antialiased")
        if len(view.numbers) > 1:
            one.set_title(f"slice {view.numbers[k]}", fontsize=8, pad=3, color=_style.INK)
    mark_sides(axes[0], view)
    names = names_of(sample, class_names)
    _explain(figure, view, names, both)
    _style.entitle(figure, title or sample.index)
    _style.save(figure, path)
    return figure


def tile_grid(
    pictures: Sequence[NDArray[np.uint8]], columns: int | None, wide: float = 1.0
) -> tuple[Figure, list[Any]]:
    """Return a figure with axes for pictures of one size, and these axes, row by row."""
    height, width = pictures[0].shape[:2]
    scale = wide * _TILE / max(width, height * wide)  # inches a pixel
    if columns is None:
        wanted = math.sqrt(1.6 * len(pictures) * height / width)
        columns = min(len(pictures), max(1, round(wanted)))
    rows = -(-len(pictures) // columns)
    figure = _style.new_figure(
        max(4.5, columns * (width * scale + 0.08) + 0.1), rows * (height * scale + 0.24) + 0.9
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid:
        axes.set_axis_off()
    return figure, grid


def _overlaid(view: View, position: int) -> NDArray[np.uint8]:
    maps = []
    if view.prediction is not None:
        maps.append(Outlines(view.prediction[position], 0, fill=_FILL))
    if view.truth is not None:
        maps.append(Outlines(view.truth[position], 2))
    return drawn(view.image[position], picture_shape(view, _EDGE), maps)


def _side_by_side(view: View, position: int) -> NDArray[np.uint8]:
    shape = picture_shape(view, _EDGE)
    halves = [
        drawn(
            view.image[position],
            shape,
            [] if labels is None else [Outlines(labels[position], 2, fill=_FILL)],
        )
        for labels in (view.truth, view.prediction)
    ]
    return np.concatenate(
        [halves[0], np.full((shape[0], _GAP, 3), 255, np.uint8), halves[1]], axis=1
    )


def _explain(figure: Figure, view: View, names: dict[int, str], both: bool) -> None:
    present = sorted({int(k) for m in view.maps for k in np.unique(m) if k > 0})
    keys: list[Any] = [
        Patch(facecolor=colour_of(k), label=_style.short(names.get(k, str(k))))
        for k in present[:_MOST_NAMES]
    ]
    if len(present) > _MOST_NAMES:
        keys.append(Patch(alpha=0, label=f"{len(present) - _MOST_NAMES} more classes"))
    if both:
        text = "left: truth, right: prediction"
    else:
        words = []
        if view.truth is not None:
            words.append("line: truth")
        if view.prediction is not None:
            words.append("fill: prediction")
        text = ", ".join(words)
    if text:
        keys.append(Line2D([], [], alpha=0, label=text))
    if keys:
        columns = max(1, min(len(keys), int(figure.get_size_inches()[0] / 1.6)))
        _style.legend(figure, handles=keys, loc="outside lower center", ncols=columns, fontsize=8)
