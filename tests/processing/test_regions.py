"""Regions that overlap: encoding, decoding, and the way from samples to label maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import miscnn
from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.batches import BatchMaker
from miscnn.processing.chain import run_chain, undo_chain
from miscnn.processing.regions import Regions, as_regions
from miscnn.processing.stored_batches import StoredBatches
from miscnn.processing.subfunctions import CropToForeground, Padding, Resampling
from miscnn.processing.subfunctions.base import Subfunction

BRATS = {"whole tumour": (1, 2, 3), "tumour core": (2, 3), "enhancing": (3,)}
IGNORED = 255


def test_encode_by_hand() -> None:
    encoded = Regions(BRATS).encode(np.array([[0, 1], [2, 3]], np.uint8))
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 1, 0], [1, 1, 1]]]


def test_unlabelled_voxels_are_told_from_background() -> None:
    encoded = Regions(BRATS).encode(np.array([0, IGNORED, 3], np.uint8), IGNORED)
    assert encoded.tolist() == [[0, 0, 0], [-1, -1, -1], [1, 1, 1]]


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32", "float64"])
def test_labels_of_any_number_type_are_encoded_alike(dtype: str) -> None:
    encoded = Regions(BRATS).encode(np.array([0, 1, IGNORED]).astype(dtype), IGNORED)
    assert encoded.tolist() == [[0, 0, 0], [1, 0, 0], [-1, -1, -1]]
    assert Regions({"all": 1}).encode(np.array([True, False])).tolist() == [[1], [0]]
    assert Regions(BRATS).encode(np.zeros((0, 2), dtype)).shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (-1, r"from -1 to 2, but .* the labels 0 … 3"),
        (-1.0, "from -1.0 to 2.0"),
        (4, r"from 1 to 4, but .* label_values"),
        (0.5, "holds fractions"),
        (np.nan, "from nan to nan"),
        (np.inf, "from 1.0 to inf"),
    ],
)
def test_what_is_no_label_is_refused(label: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Regions(BRATS).encode(np.array([1, label, 2]))


def test_decode_by_hand() -> None:
    probabilities = np.array(
        [[0.9, 0.1, 0.1], [0.9, 0.6, 0.5], [0.1, 0.2, 0.51], [0.5, 0.5, 0.5], [0.0, 0.7, 0.2]]
    )
    decoded = Regions(BRATS).decode(probabilities)
    assert decoded.dtype == np.uint8
    assert decoded.tolist() == [1, 2, 3, 0, 2]  # painted in order; ½ is not above ½


def test_a_region_may_add_a_label_that_is_not_the_lowest() -> None:
    kits = Regions({"kidney and masses": (1, 2, 3), "masses": (2, 3), "tumour": 2})
    assert kits.class_order == (1, 3, 2)
    assert kits.decode(kits.encode(np.arange(4))).tolist() == [0, 1, 2, 3]


@settings(max_examples=50)
@given(data=st.data())
def test_nested_regions_in_any_numbering_restore_every_label(data: Any) -> None:
    n = data.draw(st.integers(1, 5))
    order = data.draw(st.permutations(range(1, n + 1)))
    regions = Regions({f"r{k}": tuple(order[k:]) for k in range(n)})
    assert regions.class_order == tuple(order)
    labels = data.draw(hnp.arrays("uint8", (3, 4), elements=st.integers(0, n)))
    encoded = regions.encode(labels)
    for k in range(n):
        np.testing.assert_array_equal(encoded[..., k], np.isin(labels, order[k:]))
    np.testing.assert_array_equal(list(regions.masks(labels)), np.moveaxis(encoded == 1, -1, 0))
    np.testing.assert_array_equal(regions.decode(encoded), labels)


@settings(max_examples=25)
@given(hnp.arrays("float32", (7, 3), elements=st.floats(0, 1, width=32)))
def test_decoding_is_painting_voxel_by_voxel(probabilities: np.ndarray) -> None:
    expected = []
    for voxel in probabilities:
        label = 0
        for k, share in enumerate(voxel):
            label = k + 1 if share > 0.5 else label
        expected.append(label)
    assert Regions(BRATS).decode(probabilities).tolist() == expected


@pytest.mark.parametrize(
    ("regions", "order", "message"),
    [
        ({}, None, "regions is empty"),
        ({"a": ()}, None, "'a' has the labels"),
        ({"a": (0, 1)}, None, "from 1 on"),
        ({"a": (-1,)}, None, "from 1 on"),
        ({"a": (1.5,)}, None, "from 1 on"),
        ([("a", (1,)), ("a", (2,))], None, "same name twice: 'a'"),
        ({"a": (1, 2), "b": (2, 1)}, None, "same set of labels twice"),
        ({"a": (1, 2)}, None, r"'a' holds the labels \[1, 2\]"),
        ({"core": (2,), "whole": (1, 2)}, None, "'core' holds no label.*larger regions before"),
        (BRATS, (1, 2), "has 2 labels for 3 regions"),
        (BRATS, (1, 2, 4), "in no region"),
        (BRATS, (3, 2, 1), "label 1 would be predicted as 3"),
        ({"a": (1, 2), "b": (2, 3)}, (1, 3), "label 2 would be predicted as 3"),
    ],
)
def test_what_cannot_be(regions: Any, order: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Regions(regions, order)


def test_labels_are_held_against_the_data() -> None:
    regions = Regions(BRATS)
    regions.check(4)
    with pytest.raises(ConfigurationError, match=r"label\(s\) \[3\].*has 3 classes"):
        regions.check(3)
    with pytest.raises(ConfigurationError, match=r"label\(s\) \[4\] are in no region"):
        regions.check(5)
    with pytest.raises(ConfigurationError, match=r"2 channels.*3 regions"):
        regions.decode(np.zeros((4, 2)))
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        as_regions([1, 2])  # type: ignore[arg-type]


def test_they_are_made_again_from_json_in_their_order() -> None:
    given = Regions({"b": (1, 2), "a": 2})
    document = json.loads(json.dumps(serialize(given)))
    again = deserialize(document)
    assert again == given
    assert again.names == ("b", "a")
    assert Regions({"b": (1,), "a": (2,)}) != Regions({"a": (2,), "b": (1,)})


# ---------------------------------------------------------------------- recipe


def volume() -> np.ndarray:
    labels = np.zeros((12, 10, 8), np.uint8)
    labels[2:10, 2:8, 2:6] = 1
    labels[4:8, 3:7, 2:6] = 2
    labels[5:7, 4:6, 3:5] = 3
    labels[:, :, 7] = IGNORED
    return labels


def recipe(folder: Path, **options: Any) -> miscnn.Preprocessor:
    labels = volume()
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    interface = DictionaryInterface({"a": (image, labels)}, classes=4, ignore_label=IGNORED)
    data_io = miscnn.DataIO(interface, batch_path=folder)
    options = {"data_aug": None, "analysis": "fullimage", "cache": "memory", **options}
    return miscnn.Preprocessor(data_io, 1, regions=BRATS, **options)


def test_batches_and_stored_batches_hold_regions(tmp_path: Path) -> None:
    maker = BatchMaker(recipe(tmp_path), ["a"], training=True)
    _, targets = maker.batch(0, 0)
    labels = volume()
    for k, of_region in enumerate(BRATS.values()):
        expected = np.where(labels == IGNORED, -1.0, np.isin(labels, of_region))
        np.testing.assert_array_equal(targets[0, ..., k], expected)
    stored = StoredBatches(maker, tmp_path / "stored", seed=0)
    np.testing.assert_array_equal(stored.batch(3, 0)[1], targets)


def test_the_recipe_says_and_remembers_its_regions(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert (made.classes, made.outputs) == (4, 3)
    config = json.loads(json.dumps(made.get_config()))
    again = miscnn.Preprocessor.from_config(config)
    assert again.regions == made.regions
    plain = miscnn.Preprocessor(made.data_io, 1, analysis="fullimage")
    assert (plain.regions, plain.outputs) == (None, 4)
    with pytest.raises(ConfigurationError, match="would never be predicted"):
        miscnn.Preprocessor(made.data_io, 1, analysis="fullimage", regions={"all": 1})
    again.regions = Regions({"all": 1})
    again.data_io = made.data_io
    with pytest.raises(ConfigurationError, match="would never be predicted"):
        again.prepare(["a"])


# ---------------------------------------------------------------------- way back


class _LabelsOnly(Subfunction):
    """Adds 10 to the labels of a prediction, which probabilities have not."""

    restores_probabilities = False

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        return None

    def postprocessing(
        self, sample: Sample, prediction: np.ndarray, activation_output: bool = False
    ) -> np.ndarray:
        assert not activation_output
        return prediction + 10


def sample() -> Sample:
    image = np.zeros((9, 8, 7), np.float32)
    image[2:7, 1:6, 2:6] = np.random.default_rng(1).uniform(1, 2, size=(5, 5, 4))
    return Sample("a", image, classes=4, details={"spacing": (1.0, 1.0, 2.0)})


def way_back(chain: list[Subfunction], activation_output: bool) -> np.ndarray:
    prepared, steps = run_chain(sample(), chain, training=False)
    rng = np.random.default_rng(2)
    probabilities = rng.random((*prepared.spatial_shape, 3), dtype=np.float32)
    regions = Regions(BRATS)
    return undo_chain(sample(), chain, steps, probabilities, activation_output, regions)


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [Resampling((0.7, 1.4, 1.5))],  # restored and decoded in one
        [Resampling((2.0, 2.0, 2.0))],
        [CropToForeground(), Resampling((0.7, 1.4, 1.5))],
        [Resampling((0.7, 1.4, 1.5)), Padding(min_size=16)],
        [Resampling((1.0, 1.0, 2.0))],  # nothing to do
    ],
    ids=repr,
)
def test_labels_are_the_decoded_probabilities_on_the_images_grid(chain: list[Subfunction]) -> None:
    probabilities, labels = way_back(chain, True), way_back(chain, False)
    assert probabilities.shape == (9, 8, 7, 3)
    np.testing.assert_array_equal(labels, Regions(BRATS).decode(probabilities))
    assert len(np.unique(labels)) == 4


def test_each_region_is_resampled_by_itself() -> None:
    chain: list[Subfunction] = [Resampling((0.7, 1.4, 1.5))]
    prepared, steps = run_chain(sample(), chain, training=False)
    probabilities = np.random.default_rng(2).random((*prepared.spatial_shape, 3), np.float32)
    back = way_back(chain, True)
    view = sample()
    view.geometry = steps[0].geometry
    alone = chain[0].postprocessing(view, probabilities, True)
    np.testing.assert_array_equal(back, alone)


def test_outside_of_a_crop_there_is_no_region() -> None:
    chain: list[Subfunction] = [CropToForeground()]
    probabilities, labels = way_back(chain, True), way_back(chain, False)
    outside = np.ones((9, 8, 7), bool)
    outside[2:7, 1:6, 2:6] = False
    assert (probabilities[outside] == 0).all()
    assert (labels[outside] == 0).all()
    assert labels[~outside].any()


def test_subfunctions_of_labels_get_decoded_ones() -> None:
    plain = way_back([], False)
    np.testing.assert_array_equal(way_back([_LabelsOnly()], False), plain + 10)


class _OfOldTimes(Resampling):
    """Restores and decodes in one, but was written when there were classes only."""

    def postprocessing_argmax(self, sample: Sample, probabilities: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return np.full(sample.geometry.shape, 7, np.uint8)


def test_one_step_that_knows_no_regions_is_gone_round() -> None:
    spacing = (0.7, 1.4, 1.5)
    expected = way_back([Resampling(spacing)], False)
    np.testing.assert_array_equal(way_back([_OfOldTimes(spacing)], False), expected)
    prepared, steps = run_chain(sample(), [_OfOldTimes(spacing)], training=False)
    classes = np.full((*prepared.spatial_shape, 3), 1 / 3, np.float32)
    labels = undo_chain(sample(), [_OfOldTimes(spacing)], steps, classes, False)
    assert (labels == 7).all()  # classes go its way
