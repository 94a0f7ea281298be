"""Data sets with a ``dataset.json`` are opened as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.layouts import find_layout, open_dataset
from miscnn.data_loading.layouts._labels import declared_labels
from miscnn.exceptions import ConfigurationError, MissingFileError

from .data_set_files import describe, labels, touch

Save = Callable[..., Path]


def nnunet(folder: Path, save: Save, **further: Any) -> Path:
    for index in ("case_2", "case_10"):
        for channel in (0, 1):
            image = np.full((3, 4, 5), 10 * int(index[5:]) + channel, np.int16)
            save(folder / "imagesTr" / f"{index}_000{channel}.nii.gz", image)
        save(folder / "labelsTr" / f"{index}.nii.gz", labels(1, 3))
    touch(folder, "imagesTs/case_7_0000.nii.gz", "imagesTs/case_7_0001.nii.gz")
    content = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "PZ": 1, "TZ": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **further,
    }
    describe(folder, **content)
    return folder


def test_nnunet(tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data_io = miscnn.open_dataset(nnunet(tmp_path, save), output_path="out")
    assert data_io.layout.name == "nnunet"
    assert "nnU-Net" in caplog.text
    assert "T2, ADC" in caplog.text
    assert data_io.output_path == "out"
    assert data_io.indices_list == ["case_2", "case_10"]
    interface = data_io.interface
    assert (interface.channels, interface.classes) == (2, 3)
    assert interface.class_names == ["background", "PZ", "TZ"]
    assert interface.label_values == [0, 1, 3]
    assert interface.listing is None  # patterns find new subjects
    sample = data_io.sample_loader("case_10")
    assert sample.image[0, 0, 0].tolist() == [100, 101]
    assert sample.segmentation[0, 0, :3, 0].tolist() == [1, 2, 0]
    again = type(interface).from_config(json.loads(json.dumps(interface.get_config())))
    assert again.initialize(tmp_path) == data_io.indices_list
    test = find_layout(tmp_path, part="test")
    assert test.interface().initialize(tmp_path) == ["case_7"]
    assert find_layout(tmp_path / "dataset.json") == find_layout(tmp_path)


def test_arguments_take_precedence(tmp_path: Path, save: Save) -> None:
    nnunet(tmp_path, save)
    data_io = open_dataset(tmp_path, classes=4)
    assert (data_io.interface.classes, data_io.interface.label_values) == (4, None)
    assert data_io.sample_loader("case_2").segmentation[0, 0, 1, 0] == 3
    with pytest.raises(ConfigurationError, match="does not know clases"):
        open_dataset(tmp_path, clases=4)
    assert open_dataset(tmp_path, pattern="case_2").indices_list == ["case_2"]


def test_nnunet_regions_and_ignored_voxels(tmp_path: Path, save: Save) -> None:
    declared = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2, "ignore": 4}
    layout = find_layout(nnunet(tmp_path, save, labels=declared, regions_class_order=[1, 3, 2]))
    assert layout.regions == {"kidney": (1, 2, 3), "masses": (2, 3), "tumor": (2,)}
    assert layout.regions_class_order == (1, 3, 2)
    interface = layout.interface()
    assert (interface.classes, interface.ignore_label) == (4, 4)
    assert interface.class_names is None


def test_nnunet_with_a_list_of_files(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "raw" / "x.nii.gz", labels(5))
    save(tmp_path / "elsewhere" / "truth.nii.gz", labels(1))
    data = tmp_path / "data"
    data.mkdir()
    describe(
        data,
        channel_names={"0": "CT"},
        labels={"background": 0, "liver": 1},
        file_ending=".nii.gz",
        dataset={"s": {"images": ["../raw/x.nii.gz"], "label": "../elsewhere/truth.nii.gz"}},
    )
    data_io = open_dataset(data)
    assert data_io.indices_list == ["s"]
    sample = data_io.sample_loader("s")
    assert (sample.image[0, 0, 0, 0], sample.segmentation.sum()) == (5, 1)
    twin = NIfTIInterface.from_config(json.loads(json.dumps(data_io.interface.get_config())))
    assert twin == data_io.interface
    assert twin.initialize(data) == ["s"]


def test_old_nnunet_files_with_numbers_that_the_list_leaves_out(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    listed = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    described = {"0": "background", "1": "x"}
    describe(tmp_path, modality={"0": "CT"}, labels=described, training=listed)
    layout = find_layout(tmp_path)
    assert (layout.name, layout.image) == ("nnunet", ("imagesTr/{index}_0000.nii.gz",))


def test_msd(tmp_path: Path, save: Save) -> None:
    image = np.arange(3 * 4 * 5 * 2, dtype=np.int16).reshape(3, 4, 5, 2)
    for index in ("b_2", "b_10", "left_out"):
        save(tmp_path / "imagesTr" / f"{index}.nii.gz", image)
        save(tmp_path / "labelsTr" / f"{index}.nii.gz", labels(1))
    touch(tmp_path, "imagesTr/._b_2.nii.gz", "imagesTs/t.nii.gz")
    listed = [
        {"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"} for i in
        ("b_10", "b_2")
    ]  # fmt: skip
    describe(
        tmp_path,
        modality={"0": "FLAIR", "1": "T1w"},
        labels={"0": "background", "1": "edema"},
        training=listed,
        test=["./imagesTs/t.nii.gz"],
    )
    data_io = open_dataset(tmp_path)
    assert data_io.layout.name == "msd"
    assert data_io.indices_list == ["b_2", "b_10"]  # the listed ones alone
    assert (data_io.interface.channels, data_io.interface.classes) == (2, 2)
    assert data_io.interface.class_names == ["background", "edema"]
    np.testing.assert_array_equal(data_io.sample_loader("b_2").image, image)
    assert find_layout(tmp_path, part="test").interface().initialize(tmp_path) == ["t"]
    for place in ("images", "labels"):
        (tmp_path / f"{place}Tr" / "left_out.nii.gz").unlink()
    assert find_layout(tmp_path).image == ("imagesTr/{index}.nii.gz",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ('{"labels": {"a": "b"}, "training": ["x.nii"]}', "labels are"),
        ('{"labels": {"a": 0.5}, "training": ["x.nii"]}', "labels are"),
        ('{"labels": {"a": 1, "b": -1}, "training": ["x.nii"]}', "from 0 on"),
        ('{"labels": {"a": 1}, "training": [3]}', "is listed as a subject"),
        ('{"labels": {"a": 1}, "dataset": {"s": {"images": 3}}}', "the entry 's'"),
        ('{"labels": {"a": 1}, "file_ending": ".dat", "channel_names": {}}', r"\.dat"),
        ('{"labels": {"a": 1}, "channel_names": {"0": "CT"}}', "no images in imagesTr"),
    ],
)
def test_a_description_that_makes_no_sense(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        find_layout(tmp_path)


def test_an_ignored_value_among_the_classes_gets_another_number() -> None:
    declared = declared_labels({"background": 0, "a": 1, "b": 3, "ignore": 2}, {}, "x")
    assert declared.arguments == {
        "classes": 3, "ignore_label": 255, "label_values": {0: 0, 1: 1, 3: 2, 2: 255},
        "class_names": ["background", "a", "b"],
    }  # fmt: skip
    mapping = NIfTIInterface(**declared.arguments).mapping
    assert mapping.to_classes(np.array([0, 1, 2, 3]), "s").tolist() == [0, 1, 255, 2]


def test_a_missing_channel_is_one_subjects_error(tmp_path: Path, save: Save) -> None:
    nnunet(tmp_path, save)
    (tmp_path / "imagesTr" / "case_2_0001.nii.gz").rename(
        tmp_path / "imagesTr" / "case_2_0002.nii.gz"
    )
    data_io = open_dataset(tmp_path)
    assert data_io.interface.listing is None  # patterns find new subjects all the same
    assert data_io.indices_list == ["case_2", "case_10"]
    assert data_io.sample_loader("case_10").image[0, 0, 0].tolist() == [100, 101]
    with pytest.raises(MissingFileError, match=r"imagesTr/case_2_0001\.nii\.gz"):
        data_io.sample_loader("case_2")
    found = data_io.verify(verbose=False).problems
    assert [p.index for p in found if p.check == "missing"] == ["case_2"]
    save(tmp_path / "imagesTr" / "case_10_0002.nii.gz", labels())
    with pytest.raises(ConfigurationError, match=r"declares 2 channels.*up to 3 image files"):
        find_layout(tmp_path)


def test_numbers_of_cases_are_no_channels(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/p_0001.nii.gz", "labelsTr/p_0001.nii.gz")
    touch(tmp_path, "imagesTs/p_0011.nii.gz", "imagesTs/p_0012.nii.gz")
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}}
    content["training"] = [{"image": "./imagesTr/p_0001.nii.gz", "label": None}]
    describe(tmp_path, **content, test=["./imagesTs/p_0011.nii.gz", "./imagesTs/p_0012.nii.gz"])
    layout = find_layout(tmp_path, part="test")
    assert layout.name == "msd"
    assert layout.interface().initialize(tmp_path) == ["p_0011", "p_0012"]
    describe(tmp_path, **content)  # the test part may be left out
    assert find_layout(tmp_path, part="test").interface().initialize(tmp_path) == [
        "p_0011", "p_0012",
    ]  # fmt: skip


def test_the_declared_number_of_classes_keeps_what_is_declared(tmp_path: Path, save: Save) -> None:
    nnunet(tmp_path, save)
    interface = open_dataset(tmp_path, classes=3).interface
    assert interface.label_values == [0, 1, 3]
    assert interface.class_names == ["background", "PZ", "TZ"]


def test_an_order_that_is_none() -> None:
    content = {"regions_class_order": [[1]]}
    with pytest.raises(ConfigurationError, match="regions_class_order is"):
        declared_labels({"background": 0, "a": [1, 2], "b": 2}, content, "x")


def test_files_missing_from_a_list_are_told_once(
    tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.nii.gz", labels())
    save(tmp_path / "a_seg.nii.gz", labels(2, 1))
    (tmp_path / "l.csv").write_text("id,image,mask\na,a.nii.gz,a_seg.nii.gz\nb,b.nii.gz,\n")
    assert open_dataset(tmp_path / "l.csv").interface.classes == 3
    assert caplog.text.count("listed files are not in") == 1
