"""Predicting images window by window."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import boxes_of, release, trim
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._ahead import ahead, closing
from miscnn.neural_network._mirroring import Network, mirrored
from miscnn.neural_network._roi import Box, whole
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.blocks import Block
from miscnn.processing.merging import WindowMerger, WindowWeight
from miscnn.processing.patches import cut, round_up
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.slices import plane_axes, slice_groups, take_slices

__all__ = ["Network", "predict_blocks", "predict_probabilities"]

_Chunk = list[Any]

# Of many classes a batch is large: the next one is then not made before the last one is merged.
_MOST_AHEAD = 128 << 20


def predict_blocks(
    network: Network,
    recipe: Preprocessor,
    prepared: Sample,
    measures: Sequence[Mapping[str, Any]],
    multiple: Sequence[int],
    *,
    settings: PredictionSettings | None = None,
    region: Box | None = None,
    axis: int = 0,
) -> Iterator[Block]:
    """Predict a prepared image with overlapping windows, part by part.

    Windows are cut, predicted and merged at the same time, each by a thread of its own.

    Parameters
    ----------
    network : callable
        Takes a batch ``(b, …, channels)`` float32, returns probabilities
        ``(b, …, classes)`` of the same spatial shape.
    recipe : Preprocessor
        Says how large the windows are and what is done to their intensities.
    prepared : Sample
        From :meth:`Preprocessor.prepare_prediction`, like ``measures``. Its image may be
        memory-mapped.
    multiple : sequence of int
        What the network's spatial axes must be a multiple of. Images are padded to it, and
        the padding is cut off again.
    settings : PredictionSettings, optional
        Overlap, weight, mirroring, size of batches. ``foreground`` is for the caller to look at.
    region : tuple of slice, optional
        The box of the prepared image that windows cover; where they reach beyond it they see
        what is there. Default: all of it.
    axis : int
        Axis along which the windows move (outermost). Stacks of slices move across the slices.

    Yields
    ------
    Block
        Final probabilities ``(…, classes)`` float32. Together they are the region.
    """
    settings = PredictionSettings() if settings is None else settings
    settings.check_axes(recipe.network_axes)
    network = mirrored(
        network, settings.mirror_axes, settings.combine, exclusive=recipe.regions is None
    )
    box = whole(prepared.geometry.shape) if region is None else region
    work = _Stacks if recipe.is_stacked else _Windows
    yield from work(recipe, prepared, measures, multiple, settings, box, axis).run(network)


def predict_probabilities(
    network: Network,
    preprocessor: Preprocessor,
    sample: Sample,
    measures: Sequence[Mapping[str, Any]],
    multiple: Sequence[int],
    weight: WindowWeight = "gaussian",
) -> NDArray[np.float32]:
    """Predict a prepared image as a whole, in memory.

    Parameters
    ----------
    network, preprocessor, sample, measures, multiple
        As in :func:`predict_blocks`.
    weight : {"gaussian", "constant"}
        Weight of the voxels of a window in the mean of overlapping windows.

    Returns
    -------
    ndarray
        Probabilities ``(…, classes)`` float32 on the grid of the prepared image.
    """
    settings = PredictionSettings(window_weight=weight)
    result: NDArray[np.float32] | None = None
    for block in predict_blocks(
        network, preprocessor, sample, measures, multiple, settings=settings
    ):
        if result is None:
            channels = block.values.shape[-1]
            result = np.empty((*sample.geometry.shape, channels), dtype=np.float32)
        result[block.box] = block.values
    assert result is not None  # a grid has at least one window
    return result


class _Work:
    """One image, cut into what a network takes."""

    def __init__(
        self,
        recipe: Preprocessor,
        prepared: Sample,
        measures: Sequence[Mapping[str, Any]],
        multiple: Sequence[int],
        settings: PredictionSettings,
        region: Box,
        axis: int,
    ) -> None:
        self.recipe = recipe
        self.image = prepared.image
        self.geometry = prepared.geometry
        self.measures = measures
        self.multiple = multiple
        self.settings = settings
        self.region = region
        self.axis = axis
        self.fill = _least(prepared.image)

    def run(self, network: Network) -> Iterator[Block]:
        """Predict everything and yield what becomes final."""
        with contextlib.ExitStack() as open_streams:
            batches = open_streams.enter_context(closing(ahead(self.batches())))
            outputs: Iterator[Any] = ((chunk, _run(network, batch)) for chunk, batch in batches)
            is_large = self.batch_bytes() > _MOST_AHEAD
            if not is_large:
                outputs = ahead(outputs)
            open_streams.enter_context(closing(outputs))
            for chunk, output in outputs:
                yield from self.merge(chunk, output)
                del output  # before the next one is made
                if is_large:
                    trim()

    def batches(self) -> Iterator[tuple[_Chunk, NDArray[np.float32]]]:
        raise NotImplementedError

    def merge(self, chunk: _Chunk, output: NDArray[Any]) -> Iterator[Block]:
        raise NotImplementedError

    def patch(self, image: NDArray[Any]) -> NDArray[np.float32]:
        return self.recipe.transform_patch(image, self.measures)

    def batch_size(self, number: int) -> int:
        """Return the size of all batches: a network is compiled for one shape of them."""
        return min(self.settings.batch_size or self.recipe.batch_size, number)

    def batch_bytes(self) -> int:
        """Return the size of what the network makes of a batch."""
        raise NotImplementedError


class _Windows(_Work):
    """Windows of a grid, which may be single slices."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.grid = self.recipe.prediction_grid(
            self.geometry.shape,
            self.geometry.slice_axis,
            self.multiple,
            self.settings.overlap,
            self.region,
        )
        self.slice_axis = self.geometry.slice_axis if self.recipe.is_slicewise else None
        self.merger: WindowMerger | None = None

    def batches(self) -> Iterator[tuple[_Chunk, NDArray[np.float32]]]:
        size = self.batch_size(len(self.grid))
        starts = iter(self.grid.along(self.axis))
        row: int | None = None
        while chunk := list(itertools.islice(starts, size)):
            windows = [
                self.patch(cut(self.image, start, self.grid.window, self.fill)) for start in chunk
            ]
            windows += [windows[-1]] * (size - len(chunk))
            batch = np.stack(windows)
            if self.slice_axis is not None:
                batch = batch.squeeze(self.slice_axis + 1)
            release(self.image)  # what was read of it
            if row != (row := chunk[-1][self.axis]):
                trim()
            yield chunk, batch

    def batch_bytes(self) -> int:
        size = self.batch_size(len(self.grid))
        return 4 * size * math.prod(self.grid.window) * self.recipe.outputs

    def merge(self, chunk: _Chunk, output: NDArray[Any]) -> Iterator[Block]:
        if self.slice_axis is not None:
            output = np.expand_dims(output, self.slice_axis + 1)
        if self.merger is None:
            weight = self.settings.window_weight
            self.merger = WindowMerger(self.grid, output.shape[-1], weight)
        for start, values in zip(chunk, output, strict=False):
            yield from self.merger.add(start, values)


class _Stacks(_Work):
    """Stacks of slices of a volume; slices in several stacks get their mean.

    The slices of a stack lie as far apart as those that the network was trained on.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.slice_axis = self.geometry.slice_axis
        plane = plane_axes(self.geometry.ndim, self.slice_axis)
        self.plane = [self.region[a] for a in plane]
        extent = [part.stop - part.start for part in self.plane]
        self.window = round_up(extent, self.multiple[:2])
        before = [(w - n) // 2 for w, n in zip(self.window, extent, strict=True)]
        self.start = [part.start - b for part, b in zip(self.plane, before, strict=True)]
        self.within = tuple(slice(b, b + n) for b, n in zip(before, extent, strict=True))
        slices = self.region[self.slice_axis]
        self.first, count = slices.start, slices.stop - slices.start
        depth = self.recipe.stack_size(self.multiple)
        self.groups = slice_groups(count, depth, self.recipe.stack_gap)
        self.left = np.bincount(np.concatenate(self.groups), minlength=count)
        self.count = self.left.astype(np.float32)
        self.sums: dict[int, NDArray[np.float32]] = {}

    def batches(self) -> Iterator[tuple[_Chunk, NDArray[np.float32]]]:
        size = self.batch_size(len(self.groups))
        for number in range(0, len(self.groups), size):
            chunk = self.groups[number : number + size]
            stacks = [self.patch(self.stack(group + self.first)) for group in chunk]
            stacks += [stacks[-1]] * (size - len(chunk))
            release(self.image)
            yield chunk, np.stack(stacks)

    def batch_bytes(self) -> int:
        size, depth = self.batch_size(len(self.groups)), len(self.groups[0])
        return 4 * size * depth * math.prod(self.window) * self.recipe.outputs

    def stack(self, slices: NDArray[np.intp]) -> NDArray[Any]:
        stack = take_slices(self.image, self.slice_axis, slices, blend=True)
        return cut(stack, self.start, self.window, self.fill)

    def merge(self, chunk: _Chunk, output: NDArray[Any]) -> Iterator[Block]:
        for group, values in zip(chunk, output, strict=False):
            inside = np.asarray(values[self.within], dtype=np.float32)
            for place, number in enumerate(group.tolist()):
                if number in self.sums:
                    self.sums[number] += inside[:, :, place]
                else:
                    self.sums[number] = inside[:, :, place].copy()
                self.left[number] -= 1
                if not self.left[number]:
                    mean = self.sums.pop(number)
                    mean /= self.count[number]
                    start = [part.start for part in self.plane]
                    start.insert(self.slice_axis, self.first + number)
                    yield Block(tuple(start), np.expand_dims(mean, self.slice_axis))


def _least(image: NDArray[Any]) -> NDArray[Any]:
    """Return the minimum of each channel: the value outside of the image."""
    least = np.array(image[(0,) * (image.ndim - 1)])
    for box in boxes_of(image):
        found = np.asarray(image[box]).min(axis=tuple(range(image.ndim - 1)))
        least[box[-1]] = np.minimum(least[box[-1]], found)
        release(image[box])
    return least


def _run(network: Network, batch: NDArray[np.float32]) -> NDArray[Any]:
    output = np.asarray(network(batch))
    if output.shape[:-1] != batch.shape[:-1]:
        raise ConfigurationError(
            f"the network returned shape {output.shape} for an input of {batch.shape}; both "
            "must have the same spatial shape. Does its required_multiple tell the truth?"
        )
    return output
