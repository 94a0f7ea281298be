"""Two models on the same subjects: known shifts, known spreads, and what is left out."""

from __future__ import annotations

import csv
import doctest
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats

from miscnn.evaluation import bootstrap_interval, comparison
from miscnn.evaluation._results import CrossValidationResult, FoldResult
from miscnn.evaluation._significance import adjusted_p
from miscnn.evaluation.comparison import Estimate, compare, compare_all
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError

NAN, INF = float("nan"), float("inf")


def table(values: ArrayLike, label: int = 1, metric: str = "dice", first: int = 0) -> ScoreTable:
    return ScoreTable(
        ScoreRow(k % 3, f"case_{k:02d}", label, f"organ {label}", metric, float(value), 20, 2.5)
        for k, value in enumerate(np.asarray(values), first)
    )


def parts(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def test_known_shift(rng: np.random.Generator) -> None:
    b = rng.normal(0.8, 0.1, 20)
    row = compare(table(b + 0.05), table(b)).row(1)
    assert parts(row.mean_difference) == pytest.approx([0.05] * 3)
    assert parts(row.sd_difference) == pytest.approx([0] * 3, abs=1e-12)
    assert parts(row.sd_ratio) == pytest.approx([1] * 3)
    assert (row.n, row.n_left_out) == (20, 0)
    assert (row.worst_a, row.worst_b) == pytest.approx((b.min() + 0.05, b.min()))
    assert row.worst_sample_a == row.worst_sample_b == f"case_{b.argmin():02d}"


def test_known_ratio_of_spreads(rng: np.random.Generator) -> None:
    b = rng.normal(0.8, 0.1, 20)
    row = compare(table(0.7 + 0.25 * (b - 0.8)), table(b)).row(1)
    # Scores that are one another, shrunk: the ratio is the same in every resample.
    assert parts(row.sd_ratio) == pytest.approx([0.25] * 3)
    assert row.sd_b == pytest.approx(b.std(ddof=1))
    assert row.sd_difference.value == pytest.approx(-0.75 * b.std(ddof=1))
    assert row.sd_difference.low < row.sd_difference.value < row.sd_difference.high < 0


def test_figures_equal_numpy_and_the_order_of_rows_does_not_matter(
    rng: np.random.Generator,
) -> None:
    a, b = rng.beta(9, 1, (2, 12))
    shuffled = ScoreTable(table(b).rows[::-1])
    one, other = compare(table(a), table(b), seed=3), compare(table(a), shuffled, seed=3)
    assert one == other
    row = one.row(1)
    assert (row.mean_a, row.mean_b) == pytest.approx((a.mean(), b.mean()))
    assert (row.sd_a, row.sd_b) == pytest.approx((a.std(ddof=1), b.std(ddof=1)))
    assert row.mean_difference.value == pytest.approx((a - b).mean())
    assert row.sd_difference.value == pytest.approx(a.std(ddof=1) - b.std(ddof=1))
    assert row.sd_ratio.value == pytest.approx(a.std() / b.std())
    assert parts(row.mean_difference)[1:] == list(bootstrap_interval(a - b, seed=3))
    assert compare(table(a), table(b), seed=4).row(1) != row
    with pytest.raises(KeyError, match=r"no class 2; there are \[1\]"):
        one.row(2)


def test_results_are_taken_for_their_tables(rng: np.random.Generator) -> None:
    a, b = table(rng.beta(9, 1, 8)), table(rng.beta(9, 1, 8))
    fold = FoldResult(0, Path("f"), (), (), (), {}, a)
    whole = CrossValidationResult(Path("e"), (fold,))
    assert compare(whole, b) == compare(fold, b) == compare(a, b)
    assert compare(b, whole) == compare(b, a)
    for wrong in ("scores.tsv", None, a.rows):
        with pytest.raises(ConfigurationError, match=r"table 'b' must.*\.scores.*from_tsv"):
            compare(a, wrong)


def test_pairing_narrows_the_interval(rng: np.random.Generator) -> None:
    b = rng.normal(0.8, 0.1, 25)
    a = b + rng.normal(0.02, 0.01, 25)
    paired = compare(table(a), table(b)).row(1).mean_difference
    crossed = compare(table(rng.permutation(a)), table(b)).row(1).mean_difference
    assert 5 * (paired.high - paired.low) < crossed.high - crossed.low
    assert paired.low > 0 > crossed.low


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_exchange_turns_differences_and_inverts_ratios(seed: int, n: int) -> None:
    a, b = np.random.default_rng(seed).beta(9, 1, (2, n))
    there = compare(table(a), table(b), n_resamples=500).row(1)
    back = compare(table(b), table(a), n_resamples=500).row(1)
    for name in ("mean_difference", "sd_difference"):
        one, other = getattr(there, name), getattr(back, name)
        assert [-one.value, -one.high, -one.low] == pytest.approx(parts(other), abs=1e-9)
    ratio = there.sd_ratio
    inverse = [1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else INF]
    assert inverse == pytest.approx(parts(back.sd_ratio), rel=1e-6)
    assert (there.worst_a, there.worst_sample_a) == (back.worst_b, back.worst_sample_b)
    assert (there.mean_a, there.sd_a) == (back.mean_b, back.sd_b)


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_truth(skewed: bool) -> None:
    rng = np.random.default_rng(5)
    trials, n = 400, 16
    hits = np.zeros(3)
    for trial in range(trials):
        if skewed:  # shares half of the subjects' values, half as wide around 1
            u, v = rng.beta(9, 1, (2, n))
            a, b = 1 - 0.5 * (1 - u), np.where(rng.random(n) < 0.5, u, v)
            sd = math.sqrt(9 / (10**2 * 11))
            shift, sd_a, sd_b = 0.05, 0.5 * sd, sd
        else:
            z = rng.normal(size=(3, n)) / math.sqrt(2)
            a, b = 0.95 + 0.05 * (z[0] + z[1]), 0.9 + 0.1 * (z[0] + z[2])
            shift, sd_a, sd_b = 0.05, 0.05, 0.1
        row = compare(table(a), table(b), seed=trial, n_resamples=800).row(1)
        truth = (shift, sd_a - sd_b, sd_a / sd_b)
        found = (row.mean_difference, row.sd_difference, row.sd_ratio)
        hits += [e.low <= t <= e.high for e, t in zip(found, truth, strict=True)]
    mean, difference, ratio = hits / trials
    # In 1500 trials: 0.961, 0.908 and 0.941 for normal scores, 0.917, 0.831 and 0.938 for skewed.
    assert (0.87 if skewed else 0.93) <= mean <= 0.985
    assert (0.78 if skewed else 0.87) <= difference <= 0.95
    assert 0.90 <= ratio <= 0.98


def test_scores_that_are_not_finite_are_counted_and_leave_their_pair_out() -> None:
    a = [1.0, 2.0, 4.0, NAN, 3.0, INF, NAN]
    b = [2.0, 2.5, 3.0, 1.0, INF, INF, NAN]
    result = compare(table(a, metric="hd95_mm"), table(b, metric="hd95_mm"), "hd95_mm")
    row = result.row(1)
    assert (row.n, row.n_left_out) == (3, 4)
    assert (row.n_undefined_a, row.n_undefined_b) == (2, 1)
    assert (row.n_infinite_a, row.n_infinite_b) == (1, 2)
    assert (row.mean_a, row.mean_b) == pytest.approx((7 / 3, 2.5))
    assert row.mean_difference.value == pytest.approx(-0.5 / 3)
    assert row.sd_b == pytest.approx(0.5)
    assert (row.worst_a, row.worst_sample_a) == (INF, "case_05")
    assert (row.worst_b, row.worst_sample_b) == (INF, "case_04")
    text = " ".join(str(result).split())
    assert "organ 1: 4 subject(s)" in text
    assert "undefined 2 and 1, infinite 1 and 2" in text
    assert "2 of them are in p of the means, as ranks" in text
    # −1, −0.5, 1, −inf and inf against inf: 0; ranks 3.5, 2, 3.5, 5 beside the zero's 1.
    assert row.n_ranked == 5
    assert row.p_wilcoxon == pytest.approx(2 * 4 / 16)


@pytest.mark.parametrize(
    ("a", "b", "mean", "ratio"),
    [
        ([NAN, NAN], [1.0, NAN], [NAN] * 3, [NAN] * 3),
        ([0.5], [0.25], [0.25, NAN, NAN], [NAN] * 3),
        ([0.5, 1.0], [0.25, 0.5], [0.375, NAN, NAN], [2.0, NAN, NAN]),
        ([1.0] * 5, [1.0] * 5, [0.0] * 3, [NAN] * 3),
        ([1.0] * 5, [0.5, 0.6, 0.7, 0.8, 0.9], None, [0.0, 0.0, 0.0]),
        ([0.5, 0.6, 0.7, 0.8, 0.9], [1.0] * 5, None, [INF, INF, INF]),
    ],
)
def test_few_or_equal_scores(
    a: Sequence[float], b: Sequence[float], mean: list[float] | None, ratio: list[float]
) -> None:
    row = compare(table(a), table(b)).row(1)
    if mean is not None:
        assert parts(row.mean_difference) == pytest.approx(mean, nan_ok=True)
    assert parts(row.sd_ratio) == pytest.approx(ratio, nan_ok=True)


def test_a_spread_that_rests_on_one_subject_has_no_bound() -> None:
    a, b = [0.9, 0.9, 0.9, 0.9, 0.9, 0.2], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    row = compare(table(a), table(b)).row(1)
    # Drawn without case_05 the first model has no spread at all.
    assert row.sd_ratio.low == 0.0
    assert row.sd_ratio.value == pytest.approx(np.std(a) / np.std(b))
    assert row.sd_ratio.high < 10


def test_differing_tables_are_refused() -> None:
    five = table([0.5] * 5)
    with pytest.raises(
        ConfigurationError,
        match=r"subjects of class 1 \(1 only in 'MIA': case_00; 2 only in 'CTIA': case_05, case_06",
    ):
        compare(five, table([0.5] * 6, first=1), names=("MIA", "CTIA"))
    with pytest.raises(ConfigurationError, match=r"classes \(1 only in 'b': 2\)"):
        compare(five, five + table([0.5] * 5, 2))
    with pytest.raises(ConfigurationError, match=r"table 'b' holds no 'dice'; it holds assd_mm"):
        compare(five, table([0.5] * 5, metric="assd_mm"))
    with pytest.raises(ConfigurationError, match=r"table 'a' holds no 'dice'; it holds nothing"):
        compare(ScoreTable(), five)
    again = ScoreTable(
        ScoreRow(row.fold + 3, row.sample, 1, "organ 1", "dice", 0.4, 20, 2.5) for row in five
    )
    with pytest.raises(ConfigurationError, match=r"'case_00' has several values.*fold="):
        compare(five, five + again)
    with pytest.raises(ConfigurationError, match="names must be two"):
        compare(five, five, names="ab")
    with pytest.raises(ConfigurationError, match="confidence must lie between 0 and 1, got 95"):
        compare(five, five, confidence=95)


def test_classes_are_compared_one_by_one_and_other_scores_left_alone() -> None:
    a = table([0.5, 0.6, 0.7, 0.9]) + table([0.1, 0.2, 0.3], 2) + table([9.0] * 4, 1, "hd95_mm")
    b = table([0.4, 0.5, 0.6, 0.8]) + table([0.1, 0.3, 0.6], 2) + table([9.0], 1, "hd95_mm")
    result = compare(a, b)
    assert [(row.label, row.class_name, row.n) for row in result.rows] == [
        (1, "organ 1", 4),
        (2, "organ 2", 3),
    ]
    assert result.rows[0].mean_difference.value == pytest.approx(0.1)
    assert result.rows[1].mean_difference.value == pytest.approx(-0.4 / 3)


def test_printed_table(rng: np.random.Generator) -> None:
    z = rng.normal(size=(4, 12))
    a = table(0.9 + 0.02 * z[0]) + table(0.8 + 0.02 * z[1], 2)
    b = table(0.85 + 0.08 * z[2]) + table(0.6 + 0.08 * z[3], 2)
    result = compare(a, b, names=("CTIA", "a model with a very long name"), confidence=0.9)
    lines = str(result).splitlines()
    assert lines[0] == "dice: CTIA against a model with a very long name, paired by subject"
    assert max(map(len, lines[2:])) <= 100
    assert lines[2].count("90 % CI") == 2
    assert lines[3].split()[:3] == ["organ", "1", "mean"]
    row = result.row(2)
    sd = lines[7].split()
    assert sd[:4] == ["sd", *(f"{v:.3f}" for v in (row.sd_a, row.sd_b, row.sd_difference.value))]
    assert sd[5:7] == [f"{row.sd_ratio.value:.3f}",
                       f"{row.sd_ratio.low:.3f}…{row.sd_ratio.high:.3f}"]  # fmt: skip
    assert sd[-1] == ("<0.001" if row.p_spread_adjusted < 0.001 else f"{row.p_spread_adjusted:.3f}")
    assert lines[6].split()[-1] == "<0.001"
    assert row.p_wilcoxon_adjusted == 2 * row.p_wilcoxon < 0.001
    assert lines[8].split()[0] == "worst"
    assert lines[9:] == ["", "p: holm, for 2 test(s) of each kind."]


def test_file_holds_every_figure(rng: np.random.Generator, tmp_path: Path) -> None:
    a, b = rng.beta(9, 1, (2, 8))
    result = compare(table(a), table(b))
    result.to_tsv(tmp_path / "comparison.tsv")
    with (tmp_path / "comparison.tsv").open() as file:
        (found,) = csv.DictReader(file, delimiter="\t")
    row = result.row(1)
    assert (found["class"], found["class_name"], found["metric"]) == ("1", "organ 1", "dice")
    for name in ("n", "n_left_out", "n_undefined_b", "mean_a", "sd_b", "worst_a"):
        assert float(found[name]) == getattr(row, name)
    for name in ("mean_difference", "sd_difference", "sd_ratio"):
        columns = [float(found[name + end]) for end in ("", "_low", "_high")]
        assert columns == parts(getattr(row, name))
    assert found["worst_sample_b"] == row.worst_sample_b


def test_p_values_stay_when_tables_and_rows_change_places(rng: np.random.Generator) -> None:
    a, b = rng.beta(9, 1, (2, 20))
    there = compare(table(a), table(b), n_resamples=200).row(1)
    back = compare(ScoreTable(table(b).rows[::-1]), table(a), n_resamples=200).row(1)
    assert (there.p_wilcoxon, there.p_spread) == pytest.approx((back.p_wilcoxon, back.p_spread))
    assert there.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)
    # Where the models lie is no spread.
    moved = compare(table(a - 0.5), table(b), n_resamples=200).row(1)
    assert moved.p_spread == pytest.approx(there.p_spread)
    assert moved.p_wilcoxon < 0.001


def test_p_values_find_what_is_there(rng: np.random.Generator) -> None:
    z = rng.normal(size=(3, 25))
    better = compare(table(0.85 + 0.05 * z[0]), table(0.80 + 0.05 * z[0] + 0.01 * z[1])).row(1)
    assert better.p_wilcoxon < 0.001
    steadier = compare(table(0.8 + 0.02 * z[0]), table(0.8 + 0.1 * z[1])).row(1)
    assert steadier.p_spread < 0.001
    assert steadier.p_wilcoxon > 0.05


def several(rng: np.random.Generator, shift: float) -> ScoreTable:
    """Return Dice and HD95 of two classes of ten subjects."""
    return sum(
        (
            table(rng.beta(9, 1, 10) - shift * label, label, metric)
            for label in (1, 2)
            for metric in ("dice", "hd95_mm")
        ),
        ScoreTable(),
    )


def test_classes_of_one_comparison_are_corrected_together(rng: np.random.Generator) -> None:
    a, b = several(rng, 0.0), several(rng, 0.05)
    raw = compare(a, b, correction="none", n_resamples=200)
    assert all(row.p_wilcoxon == row.p_wilcoxon_adjusted for row in raw.rows)
    assert "p: not corrected" in str(raw)
    for correction in ("holm", "benjamini-hochberg"):
        found = compare(a, b, correction=correction, n_resamples=200)
        for name in ("p_wilcoxon", "p_spread"):
            before = [getattr(row, name) for row in raw.rows]
            assert [getattr(row, name) for row in found.rows] == before
            after = [getattr(row, f"{name}_adjusted") for row in found.rows]
            assert after == pytest.approx(adjusted_p(before, correction))
    with pytest.raises(ConfigurationError, match=r"one of holm, benj.*none, got 'bonferroni'"):
        compare(a, b, correction="bonferroni", n_resamples=200)


def test_all_pairs_classes_and_scores_are_one_family(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    tables = {"U-Net": several(rng, 0), "MSD-Net": several(rng, 0.02), "a|b": several(rng, 0.1)}
    found = compare_all(tables, ["dice", "hd95_mm"], n_resamples=200)
    pairs = [("U-Net", "MSD-Net"), ("U-Net", "a|b"), ("MSD-Net", "a|b")]
    assert [(c.metric, c.names) for c in found] == [
        (metric, pair) for metric in ("dice", "hd95_mm") for pair in pairs
    ]
    rows = [row for comparison in found for row in comparison.rows]
    assert len(found) == 6
    assert len(rows) == 12
    for name in ("p_wilcoxon", "p_spread"):
        assert [getattr(row, f"{name}_adjusted") for row in rows] == pytest.approx(
            adjusted_p([getattr(row, name) for row in rows], "holm")
        )
    alone = compare(tables["U-Net"], tables["a|b"], "hd95_mm", n_resamples=200).row(2)
    of_all = found.pair("U-Net", "a|b", "hd95_mm").row(2)
    assert of_all.mean_difference == alone.mean_difference
    assert of_all.p_wilcoxon == alone.p_wilcoxon
    assert of_all.p_wilcoxon_adjusted >= alone.p_wilcoxon_adjusted
    assert found.pair("U-Net", "MSD-Net").metric == "dice"
    with pytest.raises(KeyError, match=r"'a\|b' against 'U-Net'; there are: U-Net against MSD"):
        found.pair("a|b", "U-Net")

    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    assert [line for line in text.splitlines() if line in ("dice", "hd95_mm")] == [
        "dice", "hd95_mm",
    ]  # fmt: skip
    assert "p: holm, for 12 test(s) of each kind." in text
    head, _, first, second = text.splitlines()[:4]
    assert head.endswith("p (Holm)")
    row = rows[0]
    assert first.split()[4:9] == [
        "mean", "10", *(f"{v:.3f}" for v in (row.mean_a, row.mean_b, row.mean_difference.value)),
    ]  # fmt: skip
    assert second.split()[:4] == [
        "sd", *(f"{v:.3f}" for v in (row.sd_a, row.sd_b, row.sd_ratio.value)),
    ]  # fmt: skip
    found.to_tsv(tmp_path / "all.tsv")
    with (tmp_path / "all.tsv").open() as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert len(lines) == 12
    assert (lines[-1]["model_a"], lines[-1]["model_b"]) == ("MSD-Net", "a|b")
    assert (lines[-1]["class"], lines[-1]["metric"]) == ("2", "hd95_mm")
    assert float(lines[3]["p_spread_adjusted"]) == rows[3].p_spread_adjusted

    html = found._repr_html_()
    assert html.count("<tr") == 25  # a head, and two lines of each
    assert html.count("MSD-Net") == 8


def test_what_cannot_be_compared_with_each_other_is_refused(rng: np.random.Generator) -> None:
    one = several(rng, 0)
    for wrong in ({}, {"a": one}, [one, one]):
        with pytest.raises(ConfigurationError, match="mapping of two names or more"):
            compare_all(wrong)
    with pytest.raises(ConfigurationError, match="one score or more"):
        compare_all({"a": one, "b": one}, [])
    with pytest.raises(ConfigurationError, match="table 'b' holds no 'dice'"):
        compare_all({"a": one, "b": one.select("hd95_mm")})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32), min_size=3, max_size=6), st.text(min_size=1, max_size=30))
def test_printed_comparisons_fit_the_screen(values: list[float], name: str) -> None:
    name = name.encode("utf-8", "ignore").decode().translate(dict.fromkeys(range(32), "c"))
    tables = {f"{name}{k}": table(np.roll(values, k)) for k in range(3)}
    found = compare_all(tables, n_resamples=100)
    for text in (str(found), str(found.comparisons[0])):
        assert max(map(len, text.split("\n"))) <= 100


def test_one_metric_by_one_name(rng: np.random.Generator) -> None:
    a, b = (table(rng.beta(9, 1, 6), metric="nsd_2mm") for _ in range(2))
    assert compare(a, b, "nsd", n_resamples=100) == compare(a, b, "nsd_2mm", n_resamples=100)
    more = a + table(rng.beta(9, 1, 6), metric="nsd_1mm")
    with pytest.raises(ConfigurationError, match="'a' holds no 'nsd'; it holds nsd_2mm, nsd_1mm"):
        compare(more, b, "nsd")
    other = table(rng.beta(9, 1, 6), metric="nsd_1mm")
    with pytest.raises(ConfigurationError, match="'b' holds no 'nsd_2mm'; it holds nsd_1mm"):
        compare(a, other, "nsd")
    with pytest.raises(ConfigurationError, match=r"got \['dice', 'hd_mm'\]; several: compare_all"):
        compare(a, b, ["dice", "hd_mm"])  # type: ignore[arg-type]


def test_heading_of_p_names_the_correction_and_few_pairs_are_told() -> None:
    a, b = table([0.5, 0.6, 0.8, 0.9]), table([0.4, 0.6, 0.7, 0.5])
    for correction, heading in (("holm", "p (Holm)"), ("benjamini-hochberg", "p (BH)"),
                                ("none", " p")):  # fmt: skip
        one = compare(a, b, correction=correction, n_resamples=100)
        several_ = compare_all({"a": a, "b": b}, correction=correction, n_resamples=100)
        assert str(one).splitlines()[2].endswith(heading)
        assert str(several_).splitlines()[0].endswith(heading)
        for found in (one, several_):
            assert "CI: 1 interval(s) of fewer than 5 values (4)" in str(found)


def test_nobody_is_worst_where_all_are_equal() -> None:
    row = compare(table([1.0, 1.0, 1.0]), table([0.9, 0.8, 1.0])).row(1)
    assert (row.worst_a, row.worst_sample_a) == (1.0, "")
    assert (row.worst_b, row.worst_sample_b) == (0.8, "case_01")


def test_comparison_in_notebooks(rng: np.random.Generator) -> None:
    a, b = rng.beta(9, 1, (2, 8))
    html = compare(table(a), table(b), names=("<i>x", "y"), n_resamples=200)._repr_html_()
    assert "&lt;i&gt;x" in html
    assert "<i>" not in html
    assert html.count("<tr") == 4
    assert "p: holm, for 1 test(s)" in html


def test_docstring_examples_run() -> None:
    result = doctest.testmod(comparison)
    assert result.attempted > 0
    assert result.failed == 0


def test_tables_and_results_are_one_line() -> None:
    scores = table([0.5, 0.6, 0.7, 0.8])
    fold = FoldResult(2, Path("e/fold_2"), ("a", "b"), ("c",), ("d",), {"loss": [1.0]}, scores)
    assert repr(scores) == "ScoreTable(4 rows: 4 subjects, 3 folds, 1 classes)"
    assert repr(fold) == (
        "FoldResult(2: 2 training, 1 inner validation, 1 validation subjects; 4 scores; "
        "path='e/fold_2')"
    )
    assert repr(CrossValidationResult(Path("e"), (fold,))) == (
        "CrossValidationResult(1 folds, 1 validation subjects; evaluation_path='e')"
    )


def test_only_tests_that_were_made_are_told_of() -> None:
    a = table([0.9, 0.8, 0.7, 0.95]) + table([0.5, 0.6], label=2)
    b = table([0.8, 0.7, 0.65, 0.7]) + table([0.4, 0.3], label=2)
    found = compare(a, b)
    assert found.n_tests == (2, 1)  # two pairs have no test of spreads
    assert "p: holm, for 2 test(s) of the means and 1 of the spreads." in str(found)
    assert found.row(1).p_spread_adjusted == found.row(1).p_spread
    same = compare_all({"a": a, "b": b, "c": b}, correction="none")
    assert {each.n_tests for each in same} == {(6, 3)}


def test_tables_are_searched_once_not_once_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def select(*_: object, **__: object) -> ScoreTable:
        raise AssertionError("a pass over all rows for each class")

    many = [table([0.5, 0.6, 0.9], label=label) for label in range(1, 6)]
    whole = ScoreTable(row for part in many for row in part)
    monkeypatch.setattr(ScoreTable, "select", select)
    assert [row.class_name for row in compare(whole, whole).rows] == [
        f"organ {label}" for label in range(1, 6)
    ]


def test_no_resamples_are_an_error() -> None:
    one = table([0.1, 0.2, 0.4])
    with pytest.raises(ConfigurationError, match="n_resamples must be at least 1"):
        compare(one, one, n_resamples=0)
    with pytest.raises(ConfigurationError, match="confidence must lie between"):
        compare_all({"a": one, "b": one}, confidence=95)
