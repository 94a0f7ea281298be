"""Prediction with subfunctions that are none of the library's, and regions of interest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

import miscnn
from miscnn._scratch import Scratch
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.neural_network._engine import NetworkEngine
from miscnn.neural_network._outputs import Collector
from miscnn.neural_network._roi import as_box
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.prediction import load_subject
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.subfunctions import (
    Clipping,
    CropToForeground,
    Orientation,
    Padding,
    Resampling,
    Resize,
    Subfunction,
)

CLASSES = 3


class Flip(Subfunction):
    """Turns the image, and says nothing of it in the geometry."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.image = sample.image[::-1]

    def postprocessing(
        self, sample: Sample, prediction: np.ndarray, activation_output: bool = False
    ) -> np.ndarray:
        return prediction[::-1]


class FlipThatVouches(Flip):
    """Its way back is exchanged; what it says is not true any more of the one below."""

    follows_geometry = True
    moves_voxels = True


class FlipBelow(FlipThatVouches):
    def postprocessing(
        self, sample: Sample, prediction: np.ndarray, activation_output: bool = False
    ) -> np.ndarray:
        return super().postprocessing(sample, prediction, activation_output)


class CutFirst(Subfunction):
    """Drops the first third of the image, with no geometry; puts back background."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.extended["cut"] = cut = sample.image.shape[0] // 3
        sample.image = sample.image[cut:]

    def postprocessing(
        self, sample: Sample, prediction: np.ndarray, activation_output: bool = False
    ) -> np.ndarray:
        cut = sample.extended["cut"]
        back = np.zeros((cut + len(prediction), *prediction.shape[1:]), prediction.dtype)
        if activation_output:
            back[:cut, ..., 0] = 1
        back[cut:] = prediction
        return back


class Remembers(Subfunction):
    """Keeps on itself how much it has cut away: as much as the image's brightest voxel says."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        self.cut = round(float(sample.image.max()))
        sample.image = sample.image[self.cut :]

    def postprocessing(
        self, sample: Sample, prediction: np.ndarray, activation_output: bool = False
    ) -> np.ndarray:
        around = [(self.cut, 0)] + [(0, 0)] * (prediction.ndim - 1)
        return np.pad(prediction, around)


class AddsInPlace(Subfunction):
    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.image += 5


class ClipsInPlace(Subfunction):
    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        sample.image[sample.image > 50] = 50
        return sample


def by_intensity(batch: np.ndarray) -> np.ndarray:
    """A network that looks at single voxels: windows make no difference."""
    return softmax(batch * np.array([-2.0, 1.0, 3.0], np.float32), axis=-1).astype(np.float32)


def recipe_of(chain: Any, image: np.ndarray) -> miscnn.Preprocessor:
    flat = image.ndim == 3
    interface = DictionaryInterface({"a": (image, None)}, 1, CLASSES, not flat)
    patch = (7,) * (image.ndim - 1)
    return miscnn.Preprocessor(
        miscnn.DataIO(interface), 2, chain, None, patch_shape=patch, cache="memory"
    )


def predicted(chain: Any, sample: Sample, roi: Any = None) -> tuple[dict[str, Any], Any]:
    multiple = (1,) * sample.geometry.ndim
    recipe = recipe_of(chain, sample.image)
    engine = NetworkEngine(by_intensity, recipe, multiple, PredictionSettings(), roi)
    prepared = engine.prepare(sample)
    box = None if roi is None else as_box(roi, sample.geometry.shape, "a")
    arrays = ["labels", "probabilities"]
    collector = Collector(engine, sample.geometry.shape, arrays, None, box)
    return collector.collect(prepared), prepared.region


def check_roi(chain: Any, sample: Sample, roi: Any) -> Any:
    """Inside of the roi must be what the whole prediction is there, outside background."""
    whole, _ = predicted(chain, sample)
    found, region = predicted(chain, sample, roi)
    box = as_box(roi, sample.geometry.shape, "a")
    likely = np.zeros_like(whole["probabilities"])
    likely[..., 0] = 1
    likely[box] = whole["probabilities"][box]
    np.testing.assert_allclose(found["probabilities"], likely, atol=3e-6)
    second, first = np.sort(likely, axis=-1)[..., -2:].T
    clear = (first - second).T > 1e-5
    labels = np.zeros_like(whole["labels"])
    labels[box] = whole["labels"][box]
    np.testing.assert_array_equal(found["labels"][clear], labels[clear])
    return region


def noise(shape: tuple[int, ...], spacing: Any = None) -> Sample:
    image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    geometry = None if spacing is None else Geometry.from_spacing(shape, spacing)
    return Sample("a", image, 1, CLASSES, geometry, three_dim=len(shape) == 3)


@pytest.mark.parametrize(
    "chain",
    [
        [Flip()],
        [FlipBelow()],
        [CutFirst()],
        [Resampling((2.0,) * 3), Flip()],
        [Flip(), Resampling((2.0,) * 3)],
        [CropToForeground(threshold=0.5), CutFirst(), Padding(20)],
    ],
    ids=lambda chain: "-".join(type(part).__name__ for part in chain),
)
def test_a_region_with_a_users_way_back_is_what_the_whole_is(chain: Any) -> None:
    sample = noise((20, 16, 12))
    region = check_roi(chain, sample, ((13, 17), (2, 9), (3, 8)))
    assert not all(part.stop - part.start <= 9 for part in region)


def test_a_region_spares_what_the_librarys_way_back_does_not_need() -> None:
    roi = ((13, 17), (2, 9), (3, 8))
    box = tuple(slice(*pair) for pair in roi)
    assert check_roi([], noise((20, 16, 12)), roi) == box
    assert check_roi([Clipping(-1, 1), Orientation("LPS")], noise((20, 16, 12)), roi) != box
    region = check_roi([Resampling((2.0,) * 3)], noise((20, 16, 12)), roi)
    assert [(part.start, part.stop) for part in region] == [(5, 10), (0, 6), (0, 5)]
    # a user's that says that it follows the geometry is believed
    _, region = predicted([FlipThatVouches()], noise((20, 16, 12)), roi)
    assert region == box


@st.composite
def regriddings(draw: st.DrawFn) -> tuple[list[Subfunction], Sample, Any]:
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(6, 24)) for _ in range(ndim))
    chain: list[Subfunction] = []
    for _ in range(draw(st.integers(1, 3))):
        anisotropy = draw(st.sampled_from([3, None]))
        if draw(st.booleans()):
            spacing = [draw(st.floats(0.6, 5.0)) for _ in range(ndim)]
            chain.append(Resampling(spacing, anisotropy_threshold=anisotropy))
        else:
            sizes = [draw(st.integers(2, 30)) for _ in range(ndim)]
            chain.append(Resize(sizes, anisotropy_threshold=anisotropy))
        if draw(st.booleans()):
            chain.append(draw(st.sampled_from([CropToForeground(0.3), Padding(9, "edge")])))
    starts = [draw(st.integers(-1, n - 1)) for n in shape]
    roi = [(a, draw(st.integers(max(a, 0) + 1, n + 1))) for a, n in zip(starts, shape, strict=True)]
    return chain, noise(shape, [draw(st.sampled_from([0.7, 1.0, 3.5])) for _ in shape]), roi


@settings(max_examples=60)
@given(regriddings())
def test_a_region_through_several_grids_is_what_the_whole_is(given: Any) -> None:
    check_roi(*given)


# ---------------------------------------------------------------------- in place


@pytest.mark.parametrize(
    "chain",
    [[AddsInPlace()], [ClipsInPlace()], [Orientation(), AddsInPlace()],
     [CropToForeground(), ClipsInPlace(), AddsInPlace()]],
    ids=lambda chain: "-".join(type(part).__name__ for part in chain),
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("limit", [64, 64 << 20])
def test_who_works_in_place_works_on_a_copy_of_the_file(
    tmp_path: Path, chain: Any, dtype: Any, limit: int
) -> None:
    values = np.random.default_rng(0).normal(0, 40, (16, 14, 8)).astype(dtype)
    prepared = []
    for suffix in (".nii", ".nii.gz"):  # mapped, and decoded
        folder, name = tmp_path / suffix[1:], f"case{suffix}"
        folder.mkdir()
        nib.save(nib.Nifti1Image(values, np.eye(4)), folder / name)
        before = (folder / name).read_bytes()
        data_io = miscnn.DataIO(NIfTIInterface(1, CLASSES, image=f"*{suffix}"), folder)
        (index,) = data_io.get_indiceslist()
        sample = load_subject(index, data_io, Scratch(tmp_path, limit=limit))
        recipe = recipe_of(chain, np.zeros((4, 4, 4, 1), np.float32))
        engine = NetworkEngine(by_intensity, recipe, (1, 1, 1), PredictionSettings())
        prepared.append(np.asarray(engine.prepare(sample).image.image, np.float32))
        # what the next network would be given is what was read
        np.testing.assert_array_equal(sample.image[..., 0], values)
        assert (folder / name).read_bytes() == before
    np.testing.assert_array_equal(*prepared)
    expected = values.astype(np.float32)
    if any(isinstance(part, ClipsInPlace) for part in chain):
        expected = np.minimum(expected, 50)
    if any(isinstance(part, AddsInPlace) for part in chain):
        expected = expected + 5
    highest = [np.sort(array, axis=None)[-50:] for array in (prepared[0], expected)]
    np.testing.assert_array_equal(*highest)


def test_who_works_in_place_leaves_the_callers_array_as_it_is() -> None:
    sample = noise((8, 8, 8))
    kept = sample.image.copy()
    first, _ = predicted([AddsInPlace()], sample)
    again, _ = predicted([AddsInPlace()], sample)
    np.testing.assert_array_equal(sample.image, kept)
    np.testing.assert_array_equal(first["probabilities"], again["probabilities"])


# ---------------------------------------------------------------------- state


def test_a_subject_is_taken_back_as_it_was_prepared() -> None:
    """Although others were prepared by the same recipe since."""
    samples = [Sample("a", np.full((9, 6, 4, 1), k, np.float32), 1, CLASSES) for k in (1, 2, 5)]
    recipe = recipe_of([Remembers()], samples[0].image)
    engine = NetworkEngine(by_intensity, recipe, (1, 1, 1), PredictionSettings())
    other = NetworkEngine(by_intensity, recipe, (1, 1, 1), PredictionSettings())
    ready = []
    for sample in samples:
        shared: Any = {}  # the second network makes use of what the first has prepared
        ready.append([one.prepare(sample, shared) for one in (engine, other)])
        assert len(shared) == 1
    for sample, both in zip(samples, ready, strict=True):
        cut = int(sample.image.max())
        for one, prepared in zip((engine, other), both, strict=True):
            labels = Collector(one, (9, 6, 4), ["labels"]).collect(prepared)["labels"]
            assert not labels[:cut].any()
            assert (labels[cut:] == 2).all()


def test_many_subjects_are_taken_back_as_they_were_prepared() -> None:
    images = {f"s{k}": (np.full((9, 6, 4), k, np.float32), None) for k in range(1, 7)}
    data_io = miscnn.DataIO(DictionaryInterface(images, 1, CLASSES))
    recipe = miscnn.Preprocessor(data_io, 1, [Remembers()], None, analysis="fullimage")
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))
    found = model.predict(list(images), return_output=True, activation_output=True, verbose=0)
    assert [int((out.sum(axis=(1, 2, 3)) == 0).sum()) for out in found] == [1, 2, 3, 4, 5, 6]
