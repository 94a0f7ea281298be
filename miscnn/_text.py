"""Tables as text: tab-separated for files, aligned for the screen."""

from __future__ import annotations

import csv
import html
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


def number(value: float, *, short: bool = False) -> str:
    """Write a number in at most six characters and a sign (short: five); a dash if undefined.

    Short numbers from 100,000 on are told in thousands, such as ``262k``.
    """
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return str(value)
    size = abs(value)
    if short and 99_999.5 <= size < 999_499.5:
        return f"{value / 1000:.0f}k"
    if size >= (999_499.5 if short else 999_999):
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


def aligned(rows: Sequence[Sequence[str]], left: int, most_columns: int | None = None) -> list[str]:
    """Pad cells to columns; the first ``left`` columns stand to the left, the others right.

    There are two blanks between columns, or one where lines would be longer than
    ``most_columns`` characters.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    wide = most_columns is not None and sum(widths) + 2 * (len(widths) - 1) > most_columns
    return [
        (" " if wide else "  ")
        .join(
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]


# Nothing here has a colour of its own but greys that show on white and on black alike.
_TABLE_STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0.5em 0"
_CAPTION_STYLE = "caption-side:top;text-align:left;font-weight:600;padding:0.2em 0.6em"
_LINE = "1px solid rgba(128,128,128,0.35)"


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    caption: str = "",
    *,
    left: int = 1,
    notes: Iterable[str] = (),
) -> str:
    """Return a table for notebooks; readable on dark and on light ground.

    Parameters
    ----------
    header : sequence of str
        May be empty: no line of heads.
    rows : iterable of sequence
        Cells; anything but text is written by ``str``. All text is escaped.
    caption : str
        Stands above.
    left : int
        How many columns, from the first, are text and stand to the left. The others are
        numbers and stand to the right.
    notes : iterable of str
        Lines below the table.
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f'<{tag} style="text-align:{"left" if k < left else "right"};padding:0.2em 0.6em">'
            f"{html.escape(str(value))}</{tag}>"
            for k, value in enumerate(values)
        )

    parts = [f'<table style="{_TABLE_STYLE}">']
    if caption:
        parts.append(f'<caption style="{_CAPTION_STYLE}">{html.escape(caption)}</caption>')
    if header:
        head = cells("th", header)
        parts.append(f'<thead><tr style="border-bottom:{_LINE}">{head}</tr></thead>')
    body = "".join(f'<tr style="border-bottom:{_LINE}">{cells("td", row)}</tr>' for row in rows)
    parts.append(f"<tbody>{body}</tbody></table>")
    parts += (f'<p style="margin:0.2em 0.6em;opacity:0.8">{html.escape(n)}</p>' for n in notes)
    return "".join(parts)
