"""What a box plot shows."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import matplotlib.figure
import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.evaluation.figures import PALETTE, box_plot
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError

NAN, INF = float("nan"), float("inf")


def table(metric: str, values: dict[str, list[float]]) -> ScoreTable:
    return ScoreTable(
        ScoreRow(0, f"s{k}", label, name, metric, value, 10, 1.0)
        for label, (name, column) in enumerate(values.items(), 1)
        for k, value in enumerate(column)
    )


def drawn(
    scores: ScoreTable, path: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> matplotlib.figure.Figure:
    """Draw, and return the figure that was saved."""
    saved: list[matplotlib.figure.Figure] = []
    original = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *args: object, **kwargs: object) -> None:
        saved.append(figure)
        original(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    box_plot(scores, path, metric)
    return saved[0]


def points(figure: matplotlib.figure.Figure, marker: str) -> list[NDArray[np.float64]]:
    lines = figure.axes[0].lines
    return [np.asarray(line.get_xydata()) for line in lines if line.get_marker() == marker]


def test_every_subject_is_a_point_over_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"kidney": [0.9, 0.95, 0.2, NAN], "tumour": [0.5, 0.6, 0.7, 0.8]}
    figure = drawn(table("dice", values), tmp_path / "box.png", "dice", monkeypatch)
    kidney, tumour = points(figure, "o")
    assert sorted(kidney[:, 1]) == [0.2, 0.9, 0.95]
    assert sorted(tumour[:, 1]) == [0.5, 0.6, 0.7, 0.8]
    assert np.all(np.abs(kidney[:, 0]) < 0.25)
    assert np.all(np.abs(tumour[:, 0] - 1) < 0.25)
    assert len(set(tumour[:, 0])) == 4
    means = points(figure, "D")
    assert means[1][0, 1] == pytest.approx(0.65)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["kidney\nn = 4\n1 undefined", "tumour\nn = 4"]
    assert figure.axes[0].get_ylim() == (-0.03, 1.03)
    assert figure.axes[0].get_ylabel() == "Dice"


def test_infinite_values_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = table("hd95_mm", {"liver": [3.0, INF, 5.0, INF], "spleen": [INF, INF, NAN, INF]})
    figure = drawn(scores, tmp_path / "box.png", "hd95_mm", monkeypatch)
    assert [len(p) for p in points(figure, "^")] == [2, 3]
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[0].endswith("2 infinite")
    assert "(mm)" in figure.axes[0].get_ylabel()


def test_file_is_a_picture_of_150_dpi(tmp_path: Path) -> None:
    box_plot(table("dice", {"a": [0.5, 0.6]}), tmp_path / "new" / "box.png", title="Fold 1")
    picture = iio.imread(tmp_path / "new" / "box.png")
    assert picture.shape[:2] == (630, 480)
    ink = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    assert len(ink) > 20
    wanted = np.array([int(PALETTE[0][k : k + 2], 16) for k in (1, 3, 5)])
    assert (np.abs(ink.astype(int) - wanted).sum(axis=1) == 0).any()


def test_unknown_score_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no score 'nsd'; it has dice"):
        box_plot(table("dice", {"a": [0.5]}), tmp_path / "box.png", "nsd")
    assert list(tmp_path.iterdir()) == []


def test_names_are_no_mathematics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "$\\frac{$"
    figure = drawn(table("dice", {name: [0.5, 0.7]}), tmp_path / "a.png", "dice", monkeypatch)
    assert figure.axes[0].get_xticklabels()[0].get_text() == f"{name}\nn = 2"
    assert (tmp_path / "a.png").stat().st_size > 1000
    box_plot(table(name, {"a": [0.5, 0.7]}), tmp_path / "b.png", name, title=name)
    assert (tmp_path / "b.png").stat().st_size > 1000
