"""What a report tells, and of what it is made."""

from __future__ import annotations

import json
import logging
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from miscnn.cli import main
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation import (
    CalibrationTable,
    LesionTable,
    calibration_rows,
    figures,
    lesion_rows,
    match_lesions,
)
from miscnn.evaluation._report_source import PreviewFile, ReportSource
from miscnn.evaluation._report_viewers import by_interest, viewers_of
from miscnn.evaluation.preview import read_preview, write_preview
from miscnn.evaluation.report import write_report
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError, DamagedFileError, MissingFileError

XSS = "<script>alert(1)</script>"


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr("miscnn.evaluation.report.pictures_of", lambda source: {
        "scores": [], "training": [], "lesions": [], "calibration": []})  # fmt: skip


def text_of(page: Path) -> str:
    """What can be read on the page, tags as bars."""
    body = page.read_text(encoding="utf-8").split("<body>")[1]
    return unescape(re.sub(r"(\|\s*)+", "|", re.sub(r"<[^>]+>", "|", body.split("<dialog")[0])))


def volumes_of(page: Path) -> dict[str, list[int]]:
    """Title and shape of the volumes."""
    found = re.findall(r'id="volume-s\d+">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return {v["title"]: v["shape"] for v in map(json.loads, found)}


def in_folds(scored: Path, target: Path) -> Path:
    """Make a cross-validation of a single evaluation: a fold for each subject."""
    table = ScoreTable.from_tsv(scored / "scores.tsv")
    target.mkdir()
    (target / "folds.json").write_text(json.dumps({"n_folds": 3}))
    for number, index in enumerate(table.samples):
        folder = target / f"fold_{number}"
        (folder / "previews").mkdir(parents=True)
        rows = [
            ScoreRow(number, r.sample, r.label, r.class_name, r.metric, r.value, r.n_slices,
                     r.slice_thickness)
            for r in table.select(sample=index)
        ]  # fmt: skip
        ScoreTable(rows).to_tsv(folder / "scores.tsv")
        for file in (scored / "previews").iterdir():
            if read_preview(file).index == index:
                shutil.copy(file, folder / "previews")
        run = {"fold": number, "training": ["x", "y"], "validation": [index], "epochs": 7,
               "recipe": {"loss": "Tversky"}, "sources": {"x": "/home/somebody/x.nii"}}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "history.tsv").write_text("epoch\tloss\n0\t1.5\n1\t0.5\n")
    return target


def test_all_is_in_one_file_that_asks_for_nothing(scored_folder: Path) -> None:
    page = write_report(scored_folder)
    assert page == scored_folder / "report.html"
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    for address in re.findall(r'(?:src|href)="([^"]{1,40})', outside):
        assert address.startswith("data:image/")
    assert "@import" not in text
    assert not re.search(r"https?://", outside)
    assert text.count("<figure>") >= 4
    assert "not drawn" not in text
    again = write_report(scored_folder, scored_folder / "again.html")
    assert again.read_text(encoding="utf-8") == text


@pytest.mark.usefixtures("no_pictures")
def test_names_are_escaped_everywhere(scored_folder: Path) -> None:
    text = write_report(scored_folder).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>tumour" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


@pytest.mark.usefixtures("no_pictures")
def test_the_summary_is_that_of_the_table(scored_folder: Path) -> None:
    text = text_of(write_report(scored_folder))
    summary = ScoreTable.from_tsv(scored_folder / "scores.tsv").summary()
    row = summary.row("dice", 1)
    assert f"|liver|Dice|3|{row.mean:.3f}|{row.sd:.3f}|" in text
    assert f"|{row.worst:.3f}|{row.worst_sample}|" in text
    # class 2 is missing in one prediction: distances are infinite there
    assert summary.row("hd95_mm", 2).n_infinite == 1
    distances = re.search(r"\|<b>tumour</b>\|95 % Hausdorff distance \(mm\)\|(.*?)\n?<?b", text)
    assert distances is not None
    assert "|inf|" in distances[1]
    assert list(volumes_of(scored_folder / "report.html").values()) == [[10, 24, 20]] * 3


@pytest.mark.usefixtures("no_pictures")
def test_a_cross_validation_tells_folds_and_recipe(scored_once: Path, tmp_path: Path) -> None:
    folder = in_folds(scored_once, tmp_path / "cv")
    page = write_report(folder)
    text = text_of(page)
    assert "|3|folds|" in text
    assert "|By fold|" in text
    assert '"loss": "Tversky"' in text
    assert "|fold_2|2|1|7|" in text
    assert "/home/somebody" not in page.read_text(encoding="utf-8")
    assert set(volumes_of(page)) == {"case_a", "case_b", XSS}
    source = ReportSource.read(folder)
    assert set(source.previews) == {(0, "case_a"), (1, "case_b"), (2, XSS)}
    assert source.histories["fold_1"] == {"loss": [1.5, 0.5]}
    # the table of all folds is taken where there is one
    ScoreTable.from_tsv(folder / "fold_1" / "scores.tsv").to_tsv(folder / "scores.tsv")
    assert ReportSource.read(folder).scores.samples == ["case_b"]


def test_lesions_and_calibration_are_shown_where_they_are(scored_folder: Path) -> None:
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[1:3, 1:3, 1:3] = 1
    found = match_lesions(truth, truth, (1.0, 1.0, 1.0))
    LesionTable(lesion_rows(found, 0, "case_a", 1, XSS)).to_tsv(scored_folder / "lesions.tsv")
    probabilities = np.stack([1 - 0.9 * truth, 0.9 * truth], axis=-1)
    rows = calibration_rows(probabilities, truth, (1, 1, 1), 0, "case_a", {0: "none", 1: XSS})
    CalibrationTable(rows).to_tsv(scored_folder / "calibration.tsv")
    page = write_report(scored_folder)
    text = text_of(page)
    assert text.index("|Lesions|") < text.index("|Calibration|") < text.index("|Subjects|")
    assert "not drawn" not in text
    assert "Not shown" not in text
    assert "<script>alert" not in page.read_text(encoding="utf-8")
    content = page.read_text(encoding="utf-8")
    for alt in ("Detection by size of the lesion", "Reliability diagram"):
        assert f'<img alt="{alt}"' in content


def test_what_is_wrong_is_named(scored_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"scores\.tsv.*cross_validation"):
        write_report(tmp_path / "empty")
    for name, content, error in (
        ("run.json", "{", DamagedFileError),
        ("run.json", "[1]", DamagedFileError),
        ("history.tsv", "epoch\tloss\n0\n", DamagedFileError),
        ("history.tsv", "epoch\tloss\n0\tmuch\n", DamagedFileError),
        ("lesions.tsv", "nothing\n", ConfigurationError),
        ("scores.tsv", "a\tb\n", ConfigurationError),
    ):
        copy = tmp_path / f"{name}-{len(content)}"
        shutil.copytree(scored_folder, copy)
        (copy / name).write_text(content)
        with pytest.raises(error, match=re.escape(str(copy / name))):
            write_report(copy)
    with pytest.raises(ConfigurationError, match="max_megabytes"):
        write_report(scored_folder, max_megabytes=0)


@pytest.mark.usefixtures("no_pictures")
def test_a_damaged_preview_is_told_and_the_rest_is_shown(scored_folder: Path) -> None:
    (scored_folder / "previews" / "case_a.npz").write_bytes(b"PK")
    page = write_report(scored_folder)
    assert "case_a.npz is no preview that can be read" in text_of(page)
    assert set(volumes_of(page)) == {"case_b", XSS}
    assert "Without slices: 1 subject (case_a)" in text_of(page)


def test_a_picture_that_fails_is_a_note(
    scored_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no <ink>")

    for name in ("bland_altman", "score_against"):
        monkeypatch.setattr(figures, name, fail)
    with caplog.at_level(logging.WARNING, logger="miscnn.evaluation"):
        text = text_of(write_report(scored_folder))
    assert "not drawn (RuntimeError: no <ink>)" in text
    assert "no <ink>" in caplog.text


class Data:
    """A data set of the subjects that were scored."""

    class interface:  # noqa: N801
        classes = 3

        @staticmethod
        def has_segmentation(index: str) -> bool:
            return True

    def sample_loader(self, index: str, load_seg: bool = True, load_pred: bool = False) -> Sample:
        image = np.zeros((20, 24, 10), np.float32)
        sample = Sample(index, image, 1, 3, Geometry.from_spacing(image.shape, (1, 1, 3)))
        sample.add_segmentation(image.astype(np.uint8))
        return sample

    def load_prediction(self, index: str, output_path: str | Path) -> np.ndarray:
        if index == "case_b":
            raise MissingFileError(f"no prediction of {index!r} in {output_path}")
        return np.ones((20, 24, 10), np.uint8)

    def geometry(self, index: str) -> Geometry:
        return Geometry.from_spacing((20, 24, 10), (1, 1, 3))


@pytest.mark.usefixtures("no_pictures")
def test_without_previews_slices_are_made_of_the_data(scored_folder: Path) -> None:
    shutil.rmtree(scored_folder / "previews")
    page = write_report(scored_folder)
    assert volumes_of(page) == {}
    assert "--data DIR" in text_of(page)
    page = write_report(scored_folder, data_io=Data())
    assert set(volumes_of(page)) == {"case_a", XSS}
    assert "no prediction of 'case_b'" in text_of(page)
    assert not (scored_folder / "previews").exists()


def previews(folder: Path, sizes: dict[str, int]) -> dict[tuple[int, str], PreviewFile]:
    rng = np.random.default_rng(1)
    found = {}
    for index, n in sizes.items():
        image = rng.normal(0, 100, (n, n, n)).astype(np.float32)
        sample = Sample(index, image, 1, 2, Geometry(image.shape))
        found[0, index] = PreviewFile(write_preview(sample, folder), n**3)
    return found


def test_volumes_fit_into_the_room_and_small_ones_stay_as_they_are(tmp_path: Path) -> None:
    files = previews(tmp_path, {"a": 60, "b": 60, "small": 20})
    order = list(files)
    whole = viewers_of(files, order, 1e7)
    assert whole.share == 1.0
    total = sum(map(len, whole.volumes.values()))
    fitted = viewers_of(files, order, total / 2)
    assert set(fitted.volumes) == set(files)
    assert sum(map(len, fitted.volumes.values())) <= total / 2
    assert sum(map(len, fitted.volumes.values())) > total / 4
    assert fitted.volumes[0, "small"] == whole.volumes[0, "small"]
    assert 0.3 < fitted.share < 0.7
    # where there is hardly any room, the first ones of the order are shown
    few = viewers_of(files, [(0, "b"), (0, "a"), (0, "small")], total / 8)
    assert (0, "b") in few.volumes
    assert (0, "a") in few.left_out
    assert sum(map(len, few.volumes.values())) <= total / 8
    assert viewers_of(files, order, 0).volumes == {}
    assert set(viewers_of(files, order, 0).left_out) == set(files)


def test_the_worst_the_median_and_the_best_come_first() -> None:
    values = {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.7, "e": float("nan"), "f": 0.3}
    table = ScoreTable(
        ScoreRow(0, index, 1, "x", "dice", value, 3, 1.0) for index, value in values.items()
    )
    order = by_interest(table, [(0, index) for index in values])
    assert [index for _, index in order] == ["c", "a", "b", "f", "d", "e"]


@pytest.mark.usefixtures("no_pictures")
def test_the_command(scored_folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Any:
        return CliRunner().invoke(main, ["report", *map(str, arguments)])

    page = tmp_path / "out" / "r.html"
    page.parent.mkdir()
    result = run(scored_folder, "--output", page)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith(f"Wrote {page} (")
    assert len(volumes_of(page)) == 3
    assert run(scored_folder, "--output", page, "-q").stderr == ""
    assert run(tmp_path / "none").exit_code == 2
    empty = run(page.parent)
    assert empty.exit_code == 2
    assert "scores.tsv does not exist" in empty.stderr
    for options in (["--classes", "3"], ["--set", "a=1"], ["--predictions", str(tmp_path)]):
        refused = run(scored_folder, *options)
        assert refused.exit_code == 2
        assert "--data" in refused.stderr
    assert run(scored_folder, "--max-megabytes", "0").exit_code == 2
    nested = tmp_path / "not" / "yet" / "r.html"
    assert run(scored_folder, "--output", nested).exit_code == 0
    assert len(volumes_of(nested)) == 3


@pytest.mark.usefixtures("no_pictures")
def test_a_preview_that_is_damaged_behind_its_heading_is_left_out(scored_folder: Path) -> None:
    file = scored_folder / "previews" / "case_a.npz"
    with np.load(file) as content:
        arrays = {**content, "image": content["image"].astype(np.float64)}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    page = write_report(scored_folder)
    assert set(volumes_of(page)) == {"case_b", XSS}
    assert "Without slices: 1 subject (case_a)" in text_of(page)
    assert "type float64" in text_of(page)


@pytest.mark.usefixtures("no_pictures")
def test_folds_that_are_missing_are_told(scored_once: Path, tmp_path: Path) -> None:
    folder = in_folds(scored_once, tmp_path / "cv")
    assert "Not complete" not in text_of(write_report(folder))
    (folder / "folds.json").write_text(json.dumps({"n_folds": 5}))
    (folder / "fold_1" / "scores.tsv").unlink()
    told = text_of(write_report(folder))
    assert "Not complete: 2 of 5 folds have scores; missing: 1, 3, 4." in told


@pytest.mark.usefixtures("no_pictures")
def test_when_and_with_what_folds_were_run_is_told(scored_once: Path, tmp_path: Path) -> None:
    folder = in_folds(scored_once, tmp_path / "cv")
    run = {"fold": 0, "finished": "2026-03-04T05:06:07+00:00", "versions": {"keras": "3.15.0"}}
    (folder / "fold_0" / "run.json").write_text(json.dumps(run))
    text = text_of(write_report(folder))
    assert "|finished|" in text
    assert "2026-03-04T05:06:07+00:00" in text
    assert '"keras": "3.15.0"' in text


@pytest.mark.usefixtures("no_pictures")
def test_the_worst_subject_is_opened_in_the_fold_where_it_was_worst(tmp_path: Path) -> None:
    ScoreTable(
        ScoreRow(fold, "a", 1, "x", "dice", value, 3, 1.0)
        for fold, value in enumerate((0.5, 0.1, 0.7))
    ).to_tsv(tmp_path / "scores.tsv")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    summary = page.split('aria-label="Summary"')[1].split("</table>")[0]
    assert re.findall(r'data-open="(s\d+)"', summary) == ["s1"]


def test_of_many_classes_the_worst_are_drawn_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[int, str]] = []

    def picture(alt: str, name: str, table: ScoreTable, **_: Any) -> str:
        drawn.append(table.classes)
        return ""

    monkeypatch.setattr("miscnn.evaluation._report_pictures._picture", picture)
    monkeypatch.setattr("miscnn.evaluation._report_tables._MOST_CELLS", 100)
    metrics = ("dice", "jaccard", "nsd_2mm", "hd95_mm")
    ScoreTable(
        ScoreRow(0, index, label, f"organ {label}", metric, label / 50 + shift, 3, 1.0)
        for shift, index in ((0.0, "a"), (0.1, "b"))
        for label in range(1, 41)
        for metric in metrics
    ).to_tsv(tmp_path / "scores.tsv")
    page = write_report(tmp_path)
    assert drawn
    assert all(list(classes) == list(range(1, 13)) for classes in drawn)
    text = text_of(page)
    assert "Pictures show 12 of 40 classes" in text
    assert "|0.070 ± 0.071|lowest Dice, organ 1|" in text
    assert "only the class with the lowest Dice has a row" in text
    subjects = page.read_text(encoding="utf-8").split('id="subjects"')[1].split("</table>")[0]
    assert re.findall(r"<td>(organ \d+)</td>", subjects) == ["organ 1", "organ 1"]
    about = re.search(r'id="about">(.*?)</script>', page.read_text("utf-8"))
    assert about is not None
    told = json.loads(about[1])["s0"]["scores"]
    assert told[:2] == ["organ 1: dice 0.020", "organ 2: dice 0.040"]
    assert told[6:] == ["34 more classes, with higher Dice"]


@pytest.mark.usefixtures("no_pictures")
def test_ranges_have_no_negative_zero(tmp_path: Path) -> None:
    ScoreTable(
        ScoreRow(0, str(k), 1, "x", "volume_error", value, 3, 1.0)
        for k, value in enumerate((-0.0001, -0.0002, -0.0001, 0.1))
    ).to_tsv(tmp_path / "scores.tsv")
    assert "-0.000" not in text_of(write_report(tmp_path))


def test_who_was_not_scored_is_told(scored_folder: Path, no_pictures: None) -> None:
    assert "not scored" not in text_of(write_report(scored_folder))
    gone = [f"gone_{k}" for k in range(6)]
    lines = [f"{name}\t{'no prediction' if k else XSS}" for k, name in enumerate(gone)]
    (scored_folder / "not_scored.tsv").write_text("\n".join(["sample\treason", *lines]) + "\n")
    page = write_report(scored_folder)
    told = text_of(page)
    summary = "6 of 9 subjects were not scored: gone_0, gone_1, gone_2, gone_3, gone_4, …"
    assert told.index(summary) < told.index("|Summary|")
    assert "|gone_5|: no prediction|" in told
    assert XSS in told
    assert XSS not in page.read_text("utf-8")
    (scored_folder / "not_scored.tsv").write_text("sample\treason\nalone\n")
    with pytest.raises(DamagedFileError, match=r"not_scored\.tsv"):
        write_report(scored_folder)
