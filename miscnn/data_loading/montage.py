"""One picture of many subjects."""

from __future__ import annotations

import logging
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from miscnn._colours import CLASS_COLOURS
from miscnn._files import atomic_path
from miscnn._text import shortened, shortened_inside
from miscnn._viewer.screen import automatic_window
from miscnn.data_loading._drawing import Outlines, colour_of, drawn, screen_shape
from miscnn.data_loading._view import Window, view_of
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MiscnnError

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO

_LOG = logging.getLogger("miscnn.data_loading.montage")

MOST = 60
"""So many subjects can still be told apart on one page."""

_DPI = 150
_WIDTH = 10.0  # inches
_LEGEND = 14  # classes
_FILLED = 0.97  # share of a cell's edge
_FEWEST = 2  # columns that a page has room for
_SMALL = 1.2  # inches
_NARROW = 8  # screen pixels
_SHADOW = (withStroke(linewidth=2, foreground="black"),)


@dataclass(frozen=True, eq=False)
class _Tile:
    """One subject: its picture, or why there is none."""

    index: str
    picture: NDArray[np.uint8] | None = None
    sides: tuple[str, str] = ("", "")
    labels: tuple[int, ...] = ()
    problem: str = ""


def montage(
    data_io: DataIO,
    path: str | os.PathLike[str],
    indices: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    channel: int = 0,
    window: Window = "auto",
    most: int = MOST,
) -> None:
    """Draw one slice of every subject, with the outlines of its classes.

    The slice is cut across the slice axis through the middle of the foreground (half of it
    lies on either side), or of the volume where there is none. It is shown as radiologists are
    used to, anterior (or superior) up and the patient's right on the left, as the letters in
    the first tile tell; images in 2D with the first axis to the right and the second one down.
    Pixels are as wide and as high as the spacing says; the scale differs from tile to tile.

    Parameters
    ----------
    data_io : DataIO
    path : path
        File to write: PNG (150 dpi), or whatever matplotlib knows by its ending.
    indices : sequence of str, optional
        Default: all of the data set.
    columns : int, optional
        Tiles in a row. Default: as many as make a page of about the shape of a screen.
    channel : int
        Which channel of the images is shown.
    window : (float, float) or "auto"
        Values shown as black and white. ``"auto"``: soft tissue (−160 … 240 HU) for an image
        that looks like CT (it reaches below −500, and half of the slice lies below 500); else
        the 1st to the 99.5th percentile of the slice.
    most : int
        How many subjects are shown; of more, every second, third … one is, and a line tells it.

    Notes
    -----
    A subject that cannot be read has a tile that says why. One subject is held in memory.
    """
    chosen = list(data_io.indices_list if indices is None else indices)
    if not chosen:
        raise ConfigurationError("there are no subjects to show; indices is empty")
    if most < 1 or (columns is not None and columns < 1):
        raise ConfigurationError(f"most={most} and columns={columns} must be at least 1")
    if window != "auto" and not window[0] < window[1]:
        raise ConfigurationError(f"window must be (low, high) with low < high, got {window}")
    channels = data_io.interface.channels
    if not 0 <= channel < channels:
        raise ConfigurationError(
            f"channel={channel} does not exist; images have {channels} channel(s), counted from 0"
        )
    check_ending(path)
    shown = [chosen[k * len(chosen) // most] for k in range(most)]
    shown = chosen if len(chosen) <= most else shown
    if columns is None:
        columns = min(len(shown), math.ceil(math.sqrt(1.6 * len(shown))))
    edge = _WIDTH / max(columns, _FEWEST)
    size = round(_FILLED * edge * _DPI)
    tiles = [_tile(data_io, index, channel, window, size) for index in shown]
    names = dict(enumerate(data_io.interface.class_names or ()))
    figure = _drawn(tiles, columns, edge, names, len(chosen))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise ConfigurationError if a picture cannot be written to a file of this name."""
    ending = os.path.splitext(path)[1].lower().removeprefix(".")
    known = FigureCanvasAgg.get_supported_filetypes()
    if ending not in known:
        raise ConfigurationError(
            f"path={str(path)!r}: unknown ending; use .png, or one of {', '.join(known)}"
        )


def _tile(data_io: DataIO, index: str, channel: int, window: Window, size: int) -> _Tile:
    problem = ""
    try:
        try:
            sample = data_io.sample_loader(index, load_seg="if available", check_classes=False)
        except MiscnnError as error:
            sample = data_io.sample_loader(index, load_seg=False)
            problem = f"segmentation not shown: {_reason(error, index)}"
        slice_ = _middle_slice(sample)
        if window == "auto":
            low, high = automatic_window(
                slice_.image[..., channel], float(sample.image[..., channel].min())
            )
            window = (low, high if high > low else low + 1.0)
        values = slice_.image[..., channel]
        if values.min() == values.max() and not problem:
            problem = f"all values of this slice are {values.flat[0]:g}"
        view = view_of(slice_, channel, window, margin=None)
    except MiscnnError as error:
        return _Tile(index, problem=_reason(error, index))
    except Exception as error:  # a user's own interface may raise anything
        _LOG.debug("reading %r failed", index, exc_info=True)
        return _Tile(index, problem=f"reading failed: {type(error).__name__}")
    labels: tuple[int, ...] = ()
    maps = []
    if view.truth is not None:
        labels = tuple(int(k) for k in np.unique(view.truth) if k > 0)
        maps = [Outlines(view.truth[0], min(max(2, size // 130), 3))]
    shape = screen_shape(view.image.shape[1:], view.pixel, size)
    picture = drawn(view.image[0], shape, maps)
    if min(shape) < _NARROW:
        height, width = (n * mm for n, mm in zip(view.image.shape[1:], view.pixel, strict=True))
        narrow = f"{width:.4g} x {height:.4g} mm: too narrow to be seen here"
        problem = f"{narrow}; {problem}" if problem else narrow
        picture = _with_room(picture, size)
    return _Tile(index, picture, view.sides, labels, problem)


def _with_room(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Put a picture that is a mere line into the middle of a black one that holds some words."""
    rows, columns = picture.shape[:2]
    canvas = np.zeros((max(rows, size // 2), size, 3), np.uint8)
    top, left = (canvas.shape[0] - rows) // 2, (size - columns) // 2
    canvas[top : top + rows, left : left + columns] = picture
    return canvas


def _reason(error: MiscnnError, index: str) -> str:
    return str(error).removeprefix(f"sample {index!r}: ")


def _middle_slice(sample: Sample) -> Sample:
    """Return a sample of the one slice that has half of the foreground on either side."""
    labels = sample.segmentation
    if labels is not None and sample.ignore_label is not None:
        labels = np.where(labels == sample.ignore_label, 0, labels)
    geometry = sample.geometry
    if geometry.ndim == 2:
        result = sample.copy()
        result.segmentation = labels
        return result
    axis = geometry.slice_axis
    position = geometry.n_slices // 2
    if labels is not None and labels.any():
        others = tuple(k for k in range(labels.ndim) if k != axis)
        upto = np.cumsum(np.count_nonzero(labels, axis=others))
        position = int(np.searchsorted(upto, upto[-1] / 2.0))
    box: list[slice] = [slice(None)] * 3
    box[axis] = slice(position, position + 1)
    start = [position if k == axis else 0 for k in range(3)]
    shape = [1 if k == axis else n for k, n in enumerate(geometry.shape)]
    result = sample.copy()
    result.geometry = geometry.cropped(start, shape)
    result.image = sample.image[tuple(box)]
    result.segmentation = None if labels is None else labels[tuple(box)]
    return result


def _drawn(
    tiles: Sequence[_Tile],
    columns: int,
    edge: float,
    names: Mapping[int, str],
    total: int,
) -> Figure:
    """Arrange the tiles; ``edge`` is that of a cell in inches."""
    head = 0.22 if edge > _SMALL else 0.18  # for the names
    rows = [tiles[k : k + columns] for k in range(0, len(tiles), columns)]
    tallest = [max(_height(tile) for tile in row) for row in rows]
    labels = sorted({label for tile in tiles for label in tile.labels})
    width = max(columns, _FEWEST) * edge
    below = _legend_height(labels, width) + (0.25 if total > len(tiles) else 0.05)
    height = sum(tallest) + len(rows) * (head + 0.04) + below
    figure = Figure(figsize=(width, height), facecolor="black")
    FigureCanvasAgg(figure)
    first = next((tile.sides for tile in tiles if tile.sides[0]), ("", ""))
    marked = False
    top = height
    for row, tall in zip(rows, tallest, strict=True):
        for c, tile in enumerate(row):
            left = (width - columns * edge) / 2 + (c + (1 - _FILLED) / 2) * edge
            place = (left, top - head - tall, _FILLED * edge, tall)
            axes = figure.add_axes(
                (place[0] / width, place[1] / height, place[2] / width, place[3] / height)
            )
            _fill(axes, tile, edge)
            # The letters hold for all tiles but those that have their own.
            if tile.sides[0] and (not marked or tile.sides != first):
                _mark(axes, tile)
                marked = True
        top -= head + tall + 0.04
    _explain(figure, labels, names, len(tiles), total)
    return figure


def _height(tile: _Tile) -> float:
    return (_DPI if tile.picture is None else tile.picture.shape[0]) / _DPI


def _fill(axes: Any, tile: _Tile, edge: float) -> None:
    font = 8.0 if edge > _SMALL else 6.0
    letters = math.floor(edge * 72 / (0.62 * font))
    axes.set_anchor("N")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    for spine in axes.spines.values():  # a frame, that something dark is seen too
        spine.set_color("0.3")
        spine.set_linewidth(0.5)
    title = shortened_inside(tile.index, letters)
    axes.set_title(title, color="white", fontsize=font, pad=2, parse_math=False)
    if tile.picture is not None:
        axes.imshow(tile.picture, interpolation="antialiased", aspect="equal")
    if tile.problem:
        lines = textwrap.wrap(tile.problem, max(letters, 12))
        place = (0.02, 0.97, "top") if tile.picture is None else (0.02, 0.03, "bottom")
        axes.text(
            place[0],
            place[1],
            "\n".join(lines[:7] + ["…"] * (len(lines) > 7)),
            va=place[2],
            transform=axes.transAxes,
            color=CLASS_COLOURS[5],
            fontsize=font * 0.85,
            path_effects=_SHADOW,
            parse_math=False,  # names and reasons may hold dollar signs
        )


def _mark(axes: Any, tile: _Tile) -> None:
    for place, letter, across, along in (
        ((0.02, 0.5), tile.sides[0], "left", "center"),
        ((0.5, 0.98), tile.sides[1], "center", "top"),
    ):
        axes.text(
            *place,
            letter,
            ha=across,
            va=along,
            color="white",
            fontsize=8,
            fontweight="bold",
            transform=axes.transAxes,
            path_effects=_SHADOW,
        )


def _legend_columns(labels: Sequence[int], width: float) -> int:
    return max(1, min(len(labels[:_LEGEND]), int(width / 1.4)))


def _legend_height(labels: Sequence[int], width: float) -> float:
    if not labels:
        return 0.1
    rows = -(-len(labels[:_LEGEND]) // _legend_columns(labels, width))
    return 0.15 + 0.2 * rows + (0.2 if len(labels) > len(CLASS_COLOURS) else 0.0)


def _explain(
    figure: Figure, labels: Sequence[int], names: Mapping[int, str], shown: int, total: int
) -> None:
    """Tell below the tiles what the colours mean and what is not shown."""
    height = figure.get_size_inches()[1]
    above = 0.0
    if total > shown:
        text = f"{shown} of {total} subjects, evenly chosen; {total - shown} are not shown"
        figure.text(0.5, 0.06 / height, text, color="white", fontsize=8, ha="center")
        above = 0.2 / height
    if not labels:
        return
    handles = [Line2D([], [], color=colour_of(label), lw=3) for label in labels[:_LEGEND]]
    title = None
    if len(labels) > len(CLASS_COLOURS):
        title = f"{len(CLASS_COLOURS)} colours, used in turn"
        rest = len(labels) - len(handles)
        title += f"; {rest} further classes are not listed" if rest else ""
    legend = figure.legend(
        handles,
        [shortened(names.get(label, f"class {label}"), 16) for label in labels[:_LEGEND]],
        title=title,
        loc="lower center",
        bbox_to_anchor=(0.5, above),
        ncols=_legend_columns(labels, figure.get_size_inches()[0]),
        fontsize=8,
        title_fontsize=8,
        handlelength=1.6,
        frameon=False,
        labelcolor="white",
        borderpad=0.2,
    )
    legend.get_title().set_color("white")
    for name in legend.get_texts():
        name.set_parse_math(False)
