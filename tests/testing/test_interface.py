"""What check_interface accepts, and what it finds."""

from __future__ import annotations

import doctest
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from numpy.typing import NDArray
from PIL import Image

from miscnn.data_loading.geometry import Geometry
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
    GridMismatchError,
    MissingFileError,
    SampleError,
)
from miscnn.testing import check_interface, interface

from ..data_loading.dicom_annotations import write_masks
from ..data_loading.dicom_series import write_series

AFFINE = np.array([[0, -0.9, 0, 100], [0.8, 0, 0, -80], [0, 0, 3, 20], [0, 0, 0, 1.0]])
# Listed in this order by value, in the other one by letters.
SHAPES = {"case_2": (7, 6, 5), "case_10": (6, 7, 4)}


def subjects() -> dict[str, tuple[NDArray[np.int16], NDArray[np.uint8]]]:
    rng = np.random.default_rng(1)
    return {
        index: (
            rng.integers(-500, 1500, shape).astype(np.int16),
            rng.integers(0, 3, shape).astype(np.uint8),
        )
        for index, shape in SHAPES.items()
    }


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


class _Raw(DataInterface):
    """Sound: folders with image.npy, affine.npy, labels.npy."""

    def __init__(self, classes: int = 3, ending: str = ".npy") -> None:
        super().__init__(1, classes)
        self.ending = ending

    def initialize(self, input_path: str | Path) -> list[str]:
        self.folder = Path(input_path)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder} does not exist")
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def path(self, index: str, name: str) -> Path:
        path = self.folder / index / f"{name}{self.ending}"
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist")
        return path

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        image = np.load(self.path(index, "image"))
        affine = np.load(self.path(index, "affine"))
        return image, {"affine": affine, "spacing": [0.8, 0.9, 3.0], "grid": image.shape}

    def load_segmentation(self, index: str) -> NDArray[Any]:
        return np.load(self.path(index, "labels"))

    def source_files(self, index: str) -> list[Path]:
        return [self.path(index, name) for name in ("image", "affine", "labels")]

    def target(self, index: str, output_path: str | Path) -> Path:
        return Path(output_path) / f"{index}.npy"

    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        if sample.prediction.shape != sample.geometry.shape:
            raise GridMismatchError(sample.index, f"got {sample.prediction.shape}")
        path = self.target(sample.index, output_path)
        np.save(path, sample.prediction)
        return path

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return np.load(self.target(index, output_path))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for index, (image, labels) in subjects().items():
        np.save(made(folder / index / "image.npy"), image)
        np.save(folder / index / "affine.npy", AFFINE)
        np.save(folder / index / "labels.npy", labels)
    return folder


def test_a_sound_one_of_the_users(data: Path) -> None:
    check_interface(_Raw(), data)


class _Unsorted(_Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return [*super().initialize(input_path), "case_1"]


class _Twice(_Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return sorted(super().initialize(input_path) * 2)


class _Paths(_Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return [self.folder / i for i in super().initialize(input_path)]  # type: ignore[misc]


class _Drains(_Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        found = super().initialize(input_path)
        self.seen = getattr(self, "seen", 0) + 1
        return found[: len(found) if self.seen < 2 else 1]


class _AnyFolder(_Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        self.folder = Path(input_path)
        return sorted(path.name for path in self.folder.glob("*"))


class _Image(_Raw):
    """Changes what is loaded, by ``change``."""

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = super().load_image(index)
        image, more = self.change(image)
        return image, {**details, **more}

    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        raise NotImplementedError


class _ChannelsFirst(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image[np.newaxis], {}


class _NaN(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return np.where(image == image[2, 1, 3], np.nan, image), {}


class _Complex(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image + 1j, {}


class _NoPlace(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"affine": None, "spacing": None}


class _SpacingInReverse(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"spacing": [3.0, 0.9, 0.8]}


class _GridInReverse(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"grid": image.shape[::-1]}


class _SmallAffine(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"affine": np.eye(3), "spacing": None}


class _Chance(_Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image + np.random.default_rng().integers(1, 1000, image.shape), {}


class _ArrayAlone(_Raw):
    def load_image(self, index: str) -> Any:
        return super().load_image(index)[0]


class _GridOfOther(_Raw):
    def load_geometry(self, index: str) -> Geometry:
        image, details = self.load_image(index)
        return Geometry(image.shape, details["affine"] @ np.diag([1, 1, 1.1, 1]))


class _Kept(_Raw):
    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        kept = self.__dict__.setdefault("kept", {})
        image, details = kept.setdefault(index, super().load_image(index))
        return image, {**details, "affine": details["affine"].copy(), "spacing": None}


class _KeptDetails(_Raw):
    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        kept = self.__dict__.setdefault("kept", {})
        image, details = kept.setdefault(index, super().load_image(index))
        return image.copy(), dict(details)


class _KeptLabels(_Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        kept = self.__dict__.setdefault("kept", {})
        labels: NDArray[Any] = kept.setdefault(index, super().load_segmentation(index))
        return labels


class _MapsOther(_Raw):
    def map_image(self, index: str, scratch: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = self.load_image(index)
        return image[::-1], details


class _LabelsTurned(_Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        return super().load_segmentation(index).T


class _HalfLabels(_Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        return super().load_segmentation(index) / 2


class _LabelsElsewhere(_Raw):
    def load_segmentation_geometry(self, index: str) -> Geometry:
        return Geometry(SHAPES[index])


class _SaysNone(_Raw):
    def has_segmentation(self, index: str) -> bool:
        return False


class _SaysThereIs(_Raw):
    def has_segmentation(self, index: str) -> bool:
        return True

    def load_segmentation(self, index: str) -> NDArray[Any]:
        raise MissingFileError("nothing there")


class _OtherErrorForNone(_Raw):
    def has_segmentation(self, index: str) -> bool:
        return False

    def load_segmentation(self, index: str) -> NDArray[Any]:
        raise KeyError(index)


class _NoImage(_Raw):
    def has_image(self, index: str) -> bool:
        return False


class _SourcesElsewhere(_Raw):
    def source_files(self, index: str) -> list[Path]:
        return [self.folder / index / "scan.raw"]


class _ByPeak(_Raw):
    """Scales by the largest value that was seen so far."""

    peak = 0.0

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = super().load_image(index)
        image[0, 0, 0] = 5000 * (1 + list(SHAPES)[::-1].index(index))
        self.peak = max(self.peak, float(image.max()))
        return image / self.peak, details


class _Current(_Raw):
    """Reads the segmentation of the image that was loaded last."""

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        self.current = index
        time.sleep(0.005)
        return super().load_image(index)

    def load_segmentation(self, index: str) -> NDArray[Any]:
        if index in SHAPES:
            index = self.current
        return super().load_segmentation(index)

    def has_segmentation(self, index: str) -> bool:
        return index in SHAPES


class _Lock(_Raw):
    def __init__(self, classes: int = 3) -> None:
        super().__init__(classes)
        self.lock = threading.Lock()


class _Function(_Raw):
    def __init__(self, classes: int = 3) -> None:
        super().__init__(classes)
        self.function = lambda x: x


class _OtherName(_Raw):
    def __init__(self, colour: str = "red") -> None:
        super().__init__()
        self.paint = colour


class _Forgets(_Raw):
    def __init__(self, only: str = "") -> None:
        super().__init__()
        self.only = only

    def get_config(self) -> dict[str, Any]:
        return {}

    def initialize(self, input_path: str | Path) -> list[str]:
        return [index for index in super().initialize(input_path) if self.only in index]


class _ChangesClasses(_Raw):
    def __init__(self, number: int = 4) -> None:
        super().__init__(3)
        self.number = number


class _AnyIndex(_Raw):
    def load_geometry(self, index: str) -> Geometry:
        return Geometry(SHAPES.get(index, (1, 1, 1)), AFFINE)


class _BareError(_Raw):
    def path(self, index: str, name: str) -> Path:
        if index not in SHAPES:
            raise KeyError(index)
        return super().path(index, name)


class _ByTable(_Raw):
    def has_segmentation(self, index: str) -> bool:
        return bool(SHAPES[index])


class _Bytes(_Raw):
    """Writes whatever it gets, one voxel after the other."""

    def save_prediction(self, sample: Any, output_path: str | Path) -> None:
        sample.prediction.astype(np.uint8).tofile(self.target(sample.index, output_path))

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        voxels = np.fromfile(self.target(index, output_path), np.uint8)
        return voxels.reshape(SHAPES[index])


class _CutsOff(_Bytes):
    """Refuses label maps of another shape, and makes whole numbers of probabilities."""

    def save_prediction(self, sample: Any, output_path: str | Path) -> None:
        shape = sample.geometry.shape
        if sample.prediction.shape[:3] != shape or sample.prediction.ndim > 4:
            raise GridMismatchError(sample.index, "another shape")
        if sample.prediction.ndim == 4:
            sample.prediction = sample.prediction.argmax(axis=-1)
        super().save_prediction(sample, output_path)


class _Turns(_Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return super().load_prediction(index, output_path).T


class _Mirrors(_Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return super().load_prediction(index, output_path)[::-1]


class _OneFile(_Raw):
    def target(self, index: str, output_path: str | Path) -> Path:
        return Path(output_path) / "prediction.npy"


class _Invents(_Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        if not self.target(index, output_path).exists():
            return np.zeros(SHAPES[index], dtype=np.uint8)
        return super().load_prediction(index, output_path)


class _WritesInto(_Raw):
    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        path = super().save_prediction(sample, output_path)
        sample.prediction[sample.prediction > 0] = 255
        return path


class _BesideImage(_Raw):
    def target(self, index: str, output_path: str | Path) -> Path:
        if not any(Path(output_path).iterdir()):  # nothing is there before the first is written
            return Path(output_path) / "none.npy" if not self.saved else self.beside(index)
        return self.beside(index)

    saved = False

    def beside(self, index: str) -> Path:
        return self.folder / index / "prediction.npy"

    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        self.saved = True
        return super().save_prediction(sample, output_path)


class _TouchesImage(_Raw):
    touched = False

    def load_segmentation(self, index: str) -> NDArray[Any]:
        labels = super().load_segmentation(index)
        if not self.touched:
            np.save(self.folder / index / "labels.npy", labels)
        self.touched = True
        return labels


class _OtherResult(_Raw):
    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        return [Path(output_path) / f"{called}.nii"]


class _NoFile(_Raw):
    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        super().save_prediction(sample, output_path)
        return Path(output_path) / "elsewhere.npy"


_FAULTS: list[tuple[DataInterface, str]] = [
    (_Unsorted(), r"initialize\(\) lists subjects in no order: .*; sort them"),
    (_Twice(), r"lists case_10, case_2 more than once"),
    (_Paths(), r"must return a list of names, .*turn numbers and paths into text"),
    (_Drains(), r"lists other subjects the second time"),
    (_AnyFolder(), r"a folder that does not exist was accepted; raise MissingFileError"),
    (_ChannelsFirst(), r"'case_10': load_image\(\): .*channel.*\(1, 6, 7, 4\)"),
    (_NaN(), r"NaN or infinite, the first at \(2, 1, 3\); replace"),
    (_Complex(), r"load_image\(\): the image must hold real numbers, not complex128"),
    (_NoPlace(), r"neither affine nor spacing.*return what the file tells"),
    (_SpacingInReverse(), r"details\['spacing'\] is \(3.0, 0.9, 0.8\).*\(0.8, 0.9, 3.0\) mm"),
    (_GridInReverse(), r"details\['grid'\] is \(4, 7, 6\), the image has shape \(6, 7, 4\)"),
    (_SmallAffine(), r"affine of a 3D grid has shape \(4, 4\), got \(3, 3\)"),
    (_Chance(), r"load_image\(\) gave something else the second time; nothing .* chance"),
    (_ArrayAlone(), r"must return \(array, dictionary of details\), got ndarray"),
    (_GridOfOther(), r"load_geometry\(\) tells another grid than load_image\(\): voxels lie up"),
    (_Kept(), r"written into the image .*; return a copy of what is kept, or make it read-only"),
    (_KeptDetails(), r"written into the details .*; return a copy of what is kept"),
    (_KeptLabels(), r"written into the array that load_segmentation\(\) .*; return a copy"),
    (_MapsOther(), r"map_image\(\) gave another image than load_image\(\)"),
    (_LabelsTurned(), r"load_segmentation\(\): .*\(4, 7, 6\)"),
    (_HalfLabels(), r"load_segmentation\(\): .*0\.5"),
    (_Raw(classes=2), r"load_segmentation\(\): .*2"),
    (_LabelsElsewhere(), r"load_segmentation_geometry\(\) tells another grid .*; resample"),
    (_SaysNone(), r"has_segmentation\(\) is False, but load_segmentation\(\) returns one"),
    (_SaysThereIs(), r"has_segmentation\(\) is True, but load_segmentation\(\) finds none"),
    (_OtherErrorForNone(), r"KeyError: 'case_10'; where there is none, raise MissingFileError"),
    (_NoImage(), r"has_image\(\) is False, though"),
    (_SourcesElsewhere(), r"source_files\(\) names what is no file: .*scan.raw; prepared data"),
    (_ByPeak(), r"after other subjects were loaded, its image is another one; .*keep nothing"),
    (_Current(), r"in several threads at once, its segmentation is another one; .*keep nothing"),
    (_Lock(), r"copied by copy.deepcopy \(.*; keep no open files, locks"),
    (_Function(), r"cannot be pickled \(.*; define the class at the top of a module"),
    (_OtherName(), r"made again from its configuration as JSON .*'colour'.*under its own name"),
    (_Forgets("case_10"), r"made again from its JSON, it lists other subjects; all that reading"),
    (_AnyIndex(), r"'no_such_case_10': load_geometry\(\) .* was accepted; raise MissingFileError"),
    (_BareError(), r"load_image\(\) of a subject .* raised KeyError: .*; raise MissingFileError"),
    (_ByTable(), r"has_segmentation\(\) of a subject .* raised KeyError: .*; return False"),
    (_Bytes(), r"of shape \(7, 7, 4\) for an image of shape \(6, 7, 4\) was accepted; compare"),
    (_CutsOff(), r"probabilities \(float32, \(6, 7, 4, 3\)\) came back as .*; keep their values"),
    (_Turns(), r"shape \(6, 7, 4\) came back from load_prediction\(\) as \(4, 7, 6\)"),
    (_Mirrors(), r"of 168 voxels of a label map came back with another label; .*order of axes"),
    (_OneFile(), r"came back from load_prediction\(\) as \(7, 6, 5\)"),
    (_Invents(), r"folder that holds no prediction was accepted; raise MissingFileError"),
    (_WritesInto(), r"save_prediction\(\) changed the prediction .*; copy before"),
    (_BesideImage(), r"prediction.npy of the data set was written; an interface reads there only"),
    (_TouchesImage(), r"case_10.labels.npy of the data set was changed; an interface reads"),
    (_OtherResult(), r"wrote case_10.npy, but result_files\(\) told case_10.nii; both must agree"),
    (_NoFile(), r"elsewhere.npy', which is no file; return the file that was written, or None"),
]


@pytest.mark.parametrize(
    ("broken", "message"), _FAULTS, ids=[f"{type(broken).__name__}" for broken, _ in _FAULTS]
)
def test_each_fault_is_found(data: Path, broken: DataInterface, message: str) -> None:
    with pytest.raises(ContractError, match=message) as found:
        check_interface(broken, data)
    assert str(found.value).startswith(type(broken).__name__)


def test_an_argument_that_the_configuration_loses(data: Path) -> None:
    changed = _ChangesClasses()
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
    check_interface(_Raw(), data, indices=["case_10"])
    with pytest.raises(ContractError, match=r"'case_2': .* shape \(2, 2\); with three_dim=True"):
        check_interface(_Raw(), data)
    for wrong in (["case_3"], []):
        with pytest.raises(ConfigurationError, match=re.escape(f"indices={wrong!r}: expected")):
            check_interface(_Raw(), data, indices=wrong)


def test_without_saving_nothing_is_said_of_it(data: Path) -> None:
    check_interface(_Bytes(), data, save=False)


def test_an_empty_folder_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="found no subject in"):
        check_interface(_Raw(), tmp_path)


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
