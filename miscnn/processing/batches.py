"""Making batches: which patches, from where, and what is done to them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation.base import Augmentation
from miscnn.processing.patches import WindowGrid, cut, draw_start, round_up
from miscnn.processing.prepared import PreparedSample
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.slices import Positions, choose_slices, foreground_slices
from miscnn.processing.views import BoxView, SliceView

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]

# Stands for the epoch in the seed of validation batches, which are the same in every epoch.
_VALIDATION_EPOCH = 2**32 - 1

# An epoch, and how often it has gone through all items before.
Turn = tuple[int, int]

# Tells the stream of random slices from those of batches.
_SLICE_STREAM = 0x51CE


@dataclass(frozen=True)
class _Item:
    """One patch to be made: of which sample, and where unless that is drawn."""

    index: str
    start: tuple[int, ...] | None = None
    number: int = 0  # of the random slices of a volume


class BatchMaker:
    """Makes batches of patches, images or slices with their one-hot labels.

    Parameters
    ----------
    preprocessor : Preprocessor
        The recipe; fitted.
    indices : sequence of str
        Samples to make batches of.
    training : bool
        With augmentation, in another order every epoch, and with a last batch that is
        filled up. Otherwise the same batches every time, each item once.
    multiple : sequence of int, optional
        What the network's spatial axes must be a multiple of.

    Notes
    -----
    An epoch visits each item once: each sample with random crops, whole images and stacks of
    slices, each cell of the grid, each slice (or each random slice). Items are permuted from
    ``(seed, epoch)``; everything that is drawn for batch ``k`` comes from
    ``default_rng([seed, epoch, k])``, except for random slices of a 2D network, which are
    drawn for the epoch.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        indices: Sequence[str],
        training: bool,
        multiple: Sequence[int] | None = None,
    ) -> None:
        if not len(indices):
            raise ConfigurationError("there are no samples to make batches of")
        self._recipe = preprocessor
        self._training = training
        # Where the augmentation comes in the pointwise end of the chain; raises if it cannot.
        self._position = preprocessor.augmentation_position if training else 0
        self._multiple = tuple(multiple or (1,) * preprocessor.network_axes)
        preprocessor.prepare(indices)
        self._sources = {i: preprocessor.batch_source(i) for i in dict.fromkeys(indices)}
        self._common_shape = self._find_common_shape()
        # The name of MIScnn 1.x for how often an epoch shows each item, augmented anew.
        cycles = getattr(preprocessor.data_augmentation, "cycles", 1) if training else 1
        self._items = cycles * [
            item for i in indices for item in self._items_of(self._sources[i][0])
        ]
        # Neighbouring batches ask for the same one or two permutations.
        self._permutation = functools.lru_cache(maxsize=4)(self._draw_permutation)
        self._slice_choice = functools.cache(self._find_slices)
        self._drawn_slices = functools.lru_cache(maxsize=2 * len(self._sources))(self._choose_once)
        if not self._items:
            raise ConfigurationError(
                "all patches of all samples are blank: none holds a label other than "
                f"{preprocessor.patchwise_skip_class}; set patchwise_skip_blanks=False or look "
                "at the segmentations with DataIO.verify()"
            )

    @property
    def n_items(self) -> int:
        """Number of patches, images or slices in an epoch."""
        return len(self._items)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self._items) / self._recipe.batch_size)

    def batch(self, epoch: int, number: int) -> Batch:
        """Make a batch.

        Returns
        -------
        images : ndarray
            ``(batch, …, channels)`` float32.
        targets : ndarray
            What :meth:`targets` makes of the labels.
        """
        images, labels = self.patches(epoch, number)
        return images, self.targets(labels)

    def targets(self, labels: NDArray[Any]) -> NDArray[np.float32]:
        """Return what a network is to predict of integer labels.

        Returns
        -------
        ndarray
            ``(…, classes)`` float32, one-hot; 0 for all classes where a voxel has the data set's
            ``ignore_label``. If the recipe has regions ``(…, regions)``, 1 for each that a voxel
            belongs to, and −1 for all in place of the 0.
        """
        regions = self._recipe.regions
        if regions is None:
            return one_hot(labels, self.classes, self.ignore_label)
        return regions.encode(labels, self.ignore_label)

    def patches(self, epoch: int, number: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Make a batch with integer labels ``(batch, …)``."""
        epoch = epoch if self._training else _VALIDATION_EPOCH
        rng = np.random.default_rng([self._recipe.seed, epoch, number])
        augmentation = self._augmentation(rng)
        chosen = self._chosen(epoch, number)
        patches = [self._patch(item, rng, (epoch, turn), augmentation) for item, turn in chosen]
        images = np.stack([image for image, _ in patches])
        labels = np.stack([label for _, label in patches])
        return images, labels

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return self._recipe.classes

    @property
    def ignore_label(self) -> int | None:
        """Label of voxels that nobody has annotated."""
        return self._recipe.ignore_label

    def _augmentation(self, rng: np.random.Generator) -> Augmentation | None:
        """Decide whether a batch is augmented."""
        augmentation = self._recipe.data_augmentation
        if augmentation is None or not self._training:
            return None
        probability = augmentation.batch_probability(self._recipe.network_axes)
        return augmentation if probability >= 1 or rng.random() < probability else None

    def _chosen(self, epoch: int, number: int) -> list[tuple[_Item, int]]:
        """The items of a batch, each with how often the epoch has gone through all before."""
        size, n = self._recipe.batch_size, len(self._items)
        first = number * size
        if not self._training:
            first %= size * len(self)
            return [(item, 0) for item in self._items[first : first + size]]
        chosen = []
        for position in range(first, first + size):
            # Beyond the last item the epoch goes on with a new permutation.
            around, place = divmod(position, n)
            chosen.append((self._items[int(self._permutation(epoch, around)[place])], around))
        return chosen

    def _draw_permutation(self, epoch: int, around: int) -> NDArray[np.intp]:
        n = len(self._items)
        return np.random.default_rng([self._recipe.seed, epoch, around, n]).permutation(n)

    def _items_of(self, prepared: PreparedSample) -> list[_Item]:
        recipe = self._recipe
        if recipe.analysis in ("patchwise-crop", "fullimage", "slice-stack"):
            return [_Item(prepared.index)]
        if recipe.samples_slices:
            count = recipe.slices_per_volume or 0
            return [_Item(prepared.index, number=number) for number in range(count)]
        shape = prepared.geometry.shape
        window = self._window(prepared)
        overlap = recipe.window_overlap(window, prepared.geometry.slice_axis, prediction=False)
        if recipe.is_slicewise:
            # Within the slice a patch is drawn; across slices each has its turn.
            slices = range(prepared.geometry.n_slices)
            axis = prepared.geometry.slice_axis
            starts = [tuple(s if a == axis else 0 for a in range(len(shape))) for s in slices]
        elif recipe.analysis == "slicewise":  # 2D images are their own only slice
            return [_Item(prepared.index)]
        else:
            starts = list(WindowGrid(shape, window, overlap))
        if recipe.patchwise_skip_blanks:
            labels = np.asarray(prepared.labels[...])
            extent = self._extent(prepared, window)
            if self.ignore_label is not None:  # as blank as what is skipped
                ignored = labels == self.ignore_label
                labels = np.where(ignored, recipe.patchwise_skip_class, labels)
            starts = [
                s for s in starts if np.any(cut(labels, s, extent) != recipe.patchwise_skip_class)
            ]
        return [_Item(prepared.index, start) for start in starts]

    def _extent(self, prepared: PreparedSample, window: Sequence[int]) -> tuple[int, ...]:
        """What of the labels an item can show: the whole slice, or the window."""
        if not self._recipe.is_slicewise:
            return tuple(window)
        axis = prepared.geometry.slice_axis
        return tuple(1 if a == axis else n for a, n in enumerate(prepared.geometry.shape))

    def _window(self, prepared: PreparedSample) -> tuple[int, ...]:
        recipe = self._recipe
        axis = prepared.geometry.slice_axis
        if recipe.patch_shape is not None:
            return recipe.window_shape(prepared.geometry.shape, axis, self._multiple)
        common = list(self._common_shape)
        if recipe.is_slicewise:
            common.insert(axis, 1)
        return tuple(common)

    def _find_common_shape(self) -> tuple[int, ...]:
        """The shape that all whole images (or slices) are padded to: that of the largest."""
        shapes = []
        for prepared, _ in self._sources.values():
            shape = list(prepared.geometry.shape)
            if self._recipe.is_slicewise or self._recipe.is_stacked:
                del shape[prepared.geometry.slice_axis]
            shapes.append(shape)
        largest = np.max(shapes, axis=0)
        return round_up([int(n) for n in largest], self._multiple[: len(largest)])

    def _patch(
        self, item: _Item, rng: np.random.Generator, turn: Turn, augmentation: Augmentation | None
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        recipe = self._recipe
        prepared, measures = self._sources[item.index]
        view = self._view(item, prepared, rng, turn, augmentation)
        parameters: dict[str, Any] = {}
        margin: Sequence[int] = (0,) * len(view.shape)
        if augmentation is not None:
            channels, grid = prepared.image.shape[-1], view.grid(prepared.geometry)
            parameters = augmentation.sample_parameters(rng, view.shape, channels, grid)
            if parameters:
                margin = augmentation.margin(view.shape, parameters)
        image, labels = view.read(prepared, margin)
        image = recipe.transform_patch(image, measures, slice(self._position))
        if augmentation is not None and parameters:
            image, labels = augmentation.apply(image, labels, parameters, view.shape)
        return recipe.transform_patch(image, measures, slice(self._position, None)), labels

    def _view(
        self,
        item: _Item,
        prepared: PreparedSample,
        rng: np.random.Generator,
        turn: Turn,
        augmentation: Augmentation | None,
    ) -> BoxView | SliceView:
        """Say what of a sample an item shows, drawing what is left to chance."""
        if not (self._recipe.is_slicewise or self._recipe.is_stacked):
            window = self._window(prepared)
            return BoxView(self._start(item, prepared, window, rng), window)
        axis = prepared.geometry.slice_axis
        shape = tuple(n for a, n in enumerate(prepared.geometry.shape) if a != axis)
        window = self._plane_window(prepared)
        positions = self._slices(item, prepared, rng, turn, augmentation)
        start = draw_start(rng, shape, window)
        return SliceView(axis, positions, start, window, self._recipe.is_stacked)

    def _slices(
        self,
        item: _Item,
        prepared: PreparedSample,
        rng: np.random.Generator,
        turn: Turn,
        augmentation: Augmentation | None,
    ) -> Positions:
        if not self._recipe.samples_slices:
            start = item.start or (0,) * prepared.geometry.ndim
            return np.asarray([start[prepared.geometry.slice_axis]], dtype=np.float64)
        foreground, background = self._slice_choice(item.index)
        number = self._recipe.stack_size(self._multiple)
        available = foreground
        if augmentation is not None and len(foreground):
            # A slice is one of its own: among single slices none is skipped.
            wanted = number if self._recipe.is_stacked else len(foreground)
            available = augmentation.sample_slices(rng, foreground, wanted)
        if self._recipe.is_stacked:
            share = self._recipe.background_slices
            return choose_slices(rng, available, number, background, share)
        position = self._drawn_slices(item.index, turn)[item.number]
        beside = available[np.abs(available - position) < 0.5]
        return rng.choice(beside, 1) if len(beside) else np.asarray([position])

    def _choose_once(self, index: str, turn: Turn) -> Positions:
        """The random slices of a volume in one turn, whatever batches they end up in."""
        recipe = self._recipe
        place = list(self._sources).index(index)
        rng = np.random.default_rng([recipe.seed, *turn, _SLICE_STREAM, place])
        foreground, background = self._slice_choice(index)
        number = recipe.slices_per_volume or 1
        return choose_slices(rng, foreground, number, background, recipe.background_slices)

    def _find_slices(self, index: str) -> tuple[Positions, Positions]:
        """The slices with and without foreground."""
        prepared = self._sources[index][0]
        axis = prepared.geometry.slice_axis
        foreground = foreground_slices(np.asarray(prepared.labels[...]), axis, self.ignore_label)
        background = np.setdiff1d(np.arange(prepared.geometry.n_slices), foreground)
        return foreground.astype(np.float64), background.astype(np.float64)

    def _plane_window(self, prepared: PreparedSample) -> tuple[int, ...]:
        axis = prepared.geometry.slice_axis
        if self._recipe.is_stacked:
            return self._common_shape
        return tuple(n for a, n in enumerate(self._window(prepared)) if a != axis)

    def _start(
        self,
        item: _Item,
        prepared: PreparedSample,
        window: Sequence[int],
        rng: np.random.Generator,
    ) -> tuple[int, ...]:
        recipe = self._recipe
        shape = prepared.geometry.shape
        if item.start is not None:
            return item.start
        focus = None
        blank_allowed = not recipe.patchwise_skip_blanks
        if not blank_allowed or rng.random() < recipe.foreground_oversampling:
            without = 0 if blank_allowed else recipe.patchwise_skip_class
            focus = prepared.draw_foreground(rng, without)
        return draw_start(rng, shape, window, focus)


def one_hot(
    labels: NDArray[Any], classes: int, ignore_label: int | None = None
) -> NDArray[np.float32]:
    """Return ``(…, classes)`` float32 with a one at each label, and none at ``ignore_label``."""
    encoded = np.zeros((*labels.shape, classes), dtype=np.float32)
    ignored = None if ignore_label is None else labels == ignore_label
    if ignored is not None:
        labels = np.where(ignored, 0, labels)
    np.put_along_axis(encoded, labels[..., np.newaxis].astype(np.intp), 1.0, axis=-1)
    if ignored is not None:
        encoded[ignored] = 0.0
    return encoded
