"""The tables of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from miscnn._text import number
from miscnn.evaluation._report_source import Key, ReportSource
from miscnn.evaluation.score_table import ScoreTable
from miscnn.evaluation.scores import metric_of
from miscnn.evaluation.summary import Summary, SummaryRow
from miscnn.exceptions import ConfigurationError

# Cells of the table of subjects; above, only the main scores are in it.
_MOST_CELLS = 40_000
_MOST_MEANS = 3000  # rows of a table of groups
_MAIN = ("dice", "nsd_2mm", "hd95_mm", "assd_mm", "volume_error", "lesion_f1")
_MOST_NAMED = 5
_GROUPINGS = {"slice_thickness": "slice thickness", "n_slices": "number of slices", "size": "size"}


def number_cell(value: float, text: str | None = None) -> str:
    """Return a cell that is sorted by its exact value; undefined and infinite ones come last."""
    shown = _told(value) if text is None else text
    key = repr(float(value)) if math.isfinite(value) else ("inf" if value > 0 else "nan")
    return f'<td class="number" data-value="{key}">{escape(shown)}</td>'


def _told(value: float) -> str:
    shown = number(value)
    return "0.000" if shown == "-0.000" else shown


def text_cell(text: str) -> str:
    """Return a cell of text."""
    return f"<td>{escape(text)}</td>"


def sortable(header: Iterable[tuple[str, str]], rows: Iterable[str], name: str) -> str:
    """Return a table that is sorted by its heads; each is a text and what it means."""
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{escape(meaning)}">'
        f"{escape(text)}</button></th>"
        for text, meaning in header
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}">'
        f'<table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def summary_table(summary: Summary, table: ScoreTable, identifiers: Mapping[Key, str]) -> str:
    """Return mean, spread, worst case and interval of every score over all subjects.

    Parameters
    ----------
    summary : Summary
    table : ScoreTable
        What it is the summary of.
    identifiers : mapping
        The identifier of each subject in the page.
    """
    # a subject may be in several folds: the worst one of them is meant
    places = {(r.label, r.metric, r.sample, r.value): identifiers[r.fold, r.sample] for r in table}
    rows = [row for row in summary.rows if row.fold is None and not row.group]
    header = [
        ("class", ""), ("score", ""), ("n", "number of values"),
        ("mean", "over the finite values"), ("sd", "standard deviation, n - 1 in the denominator"),
        ("95 % CI", "of the mean, by bootstrap"), ("median", "over the defined values"),
        ("IQR", "first to third quartile"), ("worst", "over the defined values"),
        ("worst subject", "opens the viewer"), ("nan", "undefined values, in none of the figures"),
        ("inf", "infinite values, in median, IQR and worst only"),
    ]  # fmt: skip
    return sortable(header, (_summary_row(row, places) for row in rows), "Summary")


def _summary_row(row: SummaryRow, places: Mapping[tuple[int, str, str, float], str]) -> str:
    metric = metric_of(row.metric)
    worst = "<td></td>"
    place = places.get((row.label, row.metric, row.worst_sample, row.worst))
    if place is not None:
        worst = (
            f'<td><button type="button" class="open" data-open="{place}">'
            f"{escape(row.worst_sample)}</button></td>"
        )
    return (
        f'<tr>{text_cell(row.class_name)}<td title="{escape(row.metric)}">{escape(metric.title)}'
        f"</td>{number_cell(row.n, str(row.n))}"
        f"{number_cell(row.mean)}{number_cell(row.sd)}{_range_cell(row.ci_low, row.ci_high)}"
        f"{number_cell(row.median)}{_range_cell(row.q25, row.q75)}{number_cell(row.worst)}{worst}"
        f"{_count_cell(row.n_undefined)}{_count_cell(row.n_infinite)}</tr>"
    )


def _range_cell(low: float, high: float) -> str:
    return number_cell(low, "—" if math.isnan(low) else f"{_told(low)} … {_told(high)}")


def _count_cell(count: int) -> str:
    return number_cell(count, str(count or ""))


def grouped_tables(table: ScoreTable, summary: Summary) -> str:
    """Return the means by fold, and by whatever else divides the subjects."""
    parts = []
    if len(table.folds) > 1:
        parts.append(details("By fold", _means(summary.rows, lambda row: row.fold is not None)))
    for by, title in _GROUPINGS.items():
        try:
            rows = table.summary_by(by).rows
        except ConfigurationError:
            continue  # a table without volumes tells no sizes
        groups = {row.group for row in rows if row.by == by}
        if len(groups) > 1:
            parts.append(details(f"By {title}", _means(rows, _is_by(by))))
    return "".join(parts)


def _is_by(by: str) -> Callable[[SummaryRow], bool]:
    return lambda row: row.by == by


def _means(rows: Sequence[SummaryRow], wanted: Callable[[SummaryRow], bool]) -> str:
    header = [(name, "") for name in ("class", "score", "group", "n", "mean", "sd", "median")]
    header += [("nan", ""), ("inf", "")]
    judging = [row for row in rows if wanted(row) and metric_of(row.metric).best != "none"]
    for kept in (_MAIN, _MAIN[:1]):
        if len(judging) > _MOST_MEANS:
            judging = [row for row in judging if row.metric in kept]
    # groups of one score side by side: they are to be compared
    order = {key: n for n, key in enumerate(dict.fromkeys((r.label, r.metric) for r in rows))}
    shown = sorted(judging, key=lambda row: order[row.label, row.metric])
    body = (
        f"<tr>{text_cell(row.class_name)}{text_cell(metric_of(row.metric).title)}"
        f"{text_cell(row.group or f'fold {row.fold}')}{_count_cell(row.n)}"
        f"{number_cell(row.mean)}{number_cell(row.sd)}{number_cell(row.median)}"
        f"{_count_cell(row.n_undefined)}{_count_cell(row.n_infinite)}</tr>"
        for row in shown
    )
    return sortable(header, body, "Groups")


def subject_table(
    source: ReportSource, identifiers: Mapping[Key, str], viewed: Iterable[Key]
) -> tuple[str, str]:
    """Return the table of all subjects and classes, and a note on what is not in it."""
    table, viewed = source.scores, set(viewed)
    note = ""
    metrics = [*(m for m in _MAIN if m in table.metrics)]
    metrics += [m for m in table.metrics if m not in _MAIN]
    several = len(table.folds) > 1
    classes = table.classes
    if len(source.subjects) * len(classes) * len(metrics) > _MOST_CELLS:
        main = [m for m in metrics if m in _MAIN] or metrics[:5]
        note = f"Only the main scores are shown; all {len(metrics)} are in scores.tsv. "
        metrics = main
    values: dict[tuple[int, str, int], dict[str, float]] = {}
    for row in table:
        values.setdefault((row.fold, row.sample, row.label), {})[row.metric] = row.value
    if len(values) * len(metrics) > _MOST_CELLS and len(classes) > 1:
        values = _worst_classes(values)
        note += "Of each subject, only the class with the lowest Dice has a row. "
    header = [("subject", ""), *([("fold", "")] if several else []), ("class", "")]
    header += [(_short(m), metric_of(m).title) for m in metrics]
    body = (
        f'<tr data-open="{identifiers[fold, sample]}" data-class="{label}">'
        f'<td><button type="button" class="open{"" if (fold, sample) in viewed else " without"}" '
        f'data-open="{identifiers[fold, sample]}">{escape(sample)}</button></td>'
        f"{number_cell(fold, str(fold)) if several else ''}{text_cell(classes[label])}"
        + "".join(number_cell(scores.get(metric, math.nan)) for metric in metrics)
        + "</tr>"
        for (fold, sample, label), scores in values.items()
    )
    return sortable(header, body, "Subjects"), note


def _worst_classes(
    values: Mapping[tuple[int, str, int], dict[str, float]],
) -> dict[tuple[int, str, int], dict[str, float]]:
    """Keep the class with the lowest Dice of each subject; undefined ones are the last choice."""
    worst: dict[Key, tuple[int, str, int]] = {}

    def dice(key: tuple[int, str, int]) -> float:
        value = values[key].get("dice", math.nan)
        return math.inf if math.isnan(value) else value

    for key in values:
        best = worst.setdefault(key[:2], key)
        if dice(key) < dice(best):
            worst[key[:2]] = key
    return {key: values[key] for key in worst.values()}


def _short(metric: str) -> str:
    return metric.replace("_", " ")


def class_choice(classes: Mapping[int, str]) -> str:
    """Return the box that shows one class of the table of subjects, or all."""
    if len(classes) < 2:
        return ""
    options = "".join(f'<option value="{k}">{escape(name)}</option>' for k, name in classes.items())
    return (
        '<label>Class <select id="class"><option value="">all</option>'
        + options
        + "</select></label>"
    )


def run_table(source: ReportSource) -> str:
    """Return how the folds were run, and the recipe; empty where nothing was written down."""
    if not source.runs:
        return ""
    columns = [
        ("epochs", "epochs"), ("seed", "seed"), ("weights", "weights"),
        ("training_seconds", "training (s)"), ("evaluation_seconds", "evaluation (s)"),
        ("started", "started"), ("finished", "finished"),
    ]  # fmt: skip
    shown = [
        (k, t) for k, t in columns if any(run.get(k) is not None for run in source.runs.values())
    ]
    header = [("fold", ""), ("training", "subjects"), ("inner validation", "subjects")]
    header += [("validation", "subjects"), *((title, "") for _, title in shown)]
    body = (
        f"<tr>{text_cell(name or 'run')}"
        + "".join(
            _count_cell(len(run.get(part) or ()))
            for part in ("training", "inner_validation", "validation")
        )
        + "".join(_value_cell(run.get(key)) for key, _ in shown)
        + "</tr>"
        for name, run in source.runs.items()
    )
    recipes: dict[str, list[str]] = {}
    for name, run in source.runs.items():
        if run.get("recipe") or run.get("versions"):
            kept = {k: run[k] for k in ("recipe", "versions", "scoring") if run.get(k)}
            recipes.setdefault(json.dumps(kept, indent=2, ensure_ascii=False), []).append(name)
    texts = "".join(
        details(
            "Recipe" if len(recipes) == 1 else f"Recipe of {', '.join(names)}",
            f"<pre>{escape(text)}</pre>",
        )
        for text, names in recipes.items()
    )
    return details("How the folds were run", sortable(header, body, "Folds")) + texts


def _value_cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text_cell("" if value is None else str(value))
    return number_cell(value, str(value) if isinstance(value, int) else None)


def not_scored_note(source: ReportSource) -> str:
    """Return a warning that names the subjects without scores, all of them with the reason."""
    missing = dict(source.not_scored)
    if not missing:
        return ""
    several = len({*missing, *source.scores.samples})
    told = ", ".join([*missing][:_MOST_NAMED]) + (", …" if len(missing) > _MOST_NAMED else "")
    verb = "was" if len(missing) == 1 else "were"
    items = "".join(
        f"<li><b>{escape(sample)}</b>: {escape(reason)}</li>" for sample, reason in missing.items()
    )
    title = f"{len(missing)} of {several} subjects {verb} not scored: {told}"
    return f'<div class="warning">{details(title, f"<ul>{items}</ul>")}</div>'


def details(title: str, content: str) -> str:
    """Return a part that is folded in until one asks for it."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def html_of(value: Any) -> str:
    """Return how a notebook shows something, or its text."""
    shown = getattr(value, "_repr_html_", None)
    return shown() if shown is not None else f"<pre>{escape(str(value))}</pre>"
