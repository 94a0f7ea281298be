"""The label of voxels that nobody has annotated: what reading and checking do with it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO
from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.interfaces import DictionaryInterface, MergedLabels, NIfTIInterface
from miscnn.data_loading.sample import as_labels
from miscnn.exceptions import ConfigurationError, LabelError

IMAGE = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
LABELS = np.zeros((4, 3, 2), dtype=np.uint8)
LABELS[1], LABELS[2], LABELS[3, 0] = 1, 2, 255


def data_io(labels=LABELS, ignore_label: int | None = 255, classes: int = 3) -> DataIO:
    interface = DictionaryInterface({"a": (IMAGE, labels)}, 1, classes, ignore_label=ignore_label)
    return DataIO(interface)


def test_it_is_read_as_it_is() -> None:
    sample = data_io().sample_loader("a")
    np.testing.assert_array_equal(sample.segmentation[..., 0], LABELS)
    assert sample.ignore_label == sample.copy().ignore_label == 255


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.float32), LABELS.astype(np.int64)])
def test_without_the_declaration_it_is_refused(labels) -> None:
    with pytest.raises(LabelError, match=r"found 0, 1, 2, 255"):
        data_io(labels, None).sample_loader("a")


def test_other_labels_are_refused_still_and_the_message_names_it() -> None:
    with pytest.raises(LabelError, match=r"0 … 2 for classes=3 or 254 \(ignore_label\), found"):
        data_io(ignore_label=254).sample_loader("a")
    with pytest.raises(LabelError, match="found 0, 1, 2, 255"):
        data_io(classes=2).sample_loader("a")
    with pytest.raises(LabelError):
        as_labels(np.array([-1, 255]), 3, "a", ignore_label=255)


def test_the_type_holds_it() -> None:
    found = as_labels(np.array([0, 1, 300]), 2, "a", ignore_label=300)
    assert found.dtype == np.uint16
    assert found.tolist() == [0, 1, 300]
    assert as_labels(np.array([0, 1, 2]), 2, "a", ignore_label=2).dtype == np.uint8


@pytest.mark.parametrize("label", [0, 2, -1, 65536, 255.0, True, "255"])
def test_what_is_no_ignore_label(label) -> None:
    with pytest.raises(ConfigurationError, match="ignore_label is"):
        DictionaryInterface(classes=3, ignore_label=label)


def test_it_is_part_of_the_configuration() -> None:
    for interface in (
        DictionaryInterface(classes=3, ignore_label=255),
        NIfTIInterface(classes=3, ignore_label=3),
        MergedLabels(NIfTIInterface(classes=3, ignore_label=9), ((0,), (1, 2))),
    ):
        again = deserialize(serialize(interface))
        assert again == interface
        assert again.ignore_label == interface.ignore_label is not None
    assert DictionaryInterface(classes=3) != DictionaryInterface(classes=3, ignore_label=255)


def test_merged_labels_pass_it_through() -> None:
    merged = MergedLabels(data_io().interface, ((0,), (1, 2)))
    assert merged.ignore_label == 255
    sample = DataIO(merged).sample_loader("a")
    expected = np.where(LABELS == 2, 1, LABELS)
    np.testing.assert_array_equal(sample.segmentation[..., 0], expected)


def test_from_nifti_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, array in (("imaging", IMAGE), ("segmentation", LABELS)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a" / f"{name}.nii.gz")
    whole = DataIO(NIfTIInterface(classes=3, ignore_label=255), tmp_path)
    np.testing.assert_array_equal(whole.sample_loader("a").segmentation[..., 0], LABELS)
    assert whole.verify(verbose=False).ok


def test_verify_tells_of_it_and_finds_no_fault() -> None:
    subjects = {"a": (IMAGE, LABELS), "b": (IMAGE, np.where(LABELS == 255, 0, LABELS))}
    report = DataIO(DictionaryInterface(subjects, classes=3, ignore_label=255)).verify(
        verbose=False
    )
    assert report.ok
    (note,) = report.problems
    assert note.severity == "note"
    assert "label 255 (ignore_label)" in note.message
    assert "1 of 2 segmentations" in note.message


def test_verify_knows_what_the_rest_amounts_to() -> None:
    nothing = np.full_like(LABELS, 255)
    empty = np.where(LABELS > 0, 255, 0)
    subjects = {"none": (IMAGE, nothing), "empty": (IMAGE, empty), "wrong": (IMAGE, LABELS * 0 + 7)}
    report = DataIO(DictionaryInterface(subjects, classes=3, ignore_label=255)).verify(
        verbose=False
    )
    found = {(p.index, p.severity, p.check) for p in report.problems}
    assert ("none", "warning", "empty") in found
    assert ("empty", "warning", "empty") in found
    assert ("wrong", "error", "labels") in found
    assert not any(p.index == "none" and p.severity == "error" for p in report.problems)


def test_classes_are_inferred_without_it() -> None:
    from miscnn.data_loading.verification import verify

    assert verify(data_io(ignore_label=255), infer_classes=True, verbose=False).classes == 3
