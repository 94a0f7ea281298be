"""The tidy table, its files, and the figures made from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn._text import number
from miscnn.evaluation.figures import score_against
from miscnn.evaluation.scores import METRICS
from miscnn.evaluation.summary import GROUPINGS, ScoreRow, ScoreTable, Summary
from miscnn.exceptions import ConfigurationError, MissingFileError

NAN, INF = float("nan"), float("inf")


def table(
    values: list[float], metric: str = "dice", folds: list[int] | None = None, label: int = 1
) -> ScoreTable:
    folds = folds or [0] * len(values)
    return ScoreTable(
        ScoreRow(fold, f"case_{k}", label, f"organ {label}", metric, value, 20 + k, 2.5)
        for k, (value, fold) in enumerate(zip(values, folds, strict=True))
    )


def test_summary_equals_numpy() -> None:
    values = [0.9, 0.4, 0.8, 0.75, 0.6]
    row = table(values).summary().row("dice", 1)
    assert row.n == 5
    assert row.mean == pytest.approx(np.mean(values))
    assert row.sd == pytest.approx(np.std(values, ddof=1))
    assert row.median == 0.75
    assert (row.q25, row.q75) == (0.6, 0.8)
    assert (row.worst, row.worst_sample) == (0.4, "case_1")
    assert (row.n_undefined, row.n_infinite) == (0, 0)
    assert row.ci_low < row.mean < row.ci_high


@pytest.mark.parametrize(
    ("metric", "worst", "who"),
    [
        ("dice", -0.9, "case_0"),
        ("hd95_mm", 0.5, "case_1"),
        ("volume_error", -0.9, "case_0"),
        ("volume_truth_ml", NAN, ""),
        ("a score of one's own", NAN, ""),
    ],
)
def test_worst_goes_by_what_is_good(metric: str, worst: float, who: str) -> None:
    row = table([-0.9, 0.5, 0.1], metric).summary().row(metric, 1)
    np.testing.assert_equal(row.worst, worst)
    assert row.worst_sample == who


def test_undefined_and_infinite_values_are_counted() -> None:
    row = table([1.0, NAN, 3.0, INF, 2.0, NAN], "hd95_mm").summary().row("hd95_mm", 1)
    assert (row.n, row.n_undefined, row.n_infinite) == (6, 2, 1)
    assert row.mean == 2.0
    assert row.sd == 1.0
    assert row.median == 2.5  # of 1, 2, 3 and infinity
    assert (row.q25, row.q75) == (1.75, INF)  # 0.75 and 2.25 steps from the lowest
    assert (row.worst, row.worst_sample) == (INF, "case_3")
    text = str(table([1.0, NAN, 3.0, INF, 2.0, NAN], "hd95_mm").summary())
    cells = text.splitlines()[1].split()
    assert cells[-2:] == ["2", "1"]
    assert "infinite" in text


def test_nothing_defined_gives_nothing_but_counts() -> None:
    row = table([NAN, NAN]).summary().row("dice", 1)
    assert (row.n, row.n_undefined) == (2, 2)
    assert all(math.isnan(v) for v in (row.mean, row.sd, row.median, row.worst, row.ci_low))
    row = table([INF, INF], "assd_mm").summary().row("assd_mm", 1)
    assert math.isnan(row.mean)
    assert row.median == row.worst == row.q25 == row.q75 == INF


def test_one_subject_has_no_spread() -> None:
    row = table([0.7]).summary().row("dice", 1)
    assert row.mean == row.median == row.worst == 0.7
    assert all(math.isnan(v) for v in (row.sd, row.ci_low, row.ci_high))


def test_folds_are_summarised_by_themselves() -> None:
    summary = table([0.2, 0.4, 0.8, 1.0], folds=[0, 0, 1, 1]).summary()
    assert summary.row("dice", 1, fold=0).mean == pytest.approx(0.3)
    assert summary.row("dice", 1, fold=1).mean == pytest.approx(0.9)
    assert summary.row("dice", 1).mean == pytest.approx(0.6)
    lines = [line.split() for line in str(summary).splitlines()]
    assert lines[-3][-2:] == ["0.300", "0.900"]
    with pytest.raises(KeyError, match="fold 7"):
        summary.row("dice", 1, fold=7)


def test_mean_over_classes() -> None:
    both = table([0.2, 0.4]) + table([0.8, NAN], label=2) + table([NAN, NAN], label=3)
    assert both.summary().mean_over_classes() == pytest.approx((0.3 + 0.8) / 2)
    assert math.isnan(table([NAN]).summary().mean_over_classes())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=64), min_size=1, max_size=12),
    st.lists(st.text(min_size=1, max_size=40), min_size=12, max_size=12, unique=True),
    st.text(max_size=30),
)
def test_table_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], names: list[str], organ: str
) -> None:
    names = [name.encode("utf-8", "ignore").decode() + f"#{k}" for k, name in enumerate(names)]
    organ = organ.encode("utf-8", "ignore").decode()
    rows = [
        ScoreRow(k, names[k], 1, organ, "dice", value, 7, value) for k, value in enumerate(values)
    ]
    path = tmp_path_factory.mktemp("tables") / "scores.tsv"
    ScoreTable(rows).to_tsv(path)
    found = ScoreTable.from_tsv(path)
    assert list(map(repr, found)) == list(map(repr, rows))


def test_file_is_what_the_documentation_says(tmp_path: Path) -> None:
    (table([0.5]) + table([NAN], "precision") + table([INF], "hd95_mm")).to_tsv(tmp_path / "a.tsv")
    assert (tmp_path / "a.tsv").read_text().splitlines() == [
        "fold\tsample\tclass\tclass_name\tmetric\tvalue\tn_slices\tslice_thickness_mm",
        "0\tcase_0\t1\torgan 1\tdice\t0.5\t20\t2.5",
        "0\tcase_0\t1\torgan 1\tprecision\tnan\t20\t2.5",
        "0\tcase_0\t1\torgan 1\thd95_mm\tinf\t20\t2.5",
    ]


def test_wide_file_has_a_line_per_subject(tmp_path: Path) -> None:
    both = table([0.5, NAN]) + table([0.25, 1.0], label=2) + table([3.0], "hd95_mm")
    both.to_wide_tsv(tmp_path / "wide.tsv")
    assert (tmp_path / "wide.tsv").read_text().splitlines() == [
        "sample_id\tdice_class-1\tdice_class-2\thd95_mm_class-1",
        "case_0\t0.5\t0.25\t3.0",
        "case_1\tnan\t1.0\tnan",
    ]


def test_summary_file_holds_every_row(tmp_path: Path) -> None:
    summary = table([0.25, 0.75], folds=[0, 1]).summary()
    summary.to_tsv(tmp_path / "summary.tsv")
    lines = [line.split("\t") for line in (tmp_path / "summary.tsv").read_text().splitlines()]
    found = dict(zip(lines[0], lines[1], strict=True))
    assert [line[0] for line in lines] == ["fold", "all", "0", "1"]
    assert (found["n"], found["mean"], found["median"]) == ("2", "0.5", "0.5")
    assert (found["worst"], found["worst_sample"]) == ("0.25", "case_0")
    assert float(found["ci95_low"]) == summary.row("dice", 1).ci_low
    assert (found["q25"], found["q75"]) == ("0.375", "0.625")
    assert [line[-2:] for line in lines[1:]] == [
        ["all", "all"],
        ["fold", "fold 0"],
        ["fold", "fold 1"],
    ]


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    with pytest.raises(MissingFileError, match=r"scores\.tsv does not exist"):
        ScoreTable.from_tsv(path)
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(ConfigurationError, match=r"scores\.tsv is no table of scores"):
        ScoreTable.from_tsv(path)
    table([0.5]).to_tsv(path)
    path.write_text(path.read_text().replace("0.5", "half"))
    with pytest.raises(ConfigurationError, match=r"line 2 cannot be read.*half"):
        ScoreTable.from_tsv(path)


def test_a_score_cannot_be_there_twice() -> None:
    with pytest.raises(ConfigurationError, match="dice of class 1 of sample 'case_0' is twice"):
        _ = table([0.5]) + table([0.6])


def test_select_and_properties() -> None:
    both = table([0.5, 0.6], folds=[1, 0]) + table([7.0], "hd95_mm", label=2, folds=[1])
    assert both.samples == ["case_0", "case_1"]
    assert both.folds == [0, 1]
    assert both.metrics == ["dice", "hd95_mm"]
    assert both.classes == {1: "organ 1", 2: "organ 2"}
    assert both.values("dice").tolist() == [0.5, 0.6]
    assert both.values("dice", fold=0).tolist() == [0.6]
    assert both.select(sample="case_0", label=2).rows[0].value == 7.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=9),
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=60),
    st.integers(1, 9),
)
def test_printed_summary_fits_the_screen(values: list[float], organ: str, folds: int) -> None:
    rows = [
        ScoreRow(k % folds, f"s{k}", 1, organ, metric, value, 5, 1.0)
        for metric in [*METRICS, "a score with a very long name"]
        for k, value in enumerate(values)
    ]
    lines = str(ScoreTable(rows).summary()).splitlines()
    assert max(map(len, lines)) <= 100
    heads = lines[0].split()
    assert heads == [
        "class",
        "metric",
        "n",
        "mean",
        "sd",
        "median",
        "IQR",
        "worst",
        *["95", "%", "CI", "nan", "inf"],
    ]


def test_empty_table_says_so() -> None:
    assert str(ScoreTable().summary()) == "no scores"


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6))
def test_printed_numbers_are_short_and_close(value: float) -> None:
    text = number(value)
    assert len(text.lstrip("-")) <= 6
    assert float(text) == pytest.approx(value, rel=6e-4, abs=6e-4)


def test_interval_depends_on_values_and_seed_only() -> None:
    values = [0.9, 0.4, 0.8, 0.75, 0.6]
    alone = table(values).summary(seed=3).row("dice", 1)
    with_more = (table(values) + table([1.0, 2.0], "hd95_mm")).summary(seed=3).row("dice", 1)
    assert (alone.ci_low, alone.ci_high) == (with_more.ci_low, with_more.ci_high)
    other = table(values).summary(seed=4).row("dice", 1)
    assert (alone.ci_low, alone.ci_high) != (other.ci_low, other.ci_high)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=15))
def test_quartiles_are_those_of_numpy(values: list[float]) -> None:
    row = table(values).summary().row("dice", 1)
    assert (row.q25, row.median, row.q75) == pytest.approx(
        tuple(np.quantile(values, (0.25, 0.5, 0.75))), abs=1e-9
    )


def thick(values: list[tuple[float, float, int]], metric: str = "dice") -> ScoreTable:
    """Return a table of (value, slice thickness, number of slices)."""
    return ScoreTable(
        ScoreRow(0, f"case_{k}", 1, "organ", metric, value, n, thickness)
        for k, (value, thickness, n) in enumerate(values)
    )


def groups(summary: Summary, metric: str = "dice", label: int = 1) -> dict[str, tuple[int, float]]:
    """Return number and mean of each group, in order."""
    return {
        row.group: (row.n, round(row.mean, 9))
        for row in summary.rows
        if (row.metric, row.label) == (metric, label)
    }


def test_thickness_has_groups_with_their_upper_edge_and_one_of_the_unknown() -> None:
    given_ = [(0.9, 1.0, 9), (0.8, 1.5, 9), (0.7, 1.6, 9), (0.5, 3.0, 9), (0.4, 5.0, 9),
              (0.2, 5.1, 9), (0.1, NAN, 9)]  # fmt: skip
    found = groups(thick(given_).summary_by("slice_thickness"))
    assert found == {
        "": (7, pytest.approx(3.6 / 7)),
        "≤ 1.5 mm": (2, 0.85),
        "(1.5, 3] mm": (2, 0.6),
        "(3, 5] mm": (1, 0.4),
        "> 5 mm": (1, 0.2),
        "thickness unknown": (1, 0.1),
    }
    assert list(found) == ["", "≤ 1.5 mm", "(1.5, 3] mm", "(3, 5] mm", "> 5 mm",
                           "thickness unknown"]  # fmt: skip
    own = groups(thick(given_).summary_by("slice_thickness", edges=[3.0]))
    assert {name: n for name, (n, _) in own.items()} == {
        "": 7, "≤ 3 mm": 4, "> 3 mm": 2, "thickness unknown": 1,
    }  # fmt: skip


def test_numbers_of_slices_are_divided_into_thirds() -> None:
    values = [(k / 10, 1.0, 10 * k) for k in (3, 1, 2, 6, 5, 4)]
    assert groups(thick(values).summary_by("n_slices")) == {
        "": (6, 0.35),
        "≤ 20 slices": (2, 0.15),
        "(20, 40] slices": (2, 0.35),
        "> 40 slices": (2, 0.55),
    }
    same = [(0.5, 1.0, 7), (0.7, 1.0, 7)]
    assert groups(thick(same).summary_by("n_slices")) == {"": (2, 0.6), "≤ 7 slices": (2, 0.6)}


def sized(volumes: list[float], label: int = 1, metric: str = "volume_truth_ml") -> ScoreTable:
    """Return volumes and a Dice of 0.1 times the position of the subject."""
    return table(volumes, metric, label=label) + table(
        [k / 10 for k in range(len(volumes))], label=label
    )


def test_sizes_are_those_of_the_class_and_nobody_is_left_out() -> None:
    both = sized([1.0, 2.0, 3.0, 0.0, NAN, 4.0]) + sized([50.0, 20.0, 30.0], label=2)
    found = both.summary_by("size")
    assert groups(found) == {
        "": (6, 0.25),
        "absent": (1, 0.3),
        "≤ 2 ml": (2, 0.05),
        "(2, 3] ml": (1, 0.2),
        "> 3 ml": (1, 0.5),
        "size unknown": (1, 0.4),
    }
    assert groups(found, label=2) == {
        "": (3, 0.1), "≤ 20 ml": (1, 0.1), "(20, 30] ml": (1, 0.2), "> 30 ml": (1, 0.0),
    }  # fmt: skip
    assert groups(both.summary_by("size", edges=[2.5, 25.0]), label=2) == {
        "": (3, 0.1), "(2.5, 25] ml": (1, 0.1), "> 25 ml": (2, 0.1),
    }  # fmt: skip
    flat = sized([10.0, 20.0], metric="area_truth_mm2").summary_by("size", edges=[15.0])
    assert list(groups(flat)) == ["", "≤ 15 mm²", "> 15 mm²"]
    one_of_two = sized([1.0, 2.0]) + table([0.5], label=2)
    assert groups(one_of_two.summary_by("size"), label=2) == {
        "": (1, 0.5), "size unknown": (1, 0.5),
    }  # fmt: skip


def test_sizes_need_volumes_and_scores_are_chosen_beside_them() -> None:
    both = sized([1.0, 2.0, 3.0])
    with pytest.raises(
        ConfigurationError, match=r"need the score volume_truth_ml .*holds dice\. .*metrics=\["
    ):
        both.select(metric="dice").summary_by(["fold", "size"])
    found = both.summary_by("size", metrics=["dice"])
    assert {row.metric for row in found.rows} == {"dice"}
    assert groups(found) == groups(both.summary_by("size"))
    assert len(groups(found)) == 4
    assert ScoreTable().summary_by("size").rows == ()


def test_chosen_scores_are_summarised_as_among_all() -> None:
    both = sized([1.0, 2.0, 3.0])
    found = both.summary(metrics=["dice"])
    assert found.rows == tuple(row for row in both.summary().rows if row.metric == "dice")
    assert both.summary(metrics="dice") == found
    with pytest.raises(ConfigurationError, match="holds no 'nsd'; it holds dice, volume_truth_ml"):
        both.summary(metrics=["dice", "nsd"])


def test_columns_names_are_names_of_groupings() -> None:
    given_ = thick([(0.5, 1.0, 9), (0.7, 4.0, 9)])
    expected = repr(given_.summary_by("slice_thickness"))
    assert repr(given_.summary_by("slice_thickness_mm")) == expected
    assert repr(given_.summary_by(["slice_thickness_mm", "slice_thickness"])) == expected
    for by in ("slice_thickness", "slice_thickness_mm"):
        (axes,) = score_against(given_, by=by).axes  # type: ignore[arg-type]
        assert axes.get_xlabel() == "Slice thickness (mm)"


def test_scores_stand_in_the_order_of_the_tables() -> None:
    names = ["nsd_5mm", "nsd_1mm", "dice", "cldice", "nsd_2mm", "hd_mm"]
    whole = sum((table([0.5], name) for name in names), ScoreTable())
    assert [row.metric for row in whole.summary().rows if not row.group] == [
        "dice", "hd_mm", "nsd_1mm", "nsd_2mm", "nsd_5mm", "cldice",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "metric", "who"),
    [
        ([1.0, 1.0, NAN, 1.0], "dice", ""),
        ([0.0, 0.0], "hd95_mm", ""),
        ([INF, INF], "hd95_mm", ""),
        ([-0.5, 0.5], "volume_error", ""),
        ([0.4, 0.4, 0.5], "dice", "case_0"),
        ([NAN, 0.4], "dice", "case_1"),
    ],
)
def test_nobody_is_the_worst_of_equals(values: list[float], metric: str, who: str) -> None:
    row = table(values, metric).summary().row(metric, 1)
    assert row.worst_sample == who
    assert not math.isnan(row.worst)


def test_intervals_of_few_values_are_told() -> None:
    def notes(given: ScoreTable) -> list[str]:
        return [line for line in str(given.summary()).splitlines() if line.startswith("CI:")]

    few = table([0.2, 0.4, 0.9, NAN, NAN]) + table([1.0, 2.0, 3.0, 4.0], "hd95_mm")
    assert notes(few) == ["CI: 2 interval(s) of fewer than 5 values (3 to 4): rough."]
    assert "(3 to 4): rough" in few.summary().to_html()
    assert notes(table([0.2, 0.4, 0.9, 0.5, 0.6], folds=[0, 0, 0, 1, 1])) == []
    assert notes(table([0.2])) == []  # no interval at all


def test_several_subjects_are_selected() -> None:
    four = table([0.1, 0.2, 0.3, 0.4])
    assert four.select("dice", samples=["case_3", "case_1"]).values("dice").tolist() == [0.2, 0.4]
    assert four.select(sample="case_1", samples=iter(["case_2"])).rows == ()
    assert four.select(samples=[]).rows == ()
    with pytest.raises(ConfigurationError, match="got 'case_1'; one subject: sample="):
        four.select(samples="case_1")


def test_folds_are_a_grouping_like_the_others() -> None:
    four = table([0.2, 0.4, 0.8, 1.0], folds=[0, 0, 1, 1])
    assert four.summary_by("fold").rows == four.summary().rows
    assert four.summary().row("dice", 1, fold=1) == four.summary().row("dice", 1, group="fold 1")
    assert four.summary().row("dice", 1).group == ""
    # A subject of two folds is two subjects of a grouping.
    twice = table([0.2, 0.4]) + table([0.6, 0.8], folds=[1, 1])
    assert groups(twice.summary_by("n_slices"))["≤ 20 slices"] == (2, 0.4)


def test_groups_make_up_the_whole_and_their_rows_are_plain_summaries(
    rng: np.random.Generator,
) -> None:
    rows = [
        ScoreRow(k % 4, f"case_{k}", label, f"organ {label}", metric,
                 float(rng.choice([rng.beta(9, 1), NAN, INF, 0.0], p=[0.7, 0.1, 0.1, 0.1])),
                 int(rng.integers(10, 90)) if label < 0 else 10 + 3 * k,
                 [1.0, 2.0, 5.0, NAN][k % 4])
        for k in range(30)
        for label in (1, 2)
        for metric in ("dice", "hd95_mm", "volume_truth_ml")
    ]  # fmt: skip
    whole = ScoreTable(rows)
    found = whole.summary_by(GROUPINGS, seed=5)
    for by in GROUPINGS:
        for metric in whole.metrics:
            for label in (1, 2):
                mine = [r for r in found.rows if (r.by, r.metric, r.label) == (by, metric, label)]
                total = found.row(metric, label)
                for name in ("n", "n_undefined", "n_infinite"):
                    assert sum(getattr(row, name) for row in mine) == getattr(total, name)
    # As the subjects of the group alone.
    thin = ScoreTable(row for row in rows if row.slice_thickness == 1.0).summary(seed=5)
    group, alone = found.row("dice", 2, group="≤ 1.5 mm"), thin.row("dice", 2)
    for name in ("n", "mean", "sd", "q25", "q75", "worst_sample", "ci_low", "ci_high"):
        assert getattr(group, name) == getattr(alone, name), name
    assert found.row("dice", 1, by="fold", group="fold 2").fold == 2
    assert found.mean_over_classes() == whole.summary().mean_over_classes()
    with pytest.raises(KeyError, match="group '> 9 mm'"):
        found.row("dice", 1, group="> 9 mm")
    shuffled = ScoreTable([rows[k] for k in rng.permutation(len(rows))]).summary_by(GROUPINGS, 5)
    means = {(r.group, r.metric, r.label): r.mean for r in shuffled.rows}
    for row in found.rows:
        assert means[row.group, row.metric, row.label] == pytest.approx(row.mean, nan_ok=True)


def test_groups_in_the_file(tmp_path: Path) -> None:
    thick([(0.5, 1.0, 9), (0.7, 4.0, 9)]).summary_by(["fold", "slice_thickness"]).to_tsv(
        tmp_path / "summary.tsv"
    )
    lines = [line.split("\t") for line in (tmp_path / "summary.tsv").read_text().splitlines()]
    assert [(line[0], line[-2], line[-1], line[7]) for line in lines] == [
        ("fold", "by", "group", "mean"),
        ("all", "all", "all", "0.6"),
        ("0", "fold", "fold 0", "0.6"),
        ("", "slice_thickness", "≤ 1.5 mm", "0.5"),
        ("", "slice_thickness", "(3, 5] mm", "0.7"),
    ]


def test_wrong_groupings_are_named() -> None:
    one = table([0.5])
    with pytest.raises(ConfigurationError, match=r"grouped by 'organ'; it must be one of fold, "):
        one.summary_by("organ")
    for wrong in ([], [2.0, 2.0], [3.0, 1.0], [NAN], [1.0, INF]):
        with pytest.raises(ConfigurationError, match="ascending order, at least one, got"):
            one.summary_by("n_slices", edges=wrong)
    with pytest.raises(ConfigurationError, match="folds are groups already"):
        one.summary_by("fold", edges=[1.0])
    with pytest.raises(ConfigurationError, match="belong to one grouping, got 2: fold, size"):
        sized([1.0]).summary_by(["fold", "size"], edges=[1.0])


def test_printed_groups() -> None:
    text = str(thick([(0.5, 1.0, 9), (0.7, 4.0, 9), (NAN, 4.0, 9)]).summary_by("slice_thickness"))
    assert [line.split()[:6] for line in text.splitlines()] == [
        ["group", "n", "mean", "sd", "median", "IQR"],
        ["organ:", "dice"],
        ["all", "3", "0.600", "0.141", "0.600", "0.550…0.650"],
        ["≤", "1.5", "mm", "1", "0.500", "—"],
        ["(3,", "5]", "mm", "2", "0.700", "—"],
        [],
        ["nan:", "how", "many", "values", "are", "undefined"],
        ["CI:", "1", "interval(s)", "of", "fewer", "than"],
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=9), st.floats(0.01, 1e7))
def test_printed_groups_fit_the_screen(values: list[float], size: float) -> None:
    rows = [
        ScoreRow(0, f"s{k}", 1, "o" * 40, metric, value, 5000 + k, size + k)
        for metric in ["dice", "volume_truth_ml", "a score with a very long name"]
        for k, value in enumerate(values)
    ]
    lines = str(ScoreTable(rows).summary_by(GROUPINGS)).splitlines()
    assert max(map(len, lines)) <= 100


def test_summaries_in_notebooks() -> None:
    named = ScoreTable(
        ScoreRow(0, f"case_{k}", 1, "<b>liver", "dice", value, 9, 1.0 + 3 * k)
        for k, value in enumerate([0.5, 0.7, NAN])
    )
    plain, grouped = named.summary()._repr_html_(), named.summary_by("n_slices")._repr_html_()
    for html in (plain, grouped, named._repr_html_()):
        assert "&lt;b&gt;liver" in html
        assert "<b>" not in html
        assert "0.550…0.650" in html
        assert "nan: how many" in html
    assert plain.count("<tr") == 2  # head, all
    assert "≤ 9 slices" in grouped
    assert "ScoreTable(3 rows: 3 subjects" in named._repr_html_()
    assert "no scores" in ScoreTable()._repr_html_()


def test_thicknesses_of_headers_in_float32_are_on_the_edge() -> None:
    thicknesses = [float(np.float32(3.0000002)), 2.9999998, 3.0, 3.01, 5.0000005]
    rows = [
        ScoreRow(0, f"case_{k}", 1, "liver", "dice", 0.5, 20, thickness)
        for k, thickness in enumerate(thicknesses)
    ]
    for edges in (None, [1.5, 3.0, 5.0]):
        found = ScoreTable(rows).summary_by("slice_thickness", edges=edges)
        assert {row.group: row.n for row in found.rows if row.group} == {
            "(1.5, 3] mm": 3,
            "(3, 5] mm": 2,
        }


def test_groups_of_large_or_near_edges_have_names_of_their_own() -> None:
    def groups(values: list[float], edges: list[float] | None = None) -> list[str]:
        both = table(values, "volume_truth_ml") + table([0.5] * len(values))
        found = both.summary_by("size", edges=edges)
        return [r.group for r in found.rows if r.group and r.metric == "dice"]

    assert groups([1000.05, 1000.15, 1000.3], [1000.1, 1000.2]) == [
        "≤ 1000.1 ml",
        "(1000.1, 1000.2] ml",
        "> 1000.2 ml",
    ]
    assert groups([12345.0, 23456.0, 34567.0]) == [
        "≤ 12345 ml",
        "(12345, 23456] ml",
        "> 23456 ml",
    ]
    assert groups([1.23456, 7.0, 9.0])[0] == "≤ 1.235 ml"


def test_files_that_are_no_table_of_scores_are_told(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    path.write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(ConfigurationError, match="no table of scores: it is no text"):
        ScoreTable.from_tsv(path)
    with pytest.raises(MissingFileError, match=r"written by cross_validation$"):
        ScoreTable.from_tsv(tmp_path / "none.tsv")
