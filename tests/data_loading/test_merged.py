"""Merged labels: only segmentations change."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.exceptions import ConfigurationError, LabelError, MissingFileError
from miscnn.processing.cache import source_fingerprint

IMAGE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
LABELS = (np.arange(24) % 3).reshape(2, 3, 4).astype(np.uint8)


def in_memory(labels: np.ndarray = LABELS, classes: int = 3) -> DictionaryInterface:
    details = {"spacing": (1, 2, 3), "scanner": "x"}
    return DictionaryInterface({"a": (IMAGE, labels, None, details), "b": IMAGE}, 1, classes)


@pytest.mark.parametrize(
    ("groups", "table"),
    [
        (((0,), (1, 2)), [0, 1, 1]),
        (((0, 2), (1,)), [0, 1, 0]),
        (((0,), (2,), (1,)), [0, 2, 1]),
        ([[1, 0], [2]], [0, 0, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_classes_become_group_numbers(groups, table: list[int], dtype: type) -> None:
    given = LABELS.astype(dtype)
    merged = MergedLabels(in_memory(given), groups)
    assert merged.classes == len(groups)
    found = merged.load_segmentation("a")
    np.testing.assert_array_equal(found, np.array(table)[LABELS])
    assert found.dtype == dtype
    np.testing.assert_array_equal(given, LABELS)
    sample = DataIO(merged).sample_loader("a")
    np.testing.assert_array_equal(sample.segmentation[..., 0], np.array(table)[LABELS])
    assert sample.classes == len(groups)


def test_truth_values_are_labels_too() -> None:
    merged = MergedLabels(in_memory(LABELS == 1, 3), ((0,), (2,), (1,)))
    np.testing.assert_array_equal(merged.load_segmentation("a"), 2 * (LABELS == 1))


def test_everything_else_is_handed_through() -> None:
    inner = in_memory()
    data_io = DataIO(MergedLabels(inner))
    assert data_io.indices_list == ["a", "b"]
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.image[..., 0], IMAGE)
    assert sample.spacing == (1, 2, 3)
    assert sample.details["scanner"] == "x"
    assert data_io.geometry("a") == DataIO(inner).geometry("a")
    assert not data_io.has_segmentation("b")
    with pytest.raises(MissingFileError, match="no segmentation"):
        data_io.sample_loader("b")
    sample.add_prediction(LABELS > 0)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(inner.predictions["a"], LABELS > 0)
    loaded = data_io.sample_loader("a", load_pred=True)
    np.testing.assert_array_equal(loaded.prediction, LABELS > 0)


@pytest.mark.parametrize("odd", [3, 7, 255])
def test_values_that_are_no_class_are_refused(odd: int) -> None:
    labels = LABELS.copy()
    labels[1, 2, 3] = odd
    data_io = DataIO(MergedLabels(in_memory(labels)))
    with pytest.raises(LabelError, match=rf"0 … 1 for classes=2, found 0, 1, {odd}"):
        data_io.sample_loader("a")
    report = data_io.verify(["a"], verbose=False)
    assert any(problem.check == "labels" for problem in report.problems)


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (((0,), (1,)), "class 2 is in no group"),
        (((0,), (1, 2, 2)), "class 2 is there twice"),
        (((0, 1), (1, 2)), "class 1 is there twice"),
        (((0,), (1, 2, 3)), "there is no class 3"),
        (((1,), (0, 2)), "background 0 must be in the first group"),
        (((0,), (), (1, 2)), "group 1 is empty"),
        (((0, 1, 2),), "a single group"),
        (((0,), (1.5, 2)), "whole numbers"),
        ((0, (1, 2)), "whole numbers"),
        ((), "class 0, 1, 2 is in no group"),
    ],
)
def test_groups_that_are_no_partition_are_refused(groups, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        MergedLabels(in_memory(), groups)


def test_an_interface_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="must be a DataInterface"):
        MergedLabels(NIfTIInterface)


def test_configuration_is_json_also_nested() -> None:
    inner = NIfTIInterface(1, 4, image="images/*.nii.gz", segmentation="labels/*")
    merged = MergedLabels(MergedLabels(inner, [[0], [1], [2, 3]]), ((0,), (1, 2)))
    document = json.loads(json.dumps(serialize(merged)))
    made = deserialize(document)
    assert made == merged
    assert made.interface.groups == ((0,), (1,), (2, 3))
    assert made.interface.interface.image == "images/*.nii.gz"
    assert made != MergedLabels(inner, ((0,), (1, 2, 3)))
    assert "groups=((0,), (1, 2))" in repr(made)


def test_files_on_disk(tmp_path: Path) -> None:
    for name in ("s1", "s10", "s2"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        affine = np.diag([1, 2, 3, 1])
        nib.save(nib.Nifti1Image(IMAGE, affine), folder / "imaging.nii.gz")
        nib.save(nib.Nifti1Image(LABELS, affine), folder / "segmentation.nii.gz")
    inner = NIfTIInterface(1, 3)
    with pytest.raises(MissingFileError, match="no folder"):
        DataIO(MergedLabels(inner), tmp_path / "elsewhere")
    data_io = DataIO(MergedLabels(inner), tmp_path / "data", tmp_path / "out")
    assert data_io.indices_list == ["s1", "s2", "s10"]
    assert data_io.interface.source_files("s1") == inner.source_files("s1")
    assert data_io.interface.load_segmentation_geometry("s1").spacing == (1, 2, 3)
    assert data_io.verify(verbose=False).ok
    # what is prepared for one label set must not be taken for the other
    assert source_fingerprint(data_io.interface, "s1") != source_fingerprint(inner, "s1")
    sample = data_io.sample_loader("s1")
    np.testing.assert_array_equal(sample.segmentation[..., 0], LABELS > 0)
    sample.add_prediction(sample.segmentation)
    path = data_io.save_prediction(sample)
    written = nib.load(path)
    np.testing.assert_array_equal(np.asarray(written.dataobj), LABELS > 0)
    np.testing.assert_array_equal(written.affine, np.diag([1, 2, 3, 1]))
    (tmp_path / "data" / "lost.nii.gz").write_bytes(b"")
    assert data_io.interface.overlooked() == inner.overlooked() != []
