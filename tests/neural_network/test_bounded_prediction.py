"""Predicting part by part gives what predicting everything at once gives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn._scratch import Scratch
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._engine import NetworkEngine
from miscnn.neural_network._outputs import Collector
from miscnn.neural_network._roi import as_box
from miscnn.neural_network.inference import predict_blocks, predict_probabilities
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.chain import split_chain, undo_chain
from miscnn.processing.patches import cut, round_up
from miscnn.processing.slices import slice_groups
from miscnn.processing.subfunctions import (
    Clipping,
    CropToForeground,
    Normalization,
    Orientation,
    Padding,
    Resampling,
    Resize,
)

CLEAR = 1e-5  # closer than this, rounding decides


def position_network(channels: int, exclusive: bool, axes: int) -> Any:
    """What a voxel gets depends on its value and on where in the window it lies."""
    rng = np.random.default_rng(channels)
    slope, turn = rng.normal(size=(2, channels))
    tilt = rng.normal(scale=0.15, size=(axes, channels))

    def network(batch: np.ndarray) -> np.ndarray:
        value = batch.mean(axis=-1, keepdims=True)
        logits = slope * value + np.sin(3 * value * turn)
        for axis in range(axes):
            shape = [1] * (axes + 2)
            shape[axis + 1] = -1
            along = np.arange(batch.shape[axis + 1]).reshape(shape)
            logits = logits + tilt[axis] * np.cos(along + axis)
        if exclusive:
            likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
            return (likely / likely.sum(axis=-1, keepdims=True)).astype(np.float32)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    return network


class Case:
    """One random configuration."""

    def __init__(self, number: int) -> None:
        rng = self.rng = np.random.default_rng([number, 6])
        self.ndim = 2 if number % 5 == 4 else 3
        self.shape = tuple(int(n) for n in rng.integers(6, 27 if self.ndim == 3 else 60, self.ndim))
        spacing = rng.uniform(0.6, 3.0, self.ndim)
        direction = np.eye(self.ndim)[rng.permutation(self.ndim)] * rng.choice([-1, 1], self.ndim)
        affine = np.eye(self.ndim + 1)
        affine[:-1, :-1] = direction * spacing
        affine[:-1, -1] = rng.uniform(-50, 50, self.ndim)
        self.geometry = Geometry(self.shape, affine)
        self.channels = int(rng.integers(1, 3))
        image = rng.normal(size=(*self.shape, self.channels)).astype(np.float32)
        for axis, n in enumerate(self.shape):  # an empty border
            at = [slice(None)] * (self.ndim + 1)
            at[axis] = slice(0, n // 5)
            image[tuple(at)] = -3
        self.image = image if rng.random() < 0.5 else np.asfortranarray(image)
        self.classes = int(rng.integers(2, 6))
        self.regions = None
        if rng.random() < 0.25:
            self.regions = {f"r{k}": tuple(range(k, self.classes)) for k in range(1, self.classes)}
        analyses = ["patchwise-crop", "patchwise-grid", "fullimage"]
        if self.ndim == 3:
            analyses += ["slicewise", "slicewise", "slice-stack"]
        self.analysis = str(rng.choice(analyses))
        self.multiple_of = int(rng.choice([1, 2, 4]))
        options: dict[str, Any] = {}
        plane = self.analysis == "slicewise"
        self.axes = 2 if plane or self.ndim == 2 else 3
        patched = self.analysis.startswith("patchwise") or (plane and rng.random() < 0.5)
        if patched:
            options["patch_shape"] = tuple(int(n) for n in rng.integers(3, 14, self.axes))
        if patched and rng.random() < 0.4:
            window = round_up(options["patch_shape"], (self.multiple_of,) * self.axes)
            options["patchwise_overlap"] = tuple(int(rng.integers(0, w)) for w in window)
        if self.analysis == "slice-stack":
            options["slices_per_volume"] = int(rng.integers(2, 6))
            options["slice_gap"] = int(rng.integers(1, 4))
        self.chain = self.subfunctions()
        data_io = miscnn.DataIO(
            DictionaryInterface({"a": (self.image, None)}, self.channels, self.classes,
                                self.ndim == 3)
        )  # fmt: skip
        self.recipe = miscnn.Preprocessor(
            data_io, int(rng.integers(1, 5)), self.chain, None, analysis=self.analysis,
            regions=self.regions, **options,
        )  # fmt: skip
        mirrored = [a for a in range(self.axes) if rng.random() < 0.2]
        self.settings = PredictionSettings(
            overlap=float(rng.uniform(0, 0.75)) if rng.random() < 0.3 else None,
            window_weight=str(rng.choice(["gaussian", "constant"])),
            mirror_axes=mirrored,
            foreground=-2.5 if rng.random() < 0.2 else None,
            batch_size=int(rng.integers(1, 6)) if rng.random() < 0.5 else None,
        )
        self.roi = None
        if rng.random() < 0.3:
            ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in self.shape]
            self.roi = tuple((int(a), int(b)) for a, b in ends)
        self.multiple = (self.multiple_of,) * self.axes
        self.network = position_network(self.recipe.outputs, self.regions is None, self.axes)

    def subfunctions(self) -> list[Any]:
        rng, chain = self.rng, []
        if rng.random() < 0.3:
            chain.append(Clipping(-3, 2.5))
        if rng.random() < 0.3 and self.ndim == 3:
            chain.append(Orientation("".join(rng.permutation([*"RAS"]))))
        if rng.random() < 0.3:
            chain.append(CropToForeground(margin=int(rng.integers(0, 3))))
        if rng.random() < 0.5:
            chain.append(Resampling(tuple(rng.uniform(0.7, 2.5, self.ndim))))
        elif rng.random() < 0.3:
            chain.append(Resize(tuple(int(n) for n in rng.integers(6, 24, self.ndim))))
        if rng.random() < 0.3:
            chain.append(Padding(tuple(int(n) for n in rng.integers(4, 30, self.ndim))))
        if rng.random() < 0.6:
            chain.append(Normalization("z-score"))
        return chain

    def sample(self) -> Sample:
        return Sample("a", self.image, self.channels, self.classes, self.geometry)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The network with its mirror images, one after the other."""
        outputs = []
        for size in range(len(self.settings.mirror_axes) + 1):
            for flip in itertools.combinations(self.settings.mirror_axes, size):
                axes = tuple(a + 1 for a in flip)
                outputs.append(np.flip(self.network(np.flip(batch, axes)), axes))
        return np.mean(outputs, axis=0, dtype=np.float64)


def axis_weights(window: int, kind: str) -> np.ndarray:
    position = np.arange(window) - (window - 1) / 2
    return np.exp(-0.5 * (position / (window / 8)) ** 2) if kind == "gaussian" else np.ones(window)


def full_buffers(case: Case, prepared: Sample, measures: Any, region: Any) -> np.ndarray:
    """All sums at once, in float64: probabilities on the whole prepared grid."""
    recipe, geometry, settings = case.recipe, prepared.geometry, case.settings
    shape, axis = geometry.shape, geometry.slice_axis
    image = np.asarray(prepared.image, dtype=np.float32)
    fill = image.min(axis=tuple(range(image.ndim - 1)))
    total = np.zeros((*shape, recipe.outputs))
    weights = np.zeros(shape)
    if case.analysis == "slice-stack":
        moved = np.moveaxis(image, axis, 2)
        plane = [part for a, part in enumerate(region) if a != axis]
        extent = [part.stop - part.start for part in plane]
        window = round_up(extent, case.multiple[:2])
        before = [(w - n) // 2 for w, n in zip(window, extent, strict=True)]
        depth = round_up([recipe.slices_per_volume], [case.multiple_of])[0]
        slices = region[axis]
        groups = slice_groups(slices.stop - slices.start, depth, recipe.slice_gap)
        by_slice, count = np.moveaxis(total, axis, 2), np.moveaxis(weights, axis, 2)
        for group in groups:
            stack = moved[:, :, group + slices.start]
            start = [part.start - b for part, b in zip(plane, before, strict=True)]
            patch = recipe.transform_patch(cut(stack, start, window, fill), measures)
            output = case.run(patch[np.newaxis])[0]
            inside = output[tuple(slice(b, b + n) for b, n in zip(before, extent, strict=True))]
            for place, number in enumerate(group + slices.start):
                by_slice[plane[0], plane[1], number] += inside[:, :, place]
                count[plane[0], plane[1], number] += 1
    else:
        grid = recipe.prediction_grid(shape, axis, case.multiple, settings.overlap, region)
        vectors = [axis_weights(w, settings.window_weight) for w in grid.window]
        weight = vectors[0]
        for vector in vectors[1:]:
            weight = weight[..., np.newaxis] * vector
        for start in grid:
            patch = recipe.transform_patch(cut(image, start, grid.window, fill), measures)
            if case.analysis == "slicewise":
                output = np.expand_dims(case.run(patch.squeeze(axis)[np.newaxis])[0], axis)
            else:
                output = case.run(patch[np.newaxis])[0]
            box, part = [], []
            for first, n, inside in zip(start, grid.window, region, strict=True):
                low, high = max(first, inside.start), min(first + n, inside.stop)
                box.append(slice(low, high))
                part.append(slice(low - first, high - first))
            total[tuple(box)] += (output * weight[..., np.newaxis])[tuple(part)]
            weights[tuple(box)] += weight[tuple(part)]
    covered = weights > 0
    assert covered.sum() == np.prod([part.stop - part.start for part in region])
    total[covered] /= weights[covered][:, np.newaxis]
    if case.regions is None:
        total[~covered, 0] = 1
    return total.astype(np.float32)


def background_outside(labels: np.ndarray, likely: np.ndarray, box: Any, exclusive: bool) -> None:
    inside = np.zeros(labels.shape, dtype=bool)
    inside[box] = True
    labels[~inside] = 0
    likely[~inside] = np.eye(likely.shape[-1])[0] if exclusive else 0


@pytest.mark.parametrize("number", range(50))
def test_parts_are_what_full_buffers_are(number: int, tmp_path: Any) -> None:
    case = Case(number)
    recipe, sample = case.recipe, case.sample()
    sample.scratch = Scratch(tmp_path, limit=1000)  # nearly everything lies in files
    engine = NetworkEngine(case.network, recipe, case.multiple, case.settings, case.roi)
    prepared = engine.prepare(sample)
    box = None if case.roi is None else as_box(case.roi, case.shape, "a")
    found = {}
    for names in (["labels"], ["probabilities", "labels"], ["entropy"]):
        collector = Collector(engine, case.shape, names, sample.scratch, box)
        found["+".join(names)] = dict(collector.collect(prepared))
    labels = found["labels"]["labels"]
    likely = found["probabilities+labels"]["probabilities"]
    assert labels.shape == case.shape
    assert likely.shape == (*case.shape, recipe.outputs)

    # plain NumPy
    plain, steps, measures = recipe.prepare_prediction(case.sample())
    np.testing.assert_array_equal(prepared.image.image, plain.image)
    whole = full_buffers(case, plain, measures, prepared.region)
    head, _ = split_chain(recipe.subfunctions)
    expected = undo_chain(case.sample(), head, steps, whole, True, recipe.regions)
    wanted = undo_chain(case.sample(), head, steps, whole, False, recipe.regions)
    exclusive = case.regions is None
    if box is not None:
        background_outside(wanted, expected, box, exclusive)
    np.testing.assert_allclose(likely, expected, atol=2e-6)
    assert labels.dtype == wanted.dtype
    if exclusive:
        second, first = np.sort(expected, axis=-1)[..., -2:].T
        clear = (first - second).T > CLEAR
    else:
        clear = np.all(np.abs(expected - 0.5) > CLEAR, axis=-1)
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(labels[clear], wanted[clear])
    assert len(np.unique(labels)) > 1 or box is not None
    # several outputs of one pass are those of several
    np.testing.assert_array_equal(found["probabilities+labels"]["labels"][clear], labels[clear])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(likely > 0, -likely * np.log(likely), 0)
        if not exclusive:
            other = 1 - likely
            terms = terms + np.where(other > 0, -other * np.log(other), 0)
    np.testing.assert_allclose(found["entropy"]["entropy"], terms.sum(axis=-1), atol=2e-5)

    # all at once by the library: bit by bit
    if case.roi is None and case.settings.foreground is None and not case.settings.mirror_axes:
        blocks = list(
            predict_blocks(case.network, recipe, plain, measures, case.multiple,
                           settings=case.settings, axis=0)
        )  # fmt: skip
        merged = np.full_like(whole, np.nan)
        for block in blocks:
            assert np.isnan(merged[block.box]).all()  # once
            merged[block.box] = block.values
        np.testing.assert_array_equal(undo_chain(case.sample(), head, steps, merged, False,
                                                 recipe.regions), labels)  # fmt: skip


def test_the_configurations_are_of_all_kinds() -> None:
    cases = [Case(number) for number in range(50)]
    assert {case.analysis for case in cases} == {
        "patchwise-crop", "patchwise-grid", "fullimage", "slicewise", "slice-stack",
    }  # fmt: skip
    assert sum(case.regions is not None for case in cases) >= 5
    assert sum(case.roi is not None for case in cases) >= 5
    assert sum(case.settings.foreground is not None for case in cases) >= 5
    assert sum(bool(case.settings.mirror_axes) for case in cases) >= 5
    kinds = {type(part) for case in cases for part in case.chain}
    assert kinds >= {Clipping, Orientation, CropToForeground, Resampling, Resize, Padding}


def in_memory(image: np.ndarray, classes: int, **options: Any) -> miscnn.Preprocessor:
    data_io = miscnn.DataIO(DictionaryInterface({"a": (image, None)}, image.shape[-1], classes))
    return miscnn.Preprocessor(data_io, 2, data_aug=None, **options)


@pytest.mark.parametrize("weight", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(11, 9, 13), (3, 20, 2), (2, 3, 4)])
def test_an_identity_network_returns_its_input(shape: tuple[int, ...], weight: Any) -> None:
    """For every overlap, and for volumes that are smaller than the patch."""
    image = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    sample = Sample("a", image, 2, 2)
    for overlap in range(6):
        recipe = in_memory(image, 2, patch_shape=(6, 6, 6), patchwise_overlap=(overlap,) * 3)
        prepared, _, measures = recipe.prepare_prediction(sample)
        result = predict_probabilities(
            lambda batch: batch, recipe, prepared, measures, (1, 1, 1), weight
        )
        np.testing.assert_allclose(result, image, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"patch_shape": (6, 5, 4)},
        {"analysis": "fullimage"},
        {"analysis": "slicewise", "patch_shape": (5, 4)},
        {"analysis": "slice-stack", "slices_per_volume": 3, "slice_gap": 2},
    ],
)
@pytest.mark.parametrize("shape", [(14, 11, 9), (2, 3, 2)])
def test_constants_stay_constant_up_to_the_border(shape: tuple[int, ...], options: Any) -> None:
    image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    sample = Sample("a", image, 1, 3)
    recipe = in_memory(image, 3, **options)
    prepared, _, measures = recipe.prepare_prediction(sample)
    value = np.array([0.2, 0.5, 0.3], dtype=np.float32)
    for overlap in (0.0, 0.25, 0.5, 0.8):
        for weight in ("gaussian", "constant"):
            seen = np.zeros(shape, dtype=int)
            for block in predict_blocks(
                lambda batch: np.broadcast_to(value, (*batch.shape[:-1], 3)),
                recipe, prepared, measures, (2,) * recipe.network_axes, axis=2,
                settings=PredictionSettings(overlap=overlap, window_weight=weight),
            ):  # fmt: skip
                seen[block.box] += 1
                expected = np.broadcast_to(value, block.values.shape)
                np.testing.assert_allclose(block.values, expected, atol=1e-6)
            assert (seen == 1).all()


def test_slices_of_stacks_are_final_with_their_last_stack() -> None:
    """No more slices are held than a block of stacks spans."""
    image = np.zeros((4, 4, 60, 1), dtype=np.float32)
    sample = Sample("a", image, 1, 2)
    recipe = in_memory(image, 2, analysis="slice-stack", slices_per_volume=4, slice_gap=3)
    recipe.slice_axis = 2
    prepared, _, measures = recipe.prepare_prediction(sample)
    asked: list[int] = []
    done: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        asked.append(len(batch))
        return np.concatenate([batch, batch], axis=-1)

    most = 0
    for block in predict_blocks(network, recipe, prepared, measures, (1, 1, 1)):
        assert block.extent == (4, 4, 1)
        done.append(block.start[2])
        # each stack has 4 slices; two batches are predicted ahead
        most = max(most, 4 * sum(asked) - len(done))
    assert done == [*range(60)] or sorted(done) == [*range(60)]
    assert most <= 12 + 4 * 2 * 4


def test_mistakes_are_named() -> None:
    image = np.zeros((8, 8, 8, 1), dtype=np.float32)
    recipe = in_memory(image, 2, analysis="slicewise")
    sample = Sample("a", image, 1, 2)
    with pytest.raises(ConfigurationError, match="the network sees 2 spatial axes"):
        NetworkEngine(lambda b: b, recipe, (1, 1), PredictionSettings(mirror_axes=(2,)))
    recipe = in_memory(image, 2, patch_shape=(4, 4, 4))
    prepared, _, measures = recipe.prepare_prediction(sample)
    settings = PredictionSettings(overlap=(2, 2, 4))
    with pytest.raises(ConfigurationError, match=r"overlap \(2, 2, 4\) does not fit"):
        list(predict_blocks(lambda b: b, recipe, prepared, measures, (1, 1, 1), settings=settings))
    with pytest.raises(ConfigurationError, match="same spatial shape"):
        list(predict_blocks(lambda b: b[:, 1:], recipe, prepared, measures, (1, 1, 1)))
