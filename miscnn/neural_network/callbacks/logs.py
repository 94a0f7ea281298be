"""What a training writes down while it runs."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.history import History

__all__ = ["EpochLog", "TSVLog", "learning_rate_of", "tensorboard_callback"]

_SECONDS = "seconds"
_RATE = "learning_rate"


def learning_rate_of(model: Any) -> float | None:
    """Return the learning rate that a model's optimizer has now; None without an optimizer."""
    rate = getattr(getattr(model, "optimizer", None), _RATE, None)
    return None if rate is None else float(ops.convert_to_numpy(rate))


class EpochLog(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Collects what each epoch logs, with the learning rate at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, float]] = []

    @property
    def history(self) -> History:
        """All epochs so far; NaN where an epoch did not log a value."""
        names = dict.fromkeys(name for row in self._rows for name in row)
        return History({n: [row.get(n, math.nan) for row in self._rows] for n in names})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Take the values of an epoch."""
        row = {name: float(value) for name, value in (logs or {}).items()}
        rate = learning_rate_of(self.model)
        if rate is not None:
            row.setdefault(_RATE, rate)
        self._rows.append(row)

    def get_state(self) -> dict[str, Any]:
        """Return what a training that goes on needs."""
        return {"epochs": [dict(row) for row in self._rows]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        self._rows = [dict(row) for row in state["epochs"]]


class TSVLog(EpochLog):
    """Writes a table of all epochs after each epoch.

    The table is that of :meth:`~miscnn.neural_network.history.History.to_tsv`, read by
    ``History.from_tsv``, with two columns more: the learning rate at the end of the epoch, and
    how long the epoch took, validation included, in ``seconds``. The file is complete at any
    moment. Values that an epoch does not log are ``nan``.

    Parameters
    ----------
    path : path
        File to write. Of an older one nothing stays, unless the training goes on from a checkpoint.

    Attributes
    ----------
    history : History
        All epochs so far.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._start = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Note when an epoch begins."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Take the values of an epoch, and write the file."""
        super().on_epoch_end(epoch, logs)
        self._rows[-1][_SECONDS] = round(time.monotonic() - self._start, 3)
        self.history.to_tsv(self._path)


def tensorboard_callback(folder: str | Path) -> Any:
    """Return a callback that logs the values of every epoch for TensorBoard.

    Values of the training and of the validation go to two runs, ``train`` and ``validation``, so
    that one diagram shows both: ``epoch_loss``, ``epoch_learning_rate`` and so on. No graph, no
    histograms, nothing per batch: a few kilobytes. Look at them with ``tensorboard --logdir
    folder``.

    Parameters
    ----------
    folder : path
        Where the events go; another folder for each training.

    Returns
    -------
    keras.callbacks.TensorBoard

    Raises
    ------
    ConfigurationError
        If the package ``tensorboard`` is not installed.
    """
    for package in ("tensorboard", "tensorflow"):
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"logs for TensorBoard need the package {package}, which is not installed: "
                "pip install 'miscnn[tensorboard]'"
            )
    return _EpochTensorBoard(
        log_dir=str(folder),
        histogram_freq=0,
        write_graph=False,
        write_images=False,
        write_steps_per_second=False,
        update_freq="epoch",
        profile_batch=0,
    )


class _EpochTensorBoard(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """Without the values that an epoch has not got."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        known = {
            name: value
            for name, value in (logs or {}).items()
            # A loss that is no number is worth seeing; volumes are validated now and then.
            if not (name.startswith("val_volume_") and math.isnan(value))
        }
        super().on_epoch_end(epoch, known)
