"""Steps that help are chosen, others are not, and what choosing is worth is told honestly."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._choice_rule import Figures, Trial
from miscnn.evaluation.cross_validation import cross_validation
from miscnn.evaluation.postprocessing_choice import choose_postprocessing, default_candidates
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError
from miscnn.processing.postprocessing import (
    FillHoles,
    KeepLargest,
    PerClass,
    PostProcessing,
    PostProcessingStep,
    RemoveSmall,
)

SHAPE = (24, 22, 20)
SPACING = (2.0, 2.0, 2.5)  # 0.01 ml a voxel
IGNORED = 9
NAN, INF = float("nan"), float("inf")

Labels = NDArray[Any]


class FakeDataIO:
    """Truths in memory."""

    def __init__(
        self, truths: dict[str, Labels], classes: int = 3, ignore_label: int | None = None
    ) -> None:
        self.truths = truths
        self.ignore_label = ignore_label
        self.interface: Any = SimpleNamespace(
            classes=classes, has_segmentation=lambda index: True, class_names=None
        )

    def sample_loader(self, index: str, load_seg: bool = True, load_pred: bool = False) -> Sample:
        truth = self.truths[index]
        grid = self.geometry(index)
        sample = Sample(
            index, np.zeros(truth.shape), 1, self.interface.classes, grid,
            ignore_label=self.ignore_label,
        )  # fmt: skip
        if truth.any():
            sample.add_segmentation(truth)
        return sample

    def load_prediction(self, index: str, output_path: str | Path) -> Labels:
        raise NotImplementedError

    def geometry(self, index: str) -> Geometry:
        shape = self.truths[index].shape
        return Geometry.from_spacing(shape, SPACING[: len(shape)])


def truth_of(number: int, shape: tuple[int, ...] = SHAPE) -> Labels:
    """Class 1 is a box with class 2 in it."""
    labels = np.zeros(shape, np.uint8)
    labels[(slice(4, 13 + number % 3), *(slice(3, 12) for _ in shape[1:]))] = 1
    labels[(slice(6, 9), *(slice(5, 9) for _ in shape[1:]))] = 2
    return labels


def eroded(truth: Labels, number: int) -> Labels:
    """Predict a little less than there is: no step mends that."""
    labels = truth.copy()
    labels[4 : 5 + number % 2, :7] = 0
    return labels


def made(
    change: Any, count: int = 8, shape: tuple[int, ...] = SHAPE
) -> tuple[FakeDataIO, dict[str, Labels]]:
    truths = {f"case_{n}": truth_of(n, shape) for n in range(count)}
    predictions = {}
    for number, (index, truth) in enumerate(truths.items()):
        labels = eroded(truth, number)
        change(labels, number)
        predictions[index] = labels
    return FakeDataIO(truths), predictions


def choose(data_io: FakeDataIO, predictions: Any, *args: Any, **options: Any) -> Any:
    return choose_postprocessing(predictions, data_io, *args, verbose=0, **options)


def nothing(labels: Labels, number: int) -> None: ...


def stray_1(labels: Labels, number: int) -> None:
    labels[19:22, 16:20, 2:10] = 1  # 0.96 ml


def hole_in_2(labels: Labels, number: int) -> None:
    labels[7, 6:8, 6:8] = 0


def test_a_step_that_helps_is_found() -> None:
    data_io, predictions = made(stray_1)
    choice = choose(data_io, predictions)
    assert choice.postprocessing == PostProcessing([KeepLargest("foreground")])
    assert choice.per_fold == (choice.postprocessing,) * 8
    row = next(row for row in choice.table if row.chosen == 1 and row.label == 1)
    values = [
        (2 * (data_io.truths[index] * (labels == 1) == 1).sum())
        / ((data_io.truths[index] == 1).sum() + (labels == 1).sum())
        for index, labels in predictions.items()
    ]
    assert row.mean_before == pytest.approx(np.mean(values))
    assert row.worst_before == pytest.approx(min(values))
    assert row.quartile_before == pytest.approx(sorted(values)[1])
    assert (row.better, row.worse, row.folds) == (8, 0, 8)
    assert row.mean_after > row.mean_before + 0.03
    estimate = choice.estimate[0]
    assert estimate.before == row.mean_before
    assert estimate.after == estimate.held_out == row.mean_after


def test_each_class_gets_what_helps_it() -> None:
    def change(labels: Labels, number: int) -> None:
        hole_in_2(labels, number)
        stray_1(labels, number)
        labels[1, 18:21, 15] = 2  # 0.03 ml, in some
        labels[22, 2, 2:4] = 2

    data_io, predictions = made(change)
    candidates = [
        FillHoles([1]), KeepLargest([1]), RemoveSmall(0.01, [2]), RemoveSmall(0.1, [2]),
        FillHoles([2]),
    ]  # fmt: skip
    choice = choose(data_io, predictions, candidates)
    # filled as class 1 the hole would cost class 1 something; the strays are worth less
    assert choice.postprocessing == PostProcessing([
        KeepLargest([1]), RemoveSmall(0.1, [2]), FillHoles([2]),
    ])  # fmt: skip
    final = choice.postprocessing.apply(predictions["case_0"], data_io.geometry("case_0"))
    np.testing.assert_array_equal(final, eroded(data_io.truths["case_0"], 0))
    chosen = {row.chosen: row for row in choice.table if row.chosen}
    assert chosen[2].mean_before < chosen[2].mean_after == chosen[3].mean_before
    assert chosen[3].mean_after == choice.estimate[1].after
    refused = next(row for row in choice.table if row.step == FillHoles([1]))
    assert (refused.chosen, refused.folds) == (None, 0)
    # of the others what is around class 2 is open
    assert refused.worse == 4


def test_none_is_chosen_where_none_helps() -> None:
    data_io, predictions = made(nothing)
    choice = choose(data_io, predictions)
    assert choice.postprocessing == PostProcessing()
    assert all(row.chosen is None and row.folds == 0 for row in choice.table)
    assert str(choice).startswith("dice of 8 subjects: no step helps\n")
    assert [row.step for row in choice.table if row.label == 2][-1] == RemoveSmall(10.0, [2])
    assert all(e.before == e.after == e.held_out for e in choice.estimate)


def test_a_step_that_harms_the_worst_case_is_refused() -> None:
    """Of one subject the object is in two pieces: a higher mean does not make up for it."""

    def change(labels: Labels, number: int) -> None:
        stray_1(labels, number)
        if number == 3:
            labels[8:10] = 0
            labels[9, :, 14:] = 0
            labels[19:22, 16:20, 2:10] = 0

    data_io, predictions = made(change)
    choice = choose(data_io, predictions, [KeepLargest([1])])
    assert choice.postprocessing == PostProcessing()
    (row,) = choice.table
    assert row.mean_after > row.mean_before + 0.01
    assert row.worst_after < row.worst_before
    assert (row.better, row.worse) == (7, 1)
    without = {index: labels for index, labels in predictions.items() if index != "case_3"}
    assert len(choose(data_io, without, [KeepLargest([1])]).postprocessing.steps) == 1
    # only the choice without case_3 takes the step, and case_3 pays for it
    assert row.folds == 1
    assert choice.estimate[0].worst_held_out == row.worst_after < choice.estimate[0].worst_after


def test_a_step_for_all_must_not_harm_any_class() -> None:
    def change(labels: Labels, number: int) -> None:
        stray_1(labels, number)
        labels[labels == 2] = 0
        labels[1:3, 18:21, 15:18] = 2  # the only one, but beside

    data_io, predictions = made(change)
    for index, truth in data_io.truths.items():
        truth[1:3, 18:21, 15:18] = 2
        assert (predictions[index] == 2).any()
    choice = choose(data_io, predictions, [KeepLargest("foreground")])
    assert choice.postprocessing == PostProcessing()
    assert [row.worse for row in choice.table] == [0, 8]
    choice = choose(data_io, predictions, [KeepLargest("foreground"), KeepLargest()])
    assert choice.postprocessing == PostProcessing([KeepLargest()])


def test_nothing_where_nothing_is_counts_as_the_best() -> None:
    """A class that is not there, and of which a speck was predicted: Dice 0, then undefined."""
    truths = {f"case_{n}": np.where(truth_of(n) == 2, 1, truth_of(n)) for n in range(4)}
    truths = {index: labels.astype(np.uint8) for index, labels in truths.items()}
    predictions = {index: labels.copy() for index, labels in truths.items()}
    for labels in predictions.values():
        labels[1, 1, 1] = 2
    data_io = FakeDataIO(truths)
    step = RemoveSmall(0.1, [2])
    for score in ("dice", "hd95_mm"):
        choice = choose(data_io, predictions, [step], score)
        assert choice.postprocessing == PostProcessing([step])
        (row,) = choice.table
        assert (row.better, row.worse) == (4, 0)
        assert row.worst_before == (0.0 if score == "dice" else INF)
        assert np.isnan([row.mean_after, row.worst_after, choice.estimate[1].after]).all()


def test_distances_are_better_when_low() -> None:
    data_io, predictions = made(stray_1)
    choice = choose(data_io, predictions, [KeepLargest([1])], "hd95_mm")
    (row,) = choice.table
    assert row.chosen == 1
    assert 0 < row.mean_after < row.mean_before
    assert row.worst_after < row.worst_before
    # to remove a class for good makes its distances infinite
    choice = choose(data_io, predictions, [RemoveSmall(100.0, [1])], "hd95_mm")
    assert choice.postprocessing == PostProcessing()
    assert choice.table[0].worst_after == INF


def test_small_gains_are_worth_nothing() -> None:
    def change(labels: Labels, number: int) -> None:
        labels[20, 20, 10] = 1

    data_io, predictions = made(change)
    step = KeepLargest([1])
    assert choose(data_io, predictions, [step]).postprocessing == PostProcessing()
    (row,) = choose(data_io, predictions, [step]).table
    assert row.better == 8
    taken = choose(data_io, predictions, [step], minimum_gain=0.0)
    assert taken.postprocessing == PostProcessing([step])


def test_voxels_that_nobody_annotated_do_not_choose() -> None:
    data_io, predictions = made(stray_1)
    for truth in data_io.truths.values():
        truth[19:22, 16:20, 2:10] = IGNORED
    data_io.ignore_label = IGNORED
    choice = choose(data_io, predictions)
    assert choice.postprocessing == PostProcessing()
    assert not any(row.better for row in choice.table)


def test_images() -> None:
    def change(labels: Labels, number: int) -> None:
        labels[19:22, 16:18] = 1  # 24 mm²

    data_io, predictions = made(change, shape=(24, 22))
    choice = choose(data_io, predictions)
    assert choice.postprocessing == PostProcessing([KeepLargest("foreground")])
    choice = choose(data_io, predictions, default_candidates(3, 2)[2:])
    assert choice.postprocessing == PostProcessing([RemoveSmall(labels=[1], minimum_mm2=100.0)])


def test_steps_of_the_users_take_part() -> None:
    class NoLastSlices(PostProcessingStep):
        def edit(self, labels: Any, geometry: Any, ignore_label: Any = None) -> None:
            labels[labels.shape[0] * 3 // 4 :] = 0

    data_io, predictions = made(stray_1)
    rules = PerClass({1: [FillHoles(), KeepLargest()], 2: [FillHoles()]})
    choice = choose(data_io, predictions, [NoLastSlices(), rules])
    assert len(choice.postprocessing.steps) == 1
    assert {row.label for row in choice.table} == {1, 2}


def test_pairs_are_gone_through_once() -> None:
    data_io, predictions = made(stray_1)
    seen: list[str] = []

    def pairs() -> Any:
        for index, labels in predictions.items():
            seen.append(index)
            yield index, labels

    assert choose(data_io, pairs()).table == choose(data_io, predictions).table
    assert seen == list(predictions)


def test_slices_of_one_volume_are_held_out_together() -> None:
    data_io, predictions = made(stray_1, 4)
    data_io.truths = {f"v{n // 2}:#:{n}": t for n, t in enumerate(data_io.truths.values())}
    predictions = dict(zip(data_io.truths, predictions.values(), strict=True))
    assert len(choose(data_io, predictions).per_fold) == 2
    assert choose(data_io, predictions, estimate=False).per_fold == ()
    only = dict(list(predictions.items())[:1])
    choice = choose(data_io, only)
    assert len(choice.postprocessing.steps) == 1
    assert np.isnan(choice.estimate[0].held_out)
    assert "held out:" not in str(choice)


def test_by_the_folds_of_a_cross_validation(model: Any, samples: list[str], tmp_path: Path) -> None:
    result = cross_validation(
        samples, model, 3, 1, evaluation_path=tmp_path, draw_figures=False, save_models=False,
        overlays=(), verbose=0,
    )  # fmt: skip
    data_io = model.preprocessor.data_io
    for number, fold in enumerate(result.folds):
        for index in fold.validation:
            labels = data_io.interface.truths[index].copy()
            labels[4:6, 5, 1] = 0
            labels[12:14, 13:16, 4:6] = 1 if number < 2 else 0
            if number == 2:  # in two pieces here
                labels[5:7] = 0
            data_io.interface.save(index, labels, fold.path / "predictions")
    candidates = [KeepLargest([1]), RemoveSmall(0.02, [1])]  # strays: 0.018 ml
    choice = choose_postprocessing(tmp_path, data_io, candidates, verbose=0)
    assert choice.postprocessing == PostProcessing([RemoveSmall(0.02, [1])])
    assert choice.table == choose_postprocessing(result, data_io, candidates, verbose=0).table
    # without the third fold both mend all; the first candidate is taken of equal ones
    by_fold = [[type(step) for step in chosen.steps] for chosen in choice.per_fold]
    assert by_fold == [[RemoveSmall], [RemoveSmall], [KeepLargest]]
    estimate = choice.estimate[0]
    assert estimate.held_out < estimate.before < estimate.after


def test_the_table_in_words_and_as_a_file(tmp_path: Path) -> None:
    data_io, predictions = made(lambda labels, n: (stray_1(labels, n), hole_in_2(labels, n)))
    choice = choose(data_io, predictions, class_names=["background", "liver", "tumour"])
    text = str(choice)
    assert text.splitlines()[:3] == [
        "dice of 8 subjects: 2 step(s) help",
        "  1. KeepLargest(labels='foreground')",
        "  2. FillHoles(labels=[2])",
    ]
    assert "liver" in text
    assert "candidate(s) changed no score" in text
    assert max(map(len, text.splitlines())) <= 110
    assert "case_" not in text
    choice.to_tsv(tmp_path / "choice.tsv")
    with open(tmp_path / "choice.tsv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert len(lines) == len(choice.table)
    for line, row in zip(lines, choice.table, strict=True):
        assert float(line["mean_after"]) == row.mean_after
        assert line["chosen"] == ("" if row.chosen is None else str(row.chosen))
        assert line["class_name"] in ("liver", "tumour")
    assert lines[0]["step"] == "KeepLargest(labels='foreground')"


# ------------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("before", "after", "rises", "falls"),
    [
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.8], True, False),
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], False, False),
        ([0.5, 0.6, 0.7], [0.49, 0.6, 0.9], True, True),
        ([0.5, 0.6, 0.7, 0.8, 0.9], [0.5, 0.55, 0.9, 0.9, 0.9], True, True),  # the quartile
        ([0.5, 0.6, 0.7, 0.8, 0.9], [0.5, 0.6, 0.65, 0.9, 0.9], True, False),
        ([0.5, NAN], [0.5, 0.0], False, True),
        ([0.5, 0.0], [0.5, NAN], True, False),
        ([0.0, 0.0], [NAN, NAN], True, False),
        ([NAN, NAN], [NAN, NAN], False, False),
        ([-3.0, -INF], [-3.0, NAN], True, False),
        ([-3.0, -9.0], [-3.0, -INF], False, True),
        ([-INF], [-INF], False, False),
        ([-INF], [NAN], True, False),
    ],
)
def test_when_a_step_helps(
    before: Sequence[float], after: Sequence[float], rises: bool, falls: bool
) -> None:
    trial = Trial.of(np.array(before), np.array(after))
    assert trial.before.rises_to(trial.after, 0.001) == rises
    assert trial.before.falls_to(trial.after) == falls
    assert Figures.of(np.array(before)) == trial.before


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        ({}, {}, "holds no subject"),
        (None, {"score": "precision"}, "score='precision' cannot choose"),
        (None, {"candidates": []}, "candidates is empty"),
        (None, {"candidates": [KeepLargest]}, "must be a list"),
        (None, {"candidates": [KeepLargest([[1, 5]])]}, r"names the class\(es\) \[5\]"),
        (None, {"candidates": [PerClass({3: [FillHoles()]})]}, "classes 0 … 2"),
        (["case_0"], {}, "pairs of index and label map"),
        ([("case_0", truth_of(0)), ("case_0", truth_of(0))], {}, "'case_0' twice"),
    ],
)
def test_wrong_arguments_are_named(predictions: Any, options: Any, message: str) -> None:
    data_io, pairs = made(nothing, 2)
    with pytest.raises(ConfigurationError, match=message):
        choose(data_io, pairs if predictions is None else predictions, **options)


def test_predictions_that_do_not_fit_are_named(tmp_path: Path) -> None:
    data_io, _ = made(nothing, 2)
    with pytest.raises(SampleError, match=r"'case_1': the prediction has shape \(2, 2\)"):
        choose(data_io, {"case_1": np.zeros((2, 2), np.uint8)})
    with pytest.raises(SampleError, match="float32"):
        choose(data_io, {"case_1": np.zeros(SHAPE, np.float32)})
    data_io.truths["case_0"][...] = 0
    with pytest.raises(SampleError, match="'case_0': there is no segmentation"):
        choose(data_io, {"case_0": np.zeros(SHAPE, np.uint8)})
    with pytest.raises(MissingFileError, match="no folder of cross_validation"):
        choose(data_io, tmp_path)
