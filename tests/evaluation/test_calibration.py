"""Calibration: closed forms, brute force, regions, pieces, and the table."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from miscnn.evaluation import _calibration_input
from miscnn.evaluation.calibration import (
    Calibration,
    brier_score,
    calibration_rows,
    expected_calibration_error,
    measure_calibration,
)
from miscnn.evaluation.calibration_table import (
    PREDICTED_CLASS,
    CalibrationRow,
    CalibrationTable,
)
from miscnn.exceptions import ConfigurationError, MissingFileError

NAN = float("nan")


def ece_by_voxel(chance: np.ndarray, true: np.ndarray, bins: int) -> float:
    """The definition, voxel by voxel, bins searched by their edges."""
    members: dict[int, list[int]] = {}
    for k, p in enumerate(chance.tolist()):
        for m in range(bins):
            if (m == 0 or p * bins > m) and p * bins <= m + 1:
                members.setdefault(m, []).append(k)
    n = chance.size
    assert sum(map(len, members.values())) == n
    return sum(
        len(inside) / n * abs(float(true[inside].mean()) - float(chance[inside].mean()))
        for inside in members.values()
    )


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 4),
    st.integers(1, 17),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([(7,), (3, 5), (2, 3, 4)]),
    st.sampled_from([0.1, 1.0, 10.0]),
)
def test_equals_brute_force(
    seed: int, classes: int, bins: int, dtype: type, shape: tuple[int, ...], alpha: float
) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([alpha] * classes, size=shape).astype(dtype)
    truth = rng.integers(0, classes, shape)
    region = rng.random(shape) < 0.7
    assume(region.any())
    flat, y = p[region].astype(np.float64), truth[region]
    onehot = np.eye(classes)[y]
    top = flat.argmax(1)
    expected = ece_by_voxel(flat[np.arange(y.size), top], top == y, bins)
    assert expected_calibration_error(p, truth, bins, region=region) == pytest.approx(expected)
    assert brier_score(p, truth, region=region) == pytest.approx(
        ((flat - onehot) ** 2).sum(1).mean()
    )
    for label in range(classes):
        expected = ece_by_voxel(flat[:, label], y == label, bins)
        found = expected_calibration_error(p, truth, bins, label=label, region=region)
        assert found == pytest.approx(expected)
        expected = np.mean((flat[:, label] - onehot[:, label]) ** 2)
        assert brier_score(p, truth, label=label, region=region) == pytest.approx(expected)
        # one class given alone, its truth a mask
        alone = p[..., label], truth == label
        assert expected_calibration_error(*alone, bins, region=region) == pytest.approx(found)
        assert brier_score(*alone, region=region) == pytest.approx(expected)


@pytest.mark.parametrize("confidence", [0.5, 0.65, 0.9, 1.0])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_constant_confidence(confidence: float, bins: int) -> None:
    # of 20 voxels 13 are of class 1, always predicted with the same confidence
    p = np.full((20, 2), [1 - confidence, confidence])
    truth = np.array([1] * 13 + [0] * 7)
    assert expected_calibration_error(p, truth, bins, label=1) == pytest.approx(
        abs(confidence - 0.65)
    )
    brier = 0.65 * (1 - confidence) ** 2 + 0.35 * confidence**2
    assert brier_score(p, truth, label=1) == pytest.approx(brier)
    assert brier_score(p, truth) == pytest.approx(2 * brier)  # two classes


def test_range_of_brier() -> None:
    sure = np.array([[1.0, 0.0, 0.0]] * 4)
    assert brier_score(sure, np.zeros(4, int)) == 0
    assert brier_score(sure, np.ones(4, int)) == 2
    assert brier_score(sure, np.ones(4, int), label=2) == 0
    assert expected_calibration_error(sure, np.ones(4, int)) == 1
    assert brier_score(np.full((4, 4), 0.25), np.arange(4)) == pytest.approx(0.75)  # 1 − 1/K


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_calibrated_has_no_error(rng: np.random.Generator, dtype: type) -> None:
    p = rng.dirichlet([0.5, 1, 2], size=(60, 60, 60)).astype(dtype)
    steps = np.cumsum(p.astype(float), axis=-1)
    truth = (rng.random((60, 60, 60, 1)) > steps / steps[..., -1:]).sum(-1)
    # of n = 216000 voxels in 15 bins chance leaves about Σ √(n_b p (1 − p)) / n < 0.004
    assert expected_calibration_error(p, truth) < 0.004
    for label in range(3):
        assert expected_calibration_error(p, truth, label=label) < 0.004
    # overconfident: p' of p, closed form of the frequency
    sharp = np.stack([1 - p[..., 1], p[..., 1]], -1).astype(np.float64) ** 2
    sharp /= sharp.sum(-1, keepdims=True)
    q = p[..., 1].astype(float)
    expected = np.abs(q**2 / (q**2 + (1 - q) ** 2) - q).mean()
    found = expected_calibration_error(sharp[..., 1], truth == 1)
    assert found == pytest.approx(expected, abs=0.004)


def test_bins_hold_their_upper_edge() -> None:
    p = np.array([0.0, 0.25, 0.2500001, 0.5, 1.0])
    rows = measure_calibration(
        p[:, None, None], np.ones((5, 1)), (1, 1), bins=4, regions={7: (1,)}
    ).rows(0, "a", {7: "x"})
    assert [r.n for r in rows] == [2, 2, 0, 1]
    assert [(r.low, r.high) for r in rows] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert rows[0].mean_confidence == 0.125
    assert math.isnan(rows[2].mean_confidence)
    assert math.isnan(rows[2].frequency)


def blocks(shape: tuple[int, ...] = (40, 30, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Softmax of three classes and a truth, objects that overlap in part."""
    rng = np.random.default_rng(1)
    p = np.zeros((*shape, 3))
    p[..., 0] = 1
    p[14:20, 10:16, 8:12] = rng.dirichlet([1, 3, 2], (6, 6, 4))
    truth = np.zeros(shape, np.uint8)
    truth[15:21, 11:15, 8:11] = rng.integers(1, 3, (6, 4, 3))
    return p.astype(np.float32), truth


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5, 7.0, 1000.0])
def test_region_is_all_within_the_margin(margin: float) -> None:
    p, truth = blocks()
    spacing = (0.8, 1.0, 2.5)
    foreground = (truth != 0) | (p.argmax(-1) != 0)
    places = np.argwhere(foreground) * spacing
    everywhere = np.argwhere(np.ones(truth.shape, bool)) * spacing
    nearest = np.full(len(everywhere), np.inf)
    for place in places:
        np.minimum(nearest, np.linalg.norm(everywhere - place, axis=1), out=nearest)
    region = (nearest <= margin + 1e-9).reshape(truth.shape)
    found = measure_calibration(p, truth, spacing, margin_mm=margin)
    assert found.voxels == region.sum()
    assert found.ece() == pytest.approx(expected_calibration_error(p, truth, region=region))
    assert found.brier() == pytest.approx(brier_score(p, truth, region=region))
    for label in range(3):
        assert found.ece(label) == pytest.approx(
            expected_calibration_error(p, truth, label=label, region=region)
        )
        assert found.brier(label) == pytest.approx(
            brier_score(p, truth, label=label, region=region)
        )


def test_whole_image_drowns_the_error() -> None:
    p, truth = blocks()
    whole = measure_calibration(p, truth, (1, 1, 1), margin_mm=None)
    assert whole.voxels == truth.size
    assert whole.ece(1) == pytest.approx(expected_calibration_error(p, truth, label=1))
    near = measure_calibration(p, truth, (1, 1, 1), margin_mm=2)
    assert near.ece(1) > 10 * whole.ece(1)
    # far background adds nothing but voxels to the error
    assert near.ece(1) * near.voxels == pytest.approx(whole.ece(1) * whole.voxels)


def test_another_prediction_moves_the_region() -> None:
    p, truth = blocks()
    elsewhere = np.zeros_like(truth)
    elsewhere[0, 0, 0] = 1
    found = measure_calibration(p, truth, (1, 1, 1), margin_mm=0, prediction=elsewhere)
    assert found.voxels == np.count_nonzero(truth) + 1


@pytest.mark.parametrize("margin", [None, 3.0])
def test_voxels_without_annotation_are_left_out(margin: float | None) -> None:
    p, truth = blocks()
    ignored = np.zeros(truth.shape, bool)
    ignored[:18] = True
    told = np.where(ignored, 255, truth).astype(np.uint8)
    found = measure_calibration(p, told, (1, 1, 1), margin_mm=margin, ignored=ignored)
    expected = measure_calibration(p[18:], truth[18:], (1, 1, 1), margin_mm=margin)
    assert found.voxels == expected.voxels
    assert found.ece() == pytest.approx(expected.ece())
    assert found.brier(1) == pytest.approx(expected.brier(1))
    assert (told[:18] == 255).all()


def test_regions_that_overlap() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (9, 8, 7))
    p = rng.random((9, 8, 7, 2)).astype(np.float32)  # sums of anything
    found = measure_calibration(
        p, truth, (1, 1, 1), margin_mm=None, regions={4: (1, 2, 3), 3: (3,)}
    )
    assert found.labels == (4, 3)
    for k, (label, mask) in enumerate({4: truth > 0, 3: truth == 3}.items()):
        assert found.ece(label) == pytest.approx(expected_calibration_error(p[..., k], mask))
        assert found.brier(label) == pytest.approx(brier_score(p[..., k], mask))
    with pytest.raises(ConfigurationError, match=r"class -1.*\[4, 3\].*overlap"):
        found.ece()
    # foreground is where any region is more likely than not
    truth[:] = 0
    near = measure_calibration(p, truth, (1, 1, 1), margin_mm=0, regions={4: (1, 2, 3), 3: (3,)})
    assert near.voxels == (p > 0.5).any(-1).sum()


def test_nothing_to_look_at() -> None:
    p = np.zeros((4, 4, 4, 2), np.float16)
    p[..., 0] = 1
    truth = np.zeros((4, 4, 4), np.uint8)
    found = measure_calibration(p, truth, (1, 1, 1))
    assert found.voxels == 0
    assert math.isnan(found.ece())
    assert math.isnan(found.brier(1))
    assert all(r.n == 0 and math.isnan(r.frequency) for r in found.rows(0, "a"))
    assert math.isnan(expected_calibration_error(p, truth, region=truth))
    assert math.isnan(brier_score(p[:0], truth[:0]))
    assert measure_calibration(p, truth, (1, 1, 1), margin_mm=None).ece() == 0


@settings(max_examples=60)
@given(
    st.integers(1, 4000),
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
    st.sampled_from(["C", "F", "last"]),
)
def test_pieces_are_the_whole(piece: int, shape: tuple[int, ...], order: str) -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet([1, 1, 1], size=shape).astype(np.float32)
    truth = rng.integers(0, 3, shape)
    if order == "F":
        p = np.asfortranarray(p)
    elif order == "last":
        p = np.moveaxis(np.ascontiguousarray(np.moveaxis(p, -2, 0)), 0, -2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_calibration_input, "_PIECE", piece)
        seen = np.zeros(shape, int)
        for box in _calibration_input.pieces(p):
            seen[box] += 1
            # no more than asked for, or a single voxel
            assert p[box].size <= max(piece, 3)
        assert (seen == 1).all()
        parts = measure_calibration(p, truth, (1,) * len(shape), margin_mm=1.5)
    whole = measure_calibration(p, truth, (1,) * len(shape), margin_mm=1.5)
    np.testing.assert_array_equal(parts.n, whole.n)
    np.testing.assert_array_equal(parts.hits, whole.hits)
    np.testing.assert_allclose(parts.confidence, whole.confidence, rtol=1e-13)
    np.testing.assert_allclose(parts.squared, whole.squared, rtol=1e-12)


def test_mapped_files(tmp_path: Path) -> None:
    p, truth = blocks()
    np.save(tmp_path / "p.npy", p.astype(np.float16))
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    found = measure_calibration(mapped, truth, (1, 1, 2))
    expected = measure_calibration(p.astype(np.float16), truth, (1, 1, 2))
    assert list(map(repr, found.rows(0, "a"))) == list(map(repr, expected.rows(0, "a")))
    assert found.voxels > 1000
    np.testing.assert_array_equal(mapped, p.astype(np.float16))


def test_what_is_no_probability() -> None:
    good, truth = np.full((4, 5, 2), 0.5), np.zeros((4, 5), int)
    for values, message in (
        (good * 3, r"\[1.5, 1.5\].*softmax"),
        (-good, "softmax"),
        (np.where(np.arange(4)[:, None, None] == 2, NAN, good), "softmax"),
        (good * 0.9, "sum of 0.9; for classes that overlap"),
        (good.astype(int), "must be floats, got int64"),
        (good[:3], r"\(4, 5, 'classes'\), got \(3, 5, 2\)"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            measure_calibration(values, truth, (1, 1), margin_mm=None)
    with pytest.raises(ConfigurationError, match=r"label 2.*0 … 1 only.*ignored"):
        brier_score(good, truth + 2)
    with pytest.raises(ConfigurationError, match="class 2; there are"):
        brier_score(good, truth, label=2)
    with pytest.raises(ConfigurationError, match="leave label=1 out"):
        brier_score(good[..., 0], truth, label=1)
    with pytest.raises(ConfigurationError, match="region must have the shape"):
        brier_score(good, truth, region=[True])
    with pytest.raises(ConfigurationError, match="prediction must have the shape"):
        measure_calibration(good, truth, (1, 1), prediction=truth[1:])
    with pytest.raises(ConfigurationError, match="ignored must have the shape"):
        measure_calibration(good, truth, (1, 1), ignored=truth[1:])
    with pytest.raises(ConfigurationError, match="margin_mm must be"):
        measure_calibration(good, truth, (1, 1), margin_mm=-1)
    with pytest.raises(ConfigurationError, match=r"regions must name.*2 outputs"):
        measure_calibration(good, truth, (1, 1), regions={1: (1,)})
    for bins in (0, -3, 2.5, True):
        with pytest.raises(ConfigurationError, match="bins must be a whole number"):
            expected_calibration_error(good, truth, bins)  # type: ignore[arg-type]


def test_ends_of_merged_windows_are_forgiven() -> None:
    p = np.array([[1 + 5e-5, -5e-5], [0.5, 0.5]])
    assert brier_score(p, np.array([0, 0])) == pytest.approx(0.25)


def table(seed: int = 0, subjects: int = 3, bins: int = 5) -> tuple[CalibrationTable, Calibration]:
    rng = np.random.default_rng(seed)
    rows: list[CalibrationRow] = []
    total: Calibration | None = None
    for k in range(subjects):
        p = rng.dirichlet([1, 1], size=(4 + k, 5)).astype(np.float32)
        truth = rng.integers(0, 2, p.shape[:-1])
        options = {"margin_mm": None, "bins": bins}
        one = measure_calibration(p, truth, (1, 1), margin_mm=None, bins=bins)
        total = one if total is None else total + one
        rows += calibration_rows(p, truth, (1, 1), k % 2, f"case_{k}", {1: "organ"}, **options)
    assert total is not None
    return CalibrationTable(rows), total


def test_pooled_is_that_of_all_voxels() -> None:
    rows, total = table()
    assert rows.classes == {PREDICTED_CLASS: "predicted class", 0: "class-0", 1: "organ"}
    expected = total.rows(0, "all")
    pooled = {(each.label, each.bin): each for each in rows.pooled()}
    assert len(pooled) == len(expected) == 15
    for row in expected:
        found = pooled[row.label, row.bin]
        assert (found.n, found.low, found.high) == (row.n, row.low, row.high)
        assert found.mean_confidence == pytest.approx(row.mean_confidence, nan_ok=True)
        assert found.frequency == pytest.approx(row.frequency, nan_ok=True)
        assert found.n_subjects <= 3
    for label in (PREDICTED_CLASS, 0, 1):
        assert rows.ece(label) == pytest.approx(total.ece(label))
        assert [each.label for each in rows.pooled(label)] == [label] * 5
    assert math.isnan(rows.ece(9))
    text = str(rows)
    assert "predicted class" in text
    assert f"{rows.ece(1):.3f}" in text
    assert "hold no voxel" in text  # nothing is predicted with less than a half
    assert rows._repr_html_().count("<table") == 2


def test_table_survives_its_file(tmp_path: Path) -> None:
    rows, _ = table()
    rows.to_tsv(tmp_path / "calibration.tsv")
    header = (tmp_path / "calibration.tsv").read_text().splitlines()[0]
    assert header.split("\t") == [
        *("fold", "sample", "class", "class_name", "bin", "low", "high", "n"),
        *("mean_confidence", "frequency"),
    ]
    again = CalibrationTable.from_tsv(tmp_path / "calibration.tsv")
    assert list(map(repr, again)) == list(map(repr, rows))
    (tmp_path / "other.tsv").write_text("a\tb\n")
    with pytest.raises(ConfigurationError, match=r"other\.tsv is no table of calibration"):
        CalibrationTable.from_tsv(tmp_path / "other.tsv")
    with pytest.raises(MissingFileError, match=r"none\.tsv"):
        CalibrationTable.from_tsv(tmp_path / "none.tsv")


def test_parts_of_the_table() -> None:
    rows, _ = table()
    parts = [rows.select(fold=fold) for fold in (0, 1)]
    assert [len(part) for part in parts] == [30, 15]
    assert len(parts[0] + parts[1]) == len(rows)
    assert len(rows.select(label=1, sample="case_2")) == 5
    with pytest.raises(ConfigurationError, match="bin 0 of class 0 of sample 'case_0' is twice"):
        rows + rows.select(0)
    other, _ = table(bins=4)
    moved = CalibrationTable(
        CalibrationRow(9, *(getattr(r, n) for n in r.__slots__[1:])) for r in other
    )
    with pytest.raises(ConfigurationError, match="different bins"):
        (rows + moved).pooled()
    assert str(CalibrationTable()) == "no calibration"


def test_only_alike_counts_are_added() -> None:
    _, one = table(bins=5)
    _, other = table(bins=4)
    with pytest.raises(ConfigurationError, match="5 and 4 bins"):
        one + other


@pytest.mark.parametrize("position", [0, 1])
def test_documented_examples(position: int, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "lesions-and-calibration.md"
    found = re.findall(r"```python\n([^`]*)```\n\n```text\n([^`]*)```", page.read_text("utf-8"))
    code, output = found[position]
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("bins", [10, 15, 100])
def test_every_edge_is_in_the_bin_below_it(bins: int) -> None:
    edges = np.arange(bins + 1) / bins
    both = np.stack([1 - edges, edges], axis=-1)[:, np.newaxis]
    truth = np.ones((bins + 1, 1), int)
    found = measure_calibration(both, truth, (1.0, 1.0), margin_mm=None, bins=bins)
    rows = [row for row in found.rows(0, "s") if row.label == 1]
    assert [row.n for row in rows] == [2, *[1] * (bins - 1)]  # 0 and the first edge
    assert all(row.mean_confidence == row.high for row in rows[1:])
