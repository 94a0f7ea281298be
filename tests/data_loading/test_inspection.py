"""What an inspection tells of a data set."""

from __future__ import annotations

import csv
import doctest
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import miscnn.data_loading.inspection
from miscnn.data_loading._inspection_values import STATISTICS, count_labels, distribution
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.inspection import inspect
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface

PERCENTILES = [0.5, 5, 50, 95, 99.5]


def io(subjects: dict[str, Any], **arguments: Any) -> DataIO:
    return DataIO(DictionaryInterface(subjects, **arguments))


@given(
    hnp.arrays(
        st.sampled_from(["i1", "u1", ">i2", "u2", "i4", "i8", "u8", "f4", "f8", "?"]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
    )
)
def test_percentiles_are_numpys(values: np.ndarray) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    found = distribution(values)
    if not finite.size:
        assert found is None
        return
    assert found is not None
    assert list(found) == list(STATISTICS)
    assert (found["min"], found["max"]) == (finite.min(), finite.max())
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.percentile(finite, PERCENTILES)
    if np.isfinite(wanted).all() and np.abs(finite).max() < 1e30:
        scale = max(np.abs(finite).max(), 1e-30)
        inner = [found[name] for name in STATISTICS[1:-1]]
        np.testing.assert_allclose(inner, wanted, rtol=0, atol=2e-7 * scale)


def test_percentiles_by_hand() -> None:
    values = np.arange(201, dtype=np.int16)[::-1]
    wanted = [0, 1, 10, 100, 190, 199, 200]
    for kind in (np.int16, np.int64, np.float32):
        found = distribution(values.astype(kind).reshape(3, 67))
        assert found is not None
        assert list(found.values()) == pytest.approx(wanted)
    spread = distribution(np.array([0, 1 << 40], dtype=np.int64))  # too far apart for a table
    assert spread is not None
    assert spread["p50"] == 1 << 39
    large = distribution(np.array([(1 << 64) - 1, (1 << 64) - 3], dtype=np.uint64))
    assert large is not None
    assert large["p50"] == pytest.approx(1.8446744073709552e19)
    wide = distribution(np.array([-1, 2147483647], dtype=np.int32))
    assert wide is not None
    assert wide["p50"] == 1073741823.0
    assert distribution(np.array([np.nan, np.inf])) is None
    assert distribution(np.array([[np.nan, 3.0]]))["max"] == 3.0  # type: ignore[index]


def test_labels_are_counted_exactly() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (9, 8, 7)).astype(np.uint8)
    labels[0, 0, 0] = 200
    values, numbers = np.unique(labels, return_counts=True)
    assert count_labels(labels) == dict(zip(values.tolist(), numbers.tolist(), strict=True))
    assert count_labels(np.array([[0, 1 << 30, 1 << 30]], dtype=np.uint32)) == {0: 1, 1 << 30: 2}


@pytest.fixture
def two() -> DataIO:
    """One volume of two channels in 0.5 x 2 x 4 mm with two classes, one without labels."""
    image = np.zeros((10, 10, 5, 2), dtype=np.int16)
    image[..., 0] = np.arange(500).reshape(10, 10, 5)
    image[..., 1] = -7
    labels = np.zeros((10, 10, 5), dtype=np.uint8)
    labels[0] = 1  # 50 voxels, intensities 0 … 49
    labels[9, 9] = 2  # 5 voxels, intensities 495 … 499
    other = np.full((6, 4, 8, 2), 3, dtype=np.float32)
    affine = np.array([[0, 0, -4, 1], [0.5, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1.0]])
    return io(
        {
            "a": (image, labels, None, {"affine": affine}),
            "b": {"image": other, "details": {"spacing": (1, 1, 3)}},
        },
        channels=2,
        classes=4,
        class_names=["air", "liver", "tumour", "cyst"],
    )


def test_facts(two: DataIO) -> None:
    found = inspect(two, verbose=False)
    a, b = found.subjects
    assert (a.shape, a.spacing, a.orientation) == ((10, 10, 5), (0.5, 2.0, 4.0), "ASL")
    assert (a.slice_axis, a.n_slices, a.slice_thickness) == (2, 5, 4.0)
    assert (a.dtype, a.channels, a.memory) == ("int16", 2, 2000)
    assert a.intensities[0] == pytest.approx(
        dict(zip(STATISTICS, [0, 2.495, 24.95, 249.5, 474.05, 496.505, 499], strict=True))
    )
    assert a.intensities[1] == dict.fromkeys(STATISTICS, -7)
    inside = np.array([*range(50), *range(495, 500)])
    fore = a.foreground_intensities[0]
    assert fore is not None
    assert [fore[name] for name in STATISTICS[1:-1]] == pytest.approx(
        np.percentile(inside, PERCENTILES)
    )
    assert a.voxels == {0: 445, 1: 50, 2: 5}
    assert a.ml == pytest.approx({0: 1.78, 1: 0.2, 2: 0.02})  # 4 mm³ each
    assert a.foreground == pytest.approx(0.11)
    assert a.error is None
    assert (b.voxels, b.ml, b.foreground, b.foreground_intensities) == (None, None, None, [])
    assert (b.orientation, b.dtype, b.error) == ("RAS", "float32", None)
    assert found.labels == (0, 1, 2, 3)
    assert found.ok


def test_summary(two: DataIO) -> None:
    summary = inspect(two, verbose=False).summary()
    assert (summary["subjects"], summary["labelled"], summary["errors"]) == (2, 1, 0)
    assert summary["shape"] == {"median": [8, 7, 6.5], "min": [6, 4, 5], "max": [10, 10, 8]}
    assert summary["spacing"]["median"] == [0.75, 1.5, 3.5]
    assert summary["n_slices"] == {"median": 6.5, "min": 5, "max": 8}
    assert summary["slice_thickness"] == {"median": 3.5, "min": 3, "max": 4}
    assert summary["orientations"] == {"ASL": 1, "RAS": 1}
    assert summary["dtypes"] == {"int16": 1, "float32": 1}
    assert summary["intensities"][0]["max"] == {"median": 251.0, "min": 3.0, "max": 499.0}
    liver, tumour, cyst = summary["classes"][1:]
    assert liver == {
        "label": 1,
        "name": "liver",
        "subjects": 1,
        "voxels": 50,
        "share": 0.1,
        "ml": {"median": 0.2, "min": 0.2, "max": 0.2},
    }
    assert tumour["share"] == 0.01
    assert (cyst["subjects"], cyst["voxels"], cyst["ml"]) == (0, 0, None)


def test_json_and_tsv(two: DataIO, tmp_path: Path) -> None:
    found = inspect(two, verbose=False)
    document = json.loads(found.to_json())
    assert document["subjects"][0]["voxels"] == {"0": 445, "1": 50, "2": 5}
    assert document["summary"]["classes"][2]["name"] == "tumour"
    found.save(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == document
    found.to_tsv(tmp_path / "found.tsv")
    with (tmp_path / "found.tsv").open(newline="") as file:
        a, b = csv.DictReader(file, delimiter="\t")
    assert (a["index"], a["shape_2"], a["spacing_0"], a["orientation"]) == ("a", "5", "0.5", "ASL")
    assert (a["p50_0"], a["min_1"], a["foreground_max_0"]) == ("249.5", "-7.0", "499.0")
    assert (a["voxels_2"], a["voxels_3"], float(a["ml_1"])) == ("5", "0", pytest.approx(0.2))
    assert (b["voxels_1"], b["ml_1"], b["error"], b["foreground_max_0"]) == ("", "", "", "")
    assert b["p50_1"] == "3.0"


def test_two_dimensions_have_no_volumes() -> None:
    image = np.arange(20.0).reshape(4, 5)
    found = inspect(io({"a": (image, image > 14)}, three_dim=False), verbose=False)
    facts = found.subjects[0]
    assert (facts.shape, facts.orientation, facts.slice_axis) == ((4, 5), None, None)
    assert (facts.voxels, facts.ml, facts.foreground) == ({0: 15, 1: 5}, None, 0.25)
    assert "Labels (% of the voxels)" in str(found)
    assert "25 %" in str(found)
    assert "axes" not in str(found)


def test_voxels_without_annotation_are_neither_class_nor_foreground() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    labels = np.array([0, 0, 1, 1, 1, 255, 255, 255]).reshape(2, 2, 2)
    found = inspect(io({"a": (image, labels)}, ignore_label=255), verbose=False)
    facts = found.subjects[0]
    assert (facts.voxels, facts.ignored, facts.foreground) == ({0: 2, 1: 3}, 3, 0.6)
    assert facts.foreground_intensities[0]["max"] == 4.0  # type: ignore[index]
    assert found.labels == (0, 1)
    assert "ignored" in str(found)


def test_declared_values_are_classes_and_others_errors() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    good, bad = np.where(image > 3, 255, 0), np.where(image > 3, 7, 0)
    data_io = io({"a": (image, good), "b": (image, bad)}, label_values=[0, 255])
    a, b = inspect(data_io, verbose=False).subjects
    assert a.voxels == {0: 4, 1: 4}
    assert b.voxels is None
    assert "the segmentation holds 7" in (b.error or "")


def test_labels_beyond_the_classes_are_counted() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    data_io = io({"a": (image, np.where(image > 3, 6, 0))})
    assert inspect(data_io, verbose=False).labels == (0, 1, 6)
    found = inspect(data_io, verbose=False, infer_classes=True)
    assert found.labels == (0, 6)
    assert found.subjects[0].error is None


@pytest.mark.parametrize(
    ("dtype", "high"), [("f2", 60000.0), ("f4", 3e38), ("f8", 1.7e308), ("g", 1.7e308)]
)
def test_percentiles_do_not_overflow(dtype: str, high: float) -> None:
    values = np.array([-high, high], dtype)  # their difference is no number of this type
    top = float(values[1])
    found = distribution(values)
    assert found is not None
    wanted = [-1, -0.99, -0.9, 0, 0.9, 0.99, 1]
    assert [v / top for v in found.values()] == pytest.approx(wanted)
    image = np.resize(values, (2, 2, 2))
    other = np.full((2, 2, 2), top, dtype)
    other[0, 0, 0] = 0
    report = inspect(io({"a": image, "b": other}), verbose=False)
    assert report.ok
    assert report.summary()["intensities"][0]["max"]["median"] == top  # whose sum is infinite
    json.loads(report.to_json())


def test_numbers_beyond_float64_are_left_out() -> None:
    largest = np.array([3.0, np.finfo(np.longdouble).max], np.longdouble)
    if largest[1] > np.finfo(np.float64).max:  # not on every machine
        assert distribution(largest) == dict.fromkeys(STATISTICS, 3.0)


@pytest.mark.parametrize("value", [1j, "x", None])
def test_images_of_no_numbers_have_the_reason_in_their_row(value: Any) -> None:
    good = np.arange(8.0).reshape(2, 2, 2)
    subjects = {"a": (np.full((2, 2, 2), value), good > 3), "b": (good, good > 3)}
    a, b = inspect(io(subjects), verbose=False).subjects
    assert "the image must hold real numbers" in (a.error or "")
    assert a.voxels == {0: 4, 1: 4}
    assert b.error is None


def test_whatever_describing_an_image_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr("miscnn.data_loading._inspection_subject.non_finite", fail)
    facts = inspect(io({"a": np.arange(8.0).reshape(2, 2, 2)}), verbose=False).subjects[0]
    assert facts.error == "reading failed: OverflowError: too large"


class Broken(DictionaryInterface):
    def load_image(self, index: str) -> Any:
        if index == "raises":
            raise RuntimeError("no luck")
        return super().load_image(index)


def test_broken_subjects_have_the_reason_in_their_row() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    nan = image.copy()
    nan[1, 1, 1] = np.nan
    mask = (image > 3).astype(np.uint8)
    subjects = {
        "channels": (np.zeros((2, 2, 2, 3)), mask),
        "fine": (image, mask),
        "fraction": (image, mask * 0.5),
        "many": (np.zeros((11, 11, 11)), np.arange(1331).reshape(11, 11, 11)),
        "nan": (nan, mask),
        "nowhere": {"segmentation": mask},
        "raises": (image, mask),
        "shapes": (image, np.ones((2, 2, 3), np.uint8)),
        "singular": (image, mask, None, {"affine": np.diag([1.0, 0, 1, 1])}),
        "text": (image, np.full((2, 2, 2), "x")),
    }
    found = inspect(DataIO(Broken(subjects)), verbose=False)
    facts = {subject.index: subject for subject in found.subjects}
    reasons = {
        "channels": "got shape (2, 2, 2, 3)",
        "fraction": "labels must be whole numbers",
        "many": "1331 different values; is it an image?",
        "nan": "1 of 8 values of the image are NaN or infinite",
        "nowhere": "holds no image",
        "raises": "reading failed: RuntimeError: no luck",
        "shapes": "shape (2, 2, 3), the image (2, 2, 2)",
        "singular": "singular",
        "text": "labels must be integers",
    }
    for index, reason in reasons.items():
        assert reason in (facts[index].error or ""), index
    assert facts["fine"].error is None
    assert not found.ok
    # What can be found out is told all the same.
    assert facts["nan"].intensities[0]["max"] == 6.0  # type: ignore[index]
    assert facts["raises"].voxels == {0: 4, 1: 4}
    assert facts["shapes"].voxels == {1: 12}
    assert facts["shapes"].foreground_intensities == []
    assert found.summary()["errors"] == 9
    json.loads(found.to_json())
    assert max(map(len, str(found).splitlines())) <= 100


def test_one_reason_is_told_once() -> None:
    class Absent(DictionaryInterface):
        def _entry(self, index: str) -> dict[str, Any]:
            raise RuntimeError("gone")

    found = inspect(DataIO(Absent({"a": np.zeros((2, 2, 2))})), verbose=False)
    assert found.subjects[0].error == "reading failed: RuntimeError: gone"


def test_a_segmentation_that_lies_elsewhere(subject: Callable[..., Path], tmp_path: Path) -> None:
    elsewhere = np.diag([1.0, 1.0, 3.0, 1.0])
    subject("a", label_affine=elsewhere)
    (subject("b") / "imaging.nii.gz").write_bytes(b"nonsense")
    a, b = inspect(DataIO(NIfTIInterface(), tmp_path / "data"), verbose=False).subjects
    assert "does not lie on the image's grid" in (a.error or "")
    assert a.foreground_intensities == []
    assert "cannot be read" in (b.error or "")
    assert b.ml is not None  # from the segmentation's own header
    assert sum(b.ml.values()) == pytest.approx(7 * 6 * 5 * 0.9 * 0.9 * 3 / 1000, rel=1e-6)


def test_no_subjects() -> None:
    found = inspect(io({}), verbose=False)
    assert found.subjects == ()
    assert "0 subjects" in str(found)
    json.loads(found.to_json())


def test_threads_find_the_same(two: DataIO) -> None:
    assert inspect(two, n_jobs=2, verbose=False).to_json() == inspect(two, verbose=False).to_json()
    assert [s.index for s in inspect(two, ["b"], verbose=False).subjects] == ["b"]


@pytest.mark.parametrize("classes", [2, 6, 60])
@pytest.mark.parametrize("subjects", [3, 70])
def test_tables_fit_the_screen(classes: int, subjects: int) -> None:
    rng = np.random.default_rng(0)
    data = {
        f"a_rather_long_name_of_a_subject_{k:03d}": (
            rng.normal(0, 1e5, (3, 30, 100)),
            rng.integers(0, classes, (3, 30, 100)),
            None,
            {"spacing": (0.9765625, 0.9765625, 3.2699966)},
        )
        for k in range(subjects)
    }
    names = [f"structure {k} with a name" for k in range(classes)]
    found = inspect(io(data, classes=classes, class_names=names), verbose=False)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    shown = min(subjects, 40)
    assert text.count("_002 ") == 3  # grids, intensities, labels; told apart by their ends
    assert (f"{subjects - shown} more subjects" in text) == (subjects > shown)
    assert found.table(None).count("_069 ") == (3 if subjects == 70 else 0)
    for k in range(classes):
        assert f"\n{k} structure {k}" in text
    html = found._repr_html_()
    assert html.count("<table ") == 5
    assert html.count("_002<") == 3


def test_html_is_escaped() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    html = inspect(io({"<b>&": (image, image > 3)}), verbose=False)._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html


def test_integers_are_counted_in_little_memory() -> None:
    image = np.random.default_rng(0).integers(-1000, 3000, (200, 200, 60)).astype(np.int16)
    tracemalloc.start()
    distribution(image)
    count_labels((image > 0).view(np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4.5e6  # the mask itself is 2.4 MB; all voxels as float64 would be 19 MB


def test_examples() -> None:
    assert doctest.testmod(miscnn.data_loading.inspection).failed == 0


@pytest.mark.realdata
def test_real_volumes(real_data: Path) -> None:
    interface = NIfTIInterface(classes=3, image="images/*.nii.gz", segmentation="labels/*.nii.gz")
    data_io = DataIO(interface, real_data / "hippocampus")
    found = inspect(data_io, data_io.indices_list[:12], verbose=False)
    assert found.ok
    for facts in found.subjects:
        sample = data_io.sample_loader(facts.index)
        labels = sample.segmentation
        assert labels is not None
        assert facts.voxels == {k: int((labels == k).sum()) for k in range(3)}
        np.testing.assert_allclose(
            list((facts.intensities[0] or {}).values())[1:-1],
            np.percentile(sample.image.astype(np.float64), PERCENTILES),
            rtol=1e-6,
        )
