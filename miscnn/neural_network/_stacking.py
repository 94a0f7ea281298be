"""What the stacked ensemble is made from: members that fit together, and their inner folds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._indices import shared_subjects
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.exceptions import ConfigurationError, GridMismatchError
from miscnn.neural_network._callback_copies import Callbacks, fresh_callbacks
from miscnn.neural_network._combining import (
    LabelSet,
    composed,
    draw_voxels,
    one_by_one,
)
from miscnn.neural_network._volume_dice import mean_foreground_dice
from miscnn.neural_network.history import History
from miscnn.neural_network.model import NeuralNetwork
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.preprocessor import Preprocessor

_log = logging.getLogger("miscnn.neural_network.ensemble")

# Tells the stream of drawn voxels from all others.
_VOXEL_STREAM = 0x57AC
_NAMED = 5


class InnerFold(NamedTuple):
    """Who trains and who is held out in one fold of the inner cross-validation."""

    training: list[str]
    held_out: list[str]


class Score(NamedTuple):
    """How well a network of the inner cross-validation did.

    Attributes
    ----------
    fold : int
    dice : float
        Mean over its held-out subjects of the mean foreground Dice, in the member's own
        classes. 0 if no held-out subject has any foreground.
    kept : bool
        Whether it predicts.
    """

    fold: int
    dice: float
    kept: bool


class Voxels(NamedTuple):
    """The voxels of one subject that the combiner learns from."""

    shape: tuple[int, ...]
    positions: NDArray[np.int64]
    labels: NDArray[Any]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Training:
    """How each network is trained: the arguments of :meth:`NeuralNetwork.train`.

    With ``validation`` those of :meth:`NeuralNetwork.evaluate`.
    """

    epochs: int
    iterations: int | None
    callbacks: Callbacks
    verbose: int
    validation: Sequence[str] | None = None
    restore_best: bool = False

    def run(self, network: NeuralNetwork, samples: Sequence[str]) -> History:
        """Train a network on subjects, with callbacks of its own."""
        options: dict[str, Any] = {
            "epochs": self.epochs,
            "iterations": self.iterations,
            "callbacks": fresh_callbacks(self.callbacks),
            "verbose": self.verbose,
        }
        if self.validation is None:
            return network.train(samples, **options)
        return network.evaluate(samples, self.validation, restore_best=self.restore_best, **options)


@dataclass
class TrainedMember:
    """What the inner cross-validation made of one member.

    Attributes
    ----------
    networks : list of NeuralNetwork
        Those that are kept, the best first.
    scores : list of Score
        Of all networks, by fold.
    chosen : dict of str to ndarray
        Per subject the probabilities ``(voxels, classes)`` at its drawn voxels, from a network
        that has not seen it.
    histories : list of mapping
        What the networks logged, by fold.
    """

    networks: list[NeuralNetwork] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    chosen: dict[str, NDArray[Any]] = field(default_factory=dict)
    histories: list[Mapping[str, Sequence[float]]] = field(default_factory=list)


# ---------------------------------------------------------------------- members


def label_set_of(interface: DataInterface) -> LabelSet:
    """Return what the classes of an interface mean in those of the interface at the bottom."""
    if isinstance(interface, MergedLabels):
        return composed(interface.groups, label_set_of(interface.interface))
    return one_by_one(interface.classes)


def check_members(data: Sequence[DataIO], names: Sequence[str]) -> None:
    """Raise ConfigurationError if members see other subjects, channels or axes than the first."""
    first = data[0]
    for name, other in zip(names[1:], data[1:], strict=True):
        for what in ("channels", "three_dim"):
            mine, its = getattr(first.interface, what), getattr(other.interface, what)
            if mine != its:
                raise ConfigurationError(
                    f"the members must read the same images, but {what} is {mine} for "
                    f"{names[0]} and {its} for {name}. A 2D network for volumes has the volumes' "
                    'data set and a Preprocessor with analysis="slicewise"'
                )
        missing = sorted(set(first.indices_list) - set(other.indices_list))
        further = sorted(set(other.indices_list) - set(first.indices_list))
        if missing or further:
            raise ConfigurationError(
                f"the members must work on the same subjects, but {name} "
                + " and ".join(
                    f"{verb} {len(them)} ({', '.join(them[:_NAMED])}"
                    f"{', …' if len(them) > _NAMED else ''})"
                    for verb, them in (("lacks", missing), ("has besides", further))
                    if them
                )
                + f", compared with {names[0]}; give their DataIO the same folder and pattern"
            )


def shared_recipe(
    recipes: Sequence[Preprocessor], label_sets: Sequence[LabelSet], label_set: LabelSet
) -> Preprocessor:
    """Return a recipe whose data set has the classes of the ensemble."""
    for recipe, own in zip(recipes, label_sets, strict=True):
        if own == label_set:
            return recipe
    # No member knows all the classes: take the data set that their interfaces merge.
    data = recipes[0].data
    interface = data.interface
    while isinstance(interface, MergedLabels):
        interface = interface.interface
    whole = DataIO(interface, None, data.output_path, data.batch_path)
    whole.input_path = data.input_path
    whole.indices_list = data.get_indiceslist()
    axes = {recipe.slice_axis for recipe in recipes}
    axis = axes.pop() if len(axes) == 1 else None
    return Preprocessor(whole, 1, data_aug=None, analysis="fullimage", slice_axis=axis)


# ---------------------------------------------------------------------- folds


def inner_folds(indices: Sequence[str], folds: Any, data_io: DataIO, seed: int) -> list[InnerFold]:
    """Split subjects by a number of shuffled folds, or by a splitter.

    Raises
    ------
    ConfigurationError
        If an index is there twice, or a subject of a fold is on both sides or on none.
    """
    if isinstance(indices, str) or len(set(map(str, indices))) != len(indices):
        raise ConfigurationError(f"a list of different indices is needed, got {indices!r}")
    samples = [str(index) for index in indices]
    if isinstance(folds, int):
        if not 2 <= folds <= len(samples):
            raise ConfigurationError(
                f"folds={folds}: the inner cross-validation needs at least 2 folds, and at most "
                f"one per subject ({len(samples)} are given)"
            )
        from sklearn.model_selection import KFold  # slow to import

        folds = KFold(folds, shuffle=True, random_state=seed)
    if isinstance(folds, str) or not hasattr(folds, "split"):
        raise ConfigurationError(
            f"folds must be a number or a splitter such as SliceSortedKFold(3), got {folds!r}"
        )
    geometries = None
    if getattr(folds, "uses_geometries", False):
        geometries = [data_io.geometry(index) for index in samples]
    result = [
        InnerFold([samples[k] for k in training], [samples[k] for k in held_out])
        for training, held_out in folds.split(samples, None, geometries)
    ]
    for number, fold in enumerate(result):
        both = shared_subjects(fold.training, fold.held_out)
        if both or not fold.training or not fold.held_out:
            raise ConfigurationError(
                f"fold {number} of {folds!r} trains on {len(fold.training)} and holds out "
                f"{len(fold.held_out)} subject(s), {len(both)} of them on both sides "
                f"({', '.join(both[:_NAMED])}); there must be some on either side, and none on both"
            )
    return result


def draw(indices: Sequence[str], data_io: DataIO, per_class: int, seed: int) -> dict[str, Voxels]:
    """Draw the voxels that the combiner learns from; a subject's do not depend on the others."""
    result = {}
    for index in indices:
        sample = data_io.sample_loader(index, load_seg=True)
        assert sample.segmentation is not None  # or the loader would have raised
        truth = sample.segmentation[..., 0]
        rng = np.random.default_rng([seed, _VOXEL_STREAM, *index.encode()])
        positions, weights = draw_voxels(truth, per_class, rng, sample.ignore_label)
        result[index] = Voxels(truth.shape, positions, truth.ravel()[positions], weights)
    return result


def cross_train(
    member: NeuralNetwork,
    name: str,
    folds: Sequence[InnerFold],
    training: Training,
    top: int | None,
    drawn: Mapping[str, Voxels],
) -> TrainedMember:
    """Train a copy of a member on each fold, and let it predict the subjects held out."""
    result = TrainedMember()
    ranked: list[tuple[float, int, NeuralNetwork]] = []
    # One network is trained again and again, and copied: compiling a training step takes long.
    network = member.copy()
    for number, fold in enumerate(folds):
        _log.info("%s: training on fold %d of %d", name, number + 1, len(folds))
        network.reset()
        result.histories.append(training.run(network, fold.training).history)
        values = []
        for index in fold.held_out:
            sample = network.preprocessor.data.sample_loader(index, load_seg=True)
            assert sample.segmentation is not None
            truth = sample.segmentation[..., 0]
            probabilities = network.predict_sample(sample, True)
            labels = argmax_labels(probabilities)
            if sample.ignore_label is not None:
                labels[truth == sample.ignore_label] = 0
            values.append(mean_foreground_dice(truth, labels, probabilities.shape[-1]))
            if index in drawn:
                result.chosen[index] = at_voxels(probabilities, drawn[index], index, name)
        defined = [value for value in values if not np.isnan(value)]
        score = float(np.mean(defined)) if defined else 0.0
        result.scores.append(Score(number, score, False))
        # Only those that may be kept stay in memory; of equals the earlier fold comes first.
        if top is None or len(ranked) < top or score > ranked[-1][0]:
            ranked.append((score, number, network.copy()))
            ranked.sort(key=lambda entry: (-entry[0], entry[1]))
            del ranked[len(folds) if top is None else top :]
    kept = {number for _, number, _ in ranked}
    result.scores = [score._replace(kept=score.fold in kept) for score in result.scores]
    result.networks = [network for *_, network in ranked]
    return result


def at_voxels(probabilities: NDArray[Any], voxels: Voxels, index: str, name: str) -> NDArray[Any]:
    """Return probabilities ``(voxels, classes)`` at the drawn voxels of a subject."""
    if probabilities.shape[:-1] != voxels.shape:
        raise GridMismatchError(
            index,
            f"{name} predicts on a grid of {probabilities.shape[:-1]}, the segmentation has "
            f"{voxels.shape}; all members must read the same images",
        )
    return np.asarray(probabilities.reshape(-1, probabilities.shape[-1])[voxels.positions])


def joint_history(members: Mapping[str, TrainedMember]) -> History:
    """Return the mean of what all networks logged, and the loss of each one."""
    logged = {
        f"{name}_fold{number}": history
        for name, member in members.items()
        for number, history in enumerate(member.histories)
    }
    result: dict[str, list[float]] = {}
    for key in ("loss", "val_loss"):
        curves = [history[key] for history in logged.values() if key in history]
        if curves:
            epochs = range(max(map(len, curves)))
            result[key] = [float(np.mean([c[e] for c in curves if e < len(c)])) for e in epochs]
    for network, history in logged.items():
        if "loss" in history:
            result[f"{network}_loss"] = list(history["loss"])
        if "val_loss" in history:
            result[f"val_{network}_loss"] = list(history["val_loss"])
    return History(result)
