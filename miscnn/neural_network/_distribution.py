"""Training on several devices at once: each works on a share of the batch.

What a network needs to know of it is the interface of :class:`Distribution`, which is also the one
device that everything runs on otherwise.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._keras import keras, ops, tensorflow
from miscnn.exceptions import ConfigurationError

__all__ = ["Distribution", "as_distribution"]

_log = logging.getLogger("miscnn.neural_network.distribution")


class Distribution:
    """One device; the base of the others.

    Attributes
    ----------
    replicas : int
        Number of devices that share a batch.
    """

    replicas = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which networks and optimizers are made, compiled and loaded."""
        return nullcontext()

    def check(self, batch_size: int, optimizer: Any = None) -> None:
        """Raise ConfigurationError if batches cannot be shared, or the optimizer cannot be used."""
        if batch_size % self.replicas:
            below = batch_size - batch_size % self.replicas
            sizes = " or ".join(str(n) for n in (below, below + self.replicas) if n)
            raise ConfigurationError(
                f"batch_size is {batch_size}, which {self.replicas} devices cannot share evenly; "
                f"it is the size of the whole batch: take {sizes}"
            )

    def loss(self, loss: Any, classes: int, axes: int) -> Any:
        """Return the loss to compile: the one given, or one of the same value that can be shared.

        Parameters
        ----------
        loss : Keras loss, function or name
        classes, axes : int
            Number of classes, and of spatial axes, that the network predicts.
        """
        return loss

    def fit(self, model: Any, batches: Any, **options: Any) -> Any:
        """Train as ``model.fit(batches, **options)`` does, with the batches shared."""
        return model.fit(batches, **options)

    def predictor(self, model: Any) -> Callable[[Any], NDArray[Any]]:
        """Return a function that predicts a batch of any size.

        On TensorFlow it is compiled once for all sizes of images; Keras' own would be compiled
        anew for sizes it has not seen.
        """
        if keras.backend.backend() == "tensorflow":
            return _one_function(model)
        predict: Callable[[Any], NDArray[Any]] = model.predict_on_batch
        return predict


class Mirrored(Distribution):
    """A strategy of TensorFlow's that keeps a copy of the network on each device.

    Keras sums the gradients of the devices. What it does not do by itself is done here:

    - a loss that returns one number for a batch is divided by the number of devices;
    - gradients are clipped after they were summed, not before;
    - batch normalisation takes its statistics over the whole batch;
    - validation and prediction run on the first device, since their last batch may be smaller
      than the number of devices.
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.replicas = int(strategy.num_replicas_in_sync)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the strategy's scope."""
        scope: AbstractContextManager[Any] = self.strategy.scope()
        return scope

    def check(self, batch_size: int, optimizer: Any = None) -> None:
        """Refuse what cannot be shared."""
        super().check(batch_size, optimizer)
        innermost = getattr(optimizer, "inner_optimizer", optimizer)
        if getattr(innermost, "gradient_accumulation_steps", None):
            raise ConfigurationError(
                "gradients cannot be accumulated over batches on several devices with TensorFlow: "
                "Keras decides about the update where the devices cannot be joined; take a larger "
                "batch_size, one device, or the JAX backend"
            )

    def loss(self, loss: Any, classes: int, axes: int) -> Any:
        """Return the loss, as a mean over samples; refuse one whose samples depend on others."""
        if loss is None or isinstance(loss, (dict, list, tuple)):
            return loss
        loss = keras.losses.get(loss)
        if not _is_separable(loss, classes, axes):
            raise ConfigurationError(
                f"the loss {_name(loss)} takes the samples of a batch together (as "
                "reduction_axes='batch' does), but each device sees its own samples only, so the "
                "result would be another than on one device; take reduction_axes='sample', one "
                "device, or the JAX backend"
            )
        return PerSampleLoss(loss) if _is_scalar(loss, classes, axes) else loss

    def fit(self, model: Any, batches: Any, **options: Any) -> Any:
        """Train on all devices, validate on the first."""
        _clip_summed_gradients(model.optimizer)
        tf = tensorflow()
        step = tf.function(model.test_step, reduce_retracing=True)

        def evaluate(x: Any, callbacks: Any, **_: Any) -> dict[str, float]:
            model.reset_metrics()
            callbacks.on_test_begin()
            logs: dict[str, Any] = {}
            for number in range(len(x)):
                callbacks.on_test_batch_begin(number)
                # not within the scope: there the batch would be one device's share of another
                logs = step(tuple(tf.convert_to_tensor(part) for part in x[number]))
                callbacks.on_test_batch_end(number, logs)
            x.on_epoch_end()
            values = {name: float(value) for name, value in logs.items()}
            callbacks.on_test_end(values)
            return values

        with _synchronized(model), _replaced(model, "evaluate", evaluate):
            return model.fit(batches, **options)

    def predictor(self, model: Any) -> Callable[[Any], NDArray[Any]]:
        """Return a function that predicts on the first device.

        Keras' own would have every device predict the whole batch, and return it several times.
        """
        return _one_function(model)


class Parallel(Distribution):
    """A ``keras.distribution.DataParallel``, for JAX: one program, whose arrays are shared.

    JAX computes what one device would, whatever the loss, the clipping and the normalisation.
    Validation and prediction are not shared: each device does all of it.
    """

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution
        self.replicas = int(distribution.num_model_replicas)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the distribution's scope."""
        scope: AbstractContextManager[Any] = self.distribution.scope()
        return scope

    def fit(self, model: Any, batches: Any, **options: Any) -> Any:
        """Train on all devices; validate outside of the scope, with batches of any size."""
        if self.distribution.num_processes > 1:
            batches = _Share(batches, self.distribution)
        own = model.evaluate

        def evaluate(**given: Any) -> Any:
            shared = keras.distribution.distribution()
            keras.distribution.set_distribution(None)
            try:
                return own(**given)
            finally:
                keras.distribution.set_distribution(shared)

        with self.scope(), _replaced(model, "evaluate", evaluate):
            return model.fit(batches, **options)


@keras.saving.register_keras_serializable(package="miscnn")
class PerSampleLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss with one number for a batch, handed to each of its samples.

    Keras divides a mean over samples by the number of devices, a bare number it does not.

    Parameters
    ----------
    loss : Keras loss or function
    """

    def __init__(self, loss: Any) -> None:
        loss = keras.losses.get(loss)
        reduction = getattr(loss, "reduction", "sum_over_batch_size")
        super().__init__(name=_name(loss), reduction=reduction)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, ``(batch,)``."""
        return ops.broadcast_to(_values(self.loss, y_true, y_pred), (ops.shape(y_pred)[0],))

    def get_config(self) -> dict[str, Any]:
        """Return the argument of the constructor as JSON values."""
        return {"loss": keras.losses.serialize(self.loss)}


class _Share(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """This process's share of each batch."""

    def __init__(self, batches: Any, distribution: Any) -> None:
        super().__init__(
            workers=batches.workers,
            use_multiprocessing=batches.use_multiprocessing,
            max_queue_size=batches.max_queue_size,
        )
        self._batches = batches
        self._number, self._shares = distribution.data_shard_id, distribution.num_processes

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        batch = self._batches[number]
        size = len(batch[0]) // self._shares
        return tuple(part[self._number * size : (self._number + 1) * size] for part in batch)

    def on_epoch_begin(self) -> None:
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()


def as_distribution(value: Any) -> Distribution:
    """Return what a network's argument ``distribution`` stands for.

    Parameters
    ----------
    value : None, "mirrored", tf.distribute.Strategy or keras.distribution.DataParallel
        None: one device. "mirrored": all devices that TensorFlow or JAX sees. A strategy is for
        the TensorFlow backend, a ``DataParallel`` for JAX.

    Raises
    ------
    ConfigurationError
        If the backend cannot do it.
    """
    if isinstance(value, Distribution):
        return value
    if value is None:
        return Distribution()
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _on_tensorflow(value)
    if backend == "jax":
        return _on_jax(value)
    raise ConfigurationError(
        f"distribution is {value!r}, but Keras runs on {backend}, where networks train on one "
        "device only; set KERAS_BACKEND to tensorflow or jax, or leave distribution out"
    )


def _on_tensorflow(value: Any) -> Distribution:
    tf = tensorflow()
    if isinstance(value, str) and value == "mirrored":
        seen = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(seen) < 2:
            _log.info('distribution="mirrored" finds one device: %s', seen[0].name)
            return Distribution()
        value = _strategy(tuple(device.name for device in seen))
    several = tf.distribute.MultiWorkerMirroredStrategy
    if isinstance(value, tf.distribute.MirroredStrategy) and not isinstance(value, several):
        return Mirrored(value) if value.num_replicas_in_sync > 1 else Distribution()
    raise ConfigurationError(
        f"distribution is {value!r}; on TensorFlow it must be 'mirrored', a "
        "tf.distribute.MirroredStrategy or None. Several nodes are for the JAX backend"
    )


@functools.cache
def _strategy(devices: tuple[str, ...]) -> Any:
    """Return the one strategy for these devices.

    Two in one process number the messages between their devices alike, and take each other's.
    """
    return tensorflow().distribute.MirroredStrategy(list(devices))


def _on_jax(value: Any) -> Distribution:
    if isinstance(value, str) and value == "mirrored":
        value = keras.distribution.DataParallel(auto_shard_dataset=False)
    if isinstance(value, keras.distribution.DataParallel):
        return Parallel(value) if value.num_model_replicas > 1 else Distribution()
    raise ConfigurationError(
        f"distribution is {value!r}; on JAX it must be 'mirrored', a "
        "keras.distribution.DataParallel or None"
    )


def _one_function(model: Any) -> Callable[[Any], NDArray[Any]]:
    """Return a function that TensorFlow traces once, for all sizes that the model leaves open.

    It is not compiled by XLA, which would compile it for each size.
    """
    tf = tensorflow()

    def call(batch: Any) -> Any:
        return model(batch, training=False)

    inputs = getattr(model, "inputs", None)
    if inputs is not None and len(inputs) == 1:
        spec = tf.TensorSpec((None, *inputs[0].shape[1:]), inputs[0].dtype)
        function = tf.function(call, input_signature=[spec])
    else:  # a model that does not tell, before it is called, what it takes
        function = tf.function(call, reduce_retracing=True)

    def predict(batch: Any) -> NDArray[Any]:
        values: NDArray[Any] = function(tf.convert_to_tensor(batch)).numpy()
        return values

    predict.function = function  # type: ignore[attr-defined]  # how often it is traced is tested
    return predict


def _name(loss: Any) -> str:
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)


def _values(loss: Any, y_true: Any, y_pred: Any) -> Any:
    """Return what a loss computes before Keras reduces it."""
    return (
        loss.call(y_true, y_pred) if isinstance(loss, keras.losses.Loss) else loss(y_true, y_pred)
    )


def _trial(classes: int, axes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return one-hot truth and probabilities of two samples that differ as far as they can.

    The second has no foreground, and is predicted with more confidence.
    """
    if classes == 1:  # a region: one that is not everywhere
        return tuple(part[..., 1:] for part in _trial(2, axes))  # type: ignore[return-value]
    rng = np.random.default_rng(0)
    scores = rng.random((2, *(16,) * axes, classes), dtype=np.float32) + 0.1
    labels = rng.integers(classes, size=scores.shape[:-1])
    labels[1], scores[1] = 0, scores[1] ** 8
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    return one_hot, scores / scores.sum(axis=-1, keepdims=True)


def _is_separable(loss: Any, classes: int, axes: int) -> bool:
    """Tell whether the loss of a batch is the mean (or sum) of those of its samples."""
    truth, predicted = _trial(classes, axes)

    def value(samples: slice) -> float:
        values = loss(
            ops.convert_to_tensor(truth[samples]), ops.convert_to_tensor(predicted[samples])
        )
        values = ops.convert_to_numpy(values)
        return float(values.sum() if summed else values.mean())

    summed = getattr(loss, "reduction", "mean") in ("sum", "none", None)
    parts = [value(slice(0, 1)), value(slice(1, 2))]
    return bool(np.isclose(value(slice(0, 2)), np.sum(parts) if summed else np.mean(parts), 1e-4))


def _is_scalar(loss: Any, classes: int, axes: int) -> bool:
    truth, predicted = map(ops.convert_to_tensor, _trial(classes, axes))
    return not np.shape(ops.convert_to_numpy(_values(loss, truth, predicted)))


def _clip_summed_gradients(optimizer: Any) -> None:
    """Have an optimizer that clips sum the gradients of the devices first.

    Keras clips what each device found, and sums then. (The method that is replaced is not a public
    one of Keras: an optimizer without it is refused.)
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    clips = optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue
    if not clips or "apply" in vars(optimizer):
        return
    if not hasattr(optimizer, "_all_reduce_sum_gradients"):
        raise ConfigurationError(
            f"gradients cannot be clipped on several devices with Keras {keras.__version__} and "
            f"{type(optimizer).__name__}; leave the clipping out, or use one device"
        )
    tf = tensorflow()
    apply = optimizer.apply

    def apply_sums(grads: Any, trainable_variables: Any = None) -> Any:
        context = tf.distribute.get_replica_context()
        if context is not None:
            known = [grad for grad in grads if grad is not None]
            sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
            grads = [None if grad is None else next(sums) for grad in grads]
        return apply(grads, trainable_variables)

    optimizer._all_reduce_sum_gradients = list
    optimizer.apply = apply_sums


@contextmanager
def _synchronized(model: Any) -> Iterator[None]:
    """Let batch normalisation take its statistics over all devices.

    Only as long as it trains: a network saved with this switched on cannot be read on other
    backends.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
    ]
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False


@contextmanager
def _replaced(model: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of one model."""
    setattr(model, name, function)
    try:
        yield
    finally:
        delattr(model, name)
