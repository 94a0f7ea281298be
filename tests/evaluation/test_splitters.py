"""What the splitters promise, whatever the data."""

from __future__ import annotations

import doctest
import importlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score

import miscnn.evaluation.splits as package
from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.geometry import Geometry
from miscnn.evaluation.splits import (
    DetailedSplit,
    GroupedKFold,
    HoldOut,
    LeaveOneOut,
    PercentageSplit,
    StratifiedLabelKFold,
    StratifiedVolumeKFold,
    hold_out,
    make_folds,
    patients_of,
)
from miscnn.exceptions import ConfigurationError

SEEDS = st.integers(0, 2**32 - 1)


def names_of(n: int) -> list[str]:
    return [f"s{k:03d}" for k in range(n)]


def parts(splitter: Any, names: Sequence[str], y: Any = None, groups: Any = None) -> list[Any]:
    """Return the names on both sides of each fold; check that nobody stands on both."""
    found = []
    for training, validation in splitter.split(names, y, groups):
        assert not set(training.tolist()) & set(validation.tolist())
        assert training.tolist() == sorted(training.tolist())
        assert validation.tolist() == sorted(validation.tolist())
        found.append(({names[k] for k in training}, {names[k] for k in validation}))
    return found


def assert_partition(folds: list[Any], names: Sequence[str]) -> None:
    assert Counter(i for _, v in folds for i in v) == Counter(names)
    assert all(t | v == set(names) for t, v in folds)
    assert all(v for _, v in folds)


@st.composite
def cases(draw: Any) -> tuple[list[str], list[int], int, int]:
    """Return names, a group for each, a number of folds that they allow, and a seed."""
    n_splits = draw(st.integers(2, 5))
    more = draw(st.lists(st.integers(0, n_splits + 6), max_size=25))
    groups = draw(st.permutations([*range(n_splits), *more]))
    return names_of(len(groups)), groups, n_splits, draw(SEEDS)


@given(cases(), st.randoms())
def test_grouped_folds_tear_nobody_and_are_balanced(case: Any, random: Any) -> None:
    names, groups, n_splits, seed = case
    splitter = GroupedKFold(n_splits, seed)
    folds = parts(splitter, names, None, groups)
    assert_partition(folds, names)
    group = dict(zip(names, groups, strict=True))
    for training, validation in folds:
        assert not {group[i] for i in training} & {group[i] for i in validation}
    sizes = [len(v) for _, v in folds]
    assert max(sizes) - min(sizes) <= max(Counter(groups).values())
    order = list(range(len(names)))
    random.shuffle(order)
    # Neither the order nor what a patient is called matters.
    again = parts(splitter, [names[k] for k in order], None, [f"p{groups[k]}" for k in order])
    assert again == folds


@given(cases(), st.randoms(), st.data())
def test_volumes_are_spread_evenly(case: Any, random: Any, data: Any) -> None:
    names, _, n_splits, seed = case
    volumes = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5, 2.5, 80.0]),
                                 min_size=len(names), max_size=len(names)))  # fmt: skip
    splitter = StratifiedVolumeKFold(n_splits, seed=seed)
    folds = parts(splitter, names, volumes)
    assert_partition(folds, names)
    fold_of = {i: k for k, (_, v) in enumerate(folds) for i in v}
    ranked = sorted(range(len(names)), key=lambda k: (volumes[k], names[k]))
    counts = [0] * n_splits
    for k in ranked:
        counts[fold_of[names[k]]] += 1
        assert max(counts) - min(counts) <= 1
    order = list(range(len(names)))
    random.shuffle(order)
    again = parts(splitter, [names[k] for k in order], [volumes[k] for k in order])
    assert again == folds


@given(cases(), st.randoms(), st.data())
def test_single_labels_are_stratified_exactly(case: Any, random: Any, data: Any) -> None:
    names, _, n_splits, seed = case
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(names), max_size=len(names)))
    splitter = StratifiedLabelKFold(n_splits, seed)
    folds = parts(splitter, names, labels)
    assert_partition(folds, names)
    label = dict(zip(names, labels, strict=True))
    for one in set(labels):
        counts = [sum(label[i] == one for i in v) for _, v in folds]
        assert max(counts) - min(counts) <= 1
    order = list(range(len(names)))
    random.shuffle(order)
    assert parts(splitter, [names[k] for k in order], [labels[k] for k in order]) == folds


@given(cases(), st.data())
def test_the_rarest_of_several_labels_is_stratified_exactly(case: Any, data: Any) -> None:
    names, _, n_splits, seed = case
    sets = st.lists(st.integers(1, 4), unique=True, max_size=4)
    labels = data.draw(st.lists(sets, min_size=len(names), max_size=len(names)))
    folds = parts(StratifiedLabelKFold(n_splits, seed), names, labels)
    assert_partition(folds, names)  # no fold is empty
    count = Counter(label for own in labels for label in own)
    if count:
        rarest = min(count, key=lambda one: (count[one], str(one)))
        having = {i for i, own in zip(names, labels, strict=True) if rarest in own}
        counts = [len(v & having) for _, v in folds]
        assert max(counts) - min(counts) <= 1


def test_several_labels_are_spread_better_than_by_chance() -> None:
    rng = np.random.default_rng(3)
    names = names_of(60)
    labels = [np.flatnonzero(rng.random(6) < (0.5, 0.3, 0.2, 0.15, 0.1, 0.08)) for _ in names]

    def spread(folds: list[Any]) -> int:
        total = 0
        for label in range(6):
            having = {i for i, own in zip(names, labels, strict=True) if label in own}
            counts = [len(v & having) for _, v in folds]
            total += max(counts) - min(counts)
        return total

    from sklearn.model_selection import KFold

    ours = [spread(parts(StratifiedLabelKFold(5, s), names, labels)) for s in range(10)]
    chance = [spread(parts(KFold(5, shuffle=True, random_state=s), names)) for s in range(10)]
    assert max(ours) < min(chance)
    assert max(ours) <= 9  # of six labels; 1 each would be as even as can be


@given(cases(), st.floats(0.01, 0.99), st.randoms())
def test_a_percentage_is_drawn(case: Any, share: float, random: Any) -> None:
    names, groups, _, seed = case
    size = int(np.ceil(round(share * len(names), 9)))
    splitter = PercentageSplit(share, seed)
    if size >= len(names):
        with pytest.raises(ConfigurationError, match="nobody on one side"):
            parts(splitter, names)
        return
    [(training, validation)] = parts(splitter, names)
    assert (len(training), len(validation)) == (len(names) - size, size)
    shuffled = list(names)
    random.shuffle(shuffled)
    assert parts(splitter, shuffled) == [(training, validation)]
    # With sorted subjects it is what split_validation draws.
    assert hold_out(names, share, np.random.default_rng(seed)).validation == sorted(validation)
    group = dict(zip(names, groups, strict=True))
    wanted = int(np.ceil(round(share * len(set(groups)), 9)))
    if wanted < len(set(groups)):
        [(training, validation)] = parts(splitter, names, None, groups)
        assert len({group[i] for i in validation}) == wanted
        assert not {group[i] for i in training} & {group[i] for i in validation}


@given(cases())
def test_each_patient_is_left_out_once(case: Any) -> None:
    names, groups, _, seed = case
    folds = parts(LeaveOneOut(), names, None, groups)
    assert_partition(folds, names)
    assert len(folds) == len(set(groups)) == LeaveOneOut().get_n_splits(names, None, groups)
    group = dict(zip(names, groups, strict=True))
    assert all(len({group[i] for i in v}) == 1 for _, v in folds)
    some = parts(LeaveOneOut(2, seed), names)
    assert len(some) == LeaveOneOut(2).get_n_splits(names) == 2
    assert some == parts(LeaveOneOut(2, seed), names)


@pytest.mark.parametrize(
    "splitter", [GroupedKFold(3, 0), StratifiedVolumeKFold(3), StratifiedLabelKFold(3)]
)
def test_another_seed_gives_other_folds(splitter: Any) -> None:
    names = names_of(24)
    found = set()
    for seed in range(6):
        splitter.seed = seed
        folds = parts(splitter, names, [0.0] * 24, [k // 2 for k in range(24)])
        found.add(str([sorted(v) for _, v in folds]))
        assert parts(splitter, names, [0.0] * 24, [k // 2 for k in range(24)]) == folds
    assert len(found) > 3


@pytest.mark.parametrize("kind", [StratifiedVolumeKFold, StratifiedLabelKFold])
def test_stratified_folds_tear_no_patient(kind: Any) -> None:
    names = names_of(20)
    groups = [k // 3 for k in range(20)]
    folds = parts(kind(3), names, [k % 4 for k in range(20)], groups)
    assert_partition(folds, names)
    group = dict(zip(names, groups, strict=True))
    for training, validation in folds:
        assert not {group[i] for i in training} & {group[i] for i in validation}


# ---------------------------------------------------------------------- named subjects


def test_named_subjects_validate() -> None:
    names = ["b", "a", "c"]
    assert parts(HoldOut(["c", "a"]), names) == [({"b"}, {"a", "c"})]
    folds = [(["a"], ["b", "c"]), {"training": ["c"], "validation": ["a"]}]
    assert parts(DetailedSplit(folds), names) == [({"a"}, {"b", "c"}), ({"c"}, {"a"})]
    with pytest.raises(ConfigurationError, match=r"2 subject\(s\).*x \(indices\), y \(indices\)"):
        parts(HoldOut(["a", "x", "y"]), names)
    with pytest.raises(ConfigurationError, match="nobody is left"):
        parts(HoldOut(names), names)
    with pytest.raises(ConfigurationError, match=r"z \(validation of fold 1\)"):
        parts(DetailedSplit([(["a"], ["b"]), (["a"], ["z"])]), names)


def test_subjects_in_no_fold_are_told(caplog: pytest.LogCaptureFixture) -> None:
    parts(DetailedSplit([(["a"], ["b"])]), ["a", "b", "c", "d"])
    assert "2 of 4 subject(s) stand in no fold and are left out: c, d" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HoldOut("case"), "indices is 'case'; expected a list"),
        (lambda: HoldOut([]), "expected a list of indices"),
        (lambda: HoldOut([1]), "holds 1; expected indices, which are text"),  # type: ignore[list-item]
        (lambda: DetailedSplit([]), "expected a list of"),
        (lambda: DetailedSplit([["a"]]), "fold 0 is .*expected"),
        (lambda: DetailedSplit([(["a"], [])]), "validation of fold 0"),
        (lambda: GroupedKFold(1), "at least 2, got 1"),
        (lambda: GroupedKFold(pattern="("), "no regular expression"),
        (lambda: GroupedKFold(seed=-1), "seed is -1"),
        (lambda: StratifiedVolumeKFold(label=0), "label is 0; expected a foreground label"),
        (lambda: PercentageSplit(1.0), "between 0 and 1, got 1.0"),
        (lambda: LeaveOneOut(0), "at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_explained(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_what_a_splitter_lacks_is_told() -> None:
    names = names_of(4)
    for splitter, message in (
        (GroupedKFold(2), "needs groups, the patient of each of the 4"),
        (GroupedKFold(2, pattern="x(.)"), "finds no patient in the index 's000'"),
        (StratifiedVolumeKFold(2), "needs y, the volume"),
        (StratifiedLabelKFold(2), "needs y, the labels"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            parts(splitter, names)
    with pytest.raises(ConfigurationError, match="group of 's001' is nan"):
        parts(GroupedKFold(2), names, None, [1, float("nan"), 2, 3])
    with pytest.raises(ConfigurationError, match="volume of 's002' is inf"):
        parts(StratifiedVolumeKFold(2), names, [1, 2, float("inf"), 3])
    with pytest.raises(ConfigurationError, match=r"2 group\(s\) cannot be split into 3"):
        parts(GroupedKFold(3), names, None, [1, 1, 2, 2])


def test_a_pattern_finds_the_patients() -> None:
    scans = ["p1_a", "p2_a", "p1_b", "p3_a"]
    for pattern in ("^[^_]+", "^(p[0-9])_"):
        folds = parts(GroupedKFold(3, pattern=pattern), scans)
        assert sorted(sorted(v) for _, v in folds) == [["p1_a", "p1_b"], ["p2_a"], ["p3_a"]]
    assert patients_of(scans, GroupedKFold(3, pattern="^(p.)"), None) == {
        "p1_a": 0, "p1_b": 0, "p2_a": 1, "p3_a": 2,
    }  # fmt: skip


# ---------------------------------------------------------------------- what is looked up


class Segmentations:
    """A data set of which only segmentations are read."""

    classes = 4
    ignore_label: int | None = None

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    @property
    def interface(self) -> Segmentations:
        return self

    def geometry(self, index: str) -> Geometry:
        spacing = (1.0, 1.0, 10.0 if index == "s000" else 1.0)
        return Geometry.from_spacing(self.arrays[index].shape, spacing)

    def has_segmentation(self, index: str) -> bool:
        return index in self.arrays

    def load_segmentation(self, index: str) -> NDArray[Any]:
        return self.arrays[index]

    def to_classes(self, labels: NDArray[Any], index: str) -> NDArray[Any]:
        return labels


def cubes(*voxels: dict[int, int]) -> Segmentations:
    arrays = {}
    for k, counts in enumerate(voxels):
        array = np.zeros(1000, dtype=np.uint8)
        start = 0
        for label, count in counts.items():
            array[start : start + count] = label
            start += count
        arrays[f"s{k:03d}"] = array.reshape(10, 10, 10)
    return Segmentations(arrays)


def test_volumes_are_looked_up_in_millilitres() -> None:
    data = cubes({1: 100, 2: 20}, {1: 500}, {3: 7}, {})
    subjects = [[name] for name in names_of(4)]
    look = StratifiedVolumeKFold(2).look_up
    np.testing.assert_allclose(look(data, subjects), [1.2, 0.5, 0.007, 0.0])
    np.testing.assert_allclose(
        StratifiedVolumeKFold(2, label=[2, 3]).look_up(data, subjects), [0.2, 0, 0.007, 0]
    )
    np.testing.assert_allclose(look(data, [["s001", "s002"]]), [0.507])  # slices of a volume
    data.ignore_label = 3
    np.testing.assert_allclose(look(data, subjects), [1.2, 0.5, 0.0, 0.0])
    with pytest.raises(ConfigurationError, match="label 4 is no class"):
        StratifiedVolumeKFold(2, label=4).look_up(data, subjects)
    with pytest.raises(ConfigurationError, match=r"1 subject\(s\) have no segmentation.*s009"):
        look(data, [["s001"], ["s009"]])


def test_labels_are_looked_up() -> None:
    data = cubes({1: 100, 2: 20}, {1: 500}, {3: 7}, {})
    found = StratifiedLabelKFold(2).look_up(data, [["s000"], ["s001"], ["s002", "s001"], ["s003"]])
    assert found == [[1, 2], [1], [1, 3], []]


def test_folds_are_made_of_what_is_looked_up() -> None:
    data = cubes({1: 1}, {1: 500}, {1: 2}, {1: 400})  # s000 has larger voxels: 10 mm³
    for seed in range(5):
        folds = make_folds(names_of(4), StratifiedVolumeKFold(2, seed=seed), data)
        assert all(len({"s001", "s003"} & set(f.validation)) == 1 for f in folds)
    rare = cubes({1: 1}, {1: 1, 2: 5}, {1: 1}, {1: 1, 2: 1})
    for seed in range(5):
        folds = make_folds(names_of(4), StratifiedLabelKFold(2, seed), rare)
        assert all(len({"s001", "s003"} & set(f.validation)) == 1 for f in folds)


# ---------------------------------------------------------------------- as plug-ins

ALL = [
    GroupedKFold(3, 1, "^(.)"),
    StratifiedVolumeKFold(3, [1, 2], 1),
    StratifiedLabelKFold(3, 1),
    LeaveOneOut(4, 2),
    PercentageSplit(0.3, 4),
    HoldOut(["a"]),
    DetailedSplit([(["a"], ["b"]), {"training": ["b"], "validation": ["a"]}]),
]


@pytest.mark.parametrize("splitter", ALL)
def test_splitters_are_written_down(splitter: Any) -> None:
    made = deserialize(serialize(splitter))
    assert serialize(made) == serialize(splitter)
    assert made.get_n_splits() == splitter.get_n_splits()


@pytest.mark.parametrize(
    "splitter",
    [GroupedKFold(3), StratifiedVolumeKFold(3), StratifiedLabelKFold(3), LeaveOneOut()],
)
def test_scikit_learn_takes_them(splitter: Any) -> None:
    x, y = np.zeros((12, 1)), np.arange(12) % 2
    groups = [k // 2 for k in range(12)]
    scores = cross_val_score(DummyClassifier(), x, y, cv=splitter, groups=groups, params={})
    assert len(scores) == splitter.get_n_splits(x, y, groups)


@pytest.mark.parametrize(
    "name", ["drawn", "given", "labels", "saved", "slice_sorted", "volumes", "_fold_files"]
)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"{package.__name__}.{name}")
    assert doctest.testmod(module).failed == 0


PARTS = [f"case_{volume}:#:{number}" for volume in "abcdef" for number in range(3)]


@pytest.mark.parametrize(
    ("splitter", "y"),
    [
        (PercentageSplit(0.3), None),
        (LeaveOneOut(), None),
        (GroupedKFold(3, pattern="case_(.)"), None),
        (StratifiedVolumeKFold(3), [float(k // 3) for k in range(18)]),
        (StratifiedLabelKFold(3), [k // 9 for k in range(18)]),
        (HoldOut(["case_b", "case_c:#:0"]), None),
    ],
)
def test_slices_of_a_volume_stay_together(splitter: Any, y: Any) -> None:
    for fold in make_folds(PARTS, splitter, y=y):
        volumes = [{i[:6] for i in side} for side in fold]
        assert not volumes[0] & volumes[1]
        assert sorted(fold.training + fold.validation) == PARTS
