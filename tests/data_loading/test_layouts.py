"""Layouts are told by the names of folders and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from miscnn.data_loading.layouts import find_layout, open_dataset
from miscnn.exceptions import ConfigurationError, MissingFileError

from .data_set_files import labels, touch

Save = Callable[..., Path]


@pytest.mark.parametrize(
    ("names", "layout", "found"),
    [
        (["a/imaging.nii.gz", "b/segmentation.nii"], "miscnn", ["a", "b"]),
        (["images/a.nii.gz", "labels/a.nii.gz"], "folders", ["a"]),
        (["Images/a.nii.gz", "Masks/a.nii.gz"], "folders", ["a"]),
        (["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/z.nii.gz"], "folders", ["a"]),
        (["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], "folders", ["a"]),
        (["imagesTr/c_0000.nii.gz", "labelsTr/c_0000.nii.gz"], "folders", ["c_0000"]),
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
    with pytest.raises(MissingFileError, match=r"it holds scan\.abc\)\. Known are MIScnn folders"):
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
    loose = find_layout(tmp_path / "p2")
    assert (loose.name, loose.format) == ("dicom", "DICOM")
    assert "one subject" in loose.description
    assert find_layout(tmp_path / "p1").description.startswith("DICOM: a folder for each")


# names that could be taken for something else


def pictures(folder: Path, name: str) -> list[str]:
    """Return the names of the files a subject's image is read from."""
    interface = find_layout(folder).interface(classes=3)
    interface.initialize(folder)
    return [path.name for path in interface.source_files(name)]


def test_a_number_in_a_name_is_no_index(tmp_path: Path) -> None:
    for index in ("1", "2"):
        touch(tmp_path / index, "t1.nii", "t2.nii", "t_1.nii", "t_2.nii", "seg.nii")
    assert pictures(tmp_path, "1") == ["t1.nii", "t2.nii", "t_1.nii", "t_2.nii", "seg.nii"]
    assert pictures(tmp_path, "2") == pictures(tmp_path, "1")


def test_an_index_and_a_number_in_one_name(tmp_path: Path) -> None:
    for index in ("1", "2"):
        touch(tmp_path / index, *(f"{index}_{end}.nii" for end in ("1", "2", "seg")))
    assert find_layout(tmp_path).image == ("{index}/{index}_1.nii", "{index}/{index}_2.nii")
    assert pictures(tmp_path, "2") == ["2_1.nii", "2_2.nii", "2_seg.nii"]


def test_a_name_that_fits_some_subjects_alone_is_kept(tmp_path: Path) -> None:
    touch(tmp_path / "1", "ct.nii", "seg.nii")
    touch(tmp_path / "2", "ct.nii", "x_2.nii", "seg.nii")
    assert "x_2 (1)" in find_layout(tmp_path).description


@pytest.mark.parametrize("index", ["a", "g", "seg", "imaging"])
def test_a_folder_called_like_a_part_of_its_files(index: str, tmp_path: Path) -> None:
    touch(tmp_path / index, "imaging.nii.gz", "segmentation.nii.gz")
    layout = find_layout(tmp_path)
    assert (layout.name, layout.interface().initialize(tmp_path)) == ("miscnn", [index])


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("volume-{}", "segmentation-{}"),
        ("ct_{}", "seg_{}"),
        ("ct_{}", "ct_seg_{}"),
        ("case_{}", "gt_case_{}"),
        ("c{}", "c{}_ground_truth"),
        ("c{}", "c{}_labels_final"),
        ("c{} ct", "c{} mask"),
        ("{}", "{}.seg"),
    ],
)
def test_pairs_of_images_and_segmentations(image: str, label: str, tmp_path: Path) -> None:
    for number in (0, 1, 10):
        touch(tmp_path, f"{image.format(number)}.nii.gz", f"{label.format(number)}.nii.gz")
    layout = find_layout(tmp_path)
    interface = layout.interface()
    indices = interface.initialize(tmp_path)
    assert (layout.name, len(indices)) == ("pairs", 3)
    assert [path.name for path in interface.source_files(indices[2])] == [
        f"{image.format(10)}.nii.gz", f"{label.format(10)}.nii.gz",
    ]  # fmt: skip


def test_two_raters_are_chosen_by_patterns_that_leave_the_other_out(tmp_path: Path) -> None:
    for index in ("c0", "c1"):
        touch(tmp_path, *(f"{index}{end}.nii" for end in ("", "_label", "_seg")))
    with pytest.raises(ConfigurationError, match="2 layouts fit") as caught:
        find_layout(tmp_path)
    advice = "image='*.nii', segmentation='*_seg.nii', pattern='(?!.*(?:_label)$).+'"
    assert advice in str(caught.value)
    chosen = {"image": "*.nii", "segmentation": "*_seg.nii", "pattern": "(?!.*(?:_label)$).+"}
    assert open_dataset(tmp_path, classes=2, **chosen).indices_list == ["c0", "c1"]


def test_segmentations_are_not_taken_for_images(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "ct.nii.gz", "mask.nii.gz")
    (one / "labels_float.nii.gz").write_bytes(b"x")
    advice = r"image='\*/ct\.nii\.gz', segmentation='\*/mask\.nii\.gz'$"
    with pytest.raises(
        ConfigurationError,
        match=rf"one subject \(ct.*the folder above it, {tmp_path}, with {advice}",
    ):
        find_layout(one)
    chosen = {"image": "*/ct.nii.gz", "segmentation": "*/mask.nii.gz"}
    assert open_dataset(tmp_path, classes=2, **chosen).indices_list == ["one"]
    alone = touch(tmp_path / "alone", "a.nii.gz", "b_labels.nii.gz")
    with pytest.raises(ConfigurationError, match=r"in .*alone b_labels\.nii\.gz look like"):
        find_layout(alone)
    assert find_layout(alone, layout="images").image == ("*.nii.gz",)
    touch(tmp_path / "both", "images/a.nii.gz", "images/a_seg.nii.gz")
    with pytest.raises(ConfigurationError, match="a_seg"):
        find_layout(tmp_path / "both")


@pytest.mark.parametrize("place", ["", "{}/"])
def test_an_image_that_most_subjects_have_is_not_left_out(place: str, tmp_path: Path) -> None:
    for index in ("a", "b", "c"):
        inside = f"{place.format(index)}{index}"
        touch(tmp_path, *(f"{inside}_{what}.nii.gz" for what in ("t1", "t2", "seg")))
    (tmp_path / f"{place.format('b')}b_t2.nii.gz").unlink()
    advice = r"t2 is missing for b\..*modalities=\['t1', 't2'\] .*modalities=\['t1'\] to leave"
    with pytest.raises(ConfigurationError, match=advice):
        find_layout(tmp_path)
    both = find_layout(tmp_path, modalities=["t1", "t2"]).interface()
    assert both.initialize(tmp_path) == ["a", "b", "c"]
    with pytest.raises(MissingFileError, match=r"b_t2\.nii\.gz"):
        both.source_files("b")
    assert find_layout(tmp_path, modalities=["t1"]).interface().channels == 1


def test_a_missing_image_is_no_missing_modality(tmp_path: Path) -> None:
    for index in ("a", "b", "c"):
        touch(tmp_path / index, "ct.nii.gz", "seg.nii.gz")
    (tmp_path / "b" / "ct.nii.gz").unlink()
    layout = find_layout(tmp_path)
    assert layout.image == ("{index}/ct.nii.gz",)
    assert layout.interface().initialize(tmp_path) == ["a", "b", "c"]


def test_each_image_is_missing_somewhere(tmp_path: Path) -> None:
    for index in "abcd":
        touch(tmp_path, *(f"{index}_{what}.nii" for what in ("t1", "t2", "seg")))
    (tmp_path / "a_t1.nii").unlink()
    (tmp_path / "b_t2.nii").unlink()
    with pytest.raises(ConfigurationError, match=r"modalities=\['t1', 't2'\]"):
        find_layout(tmp_path)


def test_names_of_layouts(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_seg.nii.gz")
    for name in ("pairs", "Pairs", "PAIRS"):
        assert find_layout(tmp_path, layout=name).name == "pairs"
    with pytest.raises(MissingFileError, match="layout='nnunet'"):
        find_layout(tmp_path, layout="nnU-Net")
    for wrong in ("kits", "", 3):
        with pytest.raises(ConfigurationError, match=r"known are 'miscnn', .*'dicom', 'listing'$"):
            find_layout(tmp_path, layout=wrong)


def test_five_of_many_layouts_are_shown(tmp_path: Path) -> None:
    touch(tmp_path, "p/ct.nii", *(f"p/{organ}_mask.nii" for organ in "abcdefg"))
    with pytest.raises(ConfigurationError, match="7 layouts fit") as caught:
        find_layout(tmp_path)
    assert str(caught.value).count("segmentation=") == 5
    assert str(caught.value).endswith("; or one of 2 others")


@pytest.mark.parametrize("name", ["labels", "Masks", "segmentations", "labelsTr", "gt"])
def test_a_folder_of_segmentations_is_none_of_images(name: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / name, "a.nii.gz", "b.nii.gz")
    with pytest.raises(ConfigurationError, match=rf"folder above it, {tmp_path}, or say layout="):
        find_layout(folder)
    assert find_layout(folder, layout="images").image == ("*.nii.gz",)
    assert find_layout(touch(tmp_path / f"kits_{name}", "a.nii.gz")).name == "images"


def test_labels_beside_images_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "Images/a.nii.gz")
    assert "beside" not in find_layout(tmp_path / "Images").description
    assert caplog.text == ""
    touch(tmp_path, "masks/a.nii.gz")
    layout = find_layout(tmp_path / "Images")
    assert layout.description.endswith("masks/ beside it is not read (open the folder above)")
    assert f"open the folder above, {tmp_path}" in caplog.text
    caplog.clear()
    find_layout(tmp_path / "Images", layout="images")
    assert caplog.text == ""


def test_folders_of_different_formats(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz", "labels/a.npy")
    with pytest.raises(ConfigurationError, match="images/ holds NIfTI files, but labels/ NumPy"):
        find_layout(tmp_path)


@pytest.mark.parametrize("stray", ["preview.png", "stats.npy", "atlas.nii.gz", "mask.nii.gz"])
def test_stray_files_beside_labelled_subjects(stray: str, tmp_path: Path) -> None:
    touch(tmp_path, "a/imaging.nii.gz", "a/segmentation.nii.gz", stray)
    assert find_layout(tmp_path).name == "miscnn"


def test_what_chooses_nothing_is_refused(tmp_path: Path) -> None:
    kits = touch(tmp_path / "kits", "a/imaging.nii.gz", "a/segmentation.nii.gz")
    with pytest.raises(MissingFileError, match="no test part"):
        find_layout(kits, part="test")
    with pytest.raises(ConfigurationError, match="labels='a/b' chooses among"):
        find_layout(kits, labels="a/b")
    with pytest.raises(ConfigurationError, match="chooses nothing here"):
        find_layout(kits, modalities=["ct"])
    several = touch(tmp_path / "several", "p/t1.nii", "p/t2.nii", "p/seg.nii")
    with pytest.raises(ConfigurationError, match=r"no such images \(flair\); there are t1, t2"):
        find_layout(several, modalities=["t1", "flair"])
    with pytest.raises(ConfigurationError, match=r"expected a list .* \['t1'\]"):
        find_layout(several, modalities="t1")
    with pytest.raises(ConfigurationError, match="different names"):
        find_layout(several, modalities=["t1", "t1"])
    test = touch(tmp_path / "test", "imagesTs/a.nii.gz")
    with pytest.raises(MissingFileError, match="opened by part='test'"):
        find_layout(test)
    assert find_layout(test, part="test").interface().initialize(test) == ["a"]
    for choice in ({"part": "test"}, {"labels": "a/b"}, {"modalities": ["x"]}):
        with pytest.raises(ConfigurationError, match="leave one or the other out"):
            open_dataset(kits, image="*/imaging.nii.gz", **choice)


def test_capitals_and_single_files_are_explained(tmp_path: Path) -> None:
    touch(tmp_path, "a/IM.NII.GZ")
    with pytest.raises(MissingFileError, match=r"a/IM\.NII\.GZ are not.*rename them IM\.nii\.gz"):
        find_layout(tmp_path)
    touch(tmp_path, "b.nii.gz")
    with pytest.raises(MissingFileError, match=r"a single image;.* hand it to the predict method"):
        find_layout(tmp_path / "b.nii.gz")
