"""Scores of single subjects, from the model's files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation import (
    CalibrationTable,
    LesionTable,
    ScoreTable,
    detailed_validation,
    score_sample,
)
from miscnn.evaluation.detailed_validation import class_names_by_label, compute_dice
from miscnn.evaluation.preview import read_preview
from miscnn.evaluation.scores import dice, score_subject
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.summary import GROUPINGS
from miscnn.exceptions import ConfigurationError, GridMismatchError, LabelError, SampleError

from .conftest import FakeModel


def test_scores_come_from_the_files_that_were_written(
    model: Any, predicted: Any, tmp_path: Path
) -> None:
    chosen = ["case_3", "case_0"]
    table = detailed_validation(
        chosen, model, tmp_path, output_path=tmp_path / "mine", fold=4, verbose=0
    )
    assert table.samples == chosen
    truth = model.preprocessor.data_io.interface.truths["case_3"]
    expected = dice(truth == 1, predicted(truth, "case_3") == 1)
    assert table.select("dice", 1, fold=4, sample="case_3").rows[0].value == expected
    assert (tmp_path / "mine" / "case_3.npy").is_file()
    assert ScoreTable.from_tsv(tmp_path / "scores.tsv").rows == table.rows
    with (tmp_path / "detailed_validation.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["sample_id"] for row in rows] == chosen
    assert float(rows[0]["dice_class-1"]) == expected
    with (tmp_path / "summary.tsv").open() as file:
        summary = list(csv.DictReader(file, delimiter="\t"))
    dices = [row for row in summary if row["metric"] == "dice" and row["class"] == "1"]
    # All, the fold, and the groups, as of a cross-validation.
    assert {row["by"] for row in dices} == {"all", *GROUPINGS}
    assert sum(int(row["n"]) for row in dices if row["by"] == "size") == 2


def test_predictions_lie_below_the_evaluation_by_default(model: Any, tmp_path: Path) -> None:
    detailed_validation(["case_1"], model, tmp_path, verbose=0)
    assert (tmp_path / "predictions" / "case_1.npy").is_file()


def test_spacing_is_taken_from_the_geometry() -> None:
    affine = np.array([[0, 0, 4.0, 0], [2.0, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0, 1]])
    sample = Sample("s", np.zeros((6, 6, 6)), 1, 2, Geometry((6, 6, 6), affine))
    truth, prediction = np.zeros((2, 6, 6, 6), dtype=np.uint8)
    truth[1, 2, 3] = prediction[1, 2, 5] = 1
    sample.add_segmentation(truth)
    sample.add_prediction(prediction)
    found = {row.metric: row.value for row in score_sample(sample)}
    assert found["hd95_mm"] == 8.0
    assert found["volume_truth_ml"] == pytest.approx(0.004)
    # The slices of 4 mm lie across the third axis; the prediction is in one without truth.
    assert found["dice"] == found["dice_roi"] == 0
    prediction[1, 2, 3] = 1
    sample.add_prediction(prediction)
    found = {row.metric: row.value for row in score_sample(sample)}
    assert (found["dice"], found["dice_roi"]) == (pytest.approx(2 / 3), 1.0)


def test_slices_lie_where_the_recipe_says(model: Any, predicted: Any, tmp_path: Path) -> None:
    truth = model.preprocessor.data_io.interface.truths["case_3"]
    prediction = predicted(truth, "case_3")
    found = {}
    for axis in (None, 0, 2):
        model.preprocessor.slice_axis = axis
        table = detailed_validation(["case_3"], model, tmp_path, verbose=0)
        (row,) = table.select("dice_roi", 1).rows
        found[axis] = (row.value, row.n_slices, row.slice_thickness)
    inside = (truth > 0).any(axis=(1, 2))
    expected = dice(truth[inside] == 1, prediction[inside] == 1)
    assert found[0] == (expected, 14, 1.0)
    assert found[None] == found[2] == (dice(truth == 1, prediction == 1), 9, 3.0)
    assert found[0][0] != found[2][0]


def test_images_in_2d_are_one_slice() -> None:
    sample = Sample("s", np.zeros((6, 5)), 1, 2, Geometry.from_spacing((6, 5), (2.0, 3.0)))
    sample.add_segmentation(np.eye(6, 5, dtype=np.uint8))
    sample.add_prediction(np.eye(6, 5, dtype=np.uint8))
    rows = score_sample(sample)
    assert {row.n_slices for row in rows} == {1}
    assert all(np.isnan(row.slice_thickness) for row in rows)
    assert {r.metric: r.value for r in rows}["area_truth_mm2"] == 30.0
    assert "dice_roi" not in {row.metric for row in rows}


def test_what_cannot_be_scored_is_named() -> None:
    sample = Sample("s7", np.zeros((4, 4, 4)), 1, 2)
    with pytest.raises(SampleError, match="'s7': there is no segmentation"):
        score_sample(sample)
    sample.add_segmentation(np.zeros((4, 4, 4), dtype=np.uint8))
    with pytest.raises(SampleError, match="'s7': there is no prediction"):
        score_sample(sample)
    sample.add_prediction(np.zeros((4, 4, 5), dtype=np.uint8))
    with pytest.raises(GridMismatchError, match=r"\(4, 4, 5\), the segmentation \(4, 4, 4\)"):
        score_sample(sample)


def test_labels_that_are_no_classes_are_refused() -> None:
    truth = np.zeros((4, 4, 4), dtype=np.uint8)
    truth[0] = 1
    mask = truth * np.uint8(255)
    sample = Sample("s7", np.zeros((4, 4, 4)), 1, 2)
    sample.add_segmentation(truth)
    sample.add_prediction(mask)
    with pytest.raises(LabelError, match=r"'s7': .*holds 255 in 16 voxel.*classes are 0 … 1;"):
        score_sample(sample)
    with pytest.raises(ConfigurationError, match=r"holds 255 in 16 voxel"):
        score_subject(truth, mask, 2, (1, 1, 1))
    # Of labels that one lists, others are none of one's business.
    (found,) = score_subject(truth, mask, [1], (1, 1, 1), scoring=Scoring(metrics=("dice",)))[:1]
    assert found.value == 0
    # The ignore label is the truth's; where that has it, predictions do not count.
    ignoring = Sample("s7", np.zeros((4, 4, 4)), 1, 2, ignore_label=255)
    ignoring.add_segmentation(np.where(mask == 255, mask, truth))
    ignoring.add_prediction(mask)
    assert score_sample(ignoring)
    mask[3, 3, 3] = 255
    with pytest.raises(LabelError, match=r"holds 255 in 1 voxel"):
        score_sample(ignoring)


def test_names_of_classes() -> None:
    assert class_names_by_label(None, 2) == {0: "class-0", 1: "class-1"}
    assert class_names_by_label(("bg", "liver"), 2) == {0: "bg", 1: "liver"}
    assert class_names_by_label({1: "liver"}, 3) == {0: "class-0", 1: "liver", 2: "class-2"}
    with pytest.raises(ConfigurationError, match="got 'ab'"):
        class_names_by_label("ab", 2)


def test_dice_of_all_classes_as_in_1x() -> None:
    truth = np.array([[[0, 0, 1, 1]]])[..., np.newaxis]
    prediction = np.array([[[0, 1, 1, 1]]])
    found = compute_dice(truth, prediction, 3)
    assert found[:2] == pytest.approx([2 / 3, 4 / 5])
    assert np.isnan(found[2])


def test_names_of_the_data_are_the_default(model: Any, predicted: Any, tmp_path: Path) -> None:
    interface = model.preprocessor.data_io.interface
    predicted(interface.truths["case_3"], "case_3")
    interface.class_names = ("background", "kidney", "tumour")
    table = detailed_validation(["case_3"], model, tmp_path, verbose=0)
    assert {row.class_name for row in table.rows} == {"kidney", "tumour"}
    given = {2: "lesion"}
    table = detailed_validation(["case_3"], model, tmp_path, class_names=given, verbose=0)
    assert {row.class_name for row in table.rows} == {"class-1", "lesion"}


class ProbableModel(FakeModel):
    """Says of what it predicts that it is sure by 0.8, in files beside the label maps."""

    def predict(
        self,
        samples: Sequence[str],
        *,
        output_path: str | Path,
        verbose: int,
        outputs: Sequence[str] = ("labels",),
    ) -> None:
        super().predict(samples, output_path=output_path, verbose=verbose)
        for index in samples if "probabilities" in outputs else ():
            labels = self.preprocessor.data_io.load_prediction(index, output_path)
            sure = np.where(np.eye(3)[labels] > 0, 0.8, 0.1).astype(np.float32)
            np.save(Path(output_path) / f"{index}_probabilities.npy", sure, allow_pickle=False)


@pytest.fixture
def probable(monkeypatch: pytest.MonkeyPatch) -> ProbableModel:
    model = ProbableModel()
    interface = model.preprocessor.data_io.interface
    interface.named = lambda index, name: f"{index}_{name}"  # type: ignore[attr-defined]
    return model


def test_lesions_and_calibration(probable: ProbableModel, tmp_path: Path) -> None:
    scoring = Scoring(metrics=("dice",), lesions=True, calibration=True)
    table = detailed_validation(
        ["case_0", "case_2"], probable, tmp_path, scoring=scoring, verbose=0
    )
    assert {row.metric for row in table} == {
        "dice", "volume_truth_ml", "volume_prediction_ml",
        "n_lesions_truth", "n_lesions_prediction", "lesion_tp", "lesion_fp", "lesion_fn",
        "lesion_sensitivity", "lesion_precision", "lesion_f1", "panoptic_quality", "ece", "brier",
    }  # fmt: skip
    found = {(row.sample, row.label, row.metric): row.value for row in table}
    assert found["case_0", 1, "dice"] == found["case_0", 1, "lesion_f1"] == 1
    # It is always right, and sure by 0.8 or 0.1.
    assert 0.1 < found["case_0", 1, "ece"] < 0.2
    assert found["case_0", 2, "brier"] == pytest.approx(0.01, abs=0.002)
    assert found["case_2", 1, "brier"] > found["case_0", 1, "brier"]
    lesions = LesionTable.from_tsv(tmp_path / "lesions.tsv")
    assert {row.sample for row in lesions} == {"case_0", "case_2"}
    calibration = CalibrationTable.from_tsv(tmp_path / "calibration.tsv")
    assert {row.label for row in calibration} >= {1, 2}
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        "case_0.npy", "case_0_probabilities.npy", "case_2.npy", "case_2_probabilities.npy",
    ]  # fmt: skip
    # What is not asked for the next time is not left there as if it were of that run.
    detailed_validation(["case_0"], probable, tmp_path, previews=False, verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "detailed_validation.tsv", "predictions", "scores.tsv", "summary.tsv",
    ]  # fmt: skip


def test_a_model_without_probabilities_is_named(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FakeModel has no argument 'outputs'"):
        detailed_validation(["case_0"], model, tmp_path, scoring=Scoring(calibration=True))
    assert not model.calls
    sample = load_predicted_sample()
    with pytest.raises(ConfigurationError, match="there are none"):
        score_sample(sample, scoring=Scoring(calibration=True))


def load_predicted_sample() -> Sample:
    sample = Sample("s", np.zeros((6, 6, 6)), 1, 2)
    for add in (sample.add_segmentation, sample.add_prediction):
        add(np.ones((6, 6, 6), dtype=np.uint8))
    return sample


def test_previews_are_those_of_the_last_run(model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "previews"
    detailed_validation(["case_0", "case_1"], model, tmp_path, verbose=0)
    assert sorted(p.name for p in folder.iterdir()) == ["case_0.npz", "case_1.npz"]
    assert read_preview(folder / "case_1.npz").index == "case_1"
    detailed_validation(["case_1"], model, tmp_path, verbose=0)
    assert [p.name for p in folder.iterdir()] == ["case_1.npz"]
    (folder / "mine.txt").write_text("notes")
    detailed_validation(["case_1"], model, tmp_path, previews=False, verbose=0)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]
