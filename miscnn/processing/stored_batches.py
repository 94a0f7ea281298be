"""Batches that are made once and kept on disk."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path, write_json
from miscnn.processing.batches import Batch, BatchMaker

_log = logging.getLogger("miscnn.processing.stored_batches")


class StoredBatches:
    """The batches of one epoch on disk; every epoch takes them in another order.

    Parameters
    ----------
    maker : BatchMaker
        Makes the batches that are not there yet.
    folder : path
        Where they lie; named after everything that they depend on, so that a later run with
        the same recipe finds them.
    seed : int
        Orders the batches, with the number of the epoch.
    """

    def __init__(self, maker: BatchMaker, folder: str | Path, seed: int) -> None:
        self._folder = Path(folder)
        self._seed = seed
        self._maker = maker
        self._n = len(maker)
        complete = self._folder / "complete.json"
        if complete.is_file():
            return
        _log.info("storing %d batches in %s", self._n, self._folder)
        for number in range(self._n):
            self._store(number)
        write_json(complete, {"batches": self._n})

    def _store(self, number: int) -> None:
        for name, array in zip(("images", "labels"), self._maker.patches(0, number), strict=True):
            with atomic_path(self._file(name, number)) as temporary:
                np.save(temporary, array, allow_pickle=False)

    def _file(self, name: str, number: int) -> Path:
        return self._folder / f"{name}-{number:06d}.npy"

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self._n

    def batch(self, epoch: int, number: int) -> Batch:
        """Read a batch, as :meth:`BatchMaker.batch` returns it."""
        around, place = divmod(number, self._n)
        rng = np.random.default_rng([self._seed, epoch, around, self._n])
        chosen = int(rng.permutation(self._n)[place])
        try:
            images, labels = self._read(chosen)
        except (OSError, ValueError) as error:
            _log.warning("stored batch %d is made anew: %s", chosen, error)
            self._store(chosen)
            images, labels = self._read(chosen)
        return images, self._maker.targets(labels)

    def _read(self, number: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
        images = np.load(self._file("images", number), allow_pickle=False)
        return images, np.load(self._file("labels", number), allow_pickle=False)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
