"""The contract of losses, put to the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._keras import compile_ahead, keras, ops
from miscnn.exceptions import ContractError

_Array = NDArray[np.floating[Any]]


def check_loss(
    loss: Any,
    n_classes: int = 3,
    dimensions: Sequence[int] = (2, 3),
    *,
    seed: int = 0,
    custom_objects: dict[str, Any] | None = None,
) -> None:
    """Put a loss through what training needs of it.

    Checked are, in 2D and 3D: value and gradient are finite for any probabilities, exact 0
    and 1, classes that are absent, of one voxel, and all over included; a perfect
    prediction costs least and has the same cost as its mirror image; the gradient is that of
    the value (finite differences); float16 probabilities of a large region give the same
    value; serialised to JSON and back, the loss is the same. A loss with the option
    ``ignore_unlabelled`` is asked whether voxels without a label count nowhere: neither value
    nor gradient changes with what is predicted there, and a batch of nothing else costs 0.

    Parameters
    ----------
    loss : keras.losses.Loss or callable
        Called with one-hot truth and probabilities ``(batch, x, y[, z], classes)``.
    n_classes : int
        For losses with one weight per class.
    dimensions : sequence of int
        2, 3 or both.
    seed : int
        Of the probabilities.
    custom_objects : dict, optional
        What Keras must know to deserialise the loss if it is not registered.

    Raises
    ------
    ContractError
        Names the promise that is broken. It is an AssertionError.

    Examples
    --------
    >>> from miscnn.neural_network.losses import Dice
    >>> check_loss(Dice(), dimensions=(2,))
    """
    check = _Check(loss, n_classes, seed)
    check.check_half_precision()
    for number in dimensions:
        check.check_extremes((4,) * number)
        check.check_perfect((4,) * number)
        check.check_gradient((3,) * number)
        check.check_unlabelled((4,) * number)
    check.check_serialisation(custom_objects or {})


class LossGradient:
    """The derivative of a loss's value with respect to the probabilities.

    Works with all backends of Keras: the probabilities are offset by weights of value 0, and one
    step of gradient descent with learning rate 1 leaves the negative gradient in them.

    Parameters
    ----------
    loss : keras.losses.Loss or callable
    shape : tuple of int
        Of the probabilities, batch axis included.
    traced : bool
        Trace the loss once: slower for a few arrays, faster for many.

    Attributes
    ----------
    value : float
        The loss at the last call.
    """

    value: float

    def __init__(self, loss: Any, shape: tuple[int, ...], traced: bool = False) -> None:
        self._offset = _Offset(shape)
        inputs = keras.Input(batch_shape=shape)
        self._model = keras.Model(inputs, self._offset(inputs))
        self._model.compile(
            keras.optimizers.SGD(1.0),
            loss,
            run_eagerly=not traced,
            jit_compile=compile_ahead() if traced else False,
        )

    def __call__(self, y_true: _Array, y_pred: _Array) -> _Array:
        """Return the gradient at ``y_pred``, in its shape."""
        self._offset.set_weights([np.zeros(y_pred.shape, dtype=np.float32)])
        self.value = float(self._model.train_on_batch(y_pred, y_true))
        gradient: _Array = -np.array(self._offset.get_weights()[0])
        return gradient


class _Offset(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    def __init__(self, weight_shape: tuple[int, ...]) -> None:
        super().__init__(dtype="float32")
        self.offset = self.add_weight(shape=weight_shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs + self.offset


class _Check:
    def __init__(self, loss: Any, n_classes: int, seed: int) -> None:
        self.loss = loss
        self.n_classes = n_classes
        self.rng = np.random.default_rng(seed)

    def require(self, kept: bool, promise: str) -> None:
        if not kept:
            name = getattr(self.loss, "name", getattr(self.loss, "__name__", repr(self.loss)))
            raise ContractError(f"{name}: {promise}")

    def value(
        self, y_true: _Array, y_pred: _Array, loss: Callable[..., Any] | None = None
    ) -> float:
        loss = self.loss if loss is None else loss
        return float(np.mean(ops.convert_to_numpy(loss(y_true, y_pred))))

    def truth(self, shape: tuple[int, ...]) -> _Array:
        """Two samples of labels in which every class occurs, one-hot."""
        labels = self.rng.integers(self.n_classes, size=(2, *shape))
        labels.reshape(2, -1)[:, : self.n_classes] = np.arange(self.n_classes)
        return self.one_hot(labels)

    def one_hot(self, labels: NDArray[np.integer[Any]]) -> _Array:
        one_hot: _Array = np.eye(self.n_classes, dtype=np.float32)[labels]
        return one_hot

    def probabilities(self, shape: tuple[int, ...]) -> _Array:
        """Probabilities between about 0.1 and 0.8, far from any kink."""
        raw = self.rng.uniform(0.3, 1.0, size=(2, *shape, self.n_classes))
        probabilities: _Array = (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)
        return probabilities

    def check_extremes(self, shape: tuple[int, ...]) -> None:
        one_voxel = np.zeros((2, *shape), dtype=np.int64)
        one_voxel.reshape(2, -1)[:, 0] = self.n_classes - 1
        truths = {
            "random labels": self.truth(shape),
            "background only": self.one_hot(np.zeros((2, *shape), dtype=np.int64)),
            "one voxel of the last class": self.one_hot(one_voxel),
            "the last class everywhere": self.one_hot(
                np.full((2, *shape), self.n_classes - 1, dtype=np.int64)
            ),
        }
        gradient_of = LossGradient(self.loss, truths["random labels"].shape)
        for name, y_true in truths.items():
            predictions = {
                "equal to the truth": y_true,
                "1 for the wrong class": np.roll(y_true, 1, axis=-1),
                "0 for all classes": np.zeros_like(y_true),
                "1 for all classes": np.ones_like(y_true),
                "random": self.probabilities(shape),
                "1e-30 beside 1": np.where(y_true > 0, np.float32(1e-30), np.float32(1.0)),
            }
            for how, y_pred in predictions.items():
                case = f"for {name} and probabilities {how}, {len(shape)}D"
                value = self.value(y_true, y_pred)
                self.require(bool(np.isfinite(value)), f"the value is {value} {case}")
                gradient = gradient_of(y_true, y_pred)
                self.require(
                    bool(np.isfinite(gradient).all()), f"the gradient is not finite {case}"
                )

    def check_perfect(self, shape: tuple[int, ...]) -> None:
        y_true = self.truth(shape)
        perfect = self.value(y_true, y_true)
        others = {
            "half of everything": (0.5 * y_true + 0.5 / self.n_classes).astype(np.float32),
            "the wrong class": np.roll(y_true, 1, axis=-1),
            "random probabilities": self.probabilities(shape),
        }
        for how, y_pred in others.items():
            value = self.value(y_true, y_pred)
            self.require(
                perfect < value,
                f"a perfect prediction costs {perfect:.6g}, {how} only {value:.6g}",
            )
        y_pred = self.probabilities(shape)
        value = self.value(y_true, y_pred)
        mirrored = self.value(y_true[::-1, ::-1], y_pred[::-1, ::-1])
        self.require(
            bool(np.isclose(value, mirrored, rtol=1e-5)),
            f"the value changes from {value:.6g} to {mirrored:.6g} when samples are handed over in "
            "another order and mirrored",
        )

    def check_gradient(self, shape: tuple[int, ...]) -> None:
        y_true, y_pred = self.truth(shape), self.probabilities(shape)
        gradient = LossGradient(self.loss, y_pred.shape)(y_true, y_pred)
        for _ in range(3):
            # Values are float32 only: many small errors of one sign do not cancel along a
            # direction that goes with the gradient at half of the voxels.
            direction = np.sign(gradient) * (self.rng.random(y_pred.shape) < 0.5)
            direction = direction.astype(np.float32)
            told = float(np.sum(gradient * direction, dtype=np.float64))
            # The longer step suffers less from rounding, the shorter one crosses no kink.
            measured = [self.slope(y_true, y_pred, direction, step) for step in (1e-2, 1e-3)]
            self.require(
                any(np.isclose(told, slope, rtol=2e-2, atol=1e-4) for slope in measured),
                f"the gradient along a direction is {told:.6g}, finite differences give "
                f"{measured[0]:.6g} ({len(shape)}D)",
            )

    def slope(self, y_true: _Array, y_pred: _Array, direction: _Array, step: float) -> float:
        """Return the derivative along a direction, by central differences."""
        ahead = self.value(y_true, y_pred + np.float32(step) * direction)
        behind = self.value(y_true, y_pred - np.float32(step) * direction)
        return (ahead - behind) / (2 * step)

    def check_unlabelled(self, shape: tuple[int, ...]) -> None:
        if not (hasattr(self.loss, "ignore_unlabelled") and hasattr(self.loss, "with_options")):
            return
        loss = self.loss.with_options(ignore_unlabelled=True)
        y_true, y_pred = self.truth(shape), self.probabilities(shape)
        without = self.rng.random(y_true.shape[:-1]) < 0.4
        y_true[without] = 0
        changed = y_pred.copy()
        changed[without] = np.roll(y_pred, 1, axis=-1)[without]
        value, other = self.value(y_true, y_pred, loss), self.value(y_true, changed, loss)
        self.require(
            bool(np.isclose(value, other, rtol=1e-6)),
            f"with ignore_unlabelled=True the value changes from {value:.6g} to {other:.6g} with "
            f"what is predicted in voxels without a label ({len(shape)}D)",
        )
        gradient_of = LossGradient(loss, y_pred.shape)
        self.require(
            not gradient_of(y_true, y_pred)[without].any(),
            f"with ignore_unlabelled=True voxels without a label have a gradient ({len(shape)}D)",
        )
        nothing = np.zeros_like(y_true)
        value = self.value(nothing, y_pred, loss)
        still = not gradient_of(nothing, y_pred).any()
        self.require(
            value == 0 and still,
            f"with ignore_unlabelled=True a batch without any label costs {value:.6g}"
            f"{'' if still else ' and has a gradient'}; expected 0 and none ({len(shape)}D)",
        )

    def check_half_precision(self) -> None:
        labels = np.zeros((1, 512, 512), dtype=np.int64)  # more voxels than float16 can count
        labels[:, :100, :100] = 1
        y_true = self.one_hot(labels)
        y_pred = np.float32(0.75) * y_true + np.float32(0.25 / self.n_classes)
        half = y_pred.astype(np.float16)
        exact = self.value(y_true, half.astype(np.float32))
        value = self.value(y_true.astype(np.float16), half)
        self.require(
            bool(np.isclose(value, exact, rtol=1e-3)),
            f"with float16 probabilities the value is {value:.6g}, expected {exact:.6g}; sum in "
            "float32",
        )

    def check_serialisation(self, custom_objects: dict[str, Any]) -> None:
        document = json.loads(json.dumps(keras.losses.serialize(self.loss)))
        try:
            remade = keras.losses.deserialize(document, custom_objects)
        except (TypeError, ValueError):
            remade = None
        self.require(
            type(remade) is type(self.loss),
            "it cannot be made again from its configuration; register it with "
            "keras.saving.register_keras_serializable or hand it in as custom object, and let "
            "the constructor take what get_config() returns",
        )
        self.require(
            json.loads(json.dumps(keras.losses.serialize(remade))) == document,
            "made again from its configuration, it has another one",
        )
        y_true, y_pred = self.truth((4, 4)), self.probabilities((4, 4))
        one, other = self.value(y_true, y_pred), self.value(y_true, y_pred, remade)
        self.require(
            one == other, f"made again from its configuration, it gives {other}, not {one}"
        )
