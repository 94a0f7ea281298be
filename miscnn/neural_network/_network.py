"""A network with the recipe of its data: how it is made, compiled, and made anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Self

from miscnn._keras import compile_ahead, keras
from miscnn.exceptions import ConfigurationError, NotFittedError
from miscnn.neural_network._assigned import as_settings
from miscnn.neural_network._class_weights import weighted_loss, without_unlabelled
from miscnn.neural_network._distribution import as_distribution
from miscnn.neural_network._engine import NetworkEngine, own_recipe
from miscnn.neural_network._identity import network_identity
from miscnn.neural_network._loss_names import as_loss
from miscnn.neural_network._mirroring import Network
from miscnn.neural_network._precision import check_device, check_precision, precision_scope
from miscnn.neural_network._predictor import Predictor
from miscnn.neural_network._regions import check_scores, default_scores, multilabel_loss
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network._state import alike, clone_metric, seeded, take_over
from miscnn.neural_network._transport import travelling
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.architecture.unet.standard import UNetStandard
from miscnn.neural_network.model_card import ModelCard
from miscnn.neural_network.optimizers import OptimizerRecipe
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.neural_network.schedules import Schedule, as_schedule
from miscnn.processing.merging import WindowWeight
from miscnn.processing.network_grid import network_grid
from miscnn.processing.postprocessing import PostProcessing, PostProcessingStep
from miscnn.processing.preprocessor import Preprocessor

_log = logging.getLogger("miscnn.neural_network.model")


class BuiltNetwork(Predictor):
    """What :class:`~miscnn.neural_network.model.NeuralNetwork` is made of; see there."""

    def __init__(
        self,
        preprocessor: Preprocessor,
        architecture: Architecture | None = None,
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        learning_rate: float = 1e-3,
        batch_queue_size: int = 4,
        workers: int = 1,
        multi_gpu: bool = False,
        *,
        optimizer: Any = None,
        schedule: Schedule | str | None = None,
        weight_decay: float | None = None,
        gradient_clipping: float | None = None,
        ema: float | None = None,
        gradient_accumulation: int = 1,
        precision: str | None = None,
        distribution: Any = None,
        seed: int | None = None,
        window_weight: WindowWeight | None = None,
        prediction: PredictionSettings | None = None,
        postprocessing: PostProcessing
        | PostProcessingStep
        | Sequence[PostProcessingStep]
        | None = None,
        learninig_rate: float | None = None,
    ) -> None:
        if multi_gpu and distribution is None:
            distribution = "mirrored"
        self.distribution = as_distribution(distribution)
        self.precision = check_precision(precision)
        self.preprocessor = preprocessor
        self.architecture = architecture if architecture is not None else UNetStandard()
        if not isinstance(self.architecture, Architecture):
            raise ConfigurationError(
                f"architecture must be an Architecture such as UNetStandard(), got {architecture!r}"
            )
        regions = preprocessor.regions
        if regions is not None:
            self.architecture = self.architecture.multilabel()
        self._given_architecture = self.architecture
        self.architecture = self._adapted(None)
        self.loss = as_loss(loss)
        if metrics is None:
            ignore = preprocessor.ignore_label is not None
            names = None if regions is None else regions.names
            metrics = default_scores(preprocessor.outputs, names, ignore)
        self.metrics = list(metrics)
        check_scores(self.metrics, regions is not None)
        # The misspelled name is how published scripts for MIScnn up to 1.3 say it.
        self.learning_rate = learning_rate if learninig_rate is None else learninig_rate
        self.batch_queue_size = batch_queue_size
        self.workers = workers
        self.seed = preprocessor.seed if seed is None else seed
        self.prediction = prediction
        if window_weight is not None:
            self.window_weight = window_weight
        self.postprocessing = postprocessing
        self.schedule = as_schedule(schedule)
        self.optimizer_recipe = OptimizerRecipe.of(
            optimizer,
            weight_decay=weight_decay,
            clip_norm=gradient_clipping,
            ema=ema,
            accumulation=gradient_accumulation,
        )
        if schedule is not None and self.optimizer_recipe.schedules_itself(self.learning_rate):
            raise ConfigurationError(
                "learning_rate is a schedule of Keras' already; give a number, or no schedule"
            )
        self._epochs_trained = 0
        # Whether the weights that it began with were loaded, and were told to be random.
        self._weights_given = False
        self._told_untrained = False
        # Whom it was trained on, here; and what the bundle it comes from says of those before.
        self._trained_on: tuple[str, ...] = ()
        self._fingerprint: dict[str, Any] | None = None
        self.card = ModelCard()
        self.bundle_digest: str | None = None
        # What was learned from this network's own training samples: another network with the
        # same preprocessor has its own.
        self._statistics: list[dict[str, Any]] | None = None
        # What the user let the preprocessor learn beforehand; used until there is a training.
        self._given_statistics = preprocessor.get_statistics()
        self._must_learn = _must_learn(preprocessor)
        self._compiled_predictor: tuple[Any, Network] | None = None
        self._loaded_weights: list[Any] | None = None
        self.model: Any = self._build()
        self._compile()
        self._warn_of_small_patches()

    # ------------------------------------------------------------------ building

    @property
    def multiple(self) -> tuple[int, ...]:
        """What the spatial axes of the network's input must be a multiple of."""
        return self.architecture.multiple_per_axis(self.preprocessor.network_axes)

    def _build(self) -> Any:
        axes = self.preprocessor.network_axes
        input_shape = (*(None,) * axes, self.preprocessor.channels)
        create = (
            self.architecture.create_model_3D if axes == 3 else self.architecture.create_model_2D
        )
        with self.distribution.scope(), precision_scope(self.precision), seeded(self.seed):
            model = create(input_shape, self.preprocessor.outputs)
        check_device(model)
        return model

    def _adapted(self, indices: Sequence[str] | None) -> Architecture:
        """Fit the architecture that was given to the headers of subjects; None for all."""
        given = self._given_architecture
        # Headers are read only where something depends on them.
        grid = network_grid(self.preprocessor, indices) if given.adapts else (None, None)
        return given.adapted_to(*grid)

    def _adapt(self, training: Sequence[str]) -> None:
        """Make another network if the training subjects ask for one."""
        adapted = self._adapted(training)
        if adapted != self.architecture:
            self.architecture = adapted
            self.model = self._build()
            self._compile()

    def _make_optimizer(self) -> Any:
        return self.optimizer_recipe.make(self.learning_rate)

    def _compile(
        self, class_weights: tuple[float, ...] | None = None, optimizer: Any = None
    ) -> None:
        self._compiled_with = (self.loss, tuple(self.metrics), self.architecture, class_weights)
        loss = self.loss if class_weights is None else weighted_loss(self.loss, class_weights)
        if self.preprocessor.ignore_label is not None:
            loss = without_unlabelled(loss)
        recipe = self.preprocessor
        if recipe.regions is not None:
            loss = multilabel_loss(loss)
        loss = self.distribution.loss(loss, recipe.outputs, recipe.network_axes)
        for metric in self.metrics:
            if isinstance(metric, keras.metrics.Metric):
                metric.reset_state()  # Keras does not, before the first epoch after compiling
        with self.distribution.scope():
            optimizer = self._make_optimizer() if optimizer is None else optimizer
            self.distribution.check(recipe.batch_size, optimizer)
            self.model.compile(
                optimizer=optimizer,
                loss=loss,
                # Those given were made outside of the scope: each device needs its own.
                metrics=[
                    clone_metric(metric) if self.distribution.replicas > 1 else metric
                    for metric in self.metrics
                ],
                jit_compile=compile_ahead(),
            )

    def _warn_of_small_patches(self) -> None:
        patch, multiple = self.preprocessor.patch_shape, self.multiple
        if patch is None or max(multiple) == 1 or len(patch) != len(multiple):
            return
        if all(size <= least for size, least in zip(patch, multiple, strict=True)):
            _log.warning(
                "patch_shape is %s and the network reduces by %s: one voxel is left at its bottom, "
                "which instance normalisation makes 0. Take larger patches or less depth",
                tuple(patch), multiple,
            )  # fmt: skip

    def _fresh(self) -> Any:
        """Make the network anew, with its initial weights: drawn, or those that were loaded."""
        model = self._build()
        if self._loaded_weights is not None:
            model.set_weights(self._loaded_weights)
        return model

    def reset_weights(self) -> None:
        """Go back to the initial weights; statistics of the training set are forgotten.

        The initial weights are those of the construction, or of the last ``load_weights``.
        """
        self.model.set_weights(self._fresh().get_weights())
        self._forget()

    def reset(self) -> None:
        """Go back to the initial weights, with a fresh optimizer and nothing learned from data.

        The initial weights are those of the construction, or of the last ``load_weights``.
        """
        fresh = self._fresh()
        with self.distribution.scope():
            optimizer = self._make_optimizer()
            optimizer.build(fresh.trainable_variables)
        used = self.model.optimizer
        plain = (self.loss, tuple(self.metrics), self.architecture, None)
        if (
            self._compiled_with == plain
            and type(used) is type(optimizer)
            and alike(self.model.variables, fresh.variables)
            and (not used.built or alike(used.variables, optimizer.variables))
        ):
            # The compiled step is kept: tracing it again takes longer than many a fold.
            take_over(self.model.variables, fresh.variables)
            if used.built:
                take_over(used.variables, optimizer.variables)
        else:
            self.model = fresh
            self._compile()
        self._forget()

    def _forget(self) -> None:
        """Forget who it was trained on, and what was learned from them beside the weights."""
        self._epochs_trained = 0
        self._weights_given = self._loaded_weights is not None
        self._told_untrained = False
        self._statistics = None
        self._trained_on = ()
        self._fingerprint = None
        self.bundle_digest = None

    def copy(self) -> Self:
        """Return a network with the same settings and weights of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.model = other._build()
        other.model.set_weights(self.model.get_weights())
        other.metrics = [clone_metric(metric) for metric in self.metrics]
        other._compile()
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as :meth:`copy` does: without the optimizer's state."""
        return travelling(self)

    # ------------------------------------------------------------------ prediction

    def _predictor(self) -> Network:
        """Return what predicts batches with the model there is now."""
        if self._compiled_predictor is None or self._compiled_predictor[0] is not self.model:
            self._compiled_predictor = self.model, self.distribution.predictor(self.model)
        return self._compiled_predictor[1]

    @property
    def can_predict(self) -> bool:
        """Whether it has learned, or was given, all that its recipe needs for a prediction."""
        known = self._statistics is not None or self._given_statistics is not None
        return known or not self._must_learn

    @property
    def prediction(self) -> PredictionSettings:
        """How it predicts; None stands for the defaults."""
        return self._prediction

    @prediction.setter
    def prediction(self, value: PredictionSettings | None) -> None:
        settings = as_settings(value)
        settings.check_axes(self.preprocessor.network_axes)
        self._prediction = settings

    @property
    def _untrained(self) -> bool:
        """Whether its weights are those that were drawn, as far as that can be known."""
        # During the first training there are no epochs yet, but there are training subjects.
        return not (self._epochs_trained or self._trained_on or self._weights_given)

    def _warn_if_untrained(self, what: str) -> None:
        if self._untrained:
            _log.warning(
                "%s: this network was never trained, and no weights were loaded: its weights are "
                "random (unless you have set them on model.model yourself)", what,
            )  # fmt: skip

    @property
    def window_weight(self) -> WindowWeight:
        """The ``window_weight`` of :attr:`prediction`."""
        return self.prediction.window_weight

    @window_weight.setter
    def window_weight(self, value: WindowWeight) -> None:
        self.prediction = self.prediction.replace(window_weight=value)

    def _learned(self) -> list[dict[str, Any]] | None:
        """Return the statistics that this network predicts with."""
        return self._given_statistics if self._statistics is None else self._statistics

    def _engine(
        self, settings: PredictionSettings | None = None, roi: RegionOfInterest | None = None
    ) -> NetworkEngine:
        """Return what predicts with the network as it is now.

        Raises
        ------
        NotFittedError
            If it has yet to learn.
        """
        recipe = self.preprocessor
        if recipe.regions is not None:  # a bundle may have been given other data since
            recipe.regions.check(recipe.classes)
        if not self._use_statistics():
            raise NotFittedError(
                "this network was not trained, and its preprocessor had learned nothing when it "
                "was made: call train, or fit the preprocessor (preprocessor.fit(indices)) "
                "before the network is made or its weights are loaded"
            )
        if not self._told_untrained:
            self._warn_if_untrained("predict")
            self._told_untrained = True
        return NetworkEngine(
            self._predictor(),
            own_recipe(recipe, self._learned()),
            self.multiple,
            self.prediction if settings is None else as_settings(settings, "settings"),
            roi,
        )

    def _settings(self, given: Any) -> PredictionSettings:
        return super()._settings(given) or self.prediction

    def _identity(self, settings: PredictionSettings | None = None) -> dict[str, str]:
        """Tell this network from others, in JSON values."""
        return network_identity(self.model, self.preprocessor, self._learned())

    def _use_statistics(self) -> bool:
        """Hand this network's statistics to the recipe; return whether it has all it needs."""
        statistics = self._learned()
        if statistics is not None:
            self.preprocessor.set_statistics(statistics)
        return self.can_predict

    def __repr__(self) -> str:
        return (
            f"NeuralNetwork({self.architecture!r}, {self.model.count_params():,} parameters, "
            f"{self.preprocessor!r})"
        )


def _must_learn(preprocessor: Preprocessor) -> bool:
    """Tell whether a recipe lacks what it needs for a prediction."""
    try:
        preprocessor.check_fitted(preprocessor.subfunctions)
    except NotFittedError:
        return True
    return False
