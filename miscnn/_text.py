"""Tables as text: tab-separated for files, aligned for the screen."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence

from miscnn._files import write_text


def write_tsv(
    path: str | os.PathLike[str], header: Sequence[str], lines: Iterable[Sequence[object]]
) -> None:
    """Write a tab-separated file (UTF-8) atomically; cells with tabs or breaks are quoted.

    Floats are written so that they are read back exactly; NaN as ``nan``, infinity as ``inf``.
    """
    write_text(path, "".join(_tsv_line(cells) for cells in (header, *lines)))


def _tsv_line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    # A cell is quoted only for the line ends that the writer itself uses; readers know both.
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()[:-2] + "\n"


def read_tsv(path: str | os.PathLike[str]) -> list[list[str]]:
    """Read the cells of a tab-separated file, its header included."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def number(value: float) -> str:
    """Write a number in at most six characters and a sign; a dash if undefined."""
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return str(value)
    size = abs(value)
    if size >= 999_999:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    digits = 3 if size < 9.9995 else 2 if size < 99.995 else 1 if size < 999.95 else 0
    return f"{value:.{digits}f}"


def shortened(text: str, width: int) -> str:
    """Cut a text to at most ``width`` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def shortened_inside(text: str, width: int) -> str:
    """Leave out the middle of a text: what tells names apart often stands last."""
    if len(text) <= width:
        return text
    last = (width - 1) // 2
    return f"{text[: width - 1 - last]}…{text[len(text) - last :]}"


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Pad cells to columns; the first ``left`` columns stand to the left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
