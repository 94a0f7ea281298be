from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.data_loading._checks import MANY_LABELS, label_values
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.verification import Problem, VerificationReport, verify

Subject = Callable[..., Path]

RNG = np.random.default_rng(5)
IMAGE = RNG.normal(0, 300, (7, 6, 5)).astype(np.int16)
LABELS = (IMAGE > 100).astype(np.uint8)
AFFINE = np.diag([-0.9, 0.9, 3, 1.0])


def check(tmp_path: Path, classes: int = 2, **arguments: Any) -> VerificationReport:
    data_io = DataIO(NIfTIInterface(classes=classes), tmp_path / "data")
    return verify(data_io, verbose=False, **arguments)


def found(report: VerificationReport, index: str) -> list[tuple[str, str]]:
    return [(p.severity, p.check) for p in report.problems if p.index == index]


def only(report: VerificationReport, index: str) -> Problem:
    problems = [p for p in report.problems if p.index == index]
    assert len(problems) == 1, problems
    return problems[0]


def in_memory(classes: int = 2, **subjects: Any) -> VerificationReport:
    interface = DictionaryInterface(subjects, classes=classes)
    return DataIO(interface).verify(verbose=False)


def test_a_sound_data_set(tmp_path: Path, subject: Subject) -> None:
    noisy = AFFINE.copy()
    noisy[:3, 3] += 1e-6
    subject("a", affine=AFFINE, label_affine=noisy)
    subject("b")
    report = check(tmp_path)
    assert report.ok
    assert report.problems == ()
    assert report.good == report.indices == ("a", "b")
    assert str(report) == "2 subjects: 2 good"


def test_all_problems_are_told_at_once(
    tmp_path: Path, subject: Subject, patch: Callable[..., None]
) -> None:
    subject("good")
    (subject("text") / "imaging.nii.gz").write_text("notes " * 99)
    path = subject("cut") / "segmentation.nii.gz"
    path.write_bytes(path.read_bytes()[:-6])
    (subject("empty") / "imaging.nii.gz").write_bytes(b"")
    (subject("noimage") / "imaging.nii.gz").unlink()
    (subject("nolabel") / "segmentation.nii.gz").unlink()
    subject("l255", IMAGE, LABELS * np.uint8(255))
    subject("shape", IMAGE, LABELS[:-1])
    moved = AFFINE.copy()
    moved[2, 3] = 12.5
    subject("moved", IMAGE, LABELS, AFFINE, moved)
    half = IMAGE.astype(np.float32)
    half[1, 2, 3] = np.nan
    subject("nan", half, LABELS)
    subject("interpolated", IMAGE, LABELS * np.float32(0.5))
    subject("constant", np.full((7, 6, 5), 7, np.int16), LABELS)
    subject("volumes", np.stack([IMAGE, IMAGE], -1), LABELS)
    patch(subject("singular") / "imaging.nii.gz", 280 + 32, "4f", 0, 0, 0, 0)
    patch(subject("huge") / "imaging.nii.gz", 40, "4h", 3, 30000, 30000, 30000)
    report = check(tmp_path)
    expected = {
        "text": "unreadable",
        "cut": "unreadable",
        "empty": "unreadable",
        "noimage": "missing",
        "nolabel": "missing",
        "l255": "labels",
        "shape": "grid",
        "moved": "grid",
        "nan": "finite",
        "interpolated": "labels",
        "constant": "constant",
        "volumes": "channels",
        "singular": "spacing",
        "huge": "unreadable",
    }
    assert {p.index: p.check for p in report.problems if p.severity == "error"} == expected
    assert not report.ok
    assert report.good == ("good",)
    assert set(report.bad) == set(expected)
    assert report.summary().startswith("15 subjects: 1 good, 14 with errors")
    assert "12.5 mm (13.9 voxels) apart" in only(report, "moved").message
    assert "(6, 6, 5)" in only(report, "shape").message
    assert "label 255 lies outside 0 … 1" in only(report, "l255").message
    assert "label_values=[0, 1, 255]" in only(report, "l255").message
    assert "found 0.5" in only(report, "interpolated").message
    assert "first at (1, 2, 3)" in only(report, "nan").message
    assert "7" in only(report, "constant").message
    assert "54,000,000,000,352" in only(report, "huge").message


def test_a_broken_image_does_not_hide_a_broken_segmentation(
    tmp_path: Path, subject: Subject
) -> None:
    folder = subject("a", IMAGE, LABELS * np.uint8(7))
    (folder / "imaging.nii.gz").write_bytes(gzip.compress(b"x" * 400))
    report = check(tmp_path)
    assert found(report, "a") == [("error", "unreadable"), ("error", "labels")]


def test_warnings_and_notes_are_no_errors(
    tmp_path: Path, subject: Subject, patch: Callable[..., None]
) -> None:
    subject("empty", IMAGE, np.zeros_like(LABELS))
    subject("float", IMAGE, LABELS.astype(np.float64))
    patch(subject("pixdim") / "imaging.nii.gz", 80, "f", 2.0)
    patch(subject("microns") / "imaging.nii.gz", 123, "b", 3)
    coarse = np.diag([5, 5, 20, 1.0])
    subject("coarse", IMAGE, LABELS, coarse, coarse)
    giant = np.diag([60, 60, 60, 1.0])
    subject("giant", IMAGE, LABELS, giant, giant)
    report = check(tmp_path)
    assert report.ok
    assert [(p.index, p.severity, p.check) for p in report.problems] == [
        ("coarse", "warning", "spacing"),
        ("empty", "warning", "empty"),
        ("giant", "warning", "spacing"),
        ("giant", "warning", "spacing"),
        ("microns", "warning", "units"),
        ("pixdim", "warning", "spacing"),
        ("float", "note", "labels"),
    ]
    assert report.summary() == "6 subjects: 6 good, 6 warnings, 1 note"
    assert "2 x 0.9 x 3 mm, the affine 0.9 x 0.9 x 3 mm" in only(report, "pixdim").message
    assert "median of the data set is 0.9 x 0.9 x 3 mm" in only(report, "coarse").message
    assert "0.001" in only(report, "microns").message


def test_a_voxel_size_of_zero_is_an_error_only_where_it_is_used(
    tmp_path: Path, subject: Subject, patch: Callable[..., None]
) -> None:
    for index, code in (("sform", 1), ("qform", 0)):
        path = subject(index) / "imaging.nii.gz"
        patch(path, 76 + 12, "f", 0.0)
        patch(path, 254, "h", code)
    report = check(tmp_path)
    assert found(report, "sform") == [("warning", "spacing")]
    assert found(report, "qform") == [("error", "spacing")]


def test_images_alone_are_a_note(tmp_path: Path, subject: Subject) -> None:
    for index in "ab":
        (subject(index) / "segmentation.nii.gz").unlink()
    report = check(tmp_path)
    assert report.ok
    assert only(report, "").check == "missing"
    assert "(all)" in str(report)


def test_a_class_that_never_occurs() -> None:
    report = in_memory(classes=4, a=(IMAGE, LABELS), b=(IMAGE, LABELS * 3))
    assert only(report, "").message.startswith("label 2 occurs in no subject")
    assert report.ok


def test_constant_channels() -> None:
    image = np.stack([IMAGE, np.zeros_like(IMAGE)], axis=-1)
    data_io = DataIO(DictionaryInterface({"a": (image, LABELS)}, channels=2))
    problem = only(data_io.verify(verbose=False), "a")
    assert (problem.severity, problem.message) == ("warning", "channel 2 is constant")


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ([[0, 1], [0, 1, 2]], 3, None),
        ([[0, 255], [0, 255]], 2, "for example classes=2, label_values=[0, 255]"),
        ([[0, 1, 2, 4], [0, 1]], 3, "classes=4, label_values=[0, 1, 2, 4]"),
        ([[0, 64, 128], [0]], 2, "classes=3, label_values=[0, 64, 128]"),
        ([[-1000, 0, 1], [0, 1]], 2, "classes=2, label_values={-1000: 0, 0: 0, 1: 1}"),
        ([[0], [0]], 2, None),
    ],
)
def test_classes_from_the_labels(
    values: list[list[int]], classes: int, message: str | None
) -> None:
    subjects = {}
    for index, present in zip("ab", values, strict=True):
        labels = np.zeros(IMAGE.shape, np.int16)
        labels.flat[: len(present)] = present
        subjects[index] = (IMAGE, labels)
    report = verify(DataIO(DictionaryInterface(subjects)), infer_classes=True, verbose=False)
    assert report.classes == classes
    errors = [p.message for p in report.problems if p.severity == "error"]
    assert len(errors) == (message is not None) + (values[0] == values[1] == [0, 255])
    assert all(message in text for text in errors)


def test_labels_beyond_the_classes_of_the_interface() -> None:
    report = in_memory(classes=2, a=(IMAGE, LABELS * 2 + (IMAGE < -100)))
    assert only(report, "a").message.endswith("set classes=3")


def test_no_subject_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    report = check(tmp_path)
    assert not report.ok
    assert (report.good, report.bad) == ((), ())
    assert found(report, "") == [("error", "missing")]
    assert only(report, "").message.startswith("no subject was found; looked for '")
    report = DataIO(DictionaryInterface({"a": (IMAGE, LABELS)})).verify([], verbose=False)
    assert only(report, "").message.startswith("indices: no subject is chosen")


def test_one_and_several_labels_are_told_as_such() -> None:
    report = in_memory(4, a=(IMAGE, LABELS), b=(IMAGE, LABELS))
    assert only(report, "").message == "labels 2, 3 occur in no subject; is classes=4 right?"
    three = LABELS.copy()
    three[0, 0, :2] = 2, 3
    report = in_memory(2, a=(IMAGE, three))
    assert only(report, "a").message.startswith("labels 2, 3 lie outside 0 … 1")


def test_a_proposal_looks_at_the_whole_data_set() -> None:
    report = in_memory(a=(IMAGE, LABELS * 2), b=(IMAGE, LABELS), c=(IMAGE, LABELS * 2))
    assert [p.index for p in report.problems] == ["a", "c"]
    assert {p.message for p in report.problems} == {
        "label 2 lies outside 0 … 1 (classes=2); set classes=3"
    }
    ramp = np.arange(IMAGE.size).reshape(IMAGE.shape)
    report = in_memory(a=(IMAGE, ramp % 3), b=(IMAGE, ramp % 2 * 4))
    for index in "ab":
        assert only(report, index).message.endswith("classes=4, label_values=[0, 1, 2, 4]")


def test_an_image_in_place_of_a_segmentation() -> None:
    values = np.arange(2000.0).reshape(20, 20, 5)
    report = in_memory(a=(values, values))
    assert f"more than {MANY_LABELS} different values" in only(report, "a").message


@pytest.mark.parametrize("slices", [3, 1200])
def test_labels_that_are_no_numbers_are_counted(slices: int) -> None:
    image = np.arange(4.0 * slices).reshape(2, 2, slices)
    labels = np.zeros(image.shape)
    labels[0, 0] = np.nan
    labels[1, 1] = 1
    labels[1, 0, 0] = -np.inf
    message = only(in_memory(a=(image, labels)), "a").message
    assert message.startswith(f"{slices + 1} of {4 * slices} labels are NaN or infinite; replace")


def test_whatever_an_interface_raises_is_a_finding() -> None:
    class Odd(DictionaryInterface):
        def load_image(self, index: str) -> Any:
            raise ZeroDivisionError("strange")

    report = verify(DataIO(Odd({"a": (IMAGE, LABELS)})), verbose=False)
    assert only(report, "a").message == "reading failed: ZeroDivisionError: strange"


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_threads_change_nothing(tmp_path: Path, subject: Subject, n_jobs: int) -> None:
    for index in "abcdef":
        subject(index, IMAGE, LABELS * np.uint8(2 if index in "bd" else 1))
    report = check(tmp_path, n_jobs=n_jobs)
    assert report.bad == ("b", "d")
    assert check(tmp_path, indices=["d", "a"]).indices == ("d", "a")


def test_the_progress_bar_can_be_silenced(
    tmp_path: Path, subject: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    subject("a")
    data_io = DataIO(NIfTIInterface(), tmp_path / "data")
    data_io.verify(verbose=False)
    assert capsys.readouterr() == ("", "")
    data_io.verify()
    out, err = capsys.readouterr()
    assert out == ""
    assert "1/1" in err


def test_the_table_is_aligned_and_groups_equal_findings() -> None:
    text = "labels 255 lie outside 0 … 1; " + "rewrite them all " * 8
    problems = [Problem(f"case_{i}", "error", "labels", text) for i in range(5)]
    problems.append(Problem("x" * 60, "warning", "empty", "background only"))
    report = VerificationReport(tuple(p.index for p in problems), tuple(problems), 2)
    first, blank, *table = str(report).splitlines()
    assert first == "6 subjects: 1 good, 5 with errors, 1 warning"
    assert blank == ""
    assert max(map(len, table)) <= 100
    column = table[0].index("finding")
    assert table[1].startswith("error     labels  case_0, case_1, case_2 and  labels 255")
    assert table[2].startswith(" " * 18 + "2 more")
    assert all(line[column - 1 : column] in ("", " ") for line in table)
    assert sum("labels" in line[:column] for line in table) == 1
    assert max(map(len, report.table(70).splitlines())) <= 70


def test_the_report_as_json() -> None:
    report = in_memory(a=(IMAGE, LABELS * 255), b=(IMAGE, LABELS))
    document = json.loads(report.to_json())
    assert document["ok"] is False
    assert (document["subjects"], document["classes"]) == (2, 2)
    assert (document["good"], document["bad"]) == (["b"], ["a"])
    assert document["problems"][0]["index"] == "a"
    assert set(document["problems"][0]) == {"index", "severity", "check", "message"}


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u8", "f4", "f8", "?"])
def test_label_values_are_those_of_unique(dtype: str, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 100, (9, 8, 7)).astype(dtype)
    if np.dtype(dtype).kind in "if":
        labels[0, 0, 0] = -5
    if np.dtype(dtype).kind == "f":
        labels[1, 1, 1] = 2.5
        labels[2, 2] = 1e30
    assert label_values(labels) == np.unique(labels).astype(float).tolist()


def test_label_values_with_nan_and_far_apart() -> None:
    assert label_values(np.array([[0, 2**62]])) == [0, 2.0**62]
    values = label_values(np.array([[np.nan, 3.0], [np.nan, np.inf]]))
    assert values[:2] == [3, np.inf]
    assert len(values) == 3
    assert np.isnan(values[2])


@pytest.mark.parametrize(
    "values",
    [
        np.array([(1 << 64) - 1, (1 << 64) - 60001, (1 << 64) - 1], np.uint64),
        np.array([0, (1 << 64) - 1], np.uint64),
        np.array([1 << 63, (1 << 63) + 4096], np.uint64),
        np.array([-(1 << 63), (1 << 63) - 1], np.int64),
        np.array([-(1 << 63), 3 - (1 << 63)], np.int64),
        np.array([1e19, 1e19 + 4096, 1e19]),
        np.array([-1e19, 1e300]),
        np.array([1e19, 1e19], np.float32),
        np.array([-60000, 5, 1], np.float16),
        np.array([-200, 60000], np.float16),
        np.array([1e19, 2.0], np.longdouble),
    ],
)
def test_labels_of_any_size_are_findings(values: np.ndarray) -> None:
    labels = np.resize(values, IMAGE.shape)
    assert label_values(labels) == sorted({float(value) for value in values})
    report = in_memory(a=(IMAGE, labels))
    assert found(report, "a") == [("error", "labels")]
    if np.abs(values.astype(float)).max() > 1e16:
        assert only(report, "a").message.endswith("; rewrite them")


@pytest.mark.parametrize("kind", ["image", "segmentation"])
def test_whatever_a_check_raises_is_a_finding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OverflowError("too large")

    name = "non_finite" if kind == "image" else "label_values"
    monkeypatch.setattr(f"miscnn.data_loading.verification.{name}", fail)
    report = in_memory(a=(IMAGE, LABELS))
    assert only(report, "a").message == "reading failed: OverflowError: too large"


@pytest.mark.parametrize("value", [1j, "x", None])
def test_images_hold_real_numbers(value: Any) -> None:
    image = np.full(IMAGE.shape, value)
    report = in_memory(a=(image, LABELS))
    assert found(report, "a") == [("error", "unreadable")]
    assert "the image must hold real numbers, not" in only(report, "a").message


@pytest.mark.realdata
def test_real_data_sets(real_data: Path) -> None:
    quirks = DataIO(NIfTIInterface(image="*"), real_data / "quirks").verify(verbose=False)
    assert {p.index: p.check for p in quirks.problems if p.severity == "error"} == {
        "4d_int16": "channels",
        "uninformative_constant_image": "constant",
        "uninformative_empty_mask": "constant",
    }
    folders = {"image": "images/*.nii.gz", "segmentation": "labels/*.nii.gz"}
    interface = NIfTIInterface(classes=3, **folders)
    assert DataIO(interface, real_data / "hippocampus").verify(verbose=False).problems == ()
