"""A subject turned to the screen, and which of its slices are worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn._viewer.screen import automatic_window, screen_axes
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError

Window = tuple[float, float] | Literal["auto"]


@dataclass(frozen=True, eq=False)
class View:
    """A subject turned to the screen.

    Attributes
    ----------
    image : ndarray
        (slices, rows, columns) float32 in 0 … 1, rows downwards, columns to the right.
    truth, prediction : ndarray or None
        Label maps of the same shape.
    pixel : tuple of float
        Height and width of a pixel in mm.
    numbers : sequence of int
        Number of each slice in the array of the sample.
    sides : tuple of str
        Letters of the patient's side at the left and at the upper edge; empty in 2D.
    """

    image: NDArray[np.float32]
    truth: NDArray[Any] | None
    prediction: NDArray[Any] | None
    pixel: tuple[float, float]
    numbers: Sequence[int]
    sides: tuple[str, str]

    @property
    def maps(self) -> list[NDArray[Any]]:
        """The label maps that are there."""
        return [array for array in (self.truth, self.prediction) if array is not None]


def view_of(
    sample: Sample, channel: int = 0, window: Window = "auto", margin: float | None = 25.0
) -> View:
    """Turn a sample to the screen and cut it to its objects.

    Parameters
    ----------
    sample : Sample
        With a segmentation, a prediction, or both.
    channel : int
        Which channel of the image is shown.
    window : (float, float) or "auto"
        Values shown as black and white. ``"auto"``: see :func:`automatic_window`.
    margin : float, optional
        How much is shown around the objects of both label maps within the slices, in mm;
        ``None`` shows the whole slices.
    """
    if not 0 <= channel < sample.image.shape[-1]:
        raise ConfigurationError(
            f"channel {channel} of sample {sample.index!r} does not exist; it has "
            f"{sample.image.shape[-1]} channel(s), counted from 0"
        )
    image = _grey(sample.image[..., channel], window)
    truth = None if sample.segmentation is None else sample.segmentation[..., 0]
    prediction = sample.prediction
    if prediction is not None and prediction.ndim == image.ndim + 1:
        prediction = np.argmax(prediction, axis=-1)
    axes = screen_axes(sample.geometry)
    order, flips = axes.order, axes.flips

    def turned(array: NDArray[Any]) -> NDArray[Any]:
        if array.ndim == 2:  # the first axis runs to the right
            return array.T[np.newaxis]
        steps = (slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))
        return array.transpose(order)[steps]

    spacing = sample.geometry.spacing
    pixel = (spacing[order[1]], spacing[order[2]]) if sample.geometry.ndim == 3 else spacing[::-1]
    view = View(
        image=turned(image),
        truth=None if truth is None else turned(truth),
        prediction=None if prediction is None else turned(prediction),
        pixel=(float(pixel[0]), float(pixel[1])),
        numbers=range(1 if image.ndim == 2 else image.shape[order[0]]),
        sides=axes.sides,
    )
    return view if margin is None else _cut(view, margin)


def informative_slices(view: View, n_slices: int) -> list[int]:
    """Choose the slices that show most; ascending positions in the view."""
    if n_slices < 1:
        raise ConfigurationError(f"n_slices must be at least 1, got {n_slices}")
    total = view.image.shape[0]
    if total <= n_slices:
        return list(range(total))
    outlined = np.zeros(total)
    wrong = np.zeros(total)
    if view.maps:
        outlined = np.any([m > 0 for m in view.maps], axis=0).sum(axis=(1, 2)).astype(float)
    if view.truth is not None and view.prediction is not None:
        wrong = (view.truth != view.prediction).sum(axis=(1, 2)).astype(float)
    weight = outlined + 3.0 * wrong
    if not weight.any():
        weight[:] = 1.0
    share = np.cumsum(weight) / weight.sum()
    targets = (np.arange(n_slices) + 0.5) / n_slices
    chosen = set(np.searchsorted(share, targets).tolist())
    worst = int(np.argmax(wrong if wrong.any() else weight))
    if worst not in chosen:
        chosen.remove(min(chosen, key=lambda k: abs(k - worst)))
        chosen.add(worst)
    # A short object can meet the same slice twice: fill up with its best other slices.
    for k in np.argsort(-weight, kind="stable").tolist():
        if len(chosen) >= n_slices or weight[k] == 0:
            break
        chosen.add(k)
    return sorted(chosen)


def _grey(image: NDArray[Any], window: Window) -> NDArray[np.float32]:
    values = np.nan_to_num(image.astype(np.float32), posinf=0.0, neginf=0.0)
    if window == "auto":
        low, high = automatic_window(values)
    else:
        low, high = window
        if not low < high:
            raise ConfigurationError(f"window must be (low, high) with low < high, got {window}")
    scale = high - low if high > low else 1.0
    shown: NDArray[np.float32] = (values - np.float32(low)) / np.float32(scale)
    return shown.clip(0.0, 1.0)


def _cut(view: View, margin: float) -> View:
    if not any(m.any() for m in view.maps):
        return view
    occupied = np.any([m > 0 for m in view.maps], axis=0)
    window = [slice(None)]
    for axis, pixel in ((1, view.pixel[0]), (2, view.pixel[1])):
        where = np.flatnonzero(occupied.any(axis=tuple({0, 1, 2} - {axis})))
        extra = int(np.ceil(margin / pixel))
        window.append(slice(max(0, where[0] - extra), where[-1] + 1 + extra))
    box = tuple(window)
    return View(
        image=view.image[box],
        truth=None if view.truth is None else view.truth[box],
        prediction=None if view.prediction is None else view.prediction[box],
        pixel=view.pixel,
        numbers=view.numbers,
        sides=view.sides,
    )


def occupied_slices(view: View, beyond: int = 2) -> tuple[int, int]:
    total = view.image.shape[0]
    if not any(m.any() for m in view.maps):
        return 0, total
    where = np.flatnonzero(np.any([m.any(axis=(1, 2)) for m in view.maps], axis=0))
    return max(0, int(where[0]) - beyond), min(total, int(where[-1]) + 1 + beyond)
