"""Folds, and the files that keep them."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    StratifiedKFold,
    cross_val_score,
)

from miscnn.data_loading.geometry import Geometry
from miscnn.evaluation import splits
from miscnn.evaluation.splits import (
    SliceSortedKFold,
    hold_out,
    load_disk2fold,
    make_folds,
    read_fold,
    write_fold,
    write_fold2disk,
)
from miscnn.exceptions import ConfigurationError, MissingFileError

NAMES = ["e", "d", "c", "b", "a"]
SLICES = [(40, 1.0), (20, 5.0), (20, 3.0), (80, 1.0), (20, 3.0)]
# By slices, thickness, index: a (20, 3), c (20, 3), d (20, 5), e (40), b (80).


class Headers:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def geometry(self, index: str) -> Geometry:
        self.asked.append(index)
        n, thickness = SLICES[NAMES.index(index)]
        return Geometry.from_spacing((8, 8, n), (0.5, 0.5, thickness))


def validation_names(splitter: SliceSortedKFold) -> list[list[str]]:
    return [[NAMES[k] for k in v] for _, v in splitter.split(NAMES, groups=SLICES)]


def test_sorted_folds_are_contiguous_in_slices_then_thickness_then_index() -> None:
    assert validation_names(SliceSortedKFold(5)) == [["a"], ["c"], ["d"], ["e"], ["b"]]
    assert [sorted(v) for v in validation_names(SliceSortedKFold(2))] == [
        ["a", "c", "d"],
        ["b", "e"],
    ]


def test_interleaved_folds_deal_the_sorted_subjects_out() -> None:
    folds = validation_names(SliceSortedKFold(2, interleave=True))
    assert [sorted(v) for v in folds] == [["a", "b", "d"], ["c", "e"]]


def test_folds_do_not_depend_on_the_order_of_the_subjects(rng: np.random.Generator) -> None:
    expected = [set(v) for v in validation_names(SliceSortedKFold(3))]
    for _ in range(5):
        order = rng.permutation(5)
        names, groups = [NAMES[k] for k in order], [SLICES[k] for k in order]
        found = SliceSortedKFold(3).split(names, groups=groups)
        assert [{names[k] for k in v} for _, v in found] == expected


def test_float_noise_of_a_header_does_not_decide() -> None:
    noisy = [(40, 1.0), (20, 5.0), (20, 3.0), (80, 1.0), (20, 3.0000001)]
    found = [[NAMES[k] for k in v] for _, v in SliceSortedKFold(5).split(NAMES, groups=noisy)]
    assert found == validation_names(SliceSortedKFold(5))


@given(st.integers(2, 7), st.integers(0, 30), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_subject_validates_exactly_once(
    n_splits: int, more: int, interleave: bool, seed: int
) -> None:
    n = n_splits + more
    rng = np.random.default_rng(seed)
    groups = list(zip(rng.integers(10, 15, n).tolist(), rng.random(n).tolist(), strict=True))
    names = [f"s{k}" for k in range(n)]
    folds = list(SliceSortedKFold(n_splits, interleave).split(names, groups=groups))
    assert len(folds) == n_splits
    assert sorted(np.concatenate([v for _, v in folds]).tolist()) == list(range(n))
    for training, validation in folds:
        assert sorted([*training.tolist(), *validation.tolist()]) == list(range(n))
        assert n // n_splits <= len(validation) <= n // n_splits + 1


def test_geometries_serve_as_groups() -> None:
    geometries = [Headers().geometry(name) for name in NAMES]
    found = [v.tolist() for _, v in SliceSortedKFold(5).split(NAMES, groups=geometries)]
    assert [[NAMES[k] for k in v] for v in found] == validation_names(SliceSortedKFold(5))


def test_scikit_learn_accepts_the_splitter() -> None:
    x, y = np.zeros((10, 1)), np.arange(10) % 2
    groups = [(k, 1.0) for k in range(10)]
    scores = cross_val_score(
        DummyClassifier(), x, y, cv=SliceSortedKFold(5), params={}, groups=groups
    )
    assert len(scores) == SliceSortedKFold(5).get_n_splits() == 5


def test_configuration_goes_there_and_back() -> None:
    splitter = SliceSortedKFold(7, interleave=True)
    assert splitter.get_config() == {"n_splits": 7, "interleave": True}
    assert SliceSortedKFold.from_config(splitter.get_config()) == splitter
    assert repr(splitter) == "SliceSortedKFold(n_splits=7, interleave=True)"


def test_wrong_use_is_explained() -> None:
    with pytest.raises(ConfigurationError, match="at least 2, got 1"):
        SliceSortedKFold(1)
    with pytest.raises(ConfigurationError, match=r"needs groups.*5 subjects, got none"):
        list(SliceSortedKFold(2).split(NAMES))
    with pytest.raises(ConfigurationError, match="5 subjects, got 4"):
        list(SliceSortedKFold(2).split(NAMES, groups=SLICES[:4]))
    with pytest.raises(ConfigurationError, match=r"5 subject\(s\) cannot be split into 6"):
        list(SliceSortedKFold(6).split(NAMES, groups=SLICES))


def test_geometries_are_looked_up_from_headers() -> None:
    headers = Headers()
    folds = make_folds(NAMES, SliceSortedKFold(5), headers)
    assert [fold.validation for fold in folds] == validation_names(SliceSortedKFold(5))
    assert headers.asked == NAMES
    make_folds(NAMES, KFold(5), headers)
    assert headers.asked == NAMES  # nobody else needs them


def test_any_splitter_of_scikit_learn_works() -> None:
    groups = ["p", "p", "q", "q", "r"]
    for fold in make_folds(NAMES, GroupKFold(3), groups=groups):
        patients = [{groups[NAMES.index(i)] for i in side} for side in fold]
        assert not patients[0] & patients[1]
    for fold in make_folds(NAMES[:4], StratifiedKFold(2), y=[0, 0, 1, 1]):
        assert {NAMES.index(i) // 2 for i in fold.validation} == {0, 1}
    own = make_folds(NAMES, [([0, 1], [2]), ([3], [4])])
    assert own == [(["e", "d"], ["c"]), (["b"], ["a"])]


@pytest.mark.parametrize(
    ("samples", "splitter", "message"),
    [
        (["a", "b", "a"], KFold(2), "twice: a"),
        ("ab", KFold(2), "list of different indices, got 'ab'"),
        ([], KFold(2), "list of different indices"),
        (NAMES, [([0, 1], [1, 2])], r"fold 0 .* same subject\(s\): d"),
        (NAMES, [([0, 1], [])], "2 training and 0 validation"),
        (NAMES, [], "made no fold"),
    ],
)
def test_leaking_or_empty_folds_are_refused(
    samples: list[str], splitter: object, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_folds(samples, splitter)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "share", "size"), [(10, 0.2, 2), (100, 0.07, 7), (11, 0.2, 3)])
def test_held_out_part_is_rounded_up(n: int, share: float, size: int) -> None:
    names = [str(k) for k in range(n)]
    fold = hold_out(names, share, np.random.default_rng(0))
    assert len(fold.validation) == size
    assert sorted([*fold.training, *fold.validation]) == sorted(names)
    assert fold == hold_out(names, share, np.random.default_rng(0))
    others = {tuple(hold_out(names, share, np.random.default_rng(s)).validation) for s in range(9)}
    assert len(others) > 3


@pytest.mark.parametrize("share", [0.0, 1.0, 0.95, -0.1])
def test_hold_out_leaves_somebody_on_either_side(share: float) -> None:
    with pytest.raises(ConfigurationError, match=f"share of {share} of 5"):
        hold_out(NAMES, share, np.random.default_rng(0))


def test_fold_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "fold_0" / "sample_list.json"
    write_fold(path, ["ä", "b"], ["c"])
    assert json.loads(path.read_text()) == {"TRAINING": ["ä", "b"], "VALIDATION": ["c"]}
    assert read_fold(path) == (["ä", "b"], ["c"])
    write_fold2disk(path, ["x"], ["y"])
    assert load_disk2fold(path) == (["x"], ["y"])


def test_wrong_fold_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sample_list.json"
    with pytest.raises(MissingFileError, match=r"sample_list\.json does not exist"):
        read_fold(path)
    for text in ("{", '{"TRAINING": []}', "[]"):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"sample_list\.json must hold"):
            read_fold(path)
    path.write_text('{"TRAINING": ["a"], "VALIDATION": ["a"]}')
    with pytest.raises(ConfigurationError, match="same subject"):
        read_fold(path)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(splits).failed == 0


def test_generators_are_accepted_as_splitters() -> None:
    def pairs() -> Iterator[tuple[list[int], list[int]]]:
        yield [0, 1, 2], [3, 4]

    assert make_folds(NAMES, pairs()) == [(["e", "d", "c"], ["b", "a"])]


PARTS = [f"case_{volume}:#:{number}" for volume in "abcdef" for number in range(5)]


@pytest.mark.parametrize(
    "splitter", [KFold(3, shuffle=True, random_state=0), LeaveOneOut(), GroupKFold(2)]
)
def test_slices_of_a_volume_stay_together(splitter: Any) -> None:
    groups = [index[5] in "abc" for index in PARTS] if isinstance(splitter, GroupKFold) else None
    folds = make_folds(PARTS, splitter, groups=groups)
    for fold in folds:
        training, validation = ({i[:6] for i in side} for side in fold)
        assert not training & validation
        assert sorted(fold.training + fold.validation) == sorted(PARTS)
    expected = 6 if isinstance(splitter, LeaveOneOut) else splitter.get_n_splits()
    assert len(folds) == expected
    inner = hold_out(folds[0].training, 0.4, np.random.default_rng(0))
    assert not {i[:6] for i in inner.training} & {i[:6] for i in inner.validation}
    assert len(inner.validation) % 5 == 0


def test_given_pairs_that_tear_a_volume_apart_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"same subject.*case_a"):
        make_folds(PARTS, [(list(range(3)), list(range(3, 30)))])
