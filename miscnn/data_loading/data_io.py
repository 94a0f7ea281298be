"""The set of subjects: where they come from, and where results go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._checks import make_sample, non_finite, unusable
from miscnn.data_loading.formats.image_file import is_label_map
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces._blockwise import (
    check_sources,
    replaced,
    result_files,
)
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
)

if TYPE_CHECKING:
    from miscnn.data_loading.layouts import Layout
    from miscnn.data_loading.verification import VerificationReport

_LOG = logging.getLogger("miscnn.data_loading")

IF_AVAILABLE: Literal["if available"] = "if available"


class DataIO:
    """The subjects of a data set, loaded one by one.

    Parameters
    ----------
    interface : DataInterface
        Reads and writes the file format.
    input_path : str or Path, optional
        Folder of the data set; not needed for data in memory, nor for a model that is to
        predict other folders.
    output_path : str or Path
        Folder for predictions; made when the first one is saved.
    batch_path : str or Path
        Folder for prepared batches.
    delete_batchDir : bool
        Whether :attr:`batch_path` is removed when its batches are.

    Attributes
    ----------
    indices_list : list of str
        The subjects that were found, sorted. Others can be loaded all the same, if the
        interface finds their files.
    layout : Layout or None
        How the data set is laid out, if :func:`miscnn.open_dataset` has found it out.

    Raises
    ------
    MissingFileError
        If the folder does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.interfaces import DictionaryInterface
    >>> image = np.arange(24.0).reshape(2, 3, 4)
    >>> data_io = DataIO(DictionaryInterface({"a": (image, image > 20)}))
    >>> data_io.sample_loader("a").segmentation.sum()
    np.uint64(3)
    """

    def __init__(
        self,
        interface: DataInterface,
        input_path: str | Path | None = None,
        output_path: str | Path = "predictions",
        batch_path: str | Path = "batches",
        delete_batchDir: bool = True,  # noqa: N803 - the name in MIScnn 1.x
    ) -> None:
        self.interface = interface
        self.input_path = input_path
        self.output_path = output_path
        self.batch_path = batch_path
        self.delete_batchDir = delete_batchDir
        self.layout: Layout | None = None
        self.indices_list: list[str] = []
        if input_path is not None or not interface.reads_files:
            self.indices_list = interface.initialize(input_path or "")

    def get_indiceslist(self) -> list[str]:
        """Return a copy of :attr:`indices_list`."""
        return list(self.indices_list)

    def sample_loader(
        self,
        index: str,
        load_seg: bool | Literal["if available"] = True,
        load_pred: bool = False,
        check_classes: bool = True,
        scratch: Scratch | None = None,
    ) -> Sample:
        """Load one subject.

        Parameters
        ----------
        index : str
        load_seg : bool or "if available"
            Whether to load the segmentation; with ``"if available"`` a subject without one
            is no error.
        load_pred : bool
            Whether to load the prediction that was saved before.
        check_classes : bool
            Whether labels from ``classes`` on are refused. A caller whose subfunctions may map
            them (255 to 1, say) turns it off and calls ``sample.check_labels()`` afterwards.
        scratch : Scratch, optional
            Where the sample puts large arrays. The image is then not held in memory, if its format
            can be mapped or decoded piece by piece, and is not to be written to.

        Returns
        -------
        Sample
            The image in the file's type.

        Raises
        ------
        MissingFileError
            If the image, the segmentation or the prediction is not there.
        UnreadableFileError
            If a file is damaged.
        SampleError
            If the image does not fit ``channels`` and ``three_dim``, its affine cannot be
            used, or it holds NaN or infinite values.
        GridMismatchError
            If the segmentation lies on another grid than the image.
        LabelError
            If the segmentation holds values that are no labels.
        """
        if load_seg not in (True, False, IF_AVAILABLE):
            raise ConfigurationError(
                f"load_seg must be True, False or {IF_AVAILABLE!r}, got {load_seg!r}"
            )
        if scratch is None:
            image, details = self.interface.load_image(index)
        else:
            image, details = self.interface.map_image(index, scratch)
        sample = make_sample(self.interface, index, image, details)
        sample.scratch = scratch
        odd = non_finite(sample.image)
        if odd is not None:
            count, first = odd
            raise SampleError(
                index,
                f"{count} of {sample.image.size} image values are NaN or infinite, the first at "
                f"{first}; replace them in the file (run verify to see all such subjects)",
            )
        if load_seg is True or (load_seg and self.interface.has_segmentation(index)):
            self._add_segmentation(sample, check_classes)
        if load_pred:
            prediction = self.load_prediction(index)
            probabilities = prediction.ndim == sample.image.ndim and prediction.dtype.kind == "f"
            sample.add_prediction(prediction, activation_output=probabilities)
        return sample

    def get_samples(
        self, load_seg: bool | Literal["if available"] = False, load_pred: bool = False
    ) -> list[Sample]:
        """Load all subjects of :attr:`indices_list`; mind the memory."""
        return [self.sample_loader(index, load_seg, load_pred) for index in self.indices_list]

    def save_prediction(
        self,
        sample: Sample,
        output_path: str | Path | None = None,
        name: str | None = None,
    ) -> Path | None:
        """Write ``sample.prediction`` (classes, or probabilities); return the file if it is one.

        Classes are written as the values that the interface's ``label_values`` declares. An array
        that is mapped from a scratch file is written piece by piece, fastest if it was made with
        ``order="F"``, as it lies in files.

        Parameters
        ----------
        sample : Sample
        output_path : str or Path, optional
            Default: :attr:`output_path`.
        name : str, optional
            What is written is a further result, such as ``"entropy"``: the file of the subject
            ``case_1`` is called ``case_1_entropy``. Real numbers need no axis of classes then.

        Raises
        ------
        ConfigurationError
            If the name holds a slash or is empty, or the subject's own image or segmentation
            would be overwritten.
        """
        sample = sample.copy()
        index = sample.index
        labels, ndim = sample.prediction, sample.geometry.ndim
        if name is not None:
            sample.index = self.interface.named(sample.index, _checked_name(name))
            if labels is not None and labels.ndim == ndim and labels.dtype.kind == "f":
                sample.prediction = labels = labels[..., np.newaxis]
        if labels is not None and labels.ndim >= ndim and is_label_map(labels, ndim):
            if labels.ndim == ndim + 1:
                labels = labels[..., 0]
            sample.prediction = self._values(labels, sample)
        classes = labels is None or is_label_map(labels, ndim)
        folder = Path(self._output(output_path))
        files = result_files(self.interface, index, name, folder, classes)
        check_sources(self.interface, index, files)
        return self.interface.save_prediction(sample, self._output(output_path))

    def complete_predictions(
        self, indices: Sequence[str], output_path: str | Path | None = None
    ) -> list[Path]:
        """Write what is made of the predictions of several subjects; return the files.

        To be called when those of ``indices`` have been saved. Slices of volumes become volumes;
        most interfaces have nothing to do. See :meth:`DataInterface.complete_predictions`.
        """
        return self.interface.complete_predictions(indices, self._output(output_path))

    def load_prediction(self, index: str, output_path: str | Path | None = None) -> NDArray[Any]:
        """Read back what :meth:`save_prediction` wrote: classes, or probabilities.

        Raises
        ------
        MissingFileError
            If there is no prediction.
        """
        prediction = self.interface.load_prediction(index, self._output(output_path))
        if prediction.ndim > (3 if self.interface.three_dim else 2):
            return prediction
        return self.interface.to_classes(prediction, index)

    def geometry(self, index: str) -> Geometry:
        """Return the grid of a subject's image, from the header where the format has one.

        Raises
        ------
        SampleError
            If the affine cannot be used.
        """
        geometry = self.interface.load_geometry(index)
        if not geometry.usable:
            raise SampleError(index, f"{unusable(geometry)}; correct the header")
        return geometry

    def has_segmentation(self, index: str) -> bool:
        """Tell whether there is a segmentation, without reading it if possible."""
        return self.interface.has_segmentation(index)

    def verify(
        self, indices: Sequence[str] | None = None, n_jobs: int = 1, verbose: bool = True
    ) -> VerificationReport:
        """Look for everything that is wrong with the data set, all at once.

        See :func:`miscnn.data_loading.verification.verify`.
        """
        from miscnn.data_loading.verification import verify

        return verify(self, indices, n_jobs=n_jobs, verbose=verbose)

    def _values(self, labels: NDArray[Any], sample: Sample) -> NDArray[Any]:
        """Return the values of a file for a map of classes."""
        return replaced(labels, lambda part: self.interface.to_values(part, sample.index), sample)

    def _output(self, output_path: str | Path | None) -> str | Path:
        return self.output_path if output_path is None else output_path

    def _add_segmentation(self, sample: Sample, check_classes: bool) -> None:
        try:
            segmentation = self.interface.load_segmentation(sample.index)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{error}; to load the image alone, set load_seg=False or {IF_AVAILABLE!r}"
            ) from error
        grid = self.interface.load_segmentation_geometry(sample.index)
        if grid is not None and not sample.geometry.matches(grid):
            raise GridMismatchError(
                sample.index,
                "the segmentation does not lie on the image's grid: "
                f"{grid.describe_difference(sample.geometry)}; resample it onto the image",
            )
        classes = self.interface.to_classes(np.asarray(segmentation), sample.index)
        sample.add_segmentation(classes, check_classes)

    def __repr__(self) -> str:
        return (
            f"DataIO({self.interface!r}, input_path={str(self.input_path)!r}, "
            f"{len(self.indices_list)} subjects)"
        )


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name or any(sign in name for sign in "/\\\0"):
        raise ConfigurationError(
            f"name={name!r}: expected a word without slashes, which the name of the file ends in"
        )
    return name


Data_IO = DataIO
"""Name in MIScnn 1.x."""
