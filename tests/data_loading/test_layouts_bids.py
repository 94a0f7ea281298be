"""Data sets with names of BIDS are opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.layouts import find_layout, open_dataset
from miscnn.exceptions import ConfigurationError, MissingFileError

from .data_set_files import labels, touch

Save = Callable[..., Path]


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


def test_sessions_are_found_in_a_new_folder(tmp_path: Path) -> None:
    for folder, subject in (("old", "sub-1"), ("new", "sub-7")):
        inside = f"{subject}/ses-a/anat/{subject}_ses-a"
        touch(tmp_path / folder, f"{inside}_T1w.nii.gz", f"derivatives/x/{inside}_dseg.nii.gz")
    layout = find_layout(tmp_path / "old")
    assert layout.image == ("{subject}/{session}/anat/{subject}_{session}_T1w.nii.gz",)
    interface = layout.interface()
    assert interface.initialize(tmp_path / "new") == ["sub-7_ses-a"]
    assert interface.overlooked() == []
    assert "sub-1" not in json.dumps(interface.get_config())
    with pytest.raises(MissingFileError, match=r"sub-7/ses-b/anat/sub-7_ses-b_T1w\.nii\.gz"):
        interface.source_files("sub-7_ses-b")


def test_one_image_of_each_kind_is_advised(tmp_path: Path) -> None:
    runs = (f"run-{run}_{kind}" for run in (1, 2) for kind in ("FLAIR", "T1w"))
    touch(tmp_path, *(f"sub-1/anat/sub-1_{name}.nii" for name in runs))
    with pytest.raises(ConfigurationError, match=r"modalities=\['run-1_FLAIR', 'run-1_T1w'\], or"):
        find_layout(tmp_path)


def test_subjects_without_a_chosen_image_are_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-{i}/anat/sub-{i}_T1w.nii" for i in (1, 2, 10)))
    touch(tmp_path, "sub-1/anat/sub-1_FLAIR.nii")
    layout = find_layout(tmp_path, modalities=["FLAIR"])
    assert layout.description.endswith("; left out, without FLAIR: sub-2, sub-10")
    assert layout.interface().initialize(tmp_path) == ["sub-1"]
    touch(tmp_path, "sub-2/anat/sub-2_T2w.nii")
    with pytest.raises(ConfigurationError, match="no subject has all of FLAIR and T2w"):
        find_layout(tmp_path, modalities=["FLAIR", "T2w"])


def test_an_image_that_most_subjects_have_is_not_left_out(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        inside = f"sub-{i}/ses-1/anat/sub-{i}_ses-1"
        touch(
            tmp_path, f"{inside}_T1w.nii", f"{inside}_FLAIR.nii", f"derivatives/{inside}_dseg.nii"
        )
    (tmp_path / "sub-2/ses-1/anat/sub-2_ses-1_FLAIR.nii").unlink()
    advice = r"FLAIR is missing for sub-2_ses-1\..*=\['FLAIR', 'T1w'\].*=\['T1w'\] to leave"
    with pytest.raises(ConfigurationError, match=advice):
        find_layout(tmp_path)
    interface = find_layout(tmp_path, modalities=["FLAIR", "T1w"]).interface()
    assert interface.initialize(tmp_path) == [f"sub-{i}_ses-1" for i in (1, 2, 3)]
    with pytest.raises(MissingFileError, match=r"sub-2/ses-1/anat/sub-2_ses-1_FLAIR\.nii"):
        interface.source_files("sub-2_ses-1")
    assert len(interface.source_files("sub-3_ses-1")) == 3


@pytest.mark.parametrize("place", ["derivatives/", "derivatives/a/b/", "labels/", "Masks/"])
@pytest.mark.parametrize("name", ["dseg", "T1w_seg"])
def test_segmentations_in_other_places(place: str, name: str, tmp_path: Path) -> None:
    label = f"{place}sub-1/anat/sub-1_{name}.nii"
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii", label)
    interface = find_layout(tmp_path).interface()
    assert interface.initialize(tmp_path) == ["sub-1"]
    assert interface.source_files("sub-1")[1] == tmp_path / label


def test_segmentations_on_another_grid_are_named_and_can_be_chosen(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii")
    touch(tmp_path, "derivatives/x/sub-1/anat/sub-1_space-orig_dseg.nii")
    assert "passed over" in find_layout(tmp_path).description
    assert "x/space-orig_dseg (1) (labels=" in find_layout(tmp_path).description
    layout = find_layout(tmp_path, labels="x/space-orig_dseg")
    assert layout.segmentation == "derivatives/x/{index}/anat/{index}_space-orig_dseg.nii"
