"""The recipe as a Keras data set."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.processing.batches import Batch, BatchMaker
from miscnn.processing.cache import fingerprint, source_fingerprint
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.stored_batches import StoredBatches


class DataGenerator(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Hands batches to Keras.

    What a batch holds depends on the seed, the epoch and the number of the batch, never on
    which of how many threads makes it. The threads are its own: those of Keras keep batches of
    a look that Keras takes before the first epoch, and hand them out in another order then (seen
    on PyTorch), or make none ahead.

    Parameters
    ----------
    sample_list : sequence of str
        Indices of the samples.
    preprocessor : Preprocessor
        The recipe; fitted.
    training : bool
        Make training batches: augmented, in another order every epoch.
    validation : bool
        Make validation batches: the same ones every epoch, without augmentation.
    iterations : int, optional
        Number of batches in an epoch. Default: as many as it takes to see every item once.
    multiple : sequence of int, optional
        What the network's spatial axes must be a multiple of.
    workers, max_queue_size : int
        Number of loading threads (0: the calling thread) and of batches made ahead.
    first_epoch : int
        Number of the first epoch, for a training that goes on.
    """

    def __init__(
        self,
        sample_list: Sequence[str],
        preprocessor: Preprocessor,
        training: bool = True,
        validation: bool = False,
        iterations: int | None = None,
        *,
        multiple: Sequence[int] | None = None,
        workers: int = 1,
        max_queue_size: int = 4,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(max_queue_size=max_queue_size)
        if isinstance(sample_list, str):
            raise ConfigurationError(
                f"sample_list must be a list of indices, got the string {sample_list!r}"
            )
        training = training and not validation
        maker = BatchMaker(preprocessor, sample_list, training, multiple)
        self._batches: BatchMaker | StoredBatches = maker
        if preprocessor.prepare_batches and training:
            self._batches = _stored(maker, sample_list, preprocessor, multiple)
        self._iterations = iterations
        self._epoch = first_epoch
        self.failure: Exception | None = None
        """Why no batch could be made, which a backend tells in words of its own."""
        self._threads = workers
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[Batch]] = {}
        self._lock = Lock()  # TensorFlow asks from a thread of its own

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self._iterations or len(self._batches)

    def __getitem__(self, number: int) -> Batch:
        """Return a batch: images ``(b, …, c)`` and one- or multi-hot labels ``(b, …, outputs)``."""
        try:
            return self._made(number)
        except Exception as error:
            self.failure = error
            raise

    def _made(self, number: int) -> Batch:
        if not self._threads:
            return self._batches.batch(self._epoch, number)
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "miscnn-batches")
            end = min(number + 1 + self.max_queue_size, len(self))
            for wanted in range(number, max(end, number + 1)):
                if wanted not in self._pending:
                    self._pending[wanted] = self._pool.submit(
                        self._batches.batch, self._epoch, wanted
                    )
            batch = self._pending.pop(number)
        return batch.result()

    def on_epoch_end(self) -> None:
        """Go on to the next epoch; Keras calls this when no batch is under way."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._pending.clear()
            self._epoch += 1
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _stored(
    maker: BatchMaker,
    indices: Sequence[str],
    preprocessor: Preprocessor,
    multiple: Sequence[int] | None,
) -> StoredBatches:
    data_io = preprocessor.data_io
    assert data_io is not None  # the maker has read from it
    sources = [source_fingerprint(data_io.interface, index) for index in indices]
    key = fingerprint(preprocessor.get_config(), sources, list(indices), list(multiple or ()))
    folder = Path(data_io.batch_path) / f"batches-{key}"
    return StoredBatches(maker, folder, preprocessor.seed)
