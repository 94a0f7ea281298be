"""What may be handed in to be predicted: every kind is found, read and written back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO, open_dataset
from miscnn.data_loading.interfaces import (
    DataInterface,
    DICOMInterface,
    DictionaryInterface,
    ImageInterface,
    ITKInterface,
    NIfTIInterface,
    NIfTISliceInterface,
    NumPyInterface,
)
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.new_subjects import find_subjects, load_subject
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError, UnreadableFileError

from .dicom_series import write_series

Save = Callable[..., Path]
SHAPE = (4, 5, 3)


def volume(value: int, shape: tuple[int, ...] = SHAPE) -> Any:
    return np.full(shape, value, np.int16)


def trained(channels: int = 1, **arguments: Any) -> DataIO:
    """A bundle's data set: it knows its interface and no folder."""
    return DataIO(NIfTIInterface(channels, 3, **arguments))


def first_voxels(given: Any, data_io: DataIO) -> dict[str, list[int]]:
    """Return the first voxel of each channel of each subject."""
    found, subjects = find_subjects(given, data_io)
    assert len({s for s in subjects if isinstance(s, str)}) == len(subjects)
    samples = [load_subject(subject, found) for subject in subjects]
    return {s.index: s.image.reshape(-1, s.channels)[0].tolist() for s in samples}


def predicted(given: Any, data_io: DataIO, out: Path) -> list[str]:
    """Save a prediction of each subject; return the files."""
    found, subjects = find_subjects(given, data_io)
    for subject in subjects:
        sample = load_subject(subject, found)
        sample.add_prediction(np.ones(sample.spatial_shape, np.uint8))
        found.save_prediction(sample, out)
    found.complete_predictions([s for s in subjects if isinstance(s, str)], out)
    return sorted(path.name for path in out.iterdir() if path.is_file())


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["a.nii.gz", "b.nii", "Ä ö/mit Leer zeichen.nii.gz"])
def test_one_file_anywhere(
    name: str, kind: type, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / name, volume(7))
    index = Path(name).name.removesuffix(".gz").removesuffix(".nii")
    assert first_voxels(kind(tmp_path / name), trained()) == {index: [7]}
    monkeypatch.chdir(tmp_path)
    assert first_voxels(kind(name), trained()) == {index: [7]}
    assert predicted(kind(name), trained(), tmp_path / "out") == [f"{index}.nii.gz"]


def test_a_link_to_a_file(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "stored" / "x.nii.gz", volume(7))
    (tmp_path / "case.nii.gz").symlink_to(tmp_path / "stored" / "x.nii.gz")
    assert first_voxels(tmp_path / "case.nii.gz", trained()) == {"case": [7]}
    (tmp_path / "stored" / "x.nii.gz").unlink()
    with pytest.raises(MissingFileError, match=r"It is a link to .*x\.nii\.gz', which does not"):
        find_subjects(tmp_path / "case.nii.gz", trained())


def test_other_formats_than_in_training(tmp_path: Path, save: Save) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(volume(3, (3, 5, 4))), str(tmp_path / "a.mha"))
    np.save(tmp_path / "b.npy", volume(4))
    save(tmp_path / "c.nii", volume(5))
    files = [tmp_path / name for name in ("c.nii", "a.mha", "b.npy")]
    assert list(first_voxels(files, trained()).items()) == [("c", [5]), ("a", [3]), ("b", [4])]
    for interface in (ITKInterface, NumPyInterface, DictionaryInterface):
        assert list(first_voxels(files, DataIO(interface(classes=3)))) == ["c", "a", "b"]
    out = tmp_path / "out"
    assert predicted(files, trained(), out) == ["a.mha", "b.npy", "c.nii.gz"]
    written = sitk.ReadImage(str(out / "a.mha"))
    assert written.GetSize() == (4, 5, 3)
    assert sitk.GetArrayFromImage(written).min() == 1


def test_labels_are_written_as_the_trained_interface_says(tmp_path: Path, save: Save) -> None:
    np.save(tmp_path / "b.npy", volume(4))
    save(tmp_path / "c.nii", volume(5))
    data_io = DataIO(
        NIfTIInterface(classes=2, label_values=[0, 255], class_names=["background", "organ"])
    )
    files = [tmp_path / "b.npy", tmp_path / "c.nii"]
    found, subjects = find_subjects(files, data_io)
    assert list(found.interface.class_names) == ["background", "organ"]
    predicted(files, data_io, tmp_path / "out")
    assert np.unique(np.load(tmp_path / "out/b.npy")).tolist() == [255]
    assert np.unique(nib.load(tmp_path / "out/c.nii.gz").dataobj).tolist() == [255]
    assert found.load_prediction("c", tmp_path / "out").min() == 1
    assert [str(found.interface.source_files(i)[0]) for i in subjects] == list(map(str, files))


def test_merged_labels_stay_merged(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "new" / "c.nii", volume(5))
    inner = NIfTIInterface(classes=3, label_values=[0, 10, 20])
    data_io = DataIO(MergedLabels(inner, ((0,), (1, 2))))
    for given in (tmp_path / "new", [tmp_path / "new/c.nii"]):
        assert predicted(given, data_io, tmp_path / "out") == ["c.nii.gz"]
        assert np.unique(nib.load(tmp_path / "out/c.nii.gz").dataobj).tolist() == [1]


def test_names_that_are_alike_get_their_folders(tmp_path: Path, save: Save) -> None:
    for number, name in enumerate(["p1/x/ct.nii.gz", "p2/x/ct.nii.gz", "p2/x/mr.nii.gz"]):
        save(tmp_path / name, volume(number))
    np.save(tmp_path / "p2/x/mr.npy", volume(3))
    files = [*sorted(tmp_path.rglob("*.nii.gz")), tmp_path / "p2/x/mr.npy"]
    expected = {"p1_x_ct": [0], "p2_x_ct": [1], "mr_nii_gz": [2], "mr_npy": [3]}
    assert first_voxels(files, trained()) == expected
    assert len(predicted(files, trained(), tmp_path / "out")) == 4


def test_a_file_that_is_named_twice_is_one_subject(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path / "a.nii", volume(1))
    found, subjects = find_subjects([path, path], trained())
    assert (found.indices_list, subjects) == (["a"], ["a", "a"])


def test_a_flat_folder(tmp_path: Path, save: Save) -> None:
    for number in (2, 10):
        save(tmp_path / f"c{number}.nii.gz", volume(number))
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.nii.gz").write_bytes(b"x")
    (tmp_path / "preview.png").write_bytes(b"x")
    assert first_voxels(tmp_path, trained()) == {"c2": [2], "c10": [10]}
    assert first_voxels(tmp_path, trained(listing={})) == {"c2": [2], "c10": [10]}
    assert first_voxels(tmp_path, trained(listing="table.csv")) == {"c2": [2], "c10": [10]}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a", "b"], ["a_seg"]),
        (["a", "b"], ["a_mask", "b_mask"]),
        (["images/a", "images/b"], ["labels/a", "labels/b"]),
        (["imagesTr/a", "imagesTr/b"], ["labelsTr/a"]),
        (["a/imaging", "b/imaging"], ["a/segmentation"]),
        (["a/ct", "b/ct"], ["a/ct_seg", "b/ct_seg"]),
        (["a/ct", "b/mr"], []),
    ],
)
@pytest.mark.parametrize("image", ["*.nii.gz", "scans/*_ct.nii.gz", None])
def test_masks_are_no_subjects(
    images: list[str], masks: list[str], image: str | None, tmp_path: Path, save: Save
) -> None:
    for number, name in enumerate(images):
        save(tmp_path / f"{name}.nii.gz", volume(number))
    for name in masks:
        save(tmp_path / f"{name}.nii.gz", volume(9))
    assert first_voxels(tmp_path, trained(image=image)) == {"a": [0], "b": [1]}


def test_masks_that_belong_to_nothing_are_asked_about(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "x_mask.nii.gz", volume(1))
    save(tmp_path / "b.nii.gz", volume(1))
    for image in (None, "*.nii.gz"):
        with pytest.raises(
            ConfigurationError, match=r"x_mask.*hand in the images|hand in .*x_mask"
        ):
            find_subjects(tmp_path, trained(image=image))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("stored", [np.uint8, np.float32])
def test_masks_whose_names_do_not_tell_are_refused(
    flat: bool, stored: type, tmp_path: Path, save: Save
) -> None:
    """Few whole numbers, or bytes where the images have more."""
    data_io = DataIO(NIfTIInterface(classes=3, image="*.nii.gz")) if flat else trained()
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    mask = (noise > 0).astype(stored)
    for name, array in (("p1", noise), ("p1_lesion", mask), ("p2", noise), ("p2_lesion", mask)):
        save(tmp_path / f"{name}.nii.gz", array)
    with pytest.raises(
        ConfigurationError, match=r"beside p1\.nii\.gz .*p1_lesion.* a list of files"
    ):
        find_subjects(tmp_path, data_io)
    files = [tmp_path / "p1.nii.gz", tmp_path / "p2.nii.gz"]
    assert find_subjects(files, data_io)[1] == ["p1", "p2"]
    save(tmp_path / "p3.nii.gz", noise)  # not beside all of them
    assert len(find_subjects(tmp_path, data_io)[1]) == 5
    (tmp_path / "p3.nii.gz").unlink()
    for name in ("p1_lesion", "p2_lesion"):  # images after all
        save(tmp_path / f"{name}.nii.gz", noise)
    assert find_subjects(tmp_path, data_io)[1] == ["p1", "p1_lesion", "p2", "p2_lesion"]


@pytest.mark.parametrize("flat", [True, False])
def test_results_of_predictions_are_no_subjects(
    flat: bool, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    data_io = DataIO(NIfTIInterface(classes=3, image="*.nii.gz")) if flat else trained()
    for name in ("a", "b", "a_entropy", "old"):
        save(tmp_path / f"{name}.nii.gz", volume(1))
    own = {"a": {"entropy": ["a_entropy.nii.gz"]}, "old": {"labels": ["old.nii.gz"]}}
    manifest = tmp_path / "predictions.json"
    manifest.write_text(json.dumps({"subjects": own}))
    assert find_subjects(tmp_path, data_io)[1] == ["a", "b"]
    assert [m for m in caplog.messages if "passed over" in m] == [
        f"passed over in {tmp_path}: a_entropy.nii.gz, old.nii.gz; if they are to be predicted, "
        "hand in a list of the files"
    ]
    # whoever names a file means it
    assert find_subjects([tmp_path / "old.nii.gz"], data_io)[1] == ["old"]
    own["rest"] = {"labels": ["a.nii.gz", "b.nii.gz"]}
    manifest.write_text(json.dumps({"subjects": own}))
    with pytest.raises(MissingFileError, match=r"results of predictions, as predictions\.json"):
        find_subjects(tmp_path, data_io)
    for damaged in ("[", "[1]", '{"subjects": {"a": 3}}', '{"subjects": {"a": {"b": [3]}}}'):
        manifest.write_text(damaged)
        assert find_subjects(tmp_path, data_io)[1] == ["a", "a_entropy", "b", "old"]


@pytest.mark.parametrize("flat", [True, False])
def test_files_that_are_passed_over_are_told(
    flat: bool, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    data_io = DataIO(NIfTIInterface(classes=3, image="*.nii.gz")) if flat else trained()
    for name in ("a.nii.gz", "b.nii.gz"):
        save(tmp_path / name, volume(1))
    (tmp_path / "notes.txt").write_text("")
    assert find_subjects(tmp_path, data_io)[1] == ["a", "b"]
    assert caplog.messages == []
    np.save(tmp_path / "d.npy", volume(1))
    save(tmp_path / "c.nii.gz", volume(2)).rename(tmp_path / "C.NII.GZ")
    assert find_subjects(tmp_path, data_io)[1] == ["a", "b"]
    assert [m for m in caplog.messages if "passed over" in m] == [
        f"passed over in {tmp_path}: C.NII.GZ, d.npy; if they are to be predicted, hand in a list "
        "of the files"
    ]


@pytest.mark.parametrize("flat", [True, False])
def test_two_images_that_differ_in_their_ending(flat: bool, tmp_path: Path, save: Save) -> None:
    data_io = DataIO(NIfTIInterface(classes=3, image="*.nii.gz")) if flat else trained()
    files = [
        save(tmp_path / "in" / name, volume(n)) for n, name in enumerate(("a.nii", "a.nii.gz"))
    ]
    save(tmp_path / "in/b.nii.gz", volume(2))
    with pytest.raises(ConfigurationError, match="two images of one name"):
        find_subjects(tmp_path / "in", data_io)
    assert first_voxels(files, data_io) == {"in_a": [0], "in_a_2": [1]} or list(
        first_voxels(files, data_io).values()
    ) == [[0], [1]]


def test_endings_in_capitals(tmp_path: Path, save: Save) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.nii.gz", volume(3)).rename(tmp_path / f"{name.upper()}.NII.GZ")
    assert first_voxels(tmp_path, trained()) == {"A": [3], "B": [3]}
    assert first_voxels(tmp_path / "A.NII.GZ", trained()) == {"A": [3]}


def test_steps_back_and_hidden_files(tmp_path: Path, save: Save) -> None:
    (tmp_path / "in").mkdir()
    for folder in ("x", "y"):
        save(tmp_path / folder / "c.nii.gz", volume(1))
    back = [tmp_path / "in" / ".." / folder / "c.nii.gz" for folder in ("x", "y")]
    assert list(first_voxels(back, trained())) == ["x_c", "y_c"]
    assert find_subjects([back[0], tmp_path / "x/c.nii.gz"], trained())[1] == ["c", "c"]
    hidden = [save(tmp_path / folder / ".c.nii.gz", volume(1)) for folder in (".p", "q")]
    assert list(first_voxels(hidden[0], trained())) == ["c"]
    assert all(not name.startswith(".") for name in first_voxels(hidden, trained()))
    assert predicted(hidden[:1], trained(), tmp_path / "out") == ["c.nii.gz"]


def test_subjects_with_a_segmentation_only_are_left_out(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a" / "imaging.nii.gz", volume(1))
    save(tmp_path / "b" / "segmentation.nii.gz", volume(1))
    assert first_voxels(tmp_path, trained()) == {"a": [1]}
    assert first_voxels(tmp_path, DataIO(NIfTIInterface(), tmp_path)) == {"a": [1]}


def test_the_folder_of_one_subject(tmp_path: Path, save: Save) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "imaging.nii.gz", volume(1))
        save(tmp_path / name / "segmentation.nii.gz", volume(1))
        save(tmp_path / name / f"{name}_t1.nii.gz", volume(2))
    for image in (None, "*.nii.gz"):
        assert first_voxels(tmp_path / "b", trained(image=image)) == {"b": [1]}
    assert first_voxels(tmp_path / "b", trained(image="{index}/{index}_t1.nii.gz")) == {"b": [2]}


def test_channels_by_numbers(tmp_path: Path, save: Save) -> None:
    for case, channel in ((0, 0), (0, 1), (1, 0), (1, 1)):
        save(tmp_path / "imagesTs" / f"c{case}_000{channel}.nii.gz", volume(10 * case + channel))
    both = {"c0": [0, 1], "c1": [10, 11]}
    folder = tmp_path / "imagesTs"
    for given in (folder, tmp_path, sorted(folder.iterdir()), sorted(folder.iterdir())[::-1]):
        assert first_voxels(given, trained(2)) == both
    with pytest.raises(ConfigurationError, match=r"2 channels of 2 subjects.*takes 1.*a list"):
        find_subjects(folder, trained(1))
    with pytest.raises(ConfigurationError, match=r"2 channels of 2 subjects.*takes 3"):
        find_subjects(folder, trained(3))
    assert len(first_voxels(sorted(folder.iterdir()), trained(1))) == 4
    for path in folder.glob("c1_*"):
        path.unlink()
    assert first_voxels(folder, trained(2)) == {"c0": [0, 1]}  # one subject alone
    assert predicted(folder, trained(2), tmp_path / "out") == ["c0.nii.gz"]
    (folder / "c0_0001.nii.gz").unlink()
    save(folder / "c1_0001.nii.gz", volume(1))
    found, subjects = find_subjects(folder, trained(2))
    with pytest.raises(MissingFileError, match=r"no image file .*c0_0001.nii.gz"):
        load_subject(subjects[0], found)


def test_channel_0000_alone_is_no_part_of_the_name(tmp_path: Path, save: Save) -> None:
    for case in "ab":
        save(tmp_path / f"{case}_0000.nii.gz", volume(1))
    assert list(first_voxels(tmp_path, trained())) == ["a", "b"]
    assert list(first_voxels(tmp_path / "a_0000.nii.gz", trained())) == ["a"]


def test_channels_in_a_list(tmp_path: Path, save: Save) -> None:
    for name, value in (("t1", 1), ("t2", 2), ("u1", 3), ("u2", 4)):
        save(tmp_path / f"{name}.nii.gz", volume(value))
    files = [[tmp_path / "t1.nii.gz", str(tmp_path / "t2.nii.gz")], (tmp_path / "u1.nii.gz",) * 2]
    assert first_voxels(files, trained(2)) == {"t1": [1, 2], "u1": [3, 3]}
    with pytest.raises(ConfigurationError, match=r"2 files of one subject.*takes 1 channel"):
        find_subjects(files, trained(1))
    found, subjects = find_subjects(tmp_path / "t1.nii.gz", trained(2))
    with pytest.raises(SampleError, match=r"1 channel\(s\), but the network takes 2; hand in the"):
        load_subject(subjects[0], found)
    save(tmp_path / "four.nii.gz", volume(1, (*SHAPE, 4)))
    found, subjects = find_subjects([tmp_path / "four.nii.gz"], trained(2))
    with pytest.raises(SampleError, match=r"4 channel\(s\), but the network takes 2"):
        load_subject(subjects[0], found)
    assert first_voxels(tmp_path / "four.nii.gz", trained(4)) == {"four": [1, 1, 1, 1]}


@pytest.mark.parametrize("kind", ["csv", "tsv", "json"])
def test_a_table(kind: str, tmp_path: Path, save: Save) -> None:
    save(tmp_path / "scans" / "x.nii.gz", volume(5))
    np.save(tmp_path / "scans" / "y.npy", volume(6))
    rows = {"p1": "scans/x.nii.gz", "p2": "scans/y.npy"}
    path = tmp_path / f"list.{kind}"
    if kind == "json":
        path.write_text(json.dumps({i: {"image": name} for i, name in rows.items()}))
    else:
        sign = "," if kind == "csv" else "\t"
        path.write_text("\n".join(sign.join(r) for r in [("index", "image"), *rows.items()]))
    assert first_voxels(path, trained()) == {"p1": [5], "p2": [6]}
    assert first_voxels(str(path), trained(listing=path.name)) == {"p1": [5], "p2": [6]}
    assert predicted(path, trained(), tmp_path / "out") == ["p1.nii.gz", "p2.npy"]
    three = tmp_path / "l.json"
    three.write_text(json.dumps({"p1": {"image": ["scans/x.nii.gz"] * 3}}))
    with pytest.raises(ConfigurationError, match=r"'p1' has 3 images, but the network takes 2"):
        find_subjects(three, trained(2))
    assert first_voxels(three, trained(3)) == {"p1": [5, 5, 5]}


def test_nnunet_raw_data_and_bids(tmp_path: Path, save: Save) -> None:
    raw, bids = tmp_path / "raw", tmp_path / "bids"
    save(raw / "imagesTs" / "c_0000.nii.gz", volume(1))
    (raw / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1},
                    "numTraining": 0, "file_ending": ".nii.gz"})
    )  # fmt: skip
    for given in (raw, raw / "dataset.json", [raw]):
        assert first_voxels(given, trained()) == {"c": [1]}
    for name in ("sub-1", "sub-2"):
        save(bids / name / "anat" / f"{name}_T1w.nii.gz", volume(2))
        save(bids / name / "anat" / f"{name}_FLAIR.nii.gz", volume(3))
        save(bids / "derivatives/manual" / name / f"anat/{name}_dseg.nii.gz", volume(9))
    assert first_voxels(bids, trained(2)) == {"sub-1": [3, 2], "sub-2": [3, 2]}
    with pytest.raises(ConfigurationError, match=r"holds 2 images for each subject.*takes 1"):
        find_subjects(bids, trained())
    own = trained(image="{index}/anat/{index}_T1w.nii.gz")
    assert first_voxels(bids, own) == {"sub-1": [2], "sub-2": [2]}


def test_folders_with_nothing_to_predict(tmp_path: Path, save: Save) -> None:
    with pytest.raises(MissingFileError, match=r"it is empty; looked for '\{index\}/imaging"):
        find_subjects(tmp_path, trained())
    (tmp_path / "report.pdf").write_bytes(b"x")
    with pytest.raises(MissingFileError, match=r"it holds report\.pdf; looked for.*Hand in"):
        find_subjects(tmp_path, trained())
    save(tmp_path / "predictions" / "a.nii.gz", volume(1))
    with pytest.raises(MissingFileError, match="no subject"):
        find_subjects(tmp_path, trained())
    for name in ("t1", "t2"):
        save(tmp_path / "a" / f"{name}.nii.gz", volume(1))
    with pytest.raises(ConfigurationError, match=r"a' holds several images \(t1.nii.gz, t2"):
        find_subjects(tmp_path, trained())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("~/scan.nii.gz", r"'~' is not expanded"),
        ("scans/*.nii.gz", "Patterns are not expanded"),
        ("no/where", r"no folder 'no/where', no file and no subject.*knows no subjects"),
        ("x" * 300, "no subject of this name"),
        ("", "no subject of this name"),
    ],
)
def test_paths_that_do_not_exist(name: str, text: str) -> None:
    found, subjects = find_subjects(name, trained())
    with pytest.raises(MissingFileError, match=text):
        load_subject(subjects[0], found)
    if name and len(name) < 255:
        with pytest.raises(MissingFileError, match=text):
            find_subjects(Path(name), trained())


def test_in_a_list_what_is_nowhere_stays(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path / "a.nii.gz", volume(1))
    for given in ([Path("no/where"), path], [path, "no/where"], [path, "nowhere"], ["nowhere"]):
        found, subjects = find_subjects(given, trained())
        for subject in subjects:
            if subject == "a":
                assert load_subject(subject, found).image.flat[0] == 1
            else:
                with pytest.raises(MissingFileError, match=r"no folder '(no/|no)where', no file"):
                    load_subject(subject, found)
        assert len(subjects) == len(given)


def test_names_with_a_word_for_segmentations(tmp_path: Path, save: Save) -> None:
    """Where images have a folder of their own, this is what they are called."""
    for name in ("label_1", "label_2"):
        save(tmp_path / "images" / f"{name}.nii.gz", volume(1))
    own = trained(image="images/*.nii.gz", segmentation="labels/*.nii.gz")
    assert first_voxels(tmp_path, own) == {"label_1": [1], "label_2": [1]}


def test_files_that_are_no_images(tmp_path: Path) -> None:
    for name, text in (("a.pdf", "no image of a format"), ("a.dcm", "one file of a DICOM series")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ConfigurationError, match=text):
            find_subjects(tmp_path / name, trained())
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    found, subjects = find_subjects(tmp_path / "a.nii.gz", trained())
    with pytest.raises(UnreadableFileError, match="not a NIfTI file"):
        load_subject(subjects[0], found)
    for odd in (3, None, {"a": 1}, [3], [[]], [[3]]):
        with pytest.raises(ConfigurationError, match=r"expected an index|must name the files"):
            find_subjects(odd, trained())  # type: ignore[arg-type]


def test_indices_samples_arrays_and_files_together(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "data" / "a.nii.gz", volume(1))
    save(tmp_path / "data" / "late.nii.gz", volume(2))
    save(tmp_path / "new" / "a.nii.gz", volume(3))
    data_io = DataIO(NIfTIInterface(classes=3, image="*.nii.gz"), tmp_path / "data")
    data_io.indices_list = ["a"]
    plain = ["a", "late", volume(4), Sample("s", volume(5))]
    found, subjects = find_subjects(plain, data_io)
    assert found is data_io
    values = [load_subject(s, found).image.flat[0] for s in subjects]
    assert values == [1, 2, 4, 5]
    found, subjects = find_subjects([*plain, str(tmp_path / "new" / "a.nii.gz")], data_io)
    values = [load_subject(s, found).image.flat[0] for s in subjects]
    assert values == [1, 2, 4, 5, 3]
    assert [s for s in subjects if isinstance(s, str)] == ["data_a", "late", "new_a"]
    assert find_subjects(np.array(["a", "late"]), data_io)[1] == ["a", "late"]
    assert find_subjects([], data_io) == (data_io, [])


def test_an_index_comes_before_a_path_of_its_name(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "data" / "a" / "imaging.nii.gz", volume(1))
    data_io = DataIO(NIfTIInterface(), tmp_path / "data")
    save(tmp_path / "data" / "late" / "imaging.nii.gz", volume(2))
    for name in ("a", "late", "other"):
        save(tmp_path / "cwd" / name / "x.nii.gz", volume(9))
    monkeypatch.chdir(tmp_path / "cwd")
    assert find_subjects("a", data_io) == (data_io, ["a"])
    assert find_subjects("late", data_io) == (data_io, ["late"])
    assert first_voxels("other", data_io) == {"x": [9]}


def test_a_sample_is_not_changed(tmp_path: Path) -> None:
    from miscnn._scratch import Scratch

    sample, scratch = Sample("s", volume(5)), Scratch(tmp_path)
    loaded = load_subject(sample, trained(), scratch)
    loaded.add_prediction(np.zeros(SHAPE, np.uint8))
    assert (sample.prediction, sample.scratch) == (None, None)
    assert loaded.scratch is scratch
    assert load_subject(volume(1), trained(), scratch).scratch is scratch


def test_interfaces_of_the_users_own(tmp_path: Path, save: Save) -> None:
    class Own(DataInterface):
        def initialize(self, input_path: Any) -> list[str]:
            self.folder = Path(input_path)
            return sorted(p.stem for p in self.folder.glob("*.own"))

        def load_image(self, index: str) -> Any:
            return np.full(SHAPE, int((self.folder / f"{index}.own").read_text())), {}

        def load_segmentation(self, index: str) -> Any:
            raise FileNotFoundError

        def load_prediction(self, index: str, output_path: Any) -> Any:
            raise FileNotFoundError

        def save_prediction(self, sample: Sample, output_path: Any) -> Path:
            path = Path(output_path) / f"{sample.index}.txt"
            path.write_text(str(sample.prediction.dtype))
            return path

    data_io = DataIO(Own())
    (tmp_path / "x.own").write_text("3")
    assert first_voxels(tmp_path, data_io) == {"x": [3]}
    with pytest.raises(ConfigurationError, match="Own, which the network was trained with, reads"):
        find_subjects(tmp_path / "x.own", data_io)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"no subject.*same layout as the training"):
        find_subjects(tmp_path / "empty", data_io)
    found, _ = find_subjects(tmp_path, data_io)
    sample = load_subject("x", found)
    sample.prediction = np.zeros(SHAPE, np.float32)
    assert found.save_prediction(sample, tmp_path, name="entropy") == tmp_path / "x_entropy.txt"
    assert (tmp_path / "x_entropy.txt").read_text() == "float32"


def test_a_class_that_changes_what_it_reads(tmp_path: Path, save: Save) -> None:
    class Doubling(NIfTIInterface):
        def load_image(self, index: str) -> Any:
            image, details = super().load_image(index)
            return 2 * image, details

    save(tmp_path / "a.nii.gz", volume(3))
    np.save(tmp_path / "b.npy", volume(3))
    from miscnn._scratch import Scratch

    data_io = DataIO(Doubling())
    for given in (tmp_path, tmp_path / "a.nii.gz"):
        found, subjects = find_subjects(given, data_io)
        assert load_subject(subjects[0], found).image.flat[0] == 6
        assert load_subject(subjects[0], found, Scratch()).image.flat[0] == 6
    with pytest.raises(ConfigurationError, match=r"Doubling reads.*convert the NumPy files"):
        find_subjects(tmp_path / "b.npy", data_io)


def test_pictures(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("a", "b"):
        iio.imwrite(tmp_path / "new" / f"{name}.png", np.full((4, 5), 7, np.uint8))
    iio.imwrite(tmp_path / "c.png", np.full((4, 5, 3), 7, np.uint8))
    data_io = DataIO(ImageInterface(classes=2))
    assert first_voxels(tmp_path / "new", data_io) == {"a": [7], "b": [7]}
    assert predicted(tmp_path / "new", data_io, tmp_path / "out") == ["a.png", "b.png"]
    flat = DataIO(NIfTIInterface(3, 2, three_dim=False))
    assert first_voxels(tmp_path / "c.png", flat) == {"c": [7, 7, 7]}


def test_slices_of_volumes(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.nii.gz", volume(3))
    data_io = DataIO(NIfTISliceInterface(classes=2))
    for given in (tmp_path, tmp_path / "a.nii.gz"):
        assert list(first_voxels(given, data_io)) == ["a:#:0", "a:#:1", "a:#:2"]
        out = tmp_path / f"out{len(str(given))}"
        assert predicted(given, data_io, out) == ["a.nii.gz"]
        assert nib.load(out / "a.nii.gz").shape == SHAPE
    np.save(tmp_path / "b.npy", volume(3))
    with pytest.raises(ConfigurationError, match=r"slices of NIfTI volumes.*are NumPy; convert"):
        find_subjects(tmp_path / "b.npy", data_io)
    found, subjects = find_subjects(tmp_path / "a.nii.gz", data_io)
    sample = load_subject(subjects[1], found)
    sample.prediction = np.full(sample.spatial_shape, 0.5, np.float32)
    path = found.save_prediction(sample, tmp_path, name="entropy")
    assert path == tmp_path / "a_entropy" / "slice_0001.nii.gz"
    assert nib.load(path).get_fdata().tolist() == np.full((4, 5, 1), 0.5).tolist()


def test_dicom(tmp_path: Path, save: Save) -> None:
    pytest.importorskip("highdicom")
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    for number, patient in enumerate(("p1", "p2")):
        write_series(tmp_path / "all" / patient / "CT", volume(number + 1), affine)
    everything = tmp_path / "all"
    for data_io in (trained(), DataIO(DICOMInterface(classes=3))):
        assert first_voxels(everything, data_io) == {"p1": [1], "p2": [2]}
        assert first_voxels(everything / "p1" / "CT", data_io) == {"CT": [1]}
        both = [everything / "p1" / "CT", str(everything / "p2" / "CT")]
        assert first_voxels(both, data_io) == {"p1_CT": [1], "p2_CT": [2]}
        out = tmp_path / type(data_io.interface).__name__
        assert predicted(both, data_io, out) == ["p1_CT.dcm", "p2_CT.dcm"]
    save(tmp_path / "c.nii", volume(5))
    mixed = [tmp_path / "c.nii", everything]
    assert first_voxels(mixed, trained()) == {"c": [5], "p1": [1], "p2": [2]}
    assert first_voxels(tmp_path / "c.nii", DataIO(DICOMInterface(classes=3))) == {"c": [5]}
    with pytest.raises(ConfigurationError, match=r"takes 2 channels.*DICOM series"):
        find_subjects(everything, trained(2))


def test_the_series_of_one_dicom_study(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    same = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    for number, kind in enumerate(("CT", "MR")):
        write_series(tmp_path / "p7" / kind, volume(number), affine, modality=kind, **same)
    data_io = DataIO(DICOMInterface(series="MR"))
    assert first_voxels(tmp_path / "p7", data_io) == {"p7": [1]}
    assert first_voxels(tmp_path, data_io) == {"p7": [1]}
    assert first_voxels(tmp_path / "p7", trained()) == {"CT": [0], "MR": [1]}


def test_the_image_is_never_overwritten(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path / "a.nii.gz", volume(3))
    found, subjects = find_subjects(path, trained())
    sample = load_subject(subjects[0], found)
    sample.add_prediction(np.ones(SHAPE, np.uint8))
    with pytest.raises(ConfigurationError, match=r"would overwrite the image .*name another"):
        found.save_prediction(sample, tmp_path)
    assert nib.load(path).get_fdata().min() == 3


@pytest.mark.realdata
def test_real_files_of_several_formats(real_data: Path, tmp_path: Path) -> None:
    hippocampus = sorted((real_data / "hippocampus" / "images").iterdir())[:2]
    given = [
        *hippocampus,
        *sorted((real_data / "nrrd").glob("*.nrrd"))[:1],
        real_data / "torso_dicom_example",
        real_data / "sarcoma_dicom" / "STS_001" / "MR_T1",
    ]
    found, subjects = find_subjects(given, trained())
    assert len(subjects) == 5
    for subject in subjects:
        sample = load_subject(subject, found)
        other = open_image(sample.details, found, subject)
        np.testing.assert_array_equal(sample.image[..., 0], other)
        if subject == "torso_dicom_example":  # it tells no study that a result could belong to
            continue
        sample.add_prediction((sample.image[..., 0] > sample.image.mean()).astype(np.uint8))
        assert found.save_prediction(sample, tmp_path).is_file()
    endings = sorted("".join(p.suffixes) for p in tmp_path.iterdir())
    assert endings == [".dcm", ".nii.gz", ".nii.gz", ".nrrd"]


def open_image(details: Any, found: DataIO, index: str) -> Any:
    """Read an image by another library."""
    files = found.interface.source_files(index)
    if files[0].name.endswith(".nii.gz"):
        return np.asarray(nib.load(files[0]).dataobj)
    sitk = pytest.importorskip("SimpleITK")
    if files[0].suffix == ".nrrd":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(files[0]))).T
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent))
    return sitk.GetArrayFromImage(sitk.ReadImage(names)).T


@pytest.mark.realdata
def test_real_folders(real_data: Path) -> None:
    for name, n in (("hippocampus", 130), ("sarcoma_ct", 26), ("kits19_labels", 12)):
        found, subjects = find_subjects(real_data / name, trained())
        assert len(subjects) == n
        assert load_subject(subjects[0], found).image.ndim == 4
    data_io = open_dataset(real_data / "hippocampus", classes=3)
    assert find_subjects(real_data / "hippocampus", data_io)[1] == data_io.indices_list
    found, subjects = find_subjects(real_data / "isbi_em", DataIO(ImageInterface()))
    assert (len(subjects), load_subject(subjects[3], found).shape) == (30, (512, 512, 1))
