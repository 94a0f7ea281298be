"""Trainings that go on where they were interrupted.

The folder of a training holds

- ``last.npz``: from the beginning on, and after finished epochs, everything that the rest of the
  training depends on: variables of the network (states of its random numbers included) and of
  the optimizer, number of the epoch (batches depend on seed, epoch and their number alone),
  learning rate, state of the callbacks, values logged, what was learned from the training subjects;
- ``best.npz``: the variables of the network after the best epoch, if there is a validation;
- ``history.tsv``: the values logged.

Nobody goes on with a training whose subjects' files hold something else by now (``_sources.py``).

Files are renamed into place when they are complete: a process can be killed at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from miscnn._configurable import json_values
from miscnn._files import remove_leftovers
from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _checkpoint_file
from miscnn.neural_network._checkpoint_file import CheckpointFile
from miscnn.neural_network._recipe import differences_of, different_subjects
from miscnn.neural_network._sources import Sources

__all__ = ["BEST", "LAST", "Checkpoints", "SavesCheckpoints"]

LAST = "last.npz"
BEST = "best.npz"


class Checkpoints:
    """The folder of a training.

    Parameters
    ----------
    folder : path
    call : mapping
        What decides the result of the training, as JSON values.
    sources : Sources, optional
        The files of the subjects. Default: they are not looked at.
    """

    def __init__(
        self, folder: str | Path, call: Mapping[str, Any], sources: Sources | None = None
    ) -> None:
        self.folder = Path(folder)
        self._call = dict(call)
        self._sources = sources
        self._fingerprints: dict[str, Any] | None = None

    @property
    def best(self) -> Path:
        """The file of the best weights."""
        return self.folder / BEST

    def discard(self) -> None:
        """Take an earlier training away."""
        for name in (LAST, BEST):
            (self.folder / name).unlink(missing_ok=True)

    def read(self) -> CheckpointFile | None:
        """Return where the training was interrupted; None if it never came to a checkpoint.

        Raises
        ------
        ConfigurationError
            If the folder is that of another training; it names every difference.
        DamagedFileError
            If the file is damaged.
        """
        remove_leftovers(self.folder)
        path = self.folder / LAST
        if not path.exists():
            self.best.unlink(missing_ok=True)
            return None
        saved = _checkpoint_file.read(path)
        before, now = dict(saved.document["call"]), dict(self._call)
        files = (
            []
            if self._sources is None
            else self._sources.differences(saved.document.get("sources"))
        )
        differences = [
            difference
            for who in ("training", "validation")
            for difference in different_subjects(who, before.pop(who) or [], now.pop(who) or [])
        ] + differences_of("", before, now)
        if files and not differences:
            raise ConfigurationError(
                f"{self.folder} holds a training on other data: {files[0]}. Begin anew with "
                "resume=False, or delete that folder, or choose another checkpoint_path; or give "
                "the files of then back"
            )
        differences += files
        if differences:
            raise ConfigurationError(
                f"{self.folder} holds another training: "
                f"{'; '.join(difference.lstrip('.') for difference in differences)}. Go on with "
                "the settings of then, choose another checkpoint_path, or begin anew with "
                "resume=False"
            )
        return saved

    def write(
        self, model: Any, document: Mapping[str, Any], groups: Mapping[str, Sequence[Any]]
    ) -> None:
        """Write the state of a model and its optimizer, and what else there is to remember."""
        _checkpoint_file.write(
            self.folder / LAST,
            {"call": self._call, "sources": self._fingerprinted(), **document},
            {"model": model.variables, "optimizer": model.optimizer.variables, **groups},
        )

    def _fingerprinted(self) -> dict[str, Any]:
        """Return what the first checkpoint of this process has found the files to be."""
        if self._fingerprints is None:
            who = [*self._call["training"], *(self._call["validation"] or ())]
            self._fingerprints = {} if self._sources is None else self._sources.fingerprints(who)
        return self._fingerprints


# Keras' EarlyStopping turns the sign of min_delta round in the first epoch of each process.
_NO_STATE = ("_model", "model", "params", "min_delta")


def _state(callback: Any) -> dict[str, Any]:
    """Return what a callback remembers: its own word for it, or all its plain values."""
    if hasattr(callback, "get_state"):
        state: dict[str, Any] = callback.get_state()
        return state
    return json_values({k: v for k, v in vars(callback).items() if k not in _NO_STATE})


def _arrays(callback: Any) -> dict[str, list[Any]]:
    """Return the lists of arrays that a callback of Keras' keeps, such as its best weights."""
    if hasattr(callback, "get_state"):
        return {}
    return {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value)
    }


def _give_back(callback: Any, state: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    for name, value in {**state, **arrays}.items():
        setattr(callback, name, value)


class SavesCheckpoints(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Writes a checkpoint every so many epochs, when all other callbacks are done with the epoch.

    It also hands the others what they remembered, when they have made their beginning.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        callbacks: Sequence[Any],
        document: Mapping[str, Any],
        every: int = 1,
        saved: CheckpointFile | None = None,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._callbacks = list(callbacks)
        self._document = dict(document)
        self._every = every
        self._saved = saved
        self.epochs = 0 if saved is None else int(saved.document["epochs"])
        self._stopped = saved is not None and bool(saved.document["stopped"])

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._saved is None:
            self.write(self.model)
            return
        states = self._saved.document["callbacks"]
        for number, (callback, state) in enumerate(zip(self._callbacks, states, strict=True)):
            prefix = f"callback-{number}-"
            arrays = {
                group.removeprefix(prefix): values
                for group, values in self._saved.groups.items()
                if group.startswith(prefix)
            }
            _give_back(callback, state, arrays)
        self._saved = None  # its arrays are large

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs = epoch + 1
        # Ended by a callback or the clock: whoever comes back must not train on.
        self._stopped = bool(self.model.stop_training)
        last = self._stopped or self.epochs == self.params["epochs"]
        if last or self.epochs % self._every == 0:
            self.write(self.model)

    def write(self, model: Any) -> None:
        """Write a checkpoint now."""
        document = {
            **self._document,
            "epochs": self.epochs,
            "stopped": self._stopped,
            "callbacks": [_state(callback) for callback in self._callbacks],
        }
        groups = {
            f"callback-{number}-{name}": values
            for number, callback in enumerate(self._callbacks)
            for name, values in _arrays(callback).items()
        }
        self._checkpoints.write(model, document, groups)
