"""One pass through the mixed-scale dense layer, forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miscnn._keras import keras, ops
from miscnn.neural_network.architecture._shifts import Shifts

if TYPE_CHECKING:
    from miscnn.neural_network.architecture._mixed_scale import MixedScaleDense

__all__ = ["Run", "Stage"]


@dataclass(frozen=True)
class Stage:
    """Some layers: ``rounds`` times a group of ``layers``, in blocks of ``step``."""

    first: int
    layers: int
    rounds: int
    step: int

    @property
    def end(self) -> int:
        return self.first + self.rounds * self.layers

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First layer and end of each block of a group."""
        starts = range(0, self.layers, self.step)
        return [(a, min(a + self.step, self.layers)) for a in starts]

    def part(self, values: Sequence[Any], number: Any) -> list[Any]:
        """Cut out what belongs to a round from arrays that are arranged by layer."""
        if self.rounds == 1:
            return list(values)
        parts = []
        for array in values:
            shape = ops.shape(array)
            size = array.shape[0] // self.rounds
            start = (number * size, *(0,) * (len(shape) - 1))
            parts.append(ops.slice(array, start, (size, *shape[1:])))
        return parts

    def run(self, function: Any, state: Any) -> Any:
        """Run ``function(number, state)`` for each round."""
        if self.rounds == 1:  # without the cost of a loop
            return function(0, state)
        return ops.fori_loop(0, self.rounds, function, state)


class Run:
    """One pass through the layer, forwards and backwards."""

    def __init__(self, layer: MixedScaleDense, shape: Sequence[Any], dtype: str) -> None:
        self.layer = layer
        self.shape = tuple(shape)  # batch, x, y[, z]
        self.dtype = dtype
        self.shifts = Shifts(self.shape[1:], layer.boundary)
        self.rows = 3**layer.dimensions * layer.width
        numbers = range(layer.width * layer.depth)
        self.dilations = {layer.dilation(*divmod(number, layer.width)) for number in numbers}

    def __call__(self, *arguments: Any) -> Any:
        @ops.custom_gradient  # type: ignore[untyped-decorator]
        def run(*arguments: Any) -> tuple[Any, Any]:
            return self.forward(*arguments)

        return run(*arguments)

    def forward(
        self, maps: Any, kernels: Any, head: Any, bias: Any, *vectors: Any
    ) -> tuple[Any, Any]:
        """Return the logits and the function of the gradient."""
        layer = self.layer
        self.shifts.prepare(self.shifts.sources, self.dilations)
        flat = ops.concatenate([kernels, ops.zeros((1,), dtype=self.dtype)])
        memory = []
        for stage, matrices in zip(layer.stages, layer.matrices, strict=True):
            shifted, placed, inner = (ops.take(flat, index, axis=0) for index in matrices)
            own = self.of_stage(vectors, stage)
            maps, *kept = self.stage(stage, maps, (shifted, inner, *own))
            memory.append((stage, placed, inner, own[1:], kept))
        logits = ops.matmul(ops.transpose(head), maps) + ops.reshape(bias, (-1, 1))

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
            if upstream is None:  # PyTorch hands it over by name, the others by position
                (upstream,) = args
            return self.backward(upstream, maps, memory, head)

        return logits, gradient

    def of_stage(self, arrays: Sequence[Any], stage: Stage) -> list[Any]:
        width = self.layer.width
        return [array[stage.first * width : stage.end * width] for array in arrays]

    def stage(self, stage: Stage, maps: Any, weights: Sequence[Any]) -> Sequence[Any]:
        """Run the layers of a stage; return all maps and what the gradient needs."""
        voxels, new = ops.shape(maps)[1], (stage.end - stage.first) * self.layer.width
        # Each round drops the first maps and appends its own, so that the shape stays.
        state = [ops.concatenate([ops.zeros((new, voxels), dtype=self.dtype), maps])]
        if self.layer.normalized:
            state.append(ops.zeros((new, voxels), dtype=self.dtype))
            state.append(ops.zeros((new, self.shape[0], 1), dtype=self.exact))

        def one_round(number: Any, state: Sequence[Any]) -> Sequence[Any]:
            own = stage.part(weights, number)
            maps, *kept = self.group(stage, state[0], *own)
            return [maps, *map(_append, state[1:], kept)]

        return list(stage.run(one_round, state))

    def group(
        self, stage: Stage, maps: Any, outer: Any, inner: Any, offset: Any, *gamma: Any
    ) -> list[Any]:
        """Run a group of layers."""
        rows, width = self.rows, self.layer.width
        kept = []
        for a, b in stage.blocks:
            products = ops.matmul(outer[a * rows : b * rows], maps)
            block: Any = None
            for i in range(a, b):
                own = products[(i - a) * rows : (i - a + 1) * rows]
                if block is not None:
                    kernel = inner[i * rows : (i + 1) * rows, : (i - a) * width]
                    own = own + ops.matmul(kernel, block)
                here = slice(i * width, (i + 1) * width)
                new, *values = self.activate(
                    self.convolve(own, stage.first + i), offset[here], *(g[here] for g in gamma)
                )
                kept.append(values)
                block = new if block is None else ops.concatenate([block, new])
            maps = _append(maps, block)
        return [maps, *(ops.concatenate(values) for values in zip(*kept, strict=True))]

    def backward(self, upstream: Any, maps: Any, memory: list[Any], head: Any) -> tuple[Any, ...]:
        """Return the gradients of all arguments of forward."""
        layer, width = self.layer, self.layer.width
        self.shifts.prepare(self.shifts.targets, self.dilations)
        to_maps = ops.matmul(head, upstream)
        to_matrices, to_vectors = [], []
        for stage, placed, inner, gamma, kept in reversed(memory):
            seen = maps[: layer.before(stage.end)]
            new = seen[layer.before(stage.first) :]
            new_maps = (stage.end - stage.first) * width
            state = [to_maps, ops.zeros_like(placed)]
            state += [ops.zeros((new_maps,), dtype=self.exact) for _ in range(1 + len(gamma))]
            weights = (placed, inner, new, *gamma, *kept)

            def one_round(
                number: Any,
                state: Sequence[Any],
                stage: Stage = stage,
                weights: Any = weights,
                seen: Any = seen,
            ) -> Sequence[Any]:
                number = stage.rounds - 1 - number
                first = layer.before(stage.first) + number * (stage.layers * width)
                own = stage.part(weights, number)
                to_maps, *found = self.group_back(stage, first, state[0], seen, *own)
                return [to_maps, *map(_prepend, state[1:], found)]

            to_maps, to_matrix, *vectors = stage.run(one_round, state)
            to_maps = to_maps[: layer.before(stage.first)]
            to_matrices.append(ops.reshape(to_matrix, (-1,)))
            to_vectors.append(vectors)
        to_kernels = ops.take(ops.concatenate(to_matrices[::-1]), layer.positions, axis=0)
        to_head = ops.einsum("mv,lv->ml", maps, upstream)
        vectors = [ops.concatenate(v[::-1]) for v in zip(*to_vectors, strict=True)]
        return (to_maps, to_kernels, to_head, ops.sum(upstream, axis=1), *vectors)

    def group_back(
        self,
        stage: Stage,
        first: Any,
        to_maps: Any,
        maps: Any,
        outer: Any,
        inner: Any,
        new: Any,
        *kept: Any,
    ) -> list[Any]:
        """Take the gradients back through a group; also of its matrix and vectors."""
        rows, width = self.rows, self.layer.width
        voxels = ops.shape(maps)[1]
        to_vectors: list[Any] = []
        to_matrix: list[Any] = []
        for a, b in reversed(stage.blocks):
            to_block = ops.slice(to_maps, (first + a * width, 0), ((b - a) * width, voxels))
            to_products: list[Any] = []
            for i in reversed(range(a, b)):
                start = (i - a) * width
                here = slice(i * width, (i + 1) * width)
                to_new, *vectors = self.activate_back(
                    to_block[start:], new[here], *(array[here] for array in kept)
                )
                to_vectors.append(vectors)
                to_products.append(self.convolve_back(to_new, stage.first + i))
                if i > a:
                    kernel = ops.transpose(inner[i * rows : (i + 1) * rows, :start])
                    to_block = to_block[:start] + ops.matmul(kernel, to_products[-1])
            products = ops.concatenate(to_products[::-1])
            to_matrix.append(ops.einsum("rv,mv->rm", products, maps))
            to_maps = to_maps + ops.matmul(ops.transpose(outer[a * rows : b * rows]), products)
        found = [ops.concatenate(to_matrix[::-1])]
        found += [ops.concatenate(values) for values in zip(*to_vectors[::-1], strict=True)]
        return [to_maps, *found]

    def convolve(self, products: Any, layer: int) -> Any:
        """Shift and add the products of each map; ``(width, batch · voxels)``."""
        taps = (self.layer.width,) + (3,) * self.layer.dimensions
        products = ops.reshape(products, taps + self.shape)
        maps = [
            self.shifts.add(products[j], self.layer.dilation(layer, j))
            for j in range(self.layer.width)
        ]
        return ops.reshape(ops.stack(maps) if len(maps) > 1 else maps[0], (len(maps), -1))

    def convolve_back(self, upstream: Any, layer: int) -> Any:
        """Spread the gradient of each map over its products: the transpose of convolve."""
        upstream = ops.reshape(upstream, (self.layer.width, *self.shape))
        spread = [
            self.shifts.spread(upstream[j], self.layer.dilation(layer, j))
            for j in range(self.layer.width)
        ]
        return ops.reshape(
            ops.concatenate(spread) if len(spread) > 1 else spread[0], (self.rows, -1)
        )

    def activate(self, maps: Any, offset: Any, *gamma: Any) -> tuple[Any, ...]:
        """Normalise and activate; also return what the gradient needs."""
        slope = self.layer.negative_slope
        if not gamma:
            maps = maps + ops.cast(ops.reshape(offset, (-1, 1)), self.dtype)
            return (ops.leaky_relu(maps, slope) if slope else ops.relu(maps),)
        values = self.per_sample(maps)
        centred = values - ops.mean(values, axis=2, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=2, keepdims=True)
        inverse = ops.rsqrt(variance + self.layer.epsilon)
        normal = centred * inverse
        values = normal * ops.reshape(gamma[0], (-1, 1, 1)) + ops.reshape(offset, (-1, 1, 1))
        maps = self.flat(ops.leaky_relu(values, slope) if slope else ops.relu(values))
        return maps, self.flat(normal), inverse

    def activate_back(
        self, upstream: Any, maps: Any, gamma: Any = None, normal: Any = None, inverse: Any = None
    ) -> tuple[Any, ...]:
        """Return the gradients of the maps before, of the offset and of the scale if any."""
        upstream = ops.where(maps > 0, upstream, upstream * self.layer.negative_slope)
        if gamma is None:
            return upstream, ops.sum(ops.cast(upstream, self.exact), axis=1)
        upstream, normal = self.per_sample(upstream), self.per_sample(normal)
        offsets = ops.mean(upstream, axis=2, keepdims=True)
        slopes = ops.mean(upstream * normal, axis=2, keepdims=True)
        scale = ops.reshape(gamma, (-1, 1, 1)) * inverse
        before = (upstream - offsets - normal * slopes) * scale
        voxels = ops.cast(ops.shape(upstream)[2], upstream.dtype)
        return (
            self.flat(before),
            ops.sum(offsets, axis=(1, 2)) * voxels,
            ops.sum(slopes, axis=(1, 2)) * voxels,
        )

    @property
    def exact(self) -> str:
        """Type of statistics: float32, or float64 for float64."""
        return str(keras.backend.result_type(self.dtype, "float32"))

    def per_sample(self, maps: Any) -> Any:
        """Return ``(maps, batch, voxels)`` in float32 (or float64)."""
        maps = ops.cast(maps, self.exact)
        return ops.reshape(maps, (self.layer.width, self.shape[0], -1))

    def flat(self, maps: Any) -> Any:
        """Return ``(maps, batch · voxels)`` in the type of the computation."""
        return ops.reshape(ops.cast(maps, self.dtype), (self.layer.width, -1))


def _append(old: Any, new: Any) -> Any:
    """Drop as many rows at the beginning as are put to the end."""
    return ops.concatenate([old[new.shape[0] :], new]) if new.shape[0] < old.shape[0] else new


def _prepend(old: Any, new: Any) -> Any:
    """Drop as many rows at the end as are put before the beginning."""
    rows = old.shape[0] - new.shape[0]
    return ops.concatenate([new, old[:rows]]) if rows else new
