"""The neural network: training, prediction, evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from miscnn._files import atomic_path
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network import _checkpoint_file
from miscnn.neural_network._class_weights import read_class_weights
from miscnn.neural_network._keras_file import read_keras_file
from miscnn.neural_network._network import BuiltNetwork
from miscnn.neural_network._precision import precision_scope
from miscnn.neural_network._recipe import differences_of, recipe_of
from miscnn.neural_network._regions import other_outputs
from miscnn.neural_network._state import uncompiled
from miscnn.neural_network._training import TrainingPlan, restore, train
from miscnn.neural_network.checkpoint import BEST, LAST
from miscnn.neural_network.export import ExportFormat, export_network
from miscnn.neural_network.history import History
from miscnn.neural_network.transfer import TransferReport, transfer_weights

_log = logging.getLogger("miscnn.neural_network.model")


class NeuralNetwork(BuiltNetwork):
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
        Default: :class:`~miscnn.neural_network.losses.TverskyCrossEntropy`. With ``regions`` of
        the preprocessor a loss of the library takes its ``multilabel`` form.
    metrics : sequence of Keras metrics or callables, optional
        Default: Dice per class (or region) and their mean.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
        Initial learning rate of the optimizer, or a schedule of Keras' over its steps.
    learninig_rate : float, optional
        The same; MIScnn 1.x spelled it so.
    batch_queue_size : int
        Number of batches made ahead.
    workers : int
        Number of threads that make batches; results do not depend on it.
    multi_gpu : bool
        As in MIScnn 1.x: True stands for ``distribution="mirrored"``.
    optimizer : str or Keras optimizer
        "adam", "adamw", "sgd" (Nesterov momentum 0.99), the name of another optimizer of Keras',
        or an object, which is copied, and has a learning rate of its own.
    schedule : str or Schedule, optional
        How the learning rate changes in the course of a training: "polynomial", "cosine",
        "plateau", or an object of :mod:`miscnn.neural_network.schedules`. It follows the epochs,
        or the clock with ``max_minutes``.
    weight_decay, gradient_clipping, ema, gradient_accumulation
        Options of an optimizer given by name: decoupled weight decay; largest global norm of the
        gradient (nnU-Net's is 12); momentum of a moving average of the weights, such as 0.999,
        which validation and prediction use; number of batches that make one update.
    precision : {"float32", "mixed_bfloat16", "mixed_float16"}, optional
        What the network computes with. Weights, losses, sums and probabilities are float32
        always; with float16 the loss is scaled. Default: Keras' global policy.
    distribution : str or object, optional
        "mirrored" trains on all devices at hand, each with a part of every batch; or a
        ``tf.distribute.MirroredStrategy``, or (on JAX) a ``keras.distribution.DataParallel``.
    seed : int, optional
        Of the initial weights and of what the network draws. Default: the preprocessor's.
    window_weight : {"gaussian", "constant"}, optional
        How overlapping windows are weighted in prediction: stands for
        ``prediction=PredictionSettings(window_weight=…)``.
    prediction : PredictionSettings, optional
        How it predicts: overlap, mirroring and more.
    postprocessing : PostProcessing, step or list of steps, optional
        What is done to finished label maps.

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

    # ------------------------------------------------------------------ training

    def train(
        self,
        sample_list: Sequence[str],
        epochs: int | None = None,
        iterations: int | None = None,
        callbacks: Sequence[Any] = (),
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        verbose: int = 1,
        *,
        max_minutes: float | None = None,
        checkpoint_path: str | Path | None = None,
        checkpoint_every: int = 1,
        resume: bool = True,
        description: str = "training",
    ) -> History:
        """Train on samples.

        At the first training of a network (and the first after :meth:`reset`) whatever learns
        from the training set learns from these samples, and from no others. A training that
        goes on keeps the statistics.

        Parameters
        ----------
        sample_list : sequence of str
            Indices of the samples.
        epochs : int, optional
            Default: 20, or with ``max_minutes`` as many as fit into it.
        iterations : int, optional
            Number of batches in an epoch. Default: each sample (patch, slice) once.
        callbacks : sequence of Keras callbacks
        class_weight : sequence or mapping of float, optional
            Weight of each class in the loss, background first; or of each region.
        verbose : int
            0 shows no progress bar.
        max_minutes : float, optional
            End the training with the epoch whose end lies nearest to this time, counted from the
            end of the first batch; the ``schedule`` follows the clock. How many steps that
            are depends on the machine: where results must repeat, give ``epochs``.
        checkpoint_path : path, optional
            Folder for checkpoints (:mod:`miscnn.neural_network.checkpoint`). If the process is
            interrupted, or killed, the same call goes on after the last checkpoint, and on a
            machine that computes alike it ends with the weights of a training that was never
            interrupted, bit by bit. If the training is finished, the call returns what came of
            it; with more ``epochs`` it goes on. One folder holds one training.
        checkpoint_every : int
            Number of epochs from one checkpoint to the next.
        resume : bool
            False begins anew, and deletes the checkpoints in the folder.
        description : str
            What stands before the progress bar.

        Returns
        -------
        History

        Raises
        ------
        ConfigurationError
            For what cannot be; and if the folder holds a training of another network, recipe or
            other samples.
        """
        return train(
            self,
            TrainingPlan(
                training=_as_indices(sample_list),
                validation=None,
                epochs=epochs,
                iterations=iterations,
                max_minutes=max_minutes,
                callbacks=callbacks,
                class_weights=read_class_weights(class_weight, self.preprocessor.outputs),
                verbose=verbose,
                checkpoint_path=checkpoint_path,
                checkpoint_every=checkpoint_every,
                resume=resume,
                description=description,
            ),
        )

    def evaluate(
        self,
        training_samples: Sequence[str],
        validation_samples: Sequence[str],
        epochs: int | None = None,
        iterations: int | None = None,
        callbacks: Sequence[Any] = (),
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        verbose: int = 1,
        restore_best: bool = False,
        *,
        early_stopping: int | None = None,
        validate_volumes: int | None = None,
        max_minutes: float | None = None,
        checkpoint_path: str | Path | None = None,
        checkpoint_every: int = 1,
        resume: bool = True,
        description: str = "training",
    ) -> History:
        """Train on samples and validate on others after every epoch.

        Parameters
        ----------
        training_samples, validation_samples : sequence of str
            Indices. Nothing is learned from the validation samples, but ``restore_best``,
            ``early_stopping`` and a plateau schedule choose by them: do not report scores on
            the same samples then.
        restore_best : bool
            End with the weights of the best epoch: the one with the lowest validation loss, or
            with ``validate_volumes`` the one with the highest Dice of whole volumes.
        early_stopping : int, optional
            End the training when that value has not improved for so many validations.
        validate_volumes : int, optional
            Every so many epochs, and after the last one, predict the validation samples as a
            whole and log the Dice of their label maps as ``val_volume_dice``, beside the scores
            of patches.
        epochs, iterations, callbacks, class_weight, verbose
            As in :meth:`train`.
        max_minutes, checkpoint_path, checkpoint_every, resume
            As in :meth:`train`. The folder gets the best weights, too
            (:meth:`load_checkpoint`).
        description
            As in :meth:`train`.

        Returns
        -------
        History
            With ``val_`` values.
        """
        return train(
            self,
            TrainingPlan(
                training=_as_indices(training_samples),
                validation=_as_indices(validation_samples),
                epochs=epochs,
                iterations=iterations,
                max_minutes=max_minutes,
                callbacks=callbacks,
                class_weights=read_class_weights(class_weight, self.preprocessor.outputs),
                verbose=verbose,
                restore_best=restore_best,
                early_stopping=early_stopping,
                validate_volumes=validate_volumes,
                checkpoint_path=checkpoint_path,
                checkpoint_every=checkpoint_every,
                resume=resume,
                description=description,
            ),
        )

    def load_checkpoint(self, folder: str | Path, which: Literal["best", "last"] = "best") -> None:
        """Take over the weights of a training with ``checkpoint_path``, finished or not.

        Parameters
        ----------
        folder : path
            The ``checkpoint_path``.
        which : {"best", "last"}
            The weights of the best epoch (of :meth:`evaluate`), or of the last checkpoint.
        """
        folder = Path(folder)
        name = {"best": BEST, "last": LAST}.get(which)
        if name is None:
            raise ConfigurationError(f"which is {which!r}; expected 'best' or 'last'")
        for needed in (LAST, name):
            if not (folder / needed).is_file():
                raise MissingFileError(
                    f"there is no {folder / needed}; expected the checkpoint_path of a training"
                    + (" with validation" if needed == BEST else "")
                )
        last = _checkpoint_file.read(folder / LAST)
        # What the weights belong to; the last ones are averaged by the optimizer's variables.
        parts = ["architecture", "preprocessor", *(["optimizer_recipe"] if which == "last" else [])]
        there, here = last.document["call"]["recipe"], recipe_of(self)
        differences = [d for part in parts for d in differences_of(part, there[part], here[part])]
        if differences:
            raise ConfigurationError(
                f"{folder} is of another network: {'; '.join(differences)}. Make the network as "
                "it was for that training"
            )
        self._adapt(last.document["call"]["training"])
        self._compile()
        if which == "last":
            restore(self, last)
            with self.distribution.scope():  # where weights are averaged: the averages
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        else:
            _checkpoint_file.read(folder / BEST).restore("model", self.model.weights)
        self._statistics = last.document["statistics"]
        self._epochs_trained = last.document["first_epoch"] + last.document["epochs"]
        self._trained_on = tuple(last.document["call"]["training"])
        self._weights_given = True
        self.bundle_digest = None

    # ------------------------------------------------------------------ files

    def load_weights(
        self,
        source: Any,
        channels: Literal["mean"] | None = None,
        *,
        custom_objects: Mapping[str, Any] | None = None,
        modules: Sequence[str] = (),
    ) -> TransferReport:
        """Begin with the weights of another network, wherever name and shape agree (fine-tuning).

        They are the initial weights from now on, to which :meth:`reset` (and so every fold of a
        cross-validation) goes back. Statistics of the data are not taken over: they are learned
        from the new training samples. An architecture that adapts to the data stays as it is.

        Parameters
        ----------
        source : path, NeuralNetwork or keras.Model
            A folder that :meth:`save` wrote, a ``.keras`` file, or a network in memory. It may
            have other channels or classes, or another depth.
        channels : {"mean"}, optional
            What becomes of the first convolution if the number of channels differs; see
            :func:`~miscnn.neural_network.transfer.transfer_weights`.
        custom_objects : mapping of str to class, optional
            Classes of the user's own in the source.
        modules : sequence of str
            Modules that the source may have imported, to find its classes there.

        Returns
        -------
        TransferReport
            Which weights were loaded, and which were not and why; it is logged, too. It warns
            where the source's outputs, taken over, stand for other regions (a ``.keras`` file by
            itself does not say).

        Raises
        ------
        ConfigurationError
            If nothing fits.
        """
        warning = other_outputs(source, self.preprocessor)
        source = source.model if isinstance(source, BuiltNetwork) else source
        report = transfer_weights(
            self.model,
            source,
            channels,
            custom_objects=custom_objects,
            modules=modules,
            log=False,
        )
        last = self.model.weights[-1].path
        if warning and not any(last.endswith(weight.path) for weight in report.not_loaded):
            report = replace(report, warning=warning)
        report.log()
        self._compile()  # what an optimizer remembers belongs to the weights there were
        self._loaded_weights = self.model.get_weights()
        self._given_architecture = self.architecture  # what the weights are of stays
        self._forget()
        return report

    def export(
        self, path: str | Path, format: ExportFormat = "onnx", pipeline: bool = True
    ) -> Path:
        """Write the network for use without this library: ONNX file, or SavedModel folder.

        What the recipe does before and after the network is not in it; see
        :func:`~miscnn.neural_network.export.export_network`.

        Parameters
        ----------
        path : path
        format : {"onnx", "saved_model"}
        pipeline : bool
            Write the recipe, with all that was learned, beside it: ``x.pipeline.json`` for
            ``x.onnx``, ``pipeline.json`` in the folder of a SavedModel. It is what
            ``pipeline.json`` of :meth:`save` is, and names the exported files and their SHA-256.
        """
        from miscnn.neural_network._bundle_document import network_document

        return export_network(
            self.model,
            path,
            format,
            required_multiple=self.multiple,
            regions=self.preprocessor.regions,
            pipeline=network_document(self, self.card) if pipeline else None,
        )

    def dump(self, file_path: str | Path) -> None:
        """Write the Keras model (``.keras``), without the recipe; see :meth:`save` for both."""
        from miscnn.neural_network.bundle import remove_folder

        with atomic_path(file_path) as temporary:
            uncompiled(self.model).save(temporary)
            remove_folder(file_path)  # an ensemble's of the same name

    def load(
        self,
        file_path: str | Path,
        custom_objects: Mapping[str, Any] | None = None,
        *,
        modules: Sequence[str] = (),
    ) -> None:
        """Read a Keras model that :meth:`dump` wrote; it is compiled as this one was.

        Nothing in the file makes code run (:mod:`miscnn.neural_network._keras_names`).

        Parameters
        ----------
        file_path : path
        custom_objects : mapping of str to class, optional
            Classes of the user's own in the file.
        modules : sequence of str
            Modules that the file may have imported, to find its classes there.

        Raises
        ------
        DamagedFileError
            If the file is damaged, or not as Keras writes a model.
        ConfigurationError
            If it names a class that is not handed in.
        """
        warning = other_outputs(file_path, self.preprocessor)
        if warning:
            _log.warning("%s: %s", file_path, warning)
        with self.distribution.scope(), precision_scope(self.precision):
            self.model = read_keras_file(file_path, custom_objects, modules)
        self._weights_given = True
        self.bundle_digest = None
        self._given_architecture = self.architecture  # what the weights are of stays
        self._compile()
        if self._statistics is None:  # weights that were trained elsewhere
            self._statistics = self.preprocessor.get_statistics()

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
        """Write everything a prediction needs: network, recipe, fitted statistics, model card.

        Read it with :func:`miscnn.load`. Names of training subjects are not written.

        It is the network as it is now that is written: after a cross-validation that of the last
        fold, until it is trained on all subjects (:meth:`reset`, then :meth:`train`). The log
        warns of scores whose subjects the network was trained on only in part, and of a network
        that was never trained.

        Parameters
        ----------
        folder : path
            A bundle of this name is replaced; other files in the folder stay.
        scores : path or result of an evaluation, optional
            What :func:`~miscnn.evaluation.cross_validation` returned, a table of scores, or the
            path of a ``scores.tsv``. The card says where they are from: those of a
            cross-validation are of the networks of the folds. Subjects are numbered: their
            indices may be names of patients.
        name, description : str, optional
            For the model card.
        licence : str, optional
            What others may do with the network, such as "CC BY-NC 4.0". The card says loudly where
            it is not stated.
        colours : mapping or sequence of str, optional
            A colour for each class (by label, or by name if the data set has ``class_names``) or
            for all: ``{1: "#ff0000"}``. Names such as "orange", and red, green and blue as numbers
            0 … 1, will do, too. Default: those of this library's overlays.

        Raises
        ------
        ConfigurationError
            If the folder holds files of the bundle's names that belong to no bundle, or something
            cannot be written down.
        """
        from miscnn.neural_network.bundle import save

        save(
            self,
            folder,
            scores=scores,
            name=name,
            licence=licence,
            description=description,
            colours=colours,
        )


Neural_Network = NeuralNetwork


def _as_indices(indices: Sequence[str]) -> list[str]:
    if isinstance(indices, str):
        raise ConfigurationError(f"a list of indices is needed, got the string {indices!r}")
    return [str(index) for index in indices]
