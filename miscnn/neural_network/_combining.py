"""Combining the probabilities of several networks, voxel by voxel; nothing but NumPy.

A *label set* says what the classes of a network mean: a partition of the data set's classes.
``((0,), (1, 2))`` is a network that tells the background from classes 1 and 2 together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError

LabelSet = tuple[tuple[int, ...], ...]

_Block = frozenset[int]
_Plan = list[tuple[_Block, list[_Block], list[int]]]

# Voxels that are worked on at a time, and values of one member.
_CHUNK = 1 << 18
_CHUNK_VALUES = 1 << 22
# Smaller masses than this are taken as none: their parts have lost their digits.
_NOTHING = 1e-30


def one_by_one(classes: int) -> LabelSet:
    """Return the label set of a network that knows all the classes of the data set."""
    return tuple((label,) for label in range(classes))


def composed(groups: Sequence[Sequence[int]], label_set: LabelSet) -> LabelSet:
    """Return what groups of the classes of a label set mean: groups of groups."""
    return tuple(
        tuple(sorted(label for member in group for label in label_set[member])) for group in groups
    )


def common_label_set(label_sets: Sequence[LabelSet]) -> LabelSet:
    """Return the label set that tells apart whatever one of the label sets tells apart.

    With the numbers of the first label set that is it, else with those of the data set.

    Raises
    ------
    ConfigurationError
        If the label sets are of different data sets, or no label set is as fine as all together
        although some classes of the data set are never told apart.
    """
    known = [sorted(label for group in s for label in group) for s in label_sets]
    if any(k != known[0] for k in known):
        raise ConfigurationError(
            "the members work on data sets with different numbers of classes: "
            f"{', '.join(str(len(k)) for k in known)}. Give all of them the same interface, and "
            "merge its classes with MergedLabels where a member is to tell fewer apart"
        )
    keys = {c: tuple(_position(s, c) for s in label_sets) for c in known[0]}
    common = {frozenset(c for c in keys if keys[c] == key) for key in keys.values()}
    for label_set in label_sets:
        if {frozenset(group) for group in label_set} == common:
            return label_set
    if all(len(block) == 1 for block in common):
        return one_by_one(len(known[0]))
    raise ConfigurationError(
        f"no member knows all the classes that the members together tell apart, {_shown(common)}; "
        "add a member with these groups (MergedLabels), or one that knows all classes"
    )


def columns_in(label_set: LabelSet, target: LabelSet) -> tuple[_Block, ...]:
    """Return, per class of a label set, the classes of a finer label set that it is made of."""
    return tuple(
        frozenset(k for k, block in enumerate(target) if set(block) <= set(group))
        for group in label_set
    )


class NestedMean:
    """The mean of probabilities over label sets that refine each other.

    From coarse to fine: the probability of a group is the mean over all members that tell it
    apart (finer members by the sum over its classes); it is shared out to what the group is
    made of by the mean, over the members that look into the group, of their probability given
    the group. This is the stack of Kloenne et al. (2020): binary members say where the organ
    is, multi-class members what in it is tumour. The text of the paper leaves the formula open;
    this is our reading. If all members have the same classes it is the plain mean.

    Parameters
    ----------
    label_sets : sequence of label sets
        One per member.
    target : label set
        Of the result; :func:`common_label_set`.

    Raises
    ------
    ConfigurationError
        If two groups overlap without one holding the other.
    """

    def __init__(self, label_sets: Sequence[LabelSet], target: LabelSet) -> None:
        self.classes = len(target)
        self._columns = [columns_in(label_set, target) for label_set in label_sets]
        blocks = {block for columns in self._columns for block in columns}
        for one in blocks:
            for other in blocks:
                if one & other and not (one <= other or other <= one):
                    raise ConfigurationError(
                        f"the label sets are not nested: the groups {sorted(one)} and "
                        f"{sorted(other)} overlap, and neither holds the other, so that no mean "
                        'is defined. Use combiner="learned", which takes any label sets, or '
                        "members whose groups are nested"
                    )
        self._plan = self._make_plan(blocks)

    def _make_plan(self, blocks: set[_Block]) -> _Plan:
        plan: _Plan = []
        open_nodes = [frozenset(range(self.classes))]
        while open_nodes:
            node = open_nodes.pop()
            parts = [block for block in blocks if block < node]
            parts = [p for p in parts if not any(p < other for other in parts)]
            if not parts:
                continue
            looking = [
                m
                for m, columns in enumerate(self._columns)
                if any(block < node for block in columns)
            ]
            plan.append((node, sorted(parts, key=min), looking))
            open_nodes.extend(parts)
        return plan

    def __call__(self, probabilities: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Combine.

        Parameters
        ----------
        probabilities : sequence of ndarray
            ``(…, classes of the member)`` each, on one grid. They are normalised; a member
            that gives a group no probability at all shares it out evenly to its classes.

        Returns
        -------
        ndarray
            ``(…, classes)`` float32, with sum one.
        """
        return _in_chunks(self._combine, probabilities, self.classes)

    def _combine(self, given: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        count = len(given[0])
        mass = {frozenset(range(self.classes)): np.ones(count)}
        for node, parts, looking in self._plan:
            whole = mass.pop(node)
            inside = {m: self._probability(given[m], m, node) for m in looking}
            for part in parts:
                share = np.zeros(count)
                for m, total in inside.items():
                    some = total > _NOTHING
                    even = np.full(count, len(part) / len(node))
                    share += np.divide(
                        self._probability(given[m], m, part), total, out=even, where=some
                    )
                mass[part] = whole * share / len(looking)
        return np.stack([mass[frozenset({c})] for c in range(self.classes)], axis=-1)

    def _probability(
        self, given: NDArray[np.float64], member: int, block: _Block
    ) -> NDArray[np.float64]:
        columns = [k for k, own in enumerate(self._columns[member]) if own <= block]
        return np.asarray(given[:, columns].sum(axis=1))


class SoftmaxCombiner(Configurable):
    """Softmax regression on the members' log-odds: a convolution with a kernel of one voxel.

    The features of a member are ``log(p_k / p_0)`` for its classes k > 0, with probabilities
    held above ``floor``. On log-odds, a weight says how far a member is believed: the weights
    (1, 0) give back the first member exactly, sums of weights above or below one sharpen or
    soften. On probabilities, a softmax can do neither.

    Parameters
    ----------
    coefficients : array_like
        ``(classes, features)``.
    intercepts : array_like
        ``(classes,)``.
    floor : float
        A network that is sure and wrong must not outweigh all others. Our choice.
    """

    def __init__(self, coefficients: ArrayLike, intercepts: ArrayLike, floor: float = 1e-4) -> None:
        self.coefficients = np.asarray(coefficients, dtype=np.float64)
        self.intercepts = np.asarray(intercepts, dtype=np.float64)
        self.floor = floor

    @classmethod
    def fitted(
        cls,
        probabilities: Sequence[NDArray[Any]],
        labels: NDArray[Any],
        weights: NDArray[Any],
        classes: int,
        floor: float = 1e-4,
    ) -> SoftmaxCombiner:
        """Fit to voxels, by the largest likelihood with a slight pull of coefficients to zero.

        Parameters
        ----------
        probabilities : sequence of ndarray
            ``(voxels, classes of the member)`` per member.
        labels : ndarray
            ``(voxels,)`` true classes.
        weights : ndarray
            ``(voxels,)``: how many voxels each one stands for.

        Raises
        ------
        ConfigurationError
            If a class occurs in none of the voxels.
        """
        from sklearn.linear_model import LogisticRegression  # slow to import

        missing = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
        if missing:
            raise ConfigurationError(
                f"class {', '.join(map(str, missing))} occurs in none of the subjects that the "
                "combiner is to learn from; add subjects that have it"
            )
        features = _log_odds(probabilities, floor)
        found = LogisticRegression(max_iter=2000).fit(
            features, labels, sample_weight=weights / np.mean(weights)
        )
        coefficients, intercepts = found.coef_, found.intercept_
        if len(coefficients) == 1:  # two classes: scikit-learn keeps the second only
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([[0.0], intercepts])
        return cls(coefficients, intercepts, floor)

    def __call__(self, probabilities: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Combine the probabilities ``(…, classes of the member)`` of all members.

        Returns
        -------
        ndarray
            ``(…, classes)`` float32, with sum one.
        """
        return _in_chunks(self._combine, probabilities, len(self.intercepts))

    def _combine(self, given: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        features = _log_odds(given, self.floor)
        if features.shape[1] != self.coefficients.shape[1]:
            raise ConfigurationError(
                f"the combiner was fitted to {self.coefficients.shape[1]} features, the members "
                f"give {features.shape[1]}; fit it again (fit or fit_combiner)"
            )
        logits = features @ self.coefficients.T + self.intercepts
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def draw_voxels(
    labels: NDArray[Any],
    per_class: int,
    rng: np.random.Generator,
    ignore_label: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw voxels of all the classes in a label map.

    Parameters
    ----------
    labels : ndarray
        Label map of any shape.
    per_class : int
        How many voxels of each class, or all if there are fewer.
    rng : numpy.random.Generator
    ignore_label : int, optional
        Label whose voxels are never drawn.

    Returns
    -------
    positions : ndarray of int64
        In the raveled label map, sorted within a class.
    weights : ndarray of float64
        How many voxels each one stands for; their sum is the number of voxels that can be
        drawn.
    """
    flat = labels.ravel()
    counts = np.bincount(flat)
    if ignore_label is not None:
        counts[ignore_label : ignore_label + 1] = 0
    positions = [np.empty(0, dtype=np.int64)]
    weights = [np.empty(0, dtype=np.float64)]
    for label in np.flatnonzero(counts):
        count = int(counts[label])
        size = min(per_class, count)
        ranks = np.sort(rng.choice(count, size, replace=False))
        positions.append(_of_rank(flat, int(label), ranks))
        weights.append(np.full(size, count / size))
    return np.concatenate(positions), np.concatenate(weights)


def _of_rank(flat: NDArray[Any], label: int, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the voxels stand that are the n-th of their class; ranks are sorted."""
    found, seen = [], 0
    for start in range(0, len(flat), _CHUNK):
        here = np.flatnonzero(flat[start : start + _CHUNK] == label)
        low, high = np.searchsorted(ranks, [seen, seen + len(here)])
        found.append(here[ranks[low:high] - seen] + start)
        seen += len(here)
    return np.concatenate(found)


def _in_chunks(combine: Any, given: Sequence[NDArray[Any]], classes: int) -> NDArray[np.float32]:
    """Run a combiner of ``(voxels, classes)`` over arrays of any shape, in bounded memory."""
    outer = given[0].shape[:-1]
    given = [np.atleast_2d(p) for p in given]
    shape = given[0].shape[:-1]
    result = np.empty((*shape, classes), dtype=np.float32)
    most = max(classes, *(p.shape[-1] for p in given))
    voxels = max(1, min(_CHUNK, _CHUNK_VALUES // most))
    # By rows, since arrays whose channels lie apart cannot be flattened without a copy.
    rows = max(1, voxels // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], rows):
        flat = [p[first : first + rows].reshape(-1, p.shape[-1]) for p in given]
        target = result[first : first + rows].reshape(-1, classes)
        for start in range(0, len(target), voxels):
            part = slice(start, start + voxels)
            target[part] = combine([p[part].astype(np.float64) for p in flat])
    return result.reshape(*outer, classes)


def _log_odds(probabilities: Sequence[NDArray[Any]], floor: float) -> NDArray[np.float64]:
    features = []
    for given in probabilities:
        logs = np.log(np.maximum(np.asarray(given, dtype=np.float64), floor))
        features.append(logs[:, 1:] - logs[:, :1])
    return np.concatenate(features, axis=1)


def _position(label_set: LabelSet, label: int) -> int:
    return next(k for k, group in enumerate(label_set) if label in group)


def _shown(blocks: set[_Block]) -> str:
    return ", ".join(str(tuple(sorted(block))) for block in sorted(blocks, key=min))
