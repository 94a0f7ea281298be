"""Interfaces of users, a sound one and others with one fault each, for the test of their check."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import DataInterface
from miscnn.exceptions import GridMismatchError, MissingFileError

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


class Raw(DataInterface):
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


class Unsorted(Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return [*super().initialize(input_path), "case_1"]


class Twice(Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return sorted(super().initialize(input_path) * 2)


class Paths(Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        return [self.folder / i for i in super().initialize(input_path)]  # type: ignore[misc]


class Drains(Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        found = super().initialize(input_path)
        self.seen = getattr(self, "seen", 0) + 1
        return found[: len(found) if self.seen < 2 else 1]


class AnyFolder(Raw):
    def initialize(self, input_path: str | Path) -> list[str]:
        self.folder = Path(input_path)
        return sorted(path.name for path in self.folder.glob("*"))


class Image(Raw):
    """Changes what is loaded, by ``change``."""

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = super().load_image(index)
        image, more = self.change(image)
        return image, {**details, **more}

    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        raise NotImplementedError


class ChannelsFirst(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image[np.newaxis], {}


class NaN(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return np.where(image == image[2, 1, 3], np.nan, image), {}


class Complex(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image + 1j, {}


class NoPlace(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"affine": None, "spacing": None}


class SpacingInReverse(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"spacing": [3.0, 0.9, 0.8]}


class GridInReverse(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"grid": image.shape[::-1]}


class SmallAffine(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image, {"affine": np.eye(3), "spacing": None}


class Chance(Image):
    def change(self, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        return image + np.random.default_rng().integers(1, 1000, image.shape), {}


class ArrayAlone(Raw):
    def load_image(self, index: str) -> Any:
        return super().load_image(index)[0]


class GridOfOther(Raw):
    def load_geometry(self, index: str) -> Geometry:
        image, details = self.load_image(index)
        return Geometry(image.shape, details["affine"] @ np.diag([1, 1, 1.1, 1]))


class Kept(Raw):
    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        kept = self.__dict__.setdefault("kept", {})
        image, details = kept.setdefault(index, super().load_image(index))
        return image, {**details, "affine": details["affine"].copy(), "spacing": None}


class KeptDetails(Raw):
    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        kept = self.__dict__.setdefault("kept", {})
        image, details = kept.setdefault(index, super().load_image(index))
        return image.copy(), dict(details)


class KeptLabels(Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        kept = self.__dict__.setdefault("kept", {})
        labels: NDArray[Any] = kept.setdefault(index, super().load_segmentation(index))
        return labels


class MapsOther(Raw):
    def map_image(self, index: str, scratch: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = self.load_image(index)
        return image[::-1], details


class LabelsTurned(Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        return super().load_segmentation(index).T


class HalfLabels(Raw):
    def load_segmentation(self, index: str) -> NDArray[Any]:
        return super().load_segmentation(index) / 2


class LabelsElsewhere(Raw):
    def load_segmentation_geometry(self, index: str) -> Geometry:
        return Geometry(SHAPES[index])


class SaysNone(Raw):
    def has_segmentation(self, index: str) -> bool:
        return False


class SaysThereIs(Raw):
    def has_segmentation(self, index: str) -> bool:
        return True

    def load_segmentation(self, index: str) -> NDArray[Any]:
        raise MissingFileError("nothing there")


class OtherErrorForNone(Raw):
    def has_segmentation(self, index: str) -> bool:
        return False

    def load_segmentation(self, index: str) -> NDArray[Any]:
        raise KeyError(index)


class NoImage(Raw):
    def has_image(self, index: str) -> bool:
        return False


class SourcesElsewhere(Raw):
    def source_files(self, index: str) -> list[Path]:
        return [self.folder / index / "scan.raw"]


class ByPeak(Raw):
    """Scales by the largest value that was seen so far."""

    peak = 0.0

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        image, details = super().load_image(index)
        image[0, 0, 0] = 5000 * (1 + list(SHAPES)[::-1].index(index))
        self.peak = max(self.peak, float(image.max()))
        return image / self.peak, details


class Current(Raw):
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


class Lock(Raw):
    def __init__(self, classes: int = 3) -> None:
        super().__init__(classes)
        self.lock = threading.Lock()


class Connection:
    """Copied by sharing it, which works within one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> Connection:
        return self


class Connected(Raw):
    def __init__(self, classes: int = 3) -> None:
        super().__init__(classes)
        self.connection = Connection()


class OtherName(Raw):
    def __init__(self, colour: str = "red") -> None:
        super().__init__()
        self.paint = colour


class Forgets(Raw):
    def __init__(self, only: str = "") -> None:
        super().__init__()
        self.only = only

    def get_config(self) -> dict[str, Any]:
        return {}

    def initialize(self, input_path: str | Path) -> list[str]:
        return [index for index in super().initialize(input_path) if self.only in index]


class ChangesClasses(Raw):
    def __init__(self, number: int = 4) -> None:
        super().__init__(3)
        self.number = number


class AnyIndex(Raw):
    def load_geometry(self, index: str) -> Geometry:
        return Geometry(SHAPES.get(index, (1, 1, 1)), AFFINE)


class BareError(Raw):
    def path(self, index: str, name: str) -> Path:
        if index not in SHAPES:
            raise KeyError(index)
        return super().path(index, name)


class ByTable(Raw):
    def has_segmentation(self, index: str) -> bool:
        return bool(SHAPES[index])


class Bytes(Raw):
    """Writes whatever it gets, one voxel after the other."""

    def save_prediction(self, sample: Any, output_path: str | Path) -> None:
        sample.prediction.astype(np.uint8).tofile(self.target(sample.index, output_path))

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        voxels = np.fromfile(self.target(index, output_path), np.uint8)
        return voxels.reshape(SHAPES[index])


class CutsOff(Bytes):
    """Refuses label maps of another shape, and makes whole numbers of probabilities."""

    def save_prediction(self, sample: Any, output_path: str | Path) -> None:
        shape = sample.geometry.shape
        if sample.prediction.shape[:3] != shape or sample.prediction.ndim > 4:
            raise GridMismatchError(sample.index, "another shape")
        if sample.prediction.ndim == 4:
            sample.prediction = sample.prediction.argmax(axis=-1)
        super().save_prediction(sample, output_path)


class Turns(Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return super().load_prediction(index, output_path).T


class Mirrors(Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return super().load_prediction(index, output_path)[::-1]


class OneFile(Raw):
    def target(self, index: str, output_path: str | Path) -> Path:
        return Path(output_path) / "prediction.npy"


class Invents(Raw):
    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        if not self.target(index, output_path).exists():
            return np.zeros(SHAPES[index], dtype=np.uint8)
        return super().load_prediction(index, output_path)


class WritesInto(Raw):
    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        path = super().save_prediction(sample, output_path)
        sample.prediction[sample.prediction > 0] = 255
        return path


class BesideImage(Raw):
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


class TouchesImage(Raw):
    touched = False

    def load_segmentation(self, index: str) -> NDArray[Any]:
        labels = super().load_segmentation(index)
        if not self.touched:
            np.save(self.folder / index / "labels.npy", labels)
        self.touched = True
        return labels


class OtherResult(Raw):
    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        return [Path(output_path) / f"{called}.nii"]


class NoFile(Raw):
    def save_prediction(self, sample: Any, output_path: str | Path) -> Path | None:
        super().save_prediction(sample, output_path)
        return Path(output_path) / "elsewhere.npy"
