"""The tables of the CT paper's experiment."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from miscnn.evaluation.summary import ScoreRow, ScoreTable


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).parents[1] / "examples"
    monkeypatch.syspath_prepend(folder)
    name = "example_ct_robustness"
    spec = importlib.util.spec_from_file_location(name, folder / "ct_robustness.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def scores(*values: float) -> ScoreTable:
    return ScoreTable(
        ScoreRow(0, f"case_{k}", 1, "liver", "dice", value, 20, 2.5)
        for k, value in enumerate(values)
    )


def spreads(example: ModuleType, ctia: ScoreTable, mia: ScoreTable) -> str:
    tables = {"2D MS-D MIA": mia, "2D MS-D CTIA": ctia, "stack": mia}
    *_, line = example.spread_table(tables, "dice")
    return line


def test_what_few_subjects_do_not_tell_is_a_dash(example: ModuleType) -> None:
    one = spreads(example, scores(0.9), scores(0.75))
    assert one == "| 2D MS-D | liver | 0.150 (—) | — | — |"
    two = spreads(example, scores(0.9, 0.8), scores(0.5, 0.3))
    assert two == "| 2D MS-D | liver | 0.450 (—) | -0.071 (—) | 0.500 (—) |"
    # Shifted and shrunk: with three there are intervals, here of no width for the ratio.
    three = spreads(example, scores(0.8, 0.85, 0.95), scores(0.3, 0.4, 0.6))
    assert "nan" not in three
    assert three.endswith("| 0.500 (0.500 … 0.500) |")
