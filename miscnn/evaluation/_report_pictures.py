"""The pictures of a report, as ``<figure>`` elements."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
from matplotlib import rc_context

from miscnn.evaluation import figures
from miscnn.evaluation._report_source import ReportSource
from miscnn.evaluation.score_table import ScoreTable
from miscnn.exceptions import reason_of

_log = logging.getLogger("miscnn.evaluation")

_DPI = 110
_PIXELS = 76  # per inch, on the screen: text of all pictures has one size
_BOXES = ("dice", "nsd_2mm", "hd95_mm", "assd_mm", "volume_error")
_MOST_CLASSES = 12
_SIZES = ("volume_truth_ml", "area_truth_mm2")


def pictures_of(source: ReportSource) -> dict[str, list[str]]:
    """Draw what the tables give: pictures of scores, of trainings, of lesions, of calibration.

    A picture that cannot be drawn is a note in its place, and in the log.

    Returns
    -------
    dict of str to list of str
        HTML, by section: ``scores``, ``training``, ``lesions``, ``calibration``.
    """
    table, note = _told_apart(source.scores)
    metrics = set(table.metrics)
    drawn: dict[str, list[str]] = {"scores": [], "training": [], "lesions": [], "calibration": []}

    def add(section: str, alt: str, name: str, *arguments: Any, **options: Any) -> None:
        drawn[section].append(_picture(alt, name, *arguments, **options))

    if note:
        drawn["scores"].append(note)
    for metric in _BOXES:
        if metric in metrics:
            add("scores", f"{metric} by class", "box_plot", table, metric=metric)
    if metrics & set(_SIZES):
        add("scores", "Predicted against true sizes (Bland-Altman)", "bland_altman", table)
        if "dice" in metrics:
            add("scores", "Dice over the size of the object", "score_against", table, by="size")
    if "dice" in metrics and len({row.n_slices for row in table}) > 1:
        add("scores", "Dice over the number of slices", "score_against", table, by="n_slices")
    thicknesses = {row.slice_thickness for row in table if np.isfinite(row.slice_thickness)}
    if "dice" in metrics and len({round(t, 3) for t in thicknesses}) > 1:
        add("scores", "Dice over the slice thickness", "score_against", table,
            by="slice_thickness_mm")  # fmt: skip
    if source.histories:
        add("training", "Training curves", "training_curves", dict(source.histories))
    if source.lesions:
        add("lesions", "Detection by size of the lesion", "detection_by_size", source.lesions)
    if source.calibration:
        add("calibration", "Reliability diagram", "reliability_diagram", source.calibration)
    return drawn


def _told_apart(table: ScoreTable) -> tuple[ScoreTable, str]:
    """Keep the classes with the lowest mean Dice where there are more than can be told apart."""
    classes = table.classes
    if len(classes) <= _MOST_CLASSES:
        return table, ""
    values: dict[int, list[float]] = {}
    for row in table:
        if row.metric == "dice" and np.isfinite(row.value):
            values.setdefault(row.label, []).append(row.value)
    means = {label: float(np.mean(found)) for label, found in values.items()}
    lowest = sorted(classes, key=lambda label: (means.get(label, np.inf), label))[:_MOST_CLASSES]
    note = (
        f'<p class="note">Pictures show {_MOST_CLASSES} of {len(classes)} classes, those with the '
        "lowest mean Dice; the tables have all.</p>"
    )
    return ScoreTable(row for row in table if row.label in lowest), note


def _picture(alt: str, name: str, *arguments: Any, **options: Any) -> str:
    try:
        function: Callable[..., Any] = getattr(figures, name)
        figure = function(*arguments, **options)
        source, width = _embedded(figure), round(figure.get_size_inches()[0] * _PIXELS)
    except Exception as error:  # the tables are worth more than one picture
        _log.warning("the report has no picture %r: %s", alt, error, exc_info=True)
        return f'<p class="note">{escape(alt)}: not drawn ({escape(reason_of(error, ""))})</p>'
    return f'<figure><img alt="{escape(alt)}" width="{width}" src="{source}"></figure>'


def _embedded(figure: Any) -> str:
    """Return a figure as the address of an image: SVG or PNG, whichever is smaller.

    An image of its own, so that nothing within can meet the page's styles and names.
    """
    vector, raster = io.BytesIO(), io.BytesIO()
    # The one setting that is not an argument; it is put back at once. Text stays text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "miscnn"}):
        figure.savefig(vector, format="svg", metadata={"Date": None})
    figure.savefig(raster, format="png", dpi=_DPI, metadata={"Software": None})
    kind, data = min(
        (("svg+xml", vector.getvalue()), ("png", raster.getvalue())), key=lambda pair: len(pair[1])
    )
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
