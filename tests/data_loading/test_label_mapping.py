"""Values in files, and the classes that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, MergedLabels, NIfTIInterface
from miscnn.data_loading.label_mapping import LabelMapping, proposal
from miscnn.exceptions import ConfigurationError, LabelError

VALUES = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(VALUES, min_size=1, max_size=8, unique=True), st.integers(0, 2**32 - 1))
def test_values_come_back(values: list[int], seed: int) -> None:
    mapping = LabelMapping(values, len(values))
    classes = np.random.default_rng(seed).integers(0, len(values), (3, 4, 5)).astype(np.uint8)
    stored = mapping.to_values(classes)
    np.testing.assert_array_equal(stored, np.array(values, dtype=np.int64)[classes])
    np.testing.assert_array_equal(mapping.to_classes(stored, "a"), classes)
    np.testing.assert_array_equal(mapping.to_classes(stored.astype(np.float64), "a"), classes)


def test_several_values_of_one_class() -> None:
    mapping = LabelMapping({7: 1, 0: 0, 9: 1, -1: 255}, classes=2, ignore_label=255)
    stored = np.array([0, 7, 9, -1, 255])
    np.testing.assert_array_equal(mapping.to_classes(stored, "a"), [0, 1, 1, 255, 255])
    np.testing.assert_array_equal(mapping.to_values(np.array([0, 1, 1])), [0, 7, 7])


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([0, 3, 255]), "holds 3;"),
        (np.array([0.0, 254.5]), "holds 254.5;"),
        (np.array([-7, 0]), "holds -7;"),
        (np.array([0, np.nan]), "NaN"),
        (np.array([0, 1j]), "must be integers, got an array of dtype complex128"),
        (np.array(["0"]), "must be integers"),
        (np.arange(300), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …"),
    ],
)
def test_values_that_are_not_declared(array: np.ndarray, named: str) -> None:
    with pytest.raises(LabelError, match=r"sample 'x'.*") as caught:
        LabelMapping([0, 255], 2).to_classes(array, "x")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("label_values", "reason"),
    [
        ([0, 255], "no value means class 2"),
        ([0, 1, 1], "1 would mean 1 and 2"),
        ({0: 0, 1: 1, 2: 3}, "there is no class 3"),
        ({"a": 0}, "are no integers"),
        ([0, 1.5, 2], "are no integers"),
        ([0, 1, 1 << 63], "does not fit into 64 bits"),
    ],
)
def test_contradictions(label_values: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        DictionaryInterface({}, classes=3, label_values=label_values)


def test_a_value_is_a_class_or_ignored() -> None:
    with pytest.raises(ConfigurationError, match="255 would mean class 1, but ignore_label=255"):
        LabelMapping([0, 255], 2, ignore_label=255)
    mapping = LabelMapping({0: 0, 7: 1, 9: 255, 255: 255}, 2, ignore_label=255)
    assert mapping.values == [0, 7]
    stored = np.array([7, 9, 255])
    np.testing.assert_array_equal(mapping.to_classes(stored, "a"), [1, 255, 255])


def test_nothing_is_proposed_that_cannot_be_declared() -> None:
    for value in (float((1 << 64) - 1), 1e19, 1e30, -1e19, float(1 << 62)):
        assert proposal([0.0, value]) is None
    assert proposal([0.0, float(1 << 53)]) == f"classes=2, label_values=[0, {1 << 53}]"


@pytest.mark.parametrize("values", [[0, 255], [0, 64, 128], [-1, 0, 4], [2, 5]])
def test_what_is_proposed_works(values: list[float]) -> None:
    text = proposal(values)
    assert text is not None
    arguments = eval(f"dict({text})")  # the text is for people to paste
    mapping = LabelMapping(arguments["label_values"], arguments["classes"])
    assert mapping.to_classes(np.array(values), "a").max() == arguments["classes"] - 1


def test_a_lone_255_may_be_ignored() -> None:
    first = "ignore_label=255 if these voxels are not annotated, or "
    for values in ([0, 1, 255], [1, 255], [0, 1, 2, 3, 255]):
        assert str(proposal(values)).startswith(first + "classes=")
    for values in ([0, 255], [0, 128, 255], [0, 1, 254], [0, 1, 3, 255], [-1, 0, 1, 255]):
        assert str(proposal(values)).startswith("classes=")


def test_through_files_and_back(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    stored = np.zeros((3, 4, 5), dtype=np.int16)
    stored[1], stored[2, :2] = 600, -5
    for name, array in (("imaging", stored + 1), ("segmentation", stored)):
        nib.save(nib.Nifti1Image(array, np.diag([1, 2, 3, 1])), tmp_path / "a" / f"{name}.nii.gz")
    declared = {0: 0, -5: 1, 600: 2}
    data_io = DataIO(
        NIfTIInterface(classes=3, label_values=declared), tmp_path, output_path=tmp_path / "out"
    )
    assert data_io.verify(verbose=False).ok
    sample = data_io.sample_loader("a")
    assert sample.segmentation is not None
    classes = sample.segmentation[..., 0]
    assert (classes[1] == 2).all()
    assert (classes[2, :2] == 1).all()
    sample.add_prediction(classes)
    path = data_io.save_prediction(sample)
    np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj), stored)
    assert sample.prediction is classes  # the sample is left as it was
    np.testing.assert_array_equal(data_io.load_prediction("a"), classes)
    again = data_io.sample_loader("a", load_pred=True)
    np.testing.assert_array_equal(again.prediction, classes)
    twin = deserialize(serialize(data_io.interface))
    np.testing.assert_array_equal(twin.to_values(classes, "a"), stored)


def test_without_a_mapping_the_error_proposes_one(tmp_path: Path) -> None:
    image = np.zeros((2, 2, 2))
    image[0] = 1
    data_io = DataIO(DictionaryInterface({"a": (image, image.astype(np.uint8) * 255)}))
    with pytest.raises(LabelError, match=r"classes=2, label_values=\[0, 255\]"):
        data_io.sample_loader("a")


def test_merged_classes_are_those_of_the_mapping() -> None:
    labels = np.array([0, 64, 128, 255], dtype=np.uint8).reshape(2, 2, 1)
    inner = DictionaryInterface({"a": (labels, labels)}, classes=4, label_values=[0, 64, 128, 255])
    sample = DataIO(MergedLabels(inner, ((0,), (1, 3), (2,)))).sample_loader("a")
    np.testing.assert_array_equal(sample.segmentation.ravel(), [0, 1, 2, 1])


@pytest.mark.parametrize("three_dim", [True, False])
def test_a_label_map_with_a_channel_axis_is_mapped_as_well(three_dim: bool, tmp_path: Path) -> None:
    shape = (3, 4, 5) if three_dim else (3, 4)
    labels = np.zeros(shape, np.uint8)
    labels[1] = 1
    image = np.arange(float(labels.size)).reshape(shape)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "a.nii.gz")
    interface = NIfTIInterface(image="*.nii.gz", label_values=[3, 200], three_dim=three_dim)
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    for prediction in (labels, labels[..., np.newaxis]):
        sample.prediction = prediction
        path = data_io.save_prediction(sample)
        stored = np.asarray(nib.load(path).dataobj).reshape(shape)
        np.testing.assert_array_equal(stored, np.where(labels == 1, 200, 3))
        assert sample.prediction is prediction
        np.testing.assert_array_equal(data_io.load_prediction("a"), labels)
    sample.prediction = np.full((*shape, 1), 0.5, np.float32)  # probabilities of one class
    path = data_io.save_prediction(sample)
    assert set(np.asarray(nib.load(path).dataobj).ravel().tolist()) == {0.5}
