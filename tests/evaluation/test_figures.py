"""What box plots show, how figures are written, and that nothing global is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imageio.v3 as iio
import matplotlib
import matplotlib.figure
import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn import _style
from miscnn.evaluation import figures
from miscnn.evaluation.figures import PALETTE, box_plot, comparison_plot
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError

NAN, INF = float("nan"), float("inf")


def table(metric: str, values: dict[str, list[float]]) -> ScoreTable:
    return ScoreTable(
        ScoreRow(0, f"s{k}", label, name, metric, value, 10, 1.0)
        for label, (name, column) in enumerate(values.items(), 1)
        for k, value in enumerate(column)
    )


def points(figure: matplotlib.figure.Figure, marker: str) -> list[NDArray[np.float64]]:
    lines = figure.axes[0].lines
    return [np.asarray(line.get_xydata()) for line in lines if line.get_marker() == marker]


def tick_labels(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def test_every_subject_is_a_point_over_its_class() -> None:
    values = {"kidney": [0.9, 0.95, 0.2, NAN], "tumour": [0.5, 0.6, 0.7, 0.8]}
    figure = box_plot(table("dice", values))
    kidney, tumour = points(figure, "o")
    assert sorted(kidney[:, 1]) == [0.2, 0.9, 0.95]
    assert sorted(tumour[:, 1]) == [0.5, 0.6, 0.7, 0.8]
    assert np.all(np.abs(kidney[:, 0]) < 0.25)
    assert np.all(np.abs(tumour[:, 0] - 1) < 0.25)
    assert len(set(tumour[:, 0])) == 4
    means = points(figure, "D")
    assert means[1][0, 1] == pytest.approx(0.65)
    assert tick_labels(figure.axes[0]) == ["kidney\nn = 4\n1 undefined", "tumour\nn = 4"]
    assert figure.axes[0].get_ylim() == (-0.03, 1.03)
    assert figure.axes[0].get_ylabel() == "Dice"


@pytest.mark.parametrize("kind", ["box", "violin"])
def test_infinite_values_are_seen(kind: Any) -> None:
    values = {"liver": [3.0, INF, 5.0, INF], "spleen": [INF, INF, NAN, INF]}
    figure = box_plot(table("hd95_mm", values), metric="hd95_mm", kind=kind)
    assert [len(p) for p in points(figure, "^")] == [2, 3]
    labels = tick_labels(figure.axes[0])
    assert labels == ["liver\nn = 4\n2 infinite", "spleen\nn = 4\n1 undefined\n3 infinite"]
    assert "(mm)" in figure.axes[0].get_ylabel()
    down = box_plot(table("volume_error", {"a": [-INF, 0.5]}), metric="volume_error")
    assert [len(p) for p in points(down, "v")] == [1]


def test_a_violin_spans_the_values_and_marks_quartiles() -> None:
    values = np.random.default_rng(0).beta(8, 2, 100)
    axes = box_plot(table("dice", {"a": values.tolist()}), kind="violin").axes[0]
    (body,) = axes.collections
    (outline,) = body.get_paths()
    low, high = outline.vertices[:, 1].min(), outline.vertices[:, 1].max()
    assert (low, high) == pytest.approx((values.min(), values.max()))
    bar, median = axes.lines[:2]
    assert list(bar.get_ydata()) == pytest.approx(np.percentile(values, (25, 75)).tolist())
    assert median.get_ydata()[0] == pytest.approx(np.median(values))
    # a kernel has no width where all values are one, and says nothing of four
    for few in ([0.5] * 30, [0.1, 0.2, 0.3, 0.4]):
        assert not box_plot(table("dice", {"a": few}), kind="violin").axes[0].collections
    with pytest.raises(ConfigurationError, match='"box" or "violin", got \'bar\''):
        box_plot(table("dice", {"a": [0.5]}), kind="bar")  # type: ignore[arg-type]


def test_a_box_spans_the_quartiles_and_its_whiskers_what_is_near() -> None:
    values = [0.05, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8]
    axes = box_plot(table("dice", {"a": values})).axes[0]
    (box,) = axes.patches
    low, median, high = np.percentile(values, (25, 50, 75))
    assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((low, high))
    lines = [tuple(line.get_ydata()) for line in axes.lines if line.get_marker() == "None"]
    assert (median, median) in lines
    assert (0.8, 0.8) in lines
    # 0.05 lies more than 1.5 times the height below the box
    assert min(min(line) for line in lines) == 0.5


def test_without_points_outliers_are_seen() -> None:
    scores = table("dice", {"a": [0.8, 0.81, 0.82, 0.83, 0.84, 0.1]})
    axes = box_plot(scores, points=False).axes[0]
    shown = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in shown] == [[0.1]]


def test_many_classes_have_room_for_their_names() -> None:
    scores = table("dice", {f"a very long name of organ {k} in words": [0.5] for k in range(15)})
    figure = box_plot(scores)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    assert len({label.get_text() for label in labels}) == 15
    for label in labels:
        assert label.get_rotation() == 40
        assert max(map(len, label.get_text().split("\n"))) <= 28
        box = label.get_window_extent()
        assert box.y0 >= -1
        assert box.x0 >= -1


def test_file_is_a_picture_of_150_dpi(tmp_path: Path) -> None:
    box_plot(table("dice", {"a": [0.5, 0.6]}), tmp_path / "new" / "box.png", title="Fold 1")
    picture = iio.imread(tmp_path / "new" / "box.png")
    assert picture.shape[:2] == (630, 480)
    ink = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    assert len(ink) > 20
    wanted = np.array([int(PALETTE[0][k : k + 2], 16) for k in (1, 3, 5)])
    assert (np.abs(ink.astype(int) - wanted).sum(axis=1) == 0).any()


def test_svg_holds_text_and_is_the_same_every_time(tmp_path: Path) -> None:
    scores = table("dice", {"größte $x$ <Niere>": [0.5, 0.7]})
    for name in ("a.svg", "b.svg"):
        box_plot(scores, tmp_path / name, title="Übersicht")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    words = ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]
    assert {"Dice", "Übersicht", "größte $x$", "<Niere>", "n = 2"} <= set(words)
    assert len(text) < 40_000
    assert matplotlib.rcParams["svg.fonttype"] == "path"


def test_unknown_score_and_unknown_endings_are_named(tmp_path: Path) -> None:
    scores = table("dice", {"a": [0.5]})
    with pytest.raises(ConfigurationError, match="no score 'nsd'; it has dice"):
        box_plot(scores, tmp_path / "box.png", "nsd")
    with pytest.raises(ConfigurationError, match=r"'.*box\.tsv': unknown ending; use \.png"):
        box_plot(scores, tmp_path / "box.tsv")
    assert list(tmp_path.iterdir()) == []


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    name = "$\\frac{$"
    figure = box_plot(table("dice", {name: [0.5, 0.7]}), tmp_path / "a.png")
    assert tick_labels(figure.axes[0]) == [f"{name}\nn = 2"]
    box_plot(table(name, {"a": [0.5, 0.7]}), tmp_path / "b.png", name, title=name)
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_pairs_are_joined_by_lines() -> None:
    first = table("dice", {"a": [0.5, 0.6, 0.7, NAN, 0.9]})
    second = table("dice", {"a": [0.6, 0.5, 0.7, 0.8, 0.95, 0.1]})
    figure = comparison_plot(first, second, names=("alt", "neu"))
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    drawn = {(line.get_color(), tuple(np.round(line.get_ydata(), 3))) for line in lines}
    assert drawn == {
        ("#2166AC", (0.5, 0.6)),
        ("#2166AC", (0.9, 0.95)),
        ("#B2182B", (0.6, 0.5)),
        ("0.5", (0.7, 0.7)),
    }
    (mean,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert list(mean.get_ydata()) == pytest.approx([2.7 / 4, 2.75 / 4])
    assert tick_labels(axes) == ["a\n2 ↑  1 ↓  1 =\n2 left out"]
    infinite = comparison_plot(
        table("hd95_mm", {"a": [1.0, INF]}), table("hd95_mm", {"a": [2.0, 3.0]}), metric="hd95_mm"
    )
    assert tick_labels(infinite.axes[0]) == ["a\n1 ↑  0 ↓\n1 infinite"]
    assert len(points(infinite, "^")[0]) == 1
    other = ScoreTable([ScoreRow(0, "s0", 7, "b", "dice", 0.5, 10, 1.0)])
    with pytest.raises(ConfigurationError, match="no class in common"):
        comparison_plot(first, other)
    twice = first + ScoreTable([ScoreRow(1, "s0", 1, "a", "dice", 0.5, 10, 1.0)])
    with pytest.raises(ConfigurationError, match="'b' holds subject 's0' in several folds"):
        comparison_plot(first, twice)


def test_nothing_global_is_touched() -> None:
    code = """
import sys, tempfile, matplotlib
# asking for the backend imports pyplot
settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}
before = settings()
from miscnn.evaluation.figures import box_plot, training_curves
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.evaluation.visualizer import surface_view
from miscnn.data_loading.sample import Sample
import numpy as np
table = ScoreTable([ScoreRow(0, "s", 1, "a", "dice", 0.5, 10, 1.0)])
sample = Sample("s", np.zeros((6, 6, 6)), 1, 2)
sample.add_segmentation(np.pad(np.ones((2, 2, 2), int), 2))
with tempfile.TemporaryDirectory() as folder:
    box_plot(table, folder + "/a.svg")
    training_curves([{"loss": [1.0, 0.5]}], folder + "/b.png")
    surface_view(sample, folder + "/c.png")
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_notebooks_show_figures() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    figure = box_plot(table("dice", {"a": [0.5, 0.6]}))
    data, metadata = formatters.DisplayFormatter().format(figure)
    picture = iio.imread(data["image/png"])
    assert picture.shape[1] == 2 * metadata["image/png"]["width"] == 512
    assert picture.std() > 5


def test_all_public_figures_are_documented() -> None:
    assert sorted(figures.__all__) == figures.__all__
    for name in set(figures.__all__) - {"PALETTE"}:
        assert "Returns" in getattr(figures, name).__doc__


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3)), (15, (4, 4)), (40, (10, 4))],
)
def test_panels(count: int, shape: tuple[int, int]) -> None:
    assert _style.panels(count) == shape


def test_classes_of_one_table_only_are_counted() -> None:
    first = table("dice", {"liver": [0.5, 0.6], "spleen": [0.1, 0.2], "aorta": [0.3, 0.4]})
    figure = comparison_plot(first, table("dice", {"liver": [0.6, 0.7]}))
    assert "2 classes are in one table only, and not here" in figure.get_supxlabel()
    assert "only" not in comparison_plot(first, first).get_supxlabel()
    with pytest.raises(ConfigurationError, match="names must be two"):
        comparison_plot(first, first, names=("a", "b", "c"))  # type: ignore[arg-type]
