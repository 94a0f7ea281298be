"""What predict() is asked for: folders, files, indices, and what is none of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.interfaces.nifti_slices import NIfTISliceInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import MissingFileError, PredictionError
from miscnn.neural_network._engine import WholeEngine
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.prediction import PredictionOptions, predict_subjects


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


def predict(given: Any, data_io: DataIO, **options: Any) -> Any:
    options = {"return_output": True, "verbose": 0, **options}
    return predict_subjects(
        given, data_io, lambda: WholeEngine(threshold, 2), PredictionOptions(**options)
    )


@pytest.mark.parametrize("given", ["nowhere", "no/where", Path("nowhere")])
def test_neither_path_nor_subject(folder: Path, given: Any) -> None:
    text = r"no folder '(nowhere|no/where)', .*no subject.* 7 subject\(s\): c0, c1, c2, c3, c4, …"
    with pytest.raises(MissingFileError, match=text):
        predict(given, data(folder))
    text = r"no folder '(nowhere|no/where)', .*no subject.*knows no subjects"
    with pytest.raises(MissingFileError, match=text):
        predict(given, data(None))


def test_one_that_is_nowhere_does_not_stop_the_others(folder: Path) -> None:
    text = r"1 of 2 subject\(s\) .*the others were: nowhere: there is no folder 'nowhere'"
    with pytest.raises(PredictionError, match=text) as caught:
        predict(["nowhere", "c6"], data(folder))
    assert isinstance(caught.value.failures["nowhere"], MissingFileError)
    nothing, found = caught.value.results
    assert nothing is None
    np.testing.assert_array_equal(found, np.ones((2, 3, 4)))


def test_data_in_memory_tell_the_same() -> None:
    data_io = DataIO(DictionaryInterface({"a": (np.ones((2, 2, 2)),)}))
    with pytest.raises(MissingFileError, match=r"no folder 'b', .* 1 subject\(s\): a$"):
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
def test_files_and_folders_in_any_layout(folder: Path, kind: type) -> None:
    file = folder / "images" / "c6.nii.gz"
    (found,) = predict(kind(file), data(None))
    np.testing.assert_array_equal(found, np.ones((2, 3, 4)))
    assert len(predict(kind(folder / "images"), data(folder))) == 7
    assert len(predict(kind(folder), data(None))) == 7
    (folder / "empty").mkdir()
    with pytest.raises(MissingFileError):
        predict(kind(folder / "empty"), data(folder))


def test_slices_that_were_predicted_become_volumes(tmp_path: Path) -> None:
    """A network in 2D leaves the volumes behind, made of what it says of each slice."""
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, 1.0, 4.0, 1.0])
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        image = rng.normal(size=(16, 16, 3)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), tmp_path / f"data/{name}.nii.gz")
    interface = NIfTISliceInterface(classes=3, image="*.nii.gz")
    data_io = DataIO(interface, tmp_path / "data", tmp_path / "out")
    recipe = miscnn.Preprocessor(data_io, 1, data_aug=None, analysis="fullimage")
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=4, depth=1))
    slices = data_io.get_indiceslist()
    assert len(slices) == 6
    assert model.predict(slices[:4], verbose=0) is None  # all of a, one of b
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["a.nii.gz"]
    expected = np.stack(model.predict(slices[:3], return_output=True, verbose=0), axis=-1)
    assert len(np.unique(expected)) > 1
    found = nib.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj), expected)
    np.testing.assert_array_equal(found.affine, affine)
    model.predict(slices[4:], output_path=tmp_path / "out", verbose=0)
    expected = np.stack(model.predict(slices[3:], return_output=True, verbose=0), axis=-1)
    found = nib.load(tmp_path / "out/b.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj), expected)
    before = (tmp_path / "out/b.nii.gz").stat().st_mtime_ns
    model._compiled_predictor = model.model, None  # cannot predict any more
    model.predict(slices, verbose=0, overwrite=False)  # all is there
    assert (tmp_path / "out/b.nii.gz").stat().st_mtime_ns == before


def test_completing_is_handed_on_and_only_for_what_was_written(folder: Path) -> None:
    asked: list[Any] = []

    class Noting(NIfTIInterface):
        def complete_predictions(self, indices: Any, output_path: Any) -> list[Path]:
            asked.append((list(indices), output_path))
            return []

    out = folder / "out"
    merged = MergedLabels(Noting(classes=3, image="images/*.nii.gz"), ((0,), (1, 2)))
    data_io = DataIO(merged, folder, out)
    predict(["c1", "c5"], data_io)
    assert asked == []
    predict(["c1", "c5"], data_io, return_output=False)
    predict("c2", data_io, return_output=False, output_path=folder / "else")
    assert asked == [(["c1", "c5"], out), (["c2"], folder / "else")]
