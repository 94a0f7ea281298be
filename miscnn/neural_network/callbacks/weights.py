"""Which weights a training ends with, and whether it ends early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _checkpoint_file
from miscnn.neural_network.schedules import improves_by_falling


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Follows a logged value, in the epochs that log it, and knows the best one."""

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch: int | None = None

    def improves(self, epoch: int, value: float) -> bool:
        """Tell whether a value is better than all before, and remember it if so."""
        worse = self.best is not None and (
            value >= self.best if improves_by_falling(self.monitor) else value <= self.best
        )
        if worse or value != value:  # NaN is never better
            return False
        self.best, self.best_epoch = value, epoch
        return True

    def get_state(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class BestWeights(_Watch):
    """Keeps the weights of the best epoch.

    Parameters
    ----------
    monitor : str
        What is watched.
    path : path, optional
        File that the weights are kept in; else they are kept in memory.
    """

    def __init__(self, monitor: str = "val_loss", path: str | Path | None = None) -> None:
        super().__init__(monitor)
        self._path = None if path is None else Path(path)
        self._weights: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the weights if the value has improved."""
        value = (logs or {}).get(self.monitor)
        if value is None or not self.improves(epoch, value):
            return
        with averaged(self.model):
            if self._path is None:
                self._weights = self.model.get_weights()
            else:
                _checkpoint_file.write(
                    self._path,
                    {"monitor": self.monitor, **self.get_state()},
                    {"model": self.model.weights},
                )

    def restore(self, model: Any) -> None:
        """Give a model the best weights; if no epoch logged the value, it keeps its own."""
        if self.best is None:
            return
        if self._path is not None:
            _checkpoint_file.read(self._path).restore("model", model.weights)
        else:
            model.set_weights(self._weights)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned, or what the file says.

        A run that was killed right after it had written the file knows less than the file.
        """
        if self._path is not None and self._path.exists():
            state = _checkpoint_file.read(self._path).document
        super().set_state(state)


class EarlyStopping(_Watch):
    """Ends a training when a value has not improved for ``patience`` epochs that log it.

    Parameters
    ----------
    patience : int
        How many such epochs in a row.
    monitor : str
        Name of the logged value.
    """

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        super().__init__(monitor)
        self.patience = patience
        self._waited = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """End the training if the value has not improved for too long."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            return
        self._waited = 0 if self.improves(epoch, value) else self._waited + 1
        if self._waited >= self.patience:
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """Return the best value, its epoch and the epochs waited."""
        return {**super().get_state(), "waited": self._waited}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        super().set_state(state)
        self._waited = int(state["waited"])


class AveragedValidation(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets the validation see the averages of the weights, which a training ends with.

    Unlike Keras' SwapEMAWeights it gives the weights back exactly, and after an interruption too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._validation = ExitStack()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._validation.enter_context(averaged(self.model))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Give the weights back, however the validation ended."""
        self._validation.close()


def averages_weights(optimizer: Any) -> bool:
    """Tell whether an optimizer keeps moving averages of the weights."""
    return bool(_inner(optimizer).use_ema)


@contextmanager
def averaged(model: Any) -> Iterator[None]:
    """Let a model have the averages of its weights, if its optimizer keeps any."""
    optimizer = _inner(model.optimizer)
    if not optimizer.use_ema or not optimizer.built:
        yield
        return
    variables = model.trainable_variables
    own = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for variable, average in zip(variables, optimizer._model_variables_moving_average, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def _inner(optimizer: Any) -> Any:
    """Return the optimizer within one that scales losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)
