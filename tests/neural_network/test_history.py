"""What a training logged: as a mapping, a table, a figure."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path
from typing import Any

import matplotlib.colors
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._colours import CLASS_COLOURS, PLAIN
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network import history as module
from miscnn.neural_network.history import Best, History

NAN = math.nan


def make_history() -> History:
    """Five epochs; volumes are validated in the second and the fourth."""
    return History(
        {
            "loss": [0.9, 0.6, 0.5, 0.4, 0.3],
            "dice_class_1": [0.1, 0.4, 0.5, 0.6, 0.7],
            "dice_class_2": [0.2, 0.3, 0.4, 0.5, 0.6],
            "mean_dice": [0.15, 0.35, 0.45, 0.55, 0.65],
            "val_loss": [1.0, 0.7, 0.55, 0.5, 0.52],
            "val_dice_class_1": [0.1, 0.3, 0.4, 0.5, 0.4],
            "val_dice_class_2": [0.2, 0.3, 0.4, 0.5, 0.4],
            "val_mean_dice": [0.15, 0.3, 0.4, 0.5, 0.4],
            "val_volume_dice": [NAN, 0.25, NAN, 0.45, NAN],
            "val_volume_dice_class_1": [NAN, 0.2, NAN, 0.4, NAN],
            "learning_rate": [1e-2, 8e-3, 6e-3, 4e-3, 2e-3],
        }
    )


def test_it_is_a_mapping() -> None:
    history = History({"loss": [0.5, 0.25], "val_loss": [None, 1]})
    assert history["loss"] == [0.5, 0.25]
    assert list(history) == ["loss", "val_loss"]
    assert len(history) == 2
    assert history.epochs == 2
    assert "val_loss" in history
    assert history.get("mean_dice") is None
    assert dict(history) == history.history
    np.testing.assert_array_equal(history["val_loss"], [NAN, 1.0])
    with pytest.raises(KeyError):
        history["mean_dice"]
    assert History({}).epochs == 0


def test_best() -> None:
    history = make_history()
    assert history.best() == Best(4, 0.5)
    assert history.best("val_loss", "max") == (1, 1.0)
    assert history.best("val_mean_dice") == (4, 0.5)
    assert history.best("val_volume_dice") == (4, 0.45)
    assert history.best("val_mean_dice", "min") == (1, 0.15)
    ties = History({"a": [0.5, math.inf, 0.7, 0.7, NAN], "hausdorff_distance": [3.0, 2.0, 2.0]})
    assert ties.best("a") == (3, 0.7)
    assert ties.best("hausdorff_distance") == (2, 2.0)


def test_best_of_nothing() -> None:
    history = make_history()
    with pytest.raises(ConfigurationError, match="'mean_dise' was not logged; do you mean 'mean_d"):
        history.best("mean_dise")
    with pytest.raises(ConfigurationError, match="no finite value"):
        History({"loss": [NAN, math.inf]}).best("loss")
    with pytest.raises(ConfigurationError, match='mode must be "auto"'):
        history.best("loss", "least")  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.text("abcdef_ ", min_size=1).filter(lambda name: name != "epoch"),
        st.lists(st.floats(), min_size=3, max_size=3),
        min_size=1,
    )
)
def test_table_is_read_back_as_it_was(tmp_path_factory: Any, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("tables") / "history.tsv"
    History(values).to_tsv(path)
    found = History.from_tsv(path)
    assert list(found) == list(values)
    for name in values:
        np.testing.assert_array_equal(found[name], values[name])


def test_short_columns_end_with_nan(tmp_path: Path) -> None:
    History({"loss": [0.5, 0.25], "val_loss": [0.75]}).to_tsv(tmp_path / "h.tsv")
    text = "epoch\tloss\tval_loss\n1\t0.5\t0.75\n2\t0.25\tnan\n"
    assert (tmp_path / "h.tsv").read_text() == text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"line 1: expected 'epoch'"),
        ("time\tloss\n", r"line 1: expected 'epoch'"),
        ("epoch\tloss\tloss\n", "different names"),
        ("epoch\tloss\n1\t0.5\n3\t0.5\n", r"line 3: expected epoch 2 and 1 numbers"),
        ("epoch\tloss\n1\t0.5\t0.5\n", r"line 2: expected epoch 1 and 1 numbers"),
        ("epoch\tloss\n1\thalf\n", r"line 2: .* got '1\\thalf'"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "h.tsv").write_text(text)
    with pytest.raises(ConfigurationError, match=match):
        History.from_tsv(tmp_path / "h.tsv")
    with pytest.raises(MissingFileError, match="does not exist"):
        History.from_tsv(tmp_path / "none.tsv")


def lines(axis: Any) -> dict[tuple[str, Any, str], list[tuple[float, float]]]:
    """The points of each line by colour, strength and style."""
    return {
        (matplotlib.colors.to_hex(line.get_color()), line.get_alpha(), line.get_linestyle()): [
            (float(x), float(y)) for x, y in line.get_xydata()
        ]
        for line in axis.get_lines()
    }


def labels(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_figure_shows_the_values() -> None:
    history = make_history()
    figure = history.plot()
    loss, score, rate = figure.axes
    first, second = (colour.lower() for colour in CLASS_COLOURS[:2])
    plain, black = PLAIN.lower(), "#000000"
    drawn = lines(loss)
    assert drawn[(plain, 0.35, "-")] == list(enumerate(history["loss"], 1))
    assert drawn[(plain, None, "-")] == list(enumerate(history["val_loss"], 1))
    drawn = lines(score)
    assert drawn[(second, None, "-")] == list(enumerate(history["val_dice_class_2"], 1))
    assert drawn[(black, 0.35, "-")] == list(enumerate(history["mean_dice"], 1))
    # Points in two epochs, joined over the one between them.
    assert drawn[(black, None, ":")] == [(2, 0.25), (4, 0.45)]
    assert drawn[(first, None, ":")] == [(2, 0.2), (4, 0.4)]
    (volumes, _) = (line for line in score.get_lines() if line.get_linestyle() == ":")
    assert volumes.get_marker() == "D"
    (line,) = rate.get_lines()
    assert list(line.get_ydata()) == history["learning_rate"]
    sources = ["training", "validation"]
    assert labels(loss) == sources
    names = ["dice class 1", "dice class 2", "mean dice"]
    assert labels(score) == [*names, *sources, "whole volumes"]


def test_a_constant_rate_is_drawn_from_zero() -> None:
    def limits(rates: list[float]) -> tuple[float, float]:
        values = {"loss": [1.0, 0.5], "learning_rate": rates}
        return History(values).plot().axes[-1].get_ylim()

    assert limits([0.01, 0.01]) == (0, 0.0125)
    assert limits([0.01, 0.009])[0] > 0.008


def test_gaps_of_any_series_are_bridged_with_points() -> None:
    every_tenth = [0.5 if epoch % 10 == 0 else NAN for epoch in range(300)]
    values = {"loss": [0.5] * 300, "val_loss": every_tenth}
    plain, checked = History(values).plot().axes[0].get_lines()
    assert (plain.get_marker(), checked.get_marker()) == ("None", "None")
    values["val_loss"] = [0.5 if epoch % 50 == 0 else NAN for epoch in range(300)]
    _, checked = History(values).plot().axes[0].get_lines()
    assert checked.get_marker() == "."
    assert list(checked.get_xdata()) == [1, 51, 101, 151, 201, 251]


@pytest.mark.parametrize("epochs", [0, 1, 5, 300])
@pytest.mark.parametrize("checked", [False, True])
def test_figures_of_any_length(tmp_path: Path, epochs: int, checked: bool) -> None:
    values = {"loss": [0.5] * epochs, "mean_dice": [0.5] * epochs}
    if checked:
        values |= {f"val_{name}": value for name, value in values.items()}
    figure = History(values).plot(tmp_path / "deep" / "figure.png")
    assert (tmp_path / "deep" / "figure.png").read_bytes().startswith(b"\x89PNG")
    loss = figure.axes[0]
    assert len(figure.axes) == 2
    assert len(loss.get_lines()) == (0 if not epochs else 1 + checked)
    left, right = loss.get_xlim()
    assert left < 1 <= max(1, epochs) < right
    if epochs == 1:
        assert all(line.get_marker() == "." for line in loss.get_lines())
        inside = [tick for tick in loss.get_xticks() if left <= tick <= right]
        assert inside == [1.0]


def test_a_history_without_anything() -> None:
    (axis,) = History({}).plot().axes
    assert axis.get_lines() == []
    assert axis.get_legend() is None


def test_many_classes_have_different_colours() -> None:
    names = [f"dice_class_{number}" for number in range(1, 14)]
    _, score = History({name: [0.1, 0.2] for name in ("loss", *names, "mean_dice")}).plot().axes
    colours = [matplotlib.colors.to_hex(line.get_color()) for line in score.get_lines()]
    assert len(set(colours)) == 14
    assert colours[-1] == "#000000"


def test_files_of_figures(tmp_path: Path) -> None:
    history = make_history()
    history.plot(tmp_path / "h.svg")
    assert "<svg" in (tmp_path / "h.svg").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["h.svg"]
    with pytest.raises(ConfigurationError, match=r"no name for a figure: expected .* \.png"):
        history.plot(tmp_path / "h")


def test_table_in_notebooks() -> None:
    text = History({"loss": [0.5, 0.25, 0.375], "a<b": [NAN, NAN, NAN], "none": []})._repr_html_()
    assert ">3 epochs</caption>" in text
    cells = [re.findall(">([^<>]*)</t[dh]>", row) for row in text.split("<tr")[1:]]
    assert cells == [
        ["", "last", "best", "in epoch"],
        ["loss", "0.375", "0.25", "2"],
        ["a&lt;b", "nan", "", ""],
        ["none", "", "", ""],
    ]
    assert repr(History({"loss": [0.5, 0.25]})) == "History(2 epochs; at the end: loss 0.25)"


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(module).failed == 0


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    name = "$\\frac{$"
    values = {"loss": [1.0, 0.5], "other": [1.0, 0.5], name: [0.1, 0.2], f"val_{name}": [0.2, 0.3]}
    History(values).plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 1000
