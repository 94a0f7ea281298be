"""Preparing samples, and keeping them prepared."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from miscnn._configurable import to_json
from miscnn.data_loading.sample import Sample
from miscnn.processing.cache import (
    SampleCache,
    codes_of,
    fingerprint,
    recipe_fingerprint,
    source_fingerprint,
)
from miscnn.processing.chain import as_expected, run_chain, split_chain
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.subfunctions._blockwise import transformed
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
        self._kept: dict[str, tuple[str, PreparedSample]] = {}
        self._measured: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self._sources: dict[str, str] = {}
        self._codes: dict[str, str] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Travel without what is held in memory: another process reads or prepares it itself.

        What a script has defined arrives there without its source, which is part of the key.
        """
        codes = codes_of(self._recipe.subfunctions)
        return {"_recipe": self._recipe, "_codes": self._codes, "_of": (os.getpid(), codes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_recipe"])  # type: ignore[misc]  # it begins anew
        process, codes = state["_of"]
        # A copy in the same process has the source, and its user may write it anew.
        self._codes = {**({} if process == os.getpid() else codes), **state["_codes"]}

    def forget_sources(self) -> None:
        """Look at the source files again when a sample is asked for next."""
        self._sources.clear()

    def is_prepared(self, index: str) -> bool:
        """Tell whether a sample lies in the cache."""
        key = self._key(index)
        return self._held(index, key) is not None or (
            self._recipe.cache == "disk" and self._disk().path(index, key).is_dir()
        )

    def _held(self, index: str, key: str) -> PreparedSample | None:
        """The sample, or the description of the one on disk, if this process has it."""
        with self._lock:
            held_key, held = self._kept.get(index, ("", None))
        if held_key != key:
            return None
        if self._recipe.cache == "disk" and not self._disk().path(index, key).is_dir():
            return None  # somebody has cleaned up
        return held

    def prepared(self, index: str) -> PreparedSample:
        """Return a sample after the expensive part of the chain, from the cache if possible."""
        key = self._key(index)
        found = self._held(index, key)
        if found is not None:
            return found
        if self._recipe.cache == "disk":
            found = self._disk().get(index, key)
        if found is None:
            found = self._make_prepared(index)
            if self._recipe.cache == "disk":
                found = self._disk().put(key, found)
        with self._lock:
            # Of samples on disk only the description is kept; arrays are read when needed. Of
            # samples in memory the last preparation is kept, and older ones are let go.
            self._kept[index] = (key, found)
        return found

    def _make_prepared(self, index: str) -> PreparedSample:
        head, _ = split_chain(self._recipe.subfunctions)
        self._recipe.check_fitted(head)
        sample, _ = run_chain(self.load(index), head, training=True)
        sample.check_labels()
        name = np.frombuffer(index.encode(), dtype=np.uint8)
        rng = np.random.default_rng([_POSITION_STREAM, *map(int, name)])
        return PreparedSample.from_sample(sample, rng)

    def load(self, index: str) -> Sample:
        """Load a sample with its segmentation, as the first subfunction gets it.

        Whether labels are classes is looked at after the chain, which may map them.
        """
        sample = self._recipe.data.sample_loader(index, load_seg=True, check_classes=False)
        return self._recipe.oriented(sample)

    def _key(self, index: str) -> str:
        head, _ = split_chain(self._recipe.subfunctions)
        source = self._sources.get(index)
        if source is None:
            source = self._sources[index] = source_fingerprint(self._recipe.data.interface, index)
        return fingerprint(
            source, [recipe_fingerprint(s, self._codes) for s in head], self._recipe.slice_axis
        )

    def _disk(self) -> SampleCache:
        recipe = self._recipe
        chunk: Sequence[int] | Literal["slices"] | None = None
        if recipe.analysis.startswith("patchwise"):
            chunk = recipe.patch_shape
        elif recipe.is_slicewise or recipe.is_stacked:
            chunk = "slices"
        return SampleCache(Path(recipe.data.batch_path) / "prepared", chunk)

    def measures(self, index: str) -> list[dict[str, Any]]:
        """Return what the pointwise end of the chain needs to know of the whole image."""
        prepared = self.prepared(index)
        _, tail = split_chain(self._recipe.subfunctions)
        self._recipe.check_fitted(tail)
        if not any(s.measures_image for s in tail):
            return [{} for _ in tail]
        key = self._key(index)
        tail_key = fingerprint([recipe_fingerprint(s, self._codes) for s in tail])
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
        """Return a prepared sample with its arrays in memory."""
        interface = self._recipe.data.interface
        image = np.asarray(prepared.image[...])
        sample = Sample(
            prepared.index,
            image,
            interface.channels,
            interface.classes,
            prepared.geometry,
            prepared.details,
            ignore_label=interface.ignore_label,
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
            sample = self._samples.load(index)
            before = head[: self._position]
        return run_chain(sample, before, training=True)[0]

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))


def measure_tail(
    sample: Sample, tail: Sequence[PointwiseSubfunction], head: Sequence[Subfunction] = ()
) -> list[dict[str, Any]]:
    """Return, per pointwise subfunction, what it measures on an image that reaches it.

    ``head`` are those that the sample has been through.
    """
    measures: list[dict[str, Any]] = [{} for _ in tail]
    for position, subfunction in enumerate(tail):
        if not any(s.measures_image for s in tail[position:]):
            break
        given = as_expected(sample, subfunction, [*head, *tail[:position]])
        if subfunction.measures_image:
            measures[position] = dict(to_json(subfunction.measure(given)))
        if any(s.measures_image for s in tail[position + 1 :]):
            transform = functools.partial(subfunction.transform, measures=measures[position])
            following = sample.copy()
            following.image = given.image
            following.image = transformed(following, transform)
            sample = following
    return measures
