"""The neural network: training, prediction, evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._keras import compile_ahead, keras
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, NotFittedError
from miscnn.neural_network._class_weights import read_class_weights, weighted_loss
from miscnn.neural_network._state import alike, clone_metric, seeded, take_over
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.architecture.unet.standard import UNetStandard
from miscnn.neural_network.callbacks import BestWeights, ProgressBar
from miscnn.neural_network.history import History
from miscnn.neural_network.inference import predict_probabilities
from miscnn.neural_network.losses import TverskyCrossEntropy
from miscnn.neural_network.metrics import MeanDice, class_wise_dice
from miscnn.neural_network.prediction import Subjects, check_finite, predict_subjects
from miscnn.processing.data_generator import DataGenerator
from miscnn.processing.network_grid import network_grid
from miscnn.processing.patches import WindowWeight
from miscnn.processing.preprocessor import Preprocessor

_log = logging.getLogger("miscnn.neural_network.model")


class NeuralNetwork:
    """A network with the recipe of its data: trains, predicts, saves itself.

    Parameters
    ----------
    preprocessor : Preprocessor
        The recipe from samples to batches and back.
    architecture : Architecture, optional
        Default: the standard U-Net. For one that adapts to the data
        (:attr:`~miscnn.neural_network.architecture.base.Architecture.adapts`, such as
        ``NNUNet()``) shapes and spacings in headers, never voxels, decide strides and kernels:
        those of the training subjects of the first training (and of the first after
        :meth:`reset`), of up to 50 of them; before, those of all subjects. Give it ``strides``,
        or ``patch_shape`` and ``spacing``, to decide them beforehand.
    loss : Keras loss or callable, optional
        Default: :class:`~miscnn.neural_network.losses.TverskyCrossEntropy`.
    metrics : sequence of Keras metrics or callables, optional
        Default: Dice per class and their mean.
    learning_rate : float
        Initial learning rate of the optimizer.
    batch_queue_size : int
        Number of batches made ahead.
    workers : int
        Number of threads that make batches; results do not depend on it.
    multi_gpu : bool
        Not supported yet; only False is accepted.
    optimizer : Keras optimizer, optional
        Default: Adam with ``learning_rate``. It is copied, and made anew by :meth:`reset`.
    seed : int, optional
        Of the initial weights and of what the network draws. Default: the preprocessor's.
    window_weight : {"gaussian", "constant"}
        How overlapping windows are weighted in prediction.

    Attributes
    ----------
    model : keras.Model
        The compiled network.

    Notes
    -----
    A network predicts with what was learned from *its* training samples. Before any training
    these are the statistics that the preprocessor had been fitted to when the network was made,
    or its weights were loaded; where there are none, but something needs them, prediction
    raises NotFittedError. What other networks with the same preprocessor (the copies that a
    stacked ensemble trains, say) learn afterwards does not count. The first training always
    learns anew.
    """

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
        seed: int | None = None,
        window_weight: WindowWeight = "gaussian",
        learninig_rate: float | None = None,
    ) -> None:
        if multi_gpu:
            raise ConfigurationError("multi_gpu=True is not supported yet; use one device")
        self.preprocessor = preprocessor
        self.architecture = architecture if architecture is not None else UNetStandard()
        if not isinstance(self.architecture, Architecture):
            raise ConfigurationError(
                f"architecture must be an Architecture such as UNetStandard(), got {architecture!r}"
            )
        self._given_architecture = self.architecture
        self.architecture = self._adapted(None)
        self.loss = loss if loss is not None else TverskyCrossEntropy()
        if metrics is None:
            metrics = [*class_wise_dice(preprocessor.classes), MeanDice(preprocessor.classes)]
        self.metrics = list(metrics)
        # The misspelled name is how published scripts for MIScnn up to 1.3 say it.
        self.learning_rate = learning_rate if learninig_rate is None else learninig_rate
        self.batch_queue_size = batch_queue_size
        self.workers = workers
        self.seed = preprocessor.seed if seed is None else seed
        self.window_weight: WindowWeight = window_weight
        self._optimizer_config = (
            None if optimizer is None else keras.optimizers.serialize(optimizer)
        )
        self._epochs_trained = 0
        # What was learned from this network's own training samples: another network with the
        # same preprocessor has its own.
        self._statistics: list[dict[str, Any]] | None = None
        # What the user let the preprocessor learn beforehand; used until there is a training.
        self._given_statistics = preprocessor.get_statistics()
        self._must_learn = _must_learn(preprocessor)
        self.model: Any = self._build()
        self._compile()

    # ------------------------------------------------------------------ building

    @property
    def multiple(self) -> tuple[int, ...]:
        """What the spatial axes of the network's input must be a multiple of."""
        axes = self.preprocessor.network_axes
        required = self.architecture.required_multiple
        if isinstance(required, int):
            return (required,) * axes
        if len(required) != axes:
            raise ConfigurationError(
                f"{self.architecture!r} is made for {len(required)} axes, the data have {axes}"
            )
        return tuple(required)

    def _build(self) -> Any:
        axes = self.preprocessor.network_axes
        input_shape = (*(None,) * axes, self.preprocessor.channels)
        create = (
            self.architecture.create_model_3D if axes == 3 else self.architecture.create_model_2D
        )
        with seeded(self.seed):
            return create(input_shape, self.preprocessor.classes)

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
        if self._optimizer_config is None:
            return keras.optimizers.Adam(self.learning_rate)
        return keras.optimizers.deserialize(self._optimizer_config)

    def _compile(
        self, class_weights: tuple[float, ...] | None = None, optimizer: Any = None
    ) -> None:
        self._compiled_with = (self.loss, tuple(self.metrics), self.architecture, class_weights)
        loss = self.loss if class_weights is None else weighted_loss(self.loss, class_weights)
        self.model.compile(
            optimizer=self._make_optimizer() if optimizer is None else optimizer,
            loss=loss,
            metrics=list(self.metrics),
            jit_compile=compile_ahead(),
        )

    def reset_weights(self) -> None:
        """Go back to the initial weights; statistics of the training set are forgotten."""
        self.model.set_weights(self._build().get_weights())
        self._epochs_trained = 0
        self._statistics = None

    def reset(self) -> None:
        """Go back to the state after construction: weights, optimizer, fitted statistics."""
        fresh = self._build()
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
        self._epochs_trained = 0
        self._statistics = None

    def copy(self) -> NeuralNetwork:
        """Return a network with the same settings and weights of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.model = other._build()
        other.model.set_weights(self.model.get_weights())
        other.metrics = [clone_metric(metric) for metric in self.metrics]
        other._compile()
        return other

    # ------------------------------------------------------------------ training

    def train(
        self,
        sample_list: Sequence[str],
        epochs: int = 20,
        iterations: int | None = None,
        callbacks: Sequence[Any] = (),
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        verbose: int = 1,
    ) -> History:
        """Train on samples.

        At the first training of a network (and the first after :meth:`reset`) whatever learns
        from the training set learns from these samples, and from no others. A training that
        goes on keeps the statistics.

        Parameters
        ----------
        sample_list : sequence of str
            Indices of the samples.
        epochs : int
        iterations : int, optional
            Number of batches in an epoch. Default: each sample (patch, slice) once.
        callbacks : sequence of Keras callbacks
        class_weight : sequence or mapping of float, optional
            Weight of each class in the loss, background first.
        verbose : int
            0 shows no progress bar.

        Returns
        -------
        History
        """
        return self._fit(sample_list, None, epochs, iterations, callbacks, class_weight, verbose)

    def evaluate(
        self,
        training_samples: Sequence[str],
        validation_samples: Sequence[str],
        epochs: int = 20,
        iterations: int | None = None,
        callbacks: Sequence[Any] = (),
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        verbose: int = 1,
        restore_best: bool = False,
    ) -> History:
        """Train on samples and validate on others after every epoch.

        Parameters
        ----------
        training_samples, validation_samples : sequence of str
            Indices. Nothing is learned from the validation samples, but ``restore_best``
            chooses by them: do not report scores on the same samples then.
        restore_best : bool
            End with the weights of the epoch with the lowest validation loss.
        epochs, iterations, callbacks, class_weight, verbose
            As in :meth:`train`.

        Returns
        -------
        History
            With ``val_`` values.
        """
        shared = sorted(set(training_samples) & set(validation_samples))
        if shared:
            raise ConfigurationError(
                f"{len(shared)} sample(s) are both in training and in validation: "
                f"{', '.join(shared[:5])}"
            )
        if restore_best:
            callbacks = [*callbacks, BestWeights()]
        return self._fit(
            training_samples,
            validation_samples,
            epochs,
            iterations,
            callbacks,
            class_weight,
            verbose,
        )

    def _fit(
        self,
        training: Sequence[str],
        validation: Sequence[str] | None,
        epochs: int,
        iterations: int | None,
        callbacks: Sequence[Any],
        class_weight: Sequence[float] | Mapping[int, float] | None,
        verbose: int,
    ) -> History:
        training = _as_indices(training)
        if not training:
            raise ConfigurationError("there are no samples to train on: the list is empty")
        if self._statistics is None:
            self._adapt(training)
        self.preprocessor.check_windows(self.multiple)
        if self._statistics is None:
            self.preprocessor.fit(training)
            self._statistics = self.preprocessor.get_statistics()
        else:
            self.preprocessor.set_statistics(self._statistics)
        self.preprocessor.prepare([*training, *_as_indices(validation or [])], verbose=verbose)
        weights = read_class_weights(class_weight, self.preprocessor.classes)
        if weights != self._compiled_with[-1]:
            self._compile(weights, self.model.optimizer)  # the optimizer goes on

        def generator(indices: Sequence[str], **options: Any) -> DataGenerator:
            return DataGenerator(
                indices,
                self.preprocessor,
                multiple=self.multiple,
                workers=self.workers,
                max_queue_size=self.batch_queue_size,
                **options,
            )

        batches = generator(training, iterations=iterations, first_epoch=self._epochs_trained)
        checks = None if validation is None else generator(_as_indices(validation), validation=True)
        if checks is not None and self.model.optimizer.use_ema:
            # Validate the averaged weights, which are what the training ends with. They are
            # swapped back after the validation, so this comes after those who look then.
            callbacks = [*callbacks, keras.callbacks.SwapEMAWeights()]
        bars = [ProgressBar(epochs)] if verbose else []
        with seeded(self.seed):
            logged = self.model.fit(
                batches,
                validation_data=checks,
                epochs=epochs,
                callbacks=[*callbacks, *bars],
                shuffle=False,  # the generator has an order of its own
                verbose=0,
            )
        self._epochs_trained += len(logged.epoch)
        return History(logged.history)

    # ------------------------------------------------------------------ prediction

    def predict(
        self,
        sample_list: Subjects,
        return_output: bool = False,
        activation_output: bool = False,
        output_path: str | Path | None = None,
        verbose: int = 1,
    ) -> list[NDArray[Any]] | None:
        """Predict subjects on the grids of their images.

        Parameters
        ----------
        sample_list : list of str, path, Sample or ndarray, or a list of them
            Indices of the data set (also such that came after its construction), a folder
            in the layout of the data interface, or subjects in memory. No segmentations are
            needed.
        return_output : bool
            Return arrays instead of writing files. Subjects in memory are always returned.
        activation_output : bool
            Probabilities ``(…, classes)`` float32 instead of label maps.
        output_path : path, optional
            Folder for the files. Default: the data set's ``output_path``.
        verbose : int
            0 shows no progress bar.

        Returns
        -------
        list of ndarray or None
            In the order asked for; None if files were written.
        """
        return predict_subjects(
            sample_list,
            self.preprocessor.data,
            self.predict_sample,
            return_output,
            activation_output,
            output_path,
            verbose,
        )

    def predict_sample(self, sample: Sample, activation_output: bool = False) -> NDArray[Any]:
        """Predict one sample; return a label map, or probabilities ``(…, classes)``."""
        check_finite(sample)
        if not self._use_statistics():
            raise NotFittedError(
                "this network was not trained, and its preprocessor had learned nothing when it "
                "was made: call train, or fit the preprocessor (preprocessor.fit(indices)) "
                "before the network is made or its weights are loaded"
            )
        prepared, steps, measures = self.preprocessor.prepare_prediction(sample)
        probabilities = predict_probabilities(
            self.model.predict_on_batch,
            self.preprocessor,
            prepared,
            measures,
            self.multiple,
            self.window_weight,
        )
        return self.preprocessor.postprocessing(sample, steps, probabilities, activation_output)

    # ------------------------------------------------------------------ files

    def dump(self, file_path: str | Path) -> None:
        """Write the Keras model (``.keras``), without the recipe; see :meth:`save` for both."""
        from miscnn.neural_network.bundle import remove_folder

        with atomic_path(file_path) as temporary:
            self.model.save(temporary, include_optimizer=False)
            remove_folder(file_path)  # an ensemble's of the same name

    def load(self, file_path: str | Path, custom_objects: Mapping[str, Any] | None = None) -> None:
        """Read a Keras model that :meth:`dump` wrote; it is compiled as this one was."""
        self.model = keras.models.load_model(
            file_path, custom_objects=dict(custom_objects or {}), compile=False
        )
        self._given_architecture = self.architecture  # what the weights are of stays
        self._compile()
        if self._statistics is None:  # weights that were trained elsewhere
            self._statistics = self.preprocessor.get_statistics()

    def save(self, folder: str | Path) -> None:
        """Write everything a prediction needs: network, recipe, fitted statistics.

        Read it with :func:`miscnn.load`.
        """
        from miscnn.neural_network.bundle import save

        save(self, folder)

    @property
    def can_predict(self) -> bool:
        """Whether it has learned, or was given, all that its recipe needs for a prediction."""
        known = self._statistics is not None or self._given_statistics is not None
        return known or not self._must_learn

    def _use_statistics(self) -> bool:
        """Hand this network's statistics to the recipe; return whether it has all it needs."""
        statistics = self._given_statistics if self._statistics is None else self._statistics
        if statistics is not None:
            self.preprocessor.set_statistics(statistics)
        return self.can_predict

    def __repr__(self) -> str:
        return (
            f"NeuralNetwork({self.architecture!r}, {self.model.count_params():,} parameters, "
            f"{self.preprocessor!r})"
        )


Neural_Network = NeuralNetwork


def _as_indices(indices: Sequence[str]) -> list[str]:
    if isinstance(indices, str):
        raise ConfigurationError(f"a list of indices is needed, got the string {indices!r}")
    return [str(index) for index in indices]


def _must_learn(preprocessor: Preprocessor) -> bool:
    """Tell whether a recipe lacks what it needs for a prediction."""
    try:
        preprocessor.check_fitted(preprocessor.subfunctions)
    except NotFittedError:
        return True
    return False
