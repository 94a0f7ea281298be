"""The recipe from samples to batches, and from network output back to label maps."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn._configurable import from_json, serialize, to_json
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, NotFittedError
from miscnn.processing._engines import prepared_by_engine
from miscnn.processing.augmentation.base import Augmentation
from miscnn.processing.augmentation.general import GeneralAugmentation
from miscnn.processing.blocks import Block
from miscnn.processing.chain import (
    Step,
    augmentation_position,
    run_chain,
    split_chain,
    undo_chain,
)
from miscnn.processing.network_view import Analysis, NetworkView
from miscnn.processing.preparation import PreparedSamples, ReachingSamples, measure_tail
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.regions import Regions, as_regions
from miscnn.processing.slices import check_slices, mean_gap
from miscnn.processing.subfunctions.base import Subfunction
from miscnn.processing.way_back import way_back

_log = logging.getLogger("miscnn.processing.preprocessor")

Cache = Literal["disk", "memory"]

# Tells the stream of fitting from those of batches.
_FIT_STREAM = 0x0F17

_EVERYTHING = slice(None)
_SLICES_PER_STACK = 16  # the robust-CT-segmentation paper's


class Preprocessor(NetworkView):
    """Turns samples into batches, and network output back into predictions.

    Parameters
    ----------
    data_io : DataIO or None
        The data set. None only for a recipe that is to predict new files later.
    batch_size : int
        Number of patches (or images, or slices) in a batch.
    subfunctions : sequence of Subfunction
        Operations on whole samples, in this order. They are copied: what they learn stays
        with this preprocessor.
    data_aug : Augmentation, "general" or None
        Random changes during training; "general" is :class:`GeneralAugmentation` with its
        defaults.
    prepare_subfunctions : bool, optional
        Name of MIScnn 1.x: True is ``cache="disk"``, False is ``cache="memory"``.
    prepare_batches : bool
        Make the batches of one epoch beforehand, store them on disk, and go through them in
        another order every epoch. Augmentation and positions are then drawn once only.
    analysis : {"patchwise-crop", "patchwise-grid", "fullimage", "slicewise", "slice-stack"}
        What the network sees: patches at random positions; all patches of a grid; whole
        images; single slices of volumes across their slice axis (a 2D network); or stacks of
        ``slices_per_volume`` slices from all over the volume (a 3D network, whose last axis
        is across the slices whatever the file's order is).
    patch_shape : sequence of int, optional
        Shape of a patch in voxels *after* the subfunctions. Required for both patch-wise
        modes; for "slicewise" the shape within the slice, whole slices without it. Stacks have
        whole slices: make them smaller with ``Resize((128, 128))``.
    use_multiprocessing : bool
        Name of MIScnn 1.x, without effect: loading uses threads, which need no guard of the
        main module.
    seed : int
        Everything random is drawn from it. The batch ``k`` of epoch ``e`` depends on
        ``(seed, e, k)`` alone.
    cache : {"disk", "memory"}
        Where prepared samples are kept.
    patchwise_overlap : sequence of int, optional
        Least overlap of neighbouring windows in voxels, in prediction and in grids. Default:
        half of the patch in prediction, none in training.
    patchwise_skip_blanks : bool
        Leave out training patches that hold nothing but ``patchwise_skip_class``.
    patchwise_skip_class : int
    foreground_oversampling : float
        Share of the random patches that are laid over a random voxel of a random foreground
        class of their subject, 0 … 1.
    slice_axis : int, optional
        Array axis across the slices. Default: that of each scan's geometry.
    slices_per_volume : int, optional
        With "slice-stack" (default 16) or "slicewise" (default: every slice once): train on so
        many random foreground slices of each volume in an epoch, in ascending order, drawn
        anew every epoch; volumes with fewer repeat some. Prediction covers every slice.
        (The robust-CT-segmentation paper, Sci Rep 2020, s41598-020-67544-y: 16 slices.)
    background_slices : float
        Share of these slices that is drawn from those without foreground, 0 … 1. The paper
        takes none; a network that is to find an organ in a whole scan should see some.
    slice_gap : int, optional
        Distance of neighbours in the stacks of a prediction, in slices. Default: learned by
        :meth:`fit`, the mean distance of the random slices over the training subjects.
    regions : Regions or mapping of str to sequence of int, optional
        Let the network predict overlapping unions of labels, ``{"whole tumour": (1, 2, 3),
        "tumour core": (2, 3), "enhancing": (3,)}``, larger ones first, each with a probability of
        its own (sigmoid), in place of exclusive classes. Segmentations and predictions stay label
        maps (:class:`~miscnn.processing.regions.Regions`).
    workers : int
        Number of threads that prepare samples.

    Attributes
    ----------
    subfunctions : list of Subfunction
    data_augmentation : Augmentation or None
    """

    def __init__(
        self,
        data_io: DataIO | None,
        batch_size: int,
        subfunctions: Iterable[Subfunction] = (),
        data_aug: Augmentation | Literal["general"] | None = "general",
        prepare_subfunctions: bool | None = None,
        prepare_batches: bool = False,
        analysis: Analysis = "patchwise-crop",
        patch_shape: Sequence[int] | None = None,
        use_multiprocessing: bool = False,
        *,
        seed: int = 0,
        cache: Cache = "disk",
        patchwise_overlap: Sequence[int] | None = None,
        patchwise_skip_blanks: bool = False,
        patchwise_skip_class: int = 0,
        foreground_oversampling: float = 1 / 3,
        slice_axis: int | None = None,
        slices_per_volume: int | None = None,
        background_slices: float = 0.0,
        slice_gap: int | None = None,
        regions: Regions | Mapping[str, int | Sequence[int]] | None = None,
        workers: int = 2,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value}")
        if seed < 0:
            raise ConfigurationError(f"seed must not be negative, got {seed}")
        if analysis not in get_args(Analysis):
            raise ConfigurationError(
                f"analysis {analysis!r} is unknown; use one of {', '.join(get_args(Analysis))}"
            )
        if analysis.startswith("patchwise") and patch_shape is None:
            raise ConfigurationError(
                f'analysis="{analysis}" needs patch_shape, such as (96, 96, 96); '
                'for images that fit into memory as a whole use analysis="fullimage"'
            )
        for name, share in (
            ("foreground_oversampling", foreground_oversampling),
            ("background_slices", background_slices),
        ):
            if not 0.0 <= share <= 1.0:
                raise ConfigurationError(f"{name} is a share, 0 … 1; got {share}")
        if analysis == "slice-stack" and slices_per_volume is None:
            slices_per_volume = _SLICES_PER_STACK
        check_slices(analysis, slices_per_volume, patch_shape)
        self.data_io = data_io
        self.batch_size = batch_size
        self.subfunctions = [copy.deepcopy(s) for s in subfunctions]
        self.data_augmentation = _as_augmentation(data_aug)
        self.prepare_batches = prepare_batches
        self.analysis: Analysis = analysis
        whole = patch_shape is None or analysis == "fullimage"
        self.patch_shape = None if whole else tuple(int(n) for n in patch_shape or ())
        self.use_multiprocessing = use_multiprocessing
        self.seed = seed
        if prepare_subfunctions is not None:
            cache = "disk" if prepare_subfunctions else "memory"
        if cache not in get_args(Cache):
            raise ConfigurationError(f'cache must be "disk" or "memory", got {cache!r}')
        self.cache: Cache = cache
        self.patchwise_overlap: Sequence[int] | None = patchwise_overlap
        self.patchwise_skip_blanks = patchwise_skip_blanks
        self.patchwise_skip_class = patchwise_skip_class
        self.foreground_oversampling = foreground_oversampling
        self.slice_axis = slice_axis
        self.slices_per_volume = slices_per_volume
        self.background_slices = background_slices
        if slice_gap is not None and slice_gap < 1:
            raise ConfigurationError(f"slice_gap must be at least 1, got {slice_gap}")
        self.slice_gap = slice_gap
        self._learned_gap: int | None = None
        self.regions = as_regions(regions)
        self.workers = workers
        self._samples = PreparedSamples(self)
        self._fitted = not any(s.needs_fit for s in self.subfunctions) and not (
            self.is_stacked and slice_gap is None
        )
        for subfunction in self.subfunctions:
            serialize(subfunction)  # what cannot be written down is refused now, not at the end
        if data_io is not None:
            self._check_data()

    # ------------------------------------------------------------------ configuration

    def get_config(self) -> dict[str, Any]:
        """Return the recipe as JSON values: everything but the data set."""
        return {
            "batch_size": self.batch_size,
            "subfunctions": [serialize(s) for s in self.subfunctions],
            "data_aug": to_json(self.data_augmentation),
            "prepare_batches": self.prepare_batches,
            "analysis": self.analysis,
            "patch_shape": to_json(self.patch_shape),
            "seed": self.seed,
            "cache": self.cache,
            "patchwise_overlap": to_json(self.patchwise_overlap),
            "patchwise_skip_blanks": self.patchwise_skip_blanks,
            "patchwise_skip_class": self.patchwise_skip_class,
            "foreground_oversampling": self.foreground_oversampling,
            "slice_axis": self.slice_axis,
            "slices_per_volume": self.slices_per_volume,
            "background_slices": self.background_slices,
            "slice_gap": self.slice_gap,
            "regions": to_json(self.regions),
            "workers": self.workers,
            "slice_gap_learned": self._learned_gap,
            "fitted": self._fitted,
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        data_io: DataIO | None = None,
        custom_objects: Mapping[str, type] | None = None,
    ) -> Preprocessor:
        """Make the recipe again from what :meth:`get_config` returned."""
        arguments = dict(config)
        fitted = bool(arguments.pop("fitted", False))
        gap = arguments.pop("slice_gap_learned", None)
        made = cls(data_io, **from_json(arguments, custom_objects))
        made._fitted = made._fitted or fitted
        made._learned_gap = gap
        return made

    def check_windows(self, multiple: Sequence[int]) -> None:
        """Raise ConfigurationError if patch shape and overlap do not fit the data.

        Called before a training, so that they do not fail at the prediction after it.
        """
        self._check_data()
        _ = self.augmentation_position  # raises where the order of the chain is wrong
        axes = 3 if self.three_dim else 2
        shape = (64,) * axes  # any image will do
        slice_axis = axes - 1
        self.window_overlap(self.window_shape(shape, slice_axis, multiple), slice_axis, True)

    # ------------------------------------------------------------------ fitting

    def oriented(self, sample: Sample) -> Sample:
        """Return a sample whose slices lie where this recipe says."""
        result = sample.copy()
        if self.slice_axis is not None:
            result.geometry = sample.geometry.with_slice_axis(self.slice_axis)
        return result

    def get_statistics(self) -> list[dict[str, Any]] | None:
        """Return what the subfunctions have learned; None if they have yet to learn."""
        if not self._fitted:
            return None
        return [*(s.get_state() for s in self.subfunctions), {"slice_gap": self._learned_gap}]

    def set_statistics(self, statistics: Sequence[Mapping[str, Any]]) -> None:
        """Take over what :meth:`get_statistics` returned."""
        *states, own = statistics
        for subfunction, state in zip(self.subfunctions, states, strict=True):
            if subfunction.get_state() != state:
                subfunction.set_state(state)
        self._learned_gap = own["slice_gap"]
        self._fitted = True

    @property
    def fitted(self) -> bool:
        """Whether everything that learns from the training set has learned."""
        return self._fitted

    def fit(self, indices: Sequence[str], verbose: int = 0) -> Preprocessor:
        """Let the subfunctions learn from training samples, and from these only.

        Parameters
        ----------
        indices : sequence of str
            The training samples.
        """
        for position, subfunction in enumerate(self.subfunctions):
            if subfunction.needs_fit:
                rng = np.random.default_rng([self.seed, _FIT_STREAM, position])
                subfunction.fit(ReachingSamples(self._samples, indices, position), rng)
        self._fitted = True
        if self.is_stacked and self.slice_gap is None:
            self._learned_gap = self._measure_gap(indices)
        return self

    def _measure_gap(self, indices: Sequence[str]) -> int:
        self.prepare(indices)
        gaps = []
        for index in dict.fromkeys(indices):
            prepared = self.prepared(index)
            labels = np.asarray(prepared.labels[...])
            size = self.slices_per_volume or 1
            axis = prepared.geometry.slice_axis
            gaps.append(mean_gap(labels, axis, size, self.ignore_label))
        return max(1, round(float(np.median(gaps))))

    def check_fitted(self, subfunctions: Sequence[Subfunction]) -> None:
        """Raise NotFittedError if one of the subfunctions has yet to learn."""
        if not self._fitted and any(s.needs_fit and not s.get_state() for s in subfunctions):
            raise NotFittedError(
                "the subfunctions have learned nothing yet: call fit(training_indices) or train"
            )

    # ------------------------------------------------------------------ preparing

    def prepare(self, indices: Sequence[str], verbose: int = 0) -> None:
        """Run the expensive part of the chain on samples that are not prepared yet.

        It takes ``workers`` threads; or, with ``cache="disk"``, the processes that joblib is
        configured to use: ``joblib.parallel_config("loky", n_jobs=8)``, or
        ``joblib.parallel_config("dask")`` for a cluster, whose workers must see data and
        ``batch_path`` under the same paths. With ``cache="memory"`` it takes threads in any case:
        what another process holds in memory does not help this one.

        Parameters
        ----------
        indices : sequence of str
        verbose : int
            0 shows no progress bar.
        """
        self._check_data()
        self._samples.forget_sources()  # files may have changed since the last call
        missing = [i for i in dict.fromkeys(indices) if not self._samples.is_prepared(i)]
        if not missing:
            return
        for _ in tqdm(
            prepared_by_engine(self, self._samples, missing),
            total=len(missing),
            desc="preparing",
            unit="sample",
            disable=not verbose,
            leave=False,
        ):
            pass

    def prepared(self, index: str) -> PreparedSample:
        """Return a sample after the expensive part of the chain, from the cache if possible."""
        return self._samples.prepared(index)

    def batch_source(self, index: str) -> tuple[PreparedSample, list[dict[str, Any]]]:
        """Return what batches are cut from: the prepared sample and its measures."""
        return self._samples.prepared(index), self._samples.measures(index)

    def transform_patch(
        self,
        image: NDArray[Any],
        measures: Sequence[Mapping[str, Any]],
        part: slice = _EVERYTHING,
    ) -> NDArray[np.float32]:
        """Run the pointwise end of the chain, or a part of it, on a part of an image."""
        _, tail = split_chain(self.subfunctions)
        result = np.asarray(image, dtype=np.float32)
        for subfunction, measure in list(zip(tail, measures, strict=True))[part]:
            result = subfunction.transform(result, measure)
        return np.asarray(result, dtype=np.float32)

    @property
    def augmentation_position(self) -> int:
        """How many subfunctions of the pointwise end run before the augmentation.

        See :func:`~miscnn.processing.chain.augmentation_position`.
        """
        return augmentation_position(self.subfunctions, self.data_augmentation)

    # ------------------------------------------------------------------ prediction

    def prepare_prediction(self, sample: Sample) -> tuple[Sample, list[Step], list[dict[str, Any]]]:
        """Run the chain on a sample that is to be predicted.

        Returns
        -------
        sample : Sample
            After the expensive part of the chain.
        steps : list of Step
            For :meth:`postprocessing`.
        measures : list of dict
            For :meth:`transform_patch`.
        """
        head, tail = split_chain(self.subfunctions)
        self.check_fitted(self.subfunctions)
        given = self.oriented(sample)
        given.segmentation = None
        result, steps = run_chain(given, head, training=False)
        return result, steps, measure_tail(result, tail, head)

    def postprocessing(
        self,
        sample: Sample,
        steps: Sequence[Step],
        probabilities: NDArray[np.float32],
        activation_output: bool = False,
    ) -> NDArray[Any]:
        """Take probabilities on the prepared grid back to the grid of the sample.

        Returns
        -------
        ndarray
            Label map, or probabilities ``(…, outputs)`` if ``activation_output``.
        """
        head, _ = split_chain(self.subfunctions)
        return undo_chain(sample, head, steps, probabilities, activation_output, self.regions)

    def way_back(
        self,
        sample: Sample,
        steps: Sequence[Step],
        finished: Iterable[Block],
        covered: Sequence[slice],
        *,
        probabilities: bool,
        slabs: bool = False,
    ) -> Iterator[Block]:
        """Take blocks that become final on the prepared grid back to the grid of the sample.

        The same as :meth:`postprocessing` without holding more than a part; see
        :func:`~miscnn.processing.way_back.way_back`.
        """
        head, _ = split_chain(self.subfunctions)
        return way_back(
            sample,
            head,
            steps,
            finished,
            covered,
            self.outputs,
            probabilities=probabilities,
            regions=self.regions,
            slabs=slabs,
        )

    def __repr__(self) -> str:
        chain = " -> ".join(type(s).__name__ for s in self.subfunctions) or "no subfunctions"
        patch = f" {self.patch_shape}" if self.patch_shape else ""
        return f"Preprocessor({chain}, {self.analysis}{patch}, batch size {self.batch_size})"


def _as_augmentation(
    value: Augmentation | Literal["general"] | None,
) -> Augmentation | None:
    if value is None:
        return None
    if value == "general" and isinstance(value, str):
        return GeneralAugmentation()
    if not isinstance(value, Augmentation):
        raise ConfigurationError(
            f'data_aug must be an Augmentation, "general" or None, got {value!r}'
        )
    return copy.deepcopy(value)
