"""How every figure looks, and how it is written.

Figures are made of matplotlib's objects alone, without pyplot: nothing global is touched, no
window is opened, and figures may be drawn in threads.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from miscnn._colours import CLASS_COLOURS
from miscnn._files import atomic_path
from miscnn._text import shortened_inside
from miscnn.exceptions import ConfigurationError

PALETTE = CLASS_COLOURS
"""Of the classes 1, 2, … in turn; colour-blind readers tell them apart."""
# The eighth class has the first colour again, but another marker.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
INK, GREY, PALE = "0.15", "0.4", "0.9"
DPI = 150
MINUS = "\N{MINUS SIGN}"
_SHOWN_DPI = 160  # in notebooks, shown at half of it, so that it is sharp on fine screens
_LONGEST_NAME = 28
_LETTERS = 15  # of a remark, in an inch
_STEPS = (1, 2, 5, 10)
_FEW_TIMES = 8  # a range of less than this has ticks at even steps


class Picture(Figure):
    """A matplotlib ``Figure`` that notebooks show although pyplot does not know it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_SHOWN_DPI)
        width, height = (round(inches * _SHOWN_DPI / 2) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def new_figure(width: float, height: float) -> Picture:
    """Return an empty figure of a size in inches, whose parts find room by themselves."""
    return Picture(figsize=(width, height), layout="constrained", facecolor="white")


def style(axes: Any, grid: str = "y") -> None:
    """Give axes the common look; ``grid`` is "x", "y", "both" or "" (none)."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    if grid:
        axes.grid(axis=grid, color=PALE, lw=0.8)
    axes.set_axisbelow(True)


def whole_numbers(axis: Any) -> None:
    """Let an axis have ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=_STEPS))


def from_zero(axes: Any, values: Any) -> None:
    """Let the y axis of a constant start at 0: around it, only rounding would be seen."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if known.size and known.min() > 0 and np.ptp(known) <= 1e-6 * known.max():
        axes.set_ylim(0, 1.25 * known.max())


def logarithmic(axes: Any, which: str, values: NDArray[Any]) -> None:
    """Make an axis ("x" or "y") logarithmic, with ticks as plain numbers.

    Parameters
    ----------
    values : ndarray
        What is shown on it, positive; a range of less than two decades has ticks between the
        powers of ten.
    """
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = (float(values.min()), float(values.max())) if values.size else (1.0, 10.0)
    margin = max(1.25, (high / low) ** 0.05)
    if high * margin**2 < _FEW_TIMES * low:
        axis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    else:
        between: Sequence[float] = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
        axis.set_major_locator(LogLocator(subs=between, numticks=9))
    # No mathematics: powers of ten would be set in another font, and are hard to read at once.
    axis.set_major_formatter(lambda value, _: f"{value:.6g}")
    axis.set_minor_formatter(NullFormatter())
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / margin, high * margin)


def heading(axes: Any, text: str) -> None:
    """Write a title over axes, at the left; text is no mathematics."""
    axes.set_title(text, loc="left", fontsize=10, color=INK, parse_math=False)


def label_axes(axes: Any, x: str = "", y: str = "") -> None:
    """Name the axes; text is no mathematics."""
    axes.set_xlabel(x, fontsize=10, color=INK, parse_math=False)
    axes.set_ylabel(y, fontsize=10, color=INK, parse_math=False)


def entitle(figure: Figure, title: str | None) -> None:
    """Write a title over a figure, if there is one; text is no mathematics."""
    if title:
        figure.suptitle(title, fontsize=11, color=INK, parse_math=False)


def remark(figure: Figure, text: str) -> None:
    """Write a text below a figure, if there is one, in as many lines as that needs."""
    if text:
        most = int(_LETTERS * figure.get_size_inches()[0])
        text = "\n".join(part for line in text.split("\n") for part in wrap(line, most) or [""])
        figure.supxlabel(text, fontsize=8, color=GREY, parse_math=False)


def legend(owner: Any, *arguments: Any, **options: Any) -> Any:
    """Add a legend without frame whose text is no mathematics."""
    place = {"frameon": False, "fontsize": 9, "labelcolor": INK, **options}
    result = owner.legend(*arguments, **place)
    for text in (*result.get_texts(), result.get_title()):
        text.set_parse_math(False)
    return result


def class_colour(label: int) -> str:
    """Return the colour of a class; the background and the predicted class (-1) have none."""
    return colour(label - 1) if label > 0 else GREY


def class_marker(label: int) -> str:
    """Return the marker of a class: classes of one colour have different ones."""
    return MARKERS[max(label - 1, 0) // len(PALETTE) % len(MARKERS)]


def colour(position: int) -> str:
    """Return one of the colours in turn, counted from 0."""
    return PALETTE[position % len(PALETTE)]


def opacity(n: int) -> float:
    """Return an alpha for n points, so that many of them do not run into one."""
    return float(np.clip(60.0 / max(n, 1), 0.3, 1.0))


def signed(value: float, form: str) -> str:
    """Write a number with a true minus sign."""
    return format(value, form).replace("-", MINUS)


def short(name: str) -> str:
    """Cut a name in its middle to what a legend has room for."""
    return shortened_inside(" ".join(name.split()), _LONGEST_NAME)


def panels(count: int, most: int = 4) -> tuple[int, int]:
    """Return rows and columns for a number of panels."""
    columns = count if count <= min(most, 3) else min(most, math.ceil(math.sqrt(count)))
    return -(-count // max(columns, 1)), max(columns, 1)


def check_path(path: str | os.PathLike[str] | None) -> None:
    """Raise ConfigurationError if a figure cannot be written to a file of this name."""
    if path is None:
        return
    ending = os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
    known = FigureCanvasBase.get_supported_filetypes()
    if ending not in known:
        raise ConfigurationError(
            f"path={os.fspath(path)!r}: unknown ending; use .png or .svg, or one of "
            f"{', '.join(known)}"
        )


def save(figure: Figure, path: str | os.PathLike[str] | None, dpi: float = DPI) -> None:
    """Write a figure by the ending of the file, atomically; do nothing without a path.

    PNG has 150 dpi. In SVG, text stays text, which is smaller and can be searched; the same
    figure gives the same file.
    """
    if path is None:
        return
    check_path(path)
    svg = os.fspath(path).lower().endswith((".svg", ".svgz"))
    with atomic_path(path) as temporary:
        if not svg:
            figure.savefig(temporary, dpi=dpi)
            return
        # The one setting that is not an argument; it is put back at once.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "miscnn"}):
            figure.savefig(temporary, dpi=dpi, metadata={"Date": None})
