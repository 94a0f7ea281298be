"""Slices as pictures, with the outlines of what is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy import ndimage

from miscnn._colours import CLASS_COLOURS as COLOURS


@dataclass(frozen=True, eq=False)
class Outlines:
    """The labels of one slice, and how they are drawn.

    Attributes
    ----------
    labels : ndarray
        (rows, columns).
    width : int
        Of the lines, in screen pixels; 0 for none.
    pale : float
        Share of white in the colours.
    fill : float
        Share of the colour in what the outlines enclose.
    """

    labels: NDArray[Any]
    width: int
    pale: float = 0.0
    fill: float = 0.0


def drawn(
    image: NDArray[np.float32], shape: tuple[int, int], maps: Sequence[Outlines], greys: int = 256
) -> NDArray[np.uint8]:
    """Draw one slice with its outlines.

    Parameters
    ----------
    image : ndarray
        (rows, columns) in 0 … 1.
    shape : tuple of int
        Rows and columns of the picture, in screen pixels.
    maps : sequence of Outlines
        The last one lies on top.
    greys : int
        Number of grey levels; fewer make smaller files.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3).
    """
    grey = np.rint(_enlarged(image, shape) * (greys - 1)) / (greys - 1)
    canvas = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.float64)
    lines = []
    for one in maps:
        labels = nearest(one.labels, shape)
        for label in np.unique(labels[labels > 0]).tolist():
            if one.fill:
                inside = labels == label
                canvas[inside] += one.fill * (colour_of(label, one.pale) - canvas[inside])
            if one.width:
                lines.append((_outline(labels == label, one.width), colour_of(label, one.pale)))
    for line, _ in lines:  # a shadow below all lines, for bright surroundings
        canvas[ndimage.binary_dilation(line) & ~line] *= 0.5
    for line, colour in lines:
        canvas[line] = colour
    return np.rint(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)


def colour_of(label: int, pale: float = 0.0) -> NDArray[np.float64]:
    """Return the colour of a class, mixed with a share of white."""
    strong = np.array(to_rgb(COLOURS[(label - 1) % len(COLOURS)]))
    return strong + (1.0 - strong) * pale


def screen_shape(shape: tuple[int, int], pixel: tuple[float, float], size: int) -> tuple[int, int]:
    """Return rows and columns of a picture whose longer edge has ``size`` screen pixels.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the slice.
    pixel : tuple of float
        Their height and width in mm.
    """
    height, width = shape[0] * pixel[0], shape[1] * pixel[1]
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask within ``width`` of its outside; the frame is no outside."""
    inner = ndimage.binary_erosion(mask, iterations=width, border_value=1)
    return np.asarray(mask & ~inner, dtype=bool)


def _enlarged(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    zoomed = ndimage.zoom(
        image.astype(np.float64), np.array(factors), order=1, mode="nearest", grid_mode=True
    )
    return np.asarray(zoomed, dtype=np.float64)


def nearest(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Enlarge (or shrink) a label map to rows and columns of a picture."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]
