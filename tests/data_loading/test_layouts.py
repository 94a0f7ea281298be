"""Data sets are opened without being told how they are laid out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.layouts import Layout, find_layout, open_dataset
from miscnn.data_loading.layouts._classes import distinct
from miscnn.data_loading.layouts._labels import declared_labels
from miscnn.exceptions import ConfigurationError, LabelError, MissingFileError, SampleError

Save = Callable[..., Path]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def describe(folder: Path, **content: Any) -> None:
    (folder / "dataset.json").write_text(json.dumps(content))


def labels(*values: int) -> np.ndarray:
    array = np.zeros((3, 4, 5), np.uint8)
    array[0, 0, : len(values)] = values
    return array


@pytest.mark.parametrize(
    ("names", "layout", "found"),
    [
        (["a/imaging.nii.gz", "b/segmentation.nii"], "miscnn", ["a", "b"]),
        (["images/a.nii.gz", "labels/a.nii.gz"], "folders", ["a"]),
        (["Images/a.nii.gz", "Masks/a.nii.gz"], "folders", ["a"]),
        (["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/z.nii.gz"], "folders", ["a"]),
        (["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], "folders", ["a"]),
        (["imagesTr/c_0000.nii.gz", "labelsTr/c_0000.nii.gz"], "folders", ["c_0000"]),
        (["imagesTs/a.nii.gz", "labelsTr/b.nii.gz"], "images", ["a"]),
        (["images/ct_01.nii", "images/ct_02.nii", "labels/s_01.nii", "labels/s_02.nii"],
         "folders", ["01", "02"]),
        (["a.nii.gz", "b.nii"], "images", ["a", "b"]),
        (["a.nii.gz", "a_mask.nii.gz", "b.nii.gz"], "pairs", ["a", "b"]),
        (["b1_image.nii", "b1_label.nii", "b10_image.nii", "b10_label.nii"], "pairs",
         ["b1", "b10"]),
        (["case_00000.nii.gz", "case_00001.nii.gz"], "images", ["case_00000", "case_00001"]),
        (["c_0000.nii.gz", "c_0001.nii.gz", "c_0002.nii.gz"], "images",
         ["c_0000", "c_0001", "c_0002"]),
        (["p1/ct.nii.gz", "p1/mask.nii.gz", "p2/ct.nii.gz", "p2/mask.nii.gz"], "subjects",
         ["p1", "p2"]),
    ],
)  # fmt: skip
def test_layouts_by_names(names: list[str], layout: str, found: list[str], tmp_path: Path) -> None:
    seen = find_layout(touch(tmp_path, *names))
    assert seen.name == layout
    assert seen.interface(classes=3).initialize(tmp_path) == found


def test_channel_numbers(tmp_path: Path) -> None:
    names = [f"images/{i}_000{c}.nii.gz" for i in "ab" for c in (0, 1)]
    layout = find_layout(touch(tmp_path, *names, "labels/a.nii.gz"))
    assert layout.image == ("images/*_0000.nii.gz", "images/*_0001.nii.gz")
    assert layout.interface().channels == 2
    assert layout.interface().initialize(tmp_path) == ["a", "b"]
    assert "images/*_0001.nii.gz" in layout.description


@pytest.mark.parametrize("place", ["", "{}/"])
def test_channel_names(place: str, tmp_path: Path) -> None:
    for index in ("p_1", "p_10"):
        inside = place.format(index)
        touch(tmp_path, *(f"{inside}{index}_{what}.nii.gz" for what in ("t1", "flair", "seg")))
    touch(tmp_path, f"{place.format('p_10')}p_10_t2.nii.gz")
    layout = find_layout(tmp_path)
    assert [text.rsplit("_", 1)[1] for text in layout.image] == ["flair.nii.gz", "t1.nii.gz"]
    assert "t2 (1)" in layout.description
    interface = layout.interface()
    assert (interface.channels, interface.initialize(tmp_path)) == (2, ["p_1", "p_10"])
    assert [p.name for p in interface.source_files("p_1")] == [
        "p_1_flair.nii.gz", "p_1_t1.nii.gz", "p_1_seg.nii.gz",
    ]  # fmt: skip
    chosen = find_layout(tmp_path, modalities=["t1"]).interface()
    assert [p.name for p in chosen.initialize(tmp_path) and chosen.source_files("p_10")] == [
        "p_10_t1.nii.gz", "p_10_seg.nii.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "form"), [(".nrrd", "ITK"), (".mha", "ITK"), (".png", "image"), (".npy", "NumPy")]
)
def test_formats(ending: str, form: str, tmp_path: Path) -> None:
    layout = find_layout(touch(tmp_path, f"images/a{ending}", f"labels/a{ending}", "labels/x.txt"))
    assert (layout.format, layout.image) == (form, (f"images/*{ending}",))
    assert layout.segmentation == f"labels/*{ending}"


def test_two_layouts_are_refused_with_what_chooses(tmp_path: Path, save: Save) -> None:
    for folder in ("images", "labels", "masks"):
        save(tmp_path / folder / "a.nii.gz", labels(1))
    touch(tmp_path, "images/a.png", "labels/a.png")
    with pytest.raises(ConfigurationError) as caught:
        find_layout(tmp_path)
    text = str(caught.value)
    assert "image='images/*.nii.gz', segmentation='labels/*.nii.gz'" in text
    assert "image='images/*.nii.gz', segmentation='masks/*.nii.gz'" in text
    assert "image='images/*.png'" in text
    with pytest.raises(ConfigurationError, match="2 layouts fit"):
        find_layout(tmp_path, format="NIfTI")
    data_io = open_dataset(
        tmp_path, image="images/*.nii.gz", segmentation="masks/*.nii.gz", classes=2
    )
    assert data_io.interface.segmentation == "masks/*.nii.gz"
    assert data_io.layout.name == "patterns"


def test_an_unknown_folder_says_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "scan.abc", ".hidden.nii.gz")
    with pytest.raises(MissingFileError, match=r"it holds scan\.abc\); known are MIScnn folders"):
        find_layout(tmp_path)
    with pytest.raises(MissingFileError, match="there is no folder"):
        find_layout(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="layout='bids'"):
        find_layout(touch(tmp_path, "images/a.nii"), layout="bids")
    with pytest.raises(ConfigurationError, match="'ITK'"):
        find_layout(tmp_path, format="bmp")
    with pytest.raises(ConfigurationError, match="'test'"):
        find_layout(tmp_path, part="validation")


def test_dicom_is_a_folder_for_each_subject(tmp_path: Path) -> None:
    for place in ("p1/series/IM1", "p2/IM1"):
        touch(tmp_path, place)
        (tmp_path / place).write_bytes(bytes(128) + b"DICM")
    layout = find_layout(tmp_path)
    assert (layout.name, layout.format) == ("dicom", "DICOM")
    with pytest.raises(MissingFileError, match="of one subject"):
        find_layout(tmp_path / "p2")


# dataset.json


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


# BIDS


def test_bids(tmp_path: Path, save: Save) -> None:
    for i in (1, 2):
        stem = f"sub-0{i}/anat/sub-0{i}"
        save(tmp_path / f"{stem}_T1w.nii.gz", labels(i))
        save(tmp_path / f"{stem}_FLAIR.nii.gz", labels(i + 10))
        touch(tmp_path, f"{stem}_T1w.json", f"sub-0{i}/func/sub-0{i}_task-x_bold.nii.gz")
        touch(tmp_path, f"derivatives/prep/{stem}_desc-brain_mask.nii.gz")
        touch(tmp_path, f"derivatives/prep/{stem}_space-MNI_dseg.nii.gz")
        save(tmp_path / f"derivatives/manual/{stem}_dseg.nii.gz", labels(1, 2))
    data_io = open_dataset(tmp_path)
    assert data_io.layout.name == "bids"
    assert data_io.layout.image[0] == "{index}/anat/{index}_FLAIR.nii.gz"
    assert data_io.indices_list == ["sub-01", "sub-02"]
    assert data_io.interface.classes == 3
    sample = data_io.sample_loader("sub-02")
    assert sample.image[0, 0, 0].tolist() == [12, 2]
    assert sample.segmentation[0, 0, :2, 0].tolist() == [1, 2]
    data_io = open_dataset(tmp_path, modalities=["T1w"], labels="prep/desc-brain_mask", classes=2)
    assert data_io.interface.channels == 1
    assert data_io.interface.segmentation.endswith("desc-brain_mask.nii.gz")


def test_bids_with_sessions(tmp_path: Path, save: Save) -> None:
    for s in (1, 2):
        inside = f"sub-1/ses-{s}/anat/sub-1_ses-{s}"
        save(tmp_path / f"{inside}_T1w.nii.gz", labels(s))
    inside = "sub-1/ses-2/anat/sub-1_ses-2"
    save(tmp_path / f"derivatives/x/{inside}_label-lesion_mask.nii.gz", labels(1))
    data_io = open_dataset(tmp_path)
    assert data_io.indices_list == ["sub-1_ses-1", "sub-1_ses-2"]
    assert [data_io.has_segmentation(i) for i in data_io.indices_list] == [False, True]
    assert data_io.sample_loader("sub-1_ses-2").segmentation.sum() == 1
    twin = NIfTIInterface.from_config(json.loads(json.dumps(data_io.interface.get_config())))
    assert twin.initialize(tmp_path) == data_io.indices_list


def test_bids_that_could_mean_several_things(tmp_path: Path) -> None:
    for i in (1, 2):
        stem = f"sub-{i}/anat/sub-{i}"
        touch(tmp_path, f"{stem}_run-1_T1w.nii", f"{stem}_run-2_T1w.nii")
        touch(tmp_path, f"derivatives/a/{stem}_dseg.nii", f"derivatives/b/{stem}_dseg.nii")
    with pytest.raises(ConfigurationError, match=r"modalities=\['run-1_T1w'\]"):
        find_layout(tmp_path)
    with pytest.raises(ConfigurationError, match=r"labels='a/dseg' \(2 subjects\); labels='b/"):
        find_layout(tmp_path, modalities=["run-1_T1w"])
    layout = find_layout(tmp_path, modalities=["run-1_T1w"], labels="b/dseg")
    assert layout.segmentation == "derivatives/b/{index}/anat/{index}_dseg.nii"
    with pytest.raises(ConfigurationError, match="no such images"):
        find_layout(tmp_path, modalities=["T3w"])


# how many classes, channels and dimensions


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


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, bool])
def test_distinct_values(dtype: type, rng: np.random.Generator) -> None:
    array = rng.integers(-5 if np.dtype(dtype).kind in "if" else 0, 90, (7, 8, 9)).astype(dtype)
    assert distinct(array) == np.unique(array).astype(float).tolist()
    assert distinct(array[:0]) == []
    if dtype is np.int64:
        assert distinct(array * 10**6) == np.unique(array * 10**6).tolist()


def test_a_layout_and_its_arguments() -> None:
    layout = Layout("x", "y", ("*_a", "*_b"), "*_l", further={"classes": 3, "class_names": "abc"})
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
