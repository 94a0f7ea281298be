"""What one prediction leaves: label map, probabilities, entropy, volumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from miscnn._scratch import Scratch, boxes_of, release
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._ahead import closing
from miscnn.neural_network._engine import Engine, decoder
from miscnn.neural_network._roi import Box, intersection, is_empty, whole
from miscnn.processing.blocks import Block

Output = Literal["labels", "probabilities", "entropy", "volumes"]

# Bytes that are written into mapped files before their memory is let go of.
_RELEASE = 8 << 20


def checked_outputs(outputs: Any) -> tuple[Output, ...]:
    """Return what is asked for, each once; ConfigurationError if there is no such thing."""
    asked = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    unknown = [name for name in asked if name not in get_args(Output)]
    if unknown or not asked:
        raise ConfigurationError(
            f"outputs is {outputs!r}; expected one or more of {', '.join(get_args(Output))}"
        )
    return tuple(dict.fromkeys(asked))


def apart(results: list[Any] | None) -> list[Any] | None:
    """Return what was predicted, each output in an array of its own.

    Where probabilities take the place of the label maps and are asked for as well, both are one
    array, and who changes one would change the other.
    """
    for found in results or ():
        seen: set[int] = set()
        for name, value in found.items() if isinstance(found, dict) else ():
            if isinstance(value, np.ndarray):
                found[name] = value.copy() if id(value) in seen else value
                seen.add(id(value))
    return results


class Collector:
    """Puts the parts of a prediction together, in scratch files where they are large.

    Parameters
    ----------
    engine : Engine
    shape : sequence of int
        Spatial shape of the image.
    arrays : collection of {"labels", "probabilities", "entropy"}
        What is collected. The entropy is that of the classes, −Σ p ln p, in nats; of regions
        the sum of the entropies of each region's yes and no.
    scratch : Scratch, optional
        Default: ordinary arrays.
    roi : tuple of slice, optional
        Outside of this box of the image everything is background.
    """

    def __init__(
        self,
        engine: Engine,
        shape: Sequence[int],
        arrays: Sequence[str],
        scratch: Scratch | None = None,
        roi: Box | None = None,
    ) -> None:
        self._engine = engine
        self._shape = tuple(shape)
        self._asked = arrays
        self._scratch = scratch
        self._roi = roi
        self._written = 0
        self._decode = decoder(engine.regions)
        self.arrays: dict[str, NDArray[Any]] = {}

    def collect(self, prepared: Any) -> dict[str, NDArray[Any]]:
        """Predict what was prepared; return the arrays by name."""
        labels = "labels" in self._asked
        probable = [name for name in ("probabilities", "entropy") if name in self._asked]
        if labels and (not probable or not self._engine.labels_follow):
            self._pass(prepared, probabilities=False, names=["labels"])
        if probable:
            names = [*(["labels"] if labels and self._engine.labels_follow else []), *probable]
            self._pass(prepared, probabilities=True, names=names)
        return self.arrays

    def _pass(self, prepared: Any, probabilities: bool, names: Sequence[str]) -> None:
        boxes = []
        with closing(self._engine.blocks(prepared, probabilities=probabilities)) as blocks:
            for block in blocks:
                inside = block if self._roi is None else clipped(block, self._roi)
                if inside is None:
                    continue
                boxes.append(inside.box)
                for name in names:
                    self._put(name, inside.box, self._values(name, inside.values, probabilities))
        if not boxes:  # no part of the image was worth a window
            ndim = len(self._shape)
            nothing = np.zeros((*(1,) * ndim, self._engine.channels), dtype=np.float32)
            if self._engine.regions is None:
                nothing[..., 0] = 1
            for name in names:
                self._put(name, (slice(0, 1),) * ndim, self._values(name, nothing, True))
            boxes.append((slice(0, 1),) * ndim)
        if "probabilities" in names and self._engine.regions is None:
            array = self.arrays["probabilities"]
            for gap in gaps(boxes, self._shape):
                array[gap][..., 0] = 1
                release(array)

    def _values(self, name: str, values: NDArray[Any], probabilities: bool) -> NDArray[Any]:
        if name == "labels":
            return self._decode(values) if probabilities else values
        if name == "entropy":
            return entropy(values, exclusive=self._engine.regions is None)
        return values

    def _put(self, name: str, box: Box, values: NDArray[Any]) -> None:
        if name not in self.arrays:
            further = (values.shape[-1],) if name == "probabilities" else ()
            self.arrays[name] = self._zeros((*self._shape, *further), values.dtype)
        self.arrays[name][box] = values
        self._written += values.nbytes
        if self._written > _RELEASE:
            self._written = 0
            for array in self.arrays.values():
                release(array)

    def _zeros(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        if self._scratch is None:
            return np.zeros(tuple(shape), dtype)
        # Slice by slice, as blocks come and files are written.
        array = self._scratch.empty(shape, dtype, "F")
        if not isinstance(array, np.memmap):  # a new file holds zeros
            array[...] = 0
        return array


def clipped(block: Block, box: Box) -> Block | None:
    """Return the part of a block that lies in a box; None if there is none."""
    inside = intersection(block.box, box)
    if is_empty(inside):
        return None
    start = tuple(part.start for part in inside)
    own = tuple(
        slice(part.start - first, part.stop - first)
        for part, first in zip(inside, block.start, strict=True)
    )
    return Block(start, block.values[own])


def gaps(boxes: Sequence[Box], shape: Sequence[int]) -> Iterator[Box]:
    """Yield boxes of what is left of a grid by others, which together are one box."""
    around = tuple(
        slice(min(parts, key=_start).start, max(parts, key=_stop).stop)
        for parts in zip(*boxes, strict=True)
    )
    if sum(map(_size, boxes)) != _size(around):
        raise ConfigurationError(
            "the parts of a prediction do not make up one box; a subfunction's "
            "postprocessing_blocks() must yield every voxel once"
        )
    left = list(whole(shape))
    for axis, part in enumerate(around):
        for side in (slice(0, part.start), slice(part.stop, shape[axis])):
            gap = (*left[:axis], side, *left[axis + 1 :])
            if not is_empty(gap):
                yield gap
        left[axis] = part


def entropy(probabilities: NDArray[Any], exclusive: bool) -> NDArray[np.float32]:
    """Return the entropy in nats of each voxel.

    Parameters
    ----------
    probabilities : ndarray
        ``(…, channels)``.
    exclusive : bool
        Whether the channels are classes of which one holds, or regions, each with a yes and a no
        of its own, whose entropies are added.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float32), 0, 1)
    surprise = xlogy(p, p)
    if not exclusive:
        surprise += xlogy(1 - p, 1 - p)
    return np.asarray(np.maximum(-surprise.sum(axis=-1), 0), dtype=np.float32)


def count_voxels(labels: NDArray[Any], classes: int) -> list[int]:
    """Return the number of voxels of each class of a label map, in bounded memory."""
    counts = np.zeros(classes, dtype=np.int64)
    for box in boxes_of(labels):
        found = np.bincount(np.asarray(labels[box]).ravel(order="K"), minlength=classes)
        counts += found[:classes]
        release(labels[box])
    return [int(n) for n in counts]


def _start(part: slice) -> int:
    return int(part.start)


def _stop(part: slice) -> int:
    return int(part.stop)


def _size(box: Box) -> int:
    return math.prod(part.stop - part.start for part in box)
