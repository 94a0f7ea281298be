"""The tables of an inspection, for the screen and for notebooks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from miscnn._text import aligned, html_table, number, shortened, shortened_inside
from miscnn.data_loading._inspection_subject import SubjectFacts
from miscnn.data_loading._inspection_values import STATISTICS

WIDTH = 100
_INDEX = 24
_NAME = 24
_UNKNOWN = "—"
# Of the foreground, what the table of intensities has room for.
_FOREGROUND = ("p0.5", "p50", "p99.5")

Rows = list[list[str]]


def as_text(
    subjects: Sequence[SubjectFacts],
    summary: Mapping[str, Any],
    most_rows: int | None = None,
    width: int = WIDTH,
) -> str:
    """Return all tables; the summary last, so that it is what a terminal shows."""
    shown = subjects[:most_rows]
    parts = [_titled(title, rows, width) for title, rows in _tables(shown, summary, width)]
    if len(shown) < len(subjects):
        parts.append(f"… and {len(subjects) - len(shown)} more subjects, counted in what follows")
    if summary["classes"]:
        parts.append(_titled("Classes", _classes(summary), width))
    parts.append(_titled("Data set", _overview(summary), width))
    errors = [(subject.index, subject.error) for subject in subjects if subject.error]
    if errors:
        parts.append("\n".join(["Errors", *_wrapped(errors, width)]))
    return "\n\n".join(parts)


def as_html(subjects: Sequence[SubjectFacts], summary: Mapping[str, Any]) -> str:
    """Return all tables as HTML."""
    tables = _tables(subjects, summary, width=10_000)
    if summary["classes"]:
        tables.append(("Classes", _classes(summary)))
    tables.append(("Data set", _overview(summary)))
    errors = [[s.index, s.error] for s in subjects if s.error]
    if errors:
        tables.append(("Errors", [["subject", "error"], *errors]))
    return "\n".join(_html_table(title, rows) for title, rows in tables)


def _tables(
    subjects: Sequence[SubjectFacts], summary: Mapping[str, Any], width: int
) -> list[tuple[str, Rows]]:
    known = [subject for subject in subjects if subject.shape is not None]
    tables = [("Grids", _grids(known))] if known else []
    if known:
        tables.append(("Intensities", _intensities(known)))
    labelled = [subject for subject in subjects if subject.voxels is not None]
    if labelled:
        flat = all(subject.ml is None for subject in labelled)
        unit = "% of the voxels" if flat else "ml"
        tables.append((f"Labels ({unit})", _labels(labelled, summary["classes"], flat, width)))
    return tables


def _grids(subjects: Sequence[SubjectFacts]) -> Rows:
    rows = [["subject", "shape", "spacing (mm)", "axes", "slices", "type", "ch."]]
    for subject in subjects:
        across = f"{subject.n_slices} (axis {subject.slice_axis})"
        rows.append(
            [
                _short(subject.index),
                " x ".join(map(str, subject.shape or ())),
                " x ".join(f"{size:.4g}" for size in subject.spacing or ()),
                subject.orientation or _UNKNOWN,
                _UNKNOWN if subject.n_slices is None else across,
                subject.dtype or _UNKNOWN,
                str(subject.channels),
            ]
        )
    told = [k for k in range(len(rows[0])) if any(row[k] != _UNKNOWN for row in rows[1:])]
    return [[row[k] for k in told] for row in rows]


def _intensities(subjects: Sequence[SubjectFacts]) -> Rows:
    several = any(len(subject.intensities) > 1 for subject in subjects)
    inner = any(any(subject.foreground_intensities) for subject in subjects)
    header = ["subject", *(["ch."] if several else []), *map(_statistic, STATISTICS)]
    rows = [[*header, *(f"fg {_statistic(name)}" for name in _FOREGROUND if inner)]]
    for subject in subjects:
        for c, values in enumerate(subject.intensities):
            row = [_short(subject.index) if c == 0 else ""]
            row += [str(c + 1)] if several else []
            row += [_number(values, name) for name in STATISTICS]
            if inner:
                found = subject.foreground_intensities[c : c + 1]
                row += [_number(found[0] if found else None, name) for name in _FOREGROUND]
            rows.append(row)
    return rows


def _labels(
    subjects: Sequence[SubjectFacts], classes: Sequence[Mapping[str, Any]], flat: bool, width: int
) -> Rows:
    """One column for each class, or where there are too many, what can be said of them all."""
    labels = [entry["label"] for entry in classes if entry["label"] != 0]
    heads = [shortened(_class_name(entry), 12) for entry in classes if entry["label"] != 0]
    ignored = any(subject.ignored for subject in subjects)
    index = min(max([7, *(len(subject.index) for subject in subjects)]), _INDEX)
    taken = index + 14 + (11 if ignored else 0) + sum(max(len(head), 6) + 2 for head in heads)
    each = taken <= width
    header = ["subject", "foreground"]
    header += heads if each else ["classes", "smallest", "", "largest", ""]
    rows = [header + (["ignored"] if ignored else [])]
    names = {entry["label"]: shortened(_class_name(entry), 16) for entry in classes}
    for subject in subjects:
        counts = subject.voxels or {}
        total = sum(counts.values()) or 1
        amounts: Mapping[int, float] = {k: 100.0 * n / total for k, n in counts.items()}
        if not flat:
            amounts = subject.ml or {}
        share = subject.foreground
        row = [
            _short(subject.index),
            _UNKNOWN if share is None else f"{100.0 * share:.3g} %",
        ]
        if each:
            row += [number(amounts.get(k, 0.0)) if amounts else _UNKNOWN for k in labels]
        else:
            found = sorted((amounts[k], k) for k in labels if k in amounts)
            row.append(str(len(found)))
            for amount, k in (found[0], found[-1]) if found else ():
                row += [names[k], number(amount)]
            row += [_UNKNOWN] * (len(header) - len(row))
        rows.append(row + ([str(subject.ignored)] if ignored else []))
    return rows


def _classes(summary: Mapping[str, Any]) -> Rows:
    rows = [["class", "subjects", "% of voxels", "median (ml)", "min", "max"]]
    volumes = any(entry["ml"] for entry in summary["classes"])
    for entry in summary["classes"]:
        ml = entry["ml"]
        share = entry["share"]
        rows.append(
            [
                shortened(_class_name(entry, number_too=True), _NAME),
                f"{entry['subjects']} of {summary['labelled']}",
                _UNKNOWN if share is None else f"{100.0 * share:.3g}",
                *(number(ml[name]) if ml else _UNKNOWN for name in ("median", "min", "max")),
            ]
        )
    return rows if volumes else [row[:3] for row in rows]


def _overview(summary: Mapping[str, Any]) -> Rows:
    n, errors = summary["subjects"], summary["errors"]
    counted = f"{n} subject{'s' * (n != 1)}, {summary['labelled']} with a segmentation"
    rows = [["subjects", counted + (f", {errors} with errors" if errors else "")]]
    for title, key, unit in (("shape", "shape", ""), ("spacing", "spacing", " mm")):
        if summary[key]:
            rows.append([title, _axes_text(summary[key], unit)])
    for title, key, unit, scale in (
        ("slices", "n_slices", "", 1.0),
        ("slices apart", "slice_thickness", " mm", 1.0),
        ("memory", "memory", " MiB", 2.0**-20),
        ("foreground", "foreground", " %", 100.0),
    ):
        if summary[key]:
            rows.append([title, _spread_text(summary[key], unit, scale)])
    for title, key in (("orientation", "orientations"), ("type", "dtypes")):
        found = [f"{name} ({count})" for name, count in summary[key].items()]
        if found:
            shown = ", ".join(found[:8]) + (" …" if len(found) > 8 else "")
            rows.append([title, f"{len(found)} different: {shown}" if len(found) > 1 else shown])
    channels = summary["intensities"]
    for title, key in (("intensities", "intensities"), ("in foreground", "foreground_intensities")):
        for c, values in enumerate(summary[key]):
            if values["p50"]:
                place = f"{title}, ch. {c + 1}" if len(channels) > 1 else title
                ends = f"{_plain(values['min']['min'])} … {_plain(values['max']['max'])}"
                usual = [_plain(values[name]["median"]) for name in ("p0.5", "p50", "p99.5")]
                text = (
                    f"{ends}; median subject: 0.5 % {usual[0]}, 50 % {usual[1]}, 99.5 % {usual[2]}"
                )
                rows.append([place, text])
    return rows


def _axes_text(values: Mapping[str, Sequence[float]], unit: str) -> str:
    low, middle, high = (
        " x ".join(f"{value:.4g}" for value in values[name]) for name in ("min", "median", "max")
    )
    return f"all {middle}{unit}" if low == high else f"{middle}{unit} ({low} … {high})"


def _spread_text(values: Mapping[str, float], unit: str, scale: float) -> str:
    low, middle, high = (f"{scale * values[name]:.4g}" for name in ("min", "median", "max"))
    return f"all {middle}{unit}" if low == high else f"{middle}{unit} ({low} … {high})"


def _titled(title: str, rows: Rows, width: int) -> str:
    if title == "Data set":
        pairs = [(row[0], row[1]) for row in rows]
        return "\n".join(["Data set: median (least … largest)", *_wrapped(pairs, width)])
    left = 1 if title != "Grids" else len(rows[0])
    return "\n".join([title, *_fitted(rows, left, width)])


def _fitted(rows: Rows, left: int, width: int) -> list[str]:
    """Align the rows; if they are too long, shorten the names of the subjects."""
    lines = aligned(rows, left)
    excess = max(map(len, lines)) - width
    if excess <= 0:
        return lines
    longest = max(len(row[0]) for row in rows)
    short = max(longest - excess, 8)
    return aligned([[_short(row[0], short), *row[1:]] for row in rows], left)


def _wrapped(pairs: Sequence[tuple[str, str | None]], width: int) -> list[str]:
    first = min(max(len(name) for name, _ in pairs), _INDEX)
    lines = []
    for name, text in pairs:
        head = f"{_short(name, first):<{first}}  "
        lines += textwrap.wrap(
            text or "", width, initial_indent=head, subsequent_indent=" " * len(head)
        )
    return lines


def _short(index: str, width: int = _INDEX) -> str:
    return shortened_inside(index, width)


def _statistic(name: str) -> str:
    return f"{name[1:]} %" if name.startswith("p") else name


def _number(values: Mapping[str, float] | None, name: str) -> str:
    return _UNKNOWN if values is None else _plain(values[name])


def _plain(value: float) -> str:
    """Write whole numbers without decimals, others as :func:`number` does."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e6 else number(value)


def _class_name(entry: Mapping[str, Any], number_too: bool = False) -> str:
    label, name = entry["label"], entry["name"]
    if name is None:
        return f"{label}" if number_too else f"class {label}"
    return f"{label} {name}" if number_too else str(name)


def _html_table(title: str, rows: Rows) -> str:
    cells = [[cell or "" for cell in row] for row in rows]
    if title == "Data set":
        return html_table((), cells, title, left=2)
    return html_table(cells[0], cells[1:], title, left=2 if title in ("Classes", "Errors") else 1)
