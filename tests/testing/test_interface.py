"""What check_interface accepts, and what it finds."""

from __future__ import annotations

import doctest
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from numpy.typing import NDArray
from PIL import Image

from miscnn.data_loading.interfaces import (
    DataInterface,
    DICOMInterface,
    DictionaryInterface,
    ImageInterface,
    ITKInterface,
    MergedLabels,
    NIfTIInterface,
    NIfTISliceInterface,
    NumPyInterface,
)
from miscnn.exceptions import (
    ConfigurationError,
    ContractError,
    SampleError,
)
from miscnn.testing import check_interface, interface

from ..data_loading.dicom_annotations import write_masks
from ..data_loading.dicom_series import write_series
from . import broken_interfaces as bad
from .broken_interfaces import AFFINE, Raw, subjects


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------------- what the library has


def nifti(folder: Path) -> DataInterface:
    for index, (image, labels) in subjects().items():
        for name, array in (("imaging", image), ("segmentation", labels)):
            nib.save(nib.Nifti1Image(array, AFFINE), made(folder / index / f"{name}.nii.gz"))
    return NIfTIInterface(classes=3)


def slices(folder: Path) -> DataInterface:
    nifti(folder)
    return NIfTISliceInterface(classes=3)


def merged(folder: Path) -> DataInterface:
    return MergedLabels(nifti(folder))


def arrays(folder: Path) -> DataInterface:
    for index, (image, labels) in subjects().items():
        np.savez(made(folder / f"{index}.npz"), image=image, segmentation=labels, affine=AFFINE)
    return NumPyInterface(classes=3, image="*.npz", segmentation="*.npz")


def itk(ending: str) -> Callable[[Path], DataInterface]:
    def write(folder: Path) -> DataInterface:
        for index, two in subjects().items():
            for name, array in zip(("imaging", "segmentation"), two, strict=True):
                volume = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
                volume.SetSpacing((0.9, 0.8, 3.0))
                if ending != ".gipl":
                    volume.SetOrigin((10.0, -20.0, 30.0))
                    volume.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
                sitk.WriteImage(volume, str(made(folder / index / f"{name}{ending}")))
        names = (f"{{index}}/{name}{ending}" for name in ("imaging", "segmentation"))
        return ITKInterface(classes=3, image=next(names), segmentation=next(names))

    return write


def pictures(folder: Path) -> DataInterface:
    for index, (image, labels) in subjects().items():
        grey = (image[:, :, 0] % 256).astype(np.uint8)
        mask = (labels[:, :, 0] > 0).astype(np.uint8) * 255
        Image.fromarray(grey.T).save(made(folder / index / "imaging.png"))
        Image.fromarray(mask.T).save(folder / index / "segmentation.png")
    return ImageInterface(label_values=[0, 255], spacing=(0.5, 0.7))


def memory(folder: Path) -> DataInterface:
    details: dict[str, Any] = {"affine": AFFINE, "spacing": [0.8, 0.9, 3.0]}
    entries = {index: (*two, None, details) for index, two in subjects().items()}
    return DictionaryInterface(entries, classes=3)


def dicom(output: str) -> Callable[[Path], DataInterface]:
    def write(folder: Path) -> DataInterface:
        affine = np.diag([-0.8, -0.9, 3.0, 1.0])
        for index, (image, labels) in subjects().items():
            files = write_series(folder / index / "ct", image, affine)
            masks = {"kidney": labels == 1, "tumour": labels == 2}
            write_masks(folder / index / "masks.dcm", files, masks)
        return DICOMInterface(classes=3, output=output)

    return write


@pytest.mark.parametrize(
    "format_of",
    [
        pytest.param(nifti, id="NIfTI"),
        pytest.param(slices, id="slices"),
        pytest.param(merged, id="merged"),
        pytest.param(arrays, id="NumPy"),
        pytest.param(itk(".nrrd"), id="NRRD"),
        pytest.param(itk(".mha"), id="MetaImage"),
        pytest.param(itk(".gipl"), id="GIPL"),
        pytest.param(pictures, id="PNG"),
        pytest.param(memory, id="memory"),
        pytest.param(dicom("dicom-seg"), id="DICOM-SEG"),
        pytest.param(dicom("nifti"), id="DICOM to NIfTI"),
    ],
)
def test_every_interface_of_the_library_keeps_the_contract(
    tmp_path: Path, format_of: Callable[[Path], DataInterface]
) -> None:
    check_interface(format_of(tmp_path), tmp_path)


def test_subjects_without_segmentation_are_sound(tmp_path: Path) -> None:
    sound = nifti(tmp_path)
    for path in tmp_path.rglob("segmentation.nii.gz"):
        path.unlink()
    check_interface(sound, tmp_path)


def test_the_interface_handed_in_stays_as_it_is(tmp_path: Path) -> None:
    on_files = nifti(tmp_path)
    check_interface(on_files, tmp_path)
    assert on_files.data_directory is None
    in_memory = memory(tmp_path)
    check_interface(in_memory)
    assert in_memory.predictions == {}


# ---------------------------------------------------------------------- what may be wrong


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for index, (image, labels) in subjects().items():
        np.save(made(folder / index / "image.npy"), image)
        np.save(folder / index / "affine.npy", AFFINE)
        np.save(folder / index / "labels.npy", labels)
    return folder


def test_a_sound_one_of_the_users(data: Path) -> None:
    check_interface(Raw(), data)


def test_a_class_inside_of_a_function_is_as_good(data: Path) -> None:
    class Local(Raw):
        pass

    check_interface(Local(), data)


_FAULTS: list[tuple[DataInterface, str]] = [
    (bad.Unsorted(), r"initialize\(\) lists subjects in no order: .*; sort them"),
    (bad.Twice(), r"lists case_10, case_2 more than once"),
    (bad.Paths(), r"must return a list of names, .*turn numbers and paths into text"),
    (bad.Drains(), r"lists other subjects the second time"),
    (bad.AnyFolder(), r"a folder that does not exist was accepted; raise MissingFileError"),
    (bad.ChannelsFirst(), r"'case_10': load_image\(\): .*channel.*\(1, 6, 7, 4\)"),
    (bad.NaN(), r"NaN or infinite, the first at \(2, 1, 3\); replace"),
    (bad.Complex(), r"load_image\(\): the image must hold real numbers, not complex128"),
    (bad.NoPlace(), r"neither affine nor spacing.*return what the file tells"),
    (bad.SpacingInReverse(), r"details\['spacing'\] is \(3.0, 0.9, 0.8\).*\(0.8, 0.9, 3.0\) mm"),
    (bad.GridInReverse(), r"details\['grid'\] is \(4, 7, 6\), the image has shape \(6, 7, 4\)"),
    (bad.SmallAffine(), r"affine of a 3D grid has shape \(4, 4\), got \(3, 3\)"),
    (bad.Chance(), r"load_image\(\) gave something else the second time; nothing .* chance"),
    (bad.ArrayAlone(), r"must return \(array, dictionary of details\), got ndarray"),
    (bad.GridOfOther(), r"load_geometry\(\) tells another grid than load_image\(\): voxels lie up"),
    (bad.Kept(), r"written into the image .*; return a copy of what is kept, or make it read-only"),
    (bad.KeptDetails(), r"written into the details .*; return a copy of what is kept"),
    (bad.KeptLabels(), r"written into the array that load_segmentation\(\) .*; return a copy"),
    (bad.MapsOther(), r"map_image\(\) gave another image than load_image\(\)"),
    (bad.LabelsTurned(), r"load_segmentation\(\): .*\(4, 7, 6\)"),
    (bad.HalfLabels(), r"load_segmentation\(\): .*0\.5"),
    (Raw(classes=2), r"load_segmentation\(\): .*2"),
    (bad.LabelsElsewhere(), r"load_segmentation_geometry\(\) tells another grid .*; resample"),
    (bad.SaysNone(), r"has_segmentation\(\) is False, but load_segmentation\(\) returns one"),
    (bad.SaysThereIs(), r"has_segmentation\(\) is True, but load_segmentation\(\) finds none"),
    (bad.OtherErrorForNone(), r"KeyError: 'case_10'; where there is none, raise MissingFileError"),
    (bad.NoImage(), r"has_image\(\) is False, though"),
    (bad.SourcesElsewhere(), r"source_files\(\) names what is no file: .*scan.raw; prepared data"),
    (bad.ByPeak(), r"after other subjects were loaded, its image is another one; .*keep nothing"),
    (bad.Current(), r"in several threads at once, its segmentation is another one; .*keep nothing"),
    (bad.Lock(), r"copied by copy.deepcopy \(.*; keep no open files, locks"),
    (bad.Connected(), r"cannot be pickled \(.*; keep no open files, locks"),
    (bad.OtherName(), r"made again from its configuration as JSON .*'colour'.*under its own name"),
    (
        bad.Forgets("case_10"),
        r"made again from its JSON, it lists other subjects; all that reading",
    ),
    (
        bad.AnyIndex(),
        r"'no_such_case_10': load_geometry\(\) .* was accepted; raise MissingFileError",
    ),
    (
        bad.BareError(),
        r"load_image\(\) of a subject .* raised KeyError: .*; raise MissingFileError",
    ),
    (bad.ByTable(), r"has_segmentation\(\) of a subject .* raised KeyError: .*; return False"),
    (bad.Bytes(), r"of shape \(7, 7, 4\) for an image of shape \(6, 7, 4\) was accepted; compare"),
    (
        bad.CutsOff(),
        r"probabilities \(float32, \(6, 7, 4, 3\)\) came back as .*; keep their values",
    ),
    (bad.Turns(), r"shape \(6, 7, 4\) came back from load_prediction\(\) as \(4, 7, 6\)"),
    (bad.Mirrors(), r"of 168 voxels of a label map came back with another label; .*order of axes"),
    (bad.OneFile(), r"came back from load_prediction\(\) as \(7, 6, 5\)"),
    (bad.Invents(), r"folder that holds no prediction was accepted; raise MissingFileError"),
    (bad.WritesInto(), r"save_prediction\(\) changed the prediction .*; copy before"),
    (
        bad.BesideImage(),
        r"prediction.npy of the data set was written; an interface reads there only",
    ),
    (bad.TouchesImage(), r"case_10.labels.npy of the data set was changed; an interface reads"),
    (
        bad.OtherResult(),
        r"wrote case_10.npy, but result_files\(\) told case_10.nii; both must agree",
    ),
    (bad.NoFile(), r"elsewhere.npy', which is no file; return the file that was written, or None"),
]


@pytest.mark.parametrize(
    ("broken", "message"), _FAULTS, ids=[f"{type(broken).__name__}" for broken, _ in _FAULTS]
)
def test_each_fault_is_found(data: Path, broken: DataInterface, message: str) -> None:
    with pytest.raises(ContractError, match=message) as found:
        check_interface(broken, data)
    assert str(found.value).startswith(type(broken).__name__)


def test_an_argument_that_the_configuration_loses(data: Path) -> None:
    changed = bad.ChangesClasses()
    changed.classes = 4
    with pytest.raises(ContractError, match="it has classes=3, not 4; let the constructor take"):
        check_interface(changed, data)


class _AtOrigin(NIfTIInterface):
    def write_file(self, path: Path, array: NDArray[Any], sample: Any) -> None:
        nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.9, 3.0, 1.0])), path)


def test_a_prediction_on_another_grid_is_found(tmp_path: Path) -> None:
    nifti(tmp_path)
    message = "case_2.nii.gz, lies on another grid than the image: .*; write the affine of"
    with pytest.raises(ContractError, match=message):
        check_interface(_AtOrigin(classes=3), tmp_path)


class _Shares(DictionaryInterface):
    def save_prediction(self, sample: Any, output_path: str | Path | None = None) -> None:
        super().save_prediction(sample, output_path)
        self.predictions[sample.index] = sample.prediction


class _HandsOut(DictionaryInterface):
    def load_prediction(self, index: str, output_path: str | Path | None = None) -> NDArray[Any]:
        return self.predictions[index]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (_Shares, "voxels of a label map came back with another label"),
        (_HandsOut, r"written into the array that load_prediction\(\) returned .*return a copy"),
    ],
)
def test_predictions_in_memory_must_be_copies(kind: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_interface(kind(subjects(), classes=3))


def test_memory_refuses_predictions_of_another_shape() -> None:
    kept = DictionaryInterface(subjects(), classes=3)
    sample = interface.SubjectCheck(kept, "case_2").run()
    sample.prediction = np.zeros((5, 6, 7), dtype=np.uint8)
    with pytest.raises(SampleError, match=r"shape \(5, 6, 7\), the image \(7, 6, 5\)"):
        kept.save_prediction(sample)


def test_which_subjects(data: Path) -> None:
    np.save(data / "case_2" / "image.npy", np.zeros((2, 2)))
    check_interface(Raw(), data, indices=["case_10"])
    with pytest.raises(ContractError, match=r"'case_2': .* shape \(2, 2\); with three_dim=True"):
        check_interface(Raw(), data)
    for wrong in (["case_3"], []):
        with pytest.raises(ConfigurationError, match=re.escape(f"indices={wrong!r}: expected")):
            check_interface(Raw(), data, indices=wrong)


def test_without_saving_nothing_is_said_of_it(data: Path) -> None:
    check_interface(bad.Bytes(), data, save=False)


def test_an_empty_folder_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="found no subject in"):
        check_interface(Raw(), tmp_path)


def test_the_one_with_a_segmentation_is_looked_at(tmp_path: Path) -> None:
    image = np.zeros((3, 4, 5))
    entries: dict[str, Any] = {f"{n:02}": (image,) for n in range(9)}
    entries["04"] = (image, np.full(image.shape, 7))
    with pytest.raises(ContractError, match="'04': load_segmentation"):
        check_interface(DictionaryInterface(entries))


def test_example_in_the_docstring() -> None:
    result = doctest.testmod(interface)
    assert result.attempted > 0
    assert result.failed == 0
