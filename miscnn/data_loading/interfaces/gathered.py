"""Subjects of several formats and places, as one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._problems import Remark
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

# Where the details of an image tell the subject, whose results may have further names.
_SUBJECT = "subject"


@dataclass(frozen=True)
class Member:
    """An interface that reads some of the subjects.

    Attributes
    ----------
    interface : DataInterface
        It knows its data folder.
    indices : mapping of str to str
        What each subject is called here, and what by the interface.
    """

    interface: DataInterface
    indices: Mapping[str, str]


class GatheredSubjects(DataInterface):
    """Shows the subjects of several interfaces as those of one.

    Predictions are written by the interface that a subject was read by, in its format.

    Parameters
    ----------
    like : DataInterface
        Whose channels, classes and labels count.
    members : sequence of Member

    Raises
    ------
    ConfigurationError
        If two subjects are called alike.
    """

    reads_files = False

    def __init__(self, like: DataInterface, members: Sequence[Member]) -> None:
        super().__init__(
            like.channels,
            like.classes,
            like.three_dim,
            like.ignore_label,
            like.label_values,
            like.class_names,
        )
        self.like = like
        self.members = tuple(members)
        self._places: dict[str, tuple[DataInterface, str]] = {}
        for member in members:
            for index, inside in member.indices.items():
                if index in self._places:
                    raise ConfigurationError(f"two subjects are called {index!r}")
                self._places[index] = (member.interface, inside)

    def initialize(self, input_path: str | Path = "") -> list[str]:
        """Return the indices in their order; the path is not used."""
        return list(self._places)

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image and its details."""
        interface, inside = self._place(index)
        return self._checked(index, *interface.load_image(inside))

    def map_image(self, index: str, scratch: Scratch) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image without holding it in memory, where the format can."""
        interface, inside = self._place(index)
        return self._checked(index, *interface.map_image(inside, scratch))

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read one segmentation."""
        interface, inside = self._place(index)
        return interface.load_segmentation(inside)

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back what :meth:`save_prediction` wrote.

        Raises
        ------
        ConfigurationError
            If the subject has another name for the interface that reads it.
        """
        interface, inside = self._place(index)
        if inside != index:
            raise ConfigurationError(
                f"sample {index!r}: predictions of {inside!r}, one of several subjects of this "
                "name, are read back by an interface for its folder alone"
            )
        return interface.load_prediction(inside, output_path)

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path | None:
        """Write ``sample.prediction`` in the format of the image."""
        interface, _ = self._place(str(sample.details.get(_SUBJECT, sample.index)))
        return interface.save_prediction(sample, output_path)

    def complete_predictions(self, indices: Sequence[str], output_path: str | Path) -> list[Path]:
        """Write what is made of the predictions of several subjects."""
        written: list[Path] = []
        for member in self.members:
            own = [member.indices[index] for index in indices if index in member.indices]
            written += member.interface.complete_predictions(own, output_path) if own else []
        return written

    def to_classes(self, values: NDArray[Any], index: str) -> NDArray[Any]:
        """Return the classes that the values of a file mean."""
        return self.like.to_classes(values, index)

    def to_values(self, labels: NDArray[Any], index: str) -> NDArray[Any]:
        """Return the values that are written for classes."""
        return self.like.to_values(labels, index)

    def has_image(self, index: str) -> bool:
        """Tell whether any file of a subject's image is there."""
        interface, inside = self._place(index)
        return interface.has_image(inside)

    def named(self, index: str, name: str) -> str:
        """Return the index by which a further result of a subject is written."""
        return self._place(index)[0].named(index, name)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a segmentation."""
        interface, inside = self._place(index)
        return interface.has_segmentation(inside)

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid."""
        interface, inside = self._place(index)
        return interface.load_geometry(inside)

    def load_segmentation_geometry(self, index: str) -> Geometry | None:
        """Return the segmentation's grid where the format knows one of its own."""
        interface, inside = self._place(index)
        return interface.load_segmentation_geometry(inside)

    def source_files(self, index: str) -> list[Path]:
        """Return the files a subject is read from."""
        interface, inside = self._place(index)
        return interface.source_files(inside)

    def image_files(self, index: str) -> list[Path]:
        """Return the files of a subject's image."""
        interface, inside = self._place(index)
        return interface.image_files(inside)

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the files that :meth:`save_prediction` would write."""
        interface, inside = self._place(index)
        return interface.result_files(inside, called, output_path, labels)

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Return what ``verify`` should tell of the image's details."""
        interface, inside = self._place(index)
        return interface.remarks(inside, details)

    def expected_files(self) -> str:
        """Tell what is looked for."""
        return "the files that were handed in"

    def _place(self, index: str) -> tuple[DataInterface, str]:
        if index not in self._places:
            raise MissingFileError(f"sample {index!r}: it is none of those that were handed in")
        return self._places[index]

    def _checked(
        self, index: str, image: NDArray[Any], details: dict[str, Any]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Say in the words of a prediction that channels do not fit."""
        further = image.ndim - (3 if self.three_dim else 2)
        channels = image.shape[-1] if further == 1 else 1
        if further in (0, 1) and channels != self.channels:
            raise SampleError(
                index,
                f"the image has shape {image.shape}, {channels} channel(s), but the network takes "
                f"{self.channels}"
                + (
                    "; hand in the files of all channels together, as a list for each subject: "
                    "[['t1.nii.gz', 't2.nii.gz']], or call them case_0000.nii.gz, case_0001.nii.gz"
                    if channels < self.channels
                    else "; save the channel that it was trained on as a file of its own"
                ),
            )
        return image, {**details, _SUBJECT: index}

    def __repr__(self) -> str:
        return f"GatheredSubjects({len(self._places)} subjects, like={self.like!r})"
