"""Which files belong to which subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.data_loading._patterns import Pattern, natural_key
from miscnn.data_loading.interfaces import (
    DataInterface,
    DictionaryInterface,
    NIFTI_interface,
    NIfTIInterface,
    get_data_interface_from_file_term,
    miscnn_data_interfaces,
)
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def indices(folder: Path, **arguments: object) -> list[str]:
    return NIfTIInterface(**arguments).initialize(folder)


def test_miscnn_folders_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"case_{i}/imaging.nii.gz" for i in (10, 9, 100)))
    touch(tmp_path, "case_2/imaging.nii", "only/segmentation.nii.gz", "notes/readme.txt")
    touch(tmp_path, ".hidden/imaging.nii.gz", "imaging.nii.gz")
    assert indices(tmp_path) == ["case_2", "case_9", "case_10", "case_100", "only"]
    assert indices(tmp_path, pattern="case_[0-9]{2,3}") == ["case_10", "case_100"]
    assert indices(tmp_path, pattern="case_1") == []  # as a whole


def test_images_beside_labels(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz", "images/b.nii", "images/._a.nii.gz", "images/notes.txt")
    touch(tmp_path, "labels/a.nii.gz", "labels/c.nii.gz")
    arguments = {"image": "images/*.nii.gz", "segmentation": "labels/*.nii.gz"}
    interface = NIfTIInterface(**arguments)
    assert interface.initialize(tmp_path) == ["a", "b", "c"]
    assert [interface.has_segmentation(index) for index in "abc"] == [True, False, True]
    with pytest.raises(MissingFileError, match=r"'c': there is no image file images.c.nii.gz"):
        interface.load_image("c")
    assert interface.source_files("a") == [
        tmp_path / "images/a.nii.gz",
        tmp_path / "labels/a.nii.gz",
    ]


def test_a_segmentation_in_the_same_folder_is_no_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b_seg.nii")
    assert indices(tmp_path, image="*.nii.gz", segmentation="*_seg.nii.gz") == ["a", "b"]
    assert indices(tmp_path, image="*.nii.gz") == ["a", "a_seg", "b", "b_seg"]


def test_images_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a/segmentation.nii.gz")
    interface = NIfTIInterface(image="*.nii.gz")
    assert interface.initialize(tmp_path) == ["a"]
    assert not interface.has_segmentation("a")
    with pytest.raises(MissingFileError, match="knows no segmentations"):
        interface.load_segmentation("a")


def test_subjects_that_come_later_are_found(tmp_path: Path, save: object) -> None:
    interface = NIfTIInterface()
    assert interface.initialize(touch(tmp_path, "a/imaging.nii.gz")) == ["a"]
    save(tmp_path / "new" / "imaging.nii.gz", np.ones((2, 3, 4), np.uint8))
    assert interface.load_image("new")[0].sum() == 24


def test_an_empty_folder_is_told_and_a_missing_one_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert indices(tmp_path) == []
    assert "{index}/imaging.nii.gz" in caplog.text
    for path in (tmp_path / "nowhere", ""):
        with pytest.raises(MissingFileError, match="there is no folder"):
            indices(path)
    with pytest.raises(ConfigurationError, match="initialize"):
        NIfTIInterface().load_image("a")


@pytest.mark.parametrize("index", ["../a", "a/b", "..", "", "a\\b", "a\0"])
def test_an_index_never_leads_out_of_the_folder(index: str, tmp_path: Path) -> None:
    interface = NIfTIInterface()
    interface.initialize(tmp_path)
    with pytest.raises(SampleError, match="without slashes"):
        interface.load_image(index)
    with pytest.raises(SampleError, match="without slashes"):
        interface.load_prediction(index, tmp_path)


@pytest.mark.parametrize("text", ["imaging.nii.gz", "/abs/*.nii.gz", "", "a//*.nii"])
def test_patterns_without_a_place_or_absolute_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"images/\*"):
        NIfTIInterface(image=text, segmentation="*")


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="2 files per subject, but channels=3"):
        NIfTIInterface(3, image=("*_a", "*_b"))
    with pytest.raises(ConfigurationError, match="regular expression"):
        NIfTIInterface(pattern="case_(")
    with pytest.raises(ConfigurationError, match="at least 1"):
        NIfTIInterface(channels=0)


@given(
    index=st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1)
    .filter(lambda text: not text.startswith(".") and len(text.encode()) < 80),
    text=st.sampled_from(["*", "x_*.nii", "*_[t1].nii.gz", "a.*/*_b.nii.gz", "{index}/{index}"]),
)  # fmt: skip
def test_a_pattern_finds_again_what_it_names(
    index: str, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("patterns")
    pattern = Pattern(text, NIfTIInterface.endings)
    path = pattern.candidates(folder, index)[0]
    touch(folder, str(path.relative_to(folder)))
    assert pattern.find(folder) == {index: path}
    assert pattern.path(folder, index) == path


def test_natural_order() -> None:
    names = ["b", "a10", "a9", "a09", "a", "10", "9", "a9b2", "a9b10"]
    assert sorted(names, key=natural_key) == [
        "9", "10", "a", "a09", "a9", "a9b2", "a9b10", "a10", "b",
    ]  # fmt: skip


def test_configuration_and_names_of_miscnn_1(tmp_path: Path) -> None:
    interface = NIFTI_interface(channels=2, classes=3, pattern="c.*", image=["*_a", "*_b"])
    config = interface.get_config()
    assert config["image"] == ["*_a", "*_b"]
    twin = NIfTIInterface.from_config(config)
    assert twin == interface
    assert twin != NIfTIInterface(classes=3)
    assert twin.initialize(touch(tmp_path, "c_a.nii", "d_a.nii")) == ["c"]
    from miscnn.data_loading.interfaces.abstract_io import Abstract_IO
    from miscnn.data_loading.interfaces.dictionary_io import Dictionary_interface
    from miscnn.data_loading.interfaces.nifti_io import NIFTI_interface as same

    assert same is NIfTIInterface
    assert Abstract_IO is DataInterface
    assert Dictionary_interface is DictionaryInterface


def test_interfaces_by_file_ending() -> None:
    assert get_data_interface_from_file_term(".nii.gz") is NIfTIInterface
    assert get_data_interface_from_file_term("NII") is NIfTIInterface
    assert get_data_interface_from_file_term(".dcm") is miscnn_data_interfaces["DICOM"]
    assert get_data_interface_from_file_term(".PNG") is miscnn_data_interfaces["IMG"]
    assert get_data_interface_from_file_term(".nrrd") is miscnn_data_interfaces["ITK"]
    assert get_data_interface_from_file_term(".npz") is miscnn_data_interfaces["NUMPY"]
    assert get_data_interface_from_file_term(".docx") is None
    assert miscnn_data_interfaces["DICT"] is DictionaryInterface
