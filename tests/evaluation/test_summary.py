"""The tidy table, its files, and the figures made from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from miscnn._text import number
from miscnn.evaluation._bootstrap import bootstrap_interval
from miscnn.evaluation.scores import METRICS
from miscnn.evaluation.summary import ScoreRow, ScoreTable
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
    assert row.median == row.worst == INF


def test_one_subject_has_no_spread() -> None:
    row = table([0.7]).summary().row("dice", 1)
    assert row.mean == row.median == row.worst == 0.7
    assert all(math.isnan(v) for v in (row.sd, row.ci_low, row.ci_high))


def test_folds_are_summarised_by_themselves() -> None:
    summary = table([0.2, 0.4, 0.8, 1.0], folds=[0, 0, 1, 1]).summary()
    assert summary.row("dice", 1, fold=0).mean == pytest.approx(0.3)
    assert summary.row("dice", 1, fold=1).mean == pytest.approx(0.9)
    assert summary.row("dice", 1).mean == pytest.approx(0.6)
    last = str(summary).splitlines()[-1].split()
    assert last[-2:] == ["0.300", "0.900"]
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


def test_interval_of_equal_values_is_the_value() -> None:
    assert bootstrap_interval([0.1] * 7) == pytest.approx((0.1, 0.1))
    assert all(map(math.isnan, bootstrap_interval([0.5])))
    assert all(map(math.isnan, bootstrap_interval([0.5, 0.7], subjects=["a", "a"])))


def test_interval_draws_the_values_of_a_subject_together(rng: np.random.Generator) -> None:
    values = rng.normal(size=12)
    low, high = bootstrap_interval(values)
    repeated = bootstrap_interval(np.repeat(values, 5), np.repeat(np.arange(12), 5).astype(str))
    # Five copies of each subject tell nothing new: as wide as without them.
    assert repeated[1] - repeated[0] == pytest.approx(high - low, rel=0.05)
    as_if_independent = bootstrap_interval(np.repeat(values, 5))
    assert as_if_independent[1] - as_if_independent[0] < 0.6 * (high - low)


def test_interval_is_the_t_interval_for_symmetric_values() -> None:
    values = np.linspace(-1.0, 1.0, 21)
    low, high = bootstrap_interval(values, n_resamples=40_000)
    t_reach = 2.0860 * values.std(ddof=1) / math.sqrt(21)
    assert (low, high) == pytest.approx((-t_reach, t_reach), rel=0.03)


def test_interval_of_skewed_values_equals_scipy_at_the_expanded_level(
    rng: np.random.Generator,
) -> None:
    values = rng.exponential(size=15)
    reach = math.sqrt(15 / 14) * stats.t.ppf(0.975, 14)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=2 * stats.norm.cdf(reach) - 1,
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    low, high = bootstrap_interval(values, n_resamples=40_000)
    width = high - low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.015 * width)
    assert high - values.mean() > 1.2 * (values.mean() - low)


@pytest.mark.parametrize(("n", "skewed"), [(12, False), (25, True)])
def test_interval_covers_the_true_mean(n: int, skewed: bool) -> None:
    rng = np.random.default_rng(7)
    trials, hits = 400, 0
    for trial in range(trials):
        values = rng.beta(9, 1, n) if skewed else rng.normal(0.9, 0.1, n)
        low, high = bootstrap_interval(values, seed=trial, n_resamples=1000)
        hits += low <= 0.9 <= high
    assert 0.925 <= hits / trials <= 0.975
