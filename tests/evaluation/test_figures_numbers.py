"""What figures of volumes, explanations, trainings, lesions and probabilities show."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from miscnn.evaluation.calibration_table import CalibrationRow, CalibrationTable
from miscnn.evaluation.figures import (
    bland_altman,
    detection_by_size,
    draw_evaluation,
    reliability_diagram,
    score_against,
    training_curves,
)
from miscnn.evaluation.figures._against import rank_correlation
from miscnn.evaluation.figures._volumes import limits_of_agreement
from miscnn.evaluation.lesion_table import LesionRow, LesionTable
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.history import History

NAN, INF = float("nan"), float("inf")
RHO, MINUS = "\N{GREEK SMALL LETTER RHO}", "\N{MINUS SIGN}"


def scores(columns: dict[str, list[float]], slices: list[int] | None = None) -> ScoreTable:
    return ScoreTable(
        ScoreRow(0, f"s{k}", 1, "liver", metric, value, slices[k] if slices else 10, 2.0)
        for metric, column in columns.items()
        for k, value in enumerate(column)
    )


def volumes(truth: list[float], prediction: list[float]) -> ScoreTable:
    return scores({"volume_truth_ml": truth, "volume_prediction_ml": prediction})


def heights(axes: Any, style: str, marker: str = "None") -> list[float]:
    lines = axes.lines
    return [
        float(line.get_ydata()[0])
        for line in lines
        if line.get_linestyle() == style
        and line.get_marker() == marker
        and line.get_color() == "black"
    ]


def dots(axes: Any, marker: str = "o") -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in axes.lines
        if line.get_marker() == marker
        for x, y in line.get_xydata()
    ]


def legend_texts(figure: Any) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def test_limits_of_agreement_by_hand() -> None:
    # Differences 1 … 5: mean 3, variance 2.5; t of 4 degrees of freedom is 2.776445.
    found = limits_of_agreement(np.arange(1.0, 6.0))
    assert found is not None
    sd, t = math.sqrt(2.5), 2.7764451051977987
    assert found.mean == pytest.approx((3, 3 - t * sd / 5**0.5, 3 + t * sd / 5**0.5))
    half = t * sd * math.sqrt(1 / 5 + 1.959963984540054**2 / 8)
    upper = 3 + 1.959963984540054 * sd
    assert found.high == pytest.approx((upper, upper - half, upper + half))
    lower = 3 - 1.959963984540054 * sd
    assert found.low == pytest.approx((lower, lower - half, lower + half))
    assert limits_of_agreement(np.array([1.0, 2.0])) is None


def test_bland_altman_in_ml(tmp_path: Path) -> None:
    truth = [10.0, 20.0, 30.0, 40.0, 50.0, NAN, 0.0]
    prediction = [11.0, 22.0, 33.0, 44.0, 55.0, 60.0, 0.0]
    figure = bland_altman(volumes(truth, prediction), tmp_path / "b.png", title="Volumes")
    axes = figure.axes[0]
    assert dots(axes) == [(10.5, 1), (21, 2), (31.5, 3), (42, 4), (52.5, 5), (0, 0)]
    differences = np.array([1.0, 2, 3, 4, 5, 0])
    assert heights(axes, "-") == pytest.approx([2.5])
    sd = differences.std(ddof=1)
    assert sorted(heights(axes, "--")) == pytest.approx([2.5 - 1.959964 * sd, 2.5 + 1.959964 * sd])
    assert axes.get_title(loc="left") == "liver  (n = 7, 1 undefined)"
    assert axes.get_xlabel() == "mean of true and predicted volume (ml)"
    assert axes.get_ylabel() == f"prediction {MINUS} truth (ml)"
    texts = [text.get_text() for text in axes.texts]
    assert "+2.5" in texts
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_bland_altman_in_percent_and_as_a_ratio() -> None:
    truth, prediction = [10.0, 20.0, 40.0, 0.0, 5.0], [20.0, 40.0, 80.0, 0.0, 0.0]
    table = volumes(truth, prediction)
    axes = bland_altman(table, scale="percent").axes[0]
    assert [y for _, y in dots(axes)] == pytest.approx([200 / 3] * 3 + [-200])
    assert axes.get_title(loc="left") == "liver  (n = 5, 1 empty)"
    figure = bland_altman(table, scale="log")
    axes = figure.axes[0]
    assert dots(axes)[0] == pytest.approx((math.sqrt(200), 2))
    assert heights(axes, "-") == pytest.approx([2.0])
    assert axes.get_title(loc="left") == "liver  (n = 5, 2 empty)"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_bland_altman_of_few_and_of_none() -> None:
    axes = bland_altman(volumes([1.0, 2.0], [1.5, 2.5])).axes[0]
    assert heights(axes, "--") == []
    bland_altman(volumes([NAN], [NAN]), scale="log")
    area = scores({"area_truth_mm2": [3.0], "area_prediction_mm2": [4.0]})
    assert "(mm²)" in bland_altman(area).axes[0].get_xlabel()
    with pytest.raises(ConfigurationError, match="holds no volumes"):
        bland_altman(scores({"dice": [0.5]}))
    with pytest.raises(ConfigurationError, match="got 'ln'"):
        bland_altman(area, scale="ln")  # type: ignore[arg-type]


def test_scores_over_slices_with_rank_correlation() -> None:
    dice = [0.5, 0.7, 0.6, 0.9, NAN]
    figure = score_against(scores({"dice": dice}, [10, 20, 30, 40, 50]), by="n_slices")
    assert dots(figure.axes[0]) == [(10, 0.5), (20, 0.7), (30, 0.6), (40, 0.9)]
    assert legend_texts(figure) == [f"liver\n{RHO} = 0.80 (n = 4)\n1 undefined"]
    assert figure.axes[0].get_xlabel() == "Number of slices"
    assert figure.axes[0].get_ylabel() == "Dice"


def test_scores_over_size_are_logarithmic_and_tell_what_is_absent() -> None:
    table = scores(
        {"hd95_mm": [9.0, 4.0, 2.0, INF, NAN], "volume_truth_ml": [1.0, 10.0, 100.0, 50.0, 0.0]}
    )
    figure = score_against(table, by="size", metric="hd95_mm")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert dots(axes) == [(1, 9), (10, 4), (100, 2)]
    assert dots(axes, "^") == [(50, 0.985)]
    # ranks of the scores 3, 2, 1, 4 over 1, 2, 4, 3
    expected = stats.spearmanr([3, 2, 1, 4], [1, 2, 4, 3]).statistic
    minus = f"{expected:.2f}".replace("-", MINUS)
    told = f"liver\n{RHO} = {minus} (n = 4)\n1 undefined, 1 infinite, 1 of 0 ml"
    assert legend_texts(figure) == [told]
    absent = scores({"dice": [0.0, 0.8], "volume_truth_ml": [0.0, 3.0]})
    assert [y for _, y in dots(score_against(absent, by="size").axes[0], "<")] == [0.0]
    with pytest.raises(ConfigurationError, match="needs the score volume_truth_ml"):
        score_against(scores({"dice": [0.5]}), by="size")
    with pytest.raises(ConfigurationError, match="got 'age'"):
        score_against(scores({"dice": [0.5]}), by="age")  # type: ignore[arg-type]


def test_correlation_of_ties_and_constants() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    expected = stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    for slices in ([10, 10, 10], [1, 2, 3]):
        figure = score_against(scores({"dice": [0.5, 0.5, 0.5]}, slices))
        assert legend_texts(figure) == [f"liver\n{RHO} undefined (n = 3)"]


@pytest.mark.parametrize("n_classes", [1, 15])
def test_legends_leave_the_axes_their_room(n_classes: int) -> None:
    table = ScoreTable(
        ScoreRow(0, f"s{k}", c, f"Körperteil $ {c} mit langem Namen", "dice", k / 210, k, 1.0)
        for c in range(1, n_classes + 1)
        for k in range(210)
    )
    figure = score_against(table)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert figure.axes[0].get_window_extent().width > 3.5 * figure.dpi
    alphas = {line.get_alpha() for line in figure.axes[0].lines if len(line.get_xdata()) > 100}
    assert alphas == {0.3}


def test_training_curves_hold_every_fold_and_their_mean() -> None:
    first = {"loss": [1.0, 0.8, 0.6], "val_loss": [1.2, NAN, 1.0], "learning_rate": [0.1] * 3}
    second = History({"loss": [3.0, 2.0], "val_loss": [2.0, 3.0], "val_volume_x": [NAN, 0.4]})
    figure = training_curves({"fold 0": first, "fold 1": second})
    loss = figure.axes[0]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "learning rate", "x"]
    lines = [list(line.get_ydata()) for line in loss.lines]
    assert [1.0, 0.8, 0.6] in lines
    assert [2.0, 3.0] in lines
    (mean,) = [line for line in loss.lines if line.get_color() == "black"]
    np.testing.assert_array_equal(mean.get_ydata(), [1.6, NAN])
    # the values on either side of a gap are seen
    assert (1.0, 1.2) in dots(loss, ".")
    assert dots(figure.axes[2], "D") == [(2, 0.4)]
    assert figure.get_supxlabel() == "gaps: 1 undefined or infinite values"
    assert {"fold 0", "fold 1", "training", "validation"} <= set(legend_texts(figure))
    chosen = training_curves([first], metrics=["learning_rate"])
    assert len(chosen.axes) == 1
    with pytest.raises(ConfigurationError, match="'dice' was not logged; there are: loss"):
        training_curves([first], metrics=["dice"])
    with pytest.raises(ConfigurationError, match="nothing to draw"):
        training_curves([])


def test_training_is_told_from_validation_only_where_there_is_one() -> None:
    alone = {"loss": [1.0, 0.5], "learning_rate": [0.01, 0.01]}
    figure = training_curves([alone, alone])
    assert legend_texts(figure) == ["fold 0", "fold 1", "mean"]
    assert figure.axes[1].get_ylim() == (0, 0.0125)  # a constant; not 0.0096 to 0.0104
    assert figure.axes[0].get_ylim()[0] > 0.4
    volumes = training_curves([alone | {"val_volume_dice": [NAN, 0.5]}])
    assert legend_texts(volumes) == ["fold 0", "training", "whole volumes"]


def test_many_trainings_are_grey_and_counted() -> None:
    figure = training_curves({f"f{k}": {"loss": [1.0, float(k)]} for k in range(12)})
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert colours == {"0.6", "black"}
    assert "12 trainings" in legend_texts(figure)


def bins(sample: str, counts: list[int], frequencies: list[float]) -> list[CalibrationRow]:
    n = len(counts)
    return [
        CalibrationRow(
            0,
            sample,
            1,
            "liver",
            k,
            k / n,
            (k + 1) / n,
            count,
            (k + 0.5) / n if count else NAN,
            frequency,
        )
        for k, (count, frequency) in enumerate(zip(counts, frequencies, strict=True))
    ]


def test_reliability_pools_the_bins_of_all_subjects() -> None:
    table = CalibrationTable(
        [*bins("a", [100, 0, 50, 10], [0.1, NAN, 0.5, 1.0]),
         *bins("b", [300, 0, 50, 0], [0.3, NAN, 0.7, NAN])]
    )  # fmt: skip
    figure = reliability_diagram(table)
    above, below = figure.axes
    shown = dots(above)
    assert shown == [pytest.approx(p) for p in [(0.125, 0.25), (0.625, 0.6), (0.875, 1.0)]]
    ece = (400 * 0.125 + 100 * 0.025 + 10 * 0.125) / 510
    assert above.get_title(loc="left") == f"liver\nECE {ece:.3f}, 1 of 4 bins empty"
    tops = [bar.get_y() + bar.get_height() for bar in below.patches]
    assert tops == pytest.approx([400, 100, 10])
    assert below.get_yscale() == "log"
    with pytest.raises(ConfigurationError, match="empty"):
        reliability_diagram(CalibrationTable())


def lesion(sample: str, number: int, side: str, diameter: float, matched: bool) -> LesionRow:
    ml = math.pi / 6 * diameter**3 / 1000
    iou = 0.5 if matched else 0.0
    return LesionRow(0, sample, 1, "tumour", side, number, 9, ml, NAN, diameter, matched,
                     int(matched), iou, iou, iou, int(matched))  # fmt: skip


def test_detection_by_size() -> None:
    table = LesionTable(
        [
            lesion("a", 1, "truth", 15.0, True),
            lesion("a", 2, "truth", 7.0, False),
            lesion("b", 1, "truth", 15.0, False),
            lesion("b", 2, "truth", 12.0, True),
            lesion("a", 1, "prediction", 15.0, True),
            lesion("b", 1, "prediction", 3.0, False),
        ]
    )
    figure = detection_by_size(table, edges_mm=(0, 5, 10, 20))
    above, below = figure.axes
    (points,) = [line for line in above.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points.get_ydata(), [NAN, 0.0, 2 / 3])
    assert [label.get_text() for label in below.get_xticklabels()] == ["0 - 5", "5 - 10", "10 - 20"]
    heights_ = [bar.get_height() for bar in below.patches]
    assert heights_ == [0, 0, 2, 0, 1, 1, 1, 0, 0]  # found, missed, false
    (intervals,) = above.collections
    assert len(intervals.get_segments()) == 1  # a single subject has none
    # over the panel: below the figure it would stand in the legend
    assert not figure.get_supxlabel()
    assert above.get_title(loc="left").split("\n") == [
        "tumour",
        "2 of 4 found, 1 false",
        "1 size has lesions of one subject only: no interval",
    ]
    assert list(above.get_xticks()) == list(below.get_xticks()) == [0, 1, 2]
    by_ml = detection_by_size(table, edges_ml=(0, 1))
    assert by_ml.axes[1].get_xlabel() == "volume (ml)"
    assert "2 outside of the sizes" in by_ml.axes[0].get_title(loc="left")
    with pytest.raises(ConfigurationError, match=r"ask for it with Scoring\(lesions=True\)"):
        detection_by_size(LesionTable())


def test_an_evaluation_is_drawn_as_far_as_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = scores(
        {"dice": [0.5, 0.6], "volume_truth_ml": [1.0, 2.0], "volume_prediction_ml": [1.0, 2.0]}
    )

    class Result(SimpleNamespace):
        @property
        def lesions(self) -> LesionTable:
            raise OSError("damaged")

    calibration = CalibrationTable(bins("a", [5, 5], [0.2, 0.9]))
    broken = SimpleNamespace(number=0, history={"loss": ["x"]})
    result: Any = Result(
        evaluation_path=tmp_path, scores=table, folds=[broken], calibration=calibration
    )
    with caplog.at_level(logging.ERROR, "miscnn.evaluation.figures"):
        paths = draw_evaluation(result)
    names = ["boxplot.dice.png", "volumes.png", "dice.by_size.png", "calibration.png"]
    assert paths == [tmp_path / "figures" / name for name in names]
    assert all(path.stat().st_size > 5000 for path in paths)
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(names)
    messages = sorted(record.getMessage() for record in caplog.records)
    assert len(messages) == 2
    assert "training.png could not be drawn" in messages[0]
    assert "lesions" in messages[1]
