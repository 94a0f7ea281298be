"""Slices of NIfTI volumes as subjects, and their predictions put together again."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.formats import nifti_file
from miscnn.data_loading.interfaces._volume_cache import VolumeCache
from miscnn.data_loading.interfaces.nifti import NIfTIInterface
from miscnn.data_loading.interfaces.nifti_slicer_io import NIFTIslicer_interface
from miscnn.data_loading.interfaces.nifti_slices import NIfTISliceInterface
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
    UnreadableFileError,
)

AFFINE = np.array([[-0.9, 0, 0, 100], [0, 0.7, 0, -80], [0, 0, 3, 20], [0, 0, 0, 1.0]])
Save = Callable[..., Path]


def interface_of(**options: object) -> NIfTISliceInterface:
    return NIfTISliceInterface(
        **{"image": "images/*.nii.gz", "segmentation": "labels/*.nii.gz", **options}
    )


@pytest.fixture
def volume(rng: np.random.Generator) -> NDArray:
    return rng.integers(-500, 500, (7, 6, 5)).astype(np.int16)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_slices_are_those_of_the_volume(
    axis: int | None, ending: str, volume: NDArray, tmp_path: Path, save: Save
) -> None:
    save(tmp_path / f"images/b{ending}", volume, AFFINE)
    save(tmp_path / f"labels/b{ending}", (volume > 0).astype(np.uint8), AFFINE)
    data_io = DataIO(interface_of(slice_axis=axis), tmp_path)
    used = 2 if axis is None else axis
    count = volume.shape[used]
    assert data_io.indices_list == [f"b:#:{n}" for n in range(count)]
    spacing = np.delete([0.9, 0.7, 3], used)
    for n, index in enumerate(data_io.indices_list):
        sample = data_io.sample_loader(index)
        np.testing.assert_array_equal(sample.image[..., 0], volume.take(n, used))
        assert sample.image.dtype == np.int16
        np.testing.assert_array_equal(sample.segmentation[..., 0], volume.take(n, used) > 0)
        np.testing.assert_allclose(sample.spacing, spacing)
        assert data_io.geometry(index) == sample.geometry
        np.testing.assert_allclose(sample.details["volume_affine"], AFFINE)
        assert (sample.details["volume"], sample.details["slice"]) == ("b", n)


def test_positional_arguments_of_1x() -> None:
    interface = NIFTIslicer_interface(0, 1, 3, "case.*")
    assert (interface.slice_axis, interface.channels, interface.classes) == (0, 1, 3)
    assert interface.pattern == "case.*"
    assert NIfTISliceInterface.from_config(interface.get_config()) == interface
    with pytest.raises(ConfigurationError, match="slice_axis"):
        NIfTISliceInterface(3)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("slope", "inter"), [(2.0, -1024.0), (0.37, 5.5), (1.0, 0.0)])
def test_scaled_and_swapped_values(
    ending: str,
    slope: float,
    inter: float,
    volume: NDArray,
    tmp_path: Path,
    save: Save,
    patch: Callable[..., None],
) -> None:
    path = save(tmp_path / f"images/a{ending}", volume, AFFINE)
    patch(path, 112, "ff", slope, inter)
    interface, whole = interface_of(), NIfTIInterface(image="images/*.nii.gz")
    interface.initialize(tmp_path)
    whole.initialize(tmp_path)
    expected, _ = whole.load_image("a")
    for n in range(5):
        image, _ = interface.load_image(f"a:#:{n}")
        np.testing.assert_array_equal(image, expected[:, :, n])
        assert image.dtype == expected.dtype


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_channels_of_one_file_and_of_several(
    ending: str, volume: NDArray, tmp_path: Path, save: Save
) -> None:
    both = np.stack([volume, -volume], axis=-1)
    save(tmp_path / f"four/a{ending}", both, AFFINE)
    save(tmp_path / f"one/a{ending}", volume, AFFINE)
    save(tmp_path / f"two/a{ending}", -volume, AFFINE)
    for images in ("four/*.nii.gz", ["one/*.nii.gz", "two/*.nii.gz"]):
        interface = NIfTISliceInterface(channels=2, image=images)
        assert len(interface.initialize(tmp_path)) == 5
        np.testing.assert_array_equal(interface.load_image("a:#:3")[0], both[:, :, 3])
    shifted = AFFINE.copy()
    shifted[2, 3] += 3
    save(tmp_path / f"two/a{ending}", -volume, shifted)
    with pytest.raises(GridMismatchError, match="a channel"):
        interface.load_image("a:#:3")


def test_a_segmentation_on_another_grid_is_refused(
    volume: NDArray, tmp_path: Path, save: Save
) -> None:
    shifted = AFFINE.copy()
    shifted[2, 3] += 3  # along the slices, which no slice shows by itself
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    save(tmp_path / "labels/a.nii.gz", (volume > 0).astype(np.uint8), shifted)
    interface = interface_of()
    interface.initialize(tmp_path)
    with pytest.raises(GridMismatchError, match="the segmentation"):
        interface.load_segmentation("a:#:0")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2)])
def test_predictions_lie_in_their_place_and_make_up_the_volume(
    axis: int, codes: tuple[int, int], volume: NDArray, tmp_path: Path, save: Save
) -> None:
    labels = (volume % 3).astype(np.uint8)
    path = save(tmp_path / "images/a.nii.gz", volume, AFFINE, *codes)
    data_io = DataIO(interface_of(slice_axis=axis, classes=3), tmp_path, tmp_path / "out")
    interface = data_io.interface
    assert isinstance(interface, NIfTISliceInterface)
    for n, index in enumerate(data_io.indices_list):
        sample = data_io.sample_loader(index, load_seg=False)
        sample.add_prediction(labels.take(n, axis))
        written = data_io.save_prediction(sample)
        assert written == tmp_path / f"out/a/slice_{n:04d}.nii.gz"
        place = nib.load(written)
        first = np.zeros(4)
        first[axis], first[3] = n, 1
        np.testing.assert_allclose(place.affine[:, 3], AFFINE @ first, atol=1e-4)
        np.testing.assert_array_equal(data_io.load_prediction(index), labels.take(n, axis))
    whole = interface.assemble("a", tmp_path / "out")
    assert whole == tmp_path / "out/a.nii.gz"
    after, before = nib.load(whole), nib.load(path)
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.get_data_dtype() == np.uint8
    for leftover in (tmp_path / "out/a").iterdir():
        leftover.unlink()
    np.testing.assert_array_equal(data_io.load_prediction("a:#:2"), labels.take(2, axis))


def test_missing_slices_are_named(volume: NDArray, tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    data_io = DataIO(interface_of(label_values=[0, 200], slice_axis=2), tmp_path, tmp_path / "out")
    interface = data_io.interface
    assert isinstance(interface, NIfTISliceInterface)
    with pytest.raises(MissingFileError, match="5 of 5"):
        interface.assemble("a", tmp_path / "out", allow_missing=True)
    sample = data_io.sample_loader("a:#:3", load_seg=False)
    sample.add_prediction(np.ones((7, 6), np.uint8))
    data_io.save_prediction(sample)
    with pytest.raises(MissingFileError, match=r"4 of 5 slices .* \(0, 1, 2, 4\)"):
        interface.assemble("a", tmp_path / "out")
    whole = nib.load(interface.assemble("a", tmp_path / "out", allow_missing=True))
    expected = np.zeros((7, 6, 5), np.uint8)
    expected[:, :, 3] = 200  # values of files
    np.testing.assert_array_equal(np.asarray(whole.dataobj), expected)
    with pytest.raises(MissingFileError):
        interface.load_prediction("a:#:0", tmp_path / "elsewhere")


def test_probabilities(volume: NDArray, tmp_path: Path, save: Save) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((7, 6, 5, 2)).astype(np.float32)
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    data_io = DataIO(interface_of(slice_axis=1), tmp_path, tmp_path / "out")
    for n, index in enumerate(data_io.indices_list):
        sample = data_io.sample_loader(index, load_seg=False)
        sample.add_prediction(probabilities[:, n], activation_output=True)
        data_io.save_prediction(sample)
        np.testing.assert_array_equal(data_io.load_prediction(index), probabilities[:, n])
    whole = nib.load(data_io.interface.assemble("a", tmp_path / "out"))
    np.testing.assert_array_equal(np.asarray(whole.dataobj), probabilities)


def test_volumes_are_assembled_when_all_slices_are_predicted(
    volume: NDArray, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / f"images/{name}.nii.gz", volume, AFFINE)
    data_io = DataIO(interface_of(slice_axis=2, classes=3), tmp_path, tmp_path / "out")
    truth = {"a": volume % 3, "b": volume % 2, "c": volume % 3}
    for index in data_io.indices_list:
        name, _, number = index.rpartition(":#:")
        if index == "b:#:3":
            continue
        sample = data_io.sample_loader(index, load_seg=False)
        sample.add_prediction(truth[name][:, :, int(number)].astype(np.uint8))
        data_io.save_prediction(sample)
    assert data_io.complete_predictions([]) == []
    asked = ["b:#:0", "a:#:4", "b:#:1", "a:#:0"]  # c was predicted some other time
    assert data_io.complete_predictions(asked) == [tmp_path / "out/a.nii.gz"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "a.nii.gz", "b", "c"]
    after = nib.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), truth["a"])
    np.testing.assert_array_equal(after.affine, nib.load(tmp_path / "images/a.nii.gz").affine)

    sample = data_io.sample_loader("b:#:3", load_seg=False)
    sample.add_prediction(truth["b"][:, :, 3].astype(np.uint8))
    data_io.save_prediction(sample, tmp_path / "elsewhere")
    assert data_io.complete_predictions(["b:#:3"], tmp_path / "elsewhere") == []
    data_io.save_prediction(sample)
    assert data_io.complete_predictions(["b:#:3"]) == [tmp_path / "out/b.nii.gz"]

    sample = data_io.sample_loader("c:#:3", load_seg=False)  # of another run
    sample.add_prediction(np.full((7, 6, 3), 0.25, np.float32), activation_output=True)
    data_io.save_prediction(sample)
    assert data_io.complete_predictions(["c:#:3", "a:#:3"]) == [tmp_path / "out/a.nii.gz"]
    assert "do not fit together" in caplog.text
    assert not (tmp_path / "out/c.nii.gz").exists()
    assert NIfTIInterface().complete_predictions(["a"], tmp_path) == []  # nothing elsewhere


@pytest.mark.parametrize("index", ["a", "a:#:", "a:#:x", ":#:1", "a:#:5", "../a:#:0", "a:#:-1"])
def test_what_is_no_index(index: str, volume: NDArray, tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    interface = interface_of()
    interface.initialize(tmp_path)
    with pytest.raises(SampleError):
        interface.load_image(index)


def test_a_broken_volume_is_listed_and_told(
    volume: NDArray, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    (tmp_path / "images/b.nii").write_bytes(b"nonsense")
    interface = interface_of()
    assert interface.initialize(tmp_path)[-2:] == ["a:#:4", "b:#:0"]
    assert "b.nii" in caplog.text
    with pytest.raises(UnreadableFileError):
        interface.load_image("b:#:0")


def test_each_volume_is_decompressed_once(
    volume: NDArray, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    original = nifti_file.NiftiFile.read

    def counted(file: nifti_file.NiftiFile) -> NDArray:
        reads.append(file.path.name)
        return original(file)

    monkeypatch.setattr(nifti_file.NiftiFile, "read", counted)
    for name in ("a", "b"):
        save(tmp_path / f"images/{name}.nii.gz", volume, AFFINE)
    save(tmp_path / "images/c.nii", volume, AFFINE)
    interface = interface_of()
    for index in interface.initialize(tmp_path):
        interface.load_image(index)
    assert reads == ["a.nii.gz", "b.nii.gz"]
    save(tmp_path / "images/a.nii.gz", volume + 1, AFFINE)  # a file that changes is read again
    np.testing.assert_array_equal(interface.load_image("a:#:0")[0], volume[:, :, 0] + 1)
    for other in (copy.deepcopy(interface), pickle.loads(pickle.dumps(interface))):
        np.testing.assert_array_equal(other.load_image("a:#:0")[0], volume[:, :, 0] + 1)
        assert other == interface
    assert reads.count("a.nii.gz") == 4


def test_a_slice_belongs_to_the_caller(volume: NDArray, tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images/a.nii.gz", volume, AFFINE)
    interface = interface_of()
    interface.initialize(tmp_path)
    interface.load_image("a:#:1")[0][:] = 0
    np.testing.assert_array_equal(interface.load_image("a:#:1")[0], volume[:, :, 1])


def test_the_memory_is_bounded() -> None:
    cache = VolumeCache(1000)
    loads: list[int] = []

    def load(number: int, size: int) -> NDArray:
        loads.append(number)
        return np.full(size, number, np.uint8)

    for number in (1, 2, 1, 3, 1, 2):  # two of 400 fit
        assert cache.get(number, lambda n=number: load(n, 400))[0] == number
    assert loads == [1, 2, 3, 2]
    cache.get(9, lambda: load(9, 5000))  # too large, but the last one is kept
    cache.get(9, lambda: load(9, 5000))
    assert loads[4:] == [9]
    with pytest.raises(OSError, match="no"):
        cache.get(10, lambda: (_ for _ in ()).throw(OSError("no")))
    assert cache.get(10, lambda: load(10, 1))[0] == 10


def test_threads_wait_for_one_another() -> None:
    cache = VolumeCache(1000)
    loads: list[int] = []

    def load() -> NDArray:
        loads.append(1)
        time.sleep(0.05)
        return np.arange(10)

    threads = [threading.Thread(target=cache.get, args=("a", load)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


@pytest.mark.realdata
def test_hippocampus(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "hippocampus"
    interface = NIfTISliceInterface(
        0, 1, 3, "hippocampus_00.", "images/*.nii.gz", "labels/*.nii.gz"
    )
    data_io = DataIO(interface, folder, tmp_path)
    volume = data_io.indices_list[0].rpartition(":#:")[0]
    truth = nib.load(folder / f"labels/{volume}.nii.gz")
    for index in data_io.indices_list:
        if index.startswith(volume):
            sample = data_io.sample_loader(index)
            sample.add_prediction(sample.segmentation[..., 0])
            data_io.save_prediction(sample)
    whole = nib.load(interface.assemble(volume, tmp_path))
    np.testing.assert_array_equal(np.asarray(whole.dataobj), np.asarray(truth.dataobj))
    np.testing.assert_array_equal(whole.affine, truth.affine)
