"""The files of subjects, named one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from miscnn.data_loading._label_words import LABEL_WORDS, has_label_word
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.interfaces._columns import find_columns
from miscnn.data_loading.layouts import open_dataset
from miscnn.exceptions import ConfigurationError, MissingFileError

Save = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path, save: Save) -> Path:
    for number in (1, 2):
        for name in ("t1", "flair"):
            image = np.full((2, 3, 4), number + 10 * (name == "flair"), np.int16)
            image[1] -= 1
            save(tmp_path / f"day {number}" / f"{name}.nii.gz", image)
    truth = np.zeros((2, 3, 4), np.uint8)
    truth[0] = 1
    save(tmp_path / "truth" / "2.nii.gz", truth)
    return tmp_path


MAPPING = {
    "s10": {"image": "day 2/t1.nii.gz", "segmentation": "truth/2.nii.gz"},
    "s9": {"image": "day 1/t1.nii.gz", "segmentation": None},
}


def test_a_mapping(data: Path) -> None:
    interface = NIfTIInterface(listing=MAPPING)
    data_io = DataIO(interface, data)
    assert data_io.indices_list == ["s9", "s10"]
    assert [data_io.has_segmentation(i) for i in ("s9", "s10", "s11")] == [False, True, False]
    sample = data_io.sample_loader("s10")
    assert (sample.image.max(), sample.segmentation.sum()) == (2, 12)
    assert interface.source_files("s10") == [data / "day 2/t1.nii.gz", data / "truth/2.nii.gz"]
    with pytest.raises(MissingFileError, match="listing names no segmentation"):
        data_io.sample_loader("s9")
    with pytest.raises(MissingFileError, match="not in the listing, which holds s9, s10"):
        data_io.sample_loader("s11")
    report = data_io.verify(verbose=False)
    assert [(p.index, p.check) for p in report.problems] == [("s9", "missing")]
    twin = NIfTIInterface.from_config(json.loads(json.dumps(interface.get_config())))
    assert twin == interface
    assert twin.initialize(data) == ["s9", "s10"]
    assert DataIO(NIfTIInterface(listing=MAPPING, pattern="s.0"), data).indices_list == ["s10"]
    with pytest.raises(ConfigurationError, match="initialize"):
        NIfTIInterface(listing=MAPPING).load_image("s9")


@pytest.mark.parametrize("separator", ["\t", ";", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_with_a_column_for_each_channel(
    separator: str, encoding: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        ["Index", "age", "FLAIR", "T1 weighted", "Segmentation"],
        [],
        ["ä 2", "66.5", "day 2/flair.nii.gz", "day 2/t1.nii.gz", "truth/2.nii.gz"],
        ["b", "", "day 1/flair.nii.gz", "day 1/t1.nii.gz", ""],
    ]
    text = "\r\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
    (data / "cases.csv").write_bytes(text.encode(encoding))
    caplog.set_level("INFO")
    data_io = open_dataset(data / "cases.csv")
    assert data_io.layout.name == "listing"
    assert "FLAIR, T1 weighted" in caplog.text
    assert data_io.indices_list == ["b", "ä 2"]
    assert data_io.interface.get_config()["listing"] == "cases.csv"
    sample = data_io.sample_loader("ä 2")
    assert sample.image[0, 0, 0].tolist() == [12, 2]
    assert sample.segmentation.sum() == 12
    assert not data_io.has_segmentation("b")


@pytest.mark.parametrize("as_list", [False, True])
def test_a_json_file(as_list: bool, data: Path) -> None:
    listed = [{"index": i, **entry} for i, entry in MAPPING.items()] if as_list else MAPPING
    (data / "cases.json").write_text(json.dumps(listed))
    data_io = open_dataset(data / "cases.json", classes=2)
    assert data_io.indices_list == ["s9", "s10"]
    assert data_io.sample_loader("s10").segmentation.sum() == 12


def test_missing_files_are_named_with_their_line(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "l.tsv").write_text(
        "index\timage\tsegmentation\n"
        "a\tday 1/t1.nii.gz\t\n"
        "b\tday 3/t1.nii.gz\ttruth/2.nii.gz\n"
        "c\tday 2/t1.nii.gz\ttruth/3.nii.gz\n"
    )
    data_io = open_dataset(data / "l.tsv", classes=2)
    assert "l.tsv, line 3: day 3/t1.nii.gz, l.tsv, line 4: truth/3.nii.gz" in caplog.text
    with pytest.raises(MissingFileError, match=r"image file day 3/t1.* \(l.tsv, line 3\)"):
        data_io.sample_loader("b")
    assert data_io.has_segmentation("c")  # not silently without
    with pytest.raises(MissingFileError, match="line 4"):
        data_io.sample_loader("c")
    problems = data_io.verify(verbose=False).problems
    assert {p.index for p in problems if "line" in p.message} == {"b", "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("index\tage\na\t3\n", "names index, age"),
        ("image\nx.nii\n", "expected columns 'index'"),
        ("index,image\na,x.nii\na,y.nii\n", "line 3: the index 'a' a second time"),
        ("index,image\na,x.nii,\n", "line 2: 3 cells, but 2 columns"),
        ("index,image\na,\n", "line 2: sample 'a' has"),
        ("index,image\na,x.nii\nb,y.nrrd\n", "several formats"),
        ("index,image\na,x.txt\n", "unknown"),
        ("index,image\n", "lists no subjects"),
        ("index,image\n,x.nii\n", "line 2: sample ''.*without slashes"),
        ("index,image\na/b,x.nii\n", "line 2: sample 'a/b'.*without slashes"),
    ],
)
def test_tables_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        open_dataset(tmp_path / "l.csv")


def test_listings_that_cannot_be_used(data: Path) -> None:
    for entry in ({}, {"image": []}, {"image": 3}, {"image": "x", "segmentation": 3}, "x"):
        with pytest.raises(ConfigurationError, match="sample 'a' has"):
            NIfTIInterface(listing={"a": entry})
    with pytest.raises(ConfigurationError, match=r"listing: sample .\.\./a.*without slashes"):
        NIfTIInterface(listing={"../a": {"image": "x"}})
    with pytest.raises(ConfigurationError, match="named twice"):
        NIfTIInterface(listing=MAPPING, image="*")
    with pytest.raises(ConfigurationError, match="2 files per subject, but channels=3"):
        NIfTIInterface(channels=3, listing={"a": {"image": ["x", "y"]}})
    with pytest.raises(MissingFileError, match=r"there is no file .*l\.tsv"):
        NIfTIInterface(listing="l.tsv").initialize(data)
    (data / "l.tsv").write_bytes(b"index\timage\n\xff\tx.nii\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        NIfTIInterface(listing="l.tsv").initialize(data)


@pytest.mark.parametrize(
    ("first", "images", "label"),
    [
        ("id,ct,ground_truth", [1], 2),
        ("id,image_path,label_path", [1], 2),
        ("id,imageFile,labelFile", [1], 2),
        ("id,image,image2,mask", [1, 2], 3),
        ("id,dseg,T1w,FLAIR", [2, 3], 1),
        ("id,T1 weighted,t2,annotation_file", [1, 2], 3),
        ("id,annotated by,GT mask", [1], 2),
    ],
)
def test_columns_are_told_by_words(first: str, images: list[int], label: int) -> None:
    names = first.split(",")
    row = ["a", *(f"{i}.nii.gz" for i in range(1, len(names)))]
    assert find_columns(names, [row], [".nii.gz"]) == (0, images, label)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("id,image,prediction,mask", "columns 'prediction' are"),
        ("id,ct,reference", "columns 'ct' and 'reference' are"),
        ("id,ct,mask,ground_truth", "'mask' and 'ground_truth' could all name"),
    ],
)
def test_columns_that_could_be_segmentations_are_refused(first: str, message: str) -> None:
    names = first.split(",")
    row = ["a", *(f"{i}.nii.gz" for i in range(1, len(names)))]
    with pytest.raises(ConfigurationError, match=message):
        find_columns(names, [row], [".nii.gz"])


def test_the_words_that_are_understood_are_told() -> None:
    assert all(map(has_label_word, LABEL_WORDS))
    words = r"words label, mask, seg, gt, truth, annotation, dseg\)"
    with pytest.raises(
        ConfigurationError, match=rf"'index' \(or subject, id, .*{words}; the first"
    ):
        find_columns(["patient", "ct", "gtv"], [["a", "a.nii", "b.nii"]], [".nii"])
    with pytest.raises(ConfigurationError, match=rf"'ct' and 'gtv' are; .*{words}, and remove"):
        find_columns(["index", "ct", "gtv"], [["a", "a.nii", "b.nii"]], [".nii"])


def test_columns_of_words_and_numbers_are_passed_over() -> None:
    names = ["id", "age", "label_quality", "image", "mask"]
    rows = [["a", "66.5", "good", "a.nii.gz", ""], ["b", "", "", "b.nii.gz", ""]]
    assert find_columns(names, rows, [".nii.gz"]) == (0, [3], 4)


@pytest.mark.parametrize("sign", [";", "\t", ","])
def test_a_first_line_that_names_the_separator(sign: str, data: Path) -> None:
    text = f"sep={sign}\nid;image\na,b;day 1/t1.nii.gz\n".replace(";", sign)
    (data / "l.csv").write_text(text.replace("a,b", "a"))
    assert open_dataset(data / "l.csv").indices_list == ["a"]
