"""What predict() is asked for: folders, files, indices, and what is none of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network.prediction import predict_subjects


def threshold(sample: Sample, activation_output: bool = False) -> Any:
    return (sample.image[..., 0] > 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        image = np.full((2, 3, 4), number - 3, dtype=np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"c{number}.nii.gz")
    return tmp_path


def data(folder: Path | None) -> DataIO:
    return DataIO(NIfTIInterface(image="images/*.nii.gz"), folder)


def predict(given: Any, data_io: DataIO) -> Any:
    return predict_subjects(given, data_io, threshold, return_output=True, verbose=0)


@pytest.mark.parametrize("given", ["nowhere", "no/where", Path("nowhere"), ["c1", "nowhere"]])
def test_neither_folder_nor_subject(folder: Path, given: Any) -> None:
    text = r"no folder '(nowhere|no/where)', and no subject.* 7 subject\(s\): c0, c1, c2, c3, c4, …"
    with pytest.raises(MissingFileError, match=text):
        predict(given, data(folder))
    text = r"no folder '(nowhere|no/where|c1)', and no subject.*knows no subjects"
    with pytest.raises(MissingFileError, match=text):
        predict(given, data(None))


def test_data_in_memory_tell_the_same() -> None:
    data_io = DataIO(DictionaryInterface({"a": (np.ones((2, 2, 2)),)}))
    with pytest.raises(MissingFileError, match=r"no folder 'b', and .* 1 subject\(s\): a$"):
        predict("b", data_io)
    np.testing.assert_array_equal(predict("a", data_io), np.ones((1, 2, 2, 2)))


def test_a_subject_that_came_later_is_found(folder: Path) -> None:
    data_io = data(folder)
    (folder / "images" / "c5.nii.gz").rename(folder / "images" / "late.nii.gz")
    np.testing.assert_array_equal(predict("late", data_io), np.ones((1, 2, 3, 4)))
    # A listed one whose file went away is no question of names.
    with pytest.raises(MissingFileError, match="there is no image file"):
        predict("c5", data_io)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_single_file_is_refused(folder: Path, kind: type) -> None:
    file = folder / "images" / "c1.nii.gz"
    with pytest.raises(ConfigurationError, match=r"c1.nii.gz' is a file; give a folder .*'images/"):
        predict(kind(file), data(folder))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_without_subjects_is_an_error(folder: Path, kind: type) -> None:
    with pytest.raises(MissingFileError, match=r"no subject.*'images/\*.nii.gz': new.*same layout"):
        predict(kind(folder / "images"), data(folder))
    merged = MergedLabels(NIfTIInterface(classes=3), ((0,), (1, 2)))
    with pytest.raises(
        MissingFileError, match=r"no subject.*looked for '\{index\}/imaging.nii.gz'"
    ):
        predict(kind(folder / "images"), DataIO(merged))
    assert len(predict(kind(folder), data(None))) == 7
