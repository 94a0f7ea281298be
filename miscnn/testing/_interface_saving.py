"""Whether a data interface writes predictions as it promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.formats.image_file import volume_shape
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import ITKInterface, NIfTIInterface
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import MiscnnError
from miscnn.testing._interface_promises import Promises, equal, told

# Probabilities are stored in float32.
_TOLERANCE = 1e-6


class SavingCheck:
    """Saves predictions of several subjects into one folder and reads them back.

    Parameters
    ----------
    interface : DataInterface
        Initialized.
    samples : sequence of Sample
        As they were loaded, one for each subject.
    folder : Path
        An empty one.
    rng : numpy.random.Generator
        Draws the predictions.
    """

    def __init__(
        self,
        interface: DataInterface,
        samples: Sequence[Sample],
        folder: Path,
        rng: np.random.Generator,
    ) -> None:
        self.interface = interface
        self.samples = samples
        self.folder = folder
        self.rng = rng

    def run(self) -> None:
        """Check label maps, what must be refused, and probabilities."""
        labels, probabilities, wrong = (
            self.folder / name for name in ("labels", "probabilities", "wrong")
        )
        for folder in (labels, probabilities, wrong):
            folder.mkdir()
        self.check_none_yet(labels)
        expected = [self.save_labels(sample, labels) for sample in self.samples]
        # All are saved before the first is read: none may have replaced another.
        for sample, classes in zip(self.samples, expected, strict=True):
            self.check_back(sample, classes, labels)
        for sample in self.samples:
            self.check_refused(sample, wrong)
        self.check_probabilities(self.samples[0], probabilities)

    def check_none_yet(self, folder: Path) -> None:
        if not self.interface.reads_files:
            return  # those in memory may have been handed in with predictions
        index = self.samples[0].index
        Promises(self.interface, index).refused(
            "load_prediction() from a folder that holds no prediction",
            lambda: self.interface.load_prediction(index, folder),
            "raise MissingFileError",
        )

    def save_labels(self, sample: Sample, folder: Path) -> NDArray[Any]:
        promises = Promises(self.interface, sample.index)
        classes = self.rng.integers(self.interface.classes, size=sample.spatial_shape)
        classes = classes.astype(np.min_scalar_type(self.interface.classes))
        given = sample.copy()
        values = promises.called(
            "to_values()", lambda: self.interface.to_values(classes.copy(), sample.index)
        )
        given.prediction = handed = values.copy()
        planned = promises.called(
            "result_files()",
            lambda: self.interface.result_files(sample.index, sample.index, folder),
        )
        written = promises.called(
            "save_prediction()", lambda: self.interface.save_prediction(given, folder)
        )
        promises.require(
            given.prediction is handed and equal(handed, values),
            "save_prediction() changed the prediction of the sample handed in; copy before "
            "changing values",
        )
        if written is not None:
            promises.require(
                Path(written).is_file(),
                f"save_prediction() returned {str(written)!r}, which is no file; return the file "
                "that was written, or None",
            )
            promises.require(
                not planned or _resolved(written) in {_resolved(path) for path in planned},
                f"save_prediction() wrote {Path(written).name}, but result_files() told "
                f"{', '.join(Path(path).name for path in planned)}; both must agree, since the "
                "files told are guarded against being overwritten",
            )
            self.check_grid(promises, sample, Path(written))
        handed[...] = 0  # as the caller may
        return classes

    def check_grid(self, promises: Promises, sample: Sample, path: Path) -> None:
        grid = _stored_grid(path, sample) if self.interface.three_dim else None
        promises.require(
            grid is None or grid.matches(sample.geometry),
            f"the file of the prediction, {path.name}, lies on another grid than the image: "
            f"{'' if grid is None else grid.describe_difference(sample.geometry)}; write the "
            "affine of sample.geometry (or the header that was kept in sample.details)",
        )

    def check_back(self, sample: Sample, classes: NDArray[Any], folder: Path) -> None:
        promises = Promises(self.interface, sample.index)
        back: Any = promises.called(
            "load_prediction()", lambda: self.interface.load_prediction(sample.index, folder)
        )
        promises.require(
            isinstance(back, np.ndarray) and back.shape == classes.shape,
            f"a label map of shape {classes.shape} came back from load_prediction() as "
            f"{getattr(back, 'shape', type(back).__name__)}; label maps have no axis of classes, "
            "and the order of the image's axes",
        )
        found = promises.called(
            "to_classes()", lambda: self.interface.to_classes(back, sample.index)
        )
        other = int(np.count_nonzero(found != classes))
        promises.require(
            other == 0,
            f"{other} of {classes.size} voxels of a label map came back with another label; "
            "save_prediction() and load_prediction() must keep the order of axes and voxels, the "
            "values, and predictions of different subjects apart",
        )
        if back.flags.writeable and not self.interface.reads_files:
            back[...] = 0
            again = self.interface.load_prediction(sample.index, folder)
            promises.require(
                equal(self.interface.to_classes(again, sample.index), classes),
                "what was written into the array that load_prediction() returned is there when it "
                "is loaded again; return a copy of what is kept",
            )

    def check_refused(self, sample: Sample, folder: Path) -> None:
        promises = Promises(self.interface, sample.index)
        shape = sample.spatial_shape
        # The second has as many voxels: who writes them in a row does not see it.
        for other in dict.fromkeys([(shape[0] + 1, *shape[1:]), shape[::-1]]):
            if other == shape:
                continue
            given = sample.copy()
            given.prediction = np.zeros(other, dtype=np.uint8)
            given.prediction = self.interface.to_values(given.prediction, sample.index)
            promises.refused(
                f"save_prediction() of a label map of shape {other} for an image of shape {shape}",
                lambda given=given: self.interface.save_prediction(given, folder),  # type: ignore[misc]
                "compare sample.prediction.shape with sample.geometry.shape and raise "
                "GridMismatchError",
            )

    def check_probabilities(self, sample: Sample, folder: Path) -> None:
        promises = Promises(self.interface, sample.index)
        raw = self.rng.random((*sample.spatial_shape, max(2, self.interface.classes)))
        probable = (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)
        given = sample.copy()
        given.prediction = probable.copy()
        try:
            self.interface.save_prediction(given, folder)
            back: Any = self.interface.load_prediction(sample.index, folder)
        except MiscnnError:
            return  # a format may hold labels only, and says so
        except Exception as error:
            raise promises.broken(
                f"probabilities of shape {probable.shape} failed with {told(error)}; write them, "
                "or refuse them with an error of miscnn"
            ) from error
        promises.require(
            isinstance(back, np.ndarray)
            and back.shape == probable.shape
            and np.allclose(back, probable, rtol=0, atol=_TOLERANCE),
            f"probabilities (float32, {probable.shape}) came back as something else "
            f"({getattr(back, 'dtype', '')} {getattr(back, 'shape', type(back).__name__)}); keep "
            "their values and the last axis, that of classes, or refuse them with an error of "
            "miscnn",
        )


def _resolved(path: str | Path) -> Path:
    return Path(path).resolve()


def _stored_grid(path: Path, sample: Sample) -> Geometry | None:
    """Return the grid that a file says it has; None for formats that this library cannot ask."""
    for reader in (NIfTIInterface(), ITKInterface()):
        if path.name.lower().endswith(reader.endings):
            try:
                file = reader.open_prediction(path, sample.index)
            except ImportError:  # without SimpleITK
                return None
            shape = volume_shape(file.shape)
            return Geometry(shape[: sample.geometry.ndim], file.affine)
    return None
