"""One training of a network, from its samples to its history."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miscnn._keras import keras
from miscnn.data_loading._indices import shared_subjects
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._checkpoint_file import CheckpointFile
from miscnn.neural_network._recipe import DEFAULT_EPOCHS, recipe_of
from miscnn.neural_network._sources import Sources
from miscnn.neural_network._state import seeded
from miscnn.neural_network._volume_dice import foreground_dice, region_dice
from miscnn.neural_network.callbacks.course import Course
from miscnn.neural_network.callbacks.logs import EpochLog, TSVLog
from miscnn.neural_network.callbacks.progress import ProgressBar
from miscnn.neural_network.callbacks.volumes import VOLUME_DICE, VolumeValidation
from miscnn.neural_network.callbacks.weights import (
    AveragedValidation,
    BestWeights,
    EarlyStopping,
    averages_weights,
)
from miscnn.neural_network.checkpoint import Checkpoints, SavesCheckpoints
from miscnn.neural_network.history import History
from miscnn.neural_network.schedules import Schedule
from miscnn.processing.data_generator import DataGenerator

if TYPE_CHECKING:
    from miscnn.neural_network._network import BuiltNetwork
    from miscnn.neural_network.model import NeuralNetwork

_log = logging.getLogger("miscnn.neural_network.training")

_ENDLESS = 10**9
_COUNTS = ("epochs", "iterations", "early_stopping", "validate_volumes", "checkpoint_every")


@dataclass(frozen=True)
class TrainingPlan:
    """The arguments of :meth:`NeuralNetwork.train` and :meth:`NeuralNetwork.evaluate`."""

    training: Sequence[str]
    validation: Sequence[str] | None
    epochs: int | None
    iterations: int | None
    max_minutes: float | None
    callbacks: Sequence[Any]
    class_weights: tuple[float, ...] | None
    verbose: int
    checkpoint_path: str | Path | None
    checkpoint_every: int
    resume: bool
    restore_best: bool = False
    early_stopping: int | None = None
    validate_volumes: int | None = None
    description: str = "training"

    def __post_init__(self) -> None:
        for name in _COUNTS:  # NumPy's integers cannot be written down
            with suppress(TypeError):
                object.__setattr__(self, name, operator.index(getattr(self, name)))

    def check(self) -> None:
        """Raise ConfigurationError for what cannot be."""
        if not self.training:
            raise ConfigurationError("there are no samples to train on: the list is empty")
        if self.validation is not None and not self.validation:
            raise ConfigurationError("there are no samples to validate on: the list is empty")
        shared = shared_subjects(self.training, self.validation or ())
        if shared:
            raise ConfigurationError(
                f"{len(shared)} subject(s) are both in training and in validation: "
                f"{', '.join(shared[:5])}"
            )
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigurationError(
                f"max_minutes is {self.max_minutes!r}; expected a positive number of minutes"
            )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} is {value!r}; expected a whole number, 1 or more")

    @property
    def last_epoch(self) -> int | None:
        """Number of epochs; None if only the time counts."""
        if self.epochs is None and self.max_minutes is None:
            return DEFAULT_EPOCHS
        return self.epochs

    @property
    def monitor(self) -> str:
        """What tells the best epoch."""
        return VOLUME_DICE if self.validate_volumes else "val_loss"


def train(network: NeuralNetwork, plan: TrainingPlan) -> History:
    """Train a network by a plan, or go on with a training that was interrupted."""
    plan.check()
    checkpoints, saved = _opened(network, plan)
    _prepare(network, plan, saved)
    if plan.class_weights != network._compiled_with[-1]:
        network._compile(plan.class_weights, network.model.optimizer)  # which goes on
    first = network._epochs_trained
    if checkpoints is not None:
        _build_optimizer(network)
    if saved is not None:
        first = int(saved.document["first_epoch"])
        restore(network, saved)
    return _Session(network, plan, checkpoints, saved, first).run()


def _opened(
    network: NeuralNetwork, plan: TrainingPlan
) -> tuple[Checkpoints | None, CheckpointFile | None]:
    """Return the folder of the training and what it holds."""
    if plan.checkpoint_path is None:
        return None, None
    sources = Sources(network.preprocessor.data.interface)
    checkpoints = Checkpoints(plan.checkpoint_path, _call(network, plan), sources)
    if not plan.resume:
        checkpoints.discard()
    saved = checkpoints.read()
    if saved is not None:
        _tell(saved, plan)
    return checkpoints, saved


def _tell(saved: CheckpointFile, plan: TrainingPlan) -> None:
    done, folder = int(saved.document["epochs"]), saved.path.parent
    wanted = plan.last_epoch
    anew = "nothing is trained; resume=False begins anew"
    if saved.document["stopped"]:
        _log.warning("%s holds a training that was ended after epoch %d: %s", folder, done, anew)
    elif wanted is not None and wanted <= done:
        _log.warning(
            "%s holds %d epochs, %d were asked for: it returns all of them; %s",
            *(folder, done, wanted, anew),
        )
    else:
        _log.info("going on after epoch %d of %s", done, folder)


def _call(network: NeuralNetwork, plan: TrainingPlan) -> dict[str, Any]:
    """Return what decides the result of a training. (More epochs may be asked for later.)"""
    return {
        "recipe": recipe_of(network),
        "training": list(plan.training),
        "validation": None if plan.validation is None else list(plan.validation),
        "iterations": plan.iterations,
        "class_weights": None if plan.class_weights is None else list(plan.class_weights),
        "early_stopping": plan.early_stopping,
        "max_minutes": plan.max_minutes,
        "precision": network.model.dtype_policy.name,
        "validate_volumes": plan.validate_volumes,
        "callbacks": [type(callback).__name__ for callback in plan.callbacks],
    }


def _prepare(network: NeuralNetwork, plan: TrainingPlan, saved: CheckpointFile | None) -> None:
    """Let the recipe learn from the training subjects, unless it has, and prepare all."""
    recipe = network.preprocessor
    if network._statistics is None:
        network._adapt(plan.training)
    if saved is not None:
        network._statistics = saved.document["statistics"]
    recipe.check_windows(network.multiple)
    if network._statistics is None:
        recipe.fit(list(plan.training))
        network._statistics = recipe.get_statistics()
    else:
        recipe.set_statistics(network._statistics)
    network._trained_on = tuple(dict.fromkeys([*network._trained_on, *plan.training]))
    network.bundle_digest = None  # it is no longer what was loaded
    recipe.prepare([*plan.training, *(plan.validation or ())], verbose=plan.verbose)


def restore(network: BuiltNetwork, saved: CheckpointFile) -> None:
    """Give a network and its optimizer the values of a checkpoint."""
    _build_optimizer(network)
    saved.restore("model", network.model.variables)
    saved.restore("optimizer", network.model.optimizer.variables)


def _build_optimizer(network: BuiltNetwork) -> None:
    """Make the variables of an optimizer, which otherwise come with the first step."""
    optimizer = network.model.optimizer
    if not optimizer.built:
        with network.distribution.scope():
            optimizer.build(network.model.trainable_variables)


class _Session:
    """A training that is set up: generators and callbacks."""

    def __init__(
        self,
        network: NeuralNetwork,
        plan: TrainingPlan,
        checkpoints: Checkpoints | None,
        saved: CheckpointFile | None,
        first_epoch: int,
    ) -> None:
        self.network = network
        self.plan = plan
        self.first_epoch = first_epoch
        self.done = 0 if saved is None else int(saved.document["epochs"])
        self.stopped = saved is not None and bool(saved.document["stopped"])
        self.batches = self._generator(
            plan.training, iterations=plan.iterations, first_epoch=first_epoch + self.done
        )
        self.checks = None
        if plan.validation is not None:
            self.checks = self._generator(plan.validation, validation=True)
        # Each training has a schedule of its own: some remember.
        schedule = type(network.schedule).from_config(network.schedule.get_config())
        self.course = self._course(schedule)
        self.log = EpochLog()
        self.best: BestWeights | None = None
        if plan.validation is not None and (plan.restore_best or checkpoints is not None):
            self.best = BestWeights(plan.monitor, checkpoints.best if checkpoints else None)
        self.saver: SavesCheckpoints | None = None
        self.callbacks = self._callbacks(checkpoints, saved)

    def run(self) -> History:
        network, plan = self.network, self.plan
        epochs = self.done if self.stopped else max(plan.last_epoch or _ENDLESS, self.done)
        try:
            with seeded(network.seed):
                network.distribution.fit(
                    network.model,
                    self.batches,
                    validation_data=self.checks,
                    initial_epoch=self.done,
                    epochs=epochs,
                    callbacks=self.callbacks,
                    shuffle=False,  # the generator has an order of its own
                    verbose=0,
                )
        except Exception as error:
            failures = [each.failure for each in (self.batches, self.checks) if each is not None]
            for failure in filter(None, failures):
                raise failure from error  # not as the backend's, which has threads of its own
            raise
        finally:
            self.course.close(network.model)
            for callback in self.callbacks:
                if isinstance(callback, ProgressBar | AveragedValidation):
                    callback.close()
            network._epochs_trained = self.first_epoch + self.log.history.epochs
        history = self.log.history
        if plan.restore_best and self.best is not None:
            self.best.restore(network.model)
        return history

    def _generator(self, indices: Sequence[str], **options: Any) -> DataGenerator:
        network = self.network
        return DataGenerator(
            indices,
            network.preprocessor,
            multiple=network.multiple,
            workers=network.workers,
            max_queue_size=network.batch_queue_size,
            **options,
        )

    def _course(self, schedule: Schedule) -> Course:
        plan = self.plan
        return Course(schedule, plan.last_epoch, plan.max_minutes, len(self.batches), self.done)

    def _callbacks(
        self, checkpoints: Checkpoints | None, saved: CheckpointFile | None
    ) -> list[Any]:
        """Return all callbacks in their order; each may read what those before it logged."""
        plan = self.plan
        callbacks: list[Any] = []
        if plan.validate_volumes:
            assert plan.validation is not None  # only evaluate() has it
            score, every = self._volume_dice(), plan.validate_volumes
            regions = self.network.preprocessor.regions
            names = None if regions is None else regions.names
            callbacks.append(
                VolumeValidation(score, plan.validation, every, self.course.ends_after, names)
            )
        callbacks += [self.course, *plan.callbacks]
        if self.best is not None:
            callbacks.append(self.best)
        if plan.early_stopping is not None:
            callbacks.append(EarlyStopping(plan.early_stopping, plan.monitor))
        callbacks.append(self.log)
        if checkpoints is not None:
            callbacks.append(TSVLog(checkpoints.folder / "history.tsv"))
        remembering = callbacks[1 if plan.validate_volumes else 0 :]
        if self.checks is not None and averages_weights(self.network.model.optimizer):
            if keras.backend.backend() == "jax":
                raise ConfigurationError(
                    "on the JAX backend averaged weights (ema) cannot be validated in a training; "
                    "train without validation, without ema, or on TensorFlow or PyTorch"
                )
            callbacks.append(AveragedValidation())
        if plan.verbose:
            callbacks.append(
                ProgressBar(
                    plan.last_epoch,
                    minutes=plan.max_minutes,
                    description=plan.description,
                    initial=self.done,
                    elapsed=lambda: self.course.elapsed,
                )
            )
        if checkpoints is not None:
            document = {
                "first_epoch": self.first_epoch,
                "statistics": self.network._statistics,
            }
            self.saver = SavesCheckpoints(
                checkpoints, remembering, document, plan.checkpoint_every, saved
            )
            callbacks.append(self.saver)
        return callbacks

    def _volume_dice(self) -> Callable[[str], list[float]]:
        network = self.network
        recipe = network.preprocessor

        def score(index: str) -> list[float]:
            sample = recipe.data.sample_loader(index, load_seg=True)
            truth = np.asarray(sample.segmentation)[..., 0]
            prediction = network.predict_sample(sample)
            if recipe.ignore_label is not None:
                prediction = np.where(truth == recipe.ignore_label, 0, prediction)
            if recipe.regions is not None:
                return region_dice(truth, prediction, recipe.regions)
            return foreground_dice(truth, prediction, recipe.classes)

        return score
