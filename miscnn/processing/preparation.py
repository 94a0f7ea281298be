"""Preparing samples, and keeping them prepared."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from miscnn._configurable import serialize, to_json
from miscnn.data_loading.sample import Sample
from miscnn.processing.cache import SampleCache, fingerprint, source_fingerprint
from miscnn.processing.chain import run_chain, split_chain
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.subfunctions.base import PointwiseSubfunction, Subfunction

if TYPE_CHECKING:
    from miscnn.processing.preprocessor import Preprocessor

# Tells the stream of voxel positions from all others.
_POSITION_STREAM = 0x10C5


class PreparedSamples:
    """The samples of a data set after the expensive part of a recipe.

    Parameters
    ----------
    recipe : Preprocessor
        Says which subfunctions run, and where the results are kept.
    """

    def __init__(self, recipe: Preprocessor) -> None:
        self._recipe = recipe
        self._memory: dict[tuple[str, str], PreparedSample] = {}
        self._measured: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self._sources: dict[str, str] = {}
        self._lock = threading.Lock()

    def forget_sources(self) -> None:
        """Look at the source files again when a sample is asked for next."""
        self._sources.clear()

    def is_prepared(self, index: str) -> bool:
        """Tell whether a sample lies in the cache."""
        key = self._key(index)
        if self._recipe.cache == "memory":
            return (index, key) in self._memory
        return self._disk().path(index, key).is_dir()

    def prepared(self, index: str) -> PreparedSample:
        """Return a sample after the expensive part of the chain, from the cache if possible."""
        key = self._key(index)
        with self._lock:
            found = self._memory.get((index, key))
        if found is not None:
            return found
        if self._recipe.cache == "disk":
            found = self._disk().get(index, key)
        if found is None:
            found = self._make_prepared(index)
            if self._recipe.cache == "disk":
                found = self._disk().put(key, found)
        with self._lock:
            # Of samples on disk only the description is held; arrays are read when needed.
            return self._memory.setdefault((index, key), found)

    def _make_prepared(self, index: str) -> PreparedSample:
        head, _ = split_chain(self._recipe.subfunctions)
        self._recipe.check_fitted(head)
        sample, _ = run_chain(
            self._recipe.data.sample_loader(index, load_seg=True), head, training=True
        )
        name = np.frombuffer(index.encode(), dtype=np.uint8)
        rng = np.random.default_rng([_POSITION_STREAM, *map(int, name)])
        return PreparedSample.from_sample(sample, rng)

    def _key(self, index: str) -> str:
        head, _ = split_chain(self._recipe.subfunctions)
        source = self._sources.get(index)
        if source is None:
            source = self._sources[index] = source_fingerprint(self._recipe.data.interface, index)
        return fingerprint(source, [serialize(s) for s in head])

    def _disk(self) -> SampleCache:
        chunk = self._recipe.patch_shape if self._recipe.analysis.startswith("patchwise") else None
        return SampleCache(Path(self._recipe.data.batch_path) / "prepared", chunk)

    def measures(self, index: str) -> list[dict[str, Any]]:
        """Return what the pointwise end of the chain needs to know of the whole image."""
        prepared = self.prepared(index)
        _, tail = split_chain(self._recipe.subfunctions)
        self._recipe.check_fitted(tail)
        if not any(s.measures_image for s in tail):
            return [{} for _ in tail]
        key = self._key(index)
        tail_key = fingerprint([serialize(s) for s in tail])
        with self._lock:
            found = self._measured.get((index, key, tail_key))
        if found is None and self._recipe.cache == "disk":
            found = self._disk().measures(index, key, tail_key)
        if found is None:
            found = measure_tail(self.sample(prepared), tail)
            if self._recipe.cache == "disk":
                self._disk().put_measures(index, key, tail_key, found)
        with self._lock:
            return self._measured.setdefault((index, key, tail_key), found)

    def sample(self, prepared: PreparedSample) -> Sample:
        interface = self._recipe.data.interface
        image = np.asarray(prepared.image[...])
        sample = Sample(
            prepared.index, image, interface.channels, interface.classes, prepared.geometry
        )
        sample.segmentation = np.asarray(prepared.labels[...])[..., np.newaxis]
        return sample


class ReachingSamples(Sequence[Sample]):
    """The training samples as they reach one subfunction, each made when it is asked for."""

    def __init__(self, samples: PreparedSamples, indices: Sequence[str], position: int) -> None:
        self._samples = samples
        self._indices = list(indices)
        self._position = position

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, item: int) -> Sample: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Sample]: ...
    def __getitem__(self, item: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(item, slice):
            return [self[i] for i in range(*item.indices(len(self)))]
        index = self._indices[item]
        recipe = self._samples._recipe
        head, tail = split_chain(recipe.subfunctions)
        if self._position >= len(head):  # what stands before is prepared and kept
            sample = self._samples.sample(self._samples.prepared(index))
            before: list[Subfunction] = list(tail[: self._position - len(head)])
        else:
            sample = recipe.data.sample_loader(index, load_seg=True)
            before = head[: self._position]
        return run_chain(sample, before, training=True)[0]

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))


def measure_tail(sample: Sample, tail: Sequence[PointwiseSubfunction]) -> list[dict[str, Any]]:
    """Return, per pointwise subfunction, what it measures on an image that reaches it."""
    measures: list[dict[str, Any]] = [{} for _ in tail]
    for position, subfunction in enumerate(tail):
        if not any(s.measures_image for s in tail[position:]):
            break
        if subfunction.measures_image:
            measures[position] = dict(to_json(subfunction.measure(sample)))
        following = sample.copy()
        following.image = subfunction.transform(sample.image, measures[position])
        sample = following
    return measures
