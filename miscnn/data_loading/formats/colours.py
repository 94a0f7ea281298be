"""From stored pixels to the values of an image or of a mask."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.formats.image_2d import Pixels
from miscnn.exceptions import ConfigurationError, LabelError, SampleError

# Red, green, blue in 1/65536 (ITU-R BT.601, as Pillow and JPEG take them).
_LUMINANCE = (19595, 38470, 7471)
_SHIFT = 16
_SHOWN = 12
# More colours than this are those of a photograph, or edges that were smoothed.
_MANY = 64


class ColourMap:
    """Which colour in a mask means which class.

    Parameters
    ----------
    label_colours : sequence of colours or mapping of colour to int
        The colour of each class from class 0 on, or the class of each colour. A colour is
        ``(red, green, blue)`` with 0 … 255, or text such as ``"#ff0000"``.
    classes : int
    ignore_label : int, optional

    Raises
    ------
    ConfigurationError
        If a class has no colour, a colour has two classes, or a class does not exist.
    """

    def __init__(self, label_colours: Any, classes: int, ignore_label: int | None) -> None:
        hint = (
            f"label_colours={label_colours!r}: expected the colour of each of the {classes} "
            "classes, such as [(0, 0, 0), (255, 0, 0)], or the class of each colour, such as "
            "{(0, 0, 0): 0, (255, 0, 0): 1}"
        )
        if isinstance(label_colours, Mapping):
            pairs = list(label_colours.items())
        elif isinstance(label_colours, Sequence) and not isinstance(label_colours, str):
            pairs = [(colour, label) for label, colour in enumerate(label_colours)]
        else:
            raise ConfigurationError(hint)
        self.class_of: dict[int, int] = {}
        for colour, label in pairs:
            code = _code(colour)
            whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
            if code is None or not whole:
                raise ConfigurationError(f"{hint}; cannot use {colour!r}: {label!r}")
            if not 0 <= label < classes and label != ignore_label:
                raise ConfigurationError(f"{hint}; there is no class {label} (classes={classes})")
            if self.class_of.setdefault(code, int(label)) != label:
                raise ConfigurationError(f"{hint}; {_colour(code)} would mean two classes")
        missing = sorted(set(range(classes)) - set(self.class_of.values()))
        if missing:
            raise ConfigurationError(f"{hint}; no colour means {', '.join(map(str, missing))}")

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The first colour of each class, shape ``(n, 3)``; black where there is no class."""
        palette = np.zeros((max(self.class_of.values()) + 1, 3), np.uint8)
        for code, label in reversed(self.class_of.items()):
            palette[label] = _colour(code)
        return palette

    def to_classes(self, colours: NDArray[Any], name: str, index: str) -> NDArray[Any]:
        """Return the classes of colours ``(…, 3)``."""
        codes = _codes(colours)
        labels = np.zeros(codes.shape, np.min_scalar_type(max(self.class_of.values())))
        known = np.zeros(codes.shape, dtype=bool)
        for code, label in self.class_of.items():
            here = codes == code
            labels[here] = label
            known |= here
        if not known.all():
            odd, count = np.unique(codes[~known], return_counts=True)
            raise LabelError(
                index,
                f"{name} holds {_list(odd[np.argsort(-count)])}, which label_colours does not "
                "declare. Declare what they mean, 0 if they are background",
            )
        return labels


def image_values(pixels: Pixels, img_type: str) -> NDArray[Any]:
    """Return the values of an image: one band (``"grayscale"``), three (``"rgb"``) or all."""
    values = pixels.values
    if pixels.alpha:
        values = values[..., :-1]
        values = values[..., 0] if values.shape[-1] == 1 else values
    if pixels.palette is not None:
        values = _painted(values, pixels.palette)
    if img_type == "multichannel":
        return values
    bands = _bands(pixels, values)
    if img_type == "rgb":
        return values if bands == 3 else np.stack([values] * 3, axis=-1) if bands == 1 else values
    if bands != 3:
        return values
    red, green, blue = (values[..., k] for k in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    if values.dtype in (np.uint8, np.uint16):
        weighted = sum(v.astype(np.uint32) * np.uint32(w) for v, w in _weighted(values))
        grey = (np.asarray(weighted) + np.uint32(1 << (_SHIFT - 1))) >> _SHIFT
        return grey.astype(values.dtype)
    scale = float(1 << _SHIFT)
    return np.asarray(
        sum(v.astype(np.float32) * np.float32(w / scale) for v, w in _weighted(values))
    )


def mask_values(
    pixels: Pixels, colours: ColourMap | None, allowed: set[int], name: str, index: str
) -> NDArray[Any]:
    """Return the values of a mask: as stored, indices of a palette, or classes of colours.

    Raises
    ------
    LabelError
        If a colour means nothing, or lossy compression has changed values.
    SampleError
        If it is partly transparent.
    """
    values = pixels.values
    if values.dtype.kind == "f" and _bands(pixels, values) > 1 and not pixels.alpha:
        return values  # probabilities
    if pixels.alpha:
        opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else values[..., -1].max()
        if not bool(np.all(values[..., -1] == opaque)):
            raise SampleError(
                index, f"the mask {name} is partly transparent; save it without transparency"
            )
        values = values[..., :-1]
        values = values[..., 0] if values.shape[-1] == 1 else values
    if colours is not None:
        if pixels.palette is not None:
            values = _painted(values, pixels.palette)
        elif _bands(pixels, values) == 1:
            values = np.stack([values] * 3, axis=-1)
        if pixels.lossy:
            _check_lossy(_codes(values), set(colours.class_of), name, index)
        return colours.to_classes(values, name, index)
    if _bands(pixels, values) == 1 or pixels.palette is not None:
        if pixels.lossy:
            _check_lossy(values, allowed, name, index)
        return values
    if values.shape[-1] == 3 and bool(np.all(values == values[..., :1])):
        grey: NDArray[Any] = values[..., 0]
        if pixels.lossy:
            _check_lossy(grey, allowed, name, index)
        return grey
    if values.shape[-1] != 3:
        raise LabelError(index, f"the mask {name} has {values.shape[-1]} values per pixel, not one")
    raise LabelError(index, f"the mask {name} is coloured: {_proposal(values, pixels.lossy)}")


def _weighted(values: NDArray[Any]) -> list[tuple[NDArray[Any], int]]:
    return [(values[..., k], weight) for k, weight in enumerate(_LUMINANCE)]


def _bands(pixels: Pixels, values: NDArray[Any]) -> int:
    """Return the bands that are left of the stored ones (and 3 of a palette's)."""
    spatial = pixels.spatial
    return 1 if values.ndim == spatial else int(values.shape[-1])


def _painted(values: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    full = np.zeros((max(len(palette), int(values.max(initial=0)) + 1), 3), np.uint8)
    full[: len(palette)] = palette  # indices beyond a short palette are black
    return np.asarray(full[values], np.uint8)


def _check_lossy(values: NDArray[Any], allowed: set[int], name: str, index: str) -> None:
    if not np.isin(values, sorted(allowed)).all():
        raise LabelError(
            index,
            f"the mask {name} is compressed with loss (JPEG), which has changed label values at "
            "edges: they cannot be told apart any more. Take the original mask, saved as PNG",
        )


def _codes(colours: NDArray[Any]) -> NDArray[np.int64]:
    red, green, blue = (colours[..., k].astype(np.int64) for k in range(3))
    return np.asarray((red << 32) | (green << 16) | blue)


def _colour(code: int) -> tuple[int, int, int]:
    return code >> 32, (code >> 16) & 0xFFFF, code & 0xFFFF


def _code(colour: Any) -> int | None:
    """Return one number for a colour; None if it is none."""
    if isinstance(colour, str):  # JSON turns the keys of a mapping into text
        if match := re.fullmatch(r"#([0-9a-fA-F]{6})", colour):
            colour = tuple(bytes.fromhex(match[1]))
        else:
            colour = re.findall(r"[0-9]+", colour)
    try:
        parts = [int(part) for part in colour]
    except (TypeError, ValueError):
        return None
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        return None
    return (parts[0] << 32) | (parts[1] << 16) | parts[2]


def _list(codes: NDArray[Any]) -> str:
    shown = ", ".join(str(_colour(int(code))) for code in codes[:_SHOWN])
    return shown + (", …" if len(codes) > _SHOWN else "")


def _proposal(values: NDArray[Any], lossy: bool) -> str:
    codes, counts = np.unique(_codes(values), return_counts=True)
    if len(codes) > _MANY or lossy:
        return (
            f"{len(codes)} different colours, as from smoothed edges or lossy compression; "
            "take the original mask"
        )
    order = codes[np.argsort(-counts, kind="stable")]
    order = np.concatenate([order[order == 0], order[order != 0]])  # black is background
    pairs = ", ".join(f"{_colour(int(c))}: {k}" for k, c in enumerate(order[:_SHOWN]))
    return (
        "declare what its colours mean, for example "
        f"classes={len(order)}, label_colours={{{pairs}{', …' if len(order) > _SHOWN else ''}}}"
    )
