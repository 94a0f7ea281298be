"""The table of lesions, its file, and detection by size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from miscnn.evaluation._detection import proportion_interval
from miscnn.evaluation.lesion_table import DIAMETERS_MM, LesionRow, LesionTable, lesion_rows
from miscnn.evaluation.lesions import equivalent_diameter, match_lesions
from miscnn.exceptions import ConfigurationError, MissingFileError

NAN, INF = float("nan"), float("inf")


def row(
    sample: str,
    lesion: int,
    ml: float,
    found: bool = True,
    side: str = "truth",
    label: int = 1,
    iou: float = 0.5,
    fold: int = 0,
) -> LesionRow:
    return LesionRow(
        *(fold, sample, label, f"class {label}", side, lesion, 10, ml, NAN),
        *(equivalent_diameter(ml, 3), found, int(found), iou if found else 0.0, 0.0, 0.0, 0),
    )


def test_rows_are_those_of_the_matching() -> None:
    truth, prediction = np.zeros((2, 12, 12, 12), dtype=bool)
    truth[1:5, 1:5, 1:5] = truth[8, 8, 8] = True
    prediction[1:5, 1:5, 1:4] = prediction[1, 10, 10] = prediction[10:, 1, 1] = True
    rows = lesion_rows(match_lesions(truth, prediction, (1, 2, 5)), 3, "a", 2, "tumour")
    assert [(r.side, r.lesion, r.voxels, r.matched, r.partner) for r in rows] == [
        ("truth", 1, 64, True, 1),
        ("truth", 2, 1, False, 0),
        ("prediction", 1, 48, True, 1),
        ("prediction", 2, 2, False, 0),
        ("prediction", 3, 1, False, 0),
    ]
    assert {(r.fold, r.sample, r.label, r.class_name) for r in rows} == {(3, "a", 2, "tumour")}
    assert [r.volume_ml for r in rows] == pytest.approx([0.64, 0.01, 0.48, 0.02, 0.01])
    assert all(math.isnan(r.area_mm2) for r in rows)
    assert (rows[0].iou, rows[0].dice, rows[0].covered) == (0.75, 6 / 7, 0.75)
    assert rows[0].diameter_mm == pytest.approx((6 * 640 / math.pi) ** (1 / 3))
    flat = lesion_rows(match_lesions(truth[1], prediction[1], (2, 5)), 0, "a", 1, "t")
    assert [r.area_mm2 for r in flat] == [160.0, 120.0, 10.0]
    assert all(math.isnan(r.volume_ml) for r in flat)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(), st.floats(), st.booleans(), st.text(min_size=1, max_size=20)),
        max_size=6,
    )
)
def test_table_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[float, float, bool, str]]
) -> None:
    rows = [
        LesionRow(
            *(k, name.encode("utf-8", "ignore").decode(), 1, "x", "prediction", k, k, a, b, a),
            *(flag, k, b, a, b, k),
        )
        for k, (a, b, flag, name) in enumerate(cells)
    ]
    path = tmp_path_factory.mktemp("tables") / "lesions.tsv"
    LesionTable(rows).to_tsv(path)
    again = LesionTable.from_tsv(path)
    assert [repr(r) for r in again] == [repr(r) for r in rows]


def test_columns(tmp_path: Path) -> None:
    LesionTable([row("a", 1, 0.5)]).to_tsv(tmp_path / "lesions.tsv")
    lines = (tmp_path / "lesions.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [
        *("fold", "sample", "class", "class_name", "side", "lesion", "voxels", "volume_ml"),
        *("area_mm2", "diameter_mm", "matched", "partner", "iou", "dice", "covered"),
        "n_overlapping",
    ]
    assert lines[1].split("\t")[:9] == ["0", "a", "1", "class 1", "truth", "1", "10", "0.5", "nan"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("volume_ml", "volume", "no table of lesions.*volume_ml"),
        ("\tTrue\t", "\tyes\t", "line 2.*'yes'"),
        ("\t0.5\t", "\thalf\t", "line 2.*half"),
        ("\ttruth\t", "\tside\t", "side must be.*'side'"),
        ("\t0.5\t", "\t0.5\t1\t", "line 2"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "lesions.tsv"
    LesionTable([row("a", 1, 0.5)]).to_tsv(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=message):
        LesionTable.from_tsv(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"lesions\.tsv"):
        LesionTable.from_tsv(tmp_path / "lesions.tsv")
    (tmp_path / "empty.tsv").write_bytes(b"")
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    for name in ("empty", "binary"):
        with pytest.raises(ConfigurationError, match=f"{name}.tsv is no table of lesions"):
            LesionTable.from_tsv(tmp_path / f"{name}.tsv")


def test_each_lesion_is_there_once() -> None:
    first = LesionTable([row("a", 1, 0.5), row("a", 1, 0.5, side="prediction")])
    other = LesionTable([row("a", 2, 0.1), row("a", 1, 0.5, fold=1), row("b", 1, 0.2, label=2)])
    both = first + other
    assert len(both) == 5
    assert both.samples == ["a", "b"]
    assert both.classes == {1: "class 1", 2: "class 2"}
    assert both.select(label=2).samples == ["b"]
    assert len(both.select(fold=0, sample="a", side="truth")) == 2
    with pytest.raises(ConfigurationError, match="lesion 1 of the truth of class 1 of sample 'a'"):
        both + LesionTable([row("a", 1, 0.5)])


def test_bins_hold_what_they_say() -> None:
    table = LesionTable(
        [
            row("a", 1, 8.0, iou=0.9),
            row("a", 2, 1.0, iou=0.5),
            row("b", 1, 1.5, iou=0.2),
            row("b", 2, 1.2, found=False),
            row("b", 3, 0.5, found=False),
            row("b", 1, 1.0, side="prediction"),
            row("b", 2, 3.0, side="prediction", found=False),
            row("c", 1, 0.1, label=2),
        ]
    )
    found = table.by_size([0.2, 1.0, 3.0, INF])
    small, middle, large = found.select(1)
    assert (small.n, small.n_found, small.sensitivity, small.n_subjects) == (1, 0, 0.0, 1)
    assert math.isnan(small.mean_iou)
    assert math.isnan(small.ci_low)  # one subject tells nothing about others
    assert (middle.n, middle.n_found, middle.n_subjects) == (3, 2, 2)
    assert middle.sensitivity == 2 / 3
    assert middle.mean_iou == pytest.approx(0.35)
    assert (middle.n_predicted, middle.n_false) == (1, 0)
    assert 0 <= middle.ci_low < 2 / 3 < middle.ci_high <= 1
    assert (large.n, large.n_found, large.n_predicted, large.n_false) == (1, 1, 1, 1)
    assert large.high_mm == INF
    assert large.low_mm == pytest.approx(equivalent_diameter(3.0, 3))
    assert [r.n for r in found.select(2)] == [0, 0, 0]
    assert all(math.isnan(r.sensitivity) for r in found.select(2))
    assert [(t.label, t.n, t.n_found) for t in found.totals] == [(1, 5, 3), (2, 1, 1)]
    text = str(found)
    assert "1 true lesion(s) lie outside of the edges" in text
    assert "undefined; 3 line(s) without a true lesion" in text
    assert text.splitlines()[2].split()[:9] == [
        *("1", "…", "3", "3", "2", "0.667", f"{middle.ci_low:.3f}", "…", f"{middle.ci_high:.3f}")
    ]


def test_default_edges_are_diameters() -> None:
    sizes = [4 / 3 * math.pi * (d / 2) ** 3 / 1000 for d in (4.9, 5.1, 9, 11, 21, 35, 49, 51, 99)]
    table = LesionTable(row("a", k, ml) for k, ml in enumerate(sizes))
    found = table.by_size()
    assert [r.n for r in found.rows] == [1, 2, 1, 1, 2, 2]
    assert [r.low_mm for r in found.rows] + [INF] == list(DIAMETERS_MM)
    assert table.by_size(edges_mm=DIAMETERS_MM) == found
    edges_ml = [math.pi / 6000 * d**3 for d in DIAMETERS_MM]
    assert [r.n for r in table.by_size(edges_ml).rows] == [1, 2, 1, 1, 2, 2]
    assert str(table) == str(found)
    assert "≥ 50" in str(found)
    assert "<table" in table._repr_html_()
    assert "≥ 50" in table._repr_html_()


def test_a_bin_holds_its_lower_edge() -> None:
    table = LesionTable([row("a", 1, 0.3), row("a", 2, 0.1)])
    assert [r.n for r in table.by_size([0.1, 0.3, 0.9]).rows] == [1, 1]


def test_detection_is_written(tmp_path: Path) -> None:
    found = LesionTable([row("a", 1, 0.3), row("b", 1, 0.3, found=False)]).by_size([0.0, 1.0])
    found.to_tsv(tmp_path / "d.tsv")
    header, line, total = (t.split("\t") for t in (tmp_path / "d.tsv").read_text().splitlines())
    assert header[:5] == ["class", "class_name", "low_mm", "high_mm", "n"]
    assert dict(zip(header, line, strict=True))["sensitivity"] == "0.5"
    assert dict(zip(header, total, strict=True))["high_mm"] == "inf"


def test_nothing() -> None:
    assert str(LesionTable()) == str(LesionTable().by_size()) == "no lesions"
    assert LesionTable().by_size().rows == ()


def test_edges_that_make_no_sense() -> None:
    table = LesionTable([row("a", 1, 0.5)])
    for edges in ([1.0], [1.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [0.0, NAN]):
        with pytest.raises(ConfigurationError, match="edges_ml must be"):
            table.by_size(edges)
        with pytest.raises(ConfigurationError, match="edges_mm must be"):
            table.by_size(edges_mm=edges)
    with pytest.raises(ConfigurationError, match="not both"):
        table.by_size([0, 1], edges_mm=[0, 1])
    with pytest.raises(ConfigurationError, match="confidence"):
        table.by_size(confidence=95)
    flat = lesion_rows(match_lesions(np.ones((2, 2)), np.ones((2, 2)), (1, 1)), 0, "a", 1, "x")
    with pytest.raises(ConfigurationError, match="2D images; give edges_mm"):
        LesionTable(flat).by_size([0, 1])
    assert LesionTable(flat).by_size().rows[0].n == 1


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    # the two solutions q of (p − q)² = z² q (1 − q) / n
    roots = np.roots([1 + z * z / n, -(2 * p + z * z / n), p * p])
    return float(min(roots)), float(max(roots))


def test_interval_is_that_of_wilson_for_the_effective_number() -> None:
    t = stats.t.ppf(0.975, 3)
    # All lesions of a subject alike: as many as there are subjects, 2 of 4, m / (m − 1) of them.
    low, high = proportion_interval(np.array([5, 5, 0, 0]), np.array([5, 5, 5, 5]))
    assert (low, high) == pytest.approx(wilson(0.5, 3, t))
    # every subject has found the same share: more even than chance, so all lesions count as one's
    low, high = proportion_interval(np.array([1, 1, 1, 1]), np.array([2, 2, 2, 2]))
    assert (low, high) == pytest.approx(wilson(0.5, 8, t))
    # all or none: the subjects are what counts
    low, high = proportion_interval(np.array([9, 9, 9, 9]), np.array([9, 9, 9, 9]))
    assert (low, high) == pytest.approx((4 / (4 + t * t), 1.0))
    low, high = proportion_interval(np.array([0, 0, 0, 0]), np.array([9, 9, 9, 9]))
    assert (low, high) == pytest.approx((0.0, t * t / (4 + t * t)))
    assert np.isnan(proportion_interval(np.array([1]), np.array([3]))).all()
    assert np.isnan(proportion_interval(np.zeros(0), np.zeros(0, int))).all()


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize("correlation", [0.01, 0.4])
def test_interval_covers_the_truth(rng: np.random.Generator, p: float, correlation: float) -> None:
    scale = 1 / correlation - 1
    held = 0
    for _ in range(600):
        sizes = 1 + rng.poisson(3, 20)
        hits = rng.binomial(sizes, rng.beta(p * scale, (1 - p) * scale, 20))
        low, high = proportion_interval(hits, sizes)
        held += low <= p <= high
    assert 0.92 <= held / 600 <= 0.99
