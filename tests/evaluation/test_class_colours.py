"""A class has one colour in all pictures, and errors have others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from miscnn import DataIO, _colours
from miscnn._style import class_colour, class_marker
from miscnn._viewer.encoding import encoded
from miscnn._viewer.packing import pack
from miscnn.data_loading._drawing import colour_of
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.evaluation import (
    CalibrationTable,
    ScoreRow,
    ScoreTable,
    bland_altman,
    box_plot,
    class_frequencies,
    reliability_diagram,
    score_against,
)
from miscnn.evaluation.calibration_table import CalibrationRow

SECOND = _colours.CLASS_COLOURS[1].lower()


def test_figures_and_overlays_agree_by_label() -> None:
    for label in range(1, 20):
        assert to_hex(colour_of(label)) == class_colour(label).lower()
    assert class_colour(0) == class_colour(-1) == "0.4"
    assert (class_marker(0), class_marker(7), class_marker(8)) == ("o", "o", "s")
    image = np.zeros((3, 3, 3, 1), np.float32)
    document = json.loads(encoded(pack(image, None, None, Geometry((3, 3, 3), np.eye(4)))))
    assert document["colours"] == list(_colours.CLASS_COLOURS)
    assert document["errors"] == [_colours.MISSED, _colours.FALSE, _colours.OTHER_CLASS]


def test_a_class_keeps_its_colour_where_others_are_missing() -> None:
    names = ("dice", "volume_truth_ml", "volume_prediction_ml")
    table = ScoreTable(
        ScoreRow(0, f"s{k}", 2, "tumour", name, 0.5 + 0.1 * k, 9, 1.0)
        for name in names
        for k in range(4)
    )
    for figure in (box_plot(table), bland_altman(table), score_against(table, by="size")):
        points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
        assert {to_hex(line.get_markerfacecolor()) for line in points} == {SECOND}
    row = CalibrationRow(0, "s", 2, "tumour", 0, 0.0, 1.0, 10, 0.5, 0.4)
    (line,) = (
        line
        for line in reliability_diagram(CalibrationTable([row])).axes[0].lines
        if line.get_marker() == "o"
    )
    assert to_hex(line.get_color()) == SECOND
    image = np.zeros((4, 4, 4), np.float32)
    labels = np.full((4, 4, 4), 2, np.uint8)
    io = DataIO(DictionaryInterface({"a": (image, labels)}, classes=3))
    assert to_hex(class_frequencies(io, verbose=0).axes[0].lines[2].get_color()) == SECOND


@pytest.mark.parametrize("error", [_colours.FALSE, _colours.MISSED, _colours.OTHER_CLASS])
def test_errors_have_colours_of_their_own(error: str) -> None:
    for colour in _colours.CLASS_COLOURS[:2]:
        distance = np.linalg.norm(np.subtract(to_rgb(error), to_rgb(colour)))
        assert distance > 0.25
