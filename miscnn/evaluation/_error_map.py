"""Where a prediction is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from miscnn import _style
from miscnn._colours import FALSE, MISSED, OTHER_CLASS, RIGHT
from miscnn._text import number
from miscnn.data_loading._drawing import drawn, nearest
from miscnn.data_loading._view import View, Window, view_of
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._overlay_montage import tile_grid
from miscnn.evaluation._overlay_parts import mark_sides, names_of, picture_shape
from miscnn.evaluation.detailed_validation import ClassNames
from miscnn.exceptions import ConfigurationError, SampleError

_EDGE = 360  # longer edge of a slice, in pixels
_APART = 3  # slices
_RIGHT, _FALSE, _MISSED, _MIXED = 1, 2, 3, 4


@dataclass(frozen=True)
class _Kind:
    colour: str
    opacity: float
    text: str


_KINDS = {
    _RIGHT: _Kind(RIGHT, 0.35, "right (TP)"),
    _FALSE: _Kind(FALSE, 0.8, "false (FP)"),
    _MISSED: _Kind(MISSED, 0.8, "missed (FN)"),
    _MIXED: _Kind(OTHER_CLASS, 0.8, "another class"),
}


def error_map(
    sample: Sample,
    path: str | os.PathLike[str] | None = None,
    *,
    label: int | None = None,
    n_slices: int = 6,
    columns: int | None = None,
    channel: int = 0,
    window: Window = "auto",
    margin: float | None = 25.0,
    class_names: ClassNames = None,
    title: str | None = None,
) -> Figure:
    """Draw where the prediction is right, false and missing, on the slices with most errors.

    Red was predicted and is not there (false positive), yellow is there and was missed (false
    negative), purple has one class and was taken for another, pale was right. The legend tells
    the volumes of the whole subject. Voxels with the sample's ``ignore_label`` count nowhere.

    Parameters
    ----------
    sample : Sample
        With a segmentation and a prediction.
    path : path, optional
        File to write.
    label : int, optional
        Only this class against all else. Default: all classes but the background.
    n_slices : int
        How many slices at most: those with most wrong pixels, three slices apart where there are
        enough, in the order of the volume.
    columns, channel, window, margin, class_names, title
        As in :func:`~miscnn.evaluation.visualizer.overlay_montage`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SampleError
        If the sample has no segmentation or no prediction.
    """
    if n_slices < 1 or (columns is not None and columns < 1):
        raise ConfigurationError(f"n_slices={n_slices} and columns={columns} must be at least 1")
    _style.check_path(path)
    missing = [n for n in ("segmentation", "prediction") if getattr(sample, n) is None]
    if missing:
        raise SampleError(
            sample.index, f"an error map needs truth and prediction; there is no {missing[0]}"
        )
    view = view_of(sample, channel, window, margin)
    kinds = error_kinds(view, label, sample.ignore_label)
    wrong = (kinds > _RIGHT).sum(axis=(1, 2))
    chosen = _worst(wrong, n_slices)
    pictures = [_render(view, kinds[k], k) for k in chosen]
    figure, axes = tile_grid(pictures, columns)
    flat = len(view.numbers) == 1
    area = view.pixel[0] * view.pixel[1] / 100.0
    for one, picture, k in zip(axes, pictures, chosen, strict=False):
        one.imshow(picture, interpolation="antialiased")
        where = "" if flat else f"slice {view.numbers[k]}: "
        one.set_title(
            f"{where}{number(wrong[k] * area)} cm² wrong", fontsize=8, pad=3, color=_style.INK
        )
    mark_sides(axes[0], view)
    voxel, unit = sample.geometry.voxel_volume, "cm²" if flat else "ml"
    size = voxel / (100.0 if flat else 1000.0)
    keys = []
    for kind, look in _KINDS.items():
        n = int((kinds == kind).sum())
        if n or kind != _MIXED:
            keys.append(
                Patch(
                    facecolor=look.colour if kind != _RIGHT else "#C8C8C8",
                    label=f"{look.text} {number(n * size)} {unit}",
                )
            )
    width = figure.get_size_inches()[0]
    columns = len(keys) if width > 1.9 * len(keys) else 2
    _style.legend(figure, handles=keys, loc="outside lower center", ncols=columns, fontsize=8)
    names = names_of(sample, class_names)
    of = "" if label is None else f" · {names.get(label, str(label))}"
    _style.entitle(figure, title or f"{sample.index}{of}")
    _style.save(figure, path)
    return figure


def error_kinds(view: View, label: int | None, ignore_label: int | None) -> NDArray[np.uint8]:
    """Return 0 (nothing), 1 (right), 2 (false), 3 (missed) or 4 (another class) for each pixel."""
    truth, prediction = view.truth, view.prediction
    if truth is None or prediction is None:
        raise ConfigurationError("an error map needs truth and prediction")
    ignored = np.zeros(truth.shape, bool) if ignore_label is None else truth == ignore_label
    if label is not None:
        truth, prediction = truth == label, prediction == label
    there, predicted = truth > 0, prediction > 0
    kinds = np.zeros(truth.shape, dtype=np.uint8)
    kinds[there & predicted] = _MIXED
    kinds[there & (truth == prediction)] = _RIGHT
    kinds[predicted & ~there] = _FALSE
    kinds[there & ~predicted] = _MISSED
    kinds[ignored] = 0
    return kinds


def _worst(wrong: NDArray[Any], n_slices: int) -> list[int]:
    ranked = np.argsort(-wrong, kind="stable").tolist()
    chosen: list[int] = []
    for apart in (_APART, 1):
        for k in ranked:
            shown = len(chosen) >= n_slices or (chosen and not wrong[k])
            if not shown and all(abs(k - other) >= apart for other in chosen):
                chosen.append(k)
    return sorted(chosen)


def _render(view: View, kinds: NDArray[np.uint8], position: int) -> NDArray[np.uint8]:
    shape = picture_shape(view, _EDGE)
    canvas = drawn(view.image[position], shape, []) / 255.0
    enlarged = nearest(kinds, shape)
    for kind, look in _KINDS.items():
        inside = enlarged == kind
        canvas[inside] += look.opacity * (np.array(to_rgb(look.colour)) - canvas[inside])
    return np.rint(canvas * 255.0).astype(np.uint8)
