"""Data sets are opened without being told what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.data_loading.layouts import Layout, open_dataset
from miscnn.exceptions import ConfigurationError, LabelError, SampleError

from .data_set_files import labels

Save = Callable[..., Path]


def test_classes_are_counted(tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for number, values in enumerate([(1,), (), (2, 1)]):
        save(tmp_path / "images" / f"{number}.nii.gz", labels())
        save(tmp_path / "labels" / f"{number}.nii.gz", labels(*values))
    assert open_dataset(tmp_path).interface.classes == 3
    assert "classes=3 found in 3 segmentations; pass classes=" in caplog.text


def test_a_mask_of_255_is_one_class_and_more_is_refused(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.nii.gz", labels())
    save(tmp_path / "a_seg.nii.gz", labels(255))
    data_io = open_dataset(tmp_path)
    assert (data_io.interface.classes, data_io.interface.label_values) == (2, [0, 255])
    assert data_io.sample_loader("a").segmentation.sum() == 1
    save(tmp_path / "b.nii.gz", labels())
    save(tmp_path / "b_seg.nii.gz", labels(128))
    with pytest.raises(ConfigurationError, match=r"classes=3, label_values=\[0, 128, 255\]"):
        open_dataset(tmp_path)
    save(tmp_path / "b_seg.nii.gz", np.full((3, 4, 5), 0.5, np.float32))
    with pytest.raises(ConfigurationError, match=r"0\.5 in sample 'b'.*no label maps"):
        open_dataset(tmp_path)
    with pytest.raises(LabelError):
        open_dataset(tmp_path, classes=2).sample_loader("a")


def test_few_large_segmentations_are_read(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from miscnn.data_loading.layouts import _classes

    caplog.set_level("INFO")
    for number in range(9):
        save(tmp_path / f"{number}.nii.gz", labels())
        save(tmp_path / f"{number}_seg.nii.gz", labels(1, *([2] if number == 3 else [])))
    monkeypatch.setattr(_classes, "MOST_READ", 3)
    monkeypatch.setattr(_classes, "MOST_VOXELS", 0)
    data_io = open_dataset(tmp_path)
    assert data_io.interface.classes == 2
    assert "3 of 9 segmentations" in caplog.text
    with pytest.raises(LabelError, match="classes=3"):
        data_io.sample_loader("3")
    monkeypatch.setattr(_classes, "MOST_VOXELS", 1000)
    assert open_dataset(tmp_path).interface.classes == 3


def test_channels_and_dimensions_of_the_first_image(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "four" / "a.nii.gz", np.zeros((3, 4, 5, 2), np.int16))
    save(tmp_path / "flat" / "a.nii.gz", np.zeros((3, 4, 1), np.int16))
    assert open_dataset(tmp_path / "four").sample_loader("a", load_seg=False).image.shape == (
        3, 4, 5, 2,
    )  # fmt: skip
    assert open_dataset(tmp_path / "flat").sample_loader("a", load_seg=False).image.shape == (
        3, 4, 1,
    )  # fmt: skip


def test_a_layout_and_its_arguments() -> None:
    declared = {"classes": 3, "class_names": ["a", "b", "c"]}
    layout = Layout("x", "y", ("*_a", "*_b"), "*_l", further=declared)
    assert layout.interface().get_config()["image"] == ["*_a", "*_b"]
    assert layout.interface(image="*_a").channels == 1
    assert layout.interface(classes=2).class_names is None
    assert layout.interface(classes=2, class_names=["a", "b"]).class_names == ["a", "b"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "layout", "form", "n", "classes"),
    [
        ("hippocampus", "folders", "NIfTI", 130, 3),
        ("sarcoma_ct", "folders", "NIfTI", 26, 2),
        ("isbi_em", "folders", "image", 30, 2),
        ("kits19_labels", "images", "NIfTI", 12, 2),
        ("nrrd", "pairs", "ITK", 1, 2),
    ],
)
def test_real_data_sets(
    name: str, layout: str, form: str, n: int, classes: int, real_data: Path
) -> None:
    data_io = open_dataset(real_data / name)
    assert (data_io.layout.name, data_io.layout.format) == (layout, form)
    assert (len(data_io.indices_list), data_io.interface.classes) == (n, classes)
    if layout != "images":
        sample = data_io.sample_loader(data_io.indices_list[-1])
        assert np.unique(sample.segmentation).tolist() == list(range(classes))


@pytest.mark.realdata
def test_a_tree_of_dicom_files(real_data: Path) -> None:
    with pytest.raises(SampleError, match="series='CT'"):
        open_dataset(real_data / "sarcoma_dicom")
    data_io = open_dataset(real_data / "sarcoma_dicom", series="CT", structure_dict={"GTV*": 1})
    assert (data_io.layout.name, data_io.interface.classes) == ("dicom", 2)
    assert data_io.indices_list == ["STS_001", "STS_003"]


def test_an_ignored_label_is_no_class(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.nii.gz", labels())
    save(tmp_path / "a_seg.nii.gz", labels(1, 2, 255))
    interface = open_dataset(tmp_path, ignore_label=255).interface
    assert (interface.classes, interface.label_values) == (3, None)


@pytest.mark.parametrize(
    ("arguments", "classes"),
    [
        ({"label_values": [0, 1, 2, 255]}, 4),
        ({"label_values": {0: 0, 1: 1, 2: 1, 255: 0}}, 2),
        ({"label_values": {0: 0, 1: 1, 2: 2, 7: 255}, "ignore_label": 255}, 3),
        ({"class_names": ["background", "kidney", "tumour", "cyst"]}, 4),
    ],
)
def test_classes_are_told_by_values_or_names(
    arguments: dict[str, Any], classes: int, tmp_path: Path, save: Save
) -> None:
    save(tmp_path / "a.nii.gz", labels())
    save(tmp_path / "a_seg.nii.gz", labels(1))
    assert open_dataset(tmp_path, **arguments).interface.classes == classes


def test_255_may_be_no_class(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.nii.gz", labels())
    save(tmp_path / "a_seg.nii.gz", labels(1, 255))
    advice = (
        r"1 segmentation holds .*ignore_label=255 if .* or classes=3, label_values=\[0, 1, 255\]"
    )
    with pytest.raises(ConfigurationError, match=advice):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, ignore_label=255).interface.classes == 2


@pytest.mark.realdata
def test_dicom_files_of_one_subject(real_data: Path) -> None:
    data_io = open_dataset(real_data / "torso_dicom_example", layout="DICOM")
    assert data_io.indices_list == ["torso_dicom_example"]
    assert data_io.layout.name == "dicom"


def test_odd_arguments(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.nii.gz", labels())
    with pytest.raises(ConfigurationError, match="class_names='abc'; expected a list"):
        open_dataset(tmp_path, classes=3, class_names="abc")
    with pytest.raises(ConfigurationError, match="sample 'a' has"):
        open_dataset(tmp_path, listing={"a": "a.nii.gz"})
    with pytest.raises(ConfigurationError, match="listing=3"):
        open_dataset(tmp_path, listing=3)


def test_labels_that_no_mapping_takes(tmp_path: Path) -> None:
    for values in (np.full((3, 4, 5), 1 << 63, np.uint64), np.arange(300).reshape(3, 10, 10)):
        np.save(tmp_path / "a.npy", np.zeros(values.shape))
        np.save(tmp_path / "a_seg.npy", values)
        with pytest.raises(ConfigurationError, match="these are no label maps"):
            open_dataset(tmp_path)


def test_a_pattern_without_ending(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images" / "a.nii.gz", labels(4))
    data_io = open_dataset(tmp_path, image="images/*", classes=2)
    assert data_io.layout.format == "NIfTI"
    assert data_io.sample_loader("a", load_seg=False).image[0, 0, 0, 0] == 4
    (tmp_path / "images" / "b.png").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=r"there are NIfTI and image files\); name it"):
        open_dataset(tmp_path, image="images/*")
