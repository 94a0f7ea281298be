"""The stacked CNN: several networks, each with its own recipe, that predict as one.

After Kloenne et al., "Domain-specific cues improve robustness of deep learning-based
segmentation of CT volumes" (2020): binary 3D MS-D Nets and multi-class 2D nnU-Nets, the best by
validation score of each, are combined voxel by voxel.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import serialize
from miscnn.exceptions import ConfigurationError, NotFittedError
from miscnn.neural_network._callback_copies import Callbacks
from miscnn.neural_network._combining import (
    LabelSet,
    NestedMean,
    SoftmaxCombiner,
    common_label_set,
)
from miscnn.neural_network._identity import digest, identity_of
from miscnn.neural_network._predictor import Predictor
from miscnn.neural_network._recipe import DEFAULT_EPOCHS
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network._several import Averaging, CombinedEngine, engine_of
from miscnn.neural_network._stacking import (
    Score,
    Training,
    Voxels,
    at_voxels,
    check_members,
    cross_train,
    draw,
    inner_folds,
    joint_history,
    label_set_of,
    shared_recipe,
)
from miscnn.neural_network.history import History
from miscnn.neural_network.model import NeuralNetwork
from miscnn.neural_network.prediction import (
    predict_in_memory,
)
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import PostProcessing
from miscnn.processing.preprocessor import Preprocessor

_log = logging.getLogger("miscnn.neural_network.ensemble")

Combiner = Literal["mean", "learned"]
"""How networks are combined, see :class:`StackedEnsemble`."""


class StackedEnsemble(Predictor):
    """Networks of different dimension, grid and label set that predict as one.

    Each member predicts probabilities on the grid of the *image*; there they are combined.

    Parameters
    ----------
    members : sequence of NeuralNetwork
        Trained ones predict at once (with ``combiner="mean"``). For :meth:`fit` they are
        recipes: copies with fresh weights are trained, the members stay as they are (their
        preprocessors are shared, and hold what the last network to use them has learned;
        each network brings its own when it predicts). All work on
        the same subjects. A member with fewer classes has a data set with
        :class:`~miscnn.data_loading.interfaces.merged.MergedLabels`; the ensemble has the
        classes that the members together tell apart.
    combiner : {"mean", "learned"}
        "mean": probability algebra over nested label sets
        (:class:`~miscnn.neural_network._combining.NestedMean`). "learned": softmax regression
        on the members' log-odds
        (:class:`~miscnn.neural_network._combining.SoftmaxCombiner`), fitted to predictions for
        subjects that the predicting network has not seen; any label sets.
    top : int, optional
        How many trained networks of each member :meth:`fit` keeps, the best by score on their
        held-out subjects (the paper keeps 5). Default: all.
    names : sequence of str, optional
        One per member. Default: ``member-0``, ``member-1``, …
    folds : int or splitter
        Of the inner cross-validation of :meth:`fit`: a number of shuffled folds, or a splitter of
        scikit-learn or of :mod:`miscnn.evaluation.splits`.
    voxels : int
        How many voxels per class and subject the learned combiner sees at most. Our choice.
    seed : int
        Of the folds and of the voxels.
    postprocessing : PostProcessing, optional
        What is done to finished label maps.

    Attributes
    ----------
    networks : list of list of NeuralNetwork
        Per member those that predict; their mean is the member's prediction.
    scores : list of list of Score
        Per member, of all the networks that :meth:`fit` has trained.
    label_set : tuple of tuples of int
        What the ensemble's classes are in those of the data set.
    preprocessor : Preprocessor
        A recipe whose data set has the ensemble's classes.

    Raises
    ------
    ConfigurationError
        If the members' subjects, channels or label sets do not fit together.

    Notes
    -----
    Networks of different folds are scored on different subjects, as in the paper: a fold of easy
    subjects flatters its network.
    """

    def __init__(
        self,
        members: Sequence[NeuralNetwork],
        combiner: Combiner = "mean",
        top: int | None = None,
        names: Sequence[str] | None = None,
        *,
        folds: Any = 3,
        voxels: int = 2000,
        seed: int = 0,
        postprocessing: PostProcessing | None = None,
    ) -> None:
        self.members = list(members)
        if not self.members or not all(hasattr(m, "predict_sample") for m in self.members):
            raise ConfigurationError(
                f"members must be a list of NeuralNetwork objects, got {members!r}"
            )
        for member in self.members:
            if getattr(member.preprocessor, "regions", None) is not None:
                raise ConfigurationError(
                    "networks with overlapping regions cannot be stacked: combiners take "
                    "probabilities of exclusive classes. Average what predict(…, "
                    "activation_output=True) returns, and decode it with preprocessor.regions"
                )
        if combiner not in get_args(Combiner):
            raise ConfigurationError(f'combiner must be "mean" or "learned", got {combiner!r}')
        for name, value in (("top", 1 if top is None else top), ("voxels", voxels)):
            if value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value}")
        if seed < 0:
            raise ConfigurationError(f"seed must not be negative, got {seed}")
        self.combiner: Combiner = combiner
        self.top = top
        self.names = (
            [f"member-{k}" for k in range(len(self.members))]
            if names is None
            else [str(name) for name in names]
        )
        if len(self.names) != len(self.members) or len(set(self.names)) != len(self.names):
            raise ConfigurationError(
                f"names must hold a different name for each of {len(self.members)} member(s), "
                f"got {self.names}"
            )
        self.folds = folds
        self.voxels = voxels
        self.seed = seed
        self.postprocessing = postprocessing
        data = [member.preprocessor.data for member in self.members]
        check_members(data, self.names)
        self.label_sets: list[LabelSet] = [label_set_of(d.interface) for d in data]
        self.label_set: LabelSet = common_label_set(self.label_sets)
        self._mean = NestedMean(self.label_sets, self.label_set) if combiner == "mean" else None
        self._softmax: SoftmaxCombiner | None = None
        self.preprocessor: Preprocessor = shared_recipe(
            [member.preprocessor for member in self.members], self.label_sets, self.label_set
        )
        self.networks: list[list[NeuralNetwork]] = [[member] for member in self.members]
        self.scores: list[list[Score]] = [[] for _ in self.members]
        self._seen: frozenset[str] = frozenset()

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.label_set)

    # ------------------------------------------------------------------ training

    def fit(
        self,
        indices: Sequence[str],
        folds: Any = None,
        epochs: int = DEFAULT_EPOCHS,
        iterations: int | None = None,
        callbacks: Callbacks = (),
        verbose: int = 1,
        seed: int | None = None,
    ) -> History:
        """Train the members in an inner cross-validation, keep the best, fit the combiner.

        Each member is trained once per fold, from fresh weights, and predicts the subjects of
        the fold that were held out. From these predictions come the scores by which ``top``
        networks per member are kept, and what the learned combiner is fitted to. At the
        prediction of new subjects a member's kept networks are averaged.

        Parameters
        ----------
        indices : sequence of str
            Subjects with a segmentation; no others are looked at.
        folds, seed
            Default: those of the constructor.
        epochs, iterations
            As in :meth:`NeuralNetwork.train`, for each network.
        callbacks : sequence of Keras callbacks, or function that returns one
            Each network gets deep copies, or what the function returns.
        verbose : int
            0 shows no progress bars.

        Returns
        -------
        History
            ``loss``, the mean over all networks, and each one's as ``<name>_fold<k>_loss``.
        """
        training = Training(epochs, iterations, callbacks, verbose)
        return self._fit(indices, training, folds, seed)

    def train(
        self,
        sample_list: Sequence[str],
        epochs: int = DEFAULT_EPOCHS,
        iterations: int | None = None,
        callbacks: Callbacks = (),
        verbose: int = 1,
    ) -> History:
        """Call :meth:`fit` with the folds and the seed of the constructor.

        By this name the ensemble goes where a network goes, such as into ``cross_validation``,
        whose folds then lie around those of :meth:`fit`.
        """
        return self.fit(sample_list, None, epochs, iterations, callbacks, verbose)

    def evaluate(
        self,
        training_samples: Sequence[str],
        validation_samples: Sequence[str],
        epochs: int = DEFAULT_EPOCHS,
        iterations: int | None = None,
        callbacks: Callbacks = (),
        verbose: int = 1,
        restore_best: bool = False,
    ) -> History:
        """Fit on samples, and validate every network on others after each of its epochs.

        Parameters
        ----------
        training_samples, validation_samples : sequence of str
            Indices. The networks are trained, chosen and combined on the training samples.
        restore_best : bool
            End each network's training with the epoch of the lowest loss on the validation
            samples: do not report scores on these then.
        epochs, iterations, callbacks, verbose
            As in :meth:`fit`.

        Returns
        -------
        History
            As from :meth:`fit`, with ``val_`` values.
        """
        shared = sorted(set(training_samples) & set(validation_samples))
        if shared:
            raise ConfigurationError(
                f"{len(shared)} sample(s) are both in training and in validation: "
                f"{', '.join(shared[:5])}"
            )
        training = Training(
            epochs, iterations, callbacks, verbose, list(validation_samples), restore_best
        )
        return self._fit(training_samples, training)

    def _fit(
        self,
        indices: Sequence[str],
        training: Training,
        folds: Any = None,
        seed: int | None = None,
    ) -> History:
        seed = self.seed if seed is None else seed
        folds = self.folds if folds is None else folds
        data_io = self.preprocessor.data
        pairs = inner_folds(indices, folds, data_io, seed)
        if self.top is not None and self.top > len(pairs):
            _log.warning(
                "top=%d, but each member is trained %d times, once per fold: all networks are "
                "kept; ask for more folds, or a smaller top", self.top, len(pairs),
            )  # fmt: skip
        held_out = list(dict.fromkeys(index for pair in pairs for index in pair.held_out))
        learned = self.combiner == "learned"
        drawn = draw(held_out, data_io, self.voxels, seed) if learned else {}

        trained = {
            name: cross_train(member, name, pairs, training, self.top, drawn)
            for name, member in zip(self.names, self.members, strict=True)
        }
        chosen = [result.chosen for result in trained.values()]
        softmax = self._fit_softmax(chosen, drawn) if learned else None
        # Only now, so that a fit that was broken off leaves the ensemble as it was.
        self._softmax = softmax
        self.networks = [result.networks for result in trained.values()]
        self.scores = [result.scores for result in trained.values()]
        self._seen = frozenset(index for pair in pairs for index in pair.training)
        return joint_history(trained)

    def fit_combiner(self, indices: Sequence[str], seed: int | None = None) -> None:
        """Fit the learned combiner for networks that are trained already.

        Parameters
        ----------
        indices : sequence of str
            Subjects with a segmentation that *no* network of the ensemble was trained on: on
            its own training subjects a network is surer than it is right, and the combiner would
            believe it. Known is only what :meth:`fit` has trained on; of networks that came
            trained, their owner must know.
        seed : int, optional
            Default: that of the constructor.

        Raises
        ------
        ConfigurationError
            If the ensemble takes means, or :meth:`fit` has trained on one of the subjects.
        """
        if self.combiner != "learned":
            raise ConfigurationError(
                'there is nothing to fit for combiner="mean"; make the ensemble with '
                'combiner="learned"'
            )
        samples = [str(index) for index in indices]
        seen = sorted(set(samples) & self._seen)
        if seen:
            raise ConfigurationError(
                f"networks of the ensemble were trained on {len(seen)} of the subjects "
                f"({', '.join(seen[:5])}); the combiner must learn from others"
            )
        drawn = draw(
            samples, self.preprocessor.data, self.voxels, self.seed if seed is None else seed
        )
        chosen: list[dict[str, NDArray[Any]]] = [{} for _ in self.networks]
        for index in samples:
            sample = self.preprocessor.data.sample_loader(index, load_seg=False)
            for number, engine in enumerate(self._member_engines()):
                probabilities = predict_in_memory(sample, engine, activation_output=True)
                values = at_voxels(probabilities, drawn[index], index, self.names[number])
                chosen[number][index] = values
        self._softmax = self._fit_softmax(chosen, drawn)

    def _fit_softmax(
        self, chosen: Sequence[Mapping[str, NDArray[Any]]], drawn: Mapping[str, Voxels]
    ) -> SoftmaxCombiner:
        if not drawn:
            raise ConfigurationError("there are no subjects to learn from: the list is empty")
        return SoftmaxCombiner.fitted(
            [np.concatenate([member[index] for index in drawn]) for member in chosen],
            np.concatenate([voxels.labels for voxels in drawn.values()]),
            np.concatenate([voxels.weights for voxels in drawn.values()]),
            self.classes,
        )

    def reset(self) -> None:
        """Forget everything that was learned: networks, scores, the combiner, and the members'."""
        for member in self.members:
            member.reset()
        self.networks = [[member] for member in self.members]
        self.scores = [[] for _ in self.members]
        self._softmax = None
        self._seen = frozenset()

    # ------------------------------------------------------------------ prediction

    def _engine(
        self, settings: PredictionSettings | None = None, roi: RegionOfInterest | None = None
    ) -> CombinedEngine:
        """Return what predicts with the stack as it is now.

        Raises
        ------
        NotFittedError
            If it has yet to learn.
        """
        combine = self._combine_fitted()
        return CombinedEngine(self._member_engines(settings, roi), combine, self.classes)

    def _member_engines(
        self, settings: PredictionSettings | None = None, roi: RegionOfInterest | None = None
    ) -> list[CombinedEngine]:
        """Return, per member, what predicts the mean of its networks."""
        result = []
        for name, label_set, networks in zip(
            self.names, self.label_sets, self.networks, strict=True
        ):
            engines = [
                engine_of(network, len(label_set), name, settings, roi) for network in networks
            ]
            result.append(CombinedEngine(engines, Averaging("probabilities"), len(label_set)))
        return result

    def _identity(self, settings: PredictionSettings | None = None) -> list[Any]:
        """Tell this stack from others, in JSON values."""
        own = [self.combiner, None if self._softmax is None else digest(serialize(self._softmax))]
        return [*own, *(identity_of(n, settings) for networks in self.networks for n in networks)]

    def _combine_fitted(self) -> NestedMean | SoftmaxCombiner:
        """Return the combiner; raise NotFittedError unless it and all networks can predict."""
        combine = self._mean if self._mean is not None else self._softmax
        if combine is None or not all(n.can_predict for own in self.networks for n in own):
            raise NotFittedError(
                "the stack has learned nothing yet: call its fit(indices). Members that are "
                'trained already need no fit with combiner="mean", and only '
                'fit_combiner(indices) with combiner="learned"'
            )
        return combine

    # ------------------------------------------------------------------ files

    def dump(self, file_path: str | Path) -> None:
        """Write everything into a *folder* of this name; the same as :meth:`save`.

        A file of this name, such as a single network's, is replaced. By this name
        ``cross_validation`` keeps what it has trained.
        """
        self.save(file_path)

    def save(
        self,
        folder: str | Path,
        *,
        scores: Any = None,
        name: str | None = None,
        licence: str | None = None,
        description: str | None = None,
        colours: Mapping[int | str, str] | Sequence[str] | None = None,
    ) -> None:
        """Write everything a prediction needs into one folder; read it with :func:`miscnn.load`.

        Each network is a bundle of its own: ``member_<m>_<k>`` is network k of member m, both
        from 0, the best first. Those of an earlier ensemble in the same folder are removed.
        Subjects are numbered, or hashed, and not named. The arguments are those of
        :meth:`NeuralNetwork.save`.

        Raises
        ------
        NotFittedError
            If the ensemble cannot predict yet.
        """
        from miscnn.neural_network.bundle import save_ensemble

        self._combine_fitted()
        save_ensemble(
            self,
            folder,
            scores=scores,
            name=name,
            licence=licence,
            description=description,
            colours=colours,
        )

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{name}: {len(networks)}"
            for name, networks in zip(self.names, self.networks, strict=True)
        )
        return f"StackedEnsemble({counts}; {self.combiner}, {self.classes} classes)"
