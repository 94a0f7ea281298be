"""Scores of regions: unions of labels, beside those of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.sample import Sample
from miscnn.evaluation import cross_validation
from miscnn.evaluation.detailed_validation import score_sample
from miscnn.evaluation.scores import score_subject
from miscnn.evaluation.summary import ScoreTable
from miscnn.neural_network.architecture import UNetStandard
from miscnn.processing.regions import Regions

BRATS = Regions({"whole tumour": (1, 2, 3), "tumour core": (2, 3), "enhancing": (3,)})
IGNORED = 255


def scored(
    truth: np.ndarray,
    prediction: np.ndarray,
    regions: Regions | None = BRATS,
    ignore_label: int | None = None,
    class_names: list[str] | None = None,
) -> ScoreTable:
    sample = Sample("a", np.zeros(truth.shape), classes=4, ignore_label=ignore_label)
    sample.add_segmentation(truth)
    sample.add_prediction(prediction)
    return ScoreTable(score_sample(sample, class_names, regions=regions))


def value(table: ScoreTable, metric: str, label: int) -> float:
    return float(table.values(metric, label)[0])


def test_dice_of_unions_by_hand() -> None:
    truth = np.array([0, 1, 2, 3, 3, 0], np.uint8).reshape(6, 1, 1)
    prediction = np.array([0, 2, 2, 3, 2, 1], np.uint8).reshape(6, 1, 1)
    table = scored(truth, prediction)
    names = {1: "class-1", 2: "class-2", 3: "class-3"}
    assert table.classes == {**names, 4: "whole tumour", 5: "tumour core"}
    assert [value(table, "dice", label) for label in (1, 2, 3)] == [0, 2 / 4, 2 / 3]
    assert [value(table, "dice", label) for label in (4, 5)] == [8 / 9, 6 / 7]
    assert value(table, "volume_truth_ml", 4) == 4 / 1000


@settings(max_examples=25)
@given(data=st.data())
def test_a_region_is_scored_like_a_class_of_its_own(data: st.DataObject) -> None:
    arrays = hnp.arrays("uint8", (4, 3, 3), elements=st.integers(0, 3))
    truth, prediction = data.draw(arrays), data.draw(arrays)
    found = score_subject(truth, prediction, 4, (1, 2, 3), None, {9: (2, 3)})
    # With 3 for both labels in one map, that is an ordinary class.
    merged = (np.where(array == 2, 3, array) for array in (truth, prediction))
    expected = score_subject(*merged, (3,), (1, 2, 3))
    of_region = [(metric, number) for label, metric, number in found if label == 9]
    np.testing.assert_equal(of_region, [(metric, number) for _, metric, number in expected])
    classes = [row for row in found if row.label != 9]
    np.testing.assert_equal(classes, score_subject(truth, prediction, 4, (1, 2, 3)))


def test_slices_with_truth_are_those_of_any_class() -> None:
    truth = np.zeros((4, 2, 3), np.uint8)
    truth[0, 0, 0], truth[0, 0, 1] = 1, 3  # slice 2 has no truth
    prediction = np.zeros_like(truth)
    prediction[0, 0, :] = 3
    spacing = (1.0, 1.0, 5.0)
    rows = score_subject(truth, prediction, 4, spacing, 2, {4: (2, 3)})
    found = {(row.label, row.metric): row.value for row in rows}
    assert found[4, "dice"] == 2 / 4
    assert found[4, "dice_roi"] == 2 / 3


def test_unlabelled_voxels_count_in_no_region() -> None:
    truth = np.array([1, 3, IGNORED, IGNORED], np.uint8).reshape(4, 1, 1)
    prediction = np.array([1, 0, 3, 3], np.uint8).reshape(4, 1, 1)
    table = scored(truth, prediction, ignore_label=IGNORED)
    assert value(table, "dice", 4) == 2 / 3
    assert value(table, "dice", 5) == 0


def test_a_region_of_one_label_is_that_class_and_not_scored_twice() -> None:
    truth = np.array([0, 1, 2, 3], np.uint8).reshape(4, 1, 1)
    regions = Regions({"all": (1, 2, 3), "oedema": 1, "core": (2, 3), "enhancing": 3}, (2, 1, 2, 3))
    table = scored(truth, truth, regions)
    assert table.classes == {1: "class-1", 2: "class-2", 3: "class-3", 4: "all", 6: "core"}
    assert list(scored(truth, truth, Regions({"a": 1, "b": 2, "c": 3})).classes) == [1, 2, 3]


def test_a_region_with_the_name_of_a_class_is_told_from_it() -> None:
    truth = np.array([0, 1, 2, 3], np.uint8).reshape(4, 1, 1)
    prediction = np.array([0, 1, 1, 3], np.uint8).reshape(4, 1, 1)
    regions = Regions({"oedema": (1, 2, 3), "core": (2, 3), "enhancing": 3})
    table = scored(truth, prediction, regions, class_names=["", "oedema", "necrosis", "rest"])
    assert [table.classes[label] for label in (1, 4, 5)] == ["oedema", "oedema (region)", "core"]
    assert value(table, "dice", 1) == 2 / 3
    assert value(table, "dice", 4) == 1


def test_without_regions_there_are_only_classes() -> None:
    truth = np.array([0, 1, 2, 3], np.uint8).reshape(4, 1, 1)
    plain, both = scored(truth, truth, None), scored(truth, truth)
    assert list(plain.classes) == [1, 2, 3]
    np.testing.assert_equal(
        [(r.label, r.metric, r.value) for r in plain],
        [(r.label, r.metric, r.value) for r in both if r.label < 4],
    )


def test_a_cross_validation_tells_of_regions(tmp_path: Path) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[2:14, 2:14], labels[5:12, 5:12], labels[7:10, 7:10] = 1, 2, 3
    image = labels.astype(np.float32)
    interface = DictionaryInterface({f"s{k}": (image, labels) for k in range(2)}, 1, 4, False)
    data_io = miscnn.DataIO(interface, None, tmp_path / "out", tmp_path / "batches")
    recipe = miscnn.Preprocessor(
        data_io, 1, (), None, analysis="fullimage", cache="memory", regions=BRATS
    )
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))
    result = cross_validation(
        ["s0", "s1"],
        model,
        2,
        epochs=1,
        iterations=1,
        evaluation_path=tmp_path / "evaluation",
        draw_figures=False,
        class_names=("background", "oedema", "necrosis", "enhancing part"),
        verbose=0,
    )
    names = ["oedema", "necrosis", "enhancing part", "whole tumour", "tumour core"]
    assert result.scores.classes == dict(enumerate(names, 1))
    again = ScoreTable.from_tsv(tmp_path / "evaluation" / "scores.tsv")
    assert again.classes == result.scores.classes
    assert "whole tumour" in str(result.summary())
    for index in ("s0", "s1"):
        fold = result.scores.select("dice", 4, sample=index).rows[0].fold
        folder = tmp_path / "evaluation" / f"fold_{fold}" / "predictions"
        found = data_io.load_prediction(index, folder) > 0
        expected = 2 * (found & (labels > 0)).sum() / (found.sum() + (labels > 0).sum())
        assert value(result.scores.select(sample=index), "dice", 4) == pytest.approx(expected)
