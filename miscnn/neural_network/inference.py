"""Predicting images window by window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.patches import WindowMerger, WindowWeight, cut, round_up
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.slices import plane_axes, slice_groups, take_slices

Network = Callable[[NDArray[np.float32]], NDArray[Any]]


def predict_probabilities(
    network: Network,
    preprocessor: Preprocessor,
    sample: Sample,
    measures: Sequence[Mapping[str, Any]],
    multiple: Sequence[int],
    weight: WindowWeight = "gaussian",
) -> NDArray[np.float32]:
    """Predict a prepared image with overlapping windows.

    Parameters
    ----------
    network : callable
        Takes a batch ``(b, …, channels)`` float32, returns probabilities
        ``(b, …, classes)`` of the same spatial shape.
    preprocessor : Preprocessor
        Says how large the windows are and what is done to their intensities.
    sample : Sample
        From :meth:`Preprocessor.prepare_prediction`, like ``measures``.
    multiple : sequence of int
        What the network's spatial axes must be a multiple of. Images are padded to it, and
        the padding is cut off again.
    weight : {"gaussian", "constant"}
        Weight of the voxels of a window in the mean of overlapping windows.

    Returns
    -------
    ndarray
        Probabilities ``(…, classes)`` float32 on the grid of the prepared image.
    """
    if preprocessor.is_stacked:
        return _predict_stacks(network, preprocessor, sample, measures, multiple)
    shape = sample.geometry.shape
    slice_axis = sample.geometry.slice_axis if preprocessor.is_slicewise else None
    grid = preprocessor.prediction_grid(shape, sample.geometry.slice_axis, multiple)
    fill = sample.image.min(axis=tuple(range(len(shape))))
    merger: WindowMerger | None = None

    size = preprocessor.batch_size
    starts = iter(grid)
    while chunk := list(itertools.islice(starts, size)):
        windows = [
            preprocessor.transform_patch(cut(sample.image, s, grid.window, fill), measures)
            for s in chunk
        ]
        # The last batch is filled up: a network is compiled for one shape of batches.
        windows += [windows[-1]] * (size - len(chunk))
        batch = np.stack(windows)
        if slice_axis is not None:
            batch = batch.squeeze(slice_axis + 1)
        output = _run(network, batch)
        if slice_axis is not None:
            output = np.expand_dims(output, slice_axis + 1)
        if merger is None:
            merger = WindowMerger(grid, output.shape[-1], weight)
        for start, values in zip(chunk, output, strict=False):
            merger.add(start, values)
    assert merger is not None  # a grid has at least one window
    return merger.result()


def _predict_stacks(
    network: Network,
    preprocessor: Preprocessor,
    sample: Sample,
    measures: Sequence[Mapping[str, Any]],
    multiple: Sequence[int],
) -> NDArray[np.float32]:
    """Predict every slice of a volume in stacks; slices in several stacks get their mean.

    The slices of a stack lie as far apart as those that the network was trained on.
    """
    geometry = sample.geometry
    axis = geometry.slice_axis
    plane = [geometry.shape[a] for a in plane_axes(geometry.ndim, axis)]
    window = round_up(plane, multiple[:2])
    start = [-((w - n) // 2) for w, n in zip(window, plane, strict=True)]
    within = tuple(slice(-s, -s + n) for s, n in zip(start, plane, strict=True))
    fill = sample.image.min(axis=(0, 1, 2))
    depth = preprocessor.stack_size(multiple)
    groups = slice_groups(geometry.n_slices, depth, preprocessor.stack_gap)

    size = preprocessor.batch_size
    total: NDArray[np.float32] | None = None
    count = np.zeros(geometry.n_slices, dtype=np.float32)
    for first in range(0, len(groups), size):
        chunk = groups[first : first + size]
        stacks = [
            preprocessor.transform_patch(
                cut(take_slices(sample.image, axis, group, blend=True), start, window, fill),
                measures,
            )
            for group in chunk
        ]
        stacks += [stacks[-1]] * (size - len(chunk))  # one shape of batches
        output = _run(network, np.stack(stacks))
        if total is None:
            total = np.zeros((*geometry.shape, output.shape[-1]), dtype=np.float32)
        by_slice = np.moveaxis(total, axis, 0)
        for group, values in zip(chunk, output, strict=False):
            for place, number in enumerate(group):
                by_slice[number] += values[within][:, :, place]
                count[number] += 1
    assert total is not None  # a volume has at least one slice
    by_slice /= count[:, np.newaxis, np.newaxis, np.newaxis]
    return total


def _run(network: Network, batch: NDArray[np.float32]) -> NDArray[Any]:
    output = np.asarray(network(batch))
    if output.shape[:-1] != batch.shape[:-1]:
        raise ConfigurationError(
            f"the network returned shape {output.shape} for an input of {batch.shape}; both "
            "must have the same spatial shape. Does its required_multiple tell the truth?"
        )
    return output
