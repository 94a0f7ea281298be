"""The table of definitions in the documentation, cell by cell."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from miscnn.evaluation._metrics import SCORED
from miscnn.evaluation.scores import METRICS, score_subject, squared_dice
from miscnn.evaluation.scoring import Scoring

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scores.md"
EMPTY = np.zeros((6, 5, 4), dtype=np.uint8)
VOXEL, NEIGHBOUR, CORNER, SHIFTED = (EMPTY.copy() for _ in range(4))
VOXEL[2, 2, 2] = NEIGHBOUR[3, 2, 2] = 1
CORNER[:2, :2, :2] = SHIFTED[1:3, :2, :2] = 1
SCENES = {
    "both empty": (EMPTY, EMPTY),
    "truth empty": (EMPTY, VOXEL),
    "prediction empty": (VOXEL, EMPTY),
    "a voxel, itself": (VOXEL, VOXEL),
    "a voxel, 1 step away": (VOXEL, NEIGHBOUR),
    "block at the border, 1 step away": (CORNER, SHIFTED),
}


def table() -> dict[str, dict[str, str]]:
    """The rows of the table by score, the cells by column."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (start,) = (k for k, line in enumerate(lines) if line.startswith("| score | definition |"))
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[start : lines.index("", start)]
    )
    return {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in rows}


def number(cell: str) -> float:
    words = {"undefined": math.nan, "infinite": math.inf, "∞": math.inf}
    return words[cell] if cell in words else float(cell.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("scene", SCENES)
def test_every_value_of_the_table(scene: str, order: str) -> None:
    truth, prediction = (np.asarray(mask, order=order) for mask in SCENES[scene])  # type: ignore[call-overload]
    scored = score_subject(truth, prediction, 2, (1, 2, 3), 2, scoring=Scoring(metrics=("all",)))
    rows = table()
    assert [row.metric for row in scored] == list(rows)
    for row in scored:
        expected = number(rows[row.metric][scene])
        assert row.value == pytest.approx(expected, rel=1e-3, nan_ok=True), row.metric
    # For masks it is the same.
    dice = next(row.value for row in scored if row.metric == "dice")
    assert squared_dice(truth, prediction) == pytest.approx(dice, nan_ok=True)


def test_range_and_best_value_are_those_of_the_metrics() -> None:
    rows = table()
    assert tuple(rows) == SCORED
    for name, row in rows.items():
        metric = METRICS[name]
        low, high = map(number, row["range"].split(" … "))
        assert metric.bounded == ((low, high) == (0, 1)), name
        assert row["best"] == {"high": "1", "low": "0", "zero": "0", "none": "—"}[metric.best], name
        for scene in SCENES:
            value = number(row[scene])
            assert math.isnan(value) or low <= value <= high, (name, scene)
